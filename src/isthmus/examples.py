"""Examples: the rows of a data set with everything that belongs to them, row by row."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

PARTS = ("train", "valid", "test")
"""The parts of a data set; those after the first are optional."""


@dataclass(frozen=True, eq=False)
class Examples:
    """n examples; every field that is given has one entry for each of them.

    Args:
        x: (n, *X) the data: an array, a tensor or a DataFrame.
        y: (n,) labels.
        condition: (n,) labels or (n, C) numbers that a conditional model is conditioned on.
        lengths: (n,) number of steps of each padded sequence.
        target: (n, *X) clean data that a denoising model reconstructs from x.
        factors: (n, F) integer generating factors, where they are known.
        observed: (n, *X) booleans, False where a value of x is missing.
        ids: (n,) names of the rows, which no model reads.
        weight: (n,) numbers >= 0: a row of weight 2 counts as two, one of weight 0 as none.
    """

    x: Any
    y: Any = None
    condition: Any = None
    lengths: Any = None
    target: Any = None
    factors: Any = None
    observed: Any = None
    ids: Any = None
    weight: Any = None
    _schema: Any = field(default=None, init=False, repr=False)

    def __len__(self) -> int:
        return len(self.x)

    def is_checked_for(self, schema: Any) -> bool:
        """Whether these are arrays that were validated for the models of this very schema."""
        return self._schema is not None and self._schema is schema

    def mark_checked(self, schema: Any) -> Examples:
        """The same examples, known to be valid for the models of `schema`, which do not validate them again.

        `take` and `subsample` keep the mark, `dataclasses.replace` drops it, for a new value may not be valid.
        """
        marked = dataclasses.replace(self)
        object.__setattr__(marked, "_schema", schema)
        return marked

    def take(self, index: np.ndarray) -> Examples:
        """The examples at the positions `index`, in that order; DataFrames keep their columns, lists become arrays."""
        import numpy as np

        def rows(values: Any) -> Any:
            return values.iloc[index] if hasattr(values, "columns") else np.asarray(values)[index]

        some = dataclasses.replace(self, **{name: rows(values) for name, values in self._given().items()})
        return some if self._schema is None else some.mark_checked(self._schema)

    def subsample(self, n: int, seed: int) -> Examples:
        """At most n of the examples, a random choice by `seed`, in their original order."""
        import numpy as np

        if len(self) <= n:
            return self
        return self.take(np.sort(np.random.default_rng(seed).permutation(len(self))[:n]))

    def without_zero_weight(self) -> Examples:
        """The rows whose weight is not 0; without weights where these are all 1."""
        import numpy as np

        if self.weight is None or np.all(self.weight):
            return self
        some = self.take(np.flatnonzero(self.weight))
        if not np.all(some.weight == 1):
            return some
        plain = dataclasses.replace(some, weight=None)
        return plain if self._schema is None else plain.mark_checked(self._schema)

    def model_kwargs(self) -> dict[str, Any]:
        """The keyword arguments that accompany x in calls of a model's methods; fields that are None are left out."""
        return {
            name: values
            for name, values in self._given().items()
            if name in ("condition", "lengths", "target", "observed")
        }

    def _given(self) -> dict[str, Any]:
        names = (entry.name for entry in dataclasses.fields(self) if entry.init)
        return {name: values for name in names if (values := getattr(self, name)) is not None}


def fingerprint(*groups: Examples | None) -> str:
    """A hash of all arrays, by which a resumed run recognises its data."""
    import numpy as np

    digest = hashlib.blake2b(digest_size=16)
    for group in groups:
        if group is None:
            continue
        for array in (group.x, group.y, group.condition, group.lengths, group.target, group.observed, group.weight):
            if array is not None:
                values = np.ascontiguousarray(array)
                if values.dtype == object:  # labels of any kind, tuples too
                    values = np.array([str(value) for value in values.ravel()], dtype="U").reshape(values.shape)
                digest.update(f"{values.dtype}{values.shape}".encode())
                digest.update(values.tobytes() if values.dtype.kind == "U" else values.data)
    return digest.hexdigest()
