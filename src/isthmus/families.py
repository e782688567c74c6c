"""Families: from a network's raw output to a distribution over an event."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from isthmus.distributions import columns, continuous, discrete
from isthmus.distributions.latent import CorrelatedNormal, Delta
from isthmus.errors import InputError
from isthmus.scales import LOG_SCALE_RATE, SCALE_FLOOR, FixedScale, LearnedScale

MIN_MEAN_COUNT = 1e-2
"""Mean that a column of zeros is taken to have."""
MAX_LOG_MEAN_COUNT = 35.0
"""Upper limit of a log-mean: e^35 is 1.6e15."""
MIN_START_RATE, MIN_START_VARIANCE = 1e-3, 0.05
"""Rate of a bit, and its variance p (1 - p), that a linear start takes at least."""


class Family(nn.Module):
    """Raw output of `raw_shape` for each example to a distribution over `event_shape`.

    Most families need `raw_per_element` numbers for each element; one that needs another shape overrides `raw_shape`.
    """

    raw_per_element = 1
    has_density = True
    """Whether its distributions have a log-density."""
    learns = False
    """Whether it learns from the batches of training beside gradients: then `forward` takes `train=True` there."""
    discrete = False
    """As a posterior: whether codes are discrete, so that no gradient can move them."""
    scale_per_element = False
    """As a likelihood: whether each element of x has a scale of its own, so that wide columns do not dominate."""
    formula = ""
    """The distribution as a formula, of an element x given a network's output."""
    pair: tuple[str, ...] = ()
    """What a network may return instead of one tensor of `raw_shape`: two tensors of the event's shape, by name."""

    def __init__(self, event_shape: tuple[int, ...]):
        super().__init__()
        self.event_shape = tuple(event_shape)
        self.event_dim = len(self.event_shape)

    @property
    def raw_shape(self) -> tuple[int, ...]:
        """Shape of a network's output for one example; a dimension of one would cost copies in the gradient."""
        return self.event_shape if self.raw_per_element == 1 else (self.raw_per_element, *self.event_shape)

    @property
    def raw_numel(self) -> int:
        """Numbers in a network's output for one example."""
        return math.prod(self.raw_shape)

    def learned(self) -> dict[str, Tensor]:
        """Parameters that are learned beside the network, by name, as they enter the distribution."""
        return {}

    def normal_scale(self) -> NormalScale | None:
        """The scale of x around its location if x is normal with a scale that no network gives; else None."""
        return None

    def start_linear(self, weight: Tensor, mean: Tensor, noise: Tensor) -> LinearStart | None:
        """Start as a likelihood at x = z W + mean + normal noise: set what is learned beside the network.

        Args:
            weight: (D, *event) W, double precision, of x as the encoder reads it.
            mean: (*event) of x as the encoder reads it.
            noise: (*event) variances of the noise.

        Returns:
            What a linear network has to start from; None if this family has no such start.
        """
        return None

    def from_pair(self, first: Tensor, second: Tensor) -> Tensor:
        """(*batch, *raw_shape) of the two tensors (*batch, *event) that `pair` names."""
        raise NotImplementedError(f"{type(self).__name__} is not given by a pair of tensors")

    def split(self, raw: Tensor) -> tuple[Tensor, ...]:
        """(*batch, *raw_shape) to `raw_per_element` tensors (*batch, *event)."""
        return (raw,) if self.raw_per_element == 1 else raw.unbind(-1 - self.event_dim)


class NormalScale(NamedTuple):
    """The scale of normal elements, in the units that networks read."""

    log_scale: Tensor
    """() or (*event), double precision."""
    fixed: bool
    """Whether it was set before training instead of learned."""


class LinearStart(NamedTuple):
    """A linear network from codes to raw outputs."""

    weight: Tensor
    """(D, *raw_shape)."""
    bias: Tensor
    """(*raw_shape)."""


class LocationScale(Family):
    """A location for each element by the network, and one scale.

    Args:
        distribution: `Normal` or `Laplace`.
        event_shape: shape of x.
        scale: "shared" (one learned scale), "feature" (one learned scale an element), or a fixed number in the units
            that networks read.
    """

    formula = "x ~ p((x - location(z)) / scale) / scale"

    def __init__(self, distribution, event_shape, scale: str | float = "shared"):
        super().__init__(event_shape)
        self.distribution = distribution
        self.log_scale = scale_module(scale, self.event_shape)
        self.scale_per_element = scale == "feature"
        self.formula = f"x ~ {distribution.__name__}(location(z), scale)"

    def learned(self) -> dict[str, Tensor]:
        return {"scale": torch.as_tensor(self.log_scale()).exp()}

    def normal_scale(self) -> NormalScale | None:
        if not self.distribution.is_diagonal_normal:
            return None
        return NormalScale(torch.as_tensor(self.log_scale(), dtype=torch.float64), bool(self.log_scale.fixed))

    def start_linear(self, weight: Tensor, mean: Tensor, noise: Tensor) -> LinearStart | None:
        if isinstance(self.log_scale, LearnedScale):
            per_variance = 1.0 if self.distribution.is_diagonal_normal else 0.5  # a Laplace's variance: 2 scale²
            variance = noise if self.scale_per_element else noise.mean()
            self.log_scale.start_at((per_variance * variance).sqrt())
        return LinearStart(weight, mean)

    def forward(self, raw: Tensor):
        return self.distribution(self.split(raw)[0], self.log_scale(), self.event_dim)


def scale_module(scale: str | float, event_shape: tuple[int, ...]) -> nn.Module:
    """The module behind "shared", "feature" or a fixed number."""
    if isinstance(scale, str):
        return LearnedScale(event_shape if scale == "feature" else ())
    return FixedScale(scale)


class StudentT(Family):
    """Heavy tails: location by the network, one shared learned scale and degrees of freedom (at least 1)."""

    formula = "x ~ StudentT(degrees of freedom, location(z), scale)"

    def __init__(self, event_shape):
        super().__init__(event_shape)
        self.log_scale = LearnedScale()
        self.raw_df = nn.Parameter(torch.tensor(4.0 / LOG_SCALE_RATE))

    def learned(self) -> dict[str, Tensor]:
        return {"scale": self.log_scale().exp(), "degrees of freedom": self.degrees_of_freedom()}

    def degrees_of_freedom(self) -> Tensor:
        return 1 + nn.functional.softplus(LOG_SCALE_RATE * self.raw_df)

    def start_linear(self, weight: Tensor, mean: Tensor, noise: Tensor) -> LinearStart | None:
        df = float(self.degrees_of_freedom())  # at the start above 2: the variance is scale² df / (df - 2)
        self.log_scale.start_at((noise.mean() * (df - 2) / df).sqrt())
        return LinearStart(weight, mean)

    def forward(self, raw: Tensor):
        df = self.degrees_of_freedom()
        return continuous.StudentT(self.split(raw)[0], self.log_scale(), df, self.event_dim)


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


class Bernoulli(Family):
    """Bits."""

    formula = "x ~ Bernoulli(p(z))"

    def start_linear(self, weight: Tensor, mean: Tensor, noise: Tensor) -> LinearStart | None:
        # d logit(p) / dp = 1 / (p (1 - p)) at the mean; rare bits would get slopes that a few rows decide.
        p = mean.clamp(MIN_START_RATE, 1 - MIN_START_RATE)
        return LinearStart(weight / (p * (1 - p)).clamp(min=MIN_START_VARIANCE), p.logit())

    def forward(self, raw: Tensor):
        return discrete.Bernoulli(self.split(raw)[0], self.event_dim)


class CrossEntropy(Bernoulli):
    """Numbers between 0 and 1 by the cross-entropy, which is no log-density."""

    formula = "loss: cross-entropy of x and p(z)"
    has_density = False

    def forward(self, raw: Tensor):
        return discrete.CrossEntropy(self.split(raw)[0], self.event_dim)


class ContinuousBernoulli(Family):
    """Numbers on [0, 1]; logits are bounded, for a pixel that is always 0 would have an unbounded density."""

    formula = "x ~ ContinuousBernoulli(logit(z))"

    def forward(self, raw: Tensor):
        logits = self.split(raw)[0].clamp(-1 / SCALE_FLOOR, 1 / SCALE_FLOOR)
        return continuous.ContinuousBernoulli(logits, self.event_dim)


class LevelFamily(Family):
    """Grey levels 0..k-1."""

    def __init__(self, event_shape, levels: int):
        super().__init__(event_shape)
        if levels < 2:
            raise InputError(f"levels must be an integer >= 2, got {levels}.")
        self.levels = levels


class Categorical(LevelFamily):
    """A free probability for each level; `ordered=False` says that levels are names, not numbers."""

    formula = "x ~ Categorical(p(z))"

    def __init__(self, event_shape, levels: int, ordered: bool = True):
        super().__init__(event_shape, levels)
        self.ordered = ordered
        self.raw_per_element = levels

    def forward(self, raw: Tensor):
        return discrete.Categorical(raw.movedim(-1 - self.event_dim, -1), self.event_dim, self.ordered)


class DiscretizedLogistic(LevelFamily):
    """A rounded logistic; an untrained network puts its location mid-grey."""

    formula = "x ~ Logistic(location(z), scale(z)), rounded to levels"
    raw_per_element = 2

    def start_linear(self, weight: Tensor, mean: Tensor, noise: Tensor) -> LinearStart | None:
        log_scale = 0.5 * noise.clamp(min=0.25 / self.levels**2).log() + math.log(math.sqrt(3) / math.pi)
        raw_scale = log_scale + 1.5
        return LinearStart(
            torch.stack([weight, torch.zeros_like(weight)], 1), torch.stack([mean - 0.5, raw_scale.expand_as(mean)])
        )

    def forward(self, raw: Tensor):
        loc, log_scale = self.split(raw)
        # Two levels wide at the least sharp start; never finer than a hundredth of a level.
        floor = math.log(0.01 / (self.levels - 1))
        return discrete.DiscretizedLogistic(loc + 0.5, (log_scale - 1.5).clamp(floor, 5), self.levels, self.event_dim)


class BetaBinomial(LevelFamily):
    """An overdispersed binomial, by a logit and a log-concentration."""

    formula = "x ~ BetaBinomial(k - 1, a(z), b(z))"
    raw_per_element = 2

    def forward(self, raw: Tensor):
        logit, log_c = self.split(raw)
        log_c = (log_c + 1).clamp(-7, 12)
        sigmoid = nn.functional.logsigmoid
        return discrete.BetaBinomial(
            (log_c + sigmoid(logit)).clamp(min=-12),
            (log_c + sigmoid(-logit)).clamp(min=-12),
            self.levels,
            self.event_dim,
        )


class CountFamily(Family):
    """Counts whose log-mean the network gives relative to the log of `mean`, mean counts (*event) or one for all.

    Weights move by at most the learning rate a step: large counts would be out of reach of a log-mean that starts at 0.
    """

    log_base_rate: Tensor

    def __init__(self, event_shape, mean: Any = 1.0):
        super().__init__(event_shape)
        log_base_rate = torch.tensor(np.asarray(mean), dtype=torch.get_default_dtype()).clamp(min=MIN_MEAN_COUNT).log()
        self.register_buffer("log_base_rate", log_base_rate.expand(self.event_shape).clone())

    def start_linear(self, weight: Tensor, mean: Tensor, noise: Tensor) -> LinearStart | None:
        # The encoder reads log(1 + x). E[exp(z W)] = exp(|W|² / 2) for z ~ N(0, I): the mean count stays as it is.
        return LinearStart(weight, -0.5 * weight.square().sum(0))

    def log_mean(self, raw: Tensor) -> Tensor:
        """(*batch, *event) log of the mean, bounded so that no mean overflows."""
        return (self.split(raw)[0] + self.log_base_rate).clamp(max=MAX_LOG_MEAN_COUNT)


class Poisson(CountFamily):
    """Counts whose variance is their mean."""

    formula = "x ~ Poisson(rate(z))"

    def forward(self, raw: Tensor):
        return discrete.Poisson(self.log_mean(raw), self.event_dim)


class NegativeBinomial(CountFamily):
    """Overdispersed counts: mean by the network, one learned dispersion a feature."""

    formula = "x ~ NegativeBinomial(mean(z), size)"

    def __init__(self, event_shape, mean: Any = 1.0):
        super().__init__(event_shape, mean)
        self.raw_size = nn.Parameter(torch.zeros(self.event_shape))

    def start_linear(self, weight: Tensor, mean: Tensor, noise: Tensor) -> LinearStart | None:
        # By the delta method the variance of log(1 + x) is about (1 / mean + 1 / size) (mean / (1 + mean))².
        rate = self.log_base_rate.double().exp()
        inverse = (noise * ((1 + rate) / rate).square() - 1 / rate).clamp(1e-3, 1e2)
        with torch.no_grad():
            self.raw_size.copy_(-inverse.log() / LOG_SCALE_RATE)
        return super().start_linear(weight, mean, noise)

    def log_size(self) -> Tensor:
        """(*event) log of the size r: the variance is mean + mean^2 / r."""
        return (LOG_SCALE_RATE * self.raw_size).clamp(-8, 12)

    def learned(self) -> dict[str, Tensor]:
        return {"size": self.log_size().exp()}

    def forward(self, raw: Tensor):
        return discrete.NegativeBinomial(self.log_mean(raw), self.log_size(), self.event_dim)


class Columns(Family):
    """Blocks of columns side by side, each with its own family over (d_i,)."""

    parts: Any

    def __init__(self, parts: Sequence[Family]):
        super().__init__((sum(part.event_shape[0] for part in parts),))
        self.parts = nn.ModuleList(parts)
        self.has_density = all(part.has_density for part in parts)
        self.scale_per_element = all(part.scale_per_element or part.event_shape == (1,) for part in parts)

    @property
    def raw_shape(self) -> tuple[int, ...]:
        return (sum(part.raw_numel for part in self.parts),)

    def forward(self, raw: Tensor):
        blocks = raw.split([part.raw_numel for part in self.parts], -1)
        return columns.Columns([part(b.unflatten(-1, part.raw_shape)) for part, b in zip(self.parts, blocks)])
