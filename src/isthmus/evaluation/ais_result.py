"""Log p(x) by annealing, and how far such an estimate can be off."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from isthmus.evaluation.context import EvalContext
from isthmus.evaluation.estimates import told, told_rows
from isthmus.evaluation.log_likelihood import kind_of
from isthmus.metrics.ais import ais, bdmc
from isthmus.metrics.importance_weighting import importance_weighted
from isthmus.train.device_data import DeviceDataset

SIMULATED = 50
"""Rows drawn from the model, between whose bounds log p(x) is known to lie."""


def annealed(subject: EvalContext, count: int, draws: int, steps: int) -> dict[str, Any]:
    """Annealed importance sampling of `count` rows beside importance weighting of the same, nats.

    Both are lower bounds in expectation: the higher is nearer to log p(x). The two-sided bound on simulated rows says
    by how much annealing is off at most, as far as the model's own rows are like these.
    """
    model = subject.model.model_
    rows = subject.model.lay(subject.some(count), "fixed")
    with subject.using():
        found, weighted = ais(model, rows, steps=steps), importance_weighted(model, rows, draws)
        simulated = bdmc(model, min(SIMULATED, len(rows)), steps=steps, **company(rows, SIMULATED))
    kind = kind_of(subject.model.schema_)
    return {
        **told_rows(found.values, "nats", kind, rows=len(rows), steps=steps),
        "importance_weighted": told_rows(weighted.values, "nats", kind, draws=draws),
        "above_importance_weighted": told_rows(found.values - weighted.values, "nats", "difference"),
        "two_sided_gap": told(*simulated.gap, "nats", "difference", rows=min(SIMULATED, len(rows))),
        "ess": float(np.median(found.ess)),
        "acceptance": float(found.acceptance.mean()),
    }


def company(rows: DeviceDataset, n: int) -> dict[str, Any]:
    """Conditions and masks of n rows, for rows simulated in their place."""
    batch = rows.batch(torch.arange(min(n, len(rows)), device=rows.device))
    return {"c": batch.c, "mask": batch.mask}
