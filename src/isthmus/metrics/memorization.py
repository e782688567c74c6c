"""Nearest training rows, and whether samples are copies of training rows."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata
from sklearn.neighbors import NearestNeighbors

from isthmus.errors import InputError
from isthmus.metrics.estimate import Estimate, proportion
from isthmus.metrics.features import fit_standardizer

MEMORIZATION_MIN_ROWS = 100
"""Held-out rows or samples: with fewer, a share of one in a hundred cannot be estimated."""
MEMORIZATION_MAX_ROWS = 2_000
"""Held-out rows or samples that are compared."""
MAX_OPERATIONS = 5e10
"""Multiplications for distances; large training sets are compared with fewer rows."""
MIN_BRUTE_FORCE_COLUMNS = 15
"""Columns above which brute-force search is faster than a tree."""
DIFFERENCE_BLOCK_ELEMENTS = 2**22
"""Elements of one block of differences."""
CLOSE_QUANTILE = 0.01
"""Share of held-out rows that lie within the distance that counts as close."""


class Memorization(NamedTuple):
    """Whether samples are nearer to training rows than held-out rows are.

    Exact copies, even a few, raise `close` above `close_test`. Noisy copies, if there are many, raise `to_train` above
    `to_train_expected`. If most samples are copies, `z` falls below -3. Blurred samples are near to all rows, training
    rows or not: they lower `z` and may raise `close`, but leave `to_train` as it is.
    """

    z: float
    """Mann-Whitney z statistic of distances to the nearest training row, samples against held-out rows (Meehan et al.,
    2020): negative if samples are nearer."""
    close: Estimate
    """Share of samples that lie as near to a training row as the nearest 1 % of held-out rows."""
    close_test: Estimate
    """The same share of held-out rows: the reference for `close`."""
    to_train: Estimate
    """Share of samples whose nearest row among all training and held-out rows is a training row."""
    to_train_expected: float
    """Share of training rows among these: what `to_train` is if samples are no nearer to training rows."""


def nearest(train: np.ndarray, rows: np.ndarray, k: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest training rows of each row, nearest first, in Euclidean distance.

    Args:
        train: (N, *X).
        rows: (n, *X) in the same units.
        k: at most N.

    Returns:
        Index and distance, (n, k) each.
    """
    if not 1 <= k <= len(train):
        raise InputError(f"k must be between 1 and the number of training rows, {len(train)}, got {k}.")
    reference = np.asarray(train, dtype=np.float64).reshape(len(train), -1)
    query = np.asarray(rows, dtype=np.float64).reshape(len(rows), -1)
    algorithm = "brute" if reference.shape[1] > MIN_BRUTE_FORCE_COLUMNS else "auto"
    index = NearestNeighbors(n_neighbors=k, algorithm=algorithm).fit(reference).kneighbors(query, return_distance=False)
    # |a|^2 - 2 a.b + |b|^2, which the search uses, is not exactly 0 for a copy: recompute from differences.
    distance = np.empty(index.shape)
    block_rows = max(1, DIFFERENCE_BLOCK_ELEMENTS // (k * reference.shape[1]))
    for start in range(0, len(query), block_rows):
        block = slice(start, start + block_rows)
        distance[block] = np.linalg.norm(reference[index[block]] - query[block, None], axis=-1)
    order = np.argsort(distance, axis=1, kind="stable")
    return np.take_along_axis(index, order, 1), np.take_along_axis(distance, order, 1)


def memorization(train: np.ndarray, test: np.ndarray, samples: np.ndarray, seed: int = 0) -> Memorization:
    """Test whether samples are copies of training rows, with held-out rows as the reference.

    All training rows are searched. Distances are in standardized units.

    Args:
        train: (N, *X) training rows.
        test: (m, *X) held-out rows, at least `MEMORIZATION_MIN_ROWS`.
        samples: (n, *X) samples from the model, at least `MEMORIZATION_MIN_ROWS`.
        seed: chooses at most `MEMORIZATION_MAX_ROWS` of the rows and samples, fewer for large training sets.

    Raises:
        InputError: for too few rows, NaN or infinity.
    """
    for name, x in (("held-out rows", test), ("samples", samples)):
        if len(x) < MEMORIZATION_MIN_ROWS:
            raise InputError(f"The memorization test needs at least {MEMORIZATION_MIN_ROWS} {name}, got {len(x)}.")
    if not (np.isfinite(train).all() and np.isfinite(test).all() and np.isfinite(samples).all()):
        raise InputError("Rows must be finite for the memorization test, got NaN or infinity.")
    n_max = max(MEMORIZATION_MIN_ROWS, min(MEMORIZATION_MAX_ROWS, int(MAX_OPERATIONS / max(1, train.size))))
    random, standardize = np.random.default_rng(seed), fit_standardizer(train)
    test, samples = (standardize(x[random.permutation(len(x))[:n_max]]) for x in (test, samples))
    train = standardize(train)
    test_to_train = nearest(train, test)[1][:, 0]
    train_index, to_train = (column[:, 0] for column in nearest(train, samples))
    test_index, to_test = (column[:, 0] for column in nearest(test, samples))
    threshold = np.quantile(test_to_train, CLOSE_QUANTILE, method="higher")
    close = proportion(to_train <= threshold)
    return Memorization(
        mann_whitney(to_train, test_to_train),
        Estimate(close.mean, max(1 / len(samples), close.error)),
        proportion(test_to_train <= threshold),
        nearest_in_train(train_index, to_train, test_index, to_test, len(train), len(test)),
        len(train) / (len(train) + len(test)),
    )


def mann_whitney(a: np.ndarray, b: np.ndarray) -> float:
    """z statistic of the Mann-Whitney test with the correction for ties: positive if a (n,) tends to exceed b (m,)."""
    n, m = len(a), len(b)
    ranks = rankdata(np.concatenate([a, b]))
    # The mean rank of n out of n + m ranks drawn without replacement has mean (n + m + 1) / 2 and variance
    # ranks.var(ddof=1) / n * m / (n + m).
    error = math.sqrt(n * m / (n + m) * ranks.var(ddof=1))
    return float(n * (ranks[:n].mean() - (n + m + 1) / 2) / error) if error else 0.0


def nearest_in_train(
    train_index: np.ndarray, to_train: np.ndarray, test_index: np.ndarray, to_test: np.ndarray, n: int, m: int
) -> Estimate:
    """Share of samples that are nearer to a training row than to a held-out row; ties count n / (n + m).

    The error is that of a permutation test, which shuffles the labels "training" and "held-out" over the n + m rows.
    With w_i the share of samples whose nearest row is i, the statistic is the sum of w_i over n rows drawn without
    replacement, whose variance is p (1 - p) (n + m)^2 / (n + m - 1) var(w), p = n / (n + m). Rows that are nearest to
    many samples thus widen it, as they should: these samples are not independent.

    Args:
        train_index, to_train: (k,) nearest training row of each sample, and the distance.
        test_index, to_test: (k,) the same among held-out rows.
        n, m: numbers of training and of held-out rows.
    """
    expected = n / (n + m)
    share = float(np.where(to_train == to_test, expected, to_train < to_test).mean())
    winner = np.where(to_train <= to_test, train_index, n + test_index)
    counts = np.bincount(winner, minlength=n + m)
    variance = expected * (1 - expected) * (n + m) ** 2 / (n + m - 1) * counts.var() / len(winner) ** 2
    return Estimate(share, math.sqrt(variance))
