"""Formats: the old one is read bit for bit and upgraded, a newer one is refused, the present one is plain HDF5."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest

from introspect.errors import RunError, StoreError
from introspect.selection import Selection
from introspect.store import StoreReader, StoreSpec, StoreWriter, check_spec, upgrade, verify
from introspect.store.spec import manifest_text
from stores import ROWS, SPEC, assert_reads_old, bits, columns, contents, old_store, parts, write

OLD_SPEC = StoreSpec(("resid_post", "mlp_out"), (0, 2, 5), 8, "bfloat16", {"model": "none", "plan": "0123"})


def test_a_store_of_format_1_is_read_bit_for_bit_and_left_as_it_is(tmp_path):
    path = old_store(tmp_path / "s")
    before = contents(path)
    assert_reads_old(path)
    assert verify(path).problems == []
    assert StoreReader(path).spec == OLD_SPEC
    assert StoreReader(path).spec.selection == Selection(("completion",), "every")
    assert contents(path) == before


def test_an_upgraded_store_holds_the_same_bits_and_is_what_would_be_written_today(tmp_path):
    path = old_store(tmp_path / "s")
    upgrade(path)
    assert_reads_old(path)
    assert verify(path).problems == []
    upgraded = contents(path)
    assert upgraded["manifest.json"].decode() == manifest_text(OLD_SPEC)
    assert len(upgraded) == 5
    upgrade(path)
    assert contents(path) == upgraded


def test_a_resumed_store_of_format_1_is_upgraded_and_its_damaged_parts_are_set_aside(tmp_path):
    path = old_store(tmp_path / "s")
    victim = parts(path)[1]
    victim.write_bytes(b"nothing")
    with pytest.raises(StoreError, match="damaged"):
        upgrade(path)
    with StoreWriter(path, OLD_SPEC, resume=True) as store:
        assert set(store.committed) == {0, 2}
    assert StoreReader(path).n_rows == 12
    assert (path / f"{victim.name}.bad").read_bytes() == b"nothing"
    assert not (path / "DONE").exists()


def test_a_newer_format_is_refused_in_one_line_that_names_both(tmp_path):
    path = write(tmp_path / "s", 1)
    manifest = path / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"format": 2', '"format": 3'))
    with pytest.raises(StoreError, match=r"format 3, and this introspect reads formats up to 2; update introspect$"):
        StoreReader(path)
    assert len(verify(path).problems) == 1


def test_a_part_is_an_hdf5_file_that_anyone_can_open(tmp_path):
    path = write(tmp_path / "s", 1)
    with h5py.File(parts(path)[0]) as file:
        assert set(file) == {"resid_post", "rollout", "position", "token_id", "span"}
        for (site, layer), expected in bits(0).items():
            assert np.array_equal(file[f"{site}/{layer}"][()], expected)
        for name, expected in columns(0).items():
            assert np.array_equal(file[name][()], expected)
    head = json.loads(parts(path)[0].read_bytes()[:2048])
    assert head["rows"] == ROWS and head["size"] == parts(path)[0].stat().st_size


@pytest.mark.parametrize("tokens", ["every", "every:4", "mean", "first", "last", "before_answer"])
def test_the_selection_is_kept_and_another_one_is_refused(tmp_path, tokens):
    spec = StoreSpec(
        *[getattr(SPEC, name) for name in ("sites", "layers", "width", "dtype", "meta")], Selection(("think",), tokens)
    )
    write(tmp_path / "s", 0, spec)
    assert StoreReader(tmp_path / "s").spec == spec
    with pytest.raises(RunError, match="another selection"):
        check_spec(tmp_path / "s", SPEC)
