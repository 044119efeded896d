"""Killed before any file-changing call, a store loses nothing committed, and resumed it ends in the same bytes."""

from __future__ import annotations

import re
import shutil
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from introspect.errors import StoreError
from introspect.store import StoreReader, upgrade, verify
from stores import assert_reads, assert_reads_old, contents, killed_everywhere, old_store, parts, session, start

CHANGING = ("mkdir", "openat", "write", "pwrite64", "writev", "ftruncate", "fsync", "rename", "unlink", "link")


def assert_resumes(path: Path, whole: dict[str, bytes]) -> int:
    """A killed session's store reads right as far as it goes, and goes on to the same bytes; how many parts it had."""
    committed = {file.name: file.read_bytes() for file in parts(path)}
    if (path / "manifest.json").exists():
        assert_reads(path, [int(name[5:10]) for name in sorted(committed)])
        assert verify(path).problems in ([], ["DONE: missing, the recording was not finished"])
    elif path.exists():
        with pytest.raises(StoreError, match="manifest"):
            StoreReader(path)
    session(path)
    assert contents(path) == whole
    assert committed.items() <= contents(path).items()
    return len(committed)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, bytes]:
    path = tmp_path_factory.mktemp("whole") / "s"
    session(path)
    return contents(path)


def test_a_kill_before_any_call_loses_nothing_and_resume_ends_in_the_same_bytes(tmp_path, whole):
    found = killed_everywhere("session", tmp_path, lambda path: None)
    had = [assert_resumes(path, whole) for path in found]
    assert len(found) > 40 and set(had) == {0, 1, 2, 3}


def test_a_kill_before_any_call_of_an_upgrade_leaves_a_store_that_can_be_read(tmp_path):
    upgrade(old_store(tmp_path / "whole"))
    whole = contents(tmp_path / "whole")
    found = killed_everywhere("upgrade", tmp_path / "killed", old_store)

    def had_new_manifest(path: Path) -> bool:
        assert_reads_old(path)
        new = b'"format": 2' in (path / "manifest.json").read_bytes()
        upgrade(path)
        assert_reads_old(path)
        assert verify(path).problems == []
        assert {name: data for name, data in contents(path).items() if not name.endswith(".tmp")} == whole
        return new

    with ThreadPoolExecutor(2) as pool:
        formats = Counter(pool.map(had_new_manifest, found))
    assert formats[True] > 5 and formats[False] > 20


@pytest.mark.skipif(
    shutil.which("strace") is None, reason="strace is missing: the calls above are Python's, not the kernel's"
)
def test_a_kill_before_any_system_call_loses_nothing_either(tmp_path, whole):
    def traced(number: int | str, *inject: str):
        log = tmp_path / f"{number}.log"
        under = ("strace", "-f", "-s", "999", "-o", str(log), "-e", f"trace={','.join(CHANGING)}", *inject)
        return start("session", tmp_path / str(number), under=under), log.read_text()

    done, log = traced("none")
    if "ptrace" in done.stderr:
        pytest.skip("strace may not trace here: the calls above are Python's, not the kernel's")
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "none") == whole
    process = log.split(maxsplit=1)[0]
    order = re.findall(rf"^{process} +(fsync|rename(?=.*\.tmp))", log, re.MULTILINE)
    assert order == ["fsync", "rename", "fsync"] * 7  # the file, its name, the folder
    points, counts = [], Counter()
    for call, arguments in re.findall(rf"^{process} +(\w+)\((.*)", log, re.MULTILINE):
        counts[call] += 1
        if call != "openat" or "O_CREAT" in arguments:
            points.append((call, counts[call]))
    assert {call for call, _ in points} >= {"mkdir", "openat", "write", "fsync", "rename", "unlink"}

    def kill(number: int) -> int:
        call, when = points[number]
        return traced(number, "-e", f"inject={call}:signal=SIGKILL:when={when}")[0].returncode

    with ThreadPoolExecutor(2) as pool:
        ends = list(pool.map(kill, range(len(points))))
    assert ends == [-signal.SIGKILL] * len(points)
    for number in range(len(points)):
        assert_resumes(tmp_path / str(number), whole)
