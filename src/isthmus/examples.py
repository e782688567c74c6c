"""Examples: the rows of a data set with everything that belongs to them, row by row."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
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
        checked: whether the fields are arrays that were validated for the model; they are not validated again.
    """

    x: Any
    y: Any = None
    condition: Any = None
    lengths: Any = None
    target: Any = None
    factors: Any = None
    observed: Any = None
    checked: bool = False

    def __len__(self) -> int:
        return len(self.x)

    def take(self, index: np.ndarray) -> Examples:
        """The examples at the positions `index`, in that order; DataFrames keep their columns, lists become arrays."""
        import numpy as np

        def rows(values: Any) -> Any:
            return values.iloc[index] if hasattr(values, "columns") else np.asarray(values)[index]

        return dataclasses.replace(self, **{name: rows(values) for name, values in self._given().items()})

    def subsample(self, n: int, seed: int) -> Examples:
        """At most n of the examples, a random choice by `seed`, in their original order."""
        import numpy as np

        if len(self) <= n:
            return self
        return self.take(np.sort(np.random.default_rng(seed).permutation(len(self))[:n]))

    def model_kwargs(self) -> dict[str, Any]:
        """The keyword arguments that accompany x in calls of a model's methods; fields that are None are left out."""
        return {
            name: values
            for name, values in self._given().items()
            if name in ("condition", "lengths", "target", "observed")
        }

    def _given(self) -> dict[str, Any]:
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: values for name, values in fields.items() if values is not None and name != "checked"}
