"""Densities: location families, and the continuous Bernoulli on [0, 1]."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from isthmus import random_streams
from isthmus.distributions.independent import Drawn, Independent

HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


class LocationScale(Independent):
    """Elements `loc + exp(log_scale) * e`; a `log_scale` of no dimensions, or a number, is shared."""

    has_rsample = True
    row_parameters: tuple[str, ...] | None = ("loc", "log_scale")

    def __init__(self, loc: Tensor, log_scale: Tensor | float, event_dim: int = 1):
        super().__init__(loc.shape, event_dim)
        self.loc, self.log_scale = loc, log_scale

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def scale(self) -> Tensor:
        return torch.as_tensor(exp(self.log_scale), dtype=self.loc.dtype, device=self.loc.device)

    def standard(self, shape: torch.Size) -> Tensor:
        """Draws e of the family's standard member, location 0 and scale 1."""
        return random_streams.normal(shape, self.loc)

    def noise(self, draws: int, rows: int) -> Tensor:
        return self.standard(torch.Size((draws, rows, *self._event_shape)))

    def draw(self, noise: Tensor) -> Drawn:
        return Drawn(torch.addcmul(self.loc, self.scale, noise))

    def rsample(self, sample_shape=()) -> Tensor:
        return torch.addcmul(self.loc, self.scale, self.standard(self.shape_of(sample_shape)))


class Normal(LocationScale):
    """Normal elements."""

    is_diagonal_normal = True

    @property
    def std(self) -> Tensor:
        return self.scale.expand_as(self.loc)

    def element_log_prob(self, x: Tensor) -> Tensor:
        # subtract before dividing: exact for large locations
        return -0.5 * ((x - self.loc) * exp(-self.log_scale)).square() - self.log_scale - HALF_LOG_TWO_PI

    def log_prob(self, x: Tensor) -> Tensor:
        if isinstance(self.log_scale, Tensor) and self.log_scale.ndim:
            return super().log_prob(x)
        # A shared scale leaves the sum of squares alone, whose gradient is one pass over x instead of four.
        loc, x = torch.broadcast_tensors(self.loc, x)
        squares = self.sum_event(F.mse_loss(loc, x, reduction="none"))
        constant = -self._event_shape.numel() * (self.log_scale + HALF_LOG_TWO_PI)
        return squares * (-0.5 * exp(-2 * self.log_scale)) + constant


class NarrowNormal(Normal):
    """Normal elements whose scales may be smaller than the precision resolves: a draw is then its location.

    Its density at a draw is that of the noise; computed from the draw it would be 0 / 0.
    """

    def draw(self, noise: Tensor) -> Drawn:
        density = -0.5 * noise.square() - self.log_scale - HALF_LOG_TWO_PI
        return Drawn(super().draw(noise).z, self.sum_event(density))

    def element_log_prob(self, x: Tensor) -> Tensor:
        distance = x - self.loc
        scaled = torch.where(distance == 0, 0.0, distance * exp(-self.log_scale))
        return -0.5 * scaled.square() - self.log_scale - HALF_LOG_TWO_PI


class Laplace(LocationScale):
    """Laplace elements."""

    @property
    def std(self) -> Tensor:
        return (math.sqrt(2) * self.scale).expand_as(self.loc)

    def standard(self, shape: torch.Size) -> Tensor:
        u = random_streams.uniform(shape, self.loc) - 0.5
        return -u.sign() * torch.log1p(-2 * u.abs().clamp(max=0.5 - 1e-7))

    def element_log_prob(self, x: Tensor) -> Tensor:
        return -(x - self.loc).abs() * exp(-self.log_scale) - self.log_scale - math.log(2)


class StudentT(LocationScale):
    """Student t elements with `df` degrees of freedom."""

    row_parameters = ("loc", "log_scale", "df")

    def __init__(self, loc: Tensor, log_scale: Tensor, df: Tensor, event_dim: int = 1):
        super().__init__(loc, log_scale, event_dim)
        self.df = df

    def standard(self, shape: torch.Size) -> Tensor:
        with torch.no_grad():
            df = self.df.expand(shape)
            chi2 = 2 * torch._standard_gamma(df / 2, generator=random_streams.generator(df.device))
        return random_streams.normal(shape, self.loc) * (df / chi2).sqrt()

    def element_log_prob(self, x: Tensor) -> Tensor:
        df, z = self.df, (x - self.loc) * exp(-self.log_scale)
        wide = df.double()  # the two cancel where df is large
        normaliser = torch.lgamma((wide + 1) / 2) - torch.lgamma(wide / 2) - 0.5 * (wide * math.pi).log()
        return normaliser.to(z.dtype) - self.log_scale - 0.5 * (df + 1) * torch.log1p(z.square() / df)


class ContinuousBernoulli(Independent):
    """Elements on [0, 1] with density proportional to exp(x * logit) (Loaiza-Ganem & Cunningham, 2019).

    In its natural parameter the normaliser is that of a truncated exponential, exact at every logit.
    """

    def __init__(self, logits: Tensor, event_dim: int = 1):
        super().__init__(logits.shape, event_dim)
        self.logits = logits

    def element_log_prob(self, x: Tensor) -> Tensor:
        # log((e^l - 1) / l) = l/2 + log(sinh(h)/h), h = |l|/2
        return (x - 0.5) * self.logits - log_sinhc(0.5 * self.logits.abs())

    @property
    def mean(self) -> Tensor:
        t, h = self.logits, self.logits.abs()  # the mean at -t is one less that at t: no exponential overflows
        near = h < 0.1
        safe = torch.where(near, 1.0, h)
        far = 1 / -torch.expm1(-safe) - 1 / safe
        series = t.clamp(-0.1, 0.1)
        return torch.where(near, 0.5 + series / 12 - series.pow(3) / 720, torch.where(t < 0, 1 - far, far))

    def sample(self, sample_shape=()) -> Tensor:
        u = random_streams.uniform(self.shape_of(sample_shape), self.logits)
        t = self.logits.abs()
        near = t < 1e-3
        safe = torch.where(near, 1.0, t)
        x = torch.where(near, u, 1 + torch.log(u + (1 - u) * (-safe).exp()) / safe)  # inverse CDF for logit > 0
        return torch.where(self.logits < 0, 1 - x, x).clamp(0, 1)


def log_sinhc(h: Tensor) -> Tensor:
    """log(sinh(h) / h) for h >= 0, by its series near zero, without overflow far from it."""
    near = h < 0.3
    safe = torch.where(near, 1.0, h)
    s = torch.where(near, h, 0.0).square()
    series = s * (1 / 6 - s * (1 / 180 - s * (1 / 2835 - s / 37800)))
    return torch.where(near, series, safe + torch.log1p(-(-2 * safe).exp()) - (2 * safe).log())


def exp(value: Tensor | float) -> Any:
    """e to a tensor, or to a number that is known beforehand and then costs no operation."""
    return value.exp() if isinstance(value, Tensor) else math.exp(value)


def softplus(x: Tensor) -> Tensor:
    """log(1 + e^x), exact to the last digit of double precision (torch's default stops at x = 20)."""
    return F.softplus(x, threshold=40)
