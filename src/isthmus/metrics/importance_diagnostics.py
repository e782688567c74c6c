"""What one sweep of draws tells of rows under a model, nats in the data's own units."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from isthmus.latent_model import LatentModel
from isthmus.metrics.importance_weighting import NOISE_SEED, LogLikelihood, parts_of, passes, pooled
from isthmus.train.device_data import DeviceDataset

ROUNDING = 1e-12
"""Share of the largest weight under which differences say nothing."""


class ImportanceDiagnostics(NamedTuple):
    """Estimates a row from one set of draws from q(z given x)."""

    log_px: LogLikelihood
    """Importance-weighted log p(x) (Burda et al., 2016)."""
    elbo: np.ndarray
    """(n,) evidence lower bound: the mean log-weight, never above `log_px`, and exact where the posterior is."""
    kl: np.ndarray
    """(n, L) KL(q(z given x) || p(z)) per latent dimension, or (n, 1) estimated where it has no closed form."""
    ess: np.ndarray
    """(n,) effective number of draws."""
    khat: np.ndarray
    """(n,) tail index of the weights (Vehtari et al., 2024); above 0.7 the estimate is not to be trusted."""
    rise: float
    """Mean log p(x) of all draws less that of half of them: more draws raise it by less than this again."""

    @property
    def distortion(self) -> np.ndarray:
        """(n,) E[-log p(x given z)]."""
        return -self.elbo - self.kl.sum(-1)


def sweep(model: LatentModel, rows: DeviceDataset, draws: int, seed: int = NOISE_SEED) -> ImportanceDiagnostics:
    """Encode each row once, draw, and take every estimate from the same draws."""
    sizes = np.array(parts_of(draws))
    found: list[tuple[np.ndarray, ...]] = []
    for weight, kl in blocks(model, rows, draws, seed):
        groups = torch.stack([group.logsumexp(0) for group in weight.split(sizes.tolist())], 1)  # (B, P)
        half = weight[: max(1, draws // 2)]
        rise = weight.logsumexp(0) - math.log(draws) - (half.logsumexp(0) - math.log(len(half)))
        ess = (2 * weight.logsumexp(0) - (2 * weight).logsumexp(0)).exp()
        khat = np.array([pareto_k(row) for row in weight.T.numpy()])
        found.append((*(part.numpy() for part in (groups, weight.mean(0), kl, ess, rise)), khat))
    sums, elbos, kls, esses, rises, khats = (np.concatenate(column) for column in zip(*found))
    return ImportanceDiagnostics(pooled(sums.T, sizes), elbos, kls, esses, khats, float(rises.mean()))


def blocks(model: LatentModel, rows: DeviceDataset, draws: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Some rows after another: log-weights (K, B) and KL (B, L), in double precision."""
    for _, some in groupby(passes(model, rows, draws, seed), key=lambda step: int(step[0][0])):
        weights, kl = [], []
        for _, _, run in some:
            weights.append((run.log_px + run.log_pz - run.log_qz).double().cpu())
            kl.append(run.draws * run.kl.double().cpu())
        yield torch.cat(weights), torch.stack(kl).sum(0) / draws


def pareto_k(log_weight: np.ndarray) -> float:
    """Shape of a generalised Pareto distribution fitted to the largest of (K,) weights; NaN for too few, or no numbers.

    The fit of Zhang & Stephens (2009), drawn towards 0.5 by ten pseudo-draws as Vehtari et al. (2024) do.
    """
    tail = int(min(len(log_weight) / 5, 3 * math.sqrt(len(log_weight))))
    if tail < 5 or not np.isfinite(log_weight.max()):
        return math.nan
    ordered = np.sort(log_weight)
    weight = np.exp(ordered - ordered[-1])
    excess = weight[-tail:] - weight[-tail - 1]
    if excess[-1] < ROUNDING:  # all weights are the same: nothing is heavy
        return -math.inf
    return (tail * generalised_pareto(np.maximum(excess, ROUNDING * excess[-1])) + 5.0) / (tail + 10.0)


def generalised_pareto(excess: np.ndarray) -> float:
    """The shape of sorted positive numbers (m,): a mean over a grid of likely values (Zhang & Stephens, 2009)."""
    m = len(excess)
    grid = np.arange(1, 31 + int(math.sqrt(m)))
    quartile = excess[max(0, int(m / 4 + 0.5) - 1)]
    theta = 1 / excess[-1] + (1 - np.sqrt(len(grid) / (grid - 0.5))) / (3 * quartile)  # (G,)
    shape = np.log1p(-theta[:, None] * excess).mean(1)
    likelihood = m * (np.log(-theta / shape) - shape - 1)
    weight = np.exp(likelihood - np.logaddexp.reduce(likelihood))
    return float(np.log1p(-(weight @ theta) * excess).mean())
