"""The rows of a training run that its model was not fitted to, as far as there are any."""

from __future__ import annotations

from dataclasses import dataclass

from isthmus.examples import Examples
from isthmus.persistence.run_dir import Run
from isthmus.wording import pluralize

MAX_HELD_OUT_ROWS = 1000
"""Rows that are measured at the end of a run, at most: a mean over them is known to a thirtieth of their spread."""
CHOSE_THE_WEIGHTS = " (they also chose the weights)"


@dataclass(frozen=True)
class HeldOut:
    """Rows that the model was not fitted to, as far as there are any."""

    examples: Examples
    name: str
    """Test rows, validation rows or training rows."""
    description: str
    """How many of which rows, and what else is to be known of them."""

    def __len__(self) -> int:
        return len(self.examples)


def held_out(run: Run, most: int = MAX_HELD_OUT_ROWS) -> HeldOut:
    """Test rows, else validation rows, else training rows, at most so many of them."""
    dataset, valid_index = run.dataset, run.job.valid_index
    if dataset.test is not None:
        examples, name, remark = dataset.test, "test rows", ""
    elif dataset.valid is not None:
        examples, name, remark = dataset.valid, "validation rows", CHOSE_THE_WEIGHTS
    elif len(valid_index):
        examples, name, remark = dataset.train.take(valid_index), "validation rows", CHOSE_THE_WEIGHTS
    else:
        examples, name, remark = dataset.train, "training rows", " (there are no others)"
    if len(examples) > most:
        some = examples.subsample(most, run.job.config.seed)
        return HeldOut(some, name, f"{most:,} of {len(examples):,} {name}{remark}")
    return HeldOut(examples, name, f"{pluralize(len(examples), name.removesuffix('s'))}{remark}")
