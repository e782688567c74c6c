"""q(z given x) of each row: its mean and scale, and draws."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from isthmus.errors import Declined, check_positive_int
from isthmus.latent_model import Model
from isthmus.metrics.importance_weighting import NOISE_SEED, Chunk
from isthmus.random_streams import seeded

MOMENT_DRAWS = 1000
"""Draws for each row from which moments are estimated that have no closed form."""


class Posterior(NamedTuple):
    """Mean and standard deviation of q(z given x) of each row, number by number of the code."""

    mean: np.ndarray
    """(n, *Z)"""
    scale: np.ndarray
    """(n, *Z)"""


def posterior(chunks: Iterable[Chunk]) -> Posterior:
    """Mean and scale of q(z given x) of encoded rows, in closed form or estimated from `MOMENT_DRAWS` draws.

    Raises:
        Declined: if the codes are points, without a distribution.
    """
    with torch.no_grad():
        means, scales = zip(*(moments(chunk) for chunk in chunks))
        return Posterior(torch.cat(means).cpu().numpy(), torch.cat(scales).cpu().numpy())


def moments(chunk: Chunk) -> tuple[Tensor, Tensor]:
    """(B, *Z) mean and standard deviation of q(z given x)."""
    q = with_density(chunk.q)
    if q.std is not None:
        return q.mean, q.std
    with seeded(NOISE_SEED, chunk.model):
        z = q.draw_equal(MOMENT_DRAWS, len(chunk.row_index))
    return z.mean(0), z.std(0)


def posterior_draws(chunks: Iterable[Chunk], draws: int, seed: int, model: Model) -> np.ndarray:
    """(K, n, *Z) draws from q(z given x) of encoded rows, independent of each other.

    Args:
        chunks: n encoded rows.
        draws: K.
        seed: of the draws.
        model: by which the rows are encoded.

    Raises:
        Declined: if the codes are points, without a distribution.
    """
    check_positive_int("draws", draws)
    with torch.no_grad(), seeded(seed, model):
        parts = [with_density(chunk.q).draw_equal(draws, len(chunk.row_index)).cpu() for chunk in chunks]
    return torch.cat(parts, 1).numpy()


def with_density(q: Any) -> Any:
    """q itself.

    Raises:
        Declined: if it is a point.
    """
    if not q.has_density:
        raise Declined("The code of a row is a point in this model, not a distribution. Use a VAE.")
    return q
