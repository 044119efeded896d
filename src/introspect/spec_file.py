"""Reading a YAML file into a frozen model, with overrides, and saying precisely what is wrong with it.

Every complaint is one line: where it stands (the file, or the override that the user typed), the key, what is wrong,
and for an unknown key the nearest right one. Known trade-off: only the first problem is reported.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from .errors import SpecError
from .strict_yaml import load_yaml

Model = TypeVar("Model", bound=BaseModel)


def read_spec(model: type[Model], path: Path, overrides: Sequence[str] = ()) -> Model:
    """The file as a `model`, after `key.sub=value` overrides (values as in YAML, later ones win).

    Raises:
        SpecError: the file cannot be read, an override has no `=`, or the result is not a valid `model`.
    """
    document = load_yaml(_read_text(path), str(path))
    if not isinstance(document, dict):
        raise SpecError(f"{path}: a spec is a list of `key: value` lines, not {_kind(document)}; correct it")
    return check_spec(model, document, path, overrides)


def check_spec(model: type[Model], document: dict[str, Any], path: Path, overrides: Sequence[str] = ()) -> Model:
    """What has been read from a file as a `model`, after overrides as in `read_spec`.

    Raises:
        SpecError: an override has no `=`, or the result is not a valid `model`.
    """
    typed: dict[str, str] = {}
    for override in overrides:
        key, equals, value = override.partition("=")
        key = key.strip()
        if not equals or not key:
            raise SpecError(f"cannot read the override {override!r}; write key=value, such as seed=1")
        _place(document, key.split("."), load_yaml(value, override), override)
        typed[key] = override
    try:
        return model.model_validate_json(json.dumps(document), strict=True)
    except ValidationError as error:
        raise SpecError(_complaint(model, error.errors(include_url=False)[0], path, typed)) from None


def study_of(path: Path) -> str | None:
    """What a file says it is a study of (`study: ...`); None where it says nothing of the kind, or cannot be read."""
    try:
        document = load_yaml(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError, SpecError):
        return None
    return str(document["study"]) if isinstance(document, dict) and "study" in document else None


def field_paths(model: type[BaseModel]) -> Iterator[str]:
    """Every key of the model and of its sections, dotted: `generation`, `generation.temperature`, ..."""
    for name, field in model.model_fields.items():
        yield name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from (f"{name}.{path}" for path in field_paths(field.annotation))


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise SpecError(f"cannot read {path} ({error.strerror}); give the path of a spec in YAML") from None
    except UnicodeDecodeError:
        raise SpecError(f"{path} is not text in UTF-8; give the path of a spec in YAML") from None


def _place(document: dict[str, Any], keys: list[str], value: Any, override: str) -> None:
    for key in keys[:-1]:
        section = document.get(key)
        if section is None:
            section = document[key] = {}
        if not isinstance(section, dict):
            raise SpecError(f"{override}: {key!r} is {section!r} in the spec and has no keys; override it as a whole")
        document = section
    document[keys[-1]] = value


def _complaint(model: type[BaseModel], problem: ErrorDetails, path: Path, typed: dict[str, str]) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    about = (text for where, text in typed.items() if f"{key}.".startswith(f"{where}.") or where.startswith(f"{key}."))
    source = next(about, str(path))
    if problem["type"] == "extra_forbidden":
        return f"{source}: unknown key {key!r}; {_nearest(model, key)}"
    if problem["type"] == "missing":
        return f"{source}: {key!r} is missing; add it"
    what = problem["msg"].removeprefix("Value error, ")
    what = what[:1].lower() + what[1:]
    given = "" if problem["type"] in ("value_error", "model_type") else f", not {problem['input']!r}"
    return f"{source}: {key}: {what}{given}" if key else f"{source}: {what}"


def _nearest(model: type[BaseModel], key: str) -> str:
    paths = list(field_paths(model))
    section, _, name = key.rpartition(".")
    prefix = f"{section}." if section else ""
    siblings = {path.removeprefix(prefix): path for path in paths if path.rpartition(".")[0] == section}
    anywhere = {path.rpartition(".")[2]: path for path in reversed(paths)}
    for names in (siblings, anywhere):
        near = get_close_matches(name, names, n=1)
        if near:
            return f"did you mean {names[near[0]]!r}?"
    return f"the keys here are {', '.join(siblings) or 'none'}"


def _kind(document: Any) -> str:
    return {type(None): "an empty file", list: "a list", str: "plain text"}.get(type(document), "a single value")
