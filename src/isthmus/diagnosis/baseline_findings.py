"""Findings about the model compared with something simpler: the mean row, PCA, densities without a network."""

from __future__ import annotations

from collections.abc import Iterator

from isthmus.data_checks.suspect_columns import MAX_OFFSET
from isthmus.diagnosis.context import OWN_CODE, DiagnosisContext
from isthmus.diagnosis.latent_findings import EIGENVALUE_RATIO_INFO
from isthmus.diagnosis.symptoms import (
    cleaning_harms,
    far_worse_than_mean,
    harmful_offset,
    margin,
    margin_error,
    no_better_than_mean,
    severity_of_margin,
    significantly_worse,
    uncorrelated,
    worse_than_pca,
    worst_linear,
)
from isthmus.diagnosis.training_findings import LINEAR_FIELDS, not_converged
from isthmus.finding import Finding

MIN_EPOCHS = 20
"""Epochs of which a remedy for a model that is no better than the mean suggests twice as many, at least."""
MAX_SPREAD = 3.0
"""Widest over narrowest scaled column from which networks may have been trained on rows that were scaled otherwise."""
CODE_FIELDS = {"latent_dim", "prior", "initialization"}
"""What of a code is chosen from the data, if it is not given."""
DENSITY_BASELINES = {
    "baselines.factor_analysis": "factor analysis",
    "baselines.gaussian_mixture": "a Gaussian mixture",
}


def uncorrelated_features(context: DiagnosisContext) -> Iterator[Finding]:
    """No linear code captures structure in the columns."""
    if not context.code_size or not uncorrelated(context):
        return
    mean, pca = (context.value(f"baselines.{name}.scaled") for name in ("mean", "pca"))
    evidence = {"latent_dim": context.code_size, "features": context.fitted.schema.size}
    message = "the best linear model of these rows has no latent dimension: the columns are uncorrelated"
    if mean and pca is not None:
        message = f"PCA of the same size keeps {1 - pca / mean:.1%} of the variance, no more than of uncorrelated noise"
        evidence |= {"pca": pca, "mean": mean}
    yield Finding(
        "uncorrelated-features",
        "info",
        message,
        "no action needed: uncorrelated columns cannot be compressed",
        evidence,
        "no linear code of this size captures structure in these columns",
    )


def worse_than_mean(context: DiagnosisContext) -> Iterator[Finding]:
    """Reconstructions are no better than the mean row of the training rows, or of the measured ones."""
    own, mean = context.value("reconstruction.scaled"), context.value("baselines.mean.scaled")
    explained = context.value("variance_explained")
    if not no_better_than_mean(context):
        return
    of_mean = mean if mean else own / (1 - explained)
    which = "training mean" if mean else "mean row"
    far = far_worse_than_mean(context)
    remedy, cause = reason_for_scale(context) if far else ("", "")
    yield Finding(
        "worse-than-mean",
        "error",
        f"reconstructions are {'far worse' if far else 'no better'} than the {which}: squared error {own:.4g}, the "
        f"mean's {of_mean:.4g}",
        remedy or context.retrain(epochs=longer(context)),
        {"squared_error": own, "mean": of_mean, "variance_explained": explained, "unit": "scaled units"},
        cause or "no information about x passes through the code",
    )


def worse_than_input(context: DiagnosisContext) -> Iterator[Finding]:
    """Cleaned rows are farther from the clean rows than the damaged rows were."""
    if not cleaning_harms(context):
        return
    ratio, (remedy, cause) = context.value("cleaning"), reason_for_harm(context)
    yield Finding(
        "worse-than-input",
        "error",
        f"cleaning does harm: cleaned rows are {ratio:.2g} times as far from the clean rows as the damaged rows were, "
        "by squared error",
        remedy,
        {"ratio": ratio, "standard_error": context.error("cleaning"), "latent_dim": context.code_size},
        cause,
    )


def reason_for_harm(context: DiagnosisContext) -> tuple[str, str]:
    """Remedy and cause of cleaning that does harm: a narrow code, too little training, a wide code, or little damage.

    A larger code helps only where rows have more dimensions than it, by the linear models or by the residuals.
    """
    schema, size, best = context.fitted.schema, context.code_size, context.value("linear_dimensions")
    fields = context.fitted.fields
    structured = (context.value("residual_eigenvalue_ratio") or 0.0) >= EIGENVALUE_RATIO_INFO
    narrow = size < schema.size and (structured if best is None else size < best)
    more = {"epochs": longer(context)} if any(not_converged(context)) else {}
    if narrow and context.latent_dim is not None:
        return (
            context.retrain(latent_dim=min(schema.size, max(best or 0, 2 * size)), **more),
            "the code has fewer dimensions than the rows, and loses more of a row than the damage does",
        )
    if more:
        return context.retrain(**more), "the network is undertrained for damage this small"
    if schema.paired and size >= schema.size and context.latent_dim is not None and fields.get("network") != "unet":
        return (
            context.retrain(latent_dim=best if best and best < schema.size else max(1, schema.size // 4)),
            f"a code of {size} numbers for {schema.size} features can keep the damage as well as the row",
        )
    return (
        "leave rows with so little damage as they are, or train on damage like theirs: corruption=..., or the clean "
        "rows as target=...",
        "the network loses more of a row than the damage does, which is smaller than what the rows vary by around "
        "their structure",
    )


def reason_for_scale(context: DiagnosisContext) -> tuple[str, str]:
    """Remedy and cause of reconstructions that are on another scale than the rows; empty if it is not that."""
    offset, spread = context.value("column_offset") or 0.0, context.value("column_spread") or 1.0
    if offset < MAX_OFFSET and spread < MAX_SPREAD:
        if context.convention is None:
            return "", "training went wrong, or the rows are on another scale than the training rows"
        return (
            f"{OWN_CODE}check that the networks were trained, on rows scaled like these",
            "the networks are untrained, or these rows are scaled otherwise than those that they were trained on",
        )
    if context.convention is not None:
        remedy = f"{OWN_CODE}standardise the rows before training: (X - X.mean(0)) / X.std(0)"
    else:
        remedy = context.retrain(scaling="standard")
    return remedy, (
        f"the columns' means are {offset:.3g} times their standard deviations, so that the networks first have to "
        "learn the means"
    )


def column_offset(context: DiagnosisContext) -> Iterator[Finding]:
    """Columns far from 0 that are not centred, of a model that does badly."""
    offset = context.value("column_offset")
    if not harmful_offset(context) or far_worse_than_mean(context):
        return
    remedy = context.retrain(scaling="standard")
    if context.convention is not None:
        remedy = f"{OWN_CODE}centre the rows before training: X - X.mean(0)"
    yield Finding(
        "large-offset",
        "warning",
        f"the columns' means are {offset:,.3g} times their standard deviations",
        remedy,
        {"offset": offset},
        "the columns are not centred, so that most of the squared error and of the code goes to their means",
    )


def worse_than_baselines(context: DiagnosisContext) -> Iterator[Finding]:
    """PCA reconstructs better, or a linear model or another density scores the same rows higher."""
    if uncorrelated(context) and not context.is_generative:
        return
    if worse_than_pca(context):
        own, pca = context.value("reconstruction.scaled"), context.value("baselines.pca.scaled")
        yield Finding(
            "worse-than-pca",
            "warning",
            f"PCA of the same size reconstructs better: squared error {own:.4g}, PCA's {pca:.4g}",
            context.first_effective(LINEAR_FIELDS if context.hidden else {}, {"epochs": longer(context)}),
            {"squared_error": own, "pca": pca, "unit": "scaled units"},
            "the network is undertrained or overfits; without hidden layers it would converge to PCA",
        )
    elif (name := worst_linear(context)) is not None:
        yield worse_than_linear(context, name)
    else:
        yield from worse_than_densities(context)


def worse_than_linear(context: DiagnosisContext, name: str) -> Finding:
    """A linear model scores the same rows higher; `name` is that of the baseline."""
    value = margin(context, name) or 0.0
    dim = context.value("linear_dimensions" if name == "linear_dimensions" else f"{name}.latent_dim")
    scaling = context.value(f"{name}.scaling")
    params = {"latent_dim": max(1, dim or 1)} | ({"scaling": scaling} if scaling == "standard" else {})
    schema = context.fitted.schema
    # Probabilistic PCA takes neither conditions nor clean targets nor rows with missing values.
    if schema.condition is not None or schema.discrete or schema.paired or context.incomplete:
        remedy = context.first_effective(LINEAR_FIELDS if context.hidden else {}, {"epochs": longer(context)})
    else:
        remedy = context.other_model("ProbabilisticPCA", **params)
    return Finding(
        "worse-than-pca",
        severity_of_margin(context, name),
        f"probabilistic PCA, which is exact and instant, scores the same rows {-value:.2f} nats higher",
        remedy,
        {"margin": value, "standard_error": margin_error(context, name), "latent_dim": dim},
        "there are too few rows for a network of this size, or it is undertrained",
    )


def worse_than_densities(context: DiagnosisContext) -> Iterator[Finding]:
    """log p(x) below that of factor analysis or a Gaussian mixture."""
    known = [name for name in DENSITY_BASELINES if margin(context, name) is not None]
    best = min(known, key=lambda name: margin(context, name) or 0.0, default=None)
    if best is None or not significantly_worse(context, best):
        return
    value, given = margin(context, best) or 0.0, context.given_fields
    of_code = bool(set(given) & CODE_FIELDS)
    if of_code or (given and stopped_early(context)):
        what = "the code or its prior" if of_code else "a field that would be chosen from the data"
        cause = f"{what} was given, and does not suit the rows"
        remedy = context.retrain(**dict.fromkeys(given, "auto"))
    elif stopped_early(context):  # longer training would stop where this one did
        cause = "training stopped early, when the network found no more in these rows"
        remedy = "use that density where only log p(x) counts, or train on more rows: more epochs change nothing"
    else:
        cause = "the network is too small or undertrained"
        remedy = context.retrain(epochs=longer(context))
    yield Finding(
        "worse-than-baseline",
        severity_of_margin(context, best),
        f"{DENSITY_BASELINES[best]} scores the same rows {-value:.2f} nats higher",
        remedy,
        {"margin": value, "standard_error": margin_error(context, best)},
        f"a density model without a network fits better: {cause}",
    )


def stopped_early(context: DiagnosisContext) -> bool:
    """Whether validation ended training before its last epoch."""
    settings = context.fitted.settings
    otherwise = context.fitted.closed_form or settings.get("interrupted") or settings.get("out_of_time")
    done = 0 if otherwise else len(context.fitted.history)
    return 0 < done < settings.get("epochs", 0)


def longer(context: DiagnosisContext) -> int:
    """Twice the number of epochs."""
    return 2 * max(len(context.fitted.history), MIN_EPOCHS)
