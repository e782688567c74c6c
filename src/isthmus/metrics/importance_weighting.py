"""Importance-weighted log p(x) and the evidence lower bound, nats in the data's own units."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from isthmus.errors import check_positive_int
from isthmus.latent_model import LatentModel, Pass
from isthmus.metrics.estimate import mean_and_error
from isthmus.train.device_data import DeviceDataset
from isthmus.train.runtime import seeded

MAX_DECODED_ROWS = 1024
"""Rows that pass through the decoder at once: its activations then stay in the cache."""
MIN_ENCODED_ROWS = 8
"""Rows encoded at once, if there are as many."""
NOISE_SEED = 1312_6114
JACKKNIFE_GROUPS = 10
"""Groups of draws; how much the estimate changes without one of them gives the error that all rows share."""


class LogLikelihood(NamedTuple):
    """Estimates for each row, and the error that they have in common."""

    values: np.ndarray
    """(n,) nats."""
    shared_error: float
    """Standard error of their mean that remains however many rows there are: all rows see the same draws, so the draws'
    noise does not average out over rows. Infinite for a single draw."""


def group_sizes(draws: int) -> list[int]:
    """Sizes of the groups of draws, as equal as possible, the largest first.

    >>> group_sizes(25), group_sizes(3)
    ([3, 3, 3, 3, 3, 2, 2, 2, 2, 2], [1, 1, 1])
    """
    check_positive_int("draws", draws)
    return [len(group) for group in np.array_split(range(draws), min(JACKKNIFE_GROUPS, draws))]


def iter_passes(
    model: LatentModel, rows: DeviceDataset, draws: int, seed: int = NOISE_SEED
) -> Iterator[tuple[Tensor, int, Pass]]:
    """Every row with every draw, in blocks: (index of the rows, group of the draws, pass).

    All rows share one block of noise, so that a row's score does not depend on the other rows. Each row is encoded
    once.
    """
    sizes = group_sizes(draws)
    chunk = max(MIN_ENCODED_ROWS, MAX_DECODED_ROWS // sizes[0])
    noise: Tensor | None = None
    with torch.no_grad():
        for index in torch.arange(len(rows), device=rows.device).split(chunk):
            batch = rows.batch(index)
            q = model.infer(batch)
            prior = model.prior_for(batch)
            if noise is None:
                with seeded(seed, rows.device):
                    noise = q.noise(draws, 1)
            for g, group in enumerate(noise.split(sizes)):
                for block in group.split(MAX_DECODED_ROWS // chunk):
                    yield index, g, model.forward_from(batch, q, block, prior)


def importance_weighted(model: LatentModel, rows: DeviceDataset, draws: int, seed: int = NOISE_SEED) -> LogLikelihood:
    """Importance-weighted log p(x), a lower bound that rises to log p(x) with the draws (Burda et al., 2016).

        log 1/K sum_k p(x, z_k) / q(z_k | x),  z_k ~ q(z | x)

    Args:
        model: a model with a prior.
        rows: n rows.
        draws: K, the number of draws for each row.
        seed: of the draws.
    """
    sizes = np.array(group_sizes(draws))
    log_sums = torch.full((len(sizes), len(rows)), -math.inf, dtype=torch.float64)  # (G, n)
    for index, g, out in iter_passes(model, rows, draws, seed):
        log_weight = out.log_px + out.log_pz - out.log_qz  # (k, B)
        at = index.cpu()
        log_sums[g, at] = torch.logaddexp(log_sums[g, at], log_weight.double().logsumexp(0).cpu())
    return combine(log_sums.numpy(), sizes)


def combine(log_sums: np.ndarray, sizes: np.ndarray) -> LogLikelihood:
    """Log-likelihoods from the weights of groups of draws; the shared error is a jackknife over groups.

    Args:
        log_sums: (G, n) log of the sum of the importance weights of each group.
        sizes: (G,) draws in each group.
    """
    with np.errstate(invalid="ignore"):  # weights of a diverged model are NaN
        values = np.logaddexp.reduce(log_sums) - math.log(sizes.sum())
    if len(sizes) == 1:
        return LogLikelihood(values, math.inf)
    replicates = [
        float((np.logaddexp.reduce(np.delete(log_sums, g, 0)) - math.log(sizes.sum() - sizes[g])).mean())
        for g in range(len(sizes))
    ]
    return LogLikelihood(values, math.sqrt((len(sizes) - 1) * float(np.var(replicates))))


def elbo(model: LatentModel, rows: DeviceDataset, draws: int, seed: int = NOISE_SEED) -> LogLikelihood:
    """Evidence lower bound E_q[log p(x | z)] - KL(q(z | x) || p(z)), with the exact KL where there is a closed form.

    The shared error is that of a mean of groups of draws. Arguments as in `importance_weighted`.
    """
    sizes = torch.tensor(group_sizes(draws), dtype=torch.float64)
    sums = torch.zeros((len(sizes), len(rows)), dtype=torch.float64)  # (G, n) over the draws of a group
    for index, g, out in iter_passes(model, rows, draws, seed):
        value = out.log_px.double().sum(0) - out.draws * out.kl.double().sum(-1)
        sums[g, index.cpu()] += value.cpu()
    values = (sums.sum(0) / draws).numpy()
    group_means = (sums.mean(1) / sizes).numpy()  # (G,)
    return LogLikelihood(values, mean_and_error(group_means).error)
