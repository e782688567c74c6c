"""What another likelihood gains on held-out rows, by densities of one column that need no training."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats
from scipy.special import betaln

from isthmus.evaluation.context import EvalContext
from isthmus.examples import Examples
from isthmus.metrics.estimate import mean_and_error
from isthmus.metrics.metric import HIDDEN, Metric, setting
from isthmus.schema import is_integer_valued

MIN_ROWS = 40
"""Rows below which nothing is fitted."""
MAX_ROWS, MAX_COLUMNS = 500, 200
"""Rows and columns that are compared, at most."""
DEGREES = (1.0, 2.0, 3.0, 5.0, 10.0)
"""Degrees of freedom of Student's t that are tried."""
DISPERSIONS = np.geomspace(0.05, 1000.0, 25)
"""Numbers of failures r of a negative binomial that are tried: its variance is m + m^2 / r."""
CONCENTRATIONS = np.geomspace(0.1, 300.0, 12)
"""Concentrations a + b of a beta-binomial that are tried."""
MIN_MEAN = 1e-3
"""Least mean of a count."""
MIN_CELL = 1e-12
"""Least probability of an integer under a normal."""
MAX_LEVELS = 256
"""Levels that a byte has: integers that need more are counts."""
LEVELS_SIGMA, MIN_LEVELS_GAIN = 2.0, 0.02
"""Standard errors, and nats per column, by which levels must be better than counts where either would do: the bound of
counts is the largest of a few rows, and describes these rows a little better than others."""
MAX_GAIN = 3.0
"""Nats per column that one row contributes at most: a single outlier decides nothing."""


class Halves(NamedTuple):
    """Rows to fit a density of one column to, and rows to score; with the model's reconstructions of both."""

    x: np.ndarray
    """(n, d)"""
    test: np.ndarray
    """(m, d)"""
    mean: np.ndarray
    """(n, d)"""
    test_mean: np.ndarray
    """(m, d)"""
    weight: np.ndarray | None = None
    """(n,) how much rows count; None for all the same."""


def likelihood_gain(context: EvalContext) -> Metric | None:
    """Nats per row that the best other likelihood gains on held-out rows, and its name.

    All are centred at the model's reconstructions, column by column: of measurements a normal and Student's t; of
    counts a Poisson and a negative binomial; of integers under a density the normal's share of a cell, a negative
    binomial, and levels. They are fitted to half of the rows and score the other. None for other likelihoods, and for
    few rows; nor where the code is as wide as measurements, which then hardly leave residuals.
    """
    current, rows = context.schema.likelihood, context.examples
    if not context.has_density or not context.has_code or context.schema.sequence or len(rows) < MIN_ROWS:
        return None
    if rows.observed is not None or context.nominal.any() or current not in COMPARED:
        return None
    copied = COMPARED[current] is of_measurements and context.fitted.code_size >= context.schema.size
    order = np.random.default_rng(context.seed).permutation(len(rows))[:MAX_ROWS]
    x, mean = (values[order].reshape(len(order), -1).astype(np.float64) for values in (rows.x, context.reconstructions))
    columns = np.flatnonzero(np.ptp(x, 0) > 0)[:MAX_COLUMNS]
    if not len(columns):
        return None
    half = len(order) // 2
    x, mean = x[:, columns], mean[:, columns]
    weight = None if rows.weight is None else rows.weight[order]
    fit_weight, test_weight = (None, None) if weight is None else (weight[:half], weight[half:])
    halves = Halves(x[:half], x[half:], mean[:half], mean[half:], fit_weight)
    levels = integer_levels(rows, context.train)
    if copied and levels is None:
        return None
    scores = COMPARED[current](halves, levels)
    best, base = best_of(scores, x.shape[1], test_weight), scores["current"]
    per_column = np.clip((scores[best] - base) / x.shape[1], -MAX_GAIN, MAX_GAIN)  # (m,)
    gain, error = mean_and_error(per_column * context.schema.size, weight=test_weight)
    name = "likelihood_gain"
    details = (
        setting(f"{name}.current", "likelihood", current, HIDDEN),
        setting(f"{name}.name", "better likelihood", best, HIDDEN),
        setting(f"{name}.largest", "largest value", largest(rows, context.train), HIDDEN),
    )
    label = "gain of another likelihood"
    return Metric(name, label, "nats", "difference", gain, error, shown=HIDDEN, details=details)


def largest(*sets: Examples | None) -> float:
    """The largest number of all rows."""
    return max(float(rows.x.max()) for rows in sets if rows is not None)


def integer_levels(*sets: Examples | None) -> int | None:
    """How many levels 0, 1, ... all rows take if they are integers from 0 that need more than a bit; None otherwise."""
    most = largest(*sets)
    integers = all(bool(rows.x.min() >= 0) and is_integer_valued(rows.x) for rows in sets if rows is not None)
    return int(most) + 1 if integers and most > 1 else None


def best_of(scores: dict[str, np.ndarray], columns: int, weight: np.ndarray | None = None) -> str:
    """The name of the likelihood, other than the current one, that gives rows of so many columns the best scores (m,).

    Rows count by `weight` (m,). Integers without a clear bound are counts: levels are preferred to them only where they
    are clearly better.
    """
    means = {name: np.average(values, 0, weight) for name, values in scores.items()}
    best = max((name for name in scores if name != "current"), key=lambda name: means[name])
    counts = scores.get("negative_binomial")
    if best == "beta_binomial" and counts is not None and means["negative_binomial"] > means["current"]:
        lead, error = mean_and_error(scores[best] - counts, weight=weight)
        return best if lead > max(LEVELS_SIGMA * error, MIN_LEVELS_GAIN * columns) else "negative_binomial"
    return best


def of_measurements(halves: Halves, levels: int | None) -> dict[str, np.ndarray]:
    """(m,) log-densities of rows under a normal and Student's t; of integers, as `of_integers` says."""
    if levels is not None:
        return of_integers(halves, levels)
    residual, test, weight = halves.x - halves.mean, halves.test - halves.test_mean, halves.weight
    scale = np.sqrt(np.average(np.square(residual), 0, weight)) + np.finfo(float).tiny
    current = stats.norm.logpdf(test / scale).sum(1) - np.log(scale).sum()
    scores = np.empty(test.shape)
    for j, column in enumerate(residual.T):
        tried = [(df, width) for df in DEGREES for width in widths(column, weight)]
        options = [(student_score(column, df, width, weight), df, width) for df, width in tried]
        _, df, width = max(options)
        scores[:, j] = stats.t.logpdf(test[:, j] / width, df) - np.log(width)
    return {"current": current, "student_t": scores.sum(1)}


def student_score(residual: np.ndarray, df: float, width: float, weight: np.ndarray | None = None) -> float:
    """Mean log-density of residuals (n,) under Student's t; they count by `weight` (n,)."""
    return float(np.average(stats.t.logpdf(residual / width, df), 0, weight) - np.log(width))


def widths(residual: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """Scales to try for residuals (n,): around their median size; they count by `weight` (n,)."""
    sizes = np.abs(residual)
    median = weighted_median(sizes, weight) or float(np.average(sizes, 0, weight)) or 1.0
    return median * np.geomspace(0.5, 2.0, 7)


def weighted_median(values: np.ndarray, weight: np.ndarray | None) -> float:
    """The median of values (n,), each as often as `weight` (n,) says."""
    if weight is None:
        return float(np.median(values))
    order = np.argsort(values)
    below = weight[order].cumsum()
    middle = (np.searchsorted(below, below[-1] / 2, side) for side in ("left", "right"))
    return float(np.mean([values[order[min(index, len(order) - 1)]] for index in middle]))


def of_integers(halves: Halves, levels: int) -> dict[str, np.ndarray]:
    """(m,) log-probabilities of rows of integers below `levels` as measurements, counts or levels."""
    scale = np.sqrt(np.average(np.square(halves.x - halves.mean), 0, halves.weight)) + np.finfo(float).eps
    above, below = ((halves.test - halves.test_mean + side) / scale for side in (0.5, -0.5))
    cells = stats.norm.cdf(above) - stats.norm.cdf(below)
    scores = {"current": np.log(np.maximum(cells, MIN_CELL)).sum(1)}
    scores["negative_binomial"] = binomial_scores(halves)
    if levels <= MAX_LEVELS:
        scores["beta_binomial"] = level_scores(halves, levels)
    return scores


def level_scores(halves: Halves, levels: int) -> np.ndarray:
    """(m,) log-probability of levels under a beta-binomial whose concentration in each column suits the other half."""
    most = levels - 1
    means = ((mean / most).clip(1e-3, 1 - 1e-3) for mean in (halves.mean, halves.test_mean))
    p, test_p = means
    tried = (log_beta_binomial(halves.x, most, p, s) for s in CONCENTRATIONS)
    fits = np.stack([np.average(scores, 0, halves.weight) for scores in tried])
    s = CONCENTRATIONS[fits.argmax(0)]  # (d,)
    return log_beta_binomial(halves.test, most, test_p, s).sum(1)


def log_beta_binomial(x: np.ndarray, most: int, p: np.ndarray, s: np.ndarray | float) -> np.ndarray:
    """log C(most, x) B(x + a, most - x + b) / B(a, b) with a = p s, b = (1 - p) s."""
    a, b = p * s, (1 - p) * s
    log_choose = -np.log(most + 1) - betaln(most - x + 1, x + 1)
    return np.asarray(log_choose + betaln(x + a, most - x + b) - betaln(a, b))


def of_counts(halves: Halves, levels: int | None) -> dict[str, np.ndarray]:
    """(m,) log-probabilities of counts under a Poisson and a negative binomial around the model's reconstructions."""
    current = stats.poisson.logpmf(halves.test, np.maximum(halves.test_mean, MIN_MEAN)).sum(1)
    return {"current": current, "negative_binomial": binomial_scores(halves)}


def binomial_scores(halves: Halves) -> np.ndarray:
    """(m,) log-probability of counts under a negative binomial whose dispersion in each column suits the other half."""
    x, mean, test_mean = halves.x, np.maximum(halves.mean, MIN_MEAN), np.maximum(halves.test_mean, MIN_MEAN)
    tried = (stats.nbinom.logpmf(x, r, r / (r + mean)) for r in DISPERSIONS)
    fits = np.stack([np.average(scores, 0, halves.weight) for scores in tried])
    r = DISPERSIONS[fits.argmax(0)]  # (d,)
    return np.asarray(stats.nbinom.logpmf(halves.test, r, r / (r + test_mean)).sum(1))


COMPARED = {
    "normal": of_measurements,
    "diagonal_normal": of_measurements,
    "laplace": of_measurements,
    "poisson": of_counts,
}
"""Likelihoods that are compared with others, and how."""
