"""A probe of a finished run, fitted again and kept in a folder with its card."""

from __future__ import annotations

from pathlib import Path

from ..probes.saved import SavedProbe, save_probe
from .card import make_card
from .source import check_place, check_reproduced, make_estimator, read_source


def save_run_probe(
    run: Path,
    out: Path,
    *,
    layer: int | None = None,
    position: str | None = None,
    estimator: str = "logistic",
) -> SavedProbe:
    """Keep a run's probe in a folder.

    Args:
        layer, position: where it reads; None: where the headline probe does.
        estimator: logistic, ridge, difference-of-means or whitened-difference-of-means.

    Raises:
        RunError: no finished run, one without a probe, a place that it has not recorded, or `out` is not empty.
        EstimateError: the run's scores are not found again, or activations are not finite.
        StoreError: what the run holds is damaged.
    """
    source = read_source(run)
    head = source.results["probe"]["headline"]
    check_reproduced(source, head)
    place = (head["layer"] if layer is None else layer, head["position"] if position is None else position)
    check_place(source, *place)
    fitted_by = source.recorded.spec.probe.estimator
    headline = place == (head["layer"], head["position"]) and estimator == fitted_by
    wanted = make_estimator(estimator, source, head["penalty"] if headline else None)
    fitted = source.fit(wanted, source.activations(*place))
    coefficients, intercept = fitted.estimator.coef_[0], float(fitted.estimator.intercept_[0])
    return save_probe(out, coefficients, intercept, make_card(source, fitted, estimator, place, headline))
