"""What a study is about: a model, its words with their vectors, and the vectors of every control.

Vectors are made anew each time, from one replay: it takes seconds, and a resumed study makes the same ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np

from ..assets import user_path
from ..backends import Capture, ModelBackend, make_backend
from ..concepts import (
    ConceptWords,
    Materials,
    Norm,
    PromptSet,
    Told,
    concept_directions,
    covered,
    read_materials,
    read_norms,
    tell,
)
from ..concepts.vectors import SITE
from ..errors import EstimateError, SpecError
from ..models import LoadedModel, render_messages
from ..plan import rollout_seed
from ..prepare import load_subject
from ..steering import Direction
from .spec import Injection
from .trained import Trained, read_trained

Part = Literal["exploration", "confirmation"]
Vector = Literal["concept", "random", "negated", "shuffled", "natural"]
VECTORS: tuple[Vector, ...] = ("concept", "random", "negated", "shuffled", "natural")
"""What is added in a word's trials, all of one norm: the word's concept vector; a direction drawn at random; the
concept vector turned round; its numbers in another order, so that outlying coordinates keep their size; and natural: by
how much the activation before the reply to another prompt (a sentence) differs from that of the trial's own prompt."""
SWAPPED = "swapped"
"""Beside them: the activations of another prompt in the place of the trial's own, at their own size."""
NONE = "none"
"""The kind of a trial to which nothing is added."""
KINDS = {
    NONE: "no injection",
    "concept": "the word's concept vector",
    "random": "random direction, same norm",
    "negated": "the concept vector negated",
    "shuffled": "its coordinates shuffled",
    "natural": "natural: direction towards another prompt's activation (no swap)",
    SWAPPED: "swapped in: another prompt's activations, nothing scaled",
    "before": "concept vector before the question only (cache)",
}
"""Kind of a trial -> how reports call it."""
STRENGTHS = (0.1, 0.2, 0.4, 0.8)
"""Of a model that was not trained on injections, where the spec names none."""
FULL_FROM = 2_000_000_000
"""Parameters from which on a model gets the full wordings."""


@dataclass(frozen=True)
class Subject:
    """A spec with its model, its texts and its words."""

    spec: Injection
    loaded: LoadedModel
    backend: ModelBackend
    materials: Materials
    size: Literal["full", "small"]
    layers: tuple[int, ...]
    strengths: tuple[float, ...]
    words: Mapping[Part, tuple[str, ...]]
    trained: Trained | None = None
    """How its organism was trained on injections; None: on none."""
    norms: Mapping[str, Norm] = field(default_factory=dict)
    """Of the study's words that the user's file has."""

    def about(self) -> dict[str, Any]:
        """The `injection` section of results: what was asked of which model."""
        trained = {} if self.trained is None else {"training": self.trained.to_json(self.spec.study, KINDS)}
        return {
            **self.spec.about(),
            "prompts": self.size,
            "layers": list(self.layers),
            "strengths": list(self.strengths),
            "typical_norms": [round(self.typical[layer], 6) for layer in self.layers],
            "n_exploration": len(self.words["exploration"]),
            "n_confirmation": len(self.words["confirmation"]),
            **trained,
        }

    @property
    def prompts(self) -> PromptSet:
        """The wordings for this model."""
        return self.materials.prompts.full if self.size == "full" else self.materials.prompts.small

    @property
    def every_word(self) -> tuple[str, ...]:
        """Those explored, then those held out."""
        return (*self.words["exploration"], *self.words["confirmation"])

    @property
    def controls(self) -> tuple[str, ...]:
        """Words that are never injected."""
        return self.materials.words.words("control")

    def category(self, word: str) -> str:
        """Of a word of the file."""
        return self.materials.words.place[word].category

    @cached_property
    def baseline(self) -> Told:
        """Activations about the baseline words."""
        words = pick_words(self.materials.words, "baseline", (), self.spec.baseline, self.spec.seed)
        return tell(self.loaded, self.backend, words, self.prompts.vector, self.layers)

    @cached_property
    def directions(self) -> dict[str, dict[int, Direction]]:
        """Word -> layer -> its concept vector."""
        return self.directions_of(self.every_word)

    def directions_of(self, words: Sequence[str]) -> dict[str, dict[int, Direction]]:
        """As `directions`, of any words."""
        told = tell(self.loaded, self.backend, words, self.prompts.vector, self.layers)
        return concept_directions(self.loaded, told, self.baseline)

    @cached_property
    def at_rest(self) -> dict[int, np.ndarray]:
        """Layer -> activations of every token but the first of the trial prompts without injection, [token, width].

        A first token's activation is often of another size altogether.
        """
        asked = [render_messages(self.loaded, each.messages(each.detect)) for each in self.prompts.trials]
        found = self.backend.replay(asked, [range(1, len(ids)) for ids in asked], capture=Capture((SITE,), self.layers))
        return {layer: np.concatenate([row[SITE, layer].float().numpy() for row in found]) for layer in self.layers}

    @cached_property
    def before_reply(self) -> dict[int, np.ndarray]:
        """Layer -> the activation before the reply to each trial prompt without injection, [wording, width]."""
        asked = [render_messages(self.loaded, each.messages(each.detect)) for each in self.prompts.trials]
        return self._last_tokens(asked)

    def sentence_elsewhere(self, number: int) -> str:
        """The sentence of the other prompt for the word of a number among its part's.

        Studies that show a sentence show the one of the word's number: this is another one, far from it.
        """
        sentences = self.materials.sentences.sentences
        return sentences[(number + len(sentences) // 2) % len(sentences)]

    @cached_property
    def _elsewhere(self) -> dict[int, np.ndarray]:
        """Layer -> the activation before the reply to each sentence, [sentence, width]."""
        sentences = [{"role": "user", "content": each} for each in self.materials.sentences.sentences]
        return self._last_tokens([render_messages(self.loaded, [each]) for each in sentences])

    @cached_property
    def typical(self) -> dict[int, float]:
        """Layer -> median norm of an activation at rest.

        Raises:
            EstimateError: the model's activations are zero, or no numbers, at a layer.
        """
        out = {}
        for layer, values in self.at_rest.items():
            out[layer] = float(np.median(np.linalg.norm(values.astype(np.float64), axis=-1)))
            if not out[layer] or not np.isfinite(out[layer]):
                raise EstimateError(f"activations of layer {layer} have no norm to scale a strength by; leave it out")
        return out

    def vector(self, word: str, layer: int, kind: Vector) -> np.ndarray:
        """What is added in trials of a word, of the norm of a typical activation, float32 [width].

        Raises:
            EstimateError: the word's vector is zero: it cannot be told from the baseline words.
        """
        norm = self.typical[layer]
        if kind == "natural":
            number = next(words.index(word) for words in self.words.values() if word in words)
            other = self.materials.sentences.sentences.index(self.sentence_elsewhere(number))
            own = self.before_reply[layer][number % len(self.before_reply[layer])]
            given = self._elsewhere[layer][other] - own
        elif kind == "random":
            given = self._rng(word, layer, kind).standard_normal(self.loaded.info.width)
        else:
            given = self.directions[word][layer].vector.astype(np.float64)
            if kind == "shuffled":
                given = self._rng(word, layer, kind).permutation(given)
            if kind == "negated":
                given = -given
        size = np.linalg.norm(given)
        if not size:
            raise EstimateError(f"the {kind} vector of {word!r} at layer {layer} is zero; leave the word or layer out")
        return (given * (norm / size)).astype(np.float32)

    def _last_tokens(self, prompts: Sequence[Sequence[int]]) -> dict[int, np.ndarray]:
        capture = Capture((SITE,), self.layers)
        found = self.backend.replay(prompts, [[len(ids) - 1] for ids in prompts], capture=capture)
        return {layer: np.stack([row[SITE, layer][0].float().numpy() for row in found]) for layer in self.layers}

    def _rng(self, *name: object) -> np.random.Generator:
        return np.random.default_rng(rollout_seed(self.spec.seed, "/".join(map(str, name)), "vector", 0))


def prepare_subject(spec: Injection, *, offline: bool = False) -> Subject:
    """Read the texts, choose the words, load the model. Writes nothing.

    Raises:
        SpecError: a file cannot be read, a category or layer is none, there is no word, or norms are of other words.
        ModelError: the model or its adapter cannot be loaded.
    """
    files = (spec.words_file, spec.sentences_file, spec.prompts_file)
    materials = read_materials(*(None if each is None else user_path(each) for each in files))
    words: dict[Part, tuple[str, ...]] = {
        "exploration": pick_words(materials.words, "exploration", spec.categories, spec.limit, spec.seed),
        "confirmation": pick_words(materials.words, "confirmation", spec.categories, spec.limit, spec.seed),
    }
    norms = _norms(spec, [word for part in words.values() for word in part])
    loaded = load_subject(spec, offline=offline)
    trained = read_trained(spec.organism)
    layers = spec.resolved_layers(loaded.info.n_layers, () if trained is None else trained.layers)
    backend = make_backend(spec.backend, loaded.model, Capture((SITE,), layers))
    size = spec.prompts
    if size == "auto":
        # Weights in 4 bits are two to a byte, and counted so.
        n_parameters = loaded.model.num_parameters()
        size = "full" if n_parameters >= FULL_FROM else "small"
    return Subject(spec, loaded, backend, materials, size, layers, _strengths(spec, trained), words, trained, norms)


def _norms(spec: Injection, words: Sequence[str]) -> dict[str, Norm]:
    if spec.norms is None:
        return {}
    found = covered(read_norms(user_path(spec.norms)), words)
    if not found:
        raise SpecError(
            f"{spec.norms} has none of the study's words, such as {words[0]!r}; give norms of them, or none"
        )
    return found


def _strengths(spec: Injection, trained: Trained | None) -> tuple[float, ...]:
    """Those of the spec; else as many as by default between the least and the greatest that the organism was trained
    at, evenly on a scale of logarithms.
    """
    if spec.strengths is not None:
        return spec.strengths
    if trained is None:
        return STRENGTHS
    low, high = trained.strengths
    between = [float(f"{each:.2g}") for each in np.geomspace(low, high, len(STRENGTHS))[1:-1]]
    return tuple(dict.fromkeys((low, *(each for each in between if low < each < high), high)))


def pick_words(
    words: ConceptWords,
    part: Literal["exploration", "confirmation", "baseline"],
    categories: Sequence[str],
    limit: int | None,
    seed: int,
) -> tuple[str, ...]:
    """At most `limit` words of a part, categories taking turns, each giving its words in an order drawn by the seed.

    A smaller limit's words are the first of a larger one's.

    Raises:
        SpecError: there is no such category, or it has no such word.
    """
    for name in categories:
        if name not in words.categories:
            raise SpecError(f"there is no category {name!r} of words; choose among {', '.join(words.categories)}")
    names = categories or tuple(words.categories)
    queues = [sorted(words.words(part, name), key=lambda word: rollout_seed(seed, word, part, 0)) for name in names]
    turns = [queue[i] for i in range(max(map(len, queues))) for queue in queues if i < len(queue)]
    if not turns:
        raise SpecError(f"no {part} words in {', '.join(names)}: choose other categories")
    return tuple(turns[:limit])
