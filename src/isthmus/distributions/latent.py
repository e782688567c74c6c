"""What codes follow: a point, a mixture; drawing and the divergence between them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from isthmus.distributions.continuous import Normal, exp
from isthmus.distributions.independent import LightDistribution


class Delta(LightDistribution):
    """A point mass; `raw` is what it was before it was made sparse. It has no density."""

    has_rsample = True

    def __init__(self, loc: Tensor, event_dim: int = 1, raw: Tensor | None = None):
        split = loc.ndim - event_dim
        super().__init__(loc.shape[:split], loc.shape[split:])
        self.loc = loc
        self.raw = loc if raw is None else raw

    @property
    def mean(self) -> Tensor:
        return self.loc

    def noise(self, shape: torch.Size) -> Tensor:
        return self.loc.new_zeros(())

    def push(self, noise: Tensor) -> Tensor:
        return self.loc[None]

    def rsample(self, sample_shape=()) -> Tensor:
        return self.loc.expand(*sample_shape, *self.loc.shape)

    def log_prob(self, z: Tensor) -> Tensor:
        """Zero by convention, so that an ELBO becomes a maximum-a-posteriori objective."""
        return z.new_zeros(z.shape[: z.ndim - len(self._event_shape)])


class Mixture(LightDistribution):
    """A mixture of factorised components (..., M, D) with log-weights (..., M)."""

    def __init__(self, log_weight: Tensor, components: Normal):
        super().__init__(components.loc.shape[:-2], components.loc.shape[-1:])
        self.log_weight, self.components = log_weight, components

    @property
    def mean(self) -> Tensor:
        return (self.log_weight.exp()[..., None] * self.components.loc).sum(-2)

    def log_prob(self, z: Tensor) -> Tensor:
        """(*batch,) nats of z (*batch, D)."""
        return (self.log_weight + self.components.log_prob(z[..., None, :])).logsumexp(-1)

    def sample(self, sample_shape=()) -> Tensor:
        with torch.no_grad():
            weight = self.log_weight.exp()
            shape = torch.Size((*sample_shape, *self._batch_shape))
            flat = weight.expand(*shape, weight.shape[-1]).reshape(-1, weight.shape[-1])
            pick = torch.multinomial(flat, 1).reshape(*shape, 1, 1)
            every = self.components.rsample(sample_shape)  # (*shape, M, D)
            return every.gather(-2, pick.expand(*shape, 1, every.shape[-1]))[..., 0, :]


def exact_kl(q: Any, p: Any) -> Tensor | None:
    """KL(q || p) in nats per latent dimension (B, L) where it has a closed form, else None."""
    return normal_kl(q, p) if isinstance(q, Normal) and isinstance(p, Normal) else None


def normal_kl(q: Normal, p: Normal) -> Tensor:
    """Exact KL(q || p) of each element, nats."""
    log_ratio = q.log_scale - p.log_scale
    distance = (q.loc - p.loc) * exp(-p.log_scale)
    return 0.5 * (exp(2 * log_ratio) + distance.square() - 1) - log_ratio
