"""ELBO surgery (Hoffman & Johnson, 2016): what the KL term of the bound consists of."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from isthmus.latent_model import LatentModel
from isthmus.metrics.importance_weighting import NOISE_SEED
from isthmus.train.device_data import DeviceDataset
from isthmus.train.runtime import seeded

MAX_ROWS = 2_000
"""Rows whose posteriors make up the aggregate posterior: the work grows with their square."""
BLOCK_ELEMENTS = 2**24
"""Elements (draws x rows x dimensions) of one block of densities."""


class ELBOSurgery(NamedTuple):
    """The mean KL term in two parts, nats."""

    mutual_information: float
    """I(x; z) under q over these rows; it cannot exceed log(rows)."""
    aggregate_kl: float
    """KL(q(z) || p(z)) of the aggregate posterior: the mismatch that samples from the prior suffer from."""
    error: float
    """Standard error over rows, the larger of the two parts'."""
    rows: int


def elbo_surgery(model: LatentModel, rows: DeviceDataset, seed: int = NOISE_SEED) -> ELBOSurgery | None:
    """Split the mean KL term into mutual information and the KL of the aggregate posterior.

    With q(z) = 1/n sum_i q(z | x_i), the mixture of the rows' own posteriors,

        E_i KL(q(z | x_i) || p(z)) = E_i E_q(z | x_i) [log q(z | x_i) - log q(z)]   mutual information I(x; z)
                                   + E_q(z) [log q(z) - log p(z)]                   KL(q(z) || p(z))

    where both expectations are estimated from one draw for each row.

    Args:
        model: its posterior must have a density.
        rows: the first `MAX_ROWS` are used.
        seed: of the draws.

    Returns:
        None for fewer than two rows, and if each row has its own prior.
    """
    n = min(len(rows), MAX_ROWS)
    if n < 2:
        return None
    with torch.no_grad(), seeded(seed, rows.device):
        batch = rows.batch(torch.arange(n, device=rows.device))
        q = model.infer(batch)
        prior = model.prior_for(batch)
        if prior.batch_shape:
            return None
        z = q.rsample()  # (n, *Z)
        log_qz_x, log_pz = q.log_prob(z).double(), prior.log_prob(z).double()  # (n,)
        block = max(1, BLOCK_ELEMENTS // (n * z[0].numel()))
        # log q(z_j) = log 1/n sum_i q(z_j | x_i): (block, n) densities, of which the sum is over rows i
        log_mixture = [q.log_prob(draws[:, None]).double().logsumexp(1) for draws in z.split(block)]
        log_qz = torch.cat(log_mixture) - math.log(n)
    parts: list[Tensor] = [log_qz_x - log_qz, log_qz - log_pz]  # (n,) each
    error = max(float(part.std() / math.sqrt(n)) for part in parts)
    return ELBOSurgery(float(parts[0].mean()), float(parts[1].mean()), error, n)
