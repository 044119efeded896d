"""From what a backend captured of a rollout to the rows of a part: the tokens that were selected, or their means.

A mean is taken in float32 and stored in the model's own format, as a row whose position and token are -1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from .rollout import Rollout
from .selection import Selection, select
from .spans import SPAN_CODES, span_code
from .store import EncodedPart, StoreSpec, encode_part

NO_TOKEN = -1
"""Position and token of a row that is a mean."""


@dataclass(frozen=True)
class Rows:
    """Rows of one rollout."""

    positions: list[int]
    """Absolute index of each token that has a row, ascending."""
    means: dict[int, list[int]]
    """Code of a span (see `SPAN_CODES`) -> the positions whose mean has a row."""

    def __len__(self) -> int:
        return len(self.positions) + len(self.means)

    def needed(self) -> list[int]:
        """Every position that a row or a mean takes, ascending."""
        return sorted({*self.positions, *(position for members in self.means.values() for position in members)})


def choose_rows(selection: Selection, rollout: Rollout, end: int, always: Rows | None = None) -> Rows:
    """The rows to keep of a rollout whose tokens before `end` were computed.

    Args:
        always: kept whatever the selection says, where all that they take was computed.
    """
    chosen = select(selection, rollout, end)
    single = set() if always is None else {position for position in always.positions if position < end}
    means = {} if always is None else {code: took for code, took in always.means.items() if took[-1] < end}
    if selection.tokens == "mean":
        means |= {SPAN_CODES.get(span, SPAN_CODES["other"]): list(found) for span, found in chosen.items()}
        return Rows(sorted(single), means)
    return Rows(sorted(single.union(*chosen.values())), means)


def encode_rows(
    spec: StoreSpec,
    rollouts: Sequence[Rollout],
    rows: Sequence[Rows],
    captured: Sequence[Mapping[tuple[str, int], torch.Tensor]],
    held: Sequence[Sequence[int]],
) -> EncodedPart:
    """A part: the rows of its rollouts one after another.

    Args:
        captured: of each rollout, [token, width] a site and layer.
        held: of each rollout, the absolute positions of what was captured, ascending.
    """
    columns = {
        "rollout": np.repeat([rollout.rollout for rollout in rollouts], [len(each) for each in rows]),
        "position": _joined([*each.positions, *[NO_TOKEN] * len(each.means)] for each in rows),
        "token_id": _joined(
            [*(rollout.token_ids[p] for p in each.positions), *[NO_TOKEN] * len(each.means)]
            for rollout, each in zip(rollouts, rows, strict=True)
        ),
        "span": _joined(
            [*span_code(rollout.spans, np.asarray(each.positions, np.int64)), *each.means]
            for rollout, each in zip(rollouts, rows, strict=True)
        ),
    }
    taken = _taken(rows, held)
    values: dict[tuple[str, int], torch.Tensor | np.ndarray] = {
        pair: torch.cat([_values(found[pair], *each) for found, each in zip(captured, taken, strict=True)])
        for pair in spec.pairs()
    }
    return encode_part(spec, values, columns)


def _joined(numbers: Iterable[Sequence[int]]) -> np.ndarray:
    return np.array([number for each in numbers for number in each], dtype=np.int64)


def _taken(rows: Sequence[Rows], held: Sequence[Sequence[int]]) -> list[tuple[torch.Tensor | None, list[torch.Tensor]]]:
    """Which captured tokens become the rows of each rollout, None for all of them; and those of each of its means."""
    found = []
    for each, have in zip(rows, held, strict=True):
        known = np.asarray(have, dtype=np.int64)
        whole = not each.means and len(each.positions) == len(known)
        single = None if whole else torch.from_numpy(np.searchsorted(known, np.asarray(each.positions, np.int64)))
        found.append((single, [torch.from_numpy(np.searchsorted(known, members)) for members in each.means.values()]))
    return found


def _values(captured: torch.Tensor, single: torch.Tensor | None, means: Sequence[torch.Tensor]) -> torch.Tensor:
    """One rollout's rows, [row, width]."""
    if single is None:
        return captured
    return torch.cat([captured[single], *(mean_of(captured[members]) for members in means)])


def mean_of(captured: torch.Tensor) -> torch.Tensor:
    """The mean of tokens [token, width], taken in float32, in their own format: [1, width]."""
    return captured.float().mean(0, keepdim=True).to(captured.dtype)
