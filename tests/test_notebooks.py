"""The notebooks that ship: no outputs in them, and every cell runs, on a model that takes seconds."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import docs_notebooks
from introspect import run as running
from introspect.notebook import TokenView
from introspect.results import read_results
from scripted import run_scripted, save_roomy

FOLDER = Path(__file__).parents[1] / "experiments" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
QUICK = ("organism=null", "dtype=float32", "capture.layers=[0, 2]", "probe.permutations=5", "probe.bootstrap=100")


def number(*parts: object) -> int:
    return zlib.crc32("/".join(map(str, parts)).encode())


def execute(name: str, **parameters: Any) -> dict[str, Any]:
    """Run the code cells in order, as the site's outputs are made; gives what they left behind, and what was shown."""
    left, shown = docs_notebooks.execute(name, parameters)
    assert all(each.output["kind"] in ("figure", "html", "text") for each in shown.values())
    return left | {"shown": [each.value for each in shown.values()]}


@pytest.fixture(autouse=True)
def pandas_as_it_was():
    """Notebooks set how wide columns are shown."""
    with pd.option_context("display.max_colwidth", 50):
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_roomy(tmp_path_factory.mktemp("model") / "roomy")


@pytest.fixture
def scripted_runs(monkeypatch: pytest.MonkeyPatch, model: Path, tmp_path: Path):
    """Runs that a notebook makes are made by a model that follows a script, below a folder of the test."""
    monkeypatch.chdir(tmp_path)

    def says(job) -> str:
        own = sorted(job.item.options)[number(job.item.item_id) % len(job.item.options)]
        follows = number("follows", job.item.item_id, job.trial.condition) % 2
        answer = job.trial.facts.get("hint_option", own) if follows else own
        return f"<think>I compare the options.</think>Answer: {answer}"

    def made(spec, out, **options):
        (Path.cwd() / "runs").mkdir(exist_ok=True)
        return run_scripted(monkeypatch, model, spec, out, says, **options)

    monkeypatch.setattr(running, "run_experiment", made)
    return model


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_stripped_and_begins_with_its_parameters(path):
    document = json.loads(path.read_text(encoding="utf-8"))
    code = [cell for cell in document["cells"] if cell["cell_type"] == "code"]
    assert document["nbformat"] == 4 and len({cell["id"] for cell in document["cells"]}) == len(document["cells"])
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)
    assert code[0]["metadata"]["tags"] == ["parameters"] and "MODEL" in "".join(code[0]["source"])
    assert document["cells"][0]["cell_type"] == "markdown"


def test_there_are_three():
    assert [path.stem for path in NOTEBOOKS] == ["explore_layers", "injected_concept", "probe_hint_use"]


def test_explore_layers_makes_its_own_run_and_goes_on_with_it(scripted_runs):
    settings = ["limit={id: 120, ood: 0}", "negative_control=null", *QUICK]
    left = execute("explore_layers", MODEL=str(scripted_runs), SETTINGS=settings)
    assert left["RUN"] == Path("runs/notebook-probe-risk")
    results = read_results(left["RUN"] / "results.json")
    assert "headline" in results["probe"]
    assert len(left["rollouts"]) == results["experiment"]["n_rollouts"]
    assert any(isinstance(each, TokenView) for each in left["shown"])
    assert sorted(left["rows"]) == [0, 2]
    again = execute("explore_layers", RUN=left["RUN"], MODEL=str(scripted_runs), SETTINGS=[])
    assert again["run"].results == results


def test_probe_hint_use_lists_silent_switches(scripted_runs):
    settings = ["verdicts.judge=null", "limit={id: 60, ood: 0}", "hints.kinds=[metadata]", "hints.resamples=1", *QUICK]
    left = execute("probe_hint_use", MODEL=str(scripted_runs), SETTINGS=settings)
    silent = left["silent"]
    assert len(silent) > 20 and (silent["answer"] == silent["facts.hint_option"]).all()
    assert {"condition", "prior", "text whole chain"} <= set(left["rows"])
    assert any(isinstance(each, TokenView) for each in left["shown"])


def test_injected_concept_reads_logits_under_directions_and_their_controls(model):
    left = execute(
        "injected_concept",
        MODEL=str(model),
        LAYER=1,
        CONCEPTS=["sea", "bread"],
        BASELINE=["road", "stone", "paper"],
        STRENGTHS=[0.0, 4.0],
        N_RANDOM=3,
    )
    found = left["found"]
    assert len(found) == 2 * 2 * (1 + 3)
    assert found[found["strength"] == 0]["asked"].nunique() == 1
    assert found[found["strength"] == 4]["asked"].nunique() == 8
    assert len(left["figure"].data) == 4
