"""Corruption of x in training, which a denoising model learns to undo."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isthmus import random_streams
from isthmus.errors import InputError


def check_probability(p: float) -> float:
    """`p` as a float; InputError if it is not a probability."""
    if not 0 <= p <= 1:
        raise InputError(f"p must be a probability from 0 to 1, got {p}.")
    return float(p)


class Mask(nn.Module):
    """Sets each element to `fill` with probability p (Vincent et al., 2008).

    Args:
        p: probability of an element to be masked.
        fill: value of a masked element, a number or one for each element (*X).
    """

    fill: Tensor

    def __init__(self, p: float = 0.3, fill: Tensor | float = 0.0):
        super().__init__()
        self.p = check_probability(p)
        self.register_buffer("fill", torch.as_tensor(fill), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(random_streams.uniform(x.shape, x) < self.p, self.fill, x)


class Gaussian(nn.Module):
    """Adds normal noise.

    Args:
        s: standard deviation of the noise, in scaled units (those of the networks' input).
    """

    def __init__(self, s: float = 0.3):
        super().__init__()
        if s < 0:
            raise InputError(f"s must be a standard deviation >= 0, got {s}.")
        self.s = float(s)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.s * random_streams.normal(x.shape, x)


class SaltAndPepper(nn.Module):
    """Sets each element to the lowest or to the highest value, with probability p / 2 each.

    Args:
        p: probability of an element to be replaced.
        low: lowest value, a number or one for each element (*X).
        high: highest value, likewise.
    """

    low: Tensor
    high: Tensor

    def __init__(self, p: float = 0.3, low: Tensor | float = 0.0, high: Tensor | float = 1.0):
        super().__init__()
        self.p = check_probability(p)
        self.register_buffer("low", torch.as_tensor(low), persistent=False)
        self.register_buffer("high", torch.as_tensor(high), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        u = random_streams.uniform(x.shape, x)
        return torch.where(u < self.p / 2, self.low, torch.where(u > 1 - self.p / 2, self.high, x))


class Blur(nn.Module):
    """Gaussian blur over height and width of images (B, h, w) or (B, h, w, c).

    Args:
        s: standard deviation of the kernel, in pixels.
    """

    kernel: Tensor

    def __init__(self, s: float = 1.0):
        super().__init__()
        if s <= 0:
            raise InputError(f"s must be a number of pixels > 0, got {s}.")
        self.radius = max(1, math.ceil(3 * s))  # three standard deviations hold 99.7% of the kernel
        offsets = torch.arange(-self.radius, self.radius + 1)
        self.register_buffer("kernel", torch.softmax(-0.5 * (offsets / s).square(), 0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        channels = x[..., None] if x.ndim == 3 else x
        y = channels.movedim(-1, 1)  # (B, C, h, w)
        folded = y.reshape(-1, 1, *y.shape[-2:])
        k, r = self.kernel, self.radius
        folded = F.conv2d(F.pad(folded, (r, r, 0, 0), mode="replicate"), k[None, None, None, :])
        folded = F.conv2d(F.pad(folded, (0, 0, r, r), mode="replicate"), k[None, None, :, None])
        return folded.reshape(y.shape).movedim(1, -1).reshape(x.shape)
