"""The labels of a model that learns from them: classes of any kind, as integers."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np

from isthmus.errors import MAX_LISTED_NAMES, InputError
from isthmus.schema.condition import json_label
from isthmus.wording import join_names

UNKNOWN = -1
"""The code of a row whose label is unknown; in y also None, NaN or the text "-1"."""


@dataclass(frozen=True)
class Labels:
    """The classes of the training labels, sorted; the code of a label is its position among them.

    A class is text, a whole number or a truth value. Labels of another hashable kind (a date, a tuple) are represented
    by their text, so that a saved model finds them again.

    >>> labels = Labels.read(np.array(["dog", "cat", None, "dog"], dtype=object))
    >>> labels.classes, labels.encode(np.array(["cat", "-1"])).tolist()
    (('cat', 'dog'), [0, -1])
    """

    classes: tuple[Any, ...] = ()

    @classmethod
    def read(cls, y: np.ndarray) -> Labels:
        """Learn the classes of labels (n,).

        Raises:
            InputError: for labels that are not hashable, or two with the same text; and for numbers that are not whole,
                because a quantity is no class.
        """
        sources: dict[Any, Any] = {}
        for label in y if y.dtype == object else np.unique(y):
            name = as_class(label)
            if name is None:
                continue
            if isinstance(name, float):
                raise InputError(
                    f"y must be labels, got the number {name:g}, which is not whole. Pass classes, for example y > 0."
                )
            other = sources.setdefault(name, label)
            if other != label:
                raise InputError(f"y must have labels of different text, got {other!r} and {label!r}. Rename one.")
        return cls(tuple(sorted(sources, key=lambda name: (type(name).__name__, name))))

    def encode(self, y: np.ndarray) -> np.ndarray:
        """The codes (n,) of labels (n,), as int64; -1 where a label is unknown.

        Raises:
            InputError: for a label that was not there in training: no number of the model belongs to it.
        """
        codes = {name: code for code, name in enumerate(self.classes)}
        different, place = (y, np.arange(len(y))) if y.dtype == object else np.unique(y, return_inverse=True)
        encoded = np.full(len(different), UNKNOWN, np.int64)
        for i, label in enumerate(different):
            name = as_class(label)
            if name is None:
                continue
            # Words that spell numbers become numbers on their way through a file.
            name = name if name in codes else str(name)
            if name not in codes:
                known = join_names(map(repr, self.classes), MAX_LISTED_NAMES) or "no class"
                raise InputError(
                    f"y must be one of the classes of the training rows, {known}, or -1 where unknown, got {label!r}."
                )
            encoded[i] = codes[name]
        return encoded[place]


def as_class(label: Any) -> Any:
    """A label as JSON can hold it: text, a number or a truth value; None where it is unknown.

    >>> as_class(np.int32(3)), as_class(2.0), as_class(float("nan")), as_class(-1), as_class((1, 2))
    (3, 2, None, None, '(1, 2)')
    """
    value = json_label(label)
    if not isinstance(value, Hashable):
        raise InputError(f"y must hold labels that are hashable, got {label!r}. Pass str(label).")
    if isinstance(value, bytes):
        value = value.decode()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if value is None or value in (UNKNOWN, str(UNKNOWN)):
        return None
    return value if isinstance(value, str | int | float) else str(value)


def is_known(y: np.ndarray) -> np.ndarray:
    """(n,) True where a row has a label."""
    return np.array([as_class(label) is not None for label in y], bool)
