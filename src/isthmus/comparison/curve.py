"""The curves of a sweep: every column over the swept field, a line a model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from isthmus.comparison.paired_stats import estimate
from isthmus.comparison.table import LABELS, SAMPLES, Column, Row, Table, columns_of, values_of
from isthmus.plot.style import INK, LEGEND, MUTED, PALETTE, label_of, panels, save

MOST = 9
"""Values of a sweep that are each written below the axis."""


def draw_curve(table: Table, path: Path) -> Path:
    """Write the picture of a sweep."""
    return save(curve(table), path)


def curve(table: Table) -> Figure:
    """A panel a column: mean and 95 % interval over the values; the knee of each model is ringed."""
    columns = [column for column in columns_of(table.rows) if column.key != "parameters"]
    title = f"{table.facts['data']}: over {table.swept}; bars are 95 % intervals, a ring is a model's knee"
    figure, axes = panels(len(columns), title, (3.3, 2.5), [f"{c.heading} ({c.unit})" for c in columns])
    places = places_of(values_of(table.rows))
    for axis, column in zip(axes, columns):
        for i, label in enumerate(dict.fromkeys(row.label for row in table.rows)):
            own = [row for row in table.rows if row.label == label and column in row.scores]
            if own:
                line(axis, own, column, places, PALETTE[i % len(PALETTE)])
        for knee in table.knees:
            if knee.column == column:
                row = next(r for r in table.rows if r.label == knee.label and r.value == knee.value)
                height = estimate(row.scores[column]).mean
                axis.plot(places[repr(knee.value)], height, "o", markersize=11, fillstyle="none", color=INK, zorder=5)
        axis.set_xlabel(table.swept or "")
        ticks = list(places.items())[:: 1 + len(places) // MOST]
        axis.set_xticks([place for _, place in ticks], [label_of(value.strip("'"), 12) for value, _ in ticks])
        axis.xaxis.set_minor_locator(NullLocator())
    drawn = {text: handle for axis in axes for handle, text in zip(*axis.get_legend_handles_labels())}
    shown = {text: drawn[text] for row in table.rows if (text := label_of(row.label)) in drawn}
    figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=min(6, len(shown)), **LEGEND)
    return figure


def places_of(values: list[Any]) -> dict[str, float]:
    """Where on the axis each value lies: by its logarithm if all are positive numbers, else one after another.

    >>> places_of([2, 4, 16])
    {'2': 1.0, '4': 2.0, '16': 4.0}
    """
    numeric = all(isinstance(v, int | float) and not isinstance(v, bool) and v > 0 for v in values)
    return {repr(value): float(np.log2(value)) if numeric else float(i) for i, value in enumerate(values)}


def line(axis: Axes, rows: list[Row], column: Column, places: dict[str, float], colour: Any) -> None:
    """One model in one panel; one without the swept field is a level line."""
    found = [estimate(row.scores[column]) for row in rows]
    label = label_of(rows[0].label)
    if rows[0].value is None:
        axis.axhline(found[0].mean, color=colour, linewidth=1.1, linestyle="--", label=label)
        return
    x, y = [places[repr(row.value)] for row in rows], [one.mean for one in found]
    bars = np.nan_to_num([one.half_width for one in found])
    # Where numbers cannot go no bar goes: two seeds may leave an interval of any width.
    low, high = (-math.inf, math.inf) if column.higher and column != LABELS else (0.0, math.inf)
    high = 1.0 if column in (LABELS, SAMPLES) else high
    ends = [np.minimum(bars, np.subtract(y, low)), np.minimum(bars, np.subtract(high, y))]
    axis.errorbar(x, y, ends, color=colour, ecolor=MUTED, elinewidth=0.8, marker="o", markersize=3, label=label)
