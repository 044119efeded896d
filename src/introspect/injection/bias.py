"""The bias to yes: detection regressed on what the same injections do to unrelated questions whose answer is No."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..stats import Estimate
from .found import Address, Found, line_of, table
from .measures import corrected_line, line


def yes_bias(found: Found) -> dict[str, Estimate]:
    """Detection on the bias to yes: over words and cells, over cells, and corrected for noise in the bias."""
    biases: list[list[float]] = []
    y: list[float] = []
    words: list[str] = []
    means: list[tuple[float, float]] = []
    for place in found.grid:
        address: Address = ("exploration", *place)
        bias, detected = found.each_shift(address, "unrelated_no"), found.word_shifts(address, "detect")
        shared = [word for word in detected if word in bias]
        biases += [bias[word] for word in shared]
        y += [detected[word] for word in shared]
        words += shared
        if shared:
            means.append((_mean([_mean(bias[word]) for word in shared]), _mean([detected[word] for word in shared])))
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


def bias_table(found: Found, lines: dict[str, Estimate]) -> dict[str, Any]:
    """What `yes_bias` gave."""
    return table(
        "Detection regressed on the bias to yes",
        "A point a word and cell of the grid: by how much P(yes) - P(no) shifts where a thought is asked for, against "
        f"the same for unrelated questions whose answer is No ({found.spec.questions} a point). The intercept is the "
        "detection where that is zero. The line takes the bias for exact, and it is measured with noise, by few "
        "questions that differ: that flattens the line, by the reliability given here (1 without noise; one-way "
        "intraclass correlation of the questions of a point, for their mean), and with a bias above zero leaves the "
        "intercept too high. The last two lines divide the slope by the reliability; that takes the noise to be "
        "independent of that in detection, and is a check, not a test. The verdict goes by the difference word by "
        "word, which needs no slope. Intervals resample words.",
        [("estimate", "number")],
        [line_of(label, [each]) for label, each in lines.items()],
    )


def _mean(values: list[float]) -> float:
    return float(np.mean(values))
