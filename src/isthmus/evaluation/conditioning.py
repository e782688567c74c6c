"""Whether a conditional model uses its condition."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from isthmus.evaluation.context import EvalContext
from isthmus.evaluation.encoded import EncodedRows
from isthmus.metrics.estimate import mean_and_error
from isthmus.metrics.metric import HIDDEN, Metric, from_estimate
from isthmus.metrics.probes import probes

CONDITION_DRAWS = 100
"""Draws per row for log p(x) with the right and with another condition."""
CONDITION_MAX_ROWS = 500
"""Rows whose log p(x) is compared, at most."""


def condition_gain(context: EvalContext) -> Metric | None:
    """log p(x) under the true condition less log p(x) under another row's condition, and how well codes reveal it.

    Zero if the decoder ignores the condition; a condition that can be read from the codes is encoded although it is
    given. None for models without a condition or without log p(x).
    """
    examples = context.examples
    if context.schema.condition is None or not context.has_density:
        return None
    index = np.random.default_rng(context.seed).permutation(len(context))[:CONDITION_MAX_ROWS]
    conditions = np.asarray(examples.condition)[index].reshape(len(index), -1)
    partner = mismatched_pairs(conditions)
    differs = (conditions != conditions[partner]).any(1)
    if not differs.any():
        return None
    index, partner = index[differs], index[partner[differs]]
    other = replace(examples.take(index), condition=np.asarray(examples.condition)[partner])
    other = other.mark_checked(context.schema)
    right = context.scored.score(index, min(CONDITION_DRAWS, context.draws))
    wrong = EncodedRows(context.fitted, other, "fixed").score(
        np.arange(len(index)), min(CONDITION_DRAWS, context.draws)
    )
    gain, error = mean_and_error(right - wrong, weight=context.weight_of(index))
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
    known = context.schema.condition
    if known is None or not known.classes or not context.has_code:
        return ()
    accuracy = probes(context.flat_codes, np.asarray(context.examples.condition), context.seed)
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
