"""How many dimensions rows have: the log-density of held-out rows under linear models of each size."""

from __future__ import annotations

import math

import numpy as np

from isthmus.metrics.estimate import mean_and_error

FOLDS = 4
"""Parts of the rows, each of which is scored by a linear model of the others."""
NOISE_SHARE = 1e-4
"""Least noise variance of the linear model, in units of the mean variance: rows may lie exactly in a plane."""
MAX_CURVE_DIM = 256
"""Latent dimensions of the largest linear model."""


def fewest_dimensions(scores: np.ndarray) -> int:
    """The fewest dimensions within a standard error of the best, from held-out log-densities (n, K) of each number."""
    best = int(scores.mean(0).argmax())
    for k in range(best):
        loss, error = mean_and_error(scores[:, best] - scores[:, k])
        if loss <= error:
            return k
    return best


def held_out_scores(x: np.ndarray, scale: np.ndarray, seed: int) -> np.ndarray:
    """(n, K) log-density of each row of x (n, d) under linear models with 0 to K - 1 dimensions of the other rows.

    The noise is the same in all columns of x / scale (d,).
    """
    n, d = x.shape
    parts = np.array_split(np.random.default_rng(seed).permutation(n), FOLDS)
    largest = max(0, min(d - 1, n - len(parts[0]) - 2, MAX_CURVE_DIM))
    scores, scaled = np.empty((n, largest + 1)), x / scale
    for part in parts:
        scores[part] = linear_scores(np.delete(scaled, part, 0), scaled[part], largest)
    return scores - np.log(scale).sum()


def linear_scores(train: np.ndarray, test: np.ndarray, largest: int) -> np.ndarray:
    """(m, largest + 1) log-density of test rows under probabilistic PCA with 0 to `largest` dimensions.

    For each number k of dimensions the rest has one noise variance: with squared coordinates a_j along the axes, of
    variance v_j, log p = -1/2 (sum_{j<k} (a_j / v_j + log v_j) + (|x|^2 - sum_{j<k} a_j) / s_k + (d - k) log s_k) + c.
    """
    d, mean = test.shape[1], train.mean(0)
    _, singular, axes = np.linalg.svd(train - mean, full_matrices=False)
    total = float(np.square(singular).sum()) / (len(train) - 1)
    variance = np.square(singular[:largest]) / (len(train) - 1)
    floor = NOISE_SHARE * total / d
    variance = np.maximum(variance, floor)
    centred = test - mean
    along = np.square(centred @ axes[:largest].T)  # (m, K)
    noise = np.maximum((total - cumulative(variance)) / (d - np.arange(largest + 1)), floor)  # (K + 1,)
    outside = np.maximum(np.square(centred).sum(1, keepdims=True) - cumulative(along), 0) / noise
    log_volume = cumulative(np.log(variance)) + (d - np.arange(largest + 1)) * np.log(noise)
    return -0.5 * (cumulative(along / variance) + outside + log_volume + d * math.log(2 * math.pi))


def cumulative(values: np.ndarray) -> np.ndarray:
    """Sums of the first 0, 1, ... numbers along the last axis."""
    return np.concatenate([np.zeros((*values.shape[:-1], 1)), values.cumsum(-1)], -1)
