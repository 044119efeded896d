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
from ..models.precision import has_bfloat16
from .curvature import Axes
from .logistic import fit, kernel, scale_of
from .newton import WIDE, Fits, Rows, further, scores, solve

CONSTANT = 1e-13
"""A variance this small, of a feature's mean square, is rounding: the feature is constant."""
NO_SPREAD = 1e-10
"""Axes with less than this part of the largest axis' variance are left out."""
SIDE_BY_SIDE = 1 << 17
"""Bytes of one array of fits side by side on a processor, about what stays in its cache; at least `FEWEST` fits."""
FEWEST = 32
SIDE_BY_SIDE_ON_GPU = 1 << 26
"""The same on a GPU, where two dozen such arrays are to take no more than `device.FITS`."""


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
    axes: Axes | None = None
    """Where features are principal axes (see `turned`)."""

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
        square = x.square()
        spread = scale_of(square.mean(dim=0), centre, len(x), values.dtype)
        x /= spread
        folds = masks.to(x.dtype)
        n = folds.sum(dim=1, keepdim=True)
        mean, square = folds @ x / n, folds @ square / (n * spread.square())
        scale = scale_of(square - mean.square(), centre / spread, len(x), values.dtype, CONSTANT * square)
        return cls(x, centre, spread, folds, scale)

    def path(self, y: torch.Tensor, penalties: Sequence[float], tolerance: float) -> dict[float, Fits]:
        """A fit of every fold at every penalty, each started from the next stronger penalty's.

        Args:
            y: labels 0 or 1, [row], or [fold, row].
            penalties: scikit-learn's C.
            tolerance: see `newton`.

        Raises:
            EstimateError: the training rows of a fold are of one class.
            NotConverged: an optimum was not reached.
        """
        labels = y.to(self.x.dtype).expand_as(self.masks)
        positive = (labels * self.masks).sum(dim=1)
        if bool(((positive < 1) | (positive > self.masks.sum(dim=1) - 1)).any()):
            raise EstimateError("the rows to fit hold one class only: there are too few groups")
        found: dict[float, list[Fits]] = {c: [] for c in sorted(penalties)}
        for chunk in torch.arange(len(labels), device=labels.device).split(self._at_once()):
            n = len(chunk)
            share = (positive[chunk] / self.masks[chunk].sum(dim=1))[:, None]
            flat = Fits(
                labels[chunk],
                self.masks[chunk],
                self.scale[chunk],
                self.x.new_empty(n, 1),
                self.x.new_zeros(n, self.x.shape[1]),
                torch.logit(share),
                self.x.new_zeros(n, len(self.x)),
            ).to(torch.float32)
            before = flat
            for c in found:
                start = replace(flat, c=torch.full_like(flat.c, c))
                flat, before = self._solved(further(start, before), tolerance), flat
                found[c].append(flat)
        return {c: Fits.joined(parts) for c, parts in found.items()}

    def refined(self, fits: Fits, tolerance: float | torch.Tensor) -> Fits:
        """The same fits to a smaller tolerance, one for all or of each [fit, 1], with gradients in float64.

        Raises:
            NotConverged: an optimum was not reached.
        """
        limits = torch.as_tensor(tolerance).to(fits.b).expand_as(fits.b)
        rows, start = replace(self._rows, exact=self.x), fits.to(torch.float64)
        found, converged = solve(rows, replace(start, f=scores(rows, start, start.w)), limits.double())
        return self._exactly(found, ~converged)

    def scores(self, fits: Fits) -> torch.Tensor:
        """Log-odds [fit, row] of all rows of the site."""
        return fits.f + fits.b

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
            Axes(values[kept].float() / len(x)),
        ), axes

    def _solved(self, fits: Fits, tolerance: float) -> Fits:
        """Newton steps with gradients in float32; fits that these leave over go on in float64."""
        found, converged = solve(self._rows, fits, torch.full_like(fits.b, tolerance))
        left = torch.nonzero(~converged)[:, 0]
        if len(left):
            found.put(left, self.refined(found.pick(left), tolerance).to(torch.float32))
        return found

    def _exactly(self, fits: Fits, which: torch.Tensor) -> Fits:
        """What Newton steps leave over is fitted one by one in the space of rows."""
        for k in torch.nonzero(which)[:, 0].tolist():
            trained = fits.mask[k] > 0
            z = (self.x[trained] / fits.scale[k])[None]
            exact = fit(kernel(z), fits.y[k, trained], float(fits.c[k, 0]))
            fits.w[k], fits.b[k] = exact.coefficients(z)[0, :, 0], exact.b[0, 0]
            fits.f[k] = (fits.w[k] / fits.scale[k]) @ self.x.T
        return fits

    @cached_property
    def _rows(self) -> Rows:
        return Rows.of(self.x, self._fast(), self.axes)

    def _fast(self) -> torch.dtype:
        """bfloat16 where that is faster, but for wide rows: rounding a product puts noise of the largest axes on all
        others, and at weak penalties steps get ever shorter.
        """
        return torch.bfloat16 if has_bfloat16(self.x.device) and self.x.shape[1] < WIDE else torch.float32

    def _at_once(self) -> int:
        most = SIDE_BY_SIDE if self.x.device.type == "cpu" else SIDE_BY_SIDE_ON_GPU
        return max(FEWEST, most // (4 * max(self.x.shape)))
