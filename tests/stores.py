"""Small stores for the tests, and kills at every file-changing call of what is done to them.

Imports no torch, so that a process that is to be killed starts fast. Run as a script, it is such a process, or the one
that forks them: `python stores.py ACTION PATH` and `python stores.py ACTION PATH kill`.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from introspect.store import StoreReader, StoreSpec, StoreWriter, upgrade

SPEC = StoreSpec(("resid_post",), (0, 3), 8, "bfloat16", {"model": "none"})
ROWS = 70
OLD_STORE = Path(__file__).parent / "fixtures" / "store_v1"
"""A store of format 1 that the code of commit 3bd3060 wrote, and what it holds."""


def bits(index: int, spec: StoreSpec = SPEC, rows: int = ROWS) -> dict[tuple[str, int], np.ndarray]:
    """Random bits (NaN payloads and infinities included) for one part."""
    rng = np.random.default_rng(index)
    return {pair: rng.integers(0, 2**16, (rows, spec.width), dtype=np.uint16) for pair in spec.pairs()}


def columns(index: int, rows: int = ROWS) -> dict[str, np.ndarray]:
    counted = {name: np.arange(rows) + 100 * index for name in ("rollout", "position", "token_id")}
    return {**counted, "span": np.arange(rows) % 4}


def write(path: Path, n: int = 3, spec: StoreSpec = SPEC, rows: int = ROWS) -> Path:
    with StoreWriter(path, spec, resume=True) as store:
        for index in range(n):
            if index not in store.committed:
                store.write_part(index, values=bits(index, spec, rows), **columns(index, rows))
        store.finish()
    return path


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def parts(path: Path) -> list[Path]:
    return sorted(path.glob("part-*.h5"))


def assert_reads(path: Path, indices: list[int], spec: StoreSpec = SPEC, rows: int = ROWS) -> None:
    """The store holds these parts of `write`, and every number of them is right."""
    reader = StoreReader(path)
    for name, column in reader.columns().items():
        assert column.tolist() == [n for index in indices for n in columns(index, rows)[name].tolist()]
    for pair in spec.pairs() if indices else []:
        expected = np.concatenate([bits(index, spec, rows)[pair] for index in indices])
        assert np.array_equal(reader.read(*pair, native=True), expected)


def old_store(path: Path) -> Path:
    """A copy of the store of format 1."""
    return Path(shutil.copytree(OLD_STORE / "store", path))


def assert_reads_old(path: Path) -> None:
    """The store, whatever its format, holds what the store of format 1 does."""
    expected, reader = json.loads((OLD_STORE / "expected.json").read_text()), StoreReader(path)
    assert {name: column.tolist() for name, column in reader.columns().items()} == expected["columns"]
    for site, layer in reader.spec.pairs():
        assert reader.read(site, layer, native=True).tolist() == expected["values"][f"{site}/{layer}"]


def rename_to_fit(part: Path, head: int) -> Path:
    """Give a part the name that its first `head` bytes ask for."""
    digest = hashlib.sha256(part.read_bytes()[:head]).hexdigest()
    return part.rename(part.with_name(f"{part.name[:11]}{digest[:32]}.h5"))


def session(path: Path) -> None:
    """Write a store whose second part is taken out, once it is finished, and written again."""
    with StoreWriter(path, SPEC, resume=True) as store:
        for index in range(3):
            if index not in store.committed:
                store.write_part(index, values=bits(index), **columns(index))
        if not list(path.glob("*.bad")):
            store.finish()
            store.set_aside(1)
            store.write_part(1, values=bits(1), **columns(1))
        store.finish()


ACTIONS: dict[str, Callable[[Path], None]] = {"session": session, "upgrade": upgrade}


def start(action: str, path: Path, *more: str, under: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run an action in a process of its own."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    command = [*under, sys.executable, __file__, action, str(path), *more]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def killed_everywhere(action: str, folder: Path, prepare: Callable[[Path], object]) -> list[Path]:
    """Stores that the action was killed over before its first, second, ... last file-changing call.

    Each is made by `prepare`. The action goes over copies of it in processes that die of a real SIGKILL.
    """
    prepare(folder / "0")
    done = start(action, folder, "kill")
    assert done.returncode == 0, done.stderr
    ends = [int(end) for end in done.stdout.split()]
    assert ends == [-signal.SIGKILL] * (len(ends) - 1) + [0]
    return [folder / str(number) for number in range(1, len(ends))]


def _fork_until_done(action: str, folder: Path) -> None:
    number = 0
    while True:
        number += 1
        if (folder / "0").exists():
            shutil.copytree(folder / "0", folder / str(number))
        child = os.fork()
        if not child:
            _kill_before(number)
            ACTIONS[action](folder / str(number))
            os._exit(0)
        end = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        sys.stdout.write(f"{end}\n")
        if end != -signal.SIGKILL:
            return


def _kill_before(number: int) -> None:
    """Let this process die before its file-changing call of that number."""
    left = number

    def count() -> None:
        nonlocal left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    def counted(call: Callable) -> Callable:
        def calling(*args, **kwargs):
            if call is not opening or args[1] & os.O_CREAT:
                count()
            return call(*args, **kwargs)

        return calling

    class Counted(io.BufferedWriter):
        def write(self, content) -> int:
            count()
            self.flush()  # what was written before the kill is in the file, like that of a larger one
            return super().write(content)

    opening, fdopen = os.open, os.fdopen
    for name in ("open", "fsync", "rename", "replace", "unlink", "mkdir"):
        setattr(os, name, counted(getattr(os, name)))
    os.fdopen = lambda fd, mode="r", *more: Counted(io.FileIO(fd, mode)) if mode == "wb" else fdopen(fd, mode, *more)


if __name__ == "__main__":
    if sys.argv[3:] == ["kill"]:
        _fork_until_done(sys.argv[1], Path(sys.argv[2]))
    else:
        ACTIONS[sys.argv[1]](Path(sys.argv[2]))
