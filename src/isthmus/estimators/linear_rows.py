"""Rows for linear models: as an encoder's network reads them, flat."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from isthmus.estimators.composition import input_reader
from isthmus.examples import Examples
from isthmus.schema import Schema
from isthmus.train.device_data import DeviceDataset

MIN_FIT_ROWS, MAX_FIT_ROWS, MAX_FIT_NUMBERS = 1_000, 10_000, 8_000_000
"""Rows and numbers that a linear model is fitted to, at most: decompositions of more would take minutes."""


def as_dataset(
    schema: Schema,
    examples: Examples,
    device: torch.device,
    dtype: torch.dtype,
    bits: str = "fresh",
    index: np.ndarray | None = None,
) -> DeviceDataset:
    """Rows on the device, as networks read them: those at the positions `index`, or all."""
    condition, labels = schema.condition, schema.labels
    whole = examples.x
    if index is not None:  # x is copied once, to the device; what accompanies it is small
        examples = replace(examples, x=np.empty((len(examples), 0))).take(index)
        if examples.target is not None or (schema.binarize and bits == "fixed"):
            whole, index = whole[index], None
    else:
        whole = examples.x
    return DeviceDataset(
        whole,
        schema,
        device=device,
        dtype=dtype,
        c=None if condition is None else condition.encode(examples.condition, len(examples)),
        lengths=examples.lengths,
        target=examples.target,
        y=None if labels is None or examples.y is None else labels.encode(examples.y),
        observed=examples.observed,
        weight=examples.weight,
        bits=bits,
        index=index,
    )


def max_fit_rows(schema: Schema) -> int:
    """Rows that a linear model is fitted to, at most."""
    return min(MAX_FIT_ROWS, max(MIN_FIT_ROWS, MAX_FIT_NUMBERS // max(1, schema.size)))


def some_rows(schema: Schema, examples: Examples, index: np.ndarray, seed: int) -> Examples:
    """Those of the rows at the positions `index` that a linear model is fitted to: a random part, if they are many."""
    if len(index) > max_fit_rows(schema):
        index = index[np.sort(np.random.default_rng(seed).permutation(len(index))[: max_fit_rows(schema)])]
    return examples.take(index)


class LinearRows(NamedTuple):
    """Rows as an encoder's network reads them, flat, for a linear model."""

    x: np.ndarray
    """(n, d)"""
    condition: np.ndarray | None
    """(n, C)"""
    weight: np.ndarray | None
    """(n,) how much rows count."""


def linear_rows(schema: Schema, examples: Examples, seed: int) -> LinearRows:
    """A random part of many rows, for a linear model; of a denoising model's, the clean ones."""
    some = examples.subsample(max_fit_rows(schema), seed)
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
    return LinearRows(np.concatenate(read), np.concatenate(conditions) if conditions else None, some.weight)
