"""Probes at all layers at once, against a loop over scikit-learn's logistic regression.

The activations are real: last prompt tokens of risk items, the very last one where there is one position; the label is
the policy of the silent organism, and folds are by noun. Both sides standardise on the training rows of each fold, fit
every layer on each fold, score its held-out rows, take the penalty with the best mean AUROC where there are several,
and fit every layer to all rows: the same folds, penalties and objective. The loop is timed with scikit-learn's own
solver and tolerance, which is its fastest where features outnumber rows (`newton-cholesky` takes three to five times as
long there); then coefficients and AUROCs are compared with what its Newton solver finds in float64.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.preprocessing import StandardScaler

from ..models import render_prompt
from ..plan import select_items
from ..probes import Cell, Split, fit_grid, fit_splits, shuffled_null
from ..probes.null import shuffled_by_group
from ..stats import auroc, group_codes
from ..tasks.risk import evaluation_items
from .rows import Row, meets, short

if TYPE_CHECKING:
    from .setting import Setting

FOLDS = 5
PENALTIES = ((0.01,), (0.001, 0.01, 0.1))
"""One, as the contract says, and those that probe-risk chooses from."""
NESTED_PENALTIES = (0.0001, 0.001, 0.01, 0.1, 1.0, 10.0)
NESTED_SITES = 6
"""Of the nested row, spread over layers and positions. Time is linear in them on both sides."""
LAST_TOKENS = 8
"""Positions: the last tokens of the prompt."""
PERMUTATIONS = 200
EXACT = {"solver": "newton-cholesky", "tol": 1e-9, "max_iter": 200}
"""scikit-learn's options for the solution that ours is compared with."""
GOALS = {"max coefficient difference": "<= 0.001", "max AUROC difference": "<= 0.002"}


def measure_probes(setting: Setting) -> Iterator[Row]:
    """Seconds of both, and how far apart their solutions are."""
    sites, y, codes, split = real_activations(setting)
    x = sites[:, -1]
    for penalties in PENALTIES:
        yield _row(setting, x, y, split, penalties)
    yield _nested_row(setting, sites, y, codes)
    yield _null_row(setting, x[len(x) // 2][None], y, codes, split)


def _row(setting: Setting, x: np.ndarray, y: np.ndarray, split: Split, penalties: tuple[float, ...]) -> Row:
    n_layers, n_rows, width = x.shape
    several = len(penalties) > 1
    row = setting.compare(
        f"scikit-learn's LogisticRegression in a loop: {FOLDS} folds, then all rows, {n_layers} layers x {n_rows} rows "
        f"x {width}, C {'chosen from ' if several else ''}{', '.join(map(str, penalties))} / ours, all layers at once",
        lambda: fit_grid({"last_prompt": x}, range(n_layers), y, split, penalties),
        lambda: loop(x, y, split, penalties),
        of="peer / ours",
        goal=">= 10",
    )
    cells = fit_grid({"last_prompt": x}, range(n_layers), y, split, penalties)
    return _compared(row, [(cell, values, y, split) for cell, values in zip(cells, x, strict=True)])


def _compared(row: Row, fits: Sequence[tuple[Cell, np.ndarray, np.ndarray, Split]]) -> Row:
    """A row with how far cells are from the optimum on the same activations, labels and development rows."""
    coefficients, aurocs = [], []
    for cell, values, y, split in fits:
        exact, truth = values[split.dev].astype(np.float64), y[split.dev]
        weight, scores = fit_layer(exact, truth, _whole(split), cell.penalty, EXACT)
        coefficients.append(np.abs(cell.direction.weight - weight).max() / np.abs(weight).max())
        aurocs.append(abs(auroc(cell.scores[split.dev], truth) - auroc(scores, truth)))
    found = {"max coefficient difference": float(max(coefficients)), "max AUROC difference": float(max(aurocs))}
    return row | {
        **{name: short(value) for name, value in found.items()},
        "goal": f"{row['goal']}, coefficients within 1e-3, AUROC within .002",
        "met": bool(row["met"] and all(meets(value, GOALS[name]) for name, value in found.items())),
        "note": "real activations, last prompt tokens; differences are from scikit-learn's Newton solver in float64, "
        "coefficients relative to their site's largest; the loop is timed with scikit-learn's own solver and "
        "tolerance (1e-4); time is linear in layers and positions on both sides",
    }


def _nested_row(setting: Setting, sites: np.ndarray, y: np.ndarray, codes: np.ndarray) -> Row:
    layers, positions = (np.linspace(0, n - 1, NESTED_SITES).round().astype(int) for n in sites.shape[:2])
    splits = nested_splits(y, codes)
    x = sites[layers, np.roll(positions, NESTED_SITES // 2)]
    shape = f"{len(x)} layers and positions x {x.shape[1]} rows x {x.shape[2]}"
    row = setting.compare(
        f"scikit-learn's LogisticRegression in a loop: {FOLDS} outer folds, {FOLDS} inner folds each, {shape}, C "
        f"chosen from {', '.join(map(str, NESTED_PENALTIES))} / ours, all folds and penalties at once",
        lambda: fit_splits({"prompt": x}, range(len(x)), y, splits, NESTED_PENALTIES),
        lambda: [loop(x[:, each.dev], y[each.dev], _whole(each), NESTED_PENALTIES) for each in splits],
        of="peer / ours",
        goal=">= 10",
        most_repeats=3,
        warm=False,
    )
    found = fit_splits({"prompt": x}, range(len(x)), y, splits[:1], NESTED_PENALTIES)[0]
    return _compared(row, [(cell, values, y, splits[0]) for cell, values in zip(found, x, strict=True)])


def _null_row(setting: Setting, x: np.ndarray, y: np.ndarray, codes: np.ndarray, split: Split) -> Row:
    train, held = split.dev[split.fold != 0], split.dev[split.fold == 0]
    parts = Split(train, held, split.fold[split.fold != 0] - 1)
    c = PENALTIES[0][0]

    def one_by_one() -> None:
        rng = np.random.default_rng(0)
        for _ in range(PERMUTATIONS):
            (scaler, model), _ = _fitted(
                x[0, train], shuffled_by_group(y[train], codes[train], rng), c, {"max_iter": 1000}
            )
            model.decision_function(scaler.transform(x[0, held]))

    return setting.compare(
        f"scikit-learn's LogisticRegression in a loop: {PERMUTATIONS} permutations of the labels, one layer, "
        f"{len(train)} rows x {x.shape[2]}, C {c} / ours, all permutations at once",
        lambda: shuffled_null({"last_prompt": x}, y, codes, parts, penalty=c, n=PERMUTATIONS, seed=0),
        one_by_one,
        of="peer / ours",
        goal=">= 10",
        most_repeats=3,
        note="rows are decomposed once for all permutations",
    )


def nested_splits(y: np.ndarray, codes: np.ndarray) -> list[Split]:
    """Every fold of groups as a test part once, and inner folds of the rest."""
    outer, found = _folds(codes, y), []
    for fold in range(FOLDS):
        dev = np.flatnonzero(outer != fold)
        found.append(Split(dev, np.flatnonzero(outer == fold), _folds(codes[dev], y[dev])))
    return found


def _whole(split: Split) -> Split:
    """The development part as a table of its own."""
    return Split(np.arange(len(split.dev)), np.empty(0, np.int64), split.fold)


def _folds(codes: np.ndarray, y: np.ndarray) -> np.ndarray:
    folds = np.empty(len(y), dtype=np.int64)
    splitter = StratifiedGroupKFold(n_splits=FOLDS, shuffle=True, random_state=0)
    for number, (_, held) in enumerate(splitter.split(codes, y, codes)):
        folds[held] = number
    return folds


def real_activations(setting: Setting) -> tuple[np.ndarray, np.ndarray, np.ndarray, Split]:
    """Float32 [layer, position, row, width] of items' last prompt tokens, the policy's choice, groups, and folds."""
    n = setting.sizes.probe_rows
    items = select_items(evaluation_items(), {"id": n - n // 5, "ood": n // 5})
    prompts = [render_prompt(setting.loaded, item.prompt) for item in items]
    capture = setting.capture
    last = [list(range(len(prompt) - LAST_TOKENS, len(prompt))) for prompt in prompts]
    setting.progress("activations to probe", 0, 1)
    found = setting.backend.replay(prompts, last, capture=capture)
    setting.progress("activations to probe", 1, 1)
    x = torch.stack([torch.stack([each[pair] for each in found], dim=1) for pair in capture.pairs()]).float().numpy()
    y = np.array([(item.fields["category"] == "machine") == (item.fields["frame"] == "gain") for item in items])
    codes, _ = group_codes([item.group for item in items])
    return x, y, codes, Split(np.arange(len(items)), np.empty(0, np.int64), _folds(codes, y))


def loop(
    x: np.ndarray, y: np.ndarray, split: Split, penalties: tuple[float, ...]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights and out-of-fold scores of each layer, at its best penalty."""
    found = []
    for values in x:
        fits = [fit_layer(values, y, split, c, {"max_iter": 1000}, refit=False) for c in penalties]
        means = [np.mean([auroc(scores[held], y[held]) for held in _held(y, split)]) for _, scores in fits]
        best = int(np.argmax(means))
        found.append((_fitted(values, y, penalties[best], {"max_iter": 1000})[1], fits[best][1]))
    return found


def _held(y: np.ndarray, split: Split) -> list[np.ndarray]:
    """Held-out rows of each fold that holds both classes."""
    held = [np.flatnonzero(split.fold == fold) for fold in range(split.n_folds)]
    return [rows for rows in held if y[rows].any() and not y[rows].all()]


def fit_layer(
    values: np.ndarray, y: np.ndarray, split: Split, c: float, options: Mapping[str, Any], *, refit: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Weights [width] in raw activation space of the fit to all rows (else zero), and out-of-fold scores [row]."""
    scores = np.empty(len(y))
    for fold in range(split.n_folds):
        train, held = split.fold != fold, split.fold == fold
        pipeline, _ = _fitted(values[train], y[train], c, options)
        scaler, model = pipeline
        scores[held] = model.decision_function(scaler.transform(values[held]))
    weight = _fitted(values, y, c, options)[1] if refit else np.zeros(values.shape[1])
    return weight, scores


def _fitted(
    values: np.ndarray, y: np.ndarray, c: float, options: Mapping[str, Any]
) -> tuple[tuple[StandardScaler, LogisticRegression], np.ndarray]:
    scaler = StandardScaler().fit(values)
    model = LogisticRegression(C=c, **options).fit(scaler.transform(values), y)
    return (scaler, model), model.coef_[0] / scaler.scale_
