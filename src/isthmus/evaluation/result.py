"""What `evaluate` returns: metrics by name, what was declined and why, and numbers for each row."""

from __future__ import annotations

import difflib
import html
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from isthmus.errors import InputError
from isthmus.examples import Examples, fingerprint
from isthmus.markup import Cell, latex_table, markdown_table
from isthmus.metrics.metric import Metric, to_tree
from isthmus.wording import two_columns

if TYPE_CHECKING:
    import pandas as pd

FRAME_COLUMNS = ("name", "label", "value", "standard_error", "unit", "kind")


@dataclass(frozen=True)
class PerRow:
    """Numbers for each of n rows; None where the model has no code, or no log p(x)."""

    codes: np.ndarray | None = None
    """(n, *Z) the codes."""
    squared_error: np.ndarray | None = None
    """(n,) summed over features, in the data's units."""
    log_px: np.ndarray | None = None
    """(n,) log p(x), nats."""
    elbo: np.ndarray | None = None
    """(n,) nats."""
    kl: np.ndarray | None = None
    """(n, L) nats for each latent dimension or group."""
    khat: np.ndarray | None = None
    """(n,) Pareto k-hat of the importance weights."""
    ess: np.ndarray | None = None
    """(n,) effective number of draws."""


@dataclass(frozen=True)
class Evaluation:
    """Metrics of a model on some rows; prints as a table, shows as HTML in a notebook.

    >>> evaluation = Evaluation("VAE", 3, (Metric("elbo", "ELBO", "nats", "density", -79.571, 0.8934),))
    >>> evaluation["elbo"].value
    -79.571
    >>> print(evaluation)
    model  VAE
    rows   3
    ELBO   -79.57 ± 0.89 nats
    """

    model: str
    rows: int
    metrics: tuple[Metric, ...] = ()
    declined: dict[str, str] = field(default_factory=dict)
    """Measures that do not apply to this model or these rows, with the reason."""
    per_row: PerRow | None = None
    _rows: RowsDigest | None = field(default=None, repr=False, compare=False)

    @cached_property
    def by_name(self) -> dict[str, Metric]:
        """Every metric and detail by its dotted name."""
        return {metric.name: metric for top in self.metrics for metric in top.walk()}

    def __getitem__(self, name: str) -> Metric:
        """The metric of a dotted name; KeyError names the nearest."""
        metric = self.get(name)
        if metric is None:
            near = difflib.get_close_matches(name, self.by_name, n=1)
            why = f": {self.declined[name]}" if name in self.declined else ""
            raise KeyError(f"no metric is named {name!r}{why}" + (f". Did you mean {near[0]!r}?" if near else ""))
        return metric

    def __contains__(self, name: object) -> bool:
        return name in self.by_name

    def get(self, name: str) -> Metric | None:
        """The metric of a dotted name, or None."""
        return self.by_name.get(name)

    def value(self, name: str) -> Any:
        """The value of a metric, or None if it was not measured."""
        metric = self.get(name)
        return None if metric is None else metric.value

    def error(self, name: str) -> float:
        """The standard error of a metric; 0 if it has none."""
        metric = self.get(name)
        return float((metric.standard_error or 0.0) if metric is not None else 0.0)

    def group(self, prefix: str) -> dict[str, Metric]:
        """Top-level metrics under `prefix`, by the rest of their names, for example those of `baselines`."""
        head = f"{prefix}."
        return {top.name[len(head) :]: top for top in self.metrics if top.name.startswith(head)}

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values for JSON."""
        tree = {"model": self.model, "rows": self.rows, **to_tree(self.metrics)}
        return tree | ({"declined": self.declined} if self.declined else {})

    def to_frame(self) -> pd.DataFrame:
        """One row for each metric: name, label, value, standard_error, unit, kind."""
        import pandas as pd

        rows = [[getattr(metric, column) for column in FRAME_COLUMNS] for metric in self.by_name.values()]
        return pd.DataFrame(rows, columns=list(FRAME_COLUMNS))

    def to_latex(self) -> str:
        r"""A `tabular` of what text shows (\usepackage{booktabs})."""
        return latex_table([["measure", "value"]], self.cells())

    def to_markdown(self) -> str:
        """What text shows, as a table in Markdown."""
        return markdown_table(["measure", "value"], self.cells())

    def cells(self) -> list[list[Cell]]:
        """Label and text of every metric that text shows."""
        measured = [(label.strip(), text) for top in self.metrics for label, text in top.lines()]
        return [[Cell(label), Cell(text)] for label, text in measured]

    def lines(self) -> list[tuple[str, str]]:
        """Label and text of every metric that text shows, then what was declined and why."""
        measured = [line for top in self.metrics for line in top.lines()]
        declined = [(name.replace("_", " "), f"not measured: {why}") for name, why in self.declined.items()]
        return [("model", self.model), ("rows", f"{self.rows:,}"), *measured, *declined]

    def __str__(self) -> str:
        return two_columns(self.lines())

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left;white-space:pre'>{html.escape(label)}</th>"
            f"<td style='text-align:left'>{html.escape(text)}</td></tr>"
            for label, text in self.lines()
        )
        return f"<table>{rows}</table>"


class RowsDigest(NamedTuple):
    """What was measured, as hashes."""

    x: str
    """Of x, and of which of its values are observed and real."""
    condition: str
    """Of the condition; empty without one."""

    def fits(self, other: RowsDigest) -> bool:
        """Whether the rows are the same, and the conditions too where both have one."""
        conditions = {self.condition, other.condition} - {""}
        return self.x == other.x and len(conditions) < 2


def rows_digest(examples: Examples) -> RowsDigest:
    """Hashes of checked rows."""
    x = fingerprint(Examples(examples.x, lengths=examples.lengths, observed=examples.observed))
    condition = examples.condition
    # As objects, which are hashed by their text, so that labels are the same in integers of any size.
    return RowsDigest(x, "" if condition is None else fingerprint(Examples(np.asarray(condition, dtype=object))))


def check_evaluation(evaluation: Any, examples: Examples) -> None:
    """Raise InputError unless it is an evaluation of these checked rows; of one made by hand nothing is known."""
    if not isinstance(evaluation, Evaluation):
        raise InputError(f"evaluation must be what evaluate returned, got {type(evaluation).__name__}.")
    if evaluation._rows is not None and not evaluation._rows.fits(rows_digest(examples)):
        raise InputError(
            f"evaluation must be what evaluate returned for the {len(examples):,} rows of X, got one of "
            f"{evaluation.rows:,} other rows. Pass the same rows to both, or leave evaluation out."
        )
