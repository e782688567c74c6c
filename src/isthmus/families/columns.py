"""Columns of several families."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from isthmus.distributions import columns
from isthmus.families.family import Family


class Columns(Family):
    """Blocks of columns side by side, each with its own family over (d_i,)."""

    parts: Any

    def __init__(self, parts: Sequence[Family]):
        super().__init__((sum(part.event_shape[0] for part in parts),))
        self.parts = nn.ModuleList(parts)
        self.has_density = all(part.has_density for part in parts)
        self.scale_per_element = all(part.scale_per_element or part.event_shape == (1,) for part in parts)

    @property
    def raw_shape(self) -> tuple[int, ...]:
        return (sum(part.raw_numel for part in self.parts),)

    def forward(self, raw: Tensor):
        blocks = raw.split([part.raw_numel for part in self.parts], -1)
        return columns.Columns([part(b.unflatten(-1, part.raw_shape)) for part, b in zip(self.parts, blocks)])
