"""What every backend can be asked for, what it gives back, and what an engine has to do for it.

An engine runs a model once and shows its activations on the way; a backend makes sampling with capture and replay out
of that. Both work on token ids and know nothing of tasks, spans or stores.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

SITES = ("resid_post", "resid_mid", "attn_out", "mlp_out")
"""Places in a block. `resid_post` is what the block gives on; `resid_mid` is the residual stream between attention and
MLP; `attn_out` and `mlp_out` are what each adds to it, after a norm of their own where there is one:
`resid_mid = resid_pre + attn_out` and `resid_post = resid_mid + mlp_out`."""

SiteLayer = tuple[str, int]
"""A site's name and a resolved, non-negative layer."""

Read = Callable[["torch.Tensor"], None]
"""Is shown a site's values, [row, token, width], during the forward pass. What it keeps it has to copy."""

Write = Callable[["torch.Tensor"], "torch.Tensor"]
"""Gets a site's values, [row, token, width], and gives those with which the model goes on."""


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn. `temperature` 0 takes the most probable token."""

    max_new_tokens: int
    temperature: float
    stop_ids: frozenset[int]


@dataclass(frozen=True)
class Capture:
    """Which activations to keep: every pair of a site and a (resolved) layer."""

    sites: tuple[str, ...]
    layers: tuple[int, ...]
    prompt: bool = False
    """In flight: keep every prompt token, rather than the last one only."""

    def pairs(self) -> list[SiteLayer]:
        return [(site, layer) for site in self.sites for layer in self.layers]


Follow = Callable[[Sequence[int]], Sequence[bool]]
"""Is told the next tokens of a sequence, those of its prompt at once and then each as it is fed, and says of each
whether it is steered. Told the whole sequence at once, as in a replay, it says the same."""


class Scope(Protocol):
    """The tokens of one sequence that are steered, where that depends on what they are.

    It knows how long the prompt is. What it says of a token that is generated depends on no later one.
    """

    def follow(self) -> Follow:
        """Begin at the sequence's first token."""


Operator = Literal["add", "project", "clamp"]
OPERATORS: tuple[Operator, ...] = ("add", "project", "clamp")

Dose = float | tuple[float, ...]
"""A number, or one a sequence."""


@dataclass(frozen=True, eq=False)
class Steer:
    """Change a site along a vector v, in the model's own dtype; u = v / ||v||, s the strength.

    `add`: x + s v. `project`: x - s (x.u) u, so that a strength of 1 leaves nothing along v. `clamp`:
    x + s (value - x.u) u, so that a strength of 1 sets the component along u to `value`. Where s is 0, no bit changes.
    Several at one site act in their order.
    """

    site: str
    layer: int
    vector: torch.Tensor
    """[width], or one a sequence, [sequence, width]."""
    strength: Dose
    ranges: tuple[range | Scope, ...] | None = None
    """Of each sequence, absolute positions, such as `selection.select` gives, or a scope; None: every token."""
    operator: Operator = "add"
    value: Dose = 0.0
    """Of `clamp`, in the units of the activations."""
    along: torch.Tensor | None = None
    """Of `project`: [width], the vector a along which the component is measured, x - s (x.a/||a||) u: as much is moved,
    at every token, as projecting a out would move, but along u. None: v itself."""


@dataclass(frozen=True)
class Generation:
    """What came of one prompt.

    `completion_ids` includes the stop token, when there is one. `finish` is `not_finite` where steering drove the
    logits to NaN or infinity: nothing is drawn from them, and the completion ends there. `activations[site, layer]` is
    [p + m, width] in the model's own dtype: the last prompt token (p = 1), or every prompt token where the capture asks
    for them, then the m generated tokens without the stop token. `watched` is [len(completion_ids), n_watched]:
    log-probabilities (nats, temperature 1) of the watched tokens in the distribution from which each completion token
    was drawn; of a completion that is not finite, with a last row of NaN.
    """

    completion_ids: list[int]
    finish: Literal["stop", "length", "not_finite"]
    activations: dict[SiteLayer, torch.Tensor]
    watched: torch.Tensor


Ability = Literal["in_flight", "replay", "quantised", "sharded"]
ABILITIES: tuple[Ability, ...] = ("in_flight", "replay", "quantised", "sharded")
"""Recording while generating, and of given tokens; weights in 4 or 8 bits, and on several devices."""


@dataclass(frozen=True)
class Supports:
    """What an engine can do with the model that it holds."""

    read: Mapping[str, frozenset[int]]
    """Site -> layers at which it can be recorded."""
    write: Mapping[str, frozenset[int]]
    """Site -> layers at which it can be steered."""
    abilities: frozenset[Ability]
    why_not: Mapping[str, str]
    """Site or ability -> why it is missing, or only read."""


class Engine(Protocol):
    """Runs one model. It leaves the model as it found it, whatever happens."""

    name: str
    model: PreTrainedModel
    """As it was given: for its config, dtype and device."""
    attention: str
    """Attention implementation that runs, which decides the form of masks."""

    def supports(self) -> Supports:
        """What can be recorded and steered in this model."""

    def where(self, pair: SiteLayer) -> str:
        """The site's name in the engine's own words."""

    def passing_over(self, layer: int, values: torch.Tensor) -> AbstractContextManager[None]:
        """While this is entered, blocks up to and with `layer` need not be run: it is known what they come to.

        An engine may run them all the same.

        Args:
            values: [row, token, width], of the tokens of every forward pass that is made; hooks see them as the block's
                output, and may change them.
        """

    def widened(self) -> AbstractContextManager[bool]:
        """While this is entered, the last wanted token of every row is scored in float32: by the LM head on its last
        hidden state. It gives whether that is so: an engine may be unable to, and goes on in the model's own dtype.
        """

    def forward(
        self,
        inputs: Mapping[str, Any],
        *,
        reads: Mapping[SiteLayer, Read],
        writes: Mapping[SiteLayer, Write],
        logits_at: torch.Tensor | None,
    ) -> torch.Tensor | None:
        """Run the model once.

        Args:
            inputs: of the transformers model's own forward: `input_ids` [row, token], and a cache, mask and positions
                where there are any.
            reads: shown the values of their site in the order of the forward pass; writes at a site come first.
            writes: may change a site's values.
            logits_at: which token of each row, [row], or which tokens, [row, wanted], logits are wanted at; None for no
                logits: then neither the LM head nor any block after the last one that is read is run, and no cache is
                filled.

        Returns:
            Logits [row, vocabulary], or [row, wanted, vocabulary], or None.
        """


class Backend(Protocol):
    """Sampling with capture, and replay, on one model."""

    name: str

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        seeds: Sequence[int],
        sampling: Sampling,
        capture: Capture | None,
        watch: Sequence[int] = (),
        steer: Sequence[Steer] = (),
        lanes: int | None = None,
    ) -> list[Generation]:
        """Sample one completion a prompt, recording activations in flight.

        Each prompt draws from its own generator, seeded by its own seed. Equal prompts share their prefill, where the
        same is done to them.

        Args:
            capture: what to record; None records nothing.
            watch: tokens whose log-probabilities are kept.
            steer: what to change while generating.
            lanes: sequences run side by side, the others wait for a free place; None: all of them.
        """

    def replay(
        self,
        sequences: Sequence[Sequence[int]],
        positions: Sequence[Sequence[int]],
        *,
        capture: Capture,
        steer: Sequence[Steer] = (),
    ) -> list[dict[SiteLayer, torch.Tensor]]:
        """Teacher-force stored token ids: for sequence i, activations [len(positions[i]), width] a site and layer."""
