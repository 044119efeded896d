"""One draw: planted, recorded and analysed as a run, and what it found beside the truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from scipy.special import expit

from ..analysis import Model, analyse
from ..experiment import Experiment
from ..link import Readout, read_readouts
from ..probe_report import ProbeOutcome, ProbeStage
from ..probing.calibration import calibration_error
from ..progress import silent
from ..sections import HintSpec, VerdictSpec
from ..spans import SPAN_CODES
from ..stats import CHANCE, auroc, brier
from ..store import StoreSpec, StoreWriter
from ..thresholds import share_above, threshold_at_fpr
from .alone import alone, numbers
from .checks import Scenario
from .labelled import write_labels
from .linked import hint_estimates, linked_truths
from .planted import Planted, plant
from .population import increments
from .scenarios import SCENARIOS
from .spec import SITE, ValidateInstrument

Found = dict[str, Any]
TPR = ("tpr_at_1fpr", "tpr_at_5fpr")
ESTIMATES = {
    "auroc": ("probe", "headline", "auroc"),
    "accuracy": ("probe", "headline", "accuracy"),
    "tpr_at_1fpr": ("probe", "headline", "tpr_at_1fpr"),
    "tpr_at_5fpr": ("probe", "headline", "tpr_at_5fpr"),
    "brier": ("probe", "headline", "brier"),
    "ece": ("probe", "headline", "ece"),
    "beyond_best": ("baselines", "best", "increment"),
    "beyond_every": ("baselines", "best", "strictest", "increment"),
    "beyond_words": ("baselines", "best_text", "increment"),
    "beyond_embedding": ("baselines", "embedding_prompt_chain", "increment"),
    "beyond_length": ("baselines", "length", "increment"),
    "beyond_logits": ("baselines", "logits", "increment"),
    "beyond_order": ("baselines", "option_order", "increment"),
    "beyond_base": ("baselines", "base_model", "increment"),
    "selectivity": ("controls", "control_task", "selectivity"),
    "policy_rate": ("behaviour", "policy_rate", "id"),
    "silent_but_decodable": ("link", "silent_but_decodable"),
    "realised_fpr": ("link", "realised_fpr"),
    "words_silent": ("link", "text_baseline", "silent_but_decodable"),
    "silent_beyond_words": ("link", "beyond_text"),
    "silent_corrected": ("link", "label_noise", "silent_but_decodable"),
    "before_mention": ("link", "before_mention", "last_position", "decodable"),
    "words_before_mention": ("link", "before_mention", "last_position", "words"),
    "first_mention": ("link", "before_mention", "first_mention"),
}
"""Measure -> where its estimate stands in results.json."""


def draw(spec: ValidateInstrument, scenario: str, number: int, folder: Path) -> Found:
    """Analyse one draw in an empty folder, or put its numbers to one measure.

    Returns:
        `estimates`: measure -> value and interval, or None; `truth`: measure -> what it should cover; `p_value` of the
        shuffled labels, and `p_values` of other tests; and `undefined`, the reason, where no probe was fitted.
    """
    rng = np.random.default_rng([spec.seed, crc32(scenario.encode()), number])
    found: Found = {"scenario": scenario, "draw": number}
    about = SCENARIOS[scenario]
    if about.alone:
        return found | alone(spec, scenario, rng)
    planted = plant(about, spec.sizes, about.positions or spec.probe.positions, rng)
    experiment = _asked(spec, about, planted, folder, rng)
    layers = tuple(range(spec.sizes.layers))
    _record(folder / "activations", planted, planted.activations)
    if planted.base is not None:
        _record(folder / "base_activations", planted, planted.base)
    model = Model(planted.vocabulary, layers, None, lambda: planted.embeddings)
    probed: list[tuple[ProbeStage, ProbeOutcome]] = []
    results = analyse(
        folder,
        experiment,
        planted.rollouts,
        model,
        offline=True,
        progress=silent,
        seen=lambda *both: probed.append(both),
    )
    if "headline" not in results["probe"]:
        return found | {"undefined": results["probe"]["reason"]}
    words = results["baselines"]["best_text"]["name"]
    estimates = {name: _at(results, path) for name, path in ESTIMATES.items()}
    estimates["words_auroc"] = None if words is None else _at(results, ("baselines", words, "auroc"))
    readouts = read_readouts(folder)
    return found | {
        "p_value": results["controls"]["shuffled_labels"]["p_value"],
        "estimates": estimates | hint_estimates(results["link"], about.hints),
        "truth": _truth(planted, readouts, results, spec.link.fpr)
        | increments(*probed[0])
        | linked_truths(planted, readouts, results["link"], about, spec.link.fpr),
    }


def _asked(
    spec: ValidateInstrument, about: Scenario, planted: Planted, folder: Path, rng: np.random.Generator
) -> Experiment:
    """What a draw is analysed as."""
    asked = spec.experiment(int(rng.integers(2**32)))
    changed: dict[str, Any] = {}
    if about.positions:
        changed["probe"] = spec.probe.model_copy(update={"positions": about.positions})
    if about.hints:
        changed |= {"task": "hints", "items": "questions.jsonl", "hints": HintSpec(kinds=about.hints)}
    if about.labelled:
        write_labels(folder / "labels.csv", planted, about.labelled, rng)
        changed["verdicts"] = VerdictSpec(labels=str(folder / "labels.csv"))
    return asked.model_copy(update=changed)


def _record(folder: Path, planted: Planted, values: np.ndarray) -> None:
    """Store activations [layer, rollout, position, width] at the tokens that are probed."""
    n_layers, n, _, width = values.shape
    spec = StoreSpec((SITE,), tuple(range(n_layers)), width, "float32", {"model": "planted"})
    rows = [(i, int(tokens[i])) for i in range(n) for tokens in planted.tokens.values()]
    rollout, position = np.array(rows, dtype=np.int64).T
    ids = [planted.rollouts[i].token_ids[token] for i, token in rows]
    spans = [_span(planted, i, token) for i, token in rows]
    with StoreWriter(folder, spec) as store:
        store.write_part(
            0,
            values={(SITE, layer): np.ascontiguousarray(values[layer].reshape(-1, width)) for layer in range(n_layers)},
            rollout=np.ascontiguousarray(rollout),
            position=np.ascontiguousarray(position),
            token_id=np.array(ids, dtype=np.int64),
            span=np.array(spans, dtype=np.int8),
        )
        store.finish()


def _span(planted: Planted, rollout: int, token: int) -> int:
    spans = planted.rollouts[rollout].spans
    inside = {"prompt": spans.prompt, "think": spans.think, "answer": spans.answer}
    return SPAN_CODES[next((name for name, (start, stop) in inside.items() if start <= token < stop), "other")]


def _at(results: dict[str, Any], path: tuple[str, ...]) -> list[float] | None:
    """Value and interval of the estimate there; None where there is none."""
    here: Any = results
    for key in path:
        here = here.get(key, {})
    return numbers(here)


def _at_its_threshold(head: dict[str, Any], name: str, positives: np.ndarray) -> float | None:
    """The share of the population's positives above the threshold that a rate was taken at."""
    threshold = head.get(f"{name}_threshold")
    return None if threshold is None else share_above(positives, threshold)


def _truth(planted: Planted, readouts: list[Readout], results: dict[str, Any], fpr: float) -> dict[str, float | None]:
    """What was fitted is worth in the population; rates of the link at the threshold that it set, and at the one that
    `fpr` of the population's rollouts that did not act pass.
    """
    rows = [row for row in readouts if row.part == "ood"]
    acted = planted.acted[[row.rollout for row in rows]]
    silent_ones = acted & ~planted.spoken[[row.rollout for row in rows]]
    scores = np.array([row.headline for row in rows])
    chance = expit(scores)
    link, threshold = results["link"], results["probe"]["headline"]["accuracy_threshold"]
    read = None if "threshold" not in link else float((scores[silent_ones] > link["threshold"]).mean())
    truth: dict[str, float | None] = {
        "auroc": auroc(scores, acted),
        "accuracy": float(((scores > threshold) == acted).mean()),
        **{name: _at_its_threshold(results["probe"]["headline"], name, scores[acted]) for name in TPR},
        "brier": brier(chance, acted),
        "ece": calibration_error(chance, acted, np.arange(len(acted)), n=100).value,
        "policy_rate": CHANCE,
        "silent_at_fpr": float((scores[silent_ones] > threshold_at_fpr(scores[~acted], fpr)).mean()),
    }
    if read is not None:
        truth["silent_but_decodable"] = read
        truth["realised_fpr"] = float((scores[~acted] > link["threshold"]).mean())
    words = [row.text for row in rows if row.text is not None]
    if len(words) == len(rows):
        text = np.array(words)
        truth["words_auroc"] = auroc(text, acted)
        truth["beyond_words"] = auroc(scores, acted) - max(auroc(text, acted), CHANCE)
        words_threshold = link.get("text_baseline", {}).get("threshold")
        if words_threshold is not None:
            truth["words_silent"] = said = float((text[silent_ones] > words_threshold).mean())
            if read is not None:
                truth["silent_beyond_words"] = read - said
    return truth
