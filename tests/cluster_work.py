"""Work that a worker can do without a model, for tests of who does it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from introspect.errors import BusyError, ModelError


class Squares:
    """Squares of indices."""

    def __init__(self, setting: dict[str, Any], held: list[Any], threads: int) -> None:
        if setting.get("broken"):
            raise ModelError("the model is broken; mend it")
        self.facts = {"plan": setting["plan"], "weights": "abc"}
        self.memory = setting.get("memory", 0)

    def do(self, index: int, told: dict[str, Any]) -> dict[str, int]:
        """As told, the worker dies first: by its own hand, as a process that the system kills does."""
        once = told.get("dies_once")
        if told.get("dies") or (once and not Path(once).exists()):
            if once:
                Path(once).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(told.get("seconds", 0.0))
        if told.get("meets"):
            Path(f"{told['meets']}-{index}").touch()
            other = Path(f"{told['meets']}-{1 - index}")
            while not other.exists():
                time.sleep(0.01)
        if told.get("hangs_once") and not Path(told["hangs_once"]).exists():
            Path(told["hangs_once"]).touch()
            time.sleep(600)
        if told.get("busy_once") and not Path(told["busy_once"]).exists():
            Path(told["busy_once"]).touch()
            raise BusyError("somebody else is at it")
        if told.get("refuses"):
            raise ModelError("this piece cannot be done; leave it out")
        if told.get("is_a_bug"):
            raise ZeroDivisionError("a bug")
        return {"square": index * index, "process": os.getpid()}
