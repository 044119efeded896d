"""What an organism's runs along its training come to, set against each other.

The place that directions are taken at is chosen on inner folds of the last step alone. Early steps have little to read;
a place chosen on them too would say less of what the training ends with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import EstimateError
from ..progress import Progress, silent
from ..report import number, share
from ..results import read_results
from ..stats import Estimate
from ..training.recipe import Recipe
from .cosines import cosine_estimate
from .directions import transfer
from .measures import MEASURES
from .recorded import read_recorded

PROBES = ("probe_auroc", "probe_beyond_text", "probe_beyond_base", "silent_but_decodable")
"""Measures of a run's probe, as in a comparison."""
SETTLED = (
    "the first step from which on, at every step measured, the interval is clear of its bound: policy_rate_id, "
    "planted_agreement_id, verbalised_acted and invalid_rate of their value at the first step; probe_beyond_text and "
    "probe_beyond_base of 0. Steps are looked at one by one, with no correction for how many there are"
)
LABELS = {
    "policy_rate_id": "the policy rate",
    "planted_agreement_id": "agreement with the planted policy",
    "verbalised_acted": "what is verbalised",
    "invalid_rate": "the share of invalid answers",
    "probe_beyond_text": "the probe beyond words",
    "probe_beyond_base": "the probe beyond the untrained model",
}
FROM_START = ("policy_rate_id", "planted_agreement_id", "verbalised_acted", "invalid_rate")
FROM_ZERO = ("probe_beyond_text", "probe_beyond_base")


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
          last step's rollouts in the untrained model);
        - `nulls`: `step 40` -> `unrelated` and `any_labels` of `cosine_final` (see `cosines.cosine_matrix`);
          `reliability`: of the last step's direction;
        - `place`: as of `directions.transfer`, or `value` null and a `reason`;
        - `settled`: `what`, and measure -> step or null;
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
    measures |= _across(across, folders, last)
    curves, rewards = card.get("loss_curves") or [[]], card.get("reward_curves") or [{}]
    settled = _all_settled(measures, list(folders))
    return {
        "steps": list(folders),
        "recipe": recipe.name,
        "method": recipe.final.method,
        "start": recipe.start,
        "task": found[last]["experiment"]["task"],
        "policy": found[last]["behaviour"]["policy"],
        "measures": measures,
        "nulls": _nulls(across, folders, last),
        "reliability": _cosine(across, "raw", last, last).get("reliability", _nothing(across)),
        "place": across.get("place", _nothing(across)),
        "settled": {"what": SETTLED, **settled},
        "training": {"loss": curves[-1], "rewards": rewards[-1], "loss_unit": card.get("loss_unit", "")},
        "sentences": _sentences(measures, settled, list(folders), found[last]["behaviour"]["policy"]),
        "warnings": [
            *across["warnings"],
            *(f"step {step}: {warning}" for step, each in found.items() for warning in each["warnings"]),
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
        "cosine_untrained": _by_step(_untrained(across, folders, last)),
    }


def _nothing_at(across: Mapping[str, Any], step: int) -> dict[str, Any]:
    about = across.get("organisms", {}).get(step_label(step), {})
    return Estimate.undefined(across.get("reason") or about.get("reason") or "there is no direction here").to_json()


def _untrained(across: Mapping[str, Any], folders: Mapping[int, Path], last: int) -> dict[int, dict[str, Any]]:
    """Each step's direction with that of the last step's rollouts, labels and tokens, in the untrained model."""
    if "cosines" not in across:
        return dict.fromkeys(folders, _nothing(across))
    final, place = read_recorded(folders[last]), across["place"]
    if not final.has_base:
        return dict.fromkeys(folders, Estimate.undefined("the runs have no untrained model beside them").to_json())
    site, layer, position = across["site"], place["layer"], place["position"]
    before = final.labelled(final.at(site, layer, position, base=True))
    out = {}
    for step, folder in folders.items():
        try:
            each = read_recorded(folder)
            out[step] = cosine_estimate(each.labelled(each.at(site, layer, position)), before).to_json()
        except EstimateError as error:
            out[step] = Estimate.undefined(str(error)).to_json()
    return out


def _nulls(across: Mapping[str, Any], folders: Mapping[int, Path], last: int) -> dict[str, dict[str, Any]]:
    cells = {step: _cosine(across, "raw", step, last) for step in folders if step != last}
    return {
        step_label(step): {name: cell[name] for name in ("unrelated", "any_labels")}
        for step, cell in cells.items()
        if "unrelated" in cell
    }


def settled_from(found: Mapping[str, Any], steps: Sequence[int], bound: float | None) -> int | None:
    """The first step from which on every interval is clear of the bound, on the side that the last one is on."""
    if bound is None:
        return None
    first, sides = None, set()
    for step in reversed(steps):
        limits = found[step_label(step)].get("ci95")
        sides.add(None if limits is None or limits[0] <= bound <= limits[1] else limits[0] > bound)
        if None in sides or len(sides) > 1:
            break
        first = step
    return first


def _all_settled(measures: Mapping[str, Any], steps: Sequence[int]) -> dict[str, int | None]:
    start = {name: measures[name][step_label(steps[0])]["value"] for name in FROM_START}
    bounds = start | dict.fromkeys(FROM_ZERO, 0.0)
    return {name: settled_from(measures[name], steps, bound) for name, bound in bounds.items()}


def _sentences(
    measures: Mapping[str, Mapping[str, Any]], settled: Mapping[str, int | None], steps: Sequence[int], policy: str
) -> list[str]:
    first, before, last = (step_label(steps[place]) for place in (0, -2, -1))

    def at(name: str, label: str, shown: Callable[[dict[str, Any]], str]) -> str:
        estimate = measures[name][label]
        return f"{shown(estimate) if estimate['value'] is not None else 'not estimated'} at {label}"

    def course(name: str, shown: Callable[[dict[str, Any]], str]) -> str:
        return f"{at(name, first, shown)}, {at(name, last, shown)}"

    dated = [f"{LABELS[name]} from step {step}" for name, step in settled.items() if step is not None]
    undated = [LABELS[name] for name, step in settled.items() if step is None]
    return [
        f"The model {policy} in these shares of answers: in distribution {course('policy_rate_id', share)}; out of it "
        f"{course('policy_rate_ood', share)}. Answers agree with the planted policy in these: in distribution "
        f"{course('planted_agreement_id', share)}; out of it {course('planted_agreement_ood', share)}.",
        f"The chain says so in these shares of the rollouts that acted: {course('verbalised_acted', share)}.",
        f"The activations predict the choice with AUROC {course('probe_auroc', number)}; beyond words that is "
        f"{course('probe_beyond_text', number)}; beyond the untrained model {course('probe_beyond_base', number)}.",
        f"The cosine of the direction with that of the last step is {at('cosine_final', first, number)}, "
        f"{at('cosine_final', before, number)}; with the untrained model's {course('cosine_untrained', number)}.",
        f"Clear of where it was, and staying so: {', '.join(dated) or 'nothing'}; not so by the last step: "
        f"{', '.join(undated) or 'nothing'}.",
    ]
