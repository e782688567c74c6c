"""KL(q || p) in closed form, by the types of q and p."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from isthmus.distributions.categories import OneHotCategories, UniformCategories
from isthmus.distributions.continuous import Normal, exp
from isthmus.distributions.labelled import LabelledNormal, LabelledPrior
from isthmus.distributions.latent import CorrelatedNormal, NoCode
from isthmus.distributions.quantized import QuantizedCode, SymbolSequence
from isthmus.distributions.sphere import UniformSphere, VonMisesFisher, log_area

Divergence = Callable[[Any, Any], Tensor]
DIVERGENCES: dict[tuple[type, type], Divergence] = {}
"""Closed forms of KL(q || p) by the types of q and p; a new pair is one entry."""


def closed_form(q: type, p: type) -> Callable[[Divergence], Divergence]:
    """Register a function as KL(q || p) of these types: (B, L) nats per latent dimension or group."""

    def register(function: Divergence) -> Divergence:
        DIVERGENCES[q, p] = function
        return function

    return register


def kl_divergence(q: Any, p: Any) -> Tensor | None:
    """KL(q || p) in nats per latent dimension or group, (B, L), or None where no closed form is known."""
    for q_type in type(q).__mro__:
        for p_type in type(p).__mro__:
            if (q_type, p_type) in DIVERGENCES:
                return DIVERGENCES[q_type, p_type](q, p)
    return None


@closed_form(Normal, Normal)
def normal_kl(q: Normal, p: Normal) -> Tensor:
    """KL(q || p) of each element, nats."""
    log_ratio = q.log_scale - p.log_scale
    distance = (q.loc - p.loc) * exp(-p.log_scale)
    return 0.5 * (exp(2 * log_ratio) + distance.square() - 1) - log_ratio


@closed_form(CorrelatedNormal, Normal)
def correlated_normal_kl(q: CorrelatedNormal, p: Normal) -> Tensor:
    """KL(q || p), nats: of each element given those before it, and how far it depends on these."""
    scale = exp(-p.log_scale)
    distance, spread = (q.loc - p.loc) * scale, q.std * scale
    return 0.5 * (spread.square() + distance.square() - 1) - (q.factor.diagonal(dim1=-2, dim2=-1) * scale).log()


@closed_form(LabelledNormal, LabelledPrior)
def labelled_kl(q: LabelledNormal, p: LabelledPrior) -> Tensor:
    """(B, 1 + D) KL(q || p), nats: of the class, then of each number, its mean over classes."""
    share = q.share
    of_class = (share * (q.log_share - p.log_p)).sum(-1, keepdim=True)
    each = 0.5 * ((2 * q.log_scale).exp() + q.loc.square() - 1) - q.log_scale  # (B, E, D)
    return torch.cat([of_class, (share[..., None] * each).sum(1)], -1)


@closed_form(QuantizedCode, SymbolSequence)
def quantized_kl(q: QuantizedCode, p: SymbolSequence) -> Tensor:
    """(B, S) nats of each symbol given those before it: -log p, for q has no entropy."""
    return -p.symbol_log_prob(q.index)


@closed_form(VonMisesFisher, UniformSphere)
def sphere_kl(q: VonMisesFisher, p: UniformSphere) -> Tensor:
    """(B, 1) nats: the mean of log q, kappa (E[cos] - 1) and the density at the mode, above log p."""
    log_ratio = log_area(q.dim) - log_area(q.dim - 1) - q.log_z  # in double precision: areas cancel
    return (log_ratio + q.kappa.double() * (q.cosine - 1)).to(q.kappa.dtype)


@closed_form(OneHotCategories, UniformCategories)
def categories_kl(q: OneHotCategories, p: UniformCategories) -> Tensor:
    """(B, V) nats of each variable: log k less its entropy."""
    return (q.log_p.exp() * (q.log_p + math.log(p.k))).sum(-1)


@closed_form(NoCode, NoCode)
def no_kl(q: NoCode, p: NoCode) -> Tensor:
    """(B, 0): there are no dimensions."""
    return q.empty
