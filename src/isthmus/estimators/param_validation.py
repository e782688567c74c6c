"""Validate hyperparameters before fitting."""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Callable
from typing import Any

import numpy as np
from torch import nn

from isthmus.errors import InputError, unknown
from isthmus.estimators.hyperparameters import Hyperparameters, is_auto
from isthmus.train.optimizer import OPTIMIZERS
from isthmus.wording import quoted

MAX_LATENT_DIM = MAX_WIDTH = 1_000_000
"""Larger codes and layers are typing errors and would not fit into memory."""

MAX_RATE = 1e30
"""Larger steps are no numbers of single precision, in which weights are kept."""
PLAIN_TYPES = (str, int, float, np.number, np.bool_, tuple, list, type(None), nn.Module)
"""Types whose values have an order and a truth, or are parts; the checks of single fields say more of these."""

INITIALIZATIONS = ("auto", "pca", "columns", "random")
"""Where training may start: at a linear model, with a dimension for each column, or at random."""


def check_fields(estimator: Hyperparameters) -> None:
    """Raise InputError for the first field whose value is impossible whatever the data."""
    for field in dataclasses.fields(estimator):  # arrays and the like are no value of any field
        if not isinstance(getattr(estimator, field.name), PLAIN_TYPES):
            check_type(field, getattr(estimator, field.name))
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
            raise InputError(f"{field.name} must be a number >= 0, got {quoted(value)}.")
    for name in ("validation_fraction", "warmup"):
        value = getattr(estimator, name)
        if name == "warmup" and value == "auto":
            continue
        if not (is_real_number(value) and 0 <= value <= 1):
            alternative = " or 'auto'" if name == "warmup" else ""
            raise InputError(f"{name} must be a number from 0 to 1{alternative}, got {quoted(value)}.")
    if estimator.validation_fraction == 1:
        raise InputError("validation_fraction must be below 1, got 1: no rows would be left to train on.")
    if estimator.dropout >= 1:
        raise InputError(f"dropout must be below 1, got {estimator.dropout!r}: no hidden unit would be left.")
    minutes = estimator.max_minutes
    if minutes is not None and not (is_real_number(minutes) and 0 < minutes < math.inf):
        raise InputError(f"max_minutes must be a number > 0 or None, got {minutes!r}.")
    if not isinstance(estimator.verbose, bool | np.bool_ | numbers.Integral) or estimator.verbose not in (0, 1, 2):
        raise InputError(f"verbose must be 0, 1 or 2, got {estimator.verbose!r}.")
    for name in ("learning_rate", "clip"):
        value, endless = getattr(estimator, name), name == "clip"  # without end, nothing is clipped
        if not is_auto(value) and not (is_real_number(value) and value > 0 and (endless or value < math.inf)):
            raise InputError(f"{name} must be a number > 0 or 'auto', got {quoted(value)}.")
        if not endless and not is_auto(value) and value > MAX_RATE:
            raise InputError(f"{name} must be at most {MAX_RATE:g}, got {quoted(value)}. Pass one below 1.")
    if estimator.optimizer not in OPTIMIZERS:
        raise unknown("optimizer", str(estimator.optimizer), OPTIMIZERS)
    if estimator.optimizer == "sgd" and is_auto(estimator.learning_rate):
        raise InputError(
            "learning_rate must be a number where optimizer is 'sgd', got 'auto': its steps grow with the loss. "
            "Pass one, say learning_rate=1e-4."
        )
    decay = estimator.weight_decay
    if not is_auto(decay) and not (is_real_number(decay) and 0 <= decay < math.inf):
        raise InputError(f"weight_decay must be a number >= 0 or 'auto', got {quoted(decay)}.")
    for field in dataclasses.fields(estimator):
        check_type(field, getattr(estimator, field.name))


def check_type(field: dataclasses.Field, value: Any) -> None:
    """Raise InputError for a value of none of the types that the annotation of a field names."""
    names = [name.strip() for name in str(field.type).split("|")]
    kinds = [name.partition("[")[0] for name in names]
    if field.name == "random_state" or not set(kinds) <= set(KINDS):  # a generator, or a type of the user's own
        return
    if not any(KINDS[kind][1](value) for kind in kinds):
        words = " or ".join(KINDS[kind][0] for kind in kinds)
        raise InputError(f"{field.name} must be {words}, got {quoted(value)}.")


def check_integers(estimator: Hyperparameters) -> None:
    """Fields that are integers."""
    lowest = {"latent_dim": 1, "cycles": 1, "batch_size": 1, "epochs": 1, "patience": 1, "levels": 2}
    auto = ("latent_dim", "epochs", "patience")
    for name, low in lowest.items():
        value = getattr(estimator, name)
        if (name, value) == ("levels", None) or (name in auto and is_auto(value)):
            continue
        if not is_integer(value) or value < low:
            alternative = " or 'auto'" if name in auto else ""
            raise InputError(f"{name} must be an integer >= {low}{alternative}, got {quoted(value)}.")
    if not is_auto(estimator.latent_dim) and estimator.latent_dim > MAX_LATENT_DIM:
        raise InputError(f"latent_dim must be at most {MAX_LATENT_DIM:,}, got {quoted(estimator.latent_dim)}.")


def check_widths(name: str, value: Any, min_layers: int, such_as: str = "(512, 512) or 'auto'") -> None:
    """A field that lists the widths of layers."""
    if (
        not isinstance(value, tuple | list)
        or len(value) < min_layers
        or not all(is_integer(w) and w >= 1 for w in value)
    ):
        raise InputError(f"{name} must be a tuple of integers >= 1 such as {such_as}, got {quoted(value)}.")
    if max(value, default=0) > MAX_WIDTH:
        raise InputError(f"{name} must be at most {MAX_WIDTH:,} wide, got {quoted(value)}.")


def check_switch(name: str, value: Any, auto: bool) -> None:
    """A field that is True or False, or 'auto' if that is possible."""
    if isinstance(value, bool | np.bool_) or (auto and isinstance(value, str) and value == "auto"):
        return
    alternative = " or 'auto'" if auto else ""
    raise InputError(f"{name} must be True or False{alternative}, got {quoted(value)}.")


def is_integer(value: Any) -> bool:
    """Whether a value is an integer; True and False are not."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_real_number(value: Any) -> bool:
    """Whether a value is a real number; True and False are not."""
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "int": ("an integer", is_integer),
    "float": ("a number", is_real_number),
    "bool": ("True or False", lambda value: isinstance(value, bool | np.bool_)),
    "str": ("a name", lambda value: isinstance(value, str)),
    "Auto": ("'auto'", is_auto),
    "None": ("None", lambda value: value is None),
    "tuple": ("a tuple", lambda value: isinstance(value, tuple | list)),
    "nn.Module": ("a torch.nn.Module", lambda value: isinstance(value, nn.Module)),
}
"""The types in the annotations of fields: their words in a message, and whether a value is of the type."""
