"""Codes that are a class and a vector of numbers: [one of E classes as E bits, D numbers]."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from isthmus import random_streams
from isthmus.distributions.continuous import HALF_LOG_TWO_PI
from isthmus.distributions.independent import Drawn, LightDistribution

IMPOSSIBLE = -1e4
"""log-probability of classes that a known label excludes: exp of it is 0, and 0 times it as well."""


class LabelledNormal(LightDistribution):
    """q(y given x) q(z given x, y): a draw of z for each class y, weighted by q(y given x).

    Args:
        log_share: (B, E) log q(y given x); where the label is known 0 for it and `IMPOSSIBLE` for the others.
        loc: (B, E, D) means of z given each class.
        log_scale: (B, E, D) logarithms of its scales.
    """

    row_parameters = ("log_share", "loc", "log_scale")
    differentiable = False

    def __init__(self, log_share: Tensor, loc: Tensor, log_scale: Tensor):
        super().__init__(loc.shape[:1], torch.Size((loc.shape[1] + loc.shape[2],)))
        self.log_share, self.loc, self.log_scale = log_share, loc, log_scale

    def given(self, y: Tensor) -> LabelledNormal:
        """The same where labels y (B,) are known; -1 is unknown."""
        classes = torch.arange(self.log_share.shape[1], device=y.device)
        known = torch.where(y[:, None] == classes, 0.0, IMPOSSIBLE).to(self.log_share.dtype)
        return LabelledNormal(torch.where((y >= 0)[:, None], known, self.log_share), self.loc, self.log_scale)

    @property
    def share(self) -> Tensor:
        """(B, E) q(y given x)."""
        return self.log_share.exp()

    @property
    def mean(self) -> Tensor:
        return torch.cat([self.share, (self.share[..., None] * self.loc).sum(1)], -1)

    @property
    def centre(self) -> Tensor:
        """(B, E + D) the most likely class and the mean of z given it: a mixture of classes is no code."""
        y = self.log_share.argmax(-1)
        bits = (y[:, None] == torch.arange(self.log_share.shape[1], device=y.device)).to(self.loc.dtype)
        return torch.cat([bits, (bits[..., None] * self.loc).sum(1)], -1)

    @property
    def std(self) -> Tensor:
        p, away = self.share, self.loc - (self.share[..., None] * self.loc).sum(1, keepdim=True)
        of_z = (p[..., None] * ((2 * self.log_scale).exp() + away.square())).sum(1)
        return torch.cat([p * (1 - p), of_z], -1).clamp(min=0).sqrt()

    def noise(self, draws: int, rows: int) -> Tensor:
        return random_streams.normal((draws, rows, self.loc.shape[-1]), self.loc)

    def draw(self, noise: Tensor) -> Drawn:
        (b, e), k = self.log_share.shape, len(noise)
        noise = noise[:, :, None]  # (K, B or 1, 1, D)
        z = self.loc + self.log_scale.exp() * noise  # (K, B, E, D)
        bits = torch.eye(e, dtype=z.dtype, device=z.device).expand(k, b, e, e)
        log_q = self._log_qy() + (-0.5 * noise.square() - HALF_LOG_TWO_PI).sum(-1) - self.log_scale.sum(-1)
        # Draws of the classes lie side by side: (K, B, E, ...) to (K E, B, ...).
        codes, log_q, log_weight = (
            part.movedim(2, 1).flatten(0, 1)
            for part in (torch.cat([bits, z], -1), log_q.expand(k, b, e), self.log_share.expand(k, b, e))
        )
        return Drawn(codes, log_q, log_weight - math.log(k))

    def _log_qy(self) -> Tensor:
        """(B, E) log q(y given x) of the classes that are possible; 0 for the others, whose draws weigh nothing."""
        return torch.where(self.log_share > 0.5 * IMPOSSIBLE, self.log_share, 0.0)

    def log_prob(self, code: Tensor) -> Tensor:
        """(..., B) nats of codes (..., B or 1, E + D)."""
        e = self.loc.shape[1]
        z = (code[..., None, e:] - self.loc) * (-self.log_scale).exp()  # (..., B, E, D)
        each = self.log_share + (-0.5 * z.square() - HALF_LOG_TWO_PI - self.log_scale).sum(-1)
        y = code[..., :e].argmax(-1, keepdim=True)
        return each.gather(-1, y.expand(*each.shape[:-1], 1)).squeeze(-1)


class LabelledPrior(LightDistribution):
    """A class by its probability, and standard normal numbers.

    Args:
        log_p: (E,) log-probabilities of the classes.
        d: D.
    """

    differentiable = False

    def __init__(self, log_p: Tensor, d: int):
        super().__init__(torch.Size(), torch.Size((len(log_p) + d,)))
        self.log_p, self.d = log_p, d

    @property
    def mean(self) -> Tensor:
        return torch.cat([self.log_p.exp(), self.log_p.new_zeros(self.d)])

    def sample(self, sample_shape: Any = ()) -> Tensor:
        shape = torch.Size(sample_shape)
        n = shape.numel()
        with torch.no_grad():
            y = torch.multinomial(
                self.log_p.exp(), max(1, n), replacement=True, generator=random_streams.generator(self.log_p.device)
            )[:n]
            bits = F.one_hot(y, len(self.log_p)).to(self.log_p.dtype).reshape(*shape, len(self.log_p))
            return torch.cat([bits, random_streams.normal((*shape, self.d), self.log_p)], -1)

    def log_prob(self, code: Tensor) -> Tensor:
        e = len(self.log_p)
        z = code[..., e:]
        return self.log_p[code[..., :e].argmax(-1)] - 0.5 * z.square().sum(-1) - self.d * HALF_LOG_TWO_PI
