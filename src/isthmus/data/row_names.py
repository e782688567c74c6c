"""Names of a table's rows: the index in front of it; rows that seem to be features, as in a table of genes by cells."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from isthmus.data.column_roles import NO_ROLES, ColumnRoles

if TYPE_CHECKING:
    import pandas as pd

UNNAMED = re.compile(r"|Unnamed: \d+(_level_\d+)?(\.\d+)*")
"""Names that pandas gives to a column without one, or to its index on the way through a file."""
WIDE = 10
"""Columns for each row from which the columns of a table with named rows may be the examples."""
FEATURE = re.compile(r"\b(gene|feature|probe|symbol|transcript|protein|taxon|otu|asv|ens[a-z]{0,4}[gtp]\d)", re.I)
EXAMPLE = re.compile(r"\b(cell|sample|patient|subject|donor|barcode|[acgt]{8,}\b)", re.I)
NUMBERED_EXAMPLE = re.compile(r"\b((cell|sample|patient|subject|donor|barcode)s?[ ._-]?\d|[acgt]{8,}\b)", re.I)
"""How features, how examples, and how columns that are examples are often called."""
MANY = 20
"""Columns from which rows that are called features are hardly the examples."""


def without_index(
    frame: pd.DataFrame, roles: ColumnRoles = NO_ROLES, said: bool = False
) -> tuple[pd.DataFrame, list[str]]:
    """A table without the columns in front that are the index of its rows; what is to be said of it.

    Args:
        frame: the table.
        roles: columns with a role are kept.
        said: whether it is said elsewhere that the first column is the index.
    """
    notes = []
    if len(frame.columns) and not roles.of_model:
        first = frame.iloc[:, 0]
        features = [name for name in frame.columns[1:] if roles.reads(name) and name not in roles.no_features]
        notes += [note] if (note := transposed_note(first, features)) else []
    while len(frame.columns) > 1 and is_unnamed(frame.columns[0], roles) and is_index(frame.iloc[:, 0]):
        if list(frame.iloc[:, 0]) != list(range(len(frame))):
            left_out = "the first column, which has no name, is taken for the index of the rows and left out"
            notes += [] if said else [left_out]
        frame = frame.iloc[:, 1:]
    return frame, notes


def transposed_note(names: pd.Series, columns: Sequence[Any]) -> str:
    """What is to be said of a table whose columns seem to be the examples; "" if they do not.

    What rows and columns are called decides; where that says nothing, far more columns than rows do.

    Args:
        names: of the rows, perhaps with a name of its own: a column, or the index of a table.
        columns: names of the features.
    """
    if not len(names) or not len(columns) or not is_names(names):
        return ""
    of_rows, of_columns = f"{names.name} {names.iloc[0]}", str(columns[0])
    if rows_are_examples(names, columns):
        return ""
    many = len(columns) > (MANY if FEATURE.search(of_rows) else WIDE * len(names))
    if not many and not NUMBERED_EXAMPLE.search(of_columns):
        return ""
    return (
        f"{len(names):,} named rows have {len(columns):,} columns; if columns are the examples, as in a table of genes "
        "by samples, transpose it"
    )


def rows_are_examples(names: pd.Series, columns: Sequence[Any]) -> bool:
    """Whether rows are called what examples are, or columns what features are: the table is as it should be.

    Args:
        names: of the rows, at least one.
        columns: names of the features, at least one.
    """
    return bool(EXAMPLE.search(f"{names.name} {names.iloc[0]}") or FEATURE.search(str(columns[0])))


def is_unnamed(name: Any, roles: ColumnRoles) -> bool:
    """Whether a column has no name of its own and no role."""
    return UNNAMED.fullmatch(str(name)) is not None and name not in roles.named


def is_index(column: pd.Series) -> bool:
    """Whether a column without a name is the index of the rows, as pandas and R write it: whole numbers or words."""
    kind = getattr(column.dtype, "kind", "O")
    if kind == "b" or bool(column.isna().any()):
        return False
    return kind != "f" or bool((column % 1 == 0).all())


def is_names(column: pd.Series) -> bool:
    """Whether a column holds words of which no two are the same."""
    return getattr(column.dtype, "kind", "O") == "O" and column.is_unique and isinstance(column.iloc[0], str)
