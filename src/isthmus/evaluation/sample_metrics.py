"""What samples from the prior are like beside data."""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.errors import InputError
from isthmus.evaluation.context import EvalContext
from isthmus.evaluation.estimates import told
from isthmus.evaluation.generalization import SEEN
from isthmus.metrics.features import learned_features
from isthmus.metrics.memorization import memorization
from isthmus.metrics.sample_quality import check_comparable, sample_quality

COUNT = 500
"""Codes drawn to see how much what is decoded from them varies."""
QUALITY = {
    "mmd": ("squared", "discrepancy"),
    "precision": ("share of samples", "share"),
    "recall": ("share of data", "share"),
    "frechet": ("squared deviations of learned features", "distance"),
}
"""The unit and the kind of what is compared."""


def sample_spread(subject: EvalContext) -> dict[str, Any] | None:
    """The variance of E[x given z] over codes from the prior, as a share of the data's, and of reconstructions'.

    Near 0 all samples look alike; near that of reconstructions they vary as these do. None without a prior.
    """
    if not subject.model.density:
        return None
    data = variance(subject.inputs.x)
    if not data:
        return None
    drawn, again = variance(subject.drawn(COUNT, mean=True)), variance(subject.again)
    return told(drawn / data, None, "share of the data's variance", "ratio", of_reconstructions=again / data)


def variance(x: np.ndarray) -> float:
    """Summed over features of rows (n, *X)."""
    return float(x.reshape(len(x), -1).var(0, dtype=np.float64).sum())


def comparable(subject: EvalContext) -> tuple[np.ndarray, np.ndarray] | None:
    """Training rows and held-out rows as samples come; None without a prior, without training rows, for sequences."""
    if not subject.model.density or subject.train is None or subject.model.schema_.sequence:
        return None
    if subject.seen:
        raise InputError(SEEN)
    return subject.bits(subject.train.x), subject.bits(subject.inputs.x)


def classifier(subject: EvalContext) -> dict[str, Any] | None:
    """How often a classifier tells samples from held-out rows, beside training rows in their place."""
    rows = comparable(subject)
    if rows is None:
        return None
    both = sample_quality(*rows, subject.samples, None, subject.seed)["accuracy"]
    return told(*both.samples, "share told right", "accuracy", of_data=both.data._asdict())


def samples(subject: EvalContext) -> dict[str, Any] | None:
    """How far learned features of samples are from those of held-out rows, beside training rows in their place."""
    rows = comparable(subject)
    if rows is None:
        return None
    seen, held = rows
    check_comparable(seen, held, subject.samples)  # before anything is learned
    features = learned_features(seen, seen.shape[1:], subject.seed)
    found = sample_quality(seen, held, subject.samples, features, subject.seed)
    return {name: told(*both.samples, *QUALITY[name], of_data=both.data._asdict()) for name, both in found.items()}


def copies(subject: EvalContext) -> dict[str, Any] | None:
    """Whether samples are copies of training rows."""
    rows = comparable(subject)
    if rows is None:
        return None
    found = memorization(*rows, subject.samples, subject.seed)
    return {
        "z": told(found.z, 1.0, "standard deviations", "statistic"),
        "close": told(*found.close, "share of samples", "share", of_data=found.close_test._asdict()),
        "to_train": told(*found.to_train, "share of samples", "share", expected=found.to_train_expected),
    }
