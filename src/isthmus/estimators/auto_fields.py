"""Fields that are "auto": what is chosen for the data, by the held-out likelihood of linear models."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import scipy.special
import torch
from torch import nn

from isthmus.distributions.mixture_fit import fit_diagonal_mixture
from isthmus.errors import InputError
from isthmus.estimators.composition import has_linear_path, input_reader, is_auto, likelihood_family, network_kind
from isthmus.estimators.hyperparameters import Hyperparameters
from isthmus.estimators.linear_model import MAX_FACTOR_COLUMNS, LinearModel, fit_linear_model, without_condition
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
MIXTURE_COMPONENTS, MIN_ROWS_PER_COMPONENT = (3, 5, 10, 20, 40), 10
"""Components of a prior that are tried, and training rows for each at least."""
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
    if estimator.initialization == "pca" and not linear:
        raise InputError(
            "initialization must be 'random' or 'auto' for networks of your own, convolutions, sequences, unlike "
            "columns and corrupted rows, got 'pca'."
        )
    from_pca = linear and estimator.initialization != "random"
    chosen: dict[str, Any] = {"initialization": "pca" if from_pca else "random"}
    chosen["warmup"] = 0.0 if from_pca else RANDOM_START_WARMUP
    chosen["hidden"] = auto_hidden(len(examples), schema.size)
    hidden = chosen["hidden"] if "hidden" in wanted else estimator.hidden
    chosen["learning_rate"] = auto_learning_rate(hidden) if linear else BASE_RATE
    if {"latent_dim", "prior"} & wanted:  # a variational model's
        of_code = None if own_networks else choose_code(estimator, schema, examples, from_pca, seed)
        chosen |= of_code or {"latent_dim": FALLBACK_LATENT_DIM, "prior": "normal"}
    posterior: Any = getattr(estimator, "posterior", None)
    if isinstance(posterior, nn.Module):
        chosen["latent_dim"] = math.prod(tuple(getattr(posterior, "event_shape", ())))
    return {name: value for name, value in chosen.items() if name in wanted}


def choose_code(
    estimator: Hyperparameters, schema: Schema, examples: Examples, from_pca: bool, seed: int
) -> dict[str, Any]:
    """Size of the code, noise and prior, by the held-out likelihood of linear models."""
    x, c = linear_rows(schema, examples, seed)
    count = max(MIN_CHOICE_ROWS, MAX_CHOICE_NUMBERS // max(1, x.shape[1]))
    part = np.sort(np.random.default_rng(seed).permutation(len(x))[:count])
    x, c = x[part], None if c is None else c[part]
    x = without_condition(x, c)[0]
    most = MAX_AUTO_OF_IMAGES if schema.image else MAX_AUTO_LATENT_DIM
    chosen: dict[str, Any] = {"latent_dim": auto_latent_dim(x, seed, most), "prior": "normal"}
    size = chosen["latent_dim"] if is_auto(estimator.latent_dim) else estimator.latent_dim
    per_column = schema.likelihood == "diagonal_normal"
    if is_auto(estimator.likelihood) and schema.likelihood == "normal" and len(schema.event_shape) == 1:
        per_column = noise_differs(x, size, seed)
        if per_column:
            chosen["likelihood"] = "diagonal_normal"
    if from_pca and c is None and getattr(estimator, "beta", 1.0) == 1:
        chosen["prior"] = auto_prior(x, size, per_column, seed)
    return chosen


def may_start_linear(estimator: Any, schema: Schema) -> bool:
    """Whether encoder and decoder have linear paths, over rows that a linear model describes."""
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


def folds(x: np.ndarray, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows (n, d) as pairs of held-out rows and the others, each row held out once."""
    parts = np.array_split(np.random.default_rng(seed).permutation(len(x)), min(FOLDS, len(x)))
    return [(x[part], np.delete(x, part, 0)) for part in parts]


def auto_latent_dim(x: np.ndarray, seed: int, most: int = MAX_AUTO_LATENT_DIM) -> int:
    """The size of a code for rows (n, d): the smallest within one standard error of the best held-out likelihood.

    From `MIN_AUTO_LATENT_DIM` to `most`, but not more than d.
    """
    if x.shape[1] <= MIN_AUTO_LATENT_DIM or len(x) < 2 * FOLDS:
        return min(x.shape[1], MIN_AUTO_LATENT_DIM)
    best = fewest_dimensions(held_out_scores(x, np.ones(x.shape[1]), seed))
    return int(np.clip(best, MIN_AUTO_LATENT_DIM, min(most, x.shape[1])))


def noise_differs(x: np.ndarray, latent_dim: int, seed: int) -> bool:
    """Whether a noise for each column is clearly more likely on held-out rows (n, d) than one for all."""
    if len(x) < 2 * FOLDS or not 2 <= x.shape[1] <= MAX_FACTOR_COLUMNS:
        return False
    gains = []
    for held_out, others in folds(x, seed):
        one, each = (fit_linear_model(others, None, latent_dim, noise_per_column) for noise_per_column in (False, True))
        gains.append(each.log_density(held_out) - one.log_density(held_out))
    gain, error = mean_and_error(np.concatenate(gains))
    return gain > error


def auto_prior(x: np.ndarray, latent_dim: int, noise_per_column: bool, seed: int) -> str:
    """ "normal", or "mixture(k)" where a mixture of the codes is clearly more likely on held-out rows (n, d)."""
    if len(x) < 2 * FOLDS or not latent_dim:
        return "normal"
    pairs = [coordinates(held_out, others, latent_dim, noise_per_column) for held_out, others in folds(x, seed)]
    values = np.concatenate([-0.5 * (np.square(held_out) + math.log(2 * math.pi)).sum(1) for held_out, _ in pairs])
    best = 1
    for k in MIXTURE_COMPONENTS:
        if k * MIN_ROWS_PER_COMPONENT > len(pairs[0][1]):
            break
        scores = np.concatenate(
            [log_mixture(held_out, *fit_diagonal_mixture(rest, k, seed)) for held_out, rest in pairs]
        )
        gain, error = mean_and_error(scores - values)
        if gain > error:
            best, values = k, scores
        elif best > 1:
            break
    return f"mixture({best})" if best > 1 else "normal"


def coordinates(
    held_out: np.ndarray, others: np.ndarray, latent_dim: int, noise_per_column: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Held-out and other rows along the axes of the linear model of the others, (m, D) and (n, D)."""
    linear: LinearModel = fit_linear_model(others, None, min(latent_dim, *others.shape), noise_per_column)
    return linear.coordinates(held_out), linear.coordinates(others)


def log_mixture(x: np.ndarray, weights: np.ndarray, means: np.ndarray, variances: np.ndarray) -> np.ndarray:
    """(n,) log-density of rows (n, D) under a mixture of diagonal normals, nats."""
    each = -0.5 * (np.square(x[:, None] - means) / variances + np.log(2 * math.pi * variances)).sum(-1)  # (n, k)
    return np.asarray(scipy.special.logsumexp(each + np.log(weights), axis=1))
