"""Rows that a run was not fitted to, as far as there are any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from isthmus.data import Part
from isthmus.estimators.base import Estimator
from isthmus.persistence.run_dir import Run
from isthmus.wording import pluralize

ROWS_SCORED = 1000
"""Rows scored at the end of a run, at most: enough for a figure to a tenth of its spread."""
CHOSEN_BY = " (they also chose the weights)"


@dataclass(frozen=True)
class HeldOut:
    """Rows that the model was not fitted to, as far as there are any."""

    part: Part
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
        part, name, more = take(run.dataset.train, run.job.valid_index), "validation rows", CHOSEN_BY
    else:
        part, name, more = run.dataset.train, "training rows", " (none were kept aside)"
    if len(part.x) > ROWS_SCORED:
        index = np.sort(np.random.default_rng(run.job.plan.seed).permutation(len(part.x))[:ROWS_SCORED])
        return HeldOut(take(part, index), name, f"{ROWS_SCORED:,} of {len(part.x):,} {name}{more}")
    return HeldOut(part, name, f"{pluralize(len(part.x), name.removesuffix('s'))}{more}")


def take(part: Part, index: np.ndarray) -> Part:
    """Some rows of a part."""
    x = part.x.iloc[index] if hasattr(part.x, "iloc") else np.asarray(part.x)[index]
    return Part(x, *[None if a is None else np.asarray(a)[index] for a in (part.y, part.lengths, part.factors)])
