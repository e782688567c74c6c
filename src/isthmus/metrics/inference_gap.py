"""The inference gap: how far the bound lies below log p(x), and which part of it is due to the family of q(z | x)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from isthmus.batch import Batch
from isthmus.distributions.continuous import Normal
from isthmus.distributions.independent import is_evaluable
from isthmus.errors import Declined, InputError, check_positive_int
from isthmus.latent_model import Model
from isthmus.metrics.estimate import Estimate, mean_and_error
from isthmus.metrics.importance_weighting import NOISE_SEED, Chunk, decoded_at_once, first_rows
from isthmus.random_streams import seeded

INFERENCE_GAP_MAX_ROWS = 50
"""Rows whose posteriors are optimized; each has its own parameters."""
OPTIMIZATION_STEPS = 500
"""Updates of each row's posterior."""
GRADIENT_DRAWS = 8
"""Draws for each row in one step."""
LEARNING_RATE = 0.05
"""Of Adam at first; it falls to zero along a cosine. Over 500 steps a mean can travel about 12 prior scales."""
EVALUATION_DRAWS = 2000
"""Draws for each row from which the gaps are estimated; none of them was used in the optimization."""


class InferenceGap(NamedTuple):
    """Mean of log p(x) minus the ELBO, nats, in two parts; the errors are those of paired differences over rows."""

    total: Estimate
    approximation: Estimate
    """log p(x) minus the ELBO of the best diagonal normal for each row: what the family of q costs."""
    amortization: Estimate
    """ELBO of the best diagonal normal minus that of the encoder: what the encoder costs."""
    rows: int


def inference_gap(
    model: Model,
    chunks: Iterable[Chunk],
    *,
    steps: int = OPTIMIZATION_STEPS,
    draws: int = EVALUATION_DRAWS,
    log_px: np.ndarray | None = None,
    weight: np.ndarray | None = None,
    seed: int = NOISE_SEED,
) -> InferenceGap:
    """Split the inference gap into approximation and amortization gap (Cremer et al., 2018).

        log p(x) - ELBO(q) = [log p(x) - ELBO(q*)] + [ELBO(q*) - ELBO(q)],  q* = argmax ELBO for this row

    Args:
        model: its posterior must be a diagonal normal.
        chunks: encoded rows, of which the first `INFERENCE_GAP_MAX_ROWS` are used.
        steps: optimization steps of q*.
        draws: draws for each row from which the three terms are estimated.
        log_px: (n,) estimates of log p(x) from elsewhere, nats. By default log p(x) is importance-weighted with q* as
            the proposal, from the same draws as its ELBO. That is a lower bound, so total and approximation gap are
            too.
        weight: (n,) how much rows count in the means; None for all the same.
        seed: of all draws.

    Raises:
        Declined: if the posterior is not a diagonal normal, or the density of the prior is not known.
        InputError: if `log_px` has another length than there are rows.
    """
    check_positive_int("steps", steps)
    check_positive_int("draws", draws)
    parts = list(chunks)
    n = sum(len(chunk.row_index) for chunk in parts)
    if log_px is not None and len(log_px) != n:
        raise InputError(f"log_px must have one number for each of the {n} rows, got {len(log_px)} numbers.")
    parts = first_rows(parts, INFERENCE_GAP_MAX_ROWS)
    if not all(chunk.q.is_diagonal_normal for chunk in parts):
        raise Declined("The inference gap is split for posteriors that are diagonal normals only.")
    batch, q = join(parts)
    n = len(batch.x)
    with seeded(seed, model):
        with torch.no_grad():
            prior = model.prior_for(batch)
        if prior is None or not is_evaluable(prior):
            raise Declined("The inference gap needs the density of a prior over codes.")
        best = optimize_posterior(model, batch, q, prior, steps)
        noise = best.noise(draws, n)  # common random numbers
        log_weight, best_log_weight = (
            log_weights(model, batch, posterior, prior, noise) for posterior in (q, best)
        )  # (K, n)
    elbo, best_elbo = log_weight.mean(0), best_log_weight.mean(0)
    evidence = best_log_weight.logsumexp(0) - math.log(draws)
    if log_px is not None:
        evidence = torch.as_tensor(log_px[:n], dtype=torch.float64)
    differences = (evidence - elbo, evidence - best_elbo, best_elbo - elbo)
    weight = None if weight is None else weight[:n]
    total, approximation, amortization = (mean_and_error(one.numpy(), weight=weight) for one in differences)
    return InferenceGap(total, approximation, amortization, n)


def join(chunks: list[Chunk]) -> tuple[Batch, Normal]:
    """The rows of several chunks as one batch, and their posteriors, which are normals, as one."""
    fields: list[Any] = [
        None if parts[0] is None else torch.cat(parts) for parts in zip(*[chunk.batch for chunk in chunks])
    ]
    batch = Batch(*fields)
    locs = [chunk.q.loc for chunk in chunks]
    log_scales = [torch.as_tensor(chunk.q.log_scale).to(loc).expand(loc.shape) for chunk, loc in zip(chunks, locs)]
    return batch, Normal(torch.cat(locs), torch.cat(log_scales), chunks[0].q.event_dim)


def optimize_posterior(model: Model, batch: Batch, q: Normal, prior: Any, steps: int) -> Normal:
    """The diagonal normal that maximizes each row's ELBO, found by Adam from the encoder's q on.

    The gradient of log q through its parameters is left out: its expectation is zero, and without it the gradient has
    no variance once q is exact (Roeder et al., 2017).
    """
    loc = q.loc.detach().clone().requires_grad_()
    log_scale = torch.as_tensor(q.log_scale, dtype=loc.dtype, device=loc.device)
    log_scale = log_scale.detach().expand(loc.shape).clone().requires_grad_()
    adam = torch.optim.Adam([loc, log_scale], lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    with torch.enable_grad():
        for _ in range(steps):
            current = Normal(loc, log_scale, q.event_dim)
            out = model.forward_from(batch, current, current.noise(GRADIENT_DRAWS, len(loc)), prior)
            loss = (out.log_qz_stopped - out.log_px - out.log_pz).mean(0).sum()
            loc.grad, log_scale.grad = torch.autograd.grad(loss, (loc, log_scale))  # none for the model's parameters
            adam.step()
            schedule.step()
    return Normal(loc.detach(), log_scale.detach(), q.event_dim)


def log_weights(model: Model, batch: Batch, q: Normal, prior: Any, noise: Tensor) -> Tensor:
    """(K, n) log p(x, z) - log q(z | x) at q's draws, nats, in double precision."""
    blocks = []
    with torch.no_grad():
        for block in noise.split(max(1, decoded_at_once(model, batch) // len(batch.x))):
            out = model.forward_from(batch, q, block, prior)
            blocks.append((out.log_importance - out.log_weight).double().cpu())
    return torch.cat(blocks)
