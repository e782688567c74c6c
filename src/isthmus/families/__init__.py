"""Families: from a network's raw output to a distribution over an event."""

from isthmus.families.bits_and_levels import (
    Bernoulli,
    BetaBinomial,
    Categorical,
    ContinuousBernoulli,
    CrossEntropy,
    DiscretizedLogistic,
    LevelFamily,
)
from isthmus.families.codes import DiagonalNormal, FlowNormal, FullNormal, Hyperspherical, OneHot, Point, Quantized
from isthmus.families.columns import Columns
from isthmus.families.counts import CountFamily, NegativeBinomial, Poisson
from isthmus.families.family import Family, LinearStart, NormalScale
from isthmus.families.location_scale import LocationScale, StudentT, scale_module

__all__ = [
    "Bernoulli",
    "BetaBinomial",
    "Categorical",
    "Columns",
    "ContinuousBernoulli",
    "CountFamily",
    "CrossEntropy",
    "DiagonalNormal",
    "DiscretizedLogistic",
    "Family",
    "FlowNormal",
    "FullNormal",
    "Hyperspherical",
    "LevelFamily",
    "LinearStart",
    "LocationScale",
    "NegativeBinomial",
    "NormalScale",
    "OneHot",
    "Point",
    "Poisson",
    "Quantized",
    "StudentT",
    "scale_module",
]
