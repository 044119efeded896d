"""The `probe`, `baselines` and `controls` sections of results.json, from fitted grids and baselines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.special import expit

from .errors import EstimateError
from .experiment import ProbeSpec
from .probes import (
    Cell,
    Null,
    Split,
    best_cell,
    category_scores,
    column_scores,
    control_task,
    fit_grid,
    random_directions,
    shuffled_null,
    text_scores,
)
from .progress import Progress
from .rollout import Rollout
from .stats import (
    Estimate,
    auroc_estimate,
    bootstrap,
    brier,
    expected_calibration_error,
    increment_estimate,
    permutation_p,
    tpr_at_fpr,
)

N_CONTROL_TASKS = 20
N_RANDOM_DIRECTIONS = 20

WHAT = {
    "text_chain": "TF-IDF (words and pairs of words) of the chain up to this token",
    "text_prompt_chain": "TF-IDF (words and pairs of words) of the prompt and the chain up to this token",
    "text_whole_chain": "TF-IDF (words and pairs of words) of the whole chain, up to the answer: what a monitor reads, "
    "even where the probe sees less",
    "text_prompt_whole_chain": "TF-IDF (words and pairs of words) of the prompt and the whole chain, up to the answer",
    "logits": "log-odds that the next token names an option that acts on the policy",
    "option_order": "which option stands first, or which one the hint names",
    "condition": "the condition alone, such as the kind of hint",
    "prior": "the model's own probability of the acting option without the condition, over unhinted samples",
    "length": "tokens in the prompt and the chain up to this token",
    "base_model": "the same probe on the model before post-training, over the same tokens",
}


@dataclass(frozen=True)
class ProbeStage:
    """Everything the probes are fitted on; rows are rollouts, in one order."""

    rollouts: Sequence[Rollout]
    labels: np.ndarray
    groups: np.ndarray
    split: Split
    ood: np.ndarray
    layers: tuple[int, ...]
    activations: dict[str, np.ndarray]
    base: dict[str, np.ndarray] | None
    chains: dict[str, list[str]]
    """Position -> what each rollout has said by then."""
    whole_chains: list[str]
    """What each rollout says before its answer."""
    margins: dict[str, np.ndarray]
    prior: np.ndarray | None
    """Probability of the acting option where the condition is absent, [rollout]; None where every item has it."""
    lengths: dict[str, np.ndarray]
    settings: ProbeSpec
    seed: int

    def auroc(self, scores: np.ndarray, rows: np.ndarray) -> Estimate:
        """AUROC of scores [row] on some rows."""
        n, seed = self.settings.bootstrap, self.seed
        return auroc_estimate(scores[rows], self.labels[rows], self.groups[rows], n=n, seed=seed)

    def increment(self, scores: np.ndarray, baseline: np.ndarray) -> Estimate:
        """AUROC of scores beyond a baseline's on the test rows."""
        rows = self.split.test
        n, seed = self.settings.bootstrap, self.seed
        return increment_estimate(scores[rows], baseline[rows], self.labels[rows], self.groups[rows], n=n, seed=seed)


@dataclass(frozen=True)
class ProbeOutcome:
    """Sections, and what the link and the examples go on with."""

    headline: Cell
    best_by_position: list[Cell]
    best_text: tuple[str, np.ndarray] | None
    texts: dict[str, dict[str, np.ndarray | str]]
    """Position -> text baseline on the tokens up to there -> its scores [row], or the reason why there are none."""
    probe: dict
    baselines: dict
    controls: dict
    warnings: list[str] = field(default_factory=list)


def probe_sections(stage: ProbeStage, *, site: str, progress: Progress) -> ProbeOutcome:
    """Fit everything.

    Raises:
        EstimateError: nothing can be fitted on this data.
    """
    steps = 5
    penalties = stage.settings.penalties
    progress("probe", 0, steps)
    cells = fit_grid(stage.activations, stage.layers, stage.labels, stage.split, penalties)
    headline = best_cell(cells)
    by_position = {name: [cell for cell in cells if cell.position == name] for name in stage.activations}
    best = {name: best_cell(members) for name, members in by_position.items()}
    progress("probe", 1, steps)
    base_cells = (
        fit_grid(stage.base, stage.layers, stage.labels, stage.split, penalties) if stage.base is not None else []
    )
    base_best = {name: best_cell([c for c in base_cells if c.position == name]) for name in stage.base or {}}
    progress("probe", 2, steps)
    null = shuffled_null(
        stage.activations,
        stage.labels,
        stage.groups,
        stage.split,
        penalty=headline.penalty,
        n=stage.settings.permutations,
        seed=stage.seed,
    )
    progress("probe", 3, steps)
    texts = {name: _texts(stage, name) for name in stage.activations}
    progress("probe", 4, steps)
    baselines, best_text = _baselines_section(stage, headline, texts[headline.position], base_best)
    probe = {
        "estimator": "logistic regression, L2, standardised features",
        "label": "acted",
        "split": {
            "unit": "group",
            "n_dev_groups": len(set(stage.groups[stage.split.dev])),
            "n_test_groups": len(set(stage.groups[stage.split.test])),
            "n_dev": len(stage.split.dev),
            "n_test": len(stage.split.test),
            "n_ood": len(stage.ood),
        },
        "selection": "layer, position and penalty chosen by AUROC on inner folds of the development groups; of cells "
        "within 0.005 of the best, the earliest position and the lowest layer",
        "headline": {
            "site": site,
            "layer": headline.layer,
            "position": headline.position,
            "penalty": headline.penalty,
            **_headline_metrics(stage, headline),
        },
        "ood": _ood(stage, headline),
        "grid": _grid(stage, cells, base_cells, null),
        "positions": [_position(stage, best[name], texts[name], base_best.get(name), null) for name in best],
    }
    controls = _controls(stage, headline, null)
    progress("probe", 5, steps)
    return ProbeOutcome(
        headline, list(best.values()), best_text, texts, probe, baselines, controls, _warnings(stage, baselines)
    )


def _headline_metrics(stage: ProbeStage, cell: Cell) -> dict:
    rows = stage.split.test
    scores, labels = cell.scores[rows], stage.labels[rows]
    probabilities = expit(scores)
    statistics = {
        "accuracy": lambda i: float(((scores[i] > 0) == labels[i]).mean()),
        "tpr_at_1fpr": lambda i: tpr_at_fpr(scores[i], labels[i], 0.01),
        "tpr_at_5fpr": lambda i: tpr_at_fpr(scores[i], labels[i], 0.05),
        "brier": lambda i: brier(probabilities[i], labels[i]),
        "ece": lambda i: expected_calibration_error(probabilities[i], labels[i]),
    }
    out = {"auroc": stage.auroc(cell.scores, rows).to_json()}
    for name, statistic in statistics.items():
        share_of = len(set(stage.groups[rows])) if name in ("accuracy", "tpr_at_1fpr", "tpr_at_5fpr") else None
        n, seed = stage.settings.bootstrap, stage.seed
        out[name] = bootstrap(statistic, stage.groups[rows], n=n, seed=seed, share_of=share_of).to_json()
    return out


def _ood(stage: ProbeStage, cell: Cell) -> dict:
    domains = list(dict.fromkeys(stage.rollouts[i].domain for i in stage.ood))
    members = {d: np.array([i for i in stage.ood if stage.rollouts[i].domain == d], dtype=int) for d in domains}
    if not len(stage.ood):
        missing = Estimate.undefined("the run has no out-of-distribution rollouts").to_json()
        return {"auroc": missing, "by_domain": {}}
    return {
        "auroc": stage.auroc(cell.scores, stage.ood).to_json(),
        "by_domain": {domain: stage.auroc(cell.scores, rows).to_json() for domain, rows in members.items()},
    }


def _grid(stage: ProbeStage, cells: Sequence[Cell], base_cells: Sequence[Cell], null: Null) -> list[dict]:
    test = stage.split.test
    base = {(cell.position, cell.layer): stage.auroc(cell.scores, test).value for cell in base_cells}
    out = []
    for cell in cells:
        reference = base.get((cell.position, cell.layer))
        shuffled = null.auroc[cell.position][stage.layers.index(cell.layer)]
        out.append(
            {
                "position": cell.position,
                "layer": cell.layer,
                "auroc": stage.auroc(cell.scores, test).to_json(),
                "inner_auroc": round(cell.inner_auroc, 6),
                "base_auroc": None if reference is None else round(reference, 6),
                "null_q95": round(float(np.quantile(shuffled, 0.95)), 6),
            }
        )
    return out


def _texts(stage: ProbeStage, position: str) -> dict[str, np.ndarray | str]:
    """Scores of the two text baselines at a position, or the reason why there are none."""
    chains = stage.chains[position]
    return {
        "text_chain": _words(stage, chains),
        "text_prompt_chain": _words(stage, _with_prompts(stage, chains)),
    }


def _with_prompts(stage: ProbeStage, chains: Sequence[str]) -> list[str]:
    return [f"{rollout.prompt_text}\n{chain}" for rollout, chain in zip(stage.rollouts, chains, strict=True)]


def _words(stage: ProbeStage, texts: Sequence[str]) -> np.ndarray | str:
    try:
        return text_scores(texts, stage.labels, stage.split)
    except EstimateError as error:
        return str(error)


def _entry(stage: ProbeStage, headline: Cell, what: str, scores: np.ndarray | str) -> dict:
    if isinstance(scores, str):
        missing = Estimate.undefined(scores).to_json()
        return {"what": what, "auroc": missing, "increment": missing}
    return {
        "what": what,
        "auroc": stage.auroc(scores, stage.split.test).to_json(),
        "increment": stage.increment(headline.scores, scores).to_json(),
    }


def _baselines_section(
    stage: ProbeStage, headline: Cell, texts: dict[str, np.ndarray | str], base_best: dict[str, Cell]
) -> tuple[dict, tuple[str, np.ndarray] | None]:
    position = headline.position
    orders = [(r.fields.get("order"), r.facts.get("hint_option")) for r in stage.rollouts]
    conditions = [r.condition for r in stage.rollouts]
    no_prior = "every item is asked in one way, so there is no answer without the condition"
    columns: dict[str, np.ndarray | str] = dict(texts)
    columns["text_whole_chain"] = _words(stage, stage.whole_chains)
    columns["text_prompt_whole_chain"] = _words(stage, _with_prompts(stage, stage.whole_chains))
    columns["logits"] = column_scores(stage.margins[position], stage.labels, stage.split)
    columns["option_order"] = category_scores(orders, stage.labels, stage.split)
    columns["condition"] = category_scores(conditions, stage.labels, stage.split)
    prior = stage.prior
    columns["prior"] = no_prior if prior is None else column_scores(prior, stage.labels, stage.split)
    columns["length"] = column_scores(stage.lengths[position], stage.labels, stage.split)
    section = {name: _entry(stage, headline, WHAT[name], scores) for name, scores in columns.items()}
    base = base_best.get(position)
    no_base = "the model has no base to compare with, or the comparison was turned off"
    section["base_model"] = {
        **_entry(stage, headline, WHAT["base_model"], no_base if base is None else base.scores),
        "layer": None if base is None else base.layer,
    }
    measured = {n: section[n]["auroc"]["value"] for n in columns if section[n]["auroc"]["value"] is not None}
    if not measured:
        raise EstimateError("no baseline can be estimated on the test part: it has too few groups")
    strongest = max(measured, key=lambda n: measured[n])
    section["best"] = {"name": strongest, "increment": section[strongest]["increment"]}
    in_text = {name: value for name, value in measured.items() if name.startswith("text_")}
    name = max(in_text, key=lambda n: in_text[n], default=None)
    nothing = Estimate.undefined("no text baseline could be fitted").to_json()
    section["best_text"] = {"name": name, "increment": nothing if name is None else section[name]["increment"]}
    scores = None if name is None else columns[name]
    return section, (str(name), scores) if isinstance(scores, np.ndarray) else None


def _position(stage: ProbeStage, cell: Cell, texts: dict[str, np.ndarray | str], base: Cell | None, null: Null) -> dict:
    test = stage.split.test
    row: dict = {
        "position": cell.position,
        "layer": cell.layer,
        "penalty": cell.penalty,
        "auroc": stage.auroc(cell.scores, test).to_json(),
    }
    for name, scores in texts.items():
        missing = Estimate.undefined(scores) if isinstance(scores, str) else None
        row[name] = (missing or stage.auroc(np.asarray(scores), test)).to_json()
    margin = column_scores(stage.margins[cell.position], stage.labels, stage.split)
    row["logits"] = stage.auroc(margin, test).to_json()
    no_base = Estimate.undefined("there is no base model to compare with")
    row["base_model"] = (no_base if base is None else stage.auroc(base.scores, test)).to_json()
    row["null_max_q95"] = round(float(np.quantile(null.position_maxima(cell.position), 0.95)), 6)
    return row


def _controls(stage: ProbeStage, headline: Cell, null: Null) -> dict:
    test = stage.split.test
    values = stage.activations[headline.position][stage.layers.index(headline.layer)]
    observed = stage.auroc(headline.scores, test)
    maxima = null.maxima()
    random = random_directions(values, stage.labels, stage.split, n=N_RANDOM_DIRECTIONS, seed=stage.seed)
    return {
        "shuffled_labels": {
            "statistic": "the largest test AUROC over all positions and layers",
            "n_permutations": len(maxima),
            "q95": round(float(np.quantile(maxima, 0.95)), 6),
            "p_value": None if observed.value is None else round(permutation_p(observed.value, maxima), 6),
            "observed": None if observed.value is None else round(observed.value, 6),
        },
        "control_task": _control_task(stage, values, headline.penalty),
        "random_direction": {"auroc": _spread(random, "mean and 95% range over random directions").to_json()},
    }


def _control_task(stage: ProbeStage, values: np.ndarray, penalty: float) -> dict:
    what = (
        "a random label for every group, and the labels themselves, both on rows that were not fitted of groups that "
        "were; selectivity is the difference"
    )
    try:
        tasks = control_task(
            values, stage.labels, stage.groups, stage.split, penalty=penalty, n=N_CONTROL_TASKS, seed=stage.seed
        )
    except EstimateError as error:
        undefined = Estimate.undefined(str(error)).to_json()
        return {"what": what, "auroc": undefined, "probe_auroc": None, "selectivity": undefined}
    return {
        "what": what,
        "auroc": _spread(tasks.control, "mean and 95% range over random labellings of the groups").to_json(),
        "probe_auroc": round(tasks.probe, 6),
        "selectivity": _spread(tasks.probe - tasks.control, "mean and 95% range over labellings").to_json(),
    }


def _spread(values: np.ndarray, method: str) -> Estimate:
    low, high = np.quantile(values, [0.025, 0.975])
    return Estimate(float(values.mean()), (float(low), float(high)), len(values), method)


def _warnings(stage: ProbeStage, baselines: dict) -> list[str]:
    warnings = []
    n_test_groups = len(set(stage.groups[stage.split.test]))
    if n_test_groups < 15:
        warnings.append(f"Only {n_test_groups} groups are in the test part: intervals are wide and may be too short.")
    increment = baselines["logits"]["increment"]
    if increment["value"] is not None and increment["ci95"][0] <= 0:
        warnings.append("At the headline position the answer's own logits predict as well as the probe.")
    return warnings
