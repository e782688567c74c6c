"""A latent-variable model as parts, and what one forward pass of it leaves for a loss to read."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from isthmus.batch import Batch
from isthmus.distributions.independent import Masked
from isthmus.distributions.latent import exact_kl


class Pass:
    """What any loss may read of one forward pass; a density is computed when it is first read.

    z (K, B, *Z) draws; log_px, log_pz, log_qz (K, B) nats; kl (B, L) nats per latent dimension or group;
    weight (K, B) weights of the draws that sum to one over K, None where they are equal; q, px, prior the
    distributions themselves. `known` hands over densities that a model has computed on its way.
    """

    def __init__(
        self,
        z: Tensor,
        q: Any = None,
        px: Any = None,
        prior: Any = None,
        *,
        target: Tensor | None = None,
        log_volume: Tensor | float = 0.0,
        weight: Tensor | None = None,
        **known: Tensor,
    ):
        self.z, self.q, self.px, self.prior, self.weight = z, q, px, prior, weight
        self.draws: int = z.shape[0]
        self._target, self._log_volume, self._known = target, log_volume, known

    @property
    def log_px(self) -> Tensor:
        if "log_px" not in self._known:
            value = self.px.log_prob(self._target)
            free = isinstance(self._log_volume, float) and self._log_volume == 0
            self._known["log_px"] = value if free else value - self._log_volume
        return self._known["log_px"]

    @property
    def log_pz(self) -> Tensor:
        if "log_pz" not in self._known:
            self._known["log_pz"] = self.prior.log_prob(self.z)
        return self._known["log_pz"]

    @property
    def log_qz(self) -> Tensor:
        if "log_qz" not in self._known:
            self._known["log_qz"] = self.q.log_prob(self.z)
        return self._known["log_qz"]

    @property
    def kl(self) -> Tensor:
        if "kl" not in self._known:
            exact = exact_kl(self.q, self.prior)
            self._known["kl"] = self.average(self.log_qz - self.log_pz)[:, None] if exact is None else exact
        return self._known["kl"]

    def average(self, values: Tensor) -> Tensor:
        """(K, B) to (B,): the mean over draws by their weights."""
        if self.weight is not None:
            return (self.weight * values).sum(0)
        return values.squeeze(0) if self.draws == 1 else values.mean(0)

    @property
    def log_weight(self) -> Tensor | float:
        """(K, B) log of the draws' weights, or one number where they are equal."""
        return -math.log(self.draws) if self.weight is None else self.weight.log()


class LatentModel(nn.Module):
    """p(x, z given c) = p(z given c) p(x given z, c), with an amortised q(z given x, c).

    `log_volume` is what the scaling of the data takes from a log-density, so that every density read from a `Pass`
    is in the data's own units.
    """

    posterior: Any
    likelihood: Any
    prior: Any
    corruption: Any

    def __init__(
        self,
        posterior: nn.Module,
        likelihood: nn.Module,
        prior: nn.Module,
        corruption: nn.Module | None = None,
        log_volume: float = 0.0,
    ):
        super().__init__()
        self.posterior, self.likelihood, self.prior = posterior, likelihood, prior
        self.corruption = corruption
        self.log_volume = log_volume

    def forward(self, batch: Batch, draws: int = 1, train: bool = False) -> Pass:
        """K draws for each of B rows, whose x is damaged first where there is a corruption."""
        q = self.posterior(self.damaged(batch), batch.c, batch.mask)
        noise = q.noise(torch.Size((draws, *q.batch_shape, *q.event_shape)))
        return self.push(batch, q, noise)

    def damaged(self, batch: Batch) -> Tensor:
        """(B, *X) what the encoder reads in training; padding stays 0."""
        if self.corruption is None:
            return batch.x
        x = self.corruption(batch.x)
        return (
            x if batch.mask is None else torch.where(batch.mask.reshape(*batch.mask.shape, *[1] * (x.ndim - 2)), x, 0.0)
        )

    def push(self, batch: Batch, q: Any, noise: Tensor) -> Pass:
        """The rest of a pass, given q(z given x) and standard noise (K, B or 1, *Z)."""
        z = q.push(noise)  # (K, B, *Z)
        prior = self.prior(batch.c, batch.mask, self.posterior)
        px = self.likelihood(z, batch.c, batch.mask)
        if batch.mask is not None:
            px = Masked(px, batch.mask)
        log_volume: Tensor | float = self.log_volume
        if batch.mask is not None and log_volume:  # every real step takes the same
            log_volume = log_volume * batch.mask.to(z.dtype).mean(-1)
        return Pass(z, q, px, prior, target=batch.target, log_volume=log_volume)
