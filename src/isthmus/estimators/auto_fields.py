"""Fields that are "auto": what is chosen for the data, by the held-out likelihood of linear models."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch

from isthmus.distributions.mixture_fit import ADDED, MIN_VARIANCE
from isthmus.distributions.mixture_fit import held_out_scores as mixture_scores
from isthmus.errors import InputError
from isthmus.estimators.composition import has_linear_path, input_reader, likelihood_family, network_kind
from isthmus.estimators.hyperparameters import Hyperparameters, is_auto
from isthmus.estimators.linear_model import (
    MAX_FACTOR_COLUMNS,
    LinearModel,
    fit_linear_model,
    independent_columns,
    without_condition,
)
from isthmus.examples import Examples
from isthmus.families import DiagonalNormal, Family
from isthmus.metrics.estimate import mean_and_error
from isthmus.metrics.held_out_curve import fewest_dimensions, held_out_scores
from isthmus.schema import Schema
from isthmus.train.device_data import DeviceDataset

AUTO_FIELDS = ("latent_dim", "hidden", "likelihood", "prior", "warmup", "initialization", "learning_rate")
"""Fields that may be "auto" and are resolved before a model is made."""
MIN_FIT_ROWS, MAX_FIT_ROWS, MAX_FIT_NUMBERS = 1_000, 10_000, 8_000_000
"""Rows and numbers that a linear model is fitted to, at most: decompositions of more would take minutes."""
MAX_CHOICE_NUMBERS = 200_000
"""Numbers in the rows by which fields are chosen, at most, but no fewer rows than `MIN_CHOICE_ROWS`."""
MIN_CHOICE_ROWS = 500
FOLDS = 5
"""Parts of the rows, each of which is held out once."""
FALLBACK_LATENT_DIM = 16
"""Size of a code where a linear model of the data says nothing."""
MIN_AUTO_LATENT_DIM, MAX_AUTO_LATENT_DIM, MAX_AUTO_OF_IMAGES = 2, 50, 16
"""Sizes that are chosen automatically: networks fold curved data, and images most of all, into fewer dimensions than a
linear model needs."""
MIXTURES, MIN_ROWS_PER_COMPONENT = {"mixture": (3, 5, 10, 20, 40), "full_mixture": (2, 3, 5, 8, 12, 20)}, 12
"""Numbers of components of a prior that are tried, and training rows for each at least."""
MAX_FAILURES = 2
"""Numbers of components in turn that are no better, after which no larger one is tried."""
MIN_COMPLETE_ROWS = 20
"""Rows without missing values by which sizes are chosen, at least."""
MIN_ROWS_PER_COLUMN = 5
"""Rows for each column from which a code as wide as the data is considered."""
MAX_FULL_DIM = 32
"""Codes up to which components with full covariances are tried."""
RANDOM_START_WARMUP = 0.1
"""Share of the updates over which the KL weight rises where training starts at random."""
MIN_AUTO_WIDTH, MAX_AUTO_WIDTH = 32, 512
"""Widths of hidden layers that are chosen automatically."""
BASE_RATE, MAX_AUTO_RATE = 1e-3, 1e-2
"""Learning rate of hidden layers of the largest width, and of the narrowest: Adam moves every weight by about the rate,
and weights are the smaller the wider the layer."""


def as_dataset(
    schema: Schema, examples: Examples, device: torch.device, dtype: torch.dtype, bits: str = "fresh"
) -> DeviceDataset:
    """Rows on the device, as networks read them."""
    condition, labels = schema.condition, schema.labels
    return DeviceDataset(
        examples.x,
        schema,
        device=device,
        dtype=dtype,
        c=None if condition is None else condition.encode(examples.condition, len(examples)),
        lengths=examples.lengths,
        target=examples.target,
        y=None if labels is None or examples.y is None else labels.encode(examples.y),
        observed=examples.observed,
        bits=bits,
    )


class LinearRows(NamedTuple):
    """Rows as an encoder's network reads them, flat, for a linear model."""

    x: np.ndarray
    """(n, d)"""
    condition: np.ndarray | None
    """(n, C)"""


def linear_rows(schema: Schema, examples: Examples, seed: int) -> LinearRows:
    """A random part of many rows, for a linear model; of a denoising model's, the clean ones."""
    most = min(MAX_FIT_ROWS, max(MIN_FIT_ROWS, MAX_FIT_NUMBERS // max(1, schema.size)))
    some = examples.subsample(most, seed)
    clean = Examples(
        some.x if some.target is None else some.target,
        **{name: values for name, values in some.model_kwargs().items() if name != "target"},
    )
    rows = as_dataset(schema, clean, torch.device("cpu"), torch.float64, bits="fixed" if schema.binarize else "fresh")
    reader = input_reader(schema)
    read, conditions = [], []
    with torch.no_grad():
        for batch in rows.batches():
            x = batch.x if reader is None else reader.double()(batch.x)
            read.append(x.flatten(1).numpy())
            if batch.c is not None:
                conditions.append(batch.c.numpy())
    return LinearRows(np.concatenate(read), np.concatenate(conditions) if conditions else None)


def choose(estimator: Hyperparameters, schema: Schema, examples: Examples, seed: int) -> dict[str, Any]:
    """The values of the fields that are "auto", by name.

    Args:
        estimator: the fields.
        schema: of the data.
        examples: the training rows.
        seed: chooses among many rows, and the parts that are held out.
    """
    wanted = {name for name in AUTO_FIELDS if is_auto(getattr(estimator, name, None))}
    own_networks = estimator.encoder is not None or estimator.decoder is not None
    linear = not own_networks and may_start_linear(estimator, schema)
    if estimator.initialization in ("pca", "columns") and not linear:
        raise InputError(
            "initialization must be 'random' or 'auto' for networks and likelihoods of your own, convolutions, "
            f"sequences, unlike columns and corrupted rows, got {estimator.initialization!r}."
        )
    from_pca = linear and estimator.initialization != "random"
    chosen: dict[str, Any] = {"initialization": "pca" if from_pca else "random"}
    chosen["warmup"] = 0.0 if from_pca else RANDOM_START_WARMUP
    chosen["hidden"] = auto_hidden(len(examples), schema.size)
    hidden = chosen["hidden"] if "hidden" in wanted else estimator.hidden
    chosen["learning_rate"] = auto_learning_rate(hidden) if linear else BASE_RATE
    size = size_of_code(estimator)
    if {"latent_dim", "prior"} & wanted:  # a variational model's
        of_code = None if own_networks else choose_code(estimator, schema, examples, size, from_pca, seed)
        chosen |= of_code or {"latent_dim": FALLBACK_LATENT_DIM, "prior": "normal"}
        chosen["latent_dim"] = size or chosen["latent_dim"]
    if estimator.initialization == "columns":
        check_columns(schema, size or chosen.get("latent_dim"))
    if not hasattr(estimator, "posterior"):  # a plain autoencoder's codes have no density
        chosen["prior"] = "normal"
    return {name: value for name, value in chosen.items() if name in wanted}


def size_of_code(estimator: Hyperparameters) -> int | None:
    """The size of a code that latent_dim or a user's posterior gives; None if it is to be chosen."""
    shape = getattr(getattr(estimator, "posterior", None), "event_shape", None)
    if shape is not None:
        return math.prod(tuple(shape))
    return None if is_auto(estimator.latent_dim) else int(estimator.latent_dim)


def check_columns(schema: Schema, size: int | None) -> None:
    """Raise InputError where a dimension of the code for each column cannot be."""
    if schema.condition is not None:
        raise InputError("initialization must be 'pca', 'random' or 'auto' with a condition, got 'columns'.")
    if size != schema.size:
        raise InputError(f"latent_dim must be {schema.size}, the number of columns, for 'columns', got {size}.")


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
    complete = examples
    if examples.observed is not None:  # rows with missing values say little of how columns go together
        index = np.flatnonzero(examples.observed.reshape(len(examples), -1).all(1))
        complete = examples.take(index) if len(index) >= MIN_COMPLETE_ROWS else examples
    x, c = linear_rows(schema, complete, seed)
    count = max(MIN_CHOICE_ROWS, MAX_CHOICE_NUMBERS // max(1, x.shape[1]))
    part = np.sort(np.random.default_rng(seed).permutation(len(x))[:count])
    x, c = x[part], None if c is None else c[part]
    x = without_condition(x, c)[0]
    d, varies = x.shape[1], np.ptp(x, 0) > 0
    if 0 < varies.sum() < d:  # a constant column says nothing
        x = x[:, varies]
    own_noise = schema.likelihood == "diagonal_normal"
    noise_is_free = is_auto(estimator.likelihood) and schema.likelihood == "normal" and len(schema.event_shape) == 1
    scale = np.broadcast_to(schema.scale, schema.event_shape).reshape(-1) if noise_is_free else np.ones(d)
    curve = held_out_curve(x, scale[varies] if len(scale) == d and varies.any() else np.ones(x.shape[1]), seed)
    most = MAX_AUTO_OF_IMAGES if schema.image else MAX_AUTO_LATENT_DIM
    chosen: dict[str, Any] = {"latent_dim": auto_latent_dim(curve, d, most), "prior": "normal"}
    size = given or chosen["latent_dim"]
    of_noise = gain_of_noise_per_column(x, size, seed) if noise_is_free else np.zeros(len(x))
    per_column = own_noise or is_clear(of_noise)
    if per_column and not own_noise:
        chosen["likelihood"] = "diagonal_normal"
    if estimator.initialization == "columns" and given is None:
        size = chosen["latent_dim"] = d
    if not from_pca or c is not None or getattr(estimator, "beta", 1.0) != 1 or complete.observed is not None:
        return chosen
    starts = ("pca", "columns") if is_auto(estimator.initialization) else (estimator.initialization,)
    may_be_wide = noise_is_free and given is None and is_auto(estimator.prior) and varies.all()
    may_be_wide = may_be_wide and d <= MAX_FULL_DIM and len(x) >= MIN_ROWS_PER_COLUMN * d
    narrow = curve[:, min(size, curve.shape[1] - 1)] + (of_noise if per_column else 0.0)
    if may_be_wide and 2 * size > d and (wide := wide_code(x, curve[:, -1], narrow, starts, seed)):
        return wide
    by_column = estimator.initialization == "columns" and size == d
    prior = auto_prior(x, independent_columns(x) if by_column else fit_linear_model(x, None, size, per_column), seed)
    chosen["prior"] = prior.name
    if may_be_wide and 2 * size <= d and (wide := wide_code(x, curve[:, -1], narrow + prior.gains, starts, seed)):
        return wide
    return chosen


def wide_code(x: np.ndarray, full: np.ndarray, narrow: np.ndarray, starts: Iterable[str], seed: int) -> dict[str, Any]:
    """A code as wide as rows (n, d), its start and its prior, where that is clearly better; empty where it is not.

    Such a code leaves hardly any noise: all that the rows are is then in the prior and the networks.

    Args:
        x: (n, d) rows.
        full: (n,) log-density of held-out rows under one normal with a full covariance.
        narrow: (n,) the same under the narrower code.
        starts: the values of `initialization` that may be chosen.
        seed: of the parts that are held out.
    """
    d = x.shape[1]
    best, chosen = narrow, {}
    for initialization in starts:
        if initialization == "columns":
            values, prior = scores_by_column(x, seed), auto_prior(x, independent_columns(x), seed, ("mixture",))
        else:
            values, prior = full, auto_prior(x, fit_linear_model(x, None, d, False), seed)
        if is_clear(values + prior.gains - best):
            best = values + prior.gains
            chosen = {"latent_dim": d, "prior": prior.name, "initialization": initialization}
    return chosen


def scores_by_column(x: np.ndarray, seed: int) -> np.ndarray:
    """(n,) log-density of held-out rows (n, d) under independent normal columns."""
    scores = np.empty(len(x))
    for part in np.array_split(np.random.default_rng(seed).permutation(len(x)), FOLDS):
        scores[part] = independent_columns(np.delete(x, part, 0)).log_density(x[part])
    return scores


def may_start_linear(estimator: Any, schema: Schema) -> bool:
    """Whether encoder and decoder have linear paths, over rows that a linear model describes."""
    if not isinstance(estimator.likelihood, str):  # a user's own, which is left alone
        return False
    if len(schema.columns) > 1 or schema.sequence or network_kind(estimator, schema) != "mlp":
        return False
    posterior = getattr(estimator, "posterior", "normal")
    if not (posterior == "normal" or isinstance(posterior, DiagonalNormal)) or not has_linear_path(estimator):
        return False
    if getattr(estimator, "sparsity", None) not in (None, "none"):
        return False
    return type(likelihood_family(estimator, schema)).start_linear is not Family.start_linear


def auto_hidden(n: int, d: int) -> tuple[int, ...]:
    """Widths of two hidden layers: as wide as there are rows to learn from, a power of two."""
    width = 2 ** round(math.log2(max(1.0, math.sqrt(n * d))))
    return (min(MAX_AUTO_WIDTH, max(MIN_AUTO_WIDTH, width)),) * 2


def auto_learning_rate(hidden: tuple[int, ...]) -> float:
    """The learning rate for hidden layers of these widths: the narrower, the higher."""
    widest = max(hidden, default=MAX_AUTO_WIDTH)
    return min(MAX_AUTO_RATE, BASE_RATE * max(1.0, MAX_AUTO_WIDTH / widest))


def held_out_curve(x: np.ndarray, scale: np.ndarray, seed: int) -> np.ndarray:
    """(n, K) log-density of held-out rows (n, d) under linear models with 0 to K - 1 dimensions.

    In columns as networks read them, or as the data had them before they were divided by `scale` (d,): where that is
    better, a noise that is equal in the data's units takes no dimensions.
    """
    if len(x) < 2 * FOLDS:
        return np.zeros((len(x), 1))
    curves = [held_out_scores(x, unit, seed) for unit in (np.ones(len(scale)), 1 / scale)[: 1 + (np.ptp(scale) > 0)]]
    return max(curves, key=lambda scores: scores.mean(0).max())


def auto_latent_dim(curve: np.ndarray, d: int, most: int = MAX_AUTO_LATENT_DIM) -> int:
    """The size of a code for rows with d numbers: the smallest within one standard error of the best by the curve.

    From `MIN_AUTO_LATENT_DIM` to `most`, but not more than d.
    """
    if d <= MIN_AUTO_LATENT_DIM or len(curve) < 2 * FOLDS:
        return min(d, MIN_AUTO_LATENT_DIM)
    return int(np.clip(fewest_dimensions(curve), MIN_AUTO_LATENT_DIM, min(most, d)))


def gain_of_noise_per_column(x: np.ndarray, latent_dim: int, seed: int) -> np.ndarray:
    """(n,) nats by which a noise for each column raises the log-density of held-out rows (n, d) over one for all."""
    gains = np.zeros(len(x))
    if len(x) < 2 * FOLDS or not 2 <= x.shape[1] <= MAX_FACTOR_COLUMNS:
        return gains
    for part in np.array_split(np.random.default_rng(seed).permutation(len(x)), FOLDS):
        others = np.delete(x, part, 0)
        one, each = (fit_linear_model(others, None, latent_dim, noise_per_column) for noise_per_column in (False, True))
        gains[part] = each.log_density(x[part]) - one.log_density(x[part])
    return gains


def is_clear(gains: np.ndarray) -> bool:
    """Whether the mean of gains (n,) is above 0 by more than its standard error."""
    gain, error = mean_and_error(gains)
    return gain > error


class CodePrior(NamedTuple):
    """A prior of codes, and what it gains."""

    name: str
    gains: np.ndarray
    """(n,) nats over the standard normal, of held-out rows."""


def auto_prior(x: np.ndarray, linear: LinearModel, seed: int, kinds: Iterable[str] = tuple(MIXTURES)) -> CodePrior:
    """The prior of codes of rows (n, d), by the density of held-out rows along the axes of a linear model of them.

    "normal" unless a mixture is clearly better; then the best "mixture(k)" or "full_mixture(k)".
    """
    best = CodePrior("normal", np.zeros(len(x)))
    used = linear.used
    if len(x) < 2 * FOLDS or not used.any():
        return best
    points, floor = linear.coordinates(x)[:, used], linear.narrowest[used]
    normal = -0.5 * (np.square(points) + math.log(2 * math.pi)).sum(1)
    for kind in kinds:
        full, failures = kind == "full_mixture", 0
        if full and points.shape[1] > MAX_FULL_DIM:
            continue
        for k in MIXTURES[kind]:
            if k * MIN_ROWS_PER_COMPONENT > len(points) or failures == MAX_FAILURES:
                break
            options = ADDED if full else (MIN_VARIANCE,)
            gains = (
                max((mixture_scores(points, k, seed, floor, full, added) for added in options), key=np.mean) - normal
            )
            failures += 1
            if is_clear(gains) and gains.mean() > best.gains.mean():
                best, failures = CodePrior(f"{kind}({k})", gains), 0
    return best
