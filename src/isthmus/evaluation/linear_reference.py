"""What the rows themselves say without a network: their mean, their offset, and how many dimensions they have."""

from __future__ import annotations

import math

import numpy as np

from isthmus.evaluation.context import EvalContext, counted_elements, observed_mean
from isthmus.metrics.estimate import mean_and_error
from isthmus.metrics.held_out import fewest_dimensions, held_out_scores, linear_scores
from isthmus.metrics.metric import HIDDEN, Metric, setting
from isthmus.schema import safe_std

CURVE_ROWS, CURVE_ROWS_WIDE = 2_000, 500
"""Rows from which the curve is computed, at most; and of wide rows."""
WIDE = 1_000
"""Columns from which rows are wide."""
MIN_CURVE_ROWS = 20
"""Rows below which no curve is computed."""
OUTPUT_BOUNDS = ((0.0, 1.0), (-1.0, 1.0))
"""Intervals that outputs after a sigmoid or a tanh cannot leave, the narrower one first."""


def variance_explained(context: EvalContext) -> Metric | None:
    """The share of the rows' variance that reconstructions explain, in scaled units; negative if the mean is better.

    The mean is that of the measured rows, so that it needs no training rows. None without a code, and for rows that do
    not vary.
    """
    if not context.has_code or context.nominal.any() or len(context) < 2:
        return None
    mean = np.broadcast_to(observed_mean(context.examples), context.examples.x.shape)
    of_mean = context.fitted.squared_errors(context.examples, mean, scaled=True)
    total = float(np.average(of_mean, weights=context.weight))
    if not total:
        return None
    share, error = mean_and_error((of_mean - context.scaled_errors) / total, weight=context.weight)
    label, unit = "variance explained by reconstructions", "share of the variance"
    details = (*sampled_share(context, total), *output_range(context))
    return Metric("variance_explained", label, unit, "ratio", share, error, digits=".1%", shown=HIDDEN, details=details)


def sampled_share(context: EvalContext, total: float) -> tuple[Metric, ...]:
    """The same share by codes drawn from q(z given x) instead of its centre, of a model that has more than a centre."""
    if not context.is_variational:
        return ()
    codes = context.encoded.sample_posterior(context.seed).cpu().numpy()
    decoded = context.fitted.decode(codes, context.examples.condition, context.examples.lengths)
    errors = context.fitted.squared_errors(context.examples, decoded, scaled=True)
    share = 1 - float(np.average(errors, weights=context.weight)) / total
    name, label = "variance_explained.sampled", "by a drawn code"
    return (Metric(name, label, "share of the variance", "ratio", share, digits=".1%", shown=HIDDEN),)


def output_range(context: EvalContext) -> tuple[Metric, ...]:
    """The least and the largest number of the reconstructions in scaled units, and the share of the rows outside.

    Outside the narrowest of `OUTPUT_BOUNDS` that holds all reconstructions.
    """
    if context.schema.discrete or counted_elements(context.examples) is not None:
        return ()
    decoded, x = context.scaled(context.reconstructions), context.scaled_x
    low, high = float(decoded.min()), float(decoded.max())
    least, largest = next((bounds for bounds in OUTPUT_BOUNDS if bounds[0] <= low and high <= bounds[1]), (low, high))
    outside = float(((x < least) | (x > largest)).mean())
    labels = {"low": "least output", "high": "largest output", "outside": "numbers outside"}
    return tuple(
        Metric(f"variance_explained.{key}", labels[key], "scaled units", "value", value, shown=HIDDEN, plain=True)
        for key, value in (("low", low), ("high", high), ("outside", outside))
    )


def column_offset(context: EvalContext) -> Metric | None:
    """Root mean square of the columns' means over that of their standard deviations, in the units that networks read.

    None for discrete data, whose likelihoods have no offset, and for rows that do not vary.
    """
    if context.schema.discrete or context.schema.sequence or context.nominal.any():
        return None
    rows = context.examples if context.train is None else context.train
    scaled = context.scaled(context.imputed(rows)).reshape(len(rows), -1)
    spread = math.sqrt(float(scaled.var(0, dtype=np.float64).mean()))
    if not spread:
        return None
    offset = math.sqrt(float(np.square(scaled.mean(0, dtype=np.float64)).mean()))
    label = "columns' means over their standard deviations"
    return Metric("column_offset", label, "times", "ratio", offset / spread, shown=HIDDEN)


def linear_dimensions(context: EvalContext) -> Metric | None:
    """The latent dimensions that a linear model needs, by the log-density of rows that it was not fitted to.

    The smallest number whose held-out log-density under probabilistic PCA is within a standard error of the best, in
    columns as they are or standardised; of the training rows if they are known. 0 if no direction stands out. None
    without a code and for few rows; declined for missing values and unordered categories.
    """
    rows = context.examples if context.train is None else context.train
    if not context.has_code or context.schema.sequence or len(rows) < MIN_CURVE_ROWS:
        return None
    context.require_complete(rows)
    context.require_numeric()
    rows = rows.subsample(CURVE_ROWS if rows.x[0].size < WIDE else CURVE_ROWS_WIDE, context.seed)
    x = rows.x.reshape(len(rows), -1).astype(np.float64)
    varies = np.ptp(x, 0) > 0
    if not varies.any():
        return None
    curves = {how: held_out_scores(x[:, varies], scale, context.seed) for how, scale in scales(x[:, varies]).items()}
    scaling = max(curves, key=lambda how: curves[how].mean(0).max())
    scores = curves[scaling]
    best, own = fewest_dimensions(scores), min(context.fitted.code_size, scores.shape[1] - 1)
    gain, error = mean_and_error(scores[:, best] - scores[:, own])
    name, curve = "linear_dimensions", tuple(scores.mean(0).tolist())
    gain_label = "held-out nats that this number gains a linear model"
    details = (
        Metric(f"{name}.gain", gain_label, "nats", "difference", gain, error, shown=HIDDEN),
        Metric(f"{name}.curve", "held-out curve", "nats", "density", curve, shown=HIDDEN, plain=True),
        setting(f"{name}.scaling", "scaling", scaling, HIDDEN),
        setting(f"{name}.rows", "rows", len(rows), HIDDEN),
        *margin_over(context, x, varies, scaling, best),
    )
    label = "latent dimensions of the best linear model"
    return Metric(name, label, "dimensions", "count", best, shown=HIDDEN, details=details)


def scales(x: np.ndarray) -> dict[str, np.ndarray]:
    """(d,) by which each scaling divides the columns of x (n, d)."""
    return {"global": np.ones(x.shape[1]), "standard": safe_std(x)}


def margin_over(context: EvalContext, x: np.ndarray, varies: np.ndarray, scaling: str, best: int) -> tuple[Metric, ...]:
    """By how many nats the model scores the measured rows higher than the best linear model of training rows x (n, d).

    Nothing for discrete data, for models of a condition, without training rows, and for rows in which columns are
    constant: there the two log-densities are of different things.
    """
    schema, fitted = context.schema, context.fitted
    density = context.has_density and schema.measure == "density" and not schema.discrete
    if context.train is None or not density or schema.condition is not None or not varies.all():
        return ()
    if context.examples.observed is not None or (fitted.closed_form and context.overlaps_train):
        return ()
    log_px, shared_error = context.diagnostics.log_px.values, context.diagnostics.log_px.error
    test, scale = context.examples.x.reshape(len(context), -1).astype(np.float64), scales(x)[scaling]
    values = linear_scores(x / scale, test / scale, best)[:, best] - np.log(scale).sum()
    margin, error = mean_and_error(log_px - values, shared_error, context.weight)
    label = "margin of the model over the best linear model"
    return (Metric("linear_dimensions.margin", label, "nats", "difference", margin, error, shown=HIDDEN),)
