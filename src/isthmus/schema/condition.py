"""The condition of a conditional model: classes or numbers, as networks read them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from isthmus.errors import InputError
from isthmus.schema.array_statistics import check_finite, moments, safe_std


@dataclass(frozen=True)
class Condition:
    """The condition c of a conditional model: one of several classes, or numbers.

    Classes become one-hot rows; numbers are standardised by the mean and standard deviation of the training rows.
    """

    classes: tuple[Any, ...] = ()
    shift: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()

    @property
    def width(self) -> int:
        return len(self.classes) or len(self.shift)

    @classmethod
    def read(cls, condition: np.ndarray, weight: np.ndarray | None = None) -> Condition:
        """Learn classes (integers, booleans, words) or location and scale (floats) from (n,) or (n, k).

        Rows count by `weight` (n,).
        """
        values = np.asarray(condition)
        if values.ndim == 2 and values.shape[1] == 1:
            values = values[:, 0]
        if values.dtype == object and any(json_label(v) is None for v in values.flat):
            raise InputError(
                "condition must not have missing labels. Drop those rows, or give them a label of their own."
            )
        if values.dtype.kind not in "biufOUS":
            raise InputError(f"condition must be labels or real numbers, got dtype {values.dtype}.")
        if values.dtype.kind == "S":
            values = np.char.decode(values)
        if values.ndim == 1 and values.dtype.kind in "iubOU":
            other = next((v for v in map(json_label, values) if not isinstance(v, str | int | float)), None)
            if other is not None:
                raise InputError(
                    f"condition must be strings or numbers, got a {type(other).__name__}. Pass str(label)."
                )
            return cls(classes=tuple(sorted({json_label(v) for v in values}, key=lambda v: (str(type(v)), v))))
        try:
            numbers = values.astype(np.float64).reshape(len(values), -1)
        except (TypeError, ValueError):
            raise InputError(
                f"condition must be labels (n,) or numbers (n, k), got {values.ndim} dimensions of {values.dtype}."
            ) from None
        check_finite(numbers, "condition")
        mean, _, _ = moments(numbers, weight=weight)
        scale = safe_std(numbers, weight=weight)
        one_hot = bool(np.isin(numbers, (0.0, 1.0)).all() and (numbers.sum(1) == 1).all())
        shift = np.zeros_like(scale) if one_hot else mean
        scale = np.ones_like(scale) if one_hot else scale
        return cls(shift=tuple(shift.tolist()), scale=tuple(scale.tolist()))

    def encode(self, condition: Any, n: int) -> np.ndarray:
        """Raw conditions of n rows (or one for all) to numbers, (n, C).

        Raises InputError for a class that was not there in training, or a wrong count or width.
        """
        values = np.asarray(condition)
        if values.dtype.kind == "S":
            values = np.char.decode(values)
        if self.classes:
            if values.ndim == 2 and values.shape[1] == 1:
                values = values[:, 0]
            if values.ndim > 1:
                raise InputError(f"condition must have one label per row, got shape {values.shape}.")
            values = np.broadcast_to(values, (n,)) if values.ndim == 0 or values.shape == (1,) else values
            rows = {label: i for i, label in enumerate(self.classes)}
            labels = [json_label(v) for v in values]
            # Words that spell numbers become numbers on their way through a file.
            labels = [str(v) if v is not None and v not in rows and str(v) in rows else v for v in labels]
            missing = next((v for v in labels if v not in rows), None)
            if missing is not None or None in labels:
                raise InputError(
                    f"condition must be one of {', '.join(map(repr, self.classes))}, as in training, got {missing!r}."
                )
            encoded = np.zeros((len(labels), len(rows)))
            encoded[np.arange(len(labels)), [rows[v] for v in labels]] = 1.0
        else:
            try:
                values = values.astype(np.float64)
            except (TypeError, ValueError):
                raise InputError(f"condition must be numbers, as in training, got dtype {values.dtype}.") from None
            if values.ndim <= 1:
                one_row = values.ndim == 0 or (self.width > 1 and values.shape == (self.width,))
                values = values.reshape((1, -1) if one_row else (-1, 1))
            if values.ndim != 2 or values.shape[1] != self.width:
                raise InputError(f"condition must have shape (rows, {self.width}), got {values.shape}.")
            check_finite(values, "condition")
            encoded = (values - np.array(self.shift)) / np.array(self.scale)
        if len(encoded) == 1:
            encoded = np.repeat(encoded, n, 0)
        if len(encoded) != n:
            raise InputError(f"condition must have one entry for each of the {n} rows, got {len(encoded)}.")
        return encoded


def json_label(value: Any) -> Any:
    """A label as JSON can hold it: NumPy scalars become Python's; None and NaN become None."""
    value = value.item() if isinstance(value, np.generic) else value
    lost = (isinstance(value, float) and math.isnan(value)) or type(value).__name__ in ("NAType", "NaTType")
    return None if lost else value
