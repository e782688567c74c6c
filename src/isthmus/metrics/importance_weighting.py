"""Log-likelihoods of rows under a trained model, nats in the data's own units."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from isthmus.errors import InputError
from isthmus.latent_model import LatentModel, Pass
from isthmus.train.device_data import DeviceDataset
from isthmus.train.runtime import seeded

DECODED_AT_ONCE = 1024
"""Rows through the decoder in one call: its activations then stay in the cache."""
FEWEST_ROWS = 8
"""Rows encoded in one call, where there are so many."""
NOISE_SEED = 1312_6114
PARTS = 10
"""Groups of draws whose differences tell the error that all rows share."""


class LogLikelihood(NamedTuple):
    """Estimates for the rows (n,), nats, and the standard error of their mean that no number of rows makes smaller.

    All rows see the same draws, so that what is accidental in these does not average out over the rows; infinite for
    a single draw, which tells nothing of it.
    """

    values: np.ndarray
    shared_error: float


def parts_of(draws: int) -> list[int]:
    """Sizes of the groups of draws, as equal as can be, the largest first.

    >>> parts_of(25), parts_of(3)
    ([3, 3, 3, 3, 3, 2, 2, 2, 2, 2], [1, 1, 1])
    """
    if not isinstance(draws, numbers.Integral) or draws < 1:
        raise InputError(f"draws={draws} came; a whole number of at least 1 is wanted")
    return [len(part) for part in np.array_split(range(draws), min(PARTS, draws))]


def passes(
    model: LatentModel, rows: DeviceDataset, draws: int, seed: int = NOISE_SEED
) -> Iterator[tuple[Tensor, int, Pass]]:
    """Every row with every draw, in blocks: (index, which group of draws, pass of some draws of this group).

    One block of noise serves all rows, so that a row's number does not depend on its company. Each row is encoded once.
    """
    sizes = parts_of(draws)
    together = max(FEWEST_ROWS, DECODED_AT_ONCE // sizes[0])
    noise: Tensor | None = None
    with torch.no_grad():
        for index in torch.arange(len(rows), device=rows.device).split(together):
            batch = rows.batch(index)
            q = model.infer(batch)
            prior = model.prior_for(batch)
            if noise is None:
                with seeded(seed, rows.device):
                    noise = q.noise(draws, 1)
            for part, group in enumerate(noise.split(sizes)):
                for block in group.split(DECODED_AT_ONCE // together):
                    yield index, part, model.forward_from(batch, q, block, prior)


def scored(model: LatentModel, rows: DeviceDataset, draws: int, seed: int = NOISE_SEED) -> LogLikelihood:
    """Importance-weighted log p(x): a lower bound that rises to it with the draws (Burda et al., 2016).

    The shared error is a jackknife over groups of draws of the mean over rows.
    """
    sizes = np.array(parts_of(draws))
    total = torch.full((len(sizes), len(rows)), -math.inf, dtype=torch.float64)  # (P, n): log of the sum of weights
    for index, part, run in passes(model, rows, draws, seed):
        log_weight = run.log_px + run.log_pz - run.log_qz  # (k, B)
        at = index.cpu()
        total[part, at] = torch.logaddexp(total[part, at], log_weight.double().logsumexp(0).cpu())
    return pooled(total.numpy(), sizes)


def pooled(total: np.ndarray, sizes: np.ndarray) -> LogLikelihood:
    """Log p(x) of rows from (P, n) log-sums of the weights of groups of draws, of so many draws each."""
    with np.errstate(invalid="ignore"):  # of a model whose weights are no numbers
        values = np.logaddexp.reduce(total) - math.log(sizes.sum())
    if len(sizes) == 1:
        return LogLikelihood(values, math.inf)
    without = [
        float((np.logaddexp.reduce(np.delete(total, p, 0)) - math.log(sizes.sum() - sizes[p])).mean())
        for p in range(len(sizes))
    ]
    return LogLikelihood(values, math.sqrt((len(sizes) - 1) * float(np.var(without))))


def scored_elbo(model: LatentModel, rows: DeviceDataset, draws: int, seed: int = NOISE_SEED) -> LogLikelihood:
    """Evidence lower bound: E[log p(x given z)] - KL, the KL exact where it is known.

    The shared error is that of a mean of groups of draws.
    """
    sizes = torch.tensor(parts_of(draws), dtype=torch.float64)
    total = torch.zeros((len(sizes), len(rows)), dtype=torch.float64)  # (P, n): sums over draws
    for index, part, run in passes(model, rows, draws, seed):
        value = run.log_px.double().sum(0) - run.draws * run.kl.double().sum(-1)
        total[part, index.cpu()] += value.cpu()
    values = (total.sum(0) / draws).numpy()
    means = (total.mean(1) / sizes).numpy()  # (P,)
    return LogLikelihood(values, mean_and_error(means)[1])


def log_evidence(model: LatentModel, rows: DeviceDataset, draws: int) -> np.ndarray:
    """(n,) importance-weighted log p(x), as `scored` estimates it."""
    return scored(model, rows, draws).values


def elbo(model: LatentModel, rows: DeviceDataset, draws: int) -> np.ndarray:
    """(n,) evidence lower bound, as `scored_elbo` estimates it."""
    return scored_elbo(model, rows, draws).values


def mean_and_error(values: np.ndarray, shared_error: float = 0.0) -> tuple[float, float]:
    """The mean over rows and its standard error: over rows, and what all rows share."""
    error = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.inf
    return float(values.mean()), math.hypot(error, shared_error)
