"""Distributions of codes: a point, none, normals with full covariances, a mixture."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from isthmus import random_streams
from isthmus.distributions.continuous import HALF_LOG_TWO_PI, Normal
from isthmus.distributions.independent import Drawn, LightDistribution

MIN_PRODUCT_NUMBERS = 65_536
"""Differences between points and components, element by element, from which the gradient of a mixture's density is
faster as products of matrices."""


class Delta(LightDistribution):
    """A point mass, which has no density.

    Args:
        loc: (*batch, *event) where it lies.
        event_dim: number of event dimensions.
        raw: what `loc` was before `rule` made it sparse.
        rule: the module that made it sparse.
    """

    has_rsample = True
    evaluable = False
    differentiable = False
    has_density = False
    row_parameters = ("loc", "raw")

    def __init__(self, loc: Tensor, event_dim: int = 1, raw: Tensor | None = None, rule: Any = None):
        split = loc.ndim - event_dim
        super().__init__(loc.shape[:split], loc.shape[split:])
        self.loc = loc
        self.raw = loc if raw is None else raw
        self.rule = rule

    @property
    def mean(self) -> Tensor:
        return self.loc

    def noise(self, draws: int, rows: int) -> Tensor:
        return self.loc.new_zeros(draws, rows, 0)

    def draw(self, noise: Tensor) -> Drawn:
        return Drawn(self.loc[None])  # all draws of a point are one

    def rsample(self, sample_shape=()) -> Tensor:
        return self.loc.expand(*sample_shape, *self.loc.shape)

    def log_prob(self, z: Tensor) -> Tensor:
        """Zero by convention, so that an ELBO becomes a maximum-a-posteriori objective."""
        return z.new_zeros(z.shape[: z.ndim - len(self._event_shape)])


class NoCode(LightDistribution):
    """The distribution over codes of no numbers: one outcome, of probability 1.

    Args:
        like: a tensor (B, ...) of the batch, for its number of rows, precision and device.
    """

    has_rsample = True
    differentiable = False
    row_parameters = ("empty",)

    def __init__(self, like: Tensor):
        super().__init__(like.shape[:1], torch.Size((0,)))
        self.empty = like.new_zeros(len(like), 0)

    @property
    def mean(self) -> Tensor:
        return self.empty

    def noise(self, draws: int, rows: int) -> Tensor:
        return self.empty.new_zeros(draws, rows, 0)

    def draw(self, noise: Tensor) -> Drawn:
        return Drawn(self.rsample((len(noise),)))

    def rsample(self, sample_shape=()) -> Tensor:
        return self.empty.expand(*sample_shape, *self.empty.shape)

    def log_prob(self, z: Tensor) -> Tensor:
        return z.new_zeros(z.shape[:-1])


class FullNormal(LightDistribution):
    """M normals with full covariances: each element is normal given those before it.

    With L the strictly lower triangle of `slopes`, (I - L) (z - loc) has independent elements of scale exp(log_scale).

    Args:
        loc: (M, D) the means.
        log_scale: (M, D) of each element given those before it.
        slopes: (M, D, D) by which an element depends on those before it; only the strictly lower triangle counts.
    """

    has_rsample = True

    def __init__(self, loc: Tensor, log_scale: Tensor, slopes: Tensor):
        super().__init__(loc.shape[:-1], loc.shape[-1:])
        self.loc, self.log_scale, self.slopes = loc, log_scale, slopes

    @classmethod
    def of(cls, loc: Tensor, covariance: Tensor) -> FullNormal:
        """Normals of means (M, D) and covariances (M, D, D).

        A Cholesky factor is (I - L)^-1 times the diagonal matrix of the scales.
        """
        return cls.from_factor(loc, torch.linalg.cholesky(covariance))

    @classmethod
    def from_factor(cls, loc: Tensor, factor: Tensor) -> FullNormal:
        """Normals of means (M, D) and Cholesky factors (M, D, D) of their covariances."""
        scale = factor.diagonal(dim1=-2, dim2=-1)
        identity = torch.eye(loc.shape[-1], dtype=loc.dtype, device=loc.device)
        inverse = torch.linalg.solve_triangular(
            factor / scale[..., None, :], identity.expand_as(factor), upper=False, unitriangular=True
        )
        return cls(loc, scale.log(), identity - inverse)

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def triangle(self) -> Tensor:
        """(M, D, D) I - L."""
        return torch.eye(self.loc.shape[-1], dtype=self.loc.dtype, device=self.loc.device) - self.slopes.tril(-1)

    @property
    def std(self) -> Tensor:
        scales = torch.diag_embed(self.log_scale.exp())
        factor = torch.linalg.solve_triangular(self.triangle, scales, upper=False, unitriangular=True)
        return factor.square().sum(-1).sqrt()

    def log_prob(self, z: Tensor) -> Tensor:
        """(..., M) nats of z (..., 1, D), the same point under each of the normals."""
        m, d = self.loc.shape
        whiten = self.triangle * (-self.log_scale).exp()[..., None]  # (M, D, D)
        # One product of matrices for all of them.
        e = (z[..., 0, :] @ whiten.reshape(m * d, d).T).unflatten(-1, (m, d)) - (whiten @ self.loc[..., None])[..., 0]
        return -0.5 * e.square().sum(-1) - self.log_scale.sum(-1) - d * HALF_LOG_TWO_PI

    def rsample(self, sample_shape=()) -> Tensor:
        e = random_streams.normal((*sample_shape, *self.loc.shape), self.loc)
        scaled = (e * self.log_scale.exp())[..., None]
        apart = torch.linalg.solve_triangular(self.triangle, scaled, upper=False, unitriangular=True)
        return self.loc + apart[..., 0]


class CorrelatedNormal(LightDistribution):
    """z = loc + factor e with e ~ N(0, I), for each row.

    Args:
        loc: (*batch, D) means.
        factor: (*batch, D, D) lower triangular with a positive diagonal: the covariance is factor factorᵀ.
    """

    has_rsample = True
    row_parameters = ("loc", "factor")

    def __init__(self, loc: Tensor, factor: Tensor):
        super().__init__(loc.shape[:-1], loc.shape[-1:])
        self.loc, self.factor = loc, factor

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def std(self) -> Tensor:
        return self.factor.square().sum(-1).sqrt()

    @property
    def log_det(self) -> Tensor:
        """(*batch) log-determinant of the factor."""
        return self.factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def noise(self, draws: int, rows: int) -> Tensor:
        return random_streams.normal((draws, rows, self.loc.shape[-1]), self.loc)

    def draw(self, noise: Tensor) -> Drawn:
        return Drawn(self.loc + (self.factor @ noise[..., None])[..., 0], self.of_standard(noise))

    def rsample(self, sample_shape=()) -> Tensor:
        e = random_streams.normal((*sample_shape, *self.loc.shape), self.loc)
        return self.loc + (self.factor @ e[..., None])[..., 0]

    def of_standard(self, e: Tensor) -> Tensor:
        """Log-density of loc + factor e, nats."""
        return -0.5 * e.square().sum(-1) - e.shape[-1] * HALF_LOG_TWO_PI - self.log_det

    def log_prob(self, z: Tensor) -> Tensor:
        away = (z - self.loc)[..., None]
        return self.of_standard(torch.linalg.solve_triangular(self.factor, away, upper=False)[..., 0])


class EachNormal(torch.autograd.Function):
    """(N, M) log-density of points z (N, D) under M normals of independent elements, loc and log_scale (M, D), nats.

    Element by element the gradient would take four times as long as the value, and with dozens of components longer
    than the networks. It is a few products of matrices: with r = exp(-2 log_scale) and g the gradient (N, M) that comes
    in, that of z is the sum over m of g r (loc - z), and so for the others. The value itself is not computed by
    products, which would lose the digits of narrow normals; for the same reason the sums over points are in double
    precision.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor, loc: Tensor, log_scale: Tensor) -> Tensor:
        e = (z[:, None, :] - loc).mul_((-log_scale).exp())
        return e.mul_(e).sum(-1).mul_(-0.5) - (log_scale.sum(-1) + loc.shape[-1] * HALF_LOG_TWO_PI)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        z, loc, log_scale = ctx.saved_tensors
        (g,) = grads
        d, r = z.shape[-1], (-2 * log_scale).exp()
        toward = g @ torch.cat([r * loc, r], 1)  # (N, 2 D)
        of_z = torch.addcmul(toward[:, :d], z, toward[:, d:], value=-1)
        z, loc = z.double(), loc.double()
        sums = g.double().T @ torch.cat([z, z.square(), torch.ones_like(z[:, :1])], 1)  # (M, 2 D + 1)
        first, second, total = sums[:, :d], sums[:, d : 2 * d], sums[:, 2 * d :]
        apart = torch.addcmul(first, total, loc, value=-1)  # of z - loc
        scaled = torch.addcmul(second, loc, first + apart, value=-1)  # of its square
        return of_z, (r * apart).to(r.dtype), (r * scaled - total).to(r.dtype)


class Mixture(LightDistribution):
    """A mixture of M components of D elements (..., M, D), by their log-weights (..., M)."""

    def __init__(self, log_weight: Tensor, components: Normal | FullNormal):
        # Either or both may have a batch. torch.broadcast_shapes would import sympy: a second of every process.
        super().__init__(log_weight.shape[:-1] or components.loc.shape[:-2], components.loc.shape[-1:])
        self.log_weight, self.components = log_weight, components

    @property
    def mean(self) -> Tensor:
        return (self.log_weight.exp()[..., None] * self.components.loc).sum(-2)

    def log_prob(self, z: Tensor) -> Tensor:
        """(*batch,) nats of z (*batch, D)."""
        return (self.log_weight + self.component_log_prob(z)).logsumexp(-1)

    def component_log_prob(self, z: Tensor) -> Tensor:
        """(*batch, M) nats of z (*batch, D) under each component."""
        if self.has_product_gradient(z):
            points, components = z.reshape(-1, z.shape[-1]), self.components
            return EachNormal.apply(points, components.loc, components.log_scale).reshape(*z.shape[:-1], -1)
        return self.components.log_prob(z[..., None, :])

    def has_product_gradient(self, z: Tensor) -> bool:
        """Whether the gradient at z (*batch, D) is faster as products of matrices: many points, shared components."""
        components = self.components
        if type(components) is not Normal or components.loc.ndim != 2 or z.ndim < 2 or z.dtype != components.loc.dtype:
            return False
        same = isinstance(components.log_scale, Tensor) and components.log_scale.shape == components.loc.shape
        return same and z.shape[:-1].numel() * components.loc.numel() >= MIN_PRODUCT_NUMBERS

    def sample(self, sample_shape=()) -> Tensor:
        with torch.no_grad():
            weight = self.log_weight.exp()
            shape = torch.Size((*sample_shape, *self._batch_shape))
            flat = weight.expand(*shape, weight.shape[-1]).reshape(-1, weight.shape[-1])
            pick = torch.multinomial(flat, 1, generator=random_streams.generator(flat.device)).reshape(shape)
            return self.picked(pick).rsample()

    def picked(self, index: Tensor) -> Normal | FullNormal:
        """The components of these numbers, (*shape), or (*shape, B) where each row of a batch has its own."""
        components = self.components
        shared = components.loc.ndim == 2
        rows = None if shared else torch.arange(index.shape[-1], device=index.device)

        def take(value: Tensor) -> Tensor:
            return value[index] if rows is None else value[rows, index]

        if isinstance(components, FullNormal):
            return FullNormal(take(components.loc), take(components.log_scale), take(components.slopes))
        log_scale = torch.as_tensor(components.log_scale).expand_as(components.loc)
        return Normal(take(components.loc), take(log_scale))
