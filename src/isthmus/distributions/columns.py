"""Columns that follow unlike distributions, as one event."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from isthmus.distributions.independent import Independent


class Columns(Independent):
    """Blocks of columns side by side, each with its own distribution over (*batch, d_i)."""

    def __init__(self, parts: Sequence[Independent]):
        self.parts = tuple(parts)
        self.widths = [part.event_shape[-1] for part in self.parts]
        super().__init__(torch.Size((*self.parts[0].batch_shape, sum(self.widths))), 1)

    def element_log_prob(self, x: Tensor) -> Tensor:
        blocks = x.split(self.widths, -1)
        return torch.cat([part.element_log_prob(block) for part, block in zip(self.parts, blocks)], -1)

    @property
    def mean(self) -> Tensor:
        return torch.cat([part.mean for part in self.parts], -1)

    @property
    def point(self) -> Tensor:
        return torch.cat([part.point for part in self.parts], -1)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return torch.cat([part.sample(sample_shape) for part in self.parts], -1)
