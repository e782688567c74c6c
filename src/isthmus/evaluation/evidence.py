"""Log-likelihoods of rows under a trained model, nats in the data's own units."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from isthmus.errors import InputError
from isthmus.latent_model import LatentModel, Pass
from isthmus.train.loader import Rows
from isthmus.train.machine import seeded

DECODED_AT_ONCE = 1024
"""Rows through the decoder in one call: its activations then stay in the cache."""
NOISE_SEED = 1312_6114


def passes(model: LatentModel, rows: Rows, draws: int, seed: int = NOISE_SEED) -> Iterator[tuple[Tensor, Pass, int]]:
    """Every row with every draw, in blocks: (index, pass of some of the draws, how many draws it holds).

    One block of noise serves all rows, so that a row's number does not depend on its company. Each row is encoded once.
    """
    if draws < 1:
        raise InputError(f"draws={draws} came; a whole number of at least 1 is wanted")
    together = max(1, min(16, DECODED_AT_ONCE // draws if draws < 64 else 16))
    noise: Tensor | None = None
    with torch.no_grad():
        for index in torch.arange(len(rows), device=rows.device).split(max(together, DECODED_AT_ONCE // max(draws, 1))):
            batch = rows.batch(index)
            q = model.posterior(batch.x, batch.c, batch.mask)
            if noise is None:
                with seeded(seed, rows.device):
                    noise = q.noise(torch.Size((draws, 1, *q.event_shape)))
            for block in noise.split(max(1, DECODED_AT_ONCE // len(index))):
                yield index, model.push(batch, q, block), len(block)


def log_evidence(model: LatentModel, rows: Rows, draws: int) -> np.ndarray:
    """(n,) importance-weighted log p(x): a lower bound that rises to it with the draws (Burda et al., 2016)."""
    total = torch.full((len(rows),), -math.inf, dtype=torch.float64)
    for index, run, _ in passes(model, rows, draws):
        log_weight = run.log_px + run.log_pz - run.log_qz  # (k, B)
        at = index.cpu()
        total[at] = torch.logaddexp(total[at], log_weight.double().logsumexp(0).cpu())
    return (total - math.log(draws)).numpy()


def elbo(model: LatentModel, rows: Rows, draws: int) -> np.ndarray:
    """(n,) evidence lower bound: E[log p(x given z)] - KL, the KL exact where it is known."""
    total = torch.zeros(len(rows), dtype=torch.float64)
    for index, run, count in passes(model, rows, draws):
        value = run.log_px.double().sum(0) - count * run.kl.double().sum(-1)
        total[index.cpu()] += value.cpu() / draws
    return total.numpy()


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """The mean over rows and its standard error over rows."""
    error = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.inf
    return float(values.mean()), float(error)
