"""What one training step sees."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """Rows on the device, in the units that networks read."""

    x: Tensor
    """(B, *X) what the encoder reads."""
    c: Tensor | None = None
    """(B, C) the condition."""
    mask: Tensor | None = None
    """(B, T) True where a step is real."""
    y: Tensor | None = None
    """(B,) the label, -1 where unknown."""
    target: Tensor | None = None
    """(B, *X) what the likelihood is scored on, where it is not x (paired clean data)."""

    @property
    def wanted(self) -> Tensor:
        """(B, *X) what the decoder should explain."""
        return self.x if self.target is None else self.target
