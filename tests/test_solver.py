"""Many fits at once: the same optimum as scikit-learn's, whatever the folds, penalties, shapes and formats."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from introspect.errors import EstimateError
from introspect.probes import (
    Cell,
    Direction,
    Moments,
    NotConverged,
    Split,
    Streamed,
    best_cell,
    cross_validated,
    fit_grid,
    fit_splits,
    newton,
    shuffled_null,
    site,
)
from introspect.probes.curvature import Basis, Factors, Shared, _orthonormal
from introspect.probes.logistic import Standardiser
from introspect.probes.null import TOLERANCE, shuffled_by_group
from introspect.probes.side_by_side import side_by_side
from introspect.probes.site import Site
from introspect.probes.stream import site_of
from introspect.stats import auroc

PENALTIES = (0.001, 0.1, 10.0)


def correlated(n: int, width: int, seed: int, signal: float) -> tuple[np.ndarray, np.ndarray]:
    """Activations [row, width] whose variance falls off along axes, far from 0 in one feature, and labels."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.normal(size=(width, width)))[0]
    y = rng.random(n) < 0.4
    x = rng.normal(size=(n, width)) * np.arange(1, width + 1) ** -0.7 @ axes
    x += signal * np.outer(y - 0.5, axes[3])
    x[:, 0] = 100 + 30 * x[:, 0]
    x[:, 1] = 7.0
    return x.astype(np.float32), y


def folds_of(n: int, n_folds: int) -> np.ndarray:
    return np.random.default_rng(9).permutation(n) % n_folds


def exact(x: np.ndarray, y: np.ndarray, c: float) -> tuple[np.ndarray, float]:
    """Raw weights and bias by scikit-learn's Newton solver in float64."""
    scaler = StandardScaler().fit(x.astype(np.float64))
    model = LogisticRegression(C=c, solver="newton-cholesky", tol=1e-10, max_iter=200)
    model.fit(scaler.transform(x.astype(np.float64)), y)
    weight = model.coef_[0] / scaler.scale_
    return weight, float(model.intercept_[0] - weight @ scaler.mean_)


def products_of_steps(monkeypatch):
    """A list that gets, of each Newton step from now on, the products that it took."""
    products, step = [], newton._newton_step

    def counted(*args):
        found = step(*args)
        products.append(found[2])
        return found

    monkeypatch.setattr(newton, "_newton_step", counted)
    return products


@pytest.mark.parametrize("fast", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("n", "width", "signal"), [(90, 150, 0.3), (90, 150, 6.0), (300, 40, 0.3), (300, 40, 6.0)])
def test_every_fold_and_penalty_is_at_scikit_learns_optimum(monkeypatch, fast, n, width, signal):
    monkeypatch.setattr(Site, "_fast", lambda self: fast)
    x, y = correlated(n, width, 0, signal)
    masks = np.stack([folds_of(n, 4) != fold for fold in range(4)])
    found = Site.of(torch.from_numpy(x), torch.from_numpy(masks))
    path = found.path(torch.from_numpy(y), PENALTIES, 1e-2)
    for c in PENALTIES:
        rough, fine = found.directions(path[c]), found.directions(found.refined(path[c], 1e-4))
        for fold, mask in enumerate(masks):
            weight, bias = exact(x[mask], y[mask], c)
            scores = x[~mask].astype(np.float64) @ weight + bias
            ours = x[~mask].astype(np.float64) @ fine.weight[fold].numpy() + float(fine.bias[fold])
            assert np.abs(fine.weight[fold].numpy() - weight).max() < 1e-3 * np.abs(weight).max()
            assert np.abs(ours - scores).max() < 1e-3 * np.abs(scores).max()
            roughly = x[~mask].astype(np.float64) @ rough.weight[fold].numpy() + float(rough.bias[fold])
            assert abs(auroc(roughly, y[~mask]) - auroc(scores, y[~mask])) < 0.01


def test_the_stated_criterion_bounds_the_distance_to_the_optimum():
    x, y = correlated(90, 150, 1, 1.0)
    found = Site.of(torch.from_numpy(x), torch.ones(1, 90, dtype=torch.bool))
    for c in PENALTIES:
        start = found.path(torch.from_numpy(y), [c], 0.3)[c]
        best = found.refined(start, 1e-8)
        for tolerance in (0.1, 1e-2, 1e-3):
            fits = found.refined(start, tolerance)
            assert (fits.w - best.w).norm() <= tolerance * fits.w.norm() * (1 + 1e-6)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_a_constant_feature_is_the_same_in_one_fit_and_in_many(kind):
    """By one rule, whose floor is the rounding of the numbers that were given."""
    ulp = np.spacing(kind(1000))
    noise = np.random.default_rng(0).choice([-0.5, 0.5], size=(90, 5))
    x = (1000 + noise * [0, 2 * ulp, 2e-3, 0.1, 100]).astype(kind)
    x[:, 0] = 0.1
    mask = torch.ones(1, 90, dtype=torch.bool)
    many, one = Site.of(torch.from_numpy(x), mask), Standardiser.fit(torch.from_numpy(x)[None])
    assert torch.allclose(one.scale[0], many.spread, rtol=1e-9)
    assert torch.allclose(many.scale[0], torch.ones(5).double(), rtol=1e-6)
    assert (many.spread == 1).tolist() == [True, True, False, False, False]
    assert np.allclose(many.spread[3:], x[:, 3:].astype(np.float64).std(axis=0))


def test_what_newton_steps_leave_over_is_fitted_exactly(monkeypatch):
    x, y = correlated(90, 150, 2, 1.0)
    found = Site.of(torch.from_numpy(x), torch.ones(1, 90, dtype=torch.bool))
    monkeypatch.setattr(newton, "STEPS", 0)
    fits = found.path(torch.from_numpy(y), [0.1], 1e-2)[0.1]
    weight, _ = exact(x, y, 0.1)
    assert np.abs(found.directions(fits).weight[0].numpy() - weight).max() < 1e-3 * np.abs(weight).max()


def test_steps_that_bfloat16_cannot_solve_are_computed_in_float32(monkeypatch):
    x, y = correlated(120, 60, 3, 0.3)
    monkeypatch.setattr(Site, "_fast", lambda self: torch.bfloat16)
    monkeypatch.setattr(newton, "PRODUCTS", 2)
    asked = []
    monkeypatch.setattr(newton.Rows, "precise", lambda self, old=newton.Rows.precise: asked.append(1) or old(self))
    found = Site.of(torch.from_numpy(x), torch.ones(1, 120, dtype=torch.bool))
    found.path(torch.from_numpy(y), [10.0], 1e-2)
    assert asked


def test_preconditioned_steps_that_bfloat16_cannot_solve_soon_are_computed_in_float32(monkeypatch):
    x, y = correlated(160, 120, 12, 0.3)
    monkeypatch.setattr(Site, "_fast", lambda self: torch.bfloat16)
    monkeypatch.setattr(newton, "PAYS", 0.0)
    asked = []
    monkeypatch.setattr(newton.Rows, "precise", lambda self, old=newton.Rows.precise: asked.append(1) or old(self))
    masks = torch.from_numpy(np.stack([folds_of(160, 4) != fold for fold in range(4)]))
    for rough in (newton.ROUGH, 2):
        monkeypatch.setattr(newton, "ROUGH", rough)
        asked.clear()
        at = Site.of(torch.from_numpy(x), masks)
        fits = at.refined(at.path(torch.from_numpy(y), [0.01, 1.0], 1e-2)[1.0], 1e-4)
        assert bool(asked) == (rough == 2)
        weight, _ = exact(x[masks[0].numpy()], y[masks[0].numpy()], 1.0)
        assert np.abs(at.directions(fits).weight[0].numpy() - weight).max() < 1e-3 * np.abs(weight).max()


@pytest.mark.parametrize("fast", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("n", "width"), [(160, 120), (90, 150)])
def test_shared_axes_make_steps_short_and_change_no_optimum(monkeypatch, fast, n, width):
    x, y = correlated(n, width, 12, 0.3)
    monkeypatch.setattr(Site, "_fast", lambda self: fast)
    masks = torch.from_numpy(np.stack([folds_of(n, 4) != fold for fold in range(4)]))
    products = products_of_steps(monkeypatch)
    spent = {}
    for pays in (0.0, np.inf):
        monkeypatch.setattr(newton, "PAYS", pays)
        products.clear()
        at = Site.of(torch.from_numpy(x), masks)
        fits = at.refined(at.path(torch.from_numpy(y), [0.01, 1.0], 1e-2)[1.0], 1e-5)
        spent[pays] = sum(products)
        assert (at._rows.basis is None) == (pays > 0)
        for fold, mask in enumerate(masks.numpy()):
            weight, _ = exact(x[mask], y[mask], 1.0)
            assert np.abs(at.directions(fits).weight[fold].numpy() - weight).max() < 1e-4 * np.abs(weight).max()
    assert spent[0.0] < 0.6 * spent[np.inf]


@pytest.mark.parametrize(("n", "width"), [(300, 60), (90, 150)])
def test_curvature_of_a_fits_own_makes_steps_short_and_changes_no_optimum(monkeypatch, n, width):
    x, y = correlated(n, width, 12, 0.3)
    monkeypatch.setattr(Site, "_fast", lambda self: torch.float32)
    monkeypatch.setattr(newton, "WIDE", 1)
    masks = torch.from_numpy(np.stack([folds_of(n, 4) != fold for fold in range(4)]))
    products = products_of_steps(monkeypatch)
    spent = {}
    for pays in (0.0, np.inf):
        monkeypatch.setattr(newton, "WIDE_PAYS", pays)
        products.clear()
        at = Site.of(torch.from_numpy(x), masks)
        fits = at.refined(at.path(torch.from_numpy(y), [0.01, 1.0, 10.0], 1e-2)[10.0], 1e-5)
        spent[pays] = sum(products)
        assert (at._rows.basis is None) == (pays > 0)
        for fold, mask in enumerate(masks.numpy()):
            weight, _ = exact(x[mask], y[mask], 10.0)
            assert np.abs(at.directions(fits).weight[fold].numpy() - weight).max() < 1e-4 * np.abs(weight).max()
    assert spent[0.0] < 0.3 * spent[np.inf]


def test_factors_hold_the_curvature_of_each_fit():
    x, y = correlated(200, 30, 14, 1.0)
    rows = torch.from_numpy((x - x.mean(axis=0)) / x.std(axis=0).clip(1e-3))
    strength = torch.rand(2, 200) * torch.from_numpy(np.stack([y, ~y]))
    factors = Factors.of(Basis.of(rows), strength)
    residual = torch.randn(2, 30)
    for k, mine in enumerate(strength):
        centred = rows - mine @ rows / mine.sum()
        curvature = torch.eye(30) + centred.T @ (mine[:, None] * centred)
        expected = torch.linalg.solve(curvature, residual[k])
        assert torch.allclose(factors.divide(residual)[k], expected, rtol=0.05, atol=0.02 * float(expected.abs().max()))


def test_shared_curvature_is_that_of_mean_weights_at_each_penalty():
    x, _ = correlated(200, 30, 14, 1.0)
    rows = torch.from_numpy((x - x.mean(axis=0)) / x.std(axis=0).clip(1e-3))
    weights = 0.25 * torch.rand(5, 200, generator=torch.Generator().manual_seed(0))
    c = torch.tensor([[10.0], [1e-4], [10.0], [0.1], [1e-4]])
    shared = Shared.of(Basis.leading(rows, torch.float32), c, weights)
    residual = torch.randn(5, 30, generator=torch.Generator().manual_seed(1))
    some = torch.tensor([1, 2, 3])
    part, alone = (
        shared.pick(some).divide(residual[some]),
        Shared.of(Basis.leading(rows, torch.float32), c[3:4], weights[3:4]),
    )
    for k, mates in enumerate(([0, 2], [1, 4], [0, 2], [3], [1, 4])):
        mine = c[k] * weights[mates].mean(dim=0)
        centred = rows - mine @ rows / mine.sum()
        expected = torch.linalg.solve(torch.eye(30) + centred.T @ (mine[:, None] * centred), residual[k])
        close = {"rtol": 2e-2, "atol": 1e-3 * float(expected.abs().max())}
        assert torch.allclose(shared.divide(residual)[k], expected, **close)
        if k in some:
            assert torch.allclose(part[some.tolist().index(k)], expected, **close)
        if k == 3:
            assert torch.allclose(alone.divide(residual[3:4])[0], expected, **close)


def test_leading_axes_are_nearly_the_principal_ones_and_what_is_across_them_is_known(monkeypatch):
    monkeypatch.setattr("introspect.probes.curvature.LEADING", 12)
    x, _ = correlated(200, 60, 14, 1.0)
    rows = torch.from_numpy(x[:, 2:] - x[:, 2:].mean(axis=0))
    values = torch.linalg.eigvalsh(rows.T @ rows / 200).flip(0)
    for fast in (torch.float32, torch.bfloat16):
        basis = Basis.leading(rows, fast)
        assert basis.vectors.shape == (58, 12)
        assert torch.allclose(basis.vectors.T @ basis.vectors, torch.eye(12), atol=1e-5)
        assert torch.allclose(basis.values[:6], values[:6], rtol=0.02)
        assert torch.allclose(basis.rows, rows @ basis.vectors, atol=1e-5)
        assert float(basis.others) == pytest.approx(
            float(rows.square().sum() / 200 - basis.values.sum()) / 46, rel=1e-3
        )
        assert torch.equal(basis.vectors, Basis.leading(rows, fast).vectors)


def test_fits_of_many_penalties_are_refined_in_few_products(monkeypatch):
    """The curvature that fits share is that of their own penalty, and not of all."""
    x, y = correlated(160, 120, 12, 0.3)
    monkeypatch.setattr(newton, "PAYS", 0.0)
    at = Site.of(torch.from_numpy(x), torch.from_numpy(np.stack([folds_of(160, 4) != fold for fold in range(4)])))
    path = at.path(torch.from_numpy(y), (1e-4, 1e-2, 1.0, 100.0), 2e-2)
    mixed = newton.Fits.joined([fits.pick(torch.tensor([k])) for k, fits in enumerate(path.values())])
    products = products_of_steps(monkeypatch)
    fine = at.refined(mixed, 1e-4)
    assert sum(products) < 10
    for k, c in enumerate(path):
        mask = folds_of(160, 4) != k
        weight, _ = exact(x[mask], y[mask], c)
        assert np.abs(at.directions(fine).weight[k].numpy() - weight).max() < 1e-3 * np.abs(weight).max()


def test_factors_stand_for_fits_whose_features_are_scaled_otherwise():
    x, y = correlated(200, 30, 14, 1.0)
    rows = newton.Rows.of(torch.from_numpy((x - x.mean(axis=0)) / x.std(axis=0).clip(1e-3)), torch.float32)
    rows.basis = Basis.of(rows.exact)
    labels, scale, w = torch.from_numpy(y).float()[None], 1 + 0.2 * torch.rand(1, 30), torch.zeros(1, 30)
    fits = newton.Fits(labels, torch.ones(1, 200), scale, torch.full((1, 1), 10.0), w, torch.zeros(1, 1), labels * 0)
    weights = torch.rand(1, 200)
    divide = newton._preconditioner(rows, fits, weights, rows.factors(fits, weights))
    own = rows.exact / scale
    centred = own - weights @ own / weights.sum()
    direction = torch.randn(1, 30)
    curved = direction + 10 * (direction @ centred.T * weights) @ centred
    assert (divide(curved) - direction)[:, 2:].norm() < 0.1 * direction.norm()


def test_weak_penalties_on_wide_rows_need_no_exact_fits(monkeypatch):
    """Rounded products and a search without a bound left some short of their optimum."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(60, 1100)) * np.arange(1, 61)[:, None] ** -0.8
    factors, y = rng.normal(size=(160, 60)), rng.random(160) < 0.5
    x = ((factors + 0.3 * np.outer(y - 0.5, np.ones(60))) @ mixing + 0.02 * rng.normal(size=(160, 1100))).astype("f4")
    monkeypatch.setattr(site, "fit", lambda *_: pytest.fail("a fit was left over"))
    masks = np.stack([folds_of(160, 4) != fold for fold in range(4)])
    found = Site.of(torch.from_numpy(x), torch.from_numpy(masks))
    assert found._fast() == torch.float32
    path = found.path(torch.from_numpy(y), (0.01, 1.0, 100.0), 2e-2)
    assert found._rows.basis is not None
    fine = found.directions(found.refined(path[100.0], 1e-4))
    weight, _ = exact(x[masks[0]], y[masks[0]], 100.0)
    assert np.abs(fine.weight[0].numpy() - weight).max() < 1e-3 * np.abs(weight).max()


def test_a_step_far_too_long_is_cut_until_no_objective_grows():
    """Where scores saturate there is no curvature, and Newton's step for the length would be without end."""
    x, y = correlated(90, 150, 2, 1.0)
    found = Site.of(torch.from_numpy(x), torch.ones(1, 90, dtype=torch.bool))
    fits = found.path(torch.from_numpy(y), [1.0], 1e-3)[1.0]
    start = fits.pick(torch.tensor([0]))
    start.w.zero_(), start.f.zero_()
    for length in (1.0, 30.0, 1e5):
        moved = newton._moved(start, length * fits.w, length * fits.f, torch.ones(1, 1), torch.zeros(1, 1))
        if length < 1e5:
            assert torch.allclose(moved.w, fits.w, rtol=0.05, atol=1e-3 * float(fits.w.abs().max()))
        at, before = (newton._loss(each, each.f + each.b) + each.w.square().sum() / 2 for each in (moved, start))
        assert at <= before


def test_work_side_by_side_comes_out_in_order_and_leaves_the_cores_as_they_were():
    cores = torch.get_num_threads()
    try:
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            before = torch.__config__.parallel_info()
            assert list(side_by_side(lambda i: (i, torch.get_num_threads()), range(7))) == [(i, 1) for i in range(7)]
            assert torch.__config__.parallel_info() == before
            with pytest.raises(ZeroDivisionError):
                list(side_by_side(lambda i: 1 / (i - 4), range(9)))
            assert torch.get_num_threads() == n
        assert list(side_by_side(lambda _: torch.get_num_threads(), range(2))) == [3, 3]
        read = []
        begun = side_by_side(lambda i: i, (read.append(i) or i for i in range(50)))
        assert next(begun) == 0 and len(read) <= 4
        begun.close()
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(cores)


def test_scores_that_are_kept_along_the_way_are_those_of_the_weights():
    x, y = correlated(90, 150, 13, 1.0)
    found = Site.of(torch.from_numpy(x), torch.ones(1, 90, dtype=torch.bool))
    fits = found.path(torch.from_numpy(y), PENALTIES, 1e-2)[10.0]
    again = found.x @ (fits.w / fits.scale).double().T + fits.b[:, 0].double()
    assert torch.allclose(found.scores(fits).double(), again.T, atol=1e-3 * float(again.abs().max()))


def test_a_fit_that_does_not_converge_is_refused_by_the_name_of_its_cell(monkeypatch):
    x, y = correlated(90, 20, 4, 1.0)
    monkeypatch.setattr(newton, "STEPS", 0)

    def gives_up(*_):
        raise NotConverged("stopped")

    monkeypatch.setattr(site, "fit", gives_up)
    split = Split(np.arange(90), np.empty(0, np.int64), folds_of(90, 3))
    with pytest.raises(EstimateError, match="at think_50, layer 7: stopped"):
        fit_grid({"think_50": x[None]}, (7,), y, split, PENALTIES)


def test_a_grid_keeps_scikit_learns_probe_and_its_choice():
    x, y = correlated(160, 80, 5, 1.0)
    split = Split(np.arange(120), np.arange(120, 160), folds_of(120, 4))
    candidates = PENALTIES[::-1]
    cell = fit_grid({"p": x[None]}, (0,), y, split, candidates)[0]
    inner = []
    for c in candidates:
        held = [
            (split.fold == fold, *exact(x[:120][split.fold != fold], y[:120][split.fold != fold], c))
            for fold in range(4)
        ]
        inner.append(np.mean([auroc(x[:120][rows] @ weight, y[:120][rows]) for rows, weight, _ in held]))
    assert int(np.argmax(inner)) > 0
    assert cell.penalty == candidates[int(np.argmax(inner))]
    assert cell.inner_auroc == pytest.approx(max(inner), abs=0.005)
    for fold in range(4):
        rows = split.fold == fold
        weight, bias = exact(x[:120][~rows], y[:120][~rows], cell.penalty)
        held = x[:120][rows] @ weight + bias
        assert np.abs(cell.scores[:120][rows] - held).max() < 0.005 * np.abs(held).max()
    weight, bias = exact(x[:120], y[:120], cell.penalty)
    assert np.abs(cell.direction.weight - weight).max() < 1e-3 * np.abs(weight).max()
    assert abs(cell.direction.bias - bias) < 1e-2 * max(1, abs(bias))


def test_splits_side_by_side_are_those_one_by_one_and_every_row_is_scored_once():
    x, y = correlated(150, 60, 6, 1.0)
    outer = folds_of(150, 3)
    splits = [Split(np.flatnonzero(outer != k), np.flatnonzero(outer == k), folds_of(100, 4)) for k in range(3)]
    acts = {"a": np.stack([x, x[::-1]]), "b": x[None].repeat(2, axis=0)}
    together = fit_splits(acts, (3, 5), y, splits, PENALTIES)
    for cells, split in zip(together, splits, strict=True):
        for cell, alone in zip(cells, fit_grid(acts, (3, 5), y, split, PENALTIES), strict=True):
            assert (cell.position, cell.layer) == (alone.position, alone.layer)
            if cell.penalty == alone.penalty:
                assert np.allclose(
                    cell.direction.weight, alone.direction.weight, atol=2e-3 * np.abs(alone.direction.weight).max()
                )
    nested = cross_validated(acts, (3, 5), y, splits, PENALTIES)
    for split, cell in zip(splits, nested.chosen, strict=True):
        assert cell.layer == 3 or cell.position == "b"
        at = acts[cell.position][(3, 5).index(cell.layer)]
        assert np.allclose(nested.scores[split.test], cell.direction.score(at)[split.test])
    assert auroc(nested.scores, y) > 0.7
    with pytest.raises(ValueError, match="each once"):
        cross_validated(acts, (3, 5), y, splits[:2], PENALTIES)


@pytest.mark.parametrize(
    ("sites", "blocks"),
    [
        (1, [(("p",), (n,)) if k == 0 else (("q",), (n,)) for n in range(10, 17) for k in range(2)]),
        (4, [(("p", "q"), layers) for layers in ((10, 11), (12, 13), (14, 15), (16,))]),
        (1000, [(("p", "q"), tuple(range(10, 17)))]),
    ],
)
def test_streamed_activations_are_read_a_few_layers_at_a_time_and_give_the_same(sites, blocks):
    x, y = correlated(120, 60, 7, 1.0)
    acts = {"p": np.stack([x * (1 + i) for i in range(7)]), "q": np.stack([x[:, ::-1] + i for i in range(7)])}
    split = Split(np.arange(90), np.arange(90, 120), folds_of(90, 3))
    asked = []

    def read(positions: tuple[str, ...], layers: tuple[int, ...]) -> dict[str, np.ndarray]:
        asked.append((positions, layers))
        return {name: acts[name][[layer - 10 for layer in layers]] for name in positions}

    numbers = range(10, 17)
    site_bytes = acts["p"][0].nbytes
    streamed = Streamed(("p", "q"), read, site_bytes, budget=2 * sites * site_bytes)
    found = fit_grid(streamed, numbers, y, split, PENALTIES)
    assert asked == blocks
    whole = fit_grid(acts, numbers, y, split, PENALTIES)
    for cell, other in zip(found, whole, strict=True):
        assert (cell.position, cell.layer, cell.penalty) == (other.position, other.layer, other.penalty)
        assert np.array_equal(cell.scores, other.scores)
    settings = {"penalty": 0.01, "n": 5, "seed": 0, "groups": np.arange(120)}
    null = shuffled_null(streamed, y, split=split, layers=numbers, **settings)
    for name, found_null in shuffled_null(acts, y, split=split, **settings).auroc.items():
        assert np.array_equal(null.auroc[name], found_null)
    assert np.array_equal(site_of(streamed, numbers, "q", 12), site_of(acts, numbers, "q", 12))
    with pytest.raises(EstimateError, match="give the layers"):
        shuffled_null(streamed, y, split=split, **settings)


def test_of_cells_that_are_equally_good_the_first_is_taken():
    def cell(position: str, layer: int, inner: float) -> Cell:
        return Cell(position, layer, 0.1, inner, np.zeros(0), Direction(position, layer, np.zeros(1), 0.0))

    cells = [cell("last_prompt", 4, 0.9), cell("last_prompt", 7, 0.951), cell("think_0", 2, 0.955)]
    assert best_cell(cells) is cells[1]
    assert best_cell([*cells, cell("think_50", 1, 0.957)]).position == "think_0"


@pytest.mark.parametrize(("rows", "width"), [(40, 12), (12, 40), (30, 90)])
def test_axes_of_rows_are_orthonormal_where_variance_falls_off(rows, width):
    generator = torch.Generator().manual_seed(3)
    basis = Basis.of(torch.randn(rows, width, generator=generator) * torch.logspace(0, -4, width))
    n = basis.vectors.shape[1]
    assert n > 3
    assert torch.allclose(basis.vectors.T @ basis.vectors, torch.eye(n), atol=1e-5)


def test_nearly_orthonormal_vectors_are_made_so_and_keep_their_span():
    generator = torch.Generator().manual_seed(4)
    exact = torch.linalg.qr(torch.randn(30, 6, generator=generator))[0]
    nearly = exact + 1e-2 * torch.randn(30, 6, generator=generator)
    assert not torch.allclose(nearly.T @ nearly, torch.eye(6), atol=1e-3)
    found = _orthonormal(nearly)
    assert torch.allclose(found.T @ found, torch.eye(6), atol=1e-5)
    assert torch.allclose(found @ (found.T @ nearly), nearly, atol=1e-5)
    assert torch.allclose(found, nearly, atol=0.1)


@pytest.mark.parametrize("width", [30, 150])
def test_permutations_at_once_are_those_one_at_a_time(width):
    x, y = correlated(120, width, 8, 1.0)
    split = Split(np.arange(80), np.arange(80, 120), folds_of(80, 4))
    groups = np.arange(120) // 3
    null = shuffled_null({"p": x[None]}, y, groups, split, penalty=0.1, n=40, seed=3).auroc["p"][0]
    rng = np.random.default_rng(3)
    dev = [shuffled_by_group(y[:80], groups[:80], rng) for _ in range(40)]
    test = [shuffled_by_group(y[80:], groups[80:], rng) for _ in range(40)]
    alone = [auroc(x[80:].astype(np.float64) @ exact(x[:80], a, 0.1)[0], b) for a, b in zip(dev, test, strict=True)]
    assert np.abs(null - alone).max() < 2 * TOLERANCE
    assert np.abs(null - alone).mean() < 0.004


def test_rows_that_cannot_be_fitted_are_refused_by_name():
    x, y = correlated(90, 20, 9, 1.0)
    split = Split(np.arange(60), np.arange(60, 90), folds_of(60, 3))
    bad = np.stack([x, x])
    bad[1, [3, 70], 5] = np.nan, np.inf
    with pytest.raises(EstimateError, match="at p, layer 8 hold NaN or infinity in rows 3, 70: record"):
        fit_grid({"p": bad}, (4, 8), y, split, PENALTIES)
    with pytest.raises(EstimateError, match="at p, layer 8 hold NaN or infinity in rollouts 103, 170: record"):
        fit_grid({"p": bad}, (4, 8), y, split, PENALTIES, rollouts=range(100, 190))
    bad[1, :, 0] = np.nan
    with pytest.raises(EstimateError, match="rows 0, 1, 2, 3, 4 and 85 more"):
        shuffled_null({"p": bad}, y, np.arange(90), split, penalty=0.1, n=2, seed=0)
    one = np.where(split.fold == 0, y[:60], False)
    with pytest.raises(EstimateError, match="one class only"):
        fit_grid({"p": x[None]}, (0,), np.concatenate([one, y[60:]]), split, PENALTIES)
    with pytest.raises(EstimateError, match="89 labels for 90 rows"):
        fit_grid({"p": x[None]}, (0,), y[:-1], split, PENALTIES)
    with pytest.raises(EstimateError, match="2 layers, row, width"):
        fit_grid({"p": x[None]}, (0, 1), y, split, PENALTIES)
    with pytest.raises(EstimateError, match="fewer than 2 rows"):
        Site.of(torch.from_numpy(x), torch.zeros(1, 90, dtype=torch.bool))


def test_features_that_are_constant_in_a_fold_do_no_harm():
    x, y = correlated(90, 20, 10, 1.0)
    masks = np.stack([folds_of(90, 3) != fold for fold in range(3)])
    x[:, 4:10] = np.where(masks[0][:, None], np.float32([0.1, 0.7, 2.53, 1 / 3, 1e3 / 7, 0.01]), x[:, 4:10])
    x[~masks[1], 12] = 1e4
    found = Site.of(torch.from_numpy(x), torch.from_numpy(masks))
    assert bool((found.scale[0, 4:10] == 1).all())
    fits = found.refined(found.path(torch.from_numpy(y), [0.1], 1e-2)[0.1], 1e-4)
    for fold, mask in enumerate(masks):
        weight, _ = exact(x[mask], y[mask], 0.1)
        assert np.abs(found.directions(fits).weight[fold].numpy() - weight).max() < 1e-3 * np.abs(weight).max()


def test_moments_of_batches_are_those_of_all_rows():
    x, y = correlated(200, 12, 11, 1.0)
    x = x + np.float32(1000)
    whole = Moments.of(x, y)
    merged = Moments.of_batches((x[i : i + 37], y[i : i + 37]) for i in range(0, 200, 37))
    only = Moments.of_batches([(x[y], y[y]), (x[~y], y[~y])])
    for found in (merged, only):
        assert np.array_equal(found.count, whole.count)
        assert np.allclose(found.mean, whole.mean, rtol=1e-12)
        assert np.allclose(found.scatter, whole.scatter, rtol=1e-6, atol=1e-6)
    double = x.astype(np.float64)
    mean, scatter = merged.pooled()
    assert np.allclose(mean, double.mean(axis=0))
    assert np.allclose(scatter, np.cov(double.T, bias=True) * 200, rtol=1e-6, atol=1e-6)
    assert np.allclose(whole.scatter[1], np.cov(double[y].T, bias=True) * y.sum(), rtol=1e-6, atol=1e-6)
    with pytest.raises(EstimateError, match="no rows"):
        Moments.of_batches([])
    with pytest.raises(EstimateError, match="widths 12 and 11"):
        whole.merged(Moments.of(x[:, 1:], y))
    with pytest.raises(EstimateError, match="NaN or infinity in rows 2"):
        Moments.of(np.where(np.arange(200)[:, None] == 2, np.nan, x), y)
