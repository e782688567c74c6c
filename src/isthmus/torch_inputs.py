"""Rows of torch data sets and loaders, as arrays in the order of the data set."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    TensorDataset,
    default_collate,
    default_convert,
)

from isthmus.array_checks import from_torch
from isthmus.data.guards import require_memory
from isthmus.errors import InputError

ROWS_PER_CALL = 256
"""Rows that the `collate_fn` of a loader without a batch size is given at once."""
PAIR = "X must be a data set whose items are x or (x, y)"


def read_items(X: Dataset | DataLoader) -> tuple[list[np.ndarray], list[Any] | None]:
    """The rows x of a data set, one array each, and their labels if the items are pairs (x, y).

    A loader is not iterated over, for it may shuffle: its data set is read in order, with its `collate_fn`.

    Raises:
        InputError: for a data set without a length, a loader of only some of its rows, and other items.
    """
    collate = None
    dataset: Any = X
    if isinstance(X, DataLoader):
        require_whole(X)
        dataset = X.dataset
        collate = None if X.collate_fn in (default_collate, default_convert) else X.collate_fn
    n = length_of(dataset)
    items = items_of(dataset, n)
    if collate is not None:
        size = getattr(X, "batch_size", None) or ROWS_PER_CALL
        batches = (collate(list(itertools.islice(items, size))) for _ in range(0, n, size))
        pairs = (row for batch in batches for row in rows_of(batch))
    else:
        pairs = (pair(item) for item in items)
    rows: list[np.ndarray] = []
    labels: list[Any] = []
    for x, y in pairs:
        row = to_array(x)
        if not rows:
            require_memory(2 * n * row.nbytes, "X")  # the rows, and what they are put together to
        rows.append(row)
        labels += [] if y is None else [to_label(y)]
    if len(rows) != n or len(labels) not in (0, n):
        raise InputError(f"{PAIR}, got {len(rows):,} rows and {len(labels):,} labels in {n:,} items.")
    return rows, labels or None


def require_whole(loader: DataLoader) -> None:
    """Raise InputError unless a loader goes over all rows of its data set, once each."""
    sampler: Any = loader.sampler if loader.batch_sampler is None else loader.batch_sampler
    sampler = sampler.sampler if type(sampler) is BatchSampler else sampler
    if isinstance(loader.dataset, IterableDataset) or type(sampler) is SequentialSampler:
        return
    if type(sampler) is not RandomSampler or sampler.replacement or sampler.num_samples != length_of(loader.dataset):
        raise InputError(
            f"X must be a DataLoader that goes over each row of its data set once, got a {type(sampler).__name__} of "
            "others. Pass the data set itself, or torch.utils.data.Subset(dataset, indices)."
        )


def length_of(dataset: Any) -> int:
    """Number of items of a data set; InputError if it has none, or does not say."""
    try:
        n = len(dataset)
    except (TypeError, NotImplementedError):
        raise InputError(
            f"X must be a data set with a length, got {type(dataset).__name__}, which has none. "
            "Pass an array of its rows: numpy.stack(list(dataset))."
        ) from None
    if not n:
        raise InputError(f"X must have at least one row, got an empty {type(dataset).__name__}.")
    return n


def items_of(dataset: Any, n: int) -> Iterator[Any]:
    """The n items of a data set, in order."""
    if isinstance(dataset, TensorDataset):
        return zip(*dataset.tensors)
    if isinstance(dataset, IterableDataset):
        return iter(dataset)
    return (dataset[i] for i in range(n))


def pair(item: Any) -> tuple[Any, Any]:
    """x and y of an item; y is None for an item that is x alone."""
    if isinstance(item, tuple | list):
        if len(item) not in (1, 2):
            raise InputError(f"{PAIR}, got {len(item)} values.")
        return item[0], item[1] if len(item) == 2 else None
    if isinstance(item, dict):
        raise InputError(
            f"{PAIR}, got a dict with the keys {', '.join(map(str, item))}. Wrap it to return one of them."
        )
    return item, None


def rows_of(batch: Any) -> Iterator[tuple[Any, Any]]:
    """The pairs of x and y in what a `collate_fn` made of some items."""
    x, y = pair(batch)
    return zip(x, [None] * len(x) if y is None else y)


def to_array(x: Any) -> np.ndarray:
    """One row as an array of numbers."""
    array = from_torch(x) if hasattr(x, "detach") else np.asarray(x)
    if array.dtype.kind not in "biuf":
        raise InputError(f"{PAIR}, got x of type {type(x).__name__}. Give the data set a transform to tensors.")
    return array


def to_label(y: Any) -> Any:
    """One label as a plain value."""
    label = y.detach().cpu().numpy() if hasattr(y, "detach") else y
    if np.size(label) != 1:
        raise InputError(f"{PAIR}, got a y of shape {np.shape(label)}. Wrap it to return one label a row.")
    return np.asarray(label).item() if np.ndim(label) or isinstance(label, np.ndarray) else label
