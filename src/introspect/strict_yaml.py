"""YAML without its surprises: no objects, no duplicate keys, and no value that is secretly something else.

PyYAML's safe loader follows YAML 1.1, which keeps the last of two equal keys, reads `4:28:4` as 16084 (base 60), `010`
as 8, `no` as false, `1e-3` as text and `2026-01-01` as a date. This one takes numbers, `true`, `false` and `null` the
way JSON writes them (and `1e-3`); everything else is text.

Known trade-off: aliases are refused, so a spec cannot share a block between two places; nor can it grow when expanded.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from .errors import SpecError


class _Loader(yaml.SafeLoader):
    """The safe loader with YAML 1.2's scalars."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - as PyYAML declares it
    yaml_constructors = {  # noqa: RUF012
        tag: construct
        for tag, construct in yaml.SafeLoader.yaml_constructors.items()
        if tag is None or tag.rpartition(":")[2] in ("str", "seq", "map", "int", "float", "bool", "null")
    }

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.constructor.ConstructorError(None, None, f"alias *{event.anchor} is not taken", event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a word", key.start_mark)
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r} stands twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), list("tf"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(?:null|~|)$"), ["n", "~", ""])
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?(?:0|[1-9][0-9]*)$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:0|[1-9][0-9]*)(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?$"),
    list("-+0123456789"),
)


def load_yaml(text: str, source: str) -> Any:
    """The document in `text`: mappings, lists, text, numbers, booleans and null.

    Args:
        source: what the text is, for error messages (a path, or what the user typed).

    Raises:
        SpecError: not YAML, more than one document, a duplicate key, an alias or an object. Names source and line.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader, made stricter
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{source}:{mark.line + 1}" if mark is not None else source
        raise SpecError(f"{where}: not a spec in YAML ({error.problem or error.context}); correct that line") from None
    except (yaml.YAMLError, ValueError) as error:
        raise SpecError(f"{source}: not a spec in YAML ({' '.join(str(error).split())}); correct it") from None
    except RecursionError:
        raise SpecError(f"{source}: not a spec in YAML (nested too deeply); correct it") from None


def dump_yaml(document: Any) -> str:
    """`document` as block-style YAML with keys in their own order. `load_yaml` reads back an equal document."""
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)
