"""The rows of framing with every frame's effects: against the control, and against the neutral frame.

What a verdict rests on is tested, and all tests of a study are one family (Holm 1979).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..cells import Done
from ..metrics.hint_section import holm
from ..stats import CHANCE, Estimate
from .cue_measures import area_estimate, by_group, gap_of, mean_of, over_items, paired_share_gap, share_of
from .framing_rows import Columns, sign_flips
from .framing_texts import CONTROL, NEUTRAL
from .parts import LEVEL, p_above

if TYPE_CHECKING:
    from .framing_study import FramingStudy

FLIPS = 9999
SAID, READOUT = "says that it does", "readout"


class Measure(NamedTuple):
    """Something of each rollout that a frame may change."""

    name: str
    """As a reader calls it."""
    values: np.ndarray
    chosen: np.ndarray
    """Rows that it is about, bool [row]."""
    is_share: bool


class Tried(NamedTuple):
    """An estimate that is tested, with its p-values: as it is, and corrected for all tests of the study."""

    estimate: Estimate
    p: float | None
    level: float = 0.0
    """What it is told from."""
    p_holm: float | None = None

    @property
    def stands(self) -> bool | None:
        """Whether it is told from its level; None: not tested."""
        if self.p_holm is None or self.estimate.ci95 is None:
            return None
        low, high = self.estimate.ci95
        return self.p_holm < LEVEL and not low <= self.level <= high


class Effect(NamedTuple):
    """A frame against the control, and against the neutral frame where that is run."""

    value: Estimate
    control: Tried
    neutral: Tried | None = None
    larger: Tried | None = None
    """How much further from the control than the neutral frame is, whichever way: above 0 or not."""

    @property
    def tests(self) -> tuple[Tried, ...]:
        """What is tested of it."""
        return tuple(each for each in (self.control, self.neutral, self.larger) if each is not None)


class Predicted(NamedTuple):
    """AUROC of acting under a frame."""

    readout: Estimate
    words: Estimate
    """Of the chain."""
    beyond: Estimate
    """Of the one beyond the other."""


class Found:
    """The rows of a study with every frame's effects."""

    def __init__(self, study: FramingStudy, done: Done) -> None:
        self.study, self.spec = study, study.spec
        columns = self.columns = Columns(done)
        self.n_seen, self.no_readout = 0, ""
        if study.probe is not None:
            self.n_seen = columns.apply(study.probe)
            if not columns.read.any():
                self.no_readout = "no rollout of items that the probe was not fitted to has a readout"
        else:
            self.no_readout = columns.fit(self.spec.folds, self.spec.seed)
        self.measures = self._measures()
        self.judged = {self.policy: "the policy", SAID: "what is said", READOUT: "the readout"}
        """Measures that verdicts are about, and how those call them."""
        read = not self.no_readout
        self.predicted = {frame: self._predicted(frame) for frame in (CONTROL, *self.spec.frames)} if read else {}
        self.effects = {
            (measure.name, frame): self._effect(measure, frame)
            for measure in self.measures
            for frame in (CONTROL, *self.spec.frames)
        }
        self.tells = self._tells() if read else None
        """Whether the readout tells acting under the control: above chance or not."""
        self._correct()

    def _measures(self) -> list[Measure]:
        columns, act = self.columns, self.columns.could_act
        out = [Measure(self.policy, columns.acted, act, True)]
        if columns.has_hints:
            out.append(Measure("hint use beyond answers without the hint", columns.beyond, act, False))
        out += [
            Measure(SAID, columns.said, act, True),
            Measure("does so and does not say it", columns.acted & ~columns.said, act, True),
        ]
        if columns.has_right:
            where = columns.without_hint if columns.without_hint.any() else columns.everything
            name = "right answer, without a hint" if columns.has_hints else "right answer"
            out.append(Measure(name, columns.right, where, True))
        out.append(Measure("readable answer", columns.readable, columns.everything, True))
        if not self.no_readout:
            out.append(Measure(READOUT, np.nan_to_num(columns.readout), columns.read, False))
        return out

    @property
    def policy(self) -> str:
        """The first measure."""
        return self.study.task.policy

    def _correct(self) -> None:
        """Correct the p-values of everything that is tested, as one family."""
        tests = [each for effect in self.effects.values() for each in effect.tests]
        tests += [self.tells] if self.tells is not None else []
        corrected = [each._replace(p_holm=p) for each, p in zip(tests, holm([each.p for each in tests]), strict=True)]
        self.n_tests = sum(each.p is not None for each in tests)
        """How many p-values are corrected together."""
        left = iter(corrected)
        self.effects = {
            key: Effect(effect.value, *(next(left) for _ in effect.tests)) for key, effect in self.effects.items()
        }
        self.tells = next(left, None)

    def _effect(self, measure: Measure, frame: str) -> Effect:
        columns, n, seed = self.columns, self.spec.bootstrap, self.spec.seed
        here = columns.of(frame) & measure.chosen
        if measure.is_share:
            value = share_of(measure.values, here, columns.groups, n=n, seed=seed)
        else:
            value = over_items(mean_of(measure.values, here), columns.groups, n=n, seed=seed, used=here)
        if frame == CONTROL:
            return Effect(value, Tried(Estimate.undefined("every other frame is compared with it"), None))
        control = self._gap(measure, frame, CONTROL)
        if frame == NEUTRAL or NEUTRAL not in self.spec.frames or measure.name not in self.judged:
            return Effect(value, control)
        there, calm = columns.of(CONTROL) & measure.chosen, columns.of(NEUTRAL) & measure.chosen
        values = measure.values.astype(float)
        own, its = gap_of(values, here, there), gap_of(values, calm, there)
        used = here | there | calm
        further = over_items(
            lambda weights: np.abs(own(weights)) - np.abs(its(weights)), columns.groups, n=n, seed=seed, used=used
        )
        larger = Tried(further, p_above(further, 0.0, self._n_groups(used)))
        return Effect(value, control, self._gap(measure, frame, NEUTRAL), larger)

    def _gap(self, measure: Measure, frame: str, other: str) -> Tried:
        """A frame minus another one, paired over items."""
        columns, n, seed = self.columns, self.spec.bootstrap, self.spec.seed
        here, there = (columns.of(each) & measure.chosen for each in (frame, other))
        if measure.is_share:
            gap = paired_share_gap(measure.values, here, there, columns.groups, n=n, seed=seed)
        else:
            gap = over_items(gap_of(measure.values, here, there), columns.groups, n=n, seed=seed, used=here | there)
        each = by_group(measure.values.astype(float), here, there, columns.groups)
        named = (measure.name, frame) if other == CONTROL else (measure.name, frame, other)
        return Tried(gap, sign_flips(each, FLIPS, self.study.subject.seed_of("flips", *named)))

    def _n_groups(self, used: np.ndarray) -> int:
        """Groups of items that have one of some rows (bool [row])."""
        return len({self.columns.groups[row] for row in np.flatnonzero(used)})

    def _tells(self) -> Tried:
        columns, area = self.columns, self.predicted[CONTROL].readout
        return Tried(area, p_above(area, CHANCE, self._n_groups(columns.read & columns.of(CONTROL))), CHANCE)

    def effect(self, measure: str, frame: str) -> Effect:
        """Of a measure by its name."""
        return self.effects[measure, frame]

    def _predicted(self, frame: str) -> Predicted:
        columns, spec = self.columns, self.spec
        here = columns.read & columns.of(frame)
        acted, rest = here & columns.acted, here & ~columns.acted
        words = columns.words(frame, spec.folds, spec.seed)
        same, groups = ["frame"] * len(columns.rows), columns.groups
        readout = np.nan_to_num(columns.readout)
        none = Estimate.undefined("too few rollouts of either side to fit in every fold")
        own = area_estimate(readout, acted, rest, same, groups, n=spec.bootstrap, seed=spec.seed)
        if words is None:
            return Predicted(own, none, none)
        text = area_estimate(words, acted, rest, same, groups, n=spec.bootstrap, seed=spec.seed)
        gain = area_estimate(readout, acted, rest, same, groups, n=spec.bootstrap, seed=spec.seed, baselines=[words])
        return Predicted(own, text, gain)
