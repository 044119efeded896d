"""A stranger's files, with digests that are right, give right numbers or one line of refusal."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import xxhash

from introspect.errors import StoreError
from introspect.store import StoreReader, StoreWriter, verify
from introspect.store.files import MAX_PART_BYTES
from introspect.store.head import Head, head_bytes, pack_head
from stores import ROWS, SPEC, assert_reads, columns, old_store, parts, rename_to_fit, write

HEAD = head_bytes(SPEC)


def read_all(path: Path) -> None:
    reader = StoreReader(path)
    reader.columns()
    for pair in reader.spec.pairs():
        reader.read(*pair)


def soft(file, old):
    file["span"] = h5py.SoftLink("/rollout")


def external_link(file, old):
    file["span"] = h5py.ExternalLink("/etc/passwd", "/x")


def external_twin(file, old):
    twin = old.with_name("twin.h5")
    twin.write_bytes(old.read_bytes())
    file["span"] = h5py.ExternalLink(str(twin), "/span")


def external_storage(file, old):
    rows = len(file["rollout"])
    file.create_dataset("span", shape=(rows,), dtype="i1", external=[("/etc/passwd", 0, rows)])


def objects(file, old):
    file.create_dataset("span", data=["x"] * len(file["rollout"]), dtype=h5py.string_dtype())


def wide(file, old):
    file.create_dataset("span", shape=(1 << 40,), dtype="i1", chunks=(1 << 20,))


def hollow(file, old):
    rows = len(file["rollout"])
    file.create_dataset("span", shape=(rows,), dtype="i1", chunks=(rows,))


def filtered(file, old):
    file.create_dataset("span", data=np.zeros(len(file["rollout"]), "i1"), compression="gzip")


def virtual(file, old):
    layout = h5py.VirtualLayout(shape=file["rollout"].shape, dtype="i1")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", shape=file["rollout"].shape)
    file.create_virtual_dataset("span", layout)


def more(file, old):
    file["span"], file["more"] = np.zeros(len(file["rollout"]), "i1"), [1]


def elsewhere(file, old):
    file["span"] = np.full(len(file["rollout"]), 7, "i1")


def group(file, old):
    file.create_group("span")


HOSTILE = {
    soft: "span is a link",
    external_link: "span is a link",
    external_twin: "span is a link",
    external_storage: "external",
    objects: "not a dataset of",
    wide: "than it holds",
    hollow: "than it holds",
    filtered: "filtered",
    virtual: "virtual",
    more: "it holds",
    group: "not a dataset",
}


def twin_file(old: Path, make: Callable, head: int) -> bytes:
    """Another HDF5 file with the datasets of a part, but for `span`, which `make` makes."""
    forged = old.with_name("forged")
    with h5py.File(forged, "w", userblock_size=head) as file, h5py.File(old) as source:
        for name in source:
            if name != "span":
                source.copy(name, file)
        make(file, old)
    data = forged.read_bytes()
    forged.unlink()
    return data


@pytest.mark.parametrize("make", HOSTILE, ids=lambda make: make.__name__)
def test_a_hostile_structure_of_format_1_is_refused(tmp_path, make):
    path = old_store(tmp_path / "s")
    (path / "DONE").unlink()
    victim = parts(path)[0]
    data = twin_file(victim, make, 0)
    victim.unlink()
    (path / f"part-00000-{hashlib.sha256(data).hexdigest()[:16]}.h5").write_bytes(data)
    with pytest.raises(StoreError, match=f"does not fit.*{HOSTILE[make]}"):
        read_all(path)
    assert HOSTILE[make] in verify(path).problems[0]


OTHERWISE = HOSTILE | {elsewhere: "span does not lie where its head says"}


@pytest.mark.parametrize("make", OTHERWISE, ids=lambda make: make.__name__)
def test_a_hostile_structure_is_not_asked_and_verify_refuses_it(tmp_path, make):
    """The head's digests are all right and point at right numbers; HDF5 would show others."""
    path = write(tmp_path / "s", 1)
    (path / "DONE").unlink()
    (old,) = parts(path)
    extents = dict(StoreReader(path)._parts[0]._head[0].datasets)
    begin, length, _ = extents["span"]
    span = old.read_bytes()[begin : begin + length]
    data = twin_file(old, make, HEAD)
    with h5py.File(io.BytesIO(data)) as file:
        for name in extents.keys() - {"span"}:
            extents[name] = extents[name]._replace(offset=file[name].id.get_offset())
    extents["span"] = extents["span"]._replace(offset=len(data))
    data = bytearray(data + span)
    head = Head(ROWS, len(data), SPEC.digest, "", extents)
    around = b"".join(bytes(data[begin:end]) for begin, end in head.gaps(HEAD))
    data[:HEAD] = pack_head(Head(**vars(head) | {"structure": xxhash.xxh3_128_hexdigest(around)}), SPEC)
    old.write_bytes(data)
    file = rename_to_fit(old, HEAD)
    assert_reads(path, [0])
    assert OTHERWISE[make] in verify(path).problems[0]
    with StoreWriter(path, SPEC, resume=True) as store:
        assert store.committed == {}
    assert (path / f"{file.name}.bad").exists()


def forge_head(path: Path, change: Callable[[dict], object]) -> None:
    """Change what the head of a store's only part says, and name the part to fit."""
    (path / "DONE").unlink()
    (file,) = parts(path)
    content = file.read_bytes()
    head = json.loads(content[:HEAD])
    change(head)
    file.write_bytes(json.dumps(head).ljust(HEAD - 1).encode() + b"\n" + content[HEAD:])
    rename_to_fit(file, HEAD)


def extent(name: str, at: int, to: object) -> Callable[[dict], object]:
    return lambda head: head["datasets"][name].__setitem__(at, to)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda head: head.update(rows=ROWS + 1), "of another size"),
        (lambda head: head.update(rows=1 << 61), "out of range"),
        (lambda head: head.update(rows="70"), "out of range"),
        (lambda head: head.update(rows=True), "out of range"),
        (lambda head: head.update(size=1 << 40), "size"),
        (lambda head: head.update(size=None), "out of range"),
        (lambda head: head.update(manifest="0" * 64), "another manifest"),
        (lambda head: head.pop("structure"), "lacks 'structure'"),
        (lambda head: head.update(datasets=[]), "lacks"),
        (lambda head: head["datasets"].pop("span"), "not the manifest's"),
        (lambda head: head["datasets"].update(more=[0, 0, ""]), "not the manifest's"),
        (lambda head: head["datasets"].update(span=7), "lacks"),
        (extent("span", 0, -1), "out of range"),
        (extent("span", 0, 0), "overlap or leave"),
        (extent("span", 0, HEAD - 1), "overlap or leave"),
        (extent("span", 0, 1 << 40), "overlap or leave"),
        (extent("span", 0, 1e999), "out of range"),
        (extent("span", 1, 1 << 40), "of another size"),
        (extent("span", 2, "0" * 32), "span is not what was written"),
        (extent("span", 2, None), "span is not what was written"),
    ],
)
def test_a_hostile_head_under_a_name_that_fits_is_refused(tmp_path, change, match):
    path = write(tmp_path / "s", 1)
    forge_head(path, change)
    with pytest.raises(StoreError, match=match):
        read_all(path)
    assert verify(path).problems


def test_two_datasets_that_share_their_bytes_are_refused(tmp_path):
    path = write(tmp_path / "s", 1)

    def share(head):
        head["datasets"]["resid_post/0"] = head["datasets"]["resid_post/3"]

    forge_head(path, share)
    with pytest.raises(StoreError, match="overlap"):
        read_all(path)


def test_a_part_of_another_store_is_refused(tmp_path):
    """Its shapes are the same; what it was recorded from is not."""
    path = write(tmp_path / "s", 1)
    (path / "DONE").unlink()
    (file,) = parts(write(tmp_path / "other", 1, replace(SPEC, meta={"model": "another"})))
    parts(path)[0].unlink()
    file.rename(path / file.name)
    with pytest.raises(StoreError, match="written under another manifest"):
        read_all(path)
    assert verify(path).problems


@pytest.mark.parametrize(
    "change",
    [
        *({"width": 10**12}, {"width": "8"}, {"width": True}, {"layers": [-1]}, {"layers": [0, 0]}, {"layers": 3}),
        *({"sites": ["../x"]}, {"sites": "x"}, {"sites": ["span"]}, {"sites": [1]}, {"sites": ["a" * 65]}),
        *(
            {"dtype": "object"},
            {"dtype": []},
            {"meta": []},
            {"more": 1},
            {"layers": list(range(4096)), "sites": [*"abcde"]},
        ),
        *({"format": 1}, {"format": 0}, {"format": True}, {"format": "2"}, {"format": None}),
        *({"selection": None}, {"selection": {"spans": ["think"]}}, {"selection": {"spans": "a", "tokens": "every"}}),
        *({"selection": {"spans": ["think"], "tokens": 1}}, {"selection": {"spans": [[]], "tokens": "every"}}),
    ],
    ids=str,
)
def test_a_hostile_manifest_is_refused(tmp_path, change):
    path = write(tmp_path / "s", 1)
    manifest = path / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | change))
    with pytest.raises(StoreError, match="manifest"):
        StoreReader(path)
    assert len(verify(path).problems) == 1


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"[" * 100_000, b" " * (1 << 21), b'{"format": 1e999}'])
def test_a_manifest_or_list_that_is_not_json_is_refused(tmp_path, content):
    for name in ("manifest.json", "DONE"):
        path = write(tmp_path / name, 1)
        (path / name).write_bytes(content)
        with pytest.raises(StoreError, match=name):
            StoreReader(path)


def test_a_part_larger_than_memory_and_a_forged_list_are_refused(tmp_path):
    path = write(tmp_path / "s", 1)
    (file,) = parts(path)
    os.truncate(file, MAX_PART_BYTES + 1)
    assert any("larger than" in problem for problem in verify(path).problems)
    done = (path / "DONE").read_text()
    for forged in ('"index": 1e999', '"index": "0"', '"index": null'):
        (path / "DONE").write_text(done.replace('"index": 0', forged))
        with pytest.raises(StoreError, match="DONE is damaged"):
            StoreReader(path)


def test_a_digest_in_the_list_that_is_another_is_noticed(tmp_path):
    path = write(tmp_path / "s", 1)
    done = json.loads((path / "DONE").read_text())
    done["parts"][0]["sha256"] = done["parts"][0]["sha256"][:-1] + "x"
    (path / "DONE").write_text(json.dumps(done))
    assert "not what DONE lists" in verify(path).problems[0]


def test_links_missing_parts_and_what_is_no_file_are_refused(tmp_path):
    path = write(tmp_path / "s", 2)
    second = parts(path)[1]
    second.rename(tmp_path / second.name)
    with pytest.raises(StoreError, match="missing"):
        StoreReader(path)
    second.symlink_to(tmp_path / second.name)
    with pytest.raises(StoreError, match="symbolic links"):
        read_all(path)
    second.unlink()
    os.mkfifo(second)
    with pytest.raises(StoreError, match="not a regular file"):
        read_all(path)
    second.unlink()
    second.mkdir()
    with pytest.raises(StoreError, match="cannot read"):
        read_all(path)


def test_two_files_of_one_index_are_refused(tmp_path):
    path = write(tmp_path / "s", 1)
    (path / f"part-00000-{'0' * 32}.h5").write_bytes(parts(path)[0].read_bytes())
    with pytest.raises(StoreError, match="both part 0"):
        StoreReader(path)
    assert "both part 0" in verify(path).problems[0]


def test_activations_that_are_no_numbers_are_data(tmp_path):
    path, spec = tmp_path / "s", replace(SPEC, dtype="float32")
    special = np.array([np.nan, np.inf, -np.inf, -0.0, 1e-45, 3.4e38, 0, 1], np.float32)
    values = {pair: np.tile(special, (ROWS, 1)) for pair in spec.pairs()}
    with StoreWriter(path, spec) as store:
        store.write_part(0, values=values, **columns(0))
    assert StoreReader(path).read("resid_post", 3).tobytes() == values["resid_post", 3].tobytes()
    assert verify(path).problems == ["DONE: missing, the recording was not finished"]
