"""What introspect costs on this machine, against the usual ways and its peers: the performance contract, row by row.

Both sides of a row are measured in one run, in turns; a row that cannot be measured says why, and hides no other.
"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ..errors import IntrospectError, SpecError
from ..progress import Progress, silent
from .rows import Row
from .setting import FULL, QUICK, REPEATS, Setting

ROWS = {
    "capture": "generation",
    "nnsight": "peers",
    "transformer-lens": "peers",
    "usual-script": "script",
    "replay": "replay",
    "sweep": "sweep",
    "probes": "probes",
    "large-probes": "large_probes",
    "store": "storage",
    "recording": "recording",
    "startup": "processes",
    "inject": "injection",
    "ray": "cluster",
    "explore": "explorer",
    "whole": "processes",
}
"""Groups of rows, by name, and the module of each; there, `measure_<name>` makes them."""
MINUTES = ("large-probes", "inject", "ray", "explore", "whole")
"""Measured only when asked for by name; the last one also by `whole`."""


def run_bench(
    model: str = "smollm2-135m",
    organism: str | None = "risk-silent",
    *,
    only: Sequence[str] = (),
    whole: bool = False,
    repeats: int = REPEATS,
    quick: bool = False,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Measure the performance contract.

    Args:
        model: what to generate with; organism: the adapter on it, or None.
        only: groups of rows to measure (see `ROWS`); empty for all but the whole run.
        whole: also run the default experiment to its end, in a process of its own.
        repeats: how often each side is run.
        quick: small sizes, which show that everything runs and say nothing about speed.

    Returns:
        `machine`, `sizes`, and `rows` (see `rows.Row`).

    Raises:
        SpecError: there is no such group, or nothing would be repeated.
    """
    from .machine import describe_machine

    chosen = _chosen(only, whole=whole)
    if repeats < 1:
        raise SpecError(f"--repeats {repeats} measures nothing: give 1 or more")
    found: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="introspect-bench-") as folder:
        setting = Setting(model, organism, QUICK if quick else FULL, repeats, progress, Path(folder))
        machine = describe_machine(Path(folder), setting)
        for name in chosen:
            found += _measured(name, setting)
    return {"machine": machine, "sizes": setting.sizes.to_json(), "rows": found}


def _chosen(only: Sequence[str], *, whole: bool) -> list[str]:
    for name in only:
        if name not in ROWS:
            near = get_close_matches(name, ROWS, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise SpecError(f"bench measures no {name!r}: {hint}choose from {', '.join(ROWS)}")
    wanted = set(only) or set(ROWS) - set(MINUTES)
    return [name for name in ROWS if name in wanted or (whole and name == "whole")]


def _measured(name: str, setting: Setting) -> Iterator[Row]:
    """A group's rows; what stops it becomes a row."""
    module = importlib.import_module(f".{ROWS[name]}", __name__)
    measure: Callable[[Setting], Iterator[Row]] = getattr(module, f"measure_{name.replace('-', '_')}")
    try:
        for row in measure(setting):
            yield {"row": name, **row}
    except ImportError as error:
        yield {"row": name, "what": name, "skipped": f"{error.name or error} is not installed"}
    except IntrospectError as error:
        yield {"row": name, "what": name, "failed": str(error)}
