"""`introspect list`: what there is to run."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from .console import print_columns, print_json


class Kind(StrEnum):
    """What can be listed."""

    experiments = "experiments"
    tasks = "tasks"
    models = "models"
    organisms = "organisms"
    recipes = "recipes"
    probes = "probes"
    concepts = "concepts"


def list_(
    kind: Annotated[Kind | None, typer.Argument(help="Only these; without it, everything.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document: kind, name and description.")
    ] = False,
) -> None:
    """List what there is to run, train, apply and inject.

    Organisms are trained and ready to use; recipes are what `introspect train` makes organisms from. Probes are what
    `introspect probe apply` takes; concepts are categories of words.

    \b
    introspect list
    introspect list organisms
    introspect list --json
    """
    found = {each.value: catalogue(each) for each in ([kind] if kind else Kind)}
    if as_json:
        print_json(found)
        return
    for name, entries in found.items():
        typer.echo(name)
        print_columns(entries or {"(none)": ""})


def catalogue(kind: Kind) -> dict[str, str]:
    """Name -> one line about it."""
    from .. import assets

    if kind is Kind.experiments:
        return dict(sorted({**assets.list_experiments(), **assets.list_studies()}.items()))
    if kind is Kind.tasks:
        from ..tasks.registry import TASKS

        return {task.name: task.summary for task in TASKS.values()}
    if kind is Kind.models:
        from ..models import list_models

        return list_models()
    if kind is Kind.probes:
        from ..probe_folders import list_probes

        return list_probes()
    if kind is Kind.concepts:
        from ..concepts import list_categories

        return list_categories()
    return assets.list_organisms() if kind is Kind.organisms else assets.list_recipes()
