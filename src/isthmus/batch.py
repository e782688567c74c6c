"""The arrays of one training step."""

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
    """(B, T) True where a step is real, False in padding."""
    y: Tensor | None = None
    """(B,) the label, -1 where it is unknown."""
    clean: Tensor | None = None
    """(B, *X) clean rows that were paired with damaged ones."""
    observed: Tensor | None = None
    """(B, *X) True where an element was observed; None where all were."""
    weight: Tensor | None = None
    """(B,) how much a row counts, with mean 1 over all rows of the data set; None where all count the same."""

    @property
    def target(self) -> Tensor:
        """(B, *X) what the likelihood is evaluated at: the clean rows if there are any, else x."""
        return self.x if self.clean is None else self.clean
