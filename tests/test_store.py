"""The store: bits come back as they went in, kills lose nothing committed, and damage is never read as data."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from introspect.errors import RunError, StoreError
from introspect.store import OneBehind, StoreReader, StoreSpec, StoreWriter, estimated_bytes, verify
from introspect.store.layout import MAX_PART_BYTES

SPEC = StoreSpec(("resid_post",), (0, 3), 8, "bfloat16", {"model": "none"})
ROWS = 70


def part(index: int, spec: StoreSpec = SPEC) -> dict:
    """Random bits (NaN payloads included) for one part."""
    generator = torch.Generator().manual_seed(index)
    bits = torch.randint(0, 2**16, (2, ROWS, spec.width), generator=generator, dtype=torch.int32).to(torch.uint16)
    columns = {name: np.arange(ROWS) + 100 * index for name in ("rollout", "position", "token_id")}
    values = {pair: bits[i].view(torch.bfloat16) for i, pair in enumerate(spec.pairs())}
    return {"values": values, **columns, "span": np.arange(ROWS) % 4}


def write(path: Path, n: int = 3) -> Path:
    with StoreWriter(path, SPEC, resume=True) as store:
        for index in range(n):
            if index not in store.committed:
                store.write_part(index, **part(index))
        store.finish()
    return path


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def test_every_bit_comes_back(tmp_path):
    reader = StoreReader(write(tmp_path / "s"))
    for layer in (0, 3):
        expected = torch.cat([part(i)["values"]["resid_post", layer] for i in range(3)])
        native = reader.read("resid_post", layer, native=True)
        assert np.array_equal(native, expected.view(torch.uint16).numpy())
        assert np.array_equal(reader.read("resid_post", layer), expected.float().numpy(), equal_nan=True)
    assert reader.n_rows == 3 * ROWS
    assert reader.columns()["rollout"].tolist() == [*range(70), *range(100, 170), *range(200, 270)]
    assert reader.read("resid_post", 0, np.array([5, 1])).shape == (2, 8)
    assert verify(tmp_path / "s").problems == []


def test_the_same_input_gives_the_same_bytes(tmp_path):
    assert contents(write(tmp_path / "a")) == contents(write(tmp_path / "b"))


def test_a_flipped_byte_is_never_read_as_data(tmp_path):
    path = write(tmp_path / "s", 1)
    file = next(path.glob("part-*.h5"))
    sound = file.read_bytes()
    rng = random.Random(0)
    for place in [0, len(sound) - 1, *(rng.randrange(len(sound)) for _ in range(40))]:
        damaged = bytearray(sound)
        damaged[place] ^= 1 << rng.randrange(8)
        file.write_bytes(damaged)
        with pytest.raises(StoreError, match="damaged"):
            StoreReader(path).read("resid_post", 0)
        assert verify(path).problems
    file.write_bytes(sound[:-1])
    with pytest.raises(StoreError, match="damaged"):
        StoreReader(path).columns()


def test_damage_after_the_first_read_is_noticed(tmp_path):
    path = write(tmp_path / "s", 1)
    reader = StoreReader(path)
    reader.read("resid_post", 0)
    file = next(path.glob("part-*.h5"))
    damaged = bytearray(file.read_bytes())
    damaged[-1] ^= 1
    file.write_bytes(damaged)
    os.utime(file, ns=(1, 1))
    with pytest.raises(StoreError, match="damaged"):
        reader.read("resid_post", 3)


def test_a_damaged_part_is_set_aside_and_recorded_again(tmp_path):
    whole = contents(write(tmp_path / "whole"))
    path = write(tmp_path / "s")
    victim = sorted(path.glob("part-*.h5"))[1]
    victim.write_bytes(b"nothing")
    assert any(victim.name in problem for problem in verify(path).problems)
    write(path)
    after = contents(path)
    assert after.pop(f"{victim.name}.bad") == b"nothing"
    assert after == whole


CHILD = """
import sys, os, signal
sys.path[:0] = [{tests!r}]
import introspect.atomic as atomic
from test_store import SPEC, part
from introspect.store import StoreWriter
from pathlib import Path
steps = int(sys.argv[2])
real = {{name: getattr(os, name) for name in ("fsync", "open")}}
def counted(*args, **kwargs):
    global steps
    steps -= 1
    if steps == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return real["fsync"](*args, **kwargs)
os.fsync = counted
with StoreWriter(Path(sys.argv[1]), SPEC, resume=True) as store:
    for index in range(3):
        if index not in store.committed:
            store.write_part(index, **part(index))
    store.finish()
"""


def test_a_kill_loses_nothing_committed_and_resume_ends_in_the_same_bytes(tmp_path):
    whole = contents(write(tmp_path / "whole"))
    script = tmp_path / "child.py"
    script.write_text(CHILD.format(tests=str(Path(__file__).parent)))
    for steps in (1, 4, 7):
        path = tmp_path / f"killed-{steps}"
        child = subprocess.run([sys.executable, script, path, str(steps)], capture_output=True, check=False)
        assert child.returncode == -signal.SIGKILL, child.stderr.decode()
        before = {name: data for name, data in contents(path).items() if name.startswith("part-")}
        assert len(before) < 3
        write(path)
        assert contents(path) == whole
        assert before.items() <= contents(path).items()


def disguise(path: Path, make) -> None:
    """Replace the only part by another HDF5 file whose name does state its digest."""
    old = next(path.glob("part-*.h5"))
    forged = path / "forged"
    with h5py.File(forged, "w") as file:
        make(file, old)
    data = forged.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    old.unlink()
    (path / "DONE").unlink()
    forged.rename(path / f"part-00000-{digest[:16]}.h5")


def copy(file: h5py.File, old: Path, without: str) -> None:
    with h5py.File(old) as source:
        for name in source:
            if name != without:
                source.copy(name, file)


def soft(file, old):
    copy(file, old, "span")
    file["span"] = h5py.SoftLink("/rollout")


def external(file, old):
    copy(file, old, "span")
    file["span"] = h5py.ExternalLink("/etc/passwd", "/x")


def objects(file, old):
    copy(file, old, "span")
    file.create_dataset("span", data=["x"] * ROWS, dtype=h5py.string_dtype())


def wide(file, old):
    copy(file, old, "span")
    file.create_dataset("span", shape=(1 << 40,), dtype="i1", chunks=(1 << 20,))


def external_twin(file, old):
    copy(file, old, "span")
    twin = old.with_name("twin.h5")
    twin.write_bytes(old.read_bytes())
    file["span"] = h5py.ExternalLink(str(twin), "/span")


def hollow(file, old):
    copy(file, old, "span")
    file.create_dataset("span", shape=(ROWS,), dtype="i1", chunks=(ROWS,))


def virtual(file, old):
    copy(file, old, "span")
    layout = h5py.VirtualLayout(shape=(ROWS,), dtype="i1")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", shape=(ROWS,))
    file.create_virtual_dataset("span", layout)


@pytest.mark.parametrize("make", [soft, external, external_twin, hollow, objects, wide, virtual])
def test_a_hostile_part_with_the_right_digest_is_refused(tmp_path, make):
    path = write(tmp_path / "s", 1)
    disguise(path, make)
    with pytest.raises(StoreError, match="does not fit"):
        StoreReader(path).columns()
    assert any("does not fit" in problem for problem in verify(path).problems)


@pytest.mark.parametrize(
    "change",
    [{"width": 10**12}, {"width": "8"}, {"layers": [-1]}, {"sites": ["../x"]}, {"dtype": "object"}, {"format": 2}],
)
def test_a_hostile_manifest_is_refused(tmp_path, change):
    path = write(tmp_path / "s", 1)
    manifest = path / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | change))
    with pytest.raises(StoreError, match="manifest"):
        StoreReader(path)


def test_a_part_larger_than_memory_and_a_forged_list_are_refused(tmp_path):
    path = write(tmp_path / "s", 1)
    file = next(path.glob("part-*.h5"))
    os.truncate(file, MAX_PART_BYTES + 1)
    assert any("larger than" in problem for problem in verify(path).problems)
    done = (path / "DONE").read_text()
    (path / "DONE").write_text(done.replace('"index": 0', '"index": 1e999'))
    with pytest.raises(StoreError, match="DONE is damaged"):
        StoreReader(path)


def test_links_missing_parts_and_twins_are_refused(tmp_path):
    path = write(tmp_path / "s", 2)
    first, second = sorted(path.glob("part-*.h5"))
    second.rename(tmp_path / second.name)
    with pytest.raises(StoreError, match="missing"):
        StoreReader(path)
    second.symlink_to(tmp_path / second.name)
    with pytest.raises(StoreError, match="symbolic links"):
        StoreReader(path).columns()
    second.unlink()
    (path / "part-00000-0123456789abcdef.h5").write_bytes(first.read_bytes())
    with pytest.raises(StoreError, match="both part 0"):
        StoreReader(path)


HOLD = """
import sys, time
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from test_store import SPEC
from introspect.store import StoreWriter
with StoreWriter(Path(sys.argv[1]), SPEC, resume=True):
    print("held", flush=True)
    time.sleep(60)
"""


def test_one_writer_at_a_time_and_a_dead_one_holds_nothing(tmp_path):
    path = write(tmp_path / "s", 1)
    command = [sys.executable, "-c", HOLD, str(path), str(Path(__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout.readline() == "held\n"
            with pytest.raises(RunError, match="another process is writing"), StoreWriter(path, SPEC, resume=True):
                pass
        finally:
            holder.kill()
    with StoreWriter(path, SPEC, resume=True) as store:
        assert set(store.committed) == {0}


def test_another_spec_and_a_full_disk_are_one_line_each(tmp_path, monkeypatch):
    path = write(tmp_path / "s", 1)
    other = StoreSpec(("resid_post",), (0, 3), 16, "bfloat16", {"model": "none"})
    with pytest.raises(RunError, match="another width"), StoreWriter(path, other, resume=True):
        pass
    before = contents(path)

    def full(*args):
        raise OSError(28, "No space left on device")

    with StoreWriter(path, SPEC, resume=True) as store:
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(RunError, match="No space left"):
            store.write_part(1, **part(1))
        monkeypatch.undo()
    assert contents(path) == before


def test_the_size_is_known_beforehand(tmp_path):
    path = write(tmp_path / "s", 1)
    size = next(path.glob("part-*.h5")).stat().st_size
    assert estimated_bytes(SPEC, ROWS) < size < estimated_bytes(SPEC, ROWS) + 40_000


def test_tasks_behind_run_in_order_and_none_after_one_that_failed():
    done = []
    with OneBehind() as behind:
        for number in range(20):
            behind.submit(lambda number=number: done.append(number))
    assert done == list(range(20))

    def fail():
        raise RunError("no room")

    def failing(*tasks):
        with OneBehind() as behind:
            for task in tasks:
                behind.submit(task)

    with pytest.raises(RunError, match="no room"):
        failing(fail, lambda: done.append("after"))
    assert "after" not in done
    with pytest.raises(RunError, match="no room"):
        failing(fail)
