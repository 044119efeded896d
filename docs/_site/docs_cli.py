"""The command line's pages: made from the same objects that parse it, so that they cannot drift."""

from __future__ import annotations

import inspect
from enum import Enum
from functools import cache
from typing import Any

import typer

FOLDER = "reference/cli"


def _root() -> Any:
    from introspect.cli.main import app

    return typer.main.get_command(app)


@cache
def verbs() -> dict[str, Any]:
    """Every verb, and every verb of a verb, by what is typed after `introspect`."""
    found = {}
    for name, command in _root().commands.items():
        found[name] = command
        found |= {f"{name} {inner}": each for inner, each in getattr(command, "commands", {}).items()}
    return found


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _choices(parameter: Any) -> list[Enum]:
    kind = parameter.type_descriptor.annotation
    return list(kind) if isinstance(kind, type) and issubclass(kind, Enum) else []


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    if isinstance(parameter.show_default, str):
        return f"`{parameter.show_default}`"
    default = parameter.default
    if default is None or isinstance(default, bool) or callable(default) or default == []:
        return ""
    return f"`{getattr(default, 'value', default)}`"


def _rows(command: Any, kind: str) -> list[str]:
    rows = []
    for parameter in (each for each in command.params if each.param_type_name == kind):
        if kind == "option":
            name = ", ".join(f"`{each}`" for each in (*parameter.opts, *parameter.secondary_opts))
        else:
            name = f"`{parameter.metavar or parameter.name.upper()}`"
        choices = [f"`{each.value}`" for each in _choices(parameter)]
        among = f" One of {', '.join(choices)}." if choices else ""
        rows.append(f"| {name} | {_cell(parameter.help or '') + among} | {_default(parameter)} |")
    return rows


def section(name: str, command: Any, level: int) -> str:
    """One verb: what it does, examples, arguments and options."""
    text, _, examples = inspect.cleandoc(command.help or "").partition("\b")
    parts = [f"{'#' * level} introspect {name}", text.strip()]
    if examples.strip():
        parts.append(f"```\n{inspect.cleandoc(examples).strip()}\n```")
    for kind, title in (("argument", "argument"), ("option", "option")):
        rows = _rows(command, kind)
        if rows:
            parts.append("\n".join([f"| {title} | | default |", "|---|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


@cache
def pages() -> dict[str, str]:
    """Path in the site -> Markdown: an index, and a page a verb."""
    found = verbs()
    outer = {name: command for name, command in found.items() if " " not in name}
    rows = [f"| [`{name}`]({name}.md) | {_cell(each.get_short_help_str(limit=200))} |" for name, each in outer.items()]
    index = "\n".join(
        [
            "# Command line",
            "",
            "Exit codes: 0 done, 1 a bug (traceback), 2 a user's error (one line, with the remedy), 3 damaged data or",
            "a red line of `doctor`, 130 Ctrl-C, 143 SIGTERM. `introspect VERB --help` says the same as these pages,",
            "which are made from it.",
            "",
            "| verb | |",
            "|---|---|",
            *rows,
            "",
            "Before the verb:",
            "",
            "| option | | default |",
            "|---|---|---|",
            *_rows(_root(), "option"),
        ]
    )
    made = {f"{FOLDER}/index.md": f"{index}\n"}
    for name, command in outer.items():
        inner = [section(each, found[each], 2) for each in found if each.startswith(f"{name} ")]
        made[f"{FOLDER}/{name}.md"] = "\n".join([section(name, command, 1), *inner])
    return made
