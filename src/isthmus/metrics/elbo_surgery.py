"""How the codes of all rows together lie against the prior: the bound's surgery (Hoffman & Johnson, 2016), nats."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from isthmus.latent_model import LatentModel
from isthmus.metrics.importance_weighting import NOISE_SEED
from isthmus.train.device_data import DeviceDataset
from isthmus.train.runtime import seeded

MOST_ROWS = 2_000
"""Rows whose posteriors make up the aggregate: the work grows with their square."""
AT_ONCE = 2**24
"""Numbers of (draws, rows, dimensions) held at once."""


class ELBOSurgery(NamedTuple):
    """The mean KL of the bound in two parts, each with its standard error over rows."""

    mutual_information: float
    """Between row and code under q, at most log n."""
    aggregate_kl: float
    """KL(q(z) || p(z)) of the aggregate posterior: what samples from the prior miss."""
    error: float
    """Standard error of both."""
    rows: int


def surgery(model: LatentModel, rows: DeviceDataset, seed: int = NOISE_SEED) -> ELBOSurgery | None:
    """Split E[KL(q(z given x) || p(z))] by one draw a row; None for one row, and where each has a prior of its own.

    The aggregate is the mixture of the rows' own posteriors, so that the mutual information is that of these rows.
    """
    n = min(len(rows), MOST_ROWS)
    if n < 2:
        return None
    with torch.no_grad(), seeded(seed, rows.device):
        batch = rows.batch(torch.arange(n, device=rows.device))
        q = model.infer(batch)
        prior = model.prior_for(batch)
        if prior.batch_shape:
            return None
        z = q.rsample()  # (n, *Z)
        own, of_prior = q.log_prob(z).double(), prior.log_prob(z).double()
        step = max(1, AT_ONCE // (n * z[0].numel()))
        together = torch.cat([q.log_prob(some[:, None]).double().logsumexp(1) for some in z.split(step)]) - math.log(n)
    parts: list[Tensor] = [own - together, together - of_prior]  # (n,) each
    error = max(float(part.std() / math.sqrt(n)) for part in parts)
    return ELBOSurgery(float(parts[0].mean()), float(parts[1].mean()), error, n)
