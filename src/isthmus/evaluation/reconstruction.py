"""The scale of a likelihood beside the residuals that it is to describe."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from isthmus.distributions.continuous import Normal
from isthmus.evaluation.context import EvalContext
from isthmus.evaluation.estimates import told
from isthmus.families import SCALE_FLOOR, FixedScale, LocationScale
from isthmus.metrics.importance_weighting import NOISE_SEED
from isthmus.train.runtime import seeded

DRAWS = 8
AT_ONCE = 128
"""Rows decoded at once, with every draw."""
MOST_ROWS = 1_000
NEAR = 1.5
"""Times the floor under which a learned scale has come down to it."""


def residuals(subject: EvalContext) -> dict[str, Any] | None:
    """The scale of p(x given z) and the residuals' root mean square, both in the units that networks read.

    The best scale of a normal is that root mean square (Rybkin et al., 2021), and a fixed scale s in its place is a
    weight of s^2 / rms^2 on the KL term. None for other likelihoods.
    """
    model, rows = subject.model, subject.model.lay(subject.some(MOST_ROWS), "fixed")
    family = model.model_.likelihood.family
    if not isinstance(family, LocationScale) or family.distribution is not Normal:
        return None
    latent, total, count = model.model_, 0.0, 0
    with torch.no_grad(), seeded(NOISE_SEED, rows.device):
        for index in torch.arange(len(rows), device=rows.device).split(AT_ONCE):
            batch = rows.batch(index)
            z = latent.infer(batch).rsample((DRAWS,))  # (K, B, L)
            gap = batch.target - latent.decode(z, batch.c, batch.mask).mean  # (K, B, *X)
            if batch.mask is not None:
                gap = gap[:, batch.mask]
            total, count = total + float(gap.double().square().sum()), count + gap.numel()
        log_scale = torch.as_tensor(family.log_scale(), dtype=torch.float64).reshape(-1)
    rms, scale = math.sqrt(total / count), float((2 * log_scale).exp().mean().sqrt())
    return {
        "rms": rms,
        "scale": scale,
        "fixed": isinstance(family.log_scale, FixedScale),
        "at_floor": float((log_scale.exp() < NEAR * SCALE_FLOOR).double().mean()),
        "hidden_beta": scale**2 / rms**2 if rms else math.inf,
        "unit": "units that networks read",
        "kind": "scale",
    }


def column_spread(subject: EvalContext) -> dict[str, Any] | None:
    """How many times the largest standard deviation of a column is the smallest, in the units that networks read.

    None for images, sequences, shares and discrete data, whose columns have one unit; constant columns do not count.
    """
    schema = subject.model.schema_
    if schema.image or schema.sequence or schema.discrete or schema.kind == "unit":
        return None
    read = subject.as_read if subject.train is None else subject.scaled(subject.train.x)
    spread = read.reshape(len(read), -1).std(0, dtype=np.float64)
    moving = spread[spread > 0]
    return told(float(moving.max() / moving.min()), None, "times", "ratio") if len(moving) > 1 else None


def leftover(subject: EvalContext) -> dict[str, Any] | None:
    """How far the strongest direction of what reconstructions miss stands out of noise.

    The largest eigenvalue of the misses' covariance, as networks read them, over what independent noise of the same
    total would show in so many rows and columns (Marchenko & Pastur, 1967): 1 where no structure is left. None for
    sequences, and where nothing is missed.
    """
    chosen = np.random.default_rng(subject.seed).permutation(len(subject))[:MOST_ROWS]
    if subject.model.schema_.sequence or (n := len(chosen)) < 2:
        return None
    missed = (subject.as_read[chosen] - subject.scaled(subject.again[chosen])).reshape(n, -1).astype(np.float64)
    missed -= missed.mean(0)
    moving = missed[:, missed.std(0) > 0]
    total, d = float(np.square(moving).sum()), moving.shape[1]
    if not total:
        return None
    largest = float(np.linalg.norm(moving, 2)) ** 2
    return told(largest * d / total / (1 + math.sqrt(d / n)) ** 2, None, "times", "ratio")
