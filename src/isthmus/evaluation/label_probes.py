"""What codes say of labels, and of the factors that rows were made from."""

from __future__ import annotations

from typing import Any

from isthmus.evaluation.context import EvalContext
from isthmus.evaluation.estimates import told
from isthmus.metrics.disentanglement import disentanglement
from isthmus.metrics.probes import probes


def labels_read(subject: EvalContext) -> dict[str, Any] | None:
    """How well simple classifiers read labels from codes; None without labels."""
    read = None if subject.y is None else probes(subject.codes, subject.y, subject.seed)
    return None if read is None else {name: told(*found, "share of rows", "accuracy") for name, found in read.items()}


def disentangled(subject: EvalContext) -> dict[str, Any] | None:
    """How far each factor has a dimension of its own; None where the factors are not known."""
    if subject.factors is None:
        return None
    found = disentanglement(subject.codes, subject.factors, subject.seed)
    return {name: told(*value, "0 by chance, 1 at best", "score") for name, value in found.items()}
