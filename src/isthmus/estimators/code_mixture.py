"""A mixture as the prior of codes: what it gains over one normal, and where it starts."""

from __future__ import annotations

import numpy as np

from isthmus.distributions.mixture_fit import MIN_VARIANCE, Components, fit_mixture
from isthmus.estimators.linear_model import LinearModel
from isthmus.metrics.held_out import MIN_ROWS, held_out
from isthmus.schema import row_count

ADDED = (1e-3, 1e-2, 1e-1)
"""Variances to add to full covariances of whitened points, of which held-out points choose one."""

MAX_ADDED_ROWS = 2_000
"""Points, at most, that choose it where the mixture starts: it takes a dozen fits."""
MAX_OCCURRENCES = 20_000
"""Points, at most, that weighted rows become where a mixture is placed, or as many as there are rows."""


def mixture_scores(
    points: np.ndarray, k: int, seed: int, floor: np.ndarray, full: bool, added: float = MIN_VARIANCE
) -> np.ndarray:
    """(n,) log-density of each point (n, D) under k normals fitted to other points, no narrower than `floor`, nats."""

    def score(train: np.ndarray, test: np.ndarray) -> np.ndarray:
        return fit_mixture(train, k, seed, full, added).at_least(floor).log_density(test)

    return held_out(points, seed, score)


def best_added(points: np.ndarray, k: int, seed: int, floor: np.ndarray, full: bool) -> tuple[float, np.ndarray]:
    """The variance to add by which held-out points (n, D) have the highest density, and (n,) `mixture_scores` then."""
    options = ADDED if full else (MIN_VARIANCE,)
    scored = {added: mixture_scores(points, k, seed, floor, full, added) for added in options}
    best = max(scored, key=lambda added: scored[added].mean())
    return best, scored[best]


def can_be_placed(k: int, n: int) -> bool:
    """Whether n rows place k components: each needs two of them, also where a part of the rows is held out."""
    return n >= max(MIN_ROWS, 2 * k)


def occurrences(weight: np.ndarray) -> np.ndarray:
    """(m,) positions of rows in order, each as often as its weight says, rounded so that all together are right."""
    ends, m = weight.cumsum(), min(round(row_count(weight)), max(MAX_OCCURRENCES, len(weight)))
    return np.searchsorted(ends, (np.arange(m) + 0.5) * (ends[-1] / m))


def code_mixture(
    x: np.ndarray, linear: LinearModel, k: int, seed: int, full: bool, weight: np.ndarray | None = None
) -> Components:
    """k components for the prior, so that the linear model has the density of a mixture fitted along its axes.

    Along the axes x = sqrt(kept) z + noise: a component of mean m and covariance C there has codes of mean
    m / sqrt(kept) and covariance (C - noise) / sqrt(kept kept'). Rows count by `weight` (n,), but once where some of
    them are held out: no copy of a row may be among the others.
    """
    used = linear.used
    means, covariances = np.zeros((k, len(used))), np.tile(np.eye(len(used)), (k, 1, 1))
    if not used.any():
        return Components(np.full(k, 1 / k), means, covariances)
    points, floor = linear.used_coordinates(x)
    subsample = points[:: -(-len(points) // MAX_ADDED_ROWS)]
    added = best_added(subsample, k, seed, floor, full)[0] if full else MIN_VARIANCE
    placed = points if weight is None else points[occurrences(weight)]
    mixture = fit_mixture(placed, k, seed, full, added).at_least(floor)
    spread, kept = linear.variance[used], linear.kept[used]
    means[:, used] = mixture.means * np.sqrt(spread / kept)
    along = mixture.covariances * np.sqrt(np.outer(spread, spread)) - linear.noise * np.eye(len(kept))
    covariances[np.ix_(np.arange(k), used, used)] = along / np.sqrt(np.outer(kept, kept))
    return Components(mixture.weights, means, covariances)
