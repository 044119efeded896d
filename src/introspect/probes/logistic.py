"""L2 logistic regression of a few problems with the same rows, exactly, in the space of rows.

A probe has more features than rows, so everything is done with kernels [row, row]: problems are batched, and features
are touched only to form the kernel and to read the coefficients off at the end. The objective is scikit-learn's,
`C * sum_i log(1 + exp(-y_i f(x_i))) + ||w||^2 / 2`, with a free intercept, so coefficients agree with its own.

`fit` is Newton's method (Rasmussen & Williams 2006, algorithm 3.1, with a free intercept): a factorisation a step. Many
fits over shared rows are the business of `newton`, which falls back on this one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..errors import EstimateError

TOLERANCE = 1e-7
"""Largest |a - (y - p)| of a Newton solution; at the optimum a equals y - p exactly."""
NEWTON_STEPS = 60


class NotConverged(EstimateError):
    """A solver stopped short of its tolerance, so there is no probe to report."""


@dataclass(frozen=True)
class Standardiser:
    """Mean and scale of each feature, float64 [problem, feature], fitted on training rows; 1 for constant features."""

    mean: torch.Tensor
    scale: torch.Tensor

    @classmethod
    def fit(cls, x: torch.Tensor) -> Standardiser:
        """From training rows [problem, row, feature]."""
        whole = x.double()
        mean = whole.mean(dim=1)
        return cls(mean, scale_of(whole.var(dim=1, correction=0), mean, x.shape[1], x.dtype))

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Rows [problem, row, feature] in those units, float64."""
        return (x - self.mean[:, None]) / self.scale[:, None]


def scale_of(
    variance: torch.Tensor, mean: torch.Tensor, n_rows: int, kind: torch.dtype, floor: torch.Tensor | float = 0.0
) -> torch.Tensor:
    """Standard deviations; 1 where the variance is no more than rounding, so that the feature is constant.

    Rounding is that of the numbers as they were given, to a part `eps` of their size, or that of the mean of `n_rows`
    of them in float64, whichever is more (Chan, Golub & LeVeque 1983; scikit-learn's StandardScaler has the second).

    Args:
        variance, mean: of each feature, float64, in the same units.
        kind: number format in which features were given.
        floor: further variance that counts as none.
    """
    part = max(torch.finfo(kind).eps, n_rows * torch.finfo(torch.float64).eps)
    least = torch.clamp((part * mean).square(), min=floor)
    return torch.where(variance > least, variance, torch.ones_like(variance)).sqrt()


@dataclass(frozen=True)
class Solution:
    """Row weights `a` [problem, row, column] and intercepts `b` [problem, column] of fits with penalty `c`."""

    a: torch.Tensor
    b: torch.Tensor
    c: float

    def coefficients(self, x: torch.Tensor) -> torch.Tensor:
        """Coefficients [problem, feature, column] over the training rows' features `x` [problem, row, feature]."""
        return self.c * x.transpose(1, 2) @ self.a


def kernel(x: torch.Tensor) -> torch.Tensor:
    """Inner products of rows: [problem, row, feature] -> float64 [problem, row, row]."""
    return (x @ x.transpose(1, 2)).double()


def fit(gram: torch.Tensor, y: torch.Tensor, c: float, start: Solution | None = None) -> Solution:
    """One label column for every problem, by damped Newton steps.

    Args:
        gram: kernel of the training rows, [problem, row, row].
        y: labels 0 or 1, [row].
        c: inverse strength of the penalty (scikit-learn's C).
        start: a solution at a neighbouring penalty.

    Raises:
        NotConverged: the optimum was not reached.
    """
    g = c * gram
    n_problems, n_rows, _ = g.shape
    y = y.double().expand(n_problems, n_rows)
    identity = torch.eye(n_rows, dtype=g.dtype, device=g.device)
    a = torch.zeros_like(y) if start is None else start.a[..., 0] * min(1.0, start.c / c)
    b = y.new_zeros(n_problems) if start is None else start.b[:, 0]
    f = _apply(g, a) + b[:, None]
    loss = _objective(a, f, y, g)
    for _ in range(NEWTON_STEPS):
        p = torch.sigmoid(f)
        if float((a - (y - p)).abs().max()) < TOLERANCE:
            return Solution(a[..., None], b[:, None], c)
        w = (p * (1 - p)).clamp(min=1e-10)
        root = w.sqrt()
        factor = torch.linalg.cholesky(identity + root[:, :, None] * g * root[:, None, :])
        z = f + (y - p) / w
        sides = torch.stack([root * z, root], dim=-1)
        solved = root[..., None] * torch.cholesky_solve(sides, factor)
        b_target = solved[..., 0].sum(dim=1) / solved[..., 1].sum(dim=1)
        a_target = solved[..., 0] - b_target[:, None] * solved[..., 1]
        f_target = _apply(g, a_target) + b_target[:, None]
        step = torch.ones_like(b)
        for _ in range(30):
            a_new = a + step[:, None] * (a_target - a)
            f_new = f + step[:, None] * (f_target - f)
            loss_new = _objective(a_new, f_new, y, g)
            worse = loss_new > loss + 1e-10 * loss.abs()
            if not bool(worse.any()):
                break
            step = torch.where(worse, step / 2, step)
        a, b, f, loss = a_new, b + step * (b_target - b), f_new, loss_new
    raise NotConverged(f"logistic regression did not converge in {NEWTON_STEPS} Newton steps at C = {c}")


def _apply(g: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
    return (g @ a[..., None])[..., 0]


def _objective(a: torch.Tensor, f: torch.Tensor, y: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """The objective of each problem, with a = w's row weights: sum of losses plus a'Ga / 2."""
    losses = torch.nn.functional.softplus(f) - y * f
    return losses.sum(dim=1) + 0.5 * (a * _apply(g, a)).sum(dim=1)
