"""The linear baselines of a comparison: whether rows are dequantised for them, and the one chosen by validation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from sklearn.base import clone

from isthmus.comparison.specs import PCA, PCA_BEST, Entry
from isthmus.comparison.split import SPLIT_SEED, Split
from isthmus.errors import InputError
from isthmus.estimators.training_setup import setup_training, split_indices
from isthmus.evaluation.baseline_data import VALIDATION_SHARE, max_fit_rows, relative_rounding
from isthmus.examples import Examples
from isthmus.latent_model import Model
from isthmus.likelihoods import AUTO, LIKELIHOODS
from isthmus.metrics.principal_axes import (
    ROUNDING_SHARE,
    PrincipalAxes,
    axes_by_scaling,
    choose_linear,
    rank_of,
    triangular_factor,
)
from isthmus.schema import Schema, safe_std

MEASURES = ("density", "probability")
"""Measures of log p(x) with which a density is compared: as it is, or of dequantised rows."""


def measure_of(schema: Schema, model: Model) -> str:
    """What a model's log p(x) is a measure over, "" if a density is not compared with it."""
    compared = model.capabilities.has_density and not schema.binarize and schema.measure in MEASURES
    return schema.measure if compared else ""


def are_dequantized(measures: Iterable[str], schema: Schema) -> bool:
    """Whether baselines are fitted to dequantised rows, so that their density bounds a log-probability.

    Args:
        measures: `measure_of` each other model; if none has one, the kind of the data decides.
        schema: of the data, as a baseline reads them.
    """
    given = [measure for measure in measures if measure]
    return "probability" in given if given else LIKELIHOODS[AUTO[schema.kind]].discrete


def with_baselines_set(entries: list[Entry], rows: Split, measures: list[str]) -> list[Entry]:
    """The entries, with baselines that are as discrete as the other models and the best of them by validation.

    Args:
        entries: of all models.
        rows: the rows.
        measures: `measure_of` each model that is no baseline.
    """
    if not any(entry.baseline for entry in entries):
        return entries
    first = next(entry for entry in entries if entry.baseline)
    try:
        schema = setup_training(clone(first.estimator), rows.train).schema
    except InputError:  # said in its row
        return entries
    dequantized = are_dequantized(measures, schema)
    entries = [entry._replace(dequantized=bool(entry.baseline) and dequantized) for entry in entries]
    return with_best_linear(entries, rows)


def with_best_linear(entries: list[Entry], rows: Split) -> list[Entry]:
    """Set size and scaling of `PCA_BEST` by validation; without it if `PCA` is the same model."""
    best = next((entry for entry in entries if entry.baseline == PCA_BEST), None)
    if best is None:
        return entries
    try:
        job = setup_training(clone(best.estimator), rows.train, validation=rows.valid)
    except InputError:  # said when all entries are checked
        return entries
    best.estimator.set_params(**best_linear_fields(job.train_rows, job.valid_rows, best.dequantized))
    chosen = linear_model_of(best, rows)
    same = (
        entry.baseline == PCA and entry.value is None and linear_model_of(entry, rows) == chosen for entry in entries
    )
    return [entry for entry in entries if entry is not best] if any(same) else entries


def linear_model_of(entry: Entry, rows: Split) -> tuple[int, bool] | None:
    """What makes a probabilistic PCA another one: its size, and whether columns have their own scales."""
    try:
        schema = setup_training(clone(entry.estimator), rows.train).schema
    except InputError:
        return None
    return entry.estimator.latent_dim, bool(np.ptp(schema.scale) > 0)


def best_linear_fields(train: Examples, valid: Examples | None, discrete: bool) -> dict[str, Any]:
    """The size and scaling of probabilistic PCA by which validation rows have the highest log p(x).

    Args:
        train: checked training rows.
        valid: checked validation rows; a part of the training rows is held out if there are none.
        discrete: whether rows are dequantised first.
    """
    if valid is None or not len(valid):
        kept, held_out = split_indices(len(train), VALIDATION_SHARE, SPLIT_SEED + 1)
        train, valid = train.take(kept), train.take(held_out)
    limit = max_fit_rows(train.x[0].size)
    x, valid_x = (
        part.x.reshape(len(part), -1).astype(np.float64)
        for part in (train.subsample(limit, SPLIT_SEED), valid.subsample(limit, SPLIT_SEED))
    )
    rank = min(x.shape[1], len(x) - 1) if discrete else rank_of(x, relative_rounding(train.x))
    if discrete:
        noise = np.random.default_rng(SPLIT_SEED)
        x, valid_x = (values + noise.random(values.shape) for values in (x, valid_x))

    def max_size(axes: PrincipalAxes) -> int:
        above_rounding = int((axes.variance > ROUNDING_SHARE * axes.variance[0]).sum())
        return max(0, min(rank, above_rounding) - 1)

    scales = {"global": np.ones(x.shape[1]), "standard": safe_std(x)}
    axes = axes_by_scaling(x.mean(0), triangular_factor(x), len(x), scales)
    scaling, size = choose_linear(axes, scales, valid_x, max_size)
    return {"latent_dim": max(1, size), "scaling": scaling}
