"""What makes a bottleneck sparse."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isthmus.errors import InputError

MEMORY = 0.01
"""Share by which what is learned of batches moves with each: a memory of a hundred."""
LEAST_DUTY = 1e-4
"""A unit chosen less often than this lacks no more."""


def fewest(k: int, units: int) -> int:
    """A count of active units, or an error that says what is wanted."""
    if isinstance(k, bool) or k != int(k) or not 1 <= k <= units:
        raise InputError(
            f"{k} active units of {units} came; a whole number from 1 to {units} is wanted: sparsity='top_k(k)'"
        )
    return int(k)


class TopK(nn.Module):
    """The k largest units of each example stay, below 0 too, the others are 0 (Makhzani & Frey, 2013).

    In training a unit is chosen the more readily the less it has been of late (Ahmad & Scheinkman, 2019): without, most
    units of a wide code lose early and never learn.
    """

    duty: Tensor

    def __init__(self, k: int, units: int):
        super().__init__()
        self.k = fewest(k, units)
        self.register_buffer("duty", torch.full((units,), self.k / units))  # how often each unit has been chosen

    def forward(self, h: Tensor) -> Tensor:
        if not self.training:
            top = h.topk(self.k, -1, sorted=False)
            return torch.zeros_like(h).scatter(-1, top.indices, top.values)
        units = h.shape[-1]
        with torch.no_grad():
            lack = (self.k / units / self.duty.clamp(min=LEAST_DUTY)).log()
            chosen = (h + lack * h.std(correction=0)).topk(self.k, -1, sorted=False).indices
            mask = torch.zeros_like(h).scatter(-1, chosen, 1.0)
            self.duty.lerp_(mask.reshape(-1, units).mean(0), MEMORY)
        return h * mask


class BatchTopK(nn.Module):
    """The k B largest of a batch stay; in use, what exceeds the threshold learned meanwhile (Bussmann et al., 2024)."""

    threshold: Tensor

    def __init__(self, k: int, units: int):
        super().__init__()
        self.k = fewest(k, units)
        self.register_buffer("threshold", torch.full((), -1.0))  # negative: none seen yet

    def forward(self, h: Tensor) -> Tensor:
        h = F.relu(h)
        if not self.training:
            return torch.where(h > self.threshold, h, 0.0)
        keep = self.k * h[..., 0].numel()
        least = h.detach().flatten().topk(keep, sorted=False).values.min()
        with torch.no_grad():
            moved = torch.where(self.threshold < 0, least, self.threshold.lerp(least, MEMORY))
            self.threshold.copy_(torch.where(moved.isfinite(), moved, self.threshold))  # a broken step teaches nothing
        return torch.where((h >= least) & (h > 0), h, 0.0)


class JumpReLU(nn.Module):
    """Units above a learned threshold pass, the others are 0 (Rajamanoharan et al., 2024)."""

    def __init__(self, units: int, width: float = 0.1):
        super().__init__()
        self.log_threshold = nn.Parameter(torch.full((units,), -3.0))
        self.width = width

    def active(self, h: Tensor) -> Tensor:
        """1 where a unit is active, with a gradient to the threshold through a ramp around it."""
        theta = self.log_threshold.exp()
        ramp = ((h.detach() - theta) / self.width + 0.5).clamp(0, 1)
        return (h > theta).to(h.dtype) + ramp - ramp.detach()

    def forward(self, h: Tensor) -> Tensor:
        return F.relu(h) * self.active(h)
