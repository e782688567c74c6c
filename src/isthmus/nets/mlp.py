"""Fully connected networks."""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor, nn

from isthmus.nets.layers import activation, concat_condition


class MLP(nn.Module):
    """Multilayer perceptron (*batch, *input_shape) to (*batch, out); linear without hidden layers.

    Args:
        input_shape: shape of one input, which is flattened.
        hidden: widths of the hidden layers.
        out: number of outputs.
        condition: width of the condition.
        act: name of the activation between layers.
    """

    def __init__(
        self, input_shape: tuple[int, ...], hidden: tuple[int, ...], out: int, *, condition: int = 0, act: str = "silu"
    ):
        super().__init__()
        self.input_ndim = len(input_shape)
        sizes = [math.prod(input_shape) + condition, *hidden, out]
        layers: list[nn.Module] = []
        for wide, narrow in pairwise(sizes):
            layers += [nn.Linear(wide, narrow), activation(act)]
        self.layers = nn.Sequential(*layers[:-1])
        self.input_size = math.prod(input_shape)

    def forward(self, x: Tensor, c: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        flat = concat_condition(x if self.input_ndim == 1 else x.flatten(-self.input_ndim), c)
        if flat.ndim == 2:
            return self.layers(flat)
        # Flattened once here instead of in every layer and in its gradient.
        return self.layers(flat.flatten(0, -2)).unflatten(0, flat.shape[:-1])

    def input_column_norms(self) -> Tensor:
        """(D,) norm of the first layer's weights for each input: how far a unit step of it moves the layer."""
        first = self.layers[0]
        assert isinstance(first, nn.Linear)
        return first.weight[:, : self.input_size].norm(dim=0)
