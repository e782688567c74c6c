"""Rows that occur twice: measured rows that are training rows, training rows that are copies of one another."""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from typing import NamedTuple

import numpy as np

from isthmus.array_checks import length_mask
from isthmus.examples import Examples

MIN_OBSERVED_SHARE, ENOUGH_OBSERVED = 0.5, 20
"""Share of a row's values that must be observed for it to be compared, or their number: few are equal by chance."""


class ComparedRows(NamedTuple):
    """Rows that are compared, and what is equal for equal ones."""

    keys: list[bytes]
    """The values of each row, and which of them were observed."""
    positions: np.ndarray
    """(m,) of these rows among all rows."""


class RowKeys:
    """The measured rows and the training rows, compared value by value.

    Floats are compared in the narrower of the two types: files often hold single precision of what was double. Other
    numbers are compared in a type that holds both. Rows of few observed values are left out on both sides.

    Args:
        measured: the measured rows.
        train: the training rows, if they are known.
    """

    def __init__(self, measured: Examples, train: Examples | None):
        types = [rows.x.dtype for rows in (measured, train) if rows is not None]
        floats = all(dtype.kind == "f" for dtype in types)
        common = min(types, key=lambda dtype: dtype.itemsize) if floats else np.result_type(*types)
        self.measured = compared_rows(measured, common)
        self.train = ComparedRows([], np.arange(0)) if train is None else compared_rows(train, common)

    @cached_property
    def times(self) -> Counter[bytes]:
        """How often each training row occurs."""
        return Counter(self.train.keys)

    @cached_property
    def copies(self) -> int:
        """Measured rows that are training rows."""
        return sum(key in self.times for key in self.measured.keys)

    @property
    def share(self) -> float:
        """Share of such rows of the measured rows that are compared; 0 where none are."""
        return self.copies / max(1, len(self.measured.keys))

    @property
    def doubled(self) -> int:
        """Training rows that are copies of others."""
        return len(self.train.keys) - len(self.times)

    @property
    def repeated_share(self) -> float:
        """Share of the compared training rows that occur more than once; 0 where none are compared."""
        return sum(count for count in self.times.values() if count > 1) / max(1, len(self.train.keys))


def compared_rows(rows: Examples, dtype: np.dtype) -> ComparedRows:
    """The rows that are compared, in a type; padding, and what was not observed, is 0 and marked as such."""
    n = len(rows)
    real = np.ones(rows.x.shape, dtype=bool)
    if rows.lengths is not None:
        real &= length_mask(rows.x, rows.lengths)[..., None]
    seen = (real if rows.observed is None else real & rows.observed).reshape(n, -1)
    zero = np.zeros((), dtype)
    x = np.where(seen, rows.x.astype(dtype).reshape(n, -1), zero) + zero  # -0.0 becomes 0.0
    enough = np.minimum(MIN_OBSERVED_SHARE * real.reshape(n, -1).sum(1), ENOUGH_OBSERVED)
    positions = np.flatnonzero(seen.sum(1) >= enough)
    marks = np.packbits(seen, axis=1)
    return ComparedRows([x[i].tobytes() + marks[i].tobytes() for i in positions], positions)
