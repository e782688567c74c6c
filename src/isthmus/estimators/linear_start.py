"""Training starts at the linear model of the data."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from isthmus.distributions.mixture_fit import fit_diagonal_mixture
from isthmus.estimators.linear_model import MIN_NOISE_VARIANCE, LinearModel
from isthmus.families import DiagonalNormal, Point
from isthmus.latent_model import LatentModel
from isthmus.nets.layers import Preprocess
from isthmus.nets.mlp import MLP

MIN_CODE_VARIANCE = 1e-2
"""Smallest variance of a component of the prior at the start, in units of all codes' variance."""


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


def code_mixture(x: np.ndarray, linear: LinearModel, k: int, seed: int) -> CodeMixture:
    """k components for the prior, so that the linear model has the density of a mixture fitted along its axes.

    Along an axis x = sqrt(kept) z + noise: a component of mean m and variance v there has codes of mean m / sqrt(kept)
    and variance (v - noise) / kept.
    """
    weights, means, variances = fit_diagonal_mixture(linear.coordinates(x), k, seed)
    spread, kept = np.maximum(linear.variance, MIN_NOISE_VARIANCE), linear.kept
    means = means * np.sqrt(spread / kept)
    variances = np.maximum((variances * spread - linear.noise) / kept, MIN_CODE_VARIANCE)
    unused = linear.variance <= linear.noise
    means[:, unused], variances[:, unused] = 0.0, 1.0
    return CodeMixture(weights, means, variances)
