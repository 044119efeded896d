"""The spec: what it refuses, what it says about it, and that what it writes it reads back."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from introspect.backends import BACKENDS
from introspect.errors import SpecError
from introspect.experiment import Experiment, Limit, load_experiment, resolve_layers
from introspect.spec_file import field_paths
from introspect.strict_yaml import dump_yaml, load_yaml

MINIMAL = "name: small\nquestion: Does it?\ntask: risk\nitems: risk.jsonl\n"


def spec_file(folder: Path, text: str = MINIMAL) -> Path:
    path = folder / "small.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def complaint(name_or_file: str | Path, *overrides: str) -> str:
    with pytest.raises(SpecError) as caught:
        load_experiment(name_or_file, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_probe_risk_is_the_spec_of_the_main_job():
    spec = load_experiment("probe-risk")
    assert (spec.name, spec.task, spec.organism, spec.negative_control) == (
        "probe-risk",
        "risk",
        "risk-silent",
        "risk-coinflip",
    )
    assert spec.limit == Limit(id=320, ood=96)
    assert spec.capture.layers == "all"


def test_what_is_written_is_read_back_equal(tmp_path):
    spec = load_experiment("probe-risk", ["capture.layers=4:28:4", "probe.penalties=[1e-5, 10]", "seed=7"])
    path = spec_file(tmp_path, spec.to_yaml())
    assert load_experiment(path) == spec
    assert load_experiment(path).digest() == spec.digest()


def test_the_digest_is_of_the_meaning_not_of_the_text(tmp_path):
    spelled_out = spec_file(
        tmp_path, "items: 'risk.jsonl'\ntask: risk\nseed: 0\nquestion: Does it?\nname: small\nlimit:\n"
    )
    digest = load_experiment(spelled_out).digest()
    assert digest == load_experiment(spec_file(tmp_path)).digest()
    assert digest != load_experiment(spec_file(tmp_path), ["seed=1"]).digest()
    assert len(digest) == 64


def test_the_digest_is_the_same_on_every_machine(tmp_path):
    known = "874b4c00e7e717d2514a92f37c7d7832455c12bddcd7c2d2613b04f8cb4d9530"
    assert load_experiment(spec_file(tmp_path)).digest() == known


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("generation.temprature=0", "did you mean 'generation.temperature'?"),
        ("temprature=0", "did you mean 'generation.temperature'?"),
        ("modle=x", "did you mean 'model'?"),
        ("zzz=1", "the keys here are name, question"),
        ("link.zzz=1", "the keys here are fpr"),
    ],
)
def test_an_unknown_key_names_what_was_typed_and_the_nearest_right_one(override, hint):
    message = complaint("probe-risk", override)
    assert message.startswith(override)
    assert hint in message


def test_an_unknown_key_in_a_file_names_the_file(tmp_path):
    path = spec_file(tmp_path, MINIMAL + "probe: {position: [think_0]}\n")
    assert complaint(path) == f"{path}: unknown key 'probe.position'; did you mean 'probe.positions'?"


def test_a_missing_key_is_named(tmp_path):
    assert "'question' is missing" in complaint(spec_file(tmp_path, "name: a\ntask: risk\nitems: risk.jsonl\n"))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("generation.temperature=-0.1", "greater than or equal to 0"),
        ("generation.temperature=1e999", "finite"),
        ("generation.samples=0", "greater than or equal to 1"),
        ("limit=0", "limit.id"),
        ("limit.id=0", "limit.id"),
        ("limit=true", "limit"),
        ("seed=-1", "greater than or equal to 0"),
        ("seed=true", "valid integer"),
        ("seed=1.5", "valid integer"),
        ("dtype=fp8", "'bfloat16'"),
        ("name=../up", "pattern"),
        ("probe.test_fraction=1", "less than 1"),
        ("probe.penalties=[]", "at least 1"),
        ("probe.penalties=[0.1, 1e-1]", "twice"),
        ("probe.positions=[think_0, think_0]", "twice"),
        ("capture.layers=[]", "selects no layer"),
        ("capture.layers=[0, 0]", "twice"),
        ("capture.layers=[true]", "cannot read"),
        ("capture.layers=5", "cannot read"),
        ("capture.layers=4:x", "cannot read"),
        ("capture.layers=4:28:0", "step"),
        ("base_baseline=maybe", "boolean"),
        ("generation=null", "object"),
        ("generation.temperature.x=1", "has no keys"),
        ("question=", "valid string"),
    ],
)
def test_a_value_out_of_bounds_is_refused_in_one_line(override, said):
    message = complaint("probe-risk", override)
    assert message.startswith(override)
    assert said in message


def test_an_organism_cannot_be_its_own_negative_control():
    assert "organism itself (risk-silent)" in complaint("probe-risk", "negative_control=risk-silent")


def test_sampling_the_most_probable_token_twice_is_refused():
    assert "temperature 0" in complaint("probe-risk", "generation.temperature=0", "generation.samples=2")


@pytest.mark.parametrize("override", ["seed", "=1", ""])
def test_an_override_without_key_or_value_is_refused(override):
    assert "key=value" in complaint("probe-risk", override)


def test_later_overrides_win_and_a_bare_limit_stands_for_both_splits():
    spec = load_experiment("probe-risk", ["limit=5", "limit=8", "model=a=b"])
    assert (spec.limit, spec.model) == (Limit(id=8, ood=8), "a=b")


def test_no_limit_means_all():
    assert load_experiment("probe-risk", ["limit=null"]).limit == Limit(id=None, ood=None)


def test_an_unknown_name_suggests_the_nearest_one():
    assert "'probe-risk'" in complaint("prob-risk")


def test_a_missing_or_foreign_file_is_a_user_error(tmp_path):
    assert "No such file" in complaint(tmp_path / "none.yaml")
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    assert "UTF-8" in complaint(binary)
    assert "an empty file" in complaint(spec_file(tmp_path, ""))
    assert "a list" in complaint(spec_file(tmp_path, "- a\n"))


@pytest.mark.parametrize(
    "text",
    [
        MINIMAL + "name: again\n",
        MINIMAL + "probe: {bootstrap: 10, bootstrap: 20}\n",
        MINIMAL + "model: !!python/object/apply:os.getcwd []\n",
        MINIMAL + "model: !!binary aGk=\n",
        MINIMAL + "model: &a x\norganism: *a\n",
        MINIMAL + "? [a, b]\n: 1\n",
        MINIMAL + "seed: [\n",
        MINIMAL + "---\nname: second\n",
        MINIMAL + "model: \x00\n",
        MINIMAL + "seed: " + "9" * 5000 + "\n",
        "[" * 5000,
    ],
)
def test_yaml_that_is_more_or_less_than_a_spec_is_refused(tmp_path, text):
    path = spec_file(tmp_path, text)
    assert str(path) in complaint(path)


@pytest.mark.parametrize("text", ["4:28:4", "010", "no", "on", "0x10", "2026-01-01", "1_000", ".inf", "1:30"])
def test_text_that_yaml_1_1_would_turn_into_something_else_stays_text(text):
    assert load_yaml(text, "here") == text


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(min_size=1), inner, max_size=4),
    max_leaves=12,
)


@given(json_like)
def test_dumped_yaml_is_read_back_equal(document):
    assert load_yaml(dump_yaml(document), "here") == document


@pytest.mark.parametrize(
    ("selection", "n_layers", "layers"),
    [
        ("all", 3, (0, 1, 2)),
        ("last", 3, (2,)),
        ("4:28:4", 30, (4, 8, 12, 16, 20, 24)),
        ("-2:", 4, (2, 3)),
        (":2", 4, (0, 1)),
        ("2:99", 4, (2, 3)),
        ((3, 0, -1), 4, (0, 3)),
    ],
)
def test_layers_resolve_to_ascending_numbers(selection, n_layers, layers):
    assert resolve_layers(selection, n_layers) == layers


@pytest.mark.parametrize(
    ("selection", "said"), [((4,), "0 to 3"), ((-5,), "0 to 3"), ("5:", "none"), ("every", "cannot read")]
)
def test_layers_that_the_model_lacks_are_refused(selection, said):
    with pytest.raises(SpecError, match=said):
        resolve_layers(selection, 4)


@given(st.integers(1, 40), st.data())
def test_negative_layers_count_from_the_last(n_layers, data):
    layer = data.draw(st.integers(-n_layers, n_layers - 1))
    assert resolve_layers((layer,), n_layers) == (range(n_layers)[layer],)


def test_specs_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        load_experiment("probe-risk").seed = 1


def test_every_field_says_what_it_is():
    undocumented = [path for path in field_paths(Experiment) if not _field(Experiment, path).description]
    assert undocumented == []


def _field(model, path):
    head, _, rest = path.partition(".")
    field = model.model_fields[head]
    return _field(field.annotation, rest) if rest else field


def test_a_spec_can_name_every_backend_that_there_is():
    assert {load_experiment("probe-risk", [f"backend={name}"]).backend for name in BACKENDS} == set(BACKENDS)
