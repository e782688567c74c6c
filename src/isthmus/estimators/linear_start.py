"""Training starts at the linear model of the data."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from isthmus.estimators.linear_model import MIN_NOISE_VARIANCE, LinearModel
from isthmus.families import DiagonalNormal, Point
from isthmus.latent_model import LatentModel, Model
from isthmus.nets.layers import Preprocess
from isthmus.nets.mlp import MLP

MIN_READ_SHARE = 1e-12
"""Variance along an axis that a code without noise reads, at least, in units of the largest: less is rounding."""


def linear_maps(model: Model, linear: LinearModel) -> tuple[nn.Linear, nn.Linear] | None:
    """The linear layers of encoder and decoder; None where they cannot be a linear model's.

    They cannot where a model has no such layer on either side, layers of other sizes, or another kind of posterior.
    """
    if not isinstance(model, LatentModel):
        return None
    family, maps = getattr(model.posterior, "family", None), []
    if not (isinstance(family, DiagonalNormal) or (isinstance(family, Point) and family.rule is None)):
        return None
    for part in (model.posterior, model.likelihood):
        net = getattr(part, "net", None)
        net = net.net if isinstance(net, Preprocess) else net
        layer = net.linear_map() if isinstance(net, MLP) else None
        if layer is None:
            return None
        maps.append(layer)
    encoder, decoder = maps
    raw, event = model.likelihood.family.raw_shape, model.likelihood.event_shape
    (size, d), given = linear.axes.shape, len(linear.coefficients)
    fits = (
        math.prod(event) == d  # what the encoder reads is laid out as x is
        and (encoder.in_features, decoder.in_features) == (d + given, size + given)
        and encoder.out_features == family.raw_numel
        and decoder.out_features == math.prod(raw)
    )
    return (encoder, decoder) if fits else None


@torch.no_grad()
def start_at_linear_model(model: Model, linear: LinearModel) -> bool:
    """Set linear paths, posterior scales and noise to a linear model; False, and nothing is set, where that cannot be.

    With W' W = kept along orthonormal axes, q(z given x) of the linear model has the precision 1 + kept / noise and the
    mean W Ψ^-1 (x - mean) / precision, where Ψ is the noise's variance (Tipping & Bishop, 1999, equation 6).
    """
    maps = linear_maps(model, linear)
    if maps is None:
        return False
    assert isinstance(model, LatentModel)
    encoder, decoder = maps
    family, event = model.likelihood.family, model.likelihood.event_shape
    point = isinstance(model.posterior.family, Point)
    # A point code has unit variance: the whole variance along an axis is kept.
    kept = np.maximum(linear.variance, MIN_NOISE_VARIANCE) if point else linear.kept
    weight = np.sqrt(kept)[:, None] * linear.axes * linear.scale  # (D, d)
    noise = torch.as_tensor(linear.noise * np.square(linear.scale)).reshape(event)
    start = family.start_linear(
        torch.as_tensor(weight).reshape(-1, *event), torch.as_tensor(linear.mean).reshape(event), noise
    )
    if start is None:
        return False
    total = kept if point else kept + linear.noise
    read = np.sqrt(kept) / total  # (D,)
    if point:  # an axis along which only rounding varies is not read: of other rows it would be huge
        read = np.where(linear.variance > MIN_READ_SHARE * linear.variance.max(initial=0.0), read, 0.0)
    encode = read[:, None] * linear.axes / linear.scale  # (D, d)
    bias = -encode @ linear.mean
    with_condition = -encode @ linear.coefficients.T  # (D, C)
    rows = np.concatenate([encode, with_condition], 1)
    if not point:
        free = encoder.out_features - len(rows)  # log-scales, and slopes where there are any
        rows = np.concatenate([rows, np.zeros((free, rows.shape[1]))])
        bias = np.concatenate([bias, 0.5 * (math.log(linear.noise) - np.log(total)), np.zeros(free - len(total))])
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
