"""Numbers in the pages: filled in from committed files when the site is built, so that they cannot drift.

A page is a Jinja template before it is Markdown: `{{ measured("which-cue.json").counts.n_used }}`.
A file, entry, key or phrase that is not there stops the build, with its name.
"""

from __future__ import annotations

import ast
import importlib
import json
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import SandboxedEnvironment
from pydantic import BaseModel

ROOT = Path(__file__).parents[2]
EXPERIMENTS = ROOT / "experiments"


class PageError(ValueError):
    """A page asks for what is not there."""


@cache
def _content(name: str) -> Any:
    return json.loads((EXPERIMENTS / "results" / name).read_text(encoding="utf-8"))


def commands(entry: Mapping[str, Any]) -> list[str]:
    """The commands that made a result."""
    found = entry["commands"] if "commands" in entry else entry["command"]
    return [found] if isinstance(found, str) else list(found)


def measured(name: str, part: str = "", organism: str = "") -> Any:
    """A committed result: the file, or of a file with several the one entry whose commands hold `part`, of `organism`
    where they were run for several.
    """
    found = _content(name)
    if isinstance(found, dict):
        return found
    fitting = [
        entry
        for entry in found
        if any(f"{part} " in f"{line} " for line in commands(entry))
        and organism in ("", entry.get("experiment", {}).get("organism"))
    ]
    if not part or len(fitting) != 1:
        raise PageError(f"{name} has {len(fitting)} entries whose command holds {part!r}, not one")
    return fitting[0]


def _number(value: float) -> str:
    """As the README writes numbers: two decimals, and none before the point where there is a zero."""
    text = f"{value + 0:.2f}".replace("-0.00", "0.00")
    return text.replace("0.", ".", 1) if abs(value) < 1 else text


def _estimate(found: Any, shown: Callable[[float], str], brief: bool) -> str:
    if not isinstance(found, Mapping) or "value" not in found:
        raise PageError(f"no estimate: {str(found)[:200]}")
    if found["value"] is None:
        return "not estimated" if brief else f"not estimated ({found['reason']})"
    low, high = found["ci95"]
    return f"{shown(found['value'])} [{shown(low).removesuffix('%')}, {shown(high).removesuffix('%')}]"


def estimate(found: Any, brief: bool = False) -> str:
    """`.88 [.85, .91]`, or that it was not estimated and, unless `brief`, why."""
    return _estimate(found, _number, brief)


def share(found: Any, brief: bool = False) -> str:
    """`88% [85, 91]`, or that it was not estimated and, unless `brief`, why."""
    return _estimate(found, lambda value: f"{100 * value:.0f}%", brief)


def cell(found: Mapping[str, Any], table: str, row: str, column: str) -> Any:
    """The estimate in a table of a study, by the labels that readers see. Titles and rows may be cut short."""
    tables = [each for each in found["tables"] if each["title"].startswith(table)]
    rows = [each for each in tables[0]["rows"] if each["label"].startswith(row)] if len(tables) == 1 else []
    labels = [each["label"] for each in tables[0]["columns"]] if rows else []
    if len(rows) != 1 or column not in labels:
        raise PageError(f"no one cell {table!r}, {row!r}, {column!r}: {len(tables)} tables, {len(rows)} rows, {labels}")
    return rows[0]["cells"][labels.index(column)]


def said(found: Mapping[str, Any], *beginnings: str) -> str:
    """Sentences of a result, word for word, as a quotation: all, or of each beginning the one that begins so."""
    chosen = []
    for beginning in beginnings or ("",):
        fitting = [sentence for sentence in found["sentences"] if sentence.startswith(beginning)]
        if not fitting or (beginning and len(fitting) > 1):
            have = [sentence[:30] for sentence in found["sentences"]]
            raise PageError(f"{len(fitting)} sentences begin with {beginning!r}, of {have}")
        chosen += fitting
    return "\n>\n".join(f"> {sentence}" for sentence in chosen)


def warned(found: Mapping[str, Any]) -> str:
    """The warnings of a result, word for word, as a list."""
    return "\n".join(f"- {warning}" for warning in found["warnings"])


def made_by(found: Mapping[str, Any]) -> str:
    """The commands that made a result, to be typed."""
    return "\n".join(["```", *commands(found), "```"])


def readme(phrase: str) -> str:
    """A phrase of the README, checked to stand there: what was measured by hand is stated there, once."""
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    if phrase not in text:
        raise PageError(f"the README does not say {phrase!r}")
    return phrase


def unmeasured() -> str:
    """Said of results that were committed without how long they took."""
    return "How long it took was not kept with the result; `--dry-run` estimates it on your machine."


def readme_block(language: str) -> str:
    """The README's one block of that language, which its own tests run."""
    blocks = (ROOT / "README.md").read_text(encoding="utf-8").split("```")[1::2]
    found = [block.partition("\n")[2].rstrip() for block in blocks if block.partition("\n")[0] == language]
    if len(found) != 1:
        raise PageError(f"the README has {len(found)} blocks of {language}, not one")
    return found[0]


def finding(found: Mapping[str, Any], criterion: str) -> str:
    """A verdict of a study on one criterion, with its reason."""
    fitting = [each for each in found["verdict"] if each["criterion"] == criterion]
    if len(fitting) != 1:
        raise PageError(f"no criterion {criterion!r}: choose one of {[each['criterion'] for each in found['verdict']]}")
    return f"{fitting[0]['finding']} ({fitting[0]['reason']})"


@cache
def specs() -> dict[str, dict[str, Any]]:
    """Every shipped experiment and study by name, in alphabetical order."""
    return {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(EXPERIMENTS.glob("*.yaml"))}


def spec(name: str) -> str:
    """A shipped spec as it stands in its file."""
    return f"```yaml\n{(EXPERIMENTS / f'{name}.yaml').read_text(encoding='utf-8').rstrip()}\n```"


def question(name: str) -> str:
    """What a shipped experiment asks."""
    return str(specs()[name]["question"])


def fields(module: str, section: str) -> str:
    """The fields of a section of a spec, from the type that reads it: name, default and meaning."""
    sys.path[:0] = [str(ROOT / "src")]
    kind = getattr(importlib.import_module(module), section)
    rows = ["| field | default | |", "|---|---|---|"]
    for name, each in kind.model_fields.items():
        if not each.description:
            raise PageError(f"{section}.{name} has no docstring")
        default = "required" if each.is_required() else _default(each.get_default(call_default_factory=True))
        meaning = " ".join(each.description.split()).replace("|", "\\|")
        rows.append(f"| `{each.alias or name}` | {default} | {meaning} |")
    return "\n".join(rows)


def _default(value: Any) -> str:
    if isinstance(value, BaseModel):
        return "its own"
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def doctor_checks() -> list[tuple[str, str]]:
    """The checks of `introspect doctor`, and what a failure of each would do to results: from its source, unrun."""
    source = (ROOT / "src" / "introspect" / "doctor" / "check.py").read_text(encoding="utf-8")
    for statement in ast.parse(source).body:
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == "MEANING" for target in targets):
            return [each for each in ast.literal_eval(statement.value).items() if each[1]]  # type: ignore[attr-defined]
    raise PageError("doctor/check.py has no MEANING")


class _Pages(SandboxedEnvironment):
    def getattr(self, obj: Any, attribute: str) -> Any:
        """Keys of results come before methods of a dict, such as `items`."""
        return obj[attribute] if isinstance(obj, dict) and attribute in obj else super().getattr(obj, attribute)


def fill(markdown: str, page: str = "page") -> str:
    """A page with everything filled in.

    Raises:
        PageError: it asks for what is not there. Names the page.
    """
    pages = _Pages(
        undefined=StrictUndefined,
        block_start_string="<%",
        block_end_string="%>",
        comment_start_string="<#",
        comment_end_string="#>",
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    pages.filters.update(est=estimate, num=_number, share=share, said=said, warned=warned, made_by=made_by)
    pages.globals.update(
        measured=measured,
        cell=cell,
        finding=finding,
        readme=readme,
        readme_block=readme_block,
        unmeasured=unmeasured,
        specs=specs,
        spec=spec,
        question=question,
        doctor_checks=doctor_checks,
        fields=fields,
    )
    try:
        return pages.from_string(markdown).render()
    except (PageError, TemplateError, LookupError, OSError, AttributeError, TypeError, ValueError) as error:
        raise PageError(f"{page}: {error}; correct the page, or what it shows") from error
