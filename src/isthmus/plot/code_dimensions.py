"""Figure: how much each dimension of the code carries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from isthmus.metrics.dimensions_in_use import IN_USE_NATS
from isthmus.plot.context import PlotContext
from isthmus.plot.style import BLUE, PALE, panels
from isthmus.plot.text import number
from isthmus.wording import capitalize, pluralize

MAX_BARS = 48
"""Dimensions of the code that have a bar."""
MIN_WIDTH_BARS = 8
"""Fewer bars leave room on the right, so that bars stay narrow."""
MAX_NUMBERED = 24
"""Bars up to which each has its number below it."""


@dataclass(frozen=True)
class Dimensions:
    """A number for each dimension of the code, largest first."""

    context: PlotContext
    order: np.ndarray
    """(m,) the dimensions shown."""
    values: np.ndarray
    """(m,)."""
    quantity: str
    meaning: str


def prepare(context: PlotContext) -> Dimensions:
    """The KL of each dimension; else the share of its variance that lies between rows; else its variance."""
    context.require_code()
    order = context.order[:MAX_BARS]
    if context.kl is not None:
        meaning = f"KL(q(z given x) || p(z)) of each dimension; {number(context.kl.sum())} nats in all"
        return Dimensions(context, order, context.kl[order], "KL (nats)", meaning)
    ratio = context.between_variance_ratio
    if ratio is not None:
        meaning = (
            "The KL to this prior does not split over dimensions. Shown instead: the share of a dimension's variance "
            "that lies between rows; 1 is a precise code, 0 is noise"
        )
        return Dimensions(context, order, ratio[order], "share of variance", meaning)
    meaning = "Variance of each dimension over the rows"
    return Dimensions(context, order, context.codes.var(0)[order], "variance", meaning)


def draw(data: Dimensions) -> Figure:
    """A bar for each dimension; pale where it is not in use."""
    in_use = data.context.in_use[data.order]
    title = f"{capitalize(data.quantity)} of each dimension of the code, {data.context.counted}"
    figure, (axis,) = panels(1, title, (6.0, 2.4))
    places = np.arange(len(data.order))
    axis.bar(places, data.values, color=[BLUE if on else PALE for on in in_use], width=0.75)
    if len(places) <= MAX_NUMBERED:
        axis.set_xticks(places, [f"z{j + 1}" for j in data.order])
    axis.set_xlim(-0.6, max(len(places), MIN_WIDTH_BARS) - 0.4)
    axis.set_xlabel("dimension, most informative first")
    axis.set_ylabel(data.quantity)
    return figure


def caption(data: Dimensions) -> str:
    sentences = [f"{data.meaning}."]
    if len(data.order) < len(data.context.order):
        sentences.append(f"The first {len(data.order)} of {pluralize(len(data.context.order), 'dimension')} are shown.")
    if not data.context.in_use[data.order].all():
        limit = f" (less than {IN_USE_NATS:g} nats)" if data.context.is_variational else ""
        sentences.append(f"Pale: not in use{limit}.")
    return " ".join(sentences)


def alt(data: Dimensions) -> str:
    bars = ", ".join(f"z{j + 1} {number(value, 3)}" for j, value in zip(data.order[:20], data.values))
    return f"Bar chart, {data.quantity} of {pluralize(len(data.order), 'dimension')}, largest first: {bars}."
