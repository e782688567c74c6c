"""Squared errors of rows that mix numbers, categories and values that were not observed."""

from __future__ import annotations

import numpy as np


def squared_errors(
    x: np.ndarray,
    reconstruction: np.ndarray,
    nominal: np.ndarray,
    observed: np.ndarray | None = None,
    scale: np.ndarray | None = None,
) -> np.ndarray:
    """(n,) squared distance of rows from their reconstructions, summed over the values that were observed.

    Args:
        x: (n, *X) rows in data units.
        reconstruction: (n, *X), likewise.
        nominal: (*X) True where an element is a category, of which a wrong one counts 1.
        observed: (n, *X) False where a value is missing.
        scale: units to measure in, one or one for each element (*X); None for those of the data.
    """
    gap = x.astype(np.float64)
    gap -= reconstruction
    if scale is not None:
        gap /= scale
    gap[:, nominal] = gap[:, nominal] != 0
    if observed is not None:
        gap[~observed] = 0.0
    return np.square(gap).reshape(len(gap), -1).sum(-1)
