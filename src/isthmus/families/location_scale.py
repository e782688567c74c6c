"""Families of real numbers around a location."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from isthmus.distributions import continuous
from isthmus.families.family import Family, LinearStart, NormalScale
from isthmus.scales import LOG_SCALE_RATE, FixedScale, LearnedScale


class LocationScale(Family):
    """A location for each element by the network, and one scale.

    Args:
        distribution: `Normal` or `Laplace`.
        event_shape: shape of x.
        scale: "shared" (one learned scale), "feature" (one learned scale an element), or a fixed number in the units
            that networks read.
    """

    formula = "x ~ p((x - location(z)) / scale) / scale"

    def __init__(self, distribution, event_shape, scale: str | float = "shared"):
        super().__init__(event_shape)
        self.distribution = distribution
        self.log_scale = scale_module(scale, self.event_shape)
        self.scale_per_element = scale == "feature"
        self.formula = f"x ~ {distribution.__name__}(location(z), scale)"

    def learned(self) -> dict[str, Tensor]:
        return {"scale": torch.as_tensor(self.log_scale()).exp()}

    def normal_scale(self) -> NormalScale | None:
        if not self.distribution.is_diagonal_normal:
            return None
        return NormalScale(torch.as_tensor(self.log_scale(), dtype=torch.float64), bool(self.log_scale.fixed))

    def start_linear(self, weight: Tensor, mean: Tensor, noise: Tensor) -> LinearStart | None:
        if isinstance(self.log_scale, LearnedScale):
            per_variance = 1.0 if self.distribution.is_diagonal_normal else 0.5  # a Laplace's variance: 2 scale²
            variance = noise if self.scale_per_element else noise.mean()
            self.log_scale.start_at((per_variance * variance).sqrt())
        return LinearStart(weight, mean)

    def forward(self, raw: Tensor):
        return self.distribution(self.split(raw)[0], self.log_scale(), self.event_dim)


def scale_module(scale: str | float, event_shape: tuple[int, ...]) -> nn.Module:
    """The module behind "shared", "feature" or a fixed number."""
    if isinstance(scale, str):
        return LearnedScale(event_shape if scale == "feature" else ())
    return FixedScale(scale)


class StudentT(Family):
    """Heavy tails: location by the network, one shared learned scale and degrees of freedom (at least 1)."""

    formula = "x ~ StudentT(degrees of freedom, location(z), scale)"

    def __init__(self, event_shape):
        super().__init__(event_shape)
        self.log_scale = LearnedScale()
        self.raw_df = nn.Parameter(torch.tensor(4.0 / LOG_SCALE_RATE))

    def learned(self) -> dict[str, Tensor]:
        return {"scale": self.log_scale().exp(), "degrees of freedom": self.degrees_of_freedom()}

    def degrees_of_freedom(self) -> Tensor:
        return 1 + nn.functional.softplus(LOG_SCALE_RATE * self.raw_df)

    def start_linear(self, weight: Tensor, mean: Tensor, noise: Tensor) -> LinearStart | None:
        df = float(self.degrees_of_freedom())  # at the start above 2: the variance is scale² df / (df - 2)
        self.log_scale.start_at((noise.mean() * (df - 2) / df).sqrt())
        return LinearStart(weight, mean)

    def forward(self, raw: Tensor):
        df = self.degrees_of_freedom()
        return continuous.StudentT(self.split(raw)[0], self.log_scale(), df, self.event_dim)
