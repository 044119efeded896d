"""What every backend can be asked for, and what it gives back.

A backend works on token ids and knows nothing of tasks, spans or stores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import torch

SiteLayer = tuple[str, int]
"""A site's name and a resolved, non-negative layer."""


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

    def pairs(self) -> list[SiteLayer]:
        return [(site, layer) for site in self.sites for layer in self.layers]


@dataclass(frozen=True)
class Generation:
    """What came of one prompt.

    `completion_ids` includes the stop token, when there is one. `activations[site, layer]` is [1 + m, width] in the
    model's own dtype: the last prompt token, then the m generated tokens without the stop token. `watched` is
    [len(completion_ids), n_watched]: log-probabilities (nats, temperature 1) of the watched tokens in the distribution
    from which each completion token was drawn.
    """

    completion_ids: list[int]
    finish: Literal["stop", "length"]
    activations: dict[SiteLayer, torch.Tensor]
    watched: torch.Tensor


class Backend(Protocol):
    """An engine around one model. It leaves the model as it found it, whatever happens."""

    name: str

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        seeds: Sequence[int],
        sampling: Sampling,
        capture: Capture | None,
        watch: Sequence[int] = (),
    ) -> list[Generation]:
        """Sample one completion a prompt, recording activations in flight.

        Each prompt draws from its own generator, seeded by its own seed. `capture` None records nothing.
        """

    def replay(
        self, sequences: Sequence[Sequence[int]], positions: Sequence[Sequence[int]], *, capture: Capture
    ) -> list[dict[SiteLayer, torch.Tensor]]:
        """Teacher-force stored token ids: for sequence i, activations [len(positions[i]), width] a site and layer."""
