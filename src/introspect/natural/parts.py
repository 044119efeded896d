"""Parts of results.json: figures and findings. Labels of figures are plain words, since plotly reads markup."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy.stats import t as student

from ..metrics.hint_section import holm
from ..report import number
from ..stats import Estimate

NOT_PLAIN = re.compile(r"[^A-Za-z0-9 .,:()%+'-]")
LEVEL = 0.05
"""Of a corrected p-value, below which a criterion is supported."""
SUPPORTED, NOT, UNKNOWN, UNTESTED = "supported", "not supported", "cannot tell", "not tested"


def figure(
    title: str,
    axes: tuple[str, str],
    series: Mapping[str, Mapping[Any, Estimate]],
    *,
    kind: Literal["lines", "points"] = "lines",
    at: float | None = None,
) -> dict[str, Any]:
    """A figure: estimates with their intervals, along numbers (`lines`) or for names (`points`).

    Args:
        axes: titles of x and y.
        series: label -> x -> estimate.
        at: where a dashed line says what chance or nothing would be; None: none.
    """
    return {
        "title": title,
        "kind": kind,
        "x_title": plain(axes[0]),
        "y_title": plain(axes[1]),
        "at": at,
        "series": [
            {
                "label": plain(label),
                "x": [plain(x) if isinstance(x, str) else x for x in found],
                "estimates": [each.to_json() for each in found.values()],
            }
            for label, found in series.items()
        ],
    }


def finding(criterion: str, found: str, reason: str) -> dict[str, str]:
    """A line of the verdict."""
    return {"criterion": criterion, "finding": found, "reason": reason}


def above(estimates: Sequence[Estimate], level: float = 0.0) -> str:
    """Whether all intervals lie above a level; undecided where one is missing, and no other reaches down to it."""
    bounds = [each.ci95 for each in estimates]
    if not bounds:
        return UNTESTED
    if any(each is not None and each[0] <= level for each in bounds):
        return NOT
    return UNKNOWN if any(each is None for each in bounds) else SUPPORTED


class Rank(NamedTuple):
    """Where something stands among draws that say what chance gives."""

    p: float
    """Share of the draws, and of itself, that go as far."""
    n_draws: int
    draw: str
    """What a draw is."""
    more: str
    """What is set for more of them."""

    def lacks(self, n_tests: int) -> str:
        """That no rank among so few would be enough, and how many are."""
        return (
            f"{self.n_draws} {self.draw} give no less than {1 / (1 + self.n_draws):.2g}: set "
            f"{self.more}={int(np.ceil(n_tests / LEVEL))}"
        )


class Claim(NamedTuple):
    """A criterion that holds where each of some estimates lies above a level of its own, and a rank is high."""

    criterion: str
    parts: Sequence[tuple[Estimate, float]]
    """Estimates with their levels."""
    n_groups: int
    """How many were resampled for their intervals: the fewest."""
    reason: str
    rank: Rank | None = None
    """Which has to be told from chance as well; None: there is none."""


def settled(claims: Sequence[Claim]) -> list[dict[str, str]]:
    """Findings on criteria of one kind, corrected (Holm 1979) for how many there are: supported where all intervals lie
    above their levels and the corrected p-value of the weakest, or of the rank where that is larger, is below .05.
    Cannot tell: it is not, and with so few draws it would not be at the best of ranks.
    """
    own = [_weakest(each) for each in claims]
    weakest = [_larger(p, each.rank and each.rank.p) for p, each in zip(own, claims, strict=True)]
    n_tests, out = sum(p is not None for p in weakest), []
    for at, (claim, p, corrected) in enumerate(zip(claims, weakest, holm(weakest), strict=True)):
        found = [above([estimate], level) for estimate, level in claim.parts]
        what, reason = next((each for each in (NOT, UNKNOWN) if each in found), SUPPORTED), claim.reason
        if p is not None and corrected is not None:
            reason += f"; p = {p:.2g}" + (f", corrected for {n_tests} {corrected:.2g}" if n_tests > 1 else "")
            if what == SUPPORTED and corrected >= LEVEL:
                what = NOT
                if claim.rank is not None and _in_vain(claim.rank, own[at], weakest, at):
                    what, reason = UNKNOWN, f"{reason}; {claim.rank.lacks(n_tests)}"
        out.append(finding(claim.criterion, what, reason))
    return out


def p_above(estimate: Estimate, level: float, n_groups: int) -> float | None:
    """Two-sided p-value of an estimate's lying above a level, from its interval (Altman & Bland 2011, BMJ 343, d2304):
    its spread downwards is taken for Student's, so that p is below .05 just where the interval lies above the level.
    """
    if estimate.value is None or estimate.ci95 is None or n_groups < 2:
        return None
    over, down = estimate.value - level, estimate.value - estimate.ci95[0]
    if over <= 0 or down <= 0:
        return 1.0 if over <= 0 else 0.0
    return float(2 * student.sf(student.ppf(0.975, n_groups - 1) * over / down, n_groups - 1))


def _weakest(claim: Claim) -> float | None:
    found = [p_above(estimate, level, claim.n_groups) for estimate, level in claim.parts]
    known = [p for p in found if p is not None]
    return max(known) if known and len(known) == len(found) else None


def _larger(p: float | None, other: float | None) -> float | None:
    return p if p is None or other is None else max(p, other)


def _in_vain(rank: Rank, own: float | None, every: Sequence[float | None], at: int) -> bool:
    """Whether intervals alone would support a claim, and with the best of ranks they would not.

    Args:
        own: p-value of the claim's intervals; every: those of all claims, of which it is the one at a place.
    """

    def corrected(p: float | None) -> float:
        found = holm([*every[:at], p, *every[at + 1 :]])[at]
        return 1.0 if found is None else found

    return corrected(own) < LEVEL <= corrected(_larger(own, 1 / (1 + rank.n_draws)))


def coarse(dtype: str) -> list[str]:
    """A warning where log-probabilities come from 16-bit logits; none where they do not."""
    if dtype not in ("bfloat16", "float16"):
        return []
    return [f"Logits in {dtype} come in steps of up to 1/8: small differences are lost in them. Set dtype=float32."]


def said(estimate: Estimate) -> str:
    """An estimate in words: its value and interval, or why there is none."""
    return number(estimate.to_json())


def plain(text: str) -> str:
    """A text as a label of a figure."""
    return NOT_PLAIN.sub(" ", text)[:120] or " "
