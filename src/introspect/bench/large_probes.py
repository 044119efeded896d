"""Probes of a large model on a small machine: seconds and peak memory of a process that reads a few layers at a time.

The activations are made up, since no such model runs here, and made anew at each read, which is timed with the rest: a
few hundred factors whose variance falls off, mixed into all features with noise, and a label that is readable to a
part, in some layers more than in others. Folds, penalties and options are those of the nested row of `probes`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from ..probes import Streamed, fit_splits
from .probes import FOLDS, NESTED_PENALTIES, nested_splits
from .processes import watched
from .rows import Row

if TYPE_CHECKING:
    from .setting import Setting

MOST_SECONDS, MOST_GB = 600, 6
PER_GROUP = 5
FACTORS = 400
FALL = 0.8
"""The standard deviation of factor k is k^-FALL."""
NOISE, SIGNAL = 0.02, 0.1
"""Standard deviation of what is left of a feature, and the label's largest effect on a factor, in its deviations."""


def measure_large_probes(setting: Setting) -> Iterator[Row]:
    """Nested cross-validation at every layer and position, in a process of its own."""
    shape = setting.sizes.large_probes
    positions, layers, rows, width = shape
    stage = f"probes of {layers} layers x {positions} positions x {width} x {rows} rows"
    command = [sys.executable, "-c", "from introspect.bench.large_probes import work; work()", json.dumps(shape)]
    what = (
        f"{stage}, {FOLDS} outer and {FOLDS} inner folds, C chosen from {', '.join(map(str, NESTED_PENALTIES))}, read "
        "a few layers (at most 256 MB) at a time"
    )
    note = "made-up activations; peak resident set of the process, from the kernel, and its start is timed too"
    yield watched(setting, stage, command, what, note, (MOST_SECONDS, MOST_GB))


def work() -> None:
    """What the process does."""
    positions, layers, rows, width = json.loads(sys.argv[1])
    rng = np.random.default_rng(0)
    groups = np.arange(rows) // PER_GROUP
    labels = rng.random(rows) < 0.5
    fit_splits(
        Streamed(tuple(map(str, range(positions))), _reader(rng, labels, width), 4 * rows * width),
        range(layers),
        labels,
        nested_splits(labels, groups),
        NESTED_PENALTIES,
    )


def _reader(
    rng: np.random.Generator, labels: np.ndarray, width: int
) -> Callable[[tuple[str, ...], tuple[int, ...]], dict[str, np.ndarray]]:
    """Activations of any positions and layers."""
    deviations = np.arange(1, FACTORS + 1, dtype=np.float32) ** -FALL
    mixing = rng.standard_normal((FACTORS, width), dtype=np.float32) * deviations[:, None]
    signs = rng.standard_normal(FACTORS, dtype=np.float32) * SIGNAL

    def at(position: str, layers: tuple[int, ...]) -> np.ndarray:
        out = np.empty((len(layers), len(labels), width), dtype=np.float32)
        for k, layer in enumerate(layers):
            own = np.random.default_rng((int(position), layer))
            factors = own.standard_normal((len(labels), FACTORS), dtype=np.float32)
            factors += np.outer(labels - np.float32(0.5), signs * own.random(dtype=np.float32))
            np.matmul(factors, mixing, out=out[k])
            out[k] += NOISE * own.standard_normal(out[k].shape, dtype=np.float32)
        return out

    def read(positions: tuple[str, ...], layers: tuple[int, ...]) -> dict[str, np.ndarray]:
        return {position: at(position, layers) for position in positions}

    return read
