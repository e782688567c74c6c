"""How rows are shown: as images, heat maps, lines or table columns; which of them; padding, classes, projections."""

from __future__ import annotations

import math

import matplotlib
import numpy as np

from isthmus.schema import Schema, json_label

MAX_CLASSES = 10
"""Classes with their own colour; the palette has no more."""
MIN_SQUARE_SIDE = 6
"""Pixels a side from which a flat row is shown as a square image; 4, 9 or 25 columns are more likely a table."""
MAX_LINE_FEATURES = 3
"""Features up to which a sequence is drawn as lines; sequences of more are heat maps."""


SHEETS = {"image": "Sheet of images", "heat": "Sheet of heat maps of sequences", "lines": "Line plots of sequences"}
"""What a figure of examples is, by the kind of display."""


def display_kind(schema: Schema) -> str:
    """How an example is drawn: image, heat (sequences of many features), lines (sequences of few) or table.

    >>> display_kind(Schema.homogeneous((784,), "unit", "float32"))
    'image'
    >>> display_kind(Schema.homogeneous((784,), "real", "float32"))
    'table'
    >>> display_kind(Schema.homogeneous((30, 2), "real", "float32", sequence=True))
    'lines'
    """
    if schema.sequence:
        return "lines" if math.prod(schema.event_shape[1:]) <= MAX_LINE_FEATURES else "heat"
    side = math.isqrt(schema.size)
    square = side * side == schema.size and side >= MIN_SQUARE_SIDE and schema.kind in ("levels", "binary", "unit")
    # Columns with names of their own are not pixels, even where there happen to be 36 of them.
    named = bool(schema.names) and not schema.names[0].lower().startswith("pix")
    return "image" if schema.image or (square and not named) else "table"


def value_range(schema: Schema) -> tuple[float, float]:
    """The values shown as black and as white, in the data's units: fixed by the schema, whatever the rows."""
    if schema.levels or schema.binarize:
        return 0.0, float(schema.scale)
    if schema.kind in ("unit", "binary"):
        return 0.0, 1.0
    low, high = (end * schema.scale + schema.shift for end in (schema.low, schema.high))
    black = 0.0 if schema.kind in ("levels", "counts") else float(np.min(low))
    return black, max(float(np.max(high)), black + 1e-12)


def as_images(values: np.ndarray, schema: Schema) -> np.ndarray:
    """Examples (n, *X) in the data's units as (n, h, w, 4) on [0, 1]: red, green, blue, opacity.

    Flat square rows are folded; sequences become heat maps (features by steps); NaN is transparent.
    """
    low, high = value_range(schema)
    shown = np.clip((np.asarray(values, np.float64) - low) / (high - low), 0, 1)
    if schema.sequence:
        rows = shown.reshape(len(shown), shown.shape[1], -1).swapaxes(1, 2)  # (n, d, T)
        rows = rows.repeat(max(1, rows.shape[2] // (3 * rows.shape[1])), axis=1)  # few features do not become a stripe
        heat = matplotlib.colormaps["viridis"](np.nan_to_num(rows))  # (n, h, w, 4)
        return np.where(np.isnan(rows)[..., None], 0.0, heat)
    if not schema.image:
        side = math.isqrt(schema.size)
        shown = shown.reshape(-1, side, side)
    shown = shown.reshape(*shown.shape[:3], -1)
    if shown.shape[-1] not in (1, 3):  # not the channels of a screen
        shown = shown.mean(-1, keepdims=True)
    colours = np.broadcast_to(shown, (*shown.shape[:3], 3))
    missing = np.isnan(colours).any(-1, keepdims=True)
    return np.where(missing, 0.0, np.concatenate([colours, np.ones_like(missing, np.float64)], -1))


def label_groups(labels: np.ndarray | None) -> list[tuple[str, np.ndarray]]:
    """Names and (n,) masks of the classes in labels; empty without labels, or if they are numbers on a scale.

    >>> [name for name, _ in label_groups(np.array([2, 0, 2]))], label_groups(np.linspace(0, 1, 20))
    (['0', '2'], [])
    """
    if labels is None or labels.ndim > 2 or labels.size != len(labels):
        return []
    labels = labels.reshape(-1)
    if labels.dtype.kind in "iuf":
        known = np.isfinite(labels)
        kinds = np.unique(labels[known])
        if len(kinds) > MAX_CLASSES or (kinds != np.round(kinds)).any():
            return []
        groups = [(f"{value:g}", labels == value) for value in kinds]
        return groups if known.all() else [*groups, ("unlabelled", ~known)]
    words = np.array([str(json_label(value)) for value in labels])
    kinds, counts = np.unique(words, return_counts=True)
    if len(kinds) > MAX_CLASSES:  # the most frequent classes keep a colour each
        kinds = np.sort(kinds[np.argsort(-counts, kind="stable")[: MAX_CLASSES - 1]])
    groups = [(str(value), words == value) for value in kinds]
    rest = ~np.isin(words, kinds)
    return [*groups, ("others", rest)] if rest.any() else groups


def choose_rows(n: int, count: int, groups: list[tuple[str, np.ndarray]], seed: int) -> np.ndarray:
    """Positions of the rows to show: a random choice by `seed`, balanced over the groups and ordered by group."""
    order = np.random.default_rng(seed).permutation(n)
    if not groups:
        return np.sort(order[:count])
    turn, group = np.zeros(n, int), np.zeros(n, int)
    for i, (_, mask) in enumerate(groups):
        members = order[mask[order]]
        turn[members], group[members] = np.arange(len(members)), i
    first = np.lexsort((group, turn))[:count]
    return first[np.lexsort((turn[first], group[first]))]


def nan_padding(values: np.ndarray, lengths: np.ndarray | None) -> np.ndarray:
    """Sequences (n, T, ...) with NaN after the end of each."""
    if lengths is None:
        return values
    ended = np.arange(values.shape[1]) >= np.asarray(lengths)[:, None]
    return np.where(ended.reshape(*ended.shape, *[1] * (values.ndim - 2)), np.nan, values)


def project_2d(codes: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Codes (n, D) on at most two axes (their first principal axes if D > 2), and the names of the axes."""
    d = codes.shape[1]
    centred = codes - codes.mean(0)
    total = float(np.square(centred).sum())
    places, names = codes, [f"z{j + 1}" for j in range(d)]
    if d > 2:
        _, _, axes = np.linalg.svd(centred, full_matrices=False)
        # The sign of an axis is arbitrary: its largest loading is made positive, so that the same codes give one map.
        axes = axes * np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(1)])[:, None]
        places = np.zeros((len(codes), 2))
        places[:, : len(axes[:2])] = centred @ axes[:2].T
        names = [f"{which} principal axis" for which in ("first", "second")]
    shares = np.square(places - places.mean(0)).sum(0) / (total or 1.0)
    return places, [f"{name} ({share:.0%} of the variance)" if d > 1 else name for name, share in zip(names, shares)]
