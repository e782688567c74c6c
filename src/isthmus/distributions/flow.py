"""Distributions of vectors that a flow makes of simple ones."""

from __future__ import annotations

import copy
from typing import Any, Self

import torch
from torch import Tensor, nn

from isthmus.distributions.independent import Drawn, LightDistribution


class Flowed(LightDistribution):
    """z = flow(e) for e from a base distribution; or e = flow(z), where densities are needed more often than draws.

    log p(z) = log p(e) - log |det dz/de|.

    Args:
        base: of e, with events (D,).
        flow: a module of (vectors, context, inverse) that returns vectors and the log-determinant.
        context: (B, C) what the flow reads of each row.
        of_draws: whether the flow maps e to z; otherwise z to e.
    """

    has_rsample = True

    def __init__(self, base: Any, flow: nn.Module, context: Tensor | None = None, of_draws: bool = True):
        super().__init__(base.batch_shape, base.event_shape)
        self.base, self.flow, self.context, self.of_draws = base, flow, context, of_draws
        self.is_fixed = False
        """Whether no gradient reaches the parameters."""

    @property
    def mean(self) -> Tensor:
        """(*batch, D) what the flow makes of the base's mean; the mean itself is not known in closed form."""
        return self._mapped(self.base.mean, inverse=not self.of_draws)[0]

    def _mapped(self, x: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        if not self.is_fixed:
            return self.flow(x, self.context, inverse)
        detached = {name: parameter.detach() for name, parameter in self.flow.named_parameters()}
        return torch.func.functional_call(self.flow, detached, (x, self.context, inverse))

    def noise(self, draws: int, rows: int) -> Tensor:
        return self.base.noise(draws, rows)

    def draw(self, noise: Tensor) -> Drawn:
        e = self.base.draw(noise).z
        z, log_det = self._mapped(e, inverse=not self.of_draws)
        return Drawn(z, self.base.log_prob(e) - log_det)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self._mapped(self.base.rsample(sample_shape), inverse=not self.of_draws)[0]

    def log_prob(self, z: Tensor) -> Tensor:
        e, log_det = self._mapped(z, inverse=self.of_draws)
        return self.base.log_prob(e) + log_det

    def stopped(self) -> Self:
        new = copy.copy(self)
        new.base, new.is_fixed = self.base.stopped(), True
        new.context = None if self.context is None else self.context.detach()
        return new

    def rows(self, index: Tensor) -> Self | None:
        base = self.base.rows(index)
        if base is None:
            return None
        new = copy.copy(self)
        new.base, new._batch_shape = base, base.batch_shape
        new.context = None if self.context is None else self.context[index]
        return new
