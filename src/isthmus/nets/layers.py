"""What networks share."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from isthmus.errors import InputError, unknown

ACTIVATIONS = {"relu": nn.ReLU, "silu": nn.SiLU, "gelu": nn.GELU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "elu": nn.ELU}


def activation(name: str) -> nn.Module:
    """An activation by name."""
    if name not in ACTIVATIONS:
        raise unknown("activation", str(name), ACTIVATIONS)
    return ACTIVATIONS[name]()


def join(x: Tensor, c: Tensor | None) -> Tensor:
    """x (*batch, D) and a condition (B, C), repeated over leading draws, side by side."""
    return x if c is None else torch.cat([x, c.expand(*x.shape[:-1], c.shape[-1])], -1)


class Log1p(nn.Module):
    """Counts span decades: networks read log(1 + x), less that of usual counts `mean`."""

    usual: Tensor

    def __init__(self, mean: Any = 0.0):
        super().__init__()
        self.register_buffer("usual", torch.as_tensor(mean, dtype=torch.get_default_dtype()).log1p())

    def forward(self, x: Tensor) -> Tensor:
        return torch.log1p(x.clamp(min=0)) - self.usual


class Preprocess(nn.Module):
    """A network, and what its input goes through first."""

    def __init__(self, before: nn.Module, net: nn.Module):
        super().__init__()
        self.before, self.net = before, net

    def forward(self, x: Tensor, c: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        return self.net(self.before(x), c, mask)


class UserModule(nn.Module):
    """A user's own module, which may take (x), (x, c) or (x, c, mask) over one leading dimension."""

    def __init__(self, module: nn.Module, given_shape: tuple[int, ...], condition: int = 0):
        super().__init__()
        if not isinstance(module, nn.Module):
            raise InputError(f"a {type(module).__name__} came as a network; a torch.nn.Module is wanted")
        self.module, self.given_dim = module, len(given_shape)
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        takes = [p for p in inspect.signature(module.forward).parameters.values() if p.kind in kinds]
        self.takes = min(max(len(takes), 1), 3)
        self._try(given_shape, condition)

    def _try(self, given_shape: tuple[int, ...], condition: int) -> None:
        """Hand it two rows: lazy layers take their size, and a network for other rows says so now."""
        was_training = self.module.training
        self.module.eval()
        floats = [p.dtype for p in self.module.parameters() if not isinstance(p, nn.UninitializedParameter)]
        rows = torch.zeros(2, *given_shape, dtype=floats[0] if floats else None)
        try:
            with torch.no_grad():
                self(rows, torch.zeros(2, condition, dtype=rows.dtype) if condition else None)
        except InputError:
            raise
        except Exception as error:  # whatever a module of somebody else's says
            why = " ".join(str(error).split())[:160]
            raise InputError(f"the network cannot read rows of shape {given_shape}: {why}") from error
        self.module.train(was_training)

    def forward(self, x: Tensor, c: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        batch = x.shape[: x.ndim - self.given_dim]
        flat = x.flatten(0, len(batch) - 1) if len(batch) > 1 else x
        if c is not None and self.takes == 1:
            raise InputError("the network takes no condition, but one was given; let its forward take (x, c)")
        extra = [None if t is None else t.expand(*batch, t.shape[-1]).reshape(-1, t.shape[-1]) for t in (c, mask)]
        raw = self.module(flat, *extra[: self.takes - 1])
        return raw.unflatten(0, batch) if len(batch) > 1 else raw
