"""Numbers on a page: the course of the training, how log p(x) is spread, and every fact in a table."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from isthmus.report.context import ReportContext
from isthmus.report.examples_section import extremes, score_of
from isthmus.report.html_blocks import Gallery, Picture, Section, Table, from_to, number, panel, svg, with_error
from isthmus.report.plots import MEANINGS, settled_range, terms_of
from isthmus.report.style import BLUE, INK, ORANGE

SAID = {
    "log_likelihood": "log p(x)",
    "elbo": "ELBO",
    "distortion": "distortion: −log p(x given z)",
    "kl": "rate: KL(q(z given x) || p(z))",
    "mutual_information": "mutual information of x and z",
    "aggregate_kl": "aggregate posterior from the prior",
    "active_units": "dimensions in use",
    "reconstruction": "squared error of reconstructions",
    "probes / linear": "labels read linearly from the codes",
    "probes / nearest": "labels read by neighbours of the codes",
    "probes / commonest": "labels guessed: the commonest",
    "baselines / mean": "baseline: the training mean",
    "baselines / pca": "baseline: PCA",
    "baselines / ppca": "baseline: probabilistic PCA",
    "baselines / factor_analysis": "baseline: factor analysis",
    "baselines / gaussian_mixture": "baseline: Gaussian mixture",
    "residual_eigenvalue_ratio": "strongest direction of what is missed, against noise",
    "column_spread": "widest column against the narrowest, as networks read them",
    "identity_test": "variance lost of rows with shuffled columns",
    "refit_gain": "what a refitted prior gains",
    "sample_spread": "variance of samples",
    "condition": "what the condition is worth",
    "training / log_likelihood_gap": "training rows: log p(x) above this",
    "training / squared_error_gap": "training rows: squared error below this",
    "geometry / angle_with_pca": "angle between codes and PCA",
    "paths / log_likelihood": "between two codes: log p(x) lost",
    "paths / log_likelihood / holes": "between two codes: holes by log p(x)",
    "paths / distance": "between two codes: distance from data gained",
    "paths / distance / holes": "between two codes: holes by distance",
    "classifier": "samples told from data by a classifier",
    "samples / mmd": "squared MMD of learned features",
    "samples / frechet": "Fréchet distance of learned features",
    "samples / precision": "precision of samples",
    "samples / recall": "recall of samples",
    "copies / z": "distance to training rows against that of other rows",
    "copies / close": "samples as near to a training row as one in a hundred others",
    "copies / to_train": "samples whose nearest row is a training row",
    "ais": "log p(x), annealed",
    "ais / two_sided_gap": "two-sided gap on simulated rows",
}
"""Names of facts in words; others are told by their keys."""
SHOWN = ("model", "rows", "kl_per_dim")
"""Facts that have a place of their own on the page."""
OUTER = 0.005
"""Share of the rows at either end of a histogram that may lie outside of it."""


def curves(exhibit: ReportContext) -> Section:
    """Each term over the epochs."""
    history = exhibit.model.history_
    if not history:
        words = ["There was no training to follow: the solution is exact, or its history was not kept."]
        return Section("curves", "Training", words, [])
    weights = []
    for term in terms_of(history):
        known = [record[f"weight_{term}"] for record in history if f"weight_{term}" in record]
        if known and max(known) > min(known):
            weights.append(f"The weight of {term} goes from {number(known[0], 3)} to {number(known[-1], 3)}.")
        elif known and known[0] != 1:
            weights.append(f"The weight of {term} is {number(known[0], 3)}.")
    pictures = [course(history, term) for term in terms_of(history)]
    words = [
        "Lower is better. Where validation turns up while training falls, the model learns rows by heart.",
        *weights,
    ]
    legend: tuple[tuple[str, str], ...] = (("var(--blue)", "training"),)
    if any(key.startswith("valid_") for record in history for key in record):
        legend = (*legend, ("var(--orange)", "validation"))
    caption = "Nats a row, epoch by epoch; what lies far out in the first epochs is cut."
    return Section("curves", "Training", words, [Gallery(pictures, caption, "grid", legend)])


def course(history: list[dict[str, Any]], term: str) -> Picture:
    """One term in training and in validation."""
    figure, axis = panel("epoch", "nats")
    told = []
    for key, colour, name in ((term, BLUE, "training"), (f"valid_{term}", ORANGE, "validation")):
        known = [(r["epoch"], r[key]) for r in history if r.get(key) is not None and math.isfinite(r[key])]
        if known:
            mark = "o" if len(known) == 1 else None
            axis.plot(*zip(*known), color=colour, linewidth=1.4, marker=mark, markersize=3)
            at, least = min(known, key=lambda pair: pair[1])
            ends = f"from {number(known[0][1])} to {number(known[-1][1])}"
            told.append(f"{name} {ends}, lowest {number(least)} at epoch {at}")
    axis.set_ylim(*settled_range(history, term))
    alt = f"{term} over {len(history)} epochs: {'; '.join(told) or 'no finite number'}."
    return svg(figure, alt, MEANINGS.get(term, term))


def distribution(exhibit: ReportContext) -> Section:
    """How log p(x), or the squared error, is spread over the rows, and the rows at its ends."""
    scores, unit = score_of(exhibit)
    dense = unit == "nats"
    title = "Distribution of log p(x), strangest and most typical rows"
    title = title if dense else "Distribution of the squared error, strangest and most typical rows"
    values = None if scores is None else scores if dense else -scores
    if values is None or not np.isfinite(values).any():
        return Section("distribution", title, ["Nothing was measured row by row."], [])
    values = values[np.isfinite(values)]
    figure, axis = panel("log p(x), nats" if dense else "squared error", "rows", width=380, height=220)
    low, high = np.quantile(values, [OUTER, 1 - OUTER])
    room = 0.05 * (high - low) or 0.5
    bins = min(40, max(8, int(2 * math.sqrt(len(values)))))
    shown = values[(values >= low - room) & (values <= high + room)]
    axis.hist(shown, bins=bins, color=BLUE, alpha=0.85)
    axis.axvline(values.mean(), color=INK, linewidth=1.2)
    legend: tuple[tuple[str, str], ...] = (("var(--blue)", "rows"), ("var(--ink)", f"mean {number(values.mean())}"))
    other = comparable(exhibit, dense)
    if other is not None and low - 3 * (high - low) < other[1] < high + 3 * (high - low):
        axis.axvline(other[1], color=ORANGE, linewidth=1.4, linestyle=(0, (4, 2)))
        legend = (*legend, ("var(--orange)", f"{other[0]} {number(other[1])}"))
    outside = len(values) - len(shown)
    quarters = np.quantile(values, [0.05, 0.5, 0.95])
    alt = (
        f"Histogram over {len(values)} rows {from_to(values)}, mean {number(values.mean())}, median "
        f"{number(quarters[1])}; nine in ten lie between {number(quarters[0])} and {number(quarters[2])}."
    )
    caption = f"{exhibit.held.counted}; nine in ten lie between {number(quarters[0])} and {number(quarters[2])}."
    caption += f" {outside} further out {'is' if outside == 1 else 'are'} not drawn." if outside else ""
    words = [
        "Left are the rows that the model finds strange." if dense else "Right are the rows that it cannot rebuild."
    ]
    words.append("Strange rows are worth a look: damaged data, wrong labels, rare kinds.")
    return Section(
        "distribution", title, words, [Gallery([svg(figure, alt)], caption, "one", legend), *extremes(exhibit)]
    )


def comparable(exhibit: ReportContext, dense: bool) -> tuple[str, float] | None:
    """The baseline in the same units."""
    found = exhibit.found.to_dict().get("baselines") or {}
    about = found.get("ppca" if dense else "pca")
    name = "probabilistic PCA" if dense else "PCA"
    return (name, float(about["mean"])) if isinstance(about, dict) and about.get("mean") is not None else None


def facts_table(facts: dict[str, Any]) -> Table:
    """Everything that was measured: numbers with errors, units and what they are; whatever its name."""
    rows = [row for name, value in facts.items() if name not in SHOWN for row in told(name, value)]
    caption = (
        "± is one standard error over the rows. A density and a probability are no numbers to compare: only those of "
        "one kind and unit are."
    )
    return Table(caption, ["", "value", "unit", "kind", "more"], rows, look="wordy")


def told(name: str, value: Any, unit: str = "", kind: str = "") -> list[list[str]]:
    """Rows of the table for one fact, and for those inside it, which are of its unit and kind unless they say."""
    said = SAID.get(name, name.replace("_", " ").replace(" / ", ": "))
    if not isinstance(value, dict):
        return [[said, plainly(value), unit, kind, ""]]
    unit, kind = str(value.get("unit", unit)), str(value.get("kind", kind))
    main = next((key for key in ("mean", "count", "value") if key in value and simple(value[key])), None)
    inside = {key: item for key, item in value.items() if key not in ("unit", "kind")}
    if main is None:
        rows = [row for key, item in inside.items() for row in told(f"{name} / {key}", item, unit, kind)]
        return rows or [[said, "–", unit, kind, ""]]
    shown = plainly(inside.pop(main))
    if main == "mean" and isinstance(value["mean"], int | float):
        shown = with_error(float(value["mean"]), inside.pop("standard_error", None))
    if main == "count" and "of" in inside:
        shown += f" of {plainly(inside.pop('of'))}"
    more = [f"{key.replace('_', ' ')}: {plainly(item)}" for key, item in inside.items() if simple(item)]
    deeper = [told(f"{name} / {key}", item, unit, kind) for key, item in inside.items() if not simple(item)]
    return [[said, shown, unit, kind, "; ".join(more)], *(row for rows in deeper for row in rows)]


def simple(value: Any) -> bool:
    return not isinstance(value, dict)


def plainly(value: Any) -> str:
    """A value as text: numbers short, lists by their ends where they are long."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        listed = [plainly(item) for item in value[:8]]
        return ", ".join(listed) + (f", ... ({len(value)} in all)" if len(value) > 8 else "")
    if value is None:
        return "–"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else number(value)
