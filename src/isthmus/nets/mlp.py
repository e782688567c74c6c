"""Fully connected networks."""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor, nn

from isthmus.nets.layers import activation, join


class MLP(nn.Module):
    """Linear layers with an activation between them; no hidden layers leave a linear map.

    Reads (*batch, *given_shape), answers (*batch, out).
    """

    def __init__(
        self, given_shape: tuple[int, ...], hidden: tuple[int, ...], out: int, *, condition: int = 0, act: str = "silu"
    ):
        super().__init__()
        self.given_dim = len(given_shape)
        sizes = [math.prod(given_shape) + condition, *hidden, out]
        layers: list[nn.Module] = []
        for wide, narrow in pairwise(sizes):
            layers += [nn.Linear(wide, narrow), activation(act)]
        self.layers = nn.Sequential(*layers[:-1])
        self.given_size = math.prod(given_shape)

    def forward(self, x: Tensor, c: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        flat = join(x if self.given_dim == 1 else x.flatten(-self.given_dim), c)
        if flat.ndim == 2:
            return self.layers(flat)
        # Once here, not in every layer and again in its gradient.
        return self.layers(flat.flatten(0, -2)).unflatten(0, flat.shape[:-1])

    def input_column_norms(self) -> Tensor:
        """(D,) how far one unit of each input moves the first layer."""
        first = self.layers[0]
        assert isinstance(first, nn.Linear)
        return first.weight[:, : self.given_size].norm(dim=0)
