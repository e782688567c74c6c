"""Codes of categories: each of several variables is one of k categories, as k bits of which one is set."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from isthmus import random_streams
from isthmus.distributions.independent import Drawn, LightDistribution


def one_hot(index: Tensor, log_p: Tensor) -> Tensor:
    """(..., V) categories as bits (..., V, k), in the type of log-probabilities (..., V, k)."""
    return (index[..., None] == torch.arange(log_p.shape[-1], device=log_p.device)).to(log_p.dtype)


class OneHotCategories(LightDistribution):
    """Independent categories, whose draws pass on the gradient of softer ones.

    A draw is where log p plus Gumbel noise is largest; its gradient is that of the softmax of the same numbers divided
    by a temperature (Jang et al., 2017, the straight-through form): draws are codes, their gradient is approximate.

    Args:
        log_p: (B, V, k) log-probabilities of the categories of each variable.
        temperature: of the softmax, > 0; the lower, the nearer to a draw and the noisier the gradient.
    """

    row_parameters = ("log_p",)
    differentiable = False
    path_gradient = False

    def __init__(self, log_p: Tensor, temperature: float = 1.0):
        super().__init__(log_p.shape[:1], torch.Size((log_p.shape[1] * log_p.shape[2],)))
        self.log_p, self.temperature = log_p, temperature

    @property
    def mean(self) -> Tensor:
        return self.log_p.exp().flatten(-2)

    @property
    def centre(self) -> Tensor:
        """(B, V k) the most likely categories: probabilities are no code."""
        return one_hot(self.log_p.argmax(-1), self.log_p).flatten(-2)

    @property
    def std(self) -> Tensor:
        p = self.log_p.exp()
        return (p * (1 - p)).clamp(min=0).sqrt().flatten(-2)

    def noise(self, draws: int, rows: int) -> Tensor:
        u = random_streams.uniform((draws, rows, *self.log_p.shape[1:]), self.log_p)
        tiny = torch.finfo(u.dtype).tiny
        return -(-u.clamp(min=tiny).log()).clamp(min=tiny).log()  # Gumbel's

    def draw(self, noise: Tensor) -> Drawn:
        scores = self.log_p + noise  # (K, B, V, k)
        bits = one_hot(scores.argmax(-1), self.log_p)
        soft = (scores / self.temperature).softmax(-1)
        z = bits + (soft - soft.detach())
        # By z rather than its bits: the gradient of log q would be its score alone, whose mean is 0.
        return Drawn(z.flatten(-2), (z * self.log_p).sum((-2, -1)))

    def log_prob(self, z: Tensor) -> Tensor:
        """(..., B) nats of codes (..., B or 1, V k)."""
        return (z.unflatten(-1, self.log_p.shape[1:]) * self.log_p).sum((-2, -1))


class UniformCategories(LightDistribution):
    """Independent categories, all equally likely.

    Args:
        variables: V.
        k: categories of each.
        like: a tensor of the precision and device of codes.
    """

    differentiable = False

    def __init__(self, variables: int, k: int, like: Tensor):
        super().__init__(torch.Size(), torch.Size((variables * k,)))
        self.variables, self.k, self.like = variables, k, like

    @property
    def mean(self) -> Tensor:
        return self.like.new_full(self._event_shape, 1 / self.k)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        shape = (*sample_shape, self.variables)
        with torch.no_grad():
            place = (random_streams.uniform(shape, self.like) * self.k).long().clamp(max=self.k - 1)
            return one_hot(place, self.like.new_zeros(self.k)).flatten(-2)

    def log_prob(self, z: Tensor) -> Tensor:
        """(...) nats of codes (..., V k)."""
        return z.new_full(z.shape[:-1], -self.variables * math.log(self.k))
