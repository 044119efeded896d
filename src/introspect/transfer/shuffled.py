"""What a row's probe would be worth on each column had its labels been dealt out again.

An AUROC's interval is over the column's groups, with the probe as it is. A probe that was fitted on noise is a
direction like any other, and where activations vary along few axes, almost any direction may predict a column's label
well, or its contrary. So the same fit is repeated on the row's labels shuffled group by group (see `probes.null`), at
the penalty that was chosen, and put to the column's true labels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..errors import EstimateError
from ..probes import NotConverged
from ..probes.null import TOLERANCE, shuffled_by_group
from ..probes.site import Site
from ..stats import aurocs, permutation_p
from .carried import Row
from .common_split import Organism

N_SHUFFLED = 100


def shuffled_scores(organism: Organism, row: Row, name: str, *, seed: int) -> dict[str, np.ndarray] | str:
    """Tested on -> log-odds [draw, row] of probes fitted on shuffled labels of an organism; or why there are none.

    Args:
        row: what is carried from it; name: how it is called there.
    """
    rng, dev = np.random.default_rng(seed), organism.split.dev
    labels, groups = organism.recorded.acted[dev], organism.recorded.groups[dev]
    drawn = np.stack([shuffled_by_group(labels, groups, rng) for _ in range(N_SHUFFLED)])
    fitted = torch.from_numpy(row.values[name][dev])
    try:
        site = Site.of(fitted, torch.ones(1, len(dev), dtype=torch.bool))
        turned, axes = site.turned(N_SHUFFLED)
        fits = turned.path(torch.from_numpy(drawn), [row.cell.penalty], TOLERANCE)[row.cell.penalty]
    except (EstimateError, NotConverged) as error:
        return f"shuffled labels could not be fitted: {error}"
    weights, bias = fits.w.double(), fits.b.double()
    return {
        column: (weights @ (site.standardised(torch.from_numpy(values)) @ axes).T + bias).numpy()
        for column, values in row.values.items()
    }


def against(found: float | None, scores: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """AUROCs of scores [draw, row] on labels [row]: `mean`, `low` and `high` (the central 95%), `n`, and `p_value`, the
    share of them as high as what was found; or a `reason`.
    """
    drawn = aurocs(scores, labels[None])
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
