"""The distortion of a row, E_q[-log p(x given z)], for each of its elements."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from isthmus.errors import Declined, check_positive_int
from isthmus.latent_model import Model
from isthmus.metrics.importance_weighting import NOISE_SEED, Chunk, chunk_passes
from isthmus.random_streams import seeded

AUTO_DRAWS = 1000
"""Draws of `draws="auto"`: a mean's error falls with their root, whatever the row."""


def element_distortion(model: Model, chunks: Iterable[Chunk], draws: int | str, seed: int = NOISE_SEED) -> np.ndarray:
    """(n, *X) E_q[-log p(x_j given z)] of each element, nats in the data's own units; the sum over a row is its
    distortion.

    Exact where q(z given x) is a diagonal normal and p(x given z) normal around a linear function of z; else the mean
    over draws, which are those of `importance_weighting.elbo`. Elements that are padding or were not observed are 0.

    Args:
        model: a model with a density.
        chunks: its n rows, encoded: `encode_chunks(model, rows)`.
        draws: draws from q(z given x) for each row; "auto" is 1,000.
        seed: of the draws.

    Raises:
        Declined: if the model has no density, or one that is no product over the elements of x.
    """
    draws = AUTO_DRAWS if isinstance(draws, str) and draws == "auto" else draws
    check_positive_int("draws", draws)
    draws = int(draws)
    if not model.capabilities.has_density:
        raise Declined("This model has no density over x. Use a VAE, or compare squared errors.")
    parts, noise = [], None
    with torch.no_grad():
        for chunk in chunks:
            if noise is None:
                noise = quadratic_nodes(model, chunk.q)
            if noise is None:
                with seeded(seed, model):
                    noise = chunk.q.noise(draws, 1)
            total = torch.zeros(chunk.batch.x.shape, dtype=torch.float64)
            count = 0
            for _, k, out in chunk_passes(model, chunk, noise, [len(noise)]):
                total -= k * out.expectation(element_log_px(model, chunk, out.px)).double().cpu()
                count += k
            parts.append((total / count).numpy())
    return np.concatenate(parts)


def element_log_px(model: Model, chunk: Chunk, px: Any) -> Tensor:
    """(K, B, *X) log p(x_j given z) of each element, nats in the data's own units; 0 for those that do not count."""
    element_log_prob = getattr(px, "element_log_prob", None)
    if element_log_prob is None:
        raise Declined("p(x given z) must be a product over the elements of x to be split by them.")
    volume, counted = model.element_volume(chunk.batch), model.counted(chunk.batch)
    return element_log_prob(chunk.batch.target) - (volume if counted is None else counted * volume)


def quadratic_nodes(model: Model, q: Any) -> Tensor | None:
    """(2 D, 1, D) noise whose equally weighted mean is exact for quadratic functions of z; None where log p(x given z)
    is none.

    The nodes ±sqrt(D) e_i of the third-degree spherical-radial rule: their mean is 0 and their covariance the identity.
    """
    if not (model.decodes_linear_normal and q.is_diagonal_normal and len(q.event_shape) == 1):
        return None
    size = q.event_shape[0]
    nodes = math.sqrt(size) * torch.eye(size, dtype=q.mean.dtype, device=q.mean.device)
    return torch.cat([nodes, -nodes])[:, None]
