"""Findings about the loss: the effective weights of its terms, and whether its density is one of the data."""

from __future__ import annotations

from collections.abc import Iterator

from isthmus.diagnosis.context import OWN_CODE, DiagnosisContext
from isthmus.diagnosis.loss_convention import LossConvention
from isthmus.diagnosis.symptoms import harmful_beta, margin, mostly_collapsed, no_better_than_mean, worst_linear
from isthmus.evaluation.reconstruction import likelihood_family
from isthmus.finding import Finding

BETA_RATIO_WARN = 2.0
"""Effective KL weight (or its inverse) that is worth a warning; that of the ELBO is 1."""
BETA_RATIO_ERROR = 10.0
"""Effective KL weight from which on the trained model is a different one from the one intended."""
STD_RATIO_WARN = 100.0
"""Ratio of the columns' scaled standard deviations above which the largest dominate the loss."""
MAX_WARMUP = 0.9
"""Share of training from which a warm-up leaves too little training with the full KL weight."""


def effective_beta(context: DiagnosisContext) -> Iterator[Finding]:
    """The KL weight relative to log p(x|z) in nats is not 1: by an average in a user's loss, or by a high beta."""
    convention = context.convention
    if convention is not None and convention.beta and context.is_generative and convention.averages:
        yield from averaged_loss(context, convention)
    elif harmful_beta(context):
        yield Finding(
            "effective-beta",
            "error" if context.beta >= BETA_RATIO_ERROR else "warning",
            f"the KL term weighs {context.beta:g} times as much as in the ELBO, and {shortfall(context)}",
            f"{OWN_CODE}set beta = 1" if convention is not None else context.reweight_kl(1.0),
            {"beta": context.beta, "effective_beta": context.beta, "kl": context.value("kl")},
            "a dimension of the code costs more than it is worth to the decoder, so that little passes through it",
        )


def shortfall(context: DiagnosisContext) -> str:
    """What is wrong with the model, in a clause."""
    if mostly_collapsed(context):
        return f"the code carries {context.value('kl'):.2f} nats per row"
    if no_better_than_mean(context):
        return "reconstructions are no better than the mean row"
    name = worst_linear(context)
    if name is None:
        return "PCA of the same size reconstructs better"
    return f"a linear model scores the same rows {-(margin(context, name) or 0.0):.2f} nats higher"


def averaged_loss(context: DiagnosisContext, convention: LossConvention) -> Iterator[Finding]:
    """A term of the loss was averaged instead of summed, and beta does not make up for it."""
    beta, effective = convention.beta, convention.effective_beta
    d, k = convention.features, convention.latent_dim
    if 1 / BETA_RATIO_WARN < effective < BETA_RATIO_WARN:
        return
    evidence = {"beta": beta, "effective_beta": effective, "features": d, "latent_dim": k}
    causes = []
    if convention.reduction == "mean":
        causes.append(f"averaging over {d:,} features divides log p(x|z) by {d:,}")
    if convention.kl_reduction == "mean":
        causes.append(f"averaging over {k:,} latent dimensions divides the KL by {k:,}")
    message = f"beta = {beta:g} amounts to a KL weight of {effective:.4g} relative to log p(x|z) in nats"
    hidden = context.value("residuals.hidden_beta") if convention.squared_error else None
    if hidden is not None:
        evidence["effective_beta_best_scale"] = effective * hidden
        message += f", and of {effective * hidden:.4g} relative to a normal with the residuals' scale"
    yield Finding(
        "effective-beta",
        "warning" if 1 / BETA_RATIO_ERROR < effective < BETA_RATIO_ERROR else "error",
        message,
        f"{OWN_CODE}sum over features, average over rows, and set beta = 1 (in the loss as it is, that is beta = "
        f"{beta / effective:.4g})",
        evidence,
        f"{' and '.join(causes)}; a KL weight of 1 is that of the ELBO",
    )


def fixed_scale(context: DiagnosisContext) -> Iterator[Finding]:
    """The fixed scale of a normal likelihood is far from the residuals' scale, which changes the KL weight."""
    if context.value("residuals.rms") is None or not context.has_density or not context.value("residuals.fixed"):
        return
    scale, rms = context.value("residuals.scale"), context.value("residuals.rms")
    weight = context.value("residuals.hidden_beta")
    if context.convention is not None:
        weight *= context.convention.effective_beta
    if 1 / BETA_RATIO_WARN < weight < BETA_RATIO_WARN:
        return
    remedy = context.retrain(likelihood="normal")
    if context.convention is not None:
        divisor = f"{2 * rms**2:.4g} (2 * {rms:.4g}^2)"
        remedy = f"{OWN_CODE}divide the squared error by {divisor}, sum it over features, and set beta = 1"
    yield Finding(
        "fixed-scale",
        "warning",
        f"p(x|z) has the fixed scale {scale:.4g}, but the best scale, that of the residuals, is {rms:.4g}",
        remedy,
        {"scale": scale, "best_scale": rms, "hidden_beta": weight},
        f"the KL term weighs {weight:.4g} times as much as in the ELBO with the best scale",
    )


def scale_floor(context: DiagnosisContext) -> Iterator[Finding]:
    """The learned scale has reached its lower limit, which means that the density is unbounded."""
    share = context.value("residuals.at_floor")
    if not share or context.value("residuals.fixed"):
        return
    where = f" in {share:.0%} of the columns" if share < 1 else ""
    yield Finding(
        "scale-floor",
        "warning",
        f"the learned scale of p(x|z) has reached its lower limit{where}",
        context.retrain(likelihood="normal(0.1)"),
        {"share": share, "scale": context.value("residuals.scale")},
        "columns that the code determines exactly (constant, duplicated or integer-valued ones) have an unbounded "
        "density: log p(x) then depends on the lower limit, not on the quality of the model",
    )


def bernoulli_not_binary(context: DiagnosisContext) -> Iterator[Finding]:
    """A Bernoulli likelihood on numbers between 0 and 1."""
    schema = context.fitted.schema
    if not schema.improper:
        return
    yield Finding(
        "bernoulli-not-binary",
        "error",
        "the likelihood is Bernoulli, but the data lie between 0 and 1: the reported log p(x) is not a log-likelihood",
        context.retrain(likelihood="continuous_bernoulli"),
        {"kind": schema.kind},
        "exp(-cross-entropy) is not normalized over values other than 0 and 1",
    )


def sign_checks(context: DiagnosisContext) -> Iterator[Finding]:
    """log p(x) above 0: impossible for a probability, fine for a density."""
    metric = context.metric("log_likelihood")
    mean = context.value("log_likelihood")
    if metric is None or mean <= 0:
        return
    if metric.kind == "probability":
        yield Finding(
            "probability-above-one",
            "error",
            f"log p(x) of discrete data is {mean:.2f}: a probability above one",
            "normalize the decoder's distribution over the values of x; see isthmus.families",
            {"log_likelihood": mean},
            "the likelihood is not normalized, or the data lie outside its support",
        )
        return
    yield Finding(
        "negative-loss",
        "info",
        f"log p(x) is {mean:.2f}, above 0, so the loss is negative: this is correct for a density",
        "no action needed; compare it only with densities of the same data in the same units",
        {"log_likelihood": mean},
        "x has continuous columns, and a density exceeds 1 where the data are concentrated within less than one unit",
    )


def warmup_too_long(context: DiagnosisContext) -> Iterator[Finding]:
    """The KL weight had barely reached its full value when training ended."""
    if (
        not context.is_generative
        or not context.fitted.history
        or not any(f"weight_{name}" in record for record in context.fitted.history for name in context.fitted.kl_terms)
    ):
        return
    progress, warmup = context.fitted.history[-1]["progress"], context.warmup
    if progress >= warmup and warmup < MAX_WARMUP:
        return
    yield Finding(
        "warmup-too-long",
        "warning",
        f"the KL warm-up covers {warmup:.0%} of the planned training, which ended after {progress:.0%}",
        context.retrain(warmup=0.2),
        {"warmup": warmup, "progress": progress},
        "the model was barely trained with the full KL weight, with which it is evaluated",
    )


def unscaled_columns(context: DiagnosisContext) -> Iterator[Finding]:
    """Columns with very different standard deviations share one likelihood scale."""
    ratio, family = context.value("column_spread"), likelihood_family(context.fitted.model)
    if ratio is None or ratio < STD_RATIO_WARN or family is None or family.scale_per_element:
        return
    yield Finding(
        "unscaled-columns",
        "info" if context.fitted.closed_form else "warning",
        f"after scaling, the widest column has {ratio:,.0f} times the standard deviation of the narrowest",
        context.retrain(scaling="standard"),
        {"ratio": ratio},
        "all columns share one scale of p(x|z), so the widest dominate the loss",
    )
