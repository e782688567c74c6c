"""`evaluate`: every measure of a fitted model on some rows."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

from isthmus.errors import InputError, unknown
from isthmus.evaluation.baseline_metrics import iterative_densities, linear_densities, reconstruction_baselines
from isthmus.evaluation.conditioning import condition_gain
from isthmus.evaluation.context import EvalContext
from isthmus.evaluation.fitted_on import fitted_on
from isthmus.evaluation.generalization import generalization_gap
from isthmus.evaluation.latent_space import (
    active_units,
    angle_with_pca,
    disentanglement_scores,
    distance_on_paths,
    geometry,
    label_probes,
    paths,
)
from isthmus.evaluation.learned_parts import classes, flow_volume, layers, prior_components, symbols
from isthmus.evaluation.likelihood_gain import likelihood_gain
from isthmus.evaluation.linear_reference import column_offset, linear_dimensions, variance_explained
from isthmus.evaluation.log_likelihood import (
    aggregate_posterior,
    ais_metrics,
    inference_gap_metrics,
    likelihood_metrics,
    rate_metrics,
)
from isthmus.evaluation.prior_fit import refit_gain, sample_spread
from isthmus.evaluation.reconstruction import (
    cleaning,
    column_spread,
    identity_test,
    image_quality,
    reconstruction_error,
    residual_eigenvalue_ratio,
    residuals,
)
from isthmus.evaluation.result import Evaluation, PerRow, rows_digest
from isthmus.evaluation.row_comparison import column_shift, train_overlap
from isthmus.evaluation.sample_metrics import classifier, copies, sample_quality_metrics, sharpness
from isthmus.examples import Examples
from isthmus.fitted import FittedModel, as_fitted
from isthmus.inputs import as_examples, counted
from isthmus.metrics.ais import DEFAULT_STEPS as AIS_STEPS
from isthmus.metrics.metric import Metric
from isthmus.wording import quoted

DEFAULT_DRAWS = 1000
"""Draws per row for log p(x)."""

Measure = Callable[[EvalContext], Metric | tuple[Metric, ...] | None]
"""What is measured; None if it does not apply. Raises Declined, or InputError, to say why it does not."""

MEASURES: dict[str, Measure] = {
    "log_likelihood": likelihood_metrics,
    "rate": rate_metrics,
    "aggregate_posterior": aggregate_posterior,
    "refit_gain": refit_gain,
    "prior_components": prior_components,
    "flow_volume": flow_volume,
    "ais": ais_metrics,
    "inference_gap": inference_gap_metrics,
    "condition": condition_gain,
    "reconstruction": reconstruction_error,
    "image_quality": image_quality,
    "cleaning": cleaning,
    "variance_explained": variance_explained,
    "linear_dimensions": linear_dimensions,
    "baselines": reconstruction_baselines,
    "density_baselines": linear_densities,
    "density_baselines.iterative": iterative_densities,
    "train_overlap": train_overlap,
    "column_shift": column_shift,
    "training": generalization_gap,
    "likelihood_gain": likelihood_gain,
    "residuals": residuals,
    "residual_eigenvalue_ratio": residual_eigenvalue_ratio,
    "column_spread": column_spread,
    "column_offset": column_offset,
    "identity_test": identity_test,
    "active_units": active_units,
    "symbols": symbols,
    "classes": classes,
    "layers": layers,
    "geometry": geometry,
    "geometry.angle_with_pca": angle_with_pca,
    "probes": label_probes,
    "disentanglement": disentanglement_scores,
    "paths": paths,
    "paths.distance": distance_on_paths,
    "sample_spread": sample_spread,
    "classifier": classifier,
    "samples": sample_quality_metrics,
    "copies": copies,
    "sharpness": sharpness,
}
"""Everything that is measured, in the order in which it is printed."""


def evaluate(
    model: Any,
    X: Any,
    y: Any = None,
    *,
    condition: Any = None,
    lengths: Any = None,
    observed: Any = None,
    sample_weight: Any = None,
    draws: int = DEFAULT_DRAWS,
    train: Any = None,
    factors: Any = None,
    ais: int = 0,
    ais_steps: int = AIS_STEPS,
    without: Collection[str] = (),
) -> Evaluation:
    """Measure a fitted model on rows, best on rows that it was not fitted to.

    Args:
        model: a fitted estimator, a `FittedModel`, or networks wrapped by `isthmus.wrap`.
        X: (n, *X) the rows, or `Examples`, which hold the arguments that accompany them.
        y: (n,) labels, which probes try to read from codes; also the condition of a conditional model.
        condition: (n,) labels or (n, k) numbers, for a conditional model.
        lengths: (n,) lengths of padded sequences.
        observed: (n, *X) booleans, False where a value of X is missing; such values enter no number.
        sample_weight: (n,) numbers >= 0, how much rows count in means over rows: of log-densities and their parts, of
            squared errors and of differences from baselines. Standard errors are those of n rows. What describes rows
            otherwise (codes, probes, samples, medians) counts each row once; rows of weight 0 are left out.
        draws: draws per row for log p(x).
        train: the rows that the model was fitted to: X, a dict of X and any of condition, lengths, observed, y and
            sample_weight, or `Examples`. Baselines but the mean are fitted to them as they are, whatever their weights.
            Without them there are no baselines and no comparison of training rows or samples with other rows.
        factors: (n, F) whole numbers that the rows were generated from, for disentanglement scores.
        ais: number of rows whose log p(x) is also estimated by annealed importance sampling: minutes for a hundred.
        ais_steps: temperatures of annealed importance sampling.
        without: names of measures to leave out (`MEASURES`), with those whose names begin with theirs and a dot.

    Returns:
        Metrics by name, in nats of the data's own units where they are log-densities.

    Raises:
        InputError: for rows that the model cannot read, and for `Examples` with arguments beside them.
    """
    fitted = fitted_on(model, X, condition, lengths, observed, y)
    check_settings(fitted, draws, ais, ais_steps, without)
    beside = {"condition": condition, "lengths": lengths, "observed": observed, "y": y, "factors": factors}
    examples = check_counted(fitted, X=X, weight=sample_weight, **beside)
    context = EvalContext(fitted, examples, check_train(fitted, train), draws, ais, ais_steps)
    metrics: list[Metric] = []
    declined: dict[str, str] = {}
    for name, measure in MEASURES.items():
        if name in without or name.partition(".")[0] in without:
            continue
        try:
            measured = measure(context)
        except InputError as error:  # too few rows for one measure are no reason to withhold the others
            declined[name] = str(error)
            continue
        metrics += [] if measured is None else [measured] if isinstance(measured, Metric) else measured
    rows = per_row(context, without)
    return Evaluation(fitted.name, len(context), tuple(metrics), declined, rows, rows_digest(examples))


def check_settings(fitted: FittedModel, draws: Any, ais: Any, ais_steps: Any, without: Collection[str]) -> None:
    """Raise InputError for arguments of `evaluate` that cannot be used, or weights that are not finite."""
    for name, value, least in (("draws", draws, 1), ("ais", ais, 0), ("ais_steps", ais_steps, 1)):
        if not isinstance(value, numbers.Integral) or value < least:
            raise InputError(f"{name} must be an integer >= {least}, got {quoted(value)}.")
    if ais and not fitted.capabilities.has_density:
        raise InputError(f"ais must be 0 for {fitted.name}, which has no log p(x), got {ais!r}.")
    if isinstance(without, str) or not isinstance(without, Collection):
        raise InputError(f"without must be a list of names of measures, got {quoted(without)}.")
    for name in without:
        if not isinstance(name, str) or name not in MEASURES:
            raise unknown("measure", str(name), MEASURES)
    if not has_finite_weights(fitted):
        raise InputError(
            "The model's weights must be finite, got NaN or infinity: training diverged. "
            "Train again with a lower learning_rate."
        )


def check_train(fitted: FittedModel, train: Any) -> Examples | None:
    """The training rows, checked; InputError names them."""
    return None if train is None else check_counted(fitted, **train_arguments(train))


def check_counted(fitted: FittedModel, X: Any, **beside: Any) -> Examples:
    """Rows as `FittedModel.check` returns them, without those of weight 0, which may be any."""
    rows = as_examples(X, use=fitted.feature_names, sequences=fitted.schema.sequence, **beside)
    return fitted.check(counted(rows)).without_zero_weight()


def train_arguments(train: Any) -> dict[str, Any]:
    """Training rows, or a dict of X and what accompanies them, as such a dict."""
    given = dict(train) if isinstance(train, dict) else {"X": train}
    allowed = ("X", "condition", "lengths", "observed", "y", "sample_weight")
    if "X" not in given or not set(given) <= set(allowed):
        raise InputError(
            f"train must be rows, or a dict with X and any of {', '.join(allowed[1:])}, got {quoted(list(given))}."
        )
    if "sample_weight" in given:
        given["weight"] = given.pop("sample_weight")
    return given


def has_finite_weights(model: Any) -> bool:
    """Whether all weights are finite."""
    return all(bool(weight.isfinite().all()) for weight in as_fitted(model).model.parameters())


def per_row(context: EvalContext, without: Collection[str]) -> PerRow:
    """Numbers for each row."""
    rows = PerRow()
    if context.has_code:
        rows = PerRow(context.codes, context.errors)
    if context.has_density and "log_likelihood" not in without:
        stats = context.diagnostics
        values = {"log_px": stats.log_px.values, "elbo": stats.elbo, "kl": stats.kl, "khat": stats.khat}
        rows = replace(rows, **values, ess=stats.ess)
    elif context.is_variational and "rate" not in without:
        rows = replace(rows, kl=context.diagnostics.kl)
    return rows
