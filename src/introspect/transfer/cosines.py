"""Cosines between the directions of several organisms, and what cosines there would be if nothing were shared.

A direction is a difference of means: of the rows that acted on the policy, minus those that did not. Two cosines are
given. *Raw*: in the space of activations. *Whitened*: after the covariance within classes and organisms (pooled over
all of them, shrunk by Ledoit & Wolf 2004) has been made the identity, so that the few axes along which all activations
vary do not decide (Mahalanobis cosine; Marks & Tegmark 2023 whiten in the same way).

Two nulls stand beside every cosine, from the same rows, with labels dealt out again group by group as in
`probes.null`. *Unrelated*: the labels of each organism apart. Activations vary along few axes, so even these cosines
are far from 0. *Random labels*: one random labelling of the items that both organisms get; what two organisms share of
the single items makes these cosines high. Neither null is one of what was trained: any category of the items that
activations carry anyway, such as living things, lies above both without any training. What training has to do with it
is said by the same two labellings in the untrained model, on the same tokens: `beyond_base` is the cosine minus that.

A cosine of two estimates is pulled towards 0 by their noise. `reliability` says how far: the cosine of an organism's
direction with one from as many other groups, from split halves (Spearman 1910; Brown 1910); organisms that answer the
same items share some of that noise, and their cosine may lie above it. The bootstrap would add the noise a second time,
so intervals are the jackknife's over groups, on Fisher's scale.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.covariance import LedoitWolf

from ..probes.null import shuffled_by_group
from ..probes.splits import MIN_PER_CLASS
from ..stats import MIN_GROUPS, Z95, Estimate, permutation_p

N_NULL = 200
N_HALVES = 50
NEARLY_ONE = 1 - 1e-12


@dataclass(frozen=True)
class Labelled:
    """One organism's rows in one space."""

    values: np.ndarray
    """[row, width]"""
    acted: np.ndarray
    """bool [row]"""
    groups: np.ndarray
    """str [row]"""
    keys: Sequence[Hashable]
    """[row]: equal keys of two organisms are the same question."""


def too_small(acted: np.ndarray, groups: np.ndarray) -> str | None:
    """Why there is no direction of these rows: bool [row] and str [row]."""
    n_acted, n_not = int(acted.sum()), int((~acted).sum())
    if min(n_acted, n_not) < MIN_PER_CLASS:
        return f"{n_acted} rollouts acted on the policy and {n_not} did not; a direction needs {MIN_PER_CLASS} of each"
    fewest = min(len(set(groups[acted == side])) for side in (True, False))
    if fewest < MIN_GROUPS:
        return f"a class is in {fewest} groups only; a direction needs {MIN_GROUPS}"
    return None


def difference(values: np.ndarray, positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """Weighted mean of the positives minus that of the negatives, [replicate, width]; NaN where one has no rows.

    Args:
        values: [row, width]; positive, negative: weights [replicate, row].
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        above = (positive @ values) / positive.sum(axis=1, keepdims=True)
        out: np.ndarray = above - (negative @ values) / negative.sum(axis=1, keepdims=True)
    return out


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosine along the last axis; NaN where a vector is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        out: np.ndarray = (a * b).sum(axis=-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1))
    return out


def whitened(organisms: Mapping[str, Labelled]) -> dict[str, Labelled]:
    """The same rows in a space in which the pooled covariance within classes and organisms is the identity."""
    centred = [
        each.values[each.acted == side] - each.values[each.acted == side].mean(axis=0)
        for each in organisms.values()
        for side in (True, False)
        if (each.acted == side).any()
    ]
    covariance = LedoitWolf(assume_centered=True).fit(np.concatenate(centred).astype(np.float64)).covariance_
    variances, axes = np.linalg.eigh(covariance)
    to_white = axes / np.sqrt(np.maximum(variances, variances.max() * 1e-12))
    return {
        name: Labelled(each.values.astype(np.float64) @ to_white, each.acted, each.groups, each.keys)
        for name, each in organisms.items()
    }


def cosine_matrix(
    organisms: Mapping[str, Labelled], *, rows: Collection[str] | None = None, seed: int = 0
) -> dict[str, dict[str, dict]]:
    """Row -> column -> the cosine of their directions with its interval, and its nulls `unrelated` and `random_labels`.

    A null is `mean`, `low` and `high` (its central 95%), `n`, and the `p_value` of the cosine: two-sided for
    `unrelated`, one-sided (as high or higher) for `random_labels`; or a `reason`. On the diagonal stands `reliability`.

    Args:
        rows: the rows wanted, which come out as they would among all; None: all.
    """
    rng = np.random.default_rng(seed)
    names = list(organisms)
    shuffled = {name: _shuffled(organisms[name], rng) for name in names}
    same = _random_labels(organisms, rng)
    wanted = set(names if rows is None else rows)
    out: dict[str, dict[str, dict]] = {name: {} for name in names}
    for i, one in enumerate(names):
        if one in wanted:
            out[one][one] = {"reliability": reliability(organisms[one], seed=seed).to_json()}
        for other in names[i + 1 :]:
            if not wanted & {one, other}:
                continue
            found = cosine_estimate(organisms[one], organisms[other])
            cell = found.to_json() | {
                "unrelated": _null(found, cosine(shuffled[one], shuffled[other]), two_sided=True),
                "random_labels": _null(found, cosine(same[one], same[other]), two_sided=False),
            }
            out[one][other] = out[other][one] = cell
    return {name: out[name] for name in names if name in wanted}


def cosine_estimate(one: Labelled, other: Labelled) -> Estimate:
    """The cosine of two organisms' directions, with a jackknife interval over the groups of both."""
    found = _jackknifed([(one, other)])
    if isinstance(found, str):
        return Estimate.undefined(found)
    value, left_out = float(found[0][0]), found[1][:, 0]
    at, scaled = np.arctanh(np.clip(value, -NEARLY_ONE, NEARLY_ONE)), np.arctanh(np.clip(left_out, -1, 1) * NEARLY_ONE)
    half = _half_width(scaled)
    limits = float(np.tanh(at - half)), float(np.tanh(at + half))
    return Estimate(value, limits, len(scaled), "jackknife over groups, on Fisher's scale")


def beyond_base(trained: tuple[Labelled, Labelled], base: tuple[Labelled, Labelled]) -> Estimate:
    """The cosine of two organisms' directions minus that of the same two labellings in the untrained model.

    The interval leaves each group out of all four at once. Noise pulls both cosines towards 0, the one of the less
    reliable directions more, so a difference of 0 need not be one of what the directions would be without it.

    Args:
        trained: rows of the two organisms; base: the same rows, with the untrained model's activations.
    """
    found = _jackknifed([trained, base])
    if isinstance(found, str):
        return Estimate.undefined(found)
    value, left_out = float(found[0][0] - found[0][1]), found[1][:, 0] - found[1][:, 1]
    half = _half_width(left_out)
    return Estimate(value, (value - half, value + half), len(left_out), "paired jackknife over groups")


def _jackknifed(pairs: Sequence[tuple[Labelled, Labelled]]) -> tuple[np.ndarray, np.ndarray] | str:
    """Cosines of pairs [pair], and without each group in turn [group, pair]; or why there are none."""
    groups = sorted({*(str(group) for pair in pairs for each in pair for group in each.groups)})
    if len(groups) < MIN_GROUPS:
        return f"{len(groups)} groups are too few for an interval (at least {MIN_GROUPS})"
    values = np.array([float(cosine(*(_direction(each) for each in pair))) for pair in pairs])
    if np.isnan(values).any():
        return "an organism has no direction: one class only, or no difference at all"
    left_out = np.stack([cosine(*(_without_each(each, groups) for each in pair)) for pair in pairs], axis=1)
    left_out = left_out[np.isfinite(left_out).all(axis=1)]
    if len(left_out) < 0.9 * len(groups):
        return "one class is nearly all in one group: too little data"
    return values, left_out


def _half_width(left_out: np.ndarray) -> float:
    """Of a 95% interval, from values without each of n groups [group]."""
    n = len(left_out)
    return Z95 * float(np.sqrt((n - 1) / n * ((left_out - left_out.mean()) ** 2).sum()))


def reliability(organism: Labelled, *, seed: int = 0) -> Estimate:
    """The cosine that a direction from as many other groups would have with this one's, from split halves.

    The interval is the central 95% of what single halvings say.
    """
    names, codes = np.unique(organism.groups, return_inverse=True)
    if len(names) < 2 * MIN_GROUPS:
        return Estimate.undefined(f"{len(names)} groups are too few to halve (at least {2 * MIN_GROUPS})")
    rng = np.random.default_rng(seed)
    first = np.stack([(rng.permutation(len(names)) < len(names) // 2)[codes] for _ in range(N_HALVES)]).astype(float)
    acted = organism.acted.astype(float)
    halves = cosine(
        *(difference(organism.values, half * acted, half * (1 - acted)) for half in (first, 1 - first)),
    )
    halves = halves[np.isfinite(halves)]
    if len(halves) < 0.9 * N_HALVES:
        return Estimate.undefined("one class is in few groups: halves of them have it or have it not")
    low, value, high = (
        _stepped_up(float(h)) for h in (np.quantile(halves, 0.025), halves.mean(), np.quantile(halves, 0.975))
    )
    return Estimate(value, (low, high), len(names), "split halves of groups, stepped up to all of them")


def _stepped_up(half: float) -> float:
    """What a correlation of halves comes to for wholes (Spearman 1910; Brown 1910)."""
    return 2 * half / (1 + half) if half > 0 else half


def _direction(organism: Labelled) -> np.ndarray:
    acted = organism.acted.astype(float)[None]
    return difference(organism.values, acted, 1 - acted)[0]


def _without_each(organism: Labelled, groups: Sequence[str]) -> np.ndarray:
    """The direction without the rows of each group in turn, [group, width]."""
    kept = (organism.groups[None, :] != np.array(groups)[:, None]).astype(float)
    acted = organism.acted.astype(float)
    return difference(organism.values, kept * acted, kept * (1 - acted))


def _shuffled(organism: Labelled, rng: np.random.Generator) -> np.ndarray:
    """Directions of its labels dealt out again, [draw, width]."""
    drawn = [shuffled_by_group(organism.acted, organism.groups, rng) for _ in range(N_NULL)]
    labels = np.stack(drawn).astype(float)
    return difference(organism.values, labels, 1 - labels)


def _random_labels(organisms: Mapping[str, Labelled], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Directions of labellings of the questions that all organisms share, [draw, width] each."""
    seen: dict[Hashable, list[bool]] = {}
    group_of: dict[Hashable, str] = {}
    for each in organisms.values():
        for key, acted, group in zip(each.keys, each.acted, each.groups, strict=True):
            seen.setdefault(key, []).append(bool(acted))
            group_of[key] = str(group)
    mostly = np.array([np.mean(labels) > rng.random() for labels in seen.values()])
    groups = np.array([group_of[key] for key in seen], dtype=np.str_)
    place = {key: i for i, key in enumerate(seen)}
    drawn = np.stack([shuffled_by_group(mostly, groups, rng) for _ in range(N_NULL)])
    out = {}
    for name, each in organisms.items():
        labels = drawn[:, [place[key] for key in each.keys]].astype(float)
        out[name] = difference(each.values, labels, 1 - labels)
    return out


def _null(found: Estimate, drawn: np.ndarray, *, two_sided: bool) -> dict:
    drawn = drawn[np.isfinite(drawn)]
    if found.value is None or len(drawn) < 0.9 * N_NULL:
        return {"reason": found.reason or "labels that were dealt out again have one class only"}
    low, high = np.quantile(drawn, [0.025, 0.975])
    p = permutation_p(abs(found.value), np.abs(drawn)) if two_sided else permutation_p(found.value, drawn)
    return {
        "mean": round(float(drawn.mean()), 6),
        "low": round(float(low), 6),
        "high": round(float(high), 6),
        "n": len(drawn),
        "p_value": round(p, 6),
    }
