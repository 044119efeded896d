"""Hundreds of L2 logistic regressions over the same rows, solved side by side by inexact Newton steps.

Fits differ in which rows they are trained on (folds), in their labels (permutations), in how features are scaled
(standardised on the fit's own rows) and in their penalty; the matrix of rows is the same for all. So one product with
it serves every fit at once. Steps are those of Newton's method, whose equations are solved by conjugate gradients
(Dembo, Eisenstat & Steihaug 1982) with curvatures of coordinates as preconditioner, and whose length is the best along
the step (scores are linear in it, so searching costs no product). Products inside conjugate gradients only
say where to go, so they can be in bfloat16, where that is faster; gradients decide, and are in float32 or float64.

The objective, with a free intercept, is scikit-learn's, `C * sum_i log(1 + exp(-t_i f(z_i))) + ||w||^2 / 2`. It is
strongly convex in w (with constant 1, whatever the data), so `||w - optimum|| <= ||gradient||`. That is the criterion:
a fit has converged when its gradient is at most `tolerance` times as long as w, and then w is at most that far from the
optimum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

STEPS = 60
"""Newton steps before a fit is given up."""
FORCING = 0.2
"""Newton's equations are solved to this part of the gradient at first, and more exactly as it gets smaller."""
PRODUCTS = 200
"""Products for one Newton step; where they do not do, the next steps are computed in float32."""
STRAGGLERS = 0.4
"""Conjugate gradients stop when no more than this part of the fits still asks for them."""
CENTRED = {torch.float32: 1e-6, torch.float64: 1e-10}
"""Largest mean residual of a fit, which a free intercept makes 0, by number format."""
ROUNDING = {torch.float32: 1e-6, torch.float64: 1e-12}
"""By what part an objective may seem to grow."""
SEARCHES = 3
CUTS = 40


@dataclass(frozen=True)
class Rows:
    """The matrix of rows [row, feature] that all fits share."""

    exact: torch.Tensor
    """As gradients multiply it."""
    fast: torch.Tensor
    """As conjugate gradients multiply it; `fast_t` is its transpose."""
    fast_t: torch.Tensor
    squares: torch.Tensor | None = None
    """Its squares in float32, where features differ so much in size that curvatures of coordinates help."""

    @classmethod
    def of(cls, x: torch.Tensor, fast: torch.dtype, *, uneven: bool = False) -> Rows:
        """From rows in any number format, with gradients in float32.

        Args:
            fast: the number format of conjugate gradients.
            uneven: whether the sizes of features differ much.
        """
        exact = x.float()
        quick = exact.to(fast)
        return cls(exact, quick, quick.T.contiguous(), exact.square() if uneven else None)

    def precise(self) -> Rows:
        """The same with conjugate gradients in float32."""
        return replace(self, fast=self.exact.float(), fast_t=self.exact.float().T.contiguous())


@dataclass(frozen=True)
class Fits:
    """Fits side by side: what they are fitted to, and where they stand.

    The features of fit k are those of `Rows` divided by `scale[k]`.
    """

    y: torch.Tensor
    """Labels 0 or 1, [fit, row]."""
    mask: torch.Tensor
    """1 where a fit is trained on the row, else 0, [fit, row]."""
    scale: torch.Tensor
    """[fit, feature]"""
    c: torch.Tensor
    """Inverse strength of the penalty, [fit, 1]."""
    w: torch.Tensor
    """Coefficients over a fit's own features, [fit, feature]."""
    b: torch.Tensor
    """Intercepts, [fit, 1]."""

    def pick(self, which: torch.Tensor) -> Fits:
        """Some of the fits."""
        return Fits(*(getattr(self, name)[which] for name in self.__dataclass_fields__))

    def split(self, sizes: Sequence[int]) -> list[Fits]:
        """So many fits to each part."""
        columns = [getattr(self, name).split(list(sizes)) for name in self.__dataclass_fields__]
        return [Fits(*part) for part in zip(*columns, strict=True)]

    def to(self, dtype: torch.dtype) -> Fits:
        """The same in another number format."""
        return Fits(*(getattr(self, name).to(dtype) for name in self.__dataclass_fields__))

    @classmethod
    def joined(cls, parts: Sequence[Fits]) -> Fits:
        """All fits of the parts."""
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in cls.__dataclass_fields__))


def solve(rows: Rows, fits: Fits, tolerance: float) -> tuple[Fits, torch.Tensor]:
    """Newton steps from where the fits stand.

    Returns:
        The fits at their optima, and whether each has converged, bool [fit].
    """
    w, b = fits.w.clone(), fits.b.clone()
    converged = torch.zeros(len(w), dtype=torch.bool, device=w.device)
    left = torch.arange(len(w), device=w.device)
    now, f = fits, _scores(rows, fits, fits.w)
    for _ in range(STEPS):
        p, intercept = _centred(f, now)
        now = replace(now, b=intercept)
        gradient = now.w - now.c * (((now.y - p) * now.mask) @ rows.exact) / now.scale
        size, length = gradient.norm(dim=1, keepdim=True), now.w.norm(dim=1, keepdim=True)
        done = (size <= tolerance * length)[:, 0]
        w[left[done]], b[left[done]], converged[left[done]] = now.w[done], now.b[done], True
        if bool(done.all()):
            break
        if bool(done.any()):
            keep = ~done
            left, now, f, p = left[keep], now.pick(keep), f[keep], p[keep]
            gradient, size, length = gradient[keep], size[keep], length[keep]
        forcing = (size / length.clamp(min=1e-30)).sqrt().clamp(max=FORCING)
        goal = torch.maximum(forcing * size, 0.3 * tolerance * length)
        step, solved = _newton_step(rows, now, p * (1 - p) * now.mask, gradient, goal)
        if not solved:
            rows = rows.precise()
        step = step.to(f.dtype)
        along = _scores(rows, now, step)
        t, shift = _search(now, f, step, along)
        now, f = replace(now, w=now.w + t * step, b=now.b + shift), f + t * along
    else:
        w[left], b[left] = now.w, now.b
    return replace(fits, w=w, b=b), converged


def further(rows: Rows, fits: Fits, before: Fits) -> Fits:
    """A start for the next penalty: from `fits`, along the line from `before`, as far as the next objective wants.

    Args:
        fits: solved at the last penalty, with the next penalty in place; `before`: solved at the one before that.
    """
    step = fits.w - before.w
    t, shift = _search(fits, _scores(rows, fits, fits.w), step, _scores(rows, fits, step))
    return replace(fits, w=fits.w + t * step, b=fits.b + shift)


def _scores(rows: Rows, fits: Fits, w: torch.Tensor) -> torch.Tensor:
    """Scores without intercepts [fit, row]."""
    return (w / fits.scale) @ rows.exact.T


def _centred(f: torch.Tensor, fits: Fits) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities [fit, row] and intercepts at which residuals sum to 0 in every fit, given scores without them."""
    b = fits.b
    for _ in range(CUTS):
        p = torch.sigmoid(f + b)
        excess = ((fits.y - p) * fits.mask).sum(dim=1, keepdim=True)
        if float((excess.abs() / fits.mask.sum(dim=1, keepdim=True)).max()) < CENTRED[f.dtype]:
            break
        b = b + (excess / (p * (1 - p) * fits.mask).sum(dim=1, keepdim=True).clamp(min=1e-12)).clamp(-2, 2)
    return p, b


def _newton_step(
    rows: Rows, fits: Fits, curvature: torch.Tensor, gradient: torch.Tensor, goal: torch.Tensor
) -> tuple[torch.Tensor, bool]:
    """Conjugate gradients on Newton's equations until their residual is below `goal`.

    Arrays are written over: on a processor, new ones cost more than what is computed in them.

    Returns:
        Steps, float32 [fit, feature], and whether `goal` was reached (by all but a few).
    """
    weights, inverse, goal = curvature.float(), (1 / fits.scale).float(), goal.float()
    share = weights / weights.sum(dim=1, keepdim=True)
    strength = fits.c.float() * inverse
    inner = None if rows.squares is None else 1 / (1 + strength * inverse * (weights @ rows.squares))
    residual = -gradient.float()
    step, applied, scaled = torch.zeros_like(residual), torch.empty_like(residual), residual
    fast_step = torch.empty_like(residual, dtype=rows.fast.dtype)
    u, fast_u = torch.empty_like(weights), torch.empty_like(weights, dtype=rows.fast.dtype)
    if inner is not None:
        scaled = inner * residual
    towards = scaled.clone()
    size = torch.linalg.vecdot(residual, scaled)[:, None]
    for _ in range(PRODUCTS):
        torch.mul(towards, inverse, out=applied)
        torch.mm(fast_step.copy_(applied), rows.fast_t, out=fast_u)
        u.copy_(fast_u).mul_(weights)
        u.addcmul_(share, u.sum(dim=1, keepdim=True), value=-1)
        torch.mm(fast_u.copy_(u), rows.fast, out=fast_step)
        applied.copy_(fast_step).mul_(strength).add_(towards)
        length = size / torch.linalg.vecdot(towards, applied)[:, None].clamp(min=1e-30)
        step.addcmul_(length, towards)
        residual.addcmul_(length, applied, value=-1)
        unsolved = torch.linalg.vector_norm(residual, dim=1, keepdim=True) > goal
        if int(unsolved.sum()) <= STRAGGLERS * len(unsolved):
            return step, True
        if inner is not None:
            torch.mul(inner, residual, out=scaled)
        new = torch.linalg.vecdot(residual, scaled)[:, None] * unsolved
        towards.mul_(new / size.clamp(min=1e-30)).addcmul_(scaled, unsolved.float())
        size = new
    return step, False


def _search(fits: Fits, f: torch.Tensor, step: torch.Tensor, along: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Length of each step and change of each intercept, [fit, 1], that make the objective smallest."""
    inner, squared = (fits.w * step).sum(dim=1, keepdim=True), (step * step).sum(dim=1, keepdim=True)
    t, shift = torch.zeros_like(fits.b), torch.zeros_like(fits.b)
    start = f + fits.b
    masked = fits.mask * along
    for _ in range(SEARCHES):
        p = torch.sigmoid(start + t * along + shift)
        bend = p * (1 - p)
        slope_t = inner + t * squared - fits.c * ((fits.y - p) * masked).sum(dim=1, keepdim=True)
        slope_b = -fits.c * ((fits.y - p) * fits.mask).sum(dim=1, keepdim=True)
        both = bend * masked
        tt = squared + fits.c * (both * along).sum(dim=1, keepdim=True)
        tb = fits.c * both.sum(dim=1, keepdim=True)
        bb = fits.c * (bend * fits.mask).sum(dim=1, keepdim=True) + 1e-12
        determinant = (tt * bb - tb * tb).clamp(min=1e-30)
        more_t = (tb * slope_b - bb * slope_t) / determinant
        more_b = (tb * slope_t - tt * slope_b) / determinant
        t, shift = t + more_t, shift + more_b
        if float(more_t.abs().max()) < 0.05:
            break
    before = _loss(fits, start)
    for _ in range(CUTS):
        after = _loss(fits, start + t * along + shift) + t * inner + t * t * squared / 2
        worse = ~(after <= before + ROUNDING[f.dtype] * before.abs())
        if not bool(worse.any()):
            break
        t, shift = torch.where(worse, t / 2, t), torch.where(worse, shift / 2, shift)
    return t, shift


def _loss(fits: Fits, f: torch.Tensor) -> torch.Tensor:
    losses = torch.nn.functional.softplus(f) - fits.y * f
    return fits.c * (losses * fits.mask).sum(dim=1, keepdim=True)
