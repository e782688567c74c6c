"""Priors over codes: `prior(c, mask, posterior)` returns p(z), or p(z given c).

A prior of the user's own may also be a distribution of PyTorch, or a module with `log_prob` and `sample`: `as_prior`.
"""

from __future__ import annotations

import inspect
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributions as D

from isthmus.conditional import Conditional
from isthmus.distributions.as_module import DistributionModule
from isthmus.distributions.continuous import Normal
from isthmus.distributions.independent import LightDistribution
from isthmus.distributions.latent import CorrelatedNormal, FullNormal
from isthmus.distributions.latent import Mixture as MixtureDistribution
from isthmus.distributions.mixture_fit import fit_mixture
from isthmus.errors import InputError
from isthmus.nets.user_module import CONDITION_NAMES, arguments
from isthmus.random_streams import Redirected, generator

ROWS_AT_ONCE = 2048
"""Rows that are encoded in one call."""


def check_components(k: Any) -> int:
    """A number of mixture components; raises InputError unless it is an integer >= 1."""
    if isinstance(k, bool) or k != int(k) or k < 1:
        raise InputError(f"k must be an integer >= 1, the number of mixture components, got {k}.")
    return int(k)


class StandardNormal(nn.Module):
    """Independent normals of mean 0 and scale 1."""

    formula = "z ~ N(0, I)"

    zero: Tensor

    def __init__(self, dim: int):
        super().__init__()
        self.register_buffer("zero", torch.zeros(dim), persistent=False)

    def forward(self, c: Tensor | None = None, mask: Tensor | None = None, posterior: nn.Module | None = None):
        return Normal(self.zero, self.zero)


class Flat(nn.Module):
    """No prior, which leaves a plain autoencoder."""

    has_density = False

    def forward(self, c: Tensor | None = None, mask: Tensor | None = None, posterior: nn.Module | None = None):
        return None


class Mixture(nn.Module):
    """A learned mixture of k normals, with independent coordinates or with a full covariance each."""

    def __init__(self, dim: int, k: int, full: bool = False):
        super().__init__()
        k = check_components(k)
        self.logits = nn.Parameter(torch.zeros(k))
        self.loc = nn.Parameter(torch.randn(k, dim))
        self.log_scale = nn.Parameter(torch.zeros(k, dim))
        self.slopes = nn.Parameter(torch.zeros(k, dim, dim)) if full else None

    @property
    def formula(self) -> str:
        """The density as text."""
        spread = "diag scale[k]²" if self.slopes is None else "covariance[k]"
        return f"z ~ Σ weight[k] N(mean[k], {spread})"

    @torch.no_grad()
    def start_at(self, weights: Any, means: Any, covariances: Any) -> None:
        """Start at a mixture: weights (k,), means (k, D) and covariances (k, D, D) of its components."""
        self.logits.copy_(torch.as_tensor(weights).clamp(min=1e-6).log())
        self.loc.copy_(torch.as_tensor(means))
        covariances = torch.as_tensor(covariances)
        if self.slopes is None:
            self.log_scale.copy_(0.5 * covariances.diagonal(dim1=-2, dim2=-1).log())
            return
        normal = FullNormal.of(torch.as_tensor(means), covariances)
        self.log_scale.copy_(normal.log_scale)
        self.slopes.copy_(normal.slopes)

    def learned(self) -> dict[str, Tensor]:
        """Parameters by name, as they enter the distribution; the scale is the standard deviation of a coordinate."""
        return {"weight": self.logits.softmax(-1), "mean": self.loc, "scale": self.components().std}

    def components(self) -> Normal | FullNormal:
        """The components' distributions."""
        if self.slopes is None:
            return Normal(self.loc, self.log_scale)
        return FullNormal(self.loc, self.log_scale, self.slopes)

    def forward(self, c: Tensor | None = None, mask: Tensor | None = None, posterior: nn.Module | None = None):
        return MixtureDistribution(self.logits.log_softmax(-1), self.components())


class Vamp(nn.Module):
    """A mixture of the posteriors of k learned pseudo-inputs (Tomczak & Welling, 2018).

    Args:
        input_shape: shape of a row, as networks read it.
        k: number of pseudo-inputs.
        limits: between which numbers of a row lie; None for any.
    """

    formula = "z ~ Σ weight[k] q(z | pseudo-input[k])"

    def __init__(self, input_shape: tuple[int, ...], k: int, limits: tuple[float, float] | None = None):
        super().__init__()
        k = check_components(k)
        self.limits = limits
        self.pseudo_inputs = nn.Parameter(torch.zeros(k, *input_shape))
        self.logits = nn.Parameter(torch.zeros(k))

    @torch.no_grad()
    def begin(self, rows: Any, seed: int) -> None:
        """Start at rows of the data, each time as other noise has them."""
        k, of = len(self.pseudo_inputs), rows.occurrences()
        picked = torch.randperm(len(of), generator=generator(of.device), device=of.device)
        index = of[picked.repeat(-(-k // len(of)))[:k]]
        self.pseudo_inputs.copy_(torch.cat([rows.batch(part).x for part in index.split(ROWS_AT_ONCE)]))

    def learned(self) -> dict[str, Tensor]:
        """Parameters by name, as they enter the distribution."""
        return {"weight": self.logits.softmax(-1)}

    def forward(self, c: Tensor | None = None, mask: Tensor | None = None, posterior: nn.Module | None = None):
        assert posterior is not None
        x = self.pseudo_inputs if self.limits is None else self.pseudo_inputs.clamp(*self.limits)
        if c is None:
            return MixtureDistribution(self.logits.log_softmax(-1), components_of(posterior(x, None, None)))
        # Each row has the posteriors of all pseudo-inputs under its condition.
        b, k = len(c), len(x)
        q = posterior(x.expand(b, *x.shape).flatten(0, 1), c.repeat_interleave(k, 0), None)
        return MixtureDistribution(self.logits.log_softmax(-1), components_of(q, (b, k)))


def components_of(q: Any, batch: tuple[int, ...] = (-1,)) -> Normal | FullNormal:
    """Posteriors as components of a mixture, in this shape; raises InputError for others than normals."""
    if isinstance(q, Normal) and isinstance(q.log_scale, Tensor):
        return Normal(q.loc.unflatten(0, batch), q.log_scale.unflatten(0, batch))
    if isinstance(q, CorrelatedNormal) and len(batch) == 1:
        return FullNormal.from_factor(q.loc, q.factor)
    raise InputError(
        "posterior must be 'normal', or 'full_normal' without a condition, with prior='vamp(k)', got "
        f"{type(q).__name__}. Use prior='mixture(k)'."
    )


class PostHocPrior(nn.Module):
    """Standard normal in training; afterwards a mixture of k diagonal normals fitted to the codes (Ghosh et al., 2020).

    Samples then come from where the codes are, however far the KL term left their aggregate from the normal.
    """

    formula = "z ~ Σ weight[k] N(mean[k], diag scale[k]²)"

    zero: Tensor
    log_weight: Tensor
    loc: Tensor
    log_scale: Tensor

    def __init__(self, dim: int, k: int):
        super().__init__()
        k = check_components(k)
        self.fitted = False
        self.register_buffer("log_weight", torch.full((k,), -math.log(k)))
        self.register_buffer("loc", torch.zeros(k, dim))
        self.register_buffer("log_scale", torch.zeros(k, dim))
        self.register_buffer("zero", torch.zeros(dim), persistent=False)

    def forward(self, c: Tensor | None = None, mask: Tensor | None = None, posterior: nn.Module | None = None):
        if not self.fitted:
            return Normal(self.zero, self.zero)
        return MixtureDistribution(self.log_weight, Normal(self.loc, self.log_scale))

    def learned(self) -> dict[str, Tensor]:
        """Parameters by name, as they enter the distribution; empty before the fit."""
        if not self.fitted:
            return {}
        used = self.log_weight.isfinite()
        return {"weight": self.log_weight[used].exp(), "mean": self.loc[used], "scale": self.log_scale[used].exp()}

    def begin(self, rows: Any, seed: int) -> None:
        """Go back to the standard normal."""
        self.fitted = False

    def finish(self, model: Any, rows: Any, seed: int) -> None:
        """Fit the mixture to draws from the posteriors of the training rows, each as often as its weight says."""
        with torch.no_grad():
            parts = rows.occurrences().split(ROWS_AT_ONCE)
            self.fit_to(torch.cat([model.infer(rows.batch(part)).draw_one(len(part)) for part in parts]), seed)

    def fit_to(self, codes: Tensor, seed: int) -> None:
        """Fit the mixture to codes (n, dim); raises InputError for fewer than two, or codes that are not finite."""
        if len(codes) < 2 or not bool(codes.isfinite().all()):
            raise InputError(f"codes must be at least 2 finite rows to fit a mixture to, got {len(codes)}.")
        k = min(len(self.log_weight), len(codes))
        mixture = fit_mixture(codes.double().cpu().numpy(), k, seed)
        with torch.no_grad():
            self.log_weight.fill_(-math.inf)
            self.log_weight[:k] = torch.as_tensor(mixture.weights).log()
            self.loc[:k] = torch.as_tensor(mixture.means)
            self.log_scale[:k] = 0.5 * torch.as_tensor(mixture.covariances).diagonal(dim1=-2, dim2=-1).log()
        self.fitted = True

    def get_extra_state(self) -> Tensor:
        return torch.tensor(self.fitted)

    def set_extra_state(self, state: Tensor) -> None:
        self.fitted = bool(state)


class ConditionalPrior(nn.Module):
    """p(z given c), a network of the condition (Sohn et al., 2015)."""

    formula = "z ~ N(mean(c), diag scale(c)²)"
    given_condition = True

    def __init__(self, conditional: Conditional):
        super().__init__()
        self.conditional = conditional

    def forward(self, c: Tensor | None = None, mask: Tensor | None = None, posterior: nn.Module | None = None):
        if c is None:
            raise InputError(
                "condition must be given with prior='conditional', got None. Pass condition=... to fit (--condition)."
            )
        return self.conditional(c)


# ------------------------------------------------------------------ of the user's own


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
