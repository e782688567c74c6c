"""Which rows all models learn from, are validated on and are scored on: the same for all models and seeds."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from isthmus.data import Dataset
from isthmus.errors import InputError
from isthmus.estimators import training_setup
from isthmus.estimators.base import Estimator
from isthmus.evaluation.splits import ROWS_SCORED
from isthmus.examples import Examples
from isthmus.wording import pluralize

TESTED = 0.2
"""Share of the rows that are scored where the data set has no test rows of its own."""
SEED = 20_210_908
"""Of the split: it is one and the same, whatever the seeds of the runs."""
FEWEST = 10
"""Rows of a data set that can be split in three."""


class Split(NamedTuple):
    """Rows to train, validate and test on, how they came about, and a hash of them all."""

    train: Examples
    valid: Examples | None
    test: Examples
    words: str
    fingerprint: str

    def company(self, estimator: Estimator, part: Examples) -> dict[str, Any]:
        """The condition and lengths that this model wants with rows."""
        conditional = estimator.conditional or estimator.prior == "conditional"
        return {"condition": part.y if conditional else None, "lengths": part.lengths}

    def validation(self, estimator: Estimator) -> dict[str, Any] | None:
        """The rows to choose the best weights by."""
        return None if self.valid is None else {"X": self.valid.x, **self.company(estimator, self.valid)}


def split(data: Dataset, fraction: float) -> Split:
    """Test rows are those of the data set, else a fifth; validation rows likewise, else `fraction` of the rest."""
    train, valid, test = data.train, data.valid, data.test
    said = []
    if len(train.x) < FEWEST:
        raise InputError(f"{pluralize(len(train.x), 'row')} came; {FEWEST} at least are wanted to train and to test on")
    if test is None:
        kept, held = training_setup.split(len(train.x), TESTED, SEED)
        train, test = train.take(kept), train.take(held)
        said.append("a random fifth" if len(held) <= ROWS_SCORED else "of a random fifth")
    if len(test.x) > ROWS_SCORED:
        said.append(f"of {len(test.x):,}")
        test = test.subsample(ROWS_SCORED, SEED)
    if valid is None:
        kept, held = training_setup.split(len(train.x), fraction, SEED + 1)
        if len(held):
            train, valid = train.take(kept), train.take(held)
    counts = [pluralize(len(train.x), "row") + " to train on"]
    if valid is not None:
        counts.append(f"{len(valid.x):,} to choose weights by")
    counts.append(f"{len(test.x):,} to score ({', '.join(said) or 'its test rows'})")
    marks = [training_setup.fingerprint(hashed(part)) for part in (train, valid, test) if part is not None]
    return Split(train, valid, test, f"{', '.join(counts)}; the same for all models and seeds", "-".join(marks))


def hashed(part: Examples) -> Examples:
    """A part as what a fingerprint is taken of."""
    x: Any = part.x
    return Examples(np.asarray(x.detach().cpu() if hasattr(x, "detach") else x), condition=part.y, lengths=part.lengths)
