"""Fields that are "auto": what is chosen for the data."""

from __future__ import annotations

import math
from typing import Any

from torch.distributions import Distribution

from isthmus.errors import InputError
from isthmus.estimators.code_choice import choose_code
from isthmus.estimators.composition import (
    encoded_size,
    has_linear_path,
    is_variational,
    likelihood_family,
    network_kind,
    undoes_damage,
    uses_unet,
)
from isthmus.estimators.hyperparameters import Hyperparameters, is_auto, unused_fields
from isthmus.estimators.parts_by_name import categories_of, code_space, parse
from isthmus.examples import Examples
from isthmus.families import DiagonalNormal, Family
from isthmus.nets import unet
from isthmus.schema import Schema

AUTO_FIELDS = (
    "latent_dim",
    "hidden",
    "network",
    "channels",
    "likelihood",
    "prior",
    "warmup",
    "initialization",
    "learning_rate",
    "weight_decay",
    "clip",
)
"""Fields that may be "auto" and are resolved before a model is made."""
LINEAR_POSTERIORS = ("normal", "full_normal", "iaf", "flow")
"""Names of posteriors that the linear model's can be."""
FALLBACK_LATENT_DIM = 16
"""Size of a code where a linear model of the data says nothing."""
RANDOM_START_WARMUP = 0.1
"""Share of the updates over which the KL weight rises where training starts at random."""
SCHEDULE_WARMUP = 0.5
"""Share of the updates over which the KL weight rises several times, or the capacity rises."""
MIN_AUTO_WIDTH, MAX_AUTO_WIDTH = 32, 512
"""Widths of hidden layers that are chosen automatically."""
BASE_RATE, MAX_AUTO_RATE = 1e-3, 1e-2
"""Learning rate of hidden layers of the largest width, and of the narrowest: Adam moves every weight by about the rate,
and weights are the smaller the wider the layer."""
CONV_CHANNELS, UNET_CHANNELS, UNET_RATE = (32, 64), (16, 32, 64, 64), 5e-3
"""Channels of networks that summarise an image and of those that restore it; the learning rate of the latter, whose
losses of thousands of pixels have little noise; at twice that it diverged on photos."""
CLIP, UNET_CLIP = 10.0, 1.0
"""Largest gradient norm in units of its running mean. A U-Net's loss falls by orders of magnitude, and in runs of 8,000
updates single gradients of up to ten times the mean threw it back to where it began."""
WEIGHT_DECAY, MIN_ROWS_PER_COLUMN = 0.1, 64
"""Weight decay where rows are few, and the rows for each column from which there is none: of twenty tables those with
fewer gained up to a nat on held-out rows, those with more lost up to a third of one."""


def choose(estimator: Hyperparameters, schema: Schema, examples: Examples, seed: int, n: int) -> dict[str, Any]:
    """The values of the fields that are "auto", by name.

    Args:
        estimator: the fields.
        schema: of the data.
        examples: the training rows, or some of very many.
        seed: chooses among many rows, and the parts that are held out.
        n: number of training rows.
    """
    wanted = {name for name in AUTO_FIELDS if is_auto(getattr(estimator, name, None))}
    if uses_unet(estimator, schema):
        return {name: value for name, value in unet_fields(estimator, schema).items() if name in wanted}
    own_networks = estimator.encoder is not None or estimator.decoder is not None
    linear = not own_networks and may_start_linear(estimator, schema)
    variational = is_variational(estimator)
    if estimator.initialization in ("pca", "columns") and not linear:
        raise InputError(
            "initialization must be 'random' or 'auto' for networks and likelihoods of your own, convolutions, "
            f"sequences, unlike columns and corrupted rows, got {estimator.initialization!r}."
        )
    from_pca = linear and estimator.initialization != "random"
    chosen: dict[str, Any] = {"initialization": "pca" if from_pca else "random"}
    chosen["warmup"] = 0.0 if from_pca else RANDOM_START_WARMUP
    if estimator.cycles > 1 or parse(getattr(estimator, "bound", "elbo"), "bound")[0] == "capacity":
        chosen["warmup"] = SCHEDULE_WARMUP
    chosen["hidden"] = auto_hidden(n, schema.size)
    hidden = chosen["hidden"] if "hidden" in wanted else estimator.hidden
    chosen["learning_rate"] = estimator.rate_factor * (auto_learning_rate(hidden) if linear else BASE_RATE)
    chosen["weight_decay"] = auto_weight_decay(n, schema.size) if linear and variational else 0.0
    size = size_of_code(estimator, schema)
    chosen["channels"], chosen["clip"] = CONV_CHANNELS, CLIP
    if {"latent_dim", "prior"} & wanted:  # a variational model's
        by_linear_model = not own_networks and not undoes_damage(estimator, schema)
        of_code = choose_code(estimator, schema, examples, size, from_pca, seed) if by_linear_model else None
        chosen |= of_code or {"latent_dim": FALLBACK_LATENT_DIM, "prior": "normal"}
        posterior = getattr(estimator, "posterior", "normal")
        if (space := code_space(posterior)) != "vectors":  # a sphere in D dimensions has D - 1
            d = chosen["latent_dim"]
            of_space = d + 1 if space == "sphere" else d * max(1, categories_of(posterior))
            chosen |= {"latent_dim": of_space, "prior": "uniform"}
        chosen["latent_dim"] = size or chosen["latent_dim"]
    if estimator.initialization == "columns":
        check_columns(schema, size or chosen.get("latent_dim"))
    if not variational:  # a plain autoencoder's codes have no density
        chosen["prior"] = "normal"
    wanted -= unused_fields(estimator.values())
    return {name: value for name, value in chosen.items() if name in wanted}


def unet_fields(estimator: Hyperparameters, schema: Schema) -> dict[str, Any]:
    """What is chosen for a U-Net that restores images."""
    channels = UNET_CHANNELS if is_auto(estimator.channels) else tuple(estimator.channels)
    return {
        "network": "unet",
        "channels": channels,
        "latent_dim": unet.code_size(schema.event_shape, channels),
        "hidden": (),
        "initialization": "random",
        "learning_rate": UNET_RATE,
        "weight_decay": 0.0,
        "clip": UNET_CLIP,
        "prior": "normal",
        "warmup": 0.0,
    }


def size_of_code(estimator: Hyperparameters, schema: Schema) -> int | None:
    """The size of a code that latent_dim or a user's own part gives; None if it is to be chosen."""
    shape = getattr(getattr(estimator, "posterior", None), "event_shape", None)
    if shape is not None:
        return math.prod(tuple(shape))
    if not is_auto(estimator.latent_dim):
        return int(estimator.latent_dim)
    if isinstance(estimator.prior, Distribution) and (
        size := (estimator.prior.batch_shape + estimator.prior.event_shape)
    ):
        return size.numel()
    if estimator.encoder is None:
        return None
    total, upper = encoded_size(estimator, schema), getattr(estimator, "upper_dims", ())
    return max(1, total - (total // 3 if upper is None else sum(upper)))  # of a hierarchy the lowest layer


def check_columns(schema: Schema, size: int | None) -> None:
    """Raise InputError where a dimension of the code for each column cannot be."""
    if schema.condition is not None:
        raise InputError("initialization must be 'pca', 'random' or 'auto' with a condition, got 'columns'.")
    if size != schema.size:
        raise InputError(f"latent_dim must be {schema.size}, the number of columns, for 'columns', got {size}.")


def may_start_linear(estimator: Any, schema: Schema) -> bool:
    """Whether encoder and decoder have linear paths, over rows that a linear model describes."""
    if not isinstance(estimator.likelihood, str) or not estimator.has_linear_start:  # a user's own is left alone
        return False
    if len(schema.columns) > 1 or schema.sequence or network_kind(estimator, schema) != "mlp":
        return False
    posterior = getattr(estimator, "posterior", "normal")
    named = isinstance(posterior, str) and parse(posterior, "posterior")[0] in LINEAR_POSTERIORS
    if not (named or isinstance(posterior, DiagonalNormal)) or not has_linear_path(estimator):
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


def auto_weight_decay(n: int, d: int) -> float:
    """The weight decay of hidden layers for n rows of d columns."""
    return WEIGHT_DECAY if n < MIN_ROWS_PER_COLUMN * d else 0.0
