"""An estimate with its standard error, and the estimates that are made from independent rows."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

MIN_RELATIVE_DIFFERENCE = 1e-6
"""Differences smaller than this share of the compared numbers are rounding errors of single precision."""


class Estimate(NamedTuple):
    """An estimate and its standard error, in the same unit."""

    mean: float
    error: float


def mean_and_error(values: np.ndarray, shared_error: float = 0.0, weight: np.ndarray | None = None) -> Estimate:
    """Mean over rows and its standard error.

    With weights it is sum w v / sum w. Its error is that of n rows, however much they count: a row of weight 2 was
    observed once, and with equal weights the error is that without.

    Args:
        values: (n,) one number for each row.
        shared_error: standard error of the mean that all rows have in common (for example because they share their
            noise), which no number of rows averages out. It adds in quadrature.
        weight: (n,) numbers > 0, how much rows count.

    >>> mean_and_error(np.array([1.0, 3.0]))
    Estimate(mean=2.0, error=1.0)
    >>> mean_and_error(np.array([1.0, 3.0]), weight=np.array([3.0, 1.0])).mean
    1.5
    """
    with np.errstate(over="ignore"):  # a row far from all others may have -1e200: an infinite error is right
        if weight is not None and len(values) > 1:
            n, mean = len(values), float(np.average(values, weights=weight))
            spread = math.sqrt(float(np.square(weight * (values - mean)).sum()) * n / (n - 1)) / float(weight.sum())
            return Estimate(mean, math.hypot(spread, shared_error))
        error = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.inf
    return Estimate(float(values.mean()), math.hypot(error, shared_error))


def paired_difference(
    first: np.ndarray, second: np.ndarray, shared_error: float = 0.0, weight: np.ndarray | None = None
) -> Estimate:
    """Mean over rows of first - second and its standard error; a mean of 0 where it is within rounding.

    Args:
        first: (n,) one number for each row.
        second: (n,) another one for each of the same rows.
        shared_error, weight: as in `mean_and_error`.

    >>> paired_difference(np.array([-20.0, -22.0]), np.array([-20.0, -22.0 + 1e-12])).mean
    0.0
    """
    mean, error = mean_and_error(first - second, shared_error, weight)
    return Estimate(mean if abs(mean) > rounding_of(first, second) else 0.0, error)


def rounding_of(first: np.ndarray, second: np.ndarray) -> float:
    """The largest difference of two means that rounding explains."""
    return MIN_RELATIVE_DIFFERENCE * max(float(np.abs(first).mean()), float(np.abs(second).mean()))


def proportion(hits: np.ndarray) -> Estimate:
    """Share of True among (n,) truth values, with its binomial standard error."""
    share = float(hits.mean())
    return Estimate(share, math.sqrt(share * (1 - share) / len(hits)))


def jackknife(values: np.ndarray | list[float]) -> Estimate:
    """Mean and standard error of statistics (G,) that each leave out one of G groups (Efron & Tibshirani, 1993).

    The error is sqrt((G - 1) / G sum (v - mean)^2) = sqrt(G - 1) std(v): replicates that share all groups but one
    differ by 1 / (G - 1) of what independent samples would.
    """
    return Estimate(float(np.mean(values)), math.sqrt(len(values) - 1) * float(np.std(values)))
