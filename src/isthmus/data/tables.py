"""Tables: .csv and .parquet, and which of their columns are numbers."""

from __future__ import annotations

import contextlib
import csv
import itertools
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from isthmus.data.dataset import Dataset
from isthmus.data.guards import need
from isthmus.errors import InputError, unknown
from isthmus.examples import Examples

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


def from_csv(path: Path, source: str) -> Dataset:
    """A table in UTF-8, its columns apart by comma, semicolon or tab; a first line of bare numbers is a row."""
    import pandas as pd

    need(path.stat().st_size, source)
    with path.open(encoding="utf-8-sig", newline="") as file:
        line = next((line for line in file if line.strip()), "")
    separator = next((s for s in ",;\t" if s in line), ",")
    names = [name.strip() for name in next(csv.reader([line], delimiter=separator), [])]
    with path.open(encoding="utf-8-sig", newline="") as file, warnings.catch_warnings():
        # A row longer than the header would lose its end, or become an index, with no more than a warning.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        frame = pd.read_csv(
            file,
            sep=separator,
            header=None if is_row(names) else 0,
            index_col=False,
            skipinitialspace=True,
            low_memory=False,
        )
    if names and names[0] == "" and list(frame.iloc[:, 0]) == list(range(len(frame))):
        frame = frame.iloc[:, 1:]  # the index that pandas writes
    return Dataset(source, Examples(frame.rename(columns=lambda name: str(name).strip())))


def is_row(names: list[str]) -> bool:
    """Whether the first line of a table is numbers, not names; numbers that count up by one (0, 1, 2) are names."""
    try:
        numbers = [float(name) for name in names]
    except ValueError:
        return False
    counted = (len(names) > 1 or numbers == [0.0]) and numbers[0] % 1 == 0
    return not (counted and all(b - a == 1 for a, b in itertools.pairwise(numbers)))


def from_parquet(path: Path, source: str) -> Dataset:
    """A table with its names and types."""
    import pandas as pd
    from pyarrow import parquet

    with path.open("rb") as file:
        about = parquet.ParquetFile(file).metadata
        need(8 * about.num_rows * about.num_columns, source)
    with path.open("rb") as file:
        frame = pd.read_parquet(file)
    return Dataset(source, Examples(frame.rename(columns=str)))


def labelled(data: Dataset, condition: str | None) -> Dataset:
    """The same data, the column `condition` of a table taken out of it to be the labels."""
    import numpy as np

    if condition is None:
        return data
    x, y = data.train.x, data.train.y
    if isinstance(x, np.ndarray):
        also = "; its labels (y) are the condition already" if y is not None else ""
        raise InputError(f"condition {condition!r} names a column of a table, and {data.source} has no columns{also}")
    if condition not in x.columns:
        raise unknown("column", condition, x.columns)
    return Dataset(data.source, Examples(x.drop(columns=condition), labels(x[condition], condition)))


def numbers_only(data: Dataset) -> Dataset:
    """The same data, where every column of a table is numbers; else InputError."""
    import numpy as np

    x = data.train.x
    if isinstance(x, np.ndarray):
        return data
    if not len(x.columns):
        raise InputError(f"{data.source} has no columns of numbers; at least one is wanted")
    numbers, words = as_numbers(x)
    if words:
        more = f", and {len(words) - 1} more columns do" if len(words) > 1 else ""
        raise InputError(f"{data.source}: {words[0].message}{more}; {words[0].remedy}")
    return Dataset(data.source, Examples(numbers, data.train.y))


def labels(column: pd.Series, name: str) -> np.ndarray:
    """A column as labels (n,): numbers stay numbers, anything else becomes words."""
    lost = int(column.isna().sum())
    if lost:
        raise InputError(
            f"column {name!r} is the condition and is empty in {lost} of {len(column)} rows; fill it in or drop them"
        )
    if getattr(column.dtype, "kind", "O") in "biuf":
        return own_type(column)
    return column.astype(str).to_numpy(dtype=str)


def own_type(column: pd.Series) -> np.ndarray:
    """A column of numbers without gaps in NumPy's type of the same kind and size."""
    dtype: Any = getattr(column.dtype, "subtype", column.dtype)  # of a sparse column, what it is made of
    return column.to_numpy(dtype=f"{dtype.kind}{dtype.itemsize}")


class NonNumericColumn(NamedTuple):
    """A column that is not numbers: in how many of its rows, and the first value that is none."""

    column: str
    rows: int
    of: int
    first: Any

    @property
    def message(self) -> str:
        return f"column {self.column!r} holds words in {self.rows} of {self.of} rows ({self.first!r} first)"

    @property
    def mend(self) -> str:
        few = "fill those in or drop their rows" if 2 * self.rows < self.of else "encode it (pandas.get_dummies)"
        return f"numbers are wanted: drop the column, {few}"

    @property
    def remedy(self) -> str:
        """What to do with a column of a file."""
        return f"{self.mend}, or make it the condition: --condition {self.column}"


def as_numbers(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[NonNumericColumn]]:
    """The columns that are numbers, in NumPy's types and NaN where empty, and what is known of those that are not."""
    import pandas as pd

    columns = [(str(name), numeric(column)) for name, column in frame.items()]
    words = [found for _, found in columns if isinstance(found, NonNumericColumn)]
    numbers = [(name, found) for name, found in columns if not isinstance(found, NonNumericColumn)]
    # By place, for names may be double.
    table = pd.DataFrame(dict(enumerate(found for _, found in numbers)), index=frame.index)
    return table.set_axis([name for name, _ in numbers], axis=1), words


def doubled(names: pd.Index) -> str:
    """The first name that several columns have, in words."""
    name = names[names.duplicated()][0]
    return f"{int((names == name).sum())} columns named {str(name)!r}"


def numeric(column: pd.Series) -> np.ndarray | NonNumericColumn:
    """A column as an array (n,): truth values as 0 and 1, words that spell numbers as those; else its `Words`."""
    import pandas as pd

    kind = getattr(column.dtype, "kind", "O")
    if kind in "biuf":
        if column.isna().any():
            return column.to_numpy(dtype="float64", na_value=float("nan"))
        return own_type(column).view("uint8") if kind == "b" else own_type(column)
    filled = column.dropna()
    if kind not in "mMc":  # dates and complex numbers would be forced into numbers
        with contextlib.suppress(TypeError, ValueError):
            values = pd.to_numeric(column.astype(object), errors="coerce")
            filled = column[values.isna() & column.notna()]
            if filled.empty:
                return values.to_numpy(dtype="float64" if values.isna().any() else None)
    first = filled.iloc[0] if len(filled) else None
    return NonNumericColumn(str(column.name), len(filled), len(column), first if isinstance(first, str) else str(first))
