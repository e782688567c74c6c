"""Linear models of rows in closed form: probabilistic PCA and factor analysis, given a condition or not."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from isthmus.metrics.principal_axes import principal_axes, triangular_factor
from isthmus.scales import SCALE_FLOOR
from isthmus.schema import row_count

MIN_NOISE_VARIANCE = SCALE_FLOOR**2
"""Smallest variance of the noise, in the units that networks read: no learned scale goes lower."""
UNUSED_SHARE = 1e-2
"""Scale of a dimension that the linear model does not use, in units of the noise: networks may take it up."""
NOISE_OF_FULL_CODES = 0.03
"""Variance of the noise where no direction is left for it, in units of the smallest variance along an axis."""
USED_MARGIN = 1e-6
"""Share of the noise by which the variance along an axis must exceed it: less is rounding."""
MIN_UNIQUE_SHARE = 1e-3
"""Share of a column's variance that factor analysis leaves as its noise, at least: it must not vanish."""
MAX_FACTOR_STEPS, MAX_FACTOR_COLUMNS = 50, 128
"""Steps of factor analysis, and columns up to which it is iterated: each step decomposes a matrix."""


class LinearModel(NamedTuple):
    """x = z W + c B + mean + noise with z ~ N(0, I): probabilistic PCA, or factor analysis (Tipping & Bishop, 1999).

    W = sqrt(kept) axes scale, and the noise of column j is normal with variance noise scale_j².
    """

    mean: np.ndarray
    """(d,)"""
    coefficients: np.ndarray
    """(C, d) B."""
    scale: np.ndarray
    """(d,)"""
    axes: np.ndarray
    """(D, d) orthonormal."""
    variance: np.ndarray
    """(D,) of the rows along the axes, in units of the scale."""
    noise: float

    @property
    def kept(self) -> np.ndarray:
        """(D,) what the code explains of the variance along each axis."""
        unused = UNUSED_SHARE**2 * self.noise
        return np.maximum(self.variance - self.noise, unused)

    @property
    def used(self) -> np.ndarray:
        """(D,) whether the rows vary along an axis by more than the noise."""
        return self.variance > (1 + USED_MARGIN) * self.noise

    def coordinates(self, x: np.ndarray) -> np.ndarray:
        """(n, D) rows along the axes, in units of their standard deviation there."""
        spread = np.sqrt(np.maximum(self.variance, MIN_NOISE_VARIANCE))
        return (x - self.mean) / self.scale @ self.axes.T / spread

    @property
    def narrowest(self) -> np.ndarray:
        """(D,) variance of `coordinates` that a narrow component of the prior has: the noise's and q(z given x)'s."""
        spread = np.maximum(self.variance, MIN_NOISE_VARIANCE)
        return np.minimum(2 * self.noise / spread, 1.0)

    def log_density(self, x: np.ndarray) -> np.ndarray:
        """(n,) log p of rows (n, d) without a condition, nats."""
        real = self.variance > 0  # axes at random are there for the networks, not for the density
        centred = (x - self.mean) / self.scale
        along, variance = centred @ self.axes[real].T, self.kept[real] + self.noise  # (n, D'), (D',)
        rest = x.shape[1] - len(variance)
        outside = np.maximum(np.square(centred).sum(1) - np.square(along).sum(1), 0.0) / self.noise if rest else 0.0
        squares = np.square(along) @ (1 / variance) + outside
        log_volume = np.log(variance).sum() + rest * math.log(self.noise) + 2 * np.log(self.scale).sum()
        return -0.5 * (squares + log_volume + x.shape[1] * math.log(2 * math.pi))

    def used_coordinates(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n, D') `coordinates` of rows along the axes that are used, and (D',) `narrowest` there."""
        return self.coordinates(x)[:, self.used], self.narrowest[self.used]


def without_condition(
    x: np.ndarray, c: np.ndarray | None, weight: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What a linear function of the condition leaves of x: residuals (n, d), coefficients (C, d), mean (d,)."""
    mean = np.average(x, 0, weight)
    if c is None:
        return x - mean, np.zeros((0, x.shape[1])), mean
    centre, root = np.average(c, 0, weight), 1.0 if weight is None else np.sqrt(weight)[:, None]
    coefficients = np.linalg.lstsq(root * (c - centre), root * (x - mean), rcond=1e-6)[0]
    mean = mean - centre @ coefficients
    return x - c @ coefficients - mean, coefficients, mean


def fit_linear_model(
    x: np.ndarray, c: np.ndarray | None, latent_dim: int, noise_per_column: bool, weight: np.ndarray | None = None
) -> LinearModel:
    """The linear model of most likelihood on rows (n, d).

    Args:
        x: (n, d) rows.
        c: (n, C) conditions.
        latent_dim: D, of which those beyond the rows' rank are not used.
        noise_per_column: factor analysis instead of probabilistic PCA.
        weight: (n,) how much rows count.
    """
    residuals, coefficients, mean = without_condition(x, c, weight)
    d, n = x.shape[1], float(len(x)) if weight is None else row_count(weight)
    factor = triangular_factor(residuals, weight)
    k = min(latent_dim, len(factor))
    scale = np.ones(d)
    total = np.square(factor).sum(0) / max(1, n - 1)  # (d,) variances
    if noise_per_column:
        scale = noise_scales(factor, total, k, n)
    _, axes, variance = principal_axes(np.zeros(d), factor / scale, n)
    rest = variance[k:].sum() / (d - k) if d > k else NOISE_OF_FULL_CODES * variance[d - 1 : d].sum()
    noise = 1.0 if noise_per_column else max(float(rest), MIN_NOISE_VARIANCE)
    padding = latent_dim - k
    if padding:  # directions at random, which the networks may take up
        random = np.random.default_rng(0).normal(size=(padding, d))
        axes = np.concatenate([axes[:k], random / np.linalg.norm(random, axis=1, keepdims=True)])
        variance = np.concatenate([variance[:k], np.zeros(padding)])
    return LinearModel(mean, coefficients, scale, axes[:latent_dim], variance[:latent_dim], noise)


def independent_columns(x: np.ndarray, weight: np.ndarray | None = None) -> LinearModel:
    """The linear model in which each dimension of the code is a column of the rows (n, d), with little noise."""
    mean = np.average(x, 0, weight)
    d, variance = x.shape[1], np.maximum(np.average(np.square(x - mean), 0, weight), MIN_NOISE_VARIANCE)
    noise = max(NOISE_OF_FULL_CODES * float(variance.min()), MIN_NOISE_VARIANCE)
    return LinearModel(mean, np.zeros((0, d)), np.ones(d), np.eye(d), variance, noise)


def noise_scales(factor: np.ndarray, total: np.ndarray, k: int, n: float) -> np.ndarray:
    """(d,) scales of the noise of factor analysis with k dimensions.

    Given the scales, W is that of probabilistic PCA on scaled columns; given W, the noise of a column is what W leaves
    of its variance. The two are iterated; each step raises the likelihood (Rubin & Thayer, 1982).

    Args:
        factor: (m, d) triangular factor of the centred rows.
        total: (d,) their variances.
        k: dimensions.
        n: number of rows.
    """
    noise = np.maximum(total, MIN_NOISE_VARIANCE)
    steps = MAX_FACTOR_STEPS if len(total) <= MAX_FACTOR_COLUMNS else 1
    for _ in range(steps + 1):
        _, axes, variance = principal_axes(np.zeros(len(total)), factor / np.sqrt(noise), n)
        explained = (np.maximum(variance[:k] - 1, 0)[:, None] * np.square(axes[:k])).sum(0) * noise
        new = np.clip(
            total - explained,
            np.maximum(MIN_UNIQUE_SHARE * total, MIN_NOISE_VARIANCE),
            np.maximum(total, MIN_NOISE_VARIANCE),
        )
        done = np.abs(np.log(new / noise)).max() < 1e-3
        noise = new
        if done:
            break
    return np.sqrt(noise)
