"""Activations that make a code sparse."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isthmus.errors import InputError

RUNNING_MEAN_RATE = 0.01
"""Share by which running means over batches move with each batch: a memory of about a hundred."""
MIN_DUTY = 1e-4
"""A unit selected less often than this is not boosted any further."""


def check_k(k: int, units: int) -> int:
    """A number of active units; raises InputError unless it is an integer from 1 to `units`."""
    if isinstance(k, bool) or k != int(k) or not 1 <= k <= units:
        raise InputError(f"k of top_k(k) must be an integer from 1 to latent_dim={units}, got {k}.")
    return int(k)


class TopK(nn.Module):
    """The k largest units of each example stay, below 0 too, the others are 0 (Makhzani & Frey, 2013).

    In training a unit is boosted the more, the less often it was selected lately (Ahmad & Scheinkman, 2019): without
    this, most units of a wide code lose early and never learn.
    """

    learns = True
    duty: Tensor

    def __init__(self, k: int, units: int):
        super().__init__()
        self.k = check_k(k, units)
        self.register_buffer("duty", torch.full((units,), self.k / units))  # how often each unit is selected

    def forward(self, h: Tensor, train: bool = False) -> Tensor:
        if not train:
            top = h.topk(self.k, -1, sorted=False)
            return torch.zeros_like(h).scatter(-1, top.indices, top.values)
        units = h.shape[-1]
        with torch.no_grad():
            boost = (self.k / units / self.duty.clamp(min=MIN_DUTY)).log()
            selected = (h + boost * h.std(correction=0)).topk(self.k, -1, sorted=False).indices
            mask = torch.zeros_like(h).scatter(-1, selected, 1.0)
            self.duty.lerp_(mask.reshape(-1, units).mean(0), RUNNING_MEAN_RATE)
        return h * mask


class BatchTopK(nn.Module):
    """The k B largest of a batch stay; in use, what exceeds the learned threshold (Bussmann et al., 2024)."""

    learns = True
    threshold: Tensor

    def __init__(self, k: int, units: int):
        super().__init__()
        self.k = check_k(k, units)
        self.register_buffer("threshold", torch.full((), -1.0))  # negative: no batch yet

    def forward(self, h: Tensor, train: bool = False) -> Tensor:
        h = F.relu(h)
        if not train:
            return torch.where(h > self.threshold, h, 0.0)
        keep = self.k * h[..., 0].numel()
        least = h.detach().flatten().topk(keep, sorted=False).values.min()
        with torch.no_grad():
            new = torch.where(self.threshold < 0, least, self.threshold.lerp(least, RUNNING_MEAN_RATE))
            self.threshold.copy_(torch.where(new.isfinite(), new, self.threshold))  # not from a step that diverged
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
