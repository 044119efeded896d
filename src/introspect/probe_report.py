"""The `probe`, `baselines` and `controls` sections of results.json, from fitted grids and baselines."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np

from .features import ANSWER_ITSELF
from .probes import Cell, Null, best_cell, column_scores, shuffled_null
from .probes.by_estimator import ESTIMATORS, fit_cells, measure_of
from .probes.stream import Activations
from .probing import Looked, ProbeStage, baselines_section, controls_section, headline_metrics, position_texts
from .probing.stage import Scores
from .progress import Progress
from .stats import CHANCE, Estimate

__all__ = ["ProbeOutcome", "ProbeStage", "probe_sections"]

SELECTION = (
    "layer, position and penalty chosen by AUROC on inner folds of the development groups; of cells within 0.005 of "
    "the best, the earliest position and the lowest layer"
)
AMONG_SITES = "; of the best of each site the best, and of those within 0.005 the site that is named first"
NOT_CHOSEN = "; not the answer's own token, which is what was answered"


NOWHERE: Mapping[str, tuple[Activations, Activations | None]] = MappingProxyType({})


@dataclass(frozen=True)
class ProbeOutcome:
    """Sections, and what the link and the examples go on with."""

    stage: ProbeStage
    """Whose activations are those of the site that was chosen."""
    site: str
    headline: Cell
    best_by_position: list[Cell]
    best_text: tuple[str, np.ndarray] | None
    texts: dict[str, dict[str, Scores]]
    """Position -> text baseline on the tokens up to there -> its scores [row], or the reason why there are none."""
    probe: dict
    baselines: dict
    controls: dict
    baseline_scores: dict[str, np.ndarray]
    """Baseline -> scores [row], of those that could be estimated."""
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _At:
    """What was fitted at one site."""

    stage: ProbeStage
    cells: list[Cell]

    @property
    def headline(self) -> Cell:
        """The best of its cells."""
        return best_cell([cell for cell in self.cells if cell.position not in ANSWER_ITSELF] or self.cells)


def probe_sections(
    stage: ProbeStage,
    *,
    site: str,
    progress: Progress,
    elsewhere: Mapping[str, tuple[Activations, Activations | None]] = NOWHERE,
) -> ProbeOutcome:
    """Fit everything.

    Args:
        site: that of the stage's activations.
        elsewhere: further sites -> activations, and those of the base model: the headline is chosen among all.

    Raises:
        EstimateError: nothing can be fitted on this data.
    """
    steps = 5
    settings = stage.settings
    estimator = ESTIMATORS[settings.estimator]
    progress("probe", 0, steps)
    sites = {site: stage} | {
        name: replace(stage, activations=own, base=untrained) for name, (own, untrained) in elsewhere.items()
    }
    fitted = {name: _At(each, _cells(each, each.activations)) for name, each in sites.items()}
    heads = {name: each.headline for name, each in fitted.items()}
    headline = best_cell(list(heads.values()))
    site = next(name for name, each in heads.items() if each is headline)
    stage, cells = fitted[site].stage, fitted[site].cells
    by_position = {name: [cell for cell in cells if cell.position == name] for name in stage.positions}
    best = {name: best_cell(members) for name, members in by_position.items()}
    progress("probe", 1, steps)
    bases = {
        name: [] if each.stage.base is None else _cells(each.stage, each.stage.base) for name, each in fitted.items()
    }
    base_cells = bases[site]
    base_best = {
        name: best_cell([cell for cell in base_cells if cell.position == name])
        for name in stage.positions
        if base_cells
    }
    progress("probe", 2, steps)
    nulls = {
        name: shuffled_null(
            each.stage.activations,
            stage.labels,
            stage.groups,
            stage.split,
            penalty=headline.penalty,
            n=settings.permutations,
            seed=stage.seed,
            layers=stage.layers,
            measure=measure_of(settings.estimator),
        )
        for name, each in fitted.items()
    }
    null = nulls[site]
    progress("probe", 3, steps)
    texts = {name: position_texts(stage, name) for name in stage.positions}
    progress("probe", 4, steps)
    baselines = baselines_section(stage, headline, texts[headline.position], base_best)
    compared = [
        each for each in baselines.section.values() if "what" in each and each["increment"]["value"] is not None
    ]
    probe: dict = {
        "estimator": estimator.what,
        "label": settings.label,
        "split": {
            "unit": "group",
            "n_dev_groups": len(set(stage.groups[stage.split.dev])),
            "n_test_groups": len(set(stage.groups[stage.split.test])),
            "n_dev": len(stage.split.dev),
            "n_test": len(stage.split.test),
            "n_ood": len(stage.ood),
        },
        "selection": SELECTION
        + AMONG_SITES * (len(sites) > 1)
        + NOT_CHOSEN * (0 < sum(name in ANSWER_ITSELF for name in stage.positions) < len(best)),
        "headline": {
            "site": site,
            "layer": headline.layer,
            "position": headline.position,
            "penalty": _number(headline.penalty),
            **headline_metrics(stage, headline),
        },
        "ood": _ood(stage, headline),
        "grid": _grid(stage, cells, base_cells, null),
        "positions": [_position(stage, best[name], texts[name], base_best.get(name), null) for name in best],
    }
    if len(sites) > 1:
        probe["sites"] = [_site(name, each, bases[name], nulls[name]) for name, each in fitted.items()]
    looked = [Looked(each.cells, nulls[name]) for name, each in fitted.items()]
    controls = controls_section(stage, headline, looked, len(compared))
    progress("probe", 5, steps)
    return ProbeOutcome(
        stage,
        site,
        headline,
        list(best.values()),
        baselines.best_text,
        texts,
        probe,
        baselines.section,
        controls,
        baselines.scores,
        _warnings(stage, probe["headline"], baselines.section),
    )


def _cells(stage: ProbeStage, activations: Activations) -> list[Cell]:
    settings = stage.settings
    return fit_cells(
        settings.estimator,
        activations,
        stage.layers,
        stage.labels,
        stage.split,
        settings.penalties,
        rollouts=[rollout.rollout for rollout in stage.rollouts],
    )


def _number(penalty: float) -> float | None:
    """A penalty as JSON; None where the estimator has none."""
    return None if math.isnan(penalty) else penalty


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


def _site(name: str, fitted: _At, base_cells: Sequence[Cell], null: Null) -> dict:
    """One of several sites: its best cell, what shuffled labels reach there, and every cell."""
    stage, head = fitted.stage, fitted.headline
    base = [cell for cell in base_cells if cell.position == head.position]
    no_base = Estimate.undefined("there is no base model to compare with")
    return {
        "site": name,
        "position": head.position,
        "layer": head.layer,
        "penalty": _number(head.penalty),
        "inner_auroc": round(head.inner_auroc, 6),
        "auroc": stage.auroc(head.scores, stage.split.test).to_json(),
        "base_model": (stage.auroc(best_cell(base).scores, stage.split.test) if base else no_base).to_json(),
        "null_max_q95": round(float(np.quantile(null.maxima(), 0.95)), 6),
        "grid": _grid(stage, fitted.cells, base_cells, null),
    }


def _position(stage: ProbeStage, cell: Cell, texts: dict[str, Scores], base: Cell | None, null: Null) -> dict:
    test = stage.split.test
    row: dict = {
        "position": cell.position,
        "layer": cell.layer,
        "penalty": _number(cell.penalty),
        "auroc": stage.auroc(cell.scores, test).to_json(),
    }
    for name, scores in texts.items():
        row[name] = (Estimate.undefined(scores) if isinstance(scores, str) else stage.auroc(scores, test)).to_json()
    margin = column_scores(stage.margins[cell.position], stage.labels, stage.split)
    row["logits"] = stage.auroc(margin, test).to_json()
    no_base = Estimate.undefined("there is no base model to compare with")
    row["base_model"] = (no_base if base is None else stage.auroc(base.scores, test)).to_json()
    row["null_max_q95"] = round(float(np.quantile(null.position_maxima(cell.position), 0.95)), 6)
    return row


def _warnings(stage: ProbeStage, headline: dict, baselines: dict) -> list[str]:
    warnings = []
    n_test_groups = len(set(stage.groups[stage.split.test]))
    if n_test_groups < 15:
        warnings.append(f"Only {n_test_groups} groups are in the test part: intervals are wide and may be too short.")
    auroc, increment = headline["auroc"], baselines["logits"]["increment"]
    if auroc["value"] is not None and auroc["ci95"][0] <= CHANCE:
        warnings.append("The interval of the headline probe's AUROC reaches chance: nothing is shown to be read.")
    elif increment["value"] is not None and increment["ci95"][0] <= 0:
        warnings.append(
            "At the headline position the probe is not shown to predict better than the answer's own logits."
        )
    return warnings
