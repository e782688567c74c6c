"""`evaluate`: every measure of a fitted model on some rows."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from isthmus.data.dataset import check_factors
from isthmus.errors import InputError, unknown
from isthmus.estimators.base import Estimator
from isthmus.estimators.validation import validation_rows
from isthmus.evaluation.baseline_metrics import density_baselines, reconstruction_baselines
from isthmus.evaluation.conditioning import condition_gain
from isthmus.evaluation.context import EvalContext
from isthmus.evaluation.generalization import generalization_gap
from isthmus.evaluation.latent_space import active_units, disentanglement_scores, geometry, label_probes, paths
from isthmus.evaluation.log_likelihood import (
    aggregate_posterior,
    ais_metrics,
    inference_gap_metrics,
    likelihood_metrics,
)
from isthmus.evaluation.prior_fit import refit_gain, sample_spread
from isthmus.evaluation.reconstruction import (
    column_spread,
    identity_test,
    reconstruction_error,
    residual_eigenvalue_ratio,
    residuals,
)
from isthmus.evaluation.result import Evaluation, PerRow
from isthmus.evaluation.sample_metrics import classifier, copies, sample_quality_metrics, sharpness
from isthmus.examples import Examples
from isthmus.metrics.ais import DEFAULT_STEPS as AIS_STEPS
from isthmus.metrics.metric import Metric

DRAWS = 1000
"""Draws per row for log p(x)."""

Measure = Callable[[EvalContext], Metric | tuple[Metric, ...] | None]
"""What is measured; None if it does not apply. Raises Declined, or InputError, to say why it does not."""

MEASURES: dict[str, Measure] = {
    "log_likelihood": likelihood_metrics,
    "aggregate_posterior": aggregate_posterior,
    "refit_gain": refit_gain,
    "ais": ais_metrics,
    "inference_gap": inference_gap_metrics,
    "condition": condition_gain,
    "reconstruction": reconstruction_error,
    "baselines": reconstruction_baselines,
    "density_baselines": density_baselines,
    "training": generalization_gap,
    "residuals": residuals,
    "residual_eigenvalue_ratio": residual_eigenvalue_ratio,
    "column_spread": column_spread,
    "identity_test": identity_test,
    "active_units": active_units,
    "geometry": geometry,
    "probes": label_probes,
    "disentanglement": disentanglement_scores,
    "paths": paths,
    "sample_spread": sample_spread,
    "classifier": classifier,
    "samples": sample_quality_metrics,
    "copies": copies,
    "sharpness": sharpness,
}
"""Everything that is measured, in the order in which it is printed."""


def evaluate(
    model: Estimator,
    X: Any,
    y: Any = None,
    *,
    condition: Any = None,
    lengths: Any = None,
    draws: int = DRAWS,
    train: Any = None,
    factors: Any = None,
    ais: int = 0,
    ais_steps: int = AIS_STEPS,
    without: Collection[str] = (),
) -> Evaluation:
    """Measure a fitted model on rows, best on rows that it was not fitted to.

    Args:
        model: a fitted estimator.
        X: (n, *X) the rows.
        y: (n,) labels, which probes try to read from codes; also the condition of a conditional model.
        condition: (n,) labels or (n, k) numbers, for a conditional model.
        lengths: (n,) lengths of padded sequences.
        draws: draws per row for log p(x).
        train: the rows that the model was fitted to, or a dict of X, condition and lengths. Without them there are no
            baselines and no comparison of training rows or samples with other rows.
        factors: (n, F) whole numbers that the rows were generated from, for disentanglement scores.
        ais: number of rows whose log p(x) is also estimated by annealed importance sampling: minutes for a hundred.
        ais_steps: temperatures of annealed importance sampling.
        without: names of measures to leave out (`MEASURES`).

    Returns:
        Metrics by name, in nats of the data's own units where they are log-densities.

    Raises:
        InputError: for rows that the model cannot read.
    """
    context = check_arguments(model, X, y, condition, lengths, draws, train, factors, ais, ais_steps)
    for name in without:
        if name not in MEASURES:
            raise unknown("measure", name, MEASURES)
    metrics: list[Metric] = []
    declined: dict[str, str] = {}
    for name, measure in MEASURES.items():
        if name in without:
            continue
        try:
            measured = measure(context)
        except InputError as error:  # too few rows for one measure are no reason to withhold the others
            declined[name] = str(error)
            continue
        metrics += [] if measured is None else [measured] if isinstance(measured, Metric) else measured
    return Evaluation(type(model).__name__, len(context), tuple(metrics), declined, per_row(context, without))


def check_arguments(
    model: Any,
    X: Any,
    y: Any,
    condition: Any,
    lengths: Any,
    draws: int,
    train: Any,
    factors: Any,
    ais: int,
    ais_steps: int,
) -> EvalContext:
    """The arguments of `evaluate`, checked once."""
    if not isinstance(model, Estimator):
        raise InputError(
            f"model must be a fitted estimator, got {type(model).__name__}. Pass wrapped.on(X) for wrapped networks."
        )
    check_is_fitted(model, "model_")
    if ais and not model.density:
        raise InputError(f"ais must be 0 for {type(model).__name__}, which has no log p(x), got {ais!r}.")
    for name, value, least in (("draws", draws, 1), ("ais", ais, 0), ("ais_steps", ais_steps, 1)):
        if not isinstance(value, numbers.Integral) or value < least:
            raise InputError(f"{name} must be an integer >= {least}, got {value!r}.")
    if not has_finite_weights(model):
        raise InputError(
            "The model's weights must be finite, got NaN or infinity: training diverged. "
            "Train again with a lower learning_rate."
        )
    if model.schema_.condition is not None and condition is None:
        condition = y
    examples = model.fitted_.check(X, condition, lengths)
    if train is not None and not isinstance(train, Examples):
        train = validation_rows(train, model.schema_, model.fitted_.feature_names, "train")
    if factors is not None:
        factors = check_factors(factors, len(examples))
    labels = None if y is None else check_labels(y, len(examples))
    return EvalContext(model, examples, labels, train, factors, draws, ais, ais_steps)


def has_finite_weights(model: Estimator) -> bool:
    """Whether all weights are finite."""
    return all(bool(weight.isfinite().all()) for weight in model.model_.parameters())


def check_labels(y: Any, n: int) -> np.ndarray:
    """Labels as an array, one per row; InputError for another number of them."""
    labels = np.asarray(y.detach().cpu() if hasattr(y, "detach") else y)
    if labels.shape[:1] != (n,):
        raise InputError(f"y must have one label per row of X ({n}), got shape {labels.shape}.")
    return labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels


def per_row(context: EvalContext, without: Collection[str]) -> PerRow:
    """Numbers for each row."""
    if not context.model.density or "log_likelihood" in without:
        return PerRow(context.codes, context.errors)
    stats = context.diagnostics
    return PerRow(context.codes, context.errors, stats.log_px.values, stats.elbo, stats.kl, stats.khat, stats.ess)
