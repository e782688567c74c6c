"""Validate hyperparameters before fitting."""

from __future__ import annotations

import dataclasses
import math
import numbers
from typing import Any

import numpy as np

from isthmus.errors import InputError, unknown
from isthmus.estimators.hyperparameters import Hyperparameters, is_auto

MAX_LATENT_DIM = 1_000_000
"""Larger codes are typing errors and would not fit into memory."""

INITIALIZATIONS = ("auto", "pca", "columns", "random")
"""Where training may start: at a linear model, with a dimension for each column, or at random."""


def check_fields(estimator: Hyperparameters) -> None:
    """Raise InputError for the first field whose value is impossible whatever the data."""
    check_integers(estimator)
    if not is_auto(estimator.hidden):
        check_widths("hidden", estimator.hidden, min_layers=0)
    if estimator.initialization not in INITIALIZATIONS:
        raise unknown("initialization", str(estimator.initialization), INITIALIZATIONS)
    if not is_auto(estimator.channels):
        check_widths("channels", estimator.channels, min_layers=1)
    for field in dataclasses.fields(estimator):
        value = getattr(estimator, field.name)
        if field.type in ("bool", "bool | str"):
            check_switch(field.name, value, auto=field.type == "bool | str")
        elif field.type == "float" and not (is_real_number(value) and value >= 0):
            raise InputError(f"{field.name} must be a number >= 0, got {value!r}.")
    for name in ("validation_fraction", "warmup"):
        value = getattr(estimator, name)
        if name == "warmup" and value == "auto":
            continue
        if not (is_real_number(value) and 0 <= value <= 1):
            raise InputError(f"{name} must be a number from 0 to 1, got {value!r}.")
    if estimator.validation_fraction == 1:
        raise InputError("validation_fraction must be below 1, got 1: no rows would be left to train on.")
    rate = estimator.learning_rate
    if not is_auto(rate) and not (is_real_number(rate) and 0 < rate < math.inf):
        raise InputError(f"learning_rate must be a number > 0 or 'auto', got {rate!r}.")
    decay = estimator.weight_decay
    if not is_auto(decay) and not (is_real_number(decay) and 0 <= decay < math.inf):
        raise InputError(f"weight_decay must be a number >= 0 or 'auto', got {decay!r}.")


def check_integers(estimator: Hyperparameters) -> None:
    """Fields that are integers."""
    lowest = {"latent_dim": 1, "batch_size": 1, "epochs": 1, "patience": 1, "levels": 2}
    auto = ("latent_dim", "epochs", "patience")
    for name, low in lowest.items():
        value = getattr(estimator, name)
        if (name, value) == ("levels", None) or (name in auto and is_auto(value)):
            continue
        if not is_integer(value) or value < low:
            alternative = " or 'auto'" if name in auto else ""
            raise InputError(f"{name} must be an integer >= {low}{alternative}, got {value!r}.")
    if not is_auto(estimator.latent_dim) and estimator.latent_dim > MAX_LATENT_DIM:
        raise InputError(f"latent_dim must be at most {MAX_LATENT_DIM:,}, got {estimator.latent_dim!r}.")


def check_widths(name: str, value: Any, min_layers: int) -> None:
    """A field that lists the widths of layers."""
    if (
        not isinstance(value, tuple | list)
        or len(value) < min_layers
        or not all(is_integer(w) and w >= 1 for w in value)
    ):
        raise InputError(f"{name} must be a tuple of integers >= 1 such as (512, 512), got {value!r}.")


def check_switch(name: str, value: Any, auto: bool) -> None:
    """A field that is True or False, or 'auto' if that is possible."""
    if isinstance(value, bool | np.bool_) or (auto and isinstance(value, str) and value == "auto"):
        return
    alternative = " or 'auto'" if auto else ""
    raise InputError(f"{name} must be True or False{alternative}, got {value!r}.")


def is_integer(value: Any) -> bool:
    """Whether a value is an integer; True and False are not."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_real_number(value: Any) -> bool:
    """Whether a value is a real number; True and False are not."""
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)
