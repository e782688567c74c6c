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
    """A mean, its standard error (NaN if it cannot be estimated) and the degrees of freedom of the latter."""

    mean: float
    standard_error: float
    degrees_of_freedom: float

    @property
    def half_width(self) -> float:
        """Half the width of the confidence interval."""
        probability = (1 + CONFIDENCE_LEVEL) / 2
        finite = math.isfinite(self.degrees_of_freedom)
        quantile = stats.t.ppf(probability, self.degrees_of_freedom) if finite else stats.norm.ppf(probability)
        return float(quantile) * self.standard_error

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
        difference = PairedEstimate(difference.mean, math.nan, math.inf)
    return difference if abs(difference.mean) > rounding_of(first, second) else difference._replace(mean=0.0)


def _scores_of_seed(scores: Scores, seed: int) -> np.ndarray:
    return next(iter(scores.by_seed.values())) if scores.closed_form else scores.by_seed[seed]


def combine(values: np.ndarray, extra_error: float | None = None) -> PairedEstimate:
    """The mean of values (S, n) over S seeds and n rows, both regarded as random samples.

    With seed means m_s and row means m_r, the variance of the mean is estimated by

        var(m_s) / S + var(m_r) / n + extra_error²

    The variance of the interaction of rows and seeds counts in both terms, so that the estimate is conservative. The
    degrees of freedom are those of Satterthwaite (1946): two or three seeds estimate their variance poorly.

    >>> combine(np.array([[1.0, 3.0], [3.0, 5.0]]))
    PairedEstimate(mean=3.0, standard_error=1.414..., degrees_of_freedom=2.0)
    """
    terms: list[tuple[float, float]] = [] if extra_error is None else [(extra_error**2, math.inf)]
    for axis in (1, 0):
        means = values.mean(axis)
        if len(means) > 1:
            terms.append((float(means.var(ddof=1)) / len(means), len(means) - 1.0))
    if not terms:
        return PairedEstimate(float(values.mean()), math.nan, math.inf)
    variance = sum(term for term, _ in terms)
    denominator = sum(term**2 / degrees for term, degrees in terms)
    degrees_of_freedom = variance**2 / denominator if denominator > 0 else math.inf
    return PairedEstimate(float(values.mean()), math.sqrt(variance), degrees_of_freedom)
