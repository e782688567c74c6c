"""Families of counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from isthmus.distributions import discrete
from isthmus.families.family import Family, LinearStart
from isthmus.scales import LOG_SCALE_RATE

MIN_MEAN_COUNT = 1e-2
"""Mean that a column of zeros is taken to have."""
MAX_LOG_MEAN_COUNT = 35.0
"""Upper limit of a log-mean: e^35 is 1.6e15."""


class CountFamily(Family):
    """Counts whose log-mean the network gives relative to the log of `mean`, mean counts (*event) or one for all.

    Weights move by at most the learning rate a step: large counts would be out of reach of a log-mean that starts at 0.
    """

    log_base_rate: Tensor

    def __init__(self, event_shape, mean: Any = 1.0):
        super().__init__(event_shape)
        log_base_rate = torch.tensor(np.asarray(mean), dtype=torch.get_default_dtype()).clamp(min=MIN_MEAN_COUNT).log()
        self.register_buffer("log_base_rate", log_base_rate.expand(self.event_shape).clone())

    def start_linear(self, weight: Tensor, mean: Tensor, noise: Tensor) -> LinearStart | None:
        # The encoder reads log(1 + x). E[exp(z W)] = exp(|W|² / 2) for z ~ N(0, I): the mean count stays as it is.
        return LinearStart(weight, -0.5 * weight.square().sum(0))

    def log_mean(self, raw: Tensor) -> Tensor:
        """(*batch, *event) log of the mean, bounded so that no mean overflows."""
        return (self.split(raw)[0] + self.log_base_rate).clamp(max=MAX_LOG_MEAN_COUNT)


class Poisson(CountFamily):
    """Counts whose variance is their mean."""

    formula = "x ~ Poisson(rate(z))"

    def forward(self, raw: Tensor):
        return discrete.Poisson(self.log_mean(raw), self.event_dim)


class NegativeBinomial(CountFamily):
    """Overdispersed counts: mean by the network, one learned dispersion a feature."""

    formula = "x ~ NegativeBinomial(mean(z), size)"

    def __init__(self, event_shape, mean: Any = 1.0):
        super().__init__(event_shape, mean)
        self.raw_size = nn.Parameter(torch.zeros(self.event_shape))

    def start_linear(self, weight: Tensor, mean: Tensor, noise: Tensor) -> LinearStart | None:
        # By the delta method the variance of log(1 + x) is about (1 / mean + 1 / size) (mean / (1 + mean))².
        rate = self.log_base_rate.double().exp()
        inverse = (noise * ((1 + rate) / rate).square() - 1 / rate).clamp(1e-3, 1e2)
        with torch.no_grad():
            self.raw_size.copy_(-inverse.log() / LOG_SCALE_RATE)
        return super().start_linear(weight, mean, noise)

    def log_size(self) -> Tensor:
        """(*event) log of the size r: the variance is mean + mean^2 / r."""
        return (LOG_SCALE_RATE * self.raw_size).clamp(-8, 12)

    def learned(self) -> dict[str, Tensor]:
        return {"size": self.log_size().exp()}

    def forward(self, raw: Tensor):
        return discrete.NegativeBinomial(self.log_mean(raw), self.log_size(), self.event_dim)
