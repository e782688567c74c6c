"""Images of one shape each, drawn from known factors, in the manner of dSprites (Matthey et al., 2017)."""

from __future__ import annotations

import math

import numpy as np

from isthmus.data.dataset import Dataset
from isthmus.examples import Examples

SIDE = 64
FACTORS = ("shape", "scale", "rotation", "x", "y")
SHAPES = ("square", "ellipse", "heart")
SIZES = (13, 16, 19, 22)
"""Root of a sprite's area, pixels; a smaller square turned by an eighth of its range may be the same pixels."""
ROTATIONS = 8
PERIODS = {"square": math.pi / 2, "ellipse": math.pi, "heart": 2 * math.pi}
"""The angle after which a shape looks the same: its rotations divide this, or some would be drawn twice."""
PLACES = 8
STEP = 4
"""Pixels between places; whole, so that a sprite is the same wherever it lies."""
OBLONG = 1.75
"""Length of the ellipse's axes to each other."""
CLEFT = 0.8
"""How far the heart's halves are pushed up at its sides."""


def sprites() -> Dataset:
    """All combinations of the factors: images (6144, 64, 64) of 0 and 1, labels (6144,) the shape.

    The columns of the factors, each counted from 0: shape (square, ellipse, heart), scale (growing), rotation
    (anticlockwise, each shape over its own symmetry's range), x (rightwards) and y (downwards).
    """
    sizes = (len(SHAPES), len(SIZES), ROTATIONS, PLACES, PLACES)
    factors = np.indices(sizes).reshape(len(sizes), -1).T  # (n, 5)
    drawn = stencils()
    window = drawn.shape[-1]
    first = (SIDE - window - (PLACES - 1) * STEP) // 2
    x = np.zeros((*sizes, SIDE, SIDE), np.uint8)
    for column in range(PLACES):
        for row in range(PLACES):
            left, top = first + STEP * column, first + STEP * row
            x[:, :, :, column, row, top : top + window, left : left + window] = drawn
    return Dataset(
        "sprites",
        Examples(x.reshape(-1, SIDE, SIDE), factors[:, 0], factors=factors),
        factor_names=FACTORS,
    )


def stencils() -> np.ndarray:
    """(shape, scale, rotation, w, w) every sprite in the middle of a window that holds each whole."""
    half = SIDE // 2 - (PLACES - 1) * STEP // 2 - 1  # one pixel of frame is always free
    place = np.arange(-half, half) + 0.5  # middles of pixels
    angle = (np.arange(ROTATIONS) + 0.5) / ROTATIONS
    found = []
    for shape in SHAPES:
        cos, sin = (f(PERIODS[shape] * angle)[:, None, None] for f in (np.cos, np.sin))  # (rotation, 1, 1)
        right, up = place[None, None, :], -place[None, :, None]
        u, v = cos * right + sin * up, cos * up - sin * right  # (rotation, w, w), turned back
        found.append([inside(shape, u / size, v / size) for size in SIZES])
    return np.array(found, np.uint8)


def inside(shape: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Whether points lie in a shape of area 1 around its centre of mass; v points up."""
    if shape == "square":
        return np.maximum(np.abs(u), np.abs(v)) < 0.5
    u, v = u * math.sqrt(math.pi), v * math.sqrt(math.pi)  # the disc u² + v² < 1 has area 1
    if shape == "ellipse":
        return u**2 / OBLONG + v**2 * OBLONG < 1
    # A disc sheared upwards on both sides keeps its area; its centre of mass rises by the mean of |u|, 4 / (3 pi).
    return u**2 + (v + CLEFT * (4 / (3 * math.pi) - np.abs(u))) ** 2 < 1
