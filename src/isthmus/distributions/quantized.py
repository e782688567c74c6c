"""Discrete codes: a quantized point, and sequences of symbols in which each depends on those before it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from isthmus import random_streams
from isthmus.distributions.independent import Drawn, LightDistribution

DRAWN_AT_ONCE = 1024
"""Sequences that are drawn in one call."""


class QuantizedCode(LightDistribution):
    """One code for each row, of probability 1 among codes of S symbols.

    Args:
        loc: (B, D) the codes; the gradient with respect to them is passed on to `raw`.
        index: (B, S) their symbols.
        raw: (B, D) what was quantized.
    """

    row_parameters = ("loc", "index", "raw")
    evaluable = False
    differentiable = False
    is_one_code = True

    def __init__(self, loc: Tensor, index: Tensor, raw: Tensor):
        super().__init__(loc.shape[:-1], loc.shape[-1:])
        self.loc, self.index, self.raw = loc, index, raw

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def std(self) -> Tensor:
        return torch.zeros_like(self.loc)

    def noise(self, draws: int, rows: int) -> Tensor:
        return self.loc.new_zeros(draws, rows, 0)

    def draw(self, noise: Tensor) -> Drawn:
        return Drawn(self.loc[None], self.loc.new_zeros(1, len(self.loc)))  # all draws are one

    def draw_equal(self, draws: int, rows: int) -> Tensor:
        return self.loc.expand(draws, *self.loc.shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.loc.expand(*sample_shape, *self.loc.shape)

    def log_prob(self, z: Tensor) -> Tensor:
        """0 nats: of its code, the only one that is possible."""
        return z.new_zeros(z.shape[:-1])


class SymbolSequence(LightDistribution):
    """Codes of S symbols, each of which depends on those before it.

    Args:
        quantizer: a module with `index_of` and `embed`, between codes (..., D) and symbols (..., S).
        net: a network of symbols (N, T) to the logits (N, T, K) of each given those before it; with `last=True` to
            those of the last alone (N, 1, K).
        like: a tensor of the precision and device of codes.
    """

    differentiable = False

    def __init__(self, quantizer: Any, net: nn.Module, like: Tensor):
        self.symbols: int = quantizer.symbols
        size = quantizer.embed(torch.zeros(self.symbols, dtype=torch.long, device=like.device)).shape
        super().__init__(torch.Size(), size)
        self.quantizer, self.net, self.like = quantizer, net, like

    def symbol_log_prob(self, index: Tensor) -> Tensor:
        """(..., S) nats of symbols (..., S), each given those before it."""
        flat = index.reshape(-1, self.symbols)
        log_p = self.net(flat).log_softmax(-1).gather(-1, flat[..., None])[..., 0]
        return log_p.reshape(index.shape)

    def log_prob(self, z: Tensor) -> Tensor:
        """(...) nats of codes (..., D)."""
        return self.symbol_log_prob(self.quantizer.index_of(z)).sum(-1)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        shape = torch.Size(sample_shape)
        with torch.no_grad():
            index = torch.zeros(shape.numel(), 0, dtype=torch.long, device=self.like.device)
            drawn = torch.cat([self._sequences(block) for block in index.split(DRAWN_AT_ONCE)])
            return self.quantizer.embed(drawn).to(self.like.dtype).reshape(*shape, *self._event_shape)

    def _sequences(self, index: Tensor) -> Tensor:
        """(N, S) drawn symbols, of none yet (N, 0)."""
        for _ in range(self.symbols):
            p = self.net(torch.cat([index, index.new_zeros(len(index), 1)], 1), last=True)[:, 0].softmax(-1)
            drawn = torch.multinomial(p, 1, generator=random_streams.generator(p.device))
            index = torch.cat([index, drawn], 1)
        return index
