"""The exact linear models that a run is put beside, on the same rows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from sklearn.decomposition import PCA

from isthmus.estimators.base import Estimator
from isthmus.estimators.inputs import Inputs
from isthmus.schema import spread

FITTED = 10_000
"""Training rows that a baseline is fitted to, at most."""
NOISES = 8
"""Dequantisation noises averaged a row."""
NOTHING = 1e-12
"""Share of the rows' variance under which what is left is rounding."""


class Linear(NamedTuple):
    """Probabilistic PCA of `latent_dim` dimensions: (n,) log-densities, nats, dequantised where the data are discrete.

    None instead of these where the training rows do not span their space: then no density on it is bounded.
    """

    latent_dim: int
    rank: int
    """Dimensions that the training rows span."""
    values: np.ndarray | None


def some_rows(train: Inputs, seed: int) -> Inputs:
    """At most `FITTED` of the training rows, a random choice by the seed."""
    if len(train) <= FITTED:
        return train
    return train.take(np.sort(np.random.default_rng(seed).permutation(len(train))[:FITTED]))


def as_scored(model: Estimator, inputs: Inputs) -> np.ndarray:
    """(n, d) the numbers that the likelihood is a distribution over: bits where pixels are binarised."""
    values = inputs.x
    if model.schema_.binarize:
        names = getattr(model, "feature_names_in_", None)
        named = inputs.x if names is None else pd.DataFrame(inputs.x, columns=names)
        rows = model.rows(named, inputs.condition, inputs.lengths, bits="fixed")
        values = rows.batch(torch.arange(len(rows), device=rows.device)).x.cpu().numpy()
    return values.reshape(len(values), -1).astype(np.float64)


def linear_evidence(model: Estimator, train: Inputs, test: Inputs) -> Linear:
    """Probabilistic PCA (Tipping & Bishop, 1999) fitted to training rows, and what it makes of the test rows."""
    train = some_rows(train, model.seed_)
    fitted, scored = as_scored(model, train), as_scored(model, test)
    n, d = fitted.shape
    if model.schema_.discrete:
        random, k = np.random.default_rng(model.seed_), max(0, min(model.latent_dim, d - 1, n - 2))
        exact = PCA(k, svd_solver="full").fit(fitted + random.random(fitted.shape))
        noisy = [exact.score_samples(scored + random.random(scored.shape)) for _ in range(NOISES)]
        return Linear(k, min(d, n - 1), np.mean(noisy, axis=0))
    rank = rank_of(fitted, rounding_of(train.x))
    # Fewer rows than features span what they can: a noise in all directions is still learned from those left over.
    if rank == 0 or (rank < d and rank < len(np.unique(fitted, axis=0)) - 1):
        return Linear(0, rank, None)
    variance = np.linalg.svd(fitted - fitted.mean(0), compute_uv=False) ** 2  # in the columns' units, as PCA sees it
    k = max(0, min(model.latent_dim, rank - 1, int((variance > NOTHING * variance[0]).sum()) - 1))
    return Linear(k, rank, PCA(k, svd_solver="full").fit(fitted).score_samples(scored))


def rounding_of(x: np.ndarray) -> float:
    """The relative error of a number of the data: of single precision, unless they are kept in double."""
    return float(np.finfo(x.dtype if x.dtype.kind == "f" else np.float64).eps)


def rank_of(rows: np.ndarray, rounding: float) -> int:
    """How many dimensions rows (n, d) span around their mean, whatever the columns' units.

    Rows in a plane leave it by the rounding of their numbers, which may be large beside the columns' spreads.

    >>> rank_of(np.array([[1e9, 0, 1], [2e9, 0, 2], [4e9, 0, 4], [4e9, 0, 5]]), 1e-16)
    2
    """
    scale = spread(rows)  # (d,)
    singular = np.linalg.svd((rows - rows.mean(0)) / scale, compute_uv=False)
    noise = 4 * rounding * np.sqrt(rows.size) * (np.abs(rows).max(0) / scale)[rows.std(0) > 0].max(initial=1)
    return int((singular > noise).sum())


def linear_error(model: Estimator, train: Inputs, test: Inputs) -> tuple[int, float]:
    """PCA's dimensions, and its squared error an example of the test rows; 0 where only rounding is left."""
    train = some_rows(train, model.seed_)
    fitted, held = (part.x.reshape(len(part), -1).astype(np.float64) for part in (train, test))
    k = min(model.latent_dim, *fitted.shape)
    pca = PCA(k, random_state=model.seed_ % 2**31).fit(fitted)
    error = float(np.square(pca.inverse_transform(pca.transform(held)) - held).sum(1).mean())
    whole = float(np.square(held - pca.mean_).sum(1).mean())
    return k, error if error > NOTHING * whole else 0.0
