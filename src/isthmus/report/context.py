"""What a report is about: a model on some rows, what was measured, what is wrong, and the run that it comes from."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

from isthmus.evaluation.baselines import LINEAR_DENSITIES
from isthmus.evaluation.result import Evaluation
from isthmus.examples import Examples
from isthmus.finding import Finding
from isthmus.fitted import FittedModel
from isthmus.plot.context import PlotContext
from isthmus.plot.figures import DrawnFigure, draw_all


@dataclass(frozen=True)
class RunInfo:
    """Where a model comes from, as far as it is known.

    Args:
        folder: name of the run.
        data: what it was trained on.
        rows: which rows it is shown on: "100 validation rows (they also chose the weights)".
        versions: versions of the software in training.
    """

    folder: str = ""
    data: str = ""
    rows: str = ""
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class ReportContext:
    """A fitted model on rows that it was not fitted to, and everything the page says about it."""

    plot: PlotContext
    evaluation: Evaluation
    findings: list[Finding]
    run: RunInfo
    maps: tuple[PlotContext, ...] = ()
    """All rows of the run, each time with another column that colours the map of their codes."""

    @property
    def rows(self) -> str:
        """Which rows the model is shown on."""
        return self.run.rows or self.plot.counted

    @cached_property
    def figures(self) -> tuple[dict[str, DrawnFigure], dict[str, str]]:
        """Every figure that is available, and for the others the reason; drawn once for the page and for files."""
        return draw_all(self.plot)


def plot_context(
    model: FittedModel, rows: Examples, evaluation: Evaluation, train: Examples | None, rows_name: str
) -> PlotContext:
    """The context of all figures; what was measured row by row is not measured again."""
    names, label = (LINEAR_DENSITIES, "probabilistic PCA") if model.capabilities.has_density else (("pca",), "PCA")
    linear = [value for name in names if (value := evaluation.value(f"baselines.{name}")) is not None]
    reference = (label, max(linear)) if linear and all(map(math.isfinite, linear)) else None
    seed = model.seed % 2**31
    return PlotContext(model, rows, train, evaluation.per_row, reference, rows_name=rows_name, seed=seed)
