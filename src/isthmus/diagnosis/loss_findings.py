"""Findings about the loss: what its weights amount to, and whether its density is the data's."""

from __future__ import annotations

from collections.abc import Iterator

from isthmus.diagnosis.context import DiagnosisContext
from isthmus.estimators.ppca import ProbabilisticPCA
from isthmus.finding import Finding

OFF = 2.0
"""Times that a weight may be off before it is worth a word."""
GROSS = 10.0
"""Times from which on it is another model than the one that is believed."""
APART = 100.0
"""Ratio of the columns' standard deviations, as networks read them, above which the largest rule the loss."""
LONG = 0.9
"""Share of a run from which on a warm-up leaves no time to train at the full weight."""


def effective_beta(case: DiagnosisContext) -> Iterator[Finding]:
    """A KL weight that is not what it seems, for what the reconstruction was divided by."""
    own = case.convention
    if own is None or not case.density:
        return
    seems, weight = own.beta, own.effective_beta
    if not seems:
        return
    hidden = case.at("residuals", "hidden_beta") if own.squared else None
    evidence = {"beta": seems, "effective_beta": weight, "features": own.features, "latent_dim": own.latent_dim}
    why = f"a mean over {own.features:,} features is 1/{own.features:,} of log p(x|z)"
    if own.reduction == "sum":
        why = f"a mean over {own.latent_dim:,} latent dimensions is 1/{own.latent_dim:,} of the KL"
    told = f"beta = {seems:g} amounts to {weight:.4g} against log p(x|z) in nats"
    if hidden is not None:
        best = weight * hidden
        evidence["effective_beta_at_the_best_scale"] = best
        told += f"; to {best:.4g} against a normal whose scale is that of the residuals"
    if not 1 / OFF < weight / seems < OFF:
        yield Finding(
            "effective-beta",
            "warning" if 1 / GROSS < weight / seems < GROSS else "error",
            told,
            f"in your own training: reduction = sum over features, mean over rows, beta = {seems:g}",
            evidence,
            f"{why}, so that the KL weighs {weight / seems:,.4g} times what is written",
        )


def fixed_scale(case: DiagnosisContext) -> Iterator[Finding]:
    """A squared error whose fixed scale is far from the residuals', which is a KL weight in disguise."""
    about = case.at("residuals")
    if about is None or not case.density or not about["fixed"]:
        return
    scale, rms, weight = about["scale"], about["rms"], about["hidden_beta"]
    if case.convention is not None:
        weight *= case.convention.effective_beta
    if 1 / OFF < weight < OFF:
        return
    remedy = case.again(likelihood="normal")
    if case.convention is not None:
        twice = f"{2 * rms**2:.4g} (2 * {rms:.4g}^2)"
        remedy = f"in your own training: the squared error divided by {twice}, summed, and beta = 1"
    yield Finding(
        "fixed-scale",
        "warning",
        f"p(x|z) has the fixed scale {scale:.4g}, the residuals have {rms:.4g}, which would be the best",
        remedy,
        {"scale": scale, "best_scale": rms, "hidden_beta": weight},
        f"that weighs the KL term {weight:.4g} times as much as the evidence lower bound with the best scale does",
    )


def scale_floor(case: DiagnosisContext) -> Iterator[Finding]:
    """A learned scale that has fallen to its floor, so that the density has no bound of its own."""
    about = case.at("residuals")
    if about is None or about["fixed"] or not about["at_floor"]:
        return
    share = about["at_floor"]
    yield Finding(
        "scale-floor",
        "warning",
        "the learned scale of p(x|z) lies at its floor" + (f" in {share:.0%} of the columns" if share < 1 else ""),
        case.again(likelihood="normal(0.1)"),
        {"share": share, "scale": about["scale"]},
        "columns that the code gives exactly (constant, doubled, or whole numbers) have a density without bound: log "
        "p(x) then says where the floor is, not how good the model is",
    )


def not_binary(case: DiagnosisContext) -> Iterator[Finding]:
    """Bernoulli on numbers between 0 and 1."""
    schema = case.model.schema_
    if not schema.improper:
        return
    yield Finding(
        "bernoulli-not-binary",
        "error",
        "p(x|z) is Bernoulli and the data lie between 0 and 1: what is reported as log p(x) is none",
        case.again(likelihood="continuous_bernoulli"),
        {"kind": schema.kind},
        "cross-entropy of numbers that are not 0 or 1 is no log-probability, for it does not sum to one over them",
    )


def signs(case: DiagnosisContext) -> Iterator[Finding]:
    """A log-density above 0, which is right; a log-probability above 0, which is not."""
    mean = case.mean("log_likelihood")
    if mean is None or mean <= 0:
        return
    if case.model.schema_.discrete:
        yield Finding(
            "probability-above-one",
            "error",
            f"log p(x) of discrete data is {mean:.2f}: a probability above one",
            "let the decoder's distribution sum to one over the values that x takes; see isthmus.families",
            {"log_likelihood": mean},
            "the likelihood is not normalised, or the data lie outside its support",
        )
        return
    yield Finding(
        "negative-loss",
        "info",
        f"log p(x) is {mean:.2f}, above 0, so the loss is below it: that is right",
        "nothing is to be done; compare it with other densities of the same data in the same units only",
        {"log_likelihood": mean},
        "x is continuous, and a density is above one wherever the data lie closer together than their unit",
    )


def warmup_too_long(case: DiagnosisContext) -> Iterator[Finding]:
    """A KL weight that had hardly reached its full height when the run ended."""
    if not case.density or not case.history or not any("weight_kl" in record for record in case.history):
        return
    reached, warmup = case.history[-1]["progress"], case.model.warmup
    if reached >= warmup and warmup < LONG:
        return
    yield Finding(
        "warmup-too-long",
        "warning",
        f"the KL weight rises over {warmup:.0%} of the planned run, which ended after {reached:.0%}",
        case.again(warmup=0.2),
        {"warmup": warmup, "reached": reached},
        "the model was hardly trained on the loss that it is judged by",
    )


def unscaled(case: DiagnosisContext) -> Iterator[Finding]:
    """Columns of very different spread under one scale."""
    ratio = case.mean("column_spread")
    if ratio is None or ratio < APART or case.model.schema_.likelihood.startswith("diagonal_normal"):
        return
    yield Finding(
        "unscaled-columns",
        "info" if isinstance(case.model, ProbabilisticPCA) else "warning",
        f"as the network reads them, the widest column varies {ratio:,.0f} times as much as the narrowest",
        case.again(scaling="standard"),
        {"ratio": ratio},
        "one scale serves all columns, so the loss hears the widest alone",
    )


FINDINGS = (effective_beta, fixed_scale, scale_floor, not_binary, signs, warmup_too_long, unscaled)
