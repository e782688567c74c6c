"""What of the rows is shown, and as what: choices that depend on the data alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np

from isthmus.errors import InputError
from isthmus.schema import Schema, json_label

CLASSES = 10
"""Labels told apart by colour; the palette has no more."""
SQUARE_FROM = 6
"""Pixels a side from which a flat row is read as a square image; 4 or 9 or 25 columns are more likely a table."""


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
        y, condition, lengths = (None if a is None else a[index] for a in (self.y, self.condition, self.lengths))
        return Held(x, y, condition, lengths, self.name)

    @property
    def company(self) -> dict[str, Any]:
        """What a model wants beside x."""
        return {"condition": self.condition, "lengths": self.lengths}

    @property
    def counted(self) -> str:
        return f"{len(self):,} {self.name}"


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
    return Held(x, arrays["label"], arrays["condition"], arrays["length"], name)


def form_of(schema: Schema) -> str:
    """How an example is drawn: image, sequence or table.

    >>> form_of(Schema.homogeneous((8, 8), "real", "float32")), form_of(Schema.homogeneous((784,), "unit", "float32"))
    ('image', 'image')
    >>> form_of(Schema.homogeneous((784,), "real", "float32")), form_of(Schema.homogeneous((9,), "binary", "uint8"))
    ('table', 'table')
    """
    if schema.sequence:
        return "sequence"
    side = math.isqrt(schema.size)
    square = side * side == schema.size and side >= SQUARE_FROM and schema.kind in ("levels", "binary", "unit")
    # Columns that have names of their own are no pixels, even where there happen to be 36 of them.
    named = bool(schema.names) and not schema.names[0].lower().startswith("pix")
    return "image" if schema.image or (square and not named) else "table"


def drawn_as_lines(schema: Schema) -> bool:
    """Whether an example is a sequence of few enough features for lines; more are drawn as heat."""
    return schema.sequence and math.prod(schema.event_shape[1:]) <= 3


def grey_range(schema: Schema, x: np.ndarray) -> tuple[float, float]:
    """What is black and what is white: fixed by the schema where it says, else the range of the data."""
    if schema.levels or schema.binarize:
        return 0.0, float(schema.scale)
    if schema.kind in ("unit", "binary"):
        return 0.0, 1.0
    low = 0.0 if schema.kind in ("levels", "counts") else float(np.nanmin(x))
    return low, max(float(np.nanmax(x)), low + 1e-12)


def as_images(values: np.ndarray, schema: Schema, span: tuple[float, float]) -> np.ndarray:
    """(n, h, w, 3) on [0, 1]: images, square flat ones, and sequences as heat (features by steps, NaN left white)."""
    low, high = span
    shown = np.clip((np.asarray(values, np.float64) - low) / (high - low), 0, 1)
    if schema.sequence:
        rows = shown.reshape(len(shown), shown.shape[1], -1).swapaxes(1, 2)  # (n, d, T)
        rows = rows.repeat(max(1, rows.shape[2] // (3 * rows.shape[1])), axis=1)  # few features make no thin stripe
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
        known = np.isfinite(labels)
        kinds = np.unique(labels[known])
        if len(kinds) > CLASSES or (kinds != np.round(kinds)).any():
            return []
        groups = [(f"{value:g}", labels == value) for value in kinds]
        return groups if known.all() else [*groups, ("unlabelled", ~known)]
    words = np.array([str(json_label(value)) for value in labels])
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


def unpadded(values: np.ndarray, lengths: np.ndarray | None) -> np.ndarray:
    """The values with NaN where a sequence has ended."""
    if lengths is None:
        return values
    ended = np.arange(values.shape[1]) >= lengths[:, None]
    return np.where(ended.reshape(*ended.shape, *[1] * (values.ndim - 2)), np.nan, values)


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
        names = [f"{which} principal axis of {d}-dimensional codes" for which in ("first", "second")]
    shares = np.square(places - places.mean(0)).sum(0) / (total or 1.0)
    return places, [f"{name} ({share:.0%} of the variance)" if d > 1 else name for name, share in zip(names, shares)]
