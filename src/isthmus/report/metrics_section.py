"""Every number that was measured, as one table."""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.evaluation.result import Evaluation
from isthmus.metrics.metric import INLINE, SETTING, Metric
from isthmus.plot.tables import Table
from isthmus.plot.text import number

MAX_LIST_VALUES = 8
"""Values of a list that are shown."""


def metrics_table(evaluation: Evaluation) -> Table:
    """Every metric with its unit, kind and details, in the order in which they were measured."""
    rows = [row for metric in evaluation.metrics for row in rows_of(metric)]
    rows += [[name.replace("_", " "), "not measured", "", "", why] for name, why in evaluation.declined.items()]
    caption = (
        "± is one standard error over rows. Only numbers of the same kind and unit can be compared: a density, for "
        "example, not with a probability."
    )
    return Table(caption, ["", "value", "unit", "kind", "details"], rows, look="wordy")


def rows_of(metric: Metric) -> list[list[str]]:
    """A row for a metric and one for each of its details; what describes the measurement is in the same row."""
    beside = [detail for detail in metric.details if detail.shown == INLINE or detail.kind == SETTING]
    notes = metric.notes
    notes += [f"{detail.label}: {plainly(detail.value)}" for detail in beside if detail.value is not None]
    kind = "" if metric.kind == SETTING else metric.kind
    value = plainly(metric.value) if isinstance(metric.value, tuple | list) else metric.number.replace("-", "−")
    row = [metric.label, "–" if metric.value is None else value, metric.unit, kind, "; ".join(notes)]
    others = [detail for detail in metric.details if detail not in beside and detail.value is not None]
    return [row, *(deeper for detail in others for deeper in rows_of(detail))]


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
