"""Tables: .parquet, columns that are the condition, and which columns are numeric."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from isthmus.data.dataset import Dataset
from isthmus.data.guards import require_memory
from isthmus.errors import InputError, unknown
from isthmus.examples import Examples

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

BYTES_PER_VALUE = 8
"""Memory that a value of a table takes, at most: float64 or int64."""


def from_parquet(path: Path, source: str) -> Dataset:
    """Read a table with its column names and dtypes."""
    import pandas as pd
    from pyarrow import parquet

    with path.open("rb") as file:
        metadata = parquet.ParquetFile(file).metadata
        require_memory(BYTES_PER_VALUE * metadata.num_rows * metadata.num_columns, source)
    with path.open("rb") as file:
        frame = pd.read_parquet(file)
    return Dataset(source, Examples(frame.rename(columns=str)))


def take_condition(data: Dataset, column: str | None) -> Dataset:
    """Move a column of a table out of x into the labels y; None leaves the data set as it is."""
    import numpy as np

    if column is None:
        return data
    x, y = data.train.x, data.train.y
    if isinstance(x, np.ndarray):
        hint = " Its labels (y) are the condition already." if y is not None else ""
        raise InputError(
            f"condition must name a column of a table, got {column!r}; {data.source} has no columns.{hint}"
        )
    if column not in x.columns:
        raise unknown("column", column, x.columns)
    return replace(data, train=Examples(x.drop(columns=column), as_labels(x[column], column)))


def require_numeric(data: Dataset) -> Dataset:
    """The data set with all columns in numeric dtypes; raises InputError if a column of a table is not numeric."""
    import numpy as np

    x = data.train.x
    if isinstance(x, np.ndarray):
        return data
    if not len(x.columns):
        raise InputError(f"{data.source} has no columns of numbers. Add at least one.")
    numbers, rejected = split_numeric_columns(x)
    if rejected:
        others = f" ({len(rejected) - 1} more columns are not numeric either)" if len(rejected) > 1 else ""
        raise InputError(f"{data.source}: {rejected[0].message}{others}. {rejected[0].remedy}")
    return replace(data, train=Examples(numbers, data.train.y))


def as_labels(column: pd.Series, name: str) -> np.ndarray:
    """A column as labels (n,): numbers stay numbers, anything else becomes strings."""
    n_empty = int(column.isna().sum())
    if n_empty:
        raise InputError(
            f"the condition, column {name!r}, must not be empty in any row, but is in {n_empty} of {len(column)} rows. "
            "Fill it in or drop these rows."
        )
    if getattr(column.dtype, "kind", "O") in "biuf":
        return to_native_dtype(column)
    return column.astype(str).to_numpy(dtype=str)


def to_native_dtype(column: pd.Series) -> np.ndarray:
    """A numeric column without missing values in NumPy's dtype of the same kind and size."""
    dtype: Any = getattr(column.dtype, "subtype", column.dtype)  # the subtype of a sparse column
    return column.to_numpy(dtype=f"{dtype.kind}{dtype.itemsize}")


class NonNumericColumn(NamedTuple):
    """A column that is not numeric, or not in all of its rows.

    Args:
        column: its name.
        n_bad: number of rows whose value is not a number.
        n_rows: number of rows.
        example: the first value that is not a number.
        unit: how times become numbers, of a column that holds times; empty for others.
    """

    column: str
    n_bad: int
    n_rows: int
    example: Any
    unit: str = ""

    @property
    def message(self) -> str:
        """What is wrong, without what to do."""
        return (
            f"column {self.column!r} must be numeric, but {self.n_bad} of {self.n_rows} rows are not (the first value "
            f"is {self.example!r})"
        )

    @property
    def fix(self) -> str:
        """What to do, in Python."""
        return " or ".join(self._fixes())

    @property
    def remedy(self) -> str:
        """What to do with a column of a file."""
        return ", ".join([*self._fixes(), f"or use it as the condition: --condition {self.column}"])

    def _fixes(self) -> list[str]:
        if self.unit:
            return ["Drop the column", f"turn it into numbers ({self.unit})"]
        if 2 * self.n_bad < self.n_rows:
            return ["Fill in or drop these rows", "drop the column"]
        return ["Drop the column", "encode it (pandas.get_dummies)"]


def split_numeric_columns(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[NonNumericColumn]]:
    """The columns that are numeric, in NumPy dtypes with NaN for missing values, and a description of each other."""
    import pandas as pd

    columns = [(str(name), to_numeric(column)) for name, column in frame.items()]
    rejected = [column for _, column in columns if isinstance(column, NonNumericColumn)]
    numeric = [(name, column) for name, column in columns if not isinstance(column, NonNumericColumn)]
    # Built by position, because two columns may have the same name.
    table = pd.DataFrame(dict(enumerate(column for _, column in numeric)), index=frame.index)
    return table.set_axis([name for name, _ in numeric], axis=1), rejected


def first_duplicate(names: pd.Index) -> str:
    """The first name that several columns share, and how many do: "2 columns named 'a'"."""
    name = names[names.duplicated()][0]
    return f"{int((names == name).sum())} columns named {str(name)!r}"


def to_numeric(column: pd.Series) -> np.ndarray | NonNumericColumn:
    """A column as a numeric array (n,); booleans become 0 and 1, and strings that spell numbers are parsed."""
    import pandas as pd

    kind = getattr(column.dtype, "kind", "O")
    if kind in "biuf":
        if column.isna().any():
            return column.to_numpy(dtype="float64", na_value=float("nan"))
        values = to_native_dtype(column)
        return values.view("uint8") if kind == "b" else values
    bad = column.dropna()
    if kind not in "mMc":  # pandas would convert dates, and drop the imaginary part of complex numbers
        with contextlib.suppress(TypeError, ValueError):
            parsed = pd.to_numeric(column.astype(object), errors="coerce")
            bad = column[parsed.isna() & column.notna()]
            if bad.empty:
                return parsed.to_numpy(dtype="float64" if parsed.isna().any() else None)
    example = bad.iloc[0] if len(bad) else None
    name = str(column.name)
    unit = {"M": f"(X[{name!r}] - X[{name!r}].min()).dt.days", "m": f"X[{name!r}].dt.total_seconds()"}.get(kind, "")
    return NonNumericColumn(name, len(bad), len(column), example if isinstance(example, str) else str(example), unit)
