"""A number and how sure it is."""

from __future__ import annotations

from typing import NamedTuple


class Estimate(NamedTuple):
    """An estimate and its standard error."""

    mean: float
    error: float
