"""The split of a comparison: all models and seeds are trained, validated and scored on the same rows."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from isthmus.array_checks import to_cpu_array
from isthmus.data import Dataset
from isthmus.errors import InputError
from isthmus.estimators import training_setup
from isthmus.estimators.base import Estimator
from isthmus.evaluation.splits import MAX_HELD_OUT_ROWS
from isthmus.examples import Examples, fingerprint
from isthmus.wording import pluralize

TEST_FRACTION = 0.2
"""Fraction of the rows that are test rows, if the data set has no test part."""
SPLIT_SEED = 20_210_908
"""The split does not depend on the seeds of the runs."""
SPLIT_MIN_ROWS = 10
"""Smallest number of rows that can be split into training, validation and test rows."""


class Split(NamedTuple):
    """Rows to train, validate and test on.

    Args:
        train: the training rows.
        valid: the validation rows; None if there are none.
        test: the test rows, at most `MAX_HELD_OUT_ROWS` of them.
        description: the sizes and the origin of the three, in words.
        fingerprint: a hash of all of them.
    """

    train: Examples
    valid: Examples | None
    test: Examples
    description: str
    fingerprint: str

    def for_model(self, estimator: Estimator) -> Split:
        """The same rows; their labels are the condition if the model is conditional."""

        return self.conditioned(estimator.takes_labels)

    @property
    def labels(self) -> np.ndarray | None:
        """Labels of all rows, as they would be the condition; None if a part has none."""
        parts = (part for part in (self.train, self.valid, self.test) if part is not None)
        labels = [part.y if part.condition is None else part.condition for part in parts]
        return None if any(each is None for each in labels) else np.concatenate(list(map(to_cpu_array, labels)))

    def conditioned(self, conditional: bool) -> Split:
        """The same rows, with their labels as the condition or without one."""

        def conditioned(examples: Examples) -> Examples:
            labels = examples.y if examples.condition is None else examples.condition
            return replace(examples, condition=labels if conditional else None)

        valid = None if self.valid is None else conditioned(self.valid)
        return self._replace(train=conditioned(self.train), valid=valid, test=conditioned(self.test))


def split(data: Dataset, validation_fraction: float) -> Split:
    """Split a data set; its own validation and test rows are used where it has any.

    Args:
        data: the data set.
        validation_fraction: fraction of the rows that are not test rows that become validation rows.
    """
    train, valid, test = data.train, data.valid, data.test
    if len(train) < SPLIT_MIN_ROWS:
        raise InputError(f"X must have at least {SPLIT_MIN_ROWS} rows to train and to test on, got {len(train)}.")
    origin = []
    if test is None:
        train_index, test_index = training_setup.split_indices(len(train), TEST_FRACTION, SPLIT_SEED)
        train, test = train.take(train_index), train.take(test_index)
        origin.append("a random fifth")
    if len(test) > MAX_HELD_OUT_ROWS:
        origin.insert(0, f"a subsample of {len(test):,}")
        test = test.subsample(MAX_HELD_OUT_ROWS, SPLIT_SEED)
    if valid is None:
        train_index, valid_index = training_setup.split_indices(len(train), validation_fraction, SPLIT_SEED + 1)
        if len(valid_index):
            train, valid = train.take(train_index), train.take(valid_index)
    sizes = [f"{pluralize(len(train), 'training row')}"]
    if valid is not None:
        sizes.append(pluralize(len(valid), "validation row"))
    sizes.append(f"{pluralize(len(test), 'test row')} ({', '.join(origin) or 'those of the data set'})")
    description = f"{', '.join(sizes)}; the same for all models and seeds"
    hashes = [fingerprint(as_hashed(part)) for part in (train, valid, test) if part is not None]
    return Split(train, valid, test, description, "-".join(hashes))


def as_hashed(examples: Examples) -> Examples:
    """The examples with x as an array and the labels among what a fingerprint covers."""
    condition = examples.y if examples.condition is None else examples.condition
    return replace(examples, x=to_cpu_array(examples.x), condition=condition)
