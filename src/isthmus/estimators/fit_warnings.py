"""What `fit` warns of before training: data that may not be what they seem, a condition that is missing."""

from __future__ import annotations

import warnings
from typing import Any

from isthmus.array_checks import looks_channels_first
from isthmus.data.tables import transposed_note
from isthmus.estimators.hyperparameters import Hyperparameters, is_auto
from isthmus.examples import Examples
from isthmus.schema import Schema, is_integer_valued

MAX_COUNT = 1e15
"""Largest whole number that is taken for a count: much larger floats are all whole."""


def warn_integer_valued(estimator: Hyperparameters, schema: Schema, inputs: Examples) -> None:
    """Warn of floats that are all whole numbers from 0: modelled as measurements, they may be counts or levels."""
    name, x = ("X", inputs.x) if inputs.target is None else ("target", inputs.target)
    seen = x if inputs.observed is None else x[inputs.observed]
    if not is_auto(estimator.likelihood) or schema.kind != "real" or x.dtype.kind != "f":
        return
    if seen.min() < 0 or seen.max() > MAX_COUNT or not is_integer_valued(seen):
        return
    # No integer type has the NaN that stands where nothing was observed.
    rows = name if inputs.observed is None else f"numpy.where(observed, {name}, 0)"
    most = int(seen.max())
    levels = f"{rows}.astype('uint8') and levels={most + 1} for levels, " if most < 256 else ""
    warnings.warn(
        f"{name} holds only whole numbers, stored as {x.dtype} and modelled as measurements. "
        f"Pass {rows}.astype('int64') for counts, {levels}or likelihood='normal' for measurements.",
        UserWarning,
        stacklevel=4,
    )


def warn_channels_first(inputs: Examples) -> None:
    """Warn of images whose channels seem to come first: their height would be taken for the width."""
    shape = inputs.x.shape
    if inputs.lengths is None and looks_channels_first(shape):
        transposed = "X[:, 0]" if shape[1] == 1 else "X.transpose(0, 2, 3, 1)"
        warnings.warn(
            f"X must be images (h, w, c), but rows of shape {shape[1:]} look like (c, h, w). Pass {transposed} if they "
            "are.",
            UserWarning,
            stacklevel=4,
        )


def warn_transposed(x: Any) -> None:
    """Warn of a DataFrame with far more columns than rows whose index holds words: its columns may be the examples."""
    note = transposed_note(x.index.to_series(), len(x.columns)) if hasattr(x, "iloc") and hasattr(x, "columns") else ""
    if note:
        warnings.warn(f"X: {note} (X.T).", UserWarning, stacklevel=4)


def warn_unconditional(estimator: Hyperparameters, schema: Schema) -> None:
    """Warn of a conditional model that is fitted without a condition: it works, but is hardly what was intended."""
    if schema.condition is None:
        warnings.warn(
            f"{type(estimator).__name__} was given no condition and is unconditional. "
            "Pass condition=... to fit (--condition).",
            UserWarning,
            stacklevel=6,
        )
