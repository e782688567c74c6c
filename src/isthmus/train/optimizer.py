"""AdamW and SGD on one flat buffer by fused kernels, with clipping, averaging and a stop at non-finite gradients."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from isthmus.errors import InputError
from isthmus.nets.mlp import MLP
from isthmus.objective import Player
from isthmus.train.mixed_precision import Bf16Copies

MIN_FIRST_MOMENT, MIN_SECOND_MOMENT = 1e-30, 1e-36
"""Smaller moments move no weight (epsilon is 1e-8) and decay into denormal numbers, which halve the speed."""
FLUSH_INTERVAL_STEPS = 100
"""Between two flushes a first moment shrinks by 0.9^100 = 3e-5 at most: none gets from the minimum to a denormal."""
EMA_INTERVAL_STEPS, MIN_EMA_WEIGHT = 10, 0.03
"""Every 10 updates the average moves towards the weights by 3 % or more: an average of 300 updates, fewer early on."""
EMA_START_STEPS = 4 * EMA_INTERVAL_STEPS
"""Up to this update the average equals the weights; afterwards it covers about the last quarter of the updates."""
OPTIMIZERS = ("adamw", "sgd")
SGD_MOMENTUM = 0.9
NORM_EMA_WEIGHT = 0.01
"""Weight of the latest gradient norm in its running mean."""


class Span:
    """One player's part of the flat buffers, with its own clip, running norm, step count, first beta and rate.

    Args:
        name: of the player.
        rule: `adamw` or `sgd`.
        player: its settings.
        weight_decay: of the weights at `decayed`.
        decayed: positions of the weights that decay.
        buffers: the player's weights, gradients, first and second moments, end to end.
    """

    def __init__(
        self, name: str, rule: str, player: Player, weight_decay: float, decayed: slice, buffers: Sequence[Tensor]
    ):
        self.name, self.rule, self.player = name, rule, player
        self.flat, self.grad, self.first, self.second = buffers
        self.steps = torch.zeros((), dtype=torch.float32, device=self.flat.device)  # updates applied
        self.running_norm = torch.zeros((), dtype=torch.float64, device=self.flat.device)  # 0 before the first update
        others = [slice(0, decayed.start), slice(decayed.stop, len(self.flat))]
        # Of each group the decay, and the buffers in pieces: [weights, gradients, first moments, second moments].
        self.groups = [
            (decay, [[buffer[piece] for piece in filled] for buffer in buffers])
            for decay, pieces in ((0.0, others), (weight_decay, [decayed]))
            if (filled := [piece for piece in pieces if piece.start < piece.stop])
        ]

    def step_on_host(self, norm: float, rate: Tensor) -> None:
        """Apply the gradient, which is finite and of this norm."""
        running_norm = self.running_norm.item() or norm
        limit = self.player.clip * running_norm
        self.running_norm.fill_(running_norm + NORM_EMA_WEIGHT * (min(norm, limit) - running_norm))
        self.steps.add_(1.0)
        divisor = torch.tensor(norm / limit, dtype=torch.float32) if norm > limit > 0 else None
        self._apply(rate, divisor, None)

    def step_on_device(self, norm: Tensor, rate: Tensor, skip: Tensor) -> None:
        """Apply the gradient, unless `skip` is 1, without reading a number back."""
        running_norm = torch.where(self.running_norm == 0, norm, self.running_norm)
        divisor = (norm / running_norm.clamp(min=1e-30) / self.player.clip).clamp_(min=1.0)
        updated = running_norm.lerp(norm / divisor, NORM_EMA_WEIGHT)
        self.running_norm.copy_(torch.where(skip > 0, self.running_norm, updated))
        self.steps.add_(1.0 - skip)
        self._apply(rate, divisor.float(), skip)

    def _apply(self, rate: Tensor, divisor: Tensor | None, skip: Tensor | None) -> None:
        """Apply the gradient over `divisor`, unless `skip` is 1."""
        lr = rate if self.player.rate == 1 else rate * self.player.rate
        shared: dict[str, Any] = {"lr": lr, "maximize": False, "grad_scale": divisor, "found_inf": skip}
        for decay, (weights, grads, firsts, seconds) in self.groups:
            if self.rule == "adamw":
                torch._fused_adamw_(
                    weights,
                    grads,
                    firsts,
                    seconds,
                    [],
                    [self.steps] * len(weights),
                    beta1=self.player.beta1,
                    beta2=0.999,
                    weight_decay=decay,
                    eps=1e-8,
                    amsgrad=False,
                    **shared,
                )
                continue
            if decay:  # apart from the gradient, as by Loshchilov & Hutter (2019); torch's own joins it
                shrinkage = lr.double() * decay
                torch._foreach_mul_(weights, 1.0 - (shrinkage if skip is None else shrinkage * (1.0 - skip)))
            torch._fused_sgd_(
                weights,
                grads,
                firsts,
                weight_decay=0.0,
                momentum=SGD_MOMENTUM,
                dampening=0.0,
                nesterov=True,
                is_first_step=False,  # the velocity begins at 0, by which the first step is the gradient
                **shared,
            )


class FlatOptimizer:
    """AdamW or SGD over all parameters of a module, laid end to end while it is trained.

    AdamW is Adam (Kingma & Ba, 2015) with the decay apart from the gradient (Loshchilov & Hutter, 2019), which holds
    of SGD with Nesterov's momentum of 0.9, too.

    The model's parameters come first and the critics' after them: a span each. A gradient whose norm exceeds `clip`
    times its running mean is scaled down to that. From the first gradient that is not finite on, no update is applied
    and `nonfinite` is 1: the last good weights stay. A running average of the model's weights, which have noise of the
    last batches in them, is kept beside them (Polyak & Juditsky, 1992). Float buffers that a module names in its
    attribute `averaged_buffers` are averaged alike. A critic is not averaged: its average is its current weights.

    Args:
        module: the module to train; parameters without `requires_grad` are left alone.
        clip: largest norm of the model's gradient, in units of its running mean.
        rule: `adamw` or `sgd`; critics keep Adam.
        weight_decay: each update multiplies the weights that `decayed` names by 1 - rate * weight_decay.
        critic: those of the parameters that the second player owns.
        player: the second player's settings.
        in_bf16: those of the model's parameters with which gradients are computed in bf16.

    Raises:
        InputError: if `clip` is not positive, parameters differ in dtype or device, or an averaged buffer is not float.
    """

    def __init__(
        self,
        module: nn.Module,
        clip: float = 10.0,
        rule: str = "adamw",
        weight_decay: float = 0.0,
        *,
        critic: Collection[Tensor] = (),
        player: Player | None = None,
        in_bf16: Collection[Tensor] = (),
    ):
        model = Player(clip=clip, beta1=0.9)
        is_critic, is_low = {id(parameter) for parameter in critic}, {id(parameter) for parameter in in_bf16}
        shrinks = {id(parameter) for parameter in decayed(module)} if weight_decay else set()
        trained = [(n, p) for n, p in module.named_parameters() if p.requires_grad]

        def group(named: tuple[str, nn.Parameter]) -> tuple[bool, bool, bool]:
            """In this order: plain, decaying, decaying in bf16, plain in bf16, the critics'."""
            key, low = id(named[1]), id(named[1]) in is_low
            return key in is_critic, low, (key in shrinks) != low

        trained.sort(key=group)  # stable: within each group parameters keep their order
        self.names, self.parameters = zip(*trained)
        types = {(p.dtype, p.device) for p in self.parameters}
        if len(types) > 1:
            raise InputError(f"parameters must share one dtype and device, got {types}. Call model.to(...) first.")
        self.flat = torch.cat([p.detach().reshape(-1) for p in self.parameters])
        self.grad = torch.zeros_like(self.flat)
        self.first, self.second = torch.zeros_like(self.flat), torch.zeros_like(self.flat)
        self.grad_views = self.views(self.grad)
        for parameter, value in zip(self.parameters, self.views(self.flat)):
            parameter.data, parameter.grad = value, None
        self.nonfinite = torch.zeros((), dtype=torch.float32, device=self.flat.device)

        mine = [p for p in self.parameters if id(p) not in is_critic]
        self.model_names = self.names[: len(mine)]
        self.sizes = [sum(p.numel() for p in mine)]
        if len(mine) < len(self.parameters):
            self.sizes.append(self.flat.numel() - self.sizes[0])
        start = sum(p.numel() for p in mine if id(p) not in is_low and id(p) not in shrinks)
        shrinking = slice(start, start + sum(p.numel() for p in mine if id(p) in shrinks))
        players = (
            ("model", rule, model, weight_decay, shrinking),
            ("critic", "adamw", player or Player(), 0.0, slice(0, 0)),
        )
        pieces = zip(*map(self._by_player, (self.flat, self.grad, self.first, self.second)))
        self.spans = [Span(*settings, buffers) for settings, buffers in zip(players, pieces)]

        self.average = self.spans[0].flat.clone()
        self.copies: Bf16Copies | None = None
        if is_low:
            low = [p for p in mine if id(p) in is_low]
            piece = slice(self.sizes[0] - sum(p.numel() for p in low), self.sizes[0])
            self.copies = Bf16Copies(low, self.flat[piece])
        self.averaged_buffers = averaged_buffers(module)
        self.buffer_averages = {name: buffer.clone() for name, buffer in self.averaged_buffers.items()}

    def _by_player(self, flat: Tensor) -> Sequence[Tensor]:
        return [flat] if len(self.sizes) == 1 else flat.split(self.sizes)

    def views(self, flat: Tensor) -> list[Tensor]:
        """The pieces of a flat buffer over all parameters, in their shapes."""
        pieces = flat.split([p.numel() for p in self.parameters])
        return [piece.view(p.shape) for piece, p in zip(pieces, self.parameters)]

    def zero_grad(self) -> None:
        """Forget the gradient: the next backward pass hands its own tensors over, without adding to others."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def read_grad(self, grads: Sequence[Tensor | None] | None = None) -> None:
        """Lay gradients end to end into the buffer `grad`, in the weights' precision.

        Args:
            grads: of each parameter, None where it has no part in the loss; those of a backward pass by default.
        """
        grads = [parameter.grad for parameter in self.parameters] if grads is None else grads
        into, given = [], []
        for view, grad in zip(self.grad_views, grads, strict=True):
            if grad is None:
                view.zero_()
            else:
                into.append(view)
                given.append(grad)
        torch._foreach_copy_(into, given)

    def computed_with(self) -> list[Tensor]:
        """The weights that gradients are computed with, end to end: the flat buffer, or its pieces by dtype."""
        if self.copies is None:
            return [self.flat]
        low, end = self.copies.low, self.sizes[0]
        pieces = [self.flat[: end - len(low)], low, self.flat[end:]]
        return [piece for piece in pieces if len(piece)]

    def set_grad(self, grads: Sequence[Tensor]) -> None:
        """Take the gradient with respect to each of `computed_with`."""
        torch._foreach_copy_(self.grad.split([grad.numel() for grad in grads]), list(grads))

    def full_precision(self) -> contextlib.AbstractContextManager[None]:
        """Let the module compute in float32, or float64, inside the context."""
        return contextlib.nullcontext() if self.copies is None else self.copies.aside()

    @torch.no_grad()
    def step(self, rate: Tensor) -> None:
        """Apply the gradient that lies in the buffer `grad`, at the learning rate of the model (0-dimensional)."""
        if self.flat.is_cuda:
            self._step_on_device(rate)
        else:
            self._step_on_host(rate)
        if self.copies is not None:
            self.copies.renew()

    def _step_on_host(self, rate: Tensor) -> None:
        # On the CPU reading a number costs less than an operation on a tensor of one.
        norms = [math.sqrt(torch.dot(span.grad, span.grad).item()) for span in self.spans]
        if not all(map(math.isfinite, norms)):
            self.nonfinite.fill_(1.0)
        if self.nonfinite.item():
            return
        for span, norm in zip(self.spans, norms):
            span.step_on_host(norm, rate)

    def _step_on_device(self, rate: Tensor) -> None:
        norms = [torch.dot(span.grad, span.grad).sqrt_().double() for span in self.spans]
        for norm in norms:
            self.nonfinite.copy_(torch.maximum(self.nonfinite, (norm * 0).ne(0)))  # infinity and NaN times 0 are NaN
        for span, norm in zip(self.spans, norms):
            span.step_on_device(norm, rate, self.nonfinite)

    @torch.no_grad()
    def flush_denormals(self) -> None:
        """Set moments to zero that are about to become denormal numbers."""
        self.first.masked_fill_(self.first.abs() < MIN_FIRST_MOMENT, 0.0)
        self.second.masked_fill_(self.second < MIN_SECOND_MOMENT, 0.0)

    @torch.no_grad()
    def update_ema(self, step: int) -> None:
        """Move the average towards the weights, after `step` updates."""
        weight = min(1.0, max(MIN_EMA_WEIGHT, EMA_START_STEPS / step))
        self.average.lerp_(self.spans[0].flat, weight)
        for name, buffer in self.averaged_buffers.items():
            self.buffer_averages[name].lerp_(buffer, weight)

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """Let the module compute with the averaged weights inside the context."""
        current = [self.spans[0].flat, *self.averaged_buffers.values()]
        backup = [tensor.clone() for tensor in current]
        self.load_ema()
        try:
            with self.full_precision():
                yield
        finally:
            with torch.no_grad():
                for tensor, value in zip(current, backup):
                    tensor.copy_(value)

    @torch.no_grad()
    def load_ema(self) -> None:
        """Replace the weights by their average."""
        self.spans[0].flat.copy_(self.average)
        for name, buffer in self.averaged_buffers.items():
            buffer.copy_(self.buffer_averages[name])

    def state(self) -> dict[str, Tensor]:
        """Weights, averages and moments by parameter name, and each player's counters; the tensors themselves."""
        state: dict[str, Tensor] = {}
        for kind, flat in (("weight", self.flat), ("first", self.first), ("second", self.second)):
            state |= {f"{kind}/{name}": view for name, view in zip(self.names, self.views(flat))}
        shapes = [p.shape for p in self.parameters[: len(self.model_names)]]
        pieces = self.average.split([shape.numel() for shape in shapes])
        state |= {f"average/{n}": piece.view(shape) for n, piece, shape in zip(self.model_names, pieces, shapes)}
        state |= {f"average/{name}": average for name, average in self.buffer_averages.items()}
        for span in self.spans:
            state |= {f"{span.name}.steps": span.steps, f"{span.name}.running_norm": span.running_norm}
        return state

    @torch.no_grad()
    def restore(self, state: dict[str, Tensor]) -> None:
        """Load what `state` returned; KeyError or RuntimeError where a tensor is missing or has another shape."""
        for name, tensor in self.state().items():
            tensor.copy_(state[name])
        if self.copies is not None:
            self.copies.renew()

    def unflatten(self) -> None:
        """Give every parameter its own memory again, in the precision of the flat buffer."""
        if self.copies is not None:
            self.copies.step_aside()
        for parameter in self.parameters:
            parameter.data, parameter.grad = parameter.data.clone(), None


def decayed(module: nn.Module) -> list[Tensor]:
    """The weights of dense and convolutional layers, but for a network's linear map from its input to its output."""
    layers = [m for m in module.modules() if isinstance(m, nn.Linear | nn.modules.conv._ConvNd)]
    maps = [m.linear_map() for m in module.modules() if isinstance(m, MLP)]
    # A parametrised layer computes its weight: what is trained of it does not decay.
    weights = [layer._parameters.get("weight") for layer in layers if layer not in maps]
    return [weight for weight in weights if weight is not None]


def averaged_buffers(module: nn.Module) -> dict[str, Tensor]:
    """Buffers that submodules name in `averaged_buffers`, by their full names."""
    buffers = {}
    for prefix, submodule in module.named_modules():
        for name in getattr(submodule, "averaged_buffers", ()):
            full = f"{prefix}.{name}" if prefix else name
            buffers[full] = submodule.get_buffer(name)
            if not buffers[full].is_floating_point():
                raise InputError(f"averaged_buffers must name float buffers, got {full} of {buffers[full].dtype}.")
    return buffers
