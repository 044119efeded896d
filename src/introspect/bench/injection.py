"""Injected concepts: a grid with every control against the clock, and what trials gain that share their beginnings."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from ..assets import spec_path
from ..backends import Sampling
from ..injection.cells import Cell
from ..injection.spec import Injection
from ..injection.subject import Subject, prepare_subject
from ..injection.thought import Thought
from ..injection.trials import Trial, first_tokens, steers
from ..spec_file import read_spec
from .processes import watched
from .rows import Row

if TYPE_CHECKING:
    from .setting import Setting

STUDY = "inject-thought"
WORDS = 10
MOST_MINUTES = 15
SHARED_GOAL = ">= 1.2"


def measure_inject(setting: Setting) -> Iterator[Row]:
    """Ten words, four layers, four strengths: minutes of the whole study; and a cell's first tokens, with the tokens
    before each injection run once for all trials of a wording, or in every trial.
    """
    yield _grid(setting)
    spec = read_spec(Injection, spec_path(STUDY), [f"limit={WORDS}", f"model={setting.model}"])
    subject = prepare_subject(spec, offline=True)
    layer = subject.layers[len(subject.layers) // 2]
    trials = Thought(subject).plan(Cell("exploration", layer, subject.strengths[0])).first
    yield setting.compare(
        f"first tokens of {len(trials)} trials of a cell: every trial's whole prompt / beginnings shared",
        _shared(subject, layer, trials),
        _whole(subject, layer, trials),
        of="peer / ours",
        goal=SHARED_GOAL,
        note="the peer is one token generated from each prompt, all prompts in one call",
    )


def _shared(subject: Subject, layer: int, trials: Sequence[Trial]) -> Callable[[], object]:
    return lambda: first_tokens(subject.backend, layer, trials, subject.loaded.info.width)


def _whole(subject: Subject, layer: int, trials: Sequence[Trial]) -> Callable[[], object]:
    tokens = sorted({token for each in trials for token in each.watch})
    return lambda: subject.backend.generate(
        [each.prompt for each in trials],
        seeds=[0] * len(trials),
        sampling=Sampling(1, 0.0, frozenset()),
        capture=None,
        watch=tokens,
        steer=steers(layer, trials, subject.loaded.info.width),
    )


def _grid(setting: Setting) -> Row:
    stage = f"introspect inject {STUDY} --limit {WORDS}"
    command = [sys.executable, "-m", "introspect", "inject", STUDY, "--limit", str(WORDS), "--model", setting.model]
    what = f"{stage}: 4 layers, 4 strengths, every control, and as many words held out"
    note = "model converted; peak resident set of the process, from the kernel"
    row = watched(setting, stage, [*command, "--out", str(setting.fresh())], what, note, (60 * MOST_MINUTES, math.inf))
    return row | {"goal": f"< {MOST_MINUTES} min"}
