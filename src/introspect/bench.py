"""What introspect costs on this machine: ratios to the same work without it, both sides measured in one run.

Sides alternate, and a ratio is the median of the ratios of neighbours: a machine that warms up or is shared favours
neither. A whole run is measured in a process of its own, with its peak memory.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch

from .backends import Capture, Generation, Sampling, make_backend
from .errors import RunError
from .manifest import package_versions
from .models import load_model, render_prompt
from .plan import select_items
from .progress import Progress, silent
from .record import store_spec
from .store import OneBehind, StoreReader, StoreSpec, StoreWriter
from .tasks.risk import evaluation_items

REPEATS = 5
BATCHES, BATCH, TOKENS = 2, 64, 32
WHOLE = "probe-risk"


def run_bench(model: str = "smollm2-135m", *, whole: bool = False, progress: Progress = silent) -> dict[str, Any]:
    """Measure capture while generating, writing and reading a store, and, if asked, a whole run.

    Args:
        model: what to generate with.
        whole: also run the default experiment to its end, in a process of its own.

    Returns:
        `machine`, and `rows` with what was measured, seconds of both sides, their ratio and the goal.
    """
    loaded = load_model(model)
    backend = make_backend("native", loaded)
    items = select_items(evaluation_items(), {"id": BATCH, "ood": 0})
    prompts = [render_prompt(loaded, item.prompt) for item in items]
    capture = Capture(("resid_post",), tuple(range(loaded.info.n_layers)))
    sampling = Sampling(TOKENS, 1.0, frozenset())
    spec = store_spec(capture, loaded, plan="bench")
    made: list[Generation] = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)

        def captured() -> None:
            with OneBehind() as behind:
                for _ in range(BATCHES):
                    made[:] = backend.generate(prompts, seeds=range(BATCH), sampling=sampling, capture=capture)
                    behind.submit(partial(_write, _fresh(place), spec, list(made)))

        def plain() -> None:
            for _ in range(BATCHES):
                backend.generate(prompts, seeds=range(BATCH), sampling=sampling, capture=None)

        plain()
        rows = [
            _compare(
                f"generate {BATCHES} x {BATCH} x {TOKENS} tokens: all layers, every token, to disk / no capture",
                captured,
                plain,
                "<= 1.10",
                progress,
            )
        ]
        store = _fresh(place)
        _write(store, spec, made)
        content = b"".join(file.read_bytes() for file in store.glob("*.h5"))
        size = f"{len(content) / 1e6:.0f} MB"

        def stored() -> None:
            _write(_fresh(place), spec, made)

        def raw() -> None:
            with _fresh(place).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())

        rows.append(_compare(f"write a store of {size} / the same bytes raw, both fsynced", stored, raw, "", progress))

        def read() -> None:
            StoreReader(store).read("resid_post", capture.layers[-1])

        def read_raw() -> None:
            next(store.glob("*.h5")).read_bytes()

        rows.append(
            _compare(f"read a layer of {size}, digests checked / read all bytes raw", read, read_raw, "", progress)
        )
    if whole:
        rows.append(_whole_run(progress))
    return {
        "machine": {
            "threads": torch.get_num_threads(),
            "cores": os.cpu_count(),
            "processor": torch.backends.cpu.get_cpu_capability(),
            "dtype": loaded.info.dtype,
            "model": model,
            "versions": package_versions(),
        },
        "rows": rows,
    }


def _compare(
    what: str, ours: Callable[[], None], peer: Callable[[], None], goal: str, progress: Progress
) -> dict[str, Any]:
    """Seconds of both sides, run in turns: medians, and the median and range of the ratios of neighbours."""
    times: list[tuple[float, float]] = []
    for repeat in range(REPEATS):
        times.append((_seconds(ours), _seconds(peer)))
        progress(what.split(":")[0], repeat + 1, REPEATS)
    ratios = sorted(mine / theirs for mine, theirs in times)
    return {
        "what": what,
        "ours (s)": round(median(mine for mine, _ in times), 3),
        "peer (s)": round(median(theirs for _, theirs in times), 3),
        "ratio": round(median(ratios), 3),
        "range": [round(ratios[0], 3), round(ratios[-1], 3)],
        "goal": goal or "none stated",
    }


def _whole_run(progress: Progress) -> dict[str, Any]:
    """The default experiment, in a process of its own: seconds, and peak memory."""
    progress(f"run {WHOLE}", 0, 1)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "introspect", "run", WHOLE, "--out", str(Path(folder) / "run")]
        begun = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        seconds = time.perf_counter() - begun
    if done.returncode:
        raise RunError(f"introspect run {WHOLE} failed: {done.stderr.strip() or done.returncode}; run it by itself")
    progress(f"run {WHOLE}", 1, 1)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    return {
        "what": f"introspect run {WHOLE}, model converted",
        "seconds": round(seconds, 1),
        "peak memory (GB)": round(peak / 1e9, 2),
        "goal": "< 300 s, < 4 GB",
    }


def _seconds(work: Callable[[], None]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _fresh(place: Path) -> Path:
    return place / str(time.monotonic_ns())


def _write(path: Path, spec: StoreSpec, made: list[Generation]) -> None:
    rows = [len(next(iter(generation.activations.values()))) for generation in made]
    numbers = torch.arange(sum(rows)).numpy()
    with StoreWriter(path, spec) as store:
        values = {pair: torch.cat([g.activations[pair] for g in made]) for pair in made[0].activations}
        store.write_part(0, values=values, rollout=numbers, position=numbers, token_id=numbers, span=numbers * 0)
        store.finish()
