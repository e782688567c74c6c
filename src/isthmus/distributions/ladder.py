"""Codes in layers, each normal given the layer above it: p(z) = p(z_L) p(z_L-1 given z_L) ... p(z_1 given z_2)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isthmus import random_streams
from isthmus.distributions.continuous import Normal
from isthmus.distributions.independent import Drawn, LightDistribution

LOG_SCALE_LIMITS = (-15.0, 10.0)
"""Between which log-scales are kept, so that no step of training overflows."""


class Layer(NamedTuple):
    """One layer of codes, and its distributions given the layer above it."""

    z: Tensor
    """(..., B, D) of this layer."""
    q: Normal
    p: Normal


def total(densities: Sequence[Tensor]) -> Tensor:
    """(..., B) nats: the sum over layers, some of which may be the same for all draws or rows."""
    return torch.stack(torch.broadcast_tensors(*densities)).sum(0)


class Chain(LightDistribution):
    """p(z): the top layer is standard normal, the others are normal as a map of the layer above says.

    Args:
        sizes: numbers of each layer, the lowest first.
        maps: for each layer but the top one, a network from the layer above it to its locations and log-scales.
        like: a tensor of the type and device of codes.
    """

    has_rsample = True

    def __init__(self, sizes: Sequence[int], maps: Sequence[nn.Module], like: Tensor):
        super().__init__(torch.Size(), torch.Size((sum(sizes),)))
        self.sizes, self.maps, self.like = tuple(sizes), maps, like
        self.is_fixed = False
        """Whether no gradient reaches the parameters."""

    def layer(self, index: int, above: Tensor | None) -> Normal:
        """The layer of this index given (..., D) the one above it; None for the top layer."""
        if above is None:
            zero = self.like.new_zeros(self.sizes[index])
            return Normal(zero, zero)
        net = self.maps[index]
        if self.is_fixed:
            parameters = {name: parameter.detach() for name, parameter in net.named_parameters()}
            raw = torch.func.functional_call(net, parameters, (above,))
        else:
            raw = net(above)
        loc, log_scale = raw.to(above.dtype).chunk(2, -1)  # in training networks may compute in bf16
        return Normal(loc, log_scale.clamp(*LOG_SCALE_LIMITS))

    def descend(self, choose: Callable[[int, Normal], Tensor]) -> Tensor:
        """(..., S) codes of which `choose` says each layer, from the top down, by its index and its distribution."""
        layers: list[Tensor] = []
        for index in reversed(range(len(self.sizes))):
            layers.insert(0, choose(index, self.layer(index, layers[0] if layers else None)))
        return torch.cat(layers, -1)

    @property
    def mean(self) -> Tensor:
        """(S,) each layer's mean given the mean of the layer above; the mean itself is not known in closed form."""
        return self.descend(lambda index, p: p.loc)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = torch.Size(sample_shape)

        def drawn(index: int, p: Normal) -> Tensor:
            noise = random_streams.normal((*shape, self.sizes[index]), self.like)
            return torch.addcmul(p.loc, p.scale, noise)

        return self.descend(drawn)

    def log_prob(self, z: Tensor) -> Tensor:
        layers, densities = z.split(self.sizes, -1), []

        def given(index: int, p: Normal) -> Tensor:
            densities.append(p.log_prob(layers[index]))
            return layers[index]

        self.descend(given)
        return total(densities)

    def stopped(self) -> Self:
        new = copy.copy(self)
        new.is_fixed = True
        return new


class LadderNormal(LightDistribution):
    """q(z given x): in each layer the product of the prior given the layer above and of what x says of the layer.

    Both are normal, and so is their product (Sønderby et al., 2016): its precision is the sum of theirs.

    Args:
        loc, log_scale: (B, S) normals of what x says, the lowest layer first.
        prior: p(z).
    """

    row_parameters = ("loc", "log_scale")

    def __init__(self, loc: Tensor, log_scale: Tensor, prior: Chain):
        super().__init__(loc.shape[:1], loc.shape[1:])
        self.loc, self.log_scale, self.prior = loc, log_scale, prior

    def descend(self, choose: Callable[[int, Normal], Tensor]) -> list[Layer]:
        """The layers, the lowest first; `choose` says the codes of each by its index and its distribution."""
        loc, log_scale = (part.split(self.prior.sizes, -1) for part in (self.loc, self.log_scale))
        layers: list[Layer] = []

        def merged(index: int, p: Normal) -> Tensor:
            # Precisions exp(-2 s) of both add up; the location lies between theirs, by the share of x.
            away = 2 * (p.log_scale - log_scale[index])
            share, spread = torch.sigmoid(away), p.log_scale - 0.5 * F.softplus(away)
            q = Normal(p.loc + share * (loc[index] - p.loc), spread)
            layers.insert(0, Layer(choose(index, q), q, p))
            return layers[0].z

        self.prior.descend(merged)
        return layers

    @property
    def mean(self) -> Tensor:
        """(B, S) each layer's mean given the mean of the layer above; the mean itself is not known in closed form."""
        return torch.cat([layer.z for layer in self.descend(lambda index, q: q.loc)], -1)

    def noise(self, draws: int, rows: int) -> Tensor:
        return random_streams.normal((draws, rows, *self.event_shape), self.loc)

    def layers_of(self, noise: Tensor) -> list[Layer]:
        """The layers of draws by noise (K, B or 1, S), the lowest first."""
        parts = noise.split(self.prior.sizes, -1)
        return self.descend(lambda index, q: torch.addcmul(q.loc, q.scale, parts[index]))

    def draw(self, noise: Tensor) -> Drawn:
        layers = self.layers_of(noise)
        return Drawn(torch.cat([z for z, _, _ in layers], -1), total([q.log_prob(z) for z, q, _ in layers]))

    def log_prob(self, z: Tensor) -> Tensor:
        parts = z.split(self.prior.sizes, -1)
        return total([q.log_prob(z) for z, q, _ in self.descend(lambda index, q: parts[index])])
