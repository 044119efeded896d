"""The curvature of fits over shared rows, by which conjugate gradients are preconditioned.

A fit's curvature is `1 + C * X'WX`, with weights W of its own: 0 for rows that it is not trained on, nearly 0 for rows
that it is sure of. `Axes` are one eigen-decomposition of X'WX for all fits, of their mean, which is cheap, and enough
where products are cheap. `Factors` are each fit's own, along the axes that matter (a `Basis`, found once), and 1 across
them: a few products then do, where one product costs as much as a factorisation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

Divide = Callable[[torch.Tensor], torch.Tensor]
"""Residuals [fit, feature] -> the same, about divided by the curvature; written over at the next call."""
NO_CURVATURE = 1e-5
"""Shared axes with less than this part of the largest one's curvature are left out where features outnumber rows."""
ROWS = 1000
"""Axes are found from about so many of the rows, evenly spread."""
MOST = 640
"""Axes at most."""
NO_VARIANCE = 1e-5
"""Axes with less than this part of the largest one's variance are left out."""
MATTERS = 0.5
"""An axis matters to fits if it adds this much to the curvature of one."""
SURE = 0.1
"""Rows that add less than this to a fit's curvature, along any axis, are left out."""
FLOOR = 3e-6
"""Added to inverse curvatures: rounding may not make them negative."""
RIDGE = 1e-4
"""Added to the diagonal of a curvature, as a part of itself, for the same reason."""
BLOCK = 128
"""Axes of one product: only what is on and below the diagonal is needed."""


@dataclass(frozen=True)
class Axes:
    """Principal axes of the curvature that fits share: the mean of theirs."""

    values: torch.Tensor
    """Weighted mean squares of rows along each axis, float32 [axis]."""
    vectors: torch.Tensor | None
    """[feature, axis]: as many axes as features, in the format of conjugate gradients, or fewer, in float32, where what
    they leave out has no curvature of its own; None: features are the axes."""

    def to(self, fast: torch.dtype) -> Axes:
        """The same for conjugate gradients in another format."""
        whole = self.vectors is not None and self.vectors.shape[0] == self.vectors.shape[1]
        return Axes(self.values, self.vectors.to(fast)) if whole and self.vectors is not None else self

    @classmethod
    def of(cls, rows: torch.Tensor, weights: torch.Tensor, fast: torch.dtype) -> Axes:
        """Of rows [row, feature] with weights [row] that sum to 1."""
        scaled = rows * weights[:, None].sqrt()
        if rows.shape[1] <= rows.shape[0]:
            values, vectors = torch.linalg.eigh(scaled.T @ scaled)
            return cls(values.clamp(min=0), vectors).to(fast)
        values, left = torch.linalg.eigh(scaled @ scaled.T)
        kept = values > NO_CURVATURE * values[-1]
        return cls(values[kept], scaled.T @ (left[:, kept] / values[kept].sqrt()))

    def divide(self, strength: torch.Tensor, like: torch.Tensor) -> Divide:
        """For residuals like these, of fits with C times the sum of their weights, [fit, 1]."""
        inner = 1 / (1 + strength.float() * self.values)
        out = torch.empty_like(like)
        vectors = self.vectors
        if vectors is None:
            return lambda residual: torch.mul(inner, residual, out=out)
        if vectors.shape[0] != vectors.shape[1]:
            return lambda residual: torch.addmm(residual, (residual @ vectors).mul_(inner - 1), vectors.T, out=out)
        inner = inner.to(vectors.dtype)
        back, along = torch.empty_like(like, dtype=vectors.dtype), torch.empty_like(inner)

        def precondition(residual: torch.Tensor) -> torch.Tensor:
            torch.mm(back.copy_(residual), vectors, out=along)
            return out.copy_(torch.mm(along.mul_(inner), vectors.T, out=back))

        return precondition


@dataclass(frozen=True)
class Basis:
    """Principal axes of rows, by falling variance."""

    values: torch.Tensor
    """Mean squares of rows along each, float32 [axis]."""
    vectors: torch.Tensor
    """float32 [feature, axis]"""
    rows: torch.Tensor
    """Rows along them, float32 [row, axis]."""
    squares: torch.Tensor
    """Squared lengths of rows, float32 [row]."""

    @classmethod
    def of(cls, rows: torch.Tensor) -> Basis:
        """Of rows [row, feature], float32."""
        some = rows[:: max(1, len(rows) // ROWS)]
        wide = some.shape[1] > some.shape[0]
        values, vectors = torch.linalg.eigh(some @ some.T if wide else some.T @ some)
        kept = min(MOST, int((values > NO_VARIANCE * values[-1]).sum()))
        values, vectors = values[-kept:].flip(0), vectors[:, -kept:].flip(1)
        if wide:
            vectors = _orthonormal(some.T @ (vectors / values.sqrt()))
        return cls(values / len(some), vectors, rows @ vectors, rows.square().sum(dim=1))


@dataclass(frozen=True)
class Factors:
    """Curvatures of fits along the axes that matter to them, factorised."""

    vectors: torch.Tensor
    """[feature, axis]"""
    lower: torch.Tensor
    """Cholesky factors [fit, axis, axis]."""

    @classmethod
    def of(cls, basis: Basis, strength: torch.Tensor) -> Factors:
        """Of fits with C times the weights of their rows, [fit, row]."""
        strength = strength.float()
        most = float(strength.sum(dim=1).max())
        n = max(1, int((most * basis.values > MATTERS).sum()))
        lower = strength.new_zeros(len(strength), n, n)
        for mine, curvature in zip(strength, lower, strict=True):
            felt = torch.nonzero(mine * basis.squares > SURE)[:, 0]
            weights, rows = mine[felt], basis.rows[felt, :n]
            mean = weights @ rows / weights.sum().clamp(min=1e-30)
            rows = (rows - mean).mul_(weights.sqrt()[:, None])
            for at in range(0, n, BLOCK):
                end = min(n, at + BLOCK)
                torch.mm(rows[:, at:end].T, rows[:, :end], out=curvature[at:end, :end])
        diagonal = lower.diagonal(dim1=1, dim2=2)
        diagonal.mul_(1 + RIDGE).add_(1)
        return cls(basis.vectors[:, :n], torch.linalg.cholesky(lower))

    def pick(self, which: torch.Tensor) -> Factors:
        """Those of some of the fits."""
        return Factors(self.vectors, self.lower[which])

    def divide(self, residual: torch.Tensor) -> torch.Tensor:
        """Residuals [fit, feature], over features that all fits share, divided by the curvature."""
        along = residual @ self.vectors
        change = torch.cholesky_solve(along[..., None], self.lower)[..., 0].sub_(along, alpha=1 - FLOOR)
        return torch.addmm(residual, change, self.vectors.T)


def _orthonormal(vectors: torch.Tensor) -> torch.Tensor:
    """Vectors [feature, axis] that are nearly so, made so."""
    lower = torch.linalg.cholesky(vectors.T @ vectors)
    return torch.linalg.solve_triangular(lower, vectors.T, upper=False).T.contiguous()
