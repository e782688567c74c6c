"""A model whose code has layers, each of which the layer above it explains (Sønderby et al., 2016)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from isthmus.batch import Batch
from isthmus.distributions.kl_divergence import normal_kl
from isthmus.distributions.ladder import Chain, LadderNormal, total
from isthmus.families import DiagonalNormal
from isthmus.forward_pass import Pass
from isthmus.latent_model import Code, LatentModel
from isthmus.nets.layers import Linear, activation
from isthmus.nets.mlp import MLP


class Evidence(DiagonalNormal):
    """What a row says of each number of its code, to which the layers above add what they expect."""

    formula = "z[l] ~ N(mean(x), diag scale(x)²) p(z[l] | z[l+1]) / total"
    pair: tuple[str, ...] = ()


class Upwards(nn.Module):
    """A network of x with an output for each layer of a code: the features of each layer are made of those below it.

    Args:
        net: a network of (x, c, mask) to H numbers.
        width: H.
        sizes: numbers of each layer, the lowest first.
        act: name of the activation between layers.
    """

    def __init__(self, net: nn.Module, width: int, sizes: Sequence[int], act: str):
        super().__init__()
        self.net = net
        self.act = activation(act)
        self.up = nn.ModuleList(MLP((width,), (width,), width, act=act, linear_path=True) for _ in sizes[1:])
        self.out = nn.ModuleList(Linear(width, 2 * size) for size in sizes)

    def forward(self, x: Tensor, c: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """(B, 2 S) locations of all layers, then log-scales."""
        features = self.net(x, c, mask)
        pairs = [self.out[0](self.act(features)).chunk(2, -1)]
        for up, out in zip(self.up, self.out[1:], strict=True):
            features = up(self.act(features))
            pairs.append(out(self.act(features)).chunk(2, -1))
        locs, log_scales = zip(*pairs, strict=True)
        return torch.cat([*locs, *log_scales], -1)

    def hidden_layers(self) -> list[nn.Module]:
        """The modules before the output layers."""
        return [self.net, *self.up]


class LadderPrior(nn.Module):
    """The top layer is standard normal, the others are normal as a network of the layer above says.

    Args:
        sizes: numbers of each layer, the lowest first.
        width: of the hidden layer of these networks.
        act: name of their activation.
    """

    of_field = False
    """Whether the field `prior` can name another one."""

    zero: Tensor

    def __init__(self, sizes: Sequence[int], width: int, act: str):
        super().__init__()
        self.sizes = tuple(sizes)
        self.maps = nn.ModuleList(
            MLP((above,), (width,), 2 * size, act=act, linear_path=True) for size, above in pairwise(sizes)
        )
        self.register_buffer("zero", torch.zeros(()), persistent=False)

    @property
    def formula(self) -> str:
        """The density as text."""
        top = len(self.sizes)
        return f"z[{top}] ~ N(0, I), z[l] ~ N(mean(z[l+1]), diag scale(z[l+1])²)"

    def forward(self, c: Tensor | None = None, mask: Tensor | None = None, posterior: nn.Module | None = None) -> Chain:
        return Chain(self.sizes, list(self.maps), self.zero)


class LadderModel(LatentModel):
    """p(z_L) p(z_L-1 given z_L) ... p(x given z_1), with q(z given x) from the top layer down as well."""

    prior: LadderPrior

    @property
    def code(self) -> Code:
        sizes = self.prior.sizes
        return Code((sum(sizes),), sum(sizes), layers=sizes)

    def infer(self, batch: Batch, train: bool = False) -> LadderNormal:
        evidence = super().infer(batch, train)
        return LadderNormal(evidence.loc, evidence.log_scale, self.prior())

    def forward_from(self, batch: Batch, q: Any, noise: Tensor, prior: Any = None) -> Pass:
        # One way down gives the draws, their density, and the divergence of each layer given those above it, whose mean
        # over draws varies less than that of log q - log p. log p(z) is read of the codes as a whole when a bound asks
        # for it: `dreg` takes its gradient in them.
        layers = q.layers_of(noise)
        return self._joint(
            batch,
            torch.cat([z for z, _, _ in layers], -1),
            prior,
            q=q,
            log_qz=total([q.log_prob(z) for z, q, _ in layers]),
            kl=torch.cat([normal_kl(q, p).expand_as(z) for z, q, p in layers], -1).mean(0),
        )

    def decode(self, z: Tensor, c: Tensor | None = None, mask: Tensor | None = None) -> Any:
        return super().decode(z[..., : self.prior.sizes[0]], c, mask)

    def with_layers_below(self, z: Tensor, j: int) -> Tensor:
        sizes, prior = self.prior.sizes, self.prior()
        layers = list(z.split(sizes, -1))
        changed = next(index for index in range(len(sizes)) if j < sum(sizes[: index + 1]))
        for index in reversed(range(changed)):
            layers[index] = prior.layer(index, layers[index + 1]).loc
        return torch.cat(layers, -1)

    @property
    def decodes_linear_normal(self) -> bool:
        return False

    def decoder_norms(self) -> Tensor | float:
        return 1.0
