"""A data set as read from a source: examples to train on, and to validate and test on where the source has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from isthmus.errors import InputError
from isthmus.examples import Examples

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Dataset:
    """Examples to train on, and to validate and test on where the source has them."""

    source: str
    train: Examples
    valid: Examples | None = None
    test: Examples | None = None
    levels: int | None = None
    """Grey levels, where they are not the 256 of bytes."""
    factor_names: tuple[str, ...] | None = None
    """Names of the columns of factors, where they are known."""


def whole_factors(factors: Any, n: int, what: str) -> np.ndarray:
    """Factors (n, F) as int64; InputError where they are not whole numbers, or not of n rows."""
    import numpy as np

    factors = np.asarray(factors)
    if factors.ndim != 2 or len(factors) != n or not factors.shape[1]:
        raise InputError(
            f"{what} have shape {factors.shape} and there are {n} rows; ({n}, number of factors) is wanted"
        )
    if factors.dtype.kind not in "biu":
        raise InputError(
            f"{what} have dtype {factors.dtype}; whole numbers are wanted, one for each level (astype(int))"
        )
    return factors.astype(np.int64)
