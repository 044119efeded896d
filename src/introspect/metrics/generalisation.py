"""Whether a policy carries over from the domain it was trained in (ID) to others (OOD).

The transfer ratio is the policy rate out of distribution over that in distribution; the bootstrap draws groups within
each split. Rates are of valid answers. Where one of the counts is so small that the bootstrap sees no spread, the
ratio's interval is widened to the ratios of the ends of the two Wilson intervals, which is wider than need be.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..rollout import RolloutSummary
from ..stats import MIN_GROUPS, Estimate
from .contrasts import difference_estimates
from .resampling import DRAWS, Interval, Ratio, Sums, codes_of, ratio_estimates, share, wilson

RATE = share("acted", "valid")
NO_RATE = "the policy is never acted on in distribution, so nothing can be over that rate"


def generalisation_section(rollouts: Iterable[RolloutSummary], *, n: int = DRAWS, seed: int = 0) -> dict[str, Any]:
    """The policy rate out of distribution against that in distribution.

    Returns:
        `invalid` rollouts by split; `rate`: `id`, `ood`; `transfer_ratio` and `ood_minus_id` (with a test) of all OOD
        domains together; and `by_domain`: rate, transfer_ratio and ood_minus_id of each OOD domain.
    """
    records = list(rollouts)
    invalid = {split: sum(r.acted is None for r in records if r.split == split) for split in ("id", "ood")}
    valid = [record for record in records if record.acted is not None]
    acted = np.array([record.acted is True for record in valid], float)
    ood = np.array([record.split == "ood" for record in valid], bool)
    domain = np.array([record.domain for record in valid], np.str_)
    groups = codes_of([record.group for record in valid])[0]
    domains = [str(name) for name in np.unique(domain[ood])]
    return {
        "invalid": invalid,
        "rate": {
            "id": policy_rate(acted[~ood], groups[~ood], n=n, seed=seed).to_json(),
            "ood": policy_rate(acted[ood], groups[ood], n=n, seed=seed).to_json(),
        },
        **_transfer(acted, ood, groups, n, seed),
        "by_domain": {
            name: {
                "rate": policy_rate(acted[mine], groups[mine], n=n, seed=seed).to_json(),
                **_transfer(acted[mine | ~ood], ood[mine | ~ood], groups[mine | ~ood], n, seed),
            }
            for name in domains
            for mine in [ood & (domain == name)]
        },
    }


def policy_rate(acted: np.ndarray, groups: np.ndarray, *, n: int = DRAWS, seed: int = 0) -> Estimate:
    """Share of rows that acted; both [row]."""
    return ratio_estimates({"acted": acted, "valid": np.ones(len(acted))}, groups, {"rate": RATE}, n=n, seed=seed)[
        "rate"
    ]


def _transfer(acted: np.ndarray, ood: np.ndarray, groups: np.ndarray, n: int, seed: int) -> dict[str, Any]:
    columns = {"acted": acted, "valid": np.ones(len(acted))}
    difference = difference_estimates(columns, groups, ood, {"rate": RATE}, n=n, seed=seed)["rate"]
    return {
        "transfer_ratio": transfer_ratio(acted, ood, groups, n=n, seed=seed).to_json(),
        "ood_minus_id": difference.to_json(),
    }


def transfer_ratio(
    acted: np.ndarray, ood: np.ndarray, groups: np.ndarray, *, n: int = DRAWS, seed: int = 0
) -> Estimate:
    """Policy rate out of distribution over that in distribution.

    Args:
        acted: 0 or 1 [row]; ood: bool [row]; groups: int [row].
    """
    sizes = {name: len(np.unique(groups[rows])) for name, rows in (("id", ~ood), ("ood", ood))}
    for name, n_groups in sizes.items():
        if n_groups < MIN_GROUPS:
            return Estimate.undefined(f"{n_groups} {name} groups are too few for an interval (at least {MIN_GROUPS})")
    if not acted[~ood].any():
        return Estimate.undefined(NO_RATE)

    def value(sums: Sums) -> np.ndarray:
        out: np.ndarray = (sums["ood_acted"] / sums["ood"]) / (sums["id_acted"] / sums["id"])
        return out

    def outer(sums: Sums, n_groups: int) -> Interval:
        rates = {name: float(sums[f"{name}_acted"][0] / sums[name][0]) for name in sizes}
        low, high = (wilson(rates[name], sizes[name]) for name in ("ood", "id"))
        return low[0] / high[1], low[1] / high[0]

    def edges(sums: Sums) -> list[np.ndarray]:
        return [edge for name in sizes for edge in (sums[f"{name}_acted"], sums[name] - sums[f"{name}_acted"])]

    columns = {"id": ~ood, "ood": ood, "id_acted": acted * ~ood, "ood_acted": acted * ood}
    ratio = Ratio(value, None, edges, outer)
    return ratio_estimates(columns, groups, {"ratio": ratio}, n=n, seed=seed, strata=ood.astype(np.int64))["ratio"]
