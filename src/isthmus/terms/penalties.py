"""Penalties on codes and encoders."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from isthmus import random_streams
from isthmus.batch import Batch
from isthmus.distributions.independent import point_of
from isthmus.errors import InputError
from isthmus.forward_pass import Pass
from isthmus.latent_model import Model
from isthmus.objective import Term


def _contraction(model: Model, batch: Batch, out: Pass) -> Tensor:
    # E|v J|^2 = |J|_F^2 for a standard normal direction v over codes (Hutchinson, 1990): one pass for any depth.
    codes, vjp, *_ = torch.func.vjp(lambda x: model.encode(batch._replace(x=x)), batch.x)
    (product,) = vjp(random_streams.normal(codes.shape, codes))  # (B, *X)
    return product.square().flatten(1).sum(-1)


contraction = Term(_contraction, "contraction")
"""The squared Frobenius norm of the encoder's Jacobian (Rifai et al., 2011), by one random projection."""


def _l1(model: Model, batch: Batch, out: Pass) -> Tensor:
    # Times the decoder's norms: shrinking codes while growing weights gains nothing.
    return (out.q.centre.abs() * model.decoder_norms()).sum(-1)


l1 = Term(_l1, "l1")
"""The sum of absolute codes, each times the norm of its decoder weights (Conerly et al., 2024)."""


def _code_l2(model: Model, batch: Batch, out: Pass) -> Tensor:
    return 0.5 * out.q.centre.square().flatten(1).sum(-1)


code_l2 = Term(_code_l2, "code_l2")
"""Half the squared norm of codes, which keeps them from drifting apart (Ghosh et al., 2020)."""


def _decoder_gradient(model: Model, batch: Batch, out: Pass) -> Tensor:
    # As `_contraction`, with a standard normal direction over what is decoded.
    decoded, vjp, *_ = torch.func.vjp(lambda z: point_of(model.decode(z, batch.c, batch.mask)), out.q.centre)
    (product,) = vjp(random_streams.normal(decoded.shape, decoded))  # (B, *Z)
    return product.square().flatten(1).sum(-1)


decoder_gradient = Term(_decoder_gradient, "decoder_gradient")
"""The squared Frobenius norm of the decoder's Jacobian at codes (Ghosh et al., 2020), by one random projection."""


POWER_STEPS = 10
"""Steps of the power iteration for a largest singular value."""


def _spectral(model: Model, batch: Batch, out: Pass) -> Tensor:
    return 0.5 * torch.stack([largest_singular_value(weight).square() for weight in decoder_weights(model)]).sum()


def decoder_weights(model: Model) -> list[Tensor]:
    """(m, n) the matrices of the decoder's layers, a row for each output, those of kernels too.

    Raises:
        InputError: for a decoder without any.
    """
    found = []
    for module in model.parts()["likelihood"].modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, Tensor) and weight.ndim > 1:
            by_input = isinstance(module, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d)
            found.append((weight.transpose(0, 1) if by_input else weight).flatten(1))
    if not found:
        raise InputError("decoder must have layers with weights for penalty='spectral(w)', got none. Use 'l2(w)'.")
    return found


def largest_singular_value(weight: Tensor) -> Tensor:
    """That of a matrix (m, n), from below, with its gradient u v'; one start keeps training repeatable."""
    with torch.no_grad():
        matrix = weight.float() if weight.dtype == torch.bfloat16 else weight
        v = torch.arange(1, weight.shape[1] + 1, dtype=matrix.dtype, device=matrix.device).mul(12.9898).sin()
        for _ in range(POWER_STEPS):
            u = nn.functional.normalize(matrix @ v, dim=0)
            v = nn.functional.normalize(matrix.T @ u, dim=0)
    return u @ weight.to(u.dtype) @ v


spectral = Term(_spectral, "spectral")
"""Half the squared spectral norms of the decoder's layers (Yoshida & Miyato, 2017): its output then moves less."""


def kl_sparsity(rho: float) -> Term:
    """KL from a target activation rho to each unit's mean activation over the batch (Ng, 2011), summed over units.

    Codes must lie on (0, 1): the estimator puts a sigmoid on them.
    """
    if not 0 < rho < 1:
        raise InputError(f"rho of kl(rho, w) must be a number between 0 and 1, got {rho}.")

    def sparsity(model: Model, batch: Batch, out: Pass) -> Tensor:
        centre = out.q.centre if batch.weight is None else out.q.centre * batch.weight[:, None]
        rate = centre.flatten(0, -2).mean(0).clamp(1e-6, 1 - 1e-6)  # (D,)
        return (rho * (rho / rate).log() + (1 - rho) * ((1 - rho) / (1 - rate)).log()).sum()

    return Term(sparsity, "sparsity", row_by_row=False)


def _l0(model: Model, batch: Batch, out: Pass) -> Tensor:
    return out.q.rule.active(out.q.raw).sum(-1)


l0 = Term(_l0, "l0")
"""The number of active units, with JumpReLU's straight-through gradient (Rajamanoharan et al., 2024)."""


def _commitment(model: Model, batch: Batch, out: Pass) -> Tensor:
    return (out.q.raw - out.q.loc.detach()).square().sum(-1)


commitment = Term(_commitment, "commitment")
"""The squared distance of what was quantized from its code (van den Oord et al., 2017)."""


def _perplexity(model: Any, batch: Batch, out: Pass) -> Tensor:
    return model.posterior.family.quantizer.perplexity()


perplexity = Term(_perplexity, "perplexity")
"""How many words of a codebook are in use, to be shown beside the loss."""
