"""The pictures of a trained run: reconstructions, samples, the latent map, the curves of the terms."""

from __future__ import annotations

import math
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from isthmus.atomic_io import atomic_write
from isthmus.estimators.base import Estimator
from isthmus.report.display import (
    CLASSES,
    Held,
    as_images,
    drawn_as_lines,
    flattened,
    form_of,
    grey_range,
    groups_of,
    held_rows,
    shown_rows,
    unpadded,
)
from isthmus.report.style import (
    BESIDE,
    BLUE,
    DPI,
    INK,
    LEGEND,
    MUTED,
    ORANGE,
    against_original,
    colour_of,
    label_of,
    marginals,
    panels,
    series,
    sheet_of,
)
from isthmus.train.runtime import seeded

PAIRS = 10
"""Images shown beside their reconstructions."""
LINES = 9
"""Sequences shown as lines."""
POINTS = 5000
"""Codes on the latent map, at most."""
MEANINGS = {
    "loss": "loss: the terms by their weights, added",
    "nll": "nll: -log p(x given z)",
    "kl": "kl: posterior against prior",
}


def draw(
    model: Estimator,
    x: Any,
    folder: str | Path,
    *,
    y: Any = None,
    condition: Any = None,
    lengths: Any = None,
    history: list[dict[str, Any]] | None = None,
    seed: int = 0,
    name: str = "held-out rows",
) -> list[Path]:
    """Draw what a fitted model makes of rows x (n, *X), as PNG files in `folder`; the paths that were written.

    `y` (n,) are labels to colour and to choose rows by; `condition` and `lengths` are as in `fit`; `history` is a dict
    an epoch, by default the model's own; `name` says in the titles what the rows are. The same arguments draw the same
    files. Raises InputError for rows that the model cannot read, or a folder that cannot be written.
    """
    held = held_rows(x, y, condition, lengths, name)
    history = getattr(model, "history_", None) if history is None else history
    pictures = {
        "reconstructions.png": reconstructions(model, held, seed),
        "samples.png": samples(model, held, seed) if model.density else None,
        "latent.png": latent_map(model, held, seed),
        "curves.png": curves(history) if history else None,
    }
    return [save(figure, Path(folder) / file) for file, figure in pictures.items() if figure is not None]


def save(figure: Figure, path: Path) -> Path:
    """Write a picture, in full or not at all; its bytes hold no version and no date."""
    with atomic_write(path) as part:
        figure.savefig(part, dpi=DPI, format="png", facecolor="white", metadata={"Software": None})
    return path


def views_of(model: Estimator, held: Held, seed: int) -> dict[str, np.ndarray]:
    """Originals and what the model makes of them, (n, *X) each, in the data's units and NaN in padding."""
    views = {"original": np.asarray(held.x, np.float64)}
    if model.model_.corruption is None:
        views["reconstruction"] = model.reconstruct(held.x, **held.company)
    else:
        batch = model.rows(held.x, **held.company).batch(torch.arange(len(held), device=model.device_))
        with torch.no_grad(), seeded(seed, batch.x.device):
            damaged = model.model_.damaged(batch)
            codes = model.model_.posterior(damaged, batch.c, batch.mask).mean
        views["damaged"] = model.schema_.to_data(damaged)
        views["cleaned"] = model.inverse_transform(codes.cpu().numpy(), condition=held.condition)
    return {name: unpadded(values, held.lengths) for name, values in views.items()}


def reconstructions(model: Estimator, held: Held, seed: int) -> Figure:
    """Originals and their reconstructions; of a denoising model, what was damaged in between."""
    schema, form = model.schema_, form_of(model.schema_)
    count = 500 if form == "table" else LINES if drawn_as_lines(schema) else PAIRS
    some = held.take(shown_rows(len(held), count, groups_of(held.y), seed))
    views = views_of(model, some, seed)
    if form == "table":
        return against_original(views, schema, some.counted)
    if drawn_as_lines(schema):
        return series(views, f"{' and '.join(views)} of {some.counted}, step by step")
    span = grey_range(schema, unpadded(np.asarray(held.x, np.float64), held.lengths))
    images = np.concatenate([as_images(values, schema, span) for values in views.values()])
    what = "originals (above) and reconstructions (below)"
    if len(views) == 3:
        what = "originals (above), damaged (middle) and cleaned (below)"
    return sheet_of(images, len(some), f"{what}, {some.counted}")


def samples(model: Estimator, held: Held, seed: int) -> Figure:
    """E[x given z] of codes drawn from the prior; of a table, its columns' marginals beside the data's."""
    schema, form = model.schema_, form_of(model.schema_)
    if form == "table":
        repeated = np.arange(2000) % len(held)
        given = None if held.condition is None else held.condition[repeated]
        drawn = model.sample(2000, condition=given, random_state=seed)
        return marginals(np.asarray(held.x), drawn, schema, held.counted)
    what = "E[x given z], z drawn from the prior"
    classes = schema.condition.classes[:CLASSES] if schema.condition else ()
    if classes:
        # One seed for every class: what differs along a column is the class, not the code.
        rows = [model.sample(8, condition=[label] * 8, random_state=seed, mean=True) for label in classes]
        drawn, names = np.concatenate(rows), tuple(map(str, classes))
        what += ": a row each class, a column each code"
    else:
        index = np.sort(np.random.default_rng(seed).permutation(len(held))[:64])
        given = None if held.condition is None else held.condition[np.resize(index, 64)]
        drawn, names = model.sample(64, condition=given, random_state=seed, mean=True), ()
        what += "" if given is None else f", conditions of {len(index)} {held.name}"
    if drawn_as_lines(schema):
        return series({"sample": drawn[::8] if classes else drawn[:LINES]}, what.split(":")[0], names)
    span = grey_range(schema, unpadded(np.asarray(held.x, np.float64), held.lengths))
    return sheet_of(as_images(drawn, schema, span), 8, what, names)


def latent_map(model: Estimator, held: Held, seed: int) -> Figure:
    """Codes in two dimensions, their first principal axes where there are more, coloured by label."""
    held = held.take(shown_rows(len(held), POINTS, [], seed))
    labels, by = (held.y, "label") if held.y is not None else (held.condition, "condition")
    labels = None if labels is None or labels.size != len(held) else labels.reshape(-1)
    codes = np.asarray(model.transform(held.x, **held.company), np.float64).reshape(len(held), -1)
    places, names = flattened(codes)
    title = f"codes of {held.counted}" + ("" if labels is None else f", coloured by {by}")
    figure, (axis,) = panels(1, title, (6.0, 4.8))
    groups = groups_of(labels)
    axis.set_xlabel(names[0])
    if places.shape[1] == 1:
        parts = [places[mask, 0] for _, mask in groups] or [places[:, 0]]
        colours = [colour_of(i, name) for i, (name, _) in enumerate(groups)] or [BLUE]
        bins = min(40, max(10, int(2 * math.sqrt(len(places)))))
        axis.hist(parts, bins, stacked=True, color=colours, label=[label_of(name) for name, _ in groups] or None)
        axis.set_ylabel("rows")
        if groups:
            axis.legend(title=by, **LEGEND, **BESIDE)
        return figure
    axis.set_ylabel(names[1])
    axis.set_aspect("equal", "datalim")
    look: dict[str, Any] = {"s": 22 if len(places) < 400 else 9, "linewidths": 0, "alpha": 0.85}
    for i, (name, mask) in enumerate(groups):
        axis.scatter(*places[mask].T, color=colour_of(i, name), label=label_of(name), **look)
    if groups:
        axis.legend(title=by, markerscale=1.4, **LEGEND, **BESIDE)
    elif labels is not None and labels.dtype.kind in "iuf":
        points = axis.scatter(places[:, 0], places[:, 1], c=labels, cmap="viridis", **look)
        bar = figure.colorbar(points, ax=axis, shrink=0.7, aspect=30)
        bar.set_label(by, size=8)
        bar.ax.tick_params(labelsize=7, length=2.5)
        bar.outline.set_visible(False)
    else:
        axis.scatter(*places.T, color=BLUE, **{**look, "alpha": max(0.25, 0.9 - len(places) / 2000)})
    return figure


def curves(history: list[dict[str, Any]]) -> Figure:
    """Each term over the epochs, in training and in validation, and its weight where that changes."""
    terms = terms_of(history)
    titles = [textwrap.shorten(MEANINGS.get(term, term), 44) for term in terms]
    figure, axes = panels(len(terms), "terms of the loss, epoch by epoch", (3.1, 2.5), titles)
    for axis, term in zip(axes, terms):
        for key, colour, name in ((term, BLUE, "training"), (f"valid_{term}", ORANGE, "validation")):
            known = [(r["epoch"], r[key]) for r in history if r.get(key) is not None and math.isfinite(r[key])]
            if known:
                mark = "o" if len(known) == 1 else None
                axis.plot(*zip(*known), color=colour, linewidth=1.3, label=name, marker=mark, markersize=3)
        axis.set_xlabel("epoch")
        axis.set_ylabel("nats")
        axis.set_ylim(*settled_range(history, term))
        weights = [(r["epoch"], r[f"weight_{term}"]) for r in history if f"weight_{term}" in r]
        if len({weight for _, weight in weights}) > 1:
            draw_weight(axis, weights)
        elif weights:
            axis.set_title(f"{axis.get_title(loc='left')}, weight {weights[0][1]:g}", loc="left", fontsize=8, color=INK)
    axes[0].legend(**LEGEND)
    return figure


def terms_of(history: list[dict[str, Any]]) -> list[str]:
    """The names of the terms, after the loss if there is more than one.

    >>> terms_of([{"epoch": 1, "loss": 3.0, "nll": 2.0, "kl": 1.0, "weight_kl": 0.1, "valid_kl": 1.0}])
    ['loss', 'nll', 'kl']
    """
    others = ("epoch", "step", "progress", "seconds", "loss")
    known = dict.fromkeys(key for record in history for key in record)
    terms = [key for key in known if key not in others and not key.startswith(("valid_", "weight_"))]
    return terms if len(terms) == 1 or "loss" not in known else ["loss", *terms]


def settled_range(history: list[dict[str, Any]], term: str) -> tuple[float, float]:
    """Limits that the course after the first tenth of a run fills; what lies far out at its start is cut."""
    settled = history[len(history) // 10 :]
    values = [r[key] for r in settled for key in (term, f"valid_{term}") if r.get(key) is not None]
    finite = np.array([value for value in values if math.isfinite(value)] or [0.0])
    low, high = np.quantile(finite, [0.005, 0.995])
    room = 0.12 * (high - low) or 0.05 * abs(high) or 0.5
    return float(low - room), float(high + room)


def draw_weight(axis: Axes, weights: list[tuple[int, float]]) -> None:
    """A thin line on a scale of its own, so that it is not read as nats."""
    twin = axis.twinx()
    twin.plot(*zip(*weights), color=MUTED, linewidth=0.8, linestyle=(0, (4, 2)))
    twin.set_ylim(0, 1.05 * max(weight for _, weight in weights))
    twin.set_ylabel("weight (dashed)", fontsize=7.5, color=MUTED)
    twin.tick_params(labelsize=7, colors=MUTED, length=2)
    for side in ("top", "left", "bottom", "right"):
        twin.spines[side].set_visible(False)
