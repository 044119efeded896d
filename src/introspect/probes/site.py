"""All fits at one site: its rows, standardised once, and every fold's own standardisation as a scaling of features.

A fold's features are centred and scaled on the fold's training rows. The free intercept takes up any centring, so what
is left of a fold's standardisation is a scale of each feature, beside the scale that the site's rows share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch

from ..errors import EstimateError
from ..models.precision import processor_has_bfloat16
from .logistic import fit, kernel, scale_of
from .newton import Fits, Rows, further, solve

CONSTANT = 1e-13
"""A variance this small, of a feature's mean square, is rounding: the feature is constant."""
NO_SPREAD = 1e-10
"""Axes with less than this part of the largest axis' variance are left out."""
SIDE_BY_SIDE = 1 << 17
"""Bytes of one array of fits side by side on a processor, about what stays in its cache; at least `FEWEST` fits."""
FEWEST = 32


@dataclass(frozen=True)
class Directions:
    """Fits in raw activation space: score (log-odds) = activation . weight + bias."""

    weight: torch.Tensor
    """float64 [fit, width]"""
    bias: torch.Tensor
    """float64 [fit]"""


@dataclass(frozen=True)
class Site:
    """Rows of one site [row, width], standardised, and the folds that fits are trained on."""

    x: torch.Tensor
    """float64 [row, width]: standardised on all rows."""
    centre: torch.Tensor
    spread: torch.Tensor
    """[width]: what was subtracted, and divided by."""
    masks: torch.Tensor
    """float64 [fold, row]: 1 where a fold trains on the row."""
    scale: torch.Tensor
    """[fold, width]: standard deviations on training rows."""
    uneven: bool = False
    """Whether features differ much in size (see `newton.Rows`)."""

    @classmethod
    def of(cls, values: torch.Tensor, masks: torch.Tensor) -> Site:
        """From activations [row, width] and the training rows of each fold, bool [fold, row].

        Raises:
            EstimateError: a fold has fewer than two rows.
        """
        if int(masks.sum(dim=1).min()) < 2:
            raise EstimateError("fewer than 2 rows to fit: there are too few groups")
        x = values.double()
        centre = x.mean(dim=0)
        x = x - centre
        spread = scale_of(x.square().mean(dim=0), centre, len(x), values.dtype)
        x /= spread
        folds = masks.to(x.dtype)
        n = folds.sum(dim=1, keepdim=True)
        mean, square = folds @ x / n, folds @ x.square() / n
        scale = scale_of(square - mean.square(), centre / spread, len(x), values.dtype, CONSTANT * square)
        return cls(x, centre, spread, folds, scale)

    def path(
        self, y: torch.Tensor, penalties: Sequence[float], tolerance: float, folds: torch.Tensor | None = None
    ) -> dict[float, Fits]:
        """A fit of every fold at every penalty, each started from the next stronger penalty's.

        Args:
            y: labels 0 or 1, [row], or [fold, row].
            penalties: scikit-learn's C.
            tolerance: see `newton`.
            folds: the numbers of the folds to fit; None for all.

        Raises:
            EstimateError: the training rows of a fold are of one class.
            NotConverged: an optimum was not reached.
        """
        labels = y.to(self.x.dtype).expand_as(self.masks)
        positive = (labels * self.masks).sum(dim=1)
        if bool(((positive < 1) | (positive > self.masks.sum(dim=1) - 1)).any()):
            raise EstimateError("the rows to fit hold one class only: there are too few groups")
        found: dict[float, list[Fits]] = {c: [] for c in sorted(penalties)}
        every = torch.arange(len(labels), device=labels.device)
        for chunk in (every if folds is None else folds).split(self._at_once()):
            n = len(chunk)
            share = (positive[chunk] / self.masks[chunk].sum(dim=1))[:, None]
            flat = Fits(
                labels[chunk],
                self.masks[chunk],
                self.scale[chunk],
                self.x.new_empty(n, 1),
                self.x.new_zeros(n, self.x.shape[1]),
                torch.logit(share),
            ).to(torch.float32)
            before = flat
            for c in found:
                start = replace(flat, c=torch.full_like(flat.c, c))
                flat, before = self._solved(self._rows, further(self._rows, start, before), tolerance), flat
                found[c].append(flat)
        return {c: Fits.joined(parts) for c, parts in found.items()}

    def averaged(self, fits: Fits, fold: int) -> Fits:
        """A start for a fold from fits of parts of its rows, at their penalty: their mean direction."""
        weight = (fits.w / fits.scale).mean(dim=0, keepdim=True)
        mask, scale = self.masks[fold][None], self.scale[fold][None]
        b = fits.b.mean(dim=0, keepdim=True)
        return Fits(fits.y[:1], mask, scale, fits.c[:1], weight * scale, b).to(torch.float64)

    def refined(self, fits: Fits, tolerance: float, exact: torch.dtype) -> Fits:
        """The same fits to a smaller tolerance, with gradients in the number format `exact`.

        Raises:
            NotConverged: an optimum was not reached.
        """
        return self._solved(replace(self._rows, exact=self.x.to(exact)), fits.to(exact), tolerance)

    def scores(self, fits: Fits) -> torch.Tensor:
        """Log-odds [fit, row] of all rows of the site."""
        return (fits.w / fits.scale) @ self._rows.exact.to(fits.w.dtype).T + fits.b

    def directions(self, fits: Fits) -> Directions:
        """The fits in raw activation space."""
        weight = (fits.w / fits.scale).double() / self.spread
        return Directions(weight, fits.b[:, 0].double() - weight @ self.centre)

    def standardised(self, new: torch.Tensor) -> torch.Tensor:
        """New activations [row, width] as those of the site are: float64."""
        return (new.double() - self.centre) / self.spread

    def turned(self, n_fits: int) -> tuple[Site, torch.Tensor]:
        """The same rows along their principal axes, for fits that are all trained on every row.

        One eigen-decomposition serves them all: features are as few as rows (or as the width, if that is less), and
        curvatures of coordinates are nearly all that there is of curvature.

        Returns:
            A site with `n_fits` equal folds, and the axes, float64 [width, feature].
        """
        wide = self.x.shape[1] > self.x.shape[0]
        z = self.x
        values, vectors = torch.linalg.eigh(z @ z.T if wide else z.T @ z)
        kept = values > NO_SPREAD * values[-1]
        axes = z.T @ (vectors[:, kept] / values[kept].sqrt()) if wide else vectors[:, kept]
        x = z @ axes
        ones = x.new_ones(n_fits, 1)
        return Site(
            x,
            x.new_zeros(x.shape[1]),
            x.new_ones(x.shape[1]),
            ones.expand(n_fits, len(x)),
            ones.expand(n_fits, x.shape[1]),
            uneven=True,
        ), axes

    def _solved(self, rows: Rows, fits: Fits, tolerance: float) -> Fits:
        """Newton steps; what those leave over is fitted one by one in the space of rows."""
        fits, converged = solve(rows, fits, tolerance)
        for k in torch.nonzero(~converged)[:, 0].tolist():
            trained = fits.mask[k] > 0
            z = (self.x[trained] / fits.scale[k].double())[None]
            exact = fit(kernel(z), fits.y[k, trained].double(), float(fits.c[k, 0]))
            fits.w[k] = exact.coefficients(z)[0, :, 0].to(fits.w.dtype)
            fits.b[k] = exact.b[0, 0].to(fits.b.dtype)
        return fits

    @cached_property
    def _rows(self) -> Rows:
        return Rows.of(self.x, self._fast(), uneven=self.uneven)

    def _fast(self) -> torch.dtype:
        cuda = self.x.device.type == "cuda"
        return torch.bfloat16 if cuda or processor_has_bfloat16() else torch.float32

    def _at_once(self) -> int:
        if self.x.device.type == "cuda":
            return len(self.masks)
        return max(FEWEST, SIDE_BY_SIDE // (4 * max(self.x.shape)))
