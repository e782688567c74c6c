"""log p(x) of rows under a model, its lower bound, the bound's parts, and how far off the estimates are."""

from __future__ import annotations

import math

import numpy as np
import torch

from isthmus.evaluation.context import EvalContext
from isthmus.metrics.ais import ais, bdmc
from isthmus.metrics.elbo_surgery import elbo_surgery
from isthmus.metrics.importance_weighting import encode_chunks, importance_weighted
from isthmus.metrics.inference_gap import MAX_ROWS, inference_gap
from isthmus.metrics.metric import HIDDEN, Metric, from_estimate, mean_over_rows, setting
from isthmus.schema import Schema

GAP_STEPS = 150
"""Steps of Adam by which a posterior is optimised for each row."""
KHAT_GOOD = 0.7
"""Above this the importance weights may have infinite variance, and more draws do not help (Vehtari et al., 2024)."""
SATURATED = 0.9
"""Share of log n above which the mutual information that n rows can show is close to its ceiling."""
BDMC_ROWS = 50
"""Simulated rows for which log p(x) is bounded from both sides."""


def kind_of(schema: Schema) -> str:
    """Whether log p(x) is of a density or a probability: numbers of different kinds cannot be compared."""
    return "pseudo-probability" if schema.improper else "probability" if schema.discrete else "density"


def likelihood_metrics(context: EvalContext) -> tuple[Metric, ...] | None:
    """log p(x), its evidence lower bound, and the bound's two parts, distortion and rate."""
    if not context.model.density:
        return None
    schema, stats = context.model.schema_, context.diagnostics
    kind, kl = kind_of(schema), stats.kl
    per_dim = tuple(kl.mean(0).tolist()) if kl.shape[1] == context.model.latent_dim else None
    return (
        log_px_metric(context),
        mean_over_rows("elbo", "ELBO (lower bound on log p(x))", "nats", kind, stats.elbo),
        mean_over_rows("distortion", "distortion: E[-log p(x|z)]", "nats", kind, stats.distortion),
        mean_over_rows("kl", "rate: KL(q(z|x) || p(z))", "nats", "divergence", kl.sum(1)),
        Metric("kl_per_dim", "KL per latent dimension", "nats", "divergence", per_dim, shown=HIDDEN, plain=True),
    )


def log_px_metric(context: EvalContext) -> Metric:
    """Importance-weighted log p(x), with how much its estimate can be trusted."""
    schema, stats, draws = context.model.schema_, context.diagnostics, context.draws
    name, kind, shared_error = "log_likelihood", kind_of(schema), stats.log_px.shared_error
    khats = stats.khat[~np.isnan(stats.khat)]  # minus infinity where all weights are equal
    khat = float(np.median(khats)) if len(khats) else -math.inf
    bits: float | None = None
    if schema.discrete and not schema.sequence and not schema.improper:
        bits = -float(stats.log_px.values.mean()) / (schema.size * math.log(2))

    def detail(key: str, label: str, unit: str, value: float | None, **kwargs: str) -> Metric:
        return Metric(f"{name}.{key}", label, unit, kind, value, plain=True, **kwargs)

    return mean_over_rows(
        name,
        "log p(x) given the condition" if schema.condition is not None else "log p(x)",
        "nats",
        kind,
        stats.log_px.values,
        shared_error,
        note=f"a log-{kind}",
        details=(
            detail("shared_error", "standard error shared by all rows", "nats", shared_error, shown=HIDDEN),
            detail("deviation", "standard deviation over rows", "nats", float(stats.log_px.values.std()), shown=HIDDEN),
            setting(f"{name}.draws", "draws per row", draws),
            detail("bits_per_dim", "bits per dimension", "bits", bits, digits=".3f"),
            detail(
                "ess",
                "effective draws",
                "",
                float(np.median(stats.ess)),
                digits=".0f",
                note=f"of {draws:,}, median row",
            ),
            detail("khat", "Pareto k-hat", "", khat if math.isfinite(khat) else None, note="median row"),
            detail(
                "khat_above",
                f"k-hat above {KHAT_GOOD} (unreliable)",
                "share of rows",
                float((khats > KHAT_GOOD).mean()) if len(khats) else None,
                digits=".0%",
            ),
            detail(
                "last_doubling_gain",
                "gained by the last doubling of draws",
                "nats",
                stats.last_doubling_gain,
                digits="+z.3f",
            ),
            setting(f"{name}.given_condition", "given the condition", schema.condition is not None, HIDDEN),
        ),
    )


def aggregate_posterior(context: EvalContext) -> tuple[Metric, ...] | None:
    """The mean KL in two parts: mutual information of x and z, and KL of the aggregate posterior from the prior."""
    if not context.model.density:
        return None
    with context.threads():
        parts = elbo_surgery(context.chunks)
    ceiling = math.log(parts.rows)
    saturated = parts.mutual_information > SATURATED * ceiling
    labels = {
        "mutual_information": "mutual information of x and z",
        "aggregate_kl": "aggregate posterior: KL(q(z) || p(z))",
    }
    found = []
    for name, label in labels.items():
        note = f"near the ceiling log n of {parts.rows:,} rows; the rest counts as aggregate" if saturated else ""
        details = (
            setting(f"{name}.rows", "rows", parts.rows),
            Metric(f"{name}.ceiling", "ceiling", "nats", "divergence", ceiling, shown=HIDDEN, plain=True),
        )
        value, kwargs = getattr(parts, name), {"note": note if name == "mutual_information" else ""}
        found.append(Metric(name, label, "nats", "divergence", value, parts.error, details=details, **kwargs))
    return tuple(found)


def inference_gap_metrics(context: EvalContext) -> tuple[Metric, ...] | None:
    """The inference gap of a few rows, split into what the posterior's family loses and what the encoder loses."""
    if not context.model.density:
        return None
    rows = context.model.lay(context.subsample(MAX_ROWS), "fixed")
    with context.threads():
        gap = inference_gap(context.model.model_, rows, steps=GAP_STEPS)
    labels = {
        "total": "inference gap: log p(x) - ELBO",
        "approximation": "  of it, by the posterior family",
        "amortization": "  of it, by the encoder",
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
    model, steps = context.model.model_, context.ais_steps
    rows = context.model.lay(context.subsample(context.ais), "fixed")
    simulated = min(BDMC_ROWS, len(rows))
    batch = rows.batch(torch.arange(simulated, device=rows.device))
    with context.threads():
        annealed = ais(model, rows, steps=steps)
        weighted = importance_weighted(model, encode_chunks(model, rows), context.draws)
        bounds = bdmc(model, simulated, steps=steps, c=batch.c, mask=batch.mask)
    kind = kind_of(context.model.schema_)
    plain = {"plain": True, "shown": HIDDEN}
    return mean_over_rows(
        "ais",
        "log p(x) by annealing (AIS)",
        "nats",
        kind,
        annealed.values,
        details=(
            setting("ais.rows", "rows", len(rows)),
            setting("ais.steps", "temperatures", steps),
            mean_over_rows(
                "ais.importance_weighted",
                "same rows, importance-weighted",
                "nats",
                kind,
                weighted.values,
                details=(setting("ais.importance_weighted.draws", "draws per row", context.draws),),
            ),
            mean_over_rows(
                "ais.above_importance_weighted",
                "AIS above importance weighting by",
                "nats",
                "difference",
                annealed.values - weighted.values,
            ),
            from_estimate(
                "ais.two_sided_gap",
                "two-sided gap (BDMC)",
                "nats",
                "difference",
                bounds.gap,
                details=(setting("ais.two_sided_gap.rows", "simulated rows", simulated),),
            ),
            Metric("ais.ess", "effective chains", "", kind, float(np.median(annealed.ess)), **plain),
            Metric("ais.acceptance", "acceptance", "", "share", float(annealed.acceptance.mean()), **plain),
        ),
    )
