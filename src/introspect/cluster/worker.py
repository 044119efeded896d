"""A worker: a process that Ray starts somewhere, with a model of its own. It knows no Ray.

What users can put right comes back as data, so that it is one line here too; a bug is raised.
"""

from __future__ import annotations

import importlib
import os
import socket
from collections.abc import Callable, Mapping
from typing import Any

from ..surroundings import take_over

Answer = dict[str, Any]


class Worker:
    """Does pieces of one errand at a time, one piece after another."""

    def __init__(self, threads: int, around: Mapping[str, str], *, offline: bool) -> None:
        if offline:
            os.environ["HF_HUB_OFFLINE"] = "1"
        take_over(around)
        self.threads = threads
        self.work: Any = None
        self.errand = ""

    def hello(self, ground: dict[str, Any], text: str, answer: str) -> Answer:
        """Who this is, and whether it sees the ground: see `shared`."""
        from .errand import own_versions
        from .room import this_machine
        from .shared import read_back

        return {
            "host": socket.gethostname(),
            "machine": this_machine(),
            "pid": os.getpid(),
            "versions": own_versions(),
            "wrong": read_back(ground, text, answer),
        }

    def begin(self, errand: str, kind: str, setting: dict[str, Any]) -> Answer:
        """Load what an errand needs. Gives as `ready` its `facts`, and the `memory` of a piece; or `error`."""
        self.errand = errand
        module, _, name = kind.partition(":")

        def load() -> Any:
            held, self.work = [self.work], None
            make = getattr(importlib.import_module(module), name)
            self.work = make(setting, held, self.threads)
            return {"facts": self.work.facts, "memory": self.work.memory}

        return _told("ready", load)

    def leave(self) -> None:
        """Let go of everything."""
        self.work = None

    def free(self) -> int:
        """Bytes of memory that are free here."""
        from ..free_memory import free_memory

        return free_memory()

    def do(self, errand: str, index: int, told: Any) -> Answer:
        """Do a piece of the errand that was begun last. Gives what came of it as `done`, or `error`."""
        if errand != self.errand:
            raise ValueError(f"a piece of {errand}, and what was begun is {self.errand}")
        return _told("done", lambda: self.work.do(index, told))


class Seat:
    """Holds a share of this machine's GPUs for the process that started the crew."""

    def gpus(self) -> list[str]:
        """As `CUDA_VISIBLE_DEVICES` names them."""
        return [each for each in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if each]


def _told(what: str, do: Callable[[], Any]) -> Answer:
    from ..errors import IntrospectError

    try:
        return {what: do()}
    except IntrospectError as error:
        return {"error": type(error).__name__, "said": str(error)}
