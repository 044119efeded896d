"""A device that is none: its tensors say that they are elsewhere, and are refused wherever a GPU would refuse them.

Values are computed by the processor, so that what depends on values runs as it would. Checked is what a GPU's own
kernels check: no operation takes tensors of two devices, but for a single number or an index from the processor's
memory, and copies; and nothing is read as an array before it was brought back. What a GPU's speed, memory and rounding
are like, this cannot tell. It goes by the name of torch's meta device, which needs no driver.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

ELSEWHERE = torch.device("meta")
aten = torch.ops.aten
COPIES = (aten.copy_.default, aten._to_copy.default)
INDEXED = (aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default)


class Elsewhere(torch.Tensor):
    """A tensor that is there; `held` are its values."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> Elsewhere:
        made: Elsewhere = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=ELSEWHERE,
        )
        made.held = held
        return made

    def numpy(self, *, force: bool = False) -> Any:
        raise TypeError("a tensor that is elsewhere is no array: bring it back first")

    __array__ = numpy

    def tolist(self) -> Any:
        return self.held.tolist()  # numbers, which a GPU gives as well

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Elsewhere(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        there = kwargs.get("device") == ELSEWHERE or any(isinstance(each, Elsewhere) for each in _tensors(args, kwargs))
        self.count += there
        return _run(func, args, kwargs) if there else func(*args, **kwargs)


@contextmanager
def elsewhere() -> Iterator[_Elsewhere]:
    """Inside, tensors can be made there and brought there; what is given counts operations on them."""
    with _Elsewhere() as mode:
        yield mode


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    _check(func, args, kwargs)
    asked = kwargs.get("device")
    plain = kwargs if asked is None else kwargs | {"device": torch.device("cpu")}
    found = func(*tree_map(_held, args), **tree_map(_held, plain))
    if asked is not None and torch.device(asked) != ELSEWHERE:
        return found
    given = {id(_held(each)): each for each in _tensors(args, kwargs)}
    return tree_map(lambda each: _there(each, given), found)


def _there(found: Any, given: dict[int, torch.Tensor]) -> Any:
    """A result; what was written into is the tensor that was given."""
    if not isinstance(found, torch.Tensor):
        return found
    return given[id(found)] if id(found) in given else Elsewhere(found)


def _check(func: Any, args: Any, kwargs: dict[str, Any]) -> None:
    tensors = _tensors(args, kwargs)
    if func in INDEXED:
        tensors = [args[0], *_tensors(args[2:], kwargs)]
        if not isinstance(args[0], Elsewhere) and any(isinstance(each, Elsewhere) for each in _tensors(args[1], {})):
            raise RuntimeError(f"{func}: a tensor of the processor is indexed by one that is elsewhere")
    if func in COPIES:
        return
    apart = [each for each in tensors if not isinstance(each, Elsewhere) and each.dim()]
    if apart and any(isinstance(each, Elsewhere) for each in tensors):
        raise RuntimeError(f"{func}: expected all tensors to be on one device, and {len(apart)} are on the processor")


def _tensors(args: Any, kwargs: Any) -> list[torch.Tensor]:
    return [each for each in tree_flatten((args, kwargs))[0] if isinstance(each, torch.Tensor)]


def _held(each: Any) -> Any:
    return each.held if isinstance(each, Elsewhere) else each
