"""Weights that wait on disk in the user's own files: whether these are still what was loaded.

They are opened anew for every forward pass, by name, so a file that is replaced meanwhile would be half of another
model. Its size, time of change and number say whether it was; its bytes are not read again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from ..errors import ModelError


class State(NamedTuple):
    """Of a file."""

    size: int
    changed: int
    """Nanoseconds."""
    device: int
    number: int


T = TypeVar("T")
States = dict[Path, State]
_KEPT: WeakKeyDictionary[Any, States] = WeakKeyDictionary()


def states_of(files: Iterable[Path]) -> States:
    """As they are now.

    Raises:
        ModelError: one cannot be looked at.
    """
    found = {}
    for path in files:
        try:
            said = path.stat()
        except OSError as error:
            raise ModelError(_changed(path, str(error.strerror))) from None
        found[path] = State(said.st_size, said.st_mtime_ns, said.st_dev, said.st_ino)
    return found


def keep_watch(model: Any, states: States) -> None:
    """Say how the files were before a model was read from them, as long as there is the model."""
    _KEPT[model] = states


@contextmanager
def in_place(model: Any) -> Iterator[None]:
    """Around what a model computes: that it was computed with the weights that were loaded.

    Raises:
        ModelError: a file is not what it was, before or after. Names it.
    """
    _check(model)
    try:
        yield
    except Exception:
        _check(model)
        raise
    _check(model)


def each_in_place(model: Any, found: Iterator[T]) -> Iterator[T]:
    """The same around each of several."""
    while True:
        with in_place(model):
            each = next(found, None)
        if each is None:
            return
        yield each


def _check(model: Any) -> None:
    states = _KEPT.get(model)
    if not states:
        return
    now = states_of(states)
    for path, state in states.items():
        if now[path] != state:
            raise ModelError(_changed(path, "it was written to"))


def _changed(path: Path, why: str) -> str:
    return (
        f"{path} is not what it was when the model was loaded ({why}), and its weights are read from there as they are "
        "needed: put back what was there and go on with --resume, or begin anew"
    )
