"""Work on many things on all cores: a few at once, each on its share of them, which wastes less than sharing each one.

What is found for a thing does not depend on how many there are, and in what order it comes out does not either.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from typing import TypeVar

import torch

MOST = 4
"""At once, at most: each takes memory."""

Item = TypeVar("Item")
Found = TypeVar("Found")


def side_by_side(work: Callable[[Item], Found], items: Iterable[Item]) -> Iterator[Found]:
    """What `work` finds for each item, in the order of the items; one more item is read than is worked on.

    Where items are fewer than would be worked on at once, they are worked on one by one, each on all cores.
    """
    cores = torch.get_num_threads()
    at_once = min(MOST, cores)
    left = iter(items)
    first = list(islice(left, at_once))
    if at_once == 1 or len(first) < at_once:
        yield from map(work, chain(first, left))
        return

    def on_its_share(item: Item) -> Found:
        torch.set_num_threads(cores // at_once)
        return work(item)

    begun: deque[Future[Found]] = deque()
    pool = ThreadPoolExecutor(at_once)
    try:
        for item in chain(first, left):
            begun.append(pool.submit(on_its_share, item))
            if len(begun) > at_once:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(cores)
