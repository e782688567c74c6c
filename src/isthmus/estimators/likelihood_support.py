"""Which likelihood reads the data, how many levels it has, and the values that it cannot give a density."""

from __future__ import annotations

import dataclasses
import numbers
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from isthmus import families
from isthmus.errors import InputError, unknown
from isthmus.estimators.part_registry import (
    AUTO,
    BITS,
    COUNTS,
    FAMILIES,
    LEVELLED,
    LIKELIHOODS,
    NUMBERS,
    Support,
    parse,
)
from isthmus.schema import Schema, is_integer_valued

if TYPE_CHECKING:
    from isthmus.estimators.base import Estimator

NOT_A_DENSITY = (
    "bernoulli on numbers between 0 and 1 is not a density, and its log-likelihood cannot be compared",
    "use likelihood='continuous_bernoulli', or binarize=True",
)
"""What to know of such a model, and what to do."""


def likelihood_of(estimator: Estimator, kind: str) -> tuple[str, tuple[Any, ...]]:
    """The likelihood's name and arguments; for a part of the user's own, those of what it is made like."""
    if not isinstance(estimator.likelihood, str):
        part = estimator.likelihood
        if not isinstance(part, families.Family):
            raise InputError(f"likelihood={part!r} came; a name or a part of isthmus.families is wanted")
        name = next((n for n, family in FAMILIES.items() if isinstance(part, family)), "")
        return name, (part.levels,) if isinstance(part, families.LevelFamily) else ()
    if estimator.binarize:
        if estimator.likelihood not in ("auto", "bernoulli"):
            raise InputError(f"binarize makes bits, which {estimator.likelihood!r} does not fit; use 'bernoulli'")
        return "bernoulli", ()
    if estimator.likelihood == "auto":
        return AUTO[kind], ()
    name, arguments = parse(estimator.likelihood, "likelihood")
    if name not in LIKELIHOODS:
        raise unknown("likelihood", name, LIKELIHOODS)
    return name, arguments


def spelled(name: str, arguments: tuple[Any, ...]) -> str:
    """A call in text."""
    return f"{name}({', '.join(map(repr, arguments))})" if arguments else name


def levels_of(name: str, asked: Any, values: np.ndarray) -> int:
    """Grey levels of a likelihood that reads levels: those asked for, else the type's or the values'; 0 for others."""
    if name not in LEVELLED:
        return 0
    if asked is not None:
        if not isinstance(asked, numbers.Integral) or asked < 2:
            raise InputError(f"{name} of {asked!r} levels came; a whole number of at least 2 is wanted")
        return int(asked)
    return 256 if values.dtype == np.uint8 else max(2, int(values.max()) + 1)


def support_of(name: str, levels: int) -> Support:
    """The values that a likelihood takes; one that is not known takes all."""
    if name in LEVELLED:
        support = LIKELIHOODS[name].support
        return dataclasses.replace(support, wants=f"whole levels 0..{levels - 1}", high=levels - 1.0)
    return LIKELIHOODS[name].support if name in LIKELIHOODS else NUMBERS


class SupportError(NamedTuple):
    """What came and was wanted, what to do, and (n, *X) True where a value is wrong; nowhere if only the type is."""

    message: str
    remedy: str
    bad: np.ndarray


def refusal(name: str, levels: int, asked: int | None, values: np.ndarray) -> SupportError | None:
    """Why the likelihood `name`, of so many levels or none, cannot read values (n, *X); None where it can.

    `asked` are the levels that the user gave for the data, which are whole numbers then.
    """
    low, high = values.min(), values.max()
    if asked is not None and (low < 0 or not is_integer_valued(values)):
        bad = (values < 0) | (values % 1 != 0)
        message = f"levels={asked} was given, and {int(bad.sum()):,} of {bad.size:,} values are negative or fractions"
        return SupportError(message, "leave out levels, or pass whole numbers from 0", bad)
    support = support_of(name, levels)
    if support.low <= low and high <= support.high and (not support.whole or surely_whole(values, asked)):
        return None
    bad = (values < support.low) | (values > support.high)
    if support.whole:
        bad |= values % 1 != 0
    message = f"{name} takes {support.wants}; {values.dtype} values from {low:g} to {high:g} came"
    return SupportError(message, remedy(support, values), bad)


def surely_whole(values: np.ndarray, asked: int | None) -> bool:
    """Whether values are integers, bits or levels that were asked for; other floats, if whole, may be measurements."""
    return values.dtype.kind != "f" or ((asked is not None or bool(values.max() <= 1)) and is_integer_valued(values))


def remedy(support: Support, values: np.ndarray) -> str:
    """What to do with values out of a support."""
    low, high = values.min(), values.max()
    if support is BITS and values.dtype == np.uint8:
        return "pass binarize=True, or X / 255.0"
    if not support.whole:
        return "pass X / 255.0" if values.dtype == np.uint8 else "rescale them, or use likelihood='normal'"
    if low < 0:
        return f"{int((values < 0).sum()):,} values are negative; use likelihood='normal'"
    if high > support.high and is_integer_valued(values):
        if support is COUNTS:
            return "pass X.astype(float) for measurements: counts so large differ by nothing that a model could learn"
        return f"pass levels={int(high) + 1}, or use likelihood='normal'"
    if not is_integer_valued(values):
        grey = "(X * 255).round().astype('uint8') of grey values, or " if high <= 1 else ""
        return f"they are not whole: pass {grey}whole numbers, or use likelihood='normal'"
    return f"pass integers (X.astype('{'uint8' if high < 256 else 'int64'}')), or use likelihood='normal'"


def scaling_name(asked: str, schema: Schema, likelihood: str) -> str:
    """`auto`: none where the likelihood is discrete or on [0, 1], else global for images and standard for tables."""
    if asked not in ("auto", "standard", "global", "none"):
        raise unknown("scaling", str(asked), ("auto", "standard", "global", "none"))
    if schema.discrete or likelihood == "continuous_bernoulli":
        return "none"
    if asked != "auto":
        return asked
    return "global" if schema.image or schema.kind == "levels" else "standard"
