"""Values of fields that no model can be made of, told before anything is done with them."""

from __future__ import annotations

import dataclasses
import math
import numbers
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.errors import InputError

if TYPE_CHECKING:
    from isthmus.estimators.base import Estimator

MOST_LATENT = 1_000_000
"""Numbers in a code at most: more is a slip of the hand, and would fill the memory."""


def check_fields(estimator: Estimator) -> None:
    """Raise InputError for fields that no model can be made of."""
    counts(estimator)
    widths(estimator, "hidden", fewest=0)
    widths(estimator, "channels", fewest=1)
    for field in dataclasses.fields(estimator):
        value = getattr(estimator, field.name)
        if field.type in ("bool", "bool | str"):
            switch(field.name, value, "auto" if field.type == "bool | str" else None)
        elif field.type == "float" and not (plain_number(value) and value >= 0):
            raise InputError(f"{field.name}={value!r} came; a number of at least 0 is wanted")
    for name in ("validation_fraction", "patience", "warmup"):
        value = getattr(estimator, name)
        if value > 1 or (name == "validation_fraction" and value == 1):
            raise InputError(f"{name}={value!r} came; a share from 0 to 1 is wanted")
    if not 0 < estimator.learning_rate < math.inf:
        raise InputError(f"learning_rate={estimator.learning_rate!r} came; a positive number is wanted")


def counts(estimator: Estimator) -> None:
    """Fields that count something."""
    least = {"latent_dim": 1, "batch_size": 1, "epochs": 1, "levels": 2}
    for name, low in least.items():
        value = getattr(estimator, name)
        if (name, value) in (("epochs", "auto"), ("levels", None)):
            continue
        if not whole(value) or value < low:
            also = " or 'auto'" if name == "epochs" else ""
            raise InputError(f"{name}={value!r} came; a whole number of at least {low}{also} is wanted")
    if estimator.latent_dim > MOST_LATENT:
        raise InputError(f"latent_dim={estimator.latent_dim!r} came; at most {MOST_LATENT:,} is wanted")


def widths(estimator: Estimator, name: str, fewest: int) -> None:
    """A field that lists the widths of layers."""
    value = getattr(estimator, name)
    if not isinstance(value, tuple | list) or len(value) < fewest or not all(whole(w) and w >= 1 for w in value):
        raise InputError(f"{name}={value!r} came; a tuple of positive whole numbers is wanted, e.g. (512, 512)")


def switch(name: str, value: Any, also: str | None) -> None:
    """A field that is on or off, or left to a rule."""
    if isinstance(value, bool | np.bool_) or (also is not None and isinstance(value, str) and value == also):
        return
    known = [True, False] + ([also] if also else [])
    raise InputError(f"{name}={value!r} came; {' or '.join(map(repr, known))} is wanted")


def whole(value: Any) -> bool:
    """Whether a value is a whole number; True and False are none."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def plain_number(value: Any) -> bool:
    """Whether a value is a real number; True and False are none."""
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)
