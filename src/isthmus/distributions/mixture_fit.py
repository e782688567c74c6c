"""Gaussian mixtures fitted to points, by scikit-learn's expectation maximisation."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

MIN_VARIANCE = 1e-4
"""Added to every variance: a component must not become a spike on a point."""


def fit_diagonal_mixture(points: np.ndarray, k: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights (k,), means (k, D) and variances (k, D) of k diagonal normals fitted to points (n, D)."""
    mixture = GaussianMixture(k, covariance_type="diag", reg_covar=MIN_VARIANCE, random_state=seed % 2**31)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a mixture that is not converged is still a density
        mixture.fit(points)
    return mixture.weights_, mixture.means_, mixture.covariances_
