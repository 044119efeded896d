"""A worker's place, whoever fills it: started, greeted, sent on errands, asked, ended."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .. import errors
from ..errors import RunError
from .answers import answer
from .connect import Share
from .errand import Errand, check_same, check_versions
from .ground import Ground
from .shared import check_answer
from .worker import Worker

START_SECONDS = 600.0
"""A worker that has found no room in the cluster by then is given up."""
LOAD_SECONDS = 14_400.0
"""The same of one that has not loaded by then what an errand needs."""
LOOK_SECONDS = 60.0
"""For a worker to say how much memory it has."""


@dataclass(frozen=True)
class Terms:
    """What every worker of a crew starts with."""

    ray: Any
    share: Share
    around: Mapping[str, str]
    """See `surroundings.to_send`."""
    offline: bool
    ground: Ground
    nonce: str
    """Its text."""


@dataclass(eq=False)
class Slot:
    """A worker's place. Whatever asks a worker raises one of `lost_errors` where it is no more."""

    name: str
    terms: Terms
    actor: Any = None
    hello: Any = None
    where: str = "a machine of the cluster"
    began: tuple[str, Any] | None = None
    """The errand that it was sent on last, and what will say how that went."""
    starts: int = 0
    """In a row, without a piece done."""
    noted: str = ""
    """The note in which it says that it sees our ground."""
    host: str = ""
    machine: str = ""
    """As `room.this_machine` names it there."""
    memory: int = 0
    """Bytes that a piece of its errand may take there."""
    room: int = 0
    """Bytes that were found to be free for it: what a process has needed once, it keeps."""

    def send(self, kind: str, setting: Mapping[str, Any]) -> None:
        """Send whoever is here, or comes now, on an errand, to load what it needs."""
        if self.actor is None:
            self._start()
        key = _key(kind, setting)
        self.began = key, self.actor.begin.remote(key, kind, dict(setting))

    def ready(self, errand: Errand[Any]) -> None:
        """See to it that somebody is here who has loaded what the errand needs, and has the same as we have.

        Raises:
            RunError: it is another worker than this process, or sees another place.
            IntrospectError: as `_get`.
        """
        if self.actor is None:
            self._start()
        if self.hello is not None:
            self._greet()
        if self.began is None or self.began[0] != _key(errand.kind, errand.setting):
            self.send(errand.kind, errand.setting)
        assert self.began is not None  # noqa: S101 - for the type checker: it was sent just now
        found = self._get(self.began[1], "ready", lambda: LOAD_SECONDS)
        check_same(found["facts"], errand.facts, self.where)
        self.memory = found["memory"]

    def do(self, index: int, told: Any, patience: Callable[[], float]) -> Any:
        """Have a piece done of the errand for which it is ready.

        Raises:
            IntrospectError: as `_get`.
        """
        assert self.began is not None  # noqa: S101 - for the type checker: nobody asks who is not ready
        return self._get(self.actor.do.remote(self.began[0], index, told), "done", patience)

    def free(self) -> int:
        """Bytes of memory that are free there."""
        found: int = self.terms.ray.get(self.actor.free.remote(), timeout=LOOK_SECONDS)
        return found

    def end(self) -> None:
        """See to it that a worker is gone, also one that only does not answer."""
        if self.actor is not None:
            self.terms.ray.kill(self.actor)
        self.actor = self.hello = self.began = None
        self.memory = self.room = 0

    def _start(self) -> None:
        terms, share = self.terms, self.terms.share
        self.starts += 1
        self.noted = f"{self.name}-{secrets.token_hex(4)}"
        placed = terms.ray.remote(Worker).options(
            num_cpus=share.threads, num_gpus=share.gpus, max_restarts=0, scheduling_strategy="SPREAD"
        )
        self.actor = placed.remote(share.threads, terms.around, offline=terms.offline)
        self.hello = self.actor.hello.remote(terms.ground.setting(), terms.nonce, self.noted)

    def _greet(self) -> None:
        """Hear who is there, and refuse them if need be."""
        found = self.terms.ray.get(self.hello, timeout=START_SECONDS)
        self.where = f"{found['host']} (process {found['pid']})"
        self.host, self.machine = found["host"], found["machine"]
        check_versions(found["versions"], self.where)
        check_answer(self.terms.ground, self.terms.nonce, self.noted, self.where, found["wrong"])
        self.hello = None

    def _get(self, promised: Any, what: str, patience: Callable[[], float]) -> Any:
        """What a worker answers.

        Raises:
            IntrospectError: what the user can put right there. Names the machine.
        """
        found = answer(self.terms.ray, promised, patience)
        if "error" in found:
            kind = getattr(errors, found["error"], RunError)
            raise kind(f"{found['said']} (said by the worker on {self.where})")
        return found[what]


def leave(slots: list[Slot], seconds: float) -> None:
    """Give workers so long to let go of what they hold, such as copies of files."""
    there = [slot for slot in slots if slot.actor is not None]
    if there:
        there[0].terms.ray.wait([slot.actor.leave.remote() for slot in there], num_returns=len(there), timeout=seconds)


def _key(kind: str, setting: Mapping[str, Any]) -> str:
    return json.dumps([kind, dict(setting)], sort_keys=True)
