"""ELBO surgery (Hoffman & Johnson, 2016): what the KL term of the bound consists of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from isthmus.distributions.independent import is_evaluable
from isthmus.errors import Declined
from isthmus.metrics.estimate import mean_and_error
from isthmus.metrics.importance_weighting import NOISE_SEED, Chunk, first_rows
from isthmus.random_streams import seeded

SURGERY_MAX_ROWS = 2_000
"""Rows whose posteriors make up the aggregate posterior: the work grows with their square."""
DENSITY_BLOCK_ELEMENTS = 2**24
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


def elbo_surgery(chunks: Iterable[Chunk], seed: int = NOISE_SEED, weight: np.ndarray | None = None) -> ELBOSurgery:
    """Split the mean KL term into mutual information and the KL of the aggregate posterior.

    With q(z) = 1/n sum_i q(z | x_i), the mixture of the rows' own posteriors,

        E_i KL(q(z | x_i) || p(z)) = E_i E_q(z | x_i) [log q(z | x_i) - log q(z)]   mutual information I(x; z)
                                   + E_q(z) [log q(z) - log p(z)]                   KL(q(z) || p(z))

    where both expectations are estimated from one draw for each row.

    Args:
        chunks: encoded rows, of which the first `SURGERY_MAX_ROWS` are used.
        seed: of the draws.
        weight: (n,) how much rows count in the means over i; None for all the same.

    Raises:
        Declined: for fewer than two rows, if each row has its own prior, and if the density of a row's posterior is not
            known at the codes of other rows.
    """
    parts = first_rows(chunks, SURGERY_MAX_ROWS)
    n = sum(len(chunk.row_index) for chunk in parts)
    if n < 2:
        raise Declined(f"ELBO surgery needs at least 2 rows, got {n}.")
    for chunk in parts:
        check_applicable(chunk)
    weight = None if weight is None else weight[:n]
    shares = np.full(n, 1 / n) if weight is None else weight / weight.sum()
    log_share = torch.as_tensor(shares, device=parts[0].row_index.device).log()
    information, divergence = [], []
    with torch.no_grad(), seeded(seed):
        for chunk in parts:
            z, log_q, log_w = chunk.q.draw(
                chunk.q.noise(1, len(chunk.row_index))
            )  # (E, B, *Z), E = 1 unless enumerated
            share = 1 / len(z) if log_w is None else log_w.double().exp()  # of each draw
            log_qz_x = (chunk.q.log_prob(z) if log_q is None else log_q).double()  # (E, B)
            log_qz = log_aggregate(parts, log_share, z.flatten(0, 1)).reshape(log_qz_x.shape)
            information.append((share * (log_qz_x - log_qz)).sum(0))
            divergence.append((share * (log_qz - chunk.prior.log_prob(z).double())).sum(0))
    values = [torch.cat(part).cpu().numpy() for part in (information, divergence)]  # (n,) each
    (mutual_information, error), (aggregate_kl, kl_error) = (mean_and_error(part, weight=weight) for part in values)
    return ELBOSurgery(mutual_information, aggregate_kl, max(error, kl_error), n)


def log_aggregate(chunks: list[Chunk], log_share: Tensor, z: Tensor) -> Tensor:
    """(m,) log q(z) = log sum_i share_i q(z | x_i) of codes (m, *Z), nats, in double precision.

    Args:
        chunks: n encoded rows.
        log_share: (n,) log of each row's share; the shares add up to 1.
        z: (m, *Z) codes.
    """
    block = max(1, DENSITY_BLOCK_ELEMENTS // (len(log_share) * z[0].numel()))
    log_sums = []
    for codes in z.split(block):
        log_density = torch.cat([chunk.q.log_prob(codes[:, None]).double() for chunk in chunks], 1)  # (block, n)
        log_sums.append((log_density + log_share).logsumexp(1))
    return torch.cat(log_sums)


def check_applicable(chunk: Chunk) -> None:
    """Raise Declined unless the posterior has a density everywhere, and one prior with a density serves all rows."""
    if chunk.prior is None or not chunk.q.event_shape.numel():
        raise Declined("ELBO surgery needs a code with a prior, and this model has none.")
    if chunk.prior.batch_shape:
        raise Declined("ELBO surgery needs one prior for all rows, and here each row has its own.")
    if not is_evaluable(chunk.prior):
        raise Declined("ELBO surgery needs the density of the prior, which is known only along its own draws.")
    if not is_evaluable(chunk.q):
        raise Declined(
            "ELBO surgery needs the density of each posterior at the codes of other rows, "
            "and it is known only along its own draws."
        )
