"""How well simple classifiers predict labels from codes."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from isthmus.metrics.estimate import Estimate, proportion

N_FOLDS = 5
"""Folds of the cross-validation."""
PROBE_MAX_ROWS = 5_000
"""Rows that probes see: the standard error of an accuracy is then below 0.01."""
MAX_CLASSES = 100
"""Labels up to which probes are trained."""


def probes(codes: np.ndarray, labels: np.ndarray, seed: int = 0) -> dict[str, Estimate] | None:
    """Cross-validated accuracies of two probes (Alain & Bengio, 2017) and of the majority class.

    Args:
        codes: (n, L).
        labels: (n,) classes: integers, booleans, text, or floats that are whole numbers.
        seed: chooses the folds, and at most `PROBE_MAX_ROWS` rows.

    Returns:
        Accuracies of "linear" (logistic regression), "nearest" (5 nearest neighbors) and "commonest" (the majority
        class); None if labels are not classes of at least `N_FOLDS` rows each.
    """
    if labels.ndim == 1 and labels.dtype.kind == "f" and np.isfinite(labels).all() and (labels % 1 == 0).all():
        labels = labels.astype(np.int64)  # classes that came through a table of floats
    if labels.ndim != 1 or labels.dtype.kind not in "biuUSO":
        return None
    classes, class_index, counts = np.unique(labels.astype(str), return_inverse=True, return_counts=True)
    if not 2 <= len(classes) <= MAX_CLASSES or counts.min() < N_FOLDS:
        return None
    if len(codes) > PROBE_MAX_ROWS:
        subset = np.sort(np.random.default_rng(seed).permutation(len(codes))[:PROBE_MAX_ROWS])
        return probes(codes[subset], labels[subset], seed)
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=seed)
    classifiers = {
        "linear": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        "nearest": make_pipeline(StandardScaler(), KNeighborsClassifier(5)),
    }
    correct = {
        name: cross_val_predict(classifier, codes, class_index, cv=folds) == class_index
        for name, classifier in classifiers.items()
    }
    correct["commonest"] = class_index == counts.argmax()
    return {name: proportion(hits) for name, hits in correct.items()}
