"""The spec of a validation: how often what is planted, and how much of it, as a frozen object read from YAML."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator

from ..experiment import MEANS, Experiment, LinkSpec, ProbeSpec
from ..sections import Section, Spec, Text, distinct
from .scenarios import SCENARIOS

MARKER = "validation.yaml"
"""What says of a folder that it is a validation, and of what."""
SITE = "resid_post"
"""Where activations are planted."""


class Sizes(Section):
    """How much is drawn."""

    items: Annotated[int, Field(ge=20)] = 40
    """Items of a sample, from which development and test part are made."""
    rollouts: Annotated[int, Field(ge=2)] = 4
    """Rollouts an item."""
    population: Annotated[int, Field(ge=100)] = 1000
    """Rollouts, one an item, on which the worth of what was fitted is taken for the truth."""
    layers: Annotated[int, Field(ge=2)] = 4
    """Layers; signals are in the upper half."""
    width: Annotated[int, Field(ge=8)] = 32
    """Numbers in an activation."""
    strength: Annotated[float, Field(gt=0)] = 2.0
    """Distance between the means of those that act and of the others, in standard deviations."""


class ValidateInstrument(Spec):
    """Synthetic runs whose truth is planted, analysed as any run, over and over."""

    study: Literal["validate-instrument"]
    """The kind."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)]
    """A word; names the folder."""
    question: Text
    """What is asked, in one sentence."""
    scenarios: Annotated[tuple[Text, ...], Field(min_length=1)] = tuple(SCENARIOS)
    """Which, in the order of the table."""
    draws: Annotated[int, Field(ge=1)] = 100
    """Draws of each scenario."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """At most so many draws of each; null: all."""
    sizes: Sizes = Sizes()
    """How much is drawn."""
    probe: ProbeSpec = ProbeSpec()
    """How probes are fitted and tested, as in an experiment."""
    link: LinkSpec = LinkSpec()
    """How a probe's score becomes a readout."""
    runs: tuple[Text, ...] = ()
    """Folders of measured runs of organisms whose truth is planted; none: the summary that ships with introspect."""
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    """Processes that make draws side by side. Decides no number, and is no part of the digest."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Start of every source of chance; each draw has its own."""

    @field_validator("scenarios")
    @classmethod
    def _scenarios_are_known(cls, scenarios: tuple[str, ...]) -> tuple[str, ...]:
        for name in scenarios:
            if name not in SCENARIOS:
                raise ValueError(f"{name!r} is no scenario; choose among {', '.join(SCENARIOS)}")
        return distinct(scenarios)

    @field_validator("probe")
    @classmethod
    def _probe_reads_what_is_planted(cls, probe: ProbeSpec) -> ProbeSpec:
        if probe.label != "acted" or probe.site not in (None, SITE) or probe.sites not in (None, (SITE,)):
            raise ValueError(f"what is planted is acting, at {SITE}: leave out probe.label, probe.site and probe.sites")
        means = [name for name in probe.positions if name in MEANS]
        if means:
            raise ValueError(
                f"it is planted at tokens, and not in their means: leave {means[0]} out of probe.positions"
            )
        return probe

    @property
    def n_draws(self) -> int:
        """Draws of each scenario."""
        return self.draws if self.limit is None else min(self.draws, self.limit)

    def experiment(self, seed: int) -> Experiment:
        """What a draw is analysed as."""
        return Experiment(
            name=self.name,
            question=self.question,
            task="risk",
            items="risk.jsonl",
            probe=self.probe,
            link=self.link,
            seed=seed,
        )

    def lasting(self) -> Self:
        """The spec without what decides no number."""
        return self.model_copy(update={"workers": 1})
