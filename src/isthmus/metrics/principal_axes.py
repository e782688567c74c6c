"""Principal axes of training rows: one triangular factor of the centred rows gives them in any scaling of columns."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from isthmus.schema import safe_std

ROUNDING_SHARE = 1e-12
"""Share of the rows' variance below which a remainder is rounding."""


class PrincipalAxes(NamedTuple):
    """Principal component analysis of rows (n, d)."""

    mean: np.ndarray
    """(d,)"""
    axes: np.ndarray
    """(m, d) orthonormal, by falling variance; m = min(n, d)."""
    variance: np.ndarray
    """(m,) of the rows along each axis."""

    def reconstruct(self, x: np.ndarray, k: int) -> np.ndarray:
        """Rows (n, d) projected onto the first k axes; these rows themselves if only rounding is left."""
        centred, axes = x - self.mean, self.axes[:k]
        decoded = centred @ axes.T @ axes
        error, total = np.square(decoded - centred).sum(), np.square(centred).sum()
        return decoded + self.mean if error > ROUNDING_SHARE * total else x


def triangular_factor(x: np.ndarray) -> np.ndarray:
    """(min(n, d), d) R of the QR decomposition of the centred rows x (n, d): R'R = (x - mean)'(x - mean).

    Dividing its columns by scales gives the factor of rows that are scaled so.
    """
    return np.asarray(np.linalg.qr(x - x.mean(0), mode="r"))


def principal_axes(mean: np.ndarray, factor: np.ndarray, n: int) -> PrincipalAxes:
    """The principal axes of n rows, from their mean (d,) and the triangular factor of the centred rows."""
    _, singular, axes = np.linalg.svd(factor, full_matrices=False)
    return PrincipalAxes(mean, axes, np.square(singular) / max(1, n - 1))


def rank_of(rows: np.ndarray, rounding: float, factor: np.ndarray | None = None) -> int:
    """How many dimensions rows (n, d) span around their mean, whatever the columns' units.

    Rows in a plane leave it by the rounding of their numbers, which may be large relative to the columns' spreads.

    Args:
        rows: (n, d).
        rounding: relative rounding error of a number.
        factor: the triangular factor of the centred rows, if it is known.

    >>> rank_of(np.array([[1e9, 0, 1], [2e9, 0, 2], [4e9, 0, 4], [4e9, 0, 5]]), 1e-16)
    2
    """
    scale = safe_std(rows)  # (d,)
    centred = rows - rows.mean(0) if factor is None else factor
    singular = np.linalg.svd(centred / scale, compute_uv=False)
    noise = 4 * rounding * np.sqrt(rows.size) * (np.abs(rows).max(0) / scale)[rows.std(0) > 0].max(initial=1)
    return int((singular > noise).sum())
