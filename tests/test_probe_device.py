"""Where probes are fitted: what is asked for, and that a fit on one device keeps everything there.

No GPU is needed: `other_device` stands for one, and refuses what a GPU would.
"""

from __future__ import annotations

import os
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from introspect.cli import main
from introspect.errors import SpecError
from introspect.probes import (
    control_task,
    device,
    fit_grid,
    fit_splits,
    grid,
    newton,
    shuffled_null,
    site,
    split_groups,
)
from introspect.probes.curvature import Basis
from introspect.probes.device import COPIES, FITS, on_device, probe_device
from introspect.probes.logistic import fit, kernel
from introspect.surroundings import PROBE_DEVICE, read_probe_device, surroundings
from introspect.transfer.shuffled import shuffled_aurocs
from other_device import ELSEWHERE, Elsewhere, elsewhere

PENALTIES = (0.001, 0.1)


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch):
    """What the command line writes into the environment is taken out again."""
    monkeypatch.setenv(PROBE_DEVICE, "")
    monkeypatch.delenv(PROBE_DEVICE)


@pytest.fixture
def there(monkeypatch):
    """Fits go to the other device, from now on."""

    def send():
        for module in (device, grid):
            monkeypatch.setattr(module, "probe_device", lambda n_bytes=0: ELSEWHERE)

    return send


def planted(n: int, width: int, layers: int = 2):
    rng = np.random.default_rng(3)
    y, groups = rng.random(n) < 0.4, np.arange(n) // 3
    x = rng.normal(size=(layers, n, width)) * np.arange(1, width + 1) ** -0.7
    x[:, :, 3] += 0.5 * y
    return x.astype(np.float32), y, groups


def folds(y, groups, seed=0):
    return split_groups(groups, y, test_fraction=0.3, inner_folds=3, seed=seed)


def cells_of(found):
    return [(c.position, c.layer, c.penalty) for cells in found for c in cells]


@pytest.mark.parametrize(
    ("width", "basis", "setting"),
    [
        (60, None, {(newton, "PAYS"): 1e9}),
        (60, "leading", {(newton, "PAYS"): 0.0}),
        (1100, "of", {(newton, "WIDE_PAYS"): 0.0}),
        (60, None, {(newton, "STEPS_FLOAT32"): 1}),
        (40, "leading", {(newton, "STEPS"): 1}),
        (60, None, {(site, "SIDE_BY_SIDE_ON_GPU"): 1, (site, "FEWEST"): 6}),
    ],
    ids=["plain", "shared axes", "own factors", "steps in float64", "exactly", "in parts"],
)
def test_a_grid_is_fitted_on_one_device_from_its_rows_to_its_scores(monkeypatch, there, width, basis, setting):
    x, y, groups = planted(90, width, layers=1)
    splits = [folds(y, groups, seed) for seed in (0, 1)]
    for (module, name), value in setting.items():
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(site, "has_bfloat16", lambda device: width == 60)
    here = fit_splits({"think_0": x}, (4,), y, splits, PENALTIES)
    there()
    made = []
    for name in ("leading", "of"):
        plain = getattr(Basis, name)
        monkeypatch.setattr(Basis, name, lambda *args, name=name, plain=plain: made.append(name) or plain(*args))
    with elsewhere() as mode:
        found = fit_splits({"think_0": x}, (4,), y, splits, PENALTIES)
    assert mode.count > 500
    assert set(made) == ({basis} if basis else set())
    assert cells_of(found) == cells_of(here)
    for one, other in zip([c for cells in here for c in cells], [c for cells in found for c in cells], strict=True):
        size = np.linalg.norm(one.direction.weight)
        assert np.linalg.norm(other.direction.weight - one.direction.weight) < 2 * grid.KEPT * size
        assert np.abs(one.scores - other.scores).max() < 2 * grid.SCORED * np.abs(one.scores).max()


def test_what_is_fitted_to_shuffled_labels_stays_on_one_device(there):
    x, y, groups = planted(90, 60, layers=1)
    split, seeds = folds(y, groups), {"penalty": 0.1, "n": 12, "seed": 5}
    organisms = {"a": SimpleNamespace(recorded=SimpleNamespace(acted=y, groups=groups), split=split, ood=split.test)}
    measures = {
        "null": lambda: shuffled_null({"think_0": x}, y, groups, split, **seeds).auroc["think_0"],
        "control": lambda: control_task(x[0], y, groups, split, **seeds).control,
        "transfer": lambda: (
            shuffled_aurocs(organisms, "a", SimpleNamespace(penalty=0.1), {"a": x[0]}, seed=5)["a"].test
        ),
    }
    here = {name: measure() for name, measure in measures.items()}
    there()
    for name, measure in measures.items():
        with elsewhere() as mode:
            found = measure()
        assert mode.count > 100, name
        assert type(found) is np.ndarray, name
        assert np.abs(found - here[name]).max() < 0.002, name


def test_the_other_device_refuses_what_a_gpu_would():
    with elsewhere():
        x = torch.ones(3, 2).to(ELSEWHERE)
        assert type(x) is Elsewhere
        assert type(torch.zeros(2, device=x.device)) is Elsewhere
        assert type(x[torch.tensor([0, 2])] * torch.tensor(2.0)) is Elsewhere
        assert (x.sum().item(), type(x.cpu())) == (6.0, torch.Tensor)
        for mixed in (
            lambda: x + torch.ones(2),
            lambda: torch.ones(4, 3) @ x,
            lambda: torch.where(torch.ones(3, 2) > 0, x, x),
            lambda: torch.cat([x, torch.ones(1, 2)]),
            lambda: torch.ones(3)[x[:, 0].long()],
            lambda: torch.addmm(x, torch.ones(3, 2), x[:2]),
        ):
            with pytest.raises(RuntimeError, match=r"(on|of) the processor"):
                mixed()
        for array in (x.numpy, lambda: np.asarray(x)):
            with pytest.raises(TypeError, match="bring it back first"):
                array()


def test_exact_fits_are_solved_where_their_kernel_is():
    x, y, _ = planted(30, 20, layers=1)
    z, labels = torch.from_numpy(x[0]).double()[None], torch.from_numpy(y)
    here = fit(kernel(z), labels, 0.1)
    with elsewhere():
        found = fit(kernel(z.to(ELSEWHERE)), labels.to(ELSEWHERE), 0.1)
        assert type(found.a) is Elsewhere
        assert torch.equal(found.a.cpu(), here.a)


def a_gpu(monkeypatch, *, free: int, count: int = 1, unused: int = 0):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (free, 80 << 30))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: 5 + unused)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: 5)


def test_a_gpu_is_taken_where_there_is_one_with_room_and_nobody_says_otherwise(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert probe_device() == torch.device("cpu")
    enough = FITS + 1000 * COPIES
    a_gpu(monkeypatch, free=enough)
    assert probe_device(1000) == torch.device("cuda")
    assert probe_device(1001) == torch.device("cpu")
    a_gpu(monkeypatch, free=enough - 50, unused=50)
    assert probe_device(1000) == torch.device("cuda")
    monkeypatch.setenv(PROBE_DEVICE, "cpu")
    assert probe_device(1000) == torch.device("cpu")
    monkeypatch.setenv(PROBE_DEVICE, "cuda")
    assert probe_device(1001) == torch.device("cuda")


def test_a_gpu_that_is_not_here_is_refused_before_anything_is_fitted(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv(PROBE_DEVICE, "cuda")
    x, y, groups = planted(90, 4)
    with pytest.raises(SpecError, match="probe-device names cuda, and this machine has none: choose auto or cpu"):
        fit_grid({"think_0": x}, (0, 1), y, folds(y, groups), (1.0,))
    a_gpu(monkeypatch, free=1, count=2)
    monkeypatch.setenv(PROBE_DEVICE, "cuda:1")
    assert probe_device() == torch.device("cuda:1")
    monkeypatch.setenv(PROBE_DEVICE, "cuda:2")
    with pytest.raises(SpecError, match="names cuda:2, and this machine has 2 of them"):
        probe_device()


def test_a_gpu_that_runs_out_of_memory_is_left_for_the_processor_unless_it_was_asked_for(monkeypatch, there):
    there()
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(1))
    emptied, tried = [], []

    def work(x):
        tried.append(x.device)
        if x.device == ELSEWHERE:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return float(x.sum())

    with elsewhere():
        assert on_device(work, torch.ones(3, 2)) == 6.0
        assert (tried, emptied) == ([ELSEWHERE, torch.device("cpu")], [1])
        monkeypatch.setenv(PROBE_DEVICE, "cuda:0")
        with pytest.raises(SpecError, match="has no room for probes on 3 rows of width 2: choose probe-device auto or"):
            on_device(work, torch.ones(3, 2))
    assert len(tried) == 3


@pytest.mark.parametrize("said", ["gpu", "cuda:", "cuda:x", "mps", "CPU", "cuda:0,cuda:1"])
def test_a_device_that_cannot_be_read_is_refused(monkeypatch, said):
    with pytest.raises(
        SpecError, match=f"^probe-device '{said}' is not known: choose auto, cpu, or a GPU such as cuda"
    ):
        read_probe_device(said)
    monkeypatch.setenv(PROBE_DEVICE, said)
    with pytest.raises(SpecError, match="is not known"):
        surroundings()


def test_the_command_line_says_where_probes_are_fitted(capsys):
    said = partial(_run, capsys)
    assert said("--probe-device", "gpu", "list") == (
        2,
        "introspect: probe-device 'gpu' is not known: choose auto, cpu, or a GPU such as cuda:0\n",
    )
    assert PROBE_DEVICE not in os.environ
    assert said("--probe-device", "cpu", "list")[0] == 0
    assert surroundings().probe_device == "cpu"


def _run(capsys, *args):
    with pytest.raises(SystemExit) as stop:
        main([*args])
    return stop.value.code, capsys.readouterr().err
