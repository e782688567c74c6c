"""A family: from a network's raw output to a distribution over an event."""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor, nn


class Family(nn.Module):
    """Raw output of `raw_shape` for each example to a distribution over `event_shape`.

    Most families need `raw_per_element` numbers for each element; one that needs another shape overrides `raw_shape`.
    """

    raw_per_element = 1
    has_density = True
    """Whether its distributions have a log-density."""
    learns = False
    """Whether it learns from the batches of training beside gradients: then `forward` takes `train=True` there."""
    discrete = False
    """As a posterior: whether codes are discrete, so that no gradient can move them."""
    code_space = "vectors"
    """As a posterior: where codes lie: any vectors, or those on the unit sphere; a prior is of the same."""
    scale_per_element = False
    """As a likelihood: whether each element of x has a scale of its own, so that wide columns do not dominate."""
    formula = ""
    """The distribution as a formula, of an element x given a network's output."""
    pair: tuple[str, ...] = ()
    """What a network may return instead of one tensor of `raw_shape`: two tensors of the event's shape, by name."""

    def __init__(self, event_shape: tuple[int, ...]):
        super().__init__()
        self.event_shape = tuple(event_shape)
        self.event_dim = len(self.event_shape)

    @property
    def raw_shape(self) -> tuple[int, ...]:
        """Shape of a network's output for one example; a dimension of one would cost copies in the gradient."""
        return self.event_shape if self.raw_per_element == 1 else (self.raw_per_element, *self.event_shape)

    @property
    def raw_numel(self) -> int:
        """Numbers in a network's output for one example."""
        return math.prod(self.raw_shape)

    def learned(self) -> dict[str, Tensor]:
        """Parameters that are learned beside the network, by name, as they enter the distribution."""
        return {}

    def normal_scale(self) -> NormalScale | None:
        """The scale of x around its location if x is normal with a scale that no network gives; else None."""
        return None

    def start_linear(self, weight: Tensor, mean: Tensor, noise: Tensor) -> LinearStart | None:
        """Start as a likelihood at x = z W + mean + normal noise: set what is learned beside the network.

        Args:
            weight: (D, *event) W, double precision, of x as the encoder reads it.
            mean: (*event) of x as the encoder reads it.
            noise: (*event) variances of the noise.

        Returns:
            What a linear network has to start from; None if this family has no such start.
        """
        return None

    def from_pair(self, first: Tensor, second: Tensor) -> Tensor:
        """(*batch, *raw_shape) of the two tensors (*batch, *event) that `pair` names."""
        raise NotImplementedError(f"{type(self).__name__} is not given by a pair of tensors")

    def split(self, raw: Tensor) -> tuple[Tensor, ...]:
        """(*batch, *raw_shape) to `raw_per_element` tensors (*batch, *event)."""
        return (raw,) if self.raw_per_element == 1 else raw.unbind(-1 - self.event_dim)


class NormalScale(NamedTuple):
    """The scale of normal elements, in the units that networks read."""

    log_scale: Tensor
    """() or (*event), double precision."""
    fixed: bool
    """Whether it was set before training instead of learned."""


class LinearStart(NamedTuple):
    """A linear network from codes to raw outputs."""

    weight: Tensor
    """(D, *raw_shape)."""
    bias: Tensor
    """(*raw_shape)."""
