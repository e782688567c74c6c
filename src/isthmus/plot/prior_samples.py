"""Figure: samples of the model, beside the training rows that lie nearest or the data's histograms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from isthmus.array_checks import as_condition
from isthmus.errors import InputError
from isthmus.plot.context import PlotContext
from isthmus.plot.display import MAX_CLASSES, SHEETS, as_images, choose_rows
from isthmus.plot.style import (
    BLUE,
    CELL_PIXELS,
    PALE,
    WIDE_CELL_PIXELS,
    bin_edges,
    column_names,
    image_sheet,
    legend_below,
    line_panels,
    of_columns,
    panels,
)
from isthmus.plot.text import number, range_of

ACROSS = {"image": 10, "heat": 5, "lines": 9, "table": 2000}
"""Samples in a row of a sheet; of lines and tables, samples in all."""
SHEET_ROWS, PAIRED_ROWS = 6, 3
"""Rows of samples on a sheet; where each is followed by a row of neighbours."""


@dataclass(frozen=True)
class Samples:
    """Samples (m, *X) in the data's units; for images and sequences E[x given z] of sampled codes."""

    context: PlotContext
    samples: np.ndarray
    columns: int
    """Samples in a row."""
    classes: tuple[str, ...] = ()
    """The condition of each column, if the columns are classes."""
    nearest: np.ndarray | None = None
    """(m, *X) the nearest row of data to each sample."""
    distances: np.ndarray | None = None
    """(m,) squared distances to them."""
    nearest_name: str = ""


def prepare(context: PlotContext) -> Samples:
    """Sample codes from the prior and decode them; a class for each column if the condition is a class."""
    kind, compared = context.kind, context.rows is not None or context.train is not None
    columns = ACROSS[kind]
    down = 1 if kind in ("lines", "table") else PAIRED_ROWS if compared else SHEET_ROWS
    condition = context.schema.condition
    classes = condition.classes[:MAX_CLASSES] if condition is not None and kind in ("image", "heat", "lines") else ()
    if classes and context.condition is None:
        # The same seed for every class: along a row the code stays and the class changes.
        per_class = down if kind != "lines" else max(1, columns // len(classes))
        drawn = [context.sample(per_class, [label] * per_class, mean=True) for label in classes]
        samples = np.stack(drawn, 1).reshape(-1, *context.schema.event_shape)  # (per_class * classes, *X)
        columns = len(classes)
    else:
        samples = context.sample(down * columns, conditions(context, down * columns), mean=kind != "table")
    near = context.nearest(samples) if compared and kind != "table" else (None, None, "")
    return Samples(context, samples, columns, tuple(map(str, classes)), *near)


def conditions(context: PlotContext, n: int) -> np.ndarray | None:
    """The conditions of n samples: the given one, else those of the rows, balanced over their classes."""
    if context.schema.condition is None:
        return None
    if context.condition is not None:
        return as_condition(context.condition, n)
    given = None if context.rows is None else context.rows.condition
    if given is None:
        raise InputError("condition must be given for samples of a conditional model. Pass condition=...")
    return given[np.resize(choose_rows(len(given), n, context.groups, context.seed), n)]


def draw(data: Samples) -> Figure:
    """A sheet of images, sequences as lines, or the histograms of a table's columns."""
    context = data.context
    if context.kind == "table":
        return histograms(data)
    title = "Samples: E[x given z], with z from the prior"
    if data.classes:
        title += "; a class for each column, a code for each row"
    if context.kind == "lines":
        views = {"sample": data.samples} if data.nearest is None else {"nearest": data.nearest, "sample": data.samples}
        names = [data.classes[i % data.columns] for i in range(len(data.samples))] if data.classes else None
        return line_panels(views, title, names)
    cell = CELL_PIXELS if context.kind == "image" else WIDE_CELL_PIXELS
    images = as_images(data.samples, context.schema)
    row_names: tuple[str, ...] = ()
    if data.nearest is not None:
        near = as_images(data.nearest, context.schema)
        rows = len(images) // data.columns
        pairs = [part.reshape(rows, data.columns, *part.shape[1:]) for part in (images, near)]
        images = np.stack(pairs, 1).reshape(-1, *images.shape[1:])  # a row of samples, then a row of neighbours
        row_names = ("sample", "nearest") * rows
    return image_sheet(images, data.columns, title, row_names, data.classes, cell=cell)


def histograms(data: Samples) -> Figure:
    """Each column of a table: the histogram of the data, and that of the samples as a line."""
    context = data.context
    drawn = data.samples.reshape(len(data.samples), -1)
    rows = None if context.rows is None else context.values.reshape(len(context.values), -1)
    known = np.zeros(0) if rows is None else np.isfinite(rows)
    names = column_names(context.schema)
    title = f"{len(drawn):,} samples" + ("" if rows is None else f" and {context.counted}")
    figure, axes = panels(len(names), title + of_columns(context.schema), (2.3, 1.8), names)
    for j, axis in enumerate(axes):
        both = drawn[:, j] if rows is None else np.concatenate([rows[known[:, j], j], drawn[:, j]])
        edges = bin_edges(both, len(drawn) if rows is None else len(rows))
        if rows is not None:
            axis.hist(rows[known[:, j], j], bins=edges, density=True, color=PALE, label=context.rows_name)
        axis.hist(drawn[:, j], bins=edges, density=True, histtype="step", color=BLUE, linewidth=1.3, label="samples")
        axis.set_yticks([])
        axis.spines["left"].set_visible(False)
    if rows is not None:
        legend_below(figure, axes[0])
    return figure


def caption(data: Samples) -> str:
    context = data.context
    if context.kind == "table":
        compared = "" if context.rows is None else " Where the line leaves the grey bars, samples differ from the data."
        return f"Histograms of the columns of samples from the model.{compared}"
    if data.distances is None:
        return "Decoded codes that were drawn from the prior."
    unit = "mean squared distance per step" if context.schema.sequence else "squared distance, summed over features,"
    return (
        f"Decoded codes that were drawn from the prior, and {near_words(context)} the nearest {data.nearest_name} "
        f"({unit} {range_of(data.distances)}). A sample equal to its neighbour is memorized."
    )


def alt(data: Samples) -> str:
    context, n = data.context, len(data.samples)
    if context.kind == "table":
        beside = "" if context.rows is None else f", each beside that of {context.counted}"
        return f"Histograms of the columns of {n:,} samples{beside}. Means: {means_of(data)}."
    classes = f", a column for each of the classes {', '.join(data.classes)}" if data.classes else ""
    text = f"{SHEETS[context.kind]}: {n:,} samples{classes}"
    if data.distances is not None:
        text += f", {near_words(context)} the nearest {data.nearest_name}; squared distances {range_of(data.distances)}"
    of_data = "" if context.rows is None else f", of the {context.rows_name} {number(np.nanmean(context.values), 3)}"
    return f"{text}. Mean of all values of the samples {number(np.nanmean(data.samples), 3)}{of_data}."


def near_words(context: PlotContext) -> str:
    """Where the nearest rows are drawn."""
    return "behind each" if context.kind == "lines" else "below each"


def means_of(data: Samples) -> str:
    """Mean of each shown column in the samples, and in the data where there are rows."""
    context, drawn = data.context, data.samples.reshape(len(data.samples), -1)
    rows = None if context.rows is None else context.values.reshape(len(context.values), -1)
    means = []
    for j, name in enumerate(column_names(context.schema)):
        of_data = "" if rows is None else f" (data {number(np.nanmean(rows[:, j]), 3)})"
        means.append(f"{name} {number(drawn[:, j].mean(), 3)}{of_data}")
    return "; ".join(means)
