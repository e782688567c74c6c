"""Rows that are scored by models of the other rows, and what their log-density says: how many dimensions rows have."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from isthmus.metrics.estimate import mean_and_error

FOLDS = 4
"""Parts of the rows, each of which is held out once."""
MIN_ROWS = 2 * FOLDS
"""Rows below which holding out some leaves too few."""
NOISE_SHARE = 1e-4
"""Least noise variance of the linear model, in units of the mean variance: rows may lie exactly in a plane."""
MAX_NATS_PER_NUMBER = 3.0
"""What a row contributes to a comparison, at most, for each of its numbers: a single outlier decides nothing.
The size of a code is chosen without this bound: more dimensions make rows far from all others far less likely."""
MAX_CURVE_DIM = 256
"""Latent dimensions of the largest linear model."""


def held_out(x: np.ndarray, seed: int, score: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    """(n, ...) what `score` says of each row of x (n, d), which is held out.

    Args:
        x: (n, d) rows, at least `MIN_ROWS`.
        seed: of the parts that are held out in turn.
        score: given training rows (m, d) and other rows (k, d), their scores (k, ...).
    """
    parts = np.array_split(np.random.default_rng(seed).permutation(len(x)), FOLDS)
    scored = np.concatenate([score(np.delete(x, part, 0), x[part]) for part in parts])
    return scored[np.argsort(np.concatenate(parts))]


def is_clear(gains: np.ndarray) -> bool:
    """Whether the mean of gains (n,) is above 0 by more than its standard error."""
    gain, error = mean_and_error(gains)
    return gain > error


def bounded(gains: np.ndarray, d: int) -> np.ndarray:
    """Gains of log-density (n, ...) of rows of d numbers, none of them so large that it decides a comparison alone."""
    return np.clip(gains, -MAX_NATS_PER_NUMBER * d, MAX_NATS_PER_NUMBER * d)


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
    largest = max(0, min(d - 1, n - math.ceil(n / FOLDS) - 2, MAX_CURVE_DIM))
    scores = held_out(x / scale, seed, lambda train, test: linear_scores(train, test, largest))
    return scores - np.log(scale).sum()


def linear_scores(train: np.ndarray, test: np.ndarray, largest: int) -> np.ndarray:
    """(m, largest + 1) log-density of test rows under probabilistic PCA with 0 to `largest` dimensions.

    For each number k of dimensions the rest has one noise variance: with squared coordinates a_j along the axes, of
    variance v_j, log p = -1/2 (sum_{j<k} (a_j / v_j + log v_j) + (|x|^2 - sum_{j<k} a_j) / s_k + (d - k) log s_k) + c.
    """
    d, mean = test.shape[1], train.mean(0)
    centred = test - mean
    total = float(train.var(0, ddof=1).sum())
    floor = NOISE_SHARE * total / d
    axes, variance = leading_axes(train - mean, largest, floor)
    along = np.square(centred @ axes.T)  # (m, K)
    noise = np.maximum((total - cumulative(variance)) / (d - np.arange(largest + 1)), floor)  # (K + 1,)
    outside = np.maximum(np.square(centred).sum(1, keepdims=True) - cumulative(along), 0) / noise
    log_volume = cumulative(np.log(variance)) + (d - np.arange(largest + 1)) * np.log(noise)
    return -0.5 * (cumulative(along / variance) + outside + log_volume + d * math.log(2 * math.pi))


def leading_axes(centred: np.ndarray, count: int, floor: float) -> tuple[np.ndarray, np.ndarray]:
    """The first `count` principal axes of centred rows (n, d), (count, d) orthonormal, and the variances along them.

    Variances below the floor are the floor, as in all other directions: such an axis may be any, and is zero. Products
    of the rows, of which there are n x n or d x d numbers, are decomposed ten times faster than the rows, and their
    rounding is far below the floor.
    """
    n, d = centred.shape
    wide = n < d
    variance, vectors = np.linalg.eigh((centred @ centred.T if wide else centred.T @ centred) / (n - 1))
    variance, vectors = variance[::-1][:count], vectors.T[::-1][:count]
    kept = (variance > floor)[:, None]
    if wide:
        vectors = vectors @ centred / np.sqrt(np.where(kept[:, 0], variance * (n - 1), 1.0))[:, None]
    return np.where(kept, vectors, 0.0), np.maximum(variance, floor)


def cumulative(values: np.ndarray) -> np.ndarray:
    """Sums of the first 0, 1, ... numbers along the last axis."""
    return np.concatenate([np.zeros((*values.shape[:-1], 1)), values.cumsum(-1)], -1)
