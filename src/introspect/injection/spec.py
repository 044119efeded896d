"""The spec of a study of injected concepts, as a frozen object read from YAML."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, field_validator

from ..asked_spec import AskedSpec
from ..experiment import LayerSelection, resolve_layers
from ..sections import Section, Text, distinct

MARKER = "injection.yaml"
"""What says of a folder that it is a study of injected concepts, and of what."""
Kind = Literal["inject-thought", "inject-thought-vs-text", "inject-prefill", "inject-intentional-control"]
KINDS: tuple[Kind, ...] = get_args(Kind)
DEPTHS = (0.25, 0.4, 0.67, 0.84)
"""Where the spec says nothing: the best layer is published to be at two thirds."""

Share = Annotated[float, Field(ge=0, le=1)]
Words = Annotated[int, Field(ge=1)]


class TextSpec(Section):
    """The replies that are sampled."""

    max_new_tokens: Annotated[int, Field(ge=1)] = 24
    """Tokens after which a reply is cut off."""
    temperature: Annotated[float, Field(ge=0)] = 1.0
    """Divides the logits; 0 takes the most probable token."""
    batch_size: Annotated[int, Field(ge=1)] = 64
    """Replies side by side."""


class LeadSpec(Section):
    """What the reply is given to begin with where its first token is read. A think block is closed before it."""

    answer: str = ""
    """Before yes, no, or a letter; empty: read where the reply begins. `"Answer:"` for models that begin otherwise."""
    word: str = "The word is"
    """Before a word."""


class CoherenceSpec(Section):
    """What counts as a coherent reply: readable, not repeating itself, no surprise to the model without injection."""

    letters: Share = 0.7
    """Least share of characters that are letters, digits, spaces or common punctuation."""
    repetition: Share = 0.5
    """Greatest share of pairs of neighbouring words that have been said before."""
    nats: Annotated[float, Field(gt=0)] = 2.0
    """Greatest surprise of a reply's median token to the model without injection, beyond that of half of the replies
    without injection."""


class Injection(AskedSpec):
    """A study of injected concepts."""

    study: Kind
    """Which."""
    prompts: Literal["auto", "full", "small"] = "auto"
    """Wordings for models that follow longer instructions (`full`), or that do not (`small`); auto: `small` below
    2 billion parameters."""
    words_file: Text | None = None
    """A file of words like data/concepts/words.yaml; null: that one."""
    sentences_file: Text | None = None
    """A file of sentences and questions; null: what ships."""
    prompts_file: Text | None = None
    """A file of wordings; null: what ships."""
    norms: Text | None = None
    """A CSV file of norms of words, for the regression; null: the categories say what is concrete."""
    categories: tuple[Text, ...] = ()
    """Categories of words; none named: all."""
    limit: Words | None = 50
    """At most so many words, categories taking turns; of the confirmation words as many again. null: all."""
    baseline: Words | None = None
    """At most so many baseline words, whose mean is subtracted; null: all."""
    depths: Annotated[tuple[Share, ...], Field(min_length=1)] | None = None
    """Layers as shares of the model's depth; null: a quarter, two fifths, two thirds and five sixths of it, and the
    layers at which the organism was trained, as its card says."""
    layers: LayerSelection | None = None
    """Instead of depths: `all`, a slice such as `"4:28:4"`, or 0-based layers; null: depths."""
    strengths: Annotated[tuple[Annotated[float, Field(gt=0, le=1000)], ...], Field(min_length=1)] | None = None
    """Norm of what is added, as a part of the norm of a typical activation at that layer: s ||v|| / ||h||; null: .1,
    .2, .4 and .8, or four between the least and the greatest at which the organism was trained."""
    questions: Annotated[int, Field(ge=1)] = 2
    """Pairs of unrelated questions asked of each word in each cell, in turns."""
    lead: LeadSpec = LeadSpec()
    """What stands before the token that is read."""
    text: TextSpec = TextSpec()
    """Sampled replies."""
    coherence: CoherenceSpec = CoherenceSpec()
    """What counts as coherent."""
    permutations: Annotated[int, Field(ge=19)] = 999
    """Of words over trials."""

    @field_validator("categories", "depths", "strengths")
    @classmethod
    def _each_once(cls, values: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
        return None if values is None else distinct(values)

    @field_validator("layers")
    @classmethod
    def _layers_can_be_read(cls, layers: LayerSelection | None) -> LayerSelection | None:
        if layers is not None and not layers:
            raise ValueError("no layers: name one, or leave it null")
        return layers

    def resolved_layers(self, n_layers: int, trained: Sequence[int] = ()) -> tuple[int, ...]:
        """The layers of a model with so many, in order.

        Args:
            trained: layers at which its organism was trained: added where the spec says nothing of layers.

        Raises:
            SpecError: one is outside the model.
        """
        if self.layers is not None:
            return resolve_layers(self.layers, n_layers)
        found = {min(n_layers - 1, int(depth * n_layers)) for depth in self.depths or DEPTHS}
        if self.depths is None:
            found |= {layer for layer in trained if layer < n_layers}
        return tuple(sorted(found))
