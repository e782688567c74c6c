"""Whether a conditional model uses its condition."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from isthmus.evaluation.context import EvalContext
from isthmus.metrics.estimate import mean_and_error
from isthmus.metrics.importance_weighting import encode_chunks, importance_weighted
from isthmus.metrics.metric import HIDDEN, Metric, from_estimate
from isthmus.metrics.probes import probes

DRAWS = 100
MAX_ROWS = 500


def condition_gain(context: EvalContext) -> Metric | None:
    """log p(x) under the true condition less log p(x) under another row's condition, and how well codes reveal it.

    Zero if the decoder ignores the condition; a condition that can be read from the codes is encoded although it is
    given. None for models without a condition or without log p(x).
    """
    model, examples = context.model, context.examples
    if model.schema_.condition is None or not model.density:
        return None
    rows = examples.take(np.random.default_rng(context.seed).permutation(len(examples))[:MAX_ROWS])
    conditions = np.asarray(rows.condition).reshape(len(rows), -1)
    partner = mismatched_pairs(conditions)
    differs = (conditions != conditions[partner]).any(1)
    if not differs.any():
        return None
    rows, partner = rows.take(np.flatnonzero(differs)), partner[differs]
    other = conditions[partner].reshape(len(partner), *np.shape(examples.condition)[1:])
    with context.threads():
        right, wrong = (
            importance_weighted(
                model.model_, encode_chunks(model.model_, model.lay(replace(rows, condition=condition), "fixed")), DRAWS
            ).values
            for condition in (rows.condition, other)
        )
    gain, error = mean_and_error(right - wrong)
    return Metric(
        "condition",
        "gain of the true condition over another",
        "nats",
        "difference",
        gain,
        error,
        details=read_from_codes(context),
    )


def read_from_codes(context: EvalContext) -> tuple[Metric, ...]:
    """Accuracy of the better of two probes that read the condition's class from codes, and of the commonest class."""
    known = context.model.schema_.condition
    if known is None or not known.classes:
        return ()
    accuracy = probes(context.codes, np.asarray(context.examples.condition), context.seed)
    if accuracy is None:
        return ()
    unit, kind = "share of rows", "accuracy"
    best = max(accuracy["linear"], accuracy["nearest"])
    return (
        from_estimate("condition.read_from_codes", "condition read from codes", unit, kind, best, digits=".1%"),
        from_estimate(
            "condition.commonest", "commonest condition", unit, kind, accuracy["commonest"], digits=".1%", shown=HIDDEN
        ),
    )


def mismatched_pairs(conditions: np.ndarray) -> np.ndarray:
    """For each of conditions (n, k) the index of a row with another condition, as far as there is one.

    Among sorted conditions the row half way round has another one, unless more than half are equal.
    """
    n = len(conditions)
    order = np.lexsort(conditions.T[::-1])
    partner = np.empty(n, int)
    partner[order] = np.roll(order, -(n // 2))
    return partner
