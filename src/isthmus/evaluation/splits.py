"""Rows that a run was not fitted to, as far as there are any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from isthmus.estimators.base import Estimator
from isthmus.examples import Examples
from isthmus.persistence.run_dir import Run
from isthmus.wording import pluralize

ROWS_SCORED = 1000
"""Rows scored at the end of a run, at most: enough for a figure to a tenth of its spread."""
CHOSEN_BY = " (they also chose the weights)"


@dataclass(frozen=True)
class HeldOut:
    """Rows that the model was not fitted to, as far as there are any."""

    part: Examples
    name: str
    which: str
    """How many, and what else is to be known of them."""

    def company(self, model: Estimator) -> dict[str, Any]:
        """The condition and lengths that a model wants with the rows."""
        return {
            "condition": self.part.y if model.schema_.condition is not None else None,
            "lengths": self.part.lengths,
        }


def held_out(run: Run) -> HeldOut:
    """Test rows, else validation rows, else training rows, at most `ROWS_SCORED` of them."""
    if run.dataset.test is not None:
        part, name, more = run.dataset.test, "test rows", ""
    elif run.dataset.valid is not None:
        part, name, more = run.dataset.valid, "validation rows", CHOSEN_BY
    elif run.job.valid_index is not None:
        part, name, more = run.dataset.train.take(run.job.valid_index), "validation rows", CHOSEN_BY
    else:
        part, name, more = run.dataset.train, "training rows", " (none were kept aside)"
    if len(part.x) > ROWS_SCORED:
        some = part.subsample(ROWS_SCORED, run.job.config.seed)
        return HeldOut(some, name, f"{ROWS_SCORED:,} of {len(part.x):,} {name}{more}")
    return HeldOut(part, name, f"{pluralize(len(part.x), name.removesuffix('s'))}{more}")
