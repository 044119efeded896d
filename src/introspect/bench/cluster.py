"""A recording by two workers of one core each, against half of what one such worker takes alone."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..cluster.crew import Crew
from ..cluster.errand import use_threads
from ..cluster.options import ClusterOptions
from ..cluster.recording import begin_recording, spread_record
from ..experiment import load_experiment
from ..hands import in_turn
from ..prepare import prepare
from ..progress import silent
from ..record import record
from ..turns import first_turn, turn_maker
from .rows import Row, in_turns, make_row, short

if TYPE_CHECKING:
    from .setting import Setting

WORKERS, SAMPLES, PARTS = 2, 2, 8
MOST_REPEATS = 3
"""One worker alone takes about a minute."""


def measure_ray(setting: Setting) -> Iterator[Row]:
    """Two workers / half of one."""
    items, tokens = setting.sizes.prompts, setting.sizes.new_tokens
    size = max(1, items * SAMPLES // PARTS)
    organism = "null" if setting.organism is None else json.dumps(setting.organism)
    overrides = [f"model={json.dumps(setting.model)}", f"organism={organism}", "negative_control=null"]
    overrides += [f"limit={{id: {items}, ood: 0}}", f"generation.samples={SAMPLES}"]
    overrides += [f"generation.{key}={size}" for key in ("batch_size", "part_size")]
    spec = load_experiment("probe-risk", [*overrides, f"generation.max_new_tokens={tokens}"])
    begun = time.perf_counter()
    options = ClusterOptions(workers=WORKERS, threads=1)
    with Crew(options, setting.folder) as crew:
        begin_recording(crew, spec, setting.folder, offline=True)
        prepared = prepare(spec, offline=True)
        maker = turn_maker(prepared, first_turn(prepared, setting.folder))

        def fresh() -> Path:
            out = setting.fresh()
            out.mkdir()
            return out

        def together() -> None:
            out = fresh()
            record(out, maker, progress=silent, hands=spread_record(crew, spec, out, 0, maker, offline=True))

        def alone() -> None:
            before = use_threads(1)
            try:
                record(fresh(), maker, progress=silent, hands=in_turn)
            finally:
                use_threads(before)

        together()
        started = time.perf_counter() - begun
        ours, one = in_turns(
            f"record by {WORKERS} workers",
            together,
            alone,
            repeats=min(setting.repeats, MOST_REPEATS),
            progress=setting.progress,
            before=setting.clear,
            warm=False,
        )
    n_rollouts = sum(map(len, maker.parts))
    row = make_row(
        f"record {n_rollouts} rollouts of at most {tokens} tokens in {len(maker.parts)} parts, every layer and token, "
        f"by {WORKERS} workers of one core / half of what one takes alone",
        ours,
        [seconds / WORKERS for seconds in one],
        of="ours / peer",
        goal="<= 1.15",
        note="this process is one of the workers; both have their models loaded; starting the cluster and the other "
        "worker, and a first recording, which warms both up, are not in it",
    )
    yield row | {"before the first (s)": short(started)}
