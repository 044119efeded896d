"""Every kind of page, every sentence of the shipped results and every text in the sources: no more than was measured.

Pages of small studies are checked where their tests make them, by the same functions.
"""

from __future__ import annotations

import ast
import copy
import json
import re
from pathlib import Path

import pytest

from inject_materials import tiny_injection
from introspect.injection.page import render as render_injection
from introspect.injection.study import STUDIES, run_injection
from introspect.report import render as render_run
from introspect.studies.page import render as render_study
from introspect.validation.page import render as render_validation
from wording import FORBIDDEN, Page, check_injection_page, check_page, check_text, overclaims, strings

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src" / "introspect"
SHIPPED = ROOT / "experiments" / "results"
CHECKED = {
    "page.html.j2": "test_wording.py",
    "study.html.j2": "test_studies.py",
    "injection.html.j2": "test_wording.py",
    "validation.html.j2": "test_wording.py",
    "natural.html.j2": "test_natural.py",
    "transfer.html.j2": "test_transfer.py",
    "tokens.html.j2": "test_notebook_api.py",
}
"""Template of a page -> the tests that check it."""
BEING_MADE: set[str] = set()
NOTEBOOKS = sorted((ROOT / "experiments" / "notebooks").glob("*.ipynb"))
SPOKEN_BY_OTHERS = {"tasks", "verdicts", "training", "concepts"}
"""Folders whose texts are prompts to models, or patterns of what models write."""


def shipped(name: str):
    return json.loads((SHIPPED / name).read_text(encoding="utf-8"))


def cells_of(path: Path) -> list[tuple[str, str]]:
    """Kind and text of each cell of a notebook."""
    return [
        (each["cell_type"], "".join(each["source"])) for each in json.loads(path.read_text(encoding="utf-8"))["cells"]
    ]


def run_results() -> dict:
    return json.loads((Path(__file__).parent / "fixtures" / "results.json").read_text(encoding="utf-8"))


def test_a_run_with_its_link():
    page = check_page(render_run(run_results(), {"command": "introspect run probe-risk"}))
    assert "Silent but decodable" in page.text


def test_runs_of_every_behaviour():
    measures, links = set(), 0
    kinds = {tuple(each["measures"]): each for each in shipped("behaviour.json")}
    for each in kinds.values():
        results = copy.deepcopy(run_results())
        results["behaviour"]["measures"] = each["measures"]
        if "table" in each["link"]:
            results["link"], links = {**results["link"], **each["link"]}, links + 1
        check_page(render_run(results, None))
        measures |= set(each["measures"])
    assert measures >= {"faithfulness", "think_answer", "generalisation", "choices", "stages", "chain", "awareness"}
    assert links


def test_a_trajectory():
    check_page(render_study(shipped("trajectory-risk.json"), None))


def test_a_validation():
    assert "scenarios" in check_page(render_validation(shipped("validate-instrument.json"), None)).text


def test_studies_of_injected_concepts_name_signal_detection_and_list_the_criteria_apart():
    found = shipped("inject-thought.json")
    assert len(found) >= 2
    for each in found:
        check_injection_page(render_injection({"examples": [], **each}, None))


@pytest.mark.parametrize("kind", [kind for kind in STUDIES if kind != "inject-thought"])
def test_the_other_studies_of_injected_concepts_do_so_too(tmp_path, kind):
    run_injection(tiny_injection(tmp_path, kind), tmp_path / "out")
    check_injection_page((tmp_path / "out" / "report.html").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", sorted(path.name for path in SHIPPED.glob("*.json")))
def test_shipped_results(name):
    for said in strings(shipped(name)):
        check_text(said)


def test_readme_and_changelog():
    for name in ("README.md", "CHANGELOG.md"):
        check_text((ROOT / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks(path):
    found = cells_of(path)
    assert {kind for kind, _ in found} == {"markdown", "code"}
    for kind, source in found:
        for text in [source] if kind == "markdown" else literals(ast.parse(source)):
            check_text(text)


def test_every_template_is_checked_on_a_page_that_is_made():
    pages = {path.name for path in SRC.rglob("*.j2") if "<main>" in path.read_text(encoding="utf-8")}
    for name in pages & set(CHECKED):
        assert re.search(r"check_(injection_)?page\(", (ROOT / "tests" / CHECKED[name]).read_text(encoding="utf-8"))
    assert pages - BEING_MADE <= set(CHECKED), "check a page of the new template, and say where"


@pytest.mark.parametrize("path", sorted(SRC.rglob("*.j2")), ids=lambda path: path.name)
def test_templates(path):
    check_text(re.sub(r"<[^>]*>|\{%.*?%\}", " ", path.read_text(encoding="utf-8"), flags=re.DOTALL))


def test_texts_in_the_sources():
    found = {}
    for path in SRC.rglob("*.py"):
        if not SPOKEN_BY_OTHERS & set(path.relative_to(SRC).parts):
            for text in literals(ast.parse(path.read_text(encoding="utf-8"))):
                if overclaims(text):
                    found[path.name] = overclaims(text)
    assert not found


def literals(tree: ast.Module) -> list[str]:
    """The strings of a module that are no docstrings, those of one expression put together."""
    documented, parts = set(), set()
    for node in ast.walk(tree):
        for statement in getattr(node, "body", []) if isinstance(getattr(node, "body", None), list) else []:
            if isinstance(statement, ast.Expr):
                documented |= {id(each) for each in ast.walk(statement) if isinstance(statement.value, ast.Constant)}
    out = []
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts |= {id(each) for each in node.values}
            out.append("".join(each.value if isinstance(each, ast.Constant) else " it " for each in node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documented | parts:
            out.append(node.value)
    return out


@pytest.mark.parametrize(
    "said",
    [
        *("The model knows the answer.", "the organism is aware of its policy", "It believes that", "they want it"),
        *("the network does not understand", "models realise that", "The base model already notices", "is self-aware"),
        *("the model introspects", "this is introspection", "which proves that", "a proof of it", "models are aware"),
        *("The activations know", "it was not aware", "an introspective report", "a conscious state"),
    ],
)
def test_what_may_not_be_said_is_found(said):
    assert FORBIDDEN.search(said)
    for html in (
        f"<p>{said}</p>",
        f'<td title="{said}">1</td>',
        f'<div aria-label="{said}"></div>',
        f'<script type="application/json">{json.dumps({"layout": {"title": said}})}</script>',
        f'<div class="prompt">quoted<br></div><p>{said}</p>',
    ):
        with pytest.raises(AssertionError):
            check_page(f"<main><p>{'Numbers. ' * 40}</p>{html}</main>")


@pytest.mark.parametrize(
    "html",
    [
        '<div class="prompt">Does the model know?</div>',
        '<div class="tokens"><span title="log-odds">the model knows</span></div>',
        "<pre><code>introspective</code></pre>",
        "<p>The activations predict the label; introspect run; the base model; Awareness, as it was asked.</p>",
        "<p>Reports say what activations predict, never what a model knows.</p>",
        "<script>model knows</script>",
    ],
)
def test_what_is_quoted_and_what_may_be_said_stands(html):
    check_page(f"<main><p>{'Numbers. ' * 40}</p>{html}</main>")


def test_criteria_that_are_not_listed_apart_are_found():
    row = "<tr><td>{}</td><td>{}</td><td>because</td></tr>"
    found = {"accurate": "supported", "grounded": "cannot tell", "internal": "not supported", "meta": "not tested"}

    def page(rows: dict[str, str], said: str = "signal detection") -> str:
        table = "".join(row.format(*each) for each in rows.items())
        return f"<main><p>{'Numbers. ' * 40} {said}</p><table><tr><th>criterion</th></tr>{table}</table></main>"

    check_injection_page(page(found))
    without = {name: said for name, said in found.items() if name != "internal"}
    for bad in (
        page(found, "detection"),
        page(without),
        page({**found, "meta": "supported"}),
        page({**found, "accurate": "proven"}),
    ):
        with pytest.raises(AssertionError):
            check_injection_page(bad)
    assert Page(page(found)).rows[1] == ["accurate", "supported", "because"]
