"""The spec of an experiment: everything that decides its numbers, and nothing else.

A spec is a YAML file and a frozen object. Making one validates it and does nothing more: whether the model exists, fits
in memory or has as many layers as asked for is found out where it is loaded. Known trade-off: layers stay as written
until a model is known, so one spec serves models of any depth; `resolve_layers` turns them into numbers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BeforeValidator, Field, field_validator, model_validator

from .assets import spec_path
from .errors import SpecError
from .sections import ChainSpec, HintSpec, Quantised, Section, Spec, SteeringSpec, Text, VerdictSpec, distinct
from .selection import Selection, SpanName, check_tokens
from .spec_file import read_spec

BackendName = Literal["auto", "native", "nnsight", "transformer-lens", "vllm"]
SiteName = Literal["resid_post", "resid_mid", "attn_out", "mlp_out"]
PositionName = Literal[
    "last_prompt",
    "prompt_mean",
    "think_0",
    "think_25",
    "think_50",
    "think_75",
    "think_100",
    "think_mean",
    "before_answer",
    "answer_token",
    "answer_mean",
]
POSITIONS: tuple[PositionName, ...] = (
    "last_prompt",
    "think_0",
    "think_25",
    "think_50",
    "think_75",
    "think_100",
    "before_answer",
)
"""Where a probe reads unless told otherwise, in the order in which a rollout passes them."""
EVERY_POSITION: tuple[PositionName, ...] = get_args(PositionName)
"""Where a probe may read, in the same order: those, the means over spans, and the first token of the answer's name,
which is the answer itself."""
MEANS: dict[str, SpanName] = {"prompt_mean": "prompt", "think_mean": "think", "answer_mean": "answer"}
"""Positions at which the mean over a span is read, and the span."""

EstimatorName = Literal["logistic", "ridge", "difference-of-means", "whitened-difference-of-means"]
LabelName = Literal["acted", "verbalised", "silent", "denied"]

LayerSelection = str | tuple[int, ...]
"""`all`, `last`, a Python slice such as `4:28:4`, or layer numbers; negative ones count from the last."""

_SLICE = re.compile(r"(-?[0-9]+)?:(-?[0-9]+)?(:(-?[0-9]+)?)?")


def _unless(default: str | None) -> Any:
    """A field that is not written out where it is the default: specs written before it keep their text and digest."""
    return Field(exclude_if=lambda value: value == default)


class Limit(Section):
    """At most so many items of each split, spread evenly over groups. A bare number stands for both."""

    id: Annotated[int, Field(ge=1)] | None = None
    """In-distribution items; null: all."""
    ood: Annotated[int, Field(ge=0)] | None = None
    """Out-of-distribution items; null: all, 0: none."""


class GenerationSpec(Section):
    """How rollouts are sampled."""

    max_new_tokens: Annotated[int, Field(ge=1)] = 256
    """Tokens after which a completion is cut off."""
    temperature: Annotated[float, Field(ge=0)] = 1.0
    """Divides the logits; 0 takes the most probable token."""
    samples: Annotated[int, Field(ge=1)] = 1
    """Rollouts an item."""
    batch_size: Annotated[int, Field(ge=1)] = 16
    """Rollouts generated side by side. Part of the spec, since the last bits of a result may depend on it."""
    part_size: Annotated[int, Field(ge=1)] | None = None
    """Rollouts committed together; a kill loses at most one part. When it is more than batch_size, those that wait take
    the places of those that have ended. null: twice batch_size."""

    @property
    def rollouts_a_part(self) -> int:
        """`part_size`, or what stands for null."""
        return 2 * self.batch_size if self.part_size is None else self.part_size

    @model_validator(mode="after")
    def _samples_differ(self) -> Self:
        if self.temperature == 0 and self.samples > 1:
            raise ValueError(
                "temperature 0 gives the same rollout every time; set samples to 1 or raise the temperature"
            )
        return self


class CaptureSpec(Section):
    """Which activations are recorded."""

    sites: Annotated[tuple[SiteName, ...], Field(min_length=1)] = ("resid_post",)
    """Places in a block."""
    layers: LayerSelection = "all"
    """`all`, `last`, a slice such as `"4:28:4"`, or a list of 0-based layers; negative ones count from the last."""

    spans: tuple[SpanName, ...] = ("completion",)
    """`prompt`, `think`, `answer`, or `completion`: all that is generated, and the last prompt token. What the probes
    read is kept besides; an empty list keeps nothing else."""
    tokens: str = "every"
    """Of each span: `every`, `every:4` (each fourth), `mean`, `first`, `last`; or `before_answer`."""

    @property
    def selection(self) -> Selection:
        """Which tokens are kept."""
        return Selection(self.spans, self.tokens)

    @field_validator("spans")
    @classmethod
    def _spans_differ(cls, spans: tuple[SpanName, ...]) -> tuple[SpanName, ...]:
        return distinct(spans)

    @field_validator("tokens")
    @classmethod
    def _tokens_parse(cls, tokens: str) -> str:
        return check_tokens(tokens)

    @field_validator("sites")
    @classmethod
    def _sites_differ(cls, sites: tuple[SiteName, ...]) -> tuple[SiteName, ...]:
        return distinct(sites)

    @field_validator("layers", mode="before")
    @classmethod
    def _layers_parse(cls, layers: Any) -> LayerSelection:
        selection = tuple(layers) if isinstance(layers, list) else layers
        _check_layers(selection)
        return selection


class ProbeSpec(Section):
    """How probes are fitted and tested."""

    positions: Annotated[tuple[PositionName, ...], Field(min_length=1)] = POSITIONS
    """Where in a rollout a probe reads: one token's activation, or at `prompt_mean`, `think_mean` and `answer_mean` the
    mean over all tokens of the span, which is kept as one more row a rollout. `answer_token`, the first token of the
    answer's name, and `answer_mean`, which holds it, are chosen for the headline only where nothing else is named."""
    site: Annotated[SiteName | None, _unless(None)] = None
    """Place in a block that is read; null: the first of capture.sites. This and the next three are written out where
    they are set to something else."""
    sites: Annotated[Annotated[tuple[SiteName, ...], Field(min_length=1)] | None, _unless(None)] = None
    """Places in a block that are all probed. The one that is read is chosen among them as layer and position are, and
    shuffled labels are set against the largest of all; null: `site` alone."""
    label: Annotated[LabelName, _unless("acted")] = "acted"
    """What is predicted: whether the policy was acted on or, of rollouts that did, whether the headline classifier
    calls the chain `verbalised`, `silent` or `denied`."""
    estimator: Annotated[EstimatorName, _unless("logistic")] = "logistic"
    """What is fitted. All but logistic regression are fitted one after the other, which takes longer."""
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.4
    """Share of the in-distribution groups that is held out and looked at once."""
    inner_folds: Annotated[int, Field(ge=2)] = 5
    """Folds of the development groups that choose layer, position and penalty."""
    penalties: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)] = (0.001, 0.01, 0.1)
    """Inverse strengths of the L2 penalty of logistic regression to choose from (scikit-learn's C)."""
    embedding: Annotated[Text | None, _unless(None)] = None
    """A third, stricter text baseline: `input`, the mean of the model's own input embeddings over the tokens that the
    probe could see, or a sentence-embedding model (hub id or local folder), mean-pooled; null: none
    (and not written out)."""
    permutations: Annotated[int, Field(ge=1)] = 100
    """Shuffles of the labels behind the null distribution."""
    bootstrap: Annotated[int, Field(ge=10)] = 1000
    """Resamples of the groups behind each interval."""

    @field_validator("positions")
    @classmethod
    def _positions_differ(cls, positions: tuple[PositionName, ...]) -> tuple[PositionName, ...]:
        return distinct(positions)

    @field_validator("sites")
    @classmethod
    def _sites_differ(cls, sites: tuple[SiteName, ...] | None) -> tuple[SiteName, ...] | None:
        return None if sites is None else distinct(sites)

    @model_validator(mode="after")
    def _one_site_or_several(self) -> Self:
        if self.site is not None and self.sites is not None:
            raise ValueError("site and sites both say what is read: give one of them, and null for the other")
        return self

    @field_validator("penalties")
    @classmethod
    def _penalties_differ(cls, penalties: tuple[float, ...]) -> tuple[float, ...]:
        return distinct(penalties)


class LinkSpec(Section):
    """How a probe's score becomes a readout."""

    fpr: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """False-positive rate, on the development groups, at which the threshold is set."""


def _read_limit(value: Any) -> Any:
    if value is None:
        return {}
    if isinstance(value, int) and not isinstance(value, bool):
        return {"id": value, "ood": value}
    return value


class Experiment(Spec):
    """A question about a model, and how it is put."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)]
    """A word; names the run's folder."""
    question: Text
    """What the experiment asks, in one sentence."""
    task: Text
    """A name from `introspect list tasks`."""
    items: Text
    """JSONL file of items: a name in `data/`, or a path."""
    limit: Annotated[Limit, BeforeValidator(_read_limit)] = Limit()
    """At most so many items of each split; null: all."""
    model: Text = "smollm2-135m"
    """An embedded model's name, a hub id, a local folder or a .gguf file."""
    revision: Text | None = None
    """Commit of a hub model; null: the one its main branch points to when the run starts."""
    organism: Text | None = None
    """Adapter on top of the model: a name in `data/organisms`, or a folder; null: the bare model."""
    negative_control: Text | None = None
    """Organism in which nothing should be found, run the same way; null: none."""
    base_baseline: bool = True
    """Whether the same tokens are replayed through the untrained model, to see what the adapter added."""
    backend: BackendName = "auto"
    """Engine that runs the model and records its activations; auto: the fastest that records what is asked for. vllm:
    vLLM samples, and the native engine records by replay."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Number format of weights and activations; auto: bfloat16 where the processor multiplies it natively."""
    quantization: Quantised = None
    """Weights in 4 or 8 bits, with bitsandbytes; activations keep `dtype`. null: in full, and then not written out."""
    attention: Literal["sdpa", "eager", "flash_attention_2"] = "sdpa"
    """Attention implementation."""
    generation: GenerationSpec = GenerationSpec()
    """How rollouts are sampled."""
    capture: CaptureSpec = CaptureSpec()
    """Which activations are recorded."""
    probe: ProbeSpec = ProbeSpec()
    """How probes are fitted and tested."""
    link: LinkSpec = LinkSpec()
    """How a probe's score becomes a readout."""
    verdicts: VerdictSpec = VerdictSpec()
    """Who reads the chains."""
    hints: HintSpec = HintSpec()
    """Task `hints`: which hints are given."""
    awareness: bool = False
    """Whether the model is asked about itself, and so is its base."""
    chain: ChainSpec | None = None
    """Tests of what the answer owes to the chain; null: none."""
    steering: Annotated[tuple[SteeringSpec, ...], Field(exclude_if=lambda steering: not steering)] = ()
    """What is done to the model while rollouts are recorded; empty: nothing, and then it is not written out."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Start of every source of chance."""

    @model_validator(mode="after")
    def _control_differs(self) -> Self:
        if self.negative_control is not None and self.negative_control == self.organism:
            raise ValueError(f"negative_control is the organism itself ({self.organism}); choose another or null")
        return self

    @model_validator(mode="after")
    def _probed_site_is_captured(self) -> Self:
        lacking = next((site for site in self.probed_sites if site not in self.capture.sites), None)
        if lacking is not None:
            listed, name = ", ".join(self.capture.sites), "site" if self.probe.sites is None else "sites"
            raise ValueError(f"probe.{name} is {lacking}, which is not captured: choose one of {listed}")
        return self

    @property
    def probed_sites(self) -> tuple[SiteName, ...]:
        """The places in a block that are probed."""
        return self.probe.sites or (self.probe.site or self.capture.sites[0],)

    @property
    def probed_site(self) -> SiteName:
        """The place in a block that the probes read; of several, the first."""
        return self.probed_sites[0]

    @model_validator(mode="after")
    def _forced_answers_are_not_steered(self) -> Self:
        if self.steering and (self.chain is not None or self.awareness):
            raise ValueError(
                "steering acts on rollouts, and forced answers are without it: leave out chain and awareness"
            )
        if self.steering and self.organism is not None and self.base_baseline:
            raise ValueError("the base model is replayed without steering: set base_baseline: false")
        return self


def load_experiment(name_or_file: str | Path, overrides: Sequence[str] = ()) -> Experiment:
    """The spec of that name that ships with introspect, or the one in that file, with fields replaced.

    Args:
        name_or_file: what ends in `.yaml` or `.yml`, or holds a `/`, is a file; anything else is a name.
        overrides: `key=value` or `section.key=value`, values as in YAML; later ones win.

    Raises:
        SpecError: no such spec, or it does not say something that can be run. Names the file (or the override) and the
            key, and for an unknown key the nearest one.
    """
    return read_spec(Experiment, spec_path(name_or_file), overrides)


def read_layers(text: str) -> LayerSelection:
    """What is written on a command line: numbers by commas, such as `0,-1`; else it stays as it is."""
    return tuple(map(int, text.split(","))) if re.fullmatch(r"-?[0-9]{1,9}(,-?[0-9]{1,9})*", text) else text


def resolve_layers(selection: LayerSelection, n_layers: int) -> tuple[int, ...]:
    """The layers that a selection means in a model of `n_layers` blocks: ascending, 0-based, each once.

    `resolve_layers("4:28:4", 30)` is `(4, 8, 12, 16, 20, 24)`; `resolve_layers((0, -1), 30)` is `(0, 29)`.

    Raises:
        SpecError: the selection cannot be read, names a layer that the model lacks, or selects none.
    """
    try:
        parsed = _check_layers(selection)
    except ValueError as error:
        raise SpecError(f"capture.layers: {error}") from None
    if isinstance(parsed, slice):
        layers = sorted(range(n_layers)[parsed])
    else:
        outside = [layer for layer in parsed if not -n_layers <= layer < n_layers]
        if outside:
            raise SpecError(f"capture.layers: the model has layers 0 to {n_layers - 1}, not {outside[0]}; leave it out")
        layers = sorted({layer % n_layers for layer in parsed})
    if not layers:
        raise SpecError(f"capture.layers: {selection!r} selects none of the model's {n_layers} layers; widen it")
    return tuple(layers)


def _check_layers(selection: Any) -> slice | tuple[int, ...]:
    if selection == ():
        raise ValueError("an empty list selects no layer; name at least one, or write all")
    if isinstance(selection, tuple) and all(type(layer) is int for layer in selection):
        return distinct(selection)
    if selection == "all":
        return slice(None)
    if selection == "last":
        return (-1,)
    if not isinstance(selection, str) or not _SLICE.fullmatch(selection):
        raise ValueError(
            f"cannot read {selection!r}; write all, last, a slice such as 4:28:4, or a list such as [0, -1]"
        )
    parts = [int(part) if part else None for part in selection.split(":")]
    if len(parts) == 3 and parts[2] is not None and parts[2] < 1:
        raise ValueError(f"the step of {selection!r} must be 1 or more")
    return slice(*parts)
