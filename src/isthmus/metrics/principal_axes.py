"""Principal axes of rows, and densities along them: one triangular factor of the rows serves any scaling of columns."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from isthmus.schema import row_count, safe_std

ROUNDING_SHARE = 1e-12
"""Share of the rows' variance below which a remainder is rounding."""
MIN_SQUARE_SHARE = 1e-10
"""Share of the largest squared singular value down to which those of products of rows are exact to a millionth."""

LogDensity = Callable[[np.ndarray], np.ndarray]
"""Rows (n, d) to their log-densities (n,), nats."""


class PrincipalAxes(NamedTuple):
    """Principal component analysis of rows (n, d)."""

    mean: np.ndarray
    """(d,)"""
    axes: np.ndarray
    """(m, d) orthonormal, by falling variance; m = min(n, d)."""
    variance: np.ndarray
    """(m,) of the rows along each axis."""

    def noise_variance(self, k: int) -> float:
        """Mean variance in the d - k directions beyond the first k axes: fewer rows than columns span only some.

        1 if there are none, and never zero.
        """
        rest = self.axes.shape[1] - k
        if not rest:
            return 1.0
        return max(float(self.variance[k:].sum()) / rest, ROUNDING_SHARE * float(self.variance[0]))

    def reconstruct(self, x: np.ndarray, k: int) -> np.ndarray:
        """Rows (n, d) projected onto the first k axes; these rows themselves if only rounding is left."""
        centred, axes = x - self.mean, self.axes[:k]
        decoded = centred @ axes.T @ axes
        error, total = np.square(decoded - centred).sum(), np.square(centred).sum()
        return decoded + self.mean if error > ROUNDING_SHARE * total else x


def triangular_factor(x: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """(min(n, d), d) R of the QR decomposition of the centred rows x (n, d): R'R = (x - mean)'(x - mean).

    Of few rows of many columns the centred rows themselves serve, which have as few numbers. Dividing its columns by
    scales gives the factor of rows that are scaled so. With weights (n,) it is the factor of rows that occur as often
    as their weights say.
    """
    return factor_of_blocks([x], weight)[1]


def factor_of_blocks(
    blocks: Iterable[np.ndarray], weight: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean (d,), triangular factor of the centred rows, and number of rows that come in blocks (m, d).

    Around their joint mean, n rows of mean a and m rows of mean b have the squares around their own means and
    n m / (n + m) (b - a)(b - a)' in addition (Chan et al., 1983), which is one more row of the factor. Rows count by
    `weight` (n,).
    """
    mean, factor, n, start = np.zeros(()), np.zeros(()), 0.0, 0
    for block in blocks:
        part = None if weight is None else weight[start : start + len(block)]
        start += len(block)
        m, centre = float(len(block)) if part is None else float(part.sum()), np.average(block, 0, part)
        centred = block - centre if part is None else (block - centre) * np.sqrt(part)[:, None]
        if n:
            apart = math.sqrt(n * m / (n + m)) * (centre - mean)
            centred = np.concatenate([factor, centred, apart[None]])
        wide = not n and centred.shape[0] <= centred.shape[1]
        factor = centred if wide else np.asarray(np.linalg.qr(centred, mode="r"))
        mean = mean + (centre - mean) * (m / (n + m))
        n += m
    if weight is None:
        return mean, factor, n
    count = row_count(weight)
    return mean, factor * math.sqrt(count / n), count


def principal_axes(mean: np.ndarray, factor: np.ndarray, n: float) -> PrincipalAxes:
    """The principal axes of n rows, from their mean (d,) and the triangular factor of the centred rows."""
    squares, axes = squares_and_axes(factor)
    return PrincipalAxes(mean, axes, squares / max(1, n - 1))


def squares_and_axes(factor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Squared singular values (m,) of a factor (m, d), largest first, and the axes (m, d) that belong to them.

    An axis whose square is rounding may be zero.

    Wide factors are decomposed by the m x m products of their rows, several times faster, unless the products'
    rounding, some 1e-15 of the largest square, might show. The last square does not count: centred rows span one
    dimension less.
    """
    m, d = factor.shape
    if 2 < m < d:
        squares, vectors = np.linalg.eigh(factor @ factor.T)
        squares, vectors = squares[::-1], vectors.T[::-1]
        if squares[-2] > MIN_SQUARE_SHARE * squares[0]:
            spans = (squares > MIN_SQUARE_SHARE * squares[0])[:, None]
            axes = vectors @ factor / np.sqrt(np.where(spans, squares[:, None], 1.0))
            return np.maximum(squares, 0.0), np.where(spans, axes, 0.0)
    _, singular, axes = np.linalg.svd(factor, full_matrices=False)
    return np.square(singular), axes


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


def along_axes(axes: PrincipalAxes, k: int, log_density: LogDensity) -> LogDensity:
    """A density of rows whose standardised coordinates along the first k axes have `log_density`.

    In all other directions they are normal, with the mean variance of these.
    """
    turn, variance, rest = axes.axes[:k], clipped_variance(axes, k), axes.axes.shape[1] - k
    noise = axes.noise_variance(k)
    log_volume = 0.5 * float(np.log(variance).sum()) + 0.5 * rest * math.log(2 * math.pi * noise)

    def density(rows: np.ndarray) -> np.ndarray:
        centred = rows - axes.mean
        along = centred @ turn.T  # (n, k)
        outside = np.square(centred - along @ turn).sum(1) / (2 * noise) if rest else 0.0
        return log_density(along / np.sqrt(variance)) - outside - log_volume

    return density


def clipped_variance(axes: PrincipalAxes, k: int) -> np.ndarray:
    """(k,) variances along the first axes, none of them zero."""
    return np.maximum(axes.variance[:k], ROUNDING_SHARE * float(axes.variance[0]))


def linear_density(axes: PrincipalAxes, k: int) -> LogDensity:
    """Probabilistic PCA with k dimensions: one noise variance in all other directions (Tipping & Bishop, 1999)."""

    def standard_normal(u: np.ndarray) -> np.ndarray:
        return -0.5 * (np.square(u).sum(1) + k * math.log(2 * math.pi))

    return along_axes(axes, k, standard_normal)


def linear_scores_by_size(axes: PrincipalAxes, x: np.ndarray, max_size: int) -> np.ndarray:
    """Mean log-density of rows under probabilistic PCA of each size, all from one decomposition.

    Args:
        axes: principal axes of other rows.
        x: (n, d) the rows that are scored.
        max_size: the largest size.

    Returns:
        (max_size + 1,) nats, for 0, 1, ... dimensions; those of `linear_density`.
    """
    centred = x - axes.mean
    d, kept = x.shape[1], np.arange(max_size + 1)  # (K,) numbers of kept dimensions
    squares = np.square(centred @ axes.axes[:max_size].T).mean(0)  # (max_size,) of the rows along each axis
    variance = clipped_variance(axes, max_size)
    noise = np.array([axes.noise_variance(k) for k in range(max_size + 1)])
    along = np.concatenate([[0.0], np.cumsum(squares / variance + np.log(2 * math.pi * variance))])
    outside = np.square(centred).sum(1).mean() - np.concatenate([[0.0], np.cumsum(squares)])
    return -0.5 * (along + np.where(kept < d, outside / noise + (d - kept) * np.log(2 * math.pi * noise), 0.0))


def axes_by_scaling(
    mean: np.ndarray, factor: np.ndarray, n: int, scales: dict[str, np.ndarray]
) -> dict[str, PrincipalAxes]:
    """Principal axes of n rows divided by each scale, from the rows' mean (d,) and triangular factor."""
    return {name: principal_axes(mean / scale, factor / scale, n) for name, scale in scales.items()}


def in_data_units(log_density: LogDensity, scale: np.ndarray) -> LogDensity:
    """The density of rows whose quotients by `scale` (d,) have `log_density`."""
    log_volume = float(np.log(scale).sum())
    return lambda rows: log_density(rows / scale) - log_volume


def choose_linear(
    axes: dict[str, PrincipalAxes],
    scales: dict[str, np.ndarray],
    valid: np.ndarray,
    max_size: Callable[[PrincipalAxes], int],
) -> tuple[str, int]:
    """Scaling and size of probabilistic PCA by which validation rows score best; the first of equal ones.

    One decomposition for each scaling gives the scores of all sizes.

    Args:
        axes: principal axes of the training rows by the name of the scaling.
        scales: (d,) by which columns are divided, by the same names.
        valid: (m, d) the validation rows, not scaled.
        max_size: the largest size that leaves a noise to learn, by the principal axes of the scaled training rows.
    """
    best, best_score = ("", 0), -math.inf
    for name, scaled_axes in axes.items():
        scores = linear_scores_by_size(scaled_axes, valid / scales[name], max_size(scaled_axes))
        scores -= np.log(scales[name]).sum()
        if not best[0] or scores.max() > best_score:
            best, best_score = (name, int(scores.argmax())), float(scores.max())
    return best
