"""What the codes of rows cost in KL, and what they save in distortion: a minimised loss pays no more than it saves."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from isthmus.distributions.continuous import Normal
from isthmus.evaluation.encoded import EncodedRows
from isthmus.examples import Examples
from isthmus.fitted import FittedModel
from isthmus.metrics.estimate import Estimate, mean_and_error
from isthmus.metrics.importance_weighting import Chunk
from isthmus.random_streams import generator, seeded

MAX_ROWS = 500
"""Rows that are decoded, at most."""
DRAWS = 8
"""Codes of each kind for each row."""
LOG_WIDER = 2.0
"""Logarithm of how many times as wide q(z given x) is made."""
MIN_ROW_NUMBER = 1e-6
"""Least size of the largest number of the rows."""


class CodeValue(NamedTuple):
    """Rate and worth of codes, nats per row.

    A minimum of distortion + beta * KL is no higher than the loss of an encoder that returns the prior, which costs no
    KL: beta * KL(q(z given x) || p(z)) <= `over_prior`, on the rows that the networks were trained on.
    """

    kl: float
    """KL(q(z given x) || p(z))."""
    over_prior: Estimate
    """Distortion at codes from the prior minus that at codes from q(z given x)."""
    over_others: Estimate
    """The same of the codes of other rows."""
    cost_of_width: Estimate
    """The same of codes from normals `LOG_WIDER` times as wide, but no wider than the prior."""
    kl_of_width: float
    """How much smaller the KL of these normals is: by its weight at most `cost_of_width` at a minimum."""
    log_variances: tuple[float, float]
    """The lowest and the highest log-variance of q(z given x)."""
    amplification: float
    """The largest mean or log-variance of q(z given x) over the largest number of the rows, all without their signs;
    about 1 of a network that is not trained."""


def code_value(fitted: FittedModel, rows: Examples) -> CodeValue | None:
    """The rate and the worth of the codes of rows by diagonal normals q(z given x); None where codes are points."""
    if not fitted.capabilities.has_rate:
        return None
    encoded = EncodedRows(fitted, rows.subsample(MAX_ROWS, fitted.seed), "fixed")
    # Widths that overflow have infinite distortions, whose differences are NaN.
    with torch.no_grad(), fitted.threads(), seeded(0, fitted.model), np.errstate(invalid="ignore", over="ignore"):
        return measured(encoded.chunks)


def measured(chunks: list[Chunk]) -> CodeValue:
    """The same of encoded rows."""
    posteriors = [chunk.q for chunk in chunks]
    wider = [
        Normal(q.loc, torch.where(q.log_scale < 0, (q.log_scale + LOG_WIDER).clamp(max=0), q.log_scale))
        for q in posteriors
    ]
    noises = [chunk.q.noise(DRAWS, len(chunk.row_index)) for chunk in chunks]
    own, wide = ([drawn(q, noise) for q, noise in zip(qs, noises)] for qs in (posteriors, wider))  # (K, B, *Z) each
    codes = torch.cat(own, 1)
    mixed = torch.randperm(codes.shape[1], generator=generator(codes.device), device=codes.device)
    others = codes[:, mixed].split([len(chunk.row_index) for chunk in chunks], 1)
    kinds = (own, [prior_codes(chunk) for chunk in chunks], others, wide)
    at_own, at_prior, at_others, at_wide = (
        np.concatenate([distortion(chunk, z) for chunk, z in zip(chunks, kind)]) for kind in kinds
    )
    kl, wide_kl = (
        float(torch.cat([kl_of(chunk, q) for chunk, q in zip(chunks, qs)]).mean()) for qs in (posteriors, wider)
    )
    low, high = (2 * float(torch.cat([q.log_scale for q in posteriors]).aminmax()[i]) for i in range(2))
    largest = max(float(q.loc.abs().max()) for q in posteriors)
    rows = max(float(chunk.batch.x.abs().max()) for chunk in chunks)
    return CodeValue(
        kl,
        mean_and_error(at_prior - at_own),
        mean_and_error(at_others - at_own),
        mean_and_error(at_wide - at_own),
        kl - wide_kl,
        (low, high),
        max(largest, -low, high) / max(rows, MIN_ROW_NUMBER),
    )


def drawn(q: Normal, noise: Tensor) -> Tensor:
    """(K, B, *Z) codes from independent normals."""
    return torch.addcmul(q.loc, q.scale, noise)


def kl_of(chunk: Chunk, q: Normal) -> Tensor:
    """(B,) KL of q from the prior, nats, in double precision."""
    out = chunk.model.forward_from(chunk.batch, q, q.noise(1, len(chunk.row_index)), chunk.prior)
    return out.kl.double().sum(-1)


def prior_codes(chunk: Chunk) -> Tensor:
    """(K, B, *Z) codes from the prior."""
    rows = () if chunk.prior.batch_shape else (len(chunk.row_index),)
    return chunk.prior.sample((DRAWS, *rows))


def distortion(chunk: Chunk, z: Tensor) -> np.ndarray:
    """(B,) mean of -log p(x given z) over codes z (K, B, *Z), nats."""
    return -chunk.model.at(chunk.batch, z, chunk.prior).log_px.double().mean(0).cpu().numpy()
