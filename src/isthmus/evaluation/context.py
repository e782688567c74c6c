"""What measures read: a model, rows that it was not fitted to, and the rows that it was, as far as they are known."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from torch import Tensor

from isthmus.array_checks import zero_padding
from isthmus.estimators.base import Estimator
from isthmus.examples import Examples
from isthmus.metrics.importance_diagnostics import ImportanceDiagnostics, importance_diagnostics
from isthmus.metrics.importance_weighting import Chunk, encode_chunks
from isthmus.train.device_data import DeviceDataset, fixed_bits
from isthmus.train.runtime import torch_threads

MAX_SAMPLES = 2_000
"""Samples that are compared with data, at most."""


@dataclass(frozen=True)
class EvalContext:
    """Everything that a measure may read; what several of them need is computed once, when it is first read.

    Args:
        model: the fitted model.
        examples: the rows that are measured.
        y: (n,) labels.
        train: the rows that the model was fitted to.
        factors: (n, F) whole numbers that the rows were generated from.
        draws: draws per row for log p(x).
        ais: rows whose log p(x) is estimated by annealed importance sampling; 0 for none.
        ais_steps: temperatures of annealed importance sampling.
    """

    model: Estimator
    examples: Examples
    y: np.ndarray | None = None
    train: Examples | None = None
    factors: np.ndarray | None = None
    draws: int = 1
    ais: int = 0
    ais_steps: int = 1

    def __len__(self) -> int:
        return len(self.examples)

    def subsample(self, count: int) -> Examples:
        """At most `count` of the rows, chosen at random by the seed: files are often sorted."""
        return self.examples.subsample(count, self.seed)

    @property
    def seed(self) -> int:
        """The model's seed, as scikit-learn takes it."""
        return self.model.seed_ % 2**31

    def threads(self) -> Any:
        """Context manager: the processor threads that the model was trained with."""
        return torch_threads(self.model.settings_["threads"])

    @cached_property
    def dataset(self) -> DeviceDataset:
        """The rows as they are scored, on the device."""
        return self.model.lay(self.examples, "fixed")

    @cached_property
    def chunks(self) -> list[Chunk]:
        """The rows, encoded once for every metric that needs their posteriors."""
        with self.threads():
            return list(encode_chunks(self.model.model_, self.dataset))

    @cached_property
    def diagnostics(self) -> ImportanceDiagnostics:
        """log p(x), its bound and the importance weights' diagnostics for each row."""
        with self.threads():
            return importance_diagnostics(self.model.model_, self.chunks, self.draws)

    @cached_property
    def device_codes(self) -> Tensor:
        """(n, L) posterior means, on the device."""
        return self.model.codes_of(self.model.lay(self.examples))

    @cached_property
    def codes(self) -> np.ndarray:
        """(n, L) posterior means."""
        return self.device_codes.cpu().numpy()

    def binarized(self, x: np.ndarray) -> np.ndarray:
        """Rows (n, *X) in the form of `samples`: drawn bits if pixels are binarised."""
        schema = self.model.schema_
        return fixed_bits(x, schema).astype(np.uint8) if schema.binarize else x

    @cached_property
    def overlaps_train(self) -> bool:
        """Whether most of the rows are training rows."""
        if self.train is None:
            return False
        known = {row.tobytes() for row in np.ascontiguousarray(self.train.x)}
        rows = np.ascontiguousarray(self.examples.x.astype(self.train.x.dtype))
        return sum(row.tobytes() in known for row in rows) > len(self) / 2

    def scaled(self, x: np.ndarray) -> np.ndarray:
        """Rows (n, *X) in the units that networks read."""
        schema = self.model.schema_
        return (x - schema.shift) / schema.scale

    def unscaled(self, x: np.ndarray) -> np.ndarray:
        """Rows (n, *X) back in the data's units."""
        schema = self.model.schema_
        return x * schema.scale + schema.shift

    @cached_property
    def scaled_x(self) -> np.ndarray:
        """(n, *X) the rows in the units that networks read."""
        return self.scaled(self.examples.x)

    @cached_property
    def reconstructions(self) -> np.ndarray:
        """(n, *X) decoded codes, in the data's units."""
        decoded = self.model.decoded(self.device_codes, self.examples.condition, drawn=False)
        return zero_padding(decoded, self.examples.lengths)

    @cached_property
    def errors(self) -> np.ndarray:
        """(n,) squared error of the reconstructions, summed over features, in the data's units."""
        return squared_errors(self.examples.x, self.reconstructions)

    @cached_property
    def scaled_errors(self) -> np.ndarray:
        """(n,) the same in the units that networks read."""
        return squared_errors(self.scaled_x, self.scaled(self.reconstructions))

    def sample_conditions(self, n: int) -> np.ndarray | None:
        """Conditions for n samples: those of the rows in random order, each equally often."""
        condition = self.examples.condition
        if condition is None:
            return None
        return np.asarray(condition)[np.resize(np.random.default_rng(self.seed).permutation(len(self)), n)]

    def sample(self, n: int, *, mean: bool = False) -> np.ndarray:
        """(n, *X) samples from the prior and the decoder, under the rows' conditions; `mean`: E[x given z] of them."""
        return self.model.sample(n, condition=self.sample_conditions(n), random_state=self.seed, mean=mean)

    @cached_property
    def samples(self) -> np.ndarray:
        """As many samples as there are rows, at most `MAX_SAMPLES`; bits if pixels are binarised."""
        drawn = self.sample(min(len(self), MAX_SAMPLES))
        return (drawn > 0).astype(np.uint8) if self.model.schema_.binarize else drawn


def squared_errors(x: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(n,) squared distances of rows (n, *X), summed over features."""
    return np.square(x.astype(np.float64) - other).reshape(len(x), -1).sum(1)
