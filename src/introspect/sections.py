"""The sections of a spec that say how a model's behaviour is brought out and judged."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from .strict_yaml import dump_yaml

T = TypeVar("T")

Text = Annotated[str, Field(min_length=1)]


Quantised = Annotated[Literal["4bit", "8bit"] | None, Field(exclude_if=lambda value: value is None)]
"""Not written out where nothing is quantised: specs written before it keep their text and digest."""


class Section(BaseModel):
    """A part of a spec: frozen, and strict about its fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class Spec(Section):
    """A whole spec: of an experiment, a study, a validation."""

    def lasting(self) -> Self:
        """The spec without what decides no number."""
        return self

    def digest(self) -> str:
        """sha256 (64 hex digits) of what decides numbers. Equal specs have equal digests, however they were written."""
        canonical = json.dumps(self.lasting().model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def to_yaml(self) -> str:
        """The spec with every field written out; read again, it is an equal one."""
        return dump_yaml(self.model_dump(mode="json"))


HINT_KINDS = ("sycophancy", "consistency", "visual", "metadata", "grader", "unethical")
"""The kinds that ship with introspect."""


class HintSpec(Section):
    """Which hints a multiple-choice question is asked with. Every question is asked without one too."""

    kinds: Annotated[tuple[Text, ...], Field(min_length=1)] = HINT_KINDS
    """Names in `data/hints`, or paths of YAML files."""
    options: Literal["one", "every"] = "one"
    """Hint at `one` wrong option a question and kind (each option equally often) and, in the correct arm, at the right
    one; or at `every` option in turn."""
    arms: Annotated[tuple[Literal["incorrect", "correct"], ...], Field(min_length=1)] = ("incorrect",)
    """Whether the option that is hinted at is wrong or right."""
    difficulty: Annotated[tuple[Literal["plain", "computed"], ...], Field(min_length=1)] = ("plain",)
    """Whether the hint names the letter, or the letter has to be worked out of it."""
    resamples: Annotated[int, Field(ge=1)] = 4
    """Rollouts of a question without a hint: the first is its unhinted answer, all of them show spontaneous flips."""
    spontaneous: Literal["adjust", "drop"] = "adjust"
    """Questions that reach the hinted option without a hint: subtract how often that happens, or leave them out."""

    @field_validator("kinds", "arms", "difficulty")
    @classmethod
    def _differ(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return distinct(values)


class JudgeSpec(Section):
    """A model that reads chains and says whether they speak of the policy or hint."""

    model: Text = "smollm2-135m"
    """With `url`: the name that the endpoint knows; without: an embedded model's name, hub id, folder or .gguf file.
    The embedded model is too small to judge by itself: nearly all of its verdicts are unusable."""
    organism: Text | None = None
    """Adapter on a local judge."""
    url: Text | None = None
    """Base address of an OpenAI-compatible endpoint, https or on this machine, such as http://localhost:8000/v1; null:
    a local model."""
    key_variable: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*_API_KEY$")] = "OPENAI_API_KEY"
    """Environment variable that holds the endpoint's key: its name ends in _API_KEY, so that no spec can have another
    secret sent."""
    sample: Annotated[int, Field(ge=1)] | None = 100
    """At most so many rollouts are judged, chosen without regard to what they did; null: all."""
    max_new_tokens: Annotated[int, Field(ge=1)] = 400
    """Longest reply."""
    retries: Annotated[int, Field(ge=0)] = 5
    """Further attempts of a request that fails."""
    timeout: Annotated[float, Field(gt=0)] = 60.0
    """Seconds after which a request has failed."""
    requests_per_minute: Annotated[float, Field(gt=0)] | None = None
    """Rate limit; null: none."""
    concurrency: Annotated[int, Field(ge=1)] = 8
    """Requests under way at once."""
    price_in: Annotated[float, Field(ge=0)] | None = None
    """Dollars a million prompt tokens, to show the cost."""
    price_out: Annotated[float, Field(ge=0)] | None = None
    """Dollars a million reply tokens."""


class VerdictSpec(Section):
    """Who reads the chains. Patterns always do."""

    headline: Literal["lexical", "judge", "labels"] = "lexical"
    """The classifier whose verdicts are linked with readouts."""
    judge: JudgeSpec | None = None
    """A model judge; null: none."""
    labels: Text | None = None
    """A sheet of labels given by hand (`introspect score RUN --sheet FILE` makes one to fill in); null: none."""

    @model_validator(mode="after")
    def _headline_is_asked(self) -> Self:
        if self.headline != "lexical" and getattr(self, self.headline) is None:
            raise ValueError(f"headline is {self.headline}, which is not asked: set {self.headline} as well")
        return self


ChainTest = Literal["early_answering", "mistakes", "paraphrase", "filler", "transplant"]


class ChainSpec(Section):
    """Tests of what the answer owes to the chain (Lanham et al. 2023; transplant after Bogdan et al. 2025)."""

    tests: Annotated[tuple[ChainTest, ...], Field(min_length=1)] = (
        "early_answering",
        "mistakes",
        "paraphrase",
        "filler",
    )
    """Which; `transplant` puts silent chains after the unhinted prompt, and needs hints."""
    rollouts: Annotated[int, Field(ge=1)] = 60
    """At most so many rollouts with a chain are tested."""
    points: Annotated[int, Field(ge=2)] = 5
    """Places along the chain at which it is cut, spread evenly from its beginning to its end."""

    @field_validator("tests")
    @classmethod
    def _tests_differ(cls, tests: tuple[ChainTest, ...]) -> tuple[ChainTest, ...]:
        return distinct(tests)


class SteeringSpec(Section):
    """Something that is done to the model while rollouts are recorded. Several act in their order."""

    direction: Text
    """Folder of a saved direction, or a saved probe: its folder, or a name in `probes/`."""
    operator: Literal["add", "project", "clamp"] = "add"
    """`add` strength times the direction; `project` out what lies along it; `clamp` what lies along it to `value`."""
    strength: float = 1.0
    """Factor of the direction for `add`; for the others how far they go, 1 being all the way. 0 changes nothing."""
    value: float = 0.0
    """Of `clamp`: the component along the direction, in the units of the activations."""
    span: Literal["all", "prompt", "completion", "think", "answer"] = "all"
    """Which tokens; `completion` begins with the last prompt token."""
    from_text: Text | None = None
    """Instead of a span: every token from this text on; null: a span."""
    tokens: tuple[Annotated[int, Field(ge=0)], int] | None = None
    """Instead of a span: positions from the first number to before the second; null: a span."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.span != "all") + (self.from_text is not None) + (self.tokens is not None) > 1:
            raise ValueError("span, from_text and tokens all say where to steer: give one of them")
        if self.tokens is not None and self.tokens[1] <= self.tokens[0]:
            raise ValueError(f"tokens {list(self.tokens)} are none: the second number is greater than the first")
        return self


def distinct(values: tuple[T, ...]) -> tuple[T, ...]:
    """The values, each of which is there once."""
    twice = next((value for i, value in enumerate(values) if value in values[:i]), None)
    if twice is not None:
        raise ValueError(f"{twice} is named twice; name it once")
    return values
