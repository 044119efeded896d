"""What introspect costs on this machine: ratios to the same work without it, both sides measured in one run.

Sides alternate, and a ratio is that of the fastest of each side, since whatever else a machine does only ever adds; the
medians and the range of the ratios of neighbours stand beside it. A whole run is measured in a process of its own, with
its peak memory.
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
from .record import stop_ids, store_spec
from .store import EncodedPart, OneBehind, StoreReader, StoreSpec, StoreWriter, encode_part
from .selection import Selection
from .tasks.risk import evaluation_items

REPEATS = 5
BATCHES, BATCH, TOKENS = 2, 64, 80
WHOLE = "probe-risk"


def run_bench(
    model: str = "smollm2-135m",
    organism: str | None = "risk-silent",
    *,
    whole: bool = False,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Measure capture while generating, writing and reading a store, and, if asked, a whole run.

    Args:
        model: what to generate with; organism: the adapter on it, or None.
        whole: also run the default experiment to its end, in a process of its own.

    Returns:
        `machine`, and `rows` with what was measured, seconds of both sides, their ratio and the goal.
    """
    loaded = load_model(model, adapter=organism)
    backend = make_backend("native", loaded.model)
    items = select_items(evaluation_items(), {"id": BATCH, "ood": 0})
    prompts = [render_prompt(loaded, item.prompt) for item in items]
    capture = Capture(("resid_post",), tuple(range(loaded.info.n_layers)))
    sampling = Sampling(TOKENS, 1.0, stop_ids(loaded))
    spec = store_spec(capture, loaded, plan="bench", selection=Selection())
    made: list[Generation] = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)

        def captured() -> None:
            with StoreWriter(_fresh(place), spec) as store, OneBehind() as behind:
                for index in range(BATCHES):
                    made[:] = backend.generate(prompts, seeds=range(BATCH), sampling=sampling, capture=capture)
                    behind.submit(partial(store.commit_part, index, _encode(spec, made)))

        def plain() -> None:
            for _ in range(BATCHES):
                backend.generate(prompts, seeds=range(BATCH), sampling=sampling, capture=None)

        plain()
        rows = [
            _compare(
                f"generate {BATCHES} x {BATCH} rollouts: every layer and token to disk / no capture",
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
            "organism": organism,
            "versions": package_versions(),
        },
        "rows": rows,
    }


def _compare(
    what: str, ours: Callable[[], None], peer: Callable[[], None], goal: str, progress: Progress
) -> dict[str, Any]:
    """Seconds of both sides, run in turns."""
    times: list[tuple[float, float]] = []
    for repeat in range(REPEATS):
        times.append((_seconds(ours), _seconds(peer)))
        progress(what.split(":")[0], repeat + 1, REPEATS)
    ours_best, peer_best = (min(side) for side in zip(*times, strict=True))
    ours_median, peer_median = (median(side) for side in zip(*times, strict=True))
    ratios = sorted(mine / theirs for mine, theirs in times)
    return {
        "what": what,
        "ours (s)": _short(ours_best),
        "peer (s)": _short(peer_best),
        "ratio": _short(ours_best / peer_best),
        "ratio of medians": _short(ours_median / peer_median),
        "range of ratios": [_short(ratios[0]), _short(ratios[-1])],
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


def _short(number: float) -> float:
    """Four digits."""
    return float(f"{number:.4g}")


def _seconds(work: Callable[[], None]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _fresh(place: Path) -> Path:
    return place / str(time.monotonic_ns())


def _write(path: Path, spec: StoreSpec, made: list[Generation]) -> None:
    with StoreWriter(path, spec) as store:
        store.commit_part(0, _encode(spec, made))
        store.finish()


def _encode(spec: StoreSpec, made: list[Generation]) -> EncodedPart:
    rows = torch.arange(sum(len(next(iter(generation.activations.values()))) for generation in made)).numpy()
    values = {pair: torch.cat([g.activations[pair] for g in made]) for pair in made[0].activations}
    columns = {"rollout": rows, "position": rows, "token_id": rows, "span": rows * 0}
    return encode_part(spec, values, columns)
