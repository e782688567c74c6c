"""Scales of a distribution that no network gives: learned, with a floor, fixed, or set by a closed form."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from isthmus.errors import InputError

SCALE_FLOOR = 1e-3
"""No learned scale goes below this, in the units that networks read: densities stay bounded."""
LOG_SCALE_RATE = 10.0
"""How many times as fast as a weight a log-scale moves: Adam moves each parameter by at most the learning rate a
step, and a log-scale has to travel several units in a run."""


class LearnedScale(nn.Module):
    """A learned log-scale, one for all elements or one each, with a smooth floor."""

    fixed = False

    def __init__(self, shape: tuple[int, ...] = ()):
        super().__init__()
        self.raw = nn.Parameter(torch.zeros(shape))

    @torch.no_grad()
    def start_at(self, scale: Tensor) -> None:
        """Start at a scale, () or of this module's shape; below the floor, just above it.

        forward(raw) = floor + softplus(y) with y = LOG_SCALE_RATE raw - floor, and y = s + log(1 - exp(-s)) for
        s = softplus(y).
        """
        floor = math.log(SCALE_FLOOR)
        above = (scale.log() - floor).clamp(min=1e-2)
        self.raw.copy_((above + torch.log(-torch.expm1(-above)) + floor) / LOG_SCALE_RATE)

    def forward(self) -> Tensor:
        floor = math.log(SCALE_FLOOR)
        return floor + nn.functional.softplus(LOG_SCALE_RATE * self.raw - floor, threshold=40)


class FixedScale(nn.Module):
    """A log-scale that is fixed."""

    fixed = True

    def __init__(self, scale: float):
        super().__init__()
        if not 1e-12 <= scale <= 1e12:
            raise InputError(f"scale must be a positive number, from 1e-12 to 1e12, got {scale}.")
        self.log_scale = math.log(scale)

    def forward(self) -> float:
        return self.log_scale


class BufferScale(nn.Module):
    """A log-scale that a closed form sets; a buffer, saved with the weights, without a floor."""

    fixed = False
    log_scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("log_scale", torch.zeros(()))

    def forward(self) -> Tensor:
        return self.log_scale
