"""Damage done to x in training, for the model to undo."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isthmus.errors import InputError


def chance(p: float) -> float:
    """A probability, or an error that says what is wanted."""
    if not 0 <= p <= 1:
        raise InputError(f"a probability of {p} came; a number from 0 to 1 is wanted")
    return float(p)


class Mask(nn.Module):
    """Each element is set to `fill` (a number, or one an element) with chance p (Vincent et al., 2008)."""

    fill: Tensor

    def __init__(self, p: float = 0.3, fill: Tensor | float = 0.0):
        super().__init__()
        self.p = chance(p)
        self.register_buffer("fill", torch.as_tensor(fill), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(torch.rand_like(x) < self.p, self.fill, x)


class Gaussian(nn.Module):
    """Normal noise of scale s is added, in the units that networks read."""

    def __init__(self, s: float = 0.3):
        super().__init__()
        if s < 0:
            raise InputError(f"noise of scale {s} came; a number of at least 0 is wanted")
        self.s = float(s)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.s * torch.randn_like(x)


class SaltAndPepper(nn.Module):
    """Each element becomes the lowest or the highest value (numbers, or one an element), with chance p / 2 each."""

    low: Tensor
    high: Tensor

    def __init__(self, p: float = 0.3, low: Tensor | float = 0.0, high: Tensor | float = 1.0):
        super().__init__()
        self.p = chance(p)
        self.register_buffer("low", torch.as_tensor(low), persistent=False)
        self.register_buffer("high", torch.as_tensor(high), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        u = torch.rand_like(x)
        return torch.where(u < self.p / 2, self.low, torch.where(u > 1 - self.p / 2, self.high, x))


class Blur(nn.Module):
    """A Gaussian blur of s pixels over height and width; x is (B, h, w) or (B, h, w, c)."""

    kernel: Tensor

    def __init__(self, s: float = 1.0):
        super().__init__()
        if s <= 0:
            raise InputError(f"a blur of {s} pixels came; a positive number is wanted")
        self.reach = max(1, math.ceil(3 * s))
        offsets = torch.arange(-self.reach, self.reach + 1)
        self.register_buffer("kernel", torch.softmax(-0.5 * (offsets / s).square(), 0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        channels = x[..., None] if x.ndim == 3 else x
        y = channels.movedim(-1, 1)  # (B, C, h, w)
        folded = y.reshape(-1, 1, *y.shape[-2:])
        k, r = self.kernel, self.reach
        folded = F.conv2d(F.pad(folded, (r, r, 0, 0), mode="replicate"), k[None, None, None, :])
        folded = F.conv2d(F.pad(folded, (0, 0, r, r), mode="replicate"), k[None, None, :, None])
        return folded.reshape(y.shape).movedim(1, -1).reshape(x.shape)
