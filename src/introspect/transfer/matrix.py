"""A transfer matrix: a probe fitted on the row's kind of rollouts, tested on the column's, with its controls.

One split of the groups serves every cell: a group that any row's probe was fitted on is tested in no column. Each row
has one place, a position and a layer, chosen on inner folds of its own development groups; columns are read there too
(where positions or spans are what is compared, each column at its own). Beside every AUROC stand those of words carried
over in the same way, of the untrained model's activations where the run has them, and of the column's own probe.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..errors import EstimateError, SpecError
from ..experiment import EVERY_POSITION, Experiment
from ..probes.grid import TIE
from ..progress import Progress, silent
from ..stats import Estimate
from ..tasks.registry import find_task
from .carried import Carried, Place, Row
from .cells import Cells, untested
from .common_split import Organism, group_names, split_together, too_few_rows
from .kinds import Kinds
from .places import RULE, choose_place
from .recorded import Recorded
from .rows import Fitted, Reading, fit_rows, without_direction

WHAT = (
    "probes (logistic regressions, whatever estimator a run's own probe has) fitted on the development groups of the "
    "row's rollouts, tested on the column's rollouts of groups that no probe was fitted on"
)
INNER = "by AUROC on inner folds of its own development groups"
CHOSEN = f"a position and layer for each row, {INNER}; {RULE}"
LAYER_CHOSEN = f"a layer for each row, {INNER}; of layers within {TIE} of the best, the lowest"
POSITION_CHOSEN = (
    f"the layer as asked, and a position for each row, {INNER}; of positions within {TIE} of the best, the earliest; "
    "not the token before the answer's name while there is another position"
)
DIRECTIONS = (
    "cosine of differences of means (acted minus not), raw, over all in-distribution rollouts of each, where the row's "
    "probe reads; the diagonal is the split-half reliability"
)
NOTHING_SHARED = "the two share no question that one random labelling could be of"


def transfer_matrix(
    kinds: Kinds,
    *,
    by: str,
    layer: int | None = None,
    position: str | None = None,
    seed: int | None = None,
    n: int | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Fit on each kind, test on every other.

    Args:
        by: what the kinds differ in, in a word.
        layer, position: where every row's probe is fitted; None: chosen by each row.
        seed, n: of the split and of the bootstrap; None: the first run's own.

    Returns:
        - `by`, `what`, `label`, `site`, `chosen` (how places are), `runs` (`folder`, `task`, `organism`, `digest`);
        - `split`: `unit`, `seed`, and the names of `train_groups`, `test_groups` and `ood_groups`;
        - `kinds`: name -> `n_rows`, `n_acted`, `n_groups`, `n_train`, `n_test`, `n_test_groups`, `n_ood`, `position`,
          `layer`, `penalty`, `inner_auroc` (null where no probe is fitted on it) and `reason` (null, or why none is);
        - `auroc`: row -> column -> `n_rows`, `n_groups`, `best_text`, `shuffled` (what probes fitted on shuffled labels
          of the row reach there, as `shuffled.against`) and `ESTIMATES`: `probe`; carried over alike
          `text` (words of prompt and whole chain) and `text_visible` (prompt, and tokens up to the place), with
          `best_text` the better one and `increment` what the probe has beyond it; `base`, a probe fitted on the
          untrained model's activations of the row's tokens, tested on those of the column's, and `beyond_base`;
          `ceiling`, the column's own probe on the same rollouts, and `below_ceiling`, how far the row's is below it;
          `drop`, how far it is below what it reaches on the row's own rollouts;
        - `auroc_ood`: the same without the last five, on out-of-distribution rollouts of the columns, or `value` null
          and a `reason`;
        - `cosines`: `what`, and `matrix`: row -> column -> as `cosines.cosine_matrix` gives them, with `n_shared`
          (questions that both answer in distribution), or `value` null and a `reason`;
        - `warnings`: sentences.

    Raises:
        SpecError: no such layer or position.
        EstimateError: no probe can be fitted, or there is nothing to carry one to; names a kind and why.
    """
    members, spec = _shared(kinds, layer, position), next(iter(kinds.members.values())).spec
    settings, site = spec.probe, spec.probed_site
    seed, n = spec.seed if seed is None else seed, settings.bootstrap if n is None else n
    organisms = _dealt(members, by, seed)
    fitted = [name for name, each in organisms.items() if each.reason is None]
    if not any(untested(each, each.split.test) is None for name, each in organisms.items() if name not in fitted[:1]):
        why = "; ".join(f"{name}: {each.reason}" for name, each in organisms.items() if each.reason)
        raise EstimateError(f"a probe is fitted on {fitted[0]}, and there is no other {by} to test it on: {why}")
    places: dict[str, Place] = {}
    inner: dict[str, float] = {}
    for done, name in enumerate(fitted):
        progress("transfer", done, len(fitted) + 1)
        places[name], found = choose_place(
            {name: organisms[name]}, settings.penalties, site, silent, stage=name, position=position, layer=layer
        )
        inner |= found
    progress("transfer", len(fitted), len(fitted) + 1)
    has_base = all(each.has_base for each in members.values())
    reading = Reading(organisms, kinds.positions, site)
    carried = fit_rows(reading, places, settings.penalties, base=has_base, seed=seed)
    study = carried.study(organisms, fitted, n, seed)
    cells = Cells(study, carried.bases, carried.shuffled)
    out = {
        "by": by,
        "what": WHAT,
        "label": f"acted on the policy ({_policies(members)})",
        "site": site,
        "chosen": _chosen(kinds, by, layer, position),
        "runs": _runs(members),
        "split": {
            "unit": "group",
            "seed": seed,
            **group_names(organisms),
        },
        "kinds": {name: _about(each, study.rows.get(name), inner.get(name)) for name, each in organisms.items()},
        "auroc": cells.matrix(),
        "auroc_ood": cells.ood(),
        "cosines": {"what": DIRECTIONS, "matrix": _cosines(study, carried)},
        "warnings": [
            *kinds.notes,
            *_one_of_several(spec),
            *(f"No probe is fitted on {name}: {each.reason}." for name, each in organisms.items() if each.reason),
        ],
    }
    progress("transfer", len(fitted) + 1, len(fitted) + 1)
    return out


def _one_of_several(spec: Experiment) -> list[str]:
    """That a run has probed more sites than the one that is read here."""
    if spec.probe.sites is None or len(spec.probe.sites) < 2:
        return []
    return [f"Several places in a block were probed ({', '.join(spec.probe.sites)}); {spec.probed_site} is read here."]


def _shared(kinds: Kinds, layer: int | None, position: str | None) -> dict[str, Recorded]:
    """The kinds with the layers that all have, and, where none has its own, the positions."""
    members = kinds.members
    layers = sorted(set.intersection(*(set(each.layers) for each in members.values())))
    if layer is not None and layer not in layers:
        raise SpecError(f"layer {layer} is not recorded: choose one of {', '.join(map(str, layers))}")
    if kinds.positions is not None:
        if position is not None:
            raise SpecError("each row is read at its own place here; leave --position out")
        return {name: replace(each, layers=tuple(layers)) for name, each in members.items()}
    shared = [name for name in EVERY_POSITION if all(name in each.probed.positions for each in members.values())]
    if not shared:
        raise EstimateError("these runs have probed no position in common; record one of them again")
    if position is not None and position not in shared:
        raise SpecError(f"position {position!r} is not probed: choose one of {', '.join(shared)}")
    return {
        name: replace(each, layers=tuple(layers), probed=replace(each.probed, positions=tuple(shared)))
        for name, each in members.items()
    }


def _chosen(kinds: Kinds, by: str, layer: int | None, position: str | None) -> str:
    """How places are, in words."""
    if position is None and kinds.positions is None:
        return CHOSEN if layer is None else POSITION_CHOSEN
    where = f"each row at its own {by}" if position is None else "the position as asked"
    return f"{where}; {LAYER_CHOSEN}" if layer is None else f"{where}; the layer as asked"


def _dealt(members: Mapping[str, Recorded], by: str, seed: int) -> dict[str, Organism]:
    """The kinds, split together. One that a probe cannot be fitted on is left out of the split, and tested on only."""
    settings = next(iter(members.values())).spec.probe
    aside = {name: why for name, each in members.items() if (why := too_few_rows(each)) is not None}
    while len(aside) < len(members):
        organisms = split_together(
            members,
            test_fraction=settings.test_fraction,
            inner_folds=settings.inner_folds,
            seed=seed,
            tested_only=aside,
        )
        failed = {name: each.reason for name, each in organisms.items() if each.reason and name not in aside}
        if not failed:
            return organisms
        aside |= failed
    told = "; ".join(f"{name}: {why}" for name, why in aside.items())
    raise EstimateError(f"no probe can be fitted on any {by}: {told}")


def _cosines(study: Carried, carried: Fitted) -> dict[str, Any]:
    without = without_direction(study.organisms)
    out: dict[str, Any] = {}
    keys = {
        name: {key for key, ood in zip(each.recorded.keys, each.recorded.ood, strict=True) if not ood}
        for name, each in study.organisms.items()
    }
    for row in study.organisms:
        out[row] = {}
        found = carried.cosines.get(row, {})
        for column in study.organisms:
            reason = without[row] or without[column] or f"no probe is fitted on {row}, so it has no place"
            cell = dict(found.get(column, Estimate.undefined(reason).to_json()))
            if row != column:
                cell["n_shared"] = len(keys[row] & keys[column])
            if "random_labels" in cell and not cell["n_shared"]:
                cell["random_labels"] = {"reason": NOTHING_SHARED}
            out[row][column] = cell
    return out


def _policies(members: Mapping[str, Recorded]) -> str:
    """In words, of each task once."""
    return "; ".join(dict.fromkeys(find_task(each.spec.task).policy for each in members.values()))


def _runs(members: Mapping[str, Recorded]) -> list[dict[str, Any]]:
    specs = {each.run: each.spec for each in members.values()}
    return [
        {"folder": str(run), "task": spec.task, "organism": spec.organism, "digest": spec.digest()}
        for run, spec in specs.items()
    ]


def _about(organism: Organism, row: Row | None, inner: float | None) -> dict[str, Any]:
    each = organism.recorded
    here = ~each.ood
    return {
        "n_rows": int(here.sum()),
        "n_acted": int(each.acted[here].sum()),
        "n_groups": len(set(each.groups[here])),
        "n_train": len(organism.split.dev),
        "n_test": len(organism.split.test),
        "n_test_groups": len(organism.groups_of(organism.split.test)),
        "n_ood": len(organism.ood),
        "position": None if row is None else row.place[0],
        "layer": None if row is None else row.place[1],
        "penalty": None if row is None else row.cell.penalty,
        "inner_auroc": None if inner is None else round(inner, 6),
        "reason": organism.reason,
    }
