"""A run measured on its held-out rows, and its page."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isthmus.assessment.evaluate import DRAWS, Evaluation, evaluate
from isthmus.assessment.held import HeldOut, held_out
from isthmus.diagnosis.case import Command
from isthmus.diagnosis.diagnose import diagnose
from isthmus.estimators import store
from isthmus.estimators.runs import Run
from isthmus.finding import Finding
from isthmus.report.page import page, write_page
from isthmus.report.shown import held_rows


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
            "epochs_planned": run.job.plan.epochs,
            "versions": store.read_config(run.folder).get("versions"),
        }
        rows, seed = held_rows(part.x, part.y, **self.more, name=self.held.name), model.seed_ % 2**31
        text = page(model, rows, self.found, self.findings, train=run.job.train_rows, about=about, seed=seed)
        return write_page(text, run.folder)


def measure(run: Run, draws: int = DRAWS, without: Collection[str] = ()) -> MeasuredRun:
    """Evaluate and diagnose a trained run on rows that it was not fitted to."""
    model, held = run.estimator, held_out(run)
    part = held.part
    condition = part.y if model.schema_.condition is not None else None
    more: dict[str, Any] = {"condition": condition, "lengths": part.lengths}
    found = evaluate(
        model, part.x, part.y, **more, draws=draws, train=run.job.train_rows, factors=part.factors, without=without
    )
    command = Command(str(run.folder), run.source["data"], run.source["condition"])
    return MeasuredRun(run, held, more, found, diagnose(model, part.x, found=found, command=command))
