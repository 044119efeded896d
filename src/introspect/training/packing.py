"""Sequences that begin alike, computed as one: a prompt once for its completions, a chain once for both its answers.

A group of rows with the same beginning becomes one sequence: the beginning, then every row's own ending, whose tokens
see the beginning and themselves. Positions count as in the rows, so the numbers are those of the rows computed apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Packed:
    """Groups of rows as sequences, and where each row's tokens went."""

    input_ids: torch.Tensor
    """[group, token], padded on the right."""
    position_ids: torch.Tensor
    """[group, token]."""
    sees: torch.Tensor
    """[group, token, token]: whether the first sees the second."""
    places: list[torch.Tensor]
    """Of each row: the flat index (group x token) of each of its tokens."""


def pack(rows: Sequence[Sequence[int]], heads: Sequence[int], pad_id: int = 0, *, beyond: bool = True) -> Packed:
    """Pack rows that share their first `heads` tokens, as far as they go on alike.

    Args:
        rows: token ids.
        heads: of each row, how many tokens decide who is grouped with whom (those of its prompt).
        beyond: whether what is alike after these tokens is shared too. It is not where rows of the same tokens are
            steered differently.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, (row, head) in enumerate(zip(rows, heads, strict=True)):
        groups.setdefault(tuple(row[:head]), []).append(index)
    shared = [_alike([rows[index] for index in members]) if beyond else len(head) for head, members in groups.items()]
    lengths = [
        common + sum(len(rows[index]) - common for index in members)
        for common, members in zip(shared, groups.values(), strict=True)
    ]
    width = max(lengths)
    input_ids = torch.full((len(groups), width), pad_id)
    position_ids = torch.zeros(len(groups), width, dtype=torch.long)
    # Who wrote a token: 0 the beginning, 1, 2, ... the endings, -1 nobody. Padding sees itself, for a softmax of
    # nothing is not a number.
    owner = torch.full((len(groups), width), -1)
    places: list[torch.Tensor] = [torch.empty(0)] * len(rows)
    for group, (common, members) in enumerate(zip(shared, groups.values(), strict=True)):
        input_ids[group, :common] = torch.tensor(rows[members[0]][:common])
        position_ids[group, :common] = torch.arange(common)
        owner[group, :common] = 0
        start = common
        for number, index in enumerate(members, start=1):
            own = rows[index][common:]
            stop = start + len(own)
            input_ids[group, start:stop] = torch.tensor(own, dtype=torch.long)
            position_ids[group, start:stop] = torch.arange(common, common + len(own))
            owner[group, start:stop] = number
            places[index] = group * width + torch.cat([torch.arange(common), torch.arange(start, stop)])
            start = stop
    causal = torch.ones(width, width, dtype=torch.bool).tril()
    same = owner[:, :, None] == owner[:, None, :]
    beginning = (owner == 0)[:, None, :] & (owner >= 0)[:, :, None]
    return Packed(input_ids, position_ids, causal & (same | beginning), places)


def _alike(rows: Sequence[Sequence[int]]) -> int:
    """How many first tokens all rows have in common, leaving at least one of its own to each of several."""
    if len(rows) == 1:
        return len(rows[0])
    most = min(len(row) for row in rows) - 1
    return next((at for at in range(most) if len({row[at] for row in rows}) > 1), most)
