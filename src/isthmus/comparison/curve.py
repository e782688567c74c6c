"""The figure of a sweep: each column over the swept field, a line per model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from isthmus.comparison.paired_stats import estimate
from isthmus.comparison.ranking import Row, columns_of, values_of
from isthmus.comparison.results import Column
from isthmus.comparison.table import Table
from isthmus.plot.style import INK, LEGEND, MUTED, PALETTE, label_of, panels, save

MAX_TICK_LABELS = 9
"""Swept values that are labelled on an axis."""
MAX_LABEL_CHARACTERS = 12
"""Characters of a label, at most."""
PANEL_INCHES = (3.3, 2.5)
"""Width and height of a panel."""
RANGES = {"probe": (0.0, 1.0), "condition_probe": (0.0, 1.0), "samples": (0.0, 1.0), "log_px": (-math.inf, math.inf)}
"""Possible values by the start of a column's key; all others are at least 0."""
NOT_DRAWN = ("parameters",)
"""Columns without a panel, by key."""


def draw_curve(table: Table, path: Path) -> Path:
    """Write the figure of a sweep to a file."""
    return save(curve(table), path)


def curve(table: Table) -> Figure:
    """A panel per column: means and 95 % confidence intervals over the values; a ring marks the elbow of a model."""
    columns = [column for column in columns_of(table.rows) if column.key not in NOT_DRAWN]
    title = f"{table.conditions.data}: sweep over {table.swept}; bars are 95 % intervals, a ring is a model's elbow"
    headings = [f"{column.heading} ({column.unit})" for column in columns]
    figure, axes = panels(len(columns), title, PANEL_INCHES, headings)
    positions = axis_positions(values_of(table.rows))
    for axis, column in zip(axes, columns):
        for i, label in enumerate(dict.fromkeys(row.label for row in table.rows)):
            rows = [row for row in table.rows if row.label == label and column in row.scores]
            if rows:
                draw_line(axis, rows, column, positions, PALETTE[i % len(PALETTE)])
        for elbow in table.elbows:
            if elbow.column == column:
                row = next(r for r in table.rows if r.label == elbow.label and r.value == elbow.value)
                x, y = positions[repr(elbow.value)], estimate(row.scores[column]).mean
                axis.plot(x, y, "o", markersize=11, fillstyle="none", color=INK, zorder=5)
        axis.set_xlabel(table.swept or "")
        ticks = list(positions.items())[:: 1 + len(positions) // MAX_TICK_LABELS]
        labels = [label_of(value.strip("'"), MAX_LABEL_CHARACTERS) for value, _ in ticks]
        axis.set_xticks([position for _, position in ticks], labels)
        axis.xaxis.set_minor_locator(NullLocator())
    handles = {text: handle for axis in axes for handle, text in zip(*axis.get_legend_handles_labels())}
    shown = {text: handles[text] for row in table.rows if (text := label_of(row.label)) in handles}
    figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=min(6, len(shown)), **LEGEND)
    return figure


def axis_positions(values: list[Any]) -> dict[str, float]:
    """Positions of the values on the axis: their base-2 logarithms if all are positive numbers, else 0, 1, 2, ...

    >>> axis_positions([2, 4, 16])
    {'2': 1.0, '4': 2.0, '16': 4.0}
    """
    logarithmic = all(isinstance(v, int | float) and not isinstance(v, bool) and v > 0 for v in values)
    return {repr(value): float(np.log2(value)) if logarithmic else float(i) for i, value in enumerate(values)}


def draw_line(axis: Axes, rows: list[Row], column: Column, positions: dict[str, float], colour: Any) -> None:
    """One model in one panel; a horizontal line for a model without the swept field."""
    estimates = [estimate(row.scores[column]) for row in rows]
    label = label_of(rows[0].label)
    if rows[0].value is None:
        axis.axhline(estimates[0].mean, color=colour, linewidth=1.1, linestyle="--", label=label)
        return
    x, y = [positions[repr(row.value)] for row in rows], [result.mean for result in estimates]
    half_widths = np.nan_to_num([result.half_width for result in estimates])
    # The t intervals of two seeds are very wide; they are cut off at the possible values.
    low, high = next((ends for name, ends in RANGES.items() if column.key.startswith(name)), (0.0, math.inf))
    bars = [np.minimum(half_widths, np.subtract(y, low)), np.minimum(half_widths, np.subtract(high, y))]
    axis.errorbar(x, y, bars, color=colour, ecolor=MUTED, elinewidth=0.8, marker="o", markersize=3, label=label)
