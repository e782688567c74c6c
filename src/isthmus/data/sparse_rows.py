"""Sparse matrices as the arrays that models read: in memory, or in a temporary file where memory is too small."""

from __future__ import annotations

import math
import shutil
import tempfile
import warnings
from typing import Any

import numpy as np
import torch

from isthmus.data.guards import MAX_MEMORY_FRACTION, fits_in_memory, require_memory

NUMBERS_AT_ONCE = 2**22
"""Numbers of a block of rows that is written to a file."""


def is_sparse(X: Any) -> bool:
    """Whether X is a sparse matrix or array of SciPy, or a sparse tensor."""
    return hasattr(X, "toarray") or (isinstance(X, torch.Tensor) and X.layout != torch.strided)


def dense(X: Any, name: str) -> Any:
    """A sparse matrix as an array, a sparse tensor as a dense one.

    A matrix that memory cannot hold is written, block by block, to a file without a name, which is mapped into memory
    and disappears with the array: fitting and scoring read it a batch at a time.

    Args:
        X: (n, d) what `is_sparse` finds sparse.
        name: what errors call it.

    Raises:
        InputError: if neither memory nor the folder of temporary files has room for it.
    """
    if isinstance(X, torch.Tensor):
        require_memory(X.numel() * X.element_size(), f"{name}, a sparse tensor, as a dense one")
        return X.to_dense()
    n_bytes, folder = math.prod(X.shape) * X.dtype.itemsize, tempfile.gettempdir()
    if fits_in_memory(n_bytes):
        return X.toarray()
    if n_bytes > MAX_MEMORY_FRACTION * shutil.disk_usage(folder).free:
        require_memory(n_bytes, f"{name}, a sparse matrix, as an array")
    warnings.warn(
        f"{name}, a sparse matrix, takes {n_bytes / 1e9:,.1f} GB as an array, which memory cannot hold: it is in a "
        f"temporary file in {folder} (TMPDIR), which is slower to read.",
        UserWarning,
        stacklevel=4,
    )
    rows = X.tocsr()
    with tempfile.TemporaryFile(dir=folder) as file:
        array = np.memmap(file, dtype=rows.dtype, mode="w+", shape=rows.shape)
    step = max(1, NUMBERS_AT_ONCE // max(1, rows.shape[1]))
    for start in range(0, len(array), step):
        array[start : start + step] = rows[start : start + step].toarray()
    return array
