"""Sparse activations of a bottleneck: top-k, batch top-k and JumpReLU."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isthmus.errors import InputError

EMA_STEP = 0.01
"""Weight of a new batch in running averages (over about 100 batches)."""
MIN_DUTY_CYCLE = 1e-4
"""Lower limit of a unit's duty cycle (how often it is chosen), which bounds its boost."""


def check_k(k: int, units: int) -> int:
    """`k` as an int; InputError if it is not a number of units."""
    if isinstance(k, bool) or k != int(k) or not 1 <= k <= units:
        raise InputError(
            f"k must be an integer from 1 to {units} (the number of units), got {k}. Pass sparsity='top_k(k)'."
        )
    return int(k)


class TopK(nn.Module):
    """Keeps the k largest units of each example, negative ones included; the others are 0 (Makhzani & Frey, 2013).

    In training, units that have rarely been chosen get a boost (Ahmad & Scheinkman, 2019); without it most units of a
    wide code die early.

    Args:
        k: active units for each example.
        units: size of the code.
    """

    learns = True
    """Whether `forward` takes `train`, in which the module updates its running averages."""
    duty: Tensor

    def __init__(self, k: int, units: int):
        super().__init__()
        self.k = check_k(k, units)
        self.register_buffer("duty", torch.full((units,), self.k / units))  # running mean of being chosen

    def forward(self, h: Tensor, train: bool = False) -> Tensor:
        if not train:
            top = h.topk(self.k, -1, sorted=False)
            return torch.zeros_like(h).scatter(-1, top.indices, top.values)
        units = h.shape[-1]
        with torch.no_grad():
            boost = (self.k / units / self.duty.clamp(min=MIN_DUTY_CYCLE)).log()
            chosen = (h + boost * h.std(correction=0)).topk(self.k, -1, sorted=False).indices
            mask = torch.zeros_like(h).scatter(-1, chosen, 1.0)
            self.duty.lerp_(mask.reshape(-1, units).mean(0), EMA_STEP)
        return h * mask


class BatchTopK(nn.Module):
    """Keeps the k B largest units of a batch of B, in training (Bussmann et al., 2024).

    In use a row must not depend on the other rows: units above a threshold are kept, which is the running mean of the
    smallest unit kept in training.

    Args:
        k: mean number of active units for each example.
        units: size of the code.
    """

    learns = True
    """As in `TopK`."""
    threshold: Tensor

    def __init__(self, k: int, units: int):
        super().__init__()
        self.k = check_k(k, units)
        self.register_buffer("threshold", torch.full((), -1.0))  # negative: no batch seen yet

    def forward(self, h: Tensor, train: bool = False) -> Tensor:
        h = F.relu(h)
        if not train:
            return torch.where(h > self.threshold, h, 0.0)
        keep = self.k * h[..., 0].numel()
        smallest_kept = h.detach().flatten().topk(keep, sorted=False).values.min()
        with torch.no_grad():
            updated = torch.where(self.threshold < 0, smallest_kept, self.threshold.lerp(smallest_kept, EMA_STEP))
            self.threshold.copy_(torch.where(updated.isfinite(), updated, self.threshold))  # skip non-finite steps
        return torch.where((h >= smallest_kept) & (h > 0), h, 0.0)


class JumpReLU(nn.Module):
    """Keeps units above a learned threshold and sets the others to 0 (Rajamanoharan et al., 2024).

    Args:
        units: size of the code, with one threshold for each unit.
        width: width of the ramp through which the threshold gets its gradient.
    """

    def __init__(self, units: int, width: float = 0.1):
        super().__init__()
        self.log_threshold = nn.Parameter(torch.full((units,), -3.0))
        self.width = width

    def active(self, h: Tensor) -> Tensor:
        """1 where a unit is active; the threshold gets a straight-through gradient from a ramp around it."""
        theta = self.log_threshold.exp()
        ramp = ((h.detach() - theta) / self.width + 0.5).clamp(0, 1)
        return (h > theta).to(h.dtype) + ramp - ramp.detach()

    def forward(self, h: Tensor) -> Tensor:
        return F.relu(h) * self.active(h)
