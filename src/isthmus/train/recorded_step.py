"""A step recorded once and replayed: the speed of small networks on a CPU is limited by Python, not by arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
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
WRITING_FUNCTIONS: dict[Any, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    aten.relu.default: (torch.clamp_min, (0,)),
    **{getattr(aten, name).Scalar: (getattr(torch, name), ()) for name in ("add", "sub", "mul", "div")},
}
"""For operations that cannot write into place, functions that compute the same and can, and what else these take."""
COPIES = (aten.clone.default, aten._to_copy.default)
PACKAGES = ("isthmus", "torch", "zuko", "builtins")
"""Where functions come from that are known to keep nothing from one step to the next."""


class CannotRecord(RuntimeError):
    """A step that other rows might lead through other operations, or that would not be faster if it were recorded."""


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
        CannotRecord: if the step reads numbers back, or its results are too large to keep or to copy.
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
            if fixed is not None:
                assert tensor is not None  # all batches of a run have the same parts
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
        written = set(written_arguments(operation, args, kwargs))
        given, made = (set(map(storage_of, tensors_in(tree))) for tree in ((args, kwargs), result))
        if made and made <= given and not written:
            return result  # a view, which stays one
        self.written |= written
        self.operations.append((operation, *tree_map_only(Tensor, Tensor.detach, (args, kwargs, result))))
        self.bytes += sum(tensor.nbytes for tensor in tensors_in(result) if storage_of(tensor) not in given)
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
            name = operation.overloadpacket.__name__
            if name in UNINITIALIZED:
                continue
            given, results = (set(map(storage_of, tensors_in(tree))) for tree in ((args, kwargs), result))
            writes = any(written_arguments(operation, args, kwargs))
            draws = torch.Tag.nondeterministic_seeded in operation.tags
            read = set() if name in BY_SHAPE else given
            if not writes and not draws and read <= constant and not results & self.written:
                constant |= results
                continue
            call: Callable[[], Any] = partial(operation, *args, **kwargs)
            if not results <= given:
                places = list(tensors_in(result))
                writing = None if writes else into_place(operation, args, kwargs, result)
                if writing is None:
                    copied += sum(place.nbytes for place in places)
                if copied > MAX_COPIED_BYTES:
                    raise CannotRecord(f"{operation} and others cannot write their results into place")
                call = writing or copied_into(places, call)
            yield call


def into_place(operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> Callable[[], Any] | None:
    """The operation with its result written to the memory of `result`; None where it cannot write to memory."""
    parts = result if len(operation._schema.returns) > 1 else (result,)
    if operation in COPIES:
        return partial(parts[0].copy_, args[0])
    if operation in WRITING_FUNCTIONS and len(args) <= 2 and not kwargs:
        kernel, more = WRITING_FUNCTIONS[operation]
        return partial(kernel, *args, *more, out=parts[0])
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


def calls_others(module: nn.Module) -> bool:
    """Whether parts of torch or of ours run code of others: hooks, replaced methods, functions that they were given."""
    everywhere = ("_global_forward_hooks", "_global_forward_pre_hooks", "_global_backward_hooks")
    if any(getattr(nn.modules.module, name) for name in (*everywhere, "_global_backward_pre_hooks")):
        return True
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    for part in module.modules():
        functions = [leaf for leaf in tree_leaves(vars(part)) if callable(leaf) and not isinstance(leaf, nn.Module)]
        homes = map(home_of, functions)
        if any(getattr(part, name) for name in hooks) or not all(home.partition(".")[0] in PACKAGES for home in homes):
            return True
    tensor_hooks = ("_backward_hooks", "_post_accumulate_grad_hooks")
    return any(getattr(parameter, name, None) for parameter in module.parameters() for name in tensor_hooks)


def home_of(function: Callable[..., Any]) -> str:
    """The module that a function, or the class of a callable, is from; empty where it is not known."""
    return getattr(function, "__module__", None) or ""
