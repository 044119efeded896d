"""The bias to yes: detection regressed on what the same injections do to unrelated questions whose answer is No."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..cells import Row
from ..stats import Estimate
from ..tables import line_of, table
from .found import Address, Found, standing
from .measures import corrected_line, line


class Lines(NamedTuple):
    """Label of an estimate -> its value."""

    shifts: dict[str, Estimate]
    """Of shifts of the log-odds of Yes."""
    stand: dict[str, Estimate]
    """Of these log-odds as they stand under the injection."""


def yes_bias(found: Found) -> Lines:
    """Detection on the bias to yes, both in log-odds: by how much they shift, and how they stand. See `Contrast`."""
    return Lines(_lines(found, found.raised), _lines(found, standing))


def _lines(found: Found, value: Callable[[Row], float | None]) -> dict[str, Estimate]:
    """Over words and cells, over cells, and corrected for noise in the bias."""
    biases: list[list[float]] = []
    y: list[float] = []
    words: list[str] = []
    means: list[tuple[float, float]] = []
    for place in found.grid:
        address: Address = ("exploration", *place)
        bias, detected = (found.each(address, "concept", ask, value) for ask in ("unrelated_no", "detect"))
        shared = [word for word in detected if word in bias]
        biases += [bias[word] for word in shared]
        y += [_mean(detected[word]) for word in shared]
        words += shared
        if shared:
            means.append((_mean([_mean(bias[word]) for word in shared]), _mean(y[-len(shared) :])))
    sizes = {"n": found.spec.bootstrap, "seed": found.spec.seed}
    over_words = line([_mean(each) for each in biases], y, words, **sizes)
    a, b = [each[0] for each in means], [each[1] for each in means]
    over_cells = line(a, b, range(len(means)), **sizes)
    most = max(map(len, biases), default=0)
    full = [i for i, each in enumerate(biases) if len(each) == most]
    corrected = corrected_line([biases[i] for i in full], [y[i] for i in full], [words[i] for i in full], **sizes)
    return {
        "r, over words and cells": over_words["r"],
        "slope": over_words["slope"],
        "intercept": over_words["intercept"],
        "r, over the means of cells": over_cells["r"],
        "reliability of the bias to yes": corrected["reliability"],
        "slope, corrected for it": corrected["slope"],
        "intercept, corrected for it": corrected["intercept"],
    }


def bias_table(found: Found, lines: Lines) -> dict[str, Any]:
    """What `yes_bias` gave."""
    return table(
        "Detection regressed on the bias to yes",
        "A point a word and cell of the grid: log-odds of Yes against No (nats) where a thought is asked for, against "
        f"those of unrelated questions whose answer is No ({found.spec.questions} a point): by how much the injection "
        "shifts them, and how they then stand, held to 1% and 99%. The intercept is the detection where those of "
        "unrelated questions are zero. A push of one size, whatever is asked, leaves the intercept of the shifts at "
        "zero, a push up to one level that of how they stand; and either may leave the other anywhere, since questions "
        "differ without injection. The lines take the bias for exact, and it is measured with noise, by few questions "
        "that differ: that flattens them, by the reliability given here (1 without noise; one-way intraclass "
        "correlation of the questions of a point, for their mean), and with a bias above zero leaves the intercept too "
        "high. The last two rows divide the slope by the reliability; that takes the noise to be independent of that "
        "in detection, and is a check, not a test. The verdict goes by the lesser of the two differences, word by "
        "word, which needs no slope. Intervals resample words.",
        [("shifts of log-odds", "number"), ("log-odds as they stand", "number")],
        [line_of(label, [each, lines.stand[label]]) for label, each in lines.shifts.items()],
    )


def _mean(values: list[float]) -> float:
    return float(np.mean(values))
