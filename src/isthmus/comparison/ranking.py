"""Ranking models: who is best in a column, by a clear margin or not, and where the curve of a sweep flattens."""

from __future__ import annotations

import math
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

from isthmus.comparison.paired_stats import PairedEstimate, Scores, estimate, paired_difference
from isthmus.comparison.results import Column, RunResult

COST_COLUMNS = ("seconds", "parameters")
"""Keys of columns of what a model costs: a closed form is always cheaper than training."""


class Row(NamedTuple):
    """A row of the table: one model, at one value of the swept field.

    Args:
        label: the model's label.
        value: its value of the swept field; None without a sweep or without the field.
        latent_dim: size of its code.
        scores: its scores by column; empty if all runs failed.
        lower_bounds: columns in which its numbers are lower bounds.
        closed_form: whether it is solved in closed form.
        failures: seed to reason, for the runs that failed.
        fixed: whether it was trained before, elsewhere.
    """

    label: str
    value: Any
    latent_dim: int | None
    scores: dict[Column, Scores]
    lower_bounds: frozenset[Column]
    closed_form: bool
    failures: dict[int, str]
    fixed: bool = False


class Ranking(NamedTuple):
    """The best model of a column, at one value of the sweep.

    Args:
        value: the value of the swept field.
        column: the column.
        best: label of the model with the best mean.
        rival: label of the model whose difference to the best is the least certain to be positive.
        margin: how much better the best is than the rival.
        trained_only: whether only models without a closed form are ranked.
    """

    value: Any
    column: Column
    best: str
    rival: str
    margin: PairedEstimate
    trained_only: bool = False

    @property
    def clear(self) -> bool:
        """Whether the best is significantly better than every other model."""
        return self.margin.above_zero

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; there is no winner if the confidence interval of the margin includes 0."""
        return {
            "value": self.value,
            "column": self.column.key,
            "winner": self.best if self.clear else None,
            "best": self.best,
            "rival": self.rival,
            "margin": self.margin.to_dict(),
            "among": "trained" if self.trained_only else "all",
        }


class Elbow(NamedTuple):
    """The smallest value of the sweep that is not significantly worse than the best value.

    Args:
        label: the model.
        column: the column that decides.
        value: the value at the elbow.
        best: the value with the best mean.
        gap: how much better the best value is.
    """

    label: str
    column: Column
    value: Any
    best: Any
    gap: PairedEstimate

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "model": self.label,
            "column": self.column.key,
            "value": self.value,
            "best": self.best,
            "gap": self.gap.to_dict(),
        }


def build_rows(results: list[RunResult]) -> list[Row]:
    """Group runs, which are sorted by model and value, into the rows of the table."""
    groups = groupby(results, key=lambda result: (result.model, repr(result.value)))
    return [_build_row(list(runs)) for _, runs in groups]


def _build_row(runs: list[RunResult]) -> Row:
    first = runs[0]
    by_seed: dict[Column, dict[int, np.ndarray]] = {}
    errors: dict[Column, list[float]] = {}
    for run in runs:
        for score in run.scores:
            by_seed.setdefault(score.column, {})[run.seed] = np.array(score.values)
            errors.setdefault(score.column, []).extend([] if score.extra_error is None else [score.extra_error])
    scores = {
        column: Scores(values, max(errors[column], default=None), first.closed_form)
        for column, values in by_seed.items()
    }
    lower_bounds = frozenset(score.column for run in runs for score in run.scores if score.lower_bound)
    latent_dim = next((run.latent_dim for run in runs if not run.failure), first.latent_dim)
    failures = {run.seed: run.failure for run in runs if run.failure}
    return Row(first.model, first.value, latent_dim, scores, lower_bounds, first.closed_form, failures, first.fixed)


def columns_of(rows: list[Row]) -> list[Column]:
    """The columns in which any model has a number, in order."""
    return sorted({column for row in rows for column in row.scores}, key=lambda column: (column.order, column.key))


def values_of(rows: list[Row]) -> list[Any]:
    """The values of the sweep, in order; [None] without a sweep."""
    values = list({repr(row.value): row.value for row in rows if row.value is not None}.values())
    return values or [None]


def rows_at(rows: list[Row], value: Any) -> list[Row]:
    """The models at one value of the sweep, and those that do not have the swept field."""
    return [row for row in rows if row.value is None or row.value == value]


def rank_columns(rows: list[Row]) -> list[Ranking]:
    """The ranking of each column at each value of the sweep, where at least two models have a number.

    Where a model with a closed form is best, a second ranking says which of the trained models is.
    """
    rankings = []
    for value in values_of(rows):
        for column in columns_of(rows):
            shown = rows_at(rows, value)
            ranking = rank_column(shown, column, value)
            rankings.append(ranking)
            if column.key in COST_COLUMNS or ranking is None:
                continue
            if any(row.closed_form for row in shown if row.label == ranking.best):
                trained = rank_column([row for row in shown if not row.closed_form], column, value)
                rankings.append(trained and trained._replace(trained_only=True))
    return [ranking for ranking in rankings if ranking is not None]


def rank_column(rows: list[Row], column: Column, value: Any) -> Ranking | None:
    """The best model of a column; to win, it must be better than each other model, not only than the second best."""
    scores = {row.label: row.scores[column] for row in rows if column in row.scores}
    means = {label: estimate(own).mean for label, own in scores.items()}
    finite = [label for label in scores if math.isfinite(means[label])]
    if len(finite) < 2:
        return None
    best = max(finite, key=lambda label: means[label] if column.higher_is_better else -means[label])
    margins = {label: margin(scores[best], scores[label], column) for label in finite if label != best}
    rival = min(margins, key=lambda label: _lower_end(margins[label]))
    return Ranking(value, column, best, rival, margins[rival])


def margin(a: Scores, b: Scores, column: Column) -> PairedEstimate:
    """How much better a is than b; NaN if they share no seed."""
    difference = paired_difference(a, b)
    if difference is None:
        return PairedEstimate(math.nan, math.nan, math.nan)
    return difference if column.higher_is_better else difference._replace(mean=-difference.mean)


def _lower_end(difference: PairedEstimate) -> float:
    """The lower end of the confidence interval; minus infinity if it is unknown."""
    end = difference.mean - difference.half_width
    return end if math.isfinite(end) else -math.inf


def find_elbows(rows: list[Row]) -> list[Elbow]:
    """For each model that was swept, the elbow of its first column: log p(x), or the squared error without one.

    The one-standard-error rule (Breiman et al., 1984): the smallest value whose paired difference to the best value is
    at most one standard error of that difference. None where that error is not known, see `MIN_SEEDS`.
    """
    elbows = []
    for label in dict.fromkeys(row.label for row in rows if row.value is not None):
        swept = [row for row in rows if row.label == label and row.scores]
        columns = columns_of(swept)
        if len(swept) < 2 or not columns:
            continue
        column = columns[0]
        swept = [row for row in swept if column in row.scores]
        means = [estimate(row.scores[column]).mean * (1 if column.higher_is_better else -1) for row in swept]
        best = swept[int(np.argmax(means))]
        gaps = [margin(best.scores[column], row.scores[column], column) for row in swept]
        if any(math.isnan(gap.standard_error) for gap in gaps if gap.mean):
            continue
        for row, gap in zip(swept, gaps):
            if row is best or gap.mean <= gap.standard_error:
                elbows.append(Elbow(label, column, row.value, best.value, gap))
                break
    return elbows
