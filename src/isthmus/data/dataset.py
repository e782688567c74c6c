"""A data set as read from a source: examples to train on, and to validate and test on where the source has them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from isthmus.data.column_roles import NO_ROLES, ColumnRoles
from isthmus.data.image_options import ImageOptions
from isthmus.errors import InputError
from isthmus.examples import PARTS, Examples

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Dataset:
    """Examples to train on, and to validate and test on where the source has them.

    Args:
        source: the built-in name or the path that was read, as the user wrote it.
        train: examples to train on; all of them if the source has no parts.
        valid: examples to validate on.
        test: examples to test on.
        levels: number of grey levels of integer images, if it is not the 256 of bytes.
        factor_names: names of the columns of `factors`, if they are known.
        roles: the columns of a table that are no features.
        images: how the images were read that the source holds as files; None if it holds none.
    """

    source: str
    train: Examples
    valid: Examples | None = None
    test: Examples | None = None
    levels: int | None = None
    factor_names: tuple[str, ...] | None = None
    roles: ColumnRoles = NO_ROLES
    images: ImageOptions | None = None

    def without_zero_weight(self) -> Dataset:
        """The data set without the rows whose weight is 0: positions of rows are then those that training counts."""
        parts = {name: examples for name in PARTS if (examples := getattr(self, name)) is not None}
        return replace(self, **{name: part.without_zero_weight() for name, part in parts.items()})

    def select(self, part: str = "all") -> Examples:
        """The examples of one part ("train", "valid" or "test"), or "all" of them in this order.

        Raises:
            InputError: if the data set does not have the part.
        """
        names = PARTS if part == "all" else (part,)
        present = [examples for name in names if (examples := getattr(self, name)) is not None]
        if not present:
            raise InputError(f"{self.source} has no {part} examples. Leave out --part to use all of them.")
        return present[0] if len(present) == 1 else concatenate(present)


def concatenate(parts: list[Examples]) -> Examples:
    """Several sets of examples as one; what one of them lacks (labels, lengths, factors) is left out."""
    import numpy as np
    import pandas as pd

    def join(name: str) -> Any:
        arrays = [getattr(part, name) for part in parts]
        if any(array is None for array in arrays):
            return None
        return pd.concat(arrays) if isinstance(arrays[0], pd.DataFrame) else np.concatenate(arrays)

    names = ("x", "y", "condition", "lengths", "target", "factors", "observed", "ids", "weight")
    return Examples(**{name: join(name) for name in names})


def check_factors(factors: Any, n: int, name: str = "factors") -> np.ndarray:
    """Generating factors as an int64 array (n, F).

    Args:
        factors: (n, F) integers: the level of each factor in each example.
        n: the number of examples.
        name: how error messages call the factors.

    Raises:
        InputError: for another shape, or values that are not integers.
    """
    import numpy as np

    factors = np.asarray(factors)
    if factors.ndim != 2 or len(factors) != n or not factors.shape[1]:
        raise InputError(f"{name} must have shape ({n}, number of factors), got {factors.shape}.")
    if factors.dtype.kind not in "biu":
        raise InputError(f"{name} must be integers, got dtype {factors.dtype}. Convert them with astype(int).")
    return factors.astype(np.int64)
