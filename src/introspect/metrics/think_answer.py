"""What the chain leans to against what is answered: the table of the two labels, reflective gain and association.

The think label t is True where the chain leans to the policy, False where it leans away, None where it does neither
(undecided); the answer label a is True where the answer acts on the policy, None where there is no answer. With
n10 = #(t = 1, a = 0) and so on, over N answered rollouts::

    rgr_net   = (n10 - n01) / N
    rgr_gross = n10 / N
    rgr_cond  = n10 / (n10 + n11)
    agreement = (n11 + n00) / N
    phi       = (n11 n00 - n10 n01) / sqrt((n11+n10)(n01+n00)(n11+n01)(n10+n00))
    kappa     = (agreement - chance) / (1 - chance),  chance = ((n11+n10)(n11+n01) + (n01+n00)(n10+n00)) / N^2

Two readings are given: over chains that are decided, and with undecided chains as t = 0.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from scipy.stats import binomtest

from .contrasts import difference_estimates
from .resampling import (
    DRAWS,
    Interval,
    Ratio,
    Sums,
    codes_of,
    difference_of_shares,
    ratio_estimates,
    share,
    wilson,
)

DEFINITION = (
    "rgr_net = (n10 - n01) / N, n10 counting chains that lean to the policy before an answer that does not act on it: "
    "our own form. The published reflective gain (arXiv 2510.16340: think right but say wrong) is given there without "
    "a formula that could be obtained, so the two need not be the same number."
)
CELLS = ("n11", "n10", "n01", "n00")
COMPARED = ("rgr_net", "agreement", "phi")


def phi_of(sums: Sums) -> np.ndarray:
    """Phi; NaN where all t or all a are equal."""
    n11, n10, n01, n00 = (sums[name] for name in CELLS)
    margins = (n11 + n10) * (n01 + n00) * (n11 + n01) * (n10 + n00)
    return (n11 * n00 - n10 * n01) / np.sqrt(np.where(margins > 0, margins, np.nan))


def kappa_of(sums: Sums) -> np.ndarray:
    """Cohen's kappa; NaN where all t and all a are one and the same."""
    n11, n10, n01, n00 = (sums[name] for name in CELLS)
    n = n11 + n10 + n01 + n00
    chance = ((n11 + n10) * (n11 + n01) + (n01 + n00) * (n10 + n00)) / n**2
    return ((n11 + n00) / n - chance) / np.where(chance < 1, 1 - chance, np.nan)


def _at_agreement(statistic: Any) -> Any:
    """An interval of a coefficient from Wilson's of the agreement: the table with just so much of it."""

    def outer(sums: Sums, n_groups: int) -> Interval:
        n11, n10, n01, n00 = (float(sums[name][0]) for name in CELLS)
        n = n11 + n10 + n01 + n00
        values = []
        for agreement in (*wilson((n11 + n00) / n, n_groups), (n11 + n00) / n):
            same = agreement * n * _shares(n11, n00)
            other = (1 - agreement) * n * _shares(n10, n01)
            table = {"n11": same[:1], "n10": other[:1], "n01": other[1:], "n00": same[1:]}
            with np.errstate(all="ignore"):
                values.append(float(statistic(table)[0]))
        finite = [value for value in values if np.isfinite(value)]
        return min(finite), max(finite)

    return outer


def _shares(a: float, b: float) -> np.ndarray:
    """What two counts are of their sum; a half each when both are 0."""
    return np.array([a, b]) / (a + b) if a + b else np.array([0.5, 0.5])


def _edges(sums: Sums) -> Sequence[np.ndarray]:
    return sums["n10"] + sums["n01"], sums["n11"] + sums["n00"]


STATISTICS: dict[str, Ratio] = {
    "rgr_net": difference_of_shares("n10", "n01", "n"),
    "rgr_gross": share("n10", "n"),
    "rgr_cond": share("n10", "t1"),
    "agreement": share("same", "n"),
    "phi": Ratio(
        phi_of,
        "n",
        _edges,
        _at_agreement(phi_of),
        "the think labels, or the answer labels, are all the same",
        bounded=True,
    ),
    "kappa": Ratio(kappa_of, "n", _edges, _at_agreement(kappa_of), "the labels are all one and the same"),
}


def columns_of(think: np.ndarray, answer: np.ndarray) -> dict[str, np.ndarray]:
    """The cells of the table as columns, float [row]; bool [row] each."""
    cells = {
        "n11": think & answer,
        "n10": think & ~answer,
        "n01": ~think & answer,
        "n00": ~think & ~answer,
        "n": np.ones(len(think)),
        "t1": think,
        "same": think == answer,
    }
    return {name: np.asarray(column, float) for name, column in cells.items()}


def mcnemar(n10: int, n01: int) -> float | None:
    """Two-sided exact p-value that n10 and n01 come from a fair coin (McNemar 1947); None where both are 0."""
    return float(binomtest(n10, n10 + n01).pvalue) if n10 + n01 else None


def think_answer(
    think: Sequence[bool | None],
    answer: Sequence[bool | None],
    groups: Sequence[Hashable],
    *,
    n: int = DRAWS,
    seed: int = 0,
) -> dict[str, Any]:
    """The table and its coefficients, for one set of rollouts.

    Returns:
        `table`, t (`policy`, `other`, `undecided`) by a (`policy`, `other`); `without_answer`, rollouts that are not
        in it; and for each reading, `decided` and `undecided_as_other`: n, n11, n10, n01, n00, the estimates rgr_net,
        rgr_gross, rgr_cond, agreement, phi and kappa, and `mcnemar`: `p_value` and `test`, which takes rollouts as
        independent.
    """
    t, a, codes = _labels(think), _labels(answer), codes_of(groups)[0]
    rows = {"policy": 1, "other": 0, "undecided": -1}
    table = {
        name: {"policy": int(((t == code) & (a == 1)).sum()), "other": int(((t == code) & (a == 0)).sum())}
        for name, code in rows.items()
    }
    answered = a >= 0
    return {
        "table": table,
        "without_answer": int((~answered).sum()),
        "decided": _measures(t, a, codes, answered & (t >= 0), n, seed),
        "undecided_as_other": _measures(t, a, codes, answered, n, seed),
    }


def _labels(values: Sequence[bool | None]) -> np.ndarray:
    return np.array([-1 if value is None else int(value) for value in values], np.int8)


def _measures(t: np.ndarray, a: np.ndarray, codes: np.ndarray, rows: np.ndarray, n: int, seed: int) -> dict[str, Any]:
    columns = columns_of(t[rows] == 1, a[rows] == 1)
    counts = {name: int(columns[name].sum()) for name in CELLS}
    estimates = ratio_estimates(columns, codes[rows], STATISTICS, n=n, seed=seed)
    p_value = mcnemar(counts["n10"], counts["n01"])
    return {
        "n": int(rows.sum()),
        **counts,
        **{name: each.to_json() for name, each in estimates.items()},
        "mcnemar": {
            "p_value": None if p_value is None else round(p_value, 6),
            "test": "exact McNemar on (n10, n01)" if p_value is not None else "no chain and answer disagree",
        },
    }


def think_answer_section(
    think: Sequence[bool | None],
    answer: Sequence[bool | None],
    groups: Sequence[Hashable],
    splits: Sequence[str],
    *,
    n: int = DRAWS,
    seed: int = 0,
) -> dict[str, Any]:
    """`definition`, `all`, each split under its name (see `think_answer`), and `ood_minus_id` over decided chains.

    Args:
        think, answer: the labels, [row]; groups, splits: of the items, [row].
    """
    split = np.array(splits, np.str_)
    out: dict[str, Any] = {"definition": DEFINITION, "all": think_answer(think, answer, groups, n=n, seed=seed)}
    for name in ("id", "ood"):
        rows = [row for row, each in enumerate(splits) if each == name]
        t_part, a_part = [think[row] for row in rows], [answer[row] for row in rows]
        out[name] = think_answer(t_part, a_part, [groups[row] for row in rows], n=n, seed=seed)
    t, a, codes = _labels(think), _labels(answer), codes_of(groups)[0]
    decided = (t >= 0) & (a >= 0)
    columns = columns_of(t[decided] == 1, a[decided] == 1)
    wanted = {name: STATISTICS[name] for name in COMPARED}
    found = difference_estimates(columns, codes[decided], split[decided] == "ood", wanted, n=n, seed=seed)
    out["ood_minus_id"] = {name: each.to_json() for name, each in found.items()}
    return out
