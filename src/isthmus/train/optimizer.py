"""Adam on one flat buffer, by torch's fused kernel, with clipping and a stop at the first number that is not finite."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from isthmus.errors import InputError

FORGET_BELOW_FIRST, FORGET_BELOW_SECOND = 1e-30, 1e-36
"""Moments under these move no weight (epsilon is 1e-8) and decay into denormals, which halve the speed."""
FORGET_EVERY = 100
"""Steps in which a first moment shrinks by 0.9^100 = 3e-5 at most: none gets from the bound to a denormal between."""
AVERAGE_EVERY, LEAST_SHARE = 10, 0.03
"""Every ten updates the averaged weights move by 3 % or more: a memory of 300 updates, less early in a run."""
MEMORYLESS = 4 * AVERAGE_EVERY
"""Up to this update the average is the weights themselves; from then on it reaches back over a quarter of the run."""


class FlatAdam:
    """Kingma & Ba, 2015, over all parameters of a module laid end to end while it is trained.

    A gradient whose norm is more than `clip` times its running mean is scaled down to that. From the first gradient
    that is not finite on, no update is applied and `broken` is 1: the last good weights stay. A running average of the
    weights (Polyak & Juditsky, 1992) is kept beside them: it has less of the last batches' noise.
    """

    def __init__(self, module: nn.Module, clip: float = 10.0):
        if not clip > 0:
            raise InputError(f"clip={clip} came; a positive number is wanted (float('inf') for none)")
        self.names, self.parameters = zip(*[(n, p) for n, p in module.named_parameters() if p.requires_grad])
        kinds = {(p.dtype, p.device) for p in self.parameters}
        if len(kinds) > 1:
            raise InputError(f"parameters of several types came: {kinds}; give the whole model one with .to(...)")
        self.flat = torch.cat([p.detach().reshape(-1) for p in self.parameters])
        self.grad = torch.zeros_like(self.flat)
        self.first, self.second = torch.zeros_like(self.flat), torch.zeros_like(self.flat)
        self.average = self.flat.clone()
        for parameter, value, grad in zip(self.parameters, self.views(self.flat), self.views(self.grad)):
            parameter.data, parameter.grad = value, grad
        self.steps = torch.zeros((), dtype=torch.float32, device=self.flat.device)  # updates applied
        self.broken = torch.zeros((), dtype=torch.float32, device=self.flat.device)
        self.usual = torch.zeros((), dtype=torch.float64, device=self.flat.device)  # running mean of the norm
        self.clip = clip

    def views(self, flat: Tensor) -> list[Tensor]:
        """The parts of a flat buffer in the shapes of the parameters."""
        pieces = flat.split([p.numel() for p in self.parameters])
        return [piece.view(p.shape) for piece, p in zip(pieces, self.parameters)]

    def zero_grad(self) -> None:
        self.grad.zero_()

    @torch.no_grad()
    def step(self, rate: Tensor) -> None:
        """Apply the gradient that lies in the buffer."""
        if self.flat.is_cuda:
            self._step_on_device(rate)
        else:
            self._step_on_host(rate)

    def _step_on_host(self, rate: Tensor) -> None:
        # On the CPU reading a number costs less than an operation on a tensor of one.
        norm = math.sqrt(torch.dot(self.grad, self.grad).item())
        if not math.isfinite(norm):
            self.broken.fill_(1.0)
        if self.broken.item():
            return
        usual = self.usual.item() or norm
        limit = self.clip * usual
        self.usual.fill_(usual + 0.01 * (min(norm, limit) - usual))
        self.steps.add_(1.0)
        self._apply(rate, torch.tensor(norm / limit, dtype=torch.float32) if norm > limit > 0 else None, None)

    def _step_on_device(self, rate: Tensor) -> None:
        # The same without reading anything back.
        norm = torch.dot(self.grad, self.grad).sqrt_().double()
        self.broken.copy_(torch.maximum(self.broken, (norm * 0).ne(0)))  # infinity and NaN times 0 are NaN
        usual = torch.where(self.usual == 0, norm, self.usual)
        shrink = (norm / usual.clamp(min=1e-30) / self.clip).clamp_(min=1.0)
        self.usual.copy_(torch.where(self.broken > 0, self.usual, usual.lerp(norm / shrink, 0.01)))
        self.steps.add_(1.0 - self.broken)
        self._apply(rate, shrink.float(), self.broken)

    def _apply(self, rate: Tensor, shrink: Tensor | None, skip: Tensor | None) -> None:
        torch._fused_adam_(
            [self.flat],
            [self.grad],
            [self.first],
            [self.second],
            [],
            [self.steps],
            lr=rate,
            beta1=0.9,
            beta2=0.999,
            weight_decay=0.0,
            eps=1e-8,
            amsgrad=False,
            maximize=False,
            grad_scale=shrink,
            found_inf=skip,
        )

    @torch.no_grad()
    def forget_tiny(self) -> None:
        """Zero moments that are about to become denormal numbers."""
        self.first.masked_fill_(self.first.abs() < FORGET_BELOW_FIRST, 0.0)
        self.second.masked_fill_(self.second < FORGET_BELOW_SECOND, 0.0)

    @torch.no_grad()
    def blend(self, updates: int) -> None:
        """Move the average towards the weights, after so many updates."""
        self.average.lerp_(self.flat, min(1.0, max(LEAST_SHARE, MEMORYLESS / updates)))

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """The module computes with the averaged weights meanwhile."""
        held = self.flat.clone()
        self.take_average()
        try:
            yield
        finally:
            with torch.no_grad():
                self.flat.copy_(held)

    @torch.no_grad()
    def take_average(self) -> None:
        """Let the averaged weights be the weights."""
        self.flat.copy_(self.average)

    def _kinds(self) -> dict[str, Tensor]:
        return {"weight": self.flat, "average": self.average, "first": self.first, "second": self.second}

    def state(self) -> dict[str, Tensor]:
        """Weights, their average and moments by parameter name."""
        kinds = self._kinds().items()
        named = {f"{kind}/{n}": v for kind, flat in kinds for n, v in zip(self.names, self.views(flat))}
        return {**named, "adam.steps": self.steps, "adam.usual": self.usual}

    @torch.no_grad()
    def restore(self, state: dict[str, Tensor]) -> None:
        """The inverse of `state`."""
        for kind, flat in self._kinds().items():
            for name, view in zip(self.names, self.views(flat)):
                view.copy_(state[f"{kind}/{name}"])
        self.steps.copy_(state["adam.steps"])
        self.usual.copy_(state["adam.usual"])

    def release(self) -> None:
        """Give every parameter memory of its own again."""
        for parameter in self.parameters:
            parameter.data, parameter.grad = parameter.data.clone(), None
