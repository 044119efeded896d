"""Specs of every kind are digested, written and told apart by the same few lines."""

from __future__ import annotations

import hashlib
import importlib
import json

import pytest

from introspect.cli import main
from introspect.cli.report import PAGE, PAGES
from introspect.errors import SpecError
from introspect.experiment import Experiment
from introspect.injection.spec import Injection
from introspect.natural.neurofeedback_spec import Neurofeedback
from introspect.sections import Spec
from introspect.spec_file import study_of
from introspect.spec_kinds import STUDIES, load_spec, spec_kind
from introspect.studies.spec import CompareMethods, Trajectory
from introspect.validation.spec import ValidateInstrument

ROOMS = ("validation", "injection", "natural", "studies")
SHIPPED = {
    "probe-risk": Experiment,
    "compare-methods": CompareMethods,
    "trajectory-risk": Trajectory,
    "validate-instrument": ValidateInstrument,
    "inject-thought": Injection,
    "inject-prefill": Injection,
    "neurofeedback": Neurofeedback,
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
        spec = load_spec(name)
        kept = {**spec.model_dump(mode="json"), **({"workers": 1} if name == "validate-instrument" else {})}
        canonical = json.dumps(kept, sort_keys=True, separators=(",", ":"))
        assert spec.digest() == hashlib.sha256(canonical.encode()).hexdigest()
        assert spec_kind(name) is type(spec) is SHIPPED[name]
        (tmp_path / "again.yaml").write_text(spec.to_yaml())
        assert load_spec(tmp_path / "again.yaml") == spec

    def test_workers_decide_no_number_of_a_validation(self):
        one, two = (load_spec("validate-instrument", [f"workers={n}"]) for n in (1, 2))
        assert one.digest() == two.digest() and one.to_yaml() != two.to_yaml()

    def test_a_file_says_what_it_is_a_study_of(self, tmp_path):
        for name, text in (("a", "study: inject-prefill\n"), ("b", "name: x\n"), ("c", "- 1\n"), ("d", "study: [\n")):
            (tmp_path / f"{name}.yaml").write_text(text)
        assert [study_of(tmp_path / f"{name}.yaml") for name in "abcde"] == ["inject-prefill", None, None, None, None]
        assert spec_kind(tmp_path / "a.yaml") is Injection
        assert [spec_kind(tmp_path / f"{name}.yaml") for name in "bcde"] == [Experiment] * 4
        with pytest.raises(SpecError, match=r"d\.yaml"):
            load_spec(tmp_path / "d.yaml")

    def test_a_study_of_no_kind_is_told_the_kinds_there_are(self, tmp_path, capsys):
        path = tmp_path / "mine.yaml"
        path.write_text("study: neurofeedbak\n")
        for verb in ("run", "inject"):
            with pytest.raises(SystemExit) as stop:
                main([verb, str(path), "--model", "x"])
            said = capsys.readouterr().err
            assert stop.value.code == 2 and said.count("\n") == 1
            assert f"{path}: study: 'neurofeedbak' is no kind of study; choose one of compare-methods, " in said
            assert all(kind in said for kind in STUDIES)

    def test_every_kind_of_folder_has_a_page_of_its_own(self):
        markers = [importlib.import_module(f"introspect.{room}.spec").MARKER for room in ROOMS]
        assert list(PAGES) == markers
        for module, draw in (*PAGES.values(), PAGE):
            assert callable(getattr(importlib.import_module(f"introspect.{module}"), draw))
