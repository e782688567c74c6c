"""A network of sequences of symbols, in which each reads those before it."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

WIDTH, HEADS, BLOCKS = 64, 4, 2
"""Of the transformer."""
MIN_VARIANCE = 1e-5
"""Added to variances by which vectors are divided."""


def standardized(x: Tensor) -> Tensor:
    """Each vector with mean 0 and variance 1 (Ba et al., 2016); the layer that reads it scales and shifts."""
    x = x - x.mean(-1, keepdim=True)
    return x * (x.square().mean(-1, keepdim=True) + MIN_VARIANCE).rsqrt()


class Block(nn.Module):
    """Attention to earlier places and a dense layer at each, both beside the identity.

    Of plain operations, which are recorded and compiled as those of all networks. No GELU: its rounding on the CPU
    depends on what other threads do, and a seed would not give one model.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.read, self.write = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.dense = nn.Sequential(nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor, later: Tensor) -> Tensor:
        """(N, T, width) to the same; `later` (T, T) is True where a place may not be read."""
        parts = self.read(standardized(x)).unflatten(-1, (3, self.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # (N, heads, T, width / heads) each
        weight = (query @ key.mT / math.sqrt(key.shape[-1])).masked_fill(later, -math.inf).softmax(-1)
        x = x + self.write((weight @ value).transpose(1, 2).flatten(2))
        return x + self.dense(standardized(x))


class CausalTransformer(nn.Module):
    """Logits of each of S symbols, one of K, given those before it (Vaswani et al., 2017).

    Args:
        symbols: S.
        values: K.
    """

    later: Tensor

    def __init__(self, symbols: int, values: int):
        super().__init__()
        self.embedding = nn.Embedding(values, WIDTH)
        self.place = nn.Parameter(0.02 * torch.randn(symbols, WIDTH))
        self.start = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.blocks = nn.ModuleList(Block(WIDTH, HEADS) for _ in range(BLOCKS))
        self.out = nn.Linear(WIDTH, values)
        later = torch.ones(symbols, symbols, dtype=torch.bool).triu(1)
        self.register_buffer("later", later, persistent=False)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, index: Tensor, last: bool = False) -> Tensor:
        """(N, T, K) logits of the first T symbols, the last of which is not read, of symbols (N, T); or of the last."""
        n, t = index.shape
        x = torch.cat([self.start.expand(n, 1, -1), self.embedding(index[:, :-1])], 1) + self.place[:t]
        for block in self.blocks:
            x = block(x, self.later[:t, :t])
        return self.out(standardized(x[:, -1:] if last else x))
