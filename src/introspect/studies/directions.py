"""Directions of organisms against each other: does a probe of one read another, and do their directions point alike?

Organisms of one task answer the same items, so a probe that has seen a group's items in one organism has in effect seen
them in all. One split of the groups therefore serves every organism: every probe is fitted on the same development
groups of its own organism, and every number is of the test groups, of whichever organism (or of the out-of-distribution
groups, which no probe is fitted on). One place, a position and a layer, serves all: the one with the best mean AUROC on
inner folds of the development groups, so no test group has a say in it. The token before the answer's name is not
chosen while there is another: what is read there is what is about to be said, whatever made it so.

Beside every AUROC stand those of the words of the prompt and the whole chain, and of what of them stands up to the
place, carried over in the same way: where items settle what is done, and methods plant the same policy, words alone may
carry over too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import EstimateError, RunError
from ..probes import fit_grid, split_groups
from ..progress import Progress, silent
from ..stats import Estimate
from ..transfer.carried import Carried, Row, carried_words, fit_at, scored
from ..transfer.common_split import Organism, group_names, split_together
from ..transfer.cosines import Labelled, beyond_base, cosine_matrix, difference, too_small, whitened
from ..transfer.places import RULE, choose_place
from ..transfer.recorded import Recorded, check_one_model, read_recorded

CHOSEN = (
    "one position and layer for all: the best AUROC on inner folds of the development groups, mean of the organisms "
    f"named here; {RULE}"
)
DIRECTIONS = (
    "differences of means (acted minus not) over all in-distribution rollouts; raw: in activation space; whitened: "
    "after the pooled covariance within classes and organisms has been made the identity"
)
WHAT = "probes fitted on the development groups of the row's organism, tested on other groups of the column's"


def direction(run: Path, *, site: str, layer: int, position: str) -> dict[str, Any]:
    """What separates the rollouts of a run that acted on the policy from those that did not, at one place.

    Rows are the in-distribution rollouts that could act on the policy and have a valid answer.

    Returns:
        `site`, `layer`, `position`, `n_acted`, `n_not`, `n_groups`; `difference`: mean of those that acted minus that
        of the others, [width]; `probe`: `weight` [width] and `bias` of a logistic regression there (log-odds =
        activation . weight + bias; fitted on the run's development groups: the run's own probe, where that is its
        estimator), `penalty` and `inner_auroc`. Where the probe or everything is undefined, `value` null and a `reason`
        instead.

    Raises:
        RunError, StoreError: the folder is no finished run, or its store holds no such layer.
    """
    try:
        found = read_recorded(run, (position,))
        values = found.at(site, layer, position)
    except EstimateError as error:
        return Estimate.undefined(str(error)).to_json()
    rows = np.flatnonzero(~found.ood)
    acted, groups = found.acted[rows], found.groups[rows]
    reason = too_small(acted, groups)
    if reason is not None:
        return Estimate.undefined(reason).to_json()
    weights = acted.astype(float)[None]
    return {
        "site": site,
        "layer": layer,
        "position": position,
        "n_acted": int(acted.sum()),
        "n_not": int((~acted).sum()),
        "n_groups": len(set(groups)),
        "difference": difference(values[rows], weights, 1 - weights)[0].tolist(),
        "probe": _probe(found, rows, values, layer, position),
    }


def _probe(found: Recorded, rows: np.ndarray, values: np.ndarray, layer: int, position: str) -> dict[str, Any]:
    settings = found.spec.probe
    try:
        split = split_groups(
            found.groups[rows],
            found.acted[rows],
            test_fraction=settings.test_fraction,
            inner_folds=settings.inner_folds,
            seed=found.spec.seed,
        ).within(rows)
        cell = fit_grid({position: values[None]}, (layer,), found.acted, split, settings.penalties)[0]
    except EstimateError as error:
        return Estimate.undefined(str(error)).to_json()
    return {
        "weight": cell.direction.weight.tolist(),
        "bias": cell.direction.bias,
        "penalty": cell.penalty,
        "inner_auroc": round(cell.inner_auroc, 6),
    }


def transfer(
    runs: Mapping[str, Path],
    *,
    choosers: Sequence[str] = (),
    seed: int = 0,
    n: int = 1000,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Probes of each organism on every other, and the cosines of their directions.

    Args:
        runs: name -> finished run of the same task, items and model. Test fraction, folds and penalties are those of
            the first run's spec.
        choosers: the organisms whose inner folds choose the place; empty: all.
        seed, n: of the split and of the bootstrap.

    Returns:
        `value` null and a `reason` (and `warnings`) where nothing can be said; otherwise

        - `what`: in a sentence; `site`; `place`: `position`, `layer`, `chosen` (how), `inner_auroc` by chooser;
        - `split`: `unit`, and the names of `train_groups`, `test_groups` and `ood_groups`;
        - `organisms`: name -> `n_train`, `n_test`, `n_ood`, `acted` (share of its rows in distribution), `penalty`,
          `reason` (null, or why no probe is fitted on it);
        - `auroc` and `auroc_ood`: row (fitted on) -> column (tested on) -> estimates: `probe`; carried over alike
          `text` (words of prompt and whole chain) and `text_visible` (prompt, and tokens up to the place); `best_text`,
          the name of the better one there; and `increment`, of the probe beyond that;
        - `base`: name -> estimates: `probe`, the organism's probe on the untrained model's activations of the same
          tokens; `own`, a probe fitted on those; `beyond`, the organism's own AUROC beyond that; `cosine`, of the
          organism's direction with the same rollouts' in the untrained model, raw; or a `reason`;
        - `cosines`: `what`; `raw`, `whitened` and `base` (raw, in the untrained model, of organisms that have it), as
          `cosines.cosine_matrix` gives them, or `value` null and a `reason`; in `raw`, cells of two organisms have
          `beyond_base` besides: the cosine minus that of `base`;
        - `warnings`: sentences.

    Raises:
        RunError, StoreError: a run is not finished, or not of the first one's task, items and model.
    """
    warnings: list[str] = []
    try:
        return _transfer(_read(runs, warnings), choosers, seed, n, progress, warnings)
    except EstimateError as error:
        return Estimate.undefined(str(error)).to_json() | {"warnings": warnings}


def _transfer(
    recorded: Mapping[str, Recorded],
    choosers: Sequence[str],
    seed: int,
    n: int,
    progress: Progress,
    warnings: list[str],
) -> dict[str, Any]:
    settings, site = _first(recorded).spec.probe, _first(recorded).spec.probed_site
    organisms = split_together(
        recorded, test_fraction=settings.test_fraction, inner_folds=settings.inner_folds, seed=seed
    )
    fitted = {name: each for name, each in organisms.items() if each.reason is None}
    warnings += [f"No probe is fitted on {name}: {each.reason}." for name, each in organisms.items() if each.reason]
    if not fitted:
        raise EstimateError("no organism has enough rollouts that acted on the policy and that did not")
    choosing = {name: each for name, each in fitted.items() if not choosers or name in choosers}
    if not choosing:
        raise EstimateError(f"no probe is fitted on {', '.join(choosers)}, whose inner folds choose the place")
    place, inner = choose_place(
        choosing, settings.penalties, site, progress, stage="transfer: one place for all organisms"
    )
    position, layer = place
    away = [name for name, each in organisms.items() if position not in each.recorded.probed.positions]
    warnings += [f"{name} is left out: too few of its rollouts have the position {position}." for name in away]
    organisms = {name: each for name, each in organisms.items() if name not in away}
    values = {name: each.recorded.at(site, layer, position) for name, each in organisms.items()}
    whole = {name: each.recorded.whole_texts for name, each in organisms.items()}
    visible = {name: each.recorded.visible_texts(position) for name, each in organisms.items()}
    cells = {
        name: fit_at(each, values[name], place, settings.penalties)
        for name, each in organisms.items()
        if name in fitted
    }
    rows = {
        name: Row(
            place,
            cell,
            scored(cell, values),
            {
                "text": carried_words(organisms, name, whole),
                "text_visible": carried_words(organisms, name, visible),
            },
        )
        for name, cell in cells.items()
    }
    study = Carried(organisms, rows, n, seed)
    base = {
        name: each.recorded.at(site, layer, position, base=True)
        for name, each in organisms.items()
        if each.recorded.has_base
    }
    progress("transfer", 1, 2)
    out = {
        "what": WHAT,
        "site": site,
        "place": {
            "position": position,
            "layer": layer,
            "chosen": CHOSEN,
            "inner_auroc": {name: round(value, 6) for name, value in inner.items()},
        },
        "split": {
            "unit": "group",
            **group_names(organisms),
        },
        "organisms": {name: _about(each, rows.get(name)) for name, each in organisms.items()},
        "auroc": study.matrix(lambda each: each.split.test),
        "auroc_ood": study.matrix(lambda each: each.ood),
        "base": {name: study.base(name, values[name], base.get(name), settings.penalties) for name in organisms},
        "cosines": _cosines(organisms, values, base, seed),
        "warnings": warnings,
    }
    progress("transfer", 2, 2)
    return out


def _first(recorded: Mapping[str, Recorded]) -> Recorded:
    return next(iter(recorded.values()))


def _about(organism: Organism, row: Row | None) -> dict[str, Any]:
    acted = organism.recorded.acted[~organism.recorded.ood]
    return {
        "n_train": len(organism.split.dev),
        "n_test": len(organism.split.test),
        "n_ood": len(organism.ood),
        "acted": round(float(acted.mean()), 6) if len(acted) else None,
        "penalty": None if row is None else row.cell.penalty,
        "reason": organism.reason,
    }


def _read(runs: Mapping[str, Path], warnings: list[str]) -> dict[str, Recorded]:
    """The runs that have rows.

    Raises:
        RunError: they are not of one task, items and model.
        EstimateError: fewer than two have rows.
    """
    out: dict[str, Recorded] = {}
    for name, run in runs.items():
        try:
            found = read_recorded(run)
        except EstimateError as error:
            warnings.append(f"{name} is left out: {error}.")
            continue
        for key in ("task", "items") if out else ():
            ours, theirs = getattr(found.spec, key), getattr(_first(out).spec, key)
            if ours != theirs:
                raise RunError(f"{run}: {key} is {ours}, and {theirs} in {_first(out).run}; give runs of the same")
        if out:
            check_one_model(_first(out), found)
        out[name] = found
    if len(out) < 2:
        raise EstimateError(f"{len(out)} of {len(runs)} runs have rollouts to fit and test on; at least 2 are needed")
    return out


def _cosines(
    organisms: Mapping[str, Organism], values: Mapping[str, np.ndarray], base: Mapping[str, np.ndarray], seed: int
) -> dict[str, Any]:
    usable = [
        name
        for name, each in organisms.items()
        if too_small(*((column[~each.recorded.ood]) for column in (each.recorded.acted, each.recorded.groups))) is None
    ]
    ours = {name: organisms[name].recorded.labelled(values[name]) for name in usable}
    before = {name: organisms[name].recorded.labelled(base[name]) for name in usable if name in base}
    raw = _cosine_matrix(ours, seed)
    for place, one in enumerate(usable):
        for other in usable[place + 1 :]:
            both = (before[one], before[other]) if one in before and other in before else None
            missing = Estimate.undefined("there is no untrained model beside both runs")
            found = missing if both is None else beyond_base((ours[one], ours[other]), both)
            raw[one][other]["beyond_base"] = raw[other][one]["beyond_base"] = found.to_json()
    return {
        "what": DIRECTIONS,
        "raw": raw,
        "whitened": _cosine_matrix(whitened(ours) if ours else ours, seed),
        "base": _cosine_matrix(before, seed),
    }


def _cosine_matrix(organisms: Mapping[str, Labelled], seed: int) -> dict[str, Any]:
    if len(organisms) < 2:
        return Estimate.undefined(f"{len(organisms)} organisms have a direction here; a cosine needs 2").to_json()
    return cosine_matrix(organisms, seed=seed)
