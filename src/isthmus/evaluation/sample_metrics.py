"""Samples from the prior beside data: can a classifier distinguish them, are they copies, are they blurred."""

from __future__ import annotations

import numpy as np

from isthmus.errors import Declined
from isthmus.evaluation.context import EvalContext
from isthmus.evaluation.generalization import TRAINING_ROWS
from isthmus.metrics.estimate import Estimate
from isthmus.metrics.features import learned_features
from isthmus.metrics.latent_geometry import relative_sharpness
from isthmus.metrics.memorization import memorization
from isthmus.metrics.metric import INLINE, Metric, from_estimate
from isthmus.metrics.sample_quality import check_comparable, sample_quality

MIN_SHARPNESS_PIXELS = 8
"""Pixels a side below which blur cannot be measured."""
QUALITY = {
    "precision": ("samples that lie among data (precision)", "share of samples", "share", ".1%"),
    "recall": ("data that lie among samples (recall)", "share of data", "share", ".1%"),
    "mmd": ("squared MMD of learned features", "", "discrepancy", ".4f"),
    "frechet": ("Fréchet distance of learned features", "squared deviations", "distance", ".3g"),
}
"""Label, unit, kind and digits of each comparison of learned features."""


def comparable(context: EvalContext) -> tuple[np.ndarray, np.ndarray] | None:
    """Training rows and test rows in the form of samples; None without samples or training rows, and for sequences."""
    if not context.fitted.capabilities.samples or context.train is None or context.schema.sequence:
        return None
    if context.overlaps_train:
        raise Declined(TRAINING_ROWS)
    context.require_complete()
    return context.binarized(context.train.x), context.binarized(context.examples.x)


def of_data(
    name: str, unit: str, kind: str, digits: str, estimate: Estimate, label: str = "for training rows"
) -> tuple[Metric]:
    """The same number for training rows in place of samples: what a perfect model would reach."""
    return (from_estimate(f"{name}.of_data", label, unit, kind, estimate, digits=digits, shown=INLINE),)


def classifier(context: EvalContext) -> Metric | None:
    """Accuracy of a classifier that separates samples from test rows, beside training rows in their place."""
    rows = comparable(context)
    if rows is None:
        return None
    accuracy = sample_quality(*rows, context.samples, None, context.seed)["accuracy"]
    unit, kind, digits = "share classified correctly", "accuracy", ".1%"
    details = of_data("classifier", unit, kind, digits, accuracy.data)
    label = "classifier separating samples from data"
    return from_estimate("classifier", label, unit, kind, accuracy.samples, digits=digits, details=details)


def sample_quality_metrics(context: EvalContext) -> tuple[Metric, ...] | None:
    """Distance between learned features of samples and of test rows, beside training rows in place of samples."""
    rows = comparable(context)
    if rows is None:
        return None
    context.require_numeric()
    train, test = rows
    check_comparable(train, test, context.samples)  # before anything is learned
    features = learned_features(train, train.shape[1:], context.seed)
    quality = sample_quality(train, test, context.samples, features, context.seed)
    metrics = []
    for key, (label, unit, kind, digits) in QUALITY.items():
        if key in quality:
            details = of_data(f"samples.{key}", unit, kind, digits, quality[key].data)
            kwargs = {"digits": digits, "details": details}
            metrics.append(from_estimate(f"samples.{key}", label, unit, kind, quality[key].samples, **kwargs))
    return tuple(metrics)


def copies(context: EvalContext) -> tuple[Metric, ...] | None:
    """Whether samples are copies of training rows."""
    rows = comparable(context)
    if rows is None:
        return None
    context.require_numeric()
    stats, unit, digits = memorization(*rows, context.samples, context.seed), "share of samples", ".1%"
    expected = Metric(
        "copies.to_train.expected",
        "expected if none is a copy",
        unit,
        "share",
        stats.to_train_expected,
        digits=digits,
        shown=INLINE,
        plain=True,
    )
    close_label = "samples as near to a training row as 1% of other rows are"
    return (
        Metric(
            "copies.z",
            "distance of samples to training rows",
            "",
            "statistic",
            stats.z,
            1.0,
            digits=".1f",
            note="z-score against other rows; below -3: copies",
        ),
        from_estimate(
            "copies.close",
            close_label,
            unit,
            "share",
            stats.close,
            digits=digits,
            details=of_data("copies.close", unit, "share", digits, stats.close_test, "for other rows"),
        ),
        from_estimate(
            "copies.to_train",
            "samples whose nearest row is a training row",
            unit,
            "share",
            stats.to_train,
            digits=digits,
            details=(expected,),
        ),
    )


def sharpness(context: EvalContext) -> tuple[Metric, ...] | None:
    """Sharpness of reconstructions, and of samples' means, relative to the images; None for other data."""
    images = context.examples.x
    if not context.schema.image or min(images.shape[1:3]) < MIN_SHARPNESS_PIXELS:
        return None
    context.require_complete(context.examples)
    pictures = {"reconstructions": context.reconstructions} if context.has_code else {}
    if context.fitted.capabilities.samples:
        pictures["samples"] = context.sample(len(context.samples), mean=True)
    ratios = {name: relative_sharpness(shown, images) for name, shown in pictures.items()}
    return (
        tuple(
            from_estimate(f"sharpness.{name}", f"sharpness of {name}", "times that of the data", "ratio", ratio)
            for name, ratio in ratios.items()
            if ratio
        )
        or None
    )
