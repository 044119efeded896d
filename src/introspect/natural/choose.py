"""Which items a study takes."""

from __future__ import annotations

from collections.abc import Sequence

from ..plan import select_items
from ..tasks.item import Item

SHARE_ID = 0.75
"""Of a limit, this share is taken from in-distribution items, where there are as many."""


def some_items(every: Sequence[Item], limit: int | None) -> list[Item]:
    """At most so many items, balanced as a run's are, in file order; None: all."""
    if limit is None or limit >= len(every):
        return list(every)
    n_id = sum(item.split == "id" for item in every)
    first = min(n_id, max(round(SHARE_ID * limit), limit - (len(every) - n_id)))
    return select_items(every, {"id": first, "ood": limit - first})
