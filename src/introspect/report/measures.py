"""Behavioural measures as rows of a table: every leaf of the tree that results.json holds, in its order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .sentences import number, share

TITLES = {
    "faithfulness": "Faithfulness: when a hint decides the answer, does the chain say so?",
    "think_answer": "What the chain leans to against what is answered",
    "generalisation": "In distribution against out of distribution",
    "choices": "Which answers are given",
    "stages": "Act, report, confronted",
    "lengths": "Length of the chain",
    "awareness": "What the model says of itself",
    "chain": "What the answer owes to the chain",
    "outcomes": "What reading the answers found out",
}
"""Measure -> heading, in the order of the report."""

SHARES = ("rate", "share", "raw", "norm", "p", "q", "verbalised", "accuracy", "unverbalised", "spontaneous")
"""A leaf whose name holds one of these words is a share of cases, and is shown in percent."""


def measure_tables(measures: dict[str, Any]) -> list[dict[str, Any]]:
    """A heading and rows (`path`, `text`, `n`, `method`, `missing`) for every measure that there is."""
    order = [name for name in TITLES if name in measures] + [name for name in measures if name not in TITLES]
    return [
        {
            "name": name,
            "title": TITLES.get(name, name.replace("_", " ")),
            "rows": [{"path": " › ".join(path), **_shown(path, leaf)} for path, leaf in leaves(measures[name]) if path],
        }
        for name in order
    ]


def leaves(tree: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Path and value of every estimate, number or text, depth first."""
    if isinstance(tree, dict) and not is_estimate(tree):
        for key, value in tree.items():
            yield from leaves(value, (*path, str(key).replace("_", " ")))
    elif isinstance(tree, list):
        for number_, value in enumerate(tree, start=1):
            yield from leaves(value, (*path, str(number_)))
    else:
        yield path, tree


def is_estimate(tree: Any) -> bool:
    """Whether a tree is a number with its interval, or a reason why there is none."""
    return isinstance(tree, dict) and "value" in tree and ("ci95" in tree or "reason" in tree)


def _shown(path: tuple[str, ...], leaf: Any) -> dict[str, Any]:
    out: dict[str, Any] = {"n": None, "method": None, "missing": False}
    if not is_estimate(leaf):
        text = "none" if leaf is None else f"{leaf:.4g}" if isinstance(leaf, float) else str(leaf)
        return out | {"text": text}
    if leaf["value"] is None:
        return out | {"text": str(leaf.get("reason", "no reason given")), "missing": True}
    words = path[-1].split()
    in_percent = any(word in SHARES for word in words) and "difference" not in words
    shown = share(leaf) if in_percent else number(leaf)
    return out | {"text": shown, "n": leaf.get("n"), "method": leaf.get("method")}
