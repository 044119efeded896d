"""Steering of a model in memory: one dose a prompt, whether completions are sampled or answers are forced."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..backends import Backend, Dose, Generation, Steer, Steering
from ..errors import SpecError
from ..models import LoadedModel
from ..steering import Intervention, make_steers

Doses = float | Sequence[float]
"""A number, or one a prompt."""


def read_dose(given: Doses, name: str) -> Dose:
    """A number, or a tuple of one a prompt.

    Raises:
        SpecError: it is neither.
    """
    try:
        numbers = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        numbers = np.array(np.nan)
    if numbers.ndim > 1 or not np.isfinite(numbers).all():
        raise SpecError(f"{name} is a finite number, or one a prompt, not {given!r}")
    return tuple(numbers.tolist()) if numbers.ndim else float(numbers)


def of_prompts(interventions: Sequence[Intervention], of: Sequence[int], n_prompts: int) -> list[Intervention]:
    """Interventions whose doses are one a prompt, for sequences that begin with the prompts of these numbers.

    Raises:
        SpecError: doses are for another number of prompts.
    """
    _check(interventions, n_prompts)
    return [
        replace(
            each,
            strength=tuple(_of(each.strength, i) for i in of) if isinstance(each.strength, tuple) else each.strength,
            value=tuple(_of(each.value, i) for i in of) if isinstance(each.value, tuple) else each.value,
        )
        for each in interventions
    ]


def by_dose(interventions: Sequence[Intervention], n_prompts: int) -> Iterator[tuple[list[int], list[Intervention]]]:
    """Numbers of the prompts that are given the same doses, and what is done to them; errors as `of_prompts`."""
    _check(interventions, n_prompts)
    groups: dict[tuple[float, ...], list[int]] = {}
    for i in range(n_prompts):
        groups.setdefault(tuple(_of(d, i) for each in interventions for d in (each.strength, each.value)), []).append(i)
    for rows in groups.values():
        first = rows[0]
        yield (
            rows,
            [replace(each, strength=_of(each.strength, first), value=_of(each.value, first)) for each in interventions],
        )


def n_steered(
    steer: Sequence[Steer], kept: Sequence[int], prompts: Sequence[Sequence[int]], made: Sequence[Generation]
) -> list[int]:
    """How many tokens of each kept sequence were changed. A stop token is never read."""
    steering, counts = Steering(steer), []
    for k in kept:
        completion = made[k].completion_ids
        fed = [*prompts[k], *(completion[:-1] if made[k].finish == "stop" else completion)]
        steering.see(k, fed)
        counts.append(len(steering.steered(k, len(fed))))
    return counts


class SteeredBackend:
    """A backend under interventions, for sequences that begin with these prompts."""

    def __init__(
        self,
        backend: Backend,
        loaded: LoadedModel,
        interventions: Sequence[Intervention],
        prompts: Sequence[Sequence[int]],
    ) -> None:
        self.name, self._backend, self._loaded = backend.name, backend, loaded
        self._interventions, self._prompts = interventions, {tuple(prompt) for prompt in prompts}
        self._lengths = sorted({len(prompt) for prompt in prompts}, reverse=True)

    def generate(self, prompts: Sequence[Sequence[int]], **options: Any) -> list[Generation]:
        """See `Backend.generate`."""
        return self._backend.generate(prompts, steer=self._steers(prompts), **options)

    def replay(self, sequences: Sequence[Sequence[int]], positions: Sequence[Sequence[int]], **options: Any) -> list:
        """See `Backend.replay`."""
        return self._backend.replay(sequences, positions, steer=self._steers(sequences), **options)

    def _steers(self, sequences: Sequence[Sequence[int]]) -> list[Steer]:
        lengths = [next(n for n in self._lengths if tuple(each[:n]) in self._prompts) for each in sequences]
        prompts = [list(each[:n]) for n, each in zip(lengths, sequences, strict=True)]
        return make_steers(self._interventions, prompts, self._loaded)


def _check(interventions: Sequence[Intervention], n_prompts: int) -> None:
    for each in interventions:
        for name, dose in (("strengths", each.strength), ("values", each.value)):
            if isinstance(dose, tuple) and len(dose) != n_prompts:
                raise SpecError(f"{len(dose)} {name} do not fit {n_prompts} prompts: give one a prompt, or a number")


def _of(dose: Dose, prompt: int) -> float:
    return dose[prompt] if isinstance(dose, tuple) else dose
