"""Free memory is the least of what the machine has and of what the control groups around this process leave it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from introspect import features, free_memory
from introspect.errors import RunError
from introspect.run_folder import check_memory

GB = 1_000_000_000
FIRST = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
SECOND = ("memory.max", "memory.current", "inactive_file")


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with 16 GB free, in no group; the folder of its groups."""
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=16 * GB))
    monkeypatch.setattr(free_memory, "GROUPS", tmp_path)
    monkeypatch.setattr(free_memory, "MEMBERSHIP", tmp_path / "membership")
    monkeypatch.delenv("INTROSPECT_MEMORY_GB", raising=False)
    return tmp_path


def group(folder: Path, limit: object, used: int, files: int = 0, names: tuple[str, str, str] = SECOND) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{names[2]} {files}\nslab 7\n")


def member(machine: Path, *lines: str) -> None:
    (machine / "membership").write_text("".join(f"{line}\n" for line in lines))


def test_without_groups_it_is_what_the_machine_has(machine):
    assert free_memory.free_memory() == 16 * GB
    member(machine, "0::/", "odd", "")
    assert free_memory.free_memory() == 16 * GB


def test_a_container_is_held_to_its_limit_and_given_its_file_pages_back(machine):
    member(machine, "0::/")
    group(machine, 4 * GB, 3 * GB, files=GB // 2)
    assert free_memory.free_memory() == 3 * GB // 2
    assert features.memory_budget() == 3 * GB // 8
    check_memory(GB)
    with pytest.raises(RunError, match=r"there are 1\.5 GB of memory free"):
        check_memory(2 * GB)


def test_a_group_further_out_may_leave_less(machine):
    member(machine, "0::/user/job")
    group(machine / "user/job", "max", GB)
    group(machine / "user", 2 * GB, GB)
    assert free_memory.free_memory() == GB
    group(machine / "user/job", GB // 2, GB // 4)
    assert free_memory.free_memory() == GB // 4


def test_the_first_version_keeps_memory_in_a_tree_of_its_own(machine):
    member(machine, "5:cpu,cpuacct:/other", "4:memory:/docker/abc", "0::/")
    group(machine / "memory", 3 * GB, GB, files=GB // 2, names=FIRST)
    assert free_memory.free_memory() == 5 * GB // 2, "the path is the host's, and the root is the container's"
    group(machine / "memory/docker/abc", 9223372036854771712, GB, names=FIRST)
    assert free_memory.free_memory() == 5 * GB // 2
    group(machine / "memory/docker/abc", 2 * GB, GB, names=FIRST)
    assert free_memory.free_memory() == GB


@pytest.mark.parametrize(("limit", "used", "left"), [("x", 0, 16 * GB), (GB, 2 * GB, 0)])
def test_what_cannot_be_read_is_no_limit_and_what_is_used_up_leaves_nothing(machine, limit, used, left):
    member(machine, "0::/../job")
    group(machine, limit, used)
    assert free_memory.free_memory() == left
