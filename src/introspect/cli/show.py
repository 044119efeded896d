"""`introspect show`: one experiment, task, model, organism, recipe, probe or category of concept words."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from ..errors import SpecError
from .console import print_columns, print_json
from .list import Kind, catalogue


class OneOf(StrEnum):
    """What can be shown."""

    experiment = "experiment"
    task = "task"
    model = "model"
    organism = "organism"
    recipe = "recipe"
    probe = "probe"
    concept = "concept"


SITES = "sites"
"""The one thing that is shown of a model rather than by name."""


def show(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[KIND] NAME",
            help="A name from `introspect list`, or a spec in YAML. KIND (experiment, task, model, organism, recipe, "
            "probe or concept) tells things of one name apart; without it, the first of these is shown.",
        ),
    ],
    model: Annotated[
        str, typer.Option(help="With `sites`: embedded model, hub id, local folder or .gguf file.")
    ] = "smollm2-135m",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show one of what is listed, or the sites of a model.

    Of an experiment it prints the whole spec, defaults included; of an organism or a probe, the card; of `sites`, what
    each place in a block is called by every backend that has it.

    \b
    introspect show probe-risk
    introspect show risk-silent
    introspect show recipe risk-silent
    introspect show probe risk-silent
    introspect show concept countries
    introspect show my-spec.yaml --json
    introspect show sites --model ./my-model
    """
    if words == [SITES]:
        _show_sites(model, as_json)
        return
    kind, wanted = _locate(words)
    if kind is OneOf.experiment:
        from ..spec_kinds import load_spec

        spec = load_spec(wanted)
        _print(spec.model_dump(mode="json"), spec.to_yaml(), as_json)
    elif kind is OneOf.organism:
        from ..assets import organism_path, read_card
        from ..strict_yaml import dump_yaml

        card = read_card(organism_path(wanted))
        _print(card, dump_yaml(card), as_json)
    elif kind is OneOf.recipe:
        from ..assets import recipe_path
        from ..strict_yaml import load_yaml

        path = recipe_path(wanted)
        text = path.read_text(encoding="utf-8")
        _print(load_yaml(text, str(path)), text, as_json)
    elif kind is OneOf.probe:
        from ..probe_folders import probe_folder
        from ..probes.saved import read_card as read_probe_card
        from ..strict_yaml import dump_yaml

        card = read_probe_card(probe_folder(wanted))
        _print(card, dump_yaml(card), as_json)
    elif kind is OneOf.concept:
        from ..concepts import read_words
        from ..strict_yaml import dump_yaml

        category = read_words().categories[wanted].model_dump(mode="json")
        _print(category, dump_yaml(category), as_json)
    else:
        about = catalogue(Kind(f"{kind}s"))[wanted]
        _print({"name": wanted, "about": about}, f"{wanted}: {about}\n", as_json)


def _show_sites(model: str, as_json: bool) -> None:
    from ..backends import name_sites
    from ..models import load_model

    found = name_sites(load_model(model).model)
    if as_json:
        print_json(found)
        return
    for backend, names in found.items():
        typer.echo(backend)
        print_columns(names)


def _print(document: Any, text: str, as_json: bool) -> None:
    if as_json:
        print_json(document)
    else:
        typer.echo(text, nl=False)


def _locate(words: list[str]) -> tuple[OneOf, str]:
    """The kind and the name that are meant.

    Raises:
        SpecError: nothing has that name.
    """
    *kind, wanted = words
    if len(kind) > 1 or any(word not in list(OneOf) for word in kind):
        raise SpecError(f"cannot show {' '.join(words)!r}: give a name, or one of {', '.join(OneOf)} and a name")
    kinds = [OneOf(word) for word in kind] or list(OneOf)
    if wanted.endswith((".yaml", ".yml")):
        return OneOf.experiment, wanted
    known = {kind: catalogue(Kind(f"{kind}s")) for kind in kinds}
    found = [kind for kind in kinds if wanted in known[kind]]
    if not found:
        from difflib import get_close_matches

        near = get_close_matches(wanted, [entry for entries in known.values() for entry in entries], n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise SpecError(f"nothing called {wanted!r}: {hint}`introspect list` shows what there is")
    return found[0], wanted
