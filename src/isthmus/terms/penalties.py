"""Penalties on codes and encoders."""

from __future__ import annotations

import torch
from torch import Tensor

from isthmus.batch import Batch
from isthmus.errors import InputError
from isthmus.latent_model import LatentModel, Pass
from isthmus.objective import Term


def _contraction(model: LatentModel, batch: Batch, run: Pass) -> Tensor:
    # One random direction v over codes gives E|v J|^2 = |J|_F^2 (Hutchinson): one pass for any depth.
    codes, pull, *_ = torch.func.vjp(lambda x: model.posterior(x, batch.c, batch.mask).mean, batch.x)
    (moved,) = pull(torch.randn_like(codes))  # (B, *X)
    return moved.square().flatten(1).sum(-1)


contraction = Term(_contraction, "contraction")
"""The squared Frobenius norm of the encoder's Jacobian (Rifai et al., 2011), by one random projection."""


def _l1(model: LatentModel, batch: Batch, run: Pass) -> Tensor:
    # Weighed by how far each unit moves the decoder's first layer: shrinking codes while growing weights gains nothing.
    net = model.likelihood.net
    norms = net.input_column_norms() if hasattr(net, "input_column_norms") else 1.0  # (D,)
    return (run.q.mean.abs() * norms).sum(-1)


l1 = Term(_l1, "l1")
"""The sum of absolute codes, each times the norm of its decoder weights (Conerly et al., 2024)."""


def kl_sparsity(rho: float) -> Term:
    """KL from a target activation rho to each unit's mean activation over the batch (Ng, 2011), summed over units.

    Codes must lie on (0, 1): the estimator puts a sigmoid on them.
    """
    if not 0 < rho < 1:
        raise InputError(f"a target activation of {rho} came; a number between 0 and 1 is wanted")

    def sparsity(model: LatentModel, batch: Batch, run: Pass) -> Tensor:
        rate = run.q.mean.flatten(0, -2).mean(0).clamp(1e-6, 1 - 1e-6)  # (D,)
        return (rho * (rho / rate).log() + (1 - rho) * ((1 - rho) / (1 - rate)).log()).sum()

    return Term(sparsity, "sparsity")


def _l0(model: LatentModel, batch: Batch, run: Pass) -> Tensor:
    return model.posterior.family.rule.active(run.q.raw).sum(-1)


l0 = Term(_l0, "l0")
"""The number of active units, with JumpReLU's straight-through gradient (Rajamanoharan et al., 2024)."""
