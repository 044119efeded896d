"""`README.md` of what is pushed: what was asked, what was found, with intervals, and how to get and check it.

Whatever a model or a stranger wrote is escaped: it is text on the page that a hub makes of this, never a heading, link,
image or HTML. The page says what was measured and its warnings, and nothing else.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ..errors import StoreError
from ..probes.saved import load_probe
from ..report.page import FAULTS, plain
from ..report.sentences import headline, number
from ..results import read_results, read_run_manifest
from .file_index import Kind

FRONT = """---
library_name: introspect
tags:
- introspect
- interpretability
- chain-of-thought
---
"""
GET = """## Get it

```
introspect pull SOURCE OUT        # this address, and a new folder; every file is checked against its digest
{}
```

`introspect-files.json` has the digests of all files. Nothing of it is run when it is pulled.
"""
READ = (
    "Numbers say what activations predict on held-out groups, with 95% intervals; decodable is not used, and an "
    "estimate that could not be made says why."
)
MOST = 1500
"""Characters of a text that somebody else wrote."""
_ACTIVE = re.compile(r"([\\`*_{}\[\]()<>#|~&$@:/!^=])")


def escaped(text: object) -> str:
    """Text in one line of Markdown that stands for itself: no markup, no HTML, no link that a reader would make."""
    one_line = plain(" ".join(str(text).split())[:MOST])
    marked = _ACTIVE.sub(r"\\\1", one_line).replace("\\&", "&amp;").replace("\\<", "&lt;").replace("\\>", "&gt;")
    return re.sub(r"(?i)(www)\.", r"\1\\.", marked)


def make_card(folder: Path, kind: Kind) -> str:
    """The card of a run or a probe.

    Raises:
        StoreError: its results or its card are damaged.
    """
    return _of_probe(folder) if kind == "probe" else _of_run(folder)


def _of_run(folder: Path) -> str:
    check = "introspect verify OUT             # every stored part again; `introspect report OUT` draws the page"
    model = (read_run_manifest(folder / "manifest.json") or {}).get("model")
    lines = [f"Model: {escaped(_last(model.get('name')))}"] if isinstance(model, dict) else []
    if isinstance(model, dict) and model.get("adapter"):
        lines[0] += f", with the adapter {escaped(_last(model['adapter']))}"
    if not (folder / "results.json").exists():
        title = "Transcripts" if (folder / "transcripts.yaml").exists() else "A run"
        said = "recorded with their activations; nothing was measured of them" if title == "Transcripts" else "recorded"
        return _page(f"{title}, {said}", lines, [], check)
    results = read_results(folder / "results.json")
    asked = results["experiment"]
    lines += [f"{asked['n_rollouts']} rollouts of {asked['n_items']} items in {asked['n_groups']} groups"]
    lines += [f"Planted truth: {escaped(asked['planted_truth'])}"] if asked.get("planted_truth") else []
    try:
        found = headline(results)
    except FAULTS as error:
        raise StoreError(f"{folder / 'results.json'} does not hold together ({error!r}); make the run again") from None
    warnings = [f"Warning: {each}" for each in results["warnings"]]
    return _page(f"{asked['name']}: {asked['question']}", lines, [*found, *warnings], check)


def _of_probe(folder: Path) -> str:
    card = load_probe(folder).card
    model, place, metrics = card["model"], card["place"], card["metrics"]
    lines = [
        f"Model: {escaped(model['name'])}"
        + (f", with the adapter {escaped(model['adapter'])}" if model["adapter"] else ""),
        f"Reads: {escaped(place['site'])} of layer {place['layer']}, {escaped(place['position'])}",
        f"Fitted on {card['training']['n_rows']} rollouts in {card['training']['n_groups']} groups",
    ]
    found = [f"{name}: {_estimate(value)}" for name, value in metrics.items()]
    found += [f"Baseline {name}: {_estimate(value.get('auroc', value))}" for name, value in card["baselines"].items()]
    check = "introspect probe apply OUT RUN    # on a run of the same model"
    return _page(card["summary"], lines, found, check)


def _estimate(value: Any) -> str:
    if not isinstance(value, dict) or "value" not in value:
        return "see probe.json"
    try:
        return number(value)
    except FAULTS:
        return "see probe.json"


def _last(name: object) -> str:
    """A hub id as it is, a path of some machine by its last name."""
    text = str(name)
    return Path(text).name if text.startswith(("/", "~", ".")) else text


def _page(title: str, facts: list[str], found: list[str], check: str) -> str:
    """Facts are lines that are escaped already."""
    parts = [FRONT, f"# {escaped(title)}\n", "\n".join(f"- {each}" for each in facts) + "\n" if facts else ""]
    if found:
        parts += ["## What was found\n", "\n".join(f"- {escaped(each)}" for each in found) + "\n", READ + "\n"]
    return "\n".join(part for part in [*parts, GET.format(check)] if part)
