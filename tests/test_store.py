"""The store: bits come back as they went in, one writer at a time, a full disk costs nothing, memory stays flat."""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
import time
import tracemalloc
from functools import partial

import numpy as np
import pytest
import torch

from introspect.errors import RunError, StoreError
from introspect.store import OneBehind, StoreReader, StoreSpec, StoreWriter, encode_part, estimated_bytes, verify
from stores import ROWS, SPEC, assert_reads, bits, columns, contents, parts, write

WIDE = StoreSpec(("resid_post",), (0, 1, 2, 3), 64, "bfloat16", {"model": "none"})


def test_every_bit_comes_back(tmp_path):
    path = write(tmp_path / "s")
    assert_reads(path, [0, 1, 2])
    reader = StoreReader(path)
    for layer in (0, 3):
        stored = np.concatenate([bits(i)["resid_post", layer] for i in range(3)])
        expected = torch.from_numpy(stored).view(torch.bfloat16).float().numpy()
        assert np.array_equal(reader.read("resid_post", layer).view(np.uint32), expected.view(np.uint32))
    assert reader.n_rows == 3 * ROWS
    assert verify(path).problems == []


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_tensors_and_arrays_of_every_dtype_are_stored_alike(tmp_path, dtype):
    spec = StoreSpec(("resid_post", "mlp_out"), (1,), 8, dtype, {})
    tensors = {pair: torch.randn(ROWS, 8).to(getattr(torch, dtype)) for pair in spec.pairs()}
    arrays = {pair: (t.view(torch.uint16) if dtype == "bfloat16" else t).numpy() for pair, t in tensors.items()}
    tensors["resid_post", 1][0, :3] = arrays["resid_post", 1][0, :3] = float("nan") if dtype != "bfloat16" else 0
    for name, values in (("tensors", tensors), ("arrays", arrays)):
        with StoreWriter(tmp_path / name, spec) as store:
            store.write_part(0, values=values, **columns(0))
    assert contents(tmp_path / "tensors") == contents(tmp_path / "arrays")
    read = StoreReader(tmp_path / "tensors").read("mlp_out", 1)
    assert read.dtype == np.float32 and np.array_equal(read, tensors["mlp_out", 1].float().numpy())


def test_rows_are_picked_in_the_order_wanted_and_others_are_no_rows(tmp_path):
    reader = StoreReader(write(tmp_path / "s"))
    everything, native = reader.read("resid_post", 3), reader.read("resid_post", 3, native=True)
    for rows in ([5, 1], [209, 0, 70, 70, 69], list(range(140, 210)), []):
        assert np.array_equal(reader.read("resid_post", 3, np.array(rows)), everything[rows], equal_nan=True)
        assert np.array_equal(reader.read("resid_post", 3, np.array(rows), native=True), native[rows])
    for rows in ([210], [-1], [0.5], [True]):
        with pytest.raises(IndexError, match="whole numbers from 0 to 209"):
            reader.read("resid_post", 3, np.array(rows))
    with pytest.raises(StoreError, match="holds no resid_post of layer 1"):
        reader.read("resid_post", 1)


def test_parts_without_a_wanted_row_are_not_read(tmp_path):
    path = write(tmp_path / "s")
    reader = StoreReader(path)
    expected = reader.read("resid_post", 0, np.array([150]), native=True)
    for file in parts(path)[:2]:
        os.truncate(file, 5000)
    assert np.array_equal(reader.read("resid_post", 0, np.array([150]), native=True), expected)
    with pytest.raises(StoreError, match="damaged"):
        reader.read("resid_post", 0, np.array([150, 80]))


def test_the_same_input_gives_the_same_bytes_at_any_time(tmp_path):
    first = contents(write(tmp_path / "a"))
    time.sleep(1.1)
    assert contents(write(tmp_path / "b")) == first


def test_a_part_without_rows_is_a_part(tmp_path):
    path = write(tmp_path / "s", 2, rows=0)
    assert_reads(path, [0, 1], rows=0)
    assert verify(path).problems == []


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"span": np.full(ROWS, 200)}, "span does not fit"),
        ({"position": np.full(ROWS, 0.5)}, "position does not fit"),
        ({"token_id": np.arange(ROWS - 1)}, "token_id has shape"),
        ({"values": bits(0, rows=ROWS - 1)}, "resid_post/0 has shape"),
        ({"values": {pair: array.astype(np.int16) for pair, array in bits(0).items()}}, "values are int16"),
    ],
)
def test_what_does_not_fit_is_not_stored(tmp_path, change, match):
    with StoreWriter(tmp_path / "s", SPEC) as store, pytest.raises(ValueError, match=match):
        store.write_part(0, **{"values": bits(0), **columns(0), **change})
    assert parts(tmp_path / "s") == []


def test_a_flipped_byte_is_never_read_as_data(tmp_path):
    path = write(tmp_path / "s", 1)
    (file,) = parts(path)
    sound = file.read_bytes()
    rng = random.Random(0)
    for place in [0, len(sound) - 1, *(rng.randrange(len(sound)) for _ in range(40))]:
        damaged = bytearray(sound)
        damaged[place] ^= 1 << rng.randrange(8)
        file.write_bytes(damaged)
        assert "is damaged" in verify(path).problems[0]
    file.write_bytes(sound[:-1])
    with pytest.raises(StoreError, match="damaged"):
        StoreReader(path).columns()


def test_damage_after_the_first_read_is_noticed(tmp_path):
    path = write(tmp_path / "s", 1)
    reader = StoreReader(path)
    reader.read("resid_post", 0)
    (file,) = parts(path)
    state, damaged = file.stat(), bytearray(file.read_bytes())
    damaged[-1] ^= 1
    file.write_bytes(damaged)
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    with pytest.raises(StoreError, match="damaged: its resid_post/3"):
        reader.read("resid_post", 3)


def test_a_damaged_part_is_set_aside_and_recorded_again(tmp_path):
    whole = contents(write(tmp_path / "whole"))
    path = write(tmp_path / "s")
    victim = parts(path)[1]
    for number in range(2):
        victim.write_bytes(b"nothing" * number)
        assert any(victim.name in problem for problem in verify(path).problems)
        write(path)
    after = contents(path)
    assert [after.pop(f"{victim.name}{number}.bad") for number in ("", ".1")] == [b"", b"nothing"]
    assert after == whole


HOLD = """
import sys, time
sys.path[:0] = SYS_PATH
from pathlib import Path
from stores import SPEC
from introspect.store import StoreWriter
with StoreWriter(Path(sys.argv[1]), SPEC, resume=True):
    print("held", flush=True)
    time.sleep(60)
""".replace("SYS_PATH", repr(sys.path))


def test_one_writer_at_a_time_and_a_dead_one_holds_nothing(tmp_path):
    path = write(tmp_path / "s", 1)
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout.readline() == "held\n"
            said = rf"another process \({holder.pid}\) is writing"
            with pytest.raises(RunError, match=said), StoreWriter(path, SPEC, resume=True):
                pass
            assert_reads(path, [0])
        finally:
            holder.kill()
    with StoreWriter(path, SPEC, resume=True) as store:
        assert set(store.committed) == {0}


def test_of_two_writers_that_start_together_one_writes_and_one_is_told(tmp_path):
    path, ready = tmp_path / "s", tmp_path / "ready"
    wait = HOLD.replace("with Store", f"while not Path({str(ready)!r}).exists(): pass\nwith Store").replace(
        "(60)", "(2)"
    )
    command = [sys.executable, "-c", wait, str(path)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as one, subprocess.Popen(command, **pipes) as other:
        ready.touch()
        (first, told_first), (second, told_second) = one.communicate(), other.communicate()
    assert sorted([first, second]) == ["", "held\n"]
    assert ("is writing to" in told_first) != ("is writing to" in told_second)


def test_a_spec_that_is_another_is_one_line(tmp_path):
    path = write(tmp_path / "s", 1)
    for change, what in (({"width": 16}, "width"), ({"layers": (0, 4)}, "layers"), ({"meta": {"model": "x"}}, "model")):
        other = StoreSpec(**{**vars(StoreReader(path).spec), **change})
        with pytest.raises(RunError, match=f"another {what}; "), StoreWriter(path, other, resume=True):
            pass
    with pytest.raises(RunError, match="holds a store already"), StoreWriter(path, SPEC):
        pass


def test_a_full_disk_leaves_what_was_committed(tmp_path, monkeypatch):
    path = write(tmp_path / "s", 1)
    before = contents(path)

    def full(*args):
        raise OSError(28, "No space left on device")

    with StoreWriter(path, SPEC, resume=True) as store:
        for call in ("fsync", "open"):
            with monkeypatch.context() as patch:
                patch.setattr(os, call, full)
                with pytest.raises(RunError, match="No space left on device; free space"):
                    store.write_part(1, values=bits(1), **columns(1))
            assert contents(path) == before
        store.write_part(1, values=bits(1), **columns(1))
    assert_reads(path, [0, 1])


def test_a_file_that_may_grow_no_further_is_no_part(tmp_path):
    path = write(tmp_path / "s", 1)
    before, limits = contents(path), resource.getrlimit(resource.RLIMIT_FSIZE)
    with StoreWriter(path, SPEC, resume=True) as store:
        for most in (1, 3000, 7000):
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, limits[1]))
            try:
                with pytest.raises(RunError, match="File too large; free space"):
                    store.write_part(1, values=bits(1), **columns(1))
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert contents(path) == before


def test_the_size_is_known_beforehand(tmp_path):
    path = write(tmp_path / "s", 1)
    (file,) = parts(path)
    assert estimated_bytes(SPEC, ROWS) < file.stat().st_size < estimated_bytes(SPEC, ROWS) + 10_000


def peak(work) -> int:
    """Most bytes that Python and NumPy held at once during the work, beyond those held before."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_number_of_parts(tmp_path):
    rows = 2000
    layer = rows * WIDE.width * 2
    for n in (2, 20):
        path = write(tmp_path / str(n), n, WIDE, rows)
        reader, picked = StoreReader(path), np.arange(0, n * rows, rows)
        reader.read("resid_post", 1)  # heads, and whatever is loaded on a first call
        assert peak(partial(reader.read, "resid_post", 1, native=True)) < n * layer + 0.3 * layer
        assert peak(partial(reader.read, "resid_post", 2)) < n * 2 * layer + 1.3 * layer
        assert peak(partial(reader.read, "resid_post", 2, picked)) < 1.3 * layer
        assert peak(partial(verify, path)) < 10 * layer


def test_a_part_is_written_from_where_its_numbers_lie():
    values, where = bits(0, WIDE, 2000), columns(0, 2000)
    assert peak(lambda: encode_part(WIDE, values, where)) < 2000 * WIDE.width * 2


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


def test_the_store_needs_no_torch():
    code = "import sys, introspect.store; sys.exit('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    assert subprocess.run([sys.executable, "-c", code], check=False, env=environment).returncode == 0
