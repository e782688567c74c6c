"""Every number that was measured, in tables by what they are about."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from isthmus.evaluation.result import Evaluation
from isthmus.metrics.metric import HIDDEN, INLINE, SETTING, Metric
from isthmus.plot.tables import Table
from isthmus.plot.text import minus, number

MAX_LIST_VALUES = 8
"""Values of a list that are shown."""
SUBJECTS = {
    "Likelihood": (
        *("log_likelihood", "elbo", "distortion", "kl", "mutual_information", "aggregate_kl", "refit_gain", "ais"),
        *("inference_gap", "condition", "likelihood_gain", "prior_components", "flow_volume"),
    ),
    "Reconstruction": ("reconstruction", "cleaning", "variance_explained", "residuals", "residual_eigenvalue_ratio"),
    "Baselines": ("baselines", "linear_dimensions"),
    "Training rows and other rows": ("training", "train_overlap", "column_shift"),
    "Code": ("active_units", "symbols", "classes", "geometry", "probes", "disentanglement", "paths", "identity_test"),
    "Samples": ("sample_spread", "classifier", "samples", "copies", "sharpness"),
}
"""What metrics are about, by the first parts of their names."""
OTHERS = "Other numbers"
"""What metrics are about that `SUBJECTS` does not list."""
INDENT = "\u2003"
"""Before the label of a detail that stands below its metric: a wide space, which HTML keeps."""


def metrics_tables(evaluation: Evaluation) -> list[Table]:
    """Every metric in words, with its unit, kind and details, in a table for each subject.

    What text leaves out (numbers that findings rest on) is in a folded table, what was declined in another.
    """
    tables: dict[str, list[list[str]]] = {subject: [] for subject in (*SUBJECTS, OTHERS)}
    further: list[list[str]] = []
    for metric in evaluation.metrics:
        for row, hidden in rows_of(metric):
            (further if hidden else tables[subject_of(metric)]).append(row)
    head = ["", "value", "kind", "details"]
    declined = [[name.replace("_", " "), why] for name, why in evaluation.declined.items()]
    return [
        *(Table(subject, head, rows, look="wordy") for subject, rows in tables.items()),
        Table("Further numbers, which findings rest on", head, further, folded=True, look="wordy"),
        Table("Not measured", ["", "reason"], declined, folded=True, look="wordy"),
    ]


def subject_of(metric: Metric) -> str:
    """What a metric is about."""
    first = metric.name.partition(".")[0]
    return next((subject for subject, names in SUBJECTS.items() if first in names), OTHERS)


def rows_of(metric: Metric, above: str = "", depth: int = 0) -> Iterator[tuple[list[str], bool]]:
    """A row for a metric and one for each of its details, and whether text leaves it out.

    What describes the measurement is in the same row. A detail that stands alone has its metric's label before its own.
    """
    beside = [detail for detail in metric.details if detail.shown == INLINE or detail.kind == SETTING]
    notes = metric.notes
    notes += [f"{detail.label}: {short_value(detail)}" for detail in beside if detail.value is not None]
    hidden = metric.shown == HIDDEN
    label = f"{above}: {metric.label}" if above and hidden else INDENT * depth + metric.label
    yield [label, value_of(metric), "" if metric.kind == SETTING else metric.kind, "; ".join(notes)], hidden
    for detail in metric.details:
        if detail not in beside and detail.value not in (None, "", ()):
            yield from rows_of(detail, metric.label, 0 if hidden else depth + 1)


def value_of(metric: Metric) -> str:
    """The value with its standard error and unit."""
    if metric.value is None:
        return "–"
    if isinstance(metric.value, bool | tuple):
        return f"{plainly(metric.value)} {metric.unit}".rstrip()
    return minus(str(metric)) if isinstance(metric.value, int | float) else str(metric)


def short_value(metric: Metric) -> str:
    """The value with its standard error, in the metric's own format if it was measured."""
    measured = metric.kind != SETTING and isinstance(metric.value, int | float)
    return minus(metric.number) if measured else plainly(metric.value)


def plainly(value: Any) -> str:
    """A value as text: numbers short, the first values of lists.

    >>> plainly(True), plainly(None), plainly([1.0, 2.5]), plainly("a")
    ('yes', '–', '1, 2.5', 'a')
    """
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        listed = [plainly(item) for item in value[:MAX_LIST_VALUES]]
        return ", ".join(listed) + (f", ... ({len(value)} values)" if len(value) > MAX_LIST_VALUES else "")
    if value is None:
        return "–"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else number(value)
