"""What all rows share: the model, the prompts, how large the work is, and a folder to write in."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..progress import Progress
from .rows import Row, Way, in_turns, make_row

if TYPE_CHECKING:
    from ..backends import Capture, ModelBackend
    from ..models import LoadedModel

REPEATS = 5


@dataclass(frozen=True)
class Sizes:
    """How large the work is."""

    prompts: int = 64
    """Generated side by side."""
    new_tokens: int = 80
    swept: int = 8
    """Prompts that are steered at several strengths at once."""
    batches: int = 2
    """Of `prompts`, in the row about capture: one is written while the next is made."""
    sequences: int = 64
    """Replayed, with lengths from a clipped lognormal distribution."""
    a_call: int = 32
    """Sequences given to one call of replay, or one batch of the plain forward pass."""
    shortest: int = 40
    typical: int = 110
    longest: int = 300
    probe_rows: int = 600
    """Items whose last prompt tokens are probed at every layer."""
    large_probes: tuple[int, int, int, int] = (8, 28, 2000, 3584)
    """Positions, layers, rows, width of the probes of a large model."""
    parts: int = 4
    """Of the store that is written and read."""
    part: tuple[int, int, int] = (30, 5184, 576)
    """Layers, rows, width of a part: 64 rollouts of 81 tokens of the embedded model."""
    rollouts: tuple[int, int] = (200, 2000)
    rollout_tokens: int = 16
    small_model: tuple[int, int] = (8, 256)
    """Layers and width of the random model whose rollouts are recorded."""
    explored: tuple[int, int] = (1000, 10000)
    """Rollouts of the runs that are looked at."""
    explored_model: tuple[int, int] = (2, 16)
    """Layers and width of their model."""

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


FULL = Sizes()
QUICK = Sizes(
    prompts=4,
    new_tokens=5,
    swept=2,
    batches=1,
    sequences=8,
    a_call=4,
    shortest=10,
    typical=20,
    longest=40,
    probe_rows=80,
    large_probes=(2, 2, 100, 40),
    parts=2,
    part=(3, 200, 64),
    rollouts=(8, 24),
    rollout_tokens=3,
    small_model=(2, 32),
    explored=(50, 150),
)


class Setting:
    """One run of the benchmark."""

    def __init__(
        self, model: str, organism: str | None, sizes: Sizes, repeats: int, progress: Progress, folder: Path
    ) -> None:
        self.model, self.organism, self.sizes = model, organism, sizes
        self.repeats, self.progress, self.folder = repeats, progress, folder

    @cached_property
    def loaded(self) -> LoadedModel:
        """The model with its organism, with default settings."""
        from ..models import load_model

        return load_model(self.model, adapter=self.organism)

    @cached_property
    def backend(self) -> ModelBackend:
        """What an experiment's `backend: auto` would take."""
        from ..backends import make_backend

        return make_backend("auto", self.loaded.model, self.capture)

    @cached_property
    def capture(self) -> Capture:
        """Every layer."""
        from ..backends import Capture

        return Capture(("resid_post",), tuple(range(self.loaded.info.n_layers)))

    @cached_property
    def prompts(self) -> list[list[int]]:
        """Token ids of risk items, as probe-risk takes them."""
        from ..models import render_prompt
        from ..plan import select_items
        from ..tasks.risk import evaluation_items

        items = select_items(evaluation_items(), {"id": self.sizes.prompts, "ood": 0})
        return [render_prompt(self.loaded, item.prompt) for item in items]

    def fresh(self) -> Path:
        """A new path to write to."""
        return self.folder / str(time.monotonic_ns())

    def clear(self) -> None:
        """Delete what was written, and let the disk come to rest, so that no run pays for the one before."""
        for path in self.folder.iterdir():
            if path.name.isdigit():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        os.sync()

    def compare(
        self,
        what: str,
        ours: Callable[[], object],
        peer: Callable[[], object],
        *,
        of: Way,
        goal: str,
        note: str = "",
        most_repeats: int | None = None,
        warm: bool = True,
    ) -> Row:
        """A row of seconds, both sides in turns.

        Args:
            most_repeats: fewer than the setting's, where a run takes a minute.
        """
        repeats = self.repeats if most_repeats is None else min(self.repeats, most_repeats)
        times = in_turns(
            what.partition(" / ")[0], ours, peer, repeats=repeats, progress=self.progress, before=self.clear, warm=warm
        )
        return make_row(what, *times, of=of, goal=goal, note=note)
