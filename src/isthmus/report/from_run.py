"""A run, or a model with rows of the user: measured, and shown on a page and in PNG files."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.data import read_raw
from isthmus.data.column_roles import ColumnRoles
from isthmus.data.image_options import ImageOptions
from isthmus.diagnosis.context import RunRef
from isthmus.diagnosis.diagnose import diagnose
from isthmus.errors import InputError, unknown
from isthmus.evaluation.evaluate import DEFAULT_DRAWS, check_train, evaluate
from isthmus.evaluation.fitted_on import fitted_on
from isthmus.evaluation.result import Evaluation, check_evaluation
from isthmus.evaluation.splits import HeldOut
from isthmus.examples import Examples
from isthmus.finding import Finding
from isthmus.persistence import serialization
from isthmus.persistence.run_dir import Run
from isthmus.persistence.run_files import PICTURES
from isthmus.plot.context import PlotContext
from isthmus.plot.style import save
from isthmus.report.context import ReportContext, RunInfo, plot_context
from isthmus.report.page import page, write_page

LABELS, CONDITION = "label", "condition"
"""Names of what colours a map and is no column: the labels, which are the condition of a conditional model."""


@dataclass(frozen=True, eq=False)
class MeasuredRun:
    """A trained run, with what was measured and diagnosed on rows that it was not fitted to."""

    run: Run
    held: HeldOut
    rows: Examples
    """The held-out rows, checked."""
    evaluation: Evaluation
    findings: list[Finding]
    maps: tuple[PlotContext, ...] = ()
    """All rows, each time with another column that colours the map of their codes."""

    @cached_property
    def context(self) -> ReportContext:
        """What the page and the figures are about."""
        run, model = self.run, self.run.fitted
        info = RunInfo(
            folder=run.folder.name,
            data=run.dataset.source,
            rows=self.held.description,
            versions=serialization.read_config(run.folder).get("versions") or {},
        )
        plots = plot_context(model, self.rows, self.evaluation, run.job.train_rows, self.held.name)
        return ReportContext(plots, self.evaluation, self.findings, info, self.maps)

    def write_page(self, path: str | Path | None = None) -> Path:
        """Write the page, by default to report.html in the run's folder; its path."""
        return write_page(page(self.context), self.run.folder / "report.html" if path is None else Path(path))

    def write_figures(self) -> list[Path]:
        """Write the figures that a run keeps as PNG files into its folder; their paths."""
        drawn, _ = self.context.figures
        kept = [(file, drawn.get(file.removesuffix(".png"))) for file in PICTURES]
        return [save(picture.figure, self.run.folder / file) for file, picture in kept if picture is not None]


def measure(
    run: Run,
    held: HeldOut,
    draws: int = DEFAULT_DRAWS,
    without: Collection[str] = (),
    colours: Collection[str] = (),
) -> MeasuredRun:
    """Evaluate and diagnose a trained run on rows that it was not fitted to.

    Args:
        run: the run.
        held: the rows.
        draws: posterior samples for each row in log p(x).
        without: measures that are left out.
        colours: columns that colour a map of the codes of all rows each, on the page.
    """
    maps = tuple(map_of_all_rows(run, column) for column in colours)  # raises before anything is measured
    model, rows = run.fitted, run.fitted.check(held.examples)
    evaluation = evaluate(model, rows, draws=draws, train=run.job.train_rows, without=without)
    options = tuple(ImageOptions.of_run(run.source).options())
    command = RunRef(str(run.folder), run.source["data"], ColumnRoles.of_run(run.source), options)
    findings = diagnose(model, rows, train=run.job.train_rows, evaluation=evaluation, command=command)
    return MeasuredRun(run, held, rows, evaluation, findings, maps)


def map_of_all_rows(run: Run, column: str) -> PlotContext:
    """Training rows and all others, their codes to be coloured by a column of the data."""
    model, rows = run.fitted, run.dataset.select()
    examples = model.check(rows)
    coloured_by = (column_values(run, rows, column), column)
    return PlotContext(
        model, examples, run.job.train_rows, rows_name="rows", coloured_by=coloured_by, seed=model.seed % 2**31
    )


def column_values(run: Run, rows: Examples, column: str) -> np.ndarray:
    """(n,) the values of a column in all rows: one that the model was fitted to, the labels, or one that was left out.

    Raises:
        InputError: if there is no such column.
    """
    names, labels = run.fitted.schema.names, (LABELS, CONDITION, run.source.get("condition"))
    if column in names:
        return np.asarray(rows.x, np.float64)[:, names.index(column)]
    if column in labels and rows.y is not None:
        return np.asarray(rows.y)
    table = read_raw(run.source["data"], images=ImageOptions.of_run(run.source)).train.x
    left_out = [] if isinstance(table, np.ndarray) else list(map(str, table.columns))
    if column in left_out:
        return table.iloc[:, left_out.index(column)].to_numpy()
    known = [*dict.fromkeys([*names, *left_out]), *([LABELS] if rows.y is not None else [])]
    if not known:
        raise InputError(f"--colour must name a column, got {column!r}: {run.dataset.source} has no columns or labels.")
    raise unknown("--colour", column, known)


def report_page(
    model: Any,
    X: Any,
    path: str | Path,
    y: Any = None,
    *,
    condition: Any = None,
    lengths: Any = None,
    observed: Any = None,
    train: Any = None,
    evaluation: Evaluation | None = None,
) -> Path:
    """Write the report on a model as one HTML page and return its path.

    Args:
        model: a fitted model, or networks wrapped by `isthmus.wrap`.
        X: (n, *X) data that the model was not fitted to.
        path: where to write the page.
        y: (n,) labels, and the condition of a conditional model.
        condition: (n,) or (n, C) conditions; by default y.
        lengths: (n,) numbers of steps, for padded sequences.
        observed: (n, *X) booleans, False where a value is missing.
        train: training data, for baselines and nearest neighbours: X, a dict of X, condition, lengths and observed, or
            `Examples`.
        evaluation: what `evaluate` returned for the same rows; by default they are evaluated.

    Raises:
        InputError: for rows that the model cannot read, an evaluation of other rows, or a path that cannot be written.
    """
    fitted = fitted_on(model, X, condition, lengths, observed, y)
    rows = fitted.check(X, condition, lengths, observed=observed, y=y).without_zero_weight()
    train_rows = check_train(fitted, train)
    if evaluation is None:
        evaluation = evaluate(fitted, rows, train=train_rows)
    check_evaluation(evaluation, rows)
    findings = diagnose(model, rows, train=train_rows, evaluation=evaluation)
    plots = plot_context(fitted, rows, evaluation, train_rows, "held-out rows")
    return write_page(page(ReportContext(plots, evaluation, findings, RunInfo())), Path(path))
