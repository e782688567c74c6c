"""What reading gives: rows, with what comes with them, in up to three parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from isthmus.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


class Part(NamedTuple):
    """Rows (n, *X), an array or a table with its names, their labels (n,) and, for padded sequences, lengths (n,).

    Factors (n, F) are what the rows were made from, whole numbers, where that is known.
    """

    x: np.ndarray | pd.DataFrame
    y: np.ndarray | None = None
    lengths: np.ndarray | None = None
    factors: np.ndarray | None = None


@dataclass(frozen=True)
class Dataset:
    """What was read: rows to train on, and rows to validate and test on where the source has them."""

    source: str
    train: Part
    valid: Part | None = None
    test: Part | None = None
    levels: int | None = None
    """Grey levels, where they are not the 256 of bytes."""
    factor_names: tuple[str, ...] | None = None
    """What the columns of factors are, where that is known."""


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
