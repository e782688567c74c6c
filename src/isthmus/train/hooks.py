"""What training asks of modules: hooks by name, parameters and buffers by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn


def hooks(name: str, *modules: nn.Module) -> Iterator[Any]:
    """The methods of this name of all submodules, each submodule once."""
    submodules = dict.fromkeys(submodule for module in modules for submodule in module.modules())
    return (getattr(submodule, name) for submodule in submodules if callable(getattr(submodule, name, None)))


def named_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def load_named(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Load parameters and buffers by name."""
    named = named_tensors(model)
    with torch.no_grad():
        for name, value in tensors.items():
            named[name].copy_(value)
