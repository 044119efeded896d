"""What an organism's runs along its training come to, set against each other.

The place that directions are taken at is chosen on inner folds of the last step alone. Early steps have little to read;
a place chosen on them too would say less of what the training ends with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..progress import Progress, silent
from ..report import number, share
from ..results import read_results
from ..stats import Estimate
from ..tasks.policies import PLANTED
from ..training.recipe import Recipe
from .along_directions import Directions, directions_along, nothing_along
from .directions import transfer
from .measures import MEASURES
from .rows import read_member, rows_of
from .seeds import difference_of_means

PROBES = ("probe_auroc", "probe_beyond_text", "probe_beyond_base", "silent_but_decodable")
"""Measures of a run's probe, as in a comparison."""
SETTLED = (
    "the first step from which on, at every step measured, an interval is clear of 0, on one side. changed: of the "
    "step minus the first step measured, paired by item (verbalised_acted by the patterns); beyond: of what the probe "
    "has beyond words, or beyond the untrained model, at the step itself. Steps are looked at one by one, with no "
    "correction for how many there are"
)
LABELS = {
    "policy_rate_id": "the policy rate",
    "planted_agreement_id": "agreement with the planted policy",
    "verbalised_acted": "what is verbalised",
    "invalid_rate": "the share of invalid answers",
    "probe_beyond_text": "the probe beyond words",
    "probe_beyond_base": "the probe beyond the untrained model",
}
CHANGED = ("policy_rate_id", "planted_agreement_id", "verbalised_acted", "invalid_rate")
BEYOND = ("probe_beyond_text", "probe_beyond_base")
DRAWS = 1000
"""Resamples behind the interval of a change."""


def along(
    folders: Mapping[int, Path], recipe: Recipe, card: Mapping[str, Any], *, seed: int, progress: Progress = silent
) -> dict[str, Any]:
    """What finished runs of the steps come to.

    Args:
        folders: step -> its run, ascending.
        card: of the finished training.

    Returns:
        - `steps`; `recipe` (name), `method`, `start`, `task`, `policy` in words;
        - `measures`: name -> `step 40` -> estimate, of each step's run: `policy_rate_id`, `policy_rate_ood`,
          `planted_agreement_id`, `planted_agreement_ood`, `verbalised_acted`, `invalid_rate`, `PROBES`; and at the
          common place `final_probe` (the last step's probe on this step's test groups), `cosine_final` and
          `cosine_final_whitened` (of this step's direction with the last one's), `cosine_untrained` (with that of the
          last step's rollouts in the untrained model), `direction_reliability` and `attainable_cosine` (what
          `cosine_final` could reach); the same but for the whitened one with the policy's own labels of the items,
          where it is a function of them: `cosine_final_planted`, `cosine_untrained_planted`,
          `direction_reliability_planted`, `attainable_cosine_planted`;
        - `changes`: each measure of `CHANGED` -> `step 40` -> that step minus the first, paired by item;
        - `nulls` and `nulls_untrained`: `step 40` -> `unrelated` and `random_labels` of `cosine_final` and of
          `cosine_untrained` (see `cosines.cosine_matrix`); `reliability`: of the last step's direction;
        - `place`: as of `directions.transfer`, or `value` null and a `reason`;
        - `settled`: `what`, and `changed` and `beyond`: measure -> step or null;
        - `training`: `loss` and `rewards` (name -> curve) of the last stage, [step, value] each, and `loss_unit`;
        - `sentences`, `warnings`.

    Raises:
        StoreError: a run is damaged.
    """
    found = {step: read_results(folder / "results.json") for step, folder in folders.items()}
    measures = {name: _by_step({step: read(each) for step, each in found.items()}) for name, read in READ.items()}
    last = max(folders)
    runs = {step_label(step): folder for step, folder in folders.items()}
    across = transfer(runs, choosers=(step_label(last),), seed=seed, progress=progress)
    directions = _directions(across, folders, recipe, seed)
    measures |= _across(across, folders, last)
    measures |= {name: _by_step(each) for name, each in directions.measures.items()}
    changes = _changes(folders, recipe.final.policy, seed)
    curves, rewards = card.get("loss_curves") or [[]], card.get("reward_curves") or [{}]
    settled = _all_settled(measures, changes, list(folders))
    return {
        "steps": list(folders),
        "recipe": recipe.name,
        "method": recipe.final.method,
        "start": recipe.start,
        "task": found[last]["experiment"]["task"],
        "policy": found[last]["behaviour"]["policy"],
        "measures": measures,
        "changes": changes,
        "nulls": _nulls(across, folders, last),
        "nulls_untrained": _by_step(directions.nulls),
        "reliability": _cosine(across, "raw", last, last).get("reliability", _nothing(across)),
        "place": across.get("place", _nothing(across)),
        "settled": {"what": SETTLED, **settled},
        "training": {"loss": curves[-1], "rewards": rewards[-1], "loss_unit": card.get("loss_unit", "")},
        "sentences": _sentences(measures, settled, list(folders), found[last]["behaviour"]["policy"]),
        "warnings": [
            *across["warnings"],
            *_by_warning({step: each["warnings"] for step, each in found.items()}),
        ],
    }


def step_label(step: int) -> str:
    """How tables call a step."""
    return f"step {step}"


def _verbalised(results: dict[str, Any]) -> dict[str, Any]:
    verdicts = results["verdicts"]
    found: dict[str, Any] = verdicts["classifiers"][verdicts["headline_classifier"]]["verbalised_rate_acted"]
    return found


READ = {
    "policy_rate_id": lambda results: results["behaviour"]["policy_rate"]["id"],
    "policy_rate_ood": lambda results: results["behaviour"]["policy_rate"]["ood"],
    "planted_agreement_id": lambda results: results["behaviour"]["planted_policy_accuracy"]["id"],
    "planted_agreement_ood": lambda results: results["behaviour"]["planted_policy_accuracy"]["ood"],
    "verbalised_acted": _verbalised,
    "invalid_rate": lambda results: results["behaviour"]["invalid_rate"],
    **{measure.key: measure.found for measure in MEASURES if measure.found is not None and measure.key in PROBES},
}
"""Measure -> where a run's results have it."""


def _by_warning(warnings: Mapping[int, Sequence[str]]) -> list[str]:
    """Every warning once, with the steps that it is of."""
    steps: dict[str, list[int]] = {}
    for step, own in warnings.items():
        for warning in own:
            steps.setdefault(warning, []).append(step)
    return [
        f"{'step' if len(those) == 1 else 'steps'} {', '.join(map(str, those))}: {warning}"
        for warning, those in steps.items()
    ]


def _by_step(found: Mapping[int, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {step_label(step): each for step, each in found.items()}


def _nothing(across: Mapping[str, Any]) -> dict[str, Any]:
    return Estimate.undefined(across.get("reason") or "the last step has no direction here").to_json()


def _cosine(across: Mapping[str, Any], space: str, step: int, other: int) -> dict[str, Any]:
    """A cell of a matrix of cosines; empty where there is none."""
    matrix = across.get("cosines", {}).get(space, {})
    cell: dict[str, Any] = matrix.get(step_label(step), {}).get(step_label(other), {})
    return cell


def _across(across: Mapping[str, Any], folders: Mapping[int, Path], last: int) -> dict[str, dict[str, Any]]:
    """Measures that set a step against the last one or the untrained model."""
    itself = Estimate.undefined("the last step itself").to_json()

    def cosine(space: str, step: int) -> dict[str, Any]:
        cell = _cosine(across, space, step, last)
        if step == last or not cell:
            return itself if step == last else _nothing_at(across, step)
        return {key: cell[key] for key in ("value", "ci95", "n", "method", "reason") if key in cell}

    def probe(step: int) -> dict[str, Any]:
        cell: dict[str, Any] | None = across.get("auroc", {}).get(step_label(last), {}).get(step_label(step))
        return _nothing_at(across, step) if cell is None else dict(cell["probe"])

    return {
        "final_probe": _by_step({step: probe(step) for step in folders}),
        "cosine_final": _by_step({step: cosine("raw", step) for step in folders}),
        "cosine_final_whitened": _by_step({step: cosine("whitened", step) for step in folders}),
    }


def _nothing_at(across: Mapping[str, Any], step: int) -> dict[str, Any]:
    about = across.get("organisms", {}).get(step_label(step), {})
    return Estimate.undefined(across.get("reason") or about.get("reason") or "there is no direction here").to_json()


def _directions(across: Mapping[str, Any], folders: Mapping[int, Path], recipe: Recipe, seed: int) -> Directions:
    """Measures of every step's direction at the common place."""
    if "cosines" not in across:
        return nothing_along(folders, _nothing(across)["reason"])
    place = across["place"]
    return directions_along(folders, across["site"], place["layer"], place["position"], recipe.final.policy, seed=seed)


def _nulls(across: Mapping[str, Any], folders: Mapping[int, Path], last: int) -> dict[str, dict[str, Any]]:
    cells = {step: _cosine(across, "raw", step, last) for step in folders if step != last}
    return {
        step_label(step): {name: cell[name] for name in ("unrelated", "random_labels")}
        for step, cell in cells.items()
        if "unrelated" in cell
    }


def settled_from(found: Mapping[str, Any], steps: Sequence[int]) -> int | None:
    """The first step from which on every interval is clear of 0, on the side that the last one is on."""
    first, sides = None, set()
    for step in reversed(steps):
        limits = found[step_label(step)].get("ci95")
        sides.add(None if limits is None or limits[0] <= 0 <= limits[1] else limits[0] > 0)
        if None in sides or len(sides) > 1:
            break
        first = step
    return first


def _all_settled(
    measures: Mapping[str, Any], changes: Mapping[str, Any], steps: Sequence[int]
) -> dict[str, dict[str, int | None]]:
    return {
        "changed": {name: settled_from(changes[name], steps) for name in CHANGED},
        "beyond": {name: settled_from(measures[name], steps) for name in BEYOND},
    }


def _changes(folders: Mapping[int, Path], policy: str, seed: int) -> dict[str, dict[str, dict[str, Any]]]:
    """Each step minus the first one, with intervals over items that are in both."""
    planted = policy if PLANTED.get(policy) is not None else None
    rows = {step: rows_of(read_member(folder), planted) for step, folder in folders.items()}
    first = min(folders)
    out: dict[str, dict[str, dict[str, Any]]] = {}
    for measure in MEASURES:
        if measure.key not in CHANGED or measure.statistic is None:
            continue
        out[measure.key] = {step_label(first): Estimate.undefined("the first step itself").to_json()}
        for step in [each for each in folders if each != first]:
            here, start = ([rows[each][measure.rows]] for each in (step, first))
            found = difference_of_means(here, start, measure.statistic, n=DRAWS, seed=seed)
            out[measure.key][step_label(step)] = found["difference"]
    return out


def _sentences(
    measures: Mapping[str, Mapping[str, Any]],
    settled: Mapping[str, Mapping[str, int | None]],
    steps: Sequence[int],
    policy: str,
) -> list[str]:
    first, before, last = (step_label(steps[place]) for place in (0, -2, -1))

    def at(name: str, label: str, shown: Callable[[dict[str, Any]], str]) -> str:
        estimate = measures[name][label]
        return f"{shown(estimate) if estimate['value'] is not None else 'not estimated'} at {label}"

    def course(name: str, shown: Callable[[dict[str, Any]], str]) -> str:
        return f"{at(name, first, shown)}, {at(name, last, shown)}"

    def dates(kind: str) -> str:
        dated = [f"{LABELS[name]} from step {step}" for name, step in settled[kind].items() if step is not None]
        undated = [LABELS[name] for name, step in settled[kind].items() if step is None]
        return f"{', '.join(dated) or 'nothing'}; not so by the last step: {', '.join(undated) or 'nothing'}"

    return [
        f"The model {policy} in these shares of answers: in distribution {course('policy_rate_id', share)}; out of it "
        f"{course('policy_rate_ood', share)}. Answers agree with the planted policy in these: in distribution "
        f"{course('planted_agreement_id', share)}; out of it {course('planted_agreement_ood', share)}.",
        f"The chain says so in these shares of the rollouts that acted: {course('verbalised_acted', share)}.",
        f"The activations predict the choice with AUROC {course('probe_auroc', number)}; beyond words that is "
        f"{course('probe_beyond_text', number)}; beyond the untrained model {course('probe_beyond_base', number)}.",
        f"The cosine of the direction with that of the last step is {at('cosine_final', first, number)}, "
        f"{at('cosine_final', before, number)}, where noise alone would leave "
        f"{at('attainable_cosine', first, number)}, {at('attainable_cosine', before, number)}; with the untrained "
        f"model's {course('cosine_untrained', number)}. Of the same labels at every step (what the policy says of the "
        f"items) it is {at('cosine_final_planted', first, number)}, {at('cosine_final_planted', before, number)}; with "
        f"the untrained model's {course('cosine_untrained_planted', number)}.",
        f"Changed since {first}, and staying so: {dates('changed')}.",
        f"Beyond 0, and staying so: {dates('beyond')}.",
    ]
