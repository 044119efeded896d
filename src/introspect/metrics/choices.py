"""Which answers are given: their distribution, how concentrated it is, and what the order of the options has to do
with it.

Rollouts are taken apart by split and by the set of options that their items offer. Two tests say whether an answer is
favoured. `uniform`: each group's counts of answers are rotated among the options at random; where no option is
favoured, that leaves the distribution as it is. `position_only`: as many answers are drawn for each order of the
options as were given, by the share of each position alone; it says whether names matter beyond the places at which
they stand, and takes rollouts as independent.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..rollout import RolloutSummary
from .concentration import entropy_estimate, modal_share_estimate
from .resampling import DRAWS, chunks, codes_of, group_sums, make_cells, ratio_estimates, share

UNIFORM_TEST = "rotation of the answers within groups"
POSITION_TEST = "parametric bootstrap of positions; rollouts taken as independent"


def choices_section(
    rollouts: Iterable[RolloutSummary], *, n: int = DRAWS, seed: int = 0
) -> dict[str, list[dict[str, Any]]]:
    """Split -> one entry for each set of options, in alphabetical order; see `choices`."""
    sets: dict[tuple[str, tuple[str, ...]], list[RolloutSummary]] = {}
    for record in rollouts:
        sets.setdefault((record.split, tuple(sorted(record.options))), []).append(record)
    out: dict[str, list[dict[str, Any]]] = {}
    for split, options in sorted(sets):
        out.setdefault(split, []).append(choices(sets[split, options], options, n=n, seed=seed))
    return out


def shown_order(prompt: str, options: tuple[str, ...]) -> tuple[str, ...] | None:
    r"""The options in the order in which a prompt offers them; None when that cannot be told.

    That of the lines that begin with an option's name and `)` or `:`; where there is no such line for every option,
    that of the answers which the last line asks for.

    >>> shown_order("A car?\nB) yes\nA) no\nAnswer: A or B.", ("A", "B"))
    ('B', 'A')
    >>> shown_order("Rock, paper?\nThink, then write Answer: paper or Answer: rock.", ("paper", "rock"))
    ('paper', 'rock')
    """
    for pattern, text in zip(_patterns(options), (prompt, _asked(prompt)), strict=True):
        found = dict.fromkeys(match[1] for match in pattern.finditer(text))
        if len(found) == len(options):
            return tuple(found)
    return None


def _asked(prompt: str) -> str:
    """What the last line asks for as an answer."""
    return prompt.rstrip().rpartition("\n")[2].partition("Answer:")[2]


@functools.lru_cache(maxsize=256)
def _patterns(options: tuple[str, ...]) -> tuple[re.Pattern[str], re.Pattern[str]]:
    names = "|".join(re.escape(name) for name in sorted(options, key=lambda name: (-len(name), name)))
    return re.compile(rf"^({names})[):]", re.MULTILINE), re.compile(rf"(?<!\w)({names})(?!\w)")


def choices(
    records: list[RolloutSummary], options: tuple[str, ...], *, n: int = DRAWS, seed: int = 0
) -> dict[str, Any]:
    """The answers of rollouts whose items all offer the same options.

    Returns:
        `options`, `n` answered, `without_answer`; `answers`: option -> share; `modal_answer` (the most frequent; of
        several, the first by name), `modal_share`, `entropy` (over ln of how many options there are: 0 one
        answer only, 1 all equally often; less its bias), see `concentration` for both; `uniform`: `p_value`, `test`;
        `position`: see `positions`.
    """
    answered = [record for record in records if record.answer in options]
    given = np.array([options.index(record.answer or "") for record in answered], np.int64)
    codes, n_groups = codes_of([record.group for record in answered])
    columns = {f"answer {name}": (given == place).astype(float) for place, name in enumerate(options)}
    names = list(columns)
    columns["n"] = np.ones(len(given))
    found = ratio_estimates(columns, codes, {name: share(name, "n") for name in names}, n=n, seed=seed)
    counts = [int(columns[name].sum()) for name in names]
    table = group_sums({name: columns[name] for name in names}, codes, n_groups)
    return {
        "options": list(options),
        "n": len(given),
        "without_answer": len(records) - len(given),
        "answers": {option: found[name].to_json() for option, name in zip(options, names, strict=True)},
        "modal_answer": options[int(np.argmax(counts))] if len(given) else None,
        "modal_share": modal_share_estimate(table, n=n, seed=seed).to_json(),
        "entropy": entropy_estimate(table, n=n, seed=seed).to_json(),
        "uniform": {"p_value": uniform_p(table, n=n, seed=seed), "test": UNIFORM_TEST},
        "position": positions(answered, options, n=n, seed=seed),
    }


def uniform_p(table: np.ndarray, *, n: int = DRAWS, seed: int = 0) -> float | None:
    """P that counts as uneven as these, or more, come where no option is favoured; None without answers.

    Args:
        table: counts [group, option].
    """
    if not table.sum():
        return None
    k, cells, rng = table.shape[1], make_cells(table), np.random.default_rng(seed)
    least = _unevenness(table.sum(axis=0)) * (1 - 1e-12)
    as_uneven = 0
    for part in chunks(n, max(1, cells.chunk() // k)):
        turned = rng.multinomial(cells.counts, np.full(k, 1 / k), size=(part.stop - part.start, len(cells.counts)))
        totals = sum(turned[:, :, by] @ np.roll(cells.sums, by, axis=1) for by in range(k))
        as_uneven += int((_unevenness(np.asarray(totals)) >= least).sum())
    return round((1 + as_uneven) / (1 + n), 6)


def _unevenness(counts: np.ndarray) -> np.ndarray:
    """Pearson's statistic against equal counts, [..., option] -> [...]."""
    expected = counts.sum(axis=-1, keepdims=True) / counts.shape[-1]
    out: np.ndarray = ((counts - expected) ** 2 / expected).sum(axis=-1)
    return out


def positions(
    records: list[RolloutSummary], options: tuple[str, ...], *, n: int = DRAWS, seed: int = 0
) -> dict[str, Any]:
    """Where the options that are chosen stand in the prompt, among answered rollouts.

    Returns:
        `n` rollouts whose prompt names all options; `first_named`: share that answers the option named first, to be
        held against `chance`; `orders`: how often each order was shown; `position_only`: `p_value` (None where the
        options are always shown in one order) and `test`.
    """
    orders_of = [shown_order(record.prompt_text, options) for record in records]
    known = [(record, order) for record, order in zip(records, orders_of, strict=True) if order is not None]
    columns = {
        "first": np.array([record.answer == order[0] for record, order in known], float),
        "n": np.ones(len(known)),
    }
    groups = codes_of([record.group for record, _ in known])[0]
    first = ratio_estimates(columns, groups, {"first": share("first", "n")}, n=n, seed=seed)["first"]
    orders = sorted(Counter(order for _, order in known).items())
    p_value = None
    if len(orders) > 1:
        given = np.array([options.index(record.answer or "") for record, _ in known], np.int64)
        chosen = np.array([order.index(record.answer or "") for record, order in known], np.int64)
        places = np.array([[options.index(name) for name in order] for order, _ in orders])
        p_value = _position_only_p(given, chosen, places, np.array([count for _, count in orders]), n, seed)
    return {
        "n": len(known),
        "first_named": first.to_json(),
        "chance": round(1 / len(options), 6),
        "orders": {", ".join(order): count for order, count in orders},
        "position_only": {"p_value": p_value, "test": POSITION_TEST},
    }


def _position_only_p(
    given: np.ndarray, chosen: np.ndarray, orders: np.ndarray, shown: np.ndarray, n: int, seed: int
) -> float:
    """P of answers as far from what positions alone lead to expect, or further.

    Args:
        given, chosen: the option, and the position at which it stands, of each answer [row].
        orders: the option at each position [order, position]; shown: how often [order].
    """
    k, rng = orders.shape[1], np.random.default_rng(seed)

    def distance(counts: np.ndarray, at: np.ndarray) -> np.ndarray:
        """Pearson's statistic of options' counts [draw, option] against those that positions' [draw, position] give."""
        habit = at / at.sum(axis=1, keepdims=True)
        expected = np.zeros_like(counts, float)
        for order, times in zip(orders, shown, strict=True):
            expected[:, order] += times * habit
        return ((counts - expected) ** 2 / np.where(expected > 0, expected, 1.0)).sum(axis=1)

    at = np.bincount(chosen, minlength=k)
    observed = distance(np.bincount(given, minlength=k)[None].astype(float), at[None])[0]
    counts, ats = np.zeros((n, k)), np.zeros((n, k))
    for order, times in zip(orders, shown, strict=True):
        drawn = rng.multinomial(times, at / at.sum(), size=n)
        counts[:, order] += drawn
        ats += drawn
    as_far = int((distance(counts, ats) >= observed - 1e-9).sum())
    return round((1 + as_far) / (1 + n), 6)
