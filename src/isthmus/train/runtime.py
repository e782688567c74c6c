"""How the hardware is used: threads, denormals, compilation, devices, random generators, Ctrl-C.

Decisions follow fixed rules on sizes and never a clock, so that they can be repeated.
"""

from __future__ import annotations

import contextlib
import numbers
import os
import shutil
import signal
import threading
import warnings
from collections.abc import Callable, Iterator

import torch
from threadpoolctl import threadpool_limits
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from isthmus.batch import Batch
from isthmus.data import guards
from isthmus.errors import InputError, unknown
from isthmus.latent_model import Model
from isthmus.random_streams import seeded
from isthmus.synonyms import nearest_name
from isthmus.train.mixed_precision import bf16_parameters, bf16_pays, has_bf16_units

ONE_THREAD_MAX_FLOPS = 500e6
"""Floating-point operations of an update below which a second thread makes it faster by a tenth at most on an idle
machine, and several times slower on one that other processes use: every barrier then waits for the scheduler."""
MAX_THREADS = 1024
"""CPU threads that may be asked for."""
PRECISIONS = ("auto", "float32", "float64", "bf16")
UPDATE_PASSES = 3
"""Forward passes that an update amounts to: one, and twice as many operations back."""
COMPILE_MIN_STEPS = 60_000
"""Updates after which compiling a small network's step has paid off."""
COMPILE_MAX_PARAMETERS = 200_000
"""The speed of larger networks is limited by matrix products, which compilation does not change."""


def count_flops(model: Model, batch: Batch) -> float:
    """Floating-point operations of a forward pass per row and draw.

    They are counted and not derived from parameters, for a convolution has many more of them.
    """
    was_training = model.training
    model.eval()
    with torch.no_grad(), seeded(0, model), unfused(), FlopCounter() as counter:
        model(batch)
    model.train(was_training)
    return counter.total / len(batch.x)


@contextlib.contextmanager
def unfused() -> Iterator[None]:
    """Run recurrent networks and attention as products of matrices: fused kernels have no formula and would count 0."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a precision that is not touched
        with torch.backends.mkldnn.flags(enabled=False), sdpa_kernel(SDPBackend.MATH):
            yield


class FlopCounter(TorchDispatchMode):
    """Adds up the floating-point operations of what runs within it, by PyTorch's own formulas.

    `torch.utils.flop_counter.FlopCounterMode` gives the same number, and imports the compiler at its first use: three
    seconds of every process that trains. A mode is spared that by saying that the compiler may look into it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0.0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        formula = flop_registry.get(operation.overloadpacket)
        if formula is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=result)
        return result


def pick_threads(threads: int | str, flops: float) -> int:
    """The number of threads; `auto` is one for small networks, else torch's own number.

    Args:
        threads: a number or `auto`.
        flops: floating-point operations of an update.
    """
    if threads != "auto":
        if not isinstance(threads, numbers.Integral) or not 1 <= threads <= MAX_THREADS:
            raise InputError(f"threads must be an integer from 1 to {MAX_THREADS} or 'auto', got {threads!r}.")
        return int(threads)
    return 1 if flops < ONE_THREAD_MAX_FLOPS else torch.get_num_threads()


def pick_compile(compile: bool | str, parameters: int, steps: int, device: torch.device) -> bool:
    """Whether to compile the update; `auto` does on the CPU, for small networks that are trained for long.

    Args:
        compile: True, False or `auto`.
        parameters: number of parameters.
        steps: number of updates.
        device: where training takes place.
    """
    if compile != "auto":
        return bool(compile)
    pays = device.type == "cpu" and steps >= COMPILE_MIN_STEPS and parameters <= COMPILE_MAX_PARAMETERS
    return pays and shutil.which(os.environ.get("CXX", "g++")) is not None


def pick_device(device: str) -> torch.device:
    """A device by name; `auto` is a GPU if there is one.

    Raises:
        InputError: if there is no such device.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    known = f"device must be 'auto', 'cpu', 'cuda', like 'cuda:1', or 'mps', got {device!r}."
    if nearest := nearest_name(str(device), ("auto", "cpu", "cuda", "mps")):
        known += f" Did you mean {nearest!r}?"
    try:
        picked = torch.device(device)
    except (RuntimeError, TypeError, ValueError):
        raise InputError(known) from None
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if picked.type not in available:
        raise InputError(known)
    if not available[picked.type]:
        raise InputError(f"device must be 'cpu' or 'auto' where there is no GPU, got {device!r}.")
    if picked.type == "cuda" and (picked.index or 0) >= torch.cuda.device_count():
        raise InputError(f"device must be one of {torch.cuda.device_count()} GPUs, from 'cuda:0', got {device!r}.")
    return picked


def device_for_use(device: str) -> torch.device:
    """As `pick_device`, but the CPU if there is no such device: models trained on a GPU can be used without one."""
    try:
        return pick_device(device)
    except InputError:
        return torch.device("cpu")


def pick_dtype(precision: str) -> torch.dtype:
    """The dtype of weights that are kept, of data and of all that is measured: float64 if asked for, else float32."""
    if precision not in PRECISIONS:
        raise unknown("precision", str(precision), PRECISIONS)
    return torch.float64 if precision == "float64" else torch.float32


def pick_precision(precision: str, model: Model, rows: int, device: torch.device) -> str:
    """What a model computes gradients in: `bf16`, or the dtype of its weights.

    `auto` is bf16 where there are units for it and layers and batches are large enough to gain. Asked for where there
    are none, training goes on in float32, with a warning.

    Args:
        precision: as the field.
        model: whose networks compute.
        rows: of a batch, times the draws of a row.
        device: where training takes place.
    """
    if precision not in ("auto", "bf16"):
        return precision
    if not has_bf16_units(device):
        if precision == "bf16":
            warnings.warn(
                "precision='bf16' needs units for bf16, and this processor or GPU has none: training in float32.",
                UserWarning,
                stacklevel=2,
            )
        return "float32"
    if precision == "bf16" and not bf16_parameters(model):
        warnings.warn(
            "precision='bf16' needs hidden layers of our own networks, and this model has none: training in float32.",
            UserWarning,
            stacklevel=2,
        )
        return "float32"
    return "bf16" if precision == "bf16" or bf16_pays(model, rows) else "float32"


def denormals_flushed() -> bool:
    """Whether this thread rounds denormal numbers to zero; torch can set that but not report it."""
    smallest_normal = torch.full((), 1.2e-38)
    return (smallest_normal * 0.5).item() == 0.0


@contextlib.contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Inside the context torch has this many threads, or as many as it had if these are fewer, and rounds denormal
    numbers to zero.

    More are never asked for, so that a limit of the user's holds.
    """
    threads = min(threads, torch.get_num_threads())
    threads_before, flushed_before = torch.get_num_threads(), denormals_flushed()
    torch.set_flush_denormal(True)
    if threads != threads_before:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_flush_denormal(flushed_before)
        if threads != threads_before:
            torch.set_num_threads(threads_before)


# A forked process has none of its parent's other threads, and OpenMP would wait for them for ever.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))


class OneBlasThread:
    """Inside the context NumPy has one thread for matrices: decompositions of many small ones take longer on several.

    On two cores that other processes use, the choice of a code takes 0.3 seconds on one thread and 9 on two. The limit
    is the process's: it holds until the last of the contexts that overlap in several threads has ended.
    """

    def __init__(self) -> None:
        self._lock, self._depth = threading.Lock(), 0
        self._limits: threadpool_limits | None = None

    def __enter__(self) -> None:
        with self._lock:
            if not self._depth:
                self._limits = threadpool_limits(1, user_api="blas")
            self._depth += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._depth -= 1
            if not self._depth and self._limits is not None:
                self._limits.restore_original_limits()


one_blas_thread = OneBlasThread()


@contextlib.contextmanager
def interruptible(always: bool) -> Iterator[Callable[[], bool]]:
    """Inside the context Ctrl-C sets a flag, which the returned function reads; a second Ctrl-C stops at once.

    Only in the main thread, to which signals come, and only in place of Python's own handler: that of an application
    stays, unless this is `always` to save first.
    """
    pressed = False

    def handle(number, frame):
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True

    handler_before = signal.getsignal(signal.SIGINT)
    replaced = handler_before is signal.default_int_handler or (always and handler_before is not None)
    if threading.current_thread() is not threading.main_thread() or not replaced:
        yield lambda: False
        return
    signal.signal(signal.SIGINT, handle)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, handler_before)


def free_memory(device: torch.device) -> int | None:
    """Free memory of the device in bytes, or None if unknown."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else guards.free_memory()
