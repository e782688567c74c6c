"""Figures: the distribution of log p(x) or the squared error over rows, and the rows at its ends."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from isthmus.plot.context import PlotContext, Unavailable
from isthmus.plot.display import SHEETS, as_images
from isthmus.plot.style import (
    BLUE,
    CELL_PIXELS,
    INK,
    LEGEND,
    ORANGE,
    WIDE_CELL_PIXELS,
    image_sheet,
    line_panels,
    panels,
)
from isthmus.plot.text import number, range_of
from isthmus.wording import pluralize

OUTER = 0.005
"""Share of the rows at either end that may lie outside the histogram."""
EXTREMES = {"image": 8, "heat": 4, "lines": 3, "table": 5}
"""Rows shown at either end."""


@dataclass(frozen=True)
class Scores:
    """Finite scores (m,) of rows."""

    context: PlotContext
    values: np.ndarray
    quantity: str

    @property
    def limits(self) -> tuple[float, float]:
        low, high = np.quantile(self.values, [OUTER, 1 - OUTER])
        room = 0.05 * (high - low) or 0.5
        return float(low - room), float(high + room)

    @property
    def reference(self) -> tuple[str, float] | None:
        """The linear model's mean score, if it lies near enough to be drawn."""
        low, high = self.limits
        known = self.context.reference
        return known if known is not None and low - 3 * (high - low) < known[1] < high + 3 * (high - low) else None


def prepare(context: PlotContext) -> Scores:
    """log p(x) of each row, or its squared error if the model has no density."""
    values, quantity = context.scores
    values = values[np.isfinite(values)]
    if not len(values):
        raise Unavailable(f"No row has a finite {quantity}.")
    return Scores(context, values, quantity)


def draw(data: Scores) -> Figure:
    """A histogram, the mean and the linear model's mean as lines."""
    figure, (axis,) = panels(1, f"{data.quantity} of {data.context.counted}", (6.0, 2.6))
    low, high = data.limits
    shown = data.values[(data.values >= low) & (data.values <= high)]
    axis.hist(shown, bins=min(40, max(8, int(2 * math.sqrt(len(data.values))))), color=BLUE, alpha=0.85)
    mean = float(data.values.mean())
    axis.axvline(mean, color=INK, linewidth=1.2, label=f"mean {number(mean)}")
    if data.reference is not None:
        name, value = data.reference
        look: dict[str, Any] = {"color": ORANGE, "linewidth": 1.4, "linestyle": (0, (4, 2))}
        axis.axvline(value, label=f"{name} {number(value)}", **look)
    axis.set_xlabel("log p(x), nats" if data.quantity == "log p(x)" else "squared error, summed over features")
    axis.set_ylabel("rows")
    figure.legend(loc="outside lower left", ncols=2, **LEGEND)
    return figure


def caption(data: Scores) -> str:
    low, high = (number(value) for value in np.quantile(data.values, [0.05, 0.95]))
    outside = int(((data.values < data.limits[0]) | (data.values > data.limits[1])).sum())
    sentences = [
        "The rows on the left are unlikely under the model."
        if data.quantity == "log p(x)"
        else "The rows on the right are reconstructed badly.",
        f"Nine of ten rows lie between {low} and {high}.",
    ]
    if outside:
        sentences.append(f"{pluralize(outside, 'row')} further out {'is' if outside == 1 else 'are'} not drawn.")
    return " ".join(sentences)


def alt(data: Scores) -> str:
    quarters = [number(value) for value in np.quantile(data.values, [0.05, 0.5, 0.95])]
    return (
        f"Histogram of {data.quantity} over {pluralize(len(data.values), 'row')}, {range_of(data.values)}, mean "
        f"{number(data.values.mean())}, median {quarters[1]}; nine of ten lie between {quarters[0]} and {quarters[2]}."
    )


# --------------------------------------------------------------------- extremes


@dataclass(frozen=True)
class Extremes:
    """Positions of the least and the most typical rows, most extreme first."""

    context: PlotContext
    least: np.ndarray
    most: np.ndarray
    scores: np.ndarray
    quantity: str


def prepare_extremes(context: PlotContext) -> Extremes:
    """`select_extremes` of rows that can be drawn."""
    if context.kind == "table":
        raise Unavailable("The rows of a table cannot be drawn.")
    return select_extremes(context)


def select_extremes(context: PlotContext) -> Extremes:
    """The rows with the lowest and the highest log p(x), or with the largest and the smallest squared error."""
    scores, quantity = context.scores
    typical = scores if quantity == "log p(x)" else -scores
    order = np.argsort(np.where(np.isfinite(typical), typical, -np.inf), kind="stable")
    count = min(EXTREMES[context.kind], len(order) // 2)
    if not count:
        raise Unavailable("The least and the most typical rows need two rows at least.")
    return Extremes(context, order[:count], order[::-1][:count], scores, quantity)


def draw_extremes(data: Extremes) -> Figure:
    """Least typical rows above the most typical ones, each with its score."""
    context, index = data.context, np.concatenate([data.least, data.most])
    scores = tuple(number(data.scores[i]) for i in index)
    title = f"Least and most typical rows by {data.quantity}"
    if context.kind == "lines":
        return line_panels({"row": context.values[index]}, title, list(scores))
    images = as_images(context.values[index], context.schema)
    cell = CELL_PIXELS if context.kind == "image" else WIDE_CELL_PIXELS
    return image_sheet(images, len(data.least), title, ("least typical", "most typical"), cell_names=scores, cell=cell)


def caption_extremes(data: Extremes) -> str:
    least, most = (range_of(data.scores[index], 4) for index in (data.least, data.most))
    return (
        f"{data.quantity} of the least typical rows {least}, of the most typical {most}. Rows that are not typical are "
        "worth a look: corrupted data, wrong labels, rare kinds."
    )


def alt_extremes(data: Extremes) -> str:
    least, most = (
        ", ".join(f"row {row} ({number(data.scores[row])})" for row in index) for index in (data.least, data.most)
    )
    rows = "" if data.context.kind == "lines" else ", the least typical above the most typical"
    return f"{SHEETS[data.context.kind]}{rows}. Least typical by {data.quantity}: {least}. Most typical: {most}."
