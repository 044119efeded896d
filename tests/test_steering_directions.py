"""Directions: how they are made, their algebra, and folders and files that may be a stranger's."""

from __future__ import annotations

import json
import struct

import jsonschema
import numpy as np
import pytest
import torch
from gguf import GGUFReader, GGUFWriter
from safetensors.numpy import load_file
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from introspect.errors import EstimateError, ModelError, RunError, SpecError, StoreError
from introspect.models import ModelInfo
from introspect.probe_folders import list_probes, probe_folder
from introspect.probes.saved import SavedProbe, load_probe
from introspect.steering import (
    Direction,
    ModelMark,
    concept_vector,
    difference_of_means,
    from_gguf,
    from_probe,
    from_tensors,
    load_direction,
    paired_differences,
    read_direction,
    read_given,
    save_direction,
    to_gguf,
    to_tensors,
    write_given,
)
from introspect.steering.saved import CARD, TENSORS, card_schema

PLACE = {"site": "resid_post", "layer": 2}
MARK = ModelMark("tiny", "ab" * 32, 4, "keen", "cd" * 32)
RNG = np.random.default_rng(0)
A, B = (Direction(RNG.normal(size=6), **PLACE, made=name, model=MARK) for name in "ab")


# How they are made


def test_a_difference_of_means_is_one():
    one, other = RNG.normal(size=(5, 6)), RNG.normal(size=(3, 6))
    found = difference_of_means(one, other, **PLACE, made="risky minus safe", model=MARK)
    assert np.allclose(found.vector, one.mean(0) - other.mean(0), atol=1e-6)
    assert found.vector.dtype == np.float32 and found.counts == {"n_one": 5, "n_other": 3}
    assert "risky minus safe" in repr(found) and found.model == MARK


def test_paired_differences_find_what_pairs_have_in_common():
    axis = np.array([3, 0, 0, 4, 0, 0]) / 5
    base = RNG.normal(size=(40, 6)) * 10
    pairs = base + RNG.uniform(1, 3, size=(40, 1)) * axis + 0.01 * RNG.normal(size=(40, 6))
    found = paired_differences(pairs, base, **PLACE, made="pairs")
    assert found.norm == pytest.approx(1) and found.vector @ axis > 0.999
    turned = paired_differences(base, pairs, **PLACE, made="pairs")
    assert turned.vector @ axis < -0.999


def test_a_concept_vector_is_a_word_without_what_all_words_have():
    words, told = RNG.normal(size=(10, 6)), RNG.normal(size=6)
    found = concept_vector(told, words, **PLACE, word="dust")
    assert np.allclose(found.vector, told - words.mean(0), atol=1e-6)
    assert found.recipe == "concept" and found.made == "concept 'dust'" and found.counts["n_baseline"] == 10


@pytest.mark.parametrize(
    ("make", "one", "other", "said"),
    [
        (difference_of_means, np.ones((0, 6)), np.ones((2, 6)), "not one or more rows"),
        (difference_of_means, np.ones((2, 6)), np.ones((2, 5)), "not one or more rows"),
        (difference_of_means, np.full((2, 6), np.inf), np.ones((2, 6)), "NaN or infinity"),
        (paired_differences, np.ones((2, 6)), np.ones((3, 6)), "not two or more pairs"),
        (paired_differences, np.ones((3, 6)), np.ones((3, 6)), "are equal"),
    ],
)
def test_what_nothing_can_be_made_of_is_refused(make, one, other, said):
    with pytest.raises(EstimateError, match=said):
        make(one, other, **PLACE, made="x")


def test_a_probes_direction_is_in_activation_space_whatever_was_standardised():
    """A probe fitted to standardised activations, brought back as a saved probe is: its score rises along the direction
    of raw activations as the score of the standardised ones does.
    """
    rows = RNG.normal(size=(200, 6)) * [1, 10, 0.1, 1, 1, 1] + 5
    scaler = StandardScaler().fit(rows)
    labels = (scaler.transform(rows) @ [1, 1, 1, 0, 0, 0]) > 0
    fitted = LogisticRegression().fit(scaler.transform(rows), labels)
    weight = fitted.coef_[0] / scaler.scale_
    card = json.loads((probe_folder("risk-silent") / "probe.json").read_text())
    probe = SavedProbe(weight, float(fitted.intercept_[0] - weight @ scaler.mean_), card)
    direction = from_probe(probe)
    before = fitted.decision_function(scaler.transform(rows))
    after = fitted.decision_function(scaler.transform(rows + 0.5 * direction.vector))
    assert np.allclose(after - before, 0.5 * direction.norm**2, rtol=1e-4)
    assert np.allclose(probe.score(rows), before)


def test_a_shipped_probe_is_a_direction_of_its_model():
    name = sorted(list_probes())[0]
    probe, found = load_probe(probe_folder(name)), read_direction(name)
    assert np.allclose(found.vector, probe.weight, rtol=1e-6) and found.recipe == "probe"
    assert (found.site, found.layer) == (probe.site, probe.layer)
    assert found.model.weight_digest == probe.card["model"]["weight_digest"]
    assert found.model.adapter == probe.card["model"]["adapter"]
    with pytest.raises(SpecError, match="did you mean"):
        read_direction(name + "x")


# Algebra


def test_directions_add_and_scale_as_vectors_do():
    assert np.allclose((A + B).vector, A.vector + B.vector)
    assert np.allclose((A - B).vector, A.vector - B.vector)
    assert np.allclose((-A).vector, -A.vector)
    assert np.allclose((3 * A).vector, 3 * A.vector) and np.allclose((A * 3).vector, (A / (1 / 3)).vector)
    assert (A + B).recipe == "combined" and (A + B).made == "(a) + (b)" and (A + B).model == MARK
    assert A.normalised().norm == pytest.approx(1) and A.normalised(7).norm == pytest.approx(7)
    assert A.normalised().cosine(A) == pytest.approx(1) and (-A).cosine(A) == pytest.approx(-1)


def test_a_projection_and_what_is_left_make_the_whole():
    onto, rest = A.onto(B), A.out_of(B)
    assert np.allclose(onto.vector + rest.vector, A.vector, atol=1e-6)
    assert rest.cosine(B) == pytest.approx(0, abs=1e-6) and abs(onto.cosine(B)) == pytest.approx(1)
    assert onto.norm == pytest.approx(abs(A.cosine(B)) * A.norm)


def test_directions_do_not_change_under_ones_hands():
    given = np.ones(6)
    found = Direction(given, **PLACE)
    given[:] = 2
    assert found.vector.tolist() == [1] * 6
    with pytest.raises(ValueError, match="read-only"):
        found.vector[0] = 3


@pytest.mark.parametrize(
    ("other", "error", "said"),
    [
        (Direction(np.ones(6), "resid_post", 3), SpecError, "different places"),
        (Direction(np.ones(6), "mlp_out", 2), SpecError, "different places"),
        (Direction(np.ones(5), **PLACE), SpecError, "different places"),
        (Direction(np.ones(6), **PLACE, model=ModelMark("other", "ef" * 32, 4)), SpecError, "tiny and other"),
    ],
)
def test_directions_of_different_places_do_not_go_together(other, error, said):
    for combine in (Direction.__add__, Direction.__sub__, Direction.onto, Direction.out_of, Direction.cosine):
        with pytest.raises(error, match=said):
            combine(A, other)


def test_of_two_adapters_the_model_is_what_both_share():
    other = Direction(np.ones(6), **PLACE, model=ModelMark("tiny", "ab" * 32, 4))
    assert (A + other).model == ModelMark("tiny", "ab" * 32, 4)
    assert (A + Direction(np.ones(6), **PLACE)).model is None


def test_no_direction_is_refused():
    for vector in (np.ones((2, 3)), [], [1, np.nan], 3.0):
        with pytest.raises(SpecError, match="list of finite numbers"):
            Direction(vector, **PLACE)
    zero = Direction(np.zeros(6), **PLACE)
    for use in (zero.normalised, lambda: A.cosine(zero), lambda: A.out_of(zero)):
        with pytest.raises(EstimateError, match="points nowhere"):
            use()


def test_strength_is_reported_relative_to_a_typical_activation():
    rows = np.vstack([np.eye(6)[0] * 1000, np.eye(6) * 4])
    assert A.relative_strength(2.0, rows) == pytest.approx(2 * A.norm / 4)


def test_a_direction_fits_its_own_model_only():
    facts = {"name": "/models/tiny", "kind": "local", "revision": None, "attention": "sdpa", "device": "cpu"}
    info = ModelInfo(
        **facts, weight_digest="ab" * 32, adapter=None, adapter_digest=None, dtype="float32", n_layers=4, width=6
    )
    A.check_fits(info)
    assert ModelMark.of(info).name == "tiny"
    changes = {"weight_digest": "ef" * 32, "width": 7, "n_layers": 2}
    for key, value in changes.items():
        with pytest.raises(ModelError, match="give a direction of this model"):
            A.check_fits(ModelInfo(**{**vars(info), key: value}))


# Folders


@pytest.fixture
def folder(tmp_path):
    save_direction(tmp_path / "d", A)
    return tmp_path / "d"


def test_what_is_saved_comes_back_bit_for_bit(folder):
    jsonschema.Draft202012Validator.check_schema(card_schema())
    found = load_direction(folder)
    assert found.vector.tobytes() == A.vector.tobytes()
    assert [getattr(found, k) for k in ("site", "layer", "recipe", "made", "counts", "model")] == [
        getattr(A, k) for k in ("site", "layer", "recipe", "made", "counts", "model")
    ]
    assert read_direction(folder).vector.tobytes() == A.vector.tobytes()
    bare = save_direction(folder.parent / "bare", Direction(np.ones(3), "mlp_out", 0))
    assert bare.model is None and bare.site == "mlp_out"
    with pytest.raises(RunError, match="not empty"):
        save_direction(folder, A)


def edit(folder, **changes):
    card = json.loads((folder / CARD).read_text())
    for path, value in changes.items():
        *above, last = path.split("__")
        at = card
        for key in above:
            at = at[key]
        at[last] = value
    (folder / CARD).write_text(json.dumps(card))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": 2}, "format"),
        ({"extra": 1}, "extra"),
        ({"recipe": "magic"}, "recipe"),
        ({"made": "two\nlines"}, "made"),
        ({"place__layer": 9}, "none of its model's"),
        ({"place__site": "logits"}, "place.site"),
        ({"norm": 3.0}, "norm is 3"),
        ({"model__weight_digest": "no"}, "weight_digest"),
        ({"tensors__width": 7}, "other tensors"),
        ({"tensors__sha256": "0" * 64}, "not the file that its card"),
        ({"counts": {"n": -1}}, "counts"),
        ({"made": "x" * 600}, "made"),
    ],
)
def test_a_card_that_does_not_fit_is_refused_in_a_line(folder, changes, said):
    edit(folder, **changes)
    with pytest.raises(StoreError, match=said) as error:
        load_direction(folder)
    assert "\n" not in str(error.value) and str(folder) in str(error.value)


def test_other_files_are_refused_in_a_line(folder, tmp_path):
    content = (folder / TENSORS).read_bytes()
    for damaged in (b"", content[:-1], content + b"x", bytes([*content[:-1], content[-1] ^ 1])):
        (folder / TENSORS).write_bytes(damaged)
        with pytest.raises(StoreError, match=r"direction\.safetensors"):
            load_direction(folder)
    (folder / TENSORS).unlink()
    (tmp_path / "elsewhere").write_bytes(content)
    (folder / TENSORS).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="cannot read"):
        load_direction(folder)
    (folder / CARD).write_text('{"format": 1e999}')
    with pytest.raises(StoreError, match=r"direction\.json"):
        load_direction(folder)
    with pytest.raises(StoreError, match=r"direction\.json"):
        read_direction(tmp_path)


def test_a_direction_that_could_not_be_read_back_is_not_written(tmp_path):
    with pytest.raises(StoreError, match="above 1e"):
        save_direction(tmp_path / "d", Direction(np.full(3, 1e35), "resid_post", 1))
    assert not (tmp_path / "d").exists()


# Other tools' files


def test_a_control_vector_comes_back_and_is_what_the_gguf_package_reads(tmp_path):
    path = tmp_path / "v.gguf"
    other = Direction(RNG.normal(size=6), "resid_post", 1)
    to_gguf(path, [A, other], hint="llama")
    read = GGUFReader(path)
    assert {tensor.name: tensor.data.tolist() for tensor in read.tensors} == {
        "direction.1": other.vector.tolist(),
        "direction.2": A.vector.tolist(),
    }
    assert read.fields["general.architecture"].contents() == "controlvector"
    assert read.fields["controlvector.layer_count"].contents() == 2
    assert read.fields["controlvector.model_hint"].contents() == "llama"
    found = from_gguf(path, model=MARK)
    assert [(each.site, each.layer) for each in found] == [("resid_post", 1), ("resid_post", 2)]
    assert found[1].vector.tobytes() == A.vector.tobytes() and found[1].model == MARK


def test_a_control_vector_of_the_gguf_package_is_read(tmp_path):
    writer = GGUFWriter(tmp_path / "v.gguf", "controlvector")
    writer.add_array("some.words", ["a", "b"])
    writer.add_array("some.numbers", [1, 2, 3])
    writer.add_float32("some.float", 0.5)
    writer.add_bool("some.flag", True)
    writer.add_tensor("direction.7", np.arange(4, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    (found,) = from_gguf(tmp_path / "v.gguf")
    assert found.layer == 7 and found.vector.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "there is none"),
        ([Direction(np.ones(6), "resid_post", 0)], "layer 0"),
        ([Direction(np.ones(6), "mlp_out", 2)], "mlp_out"),
        ([A, B], "one direction a layer"),
        ([A, Direction(np.ones(5), "resid_post", 1)], "all of one width"),
    ],
)
def test_what_no_control_vector_holds_is_refused(tmp_path, given, said):
    with pytest.raises(SpecError, match=said):
        to_gguf(tmp_path / "v.gguf", given)
    assert not list(tmp_path.iterdir())


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def gguf(tensors: bytes, n: int = 1, *, entries: bytes = b"", n_entries: int = 0, data: bytes = b"") -> bytes:
    kind = text("general.architecture") + struct.pack("<I", 8) + text("controlvector")
    head = b"GGUF" + struct.pack("<IQQ", 3, n, n_entries + 1) + kind + entries + tensors
    return head + bytes(-len(head) % 32) + data


def tensor(name: str, width: int, *, dims: int = 1, kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack("<I", dims) + struct.pack("<Q", width) + struct.pack("<IQ", kind, offset)


GOOD = gguf(tensor("direction.1", 2), data=struct.pack("<2f", 1, 2))
ENDLESS = text("x") + struct.pack("<IIQ", 9, 0, 1 << 60)
"""Metadata: an array of 2^60 bytes. The gguf package walks through all of them."""


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "ends before"),
        (b"GGML" + GOOD[4:], "no GGUF file"),
        (GOOD[:-1], "ends before"),
        (GOOD.replace(b"controlvector", b"controlvictor"), "architecture"),
        (gguf(tensor("direction.1", 2), entries=ENDLESS, n_entries=1), "ends before"),
        (gguf(b"", 0), "0 tensors"),
        (gguf(b"", 1 << 60), "tensors and"),
        (gguf(tensor("direction.1", 1 << 62)), "ends before"),
        (gguf(tensor("direction.1", 2, offset=1 << 63)), "ends before"),
        (gguf(tensor("direction.1", 2, kind=1), data=bytes(8)), "not of float32"),
        (gguf(tensor("direction.x", 2), data=bytes(8)), "direction.N"),
        (gguf(tensor("direction.1", 2, dims=2), data=bytes(8)), "direction.N"),
        (gguf(tensor("direction.1", 2) * 2, 2, data=bytes(8)), "direction.N"),
        (gguf(tensor("direction.1", 2) + tensor("direction.2", 1), 2, data=bytes(8)), "different widths"),
        (gguf(tensor("direction.1", 0), data=bytes(8)), "0 numbers"),
        (gguf(tensor("direction.1", 2), data=struct.pack("<2f", 1, float("nan"))), "not finite"),
        (gguf(b"\xff" * 40), "ends before"),
    ],
)
def test_a_file_that_is_no_control_vector_is_refused_in_a_line(tmp_path, content, said):
    path = tmp_path / "v.gguf"
    path.write_bytes(GOOD)
    assert from_gguf(path)[0].vector.tolist() == [1, 2]
    path.write_bytes(content)
    with pytest.raises(StoreError, match=said) as error:
        from_gguf(path)
    assert "\n" not in str(error.value) and "v.gguf" in str(error.value)


def test_plain_tensors_go_out_and_come_in(tmp_path):
    path = tmp_path / "t.safetensors"
    to_tensors(path, {"a": A, "b": B})
    assert load_file(path)["a"].tobytes() == A.vector.tobytes()
    assert from_tensors(path, **PLACE, name="b", model=MARK).vector.tobytes() == B.vector.tobytes()
    save_file({"only": torch.tensor([[1.5, 2.0, -1.0]], dtype=torch.bfloat16)}, path)
    found = from_tensors(path, site="mlp_out", layer=5)
    assert found.vector.tolist() == [1.5, 2, -1] and (found.site, found.layer) == ("mlp_out", 5)
    with pytest.raises(SpecError, match="no direction"):
        to_tensors(path, {})


@pytest.mark.parametrize(
    ("tensors", "name", "error", "said"),
    [
        ({"a": torch.ones(3), "b": torch.ones(3)}, None, SpecError, "name one of them"),
        ({"a": torch.ones(3)}, "c", SpecError, "holds a: name one"),
        ({"a": torch.ones(3, dtype=torch.int32)}, None, StoreError, "not numbers"),
        ({"a": torch.ones(2, 3)}, None, StoreError, "not numbers"),
        ({"a": torch.tensor([1.0, float("inf")])}, None, StoreError, "not finite"),
        ({"a": torch.ones(0)}, None, StoreError, "0 numbers"),
    ],
)
def test_a_tensor_that_is_no_direction_is_refused(tmp_path, tensors, name, error, said):
    path = tmp_path / "t.safetensors"
    save_file(tensors, path)
    with pytest.raises(error, match=said):
        from_tensors(path, **PLACE, name=name)


def test_a_file_of_anything_else_is_no_tensor_file(tmp_path):
    path = tmp_path / "t.safetensors"
    for content in (b"", b"\xff" * 64, struct.pack("<Q", 1 << 60) + b"{}"):
        path.write_bytes(content)
        with pytest.raises(StoreError, match="no safetensors file"):
            from_tensors(path, **PLACE)
    with pytest.raises(StoreError, match="No such file"):
        from_tensors(tmp_path / "absent", **PLACE)


# By a path


def test_a_direction_by_a_path_is_what_its_ending_says(tmp_path):
    gguf, tensors = tmp_path / "v.gguf", tmp_path / "t.safetensors"
    one, other = Direction([1.0, 2.0], "resid_post", 3), Direction([3.0, 4.0], "resid_post", 5)
    to_gguf(gguf, [one, other])
    assert read_given(gguf, layer=5).vector.tolist() == [3, 4]
    to_gguf(gguf, [one])
    assert read_given(gguf).layer == 3
    write_given(tensors, Direction([5.0, 6.0], "mlp_out", 0))
    assert (read_given(tensors).site, read_given(tensors, layer=0).layer) == ("mlp_out", 0)
    save_file({"a": torch.ones(2), "b": torch.zeros(2) + 2}, tensors)
    found = read_given(tensors, layer=7, site="attn_out", tensor="b")
    assert (found.site, found.layer, found.vector.tolist()) == ("attn_out", 7, [2, 2])
    assert read_given(tensors, layer=7, tensor="a").site == "resid_post"
    write_given(tmp_path / "folder", one)
    assert read_given(tmp_path / "folder").vector.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("absent.gguf", {}, "there is no file"),
        ("absent.safetensors", {"layer": 1}, "there is no file"),
        ("v.gguf", {}, "holds directions of layers 3, 5: name one with --layer"),
        ("v.gguf", {"layer": 4}, "holds directions of layers 3, 5"),
        ("v.gguf", {"layer": 3, "tensor": "a"}, "leave --site and --tensor out"),
        ("v.gguf", {"layer": -1}, "counted from 0"),
        ("ours.safetensors", {"layer": 4}, "is of mlp_out, layer 2: leave"),
        ("ours.safetensors", {"site": "resid_post"}, "is of mlp_out, layer 2: leave"),
        ("theirs.safetensors", {"tensor": "a"}, "does not say which layer it is of"),
        ("theirs.safetensors", {"layer": 1}, "holds a, b: name one"),
        ("theirs.safetensors", {"tensor": "c"}, "holds a, b: name one"),
        ("folder", {"layer": 3}, "has a layer of its own"),
        ("note.txt", {}, "is no direction: give a folder"),
    ],
)
def test_a_direction_that_is_not_said_enough_of_is_refused(tmp_path, name, options, said):
    one, other = Direction([1.0, 2.0], "resid_post", 3), Direction([3.0, 4.0], "resid_post", 5)
    to_gguf(tmp_path / "v.gguf", [one, other])
    write_given(tmp_path / "ours.safetensors", Direction([5.0, 6.0], "mlp_out", 2))
    save_file({"a": torch.ones(2), "b": torch.ones(2)}, tmp_path / "theirs.safetensors")
    write_given(tmp_path / "folder", one)
    (tmp_path / "note.txt").write_text("a note")
    with pytest.raises(SpecError, match=said):
        read_given(tmp_path / name, **options)


def test_what_a_stranger_says_of_a_place_is_taken_only_as_a_place(tmp_path):
    path = tmp_path / "t.safetensors"
    for said in ("resid_post -1", "somewhere 3", "resid_post 3 4", "resid_post 99999"):
        save_file({"a": torch.ones(2)}, path, {"a": said})
        with pytest.raises(SpecError, match="does not say which layer"):
            read_given(path)


def test_a_direction_is_written_to_a_new_place_only(tmp_path):
    one = Direction([1.0, 2.0], "resid_post", 3)
    for name in ("v.gguf", "t.safetensors", "folder"):
        write_given(tmp_path / name, one)
        with pytest.raises(RunError, match="is there"):
            write_given(tmp_path / name, one)
