"""Independent elements as one event, the shape that every likelihood here has."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor
from torch import distributions as D


class LightDistribution(D.Distribution):
    """A distribution whose constructor only notes its shapes."""

    arg_constraints = {}
    has_rsample = False

    def __init__(self, batch_shape: torch.Size, event_shape: torch.Size):
        self._batch_shape, self._event_shape = batch_shape, event_shape
        self._validate_args = False

    def expand(self, batch_shape, _instance=None):
        raise NotImplementedError("these distributions broadcast; they are not expanded")

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            return self.rsample(sample_shape)


class Independent(LightDistribution):
    """Elements are independent: `log_prob` sums their log-densities over the last `event_dim` dimensions."""

    def __init__(self, shape: torch.Size, event_dim: int):
        split = len(shape) - event_dim
        super().__init__(shape[:split], shape[split:])
        self.event_dim = event_dim

    @abstractmethod
    def element_log_prob(self, x: Tensor) -> Tensor:
        """(*batch, *event) log-density or log-probability of each element, nats."""

    def log_prob(self, x: Tensor) -> Tensor:
        """(*batch,) nats, summed over the event."""
        return self.total(self.element_log_prob(x))

    def total(self, elements: Tensor) -> Tensor:
        """(*batch, *event) to (*batch,)."""
        return elements.sum(-1) if self.event_dim == 1 else elements.flatten(-self.event_dim).sum(-1)

    def shape_of(self, sample_shape) -> torch.Size:
        return torch.Size((*sample_shape, *self._batch_shape, *self._event_shape))


class Masked(LightDistribution):
    """A factorised event whose steps (the first event dimension) count only where the mask is True."""

    def __init__(self, base: Independent, mask: Tensor):
        super().__init__(base.batch_shape, base.event_shape)
        inner = base.event_dim - 1
        self.base, self.mask = base, mask.reshape(*mask.shape, *[1] * inner)  # (B, T, 1...)

    @property
    def mean(self) -> Tensor:
        return self.base.mean

    def log_prob(self, x: Tensor) -> Tensor:
        """(*batch,) nats; a padded step costs nothing, whatever it holds."""
        x = torch.where(self.mask, x, 0.0)
        return self.base.total(torch.where(self.mask, self.base.element_log_prob(x), 0.0))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return torch.where(self.mask, self.base.sample(sample_shape), 0.0)
