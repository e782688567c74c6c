"""Kinds, means and scales of arrays, in double precision and in blocks; arrays that no model can read."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from isthmus.errors import InputError, unknown

MAX_ABSOLUTE_VALUE = 1e140
"""The squares of larger numbers, added up, overflow."""
MAX_COUNT = 1e15
"""Of larger floats all are whole."""
MIN_DIFFERENCE = 1e-140
"""The squares of smaller differences underflow."""
NUMBERS_AT_ONCE = 2**20
"""Numbers in one block, where all of them might not fit into memory a second time."""


IMPUTE = "Drop those rows, or impute the values."
OBSERVED = (
    "Or, in Python, pass observed=np.isfinite(X) to model only the values that are there; the command line reads "
    "complete tables only."
)
DROP_COLUMNS = "Drop the columns that hold nothing else, then drop or impute the rows with missing values."
"""Remedies for NaN and infinity in some rows of a column, also where they are to stay, and in all of them."""


def check_finite(values: np.ndarray, what: str, names: tuple[str, ...] = ()) -> None:
    """Raise InputError naming the first columns that hold NaN, infinity or too large numbers, and how many."""
    if values.dtype.kind != "f":
        return
    with np.errstate(invalid="ignore"):
        low, high = float(values.min(initial=0)), float(values.max(initial=0))
    if low >= -MAX_ABSOLUTE_VALUE and high <= MAX_ABSOLUTE_VALUE:  # not so with NaN
        return
    flat = values.reshape(len(values), -1)
    bad = ~np.isfinite(flat)
    large = not bad.any()
    counts = (np.abs(flat) > MAX_ABSOLUTE_VALUE if large else bad).sum(0)
    columns = np.flatnonzero(counts)
    shown = ", ".join(f"{names[j] if names else j} ({counts[j]})" for j in columns[:5])
    more = f" and {len(columns) - 5} more columns" if len(columns) > 5 else ""
    if large:
        raise InputError(
            f"{what} must not exceed {MAX_ABSOLUTE_VALUE:g}, got larger numbers in column {shown}{more}. Rescale them."
        )
    empty = any(counts[j] == len(flat) for j in columns[:5]) and len(flat) > 1
    remedy = DROP_COLUMNS if empty else f"{IMPUTE} {OBSERVED}" if what == "X" else IMPUTE
    raise InputError(f"{what} must be finite, got NaN or infinity in column {shown}{more}. {remedy}")


def is_integer_valued(values: np.ndarray) -> bool:
    """Whether every value is a whole number."""
    return values.dtype.kind != "f" or bool((values.flat[:100] % 1 == 0).all() and (values % 1 == 0).all())


def kind_of(values: np.ndarray, levels: int | None = None) -> str:
    """One of KINDS, read from the dtype and the values."""
    if values.dtype == bool:
        return "binary"
    if values.size and not values.flat[0] > 1 and bool(((values == 0) | (values == 1)).all()):
        return "binary"
    if values.dtype == np.uint8:
        return "levels"
    if levels is not None and values.min(initial=0) >= 0 and is_integer_valued(values):
        return "levels"
    if values.dtype.kind in "iu":
        return "counts" if values.min(initial=0) >= 0 else "real"
    return "unit" if values.min(initial=0) >= 0 and values.max(initial=1) <= 1 else "real"


class Rows:
    """Some rows of an array, copied when they are read: data that just fit into memory have no room for a second copy.

    Args:
        array: (N, *X).
        index: (n,) positions of the rows.
    """

    def __init__(self, array: np.ndarray, index: np.ndarray):
        self.array, self.index = array, index
        self.shape = (len(index), *array.shape[1:])

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, part: slice) -> np.ndarray:
        return self.array[self.index[part]]


def blocks_of(rows: np.ndarray | Rows) -> Iterator[np.ndarray]:
    """All rows in order, about `NUMBERS_AT_ONCE` numbers at a time."""
    count = max(1, NUMBERS_AT_ONCE // max(1, math.prod(rows.shape[1:])))
    yield from (rows[start : start + count] for start in range(0, len(rows), count))


def moments(
    columns: np.ndarray | Rows, observed: np.ndarray | None = None, weight: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and standard deviation (*X) of (n, *X) in double precision, and True where a column is constant.

    In blocks of rows. With `observed` (n, *X) the values that were not observed are left out; raises InputError for a
    column without any. Rows count by `weight` (n,).
    """
    if observed is not None:
        return observed_moments(columns[:], observed, weight)
    total = len(columns) if weight is None else weight.sum()
    mean = sum((weighted_sum(block, part) for block, part in weighted_blocks(columns, weight)), np.zeros(())) / total
    squares = sum(weighted_sum(np.square(block - mean), part) for block, part in weighted_blocks(columns, weight))
    constant = np.logical_and.reduce([(block == columns[:1]).all(0) for block in blocks_of(columns)])
    return mean, np.sqrt(squares / total), constant


def weighted_blocks(
    rows: np.ndarray | Rows, weight: np.ndarray | None
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """`blocks_of` rows, each with its rows' weights, if there are any."""
    start = 0
    for block in blocks_of(rows):
        yield block, None if weight is None else weight[start : start + len(block)]
        start += len(block)


def weighted_sum(values: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    """(*X) the sum of (n, *X) over rows in double precision, each times its weight (n,) if there are weights."""
    return values.sum(0, dtype=np.float64) if weight is None else np.tensordot(weight, values, axes=1)


def row_count(weight: np.ndarray) -> float:
    """How many rows weights (n,) stand for: their sum, but not fewer than there are; shares add up to 1 only."""
    return max(float(weight.sum()), float(len(weight)))


def observed_moments(
    columns: np.ndarray, observed: np.ndarray, weight: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`moments` of the values that were observed."""
    count = weighted_sum(observed, weight)
    if not count.all():
        raise InputError(f"observed must have a True in every column, got none in column {int(np.argmin(count))}.")
    mean = weighted_sum(np.where(observed, columns, 0.0), weight) / count
    gaps = np.where(observed, columns - mean, 0.0)
    low, high = (np.where(observed, columns, fill) for fill in (np.inf, -np.inf))
    return mean, np.sqrt(weighted_sum(np.square(gaps), weight) / count), low.min(0) == high.max(0)


def has_underflow(columns: np.ndarray) -> np.ndarray:
    """(*X) True where (n, *X) are not constant and yet too close together for their squared differences."""
    _, deviation, constant = moments(columns)
    return (deviation < MIN_DIFFERENCE) & ~constant


def safe_std(columns: np.ndarray, observed: np.ndarray | None = None, weight: np.ndarray | None = None) -> np.ndarray:
    """Standard deviations of (n, *X) as `moments` takes them; 1 where a column is constant.

    The computed deviation of a constant column is rounding, not 0.
    """
    _, deviation, constant = moments(columns, observed, weight)
    return np.where(constant | (deviation == 0), 1.0, deviation)


def scaling_of(
    values: np.ndarray | Rows, how: str, observed: np.ndarray | None = None, weight: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Shift and scale of (n, *X) by name, from the values that were observed; a constant column has scale 1.

    Rows count by `weight` (n,).
    """
    if how == "none":
        return np.zeros(()), np.ones(())
    mean, deviation, constant = moments(values, observed, weight)
    if (columns := np.flatnonzero((deviation < MIN_DIFFERENCE) & ~constant)).size:
        raise InputError(f"column {columns[0]} must vary by more than {MIN_DIFFERENCE:g}. Rescale or drop it.")
    if how == "global":
        return mean, np.asarray(
            1.0 if constant.all() else np.sqrt(np.square(deviation[~constant]).sum() / deviation.size)
        )
    if how == "standard":
        return mean, np.where(constant, 1.0, deviation)
    raise unknown("scaling", how, ("auto", "standard", "global", "none"))
