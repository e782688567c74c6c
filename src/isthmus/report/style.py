"""What pictures are made of: sheets of images, small panels, and one style for all."""

from __future__ import annotations

import math
import textwrap
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import ndimage

from isthmus.schema import Schema

DPI = 150
FEATURES = 9
"""Columns of a table that are shown."""
CELL = 96
"""Screen pixels that the longer side of an image takes."""
FEW_PIXELS = 12
"""Images smaller than this are enlarged smoothly."""
INK, MUTED, PALE, BLUE, ORANGE = "#222222", "#808790", "#d5d9de", "#2a6fb0", "#d9822b"
PALETTE = matplotlib.colormaps["tab10"].colors  # type: ignore[attr-defined]
TITLE: dict[str, Any] = {"fontsize": 9, "color": INK}
LEGEND: dict[str, Any] = {"frameon": False, "fontsize": 7.5, "title_fontsize": 8}
BESIDE: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)}
"""A legend right of its panel."""


def against_original(views: dict[str, np.ndarray], schema: Schema, rows: str) -> Figure:
    """Each column of a table: what the model makes of it, over what it was."""
    original, *others = (values.reshape(len(values), -1) for values in views.values())
    names = column_names(schema)
    made = " and ".join(list(views)[1:])
    title = f"{made} over original, equal on the line: {rows}{of_columns(schema)}"
    figure, axes = panels(len(names), title, (2.3, 2.2), names)
    colours = [BLUE] if len(others) == 1 else [MUTED, BLUE]
    for j, axis in enumerate(axes):
        edges = (min(v[:, j].min() for v in (original, *others)), max(v[:, j].max() for v in (original, *others)))
        axis.plot(edges, edges, color=PALE, linewidth=1.2, zorder=0)
        for values, colour, name in zip(others, colours, list(views)[1:]):
            axis.scatter(original[:, j], values[:, j], s=8, color=colour, alpha=0.6, linewidths=0, label=name)
    if len(others) > 1:
        axes[0].legend(markerscale=1.5, handletextpad=0.1, **LEGEND)
    return figure


def marginals(data: np.ndarray, drawn: np.ndarray, schema: Schema, rows: str) -> Figure:
    """Each column of a table: the histogram of the data, and that of samples as a line."""
    data, drawn = (np.asarray(a, np.float64).reshape(len(a), -1) for a in (data, drawn))
    names = column_names(schema)
    title = f"columns of {rows} (grey) and of {len(drawn):,} samples (line){of_columns(schema)}"
    figure, axes = panels(len(names), title, (2.3, 1.9), names)
    for j, axis in enumerate(axes):
        edges = bin_edges(np.concatenate([data[:, j], drawn[:, j]]), len(data))
        axis.hist(data[:, j], bins=edges, density=True, color=PALE)
        axis.hist(drawn[:, j], bins=edges, density=True, histtype="step", color=BLUE, linewidth=1.3)
        axis.set_yticks([])
        axis.spines["left"].set_visible(False)
    return figure


def series(views: dict[str, np.ndarray], title: str, names: tuple[str, ...] = ()) -> Figure:
    """Sequences of up to three features (n, T, d) as lines, a panel a row; what was first is pale."""
    n = len(next(iter(views.values())))
    figure, axes = panels(n, title, (2.4, 1.5), [label_of(name) for name in names])
    ends = [end(values) for values in views.values() for end in (np.nanmin, np.nanmax)]
    room = 0.05 * (max(ends) - min(ends)) or 0.5
    looks: dict[str, dict[str, Any]] = {
        "original": {"color": MUTED, "linewidth": 2.2, "alpha": 0.5},
        "damaged": {"color": ORANGE, "linestyle": "none", "marker": ".", "markersize": 2.5},
    }
    for i, axis in enumerate(axes):
        axis.set_ylim(min(ends) - room, max(ends) + room)
        for name, values in views.items():
            lines = axis.plot(values[i].reshape(len(values[i]), -1), **looks.get(name, {"color": BLUE, "linewidth": 1}))
            lines[0].set_label(name)
    if len(views) > 1:
        axes[0].legend(**LEGEND)
    return figure


def sheet_of(images: np.ndarray, columns: int, title: str, names: tuple[str, ...] = ()) -> Figure:
    """Images (n, h, w, 3) in rows of `columns`; each image pixel takes a whole number of screen pixels."""
    images = softened(images)
    large = max(images.shape[1:3])
    zoom = max(1, CELL // large) if large <= CELL else CELL / large
    sheet = mosaic(images, columns, max(1, round(6 / zoom)))
    high, wide = (math.ceil(side * zoom) for side in sheet.shape[:2])
    left = 24 + (12 * max(len(label_of(name)) for name in names) + 20 if names else 0)
    width = max(left + wide + 24, 760)
    lines = textwrap.wrap(title, (width - 48) // 10)
    top = 24 + 26 * len(lines)
    height = top + high + 24
    figure = Figure((width / DPI, height / DPI), dpi=DPI)
    figure.text(24 / width, 1 - 14 / height, "\n".join(lines), va="top", **TITLE)
    axis = figure.add_axes((left / width, 24 / height, wide / width, high / height))
    axis.imshow(sheet, interpolation="nearest" if zoom >= 1 else "antialiased", aspect="auto")
    axis.set_axis_off()
    step = sheet.shape[0] / max(1, math.ceil(len(images) / columns))
    for i, name in enumerate(names):
        axis.text(-14 / zoom, (i + 0.5) * step - 0.5, label_of(name), ha="right", va="center", fontsize=8, color=INK)
    return figure


def softened(images: np.ndarray) -> np.ndarray:
    """Images (n, h, w, 3) of a few pixels enlarged smoothly: eyes read a shape, not squares."""
    factor = CELL // max(images.shape[1:3])
    if max(images.shape[1:3]) >= FEW_PIXELS:
        return images
    return ndimage.zoom(images, (1, factor, factor, 1), order=3, mode="nearest", grid_mode=True).clip(0, 1)


def mosaic(images: np.ndarray, columns: int, gap: int, between: float = 1.0) -> np.ndarray:
    """One picture (H, W, c) of images (n, h, w, c), all channels `between` (white) where there is none.

    >>> mosaic(np.zeros((5, 4, 6, 3)), 3, 1).shape
    (9, 20, 3)
    """
    n, h, w, channels = images.shape
    rows = math.ceil(n / columns)
    sheet = np.full((rows * (h + gap) - gap, columns * (w + gap) - gap, channels), between)
    for i, image in enumerate(images):
        top, left = (i // columns) * (h + gap), (i % columns) * (w + gap)
        sheet[top : top + h, left : left + w] = image
    return sheet


# ------------------------------------------------------------------------ style


def panels(n: int, title: str, size: tuple[float, float], names: list[str] | None = None) -> tuple[Figure, list[Axes]]:
    """A figure of n panels of one size in inches, as wide as high or wider, and its axes."""
    rows, columns = grid_of(n)
    width, height = max(4.8, columns * size[0]), rows * size[1] + 0.4
    figure = Figure((width, height), dpi=DPI, layout="constrained")
    figure.suptitle(textwrap.fill(title, int(15 * width)), x=0.02, ha="left", **TITLE)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axis in axes[n:]:
        axis.remove()
    for i, axis in enumerate(axes[:n]):
        axis.spines[["top", "right"]].set_visible(False)
        axis.spines[["left", "bottom"]].set_color(MUTED)
        axis.tick_params(labelsize=7, colors=MUTED, labelcolor=INK, length=2.5)
        axis.xaxis.label.set_size(8)
        axis.yaxis.label.set_size(8)
        axis.locator_params(nbins=5)
        if names:
            axis.set_title(names[i], loc="left", fontsize=8, color=INK)
    return figure, axes[:n]


def grid_of(n: int) -> tuple[int, int]:
    """Rows and columns for n panels.

    >>> [grid_of(n) for n in (1, 2, 3, 4, 5, 9, 10)]
    [(1, 1), (1, 2), (1, 3), (2, 2), (2, 3), (3, 3), (3, 4)]
    """
    columns = n if n <= 3 else math.ceil(math.sqrt(n))
    return math.ceil(n / columns), columns


def colour_of(i: int, name: str) -> Any:
    """The palette's i-th colour; what is only the rest stays grey."""
    return PALE if name in ("others", "unlabelled") else PALETTE[i]


def label_of(name: str, most: int = 24) -> str:
    """A user's own word as matplotlib should show it: not too long, and neither a formula ($) nor hidden (_).

    >>> label_of("a" * 30, 8), label_of("_price")
    ('aaaaaa...', ' _price')
    """
    short = (name if len(name) <= most else name[: most - 2] + "...").replace("$", r"\$")
    return f" {short}" if short.startswith("_") else short


def column_names(schema: Schema) -> list[str]:
    """Names of the columns that are shown."""
    names = schema.names or tuple(f"column {j}" for j in range(schema.size))
    return [label_of(name, 30) for name in names[:FEATURES]]


def of_columns(schema: Schema) -> str:
    """What is left out, in words."""
    return f", the first {FEATURES} of {schema.size} columns" if schema.size > FEATURES else ""


def bin_edges(values: np.ndarray, n: int) -> list[float]:
    """Edges of a histogram of n rows: around whole numbers where there are few, else evenly over all but outliers."""
    low, high = np.quantile(values, [0.005, 0.995])
    if high - low <= 30 and (values == np.round(values)).all():
        return [edge - 0.5 for edge in range(math.floor(low), math.ceil(high) + 2)]
    if high <= low:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, 1 + min(30, max(6, int(1.5 * math.sqrt(n))))).tolist()
