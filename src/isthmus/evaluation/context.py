"""What measures read: a model, the rows to measure it on, and its training rows if they are known."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from isthmus.array_checks import length_mask
from isthmus.errors import Declined
from isthmus.evaluation.baseline_data import BaselineData, max_fit_rows
from isthmus.evaluation.encoded import EncodedRows
from isthmus.evaluation.row_keys import RowKeys
from isthmus.examples import Examples
from isthmus.fitted import FittedModel
from isthmus.metrics.importance_diagnostics import ImportanceDiagnostics, importance_diagnostics
from isthmus.schema import Schema, weighted_sum
from isthmus.train.device_data import fixed_bits

MAX_SAMPLES = 2_000
"""Samples that are compared with data, at most."""
ENCODED_TRAIN_MAX_ROWS = 2_000
"""Training rows that are encoded, at most."""


@dataclass(frozen=True)
class EvalContext:
    """Everything that a measure may read; what several of them need is computed once, when it is first read.

    Args:
        fitted: the model.
        examples: the rows that are measured.
        train: the rows that the model was fitted to.
        draws: draws per row for log p(x).
        ais: rows whose log p(x) is estimated by annealed importance sampling; 0 for none.
        ais_steps: temperatures of annealed importance sampling.
    """

    fitted: FittedModel
    examples: Examples
    train: Examples | None = None
    draws: int = 1
    ais: int = 0
    ais_steps: int = 1

    def __len__(self) -> int:
        return len(self.examples)

    # ------------------------------------------------------------------ model

    @property
    def schema(self) -> Schema:
        """What the data are."""
        return self.fitted.schema

    @property
    def has_density(self) -> bool:
        """Whether log p(x) is available."""
        return self.fitted.capabilities.has_density

    @property
    def is_variational(self) -> bool:
        """Whether rows have codes beside a prior, so that KL(q(z given x) || p(z)) is known."""
        return self.fitted.capabilities.has_rate

    @property
    def has_code(self) -> bool:
        """Whether rows have codes."""
        return self.fitted.capabilities.encodes

    @property
    def seed(self) -> int:
        """The model's seed, as scikit-learn takes it."""
        return self.fitted.seed % 2**31

    # ------------------------------------------------------------------ rows

    @property
    def weight(self) -> np.ndarray | None:
        """(n,) how much rows count in a mean over them; None for all the same."""
        return self.examples.weight

    def weight_of(self, index: np.ndarray) -> np.ndarray | None:
        """The same of some rows."""
        return None if self.weight is None else self.weight[index]

    def subsample(self, count: int) -> np.ndarray:
        """Positions of at most `count` of the rows, chosen at random by the seed (files are often sorted), ascending.

        They are the rows that `Examples.subsample` chooses.
        """
        return subsample_index(len(self), count, self.seed)

    def require_complete(self, *sets: Examples | None) -> None:
        """Raise Declined if any of the rows have missing values; of the measured and the training rows by default."""
        for rows in sets or (self.examples, self.train):
            if rows is not None and rows.observed is not None:
                raise Declined("The rows have missing values. Pass rows without any to measure this.")

    def require_numeric(self) -> None:
        """Raise Declined if columns hold unordered categories, whose numbers have no distance or variance."""
        if self.nominal.any():
            raise Declined("The rows have unordered categories.")

    @cached_property
    def encoded(self) -> EncodedRows:
        """The rows as they are encoded: binarised pixels are their probabilities."""
        return EncodedRows(self.fitted, self.examples, "mean")

    @cached_property
    def scored(self) -> EncodedRows:
        """The rows as they are scored: binarised pixels are fixed bits."""
        return EncodedRows(self.fitted, self.examples, "fixed") if self.schema.binarize else self.encoded

    @cached_property
    def train_rows(self) -> Examples | None:
        """At most `ENCODED_TRAIN_MAX_ROWS` of the training rows."""
        return None if self.train is None else self.train.subsample(ENCODED_TRAIN_MAX_ROWS, self.seed)

    @cached_property
    def encoded_train(self) -> EncodedRows | None:
        """`train_rows` as they are encoded."""
        return None if self.train_rows is None else EncodedRows(self.fitted, self.train_rows, "mean")

    @cached_property
    def scored_train(self) -> EncodedRows | None:
        """`train_rows` as they are scored."""
        if self.train_rows is None or not self.schema.binarize:
            return self.encoded_train
        return EncodedRows(self.fitted, self.train_rows, "fixed")

    def train_subsample(self, count: int) -> np.ndarray:
        """Positions in `train_rows` of at most `count` of the training rows, chosen as `subsample` does.

        Subsamples by one seed are nested: a smaller one is part of a larger one.
        """
        n = 0 if self.train is None else len(self.train)
        kept, chosen = (subsample_index(n, size, self.seed) for size in (ENCODED_TRAIN_MAX_ROWS, count))
        return np.searchsorted(kept, chosen)

    @cached_property
    def row_keys(self) -> RowKeys:
        """The measured rows compared with the training rows."""
        return RowKeys(self.examples, self.train)

    @property
    def overlaps_train(self) -> bool:
        """Whether most of the rows are training rows."""
        return self.row_keys.share > 0.5

    @cached_property
    def train_mean(self) -> np.ndarray:
        """(*X) mean of what was observed in the training rows, or in the measured rows if these are unknown.

        Of unordered categories, the commonest.
        """
        rows = self.examples if self.train is None else self.train
        mean = observed_mean(rows)
        for column in np.flatnonzero(self.nominal):
            values = rows.x[:, column] if rows.observed is None else rows.x[rows.observed[:, column], column]
            mean[column] = np.bincount(values.astype(np.int64)).argmax() if len(values) else 0
        return mean

    @property
    def nominal(self) -> np.ndarray:
        """(*X) True for unordered categories."""
        return self.schema.per_element("kind") == "category"

    def imputed(self, examples: Examples) -> np.ndarray:
        """(n, *X) rows with `train_mean` where nothing was observed."""
        return examples.x if examples.observed is None else np.where(examples.observed, examples.x, self.train_mean)

    def scaled(self, x: np.ndarray) -> np.ndarray:
        """Rows (n, *X) in the units that networks read."""
        return (x - self.schema.shift) / self.schema.scale

    def unscaled(self, x: np.ndarray) -> np.ndarray:
        """Rows (n, *X) back in the data's units."""
        return x * self.schema.scale + self.schema.shift

    @cached_property
    def scaled_x(self) -> np.ndarray:
        """(n, *X) the rows in the units that networks read, the mean where nothing was observed."""
        return self.scaled(self.imputed(self.examples))

    def binarized(self, x: np.ndarray) -> np.ndarray:
        """Rows (n, *X) in the form of `samples`: drawn bits if pixels are binarised."""
        return fixed_bits(x, self.schema).astype(np.uint8) if self.schema.binarize else x

    # ------------------------------------------------------------------ codes, reconstructions, samples

    @cached_property
    def diagnostics(self) -> ImportanceDiagnostics:
        """log p(x), its bound and the importance weights' diagnostics for each row."""
        with self.fitted.threads():
            return importance_diagnostics(self.fitted.model, self.scored.chunks, self.draws)

    @property
    def kl_per_dim(self) -> np.ndarray | None:
        """(L,) mean KL(q(z given x) || p(z)) of each dimension of the code, nats; None where it does not split."""
        kl = self.diagnostics.kl
        return np.average(kl, 0, self.weight) if kl.shape[1] == self.fitted.model.code.size else None

    @property
    def codes(self) -> np.ndarray:
        """(n, *Z) the codes of the rows."""
        return self.encoded.codes

    @cached_property
    def flat_codes(self) -> np.ndarray:
        """(n, L) the codes of the rows, flattened."""
        return self.codes.reshape(len(self), -1)

    @cached_property
    def reconstructions(self) -> np.ndarray:
        """(n, *X) decoded codes, in the data's units."""
        return self.fitted.decode(self.codes, self.examples.condition, self.examples.lengths)

    @cached_property
    def errors(self) -> np.ndarray:
        """(n,) squared error of the reconstructions, summed over features, in the data's units."""
        return self.fitted.squared_errors(self.examples, self.reconstructions)

    @cached_property
    def scaled_errors(self) -> np.ndarray:
        """(n,) the same in the units that networks read."""
        return self.fitted.squared_errors(self.examples, self.reconstructions, scaled=True)

    def sample_conditions(self, n: int) -> np.ndarray | None:
        """Conditions for n samples: those of the rows in random order, each equally often."""
        condition = self.examples.condition
        if condition is None:
            return None
        return np.asarray(condition)[np.resize(np.random.default_rng(self.seed).permutation(len(self)), n)]

    def sample(self, n: int, *, mean: bool = False) -> np.ndarray:
        """(n, *X) samples from the model, under the rows' conditions; `mean`: E[x given z] of drawn codes."""
        return self.fitted.sample(n, self.sample_conditions(n), self.seed, mean)

    @cached_property
    def samples(self) -> np.ndarray:
        """As many samples as there are rows, at most `MAX_SAMPLES`; bits if pixels are binarised."""
        drawn = self.sample(min(len(self), MAX_SAMPLES))
        return (drawn > 0).astype(np.uint8) if self.schema.binarize else drawn

    # ------------------------------------------------------------------ baselines

    @cached_property
    def baseline_data(self) -> BaselineData | None:
        """The training rows that baselines are fitted to."""
        if self.train is None:
            return None
        rows = self.train.subsample(max_fit_rows(self.train.x[0].size), self.fitted.seed)
        return BaselineData.of(self.fitted, self.imputed(rows))


def subsample_index(n: int, count: int, seed: int) -> np.ndarray:
    """At most `count` of n positions, chosen at random by the seed, ascending."""
    return np.arange(n) if n <= count else np.sort(np.random.default_rng(seed).permutation(n)[:count])


def counted_elements(examples: Examples) -> np.ndarray | None:
    """(n, *X) True where a value is neither padding nor unobserved; None where all are."""
    if examples.lengths is None:
        return examples.observed
    real = length_mask(examples.x, examples.lengths)[..., None]  # (n, t, 1)
    return np.broadcast_to(real, examples.x.shape) if examples.observed is None else examples.observed & real


def observed_mean(examples: Examples) -> np.ndarray:
    """(*X) mean over the rows of what is neither padding nor unobserved; 0 where all is."""
    counted, weight = counted_elements(examples), examples.weight
    if counted is None:
        return weighted_sum(examples.x, weight) / (len(examples) if weight is None else weight.sum())
    count = weighted_sum(counted, weight)
    return weighted_sum(np.where(counted, examples.x, 0), weight) / np.where(count == 0, 1, count)
