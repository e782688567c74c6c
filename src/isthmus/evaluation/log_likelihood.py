"""log p(x) of rows under a model, its lower bound, the bound's parts, and how far off the estimates are."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from isthmus.errors import Declined
from isthmus.evaluation.context import EvalContext
from isthmus.metrics.ais import ais, bdmc
from isthmus.metrics.elbo_surgery import elbo_surgery
from isthmus.metrics.estimate import mean_and_error
from isthmus.metrics.importance_weighting import require_density
from isthmus.metrics.inference_gap import INFERENCE_GAP_MAX_ROWS, inference_gap
from isthmus.metrics.metric import HIDDEN, INLINE, Metric, from_estimate, mean_over_rows, setting

GAP_STEPS = 150
"""Steps of Adam by which a posterior is optimised for each row."""
KHAT_GOOD = 0.7
"""Above this the importance weights may have infinite variance, and more draws do not help (Vehtari et al., 2024)."""
MAX_GAP_NATS, MAX_GAP_ERRORS = 0.1, 0.5
"""Distance of a bound from log p(x), in nats or in standard errors, from which on the text calls it a bound."""
MIN_GAP_NATS = 0.01
"""Smaller distances are not worth a word, whatever the tails of the weights: those of rounding errors may be heavy."""
SATURATED = 0.9
"""Share of log n above which the mutual information that n rows can show is close to its ceiling."""
BDMC_ROWS = 50
"""Simulated rows for which log p(x) is bounded from both sides."""


def likelihood_metrics(context: EvalContext) -> tuple[Metric, ...] | None:
    """log p(x) and its evidence lower bound; Declined for a model whose loss is no log p(x)."""
    if not context.has_density and not context.is_variational:
        return None
    require_density(context.fitted.model)
    label = "ELBO (lower bound on log p(x))"
    values, measure = context.diagnostics.elbo, context.schema.measure
    return log_px_metric(context), mean_over_rows("elbo", label, "nats", measure, values, weight=context.weight)


def rate_metrics(context: EvalContext) -> tuple[Metric, ...] | None:
    """The bound's two parts, of a model with a code: distortion and rate."""
    if not context.is_variational:
        return None
    stats, kind, weight = context.diagnostics, context.schema.measure, context.weight
    label = "distortion: E[-log p(x|z)]" if context.has_density else "distortion: E[cross-entropy of x given z]"
    metrics = [
        mean_over_rows("distortion", label, "nats", kind, stats.distortion, weight=weight),
        mean_over_rows("kl", "rate: KL(q(z|x) || p(z))", "nats", "divergence", stats.kl.sum(1), weight=weight),
    ]
    if context.kl_per_dim is not None:
        per_dim, label = tuple(context.kl_per_dim.tolist()), "KL per latent dimension"
        metrics.append(Metric("kl_per_dim", label, "nats", "divergence", per_dim, shown=HIDDEN, plain=True))
    return tuple(metrics)


def log_px_metric(context: EvalContext) -> Metric:
    """log p(x), and how much its estimate can be trusted if it is not exact."""
    schema, stats = context.schema, context.diagnostics
    name, kind, shared_error = "log_likelihood", schema.measure, stats.log_px.error
    exact, conditional = stats.exact, schema.condition is not None
    # Draws of one discrete code for each row are all the same, and say nothing of the other codes.
    one_code = context.fitted.model.code.discrete and np.allclose(stats.ess, stats.draws)

    def detail(key: str, label: str, unit: str, value: float | None, **kwargs: Any) -> Metric:
        return Metric(f"{name}.{key}", label, unit, kind, value, plain=True, **kwargs)

    deviation = float(stats.log_px.values.std())
    bits: float | None = None
    if kind == "probability" and not schema.sequence and context.examples.observed is None:
        bits = -float(np.average(stats.log_px.values, weights=context.weight)) / (schema.size * math.log(2))
    details = [
        detail("shared_error", "standard error shared by all rows", "nats", shared_error, shown=HIDDEN),
        detail("bound_gap", "below log p(x) by extrapolation", "nats", stats.log_px.bound_gap, shown=HIDDEN),
        detail("deviation", "standard deviation over rows", "nats", deviation, shown=HIDDEN),
        setting(f"{name}.draws", "draws per row", stats.draws, HIDDEN if exact or one_code else INLINE),
        detail("bits_per_dim", "bits per dimension", "bits", bits, digits=".3f"),
    ]
    if not exact and not one_code:
        khats = stats.khat[~np.isnan(stats.khat)]  # minus infinity where all weights are equal
        khat = float(np.median(khats)) if len(khats) else -math.inf
        above = float((khats > KHAT_GOOD).mean()) if len(khats) else None
        ess, note = float(np.median(stats.ess)), f"of {stats.draws:,}, median row"
        gain_label = "gained by the last doubling of draws"
        details += [
            detail("ess", "effective draws", "", ess, digits=".0f", note=note),
            detail("khat", "Pareto k-hat", "", khat if math.isfinite(khat) else None, note="median row"),
            detail("khat_above", f"k-hat above {KHAT_GOOD} (unreliable)", "share of rows", above, digits=".0%"),
            detail("last_doubling_gain", gain_label, "nats", stats.last_doubling_gain, digits="+.3f"),
        ]
    details.append(setting(f"{name}.given_condition", "given the condition", conditional, HIDDEN))
    label = "log p(x) given the condition" if conditional else "log p(x)"
    values, gap = stats.log_px.values, stats.log_px.bound_gap
    note = f"a log-{kind}{', exact' if exact else ''}"
    if one_code:
        note += ", a lower bound: that of one code for each row"
    elif gap > min(MAX_GAP_NATS, MAX_GAP_ERRORS * mean_and_error(values, shared_error, context.weight).error):
        note += f", a bound some {gap:.2g} too low"
    elif not exact and khat > KHAT_GOOD and gap > MIN_GAP_NATS:
        note += ", a lower bound"
    more = {"note": note, "details": tuple(details)}
    return mean_over_rows(name, label, "nats", kind, values, shared_error, context.weight, **more)


def aggregate_posterior(context: EvalContext) -> tuple[Metric, ...] | None:
    """The mean KL in two parts: mutual information of x and z, and KL of the aggregate posterior from the prior."""
    if not context.is_variational:
        return None
    with context.fitted.threads():
        parts = elbo_surgery(context.scored.chunks, weight=context.weight)
    ceiling, kind = math.log(parts.rows), "divergence"
    saturated = parts.mutual_information > SATURATED * ceiling

    def part(name: str, label: str, value: float, note: str = "") -> Metric:
        details = (
            setting(f"{name}.rows", "rows", parts.rows),
            Metric(f"{name}.ceiling", "ceiling", "nats", kind, ceiling, shown=HIDDEN, plain=True),
        )
        return Metric(name, label, "nats", kind, value, parts.error, note=note, details=details)

    note = f"near the ceiling log n of {parts.rows:,} rows; the rest counts as aggregate" if saturated else ""
    return (
        part("mutual_information", "mutual information of x and z", parts.mutual_information, note),
        part("aggregate_kl", "aggregate posterior: KL(q(z) || p(z))", parts.aggregate_kl),
    )


def inference_gap_metrics(context: EvalContext) -> tuple[Metric, ...] | None:
    """The inference gap of a few rows, split into what the posterior's family loses and what the encoder loses."""
    if not context.has_density or not context.has_code:
        return None
    with context.fitted.threads():
        index = context.subsample(INFERENCE_GAP_MAX_ROWS)
        rows, weight = context.scored.take(index), context.weight_of(index)
        gap = inference_gap(context.fitted.model, rows, steps=GAP_STEPS, weight=weight)
    if math.isnan(gap.total.mean):
        raise Declined("The posteriors are too narrow for single precision.")
    labels = {
        "total": "inference gap: log p(x) - ELBO",
        "approximation": "inference gap due to the posterior family",
        "amortization": "inference gap due to the encoder",
    }
    return tuple(
        from_estimate(
            name := f"inference_gap.{part}",
            label,
            "nats",
            "difference",
            getattr(gap, part),
            details=(setting(f"{name}.rows", "rows", gap.rows),),
        )
        for part, label in labels.items()
    )


def ais_metrics(context: EvalContext) -> Metric | None:
    """Annealed importance sampling of some rows, beside importance weighting of the same rows.

    Both are lower bounds in expectation, so the higher is nearer to log p(x). The two-sided gap on simulated rows is
    the most that annealing can be off, as far as the model's own rows resemble these.
    """
    if not context.ais:
        return None
    context.require_complete(context.examples)
    fitted, steps, index = context.fitted, context.ais_steps, context.subsample(context.ais)
    rows = fitted.dataset(context.examples.take(index), "fixed")
    simulated = min(BDMC_ROWS, len(rows))
    batch = rows.batch(torch.arange(simulated, device=rows.device))
    with fitted.threads():
        annealed = ais(fitted.model, rows, steps=steps)
        bounds = bdmc(fitted.model, simulated, steps=steps, c=batch.c, mask=batch.mask)
    weighted, weight = context.scored.score(index, context.draws), context.weight_of(index)
    kind, ess, acceptance = context.schema.measure, float(np.median(annealed.ess)), float(annealed.acceptance.mean())
    details = (
        setting("ais.rows", "rows", len(rows)),
        setting("ais.steps", "temperatures", steps),
        mean_over_rows(
            "ais.importance_weighted",
            "same rows, importance-weighted",
            "nats",
            kind,
            weighted,
            weight=weight,
            details=(setting("ais.importance_weighted.draws", "draws per row", context.draws),),
        ),
        mean_over_rows(
            "ais.above_importance_weighted",
            "AIS above importance weighting by",
            "nats",
            "difference",
            annealed.values - weighted,
            weight=weight,
        ),
        from_estimate(
            "ais.two_sided_gap",
            "two-sided gap (BDMC)",
            "nats",
            "difference",
            bounds.gap,
            details=(setting("ais.two_sided_gap.rows", "simulated rows", simulated),),
        ),
        Metric("ais.ess", "effective chains", "", kind, ess, shown=HIDDEN, plain=True),
        Metric("ais.acceptance", "acceptance", "", "share", acceptance, shown=HIDDEN, plain=True),
    )
    label = "log p(x) by annealing (AIS)"
    return mean_over_rows("ais", label, "nats", kind, annealed.values, weight=weight, details=details)
