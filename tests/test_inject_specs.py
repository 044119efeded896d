"""Specs of every kind are digested, written and told apart by the same few lines."""

from __future__ import annotations

import hashlib
import json

import pytest

from introspect.errors import SpecError
from introspect.experiment import load_experiment
from introspect.injection.spec import is_injection, load_injection
from introspect.sections import Spec
from introspect.spec_file import read_spec, study_of
from introspect.studies.spec import is_study, load_study
from introspect.validation.spec import is_validation, load_validation

SHIPPED = {
    "probe-risk": load_experiment,
    "compare-methods": load_study,
    "trajectory-risk": load_study,
    "validate-instrument": load_validation,
    "inject-thought": load_injection,
}


class Small(Spec):
    """Two fields."""

    name: str
    depths: tuple[float, ...] = (0.25, 0.5)


class TestSpecs:
    def test_the_bytes_of_a_digest_are_those_that_earlier_versions_wrote(self):
        # Computed with the lines that stood in each kind of spec before they were shared.
        assert Small(name="é").digest() == "b4cf5e1eadab70fe7b8c2f10cf03353681e30bb2144a4a880e0ce915340f353a"
        assert Small(name="é").to_yaml() == "name: é\ndepths: [0.25, 0.5]\n"

    @pytest.mark.parametrize("name", SHIPPED)
    def test_each_kind_is_digested_over_what_decides_its_numbers_and_read_back_equal(self, name, tmp_path):
        spec = SHIPPED[name](name)
        kept = {**spec.model_dump(mode="json"), **({"workers": 1} if name == "validate-instrument" else {})}
        canonical = json.dumps(kept, sort_keys=True, separators=(",", ":"))
        assert spec.digest() == hashlib.sha256(canonical.encode()).hexdigest()
        assert isinstance(spec, Spec)
        (tmp_path / "again.yaml").write_text(spec.to_yaml())
        assert read_spec(type(spec), tmp_path / "again.yaml") == spec

    def test_workers_decide_no_number_of_a_validation(self):
        one, two = (load_validation("validate-instrument", [f"workers={n}"]) for n in (1, 2))
        assert one.digest() == two.digest() and one.to_yaml() != two.to_yaml()

    def test_a_file_says_what_it_is_a_study_of(self, tmp_path):
        for name, text in (("a", "study: inject-prefill\n"), ("b", "name: x\n"), ("c", "- 1\n"), ("d", "study: [\n")):
            (tmp_path / f"{name}.yaml").write_text(text)
        assert [study_of(tmp_path / f"{name}.yaml") for name in "abcde"] == ["inject-prefill", None, None, None, None]
        assert is_injection(tmp_path / "a.yaml") and not is_validation(tmp_path / "a.yaml")
        assert is_study(tmp_path / "a.yaml") and not is_study(tmp_path / "d.yaml")
        with pytest.raises(SpecError, match=r"d\.yaml"):
            load_study(tmp_path / "d.yaml")
