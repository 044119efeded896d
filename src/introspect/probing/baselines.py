"""The `baselines` section: what predicts the label without the probe, on the same rows and the same split.

Every baseline is chosen and fitted inside the development groups, as the probe is. Of the ways to read words, and of
all baselines, `best_text` and `best` are the ones with the best mean AUROC over inner folds, so that the increment over
them is one comparison, and nothing of the test part has chosen it. `strictest` is against the largest AUROC that any of
them has on the test part, looked for again in every replicate: what remains then cannot be put down to a baseline that
was chosen badly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..errors import EstimateError
from ..probes import Cell, category_scores, column_scores, fit_grid
from ..probes.splits import inner_auroc
from ..probes.text import text_fit
from ..stats import Estimate
from .stage import ProbeStage, Scores

WHAT = {
    "text_chain": "TF-IDF (words and pairs of words) of the chain up to this token",
    "text_prompt_chain": "TF-IDF (words and pairs of words) of the prompt and the chain up to this token",
    "text_whole_chain": "TF-IDF (words and pairs of words) of the whole chain, up to the answer: what a monitor reads, "
    "even where the probe sees less",
    "text_prompt_whole_chain": "TF-IDF (words and pairs of words) of the prompt and the whole chain, up to the answer",
    "embedding_prompt_chain": "the prompt and the chain up to this token as a vector",
    "embedding_prompt_whole_chain": "the prompt and the whole chain, up to the answer, as a vector",
    "logits": "log-odds that the next token names an option that acts on the policy",
    "option_order": "which option stands first, or which letter the hint names",
    "condition": "the condition alone, such as the kind of hint",
    "prior": "the model's own probability of the acting option without the condition, over unhinted samples",
    "length": "tokens in the prompt and the chain up to this token",
    "base_model": "the same probe on the model before post-training, over the same tokens",
}
EMBEDDING_PENALTIES = (0.001, 0.01, 0.1, 1.0)
CHOSEN_BY = "mean AUROC over inner folds of the development groups"
Found = dict[str, Any]


class Baselines(NamedTuple):
    """The section, and the words that the link goes on with."""

    section: Found
    best_text: tuple[str, np.ndarray] | None
    """Name and scores [row]."""
    scores: dict[str, np.ndarray]
    """Name -> scores [row] of every baseline that could be estimated."""


def position_texts(stage: ProbeStage, position: str) -> dict[str, Scores]:
    """Scores of the two text baselines on the tokens up to a position."""
    chains = stage.chains[position]
    return {
        "text_chain": _words(stage, chains),
        "text_prompt_chain": _words(stage, _with_prompts(stage, chains)),
    }


def baselines_section(
    stage: ProbeStage, headline: Cell, texts: dict[str, Scores], base_best: dict[str, Cell]
) -> Baselines:
    """Every baseline beside the headline probe.

    Args:
        texts: `position_texts` at the headline's position.
        base_best: position -> the best probe there on the model before post-training.

    Raises:
        EstimateError: none can be estimated.
    """
    columns = {**texts, **_columns(stage, headline.position)}
    section = {name: _entry(stage, headline, _what(stage, name), columns[name]) for name in WHAT if name in columns}
    if not isinstance(stage.embedding, str) and stage.embedding.encoder is not None:
        for name in ("embedding_prompt_chain", "embedding_prompt_whole_chain"):
            section[name]["encoder"] = stage.embedding.encoder()
    base = base_best.get(headline.position)
    no_base = "the model has no base to compare with, or the comparison was turned off"
    section["base_model"] = {
        **_entry(stage, headline, WHAT["base_model"], no_base if base is None else base.scores),
        "layer": None if base is None else base.layer,
    }
    measured = {
        name: scores
        for name, scores in columns.items()
        if isinstance(scores, np.ndarray) and section[name]["auroc"]["value"] is not None
    }
    if not measured:
        raise EstimateError("no baseline can be estimated on the test part: it has too few groups")
    words = {name: scores for name, scores in measured.items() if name.startswith("text_")}
    read = words | {name: scores for name, scores in measured.items() if name.startswith("embedding_")}
    section["best"] = _best(stage, headline, section, measured, measured)
    section["best_text"] = _best(stage, headline, section, words, read)
    name = section["best_text"]["name"]
    every = measured if base is None else measured | {"base_model": base.scores}
    return Baselines(section, None if name is None else (name, words[name]), every)


def _columns(stage: ProbeStage, position: str) -> dict[str, Scores]:
    """The baselines that do not go by words up to the position."""
    orders = [(r.fields.get("order"), r.facts.get("hint_option")) for r in stage.rollouts]
    conditions = [r.condition for r in stage.rollouts]
    out: dict[str, Scores] = {
        "text_whole_chain": _words(stage, stage.whole_chains),
        "text_prompt_whole_chain": _words(stage, _with_prompts(stage, stage.whole_chains)),
        "embedding_prompt_chain": _embedded(stage, position, whole=False),
        "embedding_prompt_whole_chain": _embedded(stage, position, whole=True),
        "logits": column_scores(stage.margins[position], stage.labels, stage.split),
        "option_order": _category(stage, orders, "every item names its options in one order, and no hint names one"),
        "condition": _category(stage, conditions, "every item is asked in one way"),
        "prior": "every item is asked in one way, so there is no answer without the condition",
        "length": column_scores(stage.lengths[position], stage.labels, stage.split),
    }
    if stage.prior is not None:
        out["prior"] = column_scores(stage.prior, stage.labels, stage.split)
    return out


def _category(stage: ProbeStage, categories: Sequence[Any], only_one: str) -> Scores:
    return category_scores(categories, stage.labels, stage.split) if len(set(categories)) > 1 else only_one


def _embedded(stage: ProbeStage, position: str, *, whole: bool) -> Scores:
    if isinstance(stage.embedding, str):
        return stage.embedding
    values = stage.embedding.vectors(position, whole)[None]
    try:
        return fit_grid({position: values}, (0,), stage.labels, stage.split, EMBEDDING_PENALTIES)[0].scores
    except EstimateError as error:
        return str(error)


def _what(stage: ProbeStage, name: str) -> str:
    if not name.startswith("embedding_") or isinstance(stage.embedding, str):
        return WHAT[name]
    return f"{WHAT[name]}: {stage.embedding.what}"


def _with_prompts(stage: ProbeStage, chains: Sequence[str]) -> list[str]:
    return [f"{rollout.prompt_text}\n{chain}" for rollout, chain in zip(stage.rollouts, chains, strict=True)]


def _words(stage: ProbeStage, texts: Sequence[str]) -> Scores:
    try:
        return text_fit(texts, stage.labels, stage.split).scores
    except EstimateError as error:
        return str(error)


def _entry(stage: ProbeStage, headline: Cell, what: str, scores: Scores) -> Found:
    if isinstance(scores, str):
        missing = Estimate.undefined(scores).to_json()
        return {"what": what, "inner_auroc": None, "auroc": missing, "increment": missing}
    return {
        "what": what,
        "inner_auroc": round(inner_auroc(scores, stage.labels, stage.split), 6),
        "auroc": stage.auroc(scores, stage.split.test).to_json(),
        "increment": stage.increment(headline.scores, scores).to_json(),
    }


def _best(
    stage: ProbeStage,
    headline: Cell,
    section: Found,
    choice: dict[str, np.ndarray],
    every: dict[str, np.ndarray],
) -> Found:
    """The best of a choice by inner folds, and the strictest bound over all that are of its kind."""
    nothing = Estimate.undefined("no text baseline could be fitted").to_json()
    name = max(choice, key=lambda each: section[each]["inner_auroc"], default=None)
    largest = max(every, key=lambda each: section[each]["auroc"]["value"], default=None)
    bound = (
        nothing if largest is None else stage.increment_over_largest(headline.scores, list(every.values())).to_json()
    )
    return {
        "name": name,
        "chosen_by": CHOSEN_BY,
        "increment": nothing if name is None else section[name]["increment"],
        "strictest": {"name": largest, "increment": bound},
    }
