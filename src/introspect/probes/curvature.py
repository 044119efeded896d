"""The curvature of fits over shared rows, by which conjugate gradients are preconditioned.

A fit's curvature is `1 + C * X'WX`, with weights W of its own: 0 for rows that it is not trained on, nearly 0 for rows
that it is sure of. It is found along leading axes of the rows (a `Basis`, found once for all fits): there is little of
it across them. Where products are cheap, that of fits' mean weights is enough, which is inverted once for all of them
and again as they move (`Shared`). `Factors` are each fit's own: a few products then do, where one product costs as much
as a factorisation. `Axes` are for fits that are trained on every row, whose features are principal axes to begin with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import torch

Divide = Callable[[torch.Tensor], torch.Tensor]
"""Residuals [fit, feature] -> the same, about divided by the curvature; written over at the next call."""
ROWS = 1000
"""Axes are found from about so many of the rows, evenly spread."""
MOST = 640
"""Axes at most."""
LEADING, ROUNDS = 160, 2
"""Axes at most that are found by orthogonal iteration, and its rounds: the last ones are rough, which does no harm."""
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
    """Features that are principal axes of rows, where every fit is trained on all of these."""

    values: torch.Tensor
    """Mean squares of rows along each, float32 [axis]."""

    def divide(self, strength: torch.Tensor, like: torch.Tensor) -> Divide:
        """For residuals like these, of fits with C times the sum of their weights, [fit, 1]."""
        inner = 1 / (1 + strength.float() * self.values)
        out = torch.empty_like(like)
        return lambda residual: torch.mul(inner, residual, out=out)


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

    @classmethod
    def leading(cls, rows: torch.Tensor, fast: torch.dtype) -> Basis:
        """Nearly those of most variance of rows [row, feature], float32, by orthogonal iteration (Halko, Martinsson &
        Tropp 2011, algorithm 4.4) from where a fixed seed puts it, with products in the format `fast`.
        """
        n, width = rows.shape
        quick, seed = rows.to(fast), torch.Generator().manual_seed(0)
        vectors = torch.randn(width, min(LEADING, n, width), generator=seed).to(rows.device)
        for _ in range(ROUNDS):
            vectors = torch.linalg.qr((quick.T @ (quick @ vectors.to(fast))).float())[0]
        along = rows @ vectors
        values, turn = torch.linalg.eigh(along.T @ along / n)
        values, turn = values.clamp(min=0).flip(0), turn.flip(1)
        return cls(values, vectors @ turn, along @ turn, rows.square().sum(dim=1))

    @cached_property
    def others(self) -> torch.Tensor:
        """Mean square of rows along an axis across these, float32."""
        left = (self.squares.sum() - self.rows.square().sum()).clamp(min=0) / len(self.rows)
        return left / max(1, min(len(self.rows), len(self.vectors)) - self.vectors.shape[1])


@dataclass(frozen=True)
class Factors:
    """Curvatures of fits along the axes that matter to them, factorised."""

    enough: ClassVar[int] = 4
    """Products of a step that are few enough for the next one to do with the same factors."""
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


@dataclass(frozen=True)
class Shared:
    """Curvatures along leading axes, and alike across them, of the mean weights of fits with the same penalty."""

    enough: ClassVar[int] = 8
    """As `Factors.enough`."""
    vectors: torch.Tensor
    """[feature, axis]"""
    across: torch.Tensor
    """Inverse curvatures across the axes, of each fit, [fit, 1]."""
    beyond: torch.Tensor
    """Inverse curvatures along them less those across, penalties side by side, [axis, penalty and axis]."""
    kind: torch.Tensor | None
    """The penalty of each fit, [fit]; None: there is one."""

    @classmethod
    def of(cls, basis: Basis, c: torch.Tensor, weights: torch.Tensor) -> Shared:
        """Of fits with penalties C [fit, 1] and these weights of their rows [fit, row]."""
        penalties, kind = c[:, 0].unique(return_inverse=True)
        across, beyond = torch.empty_like(c, dtype=torch.float32), []
        for k, penalty in enumerate(penalties):
            strength = (penalty * weights[kind == k].mean(dim=0)).float()
            total = strength.sum()
            rows = (basis.rows - strength @ basis.rows / total.clamp(min=1e-30)).mul_(strength.sqrt()[:, None])
            curvature = rows.T @ rows
            curvature.diagonal().mul_(1 + RIDGE).add_(1)
            inverse = torch.cholesky_inverse(torch.linalg.cholesky(curvature))
            other = 1 / (1 + total * basis.others)
            inverse.diagonal().sub_(other).add_(FLOOR)
            across[kind == k] = other
            beyond.append(inverse)
        return cls(basis.vectors, across, torch.cat(beyond, dim=1), kind if len(penalties) > 1 else None)

    def pick(self, which: torch.Tensor) -> Shared:
        """Those of some of the fits."""
        return replace(self, across=self.across[which], kind=None if self.kind is None else self.kind[which])

    def divide(self, residual: torch.Tensor) -> torch.Tensor:
        """Residuals [fit, feature], over features that all fits share, about divided by the curvature."""
        change = (residual @ self.vectors) @ self.beyond
        if self.kind is not None:
            every = torch.arange(len(change), device=change.device)
            change = change.unflatten(1, (-1, self.vectors.shape[1]))[every, self.kind]
        return torch.addmm(residual * self.across, change, self.vectors.T)


def _orthonormal(vectors: torch.Tensor) -> torch.Tensor:
    """Vectors [feature, axis] that are nearly so, made so."""
    lower = torch.linalg.cholesky(vectors.T @ vectors)
    return torch.linalg.solve_triangular(lower, vectors.T, upper=False).T.contiguous()
