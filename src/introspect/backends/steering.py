"""Steering as writes: a site changed along a vector, at some tokens of some rows."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch

from .protocol import Dose, Follow, SiteLayer, Steer, Write


class Steering:
    """What one call of a backend changes. It is told every sequence's tokens before they are fed, each once and in
    order, since a scope may depend on them.
    """

    def __init__(self, steer: Sequence[Steer]) -> None:
        self._steer = [each for each in steer if _moves(each.strength)]
        self._follows: dict[tuple[int, int], Follow] = {}
        self._said: dict[tuple[int, int], list[bool]] = {}

    def __bool__(self) -> bool:
        return bool(self._steer)

    def see(self, sequence: int, ids: Sequence[int]) -> None:
        """Tell the tokens of a sequence that are fed next."""
        for index, each in enumerate(self._steer):
            scope = None if each.ranges is None else each.ranges[sequence]
            if scope is None or isinstance(scope, range):
                continue
            key = (index, sequence)
            if key not in self._follows:
                self._follows[key], self._said[key] = scope.follow(), []
            self._said[key] += self._follows[key](ids)

    def of_prompt(self, sequence: int, length: int) -> Hashable:
        """What is done to a sequence's first tokens: equal prompts may share a prefill where this is equal too."""
        done = []
        for index, each in enumerate(self._steer):
            strength, tokens = _of(each.strength, sequence), self._within(index, sequence, length)
            if strength and tokens:
                own = None if each.vector.ndim == 1 else each.vector[sequence].numpy().tobytes()
                done.append((index, strength, _of(each.value, sequence), own, tokens))
        return tuple(done)

    def steered(self, sequence: int, length: int) -> list[int]:
        """Which of a sequence's first tokens are changed by any of it."""
        here = [i for i, each in enumerate(self._steer) if _of(each.strength, sequence)]
        return sorted({position for index in here for position in self._within(index, sequence, length)})

    def writes(self, sequences: Sequence[int], positions: torch.Tensor) -> dict[SiteLayer, Write]:
        """Writes for one forward pass. A strength of 0 is no write at all, so it changes no bit.

        Args:
            sequences: which sequence each row belongs to.
            positions: absolute position of every token, [row, token], or [1, token] where they are those of every row.
        """
        writes: dict[SiteLayer, Write] = {}
        for index, each in enumerate(self._steer):
            strengths = [_of(each.strength, sequence) for sequence in sequences]
            if any(strengths):
                pair, make = (each.site, each.layer), _add if each.operator == "add" else _set
                where = self._where(index, strengths, sequences, positions)
                writes[pair] = _after(writes.get(pair), make(each, sequences, where))
        return writes

    def _where(
        self, index: int, strengths: Sequence[float], sequences: Sequence[int], positions: torch.Tensor
    ) -> torch.Tensor | None:
        """Which tokens are changed, [row, token] or [row, 1]; None: all."""
        ranges, device = self._steer[index].ranges, positions.device
        rows = None if all(strengths) else torch.tensor([bool(each) for each in strengths], device=device)[:, None]
        if ranges is None:
            return rows
        spans = [ranges[sequence] for sequence in sequences]
        if all(isinstance(span, range) for span in spans):
            begin, stop, step = (
                torch.tensor(numbers, device=device)[:, None]
                for numbers in zip(*((span.start, span.stop, span.step) for span in spans), strict=True)  # type: ignore[union-attr]
            )
            where = (positions >= begin) & (positions < stop) & ((positions - begin) % step == 0)
        else:
            asked = positions.expand(len(sequences), -1).tolist()
            where = torch.tensor(
                [[self._covers(index, s, at) for at in row] for s, row in zip(sequences, asked, strict=True)],
                device=device,
            )
        return where if rows is None else where & rows

    def _covers(self, index: int, sequence: int, position: int) -> bool:
        ranges = self._steer[index].ranges
        span = None if ranges is None else ranges[sequence]
        if span is None or isinstance(span, range):
            return span is None or position in span
        said = self._said[index, sequence]
        return position < len(said) and said[position]

    def _within(self, index: int, sequence: int, length: int) -> range | tuple[int, ...]:
        ranges = self._steer[index].ranges
        span = range(length) if ranges is None else ranges[sequence]
        if isinstance(span, range):
            return range(span.start, min(span.stop, length), span.step)
        return tuple(position for position, is_in in enumerate(self._said[index, sequence][:length]) if is_in)


def _of(dose: Dose, sequence: int) -> float:
    return dose[sequence] if isinstance(dose, tuple) else dose


def _moves(dose: Dose) -> bool:
    return any(dose) if isinstance(dose, tuple) else bool(dose)


def _column(dose: Dose, sequences: Sequence[int]) -> float | torch.Tensor:
    """The number, or that of each row, [row, 1, 1]."""
    if not isinstance(dose, tuple):
        return dose
    return torch.tensor([dose[sequence] for sequence in sequences], dtype=torch.float32)[:, None, None]


def _vectors(steer: Steer, sequences: Sequence[int]) -> torch.Tensor:
    """The vector [width], or that of each row, [row, 1, width]."""
    return steer.vector if steer.vector.ndim == 1 else steer.vector[list(sequences), None]


def _add(steer: Steer, sequences: Sequence[int], where: torch.Tensor | None) -> Write:
    step = _column(steer.strength, sequences) * _vectors(steer, sequences).float()

    def write(values: torch.Tensor) -> torch.Tensor:
        return _at(where, values, values + step.to(values.device, values.dtype))

    return write


def _set(steer: Steer, sequences: Sequence[int], where: torch.Tensor | None) -> Write:
    """Sets the component along the vector, or part of the way. In float32 or wider."""
    strength = _column(steer.strength, sequences)
    target = _column(steer.value, sequences) if steer.operator == "clamp" else 0.0
    vectors = _vectors(steer, sequences).double()
    units = vectors / vectors.norm(dim=-1, keepdim=True)
    along = None if steer.along is None else steer.along.double() / steer.along.double().norm()

    def write(values: torch.Tensor) -> torch.Tensor:
        wide = values.to(torch.promote_types(values.dtype, torch.float32))
        unit = units.to(wide)
        # As a sum over each token: a product of matrices may round otherwise for other numbers of rows.
        component = (wide * (unit if along is None else along.to(wide))).sum(dim=-1, keepdim=True)
        goal, part = (each.to(wide) if isinstance(each, torch.Tensor) else each for each in (target, strength))
        return _at(where, values, (wide + part * (goal - component) * unit).to(values.dtype))

    return write


def _at(where: torch.Tensor | None, values: torch.Tensor, changed: torch.Tensor) -> torch.Tensor:
    return changed if where is None else torch.where(where.to(values.device)[..., None], changed, values)


def _after(first: Write | None, then: Write) -> Write:
    return then if first is None else lambda values: then(first(values))
