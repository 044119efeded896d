"""Thousands of damaged files: what is read is what was written, or an error that names the file, and nothing else."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from introspect.errors import StoreError
from introspect.store import StoreReader, verify
from introspect.store.head import head_bytes
from stores import SPEC, contents, old_store, rename_to_fit, write

MUTATIONS = 1500


def mutated(sound: bytes, rng: random.Random) -> bytes:
    """One accident: a bit, a range zeroed, moved, doubled or lost, the end cut off, something appended, noise."""
    data, size = bytearray(sound), len(sound)
    begin, end = sorted(rng.randrange(size + 1) for _ in range(2))
    place = rng.randrange(size)
    kind = rng.randrange(8)
    if kind == 0:
        data[place] ^= 1 << rng.randrange(8)
    elif kind == 1:
        del data[begin:]
    elif kind == 2:
        data[begin:end] = bytes(end - begin)
    elif kind == 3:
        data[place : place + end - begin] = sound[begin:end]
    elif kind == 4:
        data[end:end] = sound[begin:end]
    elif kind == 5:
        del data[begin:end]
    elif kind == 6:
        data += rng.randbytes(rng.randrange(1, 64))
    else:
        data[place : place + 8] = rng.randbytes(8)
    return bytes(data)


def everything(path: Path) -> list[np.ndarray]:
    reader = StoreReader(path)
    return [*reader.columns().values(), *(reader.read(*pair, native=True) for pair in reader.spec.pairs())]


def outcomes(path: Path, seed: int, number: int, *, fit: bool = False) -> Iterator[str]:
    """What came of reading a store after each mutation of one of its files, which is made whole again."""
    rng, sound, expected = random.Random(seed), contents(path), everything(path)
    names = sorted(name for name in sound if not fit or name.endswith(".h5"))
    for _ in range(number):
        name = rng.choice(names)
        file = path / name
        file.write_bytes(mutated(sound[name], rng))
        if fit:
            (path / "DONE").unlink()
            file = rename_to_fit(file, head_bytes(SPEC))
        try:
            found = everything(path)
        except StoreError as refusal:
            yield "refused" if str(path) in str(refusal) and verify(path).problems else "refused without saying which"
        else:
            assert all(np.array_equal(*pair) for pair in zip(found, expected, strict=True)), name
            yield "right"
        file.unlink()
        for each in {name, "DONE"}:
            (path / each).write_bytes(sound[each])


@pytest.mark.parametrize("seed", [0, 1])
def test_a_damaged_file_is_never_read_as_data(tmp_path, seed):
    came = list(outcomes(write(tmp_path / "s", 2, rows=5), seed, MUTATIONS))
    assert came.count("refused") > 0.6 * MUTATIONS
    assert came.count("right") > 0.01 * MUTATIONS  # a number in DONE that only `verify` asks for
    assert set(came) == {"refused", "right"}


def test_a_damaged_part_under_a_name_that_fits_its_head_is_never_read_as_data(tmp_path):
    came = list(outcomes(write(tmp_path / "s", 2, rows=5), 2, MUTATIONS, fit=True))
    assert came.count("refused") > 0.6 * MUTATIONS
    assert set(came) <= {"refused", "right"}


def test_a_damaged_file_of_format_1_is_never_read_as_data(tmp_path):
    came = list(outcomes(old_store(tmp_path / "s"), 3, 300))
    assert came.count("refused") > 200
    assert set(came) <= {"refused", "right"}


def test_every_byte_of_a_part_is_under_a_digest(tmp_path):
    path = write(tmp_path / "s", 1, rows=5)
    (file,) = path.glob("part-*.h5")
    sound = file.read_bytes()
    for place in range(len(sound)):
        file.write_bytes(sound[:place] + bytes([sound[place] ^ 1]) + sound[place + 1 :])
        assert verify(path).problems == [f"{file.name}: {problem(place, file, sound)}"], place


def problem(place: int, file: Path, sound: bytes) -> str:
    """What `verify` must say of a part with a changed byte there."""
    head = head_bytes(SPEC)
    if place < head:
        return "is damaged: its head is not what was written"
    file.write_bytes(sound)
    part = StoreReader(file.parent)._parts[0]
    for name, extent in part._head[0].datasets.items():
        if extent.offset <= place < extent.offset + extent.length:
            return f"is damaged: its {name} is not what was written"
    return "is damaged: its HDF5 structure is not what was written"
