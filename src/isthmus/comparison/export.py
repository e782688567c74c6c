"""A comparison as a frame, and as a table in CSV, LaTeX and Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from isthmus.comparison.format import format_cell
from isthmus.comparison.paired_stats import estimate
from isthmus.comparison.ranking import Ranking, Row, columns_of, values_of
from isthmus.comparison.results import Column
from isthmus.markup import Cell, latex_table, markdown_table

if TYPE_CHECKING:
    import pandas as pd


def to_frame(rows: list[Row], swept: str | None) -> pd.DataFrame:
    """One row for each model and value of the sweep; each number is followed by half its 95 % confidence interval."""
    import pandas as pd

    records = []
    for row in rows:
        record: dict[str, Any] = {"model": row.label, **({} if swept is None else {swept: row.value})}
        record.setdefault("latent_dim", row.latent_dim)
        for column in columns_of(rows):
            result = estimate(row.scores[column]) if column in row.scores else None
            name = f"{column.heading} ({column.unit})"
            record[name] = None if result is None else result.mean
            record[f"{name} ±"] = None if result is None else result.half_width
        records.append(record)
    return pd.DataFrame.from_records(records)


def cells(rows: list[Row], swept: str | None, rankings: list[Ranking]) -> tuple[list[list[str]], list[list[Cell]]]:
    """Two lines of headings, and a line of cells for each row; the number of a clear winner is bold."""
    columns = columns_of(rows)
    extra = [] if swept is None else [swept]
    heading = [["model", *extra, *(column.heading for column in columns)], ["", *[""] * len(extra)]]
    heading[1] += [column.unit for column in columns]
    lines = []
    for row in rows:
        values = [Cell("" if row.value is None else str(row.value))] if extra else []
        for column in columns:
            text = format_cell(row, column, wins=False).strip() if row.scores else "failed"
            values.append(Cell(text, is_winner(row, column, rows, rankings)))
        lines.append([Cell(row.label), *values])
    return heading, lines


def is_winner(row: Row, column: Column, rows: list[Row], rankings: list[Ranking]) -> bool:
    """Whether a row clearly wins a column at its value of the sweep; without such a value, at every one."""
    values = values_of(rows) if row.value is None else [row.value]
    won = [r.value for r in rankings if r.clear and not r.trained_only and (r.best, r.column) == (row.label, column)]
    return all(value in won for value in values)


def to_latex(rows: list[Row], swept: str | None, rankings: list[Ranking]) -> str:
    """A `tabular` for the package booktabs."""
    heading, lines = cells(rows, swept, rankings)
    return latex_table(heading, lines)


def to_markdown(rows: list[Row], swept: str | None, rankings: list[Ranking]) -> str:
    """A table in Markdown."""
    heading, lines = cells(rows, swept, rankings)
    named = [f"{name} ({unit})" if unit else name for name, unit in zip(*heading)]
    return markdown_table(named, lines)
