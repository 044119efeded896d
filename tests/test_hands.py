"""Pieces that are handed over while somebody stops: nothing takes the place of what was being committed."""

from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from introspect.causal.log import Log, Unit
from introspect.cells import Cells
from introspect.cluster.crew import Crew
from introspect.cluster.errand import Errand
from introspect.cluster.options import ClusterOptions
from introspect.cluster.pieces import Pieces
from introspect.errors import RunError
from introspect.hands import in_order

BESIDE = ClusterOptions(workers=2, threads=1)
ERRAND: Errand[str] = Errand("nobody:Nothing", {}, {}, read=str, name=str, tell=lambda index: {})
FULL = OSError(errno.ENOSPC, "No space left on device")


def rows(number: int) -> list[dict]:
    return [{"kind": "x", "number": number}, {"kind": "y", "number": number}]


def numbers(path: Path) -> list[int]:
    """Of the rows of each cell that is read again."""
    return [cell[0]["number"] for cell in Cells(path, ("kind",)).cells]


class TestOrder:
    @pytest.mark.parametrize("stop", [KeyboardInterrupt(), FULL])
    def test_what_was_being_handed_over_is_not_passed_by(self, stop):
        taken: list[int] = []

        def take(index: int, made: str) -> None:
            taken.append(index)
            if index == 4:
                raise stop

        hand = in_order([1, 4, 6], take)
        hand(1, "a")
        with pytest.raises(type(stop)):
            hand(4, "b")
        for index in (6, 4):
            with pytest.raises(RunError, match=r"piece 4 was being handed over .* --resume"):
                hand(index, "c")
        assert taken == [1, 4]

    def test_one_that_waited_is_handed_over_by_the_one_before_it_and_stops_the_rest_as_well(self):
        def take(index: int, made: str) -> None:
            if index == 1:
                raise KeyboardInterrupt

        hand = in_order([0, 1, 2], take)
        hand(1, "b")
        with pytest.raises(KeyboardInterrupt):
            hand(0, "a")
        with pytest.raises(RunError, match="piece 1 was"):
            hand(2, "c")


class TestCells:
    def stopped(self, path: Path, monkeypatch: pytest.MonkeyPatch, stop: BaseException) -> Cells:
        """Cells of which the second was written when that was stopped."""
        done = Cells(path, ("kind",))
        done.commit(rows(0))

        def synced(number: int) -> None:
            raise stop

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", synced)
            with pytest.raises((KeyboardInterrupt, RunError)):
                done.commit(rows(1))
        return done

    @pytest.mark.parametrize("stop", [KeyboardInterrupt(), FULL])
    def test_after_a_commit_that_was_stopped_there_is_none_until_the_file_is_read_again(
        self, tmp_path, monkeypatch, stop
    ):
        path = tmp_path / "rows.jsonl"
        done = self.stopped(path, monkeypatch, stop)
        with pytest.raises(RunError, match=r"cell 1 of .* was being written"):
            done.commit(rows(2))
        assert numbers(path) == [0, 1]
        Cells(path, ("kind",)).commit(rows(2))
        assert numbers(path) == [0, 1, 2]

    def test_nothing_is_written_behind_a_line_that_was_cut_short(self, tmp_path, monkeypatch):
        path = tmp_path / "rows.jsonl"
        done = self.stopped(path, monkeypatch, FULL)
        os.truncate(path, path.stat().st_size - 5)
        with pytest.raises(RunError, match=r"--resume|was being written"):
            done.commit(rows(2))
        Cells(path, ("kind",)).commit(rows(7))
        assert numbers(path) == [0, 7]

    def test_where_nothing_of_a_cell_was_written_the_next_does_not_take_its_number(self, tmp_path):
        path = tmp_path / "none" / "rows.jsonl"
        done = Cells(path, ("kind",))
        with pytest.raises(RunError, match="cannot write"):
            done.commit(rows(0))
        path.parent.mkdir()
        with pytest.raises(RunError, match=r"cell 0 of .* was being written"):
            done.commit(rows(1))
        assert not path.exists()


def test_units_of_steering_are_not_added_behind_one_that_was_cut_short(tmp_path, monkeypatch):
    log = Log(tmp_path, "plan")
    log.add(Unit(unit="a"))

    def full(number: int) -> None:
        raise FULL

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            log.add(Unit(unit="b"))
    os.truncate(log.path, log.path.stat().st_size - 5)
    with pytest.raises(RunError, match=r"was being written .* steer the run again"):
        log.add(Unit(unit="c"))
    again = Log(tmp_path, "plan")
    again.add(Unit(unit="b"))
    assert list(Log(tmp_path, "plan").units) == ["a", "b"]


class Beside:
    """A worker whose piece is done while this process commits its own, and which asks to hand it over just then."""

    def __init__(self, crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
        self.crew, self.here, self.asking = crew, threading.Event(), threading.Event()
        self.answered = threading.Event()
        monkeypatch.setattr(Crew, "_serve", lambda crew, *given: self._serve(*given))
        crew.slots = [SimpleNamespace(actor=None, where="there", memory=0, room=0)]  # type: ignore[list-item]

    def _serve(self, slot, errand, pieces, ready, go, handed):
        ready.release()
        assert self.here.wait(20)
        index = pieces.next()
        self.asking.set()
        try:
            handed(index, f"made {index}", "there")
        finally:
            self.answered.set()

    def committing(self) -> None:
        """Holds the lock until the worker wants it."""
        self.here.set()
        assert self.asking.wait(20)
        time.sleep(0.05)


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), SystemExit(143), FULL])
def test_a_worker_that_waits_for_a_commit_that_is_stopped_commits_nothing(tmp_path, monkeypatch, stop):
    crew, fail = Crew(BESIDE, tmp_path), Pieces.fail
    beside, taken = Beside(crew, monkeypatch), []

    def slow(pieces: Pieces, error: BaseException) -> None:
        time.sleep(0.05)
        fail(pieces, error)

    monkeypatch.setattr(Pieces, "fail", slow)

    def take(index: int, made: str) -> None:
        taken.append(index)
        if len(taken) == 1:
            beside.committing()
            raise stop

    with pytest.raises(type(stop)):
        crew.hands(ERRAND)(range(3), lambda index: f"own {index}", take)
    assert beside.answered.wait(20) and taken == [0]


def test_a_study_that_is_interrupted_as_it_commits_beside_a_worker_goes_on(tmp_path, monkeypatch):
    """Interrupted once a cell is on the disk, and before this process has noted that it is."""
    path, crew = tmp_path / "rows.jsonl", Crew(BESIDE, tmp_path)
    beside, done = Beside(crew, monkeypatch), Cells(path, ("kind",))
    synced = os.fsync

    def interrupted(number: int) -> None:
        synced(number)
        if not beside.here.is_set():
            beside.committing()
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupted)
        hand = in_order(range(3), lambda index, made: done.commit(rows(index)))
        with pytest.raises(KeyboardInterrupt):
            crew.hands(ERRAND)(range(3), lambda index: f"own {index}", hand)
        assert beside.answered.wait(20)
    assert numbers(path) == [0]
