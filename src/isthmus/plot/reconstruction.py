"""Figure: rows beside their reconstructions, and beside what PCA with as many dimensions keeps of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from isthmus.examples import Examples
from isthmus.plot.context import PlotContext, squared_errors, values_of
from isthmus.plot.display import SHEETS, as_images, choose_rows
from isthmus.plot.style import (
    BLUE,
    CELL_PIXELS,
    MAX_PANELS,
    MUTED,
    ORANGE,
    PALE,
    WIDE_CELL_PIXELS,
    column_names,
    image_sheet,
    legend_below,
    line_panels,
    of_columns,
    padded_limits,
    panels,
)
from isthmus.plot.text import number, range_of
from isthmus.wording import pluralize

COUNTS = {"image": 10, "heat": 5, "lines": 9, "table": 500}
"""Rows shown, by the kind of display."""
COLOURS = {"reconstruction": BLUE, "cleaned": BLUE, "PCA": ORANGE, "corrupted": MUTED}


@dataclass(frozen=True)
class Reconstructions:
    """Rows and what becomes of them, (m, *X) each, in the data's units, NaN in padding."""

    context: PlotContext
    views: dict[str, np.ndarray]
    index: np.ndarray
    """(m,) positions of the rows."""

    @property
    def errors(self) -> dict[str, np.ndarray]:
        """(m,) squared errors of each view but the original."""
        original = self.views["original"]
        return {name: squared_errors(view, original) for name, view in self.views.items() if name != "original"}


def prepare(context: PlotContext) -> Reconstructions:
    """Some rows, balanced over their classes."""
    index = choose_rows(len(context.shown), COUNTS[context.kind], context.groups, context.seed)
    rows = context.shown.take(index)
    views = views_of(context, rows)
    if context.train is not None and "corrupted" not in views:
        views["PCA"] = context.reconstruct_by_pca(rows)
    return Reconstructions(context, views, index)


def views_of(context: PlotContext, rows: Examples) -> dict[str, np.ndarray]:
    """The rows and their reconstructions; of a denoising model, what is corrupted and what is made of that."""
    views = {"original": values_of(rows)}
    corrupted = context.corrupt(rows)
    if corrupted is None:
        return {**views, "reconstruction": context.decode(context.encode(rows), rows.condition, rows.lengths)}
    x, codes = corrupted
    return {**views, "corrupted": x, "cleaned": context.decode(codes, rows.condition, rows.lengths)}


def draw(data: Reconstructions) -> Figure:
    """Images or heat maps below each other, sequences as lines, columns of a table as scatter plots."""
    context, views = data.context, data.views
    shown = f"{len(data.index)} of {context.counted}" if len(data.index) < len(context.shown) else context.counted
    if context.kind == "table":
        return scatter_columns(data, shown)
    title = f"{'Corrupted and cleaned' if 'corrupted' in views else 'Originals and reconstructions'}: {shown}"
    if context.kind == "lines":
        names = [f"row {row}" for row in data.index]
        return line_panels(views, title, names)
    images = np.concatenate([as_images(values, context.schema) for values in views.values()])
    cell = CELL_PIXELS if context.kind == "image" else WIDE_CELL_PIXELS
    return image_sheet(images, len(data.index), title, tuple(views), cell=cell)


def scatter_columns(data: Reconstructions, shown: str) -> Figure:
    """Each column of a table: reconstructed against original values."""
    schema = data.context.schema
    flat = {name: values.reshape(len(values), -1) for name, values in data.views.items()}
    original = flat.pop("original")
    names = column_names(schema)
    title = f"Reconstructed against original values, equal on the line: {shown}{of_columns(schema)}"
    figure, axes = panels(len(names), title, (2.3, 2.0), names)
    for j, axis in enumerate(axes):
        edges = padded_limits(np.concatenate([original[:, j], *(values[:, j] for values in flat.values())]))
        axis.plot(edges, edges, color=PALE, linewidth=1.2, zorder=0)
        for name, values in sorted(flat.items(), key=lambda item: item[0] != "PCA"):  # PCA lies below
            axis.scatter(original[:, j], values[:, j], s=7, color=COLOURS[name], alpha=0.6, linewidths=0, label=name)
    if len(flat) > 1:
        legend_below(figure, axes[0])
    return figure


def caption(data: Reconstructions) -> str:
    context = data.context
    sentences = ["Each row is encoded, and its code decoded."]
    if "corrupted" in data.views:
        sentences = ["Rows are corrupted as in training; the model reconstructs the clean ones."]
    if "PCA" in data.views:
        k = min(context.code_size, len(context.pca.components_))
        dims = pluralize(k, "dimension")
        sentences.append(f"PCA with {dims} is the best linear model of that size, fitted to the same data.")
    if context.kind == "table":
        return " ".join([*sentences, "Points on the line are reconstructed exactly."])
    errors = ", ".join(f"{name} {number(values.mean(), 3)}" for name, values in data.errors.items())
    sentences.append(f"Squared error, summed over features, on average over the rows shown: {errors}.")
    return " ".join(sentences)


def alt(data: Reconstructions) -> str:
    context, n, views = data.context, len(data.index), ", ".join(data.views)
    if context.kind == "table":
        flat = {name: values.reshape(n, -1) for name, values in data.views.items()}
        original = flat.pop("original")
        shares = {name: explained(values, original)[:MAX_PANELS] for name, values in flat.items()}
        columns = "; ".join(
            f"{column} {', '.join(f'{name} {each[j]:.0%}' for name, each in shares.items())}"
            for j, column in enumerate(column_names(context.schema))
        )
        return (
            f"Scatter plots of reconstructed against original values of {pluralize(n, 'row')}, one for each column. "
            f"Share of the variance explained: {columns}."
        )
    labels, by = context.labels
    named = "" if labels is None else f" ({by}s {', '.join(str(v)[:20] for v in labels[data.index])})"
    errors = "; ".join(
        f"{name} {range_of(values)}, {number(values.mean(), 3)} on average" for name, values in data.errors.items()
    )
    each = "one for each" if context.kind == "lines" else "a column for each"
    order = "drawn over each other" if context.kind == "lines" else "from top to bottom"
    return f"{SHEETS[context.kind]}, {each} of {pluralize(n, 'row')}{named}; {order}: {views}. Squared error: {errors}."


def explained(values: np.ndarray, original: np.ndarray) -> np.ndarray:
    """(d,) share of each column's variance that reconstructions (n, d) explain, 0 of a constant column; without NaN."""
    variance, error = np.nanvar(original, 0), np.nanmean(np.square(values - original), 0)
    return 1 - np.divide(error, variance, out=np.ones_like(variance), where=variance > 0)
