"""Distributions of PyTorch as modules: their tensors move with a model, and are saved as plain values."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributions as D

from isthmus.errors import InputError
from isthmus.wording import join_names

NAME = "distribution"
"""The key of a distribution's class among its plain values."""
ARGUMENTS: dict[str, tuple[str, ...]] = {
    "Normal": ("loc", "scale"),
    "Laplace": ("loc", "scale"),
    "Cauchy": ("loc", "scale"),
    "Gumbel": ("loc", "scale"),
    "StudentT": ("df", "loc", "scale"),
    "MultivariateNormal": ("loc", "scale_tril"),
    "LowRankMultivariateNormal": ("loc", "cov_factor", "cov_diag"),
    "Independent": ("base_distribution", "reinterpreted_batch_ndims"),
    "MixtureSameFamily": ("mixture_distribution", "component_distribution"),
    "Categorical": ("logits",),
}
"""The arguments that make a distribution again, by class: those over all real numbers, and a mixture's weights."""
WEIGHTS = "Categorical"
ATTRIBUTES = {"base_distribution": "base_dist"}
"""Attributes that have another name than the argument."""


class DistributionModule(nn.Module):
    """A fixed distribution of PyTorch, whose tensors are buffers: `forward` makes it of them.

    Args:
        distribution: one of the classes in `ARGUMENTS`. Its tensors are copied, so that nothing trains them.
        weights: whether it is the categorical distribution of a mixture's components, and no other.

    Raises:
        InputError: for another class.
    """

    def __init__(self, distribution: D.Distribution, weights: bool = False):
        super().__init__()
        self.kind = type(distribution).__name__
        self.wants_gradient = False
        """Whether tensors of the distribution are to be trained, which their copies are not."""
        is_known = type(distribution) is getattr(D, self.kind, None) and self.kind in ARGUMENTS
        if not is_known or (self.kind == WEIGHTS) != weights:
            known = join_names((name for name in ARGUMENTS if name != WEIGHTS), len(ARGUMENTS))
            raise InputError(
                f"prior must be one of torch's {known}, got {self.kind}. For another density over all real numbers "
                "pass a torch.nn.Module with log_prob and sample."
            )
        for name in ARGUMENTS[self.kind]:
            value = getattr(distribution, ATTRIBUTES.get(name, name))
            if isinstance(value, D.Distribution):
                part = DistributionModule(value, weights=name == "mixture_distribution")
                self.add_module(name, part)
                self.wants_gradient |= part.wants_gradient
            elif isinstance(value, Tensor):
                self.wants_gradient |= value.requires_grad
                self.register_buffer(name, value.detach().clone(), persistent=False)
            else:
                setattr(self, name, value)

    def forward(self) -> D.Distribution:
        kwargs = {name: getattr(self, name) for name in ARGUMENTS[self.kind]}
        made = {name: part() if isinstance(part, DistributionModule) else part for name, part in kwargs.items()}
        return getattr(D, self.kind)(**made, validate_args=False)


def to_values(distribution: D.Distribution) -> dict[str, Any]:
    """A distribution as plain values for JSON: its class, and its arguments by name."""

    def values(module: DistributionModule) -> dict[str, Any]:
        parts = {name: getattr(module, name) for name in ARGUMENTS[module.kind]}
        return {NAME: module.kind} | {
            name: values(part) if isinstance(part, DistributionModule) else getattr(part, "tolist", lambda p=part: p)()
            for name, part in parts.items()
        }

    return values(DistributionModule(distribution))


def is_same(distribution: Any, values: Any) -> bool:
    """Whether something is the distribution whose `to_values` were saved, as JSON gives them back."""
    if not isinstance(distribution, D.Distribution):
        return False
    return bool(json.loads(json.dumps(to_values(distribution))) == values)


def from_values(values: Any) -> D.Distribution:
    """The inverse of `to_values`; nothing but the classes in `ARGUMENTS` is ever made.

    Raises:
        InputError: for values that are no distribution.
    """
    try:
        kind = values[NAME]
        names = ARGUMENTS[kind]
        if set(values) != {NAME, *names}:
            raise InputError(f"must have {join_names(names)}")
        kwargs = {}
        for name in names:
            value = values[name]
            if isinstance(value, list | float):
                value = torch.tensor(value, dtype=torch.float64)  # which holds single precision without loss
            kwargs[name] = from_values(value) if isinstance(value, dict) else value
        return getattr(D, kind)(**kwargs, validate_args=True)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:80]
        raise InputError(f"prior must be a distribution as isthmus saves it, got other values: {reason}") from None
