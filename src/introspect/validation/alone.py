"""Draws of numbers that are put to one measure, as its stage does it: no rollout, and nothing else of a run.

What is true then follows from what was drawn them from: in closed form, or from a population of one row an item, as for
draws that are analysed whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit
from scipy.stats import norm

from ..causal.effects import Effect, Measured, effect
from ..features import Probed
from ..probes import split_groups
from ..probing import ProbeStage, SecondLabels
from ..probing.label_noise import label_noise
from ..stats import CHANCE, Estimate, auroc
from ..transfer.carried import TEXTS, Carried, Row, fit_at, scored
from ..transfer.cells import Cells
from ..transfer.common_split import split_together
from ..transfer.recorded import Recorded
from ..transfer.shuffled import shuffled_aurocs
from .planted import OF_ITEM
from .spec import Sizes, ValidateInstrument

Found = dict[str, Any]
Json = Mapping[str, Any]
APART, MISREAD, READ = 1.2, 0.15, 0.5
"""Of labels with errors: distance of the classes' scores, share of wrong labels, share of rows that are read again."""
PLACE = ("think_100", 0)
N_CONTROLS, CONTROL_ITEMS = 40, 6
"""Directions beside a tested one; items that they are steered on where chains are sampled."""
USUAL, LARGE = 0.5, 4.0
"""Spread of what directions do to log-odds; a planted push, as a multiple of it."""
OF_OUTSET = 1.5
"""Spread over items of the log-odds before."""
STEPS = 2001
"""Points at which that spread is taken for the truth of a share."""


def alone(spec: ValidateInstrument, scenario: str, rng: np.random.Generator) -> Found:
    """What a draw found, and what is true: `p_value`, `p_values`, `estimates` and `truth`."""
    return {"p_value": None, "p_values": {}} | DRAWN[scenario](spec, rng)


def labels_with_errors(spec: ValidateInstrument, rng: np.random.Generator, *, apart: float) -> Found:
    """A probe's scores, labels with errors, and a second classifier's without."""
    item, true = _choices(spec.sizes, rng)
    n = len(item)
    scores = apart * true + OF_ITEM * rng.normal(size=spec.sizes.items)[item] + rng.normal(size=n)
    labels = true ^ (rng.random(n) < MISREAD)
    second = SecondLabels("a second classifier", true, rng.random(n) < READ)
    seed = int(rng.integers(2**32))
    settings = spec.probe
    split = split_groups(
        item, labels, test_fraction=settings.test_fraction, inner_folds=settings.inner_folds, seed=seed
    )
    found = label_noise(_stage(spec, item, labels, split, second, seed), scores)
    truth = float(norm.cdf(apart / np.sqrt(2 * (1 + OF_ITEM**2))))
    names = ("auroc_corrected", "auroc_by_second")
    return {
        "estimates": {name: numbers(found.get(name, {})) for name in names},
        "truth": dict.fromkeys(names, truth),
    }


def _stage(
    spec: ValidateInstrument, item: np.ndarray, labels: np.ndarray, split: Any, second: SecondLabels, seed: int
) -> ProbeStage:
    """A stage of scores that are there already."""
    return ProbeStage(
        rollouts=[],
        labels=labels,
        groups=item,
        split=split,
        ood=np.zeros(0, dtype=np.int64),
        layers=(),
        activations={},
        base=None,
        chains={},
        whole_chains=[],
        margins={},
        prior=None,
        lengths={},
        settings=spec.probe,
        seed=seed,
        embedding="none is planted",
        second=second,
    )


def carried_over(spec: ValidateInstrument, rng: np.random.Generator, *, same: bool) -> Found:
    """Two organisms of the same items; the first one's probe is put to the second."""
    sizes, seed = spec.sizes, int(rng.integers(2**32))
    axes = rng.normal(size=(2, sizes.width))
    axes[1] = axes[0] if same else axes[1]
    axes *= sizes.strength / np.linalg.norm(axes, axis=1, keepdims=True)
    item = np.concatenate(
        [np.repeat(np.arange(sizes.items), sizes.rollouts), sizes.items + np.arange(sizes.population)]
    )
    leaning = rng.beta(2, 2, item.max() + 1)
    recorded, values = {}, {}
    for name, axis in zip("ab", axes, strict=True):
        acted = rng.random(len(item)) < leaning[item]
        shared = OF_ITEM * rng.normal(size=(item.max() + 1, sizes.width))[item]
        noise = shared + rng.normal(size=shared.shape)
        values[name] = (noise + (acted - 0.5)[:, None] * axis).astype(np.float32)
        recorded[name] = Recorded(
            Path(),
            spec.experiment(seed),
            (PLACE[1],),
            sizes.width,
            Probed([], PLACE[:1], {}, []),
            acted,
            np.array([f"i{each}" for each in item]),
            item >= sizes.items,
        )
    settings = spec.probe
    organisms = split_together(
        recorded, test_fraction=settings.test_fraction, inner_folds=settings.inner_folds, seed=seed
    )
    cells = {name: fit_at(each, values[name], PLACE, settings.penalties) for name, each in organisms.items()}
    words = dict.fromkeys(TEXTS, "no words are planted")
    rows = {name: Row(PLACE, cell, scored(cell, values), words) for name, cell in cells.items()}
    shuffled = {name: shuffled_aurocs(organisms, name, cell, values, seed=seed) for name, cell in cells.items()}
    study = Carried(organisms, rows, settings.bootstrap, seed)
    cell = Cells(study, {}, shuffled).matrix()["a"]["b"]

    def worth(fitted: str, tested: str) -> float:
        apart = organisms[tested].ood
        return auroc(rows[fitted].scores[tested][apart], recorded[tested].acted[apart])

    return {
        "p_values": {"transfer_shuffled": cell["shuffled"].get("p_value")},
        "estimates": {
            "transfer": numbers(cell["probe"]),
            "transfer_below": numbers(cell["below_ceiling"]),
            "transfer_drop": numbers(cell["drop"]),
        },
        "truth": {
            "transfer": worth("a", "b"),
            "transfer_below": worth("b", "b") - worth("a", "b"),
            "transfer_drop": worth("a", "a") - worth("a", "b"),
        },
    }


def pushed(spec: ValidateInstrument, rng: np.random.Generator, *, large: bool) -> Found:
    """A direction among controls: what it does to log-odds, and to the share that acts."""
    n, n_boot, seed = spec.sizes.items, spec.probe.bootstrap, int(rng.integers(2**32))
    pushes = USUAL * rng.normal(size=1 + N_CONTROLS)
    if large:
        pushes[0] = USUAL * LARGE
    outset = OF_OUTSET * rng.normal(size=n)
    moved = pushes[:, None] * (1 + rng.normal(size=(len(pushes), n)) / 2) + USUAL * rng.normal(size=(len(pushes), n))
    every = np.ones((len(pushes), n))
    odds = Measured(outset + moved, every, outset, every[0], every > 0)
    tried = every.copy()
    tried[1:, CONTROL_ITEMS:] = 0
    plain = (rng.random(n) < expit(outset)).astype(float)
    acts = tried * (rng.random((len(pushes), n)) < expit(outset + pushes[:, None]))
    found = {
        "push": effect(odds, range(n), n=n_boot, seed=seed),
        "share": effect(Measured(acts, tried, plain, every[0], tried > 0, True), range(n), n=n_boot, seed=seed),
    }
    true = {"push": pushes, "share": _share(pushes)}
    return {
        "p_values": {f"{name}_p": each.p for name, each in found.items()},
        "estimates": {
            f"{name}_{what}": numbers(_part(each, what).to_json())
            for name, each in found.items()
            for what in ("change", "beyond")
        },
        "truth": {f"{name}_change": float(each[0]) for name, each in true.items()}
        | {f"{name}_beyond": float(each[0] - each[1:].mean()) for name, each in true.items()},
    }


def _part(found: Effect, what: str) -> Estimate:
    return found.change if what == "change" else found.beyond


def _share(pushes: np.ndarray) -> np.ndarray:
    """What pushes of log-odds do to the share that acts, [direction]."""
    outset = OF_OUTSET * norm.ppf((np.arange(STEPS) + 0.5) / STEPS)
    changed: np.ndarray = expit(outset + pushes[:, None]).mean(axis=1) - CHANCE
    return changed


def _choices(sizes: Sizes, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Items and choices of a sample, [row]; choices of an item lean alike."""
    item = np.repeat(np.arange(sizes.items), sizes.rollouts)
    return item, rng.random(len(item)) < rng.beta(2, 2, sizes.items)[item]


def numbers(estimate: Json) -> list[float] | None:
    """Value and ends of the interval of an estimate as in results.json; None where there is none."""
    return [estimate["value"], *estimate["ci95"]] if estimate.get("value") is not None else None


Drawn = Callable[[ValidateInstrument, np.random.Generator], Found]
DRAWN: dict[str, Drawn] = {
    "labels with errors": partial(labels_with_errors, apart=APART),
    "labels with errors, nothing there": partial(labels_with_errors, apart=0.0),
    "transfer, one direction": partial(carried_over, same=True),
    "transfer, two directions": partial(carried_over, same=False),
    "steering, a push like others": partial(pushed, large=False),
    "steering, a push": partial(pushed, large=True),
}
"""Scenario -> a draw of it."""
