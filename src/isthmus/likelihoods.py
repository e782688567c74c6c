"""The likelihoods by name: how each is made for a data set, and which values it gives a density to."""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from isthmus.distributions import continuous
from isthmus.errors import InputError
from isthmus.families import (
    Bernoulli,
    BetaBinomial,
    Categorical,
    ContinuousBernoulli,
    CrossEntropy,
    DiscretizedLogistic,
    Family,
    LocationScale,
    NegativeBinomial,
    Poisson,
    StudentT,
)
from isthmus.schema import MAX_COUNT, Schema, is_integer_valued

NOT_A_DENSITY = (
    "bernoulli on values between 0 and 1 is not a density, and its log-likelihood cannot be compared",
    "use likelihood='continuous_bernoulli', or binarize=True",
)
"""The warning for such a model, and its remedy."""


@dataclass(frozen=True)
class Support:
    """The values that have a density: an interval, or the integers in it; `description` names them in messages."""

    description: str
    low: float = -math.inf
    high: float = math.inf
    integers: bool = False


REALS = Support("numbers")
UNIT_INTERVAL = Support("numbers from 0 to 1", 0.0, 1.0)
BITS = Support("0 and 1, or numbers between", 0.0, 1.0)
COUNTS = Support("counts 0, 1, 2, ... of at most 1e15", 0.0, MAX_COUNT, integers=True)
LEVELS = Support("integer levels from 0", 0.0, integers=True)
"""The highest level depends on the data: `support_of`."""


@dataclass(frozen=True)
class Likelihood:
    """A family for x by name.

    Args:
        family: the class, by which a part that the user made is recognised.
        make: `make(schema, *arguments)` returns the family for data of this schema.
        support: the values that have a density.
        discrete: whether it gives probabilities; scaling the data then does not change it.
        auto_for: the kinds of data (`schema.KINDS`) for which likelihood='auto' chooses it.
    """

    family: type[Family]
    make: Callable[..., Family]
    support: Support
    discrete: bool
    auto_for: tuple[str, ...] = ()


def _location_scale(distribution: Any, scale: str) -> Callable[..., Family]:
    return lambda schema, s=scale: LocationScale(distribution, schema.event_shape, s)


def _plain(family: Any) -> Callable[..., Family]:
    return lambda schema: family(schema.event_shape)


def _counts(family: Any) -> Callable[..., Family]:
    return lambda schema: family(schema.event_shape, schema.mean)


def _levels(family: Any) -> Callable[..., Family]:
    return lambda schema, k=None: family(schema.event_shape, schema.levels)


def _categorical(schema: Schema, k: int | None = None) -> Family:
    return Categorical(schema.event_shape, schema.levels, ordered=schema.kind != "category")


def _feature_scales(schema: Schema) -> Family:
    return LocationScale(continuous.Normal, schema.event_shape, "feature")


def _cross_entropy(schema: Schema) -> Family:
    return (CrossEntropy if schema.is_share else Bernoulli)(schema.event_shape)


AS_MEASUREMENTS = "use likelihood='normal' (--likelihood normal)"
"""What to do with numbers that are no bits, levels or counts."""
MAX_SUGGESTED_LEVELS = 256
"""Integers of more levels are hardly grey levels."""
SQUARED_ERROR_SCALE = math.sqrt(0.5)
"""Scale of the normal whose -log p(x|z) is the squared error up to a constant: (x - m)^2 = (x - m)^2 / 2 s^2."""

LIKELIHOODS: dict[str, Likelihood] = {
    "bce": Likelihood(CrossEntropy, _cross_entropy, BITS, True),
    "bernoulli": Likelihood(Bernoulli, _plain(Bernoulli), BITS, True, ("binary",)),
    "continuous_bernoulli": Likelihood(ContinuousBernoulli, _plain(ContinuousBernoulli), UNIT_INTERVAL, False),
    "normal": Likelihood(LocationScale, _location_scale(continuous.Normal, "shared"), REALS, False, ("unit", "real")),
    "mse": Likelihood(
        LocationScale,
        lambda schema: LocationScale(continuous.Normal, schema.event_shape, SQUARED_ERROR_SCALE),
        REALS,
        False,
    ),
    "diagonal_normal": Likelihood(LocationScale, _feature_scales, REALS, False),
    "laplace": Likelihood(LocationScale, _location_scale(continuous.Laplace, "shared"), REALS, False),
    "student_t": Likelihood(StudentT, _plain(StudentT), REALS, False),
    "categorical": Likelihood(Categorical, _categorical, LEVELS, True),
    "discretized_logistic": Likelihood(DiscretizedLogistic, _levels(DiscretizedLogistic), LEVELS, True, ("levels",)),
    "beta_binomial": Likelihood(BetaBinomial, _levels(BetaBinomial), LEVELS, True),
    "poisson": Likelihood(Poisson, _counts(Poisson), COUNTS, True),
    "negative_binomial": Likelihood(NegativeBinomial, _counts(NegativeBinomial), COUNTS, True, ("counts",)),
}
LEVELLED = tuple(name for name, entry in LIKELIHOODS.items() if entry.support is LEVELS)
COUNTED = tuple(name for name, entry in LIKELIHOODS.items() if entry.support is COUNTS)
AUTO = {kind: name for name, entry in LIKELIHOODS.items() for kind in entry.auto_for}
"""The likelihood that 'auto' chooses for each kind of data."""


def name_of(family: Family | None) -> str:
    """The first likelihood of this family's class; "" for a user-defined class, and for none."""
    return next((name for name, entry in LIKELIHOODS.items() if isinstance(family, entry.family)), "")


def levels_of(name: str, requested: Any, values: np.ndarray) -> int:
    """Number of grey levels: `requested`, else the dtype's or the values'; 0 for likelihoods without levels."""
    if name not in LEVELLED:
        return 0
    if requested is not None:
        if not isinstance(requested, numbers.Integral) or requested < 2:
            raise InputError(f"the levels of {name} must be an integer >= 2, got {requested!r}.")
        return int(requested)
    return 256 if values.dtype == np.uint8 else max(2, int(values.max()) + 1)


def support_of(name: str, levels: int) -> Support:
    """The support of a likelihood by name; all numbers for a user-defined part."""
    if name in LEVELLED:
        support = LIKELIHOODS[name].support
        return dataclasses.replace(support, description=f"integer levels 0..{levels - 1}", high=levels - 1.0)
    return LIKELIHOODS[name].support if name in LIKELIHOODS else REALS


class SupportError(NamedTuple):
    """Values outside the support of a likelihood.

    Args:
        message: what is wrong.
        remedy: what to do.
        outside: (n, *X) True where a value has no density.
    """

    message: str
    remedy: str
    outside: np.ndarray


def support_error(name: str, levels: int, requested: int | None, values: np.ndarray) -> SupportError | None:
    """Why the likelihood cannot model `values`; None if it can.

    Args:
        name: the likelihood.
        levels: its number of levels, 0 if it has none.
        requested: the user's `levels`, which promises integers from 0; None if not given.
        values: (n, *X) data.
    """
    low, high = values.min(), values.max()
    if requested is not None and (low < 0 or not is_integer_valued(values)):
        outside = (values < 0) | (values % 1 != 0)
        what = f"{int(outside.sum()):,} of {outside.size:,} values that are negative or fractional"
        message = f"X must be integers >= 0 with levels={requested}, got {what}"
        return SupportError(message, "leave out levels, or pass integers >= 0", outside)
    support = support_of(name, levels)
    inside = support.low <= low and high <= support.high
    if inside and (not support.integers or is_integer_valued(values)):
        return None
    outside = (values < support.low) | (values > support.high)
    if support.integers:
        outside |= values % 1 != 0
    what = f"{values.dtype} values from {low:g} to {high:g}"
    message = f"X must be {support.description} for likelihood {name!r}, got {what}"
    return SupportError(message, support_remedy(support, values), outside)


def support_remedy(support: Support, values: np.ndarray) -> str:
    """What to do with values outside a support."""
    low, high = values.min(), values.max()
    if support is BITS and values.dtype == np.uint8:
        return "pass binarize=True (--binarize), or X / 255.0"
    if not support.integers:
        return "pass X / 255.0" if values.dtype == np.uint8 else f"rescale them, or {AS_MEASUREMENTS}"
    if low < 0:
        return f"{int((values < 0).sum()):,} values are negative; {AS_MEASUREMENTS}"
    if high > support.high and is_integer_valued(values):
        if support is COUNTS:
            return f"single counts this large cannot be resolved; {AS_MEASUREMENTS}"
        return f"pass levels={int(high) + 1} (--levels {int(high) + 1}), or {AS_MEASUREMENTS}"
    grey = "(X * 255).round().astype('uint8') of grey values, or " if high <= 1 else ""
    return f"they are not integers: pass {grey}integers, or {AS_MEASUREMENTS}"


def integers_remedy(values: np.ndarray) -> str:
    """How integers of at least 0 that are stored as floats are modelled as counts or levels: no dtype says it.

    >>> integers_remedy(np.array([0.0, 2.0]))
    "likelihood='negative_binomial' (--likelihood negative_binomial) for counts, or levels=3 (--levels 3) for levels"
    """
    name, count = AUTO["counts"], int(values.max()) + 1
    counts = f"likelihood={name!r} (--likelihood {name}) for counts"
    return f"{counts}, or levels={count} (--levels {count}) for levels" if count <= MAX_SUGGESTED_LEVELS else counts
