"""Baselines on the same rows, and how much better the model is than each."""

from __future__ import annotations

import numpy as np

from isthmus.evaluation.baselines import density_scores, pca_reconstruction
from isthmus.evaluation.context import EvalContext, squared_errors
from isthmus.evaluation.reconstruction import SCALED_UNIT, error_metric
from isthmus.metrics.estimate import mean_and_error
from isthmus.metrics.metric import HIDDEN, LINE, Metric, mean_over_rows, setting

DEQUANTIZED = "dequantised density, a lower bound on a log-probability"
"""Kind of a density's score of discrete data."""
CLEAR_ERRORS = 2.0
"""Standard errors from which on a difference is called clear."""
LABELS = {
    "ppca": "probabilistic PCA",
    "factor_analysis": "factor analysis",
    "gaussian_mixture": "Gaussian mixture",
}


def reconstruction_baselines(context: EvalContext) -> tuple[Metric, ...] | None:
    """Squared error of the training mean and of PCA, and by how much the model's is lower.

    The difference is taken row by row and in scaled units: these are what the model and PCA minimise, while in the
    data's units one wide column may dominate. None without training rows, and for sequences.
    """
    model, train, test = context.model, context.train, context.examples
    if train is None or model.schema_.sequence:
        return None
    mean = context.scaled(np.broadcast_to(train.x.mean(0, dtype=np.float64), test.x.shape))
    k, pca = pca_reconstruction(context.scaled(train.x), context.scaled_x, model.latent_dim, model.seed_)
    dimensions = size_setting("baselines.pca", "latent_dim", k)
    return (
        reconstruction_baseline(context, "mean", "baseline: the training mean", mean),
        reconstruction_baseline(context, "pca", "baseline: PCA", pca, dimensions),
    )


def reconstruction_baseline(
    context: EvalContext, key: str, label: str, scaled_reconstructions: np.ndarray, *details: Metric
) -> Metric:
    """Squared error of reconstructions (n, *X) in scaled units, and by how much the model's is lower."""
    scaled_errors = squared_errors(context.scaled_x, scaled_reconstructions)
    errors = scaled_errors
    if errors.any():  # otherwise unscaling would add rounding
        errors = squared_errors(context.examples.x, context.unscaled(scaled_reconstructions))
    name = f"baselines.{key}"
    margin = margin_metric(name, scaled_errors - context.scaled_errors, SCALED_UNIT, digits="")
    return error_metric(name, label, context, errors, scaled_errors, margin, *details)


def density_baselines(context: EvalContext) -> tuple[Metric, ...] | None:
    """log p(x) under density models fitted to the training rows, and by how much the model's is higher.

    None without training rows, for sequences, and for models without a proper log p(x). If the training rows span too
    few dimensions for a density, their rank instead.
    """
    model, train = context.model, context.train
    if train is None or model.schema_.sequence or not model.density or model.schema_.improper:
        return None
    log_px, shared_error = context.diagnostics.log_px
    data, scores = density_scores(model, train, context.examples)
    metrics = []
    for key, (values, size) in scores.items():
        name, kind = f"baselines.{key}", DEQUANTIZED if model.schema_.discrete else "density"
        details = (
            margin_metric(name, log_px - values, "nats", shared_error),
            setting(f"{name}.given_condition", "given the condition", False, HIDDEN),
            *(size_setting(name, what, value) for what, value in size.items()),
        )
        note = "dequantised: a lower bound" if model.schema_.discrete else ""
        label = f"baseline: {LABELS[key]}"
        metrics.append(mean_over_rows(name, label, "nats", kind, values, details=details, note=note))
    if not data.bounded:
        features = setting("degenerate.features", "features", model.schema_.size, HIDDEN)
        rank = setting("degenerate.rank", "dimensions that training rows span", data.rank, LINE)
        metrics += [rank, features]
    return tuple(metrics)


def margin_metric(name: str, margins: np.ndarray, unit: str, shared_error: float = 0.0, digits: str = ".2f") -> Metric:
    """How much better the model is than a baseline on each row (n,): positive if it is better."""
    mean, error = mean_and_error(margins, shared_error)
    note = "no clear difference" if abs(mean) <= CLEAR_ERRORS * error else f"model {'better' if mean > 0 else 'worse'}"
    return Metric(f"{name}.margin", "margin of the model", unit, "difference", mean, error, digits, note)


def size_setting(name: str, what: str, value: int) -> Metric:
    """The size of a baseline: its latent dimensions or components."""
    label = {"latent_dim": "dimension", "components": "component"}[what]
    return setting(f"{name}.{what}", label if value == 1 else f"{label}s", value)
