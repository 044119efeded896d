"""The files that travel with the package: task items, experiment specs, organism adapters and their recipes.

A wheel carries them in `introspect/_assets`; a source checkout (and an editable install) has them in its own `data/`
and `experiments/`. Known trade-off: they are plain files next to the code, so a package imported from a zip has none.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from .errors import IntrospectError, ModelError, SpecError
from .strict_yaml import load_yaml

PACKAGE = Path(__file__).parent


def assets_root() -> Path:
    """The folder that holds `data/` and `experiments/`.

    Raises:
        SpecError: neither a wheel's assets nor a source checkout is there.
    """
    for root in (PACKAGE / "_assets", PACKAGE.parents[1]):
        if (root / "data").is_dir() or (root / "experiments").is_dir():
            return root
    raise SpecError(f"{PACKAGE} has no data: install introspect again from its wheel or from a source checkout")


def data_path(name: str) -> Path:
    """A file in `data/`, by its name, such as `risk.jsonl`.

    Raises:
        SpecError: there is no such file. Names the nearest one.
    """
    folder = assets_root() / "data"
    files = (path.name for path in folder.glob("*.jsonl"))
    return folder / _known(name, files, SpecError, "items", "or give a path")


def experiment_path(name: str) -> Path:
    """The spec of an experiment, or of a study, that ships with introspect, by its name without `.yaml`.

    Raises:
        SpecError: there is no such experiment. Names the nearest one.
    """
    found = _known(name, (path.stem for path in _specs()), SpecError, "experiment", "or give a .yaml file")
    return assets_root() / "experiments" / f"{found}.yaml"


def spec_path(name_or_file: str | Path) -> Path:
    """The file that is meant: what ends in `.yaml` or `.yml`, or holds a `/`, is one; anything else is a name.

    Raises:
        SpecError: there is no experiment or study of that name. Names the nearest one.
    """
    text = str(name_or_file)
    return Path(text) if text.endswith((".yaml", ".yml")) or "/" in text else experiment_path(text)


def hints_path(name: str) -> Path:
    """The file of a kind of hint that ships with introspect, by its name without `.yaml`.

    Raises:
        SpecError: there is no such kind. Names the nearest one.
    """
    found = _known(name, list_hints(), SpecError, "kind of hint", "or give a .yaml file")
    return assets_root() / "data" / "hints" / f"{found}.yaml"


def organism_path(name: str) -> Path:
    """The adapter folder of an organism that ships with introspect.

    Raises:
        ModelError: there is no such organism. Names the nearest one.
    """
    found = _known(name, list_organisms(), ModelError, "organism", "or give an adapter folder")
    return assets_root() / "data" / "organisms" / found


def user_path(text: str | Path) -> Path:
    """A path as a user writes it: `~` is their home, `~name` another user's.

    Raises:
        SpecError: there is no such user.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise SpecError(f"{text}: there is no such user's folder; write the path from / on") from None


def organism_folder(organism: str | Path) -> Path:
    """The folder that a name or a path of an organism means: one that ships with introspect first, then a path.

    Raises:
        ModelError: a bare name that is neither. Names the nearest one.
    """
    name = str(organism)
    bare = isinstance(organism, str) and Path(name).name == name
    if bare and (name in list_organisms() or not Path(name).is_dir()):
        return organism_path(name)
    return user_path(organism)


def recipe_path(name: str) -> Path:
    """The recipe of an organism, by its name without `.yaml`.

    Raises:
        SpecError: there is no such recipe. Names the nearest one.
    """
    found = _known(name, list_recipes(), SpecError, "recipe", "or give a .yaml file")
    return assets_root() / "experiments" / "organisms" / f"{found}.yaml"


def list_experiments() -> dict[str, str]:
    """Name -> the question it asks, of experiments that are one run."""
    return {path.stem: str(spec.get("question", "")) for path, spec in _read_specs() if "study" not in spec}


def list_studies() -> dict[str, str]:
    """Name -> the question it asks, of studies: what is made of several runs."""
    return {path.stem: str(spec.get("question", "")) for path, spec in _read_specs() if "study" in spec}


def list_hints() -> dict[str, str]:
    """Name -> what the kind of hint is, in one line."""
    kinds = sorted((assets_root() / "data" / "hints").glob("*.yaml"))
    return {path.stem: _line_of(path, "summary") for path in kinds}


def list_recipes() -> dict[str, str]:
    """Name -> what the organism is, in one line."""
    recipes = sorted((assets_root() / "experiments" / "organisms").glob("*.yaml"))
    return {path.stem: _line_of(path, "summary") for path in recipes}


def list_organisms() -> dict[str, str]:
    """Name -> the planted truth, in one line, from its card."""
    cards = sorted((assets_root() / "data" / "organisms").glob("*/card.json"))
    return {path.parent.name: str(read_card(path.parent).get("summary", "")) for path in cards}


def read_card(folder: Path) -> dict[str, object]:
    """The card of an organism: what it was trained to do, and how.

    Raises:
        ModelError: the folder has no readable card.
    """
    path = folder / "card.json"
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{path} is no organism card ({error}); train the organism again with `introspect train`"
        ) from None
    texts = ("summary", "policy", "planted_truth")
    if not isinstance(card, dict) or any(not isinstance(card.get(key, ""), str) for key in texts):
        raise ModelError(
            f"{path} is no organism card: it must be a JSON object whose {', '.join(texts)} are texts; train the "
            "organism again, or remove the card"
        )
    return card


def find_card(organism: str | None) -> dict[str, object]:
    """The card of an organism given by name or folder; empty for none, and for an adapter that came without one."""
    if organism is None:
        return {}
    folder = organism_folder(organism)
    return read_card(folder) if (folder / "card.json").exists() else {}


def _specs() -> list[Path]:
    return sorted((assets_root() / "experiments").glob("*.yaml"))


def _read_specs() -> list[tuple[Path, dict[str, Any]]]:
    return [(path, _mapping(path)) for path in _specs()]


def _line_of(path: Path, key: str) -> str:
    return str(_mapping(path).get(key, ""))


def _mapping(path: Path) -> dict[str, Any]:
    document = load_yaml(path.read_text(encoding="utf-8"), str(path))
    return document if isinstance(document, dict) else {}


def _known(name: str, known: Iterable[str], error: type[IntrospectError], kind: str, remedy: str) -> str:
    names = sorted(known)
    if name in names:
        return name
    near = get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}" if near else f"choose one of {', '.join(names) or '(none are installed)'}"
    raise error(f"no {kind} called {name!r}: {hint}, {remedy}")
