"""A run, or a model with rows of the user's own, measured and put on its page."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isthmus.diagnosis.context import RunRef
from isthmus.diagnosis.diagnose import diagnose
from isthmus.estimators.base import Estimator
from isthmus.estimators.validation import validation_rows
from isthmus.evaluation.evaluate import DRAWS, evaluate
from isthmus.evaluation.result import Evaluation
from isthmus.evaluation.splits import HeldOut
from isthmus.examples import Examples
from isthmus.finding import Finding
from isthmus.persistence import serialization
from isthmus.persistence.run_dir import Run
from isthmus.report.display import held_rows
from isthmus.report.page import page, write_page


@dataclass(frozen=True)
class MeasuredRun:
    """What a run's own held-out rows say of it."""

    run: Run
    held: HeldOut
    more: dict[str, Any]
    """The condition and lengths that the model wants with the rows."""
    found: Evaluation
    findings: list[Finding]

    def draw_page(self) -> Path:
        """Write report.html into the run's folder."""
        run, model, part = self.run, self.run.estimator, self.held.part
        about = {
            "run": run.folder.name,
            "data": run.dataset.source,
            "which": self.held.which,
            "epochs": len(model.history_),
            "epochs_planned": run.job.config.epochs,
            "versions": serialization.read_config(run.folder).get("versions"),
        }
        rows, seed = held_rows(part.x, part.y, **self.more, name=self.held.name), model.seed_ % 2**31
        text = page(model, rows, self.found, self.findings, train=run.job.train_rows, about=about, seed=seed)
        return write_page(text, run.folder / "report.html")


def measure(run: Run, held: HeldOut, draws: int = DRAWS, without: Collection[str] = ()) -> MeasuredRun:
    """Evaluate and diagnose a trained run on rows that it was not fitted to."""
    model, part, more = run.estimator, held.part, held.company(run.estimator)
    found = evaluate(
        model, part.x, part.y, **more, draws=draws, train=run.job.train_rows, factors=part.factors, without=without
    )
    command = RunRef(str(run.folder), run.source["data"], run.source["condition"])
    return MeasuredRun(run, held, more, found, diagnose(model, part.x, evaluation=found, command=command))


def report_page(
    model: Estimator,
    X: Any,
    path: str | Path,
    y: Any = None,
    *,
    condition: Any = None,
    lengths: Any = None,
    train: Any = None,
    found: Evaluation | None = None,
) -> Path:
    """Write the page on a model, shown on rows X (n, *X) that it was not fitted to, to `path`; return it.

    The arguments are those of `evaluate`, and `found` what that said of the same rows, if it is there already. Raises
    InputError for rows that the model cannot read, or a path that cannot be written.
    """
    if train is not None and not isinstance(train, Examples):
        train = validation_rows(train, model.schema_, model.fitted_.feature_names, "train")
    if model.schema_.condition is not None and condition is None:
        condition = y
    if found is None:
        found = evaluate(model, X, y, condition=condition, lengths=lengths, train=train)
    findings = diagnose(model, X, evaluation=found)
    rows, seed = held_rows(X, y, condition, lengths, "held-out rows"), model.seed_ % 2**31
    text = page(model, rows, found, findings, train=train, about={}, seed=seed)
    return write_page(text, Path(path))
