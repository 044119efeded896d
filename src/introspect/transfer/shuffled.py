"""What a row's probe would be worth on each column had its labels been dealt out again.

An AUROC's interval is over the column's groups, with the probe as it is. A probe that was fitted on noise is a
direction like any other, and where activations vary along few axes, almost any direction may predict a column's label
well, or its contrary. So the same fit is repeated on the row's labels shuffled group by group (see `probes.null`), at
the penalty that was chosen, and put to the column's true labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from ..errors import EstimateError
from ..probes import Cell, NotConverged
from ..probes.device import on_device
from ..probes.null import TOLERANCE, shuffled_by_group
from ..probes.site import Site
from ..stats import aurocs, permutation_p
from .common_split import Organism

N_SHUFFLED = 100


class Drawn(NamedTuple):
    """AUROCs [draw] on a column's own labels; NaN where its rows are of one class, or none."""

    test: np.ndarray
    """On the rows of its test groups."""
    ood: np.ndarray
    """On its out-of-distribution rows."""


def shuffled_aurocs(
    organisms: Mapping[str, Organism], name: str, cell: Cell, values: Mapping[str, np.ndarray], *, seed: int
) -> dict[str, Drawn] | str:
    """Tested on -> AUROCs of probes fitted on shuffled labels of one organism; or why there are none.

    Args:
        name: the organism that they are fitted on; cell: its probe.
        values: organism -> activations at the probe's place, [row, width].
    """
    organism = organisms[name]
    rng, dev = np.random.default_rng(seed), organism.split.dev
    labels, groups = organism.recorded.acted[dev], organism.recorded.groups[dev]
    drawn = np.stack([shuffled_by_group(labels, groups, rng) for _ in range(N_SHUFFLED)])

    def scored(rows: torch.Tensor) -> dict[str, np.ndarray]:
        site = Site.of(rows, torch.ones(1, len(dev), dtype=torch.bool, device=rows.device))
        turned, axes = site.turned(N_SHUFFLED)
        fits = turned.path(torch.from_numpy(drawn).to(rows.device), [cell.penalty], TOLERANCE)[cell.penalty]
        weights, bias = fits.w.double(), fits.b.double()
        return {
            column: (weights @ (site.standardised(torch.from_numpy(each).to(rows.device)) @ axes).T + bias)
            .cpu()
            .numpy()
            for column, each in values.items()
        }

    try:
        found = on_device(scored, torch.from_numpy(values[name][dev]))
    except (EstimateError, NotConverged) as error:
        return f"shuffled labels could not be fitted: {error}"
    out = {}
    for column, scores in found.items():
        tested, acted = organisms[column], organisms[column].recorded.acted
        out[column] = Drawn(*(aurocs(scores[:, rows], acted[None, rows]) for rows in (tested.split.test, tested.ood)))
    return out


def against(found: float | None, drawn: np.ndarray) -> dict[str, Any]:
    """What AUROCs [draw] come to: `mean`, `low` and `high` (the central 95%), `n`, and `p_value`, the share of them as
    high as what was found; or a `reason`.
    """
    if found is None or np.isnan(drawn).any():
        return {"reason": "there is no AUROC to set it against"}
    low, high = np.quantile(drawn, [0.025, 0.975])
    return {
        "mean": round(float(drawn.mean()), 6),
        "low": round(float(low), 6),
        "high": round(float(high), 6),
        "n": len(drawn),
        "p_value": round(permutation_p(found, drawn), 6),
    }
