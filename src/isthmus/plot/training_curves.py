"""Figure: every term of the loss over the epochs, in training and in validation."""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from isthmus.plot.context import PlotContext, Unavailable
from isthmus.plot.style import BLUE, INK, LEGEND, MUTED, ORANGE, panels
from isthmus.plot.text import number
from isthmus.wording import capitalize, pluralize

History = list[dict[str, Any]]

DESCRIPTIONS = {
    "loss": "loss: weighted sum of the terms",
    "nll": "nll: −log p(x given z)",
    "kl": "kl: KL(q(z given x) || p(z))",
}
"""Titles of terms that need a word; others are shown by their names."""
NOT_TERMS = ("epoch", "step", "progress", "seconds", "loss", "kept_start", "out_of_time")
"""Numbers of a history that are not terms of the loss."""
TRANSIENT = 10
"""The first epochs (one in so many) do not decide the limits of the vertical axis."""


@dataclass(frozen=True)
class Curves:
    """A dict for each epoch that was trained, the bound on their number, if it is known, and the epochs before them."""

    history: History
    bound: int | None = None
    earlier_epochs: int = 0


def prepare(context: PlotContext) -> Curves:
    """The history of training."""
    model = context.model
    if not model.history:
        raise Unavailable(f"{context.name} has no training curves: it is solved exactly, or its history was not saved.")
    return Curves(model.history, model.settings.get("epochs"), model.settings.get("earlier_epochs", 0))


def best_epoch(history: History) -> int | None:
    """The epoch whose weights were kept: the lowest validation loss, 0 for the start; None without validation.

    >>> best_epoch([{"epoch": 1, "valid_loss": 2.0}, {"epoch": 2}, {"epoch": 3, "valid_loss": 1.0}, {"epoch": 4}])
    3
    """
    if history and history[-1].get("kept_start"):
        return 0
    known = [record for record in history if "valid_loss" in record]
    return min(known, key=lambda record: record["valid_loss"])["epoch"] if known else None


def course(history: History, bound: int | None = None, earlier_epochs: int = 0) -> str:
    """How many epochs were trained of how many at most, and which one's weights are kept.

    After `earlier_epochs` of a fit that was continued.

    >>> course([{"epoch": 1, "valid_loss": 2.0}, {"epoch": 2, "valid_loss": 3.0}], bound=9)
    'stopped early after 2 of at most 9 epochs; the weights of epoch 1, the best in validation, are kept'
    """
    done, best = len(history), best_epoch(history)
    text = pluralize(done, "epoch")
    if bound is not None and done < bound:
        how = "by max_minutes" if history and history[-1].get("out_of_time") else "early"
        text = f"stopped {how} after {done:,} of at most {pluralize(bound, 'epoch')}"
    if earlier_epochs:
        text += f", after {pluralize(earlier_epochs, 'epoch')} before"
    if best == 0:
        begun = "weights before, which are" if earlier_epochs else "linear model that it started at, which is"
        return f"{text}; no better than the {begun} kept"
    return text if best is None else f"{text}; the weights of epoch {best:,}, the best in validation, are kept"


def draw(data: Curves) -> Figure:
    """A panel for each term; its weight where that changes; the best epoch as a dotted line."""
    history = data.history
    terms, best = term_names(history), best_epoch(history)
    titles = [textwrap.shorten(DESCRIPTIONS.get(term, term), 44) for term in terms]
    figure, axes = panels(len(terms), "Terms of the loss by epoch", (2.9, 2.3), titles)
    for axis, term in zip(axes, terms):
        for name, colour, points in series(history, term):
            mark = "o" if len(points) == 1 else None
            axis.plot(*zip(*points), color=colour, linewidth=1.3, label=name, marker=mark, markersize=3)
        if best:
            axis.axvline(best, color=INK, linewidth=1, linestyle=(0, (1, 2)), label=f"best epoch: {best:,}")
        axis.set_xlabel("epoch")
        axis.set_ylabel("nats")
        axis.set_ylim(*limits_after_start(history, term))
        weights = weights_of(history, term)
        if len({weight for _, weight in weights}) > 1:
            draw_weight(axis, weights)
        elif weights and weights[0][1] != 1:
            axis.set_title(f"{axis.get_title(loc='left')}, weight {weights[0][1]:g}", loc="left", fontsize=8, color=INK)
    axes[0].legend(**LEGEND)
    return figure


def caption(data: Curves) -> str:
    history = data.history
    sentences = [f"{capitalize(course(history, data.bound, data.earlier_epochs))}.", "Lower is better."]
    if any(key.startswith("valid_") for record in history for key in record):
        sentences.append("Where validation rises while training falls, the model overfits.")
    for term in term_names(history):
        weights = [weight for _, weight in weights_of(history, term)]
        if weights and max(weights) > min(weights):
            ends = f"from {number(weights[0], 3)} to {number(weights[-1], 3)}"
            sentences.append(f"The weight of {term} goes {ends} (dashed).")
        elif weights and weights[0] != 1:
            sentences.append(f"The weight of {term} is {number(weights[0], 3)}.")
    return " ".join([*sentences, "Values in nats per row; the first epochs may lie outside the panels."])


def alt(data: Curves) -> str:
    history, described = data.history, []
    for term in term_names(history):
        for name, _, points in series(history, term):
            at, least = min(points, key=lambda pair: pair[1])
            ends = f"from {number(points[0][1])} to {number(points[-1][1])}"
            described.append(f"{term} in {name} goes {ends}, lowest {number(least)} at epoch {at}")
    plots = pluralize(len(term_names(history)), "line plot")
    trained = course(history, data.bound, data.earlier_epochs)
    return f"{plots} of the loss by epoch; {trained}. {'; '.join(described) or 'No finite values'}."


def term_names(history: History) -> list[str]:
    """The names of the terms, after the loss if there are several.

    >>> term_names([{"epoch": 1, "loss": 3.0, "nll": 2.0, "kl": 1.0, "weight_kl": 0.1, "valid_kl": 1.0}])
    ['loss', 'nll', 'kl']
    """
    known = dict.fromkeys(key for record in history for key in record)
    terms = [key for key in known if key not in NOT_TERMS and not key.startswith(("valid_", "weight_"))]
    return terms if len(terms) == 1 or "loss" not in known else ["loss", *terms]


def series(history: History, term: str) -> list[tuple[str, str, list[tuple[int, float]]]]:
    """Name, colour and finite points (epoch, value) of a term in training and in validation, where there are any."""
    found = []
    for key, colour, name in ((term, BLUE, "training"), (f"valid_{term}", ORANGE, "validation")):
        points = [(r["epoch"], r[key]) for r in history if r.get(key) is not None and math.isfinite(r[key])]
        if points:
            found.append((name, colour, points))
    return found


def weights_of(history: History, term: str) -> list[tuple[int, float]]:
    """(epoch, weight) of a term."""
    key = f"weight_{term}"
    return [(record["epoch"], record[key]) for record in history if key in record]


def limits_after_start(history: History, term: str) -> tuple[float, float]:
    """Limits that the values after the first tenth of the training fill; large values at the start are cut off."""
    later = history[len(history) // TRANSIENT :]
    values = [r[key] for r in later for key in (term, f"valid_{term}") if r.get(key) is not None]
    finite = np.array([value for value in values if math.isfinite(value)] or [0.0])
    low, high = np.quantile(finite, [0.005, 0.995])
    room = 0.12 * (high - low) or 0.05 * abs(high) or 0.5
    return float(low - room), float(high + room)


def draw_weight(axis: Axes, weights: list[tuple[int, float]]) -> None:
    """The weight as a dashed line on its own axis, so that it is not read as nats."""
    twin = axis.twinx()
    twin.plot(*zip(*weights), color=MUTED, linewidth=0.8, linestyle=(0, (4, 2)))
    twin.set_ylim(0, 1.05 * max(weight for _, weight in weights))
    twin.set_ylabel("weight (dashed)", fontsize=7.5, color=MUTED)
    twin.tick_params(labelsize=7, colors=MUTED, length=2)
    for side in ("top", "left", "bottom", "right"):
        twin.spines[side].set_visible(False)
