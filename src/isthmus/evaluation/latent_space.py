"""The codes: dimensions in use, their dependence, paths between codes, labels and factors read from them."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from isthmus.evaluation.context import EvalContext
from isthmus.evaluation.encoded import EncodedRows
from isthmus.examples import Examples
from isthmus.metrics.dimensions_in_use import IN_USE_NATS, dimensions_in_use
from isthmus.metrics.disentanglement import disentanglement
from isthmus.metrics.latent_geometry import (
    PathStats,
    latent_correlation,
    path_distance,
    path_likelihood,
    principal_angles,
    random_pairs,
)
from isthmus.metrics.metric import HIDDEN, INLINE, Metric, from_estimate
from isthmus.metrics.probes import probes
from isthmus.schema.labels import is_known

PATH_DRAWS = 100
"""Draws for log p(x) of each point of a path."""
MAX_PATHS = 100
"""Paths between two codes that are measured, at most."""
MAX_CORRELATED_DIMS = 2_000
"""Dimensions of a code whose correlations are measured, at most: they take memory as their square."""
MIN_PATH_ROWS = 20
"""Rows below which there are fewer than ten independent paths."""
PROBE_LABELS = {
    "linear": "{} read from codes, linear probe",
    "nearest": "{} read from codes, 5 neighbours",
    "commonest": "{} guessed: always the commonest",
}
SCORE_LABELS = {
    "mig": "mutual information gap (MIG)",
    "sap": "attribute predictability (SAP)",
    "factor_vae": "FactorVAE score",
    "modularity": "modularity",
    "disentanglement": "DCI disentanglement",
    "completeness": "DCI completeness",
    "informativeness": "DCI informativeness",
}


def active_units(context: EvalContext) -> Metric | None:
    """Latent dimensions in use (see `dimensions_in_use`), and the share of dimensions that are 0 in every row."""
    if not context.has_code:
        return None
    codes, variational = context.flat_codes, context.is_variational
    std = context.encoded.posterior_std if variational else None
    count = int(dimensions_in_use(codes, variational, context.kl_per_dim if variational else None, std).sum())
    zero = codes == 0
    size, never, silent = codes.shape[1], float(zero.all(0).mean()), float(zero.mean())
    details = (
        Metric("active_units.of", "dimensions of the code", "", "count", size, shown=HIDDEN, plain=True),
        Metric("active_units.never", "dimensions that are always 0", "share", "share", never, shown=HIDDEN, plain=True),
        Metric("active_units.silent", "numbers that are 0", "share", "share", silent, shown=HIDDEN, plain=True),
    )
    label = "latent dimensions in use"
    note = f"of {size}" + (f", {IN_USE_NATS:g} nats or more each" if variational else "")
    return Metric("active_units", label, "dimensions", "count", count, note=note, details=details)


def geometry(context: EvalContext) -> tuple[Metric, ...] | None:
    """Correlation of the code's dimensions, and their total correlation (nats).

    None without a code, and for one of more than `MAX_CORRELATED_DIMS` dimensions.
    """
    if not context.has_code or context.flat_codes.shape[1] > MAX_CORRELATED_DIMS:
        return None
    stats, unit = latent_correlation(context.flat_codes), "absolute correlation"
    correlation = Metric(
        "geometry.correlation",
        "correlation of latent dimensions",
        "",
        unit,
        stats.mean,
        note="mean absolute value",
        details=(
            Metric("geometry.correlation.chance", "by chance", "", unit, stats.expected, shown=INLINE, plain=True),
            Metric("geometry.correlation.largest", "largest", "", unit, stats.largest, shown=HIDDEN, plain=True),
        ),
    )
    metrics = [
        correlation,
        Metric(
            "geometry.effective_dimensions",
            "effective dimensions",
            "",
            "participation ratio",
            stats.effective_dimensions,
            digits=".1f",
        ),
    ]
    if math.isfinite(stats.total_correlation):
        label = "total correlation of the code"
        metrics.append(Metric("geometry.total_correlation", label, "nats", "divergence", stats.total_correlation))
    return tuple(metrics)


def angle_with_pca(context: EvalContext) -> Metric | None:
    """Angles between the subspaces of codes and of PCA of the same size; None without a code that varies.

    Declined for unordered categories, whose numbers PCA would take for positions.
    """
    if not context.has_code:
        return None
    context.require_numeric()
    angles = principal_angles(context.flat_codes, context.scaled_x)
    if not len(angles):
        return None
    name, each = "geometry.angle_with_pca", tuple(angles.tolist())
    detail = Metric(f"{name}.each", "each angle", "degrees", "angle", each, shown=HIDDEN, plain=True)
    label, mean = "angle between codes and PCA", float(angles.mean())
    return Metric(name, label, "degrees", "angle", mean, digits=".0f", note="mean", details=(detail,))


class CodePairs(NamedTuple):
    """The ends of straight paths between the codes of two rows, and the condition along each, that of its start."""

    start: np.ndarray
    end: np.ndarray
    condition: np.ndarray | None


def code_pairs(context: EvalContext) -> CodePairs | None:
    """Pairs of rows, the same for every measure; None without a continuous code, for sequences and for few rows."""
    condition, n = context.examples.condition, len(context)
    if context.schema.sequence or not context.has_code or context.fitted.model.code.discrete or n < MIN_PATH_ROWS:
        return None
    first, second = random_pairs(n, context.seed, MAX_PATHS)
    given = None if condition is None else np.asarray(condition)[first]
    return CodePairs(context.codes[first], context.codes[second], given)


def paths(context: EvalContext) -> Metric | None:
    """Nats lost on straight lines between the codes of two rows; None without log p(x) or such lines."""
    pairs, fitted = code_pairs(context), context.fitted
    if pairs is None or not context.has_density:
        return None
    start, end, condition = pairs

    def draw(codes: np.ndarray) -> np.ndarray:
        return fitted.decode(codes, condition, draw=True, seed=context.seed)

    def score(x: np.ndarray) -> np.ndarray:
        rows = EncodedRows(fitted, Examples(x, condition=condition).mark_checked(context.schema), "fixed")
        return rows.score(np.arange(len(x)), min(PATH_DRAWS, context.draws))

    label = "half way between two codes: log p(x) lower by"
    return path_metric("paths.log_likelihood", label, "nats", path_likelihood(draw, score, start, end))


def distance_on_paths(context: EvalContext) -> Metric | None:
    """Distance from training rows gained on the same lines; None without training rows or such lines.

    Declined for training rows with missing values and for unordered categories, which have no distance.
    """
    pairs, fitted = code_pairs(context), context.fitted
    if pairs is None or context.train is None:
        return None
    context.require_complete(context.train)
    context.require_numeric()
    start, end, condition = pairs

    def decode(codes: np.ndarray) -> np.ndarray:
        return context.scaled(fitted.decode(codes, condition, seed=context.seed))

    label = "half way between two codes: farther from data by"
    distance = path_distance(decode, context.scaled(context.train.x), start, end, seed=context.seed)
    return path_metric("paths.distance", label, "scaled units", distance)


def path_metric(name: str, label: str, unit: str, stats: PathStats) -> Metric:
    """The middle of paths against their ends, the share of paths with a hole, and the mean at each step."""
    holes = from_estimate(
        f"{name}.holes", "paths that cross a hole", "share of paths", "share", stats.holes, digits=".0%"
    )
    along = tuple(stats.profile.tolist())
    along_metric = Metric(f"{name}.along", "mean at each step", unit, "mean", along, shown=HIDDEN, plain=True)
    return from_estimate(name, label, unit, "difference", stats.midpoint_loss, details=(holes, along_metric))


def label_probes(context: EvalContext) -> tuple[Metric, ...] | None:
    """How well simple classifiers read labels from codes; None without labels or a code."""
    codes, y = context.flat_codes if context.has_code else None, context.examples.y
    if codes is None or y is None:
        return None
    if context.schema.labels is not None:  # of a model that learns from labels, some may be unknown
        known = is_known(y)
        codes, y = codes[known], y[known]
    accuracy = probes(codes, y, context.seed)
    if accuracy is None:
        return None
    what = "condition" if np.array_equal(context.examples.condition, y) else "labels"
    return tuple(
        from_estimate(f"probes.{name}", label.format(what), "share of rows", "accuracy", accuracy[name], digits=".1%")
        for name, label in PROBE_LABELS.items()
    )


def disentanglement_scores(context: EvalContext) -> tuple[Metric, ...] | None:
    """How far each factor has its own dimension; None if the factors are unknown, or without a code."""
    if context.examples.factors is None or not context.has_code:
        return None
    scores = disentanglement(context.flat_codes, context.examples.factors, context.seed)
    note = "0 by chance, 1 at best"
    return tuple(
        from_estimate(f"disentanglement.{name}", SCORE_LABELS[name], "", "score", score, note=note)
        for name, score in scores.items()
    )
