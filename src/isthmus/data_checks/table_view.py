"""Turn whatever a user passes as data into an array of numbers, and report what is not numeric."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from isthmus.data import first_duplicate, split_numeric_columns
from isthmus.data.row_names import rows_are_examples
from isthmus.errors import InputError
from isthmus.examples import Examples
from isthmus.finding import Finding
from isthmus.wording import join_names, pluralize

if TYPE_CHECKING:
    import numpy as np

MAX_COUNT = 1e15
"""Largest whole number that is taken for a count: much larger floats are all whole."""


@dataclass(frozen=True)
class TableView:
    """Numeric examples with the names of their columns.

    Args:
        examples: x (n, *X) is a numeric array; lengths (n,) are given for padded sequences.
        names: names of the columns, empty if they have none.
        label: what the data are called in messages: X, x_valid or x_test.
        total: how many rows there are, of which the examples are some; 0 if they are all.
        oriented: whether it has been said, or names say, whether rows or columns are the examples.
    """

    examples: Examples
    names: tuple[str, ...] = ()
    label: str = "X"
    total: int = 0
    oriented: bool = False

    @property
    def x(self) -> np.ndarray:
        """(n, *X)."""
        return self.examples.x

    @property
    def lengths(self) -> np.ndarray | None:
        """(n,) number of steps of each sequence."""
        return self.examples.lengths

    @property
    def image(self) -> bool:
        """Whether the examples are images."""
        return self.x.ndim in (3, 4) and self.lengths is None

    @property
    def columns(self) -> np.ndarray:
        """(n, d) the data as columns; pixels of images; (steps, d) of sequences, without padding."""
        import numpy as np

        if self.lengths is None or self.x.ndim != 3:
            return self.x.reshape(len(self.x), math.prod(self.x.shape[1:]))
        return self.x[np.arange(self.x.shape[1]) < np.asarray(self.lengths)[:, None]]

    def column(self, j: int) -> TableView:
        """A column of a table by itself, under its name."""
        return replace(self, examples=Examples(self.columns[:, [j]]), names=(self.column_name(j),))

    def locate(self, bad: np.ndarray) -> tuple[str, dict[str, Any]]:
        """Columns of a mask (n, d) that contain True, with counts: as text, and as evidence of a finding."""
        import numpy as np

        counts = bad.sum(0)
        columns = np.flatnonzero(counts).tolist()
        evidence: dict[str, Any] = {"values": int(counts.sum()), "columns": len(columns)}
        if self.image:
            where = f"{pluralize(counts.sum(), 'value')} in {pluralize(len(columns), 'pixel')} of {self.label}"
            return where, evidence
        evidence["per_column"] = {self.column_name(j): int(counts[j]) for j in columns}
        where = join_names(f"{self.column_name(j)} ({counts[j]:,})" for j in columns)
        return f"column {where} of {self.label}", evidence

    def column_name(self, j: int) -> str:
        """Name of column `j`, or its number."""
        return self.names[j] if self.names else str(j)


def inspect(examples: Examples, label: str) -> tuple[TableView | None, list[Finding]]:
    """The numeric columns of `examples`, None if there are none, and a finding for everything that is not numeric."""
    import numpy as np

    x: Any = examples.x
    if hasattr(x, "is_meta"):  # a tensor, without importing torch
        from isthmus.array_checks import from_torch

        try:
            x = from_torch(x)
        except InputError as error:
            return None, [not_numeric(label, str(error))]
    if np.ma.is_masked(x):
        return None, [not_numeric(label, "it has masked values", "drop those rows or fill them in: X.filled(0)")]
    try:
        if not hasattr(x, "columns"):
            x = np.asarray(x)
            if x.dtype.kind in "OUS" and x.ndim == 2:
                import pandas as pd

                x = pd.DataFrame(x)
        if hasattr(x, "columns"):
            return inspect_table(x, examples, label)
    except (AttributeError, TypeError, ValueError) as error:
        return None, [not_numeric(label, " ".join(str(error).split()))]
    if isinstance(examples.x, np.matrix):
        return None, [not_numeric(label, "it is a numpy.matrix", "pass numpy.asarray(X)")]
    if x.dtype.kind not in "biuf" or not x.ndim:
        return None, [not_numeric(label, f"got an array of {x.dtype}" if x.ndim else f"got {x.item()!r}")]
    x = x.astype(np.uint8) if x.dtype == bool else x  # as `fit` reads booleans
    return TableView(replace(examples, x=x), label=label), []


def inspect_table(frame: Any, examples: Examples, label: str) -> tuple[TableView | None, list[Finding]]:
    """The numeric columns of a DataFrame, and an error for each other column."""
    numbers, other = split_numeric_columns(frame)
    findings = [
        Finding(
            "non-numeric-column", "error", c.message, c.remedy, {"column": c.column, "rows": c.n_bad, "of": c.n_rows}
        )
        for c in other
    ]
    if not frame.columns.is_unique:
        message = f"{label} has {first_duplicate(frame.columns)}"
        findings.append(Finding("duplicate-names", "error", message, "give each column its own name"))
    if not len(numbers.columns):
        return None, findings or [not_numeric(label, "the table has no columns")]
    oriented = bool(len(frame)) and rows_are_examples(frame.index[:1].to_series(), list(numbers.columns))
    x, names = numbers.to_numpy(), tuple(numbers.columns)
    return TableView(replace(examples, x=x), names, label, oriented=oriented), findings


def not_numeric(
    label: str, why: str, remedy: str = "pass an array of numbers (n, d), (n, h, w) or (n, h, w, c)"
) -> Finding:
    """Data that cannot be read as numbers."""
    return Finding("not-numeric", "error", f"{label} is not an array of numbers: {why}", remedy)


def shape_summary(x: Any) -> tuple[int, tuple[int, ...], str]:
    """Number of rows, shape of a row and dtype of data that are not numeric, as far as they have them."""
    shape = tuple(int(side) for side in getattr(x, "shape", ())) or (len(x) if hasattr(x, "__len__") else 1,)
    return shape[0], shape[1:], str(getattr(x, "dtype", "mixed" if hasattr(x, "columns") else type(x).__name__))


def impute(view: TableView, missing: np.ndarray | None = None) -> TableView:
    """Fill in values that are not there, so that checks of the others can run.

    Padding becomes 0; NaN, infinity and values that are `missing` (n, *X) the smallest number of their column.
    """
    import numpy as np

    from isthmus.array_checks import length_mask

    x = view.x
    if view.lengths is not None:
        x = np.where(length_mask(x, np.asarray(view.lengths))[..., None], x, np.zeros((), x.dtype))
    if x.dtype.kind == "f" or missing is not None:
        present = np.isfinite(x) if missing is None else np.isfinite(x) & ~missing
        if not bool(present.all()):
            low = np.where(present, x, np.inf).min(0)
            x = np.where(present, x, np.where(np.isfinite(low), low, 0)).astype(x.dtype)
    return replace(view, examples=replace(view.examples, x=x))


def are_integers_as_floats(x: np.ndarray) -> bool:
    """Whether x (n, *X) are floats that are all whole numbers from 0: counts or levels, as tables often store them."""
    from isthmus.schema import is_integer_valued

    return x.dtype.kind == "f" and bool(x.min() >= 0 and x.max() <= MAX_COUNT) and is_integer_valued(x)


def all_rows_equal(x: np.ndarray) -> bool:
    """Whether all rows of x (n, *X) are the same."""
    return bool((x[:100] == x[:1]).all() and (x == x[:1]).all())
