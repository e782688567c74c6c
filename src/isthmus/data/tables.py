"""Tables: .parquet, columns that are no features, and which columns are numeric."""

from __future__ import annotations

import contextlib
import math
import shlex
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from isthmus.data.column_roles import NO_ROLES, ColumnRoles
from isthmus.data.dataset import Dataset
from isthmus.data.guards import require_memory
from isthmus.data.row_names import without_index
from isthmus.errors import InputError, unknown
from isthmus.examples import Examples
from isthmus.wording import join_names, one_line, quoted

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

BYTES_PER_VALUE = 8
"""Memory that a value of a table takes, at most: float64 or int64."""
MAX_EXAMPLE = 60
"""Characters of a value or a name that an error quotes, at most."""
MAX_CLASSES, MIN_ID_SHARE = 50, 0.9
"""Words of a column that may be a condition, at most, and the share of rows with words of their own that names them."""
BYTES_PER_CHARACTER = 4
"""Memory of a character of NumPy's strings, which are all as long as the longest."""


def from_parquet(path: Path, source: str, roles: ColumnRoles = NO_ROLES) -> Dataset:
    """Read a table with its column names and dtypes; text becomes categories, for a file holds each word only once.

    Args:
        path: of the file.
        source: what errors call it.
        roles: columns that are left out are not read.

    Raises:
        InputError: for a table that does not fit into memory, and for columns of one name, or of lists of text.
    """
    import pandas as pd
    import pyarrow as pa
    from pyarrow import parquet, types

    with path.open("rb") as file:
        metadata = parquet.read_metadata(file)
        schema = metadata.schema.to_arrow_schema()
        repeated = next((name for name in schema.names if schema.names.count(name) > 1), None)
        if repeated is not None:
            raise InputError(
                f"columns of {source} must have names of their own, got {schema.names.count(repeated)} columns named "
                f"{repeated!r}."
            )
        read = [name for name in schema.names if roles.reads(name)]
        require_memory(parquet_nbytes(metadata, set(read), source), source)
        is_text = (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary)
        words = [field.name for field in schema if any(is_kind(field.type) for is_kind in is_text)]
        table = parquet.ParquetFile(file, metadata=metadata, read_dictionary=words)
        groups = []
        for i in range(metadata.num_row_groups):
            groups.append(table.read_row_group(i, columns=read, use_pandas_metadata=True))
            require_memory(pa.total_allocated_bytes(), source)  # what becomes of it in pandas takes as much again
        frame = pa.concat_tables(groups).to_pandas() if groups else table.read(read).to_pandas()
    if not read:
        frame = pd.DataFrame(index=range(metadata.num_rows))
    frame = frame.reset_index([name for name in frame.index.names if name in roles.named])
    frame, notes = without_index(frame.rename(columns=str), roles)
    if notes:
        warnings.warn(f"{source}: {'; '.join(notes)}.", UserWarning, stacklevel=2)
    return take_columns(Dataset(source, Examples(frame)), roles, schema.names)


def parquet_nbytes(metadata: Any, read: set[str], source: str) -> int:
    """Memory of the columns `read` of a Parquet file: its pages, and a number for each value of each row."""
    n_bytes = 0
    for j in range(metadata.num_columns):
        leaf = metadata.schema.column(j)
        column = leaf.path.split(".")[0]
        if column not in read:
            continue
        if leaf.max_repetition_level and leaf.physical_type == "BYTE_ARRAY":  # each word counts once
            raise InputError(
                f"column {column!r} of {source} must be numeric, but holds lists of text. Drop it: --drop {column}"
            )
        size = max(BYTES_PER_VALUE, leaf.length or 0)
        chunks = [metadata.row_group(i).column(j) for i in range(metadata.num_row_groups)]
        n_bytes += sum(chunk.total_uncompressed_size + size * chunk.num_values for chunk in chunks)
    return max(n_bytes, BYTES_PER_VALUE * metadata.num_rows * len(read))


def take_columns(data: Dataset, roles: ColumnRoles, names: Sequence[str] = ()) -> Dataset:
    """Take the columns that are no features out of a table: labels, ids, and those that are left out.

    Args:
        data: the table.
        roles: of its columns.
        names: of its columns, if not all of them were read.

    Raises:
        InputError: for columns that the table does not have, and for roles of data without columns.
    """
    if not roles.named:
        return data
    x, y = data.train.x, data.train.y
    if not hasattr(x, "columns"):
        asked = {name: option for name, option in roles.named.items() if name not in roles.remembered}
        if not asked:  # a run's table may be followed by arrays, which bring their labels themselves
            warn_of_no_weights([roles.weight], roles, data.source)
            return data
        column, option = next(iter(asked.items()))
        hint = " Its labels (y) are the condition already." if roles.condition is not None and y is not None else ""
        raise InputError(
            f"{option.removeprefix('--')} must name a column of a table, got {column!r}; {data.source} has no columns."
            f"{hint}"
        )
    if not x.columns.is_unique:
        raise InputError(f"columns of {data.source} must have names of their own, got {first_duplicate(x.columns)}.")
    require_columns(names or list(x.columns), roles, data.source)
    if roles.condition is not None:
        y = as_labels(x[roles.condition], f"the condition, column {roles.condition!r},")
    ids = as_labels(x[roles.id], f"the id, column {roles.id!r},") if roles.id in x.columns else None
    weight = as_weights(x[roles.weight]) if roles.weighted and roles.weight in x.columns else None
    features = list(roles.use) or [name for name in x.columns if roles.reads(name) and name not in roles.no_features]
    return replace(data, train=Examples(x[features], y, ids=ids, weight=weight), roles=roles)


def require_columns(names: Sequence[str], roles: ColumnRoles, source: str) -> None:
    """Raise InputError unless a table has the columns of these roles.

    Of columns whose roles are remembered only the condition and the features must be there.
    """
    missing = [name for name in roles.named if name not in names]
    if roles.id in missing and roles.id in roles.remembered:
        warnings.warn(f"{source} has no column {roles.id!r}: its rows have no ids.", UserWarning, stacklevel=5)
    warn_of_no_weights(missing, roles, source)
    optional = roles.remembered & {roles.id, roles.weight, *roles.drop}
    missing = [name for name in missing if name not in optional]
    if wrong := [name for name in missing if name not in roles.remembered]:
        raise unknown(f"column of {source}", wrong[0], map(str, names))
    if roles.condition in missing:
        raise InputError(
            f"{source} must have the column {roles.condition!r}, the condition in training, got a table without it. "
            "Add it, or name the column that holds it: --condition COLUMN."
        )
    if missing:
        raise InputError(
            f"{source} must have the columns of training, got {len(missing):,} missing ({join_names(missing)}). Add or "
            "rename them."
        )


def warn_of_no_weights(missing: Sequence[str | None], roles: ColumnRoles, source: str) -> None:
    """Say that rows have no weights where the remembered column of these is among those that are missing."""
    if roles.weighted and roles.weight in missing and roles.weight in roles.remembered:
        message = f"{source} has no column {roles.weight!r}: its rows have no weights, and count once each."
        warnings.warn(message, UserWarning, stacklevel=6)


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
        names = [one_line(repr(column.column), MAX_EXAMPLE) for column in rejected[1:]]
        others = f" ({join_names(names)} {'is' if len(names) == 1 else 'are'} not numeric either)" if names else ""
        raise InputError(f"{data.source}: {rejected[0].message}{others}. {rejected[0].remedy}")
    return replace(data, train=replace(data.train, x=numbers))


def as_labels(column: pd.Series, what: str) -> np.ndarray:
    """A column as labels (n,): numbers stay numbers, anything else becomes strings.

    Args:
        column: the column.
        what: what errors call it.
    """
    n_empty = int(column.isna().sum())
    if n_empty:
        raise InputError(
            f"{what} must not be empty in any row, but is in {n_empty} of {len(column)} rows. "
            "Fill it in or drop these rows."
        )
    if getattr(column.dtype, "kind", "O") in "biuf":
        return to_native_dtype(column)
    words, place = (column.cat.categories, column.cat.codes) if hasattr(column, "cat") else (column, slice(None))
    text = words.astype(str)
    longest = int(text.str.len().max()) if len(text) else 0
    require_memory(BYTES_PER_CHARACTER * longest * len(column), f"{what} as text of {longest:,} characters,")
    return text.to_numpy(dtype=str)[place]


def as_weights(column: pd.Series) -> np.ndarray:
    """A column as weights (n,); InputError unless they are numbers of at least 0."""
    values = to_numeric(column)
    got = quoted(values.example) if isinstance(values, NonNumericColumn) else ""
    if not isinstance(values, NonNumericColumn):
        bad = values[~((values >= 0) & (values < math.inf))].tolist()
        got = quoted(bad[0]) if bad else "" if values.any() else "only zeros"
    if got or isinstance(values, NonNumericColumn):
        raise InputError(
            f"the weight, column {column.name!r}, must be finite numbers >= 0, got {got}. Correct or drop these rows."
        )
    return values


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
        n_values: number of values that differ.
        unit: how times become numbers, of a column that holds times; empty for others.
    """

    column: str
    n_bad: int
    n_rows: int
    example: Any
    n_values: int
    unit: str = ""

    @property
    def message(self) -> str:
        """What is wrong, without what to do."""
        column, example = (one_line(repr(value), MAX_EXAMPLE) for value in (self.column, self.example))
        return (
            f"column {column} must be numeric, but {self.n_bad} of {self.n_rows} rows are not (the first value is "
            f"{example})"
        )

    @property
    def fix(self) -> str:
        """What to do, in Python."""
        return sentence(self._fixes(), " or ")

    @property
    def remedy(self) -> str:
        """What to do with a column of a file."""
        name = one_line(shlex.quote(self.column), MAX_EXAMPLE)
        fixes = self._fixes(f" (--drop {name})")
        if self.n_bad == self.n_rows and not self.unit:
            if self.names_rows:
                fixes = [f"name the rows by it (--id {name})", fixes[0]]
            elif self.n_values <= MAX_CLASSES:
                fixes = [f"use it as the condition (--condition {name})", *fixes]
        return sentence(fixes, ", or ")

    @property
    def names_rows(self) -> bool:
        """Whether nearly every row has a word of its own."""
        return not self.unit and self.n_values > MAX_CLASSES and self.n_values >= MIN_ID_SHARE * self.n_rows

    def _fixes(self, how: str = "") -> list[str]:
        if self.unit:
            return [f"drop the column{how}", f"turn it into numbers ({self.unit})"]
        if 2 * self.n_bad < self.n_rows:
            return ["fill in or drop these rows", f"drop the column{how}"]
        if self.names_rows:
            return [f"drop the column{how}", "make it the index of the rows"]
        return [f"drop the column{how}", "encode it (pandas.get_dummies)"]


def sentence(ways: list[str], last: str) -> str:
    """Ways out as the begin of a sentence; `last` stands before the last one."""
    text = ", ".join(ways[:-1]) + last + ways[-1]
    return text[:1].upper() + text[1:]


def split_numeric_columns(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[NonNumericColumn]]:
    """The columns that are numeric, in NumPy dtypes with NaN for missing values, and a description of each other."""
    import pandas as pd

    if all(is_plain_number(dtype) for dtype in frame.dtypes):  # nothing to convert, which takes longer than to encode
        return frame.set_axis([str(name) for name in frame.columns], axis=1), []
    columns = [(str(name), to_numeric(column)) for name, column in frame.items()]
    rejected = [column for _, column in columns if isinstance(column, NonNumericColumn)]
    numeric = [(name, column) for name, column in columns if not isinstance(column, NonNumericColumn)]
    # Built by position, because two columns may have the same name.
    table = pd.DataFrame(dict(enumerate(column for _, column in numeric)), index=frame.index)
    return table.set_axis([name for name, _ in numeric], axis=1), rejected


def is_plain_number(dtype: Any) -> bool:
    """Whether a column's type is an integer of NumPy's, float32 or float64, in the machine's byte order."""
    plain = type(dtype).__module__.startswith("numpy") and dtype.isnative
    return plain and (dtype.kind in "iu" or (dtype.kind == "f" and dtype.itemsize in (4, 8)))


def first_duplicate(names: pd.Index) -> str:
    """The first name that several columns share, and how many do: "2 columns named 'a'"."""
    name = names[names.duplicated()][0]
    return f"{int((names == name).sum())} columns named {str(name)!r}"


def to_numeric(column: pd.Series) -> np.ndarray | NonNumericColumn:
    """A column as a numeric array (n,); booleans become 0 and 1, and strings that spell numbers are parsed."""
    import numpy as np
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
            words = column.cat.categories.to_series() if hasattr(column, "cat") else column
            try:
                parsed = pd.to_numeric(words.astype(object), errors="coerce")
            except OverflowError:  # a whole number that is beyond all floats, which is infinite
                parsed = pd.to_numeric(words.astype(str), errors="coerce")
            if hasattr(column, "cat"):
                numbers = parsed if (column.cat.codes >= 0).all() else np.append(parsed, np.nan)  # -1: no value
                parsed = pd.Series(np.asarray(numbers)[column.cat.codes], column.index)
            bad = column[parsed.isna() & column.notna()]
            if bad.empty:
                return parsed.to_numpy(dtype="float64" if parsed.isna().any() else None)
    example = bad.iloc[0] if len(bad) else None
    text = (example if isinstance(example, str) else str(example))[: 2 * MAX_EXAMPLE]
    name = str(column.name)
    unit = {"M": f"(X[{name!r}] - X[{name!r}].min()).dt.days", "m": f"X[{name!r}].dt.total_seconds()"}.get(kind, "")
    return NonNumericColumn(name, len(bad), len(column), text, n_values(column), unit)


def n_values(column: pd.Series) -> int:
    """How many values of a column differ; that of its rows where they are of a kind that cannot be compared."""
    try:
        return int(column.nunique())
    except TypeError:  # lists
        return len(column)
