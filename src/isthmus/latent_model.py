"""A latent-variable model as parts, and what one forward pass of it leaves for a loss to read."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from isthmus.batch import Batch
from isthmus.distributions.factorised import Masked
from isthmus.distributions.latent import kl_per_group


class Pass:
    """What any loss may read of one forward pass; a density is computed when first read.

    z (K, B, *Z) draws; log_px, log_pz, log_qz (K, B) nats; kl (B, L) nats per latent dimension or group;
    weight (K, B) weights of the draws that sum to one over K, None where they are equal;
    q, px, prior the distributions themselves.
    """

    def __init__(self, z: Tensor, q: Any, px: Any, prior: Any, densities: dict[str, Callable[[], Tensor]]):
        self.z, self.q, self.px, self.prior = z, q, px, prior
        self.weight: Tensor | None = None
        self.draws: int = z.shape[0]
        self._densities = densities
        self._known: dict[str, Tensor] = {}

    def _read(self, name: str) -> Tensor:
        if name not in self._known:
            self._known[name] = self._densities[name]()
        return self._known[name]

    @property
    def log_px(self) -> Tensor:
        return self._read("log_px")

    @property
    def log_pz(self) -> Tensor:
        return self._read("log_pz")

    @property
    def log_qz(self) -> Tensor:
        return self._read("log_qz")

    @property
    def kl(self) -> Tensor:
        return self._read("kl")

    def average(self, values: Tensor) -> Tensor:
        """(K, B) to (B,): the mean over draws by their weights."""
        if self.weight is not None:
            return (self.weight * values).sum(0)
        return values[0] if self.draws == 1 else values.mean(0)

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

    def forward(self, batch: Batch, draws: int = 1, *, corrupt: bool = True) -> Pass:
        """K draws for each of B rows; `corrupt` damages x first, as training and its validation do."""
        x = self.corruption(batch.x) if corrupt and self.corruption is not None else batch.x
        q = self.posterior(x, batch.c, batch.mask)
        noise = q.noise(torch.Size((draws, *q.batch_shape, *q.event_shape)))
        return self.push(batch, q, noise)

    def push(self, batch: Batch, q: Any, noise: Tensor) -> Pass:
        """The rest of a pass, given q(z given x) and standard noise (K, B or 1, *Z)."""
        z = q.push(noise)  # (K, B, *Z)
        prior = self.prior(batch.c, batch.mask, self.posterior)
        px = self.likelihood(z, batch.c, batch.mask)
        if batch.mask is not None:
            px = Masked(px, batch.mask)
        run: Pass

        def log_px() -> Tensor:
            value = px.log_prob(batch.wanted)
            if not self.log_volume:
                return value
            if batch.mask is None:
                return value - self.log_volume
            return value - self.log_volume * batch.mask.to(value.dtype).mean(-1)  # every step takes the same

        run = Pass(
            z,
            q,
            px,
            prior,
            {
                "log_px": log_px,
                "log_pz": lambda: prior.log_prob(z),
                "log_qz": lambda: q.log_prob(z),
                "kl": lambda: kl_per_group(q, prior, lambda: run.log_qz, lambda: run.log_pz),
            },
        )
        return run

    @property
    def has_density(self) -> bool:
        """Whether codes have a density, so that evidence can be estimated."""
        return bool(self.posterior.family.has_density)
