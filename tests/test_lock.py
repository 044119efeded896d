"""Who holds a lock, as it is said to whoever waits for it; `test_store.py` has processes that really do."""

from __future__ import annotations

import errno
import fcntl
import socket
import warnings

import pytest

from introspect.errors import BusyError, RunError
from introspect.lock import only_writer


@pytest.mark.parametrize(
    ("said", "who"),
    [
        (f"77 {socket.gethostname()}\n", r" \(77\)"),
        ("77\n", r" \(77\)"),  # as earlier versions wrote it
        ("77 node-3\n", r" \(77 on node-3; if that is gone, the folder's file system frees the lock after a while\)"),
        ("77 node\x1b[2J\n", ""),
        ("rm -rf\n", ""),
        ("7" * 400, ""),
    ],
)
def test_the_holder_is_named_with_its_machine(said, who, tmp_path):
    marker = tmp_path / ".lock"
    with marker.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        held.write(said)
        held.flush()
        message = rf"^another process{who} is writing to {tmp_path}: wait for it, or choose another --out$"
        with pytest.raises(BusyError, match=message), only_writer(marker, tmp_path):
            pass
    with only_writer(marker, tmp_path):
        number, machine = marker.read_text().split()
        assert number.isdecimal() and machine == socket.gethostname()


def test_a_folder_without_locks_is_refused(tmp_path, monkeypatch):
    """filelock would go over to a file that counts as a lock, and stays when its writer dies."""

    def none(*args: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("filelock._unix.fcntl.flock", none)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(RunError, match="cannot lock"), only_writer(tmp_path / ".lock", tmp_path):
            pass
        with pytest.raises(RunError, match="cannot lock"), only_writer(tmp_path / ".lock", tmp_path):
            pass  # for the same reason: nothing was left that counts as a lock
