"""The workers of a cluster, beside this process: started, greeted, sent on errands, replaced when they die."""

from __future__ import annotations

import functools
import logging
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from ..errors import BusyError
from ..free_memory import free_memory
from ..hands import Hands
from ..progress import Progress, silent
from ..run_folder import check_path
from ..surroundings import to_send
from .answers import lost_errors, reason
from .connect import Share, connect, import_ray
from .errand import Errand, source_digest, use_threads
from .ground import Ground, meet
from .options import ClusterOptions
from .pieces import Pieces
from .room import Need, check_together, this_machine
from .seat import sit
from .shared import nonce_on
from .slot import Slot, Terms, leave

log = logging.getLogger(__name__)

R = TypeVar("R")

SETTLE_SECONDS = 0.5
"""Those who have nothing more to do get so long to say so, and are there for the next errand."""
TOGETHER_SECONDS = 120.0
"""Who is ready waits so long for the others, so that what there is to be said against the run is heard before it
begins. Who is later joins in."""
LEAVE_SECONDS = 2.0
"""For workers to let go of what they hold, such as copies of files."""
MOST_STARTS = 3
"""Times in a row that a worker may die before it has done anything."""


class Crew:
    """This process and its workers: a context manager, with which they end.

    Args:
        options: which cluster, and how much of it.
        out: the folder that everything is written into, which all have to see where there is no bucket.

    Raises:
        SpecError, RunError: on entering, as `connect`; this machine has no room for its own share.
    """

    def __init__(
        self, options: ClusterOptions, out: Path, *, offline: bool = False, progress: Progress = silent
    ) -> None:
        self.options, self.given, self.offline, self.progress = options, out, offline, progress
        self.share = Share(1, 0, 1, seated=False)
        self.slots: list[Slot] = []
        self.ground: Ground
        self._pieces: Counter[str] = Counter()
        self._deaths = 0
        self._room = 0
        self._lock = threading.Lock()
        self._ray: Any = None
        self._seat: Any = None

    def __enter__(self) -> Self:
        check_path(self.given)
        self.ground = meet(self.given.absolute(), self.options.bucket)
        around = to_send()
        source_digest()  # as it is now: a checkout may change while workers start
        with ExitStack() as stack:
            self.share = connect(self.options)
            self._ray = import_ray()
            if self.share.joined:
                stack.callback(self._ray.shutdown)
            nonce = stack.enter_context(nonce_on(self.ground))
            terms = Terms(self._ray, self.share, around, self.offline, self.ground, nonce)
            others = range(1, self.share.workers - self.options.here + 1)
            self.slots = [Slot(f"worker-{number}", terms) for number in others]
            stack.callback(self._end_all)
            if self.options.here and self.share.seated:
                self._seat = sit(self._ray, self.share)
            self._held = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()

    def _end_all(self) -> None:
        leave(self.slots, LEAVE_SECONDS)
        for slot in self.slots:
            slot.end()
        if self._seat is not None:
            self._ray.kill(self._seat)

    def about(self) -> dict[str, Any]:
        """For a manifest: how many did how much, and where, since `begin`."""
        return {
            "ray": self._ray.__version__,
            "workers": self.share.workers,
            "gpus a worker": self.share.gpus,
            "threads a worker": self.share.threads,
            "pieces": dict(sorted(self._pieces.items())),
            "deaths": self._deaths,
        }

    def begin(self, kind: str, setting: Mapping[str, Any]) -> None:
        """Something new begins: count from here, and send the workers on its first errand already, so that they load
        while this process does.
        """
        with self._lock:
            self._pieces.clear()
            self._deaths = 0
        for slot in self.slots:
            slot.send(kind, setting)

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
            if pieces.failure is None:
                self._check_room(slots)
            go.set()
            if not here:
                pieces.wait()
            while (index := pieces.next(here=True)) is not None:
                try:
                    made = make(index)
                except BusyError as error:
                    pieces.busy(index, error)
                    continue
                handed(index, made, "here")
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
        until = time.monotonic() + SETTLE_SECONDS
        for slot, thread in zip(slots, threads, strict=True):
            if not thread.ident:
                continue
            thread.join(max(0.0, until - time.monotonic()))
            if thread.is_alive():
                slot.end()
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
        lost = lost_errors(self._ray)
        told = False
        try:
            while pieces.left():
                try:
                    slot.ready(errand)
                    if not told:
                        told = True
                        ready.release()
                        go.wait()
                except lost as error:
                    if not pieces.left():
                        return
                    self._drop(slot)
                    if slot.starts >= MOST_STARTS:
                        log.warning("no worker comes up on %s (%s)", slot.where, reason(error))
                        pieces.gone(slot.where, reason(error), here=self.options.here)
                        return
                    continue
                index = pieces.next()
                if index is None or slot.began is None:  # none: ended meanwhile, by those who wait no more
                    return
                try:
                    done = slot.do(index, errand.tell(index), functools.partial(pieces.patience, index))
                except BusyError as error:
                    pieces.busy(index, error)
                    continue
                except lost as error:
                    if not pieces.left():
                        return
                    self._drop(slot)
                    said = slot.where, reason(error), errand.name(index)
                    log.warning("the worker on %s is no more (%s); %s is done again elsewhere", *said)
                    pieces.lost(index, *said[:2])
                    continue
                slot.starts = 0
                handed(index, errand.read(done), slot.where)
        except BaseException as error:  # noqa: BLE001 - raised again where the work was asked for
            if pieces.left():  # else all is handed over, and this worker came too late to matter
                pieces.fail(error)
        finally:
            if not told:
                ready.release()

    def _check_room(self, slots: Sequence[Slot]) -> None:
        """Refuse workers that have loaded, and whose pieces do not fit into a machine's memory together.

        Raises:
            RunError: names the machine.
        """
        needs, asked = [], [slot for slot in slots if slot.memory > slot.room and slot.actor is not None]
        for slot in asked:
            try:
                free = slot.free()
            except lost_errors(self._ray):
                continue
            needs.append(Need(slot.machine, slot.host, slot.memory - slot.room, free))
        own = max((slot.memory for slot in asked), default=0)
        if self.options.here and own > self._room:
            needs.append(Need(this_machine(), socket.gethostname(), own - self._room, free_memory()))
        check_together(needs)
        self._room = max(self._room, own)
        for slot in asked:
            slot.room = slot.memory

    def _drop(self, slot: Slot) -> None:
        with self._lock:
            self._deaths += 1
        slot.end()
