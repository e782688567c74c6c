"""How much better a model does on the rows that it was fitted to than on others."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from isthmus.errors import Declined
from isthmus.evaluation.context import EvalContext
from isthmus.evaluation.reconstruction import DATA_UNIT
from isthmus.metrics.estimate import mean_and_error
from isthmus.metrics.metric import HIDDEN, LINE, Metric, mean_over_rows, setting

TRAINING_ROWS = "These are the training rows. Pass other rows as X."
"""Reason of measures that compare with rows that the model was not fitted to."""
GAP_DRAWS = 100
"""Draws per row for log p(x) of training and of other rows."""
GAP_MAX_ROWS = 500
"""Rows of each kind that are compared, at most."""


def generalization_gap(context: EvalContext) -> tuple[Metric, ...] | None:
    """log p(x) (nats) and squared error of training rows, and how much better they are than those of other rows.

    Both sets of rows are scored by the same few draws. None if the training rows are unknown.
    """
    train, encoded, scored = context.train_rows, context.encoded_train, context.scored_train
    if train is None or encoded is None or scored is None:
        return None
    if context.overlaps_train:
        raise Declined(TRAINING_ROWS)
    index, has_density = context.train_subsample(GAP_MAX_ROWS), context.has_density
    rows = train.take(index)
    metrics = [setting("training.rows", "training rows", len(rows), HIDDEN)]
    if context.has_code:
        decoded = context.fitted.decode(encoded.codes[index], rows.condition, rows.lengths)
        errors, shown = context.fitted.squared_errors(rows, decoded), HIDDEN if has_density else LINE
        label, gap_label = "reconstruction error of training rows", "training rows: error lower by"
        metrics += [
            mean_over_rows(
                "training.squared_error", label, DATA_UNIT, "squared error", errors, digits="", shown=HIDDEN
            ),
            mean_difference(
                "training.squared_error_gap", gap_label, DATA_UNIT, context.errors, errors, digits="", shown=shown
            ),
        ]
    if has_density:
        of_train, of_test = (
            scored.score(index, GAP_DRAWS),
            context.scored.score(context.subsample(GAP_MAX_ROWS), GAP_DRAWS),
        )
        label, gap_label = "log p(x) of training rows", "training rows: log p(x) higher by"
        kind = context.schema.measure
        metrics += [
            mean_over_rows("training.log_likelihood", label, "nats", kind, of_train, shown=HIDDEN),
            mean_difference("training.log_likelihood_gap", gap_label, "nats", of_train, of_test),
        ]
    return tuple(metrics)


def mean_difference(name: str, label: str, unit: str, first: np.ndarray, second: np.ndarray, **kwargs: Any) -> Metric:
    """The mean of `first` (n,) less that of `second` (m,), two independent sets of rows."""
    (high, error), (low, other_error) = mean_and_error(first), mean_and_error(second)
    return Metric(name, label, unit, "difference", high - low, math.hypot(error, other_error), **kwargs)
