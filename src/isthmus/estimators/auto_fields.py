"""Fields that are "auto": what is chosen for the data, by the linear model of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import nn

from isthmus.errors import InputError
from isthmus.estimators import linear_start
from isthmus.estimators.composition import input_reader, is_auto, likelihood_family, network_kind
from isthmus.estimators.hyperparameters import Hyperparameters
from isthmus.examples import Examples
from isthmus.families import Family
from isthmus.schema import Schema
from isthmus.train.device_data import DeviceDataset

FALLBACK_LATENT_DIM = 16
"""Size of a code where a linear model of the data says nothing."""
AUTO_FIELDS = ("latent_dim", "hidden", "prior", "warmup", "initialization")
"""Fields that may be "auto" and are resolved before a model is made."""
RANDOM_START_WARMUP = 0.1
"""Share of the updates over which the KL weight rises where training starts at random."""
MIN_AUTO_WIDTH, MAX_AUTO_WIDTH = 32, 512
"""Widths of hidden layers that are chosen automatically."""


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


def linear_rows(schema: Schema, examples: Examples, seed: int) -> tuple[np.ndarray, np.ndarray | None]:
    """(n, d) rows as an encoder's network reads them, a random part of many, and their conditions (n, C)."""
    some = examples.subsample(linear_start.max_fit_rows(schema.size), seed)
    clean = Examples(
        some.x if some.target is None else some.target,
        **{name: values for name, values in some.model_kwargs().items() if name != "target"},
    )
    rows = as_dataset(schema, clean, torch.device("cpu"), torch.float64, bits="fixed" if schema.binarize else "fresh")
    reader = input_reader(schema)
    return linear_start.rows_as_read(rows, None if reader is None else reader.double())


def choose(estimator: Hyperparameters, schema: Schema, examples: Examples, seed: int) -> dict[str, Any]:
    """The values of the fields that are "auto", by name.

    Args:
        estimator: the fields.
        schema: of the data.
        examples: the training rows.
        seed: chooses among many rows, and the parts that are held out.
    """
    wanted = {name for name in AUTO_FIELDS if is_auto(getattr(estimator, name))}
    own_networks = estimator.encoder is not None or estimator.decoder is not None
    linear = not own_networks and may_start_linear(estimator, schema)
    if estimator.initialization == "pca" and not linear:
        raise InputError(
            "initialization must be 'random' or 'auto' for networks of your own, convolutions, sequences and unlike "
            "columns, got 'pca'."
        )
    from_pca = linear and estimator.initialization != "random"
    rows = None if own_networks or not wanted & {"latent_dim", "prior"} else linear_rows(schema, examples, seed)
    chosen: dict[str, Any] = {"initialization": "pca" if from_pca else "random"}
    chosen["warmup"] = 0.0 if from_pca else RANDOM_START_WARMUP
    chosen["hidden"] = auto_hidden(len(examples), schema.size)
    posterior: Any = getattr(estimator, "posterior", None)
    if "latent_dim" in wanted and isinstance(posterior, nn.Module):
        chosen["latent_dim"] = math.prod(tuple(getattr(posterior, "event_shape", ())))
    elif "latent_dim" in wanted:
        chosen["latent_dim"] = FALLBACK_LATENT_DIM if rows is None else linear_start.auto_latent_dim(*rows, seed)
    if "prior" in wanted:
        chosen["prior"] = "normal"
        if rows is not None and from_pca and schema.condition is None and getattr(estimator, "beta", 1.0) == 1:
            size: int = chosen.get("latent_dim", estimator.latent_dim)
            chosen["prior"] = linear_start.auto_prior(rows[0], size, seed)
    return {name: value for name, value in chosen.items() if name in wanted}


def may_start_linear(estimator: Any, schema: Schema) -> bool:
    """Whether encoder and decoder have linear paths, over rows that a linear model describes."""
    if len(schema.columns) > 1 or schema.sequence or network_kind(estimator, schema) != "mlp":
        return False
    if getattr(estimator, "posterior", "normal") != "normal" or getattr(estimator, "sparsity", None) not in (
        None,
        "none",
    ):
        return False
    return type(likelihood_family(estimator, schema)).start_linear is not Family.start_linear


def auto_hidden(n: int, d: int) -> tuple[int, ...]:
    """Widths of two hidden layers: as wide as there are rows to learn from, a power of two."""
    width = 2 ** round(math.log2(max(1.0, math.sqrt(n * d) / 2)))
    return (min(MAX_AUTO_WIDTH, max(MIN_AUTO_WIDTH, width)),) * 2
