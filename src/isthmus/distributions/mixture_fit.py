"""Gaussian mixtures fitted to points, by scikit-learn's expectation maximisation."""

from __future__ import annotations

import math
import warnings
from typing import NamedTuple

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import logsumexp

MIN_VARIANCE = 1e-4
"""Added to every variance: a component must not become a spike on a point."""
MAX_STEPS = 50
"""Steps of expectation maximisation."""


class Components(NamedTuple):
    """A mixture of k normals in D dimensions."""

    weights: np.ndarray
    """(k,)"""
    means: np.ndarray
    """(k, D)"""
    covariances: np.ndarray
    """(k, D, D)"""

    def at_least(self, floor: np.ndarray) -> Components:
        """The same components, none narrower in any direction than a normal of variances `floor` (D,)."""
        width = np.sqrt(np.outer(floor, floor))
        values, vectors = np.linalg.eigh(self.covariances / width)
        wide = (vectors * np.maximum(values, 1.0)[:, None, :]) @ vectors.transpose(0, 2, 1)
        return self._replace(covariances=wide * width)

    def log_density(self, points: np.ndarray) -> np.ndarray:
        """(n,) log-density of points (n, D), nats."""
        scores = np.empty((len(points), len(self.weights)))
        for j, (mean, covariance) in enumerate(zip(self.means, self.covariances, strict=True)):
            factor = np.linalg.cholesky(covariance)
            e = solve_triangular(factor, (points - mean).T, lower=True)  # (D, n)
            scores[:, j] = -0.5 * np.square(e).sum(0) - np.log(np.diag(factor)).sum()
        constant = 0.5 * points.shape[1] * math.log(2 * math.pi)
        return np.asarray(logsumexp(scores + np.log(np.maximum(self.weights, 1e-300)), axis=1)) - constant


def fit_mixture(points: np.ndarray, k: int, seed: int, full: bool = False, added: float = MIN_VARIANCE) -> Components:
    """k normals fitted to points (n, D).

    Args:
        points: (n, D).
        k: number of components.
        seed: of their initial places.
        full: with a full covariance each, instead of independent coordinates.
        added: to every variance; covariances of few points need more.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    mixture = GaussianMixture(
        k,
        covariance_type="full" if full else "diag",
        reg_covar=added,
        max_iter=MAX_STEPS,
        random_state=seed % 2**31,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a mixture that is not converged is still a density
        mixture.fit(points)
    covariances = mixture.covariances_ if full else mixture.covariances_[:, :, None] * np.eye(points.shape[1])
    return Components(mixture.weights_, mixture.means_, covariances)
