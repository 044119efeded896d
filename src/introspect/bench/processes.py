"""What takes a process of its own: starting up, and the default experiment from its first to its last byte."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import TYPE_CHECKING

from ..errors import RunError
from .memory import child_environment, watch
from .rows import Row, in_turns, make_row, meets, short

if TYPE_CHECKING:
    from .setting import Setting

WHOLE = "probe-risk"
MOST_SECONDS, MOST_GB = 300, 4
STARTUP_GOAL = "<= 0.2"


def measure_startup(setting: Setting) -> Iterator[Row]:
    """`introspect --help`, and `python -c pass` taken off."""
    ours, peer = in_turns(
        "introspect --help",
        _process([sys.executable, "-c", "from introspect.cli import main; main()", "--help"]),
        _process([sys.executable, "-c", "pass"]),
        repeats=setting.repeats,
        progress=setting.progress,
        before=setting.clear,
    )
    row = make_row("introspect --help / python -c pass", ours, peer, of="ours / peer", goal="")
    difference = median(ours) - median(peer)
    yield row | {
        "difference (s)": short(difference),
        "goal": f"{STARTUP_GOAL} s more",
        "met": meets(difference, STARTUP_GOAL),
        "note": "warm: byte code is there and files are in the page cache",
    }


def measure_whole(setting: Setting) -> Iterator[Row]:
    """The default experiment: seconds, and peak memory of its process."""
    stage = f"introspect run {WHOLE}"
    command = [sys.executable, "-m", "introspect", "run", WHOLE, "--out", str(setting.fresh())]
    note = "peak resident set of the process, from the kernel"
    yield watched(setting, stage, command, f"{stage}, model converted", note, (MOST_SECONDS, MOST_GB))


def watched(
    setting: Setting, stage: str, command: Sequence[str], what: str, note: str, most: tuple[float, float]
) -> Row:
    """The row of a command that is run to its end, once: seconds, and peak memory of its process.

    Args:
        most: seconds and GB.

    Raises:
        RunError: it failed. Says what it printed last.
    """
    setting.progress(stage, 0, 1)
    code, seconds, peak, said = watch(command)
    if code:
        raise RunError(f"{stage} failed ({(said.strip().splitlines() or ['no reason given'])[-1]}); run it by itself")
    setting.progress(stage, 1, 1)
    return {
        "what": what,
        "seconds": round(seconds, 1),
        "peak memory (GB)": round(peak / 1e9, 2),
        "repeats": 1,
        "goal": f"< {most[0]} s, < {most[1]} GB",
        "met": seconds < most[0] and peak < most[1] * 1e9,
        "note": note,
    }


def _process(command: Sequence[str]) -> Callable[[], object]:
    environment = child_environment()

    def run() -> None:
        subprocess.run(command, check=True, capture_output=True, env=environment)  # noqa: S603 - our own interpreter

    return run
