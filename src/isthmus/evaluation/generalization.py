"""How much better a model does on the rows that it was fitted to than on others."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from isthmus.array_checks import zero_padding
from isthmus.errors import Declined
from isthmus.evaluation.context import EvalContext, squared_errors
from isthmus.evaluation.log_likelihood import kind_of
from isthmus.evaluation.reconstruction import DATA_UNIT
from isthmus.metrics.estimate import mean_and_error
from isthmus.metrics.importance_weighting import encode_chunks, importance_weighted
from isthmus.metrics.metric import HIDDEN, LINE, Metric, mean_over_rows, setting

TRAINING_ROWS = "these are the training rows; pass other rows as X"
"""Reason of measures that compare with rows that the model was not fitted to."""
DRAWS = 100
MAX_ROWS = 500


def generalization_gap(context: EvalContext) -> tuple[Metric, ...] | None:
    """log p(x) (nats) and squared error of training rows, and how much better they are than those of other rows.

    Both sets of rows are scored by the same few draws. None if the training rows are unknown.
    """
    if context.train is None:
        return None
    if context.overlaps_train:
        raise Declined(TRAINING_ROWS)
    model, train = context.model, context.train.subsample(MAX_ROWS, context.seed)
    codes = model.codes_of(model.lay(train))
    decoded = zero_padding(model.decoded(codes, train.condition, drawn=False), train.lengths)
    errors, kind = squared_errors(train.x, decoded), "squared error"
    label, gap_label = "reconstruction error of training rows", "training rows: error lower by"
    shown = HIDDEN if model.density else LINE
    metrics = [
        setting("training.rows", "training rows", len(train), HIDDEN),
        mean_over_rows("training.squared_error", label, DATA_UNIT, kind, errors, digits="", shown=HIDDEN),
        mean_difference(
            "training.squared_error_gap", gap_label, DATA_UNIT, context.errors, errors, digits="", shown=shown
        ),
    ]
    if model.density:
        test = context.subsample(MAX_ROWS)
        with context.threads():
            of_train, of_test = (
                importance_weighted(model.model_, encode_chunks(model.model_, model.lay(rows, "fixed")), DRAWS).values
                for rows in (train, test)
            )
        label, gap_label = "log p(x) of training rows", "training rows: log p(x) higher by"
        metrics += [
            mean_over_rows("training.log_likelihood", label, "nats", kind_of(model.schema_), of_train, shown=HIDDEN),
            mean_difference("training.log_likelihood_gap", gap_label, "nats", of_train, of_test),
        ]
    return tuple(metrics)


def mean_difference(name: str, label: str, unit: str, first: np.ndarray, second: np.ndarray, **kwargs: Any) -> Metric:
    """The mean of `first` (n,) less that of `second` (m,), two independent sets of rows."""
    (high, error), (low, other_error) = mean_and_error(first), mean_and_error(second)
    return Metric(name, label, unit, "difference", high - low, math.hypot(error, other_error), **kwargs)
