"""The look of every figure: colours, small panels, sheets of images, files on disk."""

from __future__ import annotations

import math
import textwrap
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from isthmus.atomic_io import atomic_write
from isthmus.schema import Schema

DPI = 150
"""Dots per inch of a PNG file."""
MAX_PANELS = 9
"""Columns of a table that have a panel."""
CELL_PIXELS, WIDE_CELL_PIXELS = 96, 224
"""Longer side of an image on a sheet; of a sequence drawn as a heat map."""
INK, MUTED, PALE, BLUE, ORANGE = "#222222", "#808790", "#d5d9de", "#2a6fb0", "#d9822b"
PALETTE = matplotlib.colormaps["tab10"].colors  # type: ignore[attr-defined]
BLEND = LinearSegmentedColormap.from_list("blend", [BLUE, "#9a6fb0", ORANGE])
"""Low to high, or start to end; legible on a light and on a dark background."""
BLUES = LinearSegmentedColormap.from_list("density", [(*to_rgb(BLUE), alpha) for alpha in (0.15, 1.0)])
"""Few to many: more is more opaque, legible on a light and on a dark background."""
TITLE: dict[str, Any] = {"fontsize": 9, "color": INK}
LEGEND: dict[str, Any] = {"frameon": False, "fontsize": 7.5, "title_fontsize": 8, "labelcolor": INK}


# ----------------------------------------------------------------------- panels


def panels(n: int, title: str, size: tuple[float, float], names: list[str] | None = None) -> tuple[Figure, list[Axes]]:
    """A figure with n panels and their axes.

    Args:
        n: number of panels; the grid is about square.
        title: a line or two above all panels.
        size: width and height of one panel, inches.
        names: title of each panel.
    """
    rows, columns = grid_of(n)
    width, height = max(4.8, columns * size[0]), rows * size[1] + 0.4
    figure = Figure((width, height), dpi=DPI, layout="constrained")
    figure.suptitle(textwrap.fill(title, int(13.5 * width)), x=0.02, ha="left", **TITLE)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axis in axes[n:]:
        axis.remove()
    for i, axis in enumerate(axes[:n]):
        axis.spines[["top", "right"]].set_visible(False)
        axis.spines[["left", "bottom"]].set_color(MUTED)
        axis.tick_params(labelsize=7, colors=MUTED, labelcolor=INK, length=2.5)
        for label in (axis.xaxis.label, axis.yaxis.label):
            label.set(size=8, color=INK)
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


def line_panels(views: dict[str, np.ndarray], title: str, names: list[str] | None = None) -> Figure:
    """Sequences of up to three features as lines, one panel each.

    Args:
        views: arrays (n, T, d) by name, drawn over each other: originals broad and pale, corrupted ones as dots.
        title: title of the figure.
        names: titles of the panels.
    """
    n = len(next(iter(views.values())))
    figure, axes = panels(n, title, (2.4, 1.5), names)
    limits = padded_limits(np.concatenate([values.reshape(-1) for values in views.values()]))
    looks: dict[str, dict[str, Any]] = {
        "original": {"color": MUTED, "linewidth": 2.2, "alpha": 0.5},
        "nearest": {"color": MUTED, "linewidth": 2.2, "alpha": 0.5},
        "corrupted": {"color": ORANGE, "linestyle": "none", "marker": ".", "markersize": 2.5},
        "PCA": {"color": ORANGE, "linewidth": 1, "linestyle": (0, (4, 2))},
    }
    for i, axis in enumerate(axes):
        axis.set_ylim(*limits)
        axis.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        for name, values in views.items():
            lines = axis.plot(values[i].reshape(len(values[i]), -1), **looks.get(name, {"color": BLUE, "linewidth": 1}))
            lines[0].set_label(name)
    figure.supxlabel("step", fontsize=8, color=INK)
    if len(views) > 1:
        legend_below(figure, axes[0])
    return figure


def path_panels(paths: dict[str, np.ndarray], title: str) -> Figure:
    """Sequences (S, T, d) along paths of codes, one panel per path; colours go from blue at the start to orange."""
    figure, axes = panels(len(paths), title, (2.4, 1.5), list(paths))
    limits = padded_limits(np.concatenate([path.reshape(-1) for path in paths.values()]))
    for axis, path in zip(axes, paths.values()):
        for values, share in zip(path, np.linspace(0, 1, len(path))):
            axis.plot(values.reshape(len(values), -1), color=BLEND(share), linewidth=1)
        axis.set_ylim(*limits)
        axis.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    figure.supxlabel("step", fontsize=8, color=INK)
    return figure


def legend_below(figure: Figure, axis: Axes) -> None:
    """One legend for all panels, of what the first shows."""
    handles, names = axis.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower left", ncols=len(names), markerscale=1.5, **LEGEND)


def padded_limits(values: np.ndarray) -> tuple[float, float]:
    """Limits a little outside the finite values."""
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    room = 0.06 * (high - low) or 0.5
    return low - room, high + room


def bin_edges(values: np.ndarray, n: int) -> list[float]:
    """Edges of a histogram of n rows: around integers where there are few, else evenly over all but outliers."""
    low, high = np.quantile(values, [0.005, 0.995])
    if high - low <= 30 and (values == np.round(values)).all():
        return [edge - 0.5 for edge in range(math.floor(low), math.ceil(high) + 2)]
    if high <= low:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, 1 + min(30, max(6, int(1.5 * math.sqrt(n))))).tolist()


# ------------------------------------------------------------- sheets of images


def image_sheet(
    images: np.ndarray,
    columns: int,
    title: str,
    row_names: tuple[str, ...] = (),
    column_names: tuple[str, ...] = (),
    cell_names: tuple[str, ...] = (),
    cell: int = CELL_PIXELS,
) -> Figure:
    """Images (n, h, w, 4) in rows of `columns`, each pixel a whole number of screen pixels where there is room.

    Args:
        images: red, green, blue and opacity on [0, 1].
        columns: images in a row.
        title: a line or two above the sheet.
        row_names: a name left of each row.
        column_names: a name above each column.
        cell_names: a few letters below each image.
        cell: pixels that the longer side of an image takes.
    """
    images = resized(images, cell)
    if cell_names:
        images = np.pad(images, ((0, 0), (0, 22), (0, 0), (0, 0)))
    sheet = mosaic(images, columns, 6, 0.0)
    high, wide = sheet.shape[:2]
    names = [label_of(name, 16) for name in row_names]
    left = 24 + (11 * max(map(len, names)) + 14 if names else 0)
    width = max(left + wide + 24, 760)
    lines = textwrap.wrap(title, (width - 48) // 10)
    top = 24 + 26 * len(lines) + (26 if column_names else 0)
    height = top + high + 24
    figure = Figure((width / DPI, height / DPI), dpi=DPI)
    figure.text(24 / width, 1 - 14 / height, "\n".join(lines), va="top", **TITLE)
    axis = figure.add_axes((left / width, 24 / height, wide / width, high / height))
    axis.imshow(sheet, interpolation="none", aspect="auto")
    axis.set_axis_off()
    rows = math.ceil(len(images) / columns)
    for i, name in enumerate(names):
        place = (i + 0.5) * (high + 6) / rows - 3
        axis.text(-14, place, name, ha="right", va="center", fontsize=8, color=INK)
    for j, name in enumerate(column_names):
        place, most = (j + 0.5) * (wide + 6) / columns - 3, max(4, (wide // columns) // 9)
        axis.text(place, -8, label_of(name, most), ha="center", va="bottom", fontsize=8, color=INK)
    for i, name in enumerate(cell_names):
        row, column = divmod(i, columns)
        x, y = column * (wide + 6) / columns, (row + 1) * (high + 6) / rows - 12
        axis.text(x, y, name, ha="left", va="bottom", fontsize=7, color=INK)
    return figure


def resized(images: np.ndarray, cell: int) -> np.ndarray:
    """Images (n, h, w, c) with their longer side near `cell` pixels.

    Small ones are enlarged by a whole factor, so that pixels stay what they are, and equal; large ones shrink.
    """
    high, wide = images.shape[1:3]
    large = max(high, wide)
    if large <= cell:
        return images.repeat(cell // large, 1).repeat(cell // large, 2)
    size = (max(1, round(wide * cell / large)), max(1, round(high * cell / large)))
    pixels = np.rint(images * 255).astype(np.uint8)
    return (
        np.stack([np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)) for image in pixels]) / 255
    )


def mosaic(images: np.ndarray, columns: int, gap: int, between: float = 1.0) -> np.ndarray:
    """One picture (H, W, c) of images (n, h, w, c), all channels `between` where there is none.

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


# ------------------------------------------------------------- names and files


def colour_of(i: int, name: str) -> Any:
    """The palette's i-th colour; rows that belong to no class stay grey."""
    return PALE if name in ("others", "unlabelled") else PALETTE[i]


def label_of(name: str, most: int = 24) -> str:
    """User text as matplotlib should show it: not too long, and neither a formula ($) nor hidden (_).

    >>> label_of("a" * 30, 8), label_of("_price")
    ('aaaaaa...', ' _price')
    """
    short = (name if len(name) <= most else name[: max(1, most - 2)] + "...").replace("$", r"\$")
    return f" {short}" if short.startswith("_") else short


def column_names(schema: Schema) -> list[str]:
    """Names of the columns that have a panel."""
    names = schema.names or tuple(f"column {j}" for j in range(schema.size))
    return [label_of(name, 30) for name in names[:MAX_PANELS]]


def of_columns(schema: Schema) -> str:
    """Which columns are shown, if not all."""
    return f", the first {MAX_PANELS} of {schema.size} columns" if schema.size > MAX_PANELS else ""


def lay_out(figure: Figure) -> None:
    """Place a figure's axes once: every file that it is written to would place them anew, and twice."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine(None)


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG, completely or not at all; the bytes hold no version and no date."""
    lay_out(figure)
    with atomic_write(path) as part:
        figure.savefig(part, dpi=DPI, format="png", facecolor="white", metadata={"Software": None})
    return path
