"""A conditional distribution: a network followed by a family."""

from __future__ import annotations

import math

from torch import Tensor, nn

from isthmus.errors import InputError
from isthmus.families import Family


class Conditional(nn.Module):
    """p(. given something): `forward` returns a distribution (the idea is zuko's `LazyDistribution`).

    `net(given, c, mask)` may answer in any shape that holds n numbers an element of the event, n first.
    """

    def __init__(self, net: nn.Module, family: Family, given_dim: int = 1):
        super().__init__()
        self.net, self.family, self.given_dim = net, family, given_dim

    def forward(self, given: Tensor, c: Tensor | None = None, mask: Tensor | None = None):
        """`given` (*batch, *given_shape) to a distribution over (*batch, *event)."""
        raw = self.net(given, c, mask)
        batch = given.shape[: given.ndim - self.given_dim]
        n = () if self.family.n == 1 else (self.family.n,)  # a dimension of one would cost copies in the gradient
        shape = (*batch, *n, *self.family.event_shape)
        if raw.shape != shape:
            answered = raw.shape[len(batch) :]
            # Flat numbers are taken in order; a shape of its own must be the event's, or pixels would be shuffled.
            other = len(answered) > 1 and [s for s in answered if s > 1] != [s for s in shape[len(batch) :] if s > 1]
            if raw.numel() != math.prod(shape) or other:
                wanted = " x ".join(map(str, shape[len(batch) :]))
                raise InputError(
                    f"the network answered with shape {tuple(raw.shape)} to an input of shape {tuple(given.shape)}; "
                    f"{wanted} numbers an example are wanted"
                )
            raw = raw.reshape(shape)
        return self.family(raw)
