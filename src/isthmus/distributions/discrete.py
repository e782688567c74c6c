"""Distributions of bits, grey levels (x on the grid 0, 1/(k-1), ..., 1) and counts, and the cross-entropy of shares."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from isthmus.distributions.continuous import softplus
from isthmus.distributions.independent import Independent
from isthmus.random_streams import generator, uniform


class Bernoulli(Independent):
    """Bits, by their logits."""

    def __init__(self, logits: Tensor, event_dim: int = 1):
        super().__init__(logits.shape, event_dim)
        self.logits = logits

    @property
    def mean(self) -> Tensor:
        return self.logits.sigmoid()

    def element_log_prob(self, x: Tensor) -> Tensor:
        return x * self.logits - softplus(self.logits)

    def sample(self, sample_shape=()) -> Tensor:
        shape = self.shape_of(sample_shape)
        return (uniform(shape, self.logits) < self.mean).to(self.logits.dtype)


class CrossEntropy(Bernoulli):
    """Numbers between 0 and 1 by the cross-entropy of bits: `log_prob` is minus that, and no log-density.

    exp(-cross-entropy) has no integral of 1 over such numbers, so there is nothing to draw: a draw is the mean.
    """

    has_density = False

    def sample(self, sample_shape=()) -> Tensor:
        return self.mean.expand(self.shape_of(sample_shape))


CACHED_NUMBERS = 2**19
"""Numbers of a large array that are worked on at once."""


class Levels(Independent):
    """Levels 0..k-1, given as x = level / (k - 1)."""

    def __init__(self, shape: torch.Size, event_dim: int, levels: int):
        super().__init__(shape, event_dim)
        self.levels = levels

    def level(self, x: Tensor) -> Tensor:
        return (x * (self.levels - 1)).round()


class Categorical(Levels):
    """One probability per level, by logits (*batch, *event, k).

    `ordered=False` says that levels are names: their mean has no meaning, and the point prediction is the mode.
    """

    def __init__(self, logits: Tensor, event_dim: int = 1, ordered: bool = True):
        super().__init__(logits.shape[:-1], event_dim, logits.shape[-1])
        self.logits, self.ordered = logits, ordered

    @property
    def point(self) -> Tensor:
        return self.mean if self.ordered else self.logits.argmax(-1).to(self.logits.dtype) / (self.levels - 1)

    def element_log_prob(self, x: Tensor) -> Tensor:
        log_p = self.logits.log_softmax(-1)
        index = self.level(x).long().clamp(0, self.levels - 1)
        shape = torch.broadcast_shapes(index.shape, log_p.shape[:-1])  # of x and logits, either may lead
        return log_p.expand(*shape, -1).gather(-1, index.expand(shape)[..., None])[..., 0]

    @property
    def mean(self) -> Tensor:
        grid = torch.linspace(0, 1, self.levels, dtype=self.logits.dtype, device=self.logits.device)
        return self.logits.softmax(-1) @ grid

    def sample(self, sample_shape=()) -> Tensor:
        shape = self.shape_of(sample_shape)
        p = self.logits.softmax(-1).expand(*shape, self.levels).reshape(-1, self.levels)
        return torch.multinomial(p, 1, generator=generator(p.device)).reshape(shape).to(self.logits.dtype) / (
            self.levels - 1
        )


class DiscretizedLogistic(Levels):
    """A logistic of location `loc` and scale exp(`log_scale`) rounded to the nearest level, open at both ends.

    Salimans et al., 2017, with the difference of two sigmoids as
    sigmoid(a) * sigmoid(-b) * (1 - exp(b - a)), which keeps its precision in the tails.
    """

    def __init__(self, loc: Tensor, log_scale: Tensor, levels: int, event_dim: int = 1):
        super().__init__(loc.shape, event_dim, levels)
        self.loc, self.log_scale = loc, log_scale

    def element_log_prob(self, x: Tensor) -> Tensor:
        precision = (-self.log_scale).exp()
        width = precision / (self.levels - 1)  # of one level
        level = self.level(x)
        above = (level / (self.levels - 1) - self.loc) * precision + 0.5 * width
        below = above - width
        inside = F.logsigmoid(above) + F.logsigmoid(-below) + torch.log(-torch.expm1(-width))
        first, last = level <= 0, level >= self.levels - 1
        return torch.where(first, F.logsigmoid(above), torch.where(last, F.logsigmoid(-below), inside))

    @property
    def mean(self) -> Tensor:
        # E[x] = sum over j >= 1 of P(level >= j), one level at a time: no (*event, k) array; and of parts that stay
        # in the processor's cache, as they are read k times
        loc, precision = torch.broadcast_tensors(self.loc, (-self.log_scale).exp())
        parts = zip(loc.reshape(-1).split(CACHED_NUMBERS), precision.reshape(-1).split(CACHED_NUMBERS), strict=True)
        return torch.cat([self.mean_of(*part) for part in parts]).view(loc.shape)

    @property
    def location(self) -> Tensor:
        return self.loc.clamp(0, 1)

    def mean_of(self, loc: Tensor, precision: Tensor) -> Tensor:
        """(n,) means of logistics of these locations (n,) and inverse scales (n,), rounded."""
        total, k = torch.zeros_like(loc), self.levels
        for j in range(1, k):
            total += torch.sigmoid((loc - (j - 0.5) / (k - 1)) * precision)
        return total / (k - 1)

    def sample(self, sample_shape=()) -> Tensor:
        u = uniform(self.shape_of(sample_shape), self.loc).clamp(1e-7, 1 - 1e-7)
        return self.level(self.loc + self.log_scale.exp() * torch.logit(u)).clamp(0, self.levels - 1) / (
            self.levels - 1
        )


class BetaBinomial(Levels):
    """A binomial of k-1 trials whose probability is Beta(a, b), by log a and log b (Townsend et al., 2019)."""

    def __init__(self, log_a: Tensor, log_b: Tensor, levels: int, event_dim: int = 1):
        super().__init__(log_a.shape, event_dim, levels)
        self.log_a, self.log_b = log_a, log_b
        self.a, self.b = log_a.exp(), log_b.exp()

    def element_log_prob(self, x: Tensor) -> Tensor:
        # In double precision: each term is far larger than their difference.
        a, b, n = self.a.double(), self.b.double(), self.levels - 1
        k = self.level(x).double()
        choose = torch.lgamma(torch.full_like(k, n + 1)) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)
        return (choose + log_beta(k + a, n - k + b) - log_beta(a, b)).to(x.dtype)

    @property
    def mean(self) -> Tensor:
        return self.a / (self.a + self.b)

    def sample(self, sample_shape=()) -> Tensor:
        shape = self.shape_of(sample_shape)
        with torch.no_grad():
            # A beta draw is the sigmoid of two log-gamma draws, which do not underflow where a and b are small.
            p = (log_gamma_draw(self.a.expand(shape)) - log_gamma_draw(self.b.expand(shape))).sigmoid()
            n = torch.full_like(p, self.levels - 1)
            return torch.binomial(n, p, generator=generator(p.device)) / (self.levels - 1)


class Poisson(Independent):
    """Counts, by log-rates."""

    def __init__(self, log_rate: Tensor, event_dim: int = 1):
        super().__init__(log_rate.shape, event_dim)
        self.log_rate = log_rate

    @property
    def mean(self) -> Tensor:
        return self.log_rate.exp()

    def element_log_prob(self, x: Tensor) -> Tensor:
        # In double precision: each term is far larger than their sum where counts are large.
        log_rate, k = self.log_rate.double(), x.double()
        return (k * log_rate - log_rate.exp() - torch.lgamma(k + 1)).to(self.log_rate.dtype)

    def sample(self, sample_shape=()) -> Tensor:
        with torch.no_grad():
            return torch.poisson(
                self.mean.expand(self.shape_of(sample_shape)), generator=generator(self.log_rate.device)
            )


class NegativeBinomial(Independent):
    """Counts of mean exp(`log_mean`) and variance mean + mean^2 / exp(`log_size`)."""

    def __init__(self, log_mean: Tensor, log_size: Tensor, event_dim: int = 1):
        super().__init__(log_mean.shape, event_dim)
        self.log_mean, self.log_size = log_mean, log_size

    @property
    def mean(self) -> Tensor:
        return self.log_mean.exp()

    def element_log_prob(self, x: Tensor) -> Tensor:
        # In double precision: each term is far larger than their sum where counts, or r, are large.
        k, size = x.double(), self.log_size.double().exp()
        odds = self.log_mean.double() - self.log_size.double()
        log_binomial = torch.lgamma(k + size) - torch.lgamma(size) - torch.lgamma(k + 1)
        # log sigmoid(-odds) = -softplus(odds) and log sigmoid(odds) = odds - softplus(odds): one softplus for both
        return (log_binomial + k * odds - (k + size) * softplus(odds)).to(self.log_mean.dtype)

    def sample(self, sample_shape=()) -> Tensor:
        shape = self.shape_of(sample_shape)
        with torch.no_grad():
            own = generator(self.log_mean.device)
            gamma = torch._standard_gamma(self.log_size.exp().expand(shape), generator=own)
            return torch.poisson(gamma * (self.log_mean - self.log_size).exp(), generator=own)


def log_gamma_draw(shape: Tensor) -> Tensor:
    """log of a gamma draw, however small its shape: G(a) = G(a + 1) U^(1/a)."""
    gamma = torch._standard_gamma(shape + 1, generator=generator(shape.device))
    return gamma.log() + uniform(shape.shape, shape).clamp(min=1e-30).log() / shape


def log_beta(a: Tensor, b: Tensor) -> Tensor:
    """log of the beta function."""
    return torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)
