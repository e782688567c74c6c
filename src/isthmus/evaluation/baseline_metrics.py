"""Baselines on the same rows, and how much better the model is than each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from isthmus.errors import Declined
from isthmus.evaluation.baseline_data import as_scored
from isthmus.evaluation.baselines import DENSITIES, LINEAR_DENSITIES
from isthmus.evaluation.context import EvalContext
from isthmus.evaluation.reconstruction import SCALED_UNIT, error_metric
from isthmus.metrics.estimate import Estimate, paired_difference
from isthmus.metrics.metric import HIDDEN, LINE, Metric, mean_over_rows, setting

DEQUANTIZED = "dequantised density, a lower bound on a log-probability"
"""Kind of a density's score of discrete data."""
LABELS = {
    "ppca": "probabilistic PCA",
    "ppca_best": "probabilistic PCA (size and scaling by validation)",
    "factor_analysis": "factor analysis",
    "gaussian_mixture": "Gaussian mixture",
}
CLEAR_ERRORS = 2.0
"""Standard errors from which on a difference is called clear."""


def reconstruction_baselines(context: EvalContext) -> tuple[Metric, ...] | None:
    """Squared error of the training mean and of PCA, and by how much the model's is lower.

    The difference is taken row by row and in scaled units: these are what the model and PCA minimise, while in the
    data's units one wide column may dominate. Missing values are replaced by the mean for PCA, and left out of every
    error. None without training rows, and for sequences; no PCA of unordered categories.
    """
    data, examples = context.baseline_data, context.examples
    if data is None or context.schema.sequence or not context.has_code:
        return None
    mean = np.broadcast_to(context.train_mean, examples.x.shape)
    mean_metric = reconstruction_baseline(context, "mean", "baseline: the training mean", mean)
    if context.nominal.any():
        return (mean_metric,)
    scaled = context.scaled_x.reshape(len(context), -1).astype(np.float64)
    k = min(context.fitted.code_size, *data.scaled.shape)
    projected = data.scaled_axes.reconstruct(scaled, k)
    pca = examples.x if projected is scaled else context.unscaled(projected.reshape(examples.x.shape))
    size = size_setting("baselines.pca", "latent_dim", k)
    return mean_metric, reconstruction_baseline(context, "pca", "baseline: PCA", pca, size)


def reconstruction_baseline(
    context: EvalContext, key: str, label: str, reconstructions: np.ndarray, *details: Metric
) -> Metric:
    """Squared error of reconstructions (n, *X) in the data's units, and by how much the model's is lower."""
    errors = context.fitted.squared_errors(context.examples, reconstructions)
    scaled_errors = context.fitted.squared_errors(context.examples, reconstructions, scaled=True)
    name = f"baselines.{key}"
    difference = paired_difference(scaled_errors, context.scaled_errors, weight=context.weight)
    margin = margin_metric(name, difference, SCALED_UNIT, digits="")
    return error_metric(name, label, context, errors, scaled_errors, margin, *details)


def linear_densities(context: EvalContext) -> tuple[Metric, ...] | None:
    """log p(x) under probabilistic PCA, and by how much the model's is higher.

    None without training rows, for sequences, and for models without log p(x). If the training rows span too few
    dimensions for a density, their rank instead.
    """
    metrics, data = density_baselines(context, LINEAR_DENSITIES), context.baseline_data
    if metrics is None or data is None or data.bounded:
        return metrics
    features = setting("degenerate.features", "features", context.schema.size, HIDDEN)
    rank = setting("degenerate.rank", "dimensions that training rows span", data.rank, LINE)
    return *metrics, rank, features


def iterative_densities(context: EvalContext) -> tuple[Metric, ...] | None:
    """log p(x) under densities that iterations fit, factor analysis and a mixture; None as `linear_densities`."""
    return density_baselines(context, [name for name in DENSITIES if name not in LINEAR_DENSITIES])


def density_baselines(context: EvalContext, names: Sequence[str]) -> tuple[Metric, ...] | None:
    """log p(x) under density models fitted to the training rows, and by how much the model's is higher."""
    data, schema = context.baseline_data, context.schema
    if data is None or schema.sequence or not context.has_density:
        return None
    if schema.measure not in ("density", "probability"):
        raise Declined(f"log p(x) is of a {schema.measure}, which cannot be compared with a density.")
    context.require_complete()
    context.require_numeric()
    log_px, shared_error = context.diagnostics.log_px.values, context.diagnostics.log_px.error
    scores = data.scores({name: DENSITIES[name] for name in names}, as_scored(context.fitted, context.examples.x))
    metrics, weight = [], context.weight
    for key, (values, size) in scores.items():
        name, kind = f"baselines.{key}", DEQUANTIZED if schema.discrete else "density"
        details = (
            margin_metric(name, paired_difference(log_px, values, shared_error, weight), "nats"),
            setting(f"{name}.given_condition", "given the condition", False, HIDDEN),
            *(size_setting(name, what, value) for what, value in size.items()),
        )
        note = "dequantised: a lower bound" if schema.discrete else ""
        label = f"baseline: {LABELS[key]}"
        metrics.append(mean_over_rows(name, label, "nats", kind, values, weight=weight, details=details, note=note))
    return tuple(metrics)


def margin_metric(name: str, margin: Estimate, unit: str, digits: str = ".2f") -> Metric:
    """How much better the model is than a baseline: positive if it is better."""
    mean, error = margin
    note = "no clear difference" if abs(mean) <= CLEAR_ERRORS * error else f"model {'better' if mean > 0 else 'worse'}"
    return Metric(f"{name}.margin", "margin of the model", unit, "difference", mean, error, digits, note)


def size_setting(name: str, what: str, value: int | str) -> Metric:
    """What a baseline was fitted with: its latent dimensions or components, or the scaling of columns."""
    label = {"latent_dim": "dimension", "components": "component", "scaling": "scaling"}[what]
    return setting(f"{name}.{what}", f"{label}s" if isinstance(value, int) and value != 1 else label, value)
