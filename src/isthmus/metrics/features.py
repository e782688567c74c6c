"""Features of rows that a small network learns from the user's own data: no weights from elsewhere are assumed."""

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
from isthmus.terms.bounds import nll
from isthmus.train.functional import fit
from isthmus.train.runtime import seeded

MOST_ROWS = 5_000
"""Rows that the network learns from."""
MOST_UNITS = 32
"""A covariance of features has the square of their number in entries, and a test set has few rows."""
UPDATES = 800
CONV_UPDATES = 400
"""A convolution's update costs tens of times as much as one of the flat network."""
BATCH = 64
HIDDEN = (128,)
CHANNELS = (8, 16)
NOISE = 0.5
"""Deviations of noise that the network learns to undo: what is finer tells little of the data's shape."""
REACH = 10.0
"""Deviations beyond which values are cut, so that no wild row decides a distance."""
BLOCK = 512
"""Rows through the network at once."""

Features = Callable[[np.ndarray], np.ndarray]
"""Rows (n, *X) to their features (n, F)."""


class Scaling(NamedTuple):
    """Location of each element, and a scale of each column that the pixels or steps of one channel share."""

    mean: np.ndarray
    scale: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Rows (n, *X) in deviations, double precision."""
        return (np.asarray(x, dtype=np.float64) - self.mean) / self.scale


def scaling_of(x: np.ndarray) -> Scaling:
    """The scaling that rows (n, *X) ask for; columns (the last axis of X) that never change keep their unit."""
    x = np.asarray(x, dtype=np.float64)
    mean, variance = x.mean(0), x.var(0)
    if conv_applicable(variance.shape) and variance.ndim == 2:
        variance = variance.mean(keepdims=True)  # a grey image has one channel, whatever its last axis is
    elif variance.ndim > 1:
        variance = variance.mean(tuple(range(variance.ndim - 1)), keepdims=True)
    return Scaling(mean, np.sqrt(np.where(variance > 0, variance, 1.0)))


def learned_features(x: np.ndarray, shape: tuple[int, ...], seed: int = 0) -> Features:
    """The code of a small denoising autoencoder of rows x (n, *shape) (Vincent et al., 2008), as a function of rows.

    Each feature is divided by its deviation over the rows learned from: a distance between features is then in
    deviations, and has a meaning only among features of one seed and one data set. Images of at least 16 pixels a side
    are read by convolutions, all else flat. Raises InputError for fewer than two rows, or numbers that are not finite.
    """
    shape = tuple(shape)
    if len(x) < 2:
        raise InputError(f"{len(x)} rows came; features are learned from at least 2")
    some = np.random.default_rng(seed).permutation(len(x))[:MOST_ROWS]
    chosen = np.asarray(x)[some].reshape(-1, *shape)
    if not np.isfinite(chosen).all():
        raise InputError("numbers that are not finite came; drop or fill those rows before features are learned")
    scaling = scaling_of(chosen)

    def read(rows: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(scaling(rows).clip(-REACH, REACH).astype(np.float32))

    with seeded(seed, torch.device("cpu")):
        model = autoencoder(shape)
    updates = CONV_UPDATES if conv_applicable(shape) else UPDATES
    epochs = math.ceil(updates / max(1, len(chosen) // BATCH))
    fit(model, read(chosen), nll, epochs=epochs, batch_size=BATCH, learning_rate=2e-3, random_state=seed)

    def codes(rows: np.ndarray) -> np.ndarray:
        rows = np.asarray(rows).reshape(-1, *shape)
        with torch.no_grad():
            found = [model.encode(Batch(read(rows[i : i + BLOCK]))) for i in range(0, len(rows), BLOCK)]
        return torch.cat(found).double().numpy()  # (n, F)

    of_codes = scaling_of(codes(chosen))
    return lambda rows: of_codes(codes(rows))


def autoencoder(shape: tuple[int, ...]) -> LatentModel:
    """A small denoising autoencoder of standardised rows of this shape."""
    size = math.prod(shape)
    units = min(MOST_UNITS, size, math.ceil(2 * math.sqrt(size)))
    encoder: nn.Module
    decoder: nn.Module
    if conv_applicable(shape):
        encoder, decoder = ConvEncoder(shape, CHANNELS, units), ConvDecoder(units, CHANNELS, 1, shape)
    else:
        encoder, decoder = MLP(shape, HIDDEN, units), MLP((units,), HIDDEN[::-1], size)
    return LatentModel(
        Conditional(encoder, Point((units,)), len(shape)),
        Conditional(decoder, LocationScale(Normal, shape, 1.0)),
        Flat(),
        Gaussian(NOISE),
    )
