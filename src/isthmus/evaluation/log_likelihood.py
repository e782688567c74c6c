"""Log p(x) of rows under a model, its bound, and the bound's parts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from isthmus.evaluation.context import EvalContext
from isthmus.evaluation.estimates import told, told_rows
from isthmus.metrics.elbo_surgery import elbo_surgery
from isthmus.metrics.estimate import mean_and_error
from isthmus.metrics.importance_diagnostics import importance_diagnostics
from isthmus.metrics.inference_gap import MAX_ROWS, inference_gap
from isthmus.schema import Schema

STEPS = 150
"""By which a posterior of its own is found for each row."""
KHAT_GOOD = 0.7
"""Above this a row's weights may have no variance, and more draws do not mend its estimate."""


def kind_of(schema: Schema) -> str:
    """What the log of is told: numbers of different kinds cannot be compared."""
    return "pseudo-probability" if schema.improper else "probability" if schema.discrete else "density"


def of_density(subject: EvalContext, draws: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Evidence, its bound and the bound's parts: facts, and what belongs to each row."""
    model, schema = subject.model, subject.model.schema_
    with subject.using():
        found, parts = (
            importance_diagnostics(model.model_, subject.rows, draws),
            elbo_surgery(model.model_, subject.rows),
        )
    per_row = {"log_px": found.log_px.values, "elbo": found.elbo, "kl": found.kl, "khat": found.khat, "ess": found.ess}
    kind = kind_of(schema)
    mean, error = mean_and_error(*found.log_px)
    known = found.khat[~np.isnan(found.khat)]  # minus infinity where all weights are alike
    evidence: dict[str, Any] = {
        "mean": mean,
        "standard_error": error,
        "shared_error": found.log_px.shared_error,
        "deviation": float(found.log_px.values.std()),
        "draws": draws,
        "ess": float(np.median(found.ess)),
        "khat": middle if len(known) and math.isfinite(middle := float(np.median(known))) else None,
        "khat_above": float((known > KHAT_GOOD).mean()) if len(known) else None,
        "rise": found.last_doubling_gain,
        "bits_per_dim": None,
        "unit": "nats",
        "kind": kind,
        "given_condition": schema.condition is not None,
    }
    if schema.discrete and not schema.sequence and not schema.improper:
        evidence["bits_per_dim"] = -mean / (schema.size * math.log(2))
    facts: dict[str, Any] = {
        "log_likelihood": evidence,
        "elbo": told_rows(found.elbo, "nats", kind),
        "distortion": told_rows(found.distortion, "nats", kind),
        "kl": told_rows(found.kl.sum(1), "nats", "divergence"),
        "kl_per_dim": found.kl.mean(0).tolist() if found.kl.shape[1] == model.latent_dim else None,
    }
    for name in ("mutual_information", "aggregate_kl"):
        facts[name] = None
        if parts is not None:
            more = {"rows": parts.rows, "ceiling": math.log(parts.rows)}
            facts[name] = told(getattr(parts, name), parts.error, "nats", "divergence", **more)
    return facts, per_row


def gap(subject: EvalContext) -> dict[str, Any] | None:
    """The inference gap of a few rows, by the best posterior of each and by the encoder; None for other posteriors."""
    if not subject.model.density:
        return None
    with subject.using():
        found = inference_gap(subject.model.model_, subject.model.lay(subject.some(MAX_ROWS), "fixed"), steps=STEPS)
    if found is None:
        return None
    parts = {"total": found.total, "approximation": found.approximation, "amortization": found.amortization}
    return {name: told(*value, "nats", "difference", rows=found.rows) for name, value in parts.items()}
