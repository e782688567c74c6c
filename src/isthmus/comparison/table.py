"""The result of a comparison: a table of models, with rankings."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from isthmus.comparison import export
from isthmus.comparison.format import format_table
from isthmus.comparison.paired_stats import estimate
from isthmus.comparison.ranking import Elbow, Ranking, Row, build_rows, columns_of, find_elbows, rank_columns
from isthmus.comparison.results import Conditions, RunResult

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False)
class Table:
    """Models side by side; prints as a table; `to_dict`, `to_frame`, `to_latex` and `to_markdown` give other forms.

    Args:
        conditions: data, rows, budget and seeds, the same for all models.
        rows: one for each model, or for each model and value of the sweep.
        swept: the swept field.
        rankings: the best model of each column.
        elbows: where the curve of each swept model flattens.
        figure: path of the figure of a sweep, if one was drawn.
    """

    conditions: Conditions
    rows: list[Row]
    swept: str | None = None
    rankings: list[Ranking] = field(default_factory=list)
    elbows: list[Elbow] = field(default_factory=list)
    figure: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; log-likelihoods in nats."""
        return {
            **asdict(self.conditions),
            "sweep": self.swept,
            "columns": [column.to_dict() for column in columns_of(self.rows)],
            "models": [row_to_dict(row) for row in self.rows],
            "winners": [ranking.to_dict() for ranking in self.rankings],
            "elbows": [elbow.to_dict() for elbow in self.elbows],
            **({} if self.figure is None else {"figure": self.figure}),
        }

    def to_frame(self) -> pd.DataFrame:
        """One row for each model (and value of the sweep): each number, and half its 95 % confidence interval."""
        return export.to_frame(self.rows, self.swept)

    def to_latex(self) -> str:
        r"""A `tabular` (\usepackage{booktabs}); the number of a clear winner is bold."""
        return export.to_latex(self.rows, self.swept, self.rankings)

    def to_markdown(self) -> str:
        """A table in Markdown; the number of a clear winner is bold."""
        return export.to_markdown(self.rows, self.swept, self.rankings)

    def __str__(self) -> str:
        return format_table(self.conditions, self.rows, self.swept, self.rankings, self.elbows)

    def __repr__(self) -> str:
        return str(self)


def build_table(results: list[RunResult], conditions: Conditions, swept: str | None) -> Table:
    """The table of finished runs, in the order of these."""
    rows = build_rows(results)
    return Table(conditions, rows, swept, rank_columns(rows), find_elbows(rows))


def row_to_dict(row: Row) -> dict[str, Any]:
    """A row as plain values for JSON."""
    cells = {
        column.key: {**estimate(scores).to_dict(), "lower_bound": column in row.lower_bounds}
        for column, scores in row.scores.items()
    }
    return {
        "model": row.label,
        "value": row.value,
        "latent_dim": row.latent_dim,
        "runs": max((len(scores.by_seed) for scores in row.scores.values()), default=0),
        "closed_form": row.closed_form,
        **({"fixed": True} if row.fixed else {}),
        "cells": cells,
        "failed": {str(seed): reason for seed, reason in row.failures.items()},
    }
