"""Work in blocks of rows, which become smaller where memory is short."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor

from isthmus.errors import InputError

T = TypeVar("T")

SHORT_OF_MEMORY = ("can't allocate memory", "not enough memory", "could not create a primitive", "ALLOC_FAILED")
"""What errors without a type of their own say: torch's CPU allocator on Linux and Windows, oneDNN, CUDA's libraries."""


def is_memory_error(error: BaseException) -> bool:
    """Whether an exception says that memory is short."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in SHORT_OF_MEMORY)


def smaller_block(size: int, error: Exception) -> int:
    """Half a block that did not fit into memory, with a warning; other errors, also of one row, are raised again."""
    if size <= 1 or not is_memory_error(error):
        raise error
    warnings.warn(
        "Memory is too short for the usual number of rows at a time: smaller blocks are used, which takes longer.",
        UserWarning,
        stacklevel=3,
    )
    return size // 2


def in_blocks(compute: Callable[[int], T], size: int) -> T:
    """`compute(size)`, or of half the size, and so on, where memory is short."""
    while True:
        try:
            return compute(size)
        except Exception as error:
            size = smaller_block(size, error)


def by_blocks(compute: Callable[[Tensor], T], n: int, size: int, device: torch.device | None = None) -> Iterator[T]:
    """`compute` of the positions (B,) of one block of n rows after another.

    Args:
        compute: of positions on `device`; of positions that do not fit into memory it is called again with fewer.
        n: how many rows.
        size: rows in a block, at most.
        device: where positions are.
    """
    start = 0
    while start < n:
        index = torch.arange(start, min(n, start + size), device=device)
        try:
            part = compute(index)
        except Exception as error:
            size = smaller_block(len(index), error)
            continue
        yield part
        start += len(index)


@contextlib.contextmanager
def memory_of_an_update(batch_size: int) -> Iterator[None]:
    """Turn a memory error in training into one line: an update cannot be split without becoming another one."""
    try:
        yield
    except Exception as error:
        if not is_memory_error(error):
            raise
        raise InputError(
            f"batch_size must be smaller, got {batch_size:,}: an update of so many rows does not fit into memory. "
            f"Pass batch_size={max(1, batch_size // 4)}, or smaller hidden layers."
        ) from error
