"""Measured numbers as plain values: each says its unit, and what kind of number it is."""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.metrics.estimate import mean_and_error


def told(mean: float, error: float | None, unit: str, kind: str, **more: Any) -> dict[str, Any]:
    """An estimate and its standard error."""
    return {"mean": mean, "standard_error": error, "unit": unit, "kind": kind, **more}


def told_rows(values: np.ndarray, unit: str, kind: str, **more: Any) -> dict[str, Any]:
    """The mean of values (n,) and its standard error over rows."""
    return told(*mean_and_error(values), unit, kind, **more)
