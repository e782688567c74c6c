"""Features learned from the user's own data by a small autoencoder, so that no pretrained weights are needed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from isthmus.batch import Batch
from isthmus.conditional import Conditional
from isthmus.corruption import Gaussian
from isthmus.distributions.continuous import Normal
from isthmus.errors import InputError
from isthmus.families import LocationScale, Point
from isthmus.latent_model import LatentModel
from isthmus.nets.conv import ConvDecoder, ConvEncoder, conv_applicable
from isthmus.nets.mlp import MLP
from isthmus.priors import Flat
from isthmus.random_streams import seeded
from isthmus.terms.bounds import nll
from isthmus.train.functional import fit

FEATURE_MAX_ROWS = 5_000
"""Rows that the network is trained on."""
MAX_FEATURES = 32
"""A covariance of F features has F^2 entries, to be estimated from the rows of a test set."""
MLP_UPDATES = 800
"""Updates of a network of dense layers."""
CONV_UPDATES = 400
"""Fewer, because an update of a convolutional network costs tens of times as much."""
BATCH_SIZE = 64
"""Rows per update."""
HIDDEN_UNITS = (128,)
"""Widths of the hidden layers of a network of dense layers."""
CONV_CHANNELS = (8, 16)
"""Channels of the convolutions, for images."""
NOISE_STD = 0.5
"""Standard deviation of the noise that the network learns to remove, in units of the data's standard deviation."""
MAX_ABS_ZSCORE = 10.0
"""Standardized values are clipped here, so that no outlier dominates a distance."""
ENCODE_BLOCK_ROWS = 512
"""Rows whose features are computed at once."""

Features = Callable[[np.ndarray], np.ndarray]
"""Maps rows (n, *X) to features (n, F)."""


class Standardizer(NamedTuple):
    """Mean of each element; one scale for each column, shared by the pixels or steps of a channel."""

    mean: np.ndarray
    scale: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Standardized rows (n, *X), double precision."""
        return (np.asarray(x, dtype=np.float64) - self.mean) / self.scale


def fit_standardizer(x: np.ndarray) -> Standardizer:
    """Mean and scale of rows (n, *X); constant columns (the last axis of X) have scale 1."""
    x = np.asarray(x, dtype=np.float64)
    mean, variance = x.mean(0), x.var(0)
    if conv_applicable(variance.shape) and variance.ndim == 2:
        variance = variance.mean(keepdims=True)  # a grey image has one channel, whatever its last axis is
    elif variance.ndim > 1:
        variance = variance.mean(tuple(range(variance.ndim - 1)), keepdims=True)
    return Standardizer(mean, np.sqrt(np.where(variance > 0, variance, 1.0)))


def learned_features(x: np.ndarray, shape: tuple[int, ...], seed: int = 0) -> Features:
    """Train a small denoising autoencoder (Vincent et al., 2008) and return its encoder as a function of rows.

    Features have unit variance over the training rows. Distances between features compare only if they come from the
    same data set and seed. Images of at least 16 pixels a side are encoded by convolutions, everything else by an MLP.

    Args:
        x: (n, *shape) training rows.
        shape: shape of a row.
        seed: of initialization and training, and of the choice of at most `FEATURE_MAX_ROWS` rows.

    Raises:
        InputError: for fewer than two rows, NaN or infinity.
    """
    shape = tuple(shape)
    if len(x) < 2:
        raise InputError(f"Learning features needs at least 2 rows, got {len(x)}.")
    chosen = np.random.default_rng(seed).permutation(len(x))[:FEATURE_MAX_ROWS]
    train = np.asarray(x)[chosen].reshape(-1, *shape)
    if not np.isfinite(train).all():
        raise InputError("x must be finite to learn features, got NaN or infinity. Drop or impute those rows.")
    standardize = fit_standardizer(train)

    def to_input(rows: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(standardize(rows).clip(-MAX_ABS_ZSCORE, MAX_ABS_ZSCORE).astype(np.float32))

    with seeded(seed):
        model = autoencoder(shape)
    updates = CONV_UPDATES if conv_applicable(shape) else MLP_UPDATES
    epochs = math.ceil(updates / max(1, len(train) // BATCH_SIZE))
    fit(model, to_input(train), nll, epochs=epochs, batch_size=BATCH_SIZE, learning_rate=2e-3, random_state=seed)

    def encode(rows: np.ndarray) -> np.ndarray:
        rows = np.asarray(rows).reshape(-1, *shape)
        blocks = (rows[i : i + ENCODE_BLOCK_ROWS] for i in range(0, len(rows), ENCODE_BLOCK_ROWS))
        with torch.no_grad():
            codes = [model.encode(Batch(to_input(block))) for block in blocks]
        return torch.cat(codes).double().numpy()  # (n, F)

    standardize_codes = fit_standardizer(encode(train))
    return lambda rows: standardize_codes(encode(rows))


def autoencoder(shape: tuple[int, ...]) -> LatentModel:
    """A small denoising autoencoder of standardized rows of this shape."""
    size = math.prod(shape)
    n_features = min(MAX_FEATURES, size, math.ceil(2 * math.sqrt(size)))
    encoder: nn.Module
    decoder: nn.Module
    if conv_applicable(shape):
        encoder, decoder = (
            ConvEncoder(shape, CONV_CHANNELS, n_features),
            ConvDecoder(n_features, CONV_CHANNELS, 1, shape),
        )
    else:
        encoder, decoder = MLP(shape, HIDDEN_UNITS, n_features), MLP((n_features,), HIDDEN_UNITS[::-1], size)
    return LatentModel(
        Conditional(encoder, Point((n_features,)), len(shape)),
        Conditional(decoder, LocationScale(Normal, shape, 1.0)),
        Flat(),
        Gaussian(NOISE_STD),
    )
