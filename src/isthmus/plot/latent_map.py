"""Figure: the codes of rows in two dimensions, coloured by class or number, beside PCA of the same rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.neighbors import NearestNeighbors

from isthmus.plot.context import PlotContext
from isthmus.plot.display import label_groups
from isthmus.plot.style import BLEND, BLUE, BLUES, INK, LEGEND, PALE, colour_of, label_of, panels
from isthmus.plot.text import minus, number, range_of
from isthmus.wording import pluralize

MAX_VECTOR_POINTS = 2000
"""Rows up to which points stay points in an SVG; more become a picture inside it, which is smaller."""
SCATTERED = 300
"""Rows up to which a map without labels shows points; of more it shows their density."""
NEIGHBOURS = 5
"""Rows around a row whose labels are compared with its own."""
OUTER = 0.01
"""Share of the rows at either end of a scale that may lie beyond its colours."""
MAPS = ("codes of the model", "PCA of the same rows")


@dataclass(frozen=True)
class LatentMap:
    """Places (n, 1 or 2) of all rows on each map, and the names of its axes."""

    context: PlotContext
    maps: dict[str, tuple[np.ndarray, list[str]]]

    @property
    def by(self) -> str:
        """What the rows are coloured by: label, condition, or the name of a column."""
        return self.context.colour[1]

    @cached_property
    def groups(self) -> list[tuple[str, np.ndarray]]:
        """Names and (n,) masks of the classes."""
        return label_groups(self.context.colour[0])

    @cached_property
    def scale(self) -> np.ndarray | None:
        """(n,) numbers that colour the rows, NaN where there is none; None for classes."""
        values = self.context.colour[0]
        if values is None or self.groups or values.dtype.kind not in "iuf":
            return None
        values = values.astype(np.float64)
        return np.where(np.isfinite(values), values, np.nan) if np.isfinite(values).any() else None


def prepare(context: PlotContext) -> LatentMap:
    """All rows on both maps."""
    context.require_code()
    return LatentMap(context, dict(zip(MAPS, (context.code_map, context.pca_map))))


def draw(data: LatentMap) -> Figure:
    """Two maps side by side; if a code is one number, histograms, or that number beside the one that colours."""
    title = f"Codes and PCA of {data.context.counted}"
    title += f", coloured by {label_of(data.by)}" if data.groups or data.scale is not None else ""
    figure, axes = panels(2, title, (4.2, 3.6), list(data.maps))
    points = None
    for axis, (places, names) in zip(axes, data.maps.values()):
        axis.set_xlabel(names[0])
        if places.shape[1] == 2:
            axis.set_ylabel(names[1])
            axis.set_aspect("equal", "datalim")
            points = draw_points(axis, places, data)
        elif data.scale is not None:
            axis.set_ylabel(label_of(data.by))
            axis.scatter(places[:, 0], data.scale, color=BLUE, **look_of(len(places)))
        else:
            draw_histogram(axis, places[:, 0], data.groups)
            axis.set_ylabel("rows")
    if data.groups:
        handles, names = axes[0].get_legend_handles_labels()
        look = {"markerscale": 1.4, "handletextpad": 0.3, "columnspacing": 1.2}
        figure.legend(handles, names, loc="outside lower left", ncols=min(len(names), 10), **look, **LEGEND)
    elif data.scale is not None and points is not None:
        bar = figure.colorbar(points, ax=axes, shrink=0.7, aspect=30, extend="both")
        bar.set_label(label_of(data.by), size=8, color=INK)
        bar.ax.tick_params(labelsize=7, length=2.5)
        bar.outline.set_visible(False)
    return figure


def look_of(n: int) -> dict[str, Any]:
    """The look of n points: the more, the smaller."""
    size = 22 if n < 400 else 9 if n < 5000 else 3
    return {"s": size, "linewidths": 0, "alpha": 0.8, "rasterized": n > MAX_VECTOR_POINTS}


def draw_points(axis: Axes, places: np.ndarray, data: LatentMap) -> Any:
    """Rows coloured by class or by number; without labels points, or the density of many."""
    look = look_of(len(places))
    for i, (name, mask) in enumerate(data.groups):
        axis.scatter(*places[mask].T, color=colour_of(i, name), label=label_of(name), **look)
    if data.groups:
        return None
    if data.scale is not None:
        known = np.isfinite(data.scale)
        low, high = np.quantile(data.scale[known], [OUTER, 1 - OUTER])
        axis.scatter(*places[~known].T, color=PALE, **look)
        x, y = places[known].T
        return axis.scatter(x, y, c=data.scale[known], cmap=BLEND, vmin=low, vmax=high, **look)
    if len(places) <= SCATTERED:
        return axis.scatter(*places.T, color=BLUE, **{**look, "alpha": 0.5})
    return axis.hexbin(*places.T, gridsize=28, mincnt=1, cmap=BLUES, linewidths=0)


def draw_histogram(axis: Axes, places: np.ndarray, groups: list[tuple[str, np.ndarray]]) -> None:
    """Codes of one dimension, stacked by class."""
    parts = [places[mask] for _, mask in groups] or [places]
    colours = [colour_of(i, name) for i, (name, _) in enumerate(groups)] or [BLUE]
    bins = min(40, max(10, int(2 * math.sqrt(len(places)))))
    axis.hist(parts, bins, stacked=True, color=colours, label=[label_of(name) for name, _ in groups] or None)


def caption(data: LatentMap) -> str:
    context, by = data.context, data.by
    sentences = ["Nearby points have similar codes."]
    if context.codes.shape[1] > 2:
        dims = pluralize(context.codes.shape[1], "dimension")
        sentences.append(f"The codes have {dims}; the map shows the two directions in which they vary most.")
    if data.groups or data.scale is not None:
        sentences.append(colour_words(data))
        shares = [agreement(places, data) for places, _ in data.maps.values()]
        if all(share is not None for share in shares):
            what = f"of a row's {NEIGHBOURS} nearest points have its {by}"
            if data.scale is not None:
                what = f"of the variance of {by} is explained by a row's {NEIGHBOURS} nearest points"
            sentences.append(minus(f"On average {shares[0]:.0%} {what}; on PCA's map {shares[1]:.0%}."))
    elif len(context.codes) > SCATTERED:
        sentences.append("The darker a place, the more rows lie there.")
    return " ".join(sentences)


def colour_words(data: LatentMap) -> str:
    """What the colours are, and whether the model knows it."""
    schema, by = data.context.schema, data.by
    words = f"Colours are the {by}s" if by in ("label", "condition") else f"Colours are the column {by}"
    if data.scale is not None:
        low, high = np.nanquantile(data.scale, [OUTER, 1 - OUTER])
        words += f", from {number(low)} (blue) to {number(high)} (orange)"
        unknown = int(np.isnan(data.scale).sum())
        words += f"; grey where there is no number ({pluralize(unknown, 'row')})" if unknown else ""
    if by in schema.names:
        return f"{words}. The model was fitted to it."
    if schema.condition is None:
        return f"{words}, which the model did not see."
    if by == "condition":
        return f"{words}. The model is given them, so its codes need not separate them."
    return f"{words}. The model is given the condition, so its codes need not separate it."


def alt(data: LatentMap) -> str:
    described = []
    for label, (places, names) in data.maps.items():
        axes = " and ".join(f"{name} {range_of(column)}" for name, column in zip(names, places.T))
        centres = [
            f"{name} around ({', '.join(number(value, 2) for value in places[mask].mean(0))})"
            for name, mask in data.groups
            if mask.any()
        ]
        text = f"{label}: {axes}."
        if data.groups:
            text += f" By {data.by}: {'; '.join(centres)}."
        elif data.scale is not None:
            along = (number(correlation(column, data.scale), 2) for column in places.T)
            text += f" Correlation with {data.by}: {', '.join(along)}."
        described.append(text)
    kind = "scatter plots" if places.shape[1] == 2 or data.scale is not None else "histograms"
    return f"Two {kind} side by side, {pluralize(len(places), 'row')} each. {' '.join(described)}"


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation of numbers (n,) where both are known; 0 if one of them does not vary."""
    known = np.isfinite(a) & np.isfinite(b)
    a, b = a[known] - a[known].mean(), b[known] - b[known].mean()
    size = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / size if size else 0.0


def agreement(places: np.ndarray, data: LatentMap) -> float | None:
    """How well a row's nearest rows on a map (n, 2) tell its colour; None for too few rows.

    Of classes, the mean share of them that are of its class; of numbers, the share of the variance that their mean
    explains.
    """
    known = np.ones(len(places), bool) if data.scale is None else np.isfinite(data.scale)
    if known.sum() <= 2 * NEIGHBOURS:
        return None
    places = places[known]
    around = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(places).kneighbors(return_distance=False)
    if data.scale is not None:
        values = data.scale[known]
        return 1 - float(np.square(values[around].mean(1) - values).mean() / (values.var() or 1.0))
    group = np.zeros(len(places), int)
    for i, (_, mask) in enumerate(data.groups):
        group[mask] = i
    return float((group[around] == group[:, None]).mean())
