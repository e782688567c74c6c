"""How much better a model does on the rows that it was fitted to than on others."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from isthmus.errors import Declined
from isthmus.evaluation.context import EvalContext, counted_elements
from isthmus.evaluation.reconstruction import DATA_UNIT
from isthmus.examples import Examples
from isthmus.metrics.estimate import mean_and_error
from isthmus.metrics.metric import HIDDEN, LINE, Metric, mean_over_rows, setting

TRAINING_ROWS = "These are the training rows. Pass other rows as X."
"""Reason of measures that compare with rows that the model was not fitted to."""
GAP_DRAWS = 100
"""Draws per row for log p(x) of training and of other rows, at most."""
GAP_MAX_ROWS = 500
"""Rows of each kind that are compared, at most."""
MAX_COUNT_ERRORS = 3.0
"""Standard errors by which mean numbers of counted elements may differ: more than that is hardly chance."""


def generalization_gap(context: EvalContext) -> tuple[Metric, ...] | None:
    """log p(x) (nats) and squared error of training rows, and how much better they are than those of other rows.

    Both sets of rows are scored by the same few draws. None if the training rows are unknown.

    Raises:
        Declined: if the rows are training rows, or the two sets differ in how much of a row is scored.
    """
    train, encoded, scored = context.train_rows, context.encoded_train, context.scored_train
    if train is None or encoded is None or scored is None:
        return None
    if context.overlaps_train:
        raise Declined(TRAINING_ROWS)
    index, has_density = context.train_subsample(GAP_MAX_ROWS), context.has_density
    rows = train.take(index)
    others = context.subsample(GAP_MAX_ROWS)
    weights = (rows.weight, context.weight_of(others))
    require_equal_counts(rows, context.examples)
    metrics = [setting("training.rows", "training rows", len(rows), HIDDEN)]
    if context.has_code:
        decoded = context.fitted.decode(encoded.codes[index], rows.condition, rows.lengths)
        errors, shown = context.fitted.squared_errors(rows, decoded), HIDDEN if has_density else LINE
        label, gap_label = "reconstruction error of training rows", "training rows: error lower by"
        metrics += [
            mean_over_rows(
                "training.squared_error",
                label,
                DATA_UNIT,
                "squared error",
                errors,
                weight=rows.weight,
                digits="",
                shown=HIDDEN,
            ),
            mean_difference(
                "training.squared_error_gap",
                gap_label,
                DATA_UNIT,
                context.errors,
                errors,
                (context.weight, rows.weight),
                digits="",
                shown=shown,
            ),
        ]
    if has_density:
        of_train, of_test = (
            scored.score(index, min(GAP_DRAWS, context.draws)),
            context.scored.score(others, min(GAP_DRAWS, context.draws)),
        )
        label, gap_label = "log p(x) of training rows", "training rows: log p(x) higher by"
        kind = context.schema.measure
        metrics += [
            mean_over_rows("training.log_likelihood", label, "nats", kind, of_train, weight=rows.weight, shown=HIDDEN),
            mean_difference(
                "training.log_likelihood_gap",
                gap_label,
                "nats",
                of_train,
                of_test,
                weights,
                details=(higher(of_train, of_test),),
            ),
        ]
    return tuple(metrics)


def higher(train: np.ndarray, test: np.ndarray) -> Metric:
    """Share of pairs of a training row (n,) and another row (m,) in which the training row scores higher.

    Unlike the mean difference it does not depend on the few rows that score far lower than all others. The standard
    error is that of the rank-sum test under no difference (Mann & Whitney, 1947).
    """
    share = float((np.searchsorted(np.sort(test), train) / len(test)).mean())
    error = math.sqrt((len(train) + len(test) + 1) / (12 * len(train) * len(test)))
    name, label = "training.log_likelihood_gap.higher", "training rows that score higher than others"
    return Metric(name, label, "share of pairs", "share", share, error, digits=".0%", shown=HIDDEN)


def count_elements(examples: Examples) -> np.ndarray:
    """(n,) how many elements of each row enter its scores: those that are neither padding nor unobserved."""
    counted = counted_elements(examples)
    return np.full(len(examples), examples.x[0].size) if counted is None else counted.reshape(len(counted), -1).sum(1)


def require_equal_counts(train: Examples, test: Examples) -> None:
    """Raise Declined if rows of the two sets differ in their mean number of counted elements.

    log p(x) and squared errors are sums over these elements: their difference would be one of size, not of fit.
    """
    (first, error), (second, other_error) = (mean_and_error(count_elements(rows)) for rows in (train, test))
    if abs(first - second) > MAX_COUNT_ERRORS * math.hypot(error, other_error):
        raise Declined(
            f"Training rows have {first:.4g} counted values on average, the other rows {second:.4g}: sums over these "
            "cannot be compared. Pass rows with as many observed values or steps."
        )


def mean_difference(
    name: str,
    label: str,
    unit: str,
    first: np.ndarray,
    second: np.ndarray,
    weights: tuple[np.ndarray | None, np.ndarray | None],
    **kwargs: Any,
) -> Metric:
    """The mean of `first` (n,) less that of `second` (m,), two independent sets of rows with the weights (n,), (m,)."""
    (high, error), (low, other_error) = (mean_and_error(v, weight=w) for v, w in zip((first, second), weights))
    return Metric(name, label, unit, "difference", high - low, math.hypot(error, other_error), **kwargs)
