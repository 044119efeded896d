"""The explorer's first view of a large run, and how its memory grows with the run.

The runs are made up: a small random model is asked, what it says is written here, and what it holds inside is drawn.
They are recorded, analysed and written as any other.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import torch

from ..analysis import Model, analyse
from ..atomic import write_atomic, write_json
from ..backends import Capture, Generation
from ..errors import RunError
from ..experiment import load_experiment
from ..hands import in_turn
from ..manifest import write_manifest
from ..prepare import prepare
from ..progress import Progress, silent
from ..run import MARKER
from ..turns import record_turns
from .memory import child_environment, peak_bytes
from .recording import save_small_model
from .rows import Row, meets, short

if TYPE_CHECKING:
    from ..backends import ModelBackend
    from .setting import Setting

CHAIN = "There are two options. The first pays more and may pay nothing; the second pays less and is sure. " * 5
SAID = tuple(f"<think>{CHAIN}So {option} it is.</think>\n\nAnswer: {option}" for option in ("risky", "safe"))
SAMPLES = 25
"""Rollouts of an item."""
WAIT = 300
"""Seconds."""
GOAL = "<= 2"


def measure_explore(setting: Setting) -> Iterator[Row]:
    """Seconds from the command to the first page of a large run, and peak memory beside that of a tenth of it."""
    few, many = setting.sizes.explored
    model = setting.folder / "explored_model"
    save_small_model(setting, model, setting.sizes.explored_model)
    runs = [setting.folder / f"explored-{n}" for n in (many, few)]
    for run, n in zip(runs, (many, few), strict=True):
        make_up_run(run, model, n, setting.progress)
    stage, views, peaks = f"explore {many} rollouts", [], []
    setting.progress(stage, 0, setting.repeats)
    for repeat in range(setting.repeats):
        found = [look_at(run) for run in runs]
        views.append(found[0].first)
        peaks.append([each.peak for each in found])
        setting.progress(stage, repeat + 1, setting.repeats)
    large, small = (median(side) for side in zip(*peaks, strict=True))
    seconds = median(views)
    yield {
        "what": f"introspect explore: the first page of a run of {many} rollouts, from the command on",
        "seconds": short(seconds),
        "range (s)": [short(min(views)), short(max(views))],
        "peak memory (MB)": round(large / 1e6),
        f"of {few} rollouts (MB)": round(small / 1e6),
        "repeats": setting.repeats,
        "goal": f"{GOAL} s",
        "met": meets(seconds, GOAL),
        "note": f"{(runs[0] / 'rollouts.jsonl').stat().st_size / 1e6:.0f} MB of rollouts, in the page cache; memory "
        "after the whole list was read and one rollout's tokens were coloured",
    }


@dataclass(frozen=True)
class Look:
    """One look at a run."""

    first: float
    """Seconds from the command to the first page."""
    peak: int
    """Bytes at most."""


def look_at(run: Path) -> Look:
    """Start the explorer on a run, wait for its first page, its whole list and one coloured rollout, and end it.

    Raises:
        RunError: it does not start, or answers with an error.
    """
    begun = time.perf_counter()
    with _explorer(run) as (process, address):
        _page(f"{address}runs/0")
        first = time.perf_counter() - begun
        _until(f"{address}runs/0/rollouts", "still being read")
        _until(f"{address}runs/0/rollouts/0", "data-again")
        return Look(first, peak_bytes(str(process.pid)) or 0)


@contextmanager
def _explorer(run: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-m", "introspect", "explore", str(run), "--no-browser"]
    with subprocess.Popen(  # noqa: S603 - our own interpreter
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=child_environment()
    ) as process:
        try:
            assert process.stdout is not None  # noqa: S101 - for the type checker: it is a pipe
            address = process.stdout.readline().strip()
            if not address:
                raise RunError("the explorer does not start here: run `introspect explore` by itself")
            yield process, address
        finally:
            process.send_signal(signal.SIGINT)


def _page(address: str) -> str:
    with urllib.request.urlopen(address, timeout=WAIT) as answer:  # noqa: S310 - our own address, on this machine
        return str(answer.read(), "utf-8")


def _until(address: str, unfinished: str) -> None:
    """Ask again until the page is whole."""
    stop = time.monotonic() + WAIT
    while unfinished in _page(address):
        if time.monotonic() > stop:
            raise RunError(f"the explorer's list is not whole after {WAIT} s: run `introspect explore` by itself")
        time.sleep(0.2)


def make_up_run(out: Path, model: Path, n: int, progress: Progress = silent) -> None:
    """A finished run of about n rollouts, `SAMPLES` an item, of a model that says what it is told to.

    Args:
        model: a folder, of which tokenizer and sizes are taken.
    """
    overrides = [f"model={json.dumps(str(model))}", "organism=null", "negative_control=null", "dtype=float32"]
    overrides += [f"limit={{id: {max(1, n // SAMPLES)}, ood: 0}}", f"generation.samples={SAMPLES}"]
    overrides += ["probe.positions=[last_prompt, think_100]", "probe.permutations=5", "probe.bootstrap=20"]
    spec = load_experiment("probe-risk", overrides)
    prepared = prepare(spec, offline=True)
    tokenizer, layers = prepared.loaded.tokenizer, prepared.capture.layers
    backend: Any = MadeUp(prepared.backend, tokenizer, prepared.loaded.info.width)
    prepared = replace(prepared, backend=backend)
    out.mkdir()
    write_atomic(out / MARKER, spec.to_yaml())
    rollouts = record_turns(prepared, out, progress, lambda number, maker: in_turn)
    write_manifest(out / "manifest.json", spec, prepared.loaded.info, None, backend=backend.name, checks=[])
    found = analyse(out, spec, rollouts, Model(tokenizer, layers, None), offline=True, progress=progress)
    write_json(out / "results.json", found)


class MadeUp:
    """Stands for a backend: says one of two things by chance, and holds noise in which the last layer has which."""

    def __init__(self, real: ModelBackend, tokenizer: Any, width: int) -> None:
        self.real, self.width = real, width
        self.said = [[*tokenizer(text, add_special_tokens=False).input_ids, tokenizer.eos_token_id] for text in SAID]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        seeds: Sequence[int],
        capture: Capture,
        watch: Sequence[int],
        **_: Any,
    ) -> list[Generation]:
        """One completion a prompt, by its seed."""
        return [self._one(len(prompt), seed, capture, watch) for prompt, seed in zip(prompts, seeds, strict=True)]

    def _one(self, n_prompt: int, seed: int, capture: Capture, watch: Sequence[int]) -> Generation:
        drawn = torch.Generator().manual_seed(seed % 2**63)
        side = int(torch.randint(len(SAID), (1,), generator=drawn))
        ids = self.said[side]
        held = (n_prompt if capture.prompt else 1) + len(ids) - 1
        inside = {pair: torch.randn(held, self.width, generator=drawn) for pair in capture.pairs()}
        inside[capture.pairs()[-1]][:, :2] += 2.0 * side - 1
        return Generation(ids, "stop", inside, torch.full((len(ids), len(watch)), -1.0))
