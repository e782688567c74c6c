"""Means over seeds and rows, and differences between models that saw the same rows, with their errors."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy import stats

LEVEL = 0.95
"""Of all intervals."""
ROUNDING = 1e-6
"""Share of a number under which a difference is rounding: single precision has no more to say."""


class Scores(NamedTuple):
    """What one model got in one column: for each of its seeds a number a row (n,), or one number (1,)."""

    by_seed: dict[int, np.ndarray]
    error: float | None = None
    """What rows and seeds do not show of the standard error; None where there is nothing."""
    exact: bool = False
    """Whether every seed would give the same."""


class PairedEstimate(NamedTuple):
    """A mean, its standard error and the degrees of freedom of that; the error is NaN where nothing tells it."""

    mean: float
    error: float
    degrees: float

    @property
    def half_width(self) -> float:
        """Half of the interval."""
        quantile = stats.t.ppf((1 + LEVEL) / 2, self.degrees) if math.isfinite(self.degrees) else stats.norm.ppf(0.975)
        return float(quantile) * self.error

    @property
    def above_zero(self) -> bool:
        """Whether the interval lies above 0."""
        return self.mean - self.half_width > 0

    def to_dict(self) -> dict[str, float | None]:
        """Plain values for JSON; what is not finite becomes None."""
        ends = {"low": self.mean - self.half_width, "high": self.mean + self.half_width}
        told = {"mean": self.mean, "standard_error": self.error, **ends}
        return {name: float(value) if math.isfinite(value) else None for name, value in told.items()}


def estimate(scores: Scores) -> PairedEstimate:
    """The mean of one model over its seeds and rows."""
    return pooled(np.stack(list(scores.by_seed.values())), scores.error)


def difference(a: Scores, b: Scores) -> PairedEstimate | None:
    """The mean of a - b, paired by seed and by row; None where they share no seed."""
    shared = list(b.by_seed) if a.exact else list(a.by_seed) if b.exact else [s for s in a.by_seed if s in b.by_seed]
    if not shared:
        return None
    first, second = (np.stack([of_seed(scores, seed) for seed in shared]) for scores in (a, b))
    known = [error for error in (a.error, b.error) if error is not None]
    found = pooled(first - second, math.hypot(*known) if known else None)
    small = ROUNDING * max(float(np.abs(first).mean()), float(np.abs(second).mean()))
    return found if abs(found.mean) > small else found._replace(mean=0.0)


def of_seed(scores: Scores, seed: int) -> np.ndarray:
    """What a seed gave; of an exact model, what every seed gives."""
    return next(iter(scores.by_seed.values())) if scores.exact else scores.by_seed[seed]


def pooled(values: np.ndarray, error: float | None = None) -> PairedEstimate:
    """The mean of values (S, n) of S seeds and n rows, both drawn from many.

    The variance is that between the seeds' means over S, plus that between the rows' means over n, plus `error`
    squared; what rows and seeds do together counts in both, which is on the safe side. The degrees of freedom are those
    of Satterthwaite (1946): two or three seeds know little of their spread.

    >>> pooled(np.array([[1.0, 3.0], [3.0, 5.0]]))
    PairedEstimate(mean=3.0, error=1.414..., degrees=2.0)
    """
    parts: list[tuple[float, float]] = [] if error is None else [(error**2, math.inf)]
    for axis in (1, 0):
        means = values.mean(axis)
        if len(means) > 1:
            parts.append((float(means.var(ddof=1)) / len(means), len(means) - 1.0))
    if not parts:
        return PairedEstimate(float(values.mean()), math.nan, math.inf)
    whole = sum(part for part, _ in parts)
    spread = sum(part**2 / degrees for part, degrees in parts)
    return PairedEstimate(float(values.mean()), math.sqrt(whole), whole**2 / spread if spread > 0 else math.inf)
