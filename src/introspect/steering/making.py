"""Directions from activations and from probes. Activations are [row, width] of one site and layer."""

from __future__ import annotations

import numpy as np

from ..errors import EstimateError
from ..probes.saved import SavedProbe
from .direction import Direction, ModelMark


def difference_of_means(
    one: np.ndarray, other: np.ndarray, *, site: str, layer: int, made: str, model: ModelMark | None = None
) -> Direction:
    """The mean of one set of activations minus that of another, each [row, width].

    Raises:
        EstimateError: a set is empty or not finite, or widths differ.
    """
    first, second = _checked(one, "one"), _checked(other, "other", np.shape(one)[-1])
    counts = {"n_one": len(first), "n_other": len(second)}
    vector = first.mean(axis=0) - second.mean(axis=0)
    return Direction(vector, site, layer, "difference of means", made, counts, model)


def paired_differences(
    one: np.ndarray, other: np.ndarray, *, site: str, layer: int, made: str, model: ModelMark | None = None
) -> Direction:
    """The first principal component of the differences of pairs, row i of one minus row i of the other, of norm 1.

    Differences are not centred, as in Zou et al. 2023 (representation engineering) and repeng for pairs that are always
    taken in the same order: their mean is part of what they have in common. The sign is that of the mean difference.

    Raises:
        EstimateError: fewer than two pairs, numbers that are not finite, or pairs that do not differ.
    """
    first, second = _checked(one, "one"), _checked(other, "other", np.shape(one)[-1])
    if len(first) != len(second) or len(first) < 2:
        raise EstimateError(f"{len(first)} and {len(second)} activations are not two or more pairs")
    differences = first - second
    if not differences.any():
        raise EstimateError(f"all {len(first)} pairs of activations are equal: there is no direction between them")
    component = np.linalg.svd(differences, full_matrices=False)[2][0]
    if differences.mean(axis=0) @ component < 0:
        component = -component
    return Direction(component, site, layer, "paired differences", made, {"n_pairs": len(first)}, model)


def concept_vector(
    concept: np.ndarray,
    baseline: np.ndarray,
    *,
    site: str,
    layer: int,
    word: str,
    model: ModelMark | None = None,
) -> Direction:
    """A concept's activation minus the mean over baseline words (Lindsey 2025): both at the last token before the reply
    to the same request to tell about a word.

    Args:
        concept: [width], or [row, width] over several requests, which are averaged.
        baseline: [word, width], of words that are not the concept.

    Raises:
        EstimateError: no baseline words, or numbers that are not finite.
    """
    told = np.atleast_2d(np.asarray(concept, dtype=np.float64))
    found = difference_of_means(told, baseline, site=site, layer=layer, made=word, model=model)
    counts = {"n_requests": len(told), "n_baseline": len(np.asarray(baseline))}
    return Direction(found.vector, site, layer, "concept", f"concept {word!r}", counts, model)


def from_probe(probe: SavedProbe) -> Direction:
    """The weight of a saved probe.

    It is a weight on raw activations, whatever was standardised to fit it: `score = activation . weight + bias`. So the
    score of an activation that is moved by s times the direction rises by s ||weight||^2.
    """
    about = probe.card["model"]
    model = ModelMark(
        about["name"], about["weight_digest"], about["n_layers"], about["adapter"], about["adapter_digest"]
    )
    counts = {"n_rows": probe.card["training"]["n_rows"]}
    return Direction(probe.weight, probe.site, probe.layer, "probe", probe.card["summary"], counts, model)


def _checked(activations: np.ndarray, name: str, width: int | None = None) -> np.ndarray:
    values = np.asarray(activations, dtype=np.float64)
    if values.ndim != 2 or not values.size or (width is not None and values.shape[1] != width):
        raise EstimateError(f"activations `{name}` are {values.shape}, not one or more rows of one width")
    if not np.isfinite(values).all():
        raise EstimateError(f"activations `{name}` hold NaN or infinity: record again, in float32 or bfloat16")
    return values
