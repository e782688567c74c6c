"""Building blocks that networks share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isthmus.errors import unknown

ACTIVATIONS = {"relu": nn.ReLU, "silu": nn.SiLU, "gelu": nn.GELU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "elu": nn.ELU}


class Linear(nn.Linear):
    """A dense layer that computes in the dtype of its weights, whatever that of its input is."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight
        return F.linear(x.to(weight.dtype), weight, self.bias)


class Conv2d(nn.Conv2d):
    """A convolution that computes in the dtype of its weights."""

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return super()._conv_forward(x.to(weight.dtype), weight, bias)


class ConvTranspose2d(nn.ConvTranspose2d):
    """A transposed convolution that computes in the dtype of its weights."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        return super().forward(x.to(self.weight.dtype), output_size)


def activation(name: str, dropout: float = 0.0) -> nn.Module:
    """An activation by name, of whose outputs a share is dropped in training (Srivastava et al., 2014)."""
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise unknown("activation", str(name), ACTIVATIONS)
    function = ACTIVATIONS[name]()
    return nn.Sequential(function, nn.Dropout(dropout)) if dropout else function


def concat_condition(x: Tensor, c: Tensor | None) -> Tensor:
    """Concatenate x (*batch, D) and a condition (B, C), which is repeated over leading draws."""
    return x if c is None else torch.cat([x, c.expand(*x.shape[:-1], c.shape[-1])], -1)


class Log1p(nn.Module):
    """log(1 + x) of counts, which may span orders of magnitude, centred at log(1 + mean).

    Args:
        mean: mean count, a number or one for each element (*X).
    """

    centre: Tensor

    def __init__(self, mean: Any = 0.0):
        super().__init__()
        self.register_buffer("centre", torch.tensor(np.asarray(mean), dtype=torch.get_default_dtype()).log1p())

    def forward(self, x: Tensor) -> Tensor:
        return torch.log1p(x.clamp(min=0)) - self.centre


class ReadColumns(nn.Module):
    """Blocks of columns side by side, each read in its own way: one-hot, through a module, or as they are.

    Args:
        widths: numbers in each block.
        readers: for each block its number of categories (one-hot), a module, or None.
    """

    def __init__(self, widths: Sequence[int], readers: Sequence[int | nn.Module | None]):
        super().__init__()
        self.widths = list(widths)
        self.categories = [reader if isinstance(reader, int) else 0 for reader in readers]
        self.readers = nn.ModuleList(reader if isinstance(reader, nn.Module) else nn.Identity() for reader in readers)

    @property
    def size(self) -> int:
        """Numbers that a network reads."""
        return sum(width * max(1, categories) for width, categories in zip(self.widths, self.categories))

    def forward(self, x: Tensor) -> Tensor:
        """(*batch, D) to (*batch, size)."""
        blocks = []
        for block, reader, categories in zip(x.split(self.widths, -1), self.readers, self.categories):
            if categories:  # a category k of K comes as k / (K - 1)
                index = (block * (categories - 1)).round().long().clamp(0, categories - 1)
                blocks.append(F.one_hot(index, categories).flatten(-2).to(x.dtype))
            else:
                blocks.append(reader(block))
        return torch.cat(blocks, -1)


class Preprocess(nn.Module):
    """A network with a transformation of its input."""

    def __init__(self, transform: nn.Module, net: nn.Module):
        super().__init__()
        self.transform, self.net = transform, net

    def forward(self, x: Tensor, c: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        return self.net(self.transform(x), c, mask)
