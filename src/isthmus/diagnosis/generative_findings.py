"""Findings about the model as a density and as a source of samples."""

from __future__ import annotations

import math
from collections.abc import Iterator

from isthmus.diagnosis.context import DiagnosisContext
from isthmus.diagnosis.symptoms import uncorrelated
from isthmus.diagnosis.training_findings import smaller_network
from isthmus.finding import Finding

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
