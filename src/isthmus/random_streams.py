"""Random numbers from generators of our own, one stream in a thread.

Torch's global generators belong to the user: other threads draw from them at any time, and nobody expects a fit to move
them. All draws of this package go through `normal`, `uniform`, `words` and `generator`, which read the stream that
`seeded` has set for the running thread. Without one they use torch's global generator, as `torch.manual_seed` users
expect of modules that they call by hand.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

NOT_BEFORE = "draws whose distribution depends on other numbers cannot be made before the step"

GLOBAL = "rng.global."
"""How the names of the states of torch's global generators begin."""


FENCE_SEED_OFFSET = 0x5DEECE66D
"""Added to a stream's seed for torch's generators: numbers of a user's own must not repeat those of the stream."""


class Draw(NamedTuple):
    """What is drawn: standard normal numbers, uniform ones on [0, 1), or 64 random bits an element."""

    kind: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    def empty(self) -> Tensor:
        return torch.empty(self.shape, dtype=self.dtype, device=self.device)

    def fill(self, out: Tensor, generator: torch.Generator | None) -> Tensor:
        """Overwrite `out` with new numbers."""
        if self.kind == "normal":
            return out.normal_(generator=generator)
        if self.kind == "uniform":
            return out.uniform_(generator=generator)
        return out.random_(-(2**63), None, generator=generator)


class Stream:
    """Random numbers from one seed, by a generator for each device.

    Args:
        seed: of all generators.
    """

    def __init__(self, seed: int):
        self.seed = seed
        self.fenced = self.drew_globally = False
        self._generators: dict[str, torch.Generator] = {}

    def generator(self, device: torch.device) -> torch.Generator:
        """The generator of a device."""
        key = f"{device.type}:{device.index or 0}"
        if key not in self._generators:
            self._generators[key] = torch.Generator(device).manual_seed(self.seed)
        return self._generators[key]

    def draw(self, draw: Draw) -> Tensor:
        return draw.fill(draw.empty(), self.generator(draw.device))

    @contextlib.contextmanager
    def fence(self, device: torch.device) -> Iterator[None]:
        """Inside the context torch's global generators start from this stream's seed; their states are restored after.

        For code that is not ours and draws from them where it cannot be redirected. Other threads that draw at the same
        time still change what it draws.
        """
        devices = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            for each in (torch.default_generator, *(torch.cuda.default_generators[gpu.index or 0] for gpu in devices)):
                each.manual_seed((self.seed + FENCE_SEED_OFFSET) % 2**63)
            self.fenced = True
            before = self.state(device)
            yield
            after = self.state(device)
            self.fenced = False
            self.drew_globally = any(not torch.equal(before[k], after[k]) for k in before if k.startswith(GLOBAL))

    def _by_name(self, device: torch.device) -> dict[str, torch.Generator]:
        kinds = {each.type: each for each in (torch.device("cpu"), device)}
        named = {f"rng.{kind}": self.generator(each) for kind, each in kinds.items()}
        if self.fenced:
            named[f"{GLOBAL}cpu"] = torch.default_generator
            if device.type == "cuda":
                named[f"{GLOBAL}cuda"] = torch.cuda.default_generators[device.index or 0]
        return named

    def state(self, device: torch.device) -> dict[str, Tensor]:
        """The states of the generators of the CPU and of `device` by name, and inside the fence of torch's own."""
        return {name: each.get_state() for name, each in self._by_name(device).items()}

    def restore(self, states: dict[str, Tensor], device: torch.device) -> None:
        """Go on from what `state` returned; KeyError if it is of another kind of device."""
        for name, each in self._by_name(device).items():
            each.set_state(states[name].cpu())


class Recorder(Stream):
    """A stream that notes its draws, so that the same ones can be made before a function runs (`Planned`)."""

    def __init__(self) -> None:
        super().__init__(0)
        self.draws: list[Draw] = []

    def generator(self, device: torch.device) -> torch.Generator:
        raise RuntimeError(NOT_BEFORE)

    def draw(self, draw: Draw) -> Tensor:
        self.draws.append(draw)
        return draw.empty().fill_(0.5) if draw.kind != "words" else draw.empty().zero_()


class Replay:
    """Stands for a stream and hands out numbers that were drawn before."""

    def __init__(self, tensors: Sequence[Tensor]):
        self._remaining = iter(tensors)

    def draw(self, draw: Draw) -> Tensor:
        return next(self._remaining)

    def generator(self, device: torch.device) -> torch.Generator:
        raise RuntimeError(NOT_BEFORE)


class _Local(threading.local):
    stream: Stream | Replay | None = None


_LOCAL = _Local()


@contextlib.contextmanager
def drawing_from(stream: Stream | Replay) -> Iterator[None]:
    """Inside the context this thread's draws come from `stream`."""
    before, _LOCAL.stream = _LOCAL.stream, stream
    try:
        yield
    finally:
        _LOCAL.stream = before


def current_stream() -> Stream:
    """The stream of this thread."""
    assert isinstance(_LOCAL.stream, Stream)
    return _LOCAL.stream


def generator(device: torch.device) -> torch.Generator | None:
    """The generator of this thread's stream, for torch's functions; None, torch's global one, outside `seeded`."""
    return None if _LOCAL.stream is None else _LOCAL.stream.generator(device)


def draw_now(draw: Draw) -> Tensor:
    """New numbers from this thread's stream."""
    return draw.fill(draw.empty(), None) if _LOCAL.stream is None else _LOCAL.stream.draw(draw)


def normal(shape: Sequence[int], like: Tensor) -> Tensor:
    """Standard normal numbers of this shape, in the precision and on the device of `like`."""
    return draw_now(Draw("normal", tuple(shape), like.dtype, like.device))


def uniform(shape: Sequence[int], like: Tensor) -> Tensor:
    """Uniform numbers on [0, 1), likewise."""
    return draw_now(Draw("uniform", tuple(shape), like.dtype, like.device))


def words(n: int, device: torch.device) -> Tensor:
    """(n,) integers of 64 random bits each."""
    return draw_now(Draw("words", (n,), torch.int64, device))


@contextlib.contextmanager
def seeded(seed: int, model: nn.Module | None = None) -> Iterator[None]:
    """Inside the context this thread draws from a stream that starts from `seed`.

    What code that is not ours asks of torch's global generators comes from that stream too, at some cost for each call
    of torch; a model without such code is spared it.

    Args:
        seed: of the stream.
        model: what runs inside the context; None for any code, such as torch's initialization of layers.
    """
    foreign = model is None or not is_ours(model)
    with drawing_from(Stream(seed)), Redirected() if foreign else contextlib.nullcontext():
        yield


def repeatable(model: nn.Module, seed: int = 0) -> contextlib.AbstractContextManager[None]:
    """A context in which a user's network that draws when it is used, too, does so from a stream of its own.

    Args:
        model: what runs inside the context; one without code of others is left as it is, for it draws nothing.
        seed: of the stream.
    """
    return contextlib.nullcontext() if is_ours(model) else seeded(seed, model)


WITH_GENERATOR = {
    *("bernoulli", "binomial", "multinomial", "normal", "poisson", "rand", "randint", "randn", "randperm"),
    *("_sample_dirichlet", "_standard_gamma"),
    *(f"{name}_" for name in ("bernoulli", "cauchy", "exponential", "geometric", "log_normal", "normal", "random")),
    *("kaiming_normal_", "kaiming_uniform_", "uniform_"),
}
"""Functions and methods of torch, and of `torch.nn.init`, that draw from a generator that they are given."""
LIKE = {"rand_like": "uniform", "randn_like": "normal"}
"""Those that draw in the shape of a tensor."""


class Redirected(TorchFunctionMode):
    """Inside this context torch's own random functions draw from the stream of the thread, whoever calls them."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if _LOCAL.stream is not None:
            if name in WITH_GENERATOR and kwargs.get("generator") is None:
                where = kwargs.get("device")
                if where is None:
                    tensor = next((argument for argument in args if isinstance(argument, Tensor)), None)
                    where = torch.get_default_device() if tensor is None else tensor.device
                kwargs["generator"] = generator(torch.device(where))
            elif name in LIKE and not kwargs and len(args) == 1 and args[0].is_floating_point():
                return draw_now(Draw(LIKE[name], tuple(args[0].shape), args[0].dtype, args[0].device))
        return func(*args, **kwargs)


KNOWN = ("isthmus.", "zuko.")
"""Packages whose modules draw from the streams above alone."""


def is_ours(module: nn.Module) -> bool:
    """Whether all parts of a module are ours or layers of torch that draw nothing once they are initialized."""
    return not any(_may_draw(part) for part in module.modules())


def _may_draw(part: nn.Module) -> bool:
    home = type(part).__module__
    if home.startswith(KNOWN):
        return False
    rates = (getattr(part, "dropout", 0), getattr(part, "p", 0), getattr(part, "upper", 0))  # RReLU has an upper slope
    return not home.startswith("torch.nn.") or any(isinstance(rate, int | float) and rate > 0 for rate in rates)
