"""Priors over codes: `prior(c, mask, posterior)` returns p(z), or p(z given c)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from isthmus.conditional import Conditional
from isthmus.distributions.categories import UniformCategories
from isthmus.distributions.continuous import Normal
from isthmus.distributions.flow import Flowed
from isthmus.distributions.latent import CorrelatedNormal, FullNormal
from isthmus.distributions.latent import Mixture as MixtureDistribution
from isthmus.distributions.mixture_fit import fit_mixture
from isthmus.distributions.quantized import SymbolSequence
from isthmus.distributions.sphere import UniformSphere
from isthmus.errors import InputError
from isthmus.nets.autoregressive import CausalTransformer
from isthmus.nets.flow import Flow, StandardizedFlow
from isthmus.random_streams import generator

MAX_COMPONENTS = 1_000_000
"""Components of a mixture, beyond which no machine has the memory."""
ROWS_AT_ONCE = 2048
"""Rows that are encoded in one call."""


def check_components(k: Any) -> int:
    """A number of mixture components; raises InputError unless it is an integer >= 1."""
    if isinstance(k, bool) or not 1 <= k <= MAX_COMPONENTS or k != int(k):
        raise InputError(f"k must be an integer from 1 to {MAX_COMPONENTS:,}, the number of components, got {k}.")
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


class Uniform(nn.Module):
    """Everywhere on the unit sphere alike."""

    formula = "z ~ uniform on the sphere |z| = 1"
    code_space = "sphere"

    zero: Tensor

    def __init__(self, dim: int):
        super().__init__()
        self.register_buffer("zero", torch.zeros(dim), persistent=False)

    def forward(self, c: Tensor | None = None, mask: Tensor | None = None, posterior: nn.Module | None = None):
        return UniformSphere(self.zero)


class UniformOverCategories(nn.Module):
    """All categories of each variable alike.

    Args:
        dim: D, numbers in a code.
        k: categories of a variable.
    """

    formula = "z[v] ~ Uniform(k categories)"
    code_space = "categories"

    zero: Tensor

    def __init__(self, dim: int, k: int):
        super().__init__()
        self.variables, self.k = dim // k, k
        self.register_buffer("zero", torch.zeros(()), persistent=False)

    def forward(self, c: Tensor | None = None, mask: Tensor | None = None, posterior: nn.Module | None = None):
        return UniformCategories(self.variables, self.k, self.zero)


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
        """Start at random rows of the data, with bits drawn where they are drawn; at some again if k is larger."""
        k, of = len(self.pseudo_inputs), rows.occurrences()
        picked = torch.randperm(len(of), generator=generator(of.device), device=of.device)
        index = of[picked.repeat(-(-k // len(of)))[:k]]
        self.pseudo_inputs.copy_(torch.cat([rows.batch(part).x for part in index.split(ROWS_AT_ONCE)]))

    def learned(self) -> dict[str, Tensor]:
        """Parameters by name, as they enter the distribution."""
        return {"weight": self.logits.softmax(-1)}

    def forward(self, c: Tensor | None = None, mask: Tensor | None = None, posterior: nn.Module | None = None):
        assert posterior is not None
        x: Tensor = self.pseudo_inputs
        if self.limits is not None:  # whose gradient passes on at the limits, or what lies beyond would stay there
            x = x + (x.clamp(*self.limits) - x).detach()
        if c is None:
            return MixtureDistribution(self.logits.log_softmax(-1), components_of(posterior(x, None, None)))
        # Each row has the posteriors of all pseudo-inputs under its condition.
        b, k = len(c), len(x)
        q = posterior(x.expand(b, *x.shape).flatten(0, 1), c.repeat_interleave(k, 0), None)
        return MixtureDistribution(self.logits.log_softmax(-1), components_of(q, (b, k)))


def components_of(q: Any, batch: tuple[int, ...] = (-1,)) -> Normal | FullNormal:
    """Posteriors as components of a mixture, in this shape; raises InputError for others than normals."""
    if isinstance(q, Normal) and isinstance(q.log_scale, Tensor) and q.loc.ndim == 2:
        return Normal(q.loc.unflatten(0, batch), q.log_scale.unflatten(0, batch))
    if isinstance(q, CorrelatedNormal) and len(batch) == 1:
        return FullNormal.from_factor(q.loc, q.factor)
    raise InputError(
        "posterior must be 'normal', or 'full_normal' without a condition, over vectors with prior='vamp(k)', got "
        f"{type(q).__name__}. Use prior='mixture(k)'."
    )


class FlowPrior(nn.Module):
    """A flow that maps codes to independent normals (Papamakarios et al., 2017): densities are faster than draws."""

    formula = "flow(z) ~ N(0, I)"

    zero: Tensor

    def __init__(self, dim: int, k: int):
        super().__init__()
        self.register_buffer("zero", torch.zeros(dim), persistent=False)
        self.flow = Flow(dim, k)

    def forward(self, c: Tensor | None = None, mask: Tensor | None = None, posterior: nn.Module | None = None):
        return Flowed(Normal(self.zero, self.zero), self.flow, of_draws=False)


class Autoregressive(nn.Module):
    """Each symbol of a code given those before it, by a transformer (van den Oord et al., 2017, use a PixelCNN).

    Args:
        symbols: S, in a code.
        values: K, of a symbol. What makes symbols of codes is the quantizer of the posterior.
    """

    formula = "p(z) = Π p(symbol[s] given symbols before s)"
    of_field = False
    """Whether the field `prior` can name another one."""

    zero: Tensor

    def __init__(self, symbols: int, values: int):
        super().__init__()
        self.net = CausalTransformer(symbols, values)
        self.register_buffer("zero", torch.zeros(()), persistent=False)

    def forward(self, c: Tensor | None = None, mask: Tensor | None = None, posterior: nn.Module | None = None):
        quantizer: Any = getattr(getattr(posterior, "family", None), "quantizer", None)
        assert quantizer is not None
        return SymbolSequence(quantizer, self.net, self.zero)


class PostHocPrior(nn.Module):
    """Standard normal in training; afterwards a density that is fitted to the codes (Ghosh et al., 2020).

    Samples then come from where the codes are, however far the KL term left their aggregate from the normal.

    Args:
        dim: D, numbers in a code.
        k: components of a mixture of normals.
        full: whether each has a full covariance, or independent coordinates.
        maps: maps of a flow, in place of the mixture; None for the mixture.
    """

    zero: Tensor
    log_weight: Tensor
    loc: Tensor
    log_scale: Tensor
    slopes: Tensor | None

    def __init__(self, dim: int, k: int = 10, full: bool = False, maps: int | None = None):
        super().__init__()
        self.fitted = False
        self.flow = None if maps is None else StandardizedFlow(dim, maps)
        if maps is None:
            k = check_components(k)
            self.register_buffer("log_weight", torch.full((k,), -math.log(k)))
            self.register_buffer("loc", torch.zeros(k, dim))
            self.register_buffer("log_scale", torch.zeros(k, dim))
            self.register_buffer("slopes", torch.zeros(k, dim, dim) if full else None)
        self.register_buffer("zero", torch.zeros(dim), persistent=False)

    @property
    def formula(self) -> str:
        """The density as text."""
        if self.flow is not None:
            return FlowPrior.formula
        return f"z ~ Σ weight[k] N(mean[k], {'diag scale[k]²' if self.slopes is None else 'covariance[k]'})"

    def components(self) -> Normal | FullNormal:
        """Those of the mixture."""
        if self.slopes is None:
            return Normal(self.loc, self.log_scale)
        return FullNormal(self.loc, self.log_scale, self.slopes)

    def forward(self, c: Tensor | None = None, mask: Tensor | None = None, posterior: nn.Module | None = None):
        if not self.fitted:
            return Normal(self.zero, self.zero)
        if self.flow is not None:
            return Flowed(Normal(self.zero, self.zero), self.flow, of_draws=False)
        return MixtureDistribution(self.log_weight, self.components())

    def learned(self) -> dict[str, Tensor]:
        """Parameters of a mixture by name, as they enter the distribution; empty before the fit, and of a flow."""
        if not self.fitted or self.flow is not None:
            return {}
        used = self.log_weight.isfinite()
        return {"weight": self.log_weight[used].exp(), "mean": self.loc[used], "scale": self.components().std[used]}

    def begin(self, rows: Any, seed: int) -> None:
        """Go back to the standard normal."""
        self.fitted = False

    def finish(self, model: Any, rows: Any, seed: int) -> None:
        """Fit the density to draws from the posteriors of the training rows, each as often as its weight says."""
        with torch.no_grad():
            parts = rows.occurrences().split(ROWS_AT_ONCE)
            self.fit_to(torch.cat([model.infer(rows.batch(part)).draw_one(len(part)) for part in parts]), seed)

    def fit_to(self, codes: Tensor, seed: int) -> None:
        """Fit the density to codes (n, dim); raises InputError for fewer than two, or codes that are not finite."""
        if len(codes) < 2 or not bool(codes.isfinite().all()):
            raise InputError(f"codes must be at least 2 finite rows to fit a density to, got {len(codes)}.")
        if self.flow is not None:
            self.flow.fit(codes, seed)
        else:
            self.fit_mixture(codes, seed)
        self.fitted = True

    @torch.no_grad()
    def fit_mixture(self, codes: Tensor, seed: int) -> None:
        """Fit the mixture, in units of the codes' spread: components are a hundredth of it wide, at least."""
        k, spread = min(len(self.log_weight), len(codes)), codes.double().std(0, correction=0).square().mean().sqrt()
        unit = float(spread) or 1.0
        fitted = fit_mixture(codes.double().cpu().numpy() / unit, k, seed, full=self.slopes is not None)
        means, covariances = (torch.as_tensor(part) for part in (unit * fitted.means, unit**2 * fitted.covariances))
        self.log_weight.fill_(-math.inf)
        self.log_weight[:k] = torch.as_tensor(fitted.weights).log()
        self.loc[:k] = means
        if self.slopes is None:
            self.log_scale[:k] = 0.5 * covariances.diagonal(dim1=-2, dim2=-1).log()
        else:
            normal = FullNormal.of(means, covariances)
            self.log_scale[:k], self.slopes[:k] = normal.log_scale.to(self.loc), normal.slopes.to(self.loc)

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
