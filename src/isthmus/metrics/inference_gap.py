"""How far the bound lies below log p(x), and whose fault it is."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from isthmus.batch import Batch
from isthmus.distributions.continuous import Normal
from isthmus.errors import InputError
from isthmus.latent_model import LatentModel
from isthmus.metrics.ais import need_whole
from isthmus.metrics.estimate import Estimate
from isthmus.metrics.importance_weighting import DECODED_AT_ONCE, NOISE_SEED, mean_and_error
from isthmus.train.device_data import DeviceDataset
from isthmus.train.runtime import seeded

MOST_ROWS = 50
"""Rows whose posteriors are optimised: each has parameters of its own."""
STEPS = 500
"""Of Adam."""
TOGETHER = 8
"""Draws a row in a step."""
RATE = 0.05
"""The first step of Adam, which falls to zero: over all steps a mean can travel by a dozen of the prior's scales."""
DRAWS = 2000
"""Draws a row for what is reported, which no optimisation has seen."""


class Gap(NamedTuple):
    """Log p(x) less the evidence lower bound, nats, in two parts; errors are paired, over rows."""

    total: Estimate
    approximation: Estimate
    """What the best normal of independent dimensions for each row still loses."""
    amortisation: Estimate
    """What the encoder loses against that."""
    rows: int


def inference_gap(
    model: LatentModel,
    rows: DeviceDataset,
    *,
    steps: int = STEPS,
    draws: int = DRAWS,
    log_px: np.ndarray | None = None,
    seed: int = NOISE_SEED,
) -> Gap | None:
    """Split the inference gap of the first rows (Cremer et al., 2018); None for a posterior that is not normal.

    `log_px` (n,) are estimates of log p(x) in nats, from elsewhere; without, it is importance-weighted with the
    optimised posteriors as proposals (Burda et al., 2016), from the same draws as their bound. Both are lower bounds,
    and so are the total and the approximation gap. Raises InputError for another number of estimates than rows.
    """
    need_whole("steps", steps)
    need_whole("draws", draws)
    if log_px is not None and len(log_px) != len(rows):
        raise InputError(f"log_px has {len(log_px)} numbers and there are {len(rows)} rows; one a row is wanted")
    index = torch.arange(min(len(rows), MOST_ROWS), device=rows.device)
    with seeded(seed, rows.device):
        with torch.no_grad():
            batch = rows.batch(index)
            q = model.infer(batch)
            if not isinstance(q, Normal) or model.prior_for(batch) is None:
                return None
        best = optimised(model, batch, q, steps)
        noise = best.noise(draws, len(index))  # both see the same
        weight, best_weight = (log_weights(model, batch, posterior, noise) for posterior in (q, best))  # (K, n)
    bound, best_bound = weight.mean(0), best_weight.mean(0)
    evidence = best_weight.logsumexp(0) - math.log(draws)
    if log_px is not None:
        evidence = torch.as_tensor(log_px[: len(index)], dtype=torch.float64)
    parts = (evidence - bound, evidence - best_bound, best_bound - bound)
    total, approximation, amortisation = (Estimate(*mean_and_error(part.numpy())) for part in parts)
    return Gap(total, approximation, amortisation, len(index))


def optimised(model: LatentModel, batch: Batch, q: Normal, steps: int) -> Normal:
    """The normal of independent dimensions that maximises each row's own bound, from the encoder's on.

    The gradient leaves out the score of q, which is zero in expectation (Roeder et al., 2017): it has no variance
    where q is exact.
    """
    loc = q.loc.detach().clone().requires_grad_()
    log_scale = torch.as_tensor(q.log_scale, dtype=loc.dtype, device=loc.device)
    log_scale = log_scale.detach().expand(loc.shape).clone().requires_grad_()
    adam = torch.optim.Adam([loc, log_scale], lr=RATE)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    with torch.enable_grad():
        for _ in range(steps):
            own = Normal(loc, log_scale, q.event_dim)
            run = model.forward_from(batch, own, own.noise(TOGETHER, len(loc)))
            held = Normal(loc.detach(), log_scale.detach(), q.event_dim)
            loss = (held.log_prob(run.z) - run.log_px - run.log_pz).mean(0).sum()
            loc.grad, log_scale.grad = torch.autograd.grad(loss, (loc, log_scale))  # and nothing to the parameters
            adam.step()
            falling.step()
    return Normal(loc.detach(), log_scale.detach(), q.event_dim)


def log_weights(model: LatentModel, batch: Batch, q: Normal, noise: Tensor) -> Tensor:
    """(K, n) log p(x, z) - log q(z given x) at q's draws, nats, in double precision."""
    found = []
    with torch.no_grad():
        for block in noise.split(max(1, DECODED_AT_ONCE // len(batch.x))):
            run = model.forward_from(batch, q, block)
            found.append((run.log_px + run.log_pz - run.log_qz).double().cpu())
    return torch.cat(found)
