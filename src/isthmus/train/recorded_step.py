"""A step recorded once and replayed: the speed of small networks on a CPU is limited by Python, not by arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from isthmus.batch import Batch

MAX_RECORDED_BYTES = 2**28
"""Memory of all results of a step up to which it is recorded: replayed, each keeps its place. Steps with larger results
spend their time in arithmetic."""
MAX_COPIED_BYTES = 2**20
"""Memory of those results that cannot be written into place and are copied there, such as a convolution's: with more of
it a replayed step is no faster."""
BY_SHAPE = ("ones_like", "zeros_like", "full_like", "empty_like", "new_ones", "new_zeros", "new_full", "new_empty")
"""Operations that read the shape of a tensor and not its numbers."""
UNINITIALIZED = ("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "empty_permuted")

aten = torch.ops.aten
SAME_KERNEL: dict[Any, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    aten.relu.default: (torch.clamp_min, (0,)),
    **{getattr(aten, name).Scalar: (getattr(torch, name), ()) for name in ("add", "sub", "mul", "div")},
}
"""For operations that cannot write into place, functions that compute the same and can, and what else these take."""
COPIES = (aten.clone.default, aten._to_copy.default)


class CannotRecord(RuntimeError):
    """A step that reads numbers back to decide what to compute, or whose results are too large to keep."""


class RecordedStep:
    """The gradient of a step as the list of its operations, each of which puts its result where its first one was.

    Views therefore vanish, and so do the modules, the checks and the graph of autograd: what is left is one call for
    each operation on numbers, the same ones in the same order. Memory that stays is not cleared for every result, which
    saves wide networks a seventh of their time.

    Args:
        step: takes a batch and gives the loss and the values to record.
        parameters: what gradients are taken with respect to.
        batch: rows of the shape of all batches.

    Raises:
        CannotRecord: if other rows might need other operations.
    """

    def __init__(
        self, step: Callable[[Batch], tuple[Tensor, list[Tensor]]], parameters: Sequence[Tensor], batch: Batch
    ):
        self.batch = Batch._make(None if tensor is None else tensor.clone() for tensor in batch)
        with OperationRecorder() as recorder:
            loss, values = step(self.batch)
            grads = torch.autograd.grad(loss, parameters, allow_unused=True)
        self.grads = [None if grad is None else grad.detach() for grad in grads]
        self.values = [value.detach() for value in values]
        self.calls = list(recorder.calls())

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Sequence[Tensor | None]:
        """The gradients, None where a parameter has no part in the loss; `values` are then those of this batch."""
        for fixed, tensor in zip(self.batch, batch):
            if fixed is not None and tensor is not None:
                fixed.copy_(tensor)
        for call in self.calls:
            call()
        return self.grads


class OperationRecorder(TorchDispatchMode):
    """Notes the operations that run inside the context, forward and backward, with their arguments and results."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []
        self.written: set[int] = set()  # storages that are overwritten in place
        self.bytes = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # spares the import of the compiler

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape} & set(operation.tags):
            raise CannotRecord(f"{operation} depends on the numbers of a batch")
        result = operation(*args, **kwargs)
        if is_view(operation):
            return result
        args, kwargs, kept = tree_map_only(Tensor, Tensor.detach, (args, kwargs, result))
        self.operations.append((operation, args, kwargs, kept))
        written = set(written_arguments(operation, args, kwargs))
        self.written |= written
        if not written:
            self.bytes += sum(tensor.nbytes for tensor in tensors_in(kept))
        if self.bytes > MAX_RECORDED_BYTES:
            raise CannotRecord("its results take too much memory to keep")
        return result

    def calls(self) -> Iterator[Callable[[], Any]]:
        """What is to be called, in this order, to run the operations once more.

        Raises:
            CannotRecord: if the results of too many of them would have to be copied.
        """
        copied = 0
        constant: set[int] = set()  # storages whose numbers are the same in every step
        for operation, args, kwargs, result in self.operations:
            if any(written_arguments(operation, args, kwargs)):
                yield partial(operation, *args, **kwargs)
                continue
            name = operation.overloadpacket.__name__
            if name in UNINITIALIZED:
                continue
            read = set() if name in BY_SHAPE else set(map(storage_of, tensors_in((args, kwargs))))
            results = set(map(storage_of, tensors_in(result)))
            draws = torch.Tag.nondeterministic_seeded in operation.tags
            if not draws and read <= constant and not results & self.written:
                constant |= results
            else:
                call = into_place(operation, args, kwargs, result)
                if call is None:
                    call = copied_into(list(tensors_in(result)), partial(operation, *args, **kwargs))
                    copied += sum(tensor.nbytes for tensor in tensors_in(result))
                if copied > MAX_COPIED_BYTES:
                    raise CannotRecord(f"{operation} and others cannot write their results into place")
                yield call


def into_place(operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> Callable[[], Any] | None:
    """The operation with its result written to the memory of `result`; None where it cannot write to memory."""
    parts = result if len(operation._schema.returns) > 1 else (result,)
    if operation in COPIES:
        return partial(parts[0].copy_, args[0])
    if operation in SAME_KERNEL:
        kernel, more = SAME_KERNEL[operation]
        return partial(kernel, *args, *more, **kwargs, out=parts[0])
    variant = out_variant(operation) if all(isinstance(part, Tensor) for part in parts) else None
    if variant is None:
        return None
    overload, names = variant
    return partial(overload, *args, **kwargs, **dict(zip(names, parts, strict=True)))


def copied_into(places: list[Tensor], call: Callable[[], Any]) -> Callable[[], None]:
    """A call whose results are then copied into the places of its first ones."""

    def run() -> None:
        for place, new in zip(places, tensors_in(call()), strict=True):
            place.copy_(new)

    return run


def out_variant(operation: Any) -> tuple[Any, list[str]] | None:
    """The overload that takes the same arguments and memory for each result, and the names of the latter.

    Overloads without a kernel of their own are left out: they copy the result.
    """
    schema = operation._schema
    asked = [(argument.name, str(argument.type)) for argument in schema.arguments]
    packet = operation.overloadpacket
    for name in packet.overloads():
        overload = getattr(packet, name)
        arguments = overload._schema.arguments
        outputs = [a.name for a in arguments if a.is_out]
        others = [(a.name, str(a.type)) for a in arguments if not a.is_out]
        same = outputs and len(outputs) == len(schema.returns) and others == asked
        if same and overload.has_kernel_for_dispatch_key(torch._C.DispatchKey.CPU):
            return overload, outputs
    return None


def is_view(operation: Any) -> bool:
    """Whether the result has the memory of an argument, and nothing is computed."""
    aliases = [returned.alias_info for returned in operation._schema.returns]
    return bool(aliases) and all(alias is not None and not alias.is_write for alias in aliases)


def written_arguments(operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[int]:
    """The storages of the arguments that the operation overwrites."""
    for position, argument in enumerate(operation._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = args[position] if position < len(args) else kwargs.get(argument.name)
            yield from map(storage_of, tensors_in(value))


def tensors_in(tree: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))


def storage_of(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
