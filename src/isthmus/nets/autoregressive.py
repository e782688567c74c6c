"""A network of sequences of symbols, in which each reads those before it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

WIDTH, HEADS, LAYERS = 64, 4, 2
"""Of the transformer."""


class CausalTransformer(nn.Module):
    """Logits of each of S symbols, one of K, given those before it (Vaswani et al., 2017).

    Args:
        symbols: S.
        values: K.
    """

    never: Tensor

    def __init__(self, symbols: int, values: int):
        super().__init__()
        self.embedding = nn.Embedding(values, WIDTH)
        self.place = nn.Parameter(0.02 * torch.randn(symbols, WIDTH))
        self.start = nn.Parameter(torch.zeros(1, 1, WIDTH))
        layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, 4 * WIDTH, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, LAYERS, norm=nn.LayerNorm(WIDTH), enable_nested_tensor=False)
        self.out = nn.Linear(WIDTH, values)
        later = torch.ones(symbols, symbols, dtype=torch.bool).triu(1)
        self.register_buffer("never", later, persistent=False)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, index: Tensor) -> Tensor:
        """(N, T, K) logits of the first T symbols, the last of which is not read, of symbols (N, T)."""
        n, t = index.shape
        before = torch.cat([self.start.expand(n, 1, -1), self.embedding(index[:, :-1])], 1)
        return self.out(self.layers(before + self.place[:t], mask=self.never[:t, :t]))
