"""The pictures of a trained run: reconstructions, samples, the latent map, the curves of the terms."""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from isthmus.errors import InputError
from isthmus.estimators.base import Estimator
from isthmus.files import written
from isthmus.report.panels import (
    BESIDE,
    BLUE,
    DPI,
    INK,
    LEGEND,
    MUTED,
    ORANGE,
    against_original,
    bin_edges,
    colour_of,
    marginals,
    panels,
    series,
    sheet_of,
)
from isthmus.schema import Schema, plain
from isthmus.train.machine import seeded

PAIRS = 10
"""Rows shown beside their reconstructions."""
CLASSES = 10
"""Labels told apart by colour; the palette has no more."""
POINTS = 5000
"""Codes on the latent map, at most."""
SQUARE_FROM = 6
"""Pixels a side from which a flat row is read as a square image; 4 or 9 or 25 columns are more likely a table."""
MEANINGS = {
    "loss": "loss: the terms by their weights, added",
    "nll": "nll: -log p(x given z)",
    "kl": "kl: from prior to posterior",
}
ORDINAL = ("first", "second")


@dataclass(frozen=True)
class Held:
    """Rows to be shown, with what comes with them, and their name in titles."""

    x: Any
    y: np.ndarray | None
    condition: np.ndarray | None
    lengths: np.ndarray | None
    name: str

    def __len__(self) -> int:
        return len(self.x)

    def take(self, index: np.ndarray) -> Held:
        """Some of the rows."""
        x = self.x.iloc[index] if hasattr(self.x, "iloc") else self.x[index]
        return Held(x, *[None if a is None else a[index] for a in (self.y, self.condition, self.lengths)], self.name)

    @property
    def company(self) -> dict[str, Any]:
        """What a model wants beside x."""
        return {"condition": self.condition, "lengths": self.lengths}

    @property
    def counted(self) -> str:
        return f"{len(self):,} {self.name}"


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
    with written(path) as part:
        figure.savefig(part, dpi=DPI, format="png", facecolor="white", metadata={"Software": None})
    return path


def held_rows(x: Any, y: Any, condition: Any, lengths: Any, name: str) -> Held:
    """Everything as arrays with one entry a row; a DataFrame stays one, for its names."""
    x = x if hasattr(x, "iloc") else np.asarray(x)
    extras = {"label": y, "condition": condition, "length": lengths}
    arrays = {what: None if values is None else np.asarray(values) for what, values in extras.items()}
    given = arrays["condition"]
    if given is not None and (given.ndim == 0 or len(given) == 1):  # one for all
        arrays["condition"] = np.broadcast_to(given, (len(x), *given.shape[1:]))
    for what, values in arrays.items():
        if values is not None and (values.ndim == 0 or len(values) != len(x)):
            raise InputError(f"{what}s of shape {values.shape} came with {len(x)} rows; one {what} a row is wanted")
    return Held(x, *arrays.values(), name)


# ---------------------------------------------------------------- what is drawn


def form_of(schema: Schema) -> str:
    """How an example is drawn: image, sequence or table.

    >>> form_of(Schema((8, 8), "real", "float32")), form_of(Schema((784,), "unit", "float32"))
    ('image', 'image')
    >>> form_of(Schema((784,), "real", "float32")), form_of(Schema((9,), "binary", "uint8"))
    ('table', 'table')
    """
    if schema.sequence:
        return "sequence"
    side = math.isqrt(schema.size)
    square = side * side == schema.size and side >= SQUARE_FROM and schema.kind in ("levels", "binary", "unit")
    # Columns that have names of their own are no pixels, even where there happen to be 36 of them.
    named = bool(schema.names) and not schema.names[0].lower().startswith("pix")
    return "image" if schema.image or (square and not named) else "table"


def grey_range(schema: Schema, x: np.ndarray) -> tuple[float, float]:
    """What is black and what is white: fixed by the schema where it says, else the range of the data."""
    if schema.levels or schema.binarize:
        return 0.0, float(schema.scale)
    if schema.kind in ("unit", "binary"):
        return 0.0, 1.0
    low = min(0.0, float(x.min())) if schema.kind in ("levels", "counts") else float(x.min())
    return low, max(float(x.max()), low + 1e-12)


def as_images(values: np.ndarray, schema: Schema, span: tuple[float, float]) -> np.ndarray:
    """(n, h, w, 3) on [0, 1]: images, square flat ones, and sequences as heat (features by steps, NaN left white)."""
    low, high = span
    shown = np.clip((np.asarray(values, np.float64) - low) / (high - low), 0, 1)
    if schema.sequence:
        rows = shown.reshape(len(shown), shown.shape[1], -1).swapaxes(1, 2)  # (n, d, T)
        heat = matplotlib.colormaps["viridis"](np.nan_to_num(rows))[..., :3]
        return np.where(np.isnan(rows)[..., None], 1.0, heat)
    if not schema.image:
        side = math.isqrt(schema.size)
        shown = shown.reshape(-1, side, side)
    shown = shown.reshape(*shown.shape[:3], -1)
    if shown.shape[-1] not in (1, 3):  # no colours that a screen has
        shown = shown.mean(-1, keepdims=True)
    return np.broadcast_to(shown, (*shown.shape[:3], 3))


def groups_of(labels: np.ndarray | None) -> list[tuple[str, np.ndarray]]:
    """Names and (n,) masks of the classes in labels; none where there are no labels, or numbers on a scale.

    >>> [name for name, _ in groups_of(np.array([2, 0, 2]))], groups_of(np.linspace(0, 1, 20))
    (['0', '2'], [])
    """
    if labels is None or labels.ndim > 2 or labels.size != len(labels):
        return []
    labels = labels.reshape(-1)
    if labels.dtype.kind in "iuf":
        kinds = np.unique(labels)
        if len(kinds) > CLASSES or (kinds != np.round(kinds)).any():
            return []
        return [(f"{value:g}", labels == value) for value in kinds]
    words = np.array([str(plain(value)) for value in labels])
    kinds, counts = np.unique(words, return_counts=True)
    if len(kinds) > CLASSES:  # the commonest keep a colour each
        kinds = np.sort(kinds[np.argsort(-counts, kind="stable")[: CLASSES - 1]])
    groups = [(str(value), words == value) for value in kinds]
    rest = ~np.isin(words, kinds)
    return [*groups, ("others", rest)] if rest.any() else groups


def shown_rows(n: int, count: int, groups: list[tuple[str, np.ndarray]], seed: int) -> np.ndarray:
    """Which rows to show: drawn by the seed, as evenly over the groups as can be, and ordered by group."""
    order = np.random.default_rng(seed).permutation(n)
    if not groups:
        return np.sort(order[:count])
    turn, group = np.zeros(n, int), np.zeros(n, int)
    for i, (_, mask) in enumerate(groups):
        members = order[mask[order]]
        turn[members], group[members] = np.arange(len(members)), i
    first = np.lexsort((group, turn))[:count]
    return first[np.lexsort((turn[first], group[first]))]


def views_of(model: Estimator, held: Held, seed: int) -> dict[str, np.ndarray]:
    """Originals and what the model makes of them, (n, *X) each, in the data's units and NaN in padding."""
    views = {"original": np.asarray(held.x, np.float64)}
    corruption = getattr(model.model_, "corruption", None)
    if corruption is None:
        views["reconstruction"] = model.reconstruct(held.x, **held.company)
    else:
        batch = model.rows(held.x, **held.company).batch(torch.arange(len(held), device=model.device_))
        with torch.no_grad(), seeded(seed, batch.x.device):
            damaged = corruption(batch.x)
            codes = model._code(batch._replace(x=damaged))
        views["damaged"] = model.schema_.to_data(damaged)
        views["cleaned"] = model.inverse_transform(codes.cpu().numpy(), condition=held.condition)
    return {name: unpadded(values, held.lengths) for name, values in views.items()}


def unpadded(values: np.ndarray, lengths: np.ndarray | None) -> np.ndarray:
    """The values with NaN where a sequence has ended."""
    if lengths is None:
        return values
    ended = np.arange(values.shape[1]) >= lengths[:, None]
    return np.where(ended.reshape(*ended.shape, *[1] * (values.ndim - 2)), np.nan, values)


# ------------------------------------------------------------------ the pictures


def reconstructions(model: Estimator, held: Held, seed: int) -> Figure:
    """Originals and their reconstructions; of a denoising model, what was damaged in between."""
    schema, form = model.schema_, form_of(model.schema_)
    count = 500 if form == "table" else PAIRS
    some = held.take(shown_rows(len(held), count, groups_of(held.y), seed))
    views = views_of(model, some, seed)
    if form == "table":
        return against_original(views, schema, some.counted)
    if form == "sequence" and math.prod(schema.event_shape[1:]) <= 3:
        return series(views, f"{' and '.join(views)} of {some.counted}, step by step")
    span = grey_range(schema, np.asarray(held.x, np.float64))
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
    what, names = "E[x given z] of codes z drawn from the prior", ()
    classes = schema.condition.classes[:CLASSES] if schema.condition else ()
    if classes:
        # One seed for every class: what differs along a column is the class, not the code.
        rows = [model.sample(8, condition=[label] * 8, random_state=seed, mean=True) for label in classes]
        drawn, names = np.concatenate(rows), tuple(map(str, classes))
        what += ": a row each class, a column each code"
    else:
        index = np.sort(np.random.default_rng(seed).permutation(len(held))[:64])
        given = None if held.condition is None else held.condition[np.resize(index, 64)]
        drawn = model.sample(64, condition=given, random_state=seed, mean=True)
        what += "" if given is None else f", under the conditions of {len(index)} {held.name}"
    if form == "sequence" and math.prod(schema.event_shape[1:]) <= 3:
        return series({"sample": drawn[:: max(1, len(drawn) // 12)]}, what)
    span = grey_range(schema, np.asarray(held.x, np.float64))
    return sheet_of(as_images(drawn, schema, span), 8, what, names)


def latent_map(model: Estimator, held: Held, seed: int) -> Figure:
    """Codes in two dimensions, their first principal axes where there are more, coloured by label."""
    labels, by = (held.y, "label") if held.y is not None else (held.condition, "condition")
    if labels is not None and labels.size != len(labels):
        labels = None
    held = held.take(shown_rows(len(held), POINTS, [], seed))
    labels = None if labels is None else labels[shown_rows(len(labels), POINTS, [], seed)].reshape(-1)
    codes = np.asarray(model.transform(held.x, **held.company), np.float64).reshape(len(held), -1)
    places, names = flattened(codes)
    title = f"codes of {held.counted}" + ("" if labels is None else f", coloured by {by}")
    figure, (axis,) = panels(1, title, (6.0, 4.8))
    groups = groups_of(labels)
    axis.set_xlabel(names[0])
    if places.shape[1] == 1:
        parts = [places[mask, 0] for _, mask in groups] or [places[:, 0]]
        colours = [colour_of(i, name) for i, (name, _) in enumerate(groups)] or [BLUE]
        axis.hist(parts, bins=bin_edges(places[:, 0], len(places)), stacked=True, color=colours)
        axis.set_ylabel("rows")
        handles = [name for name, _ in groups]
        if handles:
            axis.legend(handles, title=by, **LEGEND, **BESIDE)
        return figure
    axis.set_ylabel(names[1])
    look: dict[str, Any] = {"s": 22 if len(places) < 400 else 9, "linewidths": 0, "alpha": 0.85}
    for i, (name, mask) in enumerate(groups):
        axis.scatter(*places[mask].T, color=colour_of(i, name), label=name, **look)
    if groups:
        axis.legend(title=by, markerscale=1.4, **LEGEND, **BESIDE)
    elif labels is not None and labels.dtype.kind in "iuf":
        points = axis.scatter(*places.T, c=labels, cmap="viridis", **look)
        bar = figure.colorbar(points, ax=axis, label=by, shrink=0.8)
        bar.outline.set_visible(False)  # type: ignore[operator]
    else:
        axis.scatter(*places.T, color=BLUE, **{**look, "alpha": max(0.25, 0.9 - len(places) / 2000)})
    return figure


def curves(history: list[dict[str, Any]]) -> Figure:
    """Each term over the epochs, in training and in validation, and its weight where that changes."""
    terms = terms_of(history)
    titles = [textwrap.shorten(MEANINGS.get(term, term), 44) for term in terms]
    figure, axes = panels(len(terms), "terms of the loss over training, nats", (3.1, 2.5), titles)
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


def flattened(codes: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Codes (n, D) on at most two axes, and the axes' names with the share of the variance that each holds."""
    d = codes.shape[1]
    centred = codes - codes.mean(0)
    total = float(np.square(centred).sum())
    places, names = codes, [f"code {j + 1}" for j in range(d)]
    if d > 2:
        _, _, axes = np.linalg.svd(centred, full_matrices=False)
        # An axis may point either way: towards its largest loading, so that the same codes give the same map.
        axes = axes * np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(1)])[:, None]
        places = np.zeros((len(codes), 2))
        places[:, : len(axes[:2])] = centred @ axes[:2].T
        names = [f"{which} principal axis of {d}-dimensional codes" for which in ORDINAL]
    shares = np.square(places - places.mean(0)).sum(0) / (total or 1.0)
    return places, [f"{name} ({share:.0%} of the variance)" if d > 1 else name for name, share in zip(names, shares)]
