"""What the codes of rows cost in KL, and what they save in distortion: a minimised loss pays no more than it saves."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from isthmus.evaluation.encoded import EncodedRows
from isthmus.examples import Examples
from isthmus.fitted import FittedModel
from isthmus.metrics.estimate import Estimate, mean_and_error
from isthmus.metrics.importance_weighting import Chunk
from isthmus.random_streams import seeded

MAX_ROWS = 500
"""Rows that are decoded, at most."""
DRAWS = 8
"""Codes of each kind for each row."""
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
    log_variances: tuple[float, float]
    """The lowest and the highest log-variance of q(z given x)."""
    amplification: float
    """The largest mean or log-variance of q(z given x) over the largest number of the rows, all without their signs;
    about 1 of a network that is not trained."""


def code_value(fitted: FittedModel, rows: Examples) -> CodeValue | None:
    """The rate and the worth of the codes of rows; None for a model whose code is a point or has no prior."""
    if not fitted.capabilities.samples or not fitted.capabilities.encodes:
        return None
    encoded = EncodedRows(fitted, rows.subsample(MAX_ROWS, fitted.seed), "fixed")
    with torch.no_grad(), fitted.threads(), seeded(0, fitted.model):
        return measured(encoded.chunks)


def measured(chunks: list[Chunk]) -> CodeValue:
    """The same of encoded rows."""
    own = [chunk.q.draw_equal(DRAWS, len(chunk.row_index)) for chunk in chunks]  # (K, B, *Z) each
    codes = torch.cat(own, 1)
    others = codes[:, torch.randperm(codes.shape[1])].split([len(chunk.row_index) for chunk in chunks], 1)
    distortions = [
        [distortion(chunk, z) for z in (mine, prior_codes(chunk), other)]
        for chunk, mine, other in zip(chunks, own, others)
    ]
    at_own, at_prior, at_others = (np.concatenate(kind) for kind in zip(*distortions))
    kl = torch.cat([chunk.model.forward_from(chunk.batch, chunk.q, noise_of(chunk), chunk.prior).kl for chunk in chunks])
    low, high = (2 * float(torch.cat([chunk.q.log_scale for chunk in chunks]).aminmax()[i]) for i in range(2))
    largest = max(float(chunk.q.loc.abs().max()) for chunk in chunks)
    rows = max(float(chunk.batch.x.abs().max()) for chunk in chunks)
    return CodeValue(
        float(kl.double().sum(-1).mean()),
        mean_and_error(at_prior - at_own),
        mean_and_error(at_others - at_own),
        (low, high),
        max(largest, -low, high) / max(rows, MIN_ROW_NUMBER),
    )


def noise_of(chunk: Chunk) -> Tensor:
    """The noise of one draw for each row."""
    return chunk.q.noise(1, len(chunk.row_index))


def prior_codes(chunk: Chunk) -> Tensor:
    """(K, B, *Z) codes from the prior."""
    rows = () if chunk.prior.batch_shape else (len(chunk.row_index),)
    return chunk.prior.sample((DRAWS, *rows))


def distortion(chunk: Chunk, z: Tensor) -> np.ndarray:
    """(B,) mean of -log p(x given z) over codes z (K, B, *Z), nats."""
    return -chunk.model.at(chunk.batch, z, chunk.prior).log_px.double().mean(0).cpu().numpy()
