"""Families of bits, numbers on [0, 1], categories and levels."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from isthmus.distributions import continuous, discrete
from isthmus.errors import InputError
from isthmus.families.family import Family, LinearStart
from isthmus.scales import SCALE_FLOOR

MIN_START_RATE, MIN_START_VARIANCE = 1e-3, 0.05
"""Rate of a bit, and its variance p (1 - p), that a linear start takes at least."""


class Bernoulli(Family):
    """Bits."""

    formula = "x ~ Bernoulli(p(z))"

    def start_linear(self, weight: Tensor, mean: Tensor, noise: Tensor) -> LinearStart | None:
        # d logit(p) / dp = 1 / (p (1 - p)) at the mean; rare bits would get slopes that a few rows decide.
        p = mean.clamp(MIN_START_RATE, 1 - MIN_START_RATE)
        return LinearStart(weight / (p * (1 - p)).clamp(min=MIN_START_VARIANCE), p.logit())

    def forward(self, raw: Tensor):
        return discrete.Bernoulli(self.split(raw)[0], self.event_dim)


class CrossEntropy(Bernoulli):
    """Numbers between 0 and 1 by the cross-entropy, which is no log-density."""

    formula = "loss: cross-entropy of x and p(z)"
    has_density = False

    def forward(self, raw: Tensor):
        return discrete.CrossEntropy(self.split(raw)[0], self.event_dim)


class ContinuousBernoulli(Family):
    """Numbers on [0, 1]; logits are bounded, for a pixel that is always 0 would have an unbounded density."""

    formula = "x ~ ContinuousBernoulli(logit(z))"

    def forward(self, raw: Tensor):
        logits = self.split(raw)[0].clamp(-1 / SCALE_FLOOR, 1 / SCALE_FLOOR)
        return continuous.ContinuousBernoulli(logits, self.event_dim)


class LevelFamily(Family):
    """Grey levels 0..k-1."""

    def __init__(self, event_shape, levels: int):
        super().__init__(event_shape)
        if levels < 2:
            raise InputError(f"levels must be an integer >= 2, got {levels}.")
        self.levels = levels


class Categorical(LevelFamily):
    """A free probability for each level; `ordered=False` says that levels are names, not numbers."""

    formula = "x ~ Categorical(p(z))"

    def __init__(self, event_shape, levels: int, ordered: bool = True):
        super().__init__(event_shape, levels)
        self.ordered = ordered
        self.raw_per_element = levels

    def forward(self, raw: Tensor):
        return discrete.Categorical(raw.movedim(-1 - self.event_dim, -1), self.event_dim, self.ordered)


class DiscretizedLogistic(LevelFamily):
    """A rounded logistic; an untrained network puts its location mid-grey."""

    formula = "x ~ Logistic(location(z), scale(z)), rounded to levels"
    raw_per_element = 2

    def start_linear(self, weight: Tensor, mean: Tensor, noise: Tensor) -> LinearStart | None:
        log_scale = 0.5 * noise.clamp(min=0.25 / self.levels**2).log() + math.log(math.sqrt(3) / math.pi)
        raw_scale = log_scale + 1.5
        return LinearStart(
            torch.stack([weight, torch.zeros_like(weight)], 1), torch.stack([mean - 0.5, raw_scale.expand_as(mean)])
        )

    def forward(self, raw: Tensor):
        loc, log_scale = self.split(raw)
        # Two levels wide at the least sharp start; never finer than a hundredth of a level.
        floor = math.log(0.01 / (self.levels - 1))
        return discrete.DiscretizedLogistic(loc + 0.5, (log_scale - 1.5).clamp(floor, 5), self.levels, self.event_dim)


class BetaBinomial(LevelFamily):
    """An overdispersed binomial, by a logit and a log-concentration."""

    formula = "x ~ BetaBinomial(k - 1, a(z), b(z))"
    raw_per_element = 2

    def forward(self, raw: Tensor):
        logit, log_c = self.split(raw)
        log_c = (log_c + 1).clamp(-7, 12)
        sigmoid = nn.functional.logsigmoid
        return discrete.BetaBinomial(
            (log_c + sigmoid(logit)).clamp(min=-12),
            (log_c + sigmoid(-logit)).clamp(min=-12),
            self.levels,
            self.event_dim,
        )
