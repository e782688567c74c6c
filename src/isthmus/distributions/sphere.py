"""Distributions on the unit sphere in D dimensions; densities are relative to its area, of D - 1 dimensions."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from isthmus import random_streams
from isthmus.distributions.independent import Drawn, LightDistribution

NODES, PART_NODES, GRID = 512, 64, 512
"""Nodes of the integral over all angles and over a part of them, and angles between which the inverse starts."""
NEWTON_STEPS = 8
"""Steps of Newton's method from there, within the angles around; 0 and pi, where densities vanish, are not reached."""
LEAST = 1e-15
"""Least probability of either tail that is drawn."""


def log_area(dim: int) -> float:
    """Logarithm of the area of the unit sphere in `dim` dimensions.

    >>> round(math.exp(log_area(3)) / math.pi, 6)
    4.0
    """
    return math.log(2) + 0.5 * dim * math.log(math.pi) - math.lgamma(0.5 * dim)


@functools.cache
def rule(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Places (count,) and weights (count,) of the Gauss-Legendre rule on [0, 1]."""
    x, w = np.polynomial.legendre.leggauss(count)
    return 0.5 * (x + 1), 0.5 * w


def nodes(count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The same as tensors."""
    place, weight = rule(count)
    return torch.as_tensor(place, device=device), torch.as_tensor(weight, device=device)


def log_density_of_angle(angle: Tensor, kappa: Tensor, dim: int) -> Tensor:
    """log of exp(kappa cos(angle)) sin(angle)^(D - 2), the density of the angle from the mode but for its constant.

    It is taken relative to the mode, exp(kappa (cos - 1)), so that nothing overflows.
    """
    log_density = -2 * kappa * (0.5 * angle).sin().square()
    return log_density + (dim - 2) * angle.sin().clamp(min=1e-300).log() if dim > 2 else log_density


class VonMisesFisher(LightDistribution):
    """exp(kappa loc · z) over the sphere, as codes have it in Davidson et al. (2018), up to its constant.

    A draw is an angle from the mode, by the inverse of its distribution function, in a uniform direction. Noise alone
    is random, so that the gradient is that of the inverse: d angle / d kappa = -(dF / d kappa) / density.

    Args:
        loc: (B, D) modes, of length 1.
        kappa: (B, 1) concentrations.
    """

    row_parameters = ("loc", "kappa", "log_z", "cosine")
    differentiable = False
    has_rsample = True

    def __init__(self, loc: Tensor, kappa: Tensor):
        super().__init__(loc.shape[:-1], loc.shape[-1:])
        self.loc, self.kappa = loc, kappa
        place, weight = nodes(NODES, loc.device)
        angle = math.pi * place
        each = log_density_of_angle(angle, kappa.double(), self.dim) + (math.pi * weight).log()
        self.log_z = each.logsumexp(-1, keepdim=True)
        """(B, 1) log of the integral over the angle, in double precision."""
        self.cosine = ((each - self.log_z).exp() * angle.cos()).sum(-1, keepdim=True)
        """(B, 1) the mean of the angle's cosine, in double precision."""

    @property
    def dim(self) -> int:
        """D."""
        return self.loc.shape[-1]

    @property
    def log_constant(self) -> Tensor:
        """(B,) log of the density at the mode, nats."""
        return (-self.log_z[..., 0] - log_area(self.dim - 1)).to(self.loc.dtype)

    @property
    def mean(self) -> Tensor:
        return self.cosine.to(self.loc.dtype) * self.loc

    @property
    def centre(self) -> Tensor:
        """(B, D) the mode: the mean lies inside the sphere."""
        return self.loc

    def noise(self, draws: int, rows: int) -> Tensor:
        return random_streams.normal((draws, rows, self.dim), self.loc)

    def draw(self, noise: Tensor) -> Drawn:
        angle = self.angle(torch.special.ndtr(noise[..., 0].double()).clamp(LEAST, 1 - LEAST)).to(noise.dtype)
        away = torch.nn.functional.normalize(noise[..., 1:], dim=-1)
        z = torch.cat([angle.cos()[..., None], angle.sin()[..., None] * away.expand(*angle.shape, -1)], -1)
        # Reflect the first axis onto the mode (Householder).
        first = torch.zeros_like(self.loc)
        first[..., 0] = 1.0
        normal = torch.nn.functional.normalize(first - self.loc, dim=-1)
        z = z - 2 * (z * normal).sum(-1, keepdim=True) * normal
        log_q = self.log_constant - 2 * self.kappa[..., 0] * (0.5 * angle).sin().square()
        return Drawn(z, log_q)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        noise = random_streams.normal((math.prod(sample_shape), *self.loc.shape), self.loc)
        return self.draw(noise).z.reshape(*sample_shape, *self.loc.shape)

    def log_prob(self, z: Tensor) -> Tensor:
        # kappa (loc · z - 1) of vectors of length 1, without the rounding of the difference
        return self.log_constant - 0.5 * self.kappa[..., 0] * (z - self.loc).square().sum(-1)

    # ------------------------------------------------------------------ the angle from the mode

    def below(self, angle: Tensor, kappa: Tensor, log_z: Tensor) -> Tensor:
        """(K, B) probability of a smaller angle."""
        place, weight = nodes(PART_NODES, angle.device)
        inner = angle[..., None] * place
        each = log_density_of_angle(inner, kappa[..., None], self.dim) - log_z[..., None]
        return angle * (each.exp() * weight).sum(-1)

    def angle(self, probability: Tensor) -> Tensor:
        """(K, B) the angle below which the angle lies with this probability (K, B or 1), in double precision."""
        kappa, log_z = self.kappa[..., 0].double(), self.log_z[..., 0]
        with torch.no_grad():
            u = probability.expand(torch.broadcast_shapes(probability.shape, kappa.shape))
            grid = math.pi * torch.linspace(0, 1, GRID, dtype=torch.float64, device=u.device).square()
            density = (log_density_of_angle(grid, kappa[..., None], self.dim) - log_z[..., None]).exp()  # (B, GRID)
            rise = 0.5 * (density[..., 1:] + density[..., :-1]) * grid.diff()
            total = torch.cat([torch.zeros_like(rise[..., :1]), rise.cumsum(-1)], -1)
            total = total / total[..., -1:]
            above = torch.searchsorted(total, u.movedim(0, -1).contiguous()).movedim(-1, 0).clamp(1, GRID - 1)
            low, high = grid[(above - 2).clamp(min=0)], grid[(above + 1).clamp(max=GRID - 1)]
            angle = 0.5 * (grid[above - 1] + grid[above])
            for _ in range(NEWTON_STEPS):
                slope = (log_density_of_angle(angle, kappa, self.dim) - log_z).exp().clamp(min=1e-300)
                moved = angle - (self.below(angle, kappa, log_z) - u) / slope
                angle = moved.maximum(low).minimum(high).maximum(angle / 16).minimum(math.pi - (math.pi - angle) / 16)
        if not (torch.is_grad_enabled() and self.kappa.requires_grad):
            return angle
        # A step that changes the value by nothing has the gradient of the inverse.
        slope = (log_density_of_angle(angle, kappa.detach(), self.dim) - log_z.detach()).exp().clamp(min=1e-300)
        reached = self.below(angle, kappa, log_z)
        return angle - (reached - reached.detach()) / slope


class UniformSphere(LightDistribution):
    """Everywhere on the sphere alike.

    Args:
        zero: (D,) zeros, of the dtype and on the device of codes.
    """

    differentiable = False
    has_rsample = True

    def __init__(self, zero: Tensor):
        super().__init__(torch.Size(), zero.shape)
        self.zero = zero

    @property
    def mean(self) -> Tensor:
        return self.zero

    def log_prob(self, z: Tensor) -> Tensor:
        return z.new_full(z.shape[:-1], -log_area(len(self.zero)))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        drawn = random_streams.normal((*sample_shape, len(self.zero)), self.zero)
        return torch.nn.functional.normalize(drawn, dim=-1)
