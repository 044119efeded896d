"""What introspect costs on this machine: ratios to the same work without it, both sides measured in one run.

Sides alternate, and each figure is the median over repeats: a machine that warms up or is shared favours neither.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch

from .backends import Capture, Sampling, make_backend
from .models import load_model, render_prompt
from .plan import select_items
from .progress import Progress, silent
from .record import store_spec
from .store import StoreReader, StoreWriter
from .tasks.risk import evaluation_items

MODEL = "smollm2-135m"
REPEATS = 5
BATCH, TOKENS = 32, 32


def run_bench(*, progress: Progress = silent) -> dict[str, Any]:
    """Measure capture while generating, and writing and reading a store.

    Returns:
        `machine`, and `rows` with what was measured, seconds of both sides, their ratio and the goal.
    """
    loaded = load_model(MODEL)
    backend = make_backend("native", loaded)
    items = select_items(evaluation_items(), {"id": BATCH, "ood": 0})
    prompts = [render_prompt(loaded, item.prompt) for item in items]
    capture = Capture(("resid_post",), tuple(range(loaded.info.n_layers)))
    sampling = Sampling(TOKENS, 1.0, frozenset())
    spec = store_spec(capture, loaded)
    made: list[Any] = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)

        def captured() -> None:
            made[:] = backend.generate(prompts, seeds=range(BATCH), sampling=sampling, capture=capture)
            _write(place / f"store-{time.monotonic_ns()}", spec, made)

        def plain() -> None:
            backend.generate(prompts, seeds=range(BATCH), sampling=sampling, capture=None)

        def stored() -> None:
            _write(place / "again" / str(time.monotonic_ns()), spec, made)

        plain()
        with_capture, without = _alternate(captured, plain, progress, "generate with capture, and without")
        size = sum(file.stat().st_size for file in next(place.glob("store-*")).glob("*.h5"))

        def raw() -> None:
            with (place / f"raw-{time.monotonic_ns()}").open("wb") as file:
                file.write(b"\1" * size)
                file.flush()
                os.fsync(file.fileno())

        write, write_raw = _alternate(stored, raw, progress, "write a store, and the same bytes")
        store = next(place.glob("store-*"))

        def read() -> None:
            StoreReader(store).read("resid_post", capture.layers[-1])

        read_first, _ = _alternate(read, read, progress, "read a layer, digests checked")
    return {
        "machine": {"threads": torch.get_num_threads(), "dtype": loaded.info.dtype, "model": MODEL},
        "rows": [
            _row(
                f"generate {BATCH} x {TOKENS} tokens, all layers to disk / no capture", with_capture, without, "<= 1.10"
            ),
            _row(
                f"write a store of {size / 1e6:.0f} MB / the same bytes raw, both fsynced", write, write_raw, "<= 1.25"
            ),
            {"what": "read one layer from a store, every digest checked", "seconds": round(read_first, 3)},
        ],
    }


def _alternate(
    ours: Callable[[], None], peer: Callable[[], None], progress: Progress, stage: str
) -> tuple[float, float]:
    """Median seconds of both, run in turns."""
    times: tuple[list[float], list[float]] = ([], [])
    for repeat in range(REPEATS):
        for side, work in enumerate((ours, peer)):
            begun = time.perf_counter()
            work()
            times[side].append(time.perf_counter() - begun)
        progress(stage, repeat + 1, REPEATS)
    return median(times[0]), median(times[1])


def _write(path: Path, spec: Any, made: list[Any]) -> None:
    rows = [next(iter(generation.activations.values())).shape[0] for generation in made]
    n = sum(rows)
    numbers = torch.arange(n).numpy()
    with StoreWriter(path, spec) as store:
        values = {pair: torch.cat([g.activations[pair] for g in made]) for pair in made[0].activations}
        store.write_part(0, values=values, rollout=numbers, position=numbers, token_id=numbers, span=numbers * 0)
        store.finish()


def _row(what: str, ours: float, peer: float, goal: str) -> dict[str, Any]:
    return {
        "what": what,
        "ours (s)": round(ours, 3),
        "peer (s)": round(peer, 3),
        "ratio": round(ours / peer, 3),
        "goal": goal,
    }
