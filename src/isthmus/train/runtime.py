"""How the processor is used: threads, denormals, compilation; fixed rules on sizes, never a clock."""

from __future__ import annotations

import contextlib
import numbers
import os
import shutil
from collections.abc import Iterator

import torch
from torch.utils.flop_counter import FlopCounterMode

from isthmus.batch import Batch
from isthmus.data import guards
from isthmus.errors import InputError
from isthmus.latent_model import LatentModel

ONE_THREAD_BELOW = 500e6
"""Floating-point operations a step under which a second thread brings a tenth at most on a machine of one's own, and
costs a multiple on one that other processes use too: every barrier then waits for the scheduler."""
MOST_THREADS = 1024
COMPILE_STEPS = 60_000
"""Updates after which compiling a small net's step has repaid itself."""
COMPILE_PARAMETERS = 200_000
"""Larger nets are bound by matrix products, which compilation leaves alone."""


def operations(model: LatentModel, batch: Batch) -> float:
    """Floating-point operations of an update for each row of `batch`: a pass forward, and twice that back.

    Counted, for a convolution has many more of them than parameters.
    """
    was_training = model.training
    model.eval()
    with torch.no_grad(), seeded(0, batch.x.device), FlopCounterMode(display=False) as counter:
        model(batch)
    model.train(was_training)
    return 3 * counter.get_total_flops() / len(batch.x)


def pick_threads(asked: int | str, work: float) -> int:
    """Threads for so many floating-point operations a step: one for tiny nets, else what torch has."""
    if asked != "auto":
        if not isinstance(asked, numbers.Integral) or not 1 <= asked <= MOST_THREADS:
            raise InputError(f"threads={asked!r} came; a whole number from 1 to {MOST_THREADS}, or 'auto', is wanted")
        return int(asked)
    return 1 if work < ONE_THREAD_BELOW else torch.get_num_threads()


def pick_compile(asked: bool | str, parameters: int, steps: int, device: torch.device) -> bool:
    """Whether to compile the step: on the CPU only long runs of small nets repay it."""
    if asked != "auto":
        return bool(asked)
    pays = device.type == "cpu" and steps >= COMPILE_STEPS and parameters <= COMPILE_PARAMETERS
    return pays and shutil.which(os.environ.get("CXX", "g++")) is not None


def pick_device(asked: str) -> torch.device:
    """A device by name; `auto` is a GPU where there is one. Raises InputError for one that is not there."""
    if asked == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(asked)
    except (RuntimeError, TypeError):
        raise InputError(f"device={asked!r} came; 'auto', 'cpu', 'cuda' or 'cuda:1' is wanted") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"device={asked!r} was asked for, but no GPU is available here; use device='cpu' or 'auto'")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"device={asked!r} was asked for, but there are {torch.cuda.device_count()} GPUs")
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"device={asked!r} came; 'auto', 'cpu' or 'cuda' is wanted")
    return device


def device_for_use(asked: str) -> torch.device:
    """As `pick_device`, but a model trained on a GPU serves on the CPU where there is none."""
    try:
        return pick_device(asked)
    except InputError:
        return torch.device("cpu")


def pick_dtype(asked: str) -> torch.dtype:
    """`auto` and `single` are float32, `double` is float64."""
    if asked not in ("auto", "single", "double"):
        raise InputError(f"precision={asked!r} came; 'auto', 'single' or 'double' is wanted")
    return torch.float64 if asked == "double" else torch.float32


def flushes() -> bool:
    """Whether this thread turns denormal numbers into zero: torch can set it, but not tell."""
    tiny = torch.full((), 1.2e-38)
    return (tiny * 0.5).item() == 0.0


@contextlib.contextmanager
def running(threads: int) -> Iterator[None]:
    """So many threads, and denormals flushed on this one; both as before afterwards."""
    before, flushed = torch.get_num_threads(), flushes()
    torch.set_flush_denormal(True)
    if threads != before:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_flush_denormal(flushed)
        if threads != before:
            torch.set_num_threads(before)


@contextlib.contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """The generators of the CPU and of `device` start from `seed`; they are as before afterwards."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(seed)
        for gpu in devices:
            with torch.cuda.device(gpu):
                torch.cuda.manual_seed(seed)
        yield


def free_memory(device: torch.device) -> int | None:
    """Bytes that can still be had on the device, where the system tells."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else guards.free_memory()
