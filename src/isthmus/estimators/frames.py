"""DataFrames out where a DataFrame went in: the columns of the training data around arrays that a model returns."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np

from isthmus.schema import WHOLE_KINDS, Schema


def column_dtypes(frame: Any) -> tuple[str, ...]:
    """The NumPy dtype of each column of a pandas DataFrame; "" for columns that are not numeric."""
    kinds = [(getattr(dtype, "kind", "O"), getattr(dtype, "itemsize", 8)) for dtype in frame.dtypes]
    return tuple(np.dtype(f"{kind}{size}").name if kind in "biuf" else "" for kind, size in kinds)


def to_frame(
    values: np.ndarray, schema: Schema, library: str, *, drawn: bool = False, index: Any = None, names: Any = None
) -> Any:
    """An array (n, d) in data units as a DataFrame with the columns of the training data.

    A column has the dtype that it had in training where that can hold what its likelihood gives: draws of whole
    numbers and truth values are of these types again, means are floats.

    Args:
        values: (n, d).
        schema: of the training data, which were a DataFrame.
        library: polars, if it is installed; pandas otherwise.
        drawn: whether these are draws, not means.
        index: of the rows, for pandas.
        names: of the columns; by default those of training, or numbers if these were no text.
    """
    kinds, discrete = schema.per_element("kind"), schema.per_element("discrete")
    whole = np.isin(kinds, WHOLE_KINDS) & discrete & (drawn | (kinds == "category"))
    columns = {
        j: as_dtype(values[:, j], dtype, whole[j], kinds[j] == "binary") for j, dtype in enumerate(schema.dtypes)
    }
    if library == "polars":
        with contextlib.suppress(ImportError):  # of a model that was trained where it is installed
            import polars

            return polars.DataFrame([*columns.values()], [*schema.names])
    import pandas as pd

    frame = pd.DataFrame(columns, index=index)
    names = schema.names or None if names is None else names
    return frame if names is None else frame.set_axis(names, axis=1)


def as_dtype(column: np.ndarray, name: str, whole: bool, binary: bool) -> np.ndarray:
    """A column in a dtype by its name, if that can hold it; numbers that are too large become the largest one."""
    dtype = np.dtype(name or column.dtype)
    if dtype.kind == "b" and whole and binary:
        return column != 0
    if dtype.kind in "iu" and whole:
        limits = np.iinfo(dtype)
        return column.clip(limits.min, limits.max).astype(dtype)
    if dtype.kind == "f" and dtype.itemsize >= 4:
        return column.astype(dtype)
    return column
