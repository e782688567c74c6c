"""Findings about the model as a density and as a source of samples, compared with baselines."""

from __future__ import annotations

import math
from collections.abc import Iterator

from isthmus.diagnosis.context import DiagnosisContext
from isthmus.diagnosis.training_findings import MEASURED_MIN_ROWS, smaller_network
from isthmus.evaluation.baselines import LINEAR
from isthmus.finding import Finding

MEAN_ERROR_RATIO = 0.99
"""Ratio of the model's squared error to that of the training mean from which the model is no better."""
PCA_ERROR_RATIO = 1.05
"""Ratio of the model's squared error to that of PCA from which PCA is preferable."""
MARGIN_SIGMA = 2.0
"""Standard errors by which a margin over a baseline must differ from 0."""
NOISE_VARIANCE_RATIO = 1.5
"""PCA of noise keeps latent_dim / features of the variance; up to this many times that share there is no structure."""
MIN_VARIANCE_RATIO = 0.1
"""Variance of decoded samples relative to what the code can explain, below which samples lack diversity."""
MIN_REFIT_GAIN_NATS = 1.0
"""Gain of a refitted prior from which the prior does not match the codes."""
SIGNIFICANCE_SIGMA = 4.0
"""Significance threshold in standard errors, allowing for multiple tests."""
MIN_EXCESS_ACCURACY = 0.05
"""Accuracy above 1/2 from which a distribution shift matters."""
KHAT_SHARE_INFO = 0.1
"""Share of rows with a Pareto k-hat above 0.7 that is worth mentioning."""
KHAT_SHARE_WARN = 0.9
"""Share of such rows that is worth a warning."""
DOUBLING_GAIN_INFO_NATS = 0.1
"""Gain of the last doubling of draws that is worth mentioning."""
DOUBLING_GAIN_WARN_NATS = 0.3
"""Gain of the last doubling of draws that is worth a warning."""
DENSITY_BASELINES = {"factor_analysis": "factor analysis", "gaussian_mixture": "a Gaussian mixture"}


def worse_than_baselines(context: DiagnosisContext) -> Iterator[Finding]:
    """Reconstructions no better than the mean or PCA; log p(x) below that of a density model without a network."""
    own = context.value("reconstruction.scaled")
    mean, pca = (context.value(f"baselines.{name}.scaled") for name in ("mean", "pca"))
    if own is None or mean is None or pca is None:  # a model without a code, or without training rows
        yield from worse_than_densities(context)
        return
    evidence = {"squared_error": own, "mean": mean, "pca": pca, "unit": "scaled units"}
    if uncorrelated(context):
        yield Finding(
            "uncorrelated-features",
            "info",
            f"PCA of the same size keeps {1 - pca / mean:.1%} of the variance, no more than of uncorrelated noise",
            "no action needed: uncorrelated columns cannot be compressed",
            {"pca": pca, "mean": mean, "latent_dim": context.code_size, "features": context.fitted.schema.size},
            "no linear code of this size captures structure in these columns",
        )
        return
    useless = own > MEAN_ERROR_RATIO * mean and context.rows >= MEASURED_MIN_ROWS
    if useless and (margin(context, "mean") or 0.0) < MARGIN_SIGMA * margin_error(context, "mean"):
        yield Finding(
            "worse-than-mean",
            "error",
            f"reconstructions are no better than the training mean: squared error {own:.4g}, the mean's {mean:.4g}",
            context.retrain(epochs=longer(context)),
            evidence,
            "no information about x passes through the code",
        )
    elif not context.has_density and own > PCA_ERROR_RATIO * pca and significantly_worse(context, "pca"):
        yield Finding(
            "worse-than-pca",
            "warning",
            f"PCA of the same size reconstructs better: squared error {own:.4g}, PCA's {pca:.4g}",
            context.first_effective({"hidden": ()}, {"epochs": longer(context)}),
            evidence,
            "the network is undertrained or overfits; without hidden layers it would converge to PCA",
        )
    if not useless:
        yield from worse_than_densities(context)


def worse_than_densities(context: DiagnosisContext) -> Iterator[Finding]:
    """log p(x) below that of probabilistic PCA, factor analysis or a Gaussian mixture."""
    margins = {name: value for name in LINEAR if (value := margin(context, name)) is not None}
    if not margins:
        return
    linear = min(margins, key=margins.__getitem__)
    if significantly_worse(context, linear):
        latent_dim, scaling = (context.value(f"baselines.{linear}.{name}") for name in ("latent_dim", "scaling"))
        yield Finding(
            "worse-than-pca",
            "warning",
            f"probabilistic PCA, which is exact and instant, scores the same rows {-margins[linear]:.2f} nats higher",
            context.other_model("ProbabilisticPCA", latent_dim=max(1, latent_dim), scaling=scaling),
            {"margin": margins[linear], "standard_error": margin_error(context, linear)},
            "there are too few rows for a network of this size, or it is undertrained",
        )
        return
    best = min(DENSITY_BASELINES, key=lambda name: margin(context, name) or 0.0)
    if significantly_worse(context, best):
        value = margin(context, best) or 0.0
        yield Finding(
            "worse-than-baseline",
            "warning",
            f"{DENSITY_BASELINES[best]} scores the same rows {-value:.2f} nats higher",
            context.retrain(epochs=longer(context)),
            {"margin": value, "standard_error": margin_error(context, best)},
            "a density model without a network fits better: the network is too small or undertrained",
        )


def margin(context: DiagnosisContext, baseline: str) -> float | None:
    """By how much the model is better than a baseline; negative if it is worse."""
    return context.value(f"baselines.{baseline}.margin")


def margin_error(context: DiagnosisContext, baseline: str) -> float:
    """The standard error of the margin."""
    return context.error(f"baselines.{baseline}.margin")


def significantly_worse(context: DiagnosisContext, baseline: str) -> bool:
    """Whether the model is worse than a baseline by more than chance."""
    return (margin(context, baseline) or 0.0) < -MARGIN_SIGMA * margin_error(context, baseline)


def uncorrelated(context: DiagnosisContext) -> bool:
    """Whether PCA of the same size keeps no more of the variance than it would of uncorrelated noise."""
    mean, pca = (context.value(f"baselines.{name}.scaled") for name in ("mean", "pca"))
    size, sequence = context.fitted.schema.size, context.fitted.schema.sequence
    if not mean or pca is None or sequence or context.code_size >= size / 2:
        return False
    return 1 - pca / mean < NOISE_VARIANCE_RATIO * context.code_size / size


def longer(context: DiagnosisContext) -> int:
    """Twice the number of epochs."""
    return 2 * max(len(context.fitted.history), 20)


def prior_hole(context: DiagnosisContext) -> Iterator[Finding]:
    """The codes do not match the prior, so that samples are decoded from regions without codes."""
    gain = context.value("refit_gain")
    if gain is None or gain < max(MIN_REFIT_GAIN_NATS, 3 * context.error("refit_gain")):
        return
    yield Finding(
        "prior-hole",
        "warning",
        f"the codes do not match the prior: a mixture fitted to them as prior gains {gain:.2f} nats per row",
        context.first_effective({"prior": "refit"}, {"prior": "refit(50)"}),
        {"gain": gain, "aggregate_kl": context.value("aggregate_kl")},
        "the KL weight is too small to match the codes to the prior, so samples are decoded from regions that training "
        "never visited",
    )


def low_sample_diversity(context: DiagnosisContext) -> Iterator[Finding]:
    """Decoded samples vary far less than reconstructions or than the data."""
    samples = context.value("sample_spread")
    reconstructions = context.value("sample_spread.of_reconstructions")
    mean, pca = context.value("baselines.mean"), context.value("baselines.pca")
    if samples is None or reconstructions is None or uncorrelated(context):
        return
    # The share of the variance that a code of this size can explain; samples need not show the noise.
    explainable = max(reconstructions, 1 - pca / mean if pca is not None and mean else 0.0)
    if samples > MIN_VARIANCE_RATIO * explainable:
        return
    lower_beta = {"beta": 0.5 * context.beta}
    collapsed = reconstructions < MIN_VARIANCE_RATIO
    yield Finding(
        "low-sample-diversity",
        "warning",
        f"samples lack diversity: means decoded from the prior have {samples:.1%} of the data's variance, "
        f"reconstructions {reconstructions:.1%}",
        context.first_effective({"warmup": 0.5} if collapsed else {"prior": "refit"}, lower_beta),
        {"samples": samples, "reconstructions": reconstructions},
        "whatever code is drawn from the prior, the decoder returns something close to the mean",
    )


def loose_bound(context: DiagnosisContext) -> Iterator[Finding]:
    """The importance-weighted estimate of log p(x) is dominated by few draws."""
    gain = context.value("log_likelihood.last_doubling_gain")
    if gain is None:
        return
    heavy = context.value("log_likelihood.khat_above") or 0.0
    if heavy <= KHAT_SHARE_INFO and gain <= DOUBLING_GAIN_INFO_NATS:
        return
    settings = {name: context.value(f"log_likelihood.{name}") for name in ("ess", "draws")}
    yield Finding(
        "loose-bound",
        "warning" if gain > DOUBLING_GAIN_WARN_NATS or heavy > KHAT_SHARE_WARN else "info",
        f"the estimate of log p(x) is a loose lower bound: few draws dominate it in {heavy:.0%} of rows (Pareto k-hat "
        f"above 0.7), and the last doubling of draws changed it by {gain:+.2f} nats",
        context.tighter_bound(),
        {"khat_above": heavy, "last_doubling_gain": gain, **settings},
        "q(z|x) misses part of the true posterior, so rare draws carry most of the weight",
    )


def memorization(context: DiagnosisContext) -> Iterator[Finding]:
    """Samples are copies of training rows."""
    close, expected = context.value("copies.close"), context.value("copies.close.of_data")
    to_train, chance = context.value("copies.to_train"), context.value("copies.to_train.expected")
    if close is None or to_train is None:
        return
    sigma = (to_train - chance) / max(context.error("copies.to_train"), 1e-9)
    error = math.hypot(context.error("copies.close"), context.error("copies.close.of_data"))
    if sigma < SIGNIFICANCE_SIGMA or close - expected < 2 * error:
        return
    yield Finding(
        "memorization",
        "warning",
        f"samples are copies of training rows: {close:.0%} are as close to one as {expected:.0%} of held-out rows are",
        smaller_network(context),
        {"close": close, "expected": expected, "nearest_is_training": to_train, "sigma": sigma},
        "the decoder stores rows instead of learning what they have in common: it is too large for this many rows",
    )


def distribution_shift(context: DiagnosisContext) -> Iterator[Finding]:
    """The evaluated rows differ from the training rows, which a classifier shows without the model."""
    accuracy, error = context.value("classifier.of_data"), context.error("classifier.of_data")
    if accuracy is None or accuracy - 0.5 < max(SIGNIFICANCE_SIGMA * error, MIN_EXCESS_ACCURACY):
        return
    yield Finding(
        "distribution-shift",
        "warning",
        f"a classifier distinguishes these rows from training rows with {accuracy:.0%} accuracy; chance is 50%",
        "shuffle the rows before splitting them, or evaluate on rows like those the model will be used on",
        {"accuracy": accuracy, "standard_error": error},
        "these rows come from another source, time or order than the training rows, so that metrics on them do not "
        "measure what was learned",
    )
