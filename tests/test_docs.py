"""The documentation: complete, commands typeable, paths and links there, numbers from files, examples running.

That the site is built without a warning is `make docs`. Nothing here needs mkdocs.
"""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from contextlib import suppress
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

import docs_cli
import docs_hooks
import docs_notebooks
import docs_numbers
from introspect.assets import list_experiments, list_studies
from introspect.cli.main import app
from introspect.experiment import load_experiment
from introspect.prepare import spec_items
from introspect.tasks.hint_kinds import find_kind
from introspect.thresholds import fewest_groups
from introspect.training.recipe import read_recipe
from wording import check_text

EXPERIMENTS = sorted({**list_experiments(), **list_studies()})
ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = {str(path.relative_to(DOCS)): path.read_text(encoding="utf-8") for path in sorted(DOCS.rglob("*.md"))}
SITE = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
SECTIONS = [
    *("What it asks", "How to run it", "What a result looks like"),
    *("How it can mislead", "Controls", "Sources"),
]
OF_EXPERIMENTS = sorted(name for name in PAGES if name.startswith("experiments/") and not name.endswith("index.md"))
OPTION = re.compile(r"(?<![\w`-])--[a-z][a-z-]*")
"""In text, an option of some verb."""
TREE = re.compile(r"`((?:src|data|experiments|probes|tests|docs|\.ci)/[^`\s{]*|[\w.]+\.(?:toml|txt|yml)|Makefile)`")
WRITTEN = {
    **PAGES,
    **{name: (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "CHANGELOG.md")},
    **{
        path.name: "\n\n".join(
            "".join(cell["source"])
            for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
            if cell["cell_type"] == "markdown"
        )
        for path in sorted((ROOT / "experiments" / "notebooks").glob("*.ipynb"))
    },
}
"""All that is written in Markdown: pages, the two files of the root, and what notebooks say between their cells."""
DENIED = re.compile(r"\bno `introspect ([\w-]+)|`introspect ([\w-]+)[^`]*` (?:is|does|has) not\b")
"""Says that there is no such verb."""
BY_NAME = re.compile(r"introspect\[|pip install[^`\n]* introspect\b")
"""Would fetch the package that has our name on PyPI, which is a stranger's."""
MADE_BY_RUNS = {"experiment.yaml", "manifest.json"}


@cache
def filled(name: str) -> str:
    return docs_numbers.fill(PAGES[name], name)


def blocks(text: str, language: str | None = None) -> list[str]:
    """The fenced blocks of a page, or those of one language."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    return [content for kind, content in found if language is None or kind == language]


def commands() -> list[tuple[str, str]]:
    """Page and command, of every page that can be filled in."""
    found = []
    for name in PAGES:
        with suppress(docs_numbers.PageError):
            text = filled(name).replace("\\\n", " ")
            lines = [re.split(r"\s#\s", line)[0].strip() for each in blocks(text) for line in each.splitlines()]
            found += [(name, line) for line in lines if line.startswith("introspect ")]
    return found


def nav(entries: list) -> list[str]:
    """Every page that the navigation names."""
    found = []
    for entry in entries:
        within = next(iter(entry.values())) if isinstance(entry, dict) else entry
        found += nav(within) if isinstance(within, list) else [within]
    return found


def test_every_page_is_in_the_navigation_and_every_entry_is_a_page():
    named = nav(SITE["nav"])
    assert len(named) == len(set(named))
    assert set(named) == {*PAGES, *docs_notebooks.pages(), "reference/cli/index.md"}


@pytest.mark.parametrize("name", PAGES)
def test_all_that_a_page_shows_is_there(name):
    assert "{{" not in filled(name) and "<%" not in filled(name)


def test_every_experiment_has_a_page():
    assert sorted(f"experiments/{name}.md" for name in EXPERIMENTS) == OF_EXPERIMENTS
    index = filled("experiments/index.md")
    for name in EXPERIMENTS:
        assert f"| [{name}]({name}.md) |" in index
        assert re.search(rf"`{name}`", PAGES["experiments/index.md"])


@pytest.mark.parametrize("name", OF_EXPERIMENTS)
def test_a_page_of_an_experiment_has_every_section_its_question_and_its_spec(name):
    title = Path(name).stem
    text = filled(name)
    assert text.startswith(f"# {title}\n")
    assert re.findall(r"^## (.*)$", text, flags=re.MULTILINE) == SECTIONS
    assert docs_numbers.question(title) in text
    assert any(title in line for line in blocks(text.split("## How to run it")[1].split("\n## ")[0])), "how to run it"
    assert yaml.safe_load(blocks(text, "yaml")[-1])["name"] == title


@pytest.mark.parametrize("name", OF_EXPERIMENTS)
def test_no_result_is_typed_by_hand(name):
    """Numbers with two decimals, and percentages, come from files: whatever is not filled in holds none."""
    measured = PAGES[name].split("## What a result looks like")[1].split("## Controls")[0]
    assert not re.findall(r"\.\d\d|\d%", re.sub(r"\{\{.*?\}\}", "", measured))
    if "measured(" not in PAGES[name]:
        assert re.search(r"no numbers here|\bREADME says\b", measured), "say that no result is committed"


COMMANDS = commands()


def typed(command: str) -> tuple[Any, str, list[str]]:
    """The command that a line begins with, what it is called, and what is left: options before the verb are taken off,
    and a bare `--ray` gets the value that it stands for.
    """
    chosen = typer.main.get_command(app)
    words = shlex.split(re.sub(r"--ray(?= -|$)", "--ray local", command))[1:]
    before = {option: each.is_flag for each in chosen.params for option in each.opts}
    while words and words[0] in before:
        del words[: 1 if before[words[0]] else 2]
    name = ""
    while hasattr(chosen, "commands") and words and words[0] in chosen.commands:
        name = words.pop(0)
        chosen = chosen.commands[name]
    return chosen, name, words


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_every_command_can_be_typed(page, command):
    chosen, verb, words = typed(command)
    assert not hasattr(chosen, "commands"), f"{page}: {command}: there is no such verb"
    chosen.make_context(verb, list(words))
    spec = words[0] if verb == "run" else ""
    if spec in EXPERIMENTS and "study" not in docs_numbers.specs()[spec]:
        changes = [after for word, after in pairwise(words) if word == "--set"]
        load_experiment(spec, [each for each in changes if "my-kind" not in each])


def test_no_example_asks_for_a_threshold_that_its_run_cannot_set():
    spec = load_experiment("probe-risk")
    groups = {item.group for item in spec_items(spec) if item.split == "id"}
    development = int((1 - spec.probe.test_fraction) * len(groups))
    examples = [command for _, command in COMMANDS] + (docs_cli.verbs()["link"].help or "").splitlines()
    asked = [float(found[1]) for each in examples if (found := re.search(r"probe-risk .*--fpr[ =](\S+)", each))]
    assert asked and all(fewest_groups(fpr) <= development for fpr in asked)


@pytest.mark.parametrize("name", WRITTEN)
def test_nothing_is_installed_by_a_name_that_is_not_ours(name):
    assert not BY_NAME.search(WRITTEN[name])


def test_nor_do_messages_say_so():
    found = [
        f"{path.name}: {line.strip()}"
        for path in sorted((ROOT / "src").rglob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if BY_NAME.search(line)
    ]
    assert found == []


@pytest.mark.parametrize("said", ['pip install "introspect[ray]"', "pip install introspect", "`introspect[explore]`"])
def test_what_would_install_a_stranger_s_package_is_found(said):
    assert BY_NAME.search(said)


def test_every_extra_that_is_named_is_one_and_every_one_is_explained():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = set(project["optional-dependencies"])
    named = {
        each
        for text in WRITTEN.values()
        for found in re.findall(r"'\.\[([^\]]+)\]'", text)
        for each in found.split(",")
    }
    assert named <= extras
    table = PAGES["quick-start.md"].split("| extra |")[1].split("\n\n")[0]
    assert set(re.findall(r"^\| `([\w-]+)` \|", table, flags=re.MULTILINE)) == extras - {"docs", "test", "check"}


@pytest.mark.parametrize("name", PAGES)
def test_tables_are_whole(name):
    """A row after a blank line begins a table of its own, so a line of dashes follows it."""
    lines = re.sub(r"^```.*?^```", "", filled(name), flags=re.MULTILINE | re.DOTALL).splitlines()
    for before, line, after in zip(["", *lines], lines, [*lines[1:], ""], strict=False):
        if line.startswith("|") and not before.startswith("|"):
            assert re.fullmatch(r"\|[-| :]+\|", after), line


def test_there_are_commands_on_the_pages():
    shown = {typed(command)[1] for _, command in COMMANDS}
    assert shown >= {"run", "inject", "train", "doctor", "steer", "explore", "score", "record", "link", "show", "list"}
    assert len(COMMANDS) > 60


@pytest.mark.parametrize("name", PAGES)
def test_verbs_options_and_targets_in_the_text_exist(name):
    found = docs_cli.verbs()
    everywhere = [*found.values(), typer.main.get_command(app)]
    options = {option for command in everywhere for each in command.params for option in each.opts} | {"--no-deps"}
    text = re.sub(r"^```.*?^```", "", filled(name), flags=re.MULTILINE | re.DOTALL)
    for code in re.findall(r"`([^`\n]+)`", text):
        if code.startswith("introspect "):
            assert typed(code)[1] or "VERB" in code, code
        if not code.startswith("pip "):
            assert set(OPTION.findall(code)) <= options, code
        if code.startswith("make "):
            assert f"\n{code.split()[1]}:" in (ROOT / "Makefile").read_text(encoding="utf-8"), code


@pytest.mark.parametrize("name", WRITTEN)
def test_no_verb_that_exists_is_said_to_be_missing(name):
    assert not denied(WRITTEN[name])


def denied(text: str) -> set[str]:
    """The verbs of a text that it says do not exist, although they do."""
    found = DENIED.findall(" ".join(text.split()))
    return {verb for each in found for verb in each} & set(docs_cli.verbs())


def test_a_verb_that_is_said_to_be_missing_is_found():
    assert (
        denied("There is no\n`introspect inject` yet.") == denied("`introspect inject X` does not exist") == {"inject"}
    )
    assert not denied("there is no `introspect conjure`; `introspect inject` asks") and len(WRITTEN) > len(PAGES) + 4


def test_commands_that_notebooks_name_can_be_typed():
    named = {
        code
        for name, text in WRITTEN.items()
        if name.endswith(".ipynb")
        for code in re.findall(r"`(introspect [^`\n]+)`", text)
    }
    assert "introspect inject inject-thought" in named
    for code in named:
        chosen, verb, words = typed(code)
        chosen.make_context(verb, list(words))


@pytest.mark.parametrize("name", PAGES)
def test_links_and_paths_lead_somewhere(name):
    made = docs_cli.pages()
    for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[name]):
        if target.startswith(("https://", "#")) or "{{" in target:
            continue
        path = (DOCS / name).parent / target.partition("#")[0]
        inside = str(path.resolve().relative_to(DOCS))
        assert path.exists() or inside in made or (docs_hooks.IMAGES / inside.removeprefix("images/")).is_file(), target
    for path in set(TREE.findall(PAGES[name])) - MADE_BY_RUNS:
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("name", PAGES)
def test_pictures_say_what_they_show(name):
    assert all(len(said) > 20 for said in re.findall(r"!\[([^\]]*)\]", PAGES[name]))


@pytest.mark.parametrize("name", PAGES)
def test_pages_say_no_more_than_was_measured(name):
    check_text(re.sub(r"^```.*?^```|`[^`\n]*`", "", filled(name), flags=re.MULTILINE | re.DOTALL))


def test_the_reference_has_every_verb_every_option_and_every_text():
    pages = docs_cli.pages()
    group = typer.main.get_command(app)
    assert set(pages) == {f"reference/cli/{name}.md" for name in ("index", *group.commands)}
    for name, command in docs_cli.verbs().items():
        page = pages[f"reference/cli/{name.split()[0]}.md"]
        assert f"# introspect {name}\n" in page
        for parameter in command.params:
            assert " ".join((parameter.help or "").split()[:4]).replace("<", "&lt;") in page
            assert all(f"`{option}`" in page for option in parameter.opts if option.startswith("--"))
    for parameter in group.params:
        assert all(f"`{option}`" in pages["reference/cli/index.md"] for option in parameter.opts)
    assert "One of `logistic`, `ridge`" in pages["reference/cli/probe.md"]
    assert "`runs/<name>`" in pages["reference/cli/run.md"]


def test_numbers_are_written_as_the_readme_writes_them():
    whole = {"value": 0.8812, "ci95": [-0.0049, 1.0], "n": 9, "method": "m"}
    assert docs_numbers.fill("{{ x | est }}".replace("x", json.dumps(whole))) == ".88 [.00, 1.00]"
    assert docs_numbers.share({**whole, "ci95": [0.851, 0.906]}) == "88% [85, 91]"
    assert docs_numbers.estimate({"value": -0.051, "ci95": [-0.109, 50.271]}) == "-.05 [-.11, 50.27]"
    missing = {"value": None, "reason": "too few"}
    assert docs_numbers.estimate(missing) == "not estimated (too few)"
    assert docs_numbers.share(missing, brief=True) == "not estimated"


def test_a_number_that_is_on_a_page_is_that_of_the_file():
    runs = json.loads((ROOT / "experiments" / "results" / "probe-risk.json").read_text(encoding="utf-8"))
    silent = next(each for each in runs if each["experiment"]["organism"] == "risk-silent")
    low, high = silent["probe"]["headline"]["auroc"]["ci95"]
    row = next(line for line in filled("experiments/probe-risk.md").splitlines() if line.startswith("| probe's AUROC"))
    assert f"| {silent['probe']['headline']['auroc']['value']:.2f} [{low:.2f}".replace("[0.", "[.") in row
    assert f"{high:.2f}]" in row


@pytest.mark.parametrize(
    "asked",
    [
        'measured("probe-risk.json")',
        'measured("probe-risk.json", "--out runs/probe-risk")',
        'measured("behaviour.json", "--out hints")',
        'measured("validate-instrument.json").nothing | est',
        'measured("validate-instrument.json").seed | est',
        'measured("nothing.json")',
        'readme("takes 1 s")',
        'cell(measured("natural-framing.json"), "By frame", "control", "under the frame")',
        'cell(measured("natural-confidence.json"), "Whether", "wording", "rank correlation")',
        'measured("natural-confidence.json") | said("It is shown")',
        'finding(measured("natural-confidence.json"), "nothing")',
        'spec("nothing")',
        'fields("introspect.experiment", "Nothing")',
    ],
)
def test_a_page_that_asks_for_what_is_not_there_is_refused(asked):
    with pytest.raises(docs_numbers.PageError, match=r"^a\.md: .*; correct the page, or what it shows"):
        docs_numbers.fill(f"{{{{ {asked} }}}}", "a.md")


@pytest.mark.parametrize(
    "html",
    [
        '<link rel="preconnect" href="https://fonts.gstatic.com" crossorigin>',
        '<link href="//cdn.example/x.css" rel=stylesheet>',
        '<script src="https://unpkg.com/iframe-worker/shim"></script>',
        "<img alt='' src=http://example.com/x.png>",
        "a { background: url(https://example.com/x.png) }",
        '@import "https://fonts.example/css";',
    ],
)
def test_what_would_be_fetched_from_elsewhere_is_found(html):
    assert docs_hooks.FETCHED.search(html)


@pytest.mark.parametrize(
    "html",
    [
        '<a href="https://example.com">a link</a>',
        '<link rel="stylesheet" href="../assets/main.css">',
        '<script src="assets/x.js"></script>',
        '<link rel="canonical" href="https://example.com/">',
        "a { mask: url('data:image/svg+xml;charset=utf-8,<svg xmlns=\"http://www.w3.org/2000/svg\"/>') }",
    ],
)
def test_links_and_what_comes_with_the_site_stand(html):
    assert not docs_hooks.FETCHED.search(html)


@pytest.mark.parametrize(
    ("html", "broken"),
    [
        ("<table><tr><td>|</td></tr></table><p>a | b</p>", False),
        ("<pre>| a |</pre>", False),
        ("<table></table>\n<p>| a | b |</p>", True),
        ("<p>\n| a | b |</p>", True),
    ],
)
def test_a_table_that_fell_apart_is_found_in_the_site(html, broken):
    assert bool(docs_hooks.FALLEN_APART.search(html)) is broken


def test_the_site_asks_for_no_font_and_opens_from_the_file_system():
    assert SITE["theme"]["font"] is False
    assert SITE["use_directory_urls"] is False
    assert not {"social", "privacy", "offline"} & {
        name for each in SITE["plugins"] for name in ([each] if isinstance(each, str) else each)
    }


@pytest.mark.parametrize("name", docs_notebooks.names())
def test_a_notebook_is_shown_with_what_its_code_gave(name):
    page, kept = docs_notebooks.page(name), docs_notebooks.kept(name)
    marks = re.findall(r'<div class="notebook-output" data-search-exclude data-cell="([\w-]+)"></div>', page)
    assert marks == list(kept["cells"])
    assert {output["kind"] for output in kept["cells"].values()} >= {"figure", "html"}
    html = docs_notebooks.with_outputs("".join(f'<div data-cell="{each}"></div>' for each in marks), name)
    assert html.startswith('<script src="../assets/plotly.min.js"></script>')
    assert html.count("Plotly.newPlot(") == sum(each["kind"] == "figure" for each in kept["cells"].values())
    assert not docs_hooks.FETCHED.search(html)
    assert len(html) < 400_000
    assert not re.search(r"/(?:home|root|work|tmp|Users)/", json.dumps(kept))
    for key, value in kept["parameters"].items():
        assert f"\n{key} = {json.dumps(value)}\n" in page.replace("```python", "")


def test_a_notebook_that_is_not_what_was_run_stops_the_build(tmp_path, monkeypatch):
    name = docs_notebooks.names()[0]
    original = (docs_notebooks.NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8")
    monkeypatch.setattr(docs_notebooks, "NOTEBOOKS", tmp_path)
    (tmp_path / f"{name}.ipynb").write_text(original.replace("Opens a finished run", "Opens a run"), encoding="utf-8")
    assert "Opens a run" in docs_notebooks.page(name)
    (tmp_path / f"{name}.ipynb").write_text(original.replace("permutations=20", "permutations=2"), encoding="utf-8")
    with pytest.raises(
        docs_notebooks.NotebookError, match=f"the code of {name} is not what was run for {name}.json; r"
    ):
        docs_notebooks.page(name)
    (tmp_path / "new.ipynb").write_text(original, encoding="utf-8")
    with pytest.raises(docs_notebooks.NotebookError, match="nothing is kept of what new shows; run it again: python"):
        docs_notebooks.kept("new")


def test_what_a_cell_shows_ends_no_script_and_loses_no_place():
    figure = {"kind": "figure", "data": [{"name": "</script><b>"}], "layout": {"height": 300}}
    html = docs_notebooks._html(figure, "one-cell")
    assert "</script><b>" not in html and html.count("</script>") == 1 and "height: 300px" in html
    assert docs_notebooks._html({"kind": "text", "text": "<Run a>"}, "a") == "<pre><code>&lt;Run a&gt;</code></pre>"
    name = docs_notebooks.names()[0]
    with pytest.raises(docs_notebooks.NotebookError, match="has 0 places on the page"):
        docs_notebooks.with_outputs("<p>none</p>", name)


def test_the_example_of_a_task_runs():
    (source,) = blocks(PAGES["guides/add-a-task.md"], "python")
    made: dict = {}
    exec(compile(source, "add-a-task.md", "exec"), made)  # noqa: S102
    task, items = made["TASK"], made["make_items"]()
    assert len({item.item_id for item in items}) == len(items) == 8
    (trial,) = task.trials(items[0], load_experiment("probe-risk"))
    dear = task.reading(items[0], trial, "Answer: dear")
    assert (dear.answer, dear.acted) == ("dear", True)
    assert task.reading(items[0], trial, "Answer: cheap").acted is False
    assert task.says("I take it because it is dearer.", items[0].options, {}) is True
    assert task.says("The price does not matter.", items[0].options, {}) is False
    assert task.says("Both are red.", items[0].options, {}) is None


def test_the_example_of_a_kind_of_hint_is_one(tmp_path):
    (source,) = blocks(PAGES["guides/add-a-hint-kind.md"], "yaml")
    (tmp_path / "my-kind.yaml").write_text(source, encoding="utf-8")
    kind = find_kind(str(tmp_path / "my-kind.yaml"))
    assert (kind.name, kind.placement, len(kind.wordings)) == ("postscript", "after", 2)
    assert kind.subject.patterns.mentions


def test_the_example_of_a_recipe_is_one(tmp_path):
    (source,) = blocks(PAGES["guides/add-an-organism.md"], "yaml")
    (tmp_path / "my-organism.yaml").write_text(source, encoding="utf-8")
    assert read_recipe(tmp_path / "my-organism.yaml").name == "sampling-mine"


def test_doctor_checks_are_those_that_doctor_makes():
    from introspect.doctor.check import MEANING

    assert docs_numbers.doctor_checks() == [(name, said) for name, said in MEANING.items() if said]


def test_specs_are_explained_field_by_field():
    page = filled("reference/specs.md")
    for name in ("max_new_tokens", "layers", "penalties", "fpr", "headline", "kinds", "points", "operator"):
        assert f"| `{name}` |" in page
    assert "| `temperature` | `1.0` | Divides the logits" in page


def test_the_readme_leads_here():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "`make docs`" in readme or "make docs " in readme
    assert "docs/" in readme.split("## The tree")[1]
