"""The linear model in closed form: its held-out likelihood chooses a code's size, and training starts from it."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import scipy.special
import torch
from torch import nn

from isthmus.distributions.mixture_fit import fit_diagonal_mixture
from isthmus.families import SCALE_FLOOR, DiagonalNormal, Point
from isthmus.latent_model import LatentModel
from isthmus.metrics.principal_axes import principal_axes, triangular_factor
from isthmus.nets.layers import Preprocess
from isthmus.nets.mlp import MLP
from isthmus.train.device_data import DeviceDataset

MIN_FIT_ROWS, MAX_FIT_ROWS, MAX_FIT_NUMBERS = 1_000, 10_000, 8_000_000
"""Rows and numbers that a linear model is fitted to, at most: decompositions of more would take minutes."""
MIN_NOISE_VARIANCE = SCALE_FLOOR**2
"""Smallest variance of the noise, in the units that networks read: no learned scale goes lower."""
FOLDS = 5
"""Parts of the rows, each of which is held out once."""
MAX_CROSS_VALIDATED_NUMBERS = 1_000_000
"""Numbers up to which every part is held out; of more, the first one only."""
MIN_AUTO_LATENT_DIM, MAX_AUTO_LATENT_DIM = 2, 50
"""Sizes that are chosen automatically; networks fold curved data into fewer dimensions than a linear model needs."""
UNUSED_SHARE = 1e-2
"""Scale of a dimension that the linear model does not use, in units of the noise: networks may take it up."""
MIXTURE_COMPONENTS, MIN_ROWS_PER_COMPONENT = (3, 5, 10, 20, 30), 10
"""Components of a prior that are tried, and training rows for each at least."""
CLEAR_GAIN_ERRORS = 1.0
"""Standard errors by which a larger mixture must be better."""
MIN_CODE_VARIANCE = 1e-2
"""Smallest variance of a component of the prior at the start, in units of all codes' variance."""
MIN_UNIQUE_SHARE = 1e-3
"""Share of a column's variance that factor analysis leaves as its noise, at least: it must not vanish."""
MAX_FACTOR_STEPS, MAX_FACTOR_COLUMNS = 50, 128
"""Steps of factor analysis, and columns up to which it is iterated: each step decomposes a matrix."""


class LinearModel(NamedTuple):
    """x = z W + c B + mean + noise with z ~ N(0, I): probabilistic PCA, or factor analysis (Tipping & Bishop, 1999).

    W = sqrt(kept) axes scale, and the noise of column j is normal with variance noise scale_j².
    """

    mean: np.ndarray
    """(d,)"""
    coefficients: np.ndarray
    """(C, d) B."""
    scale: np.ndarray
    """(d,)"""
    axes: np.ndarray
    """(D, d) orthonormal."""
    variance: np.ndarray
    """(D,) of the rows along the axes, in units of the scale."""
    noise: float

    @property
    def kept(self) -> np.ndarray:
        """(D,) what the code explains of the variance along each axis."""
        unused = UNUSED_SHARE**2 * self.noise
        return np.maximum(self.variance - self.noise, unused)


def rows_as_read(rows: DeviceDataset, reader: nn.Module | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Rows (n, d) as an encoder's network reads them, and their conditions (n, C).

    Args:
        rows: the rows.
        reader: what transforms them for the network, if anything.
    """
    read, conditions = [], []
    with torch.no_grad():
        for batch in rows.batches():
            x = batch.x if reader is None else reader.to(batch.x)(batch.x)
            read.append(x.flatten(1).double().cpu().numpy())
            if batch.c is not None:
                conditions.append(batch.c.double().cpu().numpy())
    return np.concatenate(read), np.concatenate(conditions) if conditions else None


def max_fit_rows(size: int) -> int:
    """How many rows of this many numbers a linear model is fitted to at most."""
    return min(MAX_FIT_ROWS, max(MIN_FIT_ROWS, MAX_FIT_NUMBERS // max(1, size)))


def without_condition(x: np.ndarray, c: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What a linear function of the condition leaves of x: residuals (n, d), coefficients (C, d), mean (d,)."""
    if c is None:
        mean = x.mean(0)
        return x - mean, np.zeros((0, x.shape[1])), mean
    centre = c.mean(0)
    coefficients = np.linalg.lstsq(c - centre, x - x.mean(0), rcond=1e-6)[0]
    mean = x.mean(0) - centre @ coefficients
    return x - c @ coefficients - mean, coefficients, mean


def fit_linear_model(x: np.ndarray, c: np.ndarray | None, latent_dim: int, noise_per_column: bool) -> LinearModel:
    """The linear model of most likelihood on rows (n, d).

    Args:
        x: (n, d) rows.
        c: (n, C) conditions.
        latent_dim: D, of which those beyond the rows' rank are not used.
        noise_per_column: factor analysis instead of probabilistic PCA.
    """
    residuals, coefficients, mean = without_condition(x, c)
    n, d = x.shape
    factor = triangular_factor(residuals)
    k = min(latent_dim, len(factor))
    scale = np.ones(d)
    total = np.square(factor).sum(0) / max(1, n - 1)  # (d,) variances
    if noise_per_column:
        scale = noise_scales(factor, total, k, n)
    _, axes, variance = principal_axes(np.zeros(d), factor / scale, n)
    rest = variance[k:].sum() / (d - k) if d > k else 0.0
    noise = 1.0 if noise_per_column else max(float(rest), MIN_NOISE_VARIANCE)
    padding = latent_dim - k
    if padding:  # directions at random, which the networks may take up
        random = np.random.default_rng(0).normal(size=(padding, d))
        axes = np.concatenate([axes[:k], random / np.linalg.norm(random, axis=1, keepdims=True)])
        variance = np.concatenate([variance[:k], np.zeros(padding)])
    return LinearModel(mean, coefficients, scale, axes[:latent_dim], variance[:latent_dim], noise)


def noise_scales(factor: np.ndarray, total: np.ndarray, k: int, n: int) -> np.ndarray:
    """(d,) scales of the noise of factor analysis with k dimensions.

    Given the scales, W is that of probabilistic PCA on scaled columns; given W, the noise of a column is what W leaves
    of its variance. The two are iterated; each step raises the likelihood (Rubin & Thayer, 1982).

    Args:
        factor: (m, d) triangular factor of the centred rows.
        total: (d,) their variances.
        k: dimensions.
        n: number of rows.
    """
    noise = np.maximum(total, MIN_NOISE_VARIANCE)
    steps = MAX_FACTOR_STEPS if len(total) <= MAX_FACTOR_COLUMNS else 1
    for _ in range(steps + 1):
        _, axes, variance = principal_axes(np.zeros(len(total)), factor / np.sqrt(noise), n)
        explained = (np.maximum(variance[:k] - 1, 0)[:, None] * np.square(axes[:k])).sum(0) * noise
        new = np.clip(
            total - explained, np.maximum(1e-3 * total, MIN_NOISE_VARIANCE), np.maximum(total, MIN_NOISE_VARIANCE)
        )
        done = np.abs(np.log(new / noise)).max() < 1e-3
        noise = new
        if done:
            break
    return np.sqrt(noise)


def held_out_curve(x: np.ndarray, c: np.ndarray | None, seed: int) -> np.ndarray:
    """(n, m) log p(x) of held-out rows under probabilistic PCA with 0, 1, ..., m - 1 dimensions, nats.

    Rows are held out in parts, each scored by models of the other rows.
    """
    order = np.random.default_rng(seed).permutation(len(x))
    parts = np.array_split(order, min(FOLDS, len(x)))
    scores = []
    for part in parts if x.size <= MAX_CROSS_VALIDATED_NUMBERS else parts[:1]:
        train = np.setdiff1d(order, part)
        residuals, coefficients, mean = without_condition(x[train], None if c is None else c[train])
        held_out = x[part] - mean - (0 if c is None else c[part] @ coefficients)
        scores.append(log_densities(residuals, held_out))
    m = min(score.shape[1] for score in scores)
    return np.concatenate([score[:, :m] for score in scores])


def log_densities(train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """(n, m) log p of centred rows (n, d) under probabilistic PCA of other rows with 0 .. m - 1 dimensions, nats."""
    d = train.shape[1]
    _, axes, variance = principal_axes(np.zeros(d), triangular_factor(train), len(train))
    m = min(len(variance), d - 1, len(train) - 1) + 1
    left = variance.sum() - np.concatenate([[0.0], np.cumsum(variance)[: m - 1]])  # beyond the first k axes
    noise = np.maximum(left / (d - np.arange(m)), MIN_NOISE_VARIANCE)
    variance = np.maximum(variance[: m - 1], MIN_NOISE_VARIANCE)
    squares = np.square(test @ axes[: m - 1].T)  # (n, m - 1)
    along = np.cumsum(np.log(variance) + squares / variance, 1)
    outside = np.square(test).sum(1)[:, None] - np.cumsum(squares, 1)
    along, outside = (
        np.concatenate([first, rest], 1)
        for first, rest in (
            (np.zeros((len(test), 1)), along),
            (np.square(test).sum(1)[:, None], np.maximum(outside, 0.0)),
        )
    )
    rest = (d - np.arange(m)) * np.log(noise) + outside / noise
    return -0.5 * (along + rest + d * math.log(2 * math.pi))


def auto_latent_dim(x: np.ndarray, c: np.ndarray | None, seed: int) -> int:
    """The size of a code for rows (n, d): the smallest within one standard error of the best held-out likelihood."""
    if x.shape[1] <= MIN_AUTO_LATENT_DIM or len(x) < 2 * FOLDS:
        return min(x.shape[1], MIN_AUTO_LATENT_DIM)
    curve = held_out_curve(x, c, seed)
    best = int(curve.mean(0).argmax())
    loss = curve[:, [best]] - curve  # (n, m)
    close = loss.mean(0) <= loss.std(0) / math.sqrt(len(loss))
    return int(np.clip(np.argmax(close), MIN_AUTO_LATENT_DIM, min(MAX_AUTO_LATENT_DIM, x.shape[1])))


def linear_maps(model: LatentModel) -> tuple[nn.Linear, nn.Linear] | None:
    """The linear layers of encoder and decoder; None if a model has none on either side, or another posterior."""
    maps = []
    for part in (model.posterior, model.likelihood):
        net = getattr(part, "net", None)
        net = net.net if isinstance(net, Preprocess) else net
        layer = net.linear_map() if isinstance(net, MLP) else None
        if layer is None:
            return None
        maps.append(layer)
    family = model.posterior.family
    usable = isinstance(family, DiagonalNormal) or (isinstance(family, Point) and family.rule is None)
    return (maps[0], maps[1]) if usable else None


@torch.no_grad()
def start_at_linear_model(model: LatentModel, linear: LinearModel) -> bool:
    """Set linear paths, posterior scales and noise to a linear model; False, and nothing is set, where that cannot be.

    With W' W = kept along orthonormal axes, q(z given x) of the linear model has the precision 1 + kept / noise and the
    mean W Ψ^-1 (x - mean) / precision, where Ψ is the noise's variance (Tipping & Bishop, 1999, equation 6).
    """
    maps = linear_maps(model)
    if maps is None:
        return False
    encoder, decoder = maps
    family, event = model.likelihood.family, model.likelihood.event_shape
    if math.prod(event) != len(linear.mean):  # what the encoder reads is not laid out as x is
        return False
    point = isinstance(model.posterior.family, Point)
    # A point code has unit variance: the whole variance along an axis is kept.
    floor = MIN_NOISE_VARIANCE
    kept = np.maximum(linear.variance, floor) if point else linear.kept
    weight = np.sqrt(kept)[:, None] * linear.axes * linear.scale  # (D, d)
    noise = torch.as_tensor(linear.noise * np.square(linear.scale)).reshape(event)
    start = family.start_linear(
        torch.as_tensor(weight).reshape(-1, *event), torch.as_tensor(linear.mean).reshape(event), noise
    )
    if start is None:
        return False
    total = kept if point else kept + linear.noise
    encode = (np.sqrt(kept) / total)[:, None] * linear.axes / linear.scale  # (D, d)
    bias = -encode @ linear.mean
    with_condition = -encode @ linear.coefficients.T  # (D, C)
    rows = np.concatenate([encode, with_condition], 1)
    if not point:
        rows = np.concatenate([rows, np.zeros_like(rows)])
        bias = np.concatenate([bias, 0.5 * (math.log(linear.noise) - np.log(total))])
    encoder.weight.copy_(torch.as_tensor(rows))
    encoder.bias.copy_(torch.as_tensor(bias))
    decode = start.weight.flatten(1).T  # (raw, D)
    if len(linear.coefficients):
        given = family.start_linear(
            torch.as_tensor(linear.coefficients).reshape(-1, *event), torch.as_tensor(linear.mean).reshape(event), noise
        )
        assert given is not None
        decode = torch.cat([decode, given.weight.flatten(1).T], 1)
    decoder.weight.copy_(decode)
    decoder.bias.copy_(start.bias.flatten())
    return True


class CodeMixture(NamedTuple):
    """A mixture of diagonal normals over the codes of a linear model."""

    weights: np.ndarray
    """(k,)"""
    means: np.ndarray
    """(k, D)"""
    variances: np.ndarray
    """(k, D)"""


def coordinates(x: np.ndarray, linear: LinearModel) -> np.ndarray:
    """(n, D) rows along the axes, in units of their standard deviation there."""
    return (x - linear.mean) / linear.scale @ linear.axes.T / np.sqrt(np.maximum(linear.variance, MIN_NOISE_VARIANCE))


def auto_prior(x: np.ndarray, latent_dim: int, seed: int) -> str:
    """ "normal", or "mixture(k)" where a mixture is clearly more likely on held-out rows (n, d)."""
    order = np.random.default_rng(seed).permutation(len(x))
    valid, train = np.split(order, [len(x) // FOLDS])
    if len(valid) < 2 or not latent_dim:
        return "normal"
    linear = fit_linear_model(x[train], None, min(latent_dim, x.shape[1], len(train) - 1), False)
    along, held_out = coordinates(x[train], linear), coordinates(x[valid], linear)
    normal = -0.5 * (np.square(held_out) + math.log(2 * math.pi)).sum(1)
    best, values = 1, normal
    for k in MIXTURE_COMPONENTS:
        if k * MIN_ROWS_PER_COMPONENT > len(train):
            break
        scores = log_mixture(held_out, *fit_diagonal_mixture(along, k, seed))
        gain = scores - values
        if gain.mean() > CLEAR_GAIN_ERRORS * gain.std() / math.sqrt(len(gain)):
            best, values = k, scores
    return f"mixture({best})" if best > 1 else "normal"


def log_mixture(x: np.ndarray, weights: np.ndarray, means: np.ndarray, variances: np.ndarray) -> np.ndarray:
    """(n,) log-density of rows (n, D) under a mixture of diagonal normals, nats."""
    each = -0.5 * (np.square(x[:, None] - means) / variances + np.log(2 * math.pi * variances)).sum(-1)  # (n, k)
    return np.asarray(scipy.special.logsumexp(each + np.log(weights), axis=1))


def code_mixture(x: np.ndarray, linear: LinearModel, k: int, seed: int) -> CodeMixture:
    """k components for the prior, so that the linear model has the density of a mixture fitted along its axes.

    Along an axis x = sqrt(kept) z + noise: a component of mean m and variance v there has codes of mean m / sqrt(kept)
    and variance (v - noise) / kept.
    """
    weights, means, variances = fit_diagonal_mixture(coordinates(x, linear), k, seed)
    spread, kept = np.maximum(linear.variance, MIN_NOISE_VARIANCE), linear.kept
    means = means * np.sqrt(spread / kept)
    variances = np.maximum((variances * spread - linear.noise) / kept, MIN_CODE_VARIANCE)
    unused = linear.variance <= linear.noise
    means[:, unused], variances[:, unused] = 0.0, 1.0
    return CodeMixture(weights, means, variances)
