"""A limit on the numbers that a configuration may ask for, checked before memory is taken for them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from isthmus.errors import InputError

SPARE_NUMBERS, SPARE_EXAMPLES = 2**21, 16
"""Numbers, and examples, that a model may make beside its weights: buffers that are not saved, rows to try it with."""
BY_SHAPE = frozenset(
    [getattr(torch, name) for name in ("empty", "zeros", "ones", "full", "rand", "randn", "eye")]
    + [getattr(Tensor, name) for name in ("new_empty", "new_zeros", "new_ones", "new_full")]
)
"""Functions that take memory for a shape; others, such as `as_tensor`, are given the numbers."""


class AllocationLimit(TorchFunctionMode):
    """A context in which tensors may be made by their shapes as long as a model with the weights of a file needs them.

    A network of a hundred million units is one number in a configuration; its weights are refused before they exist.

    Args:
        weights: numbers in the file.
        size: numbers in one example.
    """

    def __init__(self, weights: int, size: int):
        super().__init__()
        self.left = 2 * weights + SPARE_NUMBERS + SPARE_EXAMPLES * size  # twice: as drawn, and as set

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in BY_SHAPE:
            self.take(numel(args[isinstance(args[0], Tensor) :] if args else (kwargs.get("size", 0),)))
        elif func is torch.arange:
            self.take(max([0, *(abs(int(arg)) for arg in args if isinstance(arg, int | float))]))
        return func(*args, **kwargs)

    def take(self, n: int) -> None:
        """Count n numbers; raises InputError if too many have been asked for."""
        self.left -= n
        if self.left < 0:
            raise InputError("the model that it describes is larger than the weights beside it.")


def numel(args: Sequence[Any]) -> int:
    """The size of a tensor whose shape is the first argument, or the arguments themselves."""
    shape = args[0] if isinstance(args[0], Sequence) else [arg for arg in args if isinstance(arg, int)]
    return math.prod(shape)
