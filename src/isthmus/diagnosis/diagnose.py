"""`diagnose`: evaluate a trained model, then look for everything that may be wrong with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from isthmus.array_checks import to_cpu_array
from isthmus.data_checks import check
from isthmus.diagnosis import (
    baseline_findings,
    data_findings,
    generative_findings,
    latent_findings,
    likelihood_findings,
    loss_findings,
    part_findings,
    training_findings,
)
from isthmus.diagnosis.causes import follows
from isthmus.diagnosis.code_value import code_value
from isthmus.diagnosis.context import DiagnosisContext, RunRef, with_own_folders
from isthmus.diagnosis.symptoms import harmful_beta, harmful_learning_rate, harmful_offset
from isthmus.diagnosis.wrap import Wrapped
from isthmus.evaluation.evaluate import evaluate, has_finite_weights, train_arguments
from isthmus.evaluation.fitted_on import fitted_on
from isthmus.evaluation.result import Evaluation, check_evaluation
from isthmus.examples import Examples
from isthmus.finding import Finding, fold
from isthmus.fitted import FittedModel, as_fitted
from isthmus.inputs import as_examples

FINDINGS: tuple[Callable[[DiagnosisContext], Iterator[Finding]], ...] = (
    data_findings.leak,
    data_findings.unlike_training,
    likelihood_findings.decoder_range,
    likelihood_findings.kl_not_minimized,
    likelihood_findings.no_noise,
    loss_findings.effective_beta,
    training_findings.learning_rate,
    loss_findings.fixed_scale,
    loss_findings.scale_floor,
    loss_findings.bernoulli_not_binary,
    loss_findings.sign_checks,
    loss_findings.warmup_too_long,
    loss_findings.unscaled_columns,
    training_findings.overfitting,
    training_findings.not_converged,
    generative_findings.memorization,
    generative_findings.distribution_shift,
    baseline_findings.worse_than_mean,
    baseline_findings.worse_than_input,
    baseline_findings.worse_than_baselines,
    baseline_findings.column_offset,
    baseline_findings.uncorrelated_features,
    part_findings.codebook_collapse,
    part_findings.pseudo_inputs_alike,
    part_findings.flow_explodes,
    part_findings.classes_unused,
    part_findings.layers_unused,
    part_findings.penalty_hides_reconstruction,
    part_findings.critic_wins,
    generative_findings.prior_hole,
    generative_findings.low_sample_diversity,
    generative_findings.loose_bound,
    latent_findings.interpolation_holes,
    latent_findings.posterior_collapse,
    latent_findings.too_many_dimensions,
    latent_findings.too_few_dimensions,
    latent_findings.dead_units,
    latent_findings.identity_leak,
    latent_findings.identity_mapping,
    latent_findings.labels_not_encoded,
    latent_findings.condition_use,
    likelihood_findings.wrong_likelihood,
    data_findings.data_problems,
    data_findings.not_measured,
)
"""Everything that is looked for, in the order in which equally severe findings are reported. A new finding is one
entry."""
OF_TRAINING_ROWS = ("few-rows", "constant-columns")
"""Findings of `check` that say something about training rows only."""
SMALL_LEARNING_RATE = 1e-3
"""Learning rate that a remedy suggests in place of a high one."""


def diagnose(
    model: Any,
    X: Any,
    y: Any = None,
    *,
    condition: Any = None,
    lengths: Any = None,
    observed: Any = None,
    train: Any = None,
    evaluation: Evaluation | None = None,
    command: RunRef | None = None,
    failure: str = "",
) -> list[Finding]:
    """Findings about a trained model, most severe first, each with its evidence and a remedy.

    What follows from another finding is among its `consequences` (`causes.FOLLOWS`). Remedies that are commands can be
    run one after another: each trains into a folder of its own.

    Args:
        model: a fitted estimator, a `FittedModel`, a model of parts, or networks wrapped by `isthmus.wrap`.
        X: (n, *X) rows that the model was not fitted to, or `Examples`, which hold what accompanies them.
        y: (n,) labels; the condition of a conditional model if `condition` is None.
        condition: (n,) labels or (n, C) numbers that a conditional model is conditioned on.
        lengths: (n,) number of steps of each padded sequence.
        observed: (n, *X) booleans, False where a value of X is missing.
        train: training rows, or a dict of X, condition, lengths and observed. Without them overfitting, memorization
            and comparisons with baselines are not looked for.
        evaluation: what `evaluate` returned for the same rows, if it is available.
        command: the run that the model comes from, so that remedies are commands.
        failure: why training failed.

    Raises:
        InputError: if the model cannot be applied to the rows, for `Examples` with arguments beside them, and for an
            evaluation of other rows.
    """
    convention = None
    if not isinstance(model, Wrapped):
        model = fitted_on(model, X, condition, lengths, observed, y)
    names = () if isinstance(model, Wrapped) else as_fitted(model).feature_names
    sequences = not isinstance(model, Wrapped) and as_fitted(model).schema.sequence
    beside = {"y": y, "condition": condition, "lengths": lengths, "observed": observed}
    rows = as_examples(X, use=names, sequences=sequences, **beside).without_zero_weight()
    if isinstance(model, Wrapped):
        report = check(rows, likelihood=model.likelihood)
        errors = [finding for finding in report.findings if is_support_error(finding)]
        if errors:
            return [explain_support_error(finding) for finding in errors]
        fitted = model.on(rows)
        convention = model.convention(fitted)
    else:
        fitted = as_fitted(model)
    known = rows if train is None else train_examples(train, sequences)
    incomplete = is_incomplete(known)
    if failure or not has_finite_weights(fitted):
        return [diverged(DiagnosisContext(fitted, None, command, convention, failure, incomplete=incomplete))]
    if evaluation is None:
        evaluation = evaluate(fitted, rows, train=train)
    else:
        check_rows = fitted.check_without_condition if rows.condition is None else fitted.check
        check_evaluation(evaluation, check_rows(rows))
    context = DiagnosisContext(fitted, evaluation, command, convention, incomplete=incomplete)
    if convention is not None:
        context = replace(context, code_value=code_value(fitted, fitted.check(known)))
    log_likelihood = context.value("log_likelihood")
    if log_likelihood is not None and not math.isfinite(log_likelihood):
        return list(likelihood_findings.kl_not_minimized(context)) or [diverged(context)]
    context = replace(context, corrections=corrections(context), data_findings=checked(fitted, rows, train))
    findings = [finding for look_for in FINDINGS for finding in look_for(context)]
    return with_own_folders(fold(findings, follows(findings)))


def checked(fitted: FittedModel, rows: Examples, train: Any) -> tuple[Finding, ...]:
    """What `check` says of the training rows if they are known, and of the measured rows and their labels."""
    scaling, levels = fitted.fields.get("scaling", "auto"), fitted.fields.get("levels")
    of_rows = check(rows, scaling=scaling, levels=levels).findings
    if train is None:
        return tuple(finding for finding in of_rows if finding.code not in OF_TRAINING_ROWS)
    findings = check(train_examples(train, fitted.schema.sequence), scaling=scaling, levels=levels).findings
    known = {finding.code for finding in findings}
    labels = [finding for finding in of_rows if finding.code == "leak" and "leak" not in known]
    return (*findings, *labels)


def train_examples(train: Any, sequences: bool) -> Examples:
    """Training rows, or a dict of X and what accompanies them, as `Examples`; arrays in a list may be sequences."""
    given = train_arguments(train)
    return as_examples(given.pop("X"), sequences=sequences, **given)


def is_incomplete(rows: Examples) -> bool:
    """Whether rows have missing values."""
    return rows.observed is not None and not bool(to_cpu_array(rows.observed).all())


def corrections(context: DiagnosisContext) -> dict[str, Any]:
    """Better values of hyperparameters that are the cause of what is wrong: no remedy of anything else keeps them."""
    better: dict[str, Any] = {}
    if context.convention is None and harmful_beta(context) and "beta" in context.fitted.fields:
        better["beta"] = 1.0
    if harmful_learning_rate(context):
        better["learning_rate"] = SMALL_LEARNING_RATE
    if harmful_offset(context) and context.fitted.fields.get("scaling") == "none":
        better["scaling"] = "standard"
    return better


def diverged(context: DiagnosisContext) -> Finding:
    """Training failed, or the weights or log p(x) are not finite: nothing else can be said."""
    rate = float(context.fitted.fields.get("learning_rate", 1e-3))
    return Finding(
        "diverged",
        "error",
        context.failure.partition(";")[0] or "log p(x) is not finite",
        context.retrain(learning_rate=min(SMALL_LEARNING_RATE, rate / 10)),
        {"learning_rate": rate},
        "the learning rate is too high, or numbers overflow the floating-point precision",
    )


def is_support_error(finding: Finding) -> bool:
    """Whether data are outside the support of the likelihood."""
    return finding.code == "outside-support" and finding.severity == "error"


def explain_support_error(finding: Finding) -> Finding:
    """The finding with what it means for a loss."""
    cause = "outside its support the loss is not -log p(x|z) and may fall without bound: a negative loss is a bug here"
    return replace(finding, cause=cause)
