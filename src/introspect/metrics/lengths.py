"""Length of the chain, in tokens, by what the chain says, by what was done and by how hard the question is.

A chain whose rollout names no answer may have been cut short at the limit, so its length is not known: those rollouts
are left out, and how many they are is said. All means and medians of a section come from one resampling of groups.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from ..rollout import RolloutSummary
from ..stats import MIN_GROUPS, Estimate, interval
from ..verdicts.verdict import VERDICTS, Verdict
from .contrasts import TEST, permutation_p
from .hint_rows import level_of, verdict_name
from .resampling import CHUNK, DRAWS, MOST_UNDEFINED, Ratio, chunks, codes_of, even_draws

MEAN = Ratio(lambda sums: sums["tokens"] / sums["rows"], "rows")
BOOTSTRAP_TEST = "bootstrap over groups"
EVERY = "all"
Sets = Mapping[str, np.ndarray]
"""Name -> rows, bool [row]."""


def lengths_section(
    rollouts: Iterable[RolloutSummary], verdicts: Mapping[int, Verdict], *, n: int = DRAWS, seed: int = 0
) -> dict[str, Any]:
    """The lengths of the chains of a run.

    Returns:
        `without_answer` (rollouts left out), `all` (mean and median), and `by_verdict`, `by_acted`, `by_level`, each
        with mean and median of every set and, under `differences`, those of each two: `first`, `second`, and see
        `length_difference`.
    """
    records = list(rollouts)
    kept = [record for record in records if record.answer is not None]
    tokens = np.array([record.chain_tokens for record in kept], np.int64)
    names = np.array([verdict_name(verdicts.get(record.rollout)) for record in kept], np.str_)
    acted = np.array([record.acted is True for record in kept], bool)
    levels = np.array([level_of(record) for record in kept], float)
    by: dict[str, dict[str, np.ndarray]] = {
        "by_verdict": {name: names == name for name in VERDICTS},
        "by_acted": {"acted": acted, "not_acted": ~acted},
        "by_level": {f"{level:g}": levels == level for level in np.unique(levels[np.isfinite(levels)])},
    }
    sets = {f"{key}/{name}": rows for key, masks in by.items() for name, rows in masks.items() if rows.any()}
    lengths = Lengths(tokens, codes_of([record.group for record in kept])[0], {EVERY: tokens >= 0, **sets}, n, seed)
    out: dict[str, Any] = {"without_answer": len(records) - len(kept), EVERY: lengths.of(EVERY)}
    for key, masks in by.items():
        there = [name for name in masks if f"{key}/{name}" in sets]
        out[key] = {name: lengths.of(f"{key}/{name}") for name in there}
        out[key]["differences"] = [
            {"first": a, "second": b, **lengths.difference(f"{key}/{a}", f"{key}/{b}")}
            for a, b in combinations(there, 2)
        ]
    return out


def length_difference(
    tokens: np.ndarray, groups: np.ndarray, first: np.ndarray, second: np.ndarray, *, n: int = DRAWS, seed: int = 0
) -> dict[str, Any]:
    """Mean and median length of the first set minus that of the second, paired over groups that are in both.

    Args:
        tokens: int [row]; groups: int [row].
        first, second: bool [row]; no row is in both.

    Returns:
        `mean` and `median`, each with `difference`, `p_value` and `test`. The median's test is that of the bootstrap:
        twice the smaller share of replicates on one side of 0.
    """
    return Lengths(tokens, groups, {"first": first, "second": second}, n, seed).difference("first", "second")


class Lengths:
    """Means and medians of sets of chains in the same resamples of groups; tokens and groups are int [row]."""

    def __init__(self, tokens: np.ndarray, groups: np.ndarray, sets: Sets, n: int, seed: int) -> None:
        self._tokens, self._sets, self._n, self._seed = tokens, sets, n, seed
        self._codes = ordered_codes(tokens, codes_of(groups)[0], sets)
        self._drawn = resampled_lengths(tokens, self._codes, sets, n, seed)

    def of(self, name: str) -> dict[str, Any]:
        """Mean and median of a set, each an `Estimate.to_json()`."""
        values = self._values(name)
        return {
            each: self._estimate([name], values[each], self._drawn[name][each]).to_json() for each in ("mean", "median")
        }

    def difference(self, first: str, second: str) -> dict[str, Any]:
        """See `length_difference`."""
        a, b = self._values(first), self._values(second)
        out = {}
        for each in ("mean", "median"):
            gap = self._drawn[first][each] - self._drawn[second][each]
            estimate = self._estimate([first, second], a[each] - b[each], gap)
            p_value, test = None, TEST if each == "mean" else BOOTSTRAP_TEST
            if estimate.value is not None:
                p_value = self._permutation_p(first, second) if each == "mean" else _bootstrap_p(gap)
            p_value = None if p_value is None else round(p_value, 6)
            out[each] = {"difference": estimate.to_json(), "p_value": p_value, "test": test}
        return out

    def _values(self, name: str) -> dict[str, float]:
        tokens = self._tokens[self._sets[name]]
        if not len(tokens):
            return {"mean": np.nan, "median": np.nan}
        return {"mean": float(tokens.mean()), "median": float(np.median(tokens))}

    def _estimate(self, names: list[str], value: float, drawn: np.ndarray) -> Estimate:
        if np.isnan(value):
            return Estimate.undefined("no such chains")
        n_groups = min(len(np.unique(self._codes[self._sets[name]])) for name in names)
        if n_groups < MIN_GROUPS:
            return Estimate.undefined(f"{n_groups} groups are too few for an interval (at least {MIN_GROUPS})")
        if np.isnan(drawn).mean() > MOST_UNDEFINED:
            return Estimate.undefined("undefined in more than a tenth of the bootstrap replicates: too little data")
        n_rows = sum(int(self._sets[name].sum()) for name in names)
        return Estimate(value, interval(drawn, n_groups), n_rows, "bootstrap over groups")

    def _permutation_p(self, first: str, second: str) -> float | None:
        either = self._sets[first] | self._sets[second]
        columns = {"tokens": self._tokens[either].astype(float), "rows": np.ones(int(either.sum()))}
        side = self._sets[first][either]
        return permutation_p(columns, self._codes[either], side, MEAN, n=self._n, seed=self._seed)


def _bootstrap_p(drawn: np.ndarray) -> float:
    drawn = drawn[np.isfinite(drawn)]
    side = min((drawn <= 0).sum(), (drawn >= 0).sum())
    return float(min(1.0, 2 * (1 + side) / (1 + len(drawn))))


def ordered_codes(tokens: np.ndarray, codes: np.ndarray, sets: Sets) -> np.ndarray:
    """Groups numbered by what is in them, so that nothing drawn depends on their names or on the order of rows, [row].

    Args:
        tokens, codes: int [row].
    """
    masks = np.zeros((len(tokens), 0), bool) if not sets else np.stack([*sets.values()], axis=1)
    kinds = np.unique(np.column_stack([masks, tokens]), axis=0, return_inverse=True)[1].ravel()
    held: dict[int, list[int]] = {}
    for row in np.lexsort((kinds, codes)):
        held.setdefault(int(codes[row]), []).append(int(kinds[row]))
    rank = {code: place for place, code in enumerate(sorted(held, key=held.__getitem__))}
    return np.array([rank[int(code)] for code in codes], np.int64)


def resampled_lengths(
    tokens: np.ndarray, codes: np.ndarray, sets: Sets, n: int, seed: int
) -> dict[str, dict[str, np.ndarray]]:
    """Set -> `mean` and `median` in every resample of groups, [replicate]; NaN where none of the set is drawn.

    Lengths are counted within groups, [group, distinct length], so a resample's counts are a product of matrices.
    """
    distinct, places = np.unique(tokens, return_inverse=True)
    n_groups = int(codes.max()) + 1 if len(codes) else 0
    drawn = {name: {each: np.full(n, np.nan) for each in ("mean", "median")} for name in sets}
    counts = {
        name: csr_array((np.ones(int(rows.sum())), (codes[rows], places[rows])), shape=(n_groups, len(distinct)))
        for name, rows in sets.items()
    }
    if not n_groups:
        return drawn
    rng = np.random.default_rng(seed)
    for part in chunks(n, max(1, CHUNK // max(n_groups, len(distinct)))):
        times = even_draws(n_groups, rng, part.stop - part.start)
        for name, table in counts.items():
            weights = times @ table
            drawn[name]["median"][part] = weighted_medians(distinct, weights)
            with np.errstate(all="ignore"):
                drawn[name]["mean"][part] = weights @ distinct / weights.sum(axis=1)
    return drawn


def weighted_medians(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The median of each row of counts, NaN where all are 0; of an even number of values, the mean of the middle two.

    Args:
        values: ascending [value].
        weights: how often each value is there, [replicate, value].
    """
    running = weights.cumsum(axis=1)
    total = running[:, -1:]
    lower = (running >= (total + 1) // 2).argmax(axis=1)
    upper = (running >= total // 2 + 1).argmax(axis=1)
    return np.where(total[:, 0] > 0, (values[lower] + values[upper]) / 2, np.nan)
