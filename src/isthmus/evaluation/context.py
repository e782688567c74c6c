"""What is measured: a model, rows that it was not fitted to, and as far as they are known the rows that it was."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from torch import Tensor

from isthmus.estimators.base import Estimator
from isthmus.estimators.validation import unpadded
from isthmus.examples import Examples
from isthmus.train.device_data import DeviceDataset, fixed_bits
from isthmus.train.runtime import torch_threads

MOST_DRAWN = 2_000
"""Samples that are compared with data, at most."""


@dataclass(frozen=True)
class EvalContext:
    """Everything that a measure may read; what several of them want is made once."""

    model: Estimator
    inputs: Examples
    y: np.ndarray | None = None
    train: Examples | None = None
    factors: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.inputs)

    def some(self, count: int) -> Examples:
        """At most `count` of the rows, drawn by the seed: files are often sorted."""
        return some_of(self.inputs, count, self.seed)

    @property
    def seed(self) -> int:
        return self.model.seed_ % 2**31

    def using(self) -> Any:
        """The threads that the model runs on."""
        return torch_threads(self.model.settings_["threads"])

    @cached_property
    def rows(self) -> DeviceDataset:
        """The rows as they are scored."""
        return self.model.lay(self.inputs, "fixed")

    @cached_property
    def latent(self) -> Tensor:
        """(n, L) posterior means, on the device."""
        return self.model.codes_of(self.model.lay(self.inputs))

    @cached_property
    def codes(self) -> np.ndarray:
        """(n, L) posterior means."""
        return self.latent.cpu().numpy()

    def bits(self, x: np.ndarray) -> np.ndarray:
        """Rows (n, *X) as `samples` are: drawn bits, where pixels are binarised."""
        schema = self.model.schema_
        return fixed_bits(x, schema).astype(np.uint8) if schema.binarize else x

    @cached_property
    def seen(self) -> bool:
        """Whether most of the rows are training rows."""
        if self.train is None:
            return False
        known = {row.tobytes() for row in np.ascontiguousarray(self.train.x)}
        again = sum(row.tobytes() in known for row in np.ascontiguousarray(self.inputs.x.astype(self.train.x.dtype)))
        return again > len(self) / 2

    def scaled(self, x: np.ndarray) -> np.ndarray:
        """Rows (n, *X) in the units that networks read."""
        schema = self.model.schema_
        return (x - schema.shift) / schema.scale

    def unscaled(self, x: np.ndarray) -> np.ndarray:
        """Rows (n, *X) back in the data's units."""
        schema = self.model.schema_
        return x * schema.scale + schema.shift

    @cached_property
    def as_read(self) -> np.ndarray:
        """(n, *X) the rows in the units that networks read."""
        return self.scaled(self.inputs.x)

    @cached_property
    def again(self) -> np.ndarray:
        """(n, *X) what the codes are decoded to, in the data's units."""
        return unpadded(self.model.decoded(self.latent, self.inputs.condition, drawn=False), self.inputs.lengths)

    @cached_property
    def errors(self) -> np.ndarray:
        """(n,) squared error, summed over features."""
        return squared(self.inputs.x, self.again)

    def conditions(self, n: int) -> np.ndarray | None:
        """The conditions of n samples: those of rows drawn by the seed, each as often as the others."""
        given = self.inputs.condition
        if given is None:
            return None
        return np.asarray(given)[np.resize(np.random.default_rng(self.seed).permutation(len(self)), n)]

    def drawn(self, n: int, *, mean: bool = False) -> np.ndarray:
        """(n, *X) samples from the prior and the decoder, under the rows' conditions."""
        return self.model.sample(n, condition=self.conditions(n), random_state=self.seed, mean=mean)

    @cached_property
    def samples(self) -> np.ndarray:
        """As many draws as there are rows, at most `MOST_DRAWN`; bits where pixels are binarised."""
        drawn = self.drawn(min(len(self), MOST_DRAWN))
        return (drawn > 0).astype(np.uint8) if self.model.schema_.binarize else drawn


def squared(x: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(n,) squared distances of rows (n, *X), summed over features."""
    return np.square(x.astype(np.float64) - other).reshape(len(x), -1).sum(1)


def some_of(inputs: Examples, count: int, seed: int) -> Examples:
    """At most `count` rows, a random choice by the seed, in their order."""
    if len(inputs) <= count:
        return inputs
    return inputs.take(np.sort(np.random.default_rng(seed).permutation(len(inputs))[:count]))
