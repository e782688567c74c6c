"""The table of figures: a new figure is one entry here, and appears in the report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from isthmus.plot import (
    code_dimensions,
    decoder_paths,
    latent_map,
    prior_samples,
    reconstruction,
    score_histogram,
    tables,
    training_curves,
)
from isthmus.plot.context import PlotContext, Unavailable
from isthmus.plot.tables import Table, no_tables


@dataclass(frozen=True)
class DrawnFigure:
    """A figure with its data and what is said about it."""

    data: Any
    figure: Figure
    caption: str
    alt: str


@dataclass(frozen=True)
class FigureSpec:
    """One kind of figure.

    Args:
        name: the name of the public function in `isthmus.plot`, of the section in the report, and of its PNG file.
        title: heading of the section.
        prepare: computes what is shown; raises Unavailable, with the reason, if there is nothing to show.
        draw: draws it.
        caption: explains it in a few sentences.
        alt: describes it, with its numbers, for readers who cannot see it.
        tables: the report's tables beside it, from the context and what `prepare` returned, None if it raised.
    """

    name: str
    title: str
    prepare: Callable[[PlotContext], Any]
    draw: Callable[[Any], Figure]
    caption: Callable[[Any], str]
    alt: Callable[[Any], str]
    tables: Callable[[PlotContext, Any], list[Table]] = no_tables

    def figure(self, context: PlotContext) -> Figure:
        """The figure; raises Unavailable if there is nothing to show."""
        return self.draw(self.prepare(context))

    def drawn(self, context: PlotContext) -> DrawnFigure:
        """The figure with what is said about it; raises Unavailable if there is nothing to show."""
        data = self.prepare(context)
        return DrawnFigure(data, self.draw(data), self.caption(data), self.alt(data))


FIGURES = {
    spec.name: spec
    for spec in (
        FigureSpec(
            "curves",
            "Training",
            training_curves.prepare,
            training_curves.draw,
            training_curves.caption,
            training_curves.alt,
        ),
        FigureSpec(
            "reconstructions",
            "Reconstructions",
            reconstruction.prepare,
            reconstruction.draw,
            reconstruction.caption,
            reconstruction.alt,
            tables.reconstruction_tables,
        ),
        FigureSpec(
            "samples",
            "Samples",
            prior_samples.prepare,
            prior_samples.draw,
            prior_samples.caption,
            prior_samples.alt,
            tables.sample_tables,
        ),
        FigureSpec(
            "latent",
            "Latent space",
            latent_map.prepare,
            latent_map.draw,
            latent_map.caption,
            latent_map.alt,
        ),
        FigureSpec(
            "dimensions",
            "Dimensions of the code",
            code_dimensions.prepare,
            code_dimensions.draw,
            code_dimensions.caption,
            code_dimensions.alt,
            tables.dimension_table,
        ),
        FigureSpec(
            "traversal",
            "Traversal of the dimensions",
            decoder_paths.prepare_traversal,
            decoder_paths.draw_traversal,
            decoder_paths.caption_traversal,
            decoder_paths.alt_traversal,
        ),
        FigureSpec(
            "interpolation",
            "Interpolation between rows",
            decoder_paths.prepare_interpolation,
            decoder_paths.draw_interpolation,
            decoder_paths.caption_interpolation,
            decoder_paths.alt_interpolation,
        ),
        FigureSpec(
            "scores",
            "Distribution of the scores",
            score_histogram.prepare,
            score_histogram.draw,
            score_histogram.caption,
            score_histogram.alt,
        ),
        FigureSpec(
            "extremes",
            "Least and most typical rows",
            score_histogram.prepare_extremes,
            score_histogram.draw_extremes,
            score_histogram.caption_extremes,
            score_histogram.alt_extremes,
            tables.extreme_tables,
        ),
    )
}
"""Every figure by name, in the order of the report."""


def draw_all(context: PlotContext) -> tuple[dict[str, DrawnFigure], dict[str, str]]:
    """Every figure that is available, and for the others the reason, by name."""
    drawn, unavailable = {}, {}
    for name, spec in FIGURES.items():
        try:
            drawn[name] = spec.drawn(context)
        except Unavailable as reason:
            unavailable[name] = str(reason)
    return drawn, unavailable
