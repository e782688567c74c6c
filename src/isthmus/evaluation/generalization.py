"""The rows that a model was fitted to beside those that it was not."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from isthmus.errors import InputError
from isthmus.estimators.validation import unpadded
from isthmus.evaluation.context import EvalContext, some_of, squared
from isthmus.evaluation.estimates import told, told_rows
from isthmus.evaluation.log_likelihood import kind_of
from isthmus.metrics.estimate import mean_and_error
from isthmus.metrics.importance_weighting import importance_weighted

SEEN = "these are the training rows themselves; pass others"
DRAWS = 100
MOST_ROWS = 500


def of_training(subject: EvalContext) -> dict[str, Any] | None:
    """Log p(x) (nats) and squared error of training rows, and by how much they are better than other rows.

    Both kinds of rows are scored by the same few draws. None where the training rows are not known.
    """
    if subject.train is None:
        return None
    if subject.seen:
        raise InputError(SEEN)
    model, seen = subject.model, some_of(subject.train, MOST_ROWS, subject.seed)
    codes = model.codes_of(model.lay(seen))
    errors = squared(seen.x, unpadded(model.decoded(codes, seen.condition, drawn=False), seen.lengths))
    found: dict[str, Any] = {
        "rows": len(seen),
        "squared_error": told_rows(errors, "squared units of the data, summed", "squared error"),
        "squared_error_gap": apart(subject.errors, errors, "squared units of the data, summed"),
    }
    if model.density:
        held = subject.some(MOST_ROWS)
        with subject.using():
            here, there = (
                importance_weighted(model.model_, model.lay(part, "fixed"), DRAWS).values for part in (seen, held)
            )
        found["log_likelihood"] = told_rows(here, "nats", kind_of(model.schema_))
        found["log_likelihood_gap"] = apart(here, there, "nats")
    return found


def apart(more: np.ndarray, less: np.ndarray, unit: str) -> dict[str, Any]:
    """The difference of the means of two sets of rows."""
    (high, first), (low, second) = mean_and_error(more), mean_and_error(less)
    return told(high - low, math.hypot(first, second), unit, "difference")
