"""Log p(x), its bound, and how far importance weighting can be trusted, all from the same draws."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from isthmus.latent_model import Model
from isthmus.metrics.importance_weighting import (
    NOISE_SEED,
    Chunk,
    LogLikelihood,
    combine,
    group_log_sums,
    group_sizes,
    iter_weights,
)

ROUNDING = 1e-4
"""Share of the largest weight by which equal weights may differ: log-weights of hundreds of nats are rounded to it."""
MIN_RELATIVE_WEIGHT = 1e-12
"""Least excess over the threshold, as a share of the largest: the fit takes its logarithm."""


class ImportanceDiagnostics(NamedTuple):
    """Estimates for each row from one set of draws from q(z | x); nats in the data's own units."""

    log_px: LogLikelihood
    """Importance-weighted log p(x) (Burda et al., 2016)."""
    elbo: np.ndarray
    """(n,) evidence lower bound: the mean log-weight, never above `log_px`, and exact if the posterior is."""
    kl: np.ndarray
    """(n, L) KL(q(z | x) || p(z)) of each latent dimension, or (n, 1) estimated where it has no closed form."""
    ess: np.ndarray
    """(n,) effective sample size of the K weights, (sum w)^2 / sum w^2 (Kong, 1992)."""
    khat: np.ndarray
    """(n,) Pareto k-hat, the tail index of the weights; above 0.7 the estimate is unreliable (Vehtari et al., 2024).
    NaN for fewer than 25 draws, and if log p(x) is exact."""
    last_doubling_gain: float
    """Mean log p(x) of all draws minus that of half of them. Doubling the draws again gains at most this."""
    draws: int
    """Draws for each row: 1 if the model gives log p(x) exactly."""
    exact: bool = False
    """Whether the model gives log p(x) exactly."""

    @property
    def distortion(self) -> np.ndarray:
        """(n,) E_q[-log p(x | z)]."""
        with np.errstate(invalid="ignore"):  # where a width overflows both are infinite, and their difference unknown
            return -self.elbo - self.kl.sum(-1)


def importance_diagnostics(
    model: Model, chunks: Iterable[Chunk], draws: int, seed: int = NOISE_SEED
) -> ImportanceDiagnostics:
    """Take every estimate from the same draws.

    Args:
        model: a model with a density.
        chunks: its n rows, encoded: `encode_chunks(model, rows)`.
        draws: K, the number of draws for each row; a model that gives log p(x) exactly takes one.
        seed: of the draws.

    Raises:
        Declined: if the model has no density.
    """
    sizes = group_sizes(draws)
    parts: list[tuple[np.ndarray, ...]] = []
    exact = False
    for log_weight, elbo, kl, is_exact, _ in iter_weights(model, chunks, draws, seed):
        k, exact = len(log_weight), is_exact
        half = log_weight[: max(1, k // 2)]
        gain = log_weight.logsumexp(0) - math.log(k) - (half.logsumexp(0) - math.log(len(half)))
        ess = (2 * log_weight.logsumexp(0) - (2 * log_weight).logsumexp(0)).exp()
        khat = np.array([pareto_k(row) for row in log_weight.T.numpy()])
        log_sums = group_log_sums(log_weight, sizes).T  # (B, G)
        parts.append((*(part.numpy() for part in (log_sums, elbo, kl, ess, gain)), khat))
    sums, elbos, kls, esses, gains, khats = (np.concatenate(column) for column in zip(*parts))
    log_px = combine(sums.T, np.array(sizes), exact)
    return ImportanceDiagnostics(log_px, elbos, kls, esses, khats, float(gains.mean()), k, exact)


def pareto_k(log_weight: np.ndarray) -> float:
    """Pareto k-hat (Vehtari et al., 2024): shape of a generalized Pareto distribution fitted to the largest weights.

    The fit is that of Zhang & Stephens (2009), shrunk towards 0.5 by a prior worth ten draws.

    Args:
        log_weight: (K,).

    Returns:
        NaN for fewer than 25 draws and for weights that are not finite; minus infinity if the largest weights are
        equal up to rounding.
    """
    n_tail = int(min(len(log_weight) / 5, 3 * math.sqrt(len(log_weight))))
    if n_tail < 5 or not np.isfinite(log_weight.max()):
        return math.nan
    log_sorted = np.sort(log_weight)
    weight = np.exp(log_sorted - log_sorted[-1])
    excess = weight[-n_tail:] - weight[-n_tail - 1]  # over the threshold, the largest weight that is not in the tail
    if excess[-1] < ROUNDING:
        return -math.inf
    shape = generalized_pareto_shape(np.maximum(excess, MIN_RELATIVE_WEIGHT * excess[-1]))
    return (n_tail * shape + 10 * 0.5) / (n_tail + 10)


def generalized_pareto_shape(excess: np.ndarray) -> float:
    """Shape of a generalized Pareto distribution with location 0, by the empirical Bayes fit of Zhang & Stephens
    (2009).

    In terms of theta = -shape / scale the log-likelihood, maximized over the shape k, has the closed form

        m (log(-theta / k(theta)) - k(theta) - 1),  k(theta) = 1/m sum_i log(1 - theta x_i)

    theta is its posterior mean over a grid of quantiles of their prior.

    Args:
        excess: (m,) positive numbers in ascending order.
    """
    m = len(excess)
    grid_index = np.arange(1, 31 + int(math.sqrt(m)))
    quartile = excess[max(0, int(m / 4 + 0.5) - 1)]
    theta = 1 / excess[-1] + (1 - np.sqrt(len(grid_index) / (grid_index - 0.5))) / (3 * quartile)  # (G,)
    shape = np.log1p(-theta[:, None] * excess).mean(1)
    log_likelihood = m * (np.log(-theta / shape) - shape - 1)
    posterior = np.exp(log_likelihood - np.logaddexp.reduce(log_likelihood))
    return float(np.log1p(-(posterior @ theta) * excess).mean())
