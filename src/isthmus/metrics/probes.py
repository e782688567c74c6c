"""How well simple classifiers read labels from codes."""

from __future__ import annotations

import math

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from isthmus.metrics.estimate import Estimate

FOLDS = 5
MOST_ROWS = 5_000
"""Rows that probes see: an accuracy is known to half a per cent then."""
MOST_CLASSES = 100


def probes(codes: np.ndarray, labels: np.ndarray, seed: int = 0) -> dict[str, Estimate] | None:
    """A linear and a nearest-neighbour probe of codes (n, L) by cross-validation, beside the commonest label.

    Shares of labels read right from rows that the probe was not fitted to.

    None where labels (n,) are not classes of at least five rows each.
    """
    if labels.ndim == 1 and labels.dtype.kind == "f" and np.isfinite(labels).all() and (labels % 1 == 0).all():
        labels = labels.astype(np.int64)  # classes, on their way through a table of floats
    if labels.ndim != 1 or labels.dtype.kind not in "biuUSO":
        return None
    classes, place, counts = np.unique(labels.astype(str), return_inverse=True, return_counts=True)
    if not 2 <= len(classes) <= MOST_CLASSES or counts.min() < FOLDS:
        return None
    if len(codes) > MOST_ROWS:
        some = np.sort(np.random.default_rng(seed).permutation(len(codes))[:MOST_ROWS])
        return probes(codes[some], labels[some], seed)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    readers = {
        "linear": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        "nearest": make_pipeline(StandardScaler(), KNeighborsClassifier(5)),
    }
    right = {name: cross_val_predict(reader, codes, place, cv=folds) == place for name, reader in readers.items()}
    right["commonest"] = place == counts.argmax()
    return {name: share(hit) for name, hit in right.items()}


def share(hits: np.ndarray) -> Estimate:
    """How many of (n,) are True."""
    mean = float(hits.mean())
    return Estimate(mean, math.sqrt(mean * (1 - mean) / len(hits)))
