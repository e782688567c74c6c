"""The latent space of a model: how its dimensions hang together, and what lies between codes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from isthmus.evaluation.context import EvalContext
from isthmus.evaluation.estimates import told
from isthmus.examples import Examples
from isthmus.metrics.importance_weighting import importance_weighted
from isthmus.metrics.latent_geometry import (
    PathStats,
    latent_correlation,
    path_distance,
    path_likelihood,
    principal_angles,
    random_pairs,
    relative_sharpness,
)
from isthmus.train.runtime import seeded

DRAWS = 100
PATHS = 100
FEWEST_ROWS = 20
"""Rows under which ten paths cannot be laid."""
SHARP_FROM = 8
"""Pixels a side from which on an image can be blurred."""


def geometry(subject: EvalContext) -> dict[str, Any]:
    """Correlation of dimensions, total correlation (nats), and angles with PCA of the same size."""
    found, unit = latent_correlation(subject.codes), "absolute correlation"
    angles = principal_angles(subject.codes, subject.as_read)
    turned = told(float(angles.mean()), None, "degrees", "mean", each=angles.tolist()) if len(angles) else None
    return {
        "correlation": told(found.mean, None, unit, "mean", chance=found.expected, largest=found.largest),
        "effective_dimensions": told(found.effective_dimensions, None, "dimensions", "participation ratio"),
        "total_correlation": told(found.total_correlation, None, "nats", "divergence")
        if math.isfinite(found.total_correlation)
        else None,
        "angle_with_pca": turned,
    }


def paths(subject: EvalContext) -> dict[str, Any] | None:
    """What lies on straight lines between the codes of two rows: nats lost, distance from training rows gained.

    Along a path the condition is that of its start. None for sequences and for too few rows.
    """
    model, inputs, n = subject.model, subject.inputs, len(subject)
    if model.schema_.sequence or n < FEWEST_ROWS:
        return None
    first, second = random_pairs(n, subject.seed, PATHS)
    given = None if inputs.condition is None else np.asarray(inputs.condition)[first]

    def decode(codes: np.ndarray, drawn: bool = False) -> np.ndarray:
        z = torch.as_tensor(codes, dtype=model.dtype_, device=model.device_)
        with seeded(subject.seed, model.device_):
            return model.decoded(z, given, drawn=drawn)

    def score(x: np.ndarray) -> np.ndarray:
        with subject.using():
            return importance_weighted(model.model_, model.lay(Examples(x, condition=given), "fixed"), DRAWS).values

    start, end = subject.codes[first], subject.codes[second]
    found: dict[str, Any] = {}
    if model.density:
        along = path_likelihood(lambda codes: decode(codes, True), score, start, end)
        found["log_likelihood"] = told_path(along, "nats lost in the middle")
    if subject.train is not None:
        read = subject.scaled(subject.train.x)
        apart = path_distance(lambda codes: subject.scaled(decode(codes)), read, start, end, seed=subject.seed)
        found["distance"] = told_path(apart, "distance from training rows gained in the middle")
    return found or None


def told_path(found: PathStats, unit: str) -> dict[str, Any]:
    """Paths as plain values."""
    holes = told(*found.holes, "share of paths", "share")
    return told(*found.midpoint_loss, unit, "difference", holes=holes, along=found.profile.tolist())


def sharp(subject: EvalContext) -> dict[str, Any] | None:
    """How sharp reconstructions, and samples' means, are beside the images; None for data that are none."""
    schema, images = subject.model.schema_, subject.inputs.x
    if not schema.image or min(images.shape[1:3]) < SHARP_FROM:
        return None
    shown = {"reconstructions": subject.again}
    if subject.model.density:
        shown["samples"] = subject.drawn(len(subject.samples), mean=True)
    found = {name: relative_sharpness(made, images) for name, made in shown.items()}
    return {name: told(*value, "times that of the data", "ratio") for name, value in found.items() if value} or None
