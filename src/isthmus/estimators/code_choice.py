"""The code of a variational model: its size, noise, prior and start, by the held-out likelihood of linear models."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from isthmus.estimators.code_mixture import best_added
from isthmus.estimators.hyperparameters import Hyperparameters, is_auto
from isthmus.estimators.linear_model import (
    MAX_FACTOR_COLUMNS,
    LinearModel,
    fit_linear_model,
    independent_columns,
    without_condition,
)
from isthmus.estimators.linear_rows import linear_rows
from isthmus.examples import Examples
from isthmus.metrics.held_out import MIN_ROWS, bounded, fewest_dimensions, held_out, held_out_scores, is_clear
from isthmus.schema import Schema

MAX_CHOICE_NUMBERS = 200_000
"""Numbers in the rows by which fields are chosen, at most, but no fewer rows than `MIN_CHOICE_ROWS`."""
MIN_CHOICE_ROWS = 500
MIN_AUTO_LATENT_DIM, MAX_AUTO_LATENT_DIM, MAX_AUTO_OF_IMAGES = 2, 50, 16
"""Sizes that are chosen automatically: networks fold curved data, and images most of all, into fewer dimensions than a
linear model needs."""
MIXTURES, MIN_ROWS_PER_COMPONENT = {"mixture": (3, 5, 10, 20, 40), "full_mixture": (2, 3, 5, 8, 12, 20)}, 12
"""Numbers of components of a prior that are tried, and training rows for each at least."""
MIN_ROWS_PER_FULL_DIM = 2
"""Rows for each dimension and component with a full covariance, at least: what fewer rows say of one does not hold for
other rows, and a few of these then cost dozens of nats."""
MAX_FAILURES = 2
"""Numbers of components in turn that are no better than the best so far, of either kind, after which no more of that
kind are tried: full covariances that win by a hair lose it in training."""
MIN_WHOLE_ROWS = 20
"""Rows without missing values by which sizes are chosen, at least."""
MIN_ROWS_PER_COLUMN = 5
"""Rows for each column from which a code as wide as the data is considered."""
MAX_FULL_DIM = 32
"""Codes up to which components with full covariances are tried."""


class ChoiceRows(NamedTuple):
    """The rows by which a code is chosen."""

    x: np.ndarray
    """(n, d') what a condition leaves of the rows, without the constant columns."""
    varies: np.ndarray
    """(d,) whether a column is not constant."""
    has_condition: bool
    """Whether the model has a condition."""
    is_whole: bool
    """Whether no value of the rows is missing."""


def choice_rows(schema: Schema, examples: Examples, seed: int) -> ChoiceRows:
    """At most `MAX_CHOICE_NUMBERS` numbers of the rows, of those without missing values if these are enough.

    Each row counts once, whatever its weight: a row that is held out must not be among those that are not.
    """
    whole = examples
    if examples.observed is not None:  # rows with missing values say little of how columns go together
        index = np.flatnonzero(examples.observed.reshape(len(examples), -1).all(1))
        whole = examples.take(index) if len(index) >= MIN_WHOLE_ROWS else examples
    x, c, _ = linear_rows(schema, whole, seed)
    count = max(MIN_CHOICE_ROWS, MAX_CHOICE_NUMBERS // max(1, x.shape[1]))
    part = np.sort(np.random.default_rng(seed).permutation(len(x))[:count])
    x = without_condition(x[part], None if c is None else c[part])[0]
    varies = np.ptp(x, 0) > 0
    return ChoiceRows(x[:, varies] if varies.any() else x, varies, c is not None, whole.observed is None)


def choose_code(
    estimator: Hyperparameters, schema: Schema, examples: Examples, given: int | None, from_pca: bool, seed: int
) -> dict[str, Any]:
    """Size of the code, noise and prior, by the held-out likelihood of linear models.

    Args:
        estimator: the fields.
        schema: of the data.
        examples: the training rows.
        given: the size of the code, if it is not to be chosen.
        from_pca: whether training starts at a linear model.
        seed: chooses among many rows, and the parts that are held out.
    """
    rows = choice_rows(schema, examples, seed)
    x, d = rows.x, len(rows.varies)
    noise_is_free = is_auto(estimator.likelihood) and schema.likelihood == "normal" and len(schema.event_shape) == 1
    units = np.ones(x.shape[1])
    if noise_is_free and rows.varies.any():
        units = np.broadcast_to(schema.scale, schema.event_shape).reshape(-1)[rows.varies]
    curve = held_out_curve(x, units, seed)
    most = MAX_AUTO_OF_IMAGES if schema.image else MAX_AUTO_LATENT_DIM
    chosen: dict[str, Any] = {"latent_dim": auto_latent_dim(curve, d, most), "prior": "normal"}
    size = given or chosen["latent_dim"]
    narrow, per_column = scores_by_size(x, size, False, seed), schema.likelihood == "diagonal_normal"
    # A code as wide as the rows leaves no noise that could be told apart.
    if (per_column or noise_is_free) and size < x.shape[1] <= MAX_FACTOR_COLUMNS:
        each = scores_by_size(x, size, True, seed)
        if noise_is_free and is_clear(bounded(each - narrow, x.shape[1])):
            chosen["likelihood"], per_column = "diagonal_normal", True
        narrow = each if per_column else narrow
    if estimator.initialization == "columns" and given is None:
        size = chosen["latent_dim"] = d
    if not from_pca or rows.has_condition or not rows.is_whole or getattr(estimator, "beta", 1.0) != 1:
        return chosen
    starts = ("pca", "columns") if is_auto(estimator.initialization) else (estimator.initialization,)
    is_free = noise_is_free and given is None and is_auto(estimator.prior)
    may_be_wide = is_free and bool(rows.varies.all()) and d <= MAX_FULL_DIM and len(x) >= MIN_ROWS_PER_COLUMN * d
    # A narrow code that is nearly as wide as the rows is compared before its prior is chosen, which takes as long.
    if may_be_wide and 2 * size > d and (wide := wide_code(x, narrow, starts, seed)):
        return wide
    by_column = estimator.initialization == "columns" and size == d
    prior = auto_prior(x, independent_columns(x) if by_column else fit_linear_model(x, None, size, per_column), seed)
    chosen["prior"] = prior.name
    if may_be_wide and 2 * size <= d and (wide := wide_code(x, narrow + prior.gains, starts, seed)):
        return wide
    return chosen


def wide_code(x: np.ndarray, narrow: np.ndarray, starts: Iterable[str], seed: int) -> dict[str, Any]:
    """A code as wide as rows (n, d), its start and its prior, where that is clearly better; empty where it is not.

    Such a code leaves hardly any noise: all that the rows are is then in the prior and the networks.

    Args:
        x: (n, d) rows.
        narrow: (n,) log-density of held-out rows under the narrower code.
        starts: the values of `initialization` that may be chosen.
        seed: of the parts that are held out.
    """
    d = x.shape[1]
    best, chosen = narrow, {}
    for initialization in starts:
        if initialization == "columns":
            values = held_out(x, seed, lambda train, test: independent_columns(train).log_density(test))
            prior = auto_prior(x, independent_columns(x), seed, ("mixture",))
        else:
            values, prior = scores_by_size(x, d, False, seed), auto_prior(x, fit_linear_model(x, None, d, False), seed)
        if is_clear(bounded(values + prior.gains - best, d)):
            best = values + prior.gains
            chosen = {"latent_dim": d, "prior": prior.name, "initialization": initialization}
    return chosen


def scores_by_size(x: np.ndarray, latent_dim: int, noise_per_column: bool, seed: int) -> np.ndarray:
    """(n,) log-density of held-out rows (n, d) under a linear model with one noise for all columns or one for each."""
    if len(x) < MIN_ROWS:
        return np.zeros(len(x))
    return held_out(
        x, seed, lambda train, test: fit_linear_model(train, None, latent_dim, noise_per_column).log_density(test)
    )


def held_out_curve(x: np.ndarray, scale: np.ndarray, seed: int) -> np.ndarray:
    """(n, K) log-density of held-out rows (n, d) under linear models with 0 to K - 1 dimensions.

    In columns as networks read them, or as the data had them before they were divided by `scale` (d,): where that is
    better, a noise that is equal in the data's units takes no dimensions.
    """
    if len(x) < MIN_ROWS:
        return np.zeros((len(x), 1))
    curves = [held_out_scores(x, unit, seed) for unit in (np.ones(len(scale)), 1 / scale)[: 1 + (np.ptp(scale) > 0)]]
    return max(curves, key=lambda scores: scores.mean(0).max())


def auto_latent_dim(curve: np.ndarray, d: int, most: int = MAX_AUTO_LATENT_DIM) -> int:
    """The size of a code for rows with d numbers: the smallest within one standard error of the best by the curve.

    From `MIN_AUTO_LATENT_DIM` to `most`, but not more than d.
    """
    if d <= MIN_AUTO_LATENT_DIM or len(curve) < MIN_ROWS:
        return min(d, MIN_AUTO_LATENT_DIM)
    return int(np.clip(fewest_dimensions(curve), MIN_AUTO_LATENT_DIM, min(most, d)))


class CodePrior(NamedTuple):
    """A prior of codes, and what it gains."""

    name: str
    gains: np.ndarray
    """(n,) nats over the standard normal, of held-out rows; `bounded`."""


def auto_prior(x: np.ndarray, linear: LinearModel, seed: int, kinds: Iterable[str] = tuple(MIXTURES)) -> CodePrior:
    """The prior of codes of rows (n, d), by the density of held-out rows along the axes of a linear model of them.

    "normal" unless a mixture is clearly better; then the best "mixture(k)" or "full_mixture(k)".
    """
    best = CodePrior("normal", np.zeros(len(x)))
    if len(x) < MIN_ROWS or not linear.used.any():
        return best
    points, floor = linear.used_coordinates(x)
    normal = -0.5 * (np.square(points) + math.log(2 * math.pi)).sum(1)
    for kind in kinds:
        full, failures = kind == "full_mixture", 0
        if full and points.shape[1] > MAX_FULL_DIM:
            continue
        least = max(MIN_ROWS_PER_COMPONENT, MIN_ROWS_PER_FULL_DIM * points.shape[1]) if full else MIN_ROWS_PER_COMPONENT
        for k in MIXTURES[kind]:
            if k * least > len(points) or failures == MAX_FAILURES:
                break
            gains = bounded(best_added(points, k, seed, floor, full)[1] - normal, points.shape[1])
            failures += 1
            if is_clear(gains) and gains.mean() > best.gains.mean():
                best, failures = CodePrior(f"{kind}({k})", gains), 0
    return best
