"""What a conditional model makes of its condition."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from isthmus.evaluation.context import EvalContext
from isthmus.metrics.estimate import mean_and_error
from isthmus.metrics.importance_weighting import importance_weighted
from isthmus.metrics.probes import probes

DRAWS = 100
MOST_ROWS = 500


def of_condition(subject: EvalContext) -> dict[str, Any] | None:
    """The nats that the true condition is worth against that of another row, and how well codes tell it.

    A condition worth nothing is ignored by the decoder; one that codes tell leaks into these, and is told twice. None
    for models without a condition or a density.
    """
    model, inputs = subject.model, subject.inputs
    if model.schema_.condition is None or not model.density:
        return None
    some = inputs.take(np.random.default_rng(subject.seed).permutation(len(inputs))[:MOST_ROWS])
    own = np.asarray(some.condition).reshape(len(some), -1)
    partner = others(own)
    told_apart = (own != own[partner]).any(1)
    if not told_apart.any():
        return None
    some, partner = some.take(np.flatnonzero(told_apart)), partner[told_apart]
    other = own[partner].reshape(len(partner), *np.shape(inputs.condition)[1:])
    with subject.using():
        right, wrong = (
            importance_weighted(model.model_, model.lay(replace(some, condition=given), "fixed"), DRAWS).values
            for given in (some.condition, other)
        )
    gain, error = mean_and_error(right - wrong)
    found: dict[str, Any] = {"mean": gain, "standard_error": error, "unit": "nats", "kind": "difference"}
    read = (
        probes(subject.codes, np.asarray(inputs.condition), subject.seed) if model.schema_.condition.classes else None
    )
    if read is not None:
        found["read_from_codes"] = max(read["linear"], read["nearest"])._asdict()
        found["commonest"] = read["commonest"]._asdict()
    return found


def others(conditions: np.ndarray) -> np.ndarray:
    """For each of conditions (n, k) the index of a row whose condition is another, as far as there is one.

    Among sorted conditions a row half way round is another, unless more than half are the same.
    """
    n = len(conditions)
    order = np.lexsort(conditions.T[::-1])
    partner = np.empty(n, int)
    partner[order] = np.roll(order, -(n // 2))
    return partner
