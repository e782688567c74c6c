"""Fully connected networks."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from isthmus.nets.layers import Linear, activation, concat_condition


class MLP(nn.Module):
    """Multilayer perceptron (*batch, *input_shape) to (*batch, out); linear without hidden layers.

    A linear path from the input to the output may run beside the hidden layers, whose last layer then starts at zero:
    the network begins as a linear model and learns what that one leaves.

    Args:
        input_shape: shape of one input, which is flattened.
        hidden: widths of the hidden layers.
        out: number of outputs.
        condition: width of the condition.
        act: name of the activation between layers.
        dropout: share of the hidden units that is set to zero in training.
        linear_path: whether there is a linear path beside the hidden layers.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        hidden: tuple[int, ...],
        out: int,
        *,
        condition: int = 0,
        act: str = "silu",
        dropout: float = 0.0,
        linear_path: bool = False,
    ):
        super().__init__()
        self.input_ndim = len(input_shape)
        sizes = [math.prod(input_shape) + condition, *hidden, out]
        layers: list[nn.Module] = []
        for wide, narrow in pairwise(sizes):
            layers += [Linear(wide, narrow), activation(act, dropout)]
        self.layers = nn.Sequential(*layers[:-1])
        self.linear_path = Linear(sizes[0], out) if linear_path and hidden else None
        if self.linear_path is not None:
            last = layers[-2]
            assert isinstance(last, nn.Linear)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        self.input_size = math.prod(input_shape)

    def forward(self, x: Tensor, c: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        flat = concat_condition(x if self.input_ndim == 1 else x.flatten(-self.input_ndim), c)
        if flat.ndim == 2:
            return self.on_rows(flat)
        # Flattened once here instead of in every layer and in its gradient.
        return self.on_rows(flat.flatten(0, -2)).unflatten(0, flat.shape[:-1])

    def on_rows(self, rows: Tensor) -> Tensor:
        """(N, D) to (N, out)."""
        return self.layers(rows) if self.linear_path is None else self.layers(rows) + self.linear_path(rows)

    def hidden_layers(self) -> list[nn.Module]:
        """The modules before the output layer."""
        return list(self.layers)[:-1]

    @property
    def is_linear(self) -> bool:
        """Whether the output is a linear function of the input."""
        return len(self.layers) == 1

    def linear_map(self) -> nn.Linear | None:
        """The linear layer from the input to the output, if there is one."""
        first = self.layers[0]
        assert isinstance(first, nn.Linear)
        return first if self.is_linear else self.linear_path

    def input_column_norms(self) -> Tensor:
        """(D,) norm of the first weights for each input: how far a unit step of it moves the first layer."""
        first = self.layers[0]
        assert isinstance(first, nn.Linear)
        weights = [first.weight] if self.linear_path is None else [first.weight, self.linear_path.weight]
        return torch.cat(weights)[:, : self.input_size].norm(dim=0)
