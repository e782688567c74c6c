"""Figure: the codes of rows in two dimensions, coloured by label, beside PCA of the same rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.neighbors import NearestNeighbors

from isthmus.plot.context import PlotContext
from isthmus.plot.display import choose_rows
from isthmus.plot.style import BLEND, BLUE, BLUES, LEGEND, colour_of, label_of, panels
from isthmus.plot.text import number, range_of
from isthmus.wording import pluralize

MAX_POINTS = 2000
"""Rows on a map."""
SCATTERED = 300
"""Rows up to which a map without labels shows points; of more it shows their density."""
NEIGHBOURS = 5
"""Rows around a row whose labels are compared with its own."""
MAPS = ("codes of the model", "PCA of the same rows")


@dataclass(frozen=True)
class LatentMap:
    """Places (m, 1 or 2) of rows on each map, and the names of its axes."""

    context: PlotContext
    index: np.ndarray
    """(m,) positions of the rows."""
    maps: dict[str, tuple[np.ndarray, list[str]]]

    @property
    def groups(self) -> list[tuple[str, np.ndarray]]:
        return [(name, mask[self.index]) for name, mask in self.context.groups]

    @property
    def scale(self) -> np.ndarray | None:
        """(m,) labels that are numbers on a scale."""
        labels = self.context.labels[0]
        numeric = labels is not None and labels.dtype.kind in "iuf" and not self.context.groups
        return labels[self.index] if numeric and labels is not None else None


def prepare(context: PlotContext) -> LatentMap:
    """A random choice of rows on both maps."""
    context.require_code()
    index = choose_rows(len(context.shown), MAX_POINTS, [], context.seed)
    both = zip(MAPS, (context.code_map, context.pca_map))
    return LatentMap(context, index, {name: (places[index], axes) for name, (places, axes) in both})


def draw(data: LatentMap) -> Figure:
    """Two maps side by side; histograms if a code is one number."""
    context, by = data.context, data.context.labels[1]
    shown = f"{len(data.index):,} of {context.counted}" if len(data.index) < len(context.shown) else context.counted
    title = f"Codes and PCA of {shown}" + (f", coloured by {by}" if data.groups or data.scale is not None else "")
    figure, axes = panels(2, title, (4.2, 3.6), list(data.maps))
    for axis, (places, names) in zip(axes, data.maps.values()):
        axis.set_xlabel(names[0])
        if places.shape[1] == 1:
            draw_histogram(axis, places[:, 0], data.groups)
            axis.set_ylabel("rows")
        else:
            axis.set_ylabel(names[1])
            axis.set_aspect("equal", "datalim")
            points = draw_points(axis, places, data)
    if data.groups:
        handles, names = axes[0].get_legend_handles_labels()
        look = {"markerscale": 1.4, "handletextpad": 0.3, "columnspacing": 1.2}
        figure.legend(handles, names, loc="outside lower left", ncols=min(len(names), 10), **look, **LEGEND)
    elif data.scale is not None and places.shape[1] == 2:
        bar = figure.colorbar(points, ax=axes, shrink=0.7, aspect=30)
        bar.set_label(by, size=8)
        bar.ax.tick_params(labelsize=7, length=2.5)
        bar.outline.set_visible(False)
    return figure


def draw_points(axis: Axes, places: np.ndarray, data: LatentMap) -> Any:
    """Rows coloured by class or by number; without labels points, or the density of many."""
    look: dict[str, Any] = {"s": 22 if len(places) < 400 else 9, "linewidths": 0, "alpha": 0.8}
    for i, (name, mask) in enumerate(data.groups):
        axis.scatter(*places[mask].T, color=colour_of(i, name), label=label_of(name), **look)
    if data.groups:
        return None
    if data.scale is not None:
        return axis.scatter(places[:, 0], places[:, 1], c=data.scale, cmap=BLEND, **look)
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
    context, by = data.context, data.context.labels[1]
    sentences = ["Nearby points have similar codes."]
    if context.codes.shape[1] > 2:
        dims = pluralize(context.codes.shape[1], "dimension")
        sentences.append(f"The codes have {dims}; the map shows the two directions in which they vary most.")
    if data.groups:
        if context.schema.condition is not None:
            sentences.append(
                "Colours are the conditions. The model is given them, so its codes need not separate them."
                if by == "condition"
                else "The model is given the condition, so its codes need not separate it."
            )
        else:
            sentences.append(f"Colours are the {by}s, which the model did not see.")
        shares = [agreement(places, data.groups) for places, _ in data.maps.values()]
        if all(share is not None for share in shares):
            sentences.append(
                f"On average {shares[0]:.0%} of a row's {NEIGHBOURS} nearest points have its {by}; on PCA's map "
                f"{shares[1]:.0%}."
            )
    elif data.scale is None and len(data.index) > SCATTERED:
        sentences.append("The darker a place, the more rows lie there.")
    return " ".join(sentences)


def alt(data: LatentMap) -> str:
    described = []
    by = data.context.labels[1]
    for label, (places, names) in data.maps.items():
        axes = " and ".join(f"{name} {range_of(column)}" for name, column in zip(names, places.T))
        centres = [
            f"{name} around ({', '.join(number(value, 2) for value in places[mask].mean(0))})"
            for name, mask in data.groups
            if mask.any()
        ]
        described.append(f"{label}: {axes}." + (f" By {by}: {'; '.join(centres)}." if centres else ""))
    return f"Map of {pluralize(len(data.index), 'row')}. {' '.join(described)}"


def agreement(places: np.ndarray, groups: list[tuple[str, np.ndarray]]) -> float | None:
    """Mean share of a row's nearest rows on a map (n, 2) that are of its class; None for too few rows."""
    if len(places) <= 2 * NEIGHBOURS:
        return None
    group = np.zeros(len(places), int)
    for i, (_, mask) in enumerate(groups):
        group[mask] = i
    around = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(places).kneighbors(return_distance=False)
    return float((group[around] == group[:, None]).mean())
