"""Checks of what columns hold instead of measurements: an identifier, dates written as numbers, counts."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING

from isthmus.data_checks.defaults import Defaults
from isthmus.data_checks.suspect_columns import MAX_CLASSES, MIN_ROWS, few_values
from isthmus.data_checks.table_view import MAX_COUNT, TableView
from isthmus.finding import Finding
from isthmus.wording import join_names

if TYPE_CHECKING:
    import numpy as np

NAME_OF_IDENTIFIER = re.compile(r"(^|[_\W])(id|ids|uuid)$|(?-i:[a-z](Id|ID))$", re.I)
"""What columns of distinct whole numbers that identify rows are called, as a word of its own."""
NAME_OF_NUMBERING = re.compile(r"(^|[_\W])(idx|index|key|rownum|row|record|number|no)$", re.I)
"""What they may be called, and others too: those are within the number of the rows."""
NAME_OF_TIME = re.compile(r"(^|[_\W])(date|time|datetime|timestamp|ts|day|created|updated|at|epoch)([_\W]|$)", re.I)
"""What columns of times are called."""
NAME_OF_STEP = re.compile(r"(^|[_\W])(time|t|step|x|dose|day|hour|minute|second|position|age)([_\W]|$)", re.I)
"""What columns that rise from row to row are called and do not number rows: the time of a measurement."""
FIRST_YEAR, LAST_YEAR = 1800, 2200
"""Years of dates that are written as one number, 20240131."""
MIN_DATES = 0.95
"""Share of such dates in a column of them: the others may stand for missing ones, as -9999 does."""
FIRST_SECOND, LAST_SECOND = 3.1e8, 4.1e9
"""Seconds since 1970 from 1980 to 2100, which are taken for times where the column is called so."""


def column_meanings(view: TableView, defaults: Defaults) -> Iterator[Finding]:
    """Columns of a table that number its rows, hold dates, or count something among measurements."""
    if view.image or view.lengths is not None or view.x.dtype == "uint8" or defaults.columns or len(view.x) < MIN_ROWS:
        return
    whole = [j for j in range(view.columns.shape[1]) if is_whole(view.columns[:, j])]
    dates = [j for j in whole if is_date(view.columns[:, j], view.column_name(j) if view.names else "")]
    rows = view.total or len(view.x)
    named = dict(enumerate(view.names))
    identifiers = [
        j for j in whole if j not in dates and numbers_rows(view.columns[:, j], named.get(j, ""), rows, first=j == 0)
    ]
    if identifiers:
        yield Finding(
            "identifier",
            "warning",
            f"column {_names(view, identifiers)} of {view.label} seems to number the rows: its whole numbers are all "
            "different",
            _leave_out(view, identifiers),
            {"columns": [view.column_name(j) for j in identifiers], "rows": rows},
            "what names a row says nothing of others, and is learned like any other column",
        )
    if dates:
        yield Finding(
            "date",
            "warning",
            f"column {_names(view, dates)} of {view.label} seems to hold dates written as numbers",
            f"{_leave_out(view, dates)}; or put the days since the first in its place",
            {
                "columns": [view.column_name(j) for j in dates],
                "first": [float(view.columns[:, j].min()) for j in dates],
            },
            "differences of such numbers are no differences of time: 20240201 - 20240131 is 70",
        )
    yield from counts_among_measurements(view, defaults, [j for j in whole if j not in (*identifiers, *dates)])


def counts_among_measurements(view: TableView, defaults: Defaults, whole: list[int]) -> Iterator[Finding]:
    """Whole numbers from 0 in some columns, more of them than a label has, beside columns of other numbers."""
    from isthmus.schema import is_integer_valued

    x = view.columns
    counts = [j for j in whole if x[:, j].min() >= 0 and few_values(x[:, j]) is None]
    if defaults.schema.discrete or not counts or is_integer_valued(x):
        return
    yield Finding(
        "count-columns",
        "info",
        f"column {_names(view, counts)} of {view.label} {'holds' if len(counts) == 1 else 'hold'} whole numbers from "
        "0, beside columns of other numbers",
        "no action needed if they are measurements; if they count something, give each column its likelihood, as in "
        "likelihood=('normal', 'negative_binomial') (--likelihood normal,negative_binomial)",
        {"columns": [view.column_name(j) for j in counts], "largest": [float(x[:, j].max()) for j in counts]},
    )


def is_whole(column: np.ndarray) -> bool:
    """Whether a column (n,) holds whole numbers, and more of them than a label."""
    import numpy as np

    from isthmus.schema import is_integer_valued

    if len(np.unique(column[:MIN_ROWS])) < 2 or abs(column).max() > MAX_COUNT:
        return False
    return is_integer_valued(column) and len(np.unique(column)) > MAX_CLASSES


def numbers_rows(column: np.ndarray, name: str, rows: int, first: bool) -> bool:
    """Whether a column (n,) of whole numbers identifies rows: all are different, and it is called so or counts up.

    Args:
        column: numbers of some rows.
        name: of the column, empty if it has none.
        rows: how many rows the table has.
        first: whether it is the first column.
    """
    import numpy as np

    if len(np.unique(column)) < len(column):
        return False
    if NAME_OF_IDENTIFIER.search(name):
        return True
    within = bool(column.min() >= 0 and column.max() <= rows)
    if NAME_OF_NUMBERING.search(name):
        return within
    return first and within and not NAME_OF_STEP.search(name) and bool((np.diff(column) > 0).all())


def is_date(column: np.ndarray, name: str) -> bool:
    """Whether a column (n,) of whole numbers holds dates such as 20240131, or, by its name, seconds since 1970."""
    import numpy as np

    column = column.astype(np.float64)
    year, month, day = column // 10_000, column // 100 % 100, column % 100
    of_calendar = (year >= FIRST_YEAR) & (year <= LAST_YEAR) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)
    if bool(of_calendar.mean() >= MIN_DATES):
        return True
    low, high = float(np.min(column)), float(np.max(column))
    seconds = any(FIRST_SECOND * unit <= low and high <= LAST_SECOND * unit for unit in (1, 1_000))
    return seconds and NAME_OF_TIME.search(name) is not None


def _names(view: TableView, columns: list[int]) -> str:
    return join_names(view.column_name(j) for j in columns)


def _leave_out(view: TableView, columns: list[int]) -> str:
    if not view.names:
        return f"leave it out: numpy.delete(X, {columns if len(columns) > 1 else columns[0]}, 1)"
    names = [view.column_name(j) for j in columns]
    return f"leave it out: X.drop(columns=X.columns[{columns}]) (--drop {shlex.join(names)})"
