"""Mutual information between latent dimensions and ground-truth factors, adjusted for chance."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.special import entr
from scipy.stats import chi2, rankdata
from sklearn.metrics.cluster import expected_mutual_information

MIN_BINS = 20
"""Quantile bins of a dimension (Locatello et al., 2019)."""


def bin_codes(codes: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """(n, L) bin of each value: quantile bins, or the values themselves if there are few different ones.

    There are at least as many bins as a factor has levels, so that one dimension can separate all levels.
    """
    n_bins = max(MIN_BINS, int(factors.max()) + 1)
    bins = (rankdata(codes, "min", axis=0).astype(np.int64) - 1) * n_bins // len(codes)  # ties stay together
    for dim, column in enumerate(codes.T):
        values, index = np.unique(column, return_inverse=True)
        if len(values) <= n_bins:
            bins[:, dim] = index
    return bins


def contingency_tables(
    bins: np.ndarray, factors: np.ndarray, n_bins: int, n_levels: np.ndarray
) -> list[list[np.ndarray]]:
    """Counts (n_bins, K) of bins and levels, for each dimension a list over factors with n_levels (F,) levels K."""
    return [
        [np.bincount(b * k + f, minlength=n_bins * k).reshape(n_bins, k) for f, k in zip(factors.T, n_levels)]
        for b in bins.T
    ]


class AdjustedInformation(NamedTuple):
    """Mutual information of dimensions and factors, adjusted for chance, (L, F) each."""

    nats: np.ndarray
    """I - E[I], where E is over all pairings of the rows."""
    normalized: np.ndarray
    """(I - E[I]) / (H - E[I]), where H is the entropy of the factor: at most 1."""
    p_value: np.ndarray
    """Probability of as much information if dimension and factor are independent."""


def adjusted_information(codes: np.ndarray, factors: np.ndarray) -> AdjustedInformation:
    """Mutual information of binned dimensions and factors, adjusted for chance (Vinh et al., 2010)."""
    bins = bin_codes(codes, factors)
    tables = contingency_tables(bins, factors, int(bins.max()) + 1, factors.max(0) + 1)
    values = [[table_information(table) for table in row] for row in tables]
    return AdjustedInformation(*np.moveaxis(np.array(values), -1, 0))


def table_information(table: np.ndarray) -> tuple[float, float, float]:
    """Adjusted mutual information of the rows and columns of a table of counts (R, K): nats, normalized, p-value.

    >>> nats, normalized, _ = table_information(np.diag([50, 50]))
    >>> round(nats, 2), normalized
    (0.69, 1.0)
    """
    n, rows, columns = int(table.sum()), table.sum(1), table.sum(0)
    rows, columns = rows[rows > 0], columns[columns > 0]
    entropy = float(entr(columns / n).sum())
    information = entropy + float(entr(rows / n).sum()) - float(entr(table / n).sum())
    expected = expected_information(tuple(sorted(rows.tolist())), tuple(sorted(columns.tolist())))
    degrees = (len(rows) - 1) * (len(columns) - 1)
    if degrees == 0 or entropy <= expected:
        return 0.0, 0.0, 1.0
    adjusted = information - expected
    # G test: 2 n I is chi-squared with mean `degrees` for large n. In sparse tables its mean is 2 n E[I] instead, so
    # the statistic is shifted by the difference.
    p_value = float(chi2.sf(max(0.0, 2 * n * adjusted + degrees), degrees))
    return adjusted, adjusted / (entropy - expected), p_value


@lru_cache(maxsize=4096)
def expected_information(rows: tuple[int, ...], columns: tuple[int, ...]) -> float:
    """Mean mutual information, nats, over all tables with these row and column sums, from random pairing.

    Cached, because dimensions cut into quantile bins have the same row sums.
    """
    n = sum(rows)
    table = np.zeros((len(rows), len(columns)), np.int64)  # any table with these sums: nothing else of it is read
    table[:, 0] = rows
    table[0] += np.array(columns)
    table[0, 0] -= n
    return float(expected_mutual_information(table, n))
