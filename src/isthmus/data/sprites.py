"""Images of a shape drawn from known generating factors, modelled on dSprites (Matthey et al., 2017)."""

from __future__ import annotations

import math

import numpy as np

from isthmus.data.dataset import Dataset
from isthmus.examples import Examples

IMAGE_PX = 64
"""Width and height of the images."""
FACTOR_NAMES = ("shape", "scale", "rotation", "x", "y")
SHAPES = ("square", "ellipse", "heart")
SIZES_PX = (13, 16, 19, 22)
"""Square root of the area of a sprite. With smaller squares, two neighbouring rotations could give the same pixels."""
N_ROTATIONS = 8
"""Rotations of each shape."""
SYMMETRY_ANGLES = {"square": math.pi / 2, "ellipse": math.pi, "heart": 2 * math.pi}
"""Smallest rotation that leaves a shape unchanged; rotations divide this angle, so that no two images are equal."""
N_POSITIONS = 8
"""Positions along each axis."""
POSITION_STEP_PX = 4
"""Distance of neighbouring positions; an integer, so that a sprite has the same pixels at every position."""
ELLIPSE_ASPECT_RATIO = 1.75
"""Length of the long axis over that of the short one."""
HEART_SHEAR = 0.8
"""How far the halves of the heart are sheared upwards, per unit of distance from its axis."""


def sprites() -> Dataset:
    """All combinations of the factors: binary images (6144, 64, 64) as uint8, with the shape as labels (6144,).

    The columns of `factors`, each counted from 0, are shape (square, ellipse, heart), scale (increasing), rotation
    (anticlockwise, within the symmetry angle of the shape), x (to the right) and y (downwards).
    """
    n_levels = (len(SHAPES), len(SIZES_PX), N_ROTATIONS, N_POSITIONS, N_POSITIONS)
    factors = np.indices(n_levels).reshape(len(n_levels), -1).T  # (n, 5)
    windows = render_sprites()
    window_px = windows.shape[-1]
    margin = (IMAGE_PX - window_px - (N_POSITIONS - 1) * POSITION_STEP_PX) // 2
    x = np.zeros((*n_levels, IMAGE_PX, IMAGE_PX), np.uint8)
    for column in range(N_POSITIONS):
        for row in range(N_POSITIONS):
            left, top = margin + POSITION_STEP_PX * column, margin + POSITION_STEP_PX * row
            x[:, :, :, column, row, top : top + window_px, left : left + window_px] = windows
    images = x.reshape(-1, IMAGE_PX, IMAGE_PX)
    return Dataset("sprites", Examples(images, factors[:, 0], factors=factors), factor_names=FACTOR_NAMES)


def render_sprites() -> np.ndarray:
    """(shape, scale, rotation, w, w) each sprite, centred in a window that is large enough for all of them."""
    half = IMAGE_PX // 2 - (N_POSITIONS - 1) * POSITION_STEP_PX // 2 - 1  # leaves an empty frame of one pixel
    centres = np.arange(-half, half) + 0.5  # of pixels
    angle = (np.arange(N_ROTATIONS) + 0.5) / N_ROTATIONS
    rendered = []
    for shape in SHAPES:
        cos, sin = (f(SYMMETRY_ANGLES[shape] * angle)[:, None, None] for f in (np.cos, np.sin))  # (rotation, 1, 1)
        right, up = centres[None, None, :], -centres[None, :, None]
        u, v = cos * right + sin * up, cos * up - sin * right  # (rotation, w, w), rotated back
        rendered.append([is_inside(shape, u / size, v / size) for size in SIZES_PX])
    return np.array(rendered, np.uint8)


def is_inside(shape: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Whether points (u, v) lie in a shape of area 1 around its centre of mass; v points up."""
    if shape == "square":
        return np.maximum(np.abs(u), np.abs(v)) < 0.5
    u, v = u * math.sqrt(math.pi), v * math.sqrt(math.pi)  # the disc u² + v² < 1 has area 1 in the old units
    if shape == "ellipse":
        return u**2 / ELLIPSE_ASPECT_RATIO + v**2 * ELLIPSE_ASPECT_RATIO < 1
    # A disc sheared upwards on both sides keeps its area, and its centre of mass rises by HEART_SHEAR times the mean
    # of |u| over the disc, which is 4 / (3 pi).
    return u**2 + (v + HEART_SHEAR * (4 / (3 * math.pi) - np.abs(u))) ** 2 < 1
