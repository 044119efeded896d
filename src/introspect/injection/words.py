"""Why some words and not others: detection and identification regressed on what a word and its vector are like."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..concepts import count_tokens
from ..models import LoadedModel
from ..models.placement import run_device, weight_of
from ..stats import Estimate
from ..tables import Columns, line_of, table
from .found import Address, Found
from .measures import coefficients
from .subject import Subject

PREDICTORS = {
    "concrete": "concreteness",
    "norm": "norm of its vector",
    "similarity": "cosine of its vector with the activation before the reply",
    "verbalisability": "largest logit that its vector adds to any token",
    "own": "logit that its vector adds to its own first token",
    "tokens": "tokens of the word",
    "frequency": "frequency",
}


def word_regressions(subject: Subject, found: Found, layer: int) -> list[dict[str, Any]]:
    """The means of the categories; and standardised coefficients of every predictor of detection and identification."""
    words = subject.words["exploration"]
    outcomes = {"detection": _outcome(found, "detect"), "identification": _outcome(found, "which")}
    known = predictors(subject, layer, words)
    joint = [name for name in known if len(known[name]) == len(words)]
    columns: Columns = [(f"{label}, {how}", "number") for label in outcomes for how in ("alone", "together")]
    rows = []
    for name in known:
        cells = []
        for outcome in outcomes.values():
            cells.append(_coefficients(found, {name: known[name]}, outcome)[name])
            together = _coefficients(found, {each: known[each] for each in joint}, outcome)
            few = Estimate.undefined(f"known of {len(known[name])} of {len(words)} words only")
            cells.append(together.get(name, few))
        rows.append(line_of(PREDICTORS[name], cells, f"{len(known[name])} words"))
    source = "the norms that were given" if subject.spec.norms else "its category, which says so of nouns alone"
    regression = table(
        "Which words are detected and identified",
        "Standardised coefficients of linear regressions, one row a word, with bootstrap intervals over words: each "
        "predictor alone, and together with all that are known of every word. Detection: shift of the log-odds of Yes, "
        "mean over the grid; identification: rank of the word's gain at the first token. Concreteness is that of "
        f"{source}. Vectors at layer {layer}; logits that a vector adds pass through the final norm's scale, not "
        "through its division by the activation's size, and through no later layer. Predictors go together, and words "
        "were not drawn at random: no coefficient is a cause.",
        columns,
        rows,
    )
    rows = []
    for category in dict.fromkeys(map(subject.category, words)):
        here = [word for word in words if subject.category(word) == category]
        rows.append(
            line_of(
                category,
                [found.by_word({w: outcome[w] for w in here if w in outcome}) for outcome in outcomes.values()],
                f"{len(here)} words",
            )
        )
    categories = table(
        "Categories",
        "Means over words: shift of the log-odds of Yes (nats) where a thought is asked for, and rank of the word's "
        "gain (chance .5); over the cells of the grid.",
        [("detection", "number"), ("identification", "number")],
        rows,
    )
    return [categories, regression]


def _coefficients(
    found: Found, predictors: dict[str, dict[str, float]], outcome: dict[str, float]
) -> dict[str, Estimate]:
    """Standardised coefficients over the words of which everything is known."""
    words = [word for word in outcome if all(word in values for values in predictors.values())]
    return coefficients(
        {name: [values[word] for word in words] for name, values in predictors.items()},
        [outcome[word] for word in words],
        words,
        n=found.spec.bootstrap,
        seed=found.spec.seed,
    )


def _outcome(found: Found, ask: str) -> dict[str, float]:
    """Word -> its mean over the cells of the grid."""
    values: dict[str, list[float]] = {}
    for place in found.grid:
        address: Address = ("exploration", *place)
        for row in found.rows(address, "concept", ask):
            value = found.raised(row) if ask == "detect" else row.get("gain_rank")
            if value is not None:
                values.setdefault(row["word"], []).append(value)
    return {word: float(np.mean(each)) for word, each in values.items()}


def predictors(subject: Subject, layer: int, words: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """Predictor -> word -> its value; a word of which it is not known is left out."""
    vectors = np.stack([subject.directions[word][layer].vector.astype(np.float64) for word in words])
    norms = np.linalg.norm(vectors, axis=1)
    before = subject.before_reply[layer].astype(np.float64).mean(axis=0)
    cosines = vectors @ before / (norms * np.linalg.norm(before))
    logits = added_logits(subject.loaded, vectors)
    sizes = count_tokens(subject.loaded.tokenizer, words)
    first = subject.loaded.tokenizer
    own = [first(f" {word}", add_special_tokens=False).input_ids[0] for word in words]
    out: dict[str, dict[str, float]] = {"concrete": _concrete(subject, words)}
    for name, values in (
        ("norm", norms),
        ("similarity", cosines),
        ("verbalisability", logits.max(axis=1)),
        ("own", logits[np.arange(len(words)), own]),
        ("tokens", [sizes[word] for word in words]),
    ):
        out[name] = {word: float(value) for word, value in zip(words, values, strict=True)}
    frequent = {word: subject.norms[word].frequency for word in words if word in subject.norms}
    rated = {word: frequency for word, frequency in frequent.items() if frequency is not None}
    if rated:
        out["frequency"] = rated
    # What is the same for every word explains nothing, and would leave the rest without an estimate.
    return {name: values for name, values in out.items() if len(set(values.values())) > 1}


def _concrete(subject: Subject, words: tuple[str, ...]) -> dict[str, float]:
    concrete = {word: subject.norms[word].concreteness for word in words if word in subject.norms}
    rated = {word: concreteness for word, concreteness in concrete.items() if concreteness is not None}
    if rated:
        return rated
    kinds = {word: subject.materials.words.categories[subject.category(word)].concrete for word in words}
    return {word: float(kind) for word, kind in kinds.items() if kind is not None}


@torch.inference_mode()
def added_logits(loaded: LoadedModel, vectors: np.ndarray) -> np.ndarray:
    """What vectors add to the logits if nothing but the final norm's scale and the unembedding follows, float32
    [vector, vocabulary]. The norm's division by the activation's size is the same for all tokens, and left out.
    """
    model = loaded.model
    weight = weight_of(model.get_output_embeddings())
    scale = final_scale(loaded)
    rows = torch.from_numpy(vectors).to(weight.device, torch.float32) * scale.to(weight.device)
    added: np.ndarray = (rows.to(weight.dtype) @ weight.T).float().cpu().numpy()
    return added


@torch.inference_mode()
def final_scale(loaded: LoadedModel) -> torch.Tensor:
    """By how much the final norm multiplies each coordinate, float32 [width]; ones where no norm is found.

    Read off what the norm makes of plus and minus one in turns, whose mean is zero and whose size is one: that leaves
    the scale of RMS and layer norms alike, however they write it down.
    """
    width = loaded.info.width
    signs = torch.ones(width)
    signs[1::2] = -1
    decoder = loaded.model.get_decoder()
    norms = [each for each in decoder.children() if "norm" in type(each).__name__.lower()]
    if not norms:
        return torch.ones(width)
    weight = next(norms[-1].parameters())
    given = signs.to(run_device(norms[-1]), weight.dtype)[None]
    scale: torch.Tensor = ((norms[-1](given) - norms[-1](-given))[0] / 2).float().cpu() * signs
    return scale
