"""Families of codes."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from isthmus.distributions import continuous
from isthmus.distributions.categories import OneHotCategories
from isthmus.distributions.flow import Flowed
from isthmus.distributions.latent import CorrelatedNormal, Delta
from isthmus.distributions.quantized import QuantizedCode
from isthmus.distributions.sphere import VonMisesFisher
from isthmus.errors import InputError
from isthmus.families.family import Family
from isthmus.nets.flow import Flow

CONTEXT_SIZE = 32
"""Numbers of each row that the maps of its posterior read."""

MAX_CONCENTRATION = 5000.0
"""Of codes on a sphere, which then lie within a few degrees of the mode."""


class DiagonalNormal(Family):
    """A mean and a log-scale for each element by the network: the usual posterior.

    Args:
        event_shape: shape of a code.
        log_scale_limits: between which log-scales are kept, so that no step of training overflows; infinite to take
            them as they are, of networks that were trained elsewhere.
    """

    formula = "z ~ N(mean(x), diag scale(x)²)"
    raw_per_element = 2
    scale_per_element = True
    pair: tuple[str, ...] = ("mean", "log_variance")

    def __init__(self, event_shape: tuple[int, ...], log_scale_limits: tuple[float, float] = (-15.0, 10.0)):
        super().__init__(event_shape)
        self.log_scale_limits = log_scale_limits

    def from_pair(self, mean: Tensor, log_variance: Tensor) -> Tensor:
        return torch.stack([mean, 0.5 * log_variance], -1 - self.event_dim)

    def forward(self, raw: Tensor):
        loc, log_scale = self.split(raw)
        if math.isinf(self.log_scale_limits[0]):
            return continuous.NarrowNormal(loc, log_scale, self.event_dim)
        return continuous.Normal(loc, log_scale.clamp(*self.log_scale_limits), self.event_dim)


class FullNormal(DiagonalNormal):
    """A mean, a log-scale and all slopes by the network: elements of a code may depend on each other given x.

    Args:
        event_shape: (D,).
    """

    formula = "z ~ N(mean(x), factor(x) factor(x)ᵀ)"
    pair: tuple[str, ...] = ()

    below: Tensor

    def __init__(self, event_shape: tuple[int, ...]):
        super().__init__(event_shape)
        if len(self.event_shape) != 1:
            raise InputError(f"codes of FullNormal must be vectors, got event_shape {self.event_shape}.")
        (d,) = self.event_shape
        row, column = torch.tril_indices(d, d, -1)
        self.register_buffer("below", row * d + column, persistent=False)

    @property
    def raw_shape(self) -> tuple[int, ...]:
        return (2 * self.event_shape[0] + len(self.below),)

    def forward(self, raw: Tensor):
        (d,) = self.event_shape
        loc, log_scale, slopes = raw.split([d, d, len(self.below)], -1)
        triangle = raw.new_zeros(*raw.shape[:-1], d * d).index_copy(-1, self.below, slopes).unflatten(-1, (d, d))
        scale = log_scale.clamp(*self.log_scale_limits).exp()
        return CorrelatedNormal(loc, torch.diag_embed(scale) + scale[..., None] * triangle)


class FlowNormal(DiagonalNormal):
    """A mean and a log-scale by the network, then a flow that reads further numbers of it (Kingma et al., 2016).

    Args:
        event_shape: (D,).
        k: number of maps.
        spline: whether the maps are couplings by splines, whose density is as fast as their draws; otherwise they are
            affine and autoregressive. The density of these at other points than their draws takes D passes a map.
    """

    formula = "z = flow(e; x), e ~ N(mean(x), diag scale(x)²)"
    pair: tuple[str, ...] = ()

    def __init__(self, event_shape: tuple[int, ...], k: int, spline: bool):
        super().__init__(event_shape)
        if len(self.event_shape) != 1:
            raise InputError(f"codes of a flow must be vectors, got event_shape {self.event_shape}.")
        self.flow = Flow(self.event_shape[0], k, CONTEXT_SIZE, spline=spline, coupling=spline)

    @property
    def raw_shape(self) -> tuple[int, ...]:
        return (2 * self.event_shape[0] + CONTEXT_SIZE,)

    def forward(self, raw: Tensor):
        (d,) = self.event_shape
        loc, log_scale, context = raw.split([d, d, CONTEXT_SIZE], -1)
        return Flowed(continuous.Normal(loc, log_scale.clamp(*self.log_scale_limits)), self.flow, context)


class Hyperspherical(Family):
    """A mode on the unit sphere and a concentration by the network (Davidson et al., 2018).

    Args:
        event_shape: (D,), D >= 2.
    """

    formula = "z ~ vMF(mode(x), concentration(x))"
    code_space = "sphere"

    first: Tensor

    def __init__(self, event_shape: tuple[int, ...]):
        super().__init__(event_shape)
        if len(self.event_shape) != 1 or self.event_shape[0] < 2:
            raise InputError(
                "latent_dim must be an integer >= 2 with posterior='hyperspherical', whose codes lie on a sphere, got "
                f"{math.prod(self.event_shape)}."
            )
        first = torch.zeros(self.event_shape)
        first[0] = 1e-6  # the mode of an output of zero
        self.register_buffer("first", first, persistent=False)

    @property
    def raw_shape(self) -> tuple[int, ...]:
        return (self.event_shape[0] + 1,)

    def forward(self, raw: Tensor):
        loc = nn.functional.normalize(raw[..., :-1] + self.first, dim=-1)
        return VonMisesFisher(loc, (1 + nn.functional.softplus(raw[..., -1:])).clamp(max=MAX_CONCENTRATION))


class OneHot(Family):
    """Categories: each of several variables is one of k, by its log-probabilities (Jang et al., 2017).

    Args:
        event_shape: (D,), D a multiple of k.
        k: categories of a variable.
        temperature: of the softmax whose gradient draws pass on.
    """

    formula = "z[v] ~ Categorical(p(x)[v])"
    code_space = "categories"
    discrete = True

    def __init__(self, event_shape: tuple[int, ...], k: int = 10, temperature: float = 1.0):
        super().__init__(event_shape)
        (size,) = self.event_shape
        if type(k) is not int or k < 2:
            raise InputError(f"k must be an integer >= 2, the categories of a variable, got {k}.")
        if size % k:
            raise InputError(f"latent_dim must be a multiple of k, the categories of a variable, got {size} and k={k}.")
        if not 0 < temperature < math.inf:
            raise InputError(f"t must be a number > 0, the temperature of draws, got {temperature}.")
        self.k, self.temperature = k, float(temperature)

    def forward(self, raw: Tensor):
        return OneHotCategories(raw.unflatten(-1, (-1, self.k)).log_softmax(-1), self.temperature)


class Point(Family):
    """A point: the code of a plain autoencoder; `rule` makes it sparse."""

    formula = "z = f(x)"
    has_density = False

    def __init__(self, event_shape, rule: nn.Module | None = None):
        super().__init__(event_shape)
        self.rule = rule
        self.learns = bool(getattr(rule, "learns", False))

    def forward(self, raw: Tensor, train: bool = False):
        (value,) = self.split(raw)
        if self.rule is None:
            return Delta(value, self.event_dim)
        code = self.rule(value, train=True) if train and self.learns else self.rule(value)
        return Delta(code, self.event_dim, raw=value, rule=self.rule)


class Quantized(Family):
    """The nearest of finitely many codes.

    Args:
        quantizer: a module of (..., raw_size) to codes (..., size), their symbols (..., S), and what was quantized
            (..., size).
    """

    formula = "z = nearest code to f(x)"
    discrete = True

    def __init__(self, quantizer: Any):
        super().__init__((quantizer.size,))
        self.quantizer = quantizer
        self.learns = bool(quantizer.learns)

    @property
    def raw_shape(self) -> tuple[int, ...]:
        return (self.quantizer.raw_size,)

    def forward(self, raw: Tensor, train: bool = False):
        return QuantizedCode(*(self.quantizer(raw, train=True) if train and self.learns else self.quantizer(raw)))
