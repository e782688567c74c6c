"""What reading gives: rows, with what comes with them, in up to three parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


class Part(NamedTuple):
    """Rows (n, *X), an array or a table with its names, their labels (n,) and, for padded sequences, lengths (n,)."""

    x: np.ndarray | pd.DataFrame
    y: np.ndarray | None = None
    lengths: np.ndarray | None = None


@dataclass(frozen=True)
class Dataset:
    """What was read: rows to train on, and rows to validate and test on where the source has them."""

    source: str
    train: Part
    valid: Part | None = None
    test: Part | None = None
    levels: int | None = None
    """Grey levels, where they are not the 256 of bytes."""
