"""Priors of the user's own: distributions of PyTorch, or modules that have, or return, a density of codes."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributions as D

from isthmus.distributions.as_module import DistributionModule
from isthmus.distributions.continuous import Normal
from isthmus.distributions.independent import LightDistribution
from isthmus.errors import InputError
from isthmus.nets.user_module import CONDITION_NAMES, arguments
from isthmus.random_streams import Redirected


def as_prior(prior: Any, code_shape: tuple[int, ...]) -> nn.Module:
    """A prior in any of its forms as a module of (c, mask, posterior).

    Args:
        prior: a distribution of PyTorch; a module with `log_prob` and `sample`; or a module whose forward takes some
            of condition, mask and posterior, or nothing, and returns p(z).
        code_shape: shape of one code.

    Raises:
        InputError: for anything else, and for a density that is not one of codes of this shape.
    """
    if isinstance(prior, D.Distribution):
        return FixedPrior(prior, code_shape)
    if not isinstance(prior, nn.Module):
        raise InputError(
            f"prior must be a name, a torch.distributions.Distribution or a torch.nn.Module, got {prior!r}."
        )
    if callable(getattr(prior, "log_prob", None)) and callable(getattr(prior, "sample", None)):
        return ModulePrior(prior, code_shape)
    names = inspect.signature(prior.forward).parameters
    return prior if {"c", "mask", "posterior"} <= set(names) else PriorBySignature(prior)


class FixedPrior(nn.Module):
    """A distribution of PyTorch, which training leaves as it is.

    Args:
        distribution: over codes; or over single numbers, one for each number of a code or one for all of them.
        code_shape: shape of one code.
    """

    def __init__(self, distribution: D.Distribution, code_shape: tuple[int, ...]):
        super().__init__()
        batch, event = tuple(distribution.batch_shape), tuple(distribution.event_shape)
        self.code_shape = tuple(code_shape)
        if (batch, event) != ((), self.code_shape) and (event or batch not in ((), self.code_shape)):
            raise InputError(
                f"prior must be a distribution over codes of shape {self.code_shape}, got "
                f"{type(distribution).__name__} with event shape {event} and batch shape {batch}. Change its size or "
                "latent_dim."
            )
        self.elementwise = not event
        self.distribution = DistributionModule(distribution)

    @property
    def wants_gradient(self) -> bool:
        """Whether it was given tensors that are to be trained, which it does not."""
        return self.distribution.wants_gradient

    @property
    def formula(self) -> str:
        """The density as text."""
        return f"z ~ {type(self.distribution()).__name__}"

    def forward(self, c: Tensor | None = None, mask: Tensor | None = None, posterior: nn.Module | None = None):
        p = self.distribution()
        base, independent = (p.base_dist, True) if isinstance(p, D.Independent) else (p, self.elementwise)
        shape, event_dim = self.code_shape, len(self.code_shape)
        if independent and isinstance(base, D.Normal):  # whose KL divergence has a closed form
            return Normal(base.loc.expand(shape), base.scale.log().expand(shape), event_dim)
        return TorchDensity(D.Independent(p.expand(shape), event_dim) if self.elementwise else p)


class TorchDensity(LightDistribution):
    """A distribution of PyTorch whose draws come from the stream of the thread."""

    def __init__(self, base: D.Distribution):
        super().__init__(base.batch_shape, base.event_shape)
        self.base = base

    @property
    def mean(self) -> Tensor:
        return self.base.mean

    def log_prob(self, z: Tensor) -> Tensor:
        return self.base.log_prob(z)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with Redirected():
            return self.base.sample(torch.Size(sample_shape))


class ModuleDensity(LightDistribution):
    """p(z) by a module: `log_prob` of codes (n, *Z), nats, and `sample`, which takes a number or a shape of draws."""

    def __init__(self, module: Any, code_shape: tuple[int, ...]):
        super().__init__(torch.Size(), torch.Size(code_shape))
        self.module = module

    def log_prob(self, z: Tensor) -> Tensor:
        batch = z.shape[: z.ndim - len(self._event_shape)]
        value = self.module.log_prob(z.reshape(-1, *self._event_shape))
        if value.numel() != batch.numel():
            raise InputError(
                f"prior.log_prob must return one number for each code, got shape {tuple(value.shape)} for "
                f"{batch.numel()} codes."
            )
        return value.reshape(batch)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        shape = torch.Size(sample_shape)
        number: Any = shape.numel()
        styles = [number, (number,)] if takes_number(self.module.sample) else [(number,), number]
        with torch.no_grad():
            try:
                draws = self.module.sample(styles[0])
            except TypeError as error:  # its argument's name does not say which of the two it takes
                try:
                    draws = self.module.sample(styles[1])
                except TypeError:
                    raise error from None
        draws = draws[0] if isinstance(draws, tuple) else draws  # of a flow that returns their log-densities too
        if not isinstance(draws, Tensor) or draws.numel() != shape.numel() * self._event_shape.numel():
            got = tuple(draws.shape) if isinstance(draws, Tensor) else type(draws).__name__
            raise InputError(f"prior.sample must return codes of shape {tuple(self._event_shape)}, got {got}.")
        return draws.reshape(*shape, *self._event_shape)


def takes_number(sample: Any) -> bool:
    """Whether a method `sample` takes the number of draws, rather than the shape that they are to have."""
    parameters = list(inspect.signature(sample).parameters.values())
    if not parameters:
        raise InputError("prior.sample must take the number of draws, got no argument. Define sample(self, n).")
    return "shape" not in parameters[0].name and not isinstance(parameters[0].default, tuple)


class ModulePrior(nn.Module):
    """A module with `log_prob` and `sample`, whose parameters are trained with the model's."""

    def __init__(self, module: Any, code_shape: tuple[int, ...]):
        super().__init__()
        self.module, self.code_shape = module, tuple(code_shape)

    @property
    def formula(self) -> str:
        """The density as text."""
        return f"z ~ {type(self.module).__name__}"

    def forward(self, c: Tensor | None = None, mask: Tensor | None = None, posterior: nn.Module | None = None):
        return ModuleDensity(self.module, self.code_shape)


class PriorBySignature(nn.Module):
    """A module that returns p(z), called with those of condition, mask and posterior that its forward names."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module
        self.taken = arguments(module.forward, (CONDITION_NAMES, ("mask",), ("posterior",)), 0)
        given = inspect.signature(module.forward).parameters.get(self.taken.get(0, ""))
        self.given_condition = given is not None and given.default is inspect.Parameter.empty

    def forward(self, c: Tensor | None = None, mask: Tensor | None = None, posterior: nn.Module | None = None):
        given = (c, mask, posterior)
        return self.module(**{parameter: given[slot] for slot, parameter in self.taken.items()})
