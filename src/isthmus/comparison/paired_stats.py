"""Means over seeds and rows, and paired differences of models that saw the same rows, with standard errors."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy import stats

from isthmus.metrics.estimate import rounding_of

CONFIDENCE_LEVEL = 0.95
"""Coverage of confidence intervals."""


MIN_SEEDS = 3
"""Seeds from which on differences of trained models have an interval: training again changes a model."""


class Scores(NamedTuple):
    """What one model scored in one column.

    Args:
        by_seed: for each seed an array with a number per row (n,), or one number (1,).
        extra_error: standard error that the spread over rows and seeds does not show; None if there is none.
        closed_form: whether the model is solved in closed form, so that every seed gives the same.
    """

    by_seed: dict[int, np.ndarray]
    extra_error: float | None = None
    closed_form: bool = False


class PairedEstimate(NamedTuple):
    """A mean, its standard error and half the width of its confidence interval; NaN where these are not known."""

    mean: float
    standard_error: float
    half_width: float

    @property
    def above_zero(self) -> bool:
        """Whether the whole confidence interval lies above 0."""
        return self.mean - self.half_width > 0

    def to_dict(self) -> dict[str, float | None]:
        """Plain values for JSON; None for numbers that are not finite."""
        values = {
            "mean": self.mean,
            "standard_error": self.standard_error,
            "low": self.mean - self.half_width,
            "high": self.mean + self.half_width,
        }
        return {name: float(value) if math.isfinite(value) else None for name, value in values.items()}


def estimate(scores: Scores) -> PairedEstimate:
    """The mean of one model over its seeds and rows."""
    return combine(np.stack(list(scores.by_seed.values())), scores.extra_error)


def paired_difference(a: Scores, b: Scores) -> PairedEstimate | None:
    """The mean of a - b, paired by seed and by row; None if they share no seed.

    With fewer than `MIN_SEEDS` seeds it has no standard error, unless both models have a closed form: how much a
    difference changes with the seed is then not known.
    """
    if a.closed_form:
        seeds = list(b.by_seed)
    elif b.closed_form:
        seeds = list(a.by_seed)
    else:
        seeds = [seed for seed in a.by_seed if seed in b.by_seed]
    if not seeds:
        return None
    first, second = (np.stack([_scores_of_seed(scores, seed) for seed in seeds]) for scores in (a, b))  # (S, n)
    errors = [error for error in (a.extra_error, b.extra_error) if error is not None]
    difference = combine(first - second, math.hypot(*errors) if errors else None)
    if len(seeds) < MIN_SEEDS and not (a.closed_form and b.closed_form):
        difference = PairedEstimate(difference.mean, math.nan, math.nan)
    return difference if abs(difference.mean) > rounding_of(first, second) else difference._replace(mean=0.0)


def _scores_of_seed(scores: Scores, seed: int) -> np.ndarray:
    return next(iter(scores.by_seed.values())) if scores.closed_form else scores.by_seed[seed]


def combine(values: np.ndarray, extra_error: float | None = None) -> PairedEstimate:
    """The mean of values (S, n) over S seeds and n rows, both regarded as random samples.

    With seed means m_s and row means m_r, the variance of the mean is estimated by

        var(m_s) / S + var(m_r) / n + extra_error²

    The variance of the interaction of rows and seeds counts in both terms, so that the estimate is conservative. Half
    the confidence interval is the root of the sum of each term times its squared quantile (Graybill & Wang, 1980): of
    Student's t with S - 1 degrees of freedom for seeds and n - 1 for rows, of the normal distribution for the rest. It
    is exact where one term dominates, and too wide between. One t distribution for the sum (Satterthwaite, 1946) would
    be too narrow: of three seeds it calls up to 9 % of the differences of equal models significant.

    >>> combine(np.array([[1.0, 3.0], [3.0, 5.0]]))
    PairedEstimate(mean=3.0, standard_error=1.414..., half_width=17.96...)
    """
    probability = (1 + CONFIDENCE_LEVEL) / 2
    terms = [] if extra_error is None else [(extra_error**2, float(stats.norm.ppf(probability)))]
    for axis in (1, 0):
        means = values.mean(axis)
        if len(means) > 1:
            quantile = float(stats.t.ppf(probability, len(means) - 1))
            terms.append((float(means.var(ddof=1)) / len(means), quantile))
    if not terms:
        return PairedEstimate(float(values.mean()), math.nan, math.nan)
    variance, squared_width = (sum(term * quantile**power for term, quantile in terms) for power in (0, 2))
    return PairedEstimate(float(values.mean()), math.sqrt(variance), math.sqrt(squared_width))
