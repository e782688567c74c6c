"""Which units of the code are in use."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from isthmus.evaluation.context import EvalContext, squared
from isthmus.evaluation.estimates import told

ACTIVE = 0.01
"""Variance of a dimension's posterior mean over rows above which it is in use (Burda et al., 2016)."""
FEW = 1e-6
"""Share of the largest variance under which a unit of a code without a density stands still."""


def in_use(codes: np.ndarray, density: bool) -> int:
    """How many latent dimensions of codes (n, L) vary over rows."""
    variance = codes.var(0)
    return int((variance > (ACTIVE if density else FEW * max(float(variance.max()), math.ulp(1)))).sum())


def active_units(subject: EvalContext) -> dict[str, Any]:
    """Latent dimensions whose code varies over rows, and the share of units that are never other than 0."""
    codes = subject.codes
    return {
        "count": in_use(codes, subject.model.density),
        "of": codes.shape[1],
        "never": float((codes == 0).all(0).mean()),
        "unit": "dimensions",
    }


def copying(subject: EvalContext) -> dict[str, Any] | None:
    """The share of their variance that rows with shuffled columns lose on the way through a plain autoencoder.

    Shuffled columns have no structure left that a code could stand for: a network that returns them all the same has
    learned to copy, not what the data are like. None for other models.
    """
    model, x = subject.model, subject.inputs.x
    if model.density or model.schema_.sequence or model.schema_.condition is not None or len(x) < 2:
        return None
    random = np.random.default_rng(subject.seed)
    flat = x.reshape(len(x), -1)
    mixed = np.stack([random.permutation(column) for column in flat.T], 1).reshape(x.shape)
    codes = model.codes_of(model.lay(type(subject.inputs)(mixed)))
    lost = squared(mixed, model.decoded(codes, None, drawn=False)).mean()
    whole = squared(mixed, np.broadcast_to(mixed.mean(0, dtype=np.float64), mixed.shape)).mean()
    return told(float(lost / whole), None, "share of the variance", "squared error") if whole else None
