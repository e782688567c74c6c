"""Findings about the code: collapse, dimensions, dead units, labels, conditions, holes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

from torch.distributions import MixtureSameFamily

from isthmus.diagnosis.context import DiagnosisContext
from isthmus.diagnosis.symptoms import (
    MIN_KL_NATS,
    collapsed,
    far_worse_than_mean,
    hardly_trained,
    margin,
    margin_error,
    mostly_collapsed,
    needed_dims,
    restores,
    severity_of_margin,
    worst_linear,
)
from isthmus.distributions.latent import Mixture
from isthmus.estimators.parts_by_name import sparse_by_penalty
from isthmus.finding import Finding
from isthmus.metrics.dimensions_in_use import IN_USE_NATS
from isthmus.priors import PostHocPrior, StandardNormal

EIGENVALUE_RATIO_INFO = 3.0
"""Strongest eigenvalue of the residuals, relative to noise, from which a further dimension would help."""
LINEAR_ERROR_RATIO = 0.8
"""Ratio of the squared error to that of PCA of the same size from which networks add little to a linear model."""
EXCESS_RATIO = 2.0
"""Latent dimensions over those of the best linear model (or its inverse) from which their number does harm."""
MIN_DIMENSION_GAIN_NATS = 0.5
"""Gain of further dimensions that is worth mentioning."""
DEAD_SHARE_WARN = 0.25
"""Share of dead units of a sparse code that is worth a warning."""
MAX_IDENTITY_LOSS = 0.05
"""Share of the variance of shuffled columns lost in reconstruction, up to which a network is the identity."""
HOLE_SHARE_WARN = 0.15
"""Share of paths with a hole that is worth a finding; chance alone makes one twentieth."""
LEAK_SHARE_WARN = 0.5
"""Share of labels that guessing gets wrong and a classifier on codes gets right, from which the condition leaks."""
SMALL_WARMUP = 0.5
"""Warm-up that a remedy for a collapsed posterior suggests."""


def needs_code(look_for: Callable[[DiagnosisContext], Iterator[Finding]]) -> Callable[..., Iterator[Finding]]:
    """A finding about codes, which a model without a code cannot have."""

    @functools.wraps(look_for)
    def checked(context: DiagnosisContext) -> Iterator[Finding]:
        if context.code_size:
            yield from look_for(context)

    return checked


@needs_code
def posterior_collapse(context: DiagnosisContext) -> Iterator[Finding]:
    """The posterior equals the prior for every row, in all or in most of the dimensions that the rows need."""
    if not mostly_collapsed(context):
        return
    kl, active, size = context.value("kl"), context.value("active_units"), context.value("active_units.of")
    evidence = {
        "kl": kl,
        "active": active,
        "latent_dim": size,
        "needed": needed_dims(context),
        "mutual_information": context.value("mutual_information"),
    }
    numbers = (
        f"KL(q(z|x) || p(z)) is {kl:.2f} nats per row, and {active} of {size} dimensions carry {IN_USE_NATS:g} "
        "nats or more"
    )
    if collapsed(context):
        yield Finding(
            "posterior-collapse",
            "error",
            f"the posterior has collapsed: {numbers}",
            lower_kl_weight(context),
            evidence,
            "ignoring the code costs the decoder less than the KL term that using it would cost",
        )
    else:
        yield Finding(
            "posterior-collapse",
            "warning",
            f"the code is weak: {numbers}; a linear model uses {needed_dims(context)}",
            lower_kl_weight(context),
            evidence,
            "dimensions that were not yet useful when the KL weight reached its full value stayed out of use",
        )


def lower_kl_weight(context: DiagnosisContext) -> str:
    """Retrain with less weight on the KL term or a longer warm-up."""
    if context.convention is not None:
        return context.less_kl_weight()
    if context.beta > 1:
        return context.reweight_kl(1.0)
    if "warmup" not in context.fitted.fields:
        return context.reweight_kl(0.5 * context.beta)
    warmup = {"warmup": SMALL_WARMUP} if context.warmup < SMALL_WARMUP else {}
    return context.first_effective(warmup, {"beta": 0.5 * context.beta})


def too_many_dimensions(context: DiagnosisContext) -> Iterator[Finding]:
    """More latent dimensions than the rows need, by the held-out curve of linear models and by the KL of each."""
    active, size, best = context.value("active_units"), context.latent_dim, context.value("linear_dimensions")
    per_dim = context.value("kl_per_dim")
    if size is None or active is None or per_dim is None:
        return
    better = worst_linear(context)
    harmful = best and size >= EXCESS_RATIO * best and better is not None and not hardly_trained(context)
    if not harmful and (not 0 < active < size or mostly_collapsed(context)):
        return
    number = best if harmful else active
    idle = f"{size - active} of {size} latent dimensions are not in use (less than {IN_USE_NATS:g} nats each)"
    message = f"{size} latent dimensions are too many: the best linear model has {best}, and {idle}"
    yield Finding(
        "too-many-dimensions",
        severity_of_margin(context, better) if harmful and better is not None else "info",
        message if harmful else idle,
        context.retrain(latent_dim=number, **({"epochs": "auto"} if harmful else {})),
        {"active": active, "latent_dim": size, "linear": best, "kl_per_dim": list(per_dim)},
        "each dimension that the data do not need adds noise to the decoder's input, which training has to suppress"
        if harmful
        else "the data need no more dimensions; the others cost time, but log p(x) is the same without them",
    )


def too_few_dimensions(context: DiagnosisContext) -> Iterator[Finding]:
    """All dimensions are in use, and a linear model with more of them scores held-out rows higher."""
    active, size, best = context.value("active_units"), context.latent_dim, context.value("linear_dimensions")
    ratio = context.value("residual_eigenvalue_ratio")
    if size is None or active != size or context.code_size >= context.fitted.schema.size:
        return
    if hardly_trained(context) or far_worse_than_mean(context):
        return
    structured = ratio is not None and ratio >= EIGENVALUE_RATIO_INFO
    gain, error = context.value("linear_dimensions.gain") or 0.0, context.error("linear_dimensions.gain")
    more = (
        not context.fitted.schema.discrete
        and best is not None
        and best > size
        and gain > max(2 * error, MIN_DIMENSION_GAIN_NATS)
    )
    beaten = margin(context, "linear_dimensions")
    if beaten is not None:
        lacking = beaten < -max(2 * margin_error(context, "linear_dimensions"), MIN_DIMENSION_GAIN_NATS)
    else:  # of a plain autoencoder that reconstructs about as PCA does, the linear curve holds
        own, pca = context.value("reconstruction.scaled"), context.value("baselines.pca.scaled")
        lacking = structured or (own is not None and bool(pca) and own > LINEAR_ERROR_RATIO * pca)
    if not structured and not (more and lacking):
        return
    harmful = more and lacking and size <= best / EXCESS_RATIO
    number = best if more else 2 * size
    reasons = []
    if more:
        reasons.append(f"a linear model with {best} gains {gain:.2f} nats on held-out rows over one with {size}")
    if structured:
        reasons.append(f"one direction of the residuals is {ratio:.1f} times as strong as it would be in noise")
    yield Finding(
        "too-few-dimensions",
        "warning" if harmful else "info",
        f"{'the only latent dimension is' if size == 1 else f'all {size} latent dimensions are'} in use, and "
        f"{' and '.join(reasons)}",
        context.retrain(latent_dim=number),
        {"active": active, "latent_dim": size, "linear": best, "gain": gain, "residual_eigenvalue_ratio": ratio},
        "the code has no room for directions in which the rows differ",
    )


@needs_code
def dead_units(context: DiagnosisContext) -> Iterator[Finding]:
    """Units of a sparse code that are never active."""
    dead, size = context.value("active_units.never"), context.value("active_units.of")
    if context.is_generative or not dead or dead < DEAD_SHARE_WARN:
        return
    sparsity = context.fitted.fields.get("sparsity")
    remedy = context.retrain(latent_dim=max(1, round(size * (1 - dead))))
    if sparsity and sparse_by_penalty(sparsity, context.code_size):
        remedy = context.retrain(sparsity=f"top_k({max(1, size // 16)})")
    yield Finding(
        "dead-units",
        "warning",
        f"{dead:.0%} of {size} units are never active",
        remedy,
        {"dead": dead, "latent_dim": size},
        "units that become inactive early get no gradient and stay inactive",
    )


@needs_code
def identity_leak(context: DiagnosisContext) -> Iterator[Finding]:
    """A plain autoencoder whose code is as wide as the data or wider, and which nothing keeps from copying."""
    size, units, fields = context.fitted.schema.size, context.code_size, context.fitted.fields
    kept = restores(context) or any(fields.get(name) not in (None, "none", 0) for name in ("sparsity", "contraction"))
    if context.is_generative or units < size or kept or context.fitted.schema.sequence or context.fitted.closed_form:
        return
    lost = context.value("identity_test")
    # What keeps networks of the user's own from copying is not known: it is seen.
    copies = lost is not None and lost <= MAX_IDENTITY_LOSS and not context.value("active_units.silent")
    if context.convention is not None and not copies:
        return
    best = context.value("linear_dimensions")
    yield Finding(
        "identity-leak",
        "warning",
        f"the code has {units} numbers for {size} features: a plain autoencoder of this width can copy its input",
        context.retrain(latent_dim=best if best and best < size else max(1, size // 4)),
        {"latent_dim": units, "features": size, "linear": best, "lost": lost},
        "a code that is no narrower than the data need not learn their structure; sparsity or corruption would also "
        "prevent copying",
    )


@needs_code
def identity_mapping(context: DiagnosisContext) -> Iterator[Finding]:
    """An autoencoder with at least as many units as features has learned the identity."""
    lost, size, units = context.value("identity_test"), context.fitted.schema.size, context.code_size
    if lost is None or units < size or lost > MAX_IDENTITY_LOSS or restores(context):
        return
    yield Finding(
        "identity-mapping",
        "warning",
        f"the autoencoder has learned the identity: of rows with shuffled columns, which have no structure, it "
        f"reconstructs {1 - lost:.1%} of the variance",
        context.retrain(latent_dim=max(1, size // 4)),
        {"lost": lost, "latent_dim": units, "features": size},
        f"a code of {units} numbers for {size} features can copy its input instead of learning its structure; "
        "corruption or sparsity would also prevent this",
    )


@needs_code
def labels_not_encoded(context: DiagnosisContext) -> Iterator[Finding]:
    """The codes do not predict the labels."""
    chance = context.value("probes.commonest")
    if chance is None or context.fitted.schema.condition is not None:
        return
    best = max(("probes.linear", "probes.nearest"), key=context.value)
    accuracy = context.value(best)
    if accuracy - chance > 2 * context.error(best):
        return
    yield Finding(
        "labels-not-encoded",
        "warning",
        f"the codes do not predict the labels: accuracy {accuracy:.1%}, the most frequent label {chance:.1%}",
        context.other_model("ConditionalVAE", latent_dim=context.code_size),
        {"accuracy": accuracy, "chance": chance},
        "the code keeps what reconstruction needs most, which does not include what distinguishes these labels, or x "
        "does not contain it; or labels and rows are not in the same order",
    )


def condition_use(context: DiagnosisContext) -> Iterator[Finding]:
    """The decoder ignores the condition, or the code contains it as well."""
    gain = context.value("condition")
    if gain is None:
        return
    if gain < max(3 * context.error("condition"), MIN_KL_NATS):
        remedy = "check that conditions and rows are in the same order"
        if context.latent_dim is not None:
            remedy = context.retrain(latent_dim=max(1, context.latent_dim // 2))
        yield Finding(
            "condition-ignored",
            "warning",
            f"the condition is ignored: log p(x) is only {gain:.2f} nats higher than with the condition of another row",
            remedy,
            {"gain": gain},
            "the code already contains what the condition would add, or the condition is unrelated to x",
        )
    accuracy, chance = context.value("condition.read_from_codes"), context.value("condition.commonest")
    if accuracy is not None and accuracy - chance > LEAK_SHARE_WARN * (1 - chance):
        yield Finding(
            "condition-leak",
            "warning",
            f"the code contains the condition: a classifier on codes predicts it with {accuracy:.0%} accuracy; the "
            f"most frequent label {chance:.0%}",
            context.first_effective({"prior": "conditional"}, {"beta": 2.0 * context.beta}),
            {"accuracy": accuracy, "chance": chance},
            "if the condition of a sample is changed, its code keeps much of the old one",
        )


@needs_code
def interpolation_holes(context: DiagnosisContext) -> Iterator[Finding]:
    """Straight lines between codes cross regions without data."""
    measures = [name for name in ("paths.log_likelihood", "paths.distance") if context.value(name) is not None]
    if not measures:
        return
    # By log p(x) or by the distance to training rows: a model may find likely what is far from all data.
    worst = max(measures, key=lambda name: context.value(f"{name}.holes"))
    share, error = context.value(f"{worst}.holes"), context.error(f"{worst}.holes")
    if share - 2 * error < HOLE_SHARE_WARN:
        return
    loss = context.value(worst)
    by_likelihood = worst == "paths.log_likelihood"
    lost = f"{loss:.2f} nats less likely" if by_likelihood else f"{loss:.3g} farther from training rows"
    remedy, cause = reason_for_holes(context)
    yield Finding(
        "latent-holes",
        "warning" if context.is_generative and not is_mixture(context.prior) else "info",
        f"{share:.0%} of straight paths between two codes cross a hole: the midpoint is {lost} than the ends",
        remedy,
        {"holes": share, "standard_error": error, "worse": loss},
        cause,
    )


def reason_for_holes(context: DiagnosisContext) -> tuple[str, str]:
    """Remedy and cause of holes between codes."""
    if not context.is_generative:
        remedy = context.other_model("VAE", latent_dim=context.code_size)
        return remedy, "the loss of a plain autoencoder does not constrain the space between codes: this is expected"
    part = context.fitted.model.parts().get("prior")
    fitted_later = isinstance(part, PostHocPrior)
    if fitted_later or is_mixture(context.prior):  # nobody samples between its components
        # A density that was fitted after training had no part in where the codes are.
        remedy = context.reweight_kl(2 * context.beta) if fitted_later else context.retrain(prior="normal")
        return (
            remedy,
            "the prior has islands, and the codes lie on them: samples are none the worse, only paths between codes",
        )
    islands = "the codes form islands that the KL term has not joined"
    if isinstance(part, StandardNormal):
        return context.retrain(prior="mixture(50)"), f"{islands}; a mixture prior at least models where they are"
    return (
        context.retrain(prior="normal"),
        f"{islands}: a learned prior follows the codes, where a standard normal draws them together",
    )


def is_mixture(prior: Any) -> bool:
    """Whether p(z) is a mixture, with components that may lie apart."""
    return isinstance(getattr(prior, "base", prior), Mixture | MixtureSameFamily)
