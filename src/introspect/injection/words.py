"""Why some words and not others: detection and identification regressed on what a word and its vector are like."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..backends import ModelBackend
from ..concepts import count_tokens
from ..forced import continuation_ids
from ..models import LoadedModel
from ..models.placement import run_device, weight_of
from ..stats import Estimate
from ..tables import Columns, line_of, table
from .found import Found
from .measures import coefficients
from .subject import Subject

PREDICTORS = {
    "concrete": "concreteness",
    "frequency": "frequency",
    "familiar": "log-probability of the word to the model",
    "norm": "norm of its vector",
    "similarity": "cosine of its vector with the activation before the reply",
    "verbalisability": "largest logit that its vector adds to any token",
    "own": "logit that its vector adds to its own first token",
    "tokens": "tokens of the word",
}


def word_regressions(subject: Subject, found: Found, place: tuple[int, float]) -> list[dict[str, Any]]:
    """The means of the categories; and standardised coefficients of every predictor of detection and identification.

    Of all words, explored and held out, at the chosen layer and strength: of those held out nothing else is known, and
    half of the words are too few for all predictors together.
    """
    words = subject.every_word
    outcomes = {"detection": _outcome(found, place, "detect"), "identification": _outcome(found, place, "which")}
    known = predictors(subject, place[0], words)
    of_all = [name for name in known if len(known[name]) == len(words)]
    sets = {"together": list(known)} | ({} if len(of_all) == len(known) else {"together, all words": of_all})
    columns: Columns = [(f"{label}, {how}", "number") for label in outcomes for how in ("alone", *sets)]
    cells: dict[str, list[Estimate]] = {name: [] for name in known}
    for outcome in outcomes.values():
        joint = [together(found, {name: known[name] for name in names}, outcome) for names in sets.values()]
        for name, line in cells.items():
            line.append(_coefficients(found, {name: known[name]}, outcome)[name])
            left_out = Estimate.undefined(f"known of {len(known[name])} of {len(words)} words only, and left out here")
            line += [each.get(name, left_out) for each in joint]
    source = "the norms that were given" if subject.spec.norms else "its category, which says so of nouns alone"
    regression = table(
        "Which words are detected and identified",
        "Standardised coefficients of linear regressions, one row a word, with bootstrap intervals over words: each "
        "predictor alone; together, over the words of which all of them are known; and together without what is not "
        "known of every word, over all words. Detection: shift of the log-odds of Yes; identification: rank of the "
        "word's gain at the first token; of words explored and held out, at the chosen layer and strength. "
        f"Concreteness is that of {source}. Without norms of frequency, how familiar a word is to the model stands for "
        "it: the log-probability of its tokens after a short beginning, with no question asked and nothing injected. "
        f"Vectors at layer {place[0]}; logits that a vector adds pass through the final norm's scale, not through its "
        "division by the activation's size, and through no later layer. Predictors go together, and words were not "
        "drawn at random: no coefficient is a cause.",
        columns,
        [line_of(PREDICTORS[name], line, f"{len(known[name])} words") for name, line in cells.items()],
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
        "Means over words, explored and held out, at the chosen layer and strength: shift of the log-odds of Yes "
        "(nats) where a thought is asked for, and rank of the word's gain (chance .5).",
        [("detection", "number"), ("identification", "number")],
        rows,
    )
    return [categories, regression]


FEWEST_APART = 5
"""Words whose value is another than the most frequent one of a predictor. With fewer it is left out of those together:
resamples of words would often have none of them.
"""


def together(
    found: Found, predictors: Mapping[str, Mapping[str, float]], outcome: Mapping[str, float]
) -> dict[str, Estimate]:
    """Standardised coefficients of predictors together, over the words of which all of them are known; those that are
    nearly the same for all of these words are left out.
    """
    words = [word for word in outcome if all(word in values for values in predictors.values())]
    out, kept = {}, {}
    for name, values in predictors.items():
        here = [values[word] for word in words]
        apart = len(here) - max(Counter(here).values(), default=0)
        if apart >= FEWEST_APART:
            kept[name] = {word: values[word] for word in words}
        else:
            out[name] = Estimate.undefined(
                f"the same for all but {apart} of the {len(words)} words of which all predictors are known"
            )
    return out | (_coefficients(found, kept, {word: outcome[word] for word in words}) if kept else {})


def _coefficients(
    found: Found, predictors: Mapping[str, Mapping[str, float]], outcome: Mapping[str, float]
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


def _outcome(found: Found, place: tuple[int, float], ask: str) -> dict[str, float]:
    """Word of either part -> its value at a layer and strength."""
    values: dict[str, float] = {}
    for part in ("exploration", "confirmation"):
        for row in found.rows((part, *place), "concept", ask):
            value = found.raised(row) if ask == "detect" else row.get("gain_rank")
            if value is not None:
                values[row["word"]] = value
    return values


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
    frequent = {word: subject.norms[word].frequency for word in words if word in subject.norms}
    rated = {word: frequency for word, frequency in frequent.items() if frequency is not None}
    if rated:
        out["frequency"] = rated
    else:
        out["familiar"] = familiarity(subject.loaded, subject.backend, words)
    for name, values in (
        ("norm", norms),
        ("similarity", cosines),
        ("verbalisability", logits.max(axis=1)),
        ("own", logits[np.arange(len(words)), own]),
        ("tokens", [sizes[word] for word in words]),
    ):
        out[name] = {word: float(value) for word, value in zip(words, values, strict=True)}
    # What is the same for every word explains nothing, and would leave the rest without an estimate.
    return {name: values for name, values in out.items() if len(set(values.values())) > 1}


BEGINNING = "\nThe word is"
"""What a word follows where its log-probability is read."""


def familiarity(loaded: LoadedModel, backend: ModelBackend, words: Sequence[str]) -> dict[str, float]:
    """Word -> log-probability (nats) of all of its tokens after `BEGINNING`: no chat, no question, nothing injected.

    It stands for frequency where no norms are given, and is none: a model's probability of a word in one place.
    """
    beginning = tuple(loaded.tokenizer(BEGINNING, add_special_tokens=False).input_ids)
    rows = [continuation_ids(loaded.tokenizer, f" {word}") for word in words]
    out = {}
    fed = [(beginning[-1], *ids[:-1]) for ids in rows]
    for numbers, logits in backend.branches(beginning[:-1], fed):
        for place, number in enumerate(numbers):
            ids = torch.tensor(rows[number], device=logits.device)
            said = torch.log_softmax(logits[place, : len(ids)].float(), dim=-1)
            out[words[number]] = float(said.gather(1, ids[:, None]).sum())
    return out


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
