"""Hundreds of L2 logistic regressions over the same rows, solved side by side by inexact Newton steps.

Fits differ in which rows they are trained on (folds), in their labels (permutations), in how features are scaled
(standardised on the fit's own rows) and in their penalty; the matrix of rows is the same for all. So one product with
it serves every fit at once. Steps are those of Newton's method, whose equations are solved by conjugate gradients
(Dembo, Eisenstat & Steihaug 1982), and whose length is the best along the step (scores are linear in it, so searching
costs no product). Products inside conjugate gradients only
say where to go, so they can be in bfloat16, where that is faster; gradients decide, and are in float32 or float64.

Fits over one matrix have nearly the same curvature. So where conjugate gradients are slow, they are preconditioned with
what fits share, or, where rows are wide, with each fit's own curvature; either along shared axes, and found again when
it no longer does (see `curvature`).

The objective, with a free intercept, is scikit-learn's, `C * sum_i log(1 + exp(-t_i f(z_i))) + ||w||^2 / 2`. It is
strongly convex in w (with constant 1, whatever the data), so `||w - optimum|| <= ||gradient||`. That is the criterion:
a fit has converged when its gradient is at most `tolerance` times as long as w, and then w is at most that far from the
optimum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from .curvature import LEADING, ROWS, Axes, Basis, Divide, Factors, Shared

STEPS = 60
"""Newton steps before a fit is given up."""
STEPS_FLOAT32 = 10
"""Those of them with gradients in float32, whose rounding can stop a fit short."""
FORCING = 0.1
"""Newton's equations are solved to this part of the gradient at first, and more exactly as it gets smaller; always to
this part with products in bfloat16, which cannot tell more."""
PRODUCTS = 200
"""Products for one Newton step; where they do not do, the next steps are computed in float32."""
ROUGH = 40
"""The same for a preconditioned step with products in bfloat16: more would be spent on their rounding."""
PAYS = 0.5
"""Shared axes are found once a step takes more products, times fits, than this many times as many as there may be."""
WIDE, WIDE_PAYS = 1024, 0.15
"""From this width on fits have factors of their own, and axes are found by this rule."""
STRAGGLERS = 0.4
"""Conjugate gradients stop when no more than this part of the fits still asks for them."""
CENTRED = {torch.float32: 1e-6, torch.float64: 1e-10}
"""Largest mean residual of a fit, which a free intercept makes 0, by number format."""
ROUNDING = {torch.float32: 1e-6, torch.float64: 1e-12}
"""By what part an objective may seem to grow."""
SEARCHES, UNWATCHED = 16, 4
"""Newton steps for the length of a step; of which so many without a look at the objective, which seldom grows."""
SETTLED = 0.05
"""They have settled when the last one changes length (of 1) and intercept by no more."""
FARTHEST = 2.0
"""By how much one changes the length at most: where scores saturate there is no curvature to tell it."""
CENTRINGS = 40
"""Newton steps for an intercept."""


@dataclass
class Rows:
    """The matrix of rows [row, feature] that all fits share."""

    exact: torch.Tensor
    """As gradients multiply it."""
    fast: torch.Tensor
    """As conjugate gradients multiply it."""
    axes: Axes | None = None
    basis: Basis | None = None
    """Found when a step first turns out to be slow, where features are no axes themselves."""

    @classmethod
    def of(cls, x: torch.Tensor, fast: torch.dtype, axes: Axes | None = None) -> Rows:
        """From rows in any number format, with gradients in float32 and conjugate gradients in the format `fast`."""
        exact = x.float()
        return cls(exact, exact.to(fast), axes)

    def precise(self) -> Rows:
        """The same with conjugate gradients in float32."""
        return replace(self, fast=self.exact.float())

    def learn(self, fits: int, products: int) -> None:
        """After a step of so many fits and products: find the axes, if that pays."""
        if self.axes is not None or self.basis is not None:
            return
        n, width = self.exact.shape
        spent, most = products * fits, min(n, width)
        if width >= WIDE and spent > WIDE_PAYS * min(most, ROWS):
            self.basis = Basis.of(self.exact.float())
        elif width < WIDE and spent > PAYS * min(most, LEADING):
            self.basis = Basis.leading(self.exact.float(), self.fast.dtype)

    def factors(self, fits: Fits, weights: torch.Tensor) -> Factors | Shared | None:
        """Of the curvature of fits whose rows have these weights [fit, row]; None before a basis is found."""
        if self.basis is None:
            return None
        if self.exact.shape[1] >= WIDE:
            return Factors.of(self.basis, fits.c * weights)
        return Shared.of(self.basis, fits.c, weights)


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
    f: torch.Tensor
    """Scores of all rows without intercepts, [fit, row]: kept, since they change along lines."""

    def pick(self, which: torch.Tensor) -> Fits:
        """Some of the fits."""
        return Fits(*(getattr(self, name)[which] for name in self.__dataclass_fields__))

    def put(self, which: torch.Tensor, found: Fits) -> None:
        """Write coefficients, intercepts and scores over those of some of the fits."""
        self.w[which], self.b[which], self.f[which] = found.w, found.b, found.f

    def to(self, dtype: torch.dtype) -> Fits:
        """The same in another number format."""
        return Fits(*(getattr(self, name).to(dtype) for name in self.__dataclass_fields__))

    @classmethod
    def joined(cls, parts: Sequence[Fits]) -> Fits:
        """All fits of the parts."""
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in cls.__dataclass_fields__))


def solve(rows: Rows, fits: Fits, tolerance: torch.Tensor) -> tuple[Fits, torch.Tensor]:
    """Newton steps from where the fits stand.

    Args:
        tolerance: of each fit, [fit, 1].

    Returns:
        The fits at their optima, and whether each has converged, bool [fit].
    """
    w, b, f = fits.w.clone(), fits.b.clone(), fits.f.clone()
    converged = torch.zeros(len(w), dtype=torch.bool, device=w.device)
    left = torch.arange(len(w), device=w.device)
    now, factors, products = fits, None, PRODUCTS
    least = FORCING if rows.fast.dtype == torch.bfloat16 else 0
    for _ in range(min(STEPS, STEPS_FLOAT32) if rows.exact.dtype == torch.float32 else STEPS):
        p, intercept = _centred(now)
        now = replace(now, b=intercept)
        gradient = now.w - now.c * (((now.y - p) * now.mask) @ rows.exact) / now.scale
        size, length = gradient.norm(dim=1, keepdim=True), now.w.norm(dim=1, keepdim=True)
        done = (size <= tolerance * length)[:, 0]
        if bool(done.any()):
            w[left[done]], b[left[done]], f[left[done]] = now.w[done], now.b[done], now.f[done]
            converged[left[done]] = True
            if bool(done.all()):
                break
            keep = ~done
            left, now, p, tolerance = left[keep], now.pick(keep), p[keep], tolerance[keep]
            gradient, size, length = gradient[keep], size[keep], length[keep]
            factors = None if factors is None else factors.pick(keep)
        forcing = (size / length.clamp(min=1e-30)).sqrt().clamp(least, FORCING)
        goal = torch.maximum(forcing * size, 0.3 * tolerance * length)
        weights = p * (1 - p) * now.mask
        if factors is None or products > factors.enough:
            factors = rows.factors(now, weights)
        step, along, products = _newton_step(rows, now, weights, gradient, goal, factors)
        if products < PRODUCTS:
            rows.learn(len(weights), products)
        else:
            rows, least = rows.precise(), 0
        if along.dtype != now.w.dtype:
            step = step.to(now.w.dtype)
            along = scores(rows, now, step)
        total = weights.sum(dim=1, keepdim=True).clamp(min=1e-12)
        b_along = -(weights * along).sum(dim=1, keepdim=True) / total
        now = _moved(now, step, along, torch.ones_like(now.b), b_along)
    else:
        w[left], b[left], f[left] = now.w, now.b, now.f
    return replace(fits, w=w, b=b, f=f), converged


def further(fits: Fits, before: Fits) -> Fits:
    """A start for the next penalty: from `fits`, along the line from `before`, as far as the next objective wants.

    Args:
        fits: solved at the last penalty, with the next penalty in place; `before`: solved at the one before that.
    """
    none = torch.zeros_like(fits.b)
    return _moved(fits, fits.w - before.w, fits.f - before.f, none, none)


def scores(rows: Rows, fits: Fits, w: torch.Tensor) -> torch.Tensor:
    """Scores without intercepts [fit, row]."""
    return (w / fits.scale) @ rows.exact.T


def _centred(fits: Fits) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities [fit, row] and intercepts at which residuals sum to 0 in every fit."""
    f, b = fits.f, fits.b
    for _ in range(CENTRINGS):
        p = torch.sigmoid(f + b)
        excess = ((fits.y - p) * fits.mask).sum(dim=1, keepdim=True)
        if float((excess.abs() / fits.mask.sum(dim=1, keepdim=True)).max()) < CENTRED[f.dtype]:
            break
        b = b + (excess / (p * (1 - p) * fits.mask).sum(dim=1, keepdim=True).clamp(min=1e-12)).clamp(-2, 2)
    return p, b


def _newton_step(
    rows: Rows,
    fits: Fits,
    curvature: torch.Tensor,
    gradient: torch.Tensor,
    goal: torch.Tensor,
    factors: Factors | Shared | None,
) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Conjugate gradients on Newton's equations until their residual is below `goal`.

    Arrays are written over: on a processor, new ones cost more than what is computed in them.

    Returns:
        Steps, float32 [fit, feature], their scores [fit, row] in the format of the products, and the number of these;
        `PRODUCTS` where `goal` was not reached (by all but a few).
    """
    fast = rows.fast.dtype
    inverse, goal = (1 / fits.scale).float(), goal.float()
    total = curvature.sum(dim=1, keepdim=True)
    weights, share = curvature.to(fast), (curvature / total).to(fast)
    strength = fits.c.float() * inverse
    residual = -gradient.float()
    step, applied = torch.zeros_like(residual), torch.empty_like(residual)
    product, seen, u, along = torch.empty_like(residual, dtype=fast), *(torch.zeros_like(weights) for _ in range(3))
    precondition = _preconditioner(rows, fits, curvature, factors)
    scaled = precondition(residual)
    towards = scaled.clone()
    size = torch.linalg.vecdot(residual, scaled)[:, None]
    for done in range(1, ROUGH if factors is not None and fast == torch.bfloat16 else PRODUCTS):
        torch.mul(towards, inverse, out=applied)
        torch.mm(product.copy_(applied), rows.fast.T, out=seen)
        torch.mul(seen, weights, out=u)
        u.addcmul_(share, u.sum(dim=1, keepdim=True), value=-1)
        torch.mm(u, rows.fast, out=product)
        applied.copy_(product).mul_(strength).add_(towards)
        length = size / torch.linalg.vecdot(towards, applied)[:, None].clamp(min=1e-30)
        step.addcmul_(length, towards)
        along.addcmul_(length.to(fast), seen)
        residual.addcmul_(length, applied, value=-1)
        unsolved = torch.linalg.vector_norm(residual, dim=1, keepdim=True) > goal
        if int(unsolved.sum()) <= STRAGGLERS * len(unsolved):
            return step, along, done
        scaled = precondition(residual)
        new = torch.linalg.vecdot(residual, scaled)[:, None] * unsolved
        towards.mul_(new / size.clamp(min=1e-30)).addcmul_(scaled, unsolved.float())
        size = new
    return step, along, PRODUCTS


def _preconditioner(rows: Rows, fits: Fits, weights: torch.Tensor, factors: Factors | Shared | None) -> Divide:
    """What residuals [fit, feature] are nearly divided by their curvature with.

    Factors are of curvature over the features of `Rows`, which differ by `scale` from a fit's own. There they hold to
    a few percent; taken for those of a fit's own features, they would be far out along axes of little curvature.
    """
    if rows.axes is not None:
        return rows.axes.divide(fits.c * weights.sum(dim=1, keepdim=True), fits.w.float())
    if factors is None:
        return lambda residual: residual
    scale, shared = fits.scale.float(), factors
    return lambda residual: shared.divide(residual * scale).mul_(scale)


def _moved(fits: Fits, step: torch.Tensor, along: torch.Tensor, t: torch.Tensor, shift: torch.Tensor) -> Fits:
    """Fits moved along their steps, as far as makes their objectives smallest.

    Length and change of intercept are sought by Newton steps. Where these have settled they are at the minimum, since
    objectives are convex; where not, they begin again, and go back halfway wherever an objective has grown.

    Args:
        along: the steps' scores [fit, row]; `t`, `shift`: a guess at lengths and changes of intercepts, [fit, 1].
    """
    inner, squared = (fits.w * step).sum(dim=1, keepdim=True), (step * step).sum(dim=1, keepdim=True)
    start, weight = fits.f + fits.b, fits.mask * fits.c
    target = weight * fits.y
    target_t, target_b = (target * along).sum(dim=1, keepdim=True), target.sum(dim=1, keepdim=True)
    masked = weight * along
    squares = masked * along
    none, fell, guess = torch.zeros_like(t), torch.ones_like(t, dtype=torch.bool), (t, shift)
    best, best_t, best_shift = none, none, none
    for search in range(SEARCHES):
        if search == UNWATCHED:
            t, shift = guess
            best = _loss(fits, start)
        f = torch.addcmul(start, t, along) + shift
        if search >= UNWATCHED:
            loss = _loss(fits, f) + t * inner + t * t * squared / 2
            fell = loss <= best + ROUNDING[start.dtype] * best.abs()
            best = torch.where(fell, loss, best)
            best_t, best_shift = torch.where(fell, t, best_t), torch.where(fell, shift, best_shift)
        p = torch.sigmoid(f)
        bend = p * (1 - p)
        slope_t = inner + t * squared + torch.linalg.vecdot(p, masked)[:, None] - target_t
        slope_b = torch.linalg.vecdot(p, weight)[:, None] - target_b
        tt = squared + torch.linalg.vecdot(bend, squares)[:, None]
        tb = torch.linalg.vecdot(bend, masked)[:, None]
        bb = torch.linalg.vecdot(bend, weight)[:, None] + 1e-12
        determinant = (tt * bb - tb * tb).clamp(min=1e-30)
        more_t, more_b = (tb * slope_b - bb * slope_t) / determinant, (tb * slope_t - tt * slope_b) / determinant
        part = FARTHEST / more_t.abs().clamp(min=FARTHEST)
        more_t, more_b = (
            torch.where(fell, (part * more_t).nan_to_num(), (best_t - t) / 2),
            torch.where(fell, (part * more_b).nan_to_num(), (best_shift - shift) / 2),
        )
        t, shift = t + more_t, shift + more_b
        if float(torch.maximum(more_t.abs(), more_b.abs()).max()) < SETTLED and bool(fell.all()):
            break
    else:
        t, shift = best_t, best_shift
    return replace(fits, w=fits.w + t * step, b=fits.b + shift, f=fits.f + t * along)


def _loss(fits: Fits, f: torch.Tensor) -> torch.Tensor:
    losses = torch.nn.functional.softplus(f) - fits.y * f
    return fits.c * (losses * fits.mask).sum(dim=1, keepdim=True)
