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
NAME_OF_NUMBERING = re.compile(r"(^|[_\W])(idx|index|key|row|rownum|rownumber)$", re.I)
"""What columns that count the rows are called, beside having no name."""
NAME_OF_TIME = re.compile(r"(^|[_\W])(date|time|datetime|timestamp|ts|day|created|updated|at|epoch)([_\W]|$)", re.I)
"""What columns of times are called."""
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
    # The first column of an array that counts up numbers the rows, as one without a name does in a file.
    called = {0: "index"} if not view.names else dict(enumerate(view.names))
    identifiers = [j for j in whole if j not in dates and numbers_rows(view.columns[:, j], called.get(j, ""), rows)]
    if identifiers:
        yield Finding(
            "identifier",
            "warning",
            f"{_columns(view, identifiers, 'seems')} to number the rows: whole numbers that are all different",
            _leave_out(view, identifiers),
            {"columns": [view.column_name(j) for j in identifiers], "rows": rows},
            "what names a row says nothing of others, and is learned like any other column",
        )
    if dates:
        yield Finding(
            "date",
            "warning",
            f"{_columns(view, dates, 'seems')} to hold dates written as numbers",
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
        f"{_columns(view, counts, 'holds')} whole numbers from 0, beside columns of other numbers",
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


def numbers_rows(column: np.ndarray, name: str, rows: int) -> bool:
    """Whether a column (n,) of whole numbers identifies rows: all are different, and it is called so or counts up.

    Args:
        column: numbers of some rows; where values are missing, the smallest stands for them.
        name: of the column, empty if it has none.
        rows: how many rows the table has.
    """
    import numpy as np

    if NAME_OF_IDENTIFIER.search(name):
        given = column[column > column.min()]
        return len(np.unique(given)) == len(given)
    counts_up = bool((np.diff(column) > 0).all() and column[0] >= 0 and column[-1] <= rows)
    return counts_up and NAME_OF_NUMBERING.search(name) is not None


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


def _columns(view: TableView, columns: list[int], verb: str) -> str:
    """The columns by name as the subject of a verb in the singular."""
    names = join_names(view.column_name(j) for j in columns)
    one = len(columns) == 1
    return f"{'column' if one else 'columns'} {names} of {view.label} {verb if one else verb[:-1]}"


def _leave_out(view: TableView, columns: list[int]) -> str:
    if not view.names:
        return f"leave it out: numpy.delete(X, {columns if len(columns) > 1 else columns[0]}, 1)"
    names = [view.column_name(j) for j in columns]
    labels = [int(name) for name in names] if all(map(str.isdecimal, view.names)) else names
    return f"leave it out: X.drop(columns={labels}) (--drop {shlex.join(names)})"
