"""What samples from the prior are like beside data."""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.assessment.subject import Subject
from isthmus.assessment.told import told
from isthmus.evaluation.features import learned_features
from isthmus.evaluation.neighbours import memorisation
from isthmus.evaluation.samples import FEWEST_ROWS, sample_quality

COUNT = 500
"""Codes drawn to see how much what is decoded from them varies."""
QUALITY = {
    "accuracy": ("classifier", "share told right", "accuracy"),
    "mmd": ("mmd", "squared", "discrepancy"),
    "precision": ("precision", "share of samples", "share"),
    "recall": ("recall", "share of data", "share"),
    "frechet": ("frechet", "squared deviations of learned features", "distance"),
}
"""What is compared, the name under which it is told, its unit and its kind."""


def sample_spread(subject: Subject) -> dict[str, Any] | None:
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


def samples(subject: Subject) -> dict[str, Any] | None:
    """How far samples are from held-out rows, each number beside what training rows reach in their place.

    Rows that are too few to tell are said to be so. None without a prior, without training rows, for sequences.
    """
    if not subject.model.density or subject.train is None or subject.model.schema_.sequence:
        return None
    seen, held, drawn = subject.bits(subject.train.x), subject.bits(subject.inputs.x), subject.samples
    for name, side in (("training", seen), ("held-out", held)):
        if len(side) < FEWEST_ROWS:
            return {"refused": f"{len(side)} {name} rows are too few to compare samples with: {FEWEST_ROWS} are wanted"}
    features = learned_features(seen, seen.shape[1:], subject.seed)
    found = sample_quality(seen, held, drawn, features, subject.seed)
    told_as = {QUALITY[name]: both for name, both in found.items()}
    return {
        name: told(*both.samples, unit, kind, of_data=both.data._asdict())
        for (name, unit, kind), both in told_as.items()
    }


def copies(subject: Subject) -> dict[str, Any] | None:
    """Whether samples are copies of training rows; None where it cannot be told."""
    if not subject.model.density or subject.train is None or subject.model.schema_.sequence:
        return None
    if min(len(subject), len(subject.train)) < FEWEST_ROWS:
        return None
    seen, held = subject.bits(subject.train.x), subject.bits(subject.inputs.x)
    found = memorisation(seen, held, subject.samples, subject.seed)
    return {
        "z": told(found.z, 1.0, "standard deviations", "statistic"),
        "close": told(*found.close, "share of samples", "share", of_data=found.close_held._asdict()),
        "to_train": told(*found.to_train, "share of samples", "share", expected=found.to_train_expected),
    }
