"""The workers of a cluster, beside this process: started, greeted, sent on errands, replaced when they die."""

from __future__ import annotations

import functools
import importlib
import json
import logging
import os
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from .. import errors
from ..errors import RunError
from ..hands import Hands
from ..progress import Progress, silent
from ..run_folder import check_path
from .connect import Share, connect, import_ray
from .errand import Errand, check_same, check_versions, use_threads
from .options import ClusterOptions
from .pieces import Pieces
from .shared import check_answer, nonce_in
from .worker import Seat, Worker

log = logging.getLogger(__name__)

R = TypeVar("R")

START_SECONDS = 600.0
"""A worker that has found no room in the cluster by then is given up."""
SEAT_SECONDS = 60.0
TOGETHER_SECONDS = 120.0
"""Who is ready waits so long for the others, so that what there is to be said against the run is heard before it
begins. Who is later joins in."""
LOST = {
    "OutOfMemoryError": "its machine ran out of memory",
    "NodeDiedError": "its machine is gone",
    "GetTimeoutError": "the cluster had no room for it",
    "ActorUnschedulableError": "the cluster had no room for it",
    "ActorUnavailableError": "it does not answer",
    "RayActorError": "its process ended",
    "WorkerCrashedError": "its process ended",
    "ObjectLostError": "its answer was lost with its machine",
}
"""Ray's errors that mean a worker is no more, and what to call them; the first that fits."""
MOST_STARTS = 3
"""Times in a row that a worker may die before it has done anything."""


@dataclass(eq=False)
class Slot:
    """A worker's place, whoever fills it."""

    name: str
    actor: Any = None
    hello: Any = None
    where: str = "a machine of the cluster"
    began: tuple[str, Any] | None = None
    """The errand that it was sent on last, and what will say how that went."""
    starts: int = 0
    """In a row, without a piece done."""
    answer: Path = Path()
    """Where it writes that it sees our folder."""


class Crew:
    """This process and its workers: a context manager, with which they end.

    Args:
        options: which cluster, and how much of it.
        out: the folder that everything is written into, which all have to see.

    Raises:
        SpecError, RunError: on entering, as `connect`; this machine has no room for its own share.
    """

    def __init__(
        self, options: ClusterOptions, out: Path, *, offline: bool = False, progress: Progress = silent
    ) -> None:
        self.options, self.given, self.offline, self.progress = options, out, offline, progress
        self.share = Share(1, 0, 1, seated=False)
        self.slots: list[Slot] = []
        self._pieces: Counter[str] = Counter()
        self._deaths = 0
        self._lock = threading.Lock()
        self._ray: Any = None
        self._seat: Any = None

    def __enter__(self) -> Self:
        check_path(self.given)
        with ExitStack() as stack:
            self.share = connect(self.options)
            self._ray = import_ray()
            if self.share.joined:
                stack.callback(self._ray.shutdown)
            self._nonce = stack.enter_context(nonce_in(self.given.absolute()))
            self.slots = [Slot(f"worker-{number + 1}") for number in range(self.share.workers - self.options.here)]
            stack.callback(self._end_all)
            if self.options.here and self.share.seated:
                self._sit()
            self._held = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()

    def _end_all(self) -> None:
        for slot in self.slots:
            self._end(slot)
        if self._seat is not None:
            self._ray.kill(self._seat)

    def about(self) -> dict[str, Any]:
        """For a manifest: how many did how much, and where."""
        return {
            "ray": self._ray.__version__,
            "workers": self.share.workers,
            "gpus a worker": self.share.gpus,
            "threads a worker": self.share.threads,
            "pieces": dict(sorted(self._pieces.items())),
            "deaths": self._deaths,
        }

    def begin(self, kind: str, setting: Mapping[str, Any]) -> None:
        """Send the workers on an errand already, so that they load while this process does."""
        for slot in self.slots:
            if slot.actor is None:
                self._start(slot)
            self._send(slot, kind, setting)

    def hands(self, errand: Errand[R]) -> Hands[R]:
        """Who does the pieces of an errand."""
        return functools.partial(self._work, errand)

    def _work(
        self, errand: Errand[R], todo: Sequence[int], make: Callable[[int], R], take: Callable[[int, R], object]
    ) -> None:
        """See `Hands`.

        Raises:
            RunError: a worker is another one than this process, sees another folder, or is not to be had; or a piece
                ends whoever does it.
        """
        here = self.options.here
        slots = self.slots[: max(0, len(todo) - here)]
        pieces = Pieces(todo, errand.name, len(slots))
        ready, go = threading.Semaphore(0), threading.Event()
        before = use_threads(self.share.threads)

        def handed(index: int, made: R, where: str) -> None:
            with self._lock:
                if pieces.failure is not None:
                    return  # whoever failed may have been handing over
                try:
                    take(index, made)
                except BaseException as error:
                    pieces.fail(error)  # before anybody else has the lock
                    raise
                self._pieces[where] += 1
            pieces.done(index)

        threads = [
            threading.Thread(target=self._serve, args=(slot, errand, pieces, ready, go, handed), daemon=True)
            for slot in slots
        ]
        try:
            for thread in threads:
                thread.start()
            self._await(ready, len(slots), pieces)
            go.set()
            if not here:
                pieces.wait()
            while (index := pieces.next(here=True)) is not None:
                handed(index, make(index), "here")
        except BaseException as error:
            pieces.fail(error)
            raise
        finally:
            use_threads(before)
            go.set()
            self._settle(slots, threads, pieces)
        if pieces.failure is not None:
            raise pieces.failure

    def _settle(self, slots: Sequence[Slot], threads: Sequence[threading.Thread], pieces: Pieces) -> None:
        """Nobody works on any more: who has not begun by now, or should not go on, is sent away."""
        for slot, thread in zip(slots, threads, strict=True):
            if not thread.ident:
                continue
            if pieces.failure is None:
                thread.join(0.5)
            if thread.is_alive():
                self._end(slot)
            thread.join(5)

    def _await(self, ready: threading.Semaphore, many: int, pieces: Pieces) -> None:
        self.progress("workers ready", 0, many)
        for number in range(many):
            waited = 0.0
            while not ready.acquire(timeout=0.2):
                waited += 0.2
                if pieces.failure is not None or waited > TOGETHER_SECONDS:
                    return
            self.progress("workers ready", number + 1, many)

    def _serve(
        self,
        slot: Slot,
        errand: Errand[R],
        pieces: Pieces,
        ready: threading.Semaphore,
        go: threading.Event,
        handed: Callable[[int, R, str], None],
    ) -> None:
        """A worker's thread here: keep somebody in its place, and give them one piece after another."""
        lost = self._lost()
        told = False
        try:
            while pieces.left():
                try:
                    self._ready(slot, errand)
                    if not told:
                        told = True
                        ready.release()
                        go.wait()
                except lost as error:
                    if not pieces.left():
                        return
                    self._drop(slot)
                    if slot.starts >= MOST_STARTS:
                        pieces.gone(slot.where, _reason(error), here=self.options.here)
                        return
                    continue
                index = pieces.next()
                if index is None or slot.began is None:
                    return
                try:
                    done = self._get(slot, slot.actor.do.remote(slot.began[0], index, errand.tell(index)), "done")
                except lost as error:
                    if not pieces.left():
                        return
                    self._drop(slot)
                    log.warning("a worker on %s died; %s is done again elsewhere", slot.where, errand.name(index))
                    pieces.lost(index, slot.where, _reason(error))
                    continue
                slot.starts = 0
                handed(index, errand.read(done), slot.where)
        except BaseException as error:  # noqa: BLE001 - raised again where the work was asked for
            if pieces.left():  # else all is handed over, and this worker came too late to matter
                pieces.fail(error)
        finally:
            if not told:
                ready.release()

    def _ready(self, slot: Slot, errand: Errand[R]) -> None:
        """Somebody in this place who has loaded what the errand needs, and has the same as we have."""
        if slot.actor is None:
            self._start(slot)
        if slot.hello is not None:
            self._greet(slot)
        setting = dict(errand.setting)
        if slot.began is None or slot.began[0] != _key(errand.kind, setting):
            self._send(slot, errand.kind, setting)
        assert slot.began is not None  # noqa: S101 - for the type checker: it was sent just now
        check_same(self._get(slot, slot.began[1], "facts"), errand.facts, slot.where)

    def _start(self, slot: Slot) -> None:
        slot.starts += 1
        slot.answer = self._nonce.answer(f"{slot.name}-{secrets.token_hex(4)}")
        share, remote = self.share, self._ray.remote(Worker)
        placed = remote.options(
            num_cpus=share.threads, num_gpus=share.gpus, max_restarts=0, scheduling_strategy="SPREAD"
        )
        slot.actor = placed.remote(share.threads, offline=self.offline)
        slot.hello = slot.actor.hello.remote(str(self._nonce.path), self._nonce.text, str(slot.answer))

    def _greet(self, slot: Slot) -> None:
        """Hear who is there, and refuse them if need be."""
        found = self._ray.get(slot.hello, timeout=START_SECONDS)
        slot.where = f"{found['host']} (process {found['pid']})"
        check_versions(found["versions"], slot.where)
        check_answer(self._nonce, slot.answer, slot.where, found["wrong"])
        slot.hello = None

    def _send(self, slot: Slot, kind: str, setting: Mapping[str, Any]) -> None:
        key = _key(kind, setting)
        slot.began = key, slot.actor.begin.remote(key, kind, dict(setting))

    def _get(self, slot: Slot, waited_for: Any, what: str) -> Any:
        """What a worker answers.

        Raises:
            IntrospectError: what the user can put right there. Names the machine.
        """
        answer = self._ray.get(waited_for)
        if "error" in answer:
            kind = getattr(errors, answer["error"], RunError)
            raise kind(f"{answer['said']} (said by the worker on {slot.where})")
        return answer[what]

    def _drop(self, slot: Slot) -> None:
        with self._lock:
            self._deaths += 1
        self._end(slot)

    def _end(self, slot: Slot) -> None:
        """See to it that a worker is gone, also one that only does not answer."""
        if slot.actor is not None:
            self._ray.kill(slot.actor)
        slot.actor = slot.hello = slot.began = None

    def _sit(self) -> None:
        """Take this process's share of its own machine's GPUs and cores.

        Raises:
            RunError: it has none free.
        """
        ray = self._ray
        strategies = importlib.import_module("ray.util.scheduling_strategies")
        own = strategies.NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        share = self.share
        seat = ray.remote(Seat).options(
            num_cpus=share.threads, num_gpus=share.gpus, max_restarts=0, scheduling_strategy=own
        )
        self._seat = seat.remote()
        try:
            gpus = ray.get(self._seat.gpus.remote(), timeout=SEAT_SECONDS)
        except self._lost():
            raise RunError(
                f"this machine has no {share.gpus} GPUs and {share.threads} cores free in the cluster, and does its "
                "part too: start this on one of its machines that has, or with other --ray-gpus, --ray-threads"
            ) from None
        if share.gpus:
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)

    def _lost(self) -> tuple[type[BaseException], ...]:
        """What is raised where a worker, its machine or its answer is no more."""
        return tuple(getattr(self._ray.exceptions, name) for name in LOST)


def _key(kind: str, setting: Mapping[str, Any]) -> str:
    return json.dumps([kind, dict(setting)], sort_keys=True)


def _reason(error: BaseException) -> str:
    return next((said for name, said in LOST.items() if name in {each.__name__ for each in type(error).__mro__}), "")
