"""The table of a comparison: columns, intervals, winners and knees."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

from isthmus.comparison.paired_stats import PairedEstimate, Scores, difference, estimate


class Column(NamedTuple):
    """What is compared: its heading, its unit and whether more is better; numbers of one kind only."""

    key: str
    heading: str
    unit: str
    higher: bool


LABELS = Column("probe", "labels read", "share", True)
SAMPLES = Column("samples", "samples told", "share, 0.5 best", False)
SECONDS = Column("seconds", "training", "seconds", False)
SIZE = Column("parameters", "size", "parameters", False)


class Row(NamedTuple):
    """A model, its value of the swept field, and what it got by column; or why it has nothing."""

    label: str
    value: Any
    latent_dim: int | None
    scores: dict[Column, Scores]
    bound: bool
    """Whether its log p(x) is that of dequantised rows, a lower bound."""
    exact: bool
    failed: dict[int, str]


class Ranking(NamedTuple):
    """The best of a column at one value of the sweep, and what parts it from its nearest rival."""

    value: Any
    column: Column
    best: str
    rival: str
    lead: PairedEstimate
    """How much better the best is than the rival from which least parts it."""

    @property
    def clear(self) -> bool:
        """Whether the best is better than every other."""
        return self.lead.above_zero


class Elbow(NamedTuple):
    """The smallest value of the sweep from which more brings a model nothing that can be told from chance."""

    label: str
    column: Column
    value: Any
    best: Any
    gap: PairedEstimate
    """How much better the best value is."""


@dataclass(frozen=True, repr=False)
class Table:
    """Models beside each other; prints as a table, `to_dict` gives plain values."""

    facts: dict[str, Any]
    """Data, rows, budget and seeds, in words."""
    rows: list[Row]
    swept: str | None = None
    contests: list[Ranking] = field(default_factory=list)
    knees: list[Elbow] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; log-likelihoods in nats, `better` says whether more or less is."""
        columns = columns_of(self.rows)
        return {
            **self.facts,
            "sweep": self.swept,
            "columns": [{**c._asdict(), "better": "higher" if c.higher else "lower"} for c in columns],
            "models": [row_facts(row) for row in self.rows],
            "winners": [contest_facts(contest) for contest in self.contests],
            "knees": [
                {**knee._asdict(), "column": knee.column.key, "gap": knee.gap.to_dict()} | {"model": knee.label}
                for knee in self.knees
            ],
        }

    def __str__(self) -> str:
        from isthmus.comparison.format import told

        return told(self)

    def __repr__(self) -> str:
        return str(self)


def tabled(records: list[dict[str, Any]], facts: dict[str, Any], swept: str | None) -> Table:
    """The table of finished runs, in the order of these."""
    rows = [
        row_of(list(runs)) for _, runs in groupby(records, key=lambda record: (record["model"], repr(record["value"])))
    ]
    return Table(facts, rows, swept, contests(rows), knees(rows))


def row_of(records: list[dict[str, Any]]) -> Row:
    """What one model got from its seeds."""
    first, failed = records[0], {record["seed"]: record["failed"] for record in records if record["failed"]}
    good = [record for record in records if not record["failed"]]
    solved = first["exact"]
    scores: dict[Column, dict[int, np.ndarray]] = {}
    errors: dict[Column, list[float]] = {}
    for record in good:
        for column, (values, error) in cells_of(record).items():
            scores.setdefault(column, {})[record["seed"]] = values
            errors.setdefault(column, []).extend([] if error is None else [error])
    found = {
        column: Scores(by_seed, max(errors[column]) if errors[column] else None, solved)
        for column, by_seed in scores.items()
    }
    bound = any(record["bound"] for record in good)
    latent = good[0]["latent_dim"] if good else first.get("latent_dim")
    return Row(first["model"], first["value"], latent, found, bound, solved, failed)


def cells_of(record: dict[str, Any]) -> dict[Column, tuple[np.ndarray, float | None]]:
    """What one run has to say to each column: numbers a row (n,) or one (1,), and an error that these do not show."""
    facts, rows = record["facts"], {name: np.array(values) for name, values in record["rows"].items()}
    given = " given c" if record["given_condition"] else ""
    cells: dict[Column, tuple[np.ndarray, float | None]] = {}
    if "log_px" in rows:
        column = Column(f"log_px{given}: {record['kind']}", f"log p(x{given})", f"nats, {record['kind']}", True)
        shared = 0.0 if record["bound"] else facts["log_likelihood"]["shared_error"]
        cells[column] = rows["log_px"], shared if math.isfinite(shared) else 0.0
    error = Column(f"squared_error{given}", f"squared error{given}", "summed", False)
    cells[error] = rows["squared_error"], None
    for column, found in ((LABELS, (facts.get("probes") or {}).get("linear")), (SAMPLES, facts.get("classifier"))):
        if found:
            cells[column] = np.array([found["mean"]]), found["standard_error"]
    cells[SECONDS] = np.array([record["seconds"]]), None
    cells[SIZE] = np.array([float(record["parameters"])]), 0.0
    return cells


def columns_of(rows: list[Row]) -> list[Column]:
    """The columns in which some model has a number: evidence first, of each kind its own."""
    every = list(dict.fromkeys(column for row in rows for column in row.scores))
    places = ("log_px", "squared_error", "probe", "samples", "seconds", "parameters")
    return sorted(every, key=lambda c: (next(i for i, place in enumerate(places) if c.key.startswith(place)), c.key))


def values_of(rows: list[Row]) -> list[Any]:
    """The values of the sweep, in its order; None alone where there was no sweep."""
    found = list({repr(row.value): row.value for row in rows if row.value is not None}.values())
    return found or [None]


def rows_at(rows: list[Row], value: Any) -> list[Row]:
    """The models with one value of the swept field, and those that do not have the field."""
    return [row for row in rows if row.value is None or row.value == value]


def contests(rows: list[Row]) -> list[Ranking]:
    """Every column at every value of the sweep, where two models at least have a number."""
    found = [contest(rows_at(rows, value), column, value) for value in values_of(rows) for column in columns_of(rows)]
    return [one for one in found if one is not None]


def contest(rows: list[Row], column: Column, value: Any) -> Ranking | None:
    """The best of a column: it must part from every other model, not only from the second by its mean."""
    running = {row.label: row.scores[column] for row in rows if column in row.scores}
    means = {label: estimate(scores).mean for label, scores in running.items()}
    running = {label: scores for label, scores in running.items() if math.isfinite(means[label])}
    if len(running) < 2:
        return None
    best = max(running, key=lambda label: means[label] if column.higher else -means[label])
    leads = {label: lead(running[best], scores, column) for label, scores in running.items() if label != best}
    rival = min(leads, key=lambda label: low_end(leads[label]))
    return Ranking(value, column, best, rival, leads[rival])


def lead(a: Scores, b: Scores, column: Column) -> PairedEstimate:
    """How much better a is than b; of unknown error where they share no seed."""
    gap = difference(a, b)
    if gap is None:
        return PairedEstimate(math.nan, math.nan, math.inf)
    return gap if column.higher else gap._replace(mean=-gap.mean)


def low_end(gap: PairedEstimate) -> float:
    """The lower end of an interval, minus infinity where nothing tells it."""
    end = gap.mean - gap.half_width
    return end if math.isfinite(end) else -math.inf


def knees(rows: list[Row]) -> list[Elbow]:
    """For each model with a sweep of its own the knee by log p(x), or by squared error where it has none.

    The rule of one standard error: the smallest value whose paired difference to the best value is within one standard
    error of that difference (after Breiman et al., 1984).
    """
    found = []
    for label in dict.fromkeys(row.label for row in rows if row.value is not None):
        own = [row for row in rows if row.label == label and row.scores]
        columns = columns_of(own)
        if len(own) < 2 or not columns:
            continue
        column = columns[0]
        means = [estimate(row.scores[column]).mean * (1 if column.higher else -1) for row in own]
        best = own[int(np.argmax(means))]
        for row in own:
            gap = lead(best.scores[column], row.scores[column], column)
            if row is best or gap.mean <= gap.error:
                found.append(Elbow(label, column, row.value, best.value, gap))
                break
    return found


def row_facts(row: Row) -> dict[str, Any]:
    """A row for JSON."""
    cells = {column.key: estimate(scores).to_dict() for column, scores in row.scores.items()}
    for column in row.scores:
        if column.key.startswith("log_px"):
            cells[column.key]["lower_bound"] = row.bound
    runs = max((len(scores.by_seed) for scores in row.scores.values()), default=0)
    return {
        "model": row.label,
        "value": row.value,
        "latent_dim": row.latent_dim,
        "runs": runs,
        "exact": row.exact,
        "cells": cells,
        "failed": {str(seed): why for seed, why in row.failed.items()},
    }


def contest_facts(one: Ranking) -> dict[str, Any]:
    """A contest for JSON; no winner where the interval of the lead holds 0."""
    return {
        "value": one.value,
        "column": one.column.key,
        "winner": one.best if one.clear else None,
        "best": one.best,
        "rival": one.rival,
        "lead": one.lead.to_dict(),
    }
