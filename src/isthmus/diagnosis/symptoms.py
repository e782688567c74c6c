"""What several findings ask of the numbers: is the code in use, is the model better than something simpler."""

from __future__ import annotations

from isthmus.data_checks.suspect_columns import MAX_OFFSET
from isthmus.diagnosis.context import DiagnosisContext
from isthmus.metrics.dimensions_in_use import IN_USE_NATS

MEASURED_MIN_ROWS = 10
"""Rows below which standard errors are unreliable."""
MIN_KL_NATS = 0.1
"""KL of a row below which the posterior has collapsed; also the least gain of a condition that is used."""
MEAN_ERROR_RATIO = 0.99
"""Ratio of the model's squared error to that of the mean row from which the model is no better."""
FAR_ERROR_RATIO = 3.0
"""The same ratio from which too little training, which leaves a model near the mean, is no explanation."""
PCA_ERROR_RATIO = 1.05
"""Ratio of the model's squared error to that of PCA from which PCA is preferable."""
MARGIN_SIGMA = 2.0
"""Standard errors by which a margin over a baseline must differ from 0."""
MIN_MARGIN_NATS = 1e-3
"""Margin beyond rounding."""
SMALL_MARGIN_NATS = 0.1
"""Margin, however certain, that changes nothing of what a model is used for: a few percent of a row's density."""
NOISE_VARIANCE_RATIO = 1.5
"""PCA of noise keeps latent_dim / features of the variance; up to this many times that share there is no structure."""
FEW_UPDATES = 200
"""Updates of the weights that are too few to shape a network."""
FEW_EPOCHS = 2
"""Passes over the rows that are too few."""
HIGH_LEARNING_RATE = 0.05
"""Learning rate from which Adam is suspected of what is wrong."""
HIGH_BETA = 2.0
"""KL weight from which it is suspected of what is wrong."""
LINEAR_BASELINES = ("baselines.ppca_best", "linear_dimensions", "baselines.ppca")
"""Linear models, the best first, with which log p(x) is compared."""


def margin(context: DiagnosisContext, name: str) -> float | None:
    """By how much the model is better than a baseline, by the baseline's name; negative if it is worse."""
    return context.value(f"{name}.margin")


def margin_error(context: DiagnosisContext, name: str) -> float:
    """The standard error of the margin."""
    return context.error(f"{name}.margin")


def significantly_worse(context: DiagnosisContext, name: str) -> bool:
    """Whether the model is worse than a baseline by more than chance and rounding."""
    value = margin(context, name)
    return value is not None and value < -max(MARGIN_SIGMA * margin_error(context, name), MIN_MARGIN_NATS)


def severity_of_margin(context: DiagnosisContext, name: str) -> str:
    """How severe it is to be worse than a baseline."""
    return "info" if (margin(context, name) or 0.0) > -SMALL_MARGIN_NATS else "warning"


def worst_linear(context: DiagnosisContext) -> str | None:
    """The linear model that is better than this one by the most; None if none is, or none is known."""
    worse = [name for name in LINEAR_BASELINES if significantly_worse(context, name)]
    return min(worse, key=lambda name: margin(context, name) or 0.0, default=None)


def error_ratio(context: DiagnosisContext) -> float | None:
    """The squared error of reconstructions over that of the mean row, of training rows if they are known."""
    own, mean = context.value("reconstruction.scaled"), context.value("baselines.mean.scaled")
    if own is not None and mean:
        return float(own / mean)
    explained = context.value("variance_explained")
    return None if explained is None else 1.0 - float(explained)


def uncorrelated(context: DiagnosisContext) -> bool:
    """Whether there is no structure that a linear code of this size could represent."""
    mean, pca = (context.value(f"baselines.{name}.scaled") for name in ("mean", "pca"))
    size, sequence = context.fitted.schema.size, context.fitted.schema.sequence
    narrow = context.is_generative or context.code_size < size  # a wide code can copy noise
    if context.value("linear_dimensions") == 0 and narrow:
        return True
    if not mean or pca is None or sequence or context.code_size >= size / 2:
        return False
    return 1 - pca / mean < NOISE_VARIANCE_RATIO * context.code_size / size


def no_better_than_mean(context: DiagnosisContext) -> bool:
    """Whether reconstructions are no better than the mean row."""
    ratio = error_ratio(context)
    if ratio is None or context.rows < MEASURED_MIN_ROWS:
        return False
    if uncorrelated(context):  # a network that memorised noise gives other noise, of twice the error
        return ratio > FAR_ERROR_RATIO
    if ratio > 1.0 + 2 * context.error("variance_explained"):
        return True
    mean, pca = (context.value(f"baselines.{name}.scaled") for name in ("mean", "pca"))
    explainable = 1 - pca / mean if mean and pca is not None else 1.0
    return ratio > MEAN_ERROR_RATIO and 1 - ratio < 0.5 * explainable


def far_worse_than_mean(context: DiagnosisContext) -> bool:
    """Whether reconstructions are so much worse than the mean row that they are on another scale."""
    return no_better_than_mean(context) and (error_ratio(context) or 0.0) > FAR_ERROR_RATIO


def worse_than_pca(context: DiagnosisContext) -> bool:
    """Whether PCA of the same size reconstructs better; nothing is compared with an error of 0."""
    own, pca = context.value("reconstruction.scaled"), context.value("baselines.pca.scaled")
    if own is None or not pca or context.is_generative or context.code_size >= context.fitted.schema.size:
        return False
    return own > PCA_ERROR_RATIO * pca and significantly_worse(context, "baselines.pca")


def restores(context: DiagnosisContext) -> bool:
    """Whether training damaged the rows or was given damaged ones: a copy of these would not have lowered its loss."""
    return context.fitted.model.corruption is not None or context.fitted.schema.paired


def cleaning_harms(context: DiagnosisContext) -> bool:
    """Whether cleaned rows are farther from the clean ones than the damaged rows were."""
    excess = context.value("cleaning.excess")
    return excess is not None and excess > MARGIN_SIGMA * context.error("cleaning.excess")


def needed_dims(context: DiagnosisContext) -> int:
    """As many of the code's dimensions as the best linear model would use; all of them if that is unknown."""
    size, best = context.value("active_units.of") or 0, context.value("linear_dimensions")
    return size if best is None else min(size, best)


def collapsed(context: DiagnosisContext) -> bool:
    """Whether the posterior equals the prior for every row, in all dimensions."""
    kl, active = context.value("kl"), context.value("active_units")
    if not context.code_size or kl is None or active is None or uncorrelated(context):
        return False
    return kl < MIN_KL_NATS or (active == 0 and kl < IN_USE_NATS * max(1, needed_dims(context)))


def mostly_collapsed(context: DiagnosisContext) -> bool:
    """Whether at most half of the dimensions that the rows need are in use."""
    kl, active = context.value("kl"), context.value("active_units")
    if not context.code_size or kl is None or active is None or uncorrelated(context):
        return False
    if context.fitted.schema.discrete:  # a linear model of measurements says nothing of how many are needed
        return collapsed(context) or active == 0
    return collapsed(context) or active < 0.5 * needed_dims(context)


def harmed(context: DiagnosisContext) -> bool:
    """Whether the model is worse than something without a network, or its code is not in use."""
    return (
        mostly_collapsed(context)
        or no_better_than_mean(context)
        or cleaning_harms(context)
        or worse_than_pca(context)
        or worst_linear(context) is not None
    )


def harmful_beta(context: DiagnosisContext) -> bool:
    """Whether the KL weight is high and the model does badly."""
    beta = context.beta if context.convention is None else context.convention.effective_beta
    return context.is_generative and beta >= HIGH_BETA and harmed(context) and not hardly_trained(context)


def harmful_learning_rate(context: DiagnosisContext) -> bool:
    """Whether the learning rate is high and the model does badly."""
    rate = context.fitted.fields.get("learning_rate")
    trained = context.fitted.history and not context.fitted.closed_form
    return bool(trained) and isinstance(rate, float | int) and rate >= HIGH_LEARNING_RATE and harmed(context)


def harmful_offset(context: DiagnosisContext) -> bool:
    """Whether the columns are far from 0, and the model does badly."""
    offset = context.value("column_offset")
    return offset is not None and offset > MAX_OFFSET and not context.fitted.closed_form and harmed(context)


def hardly_trained(context: DiagnosisContext) -> bool:
    """Whether the model does badly after few updates or few epochs."""
    history = context.fitted.history
    if not history or context.fitted.closed_form or far_worse_than_mean(context) or not harmed(context):
        return False
    return len(history) <= FEW_EPOCHS or history[-1].get("step", FEW_UPDATES) < FEW_UPDATES / 4
