"""A conditional distribution: a network followed by a family."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from isthmus.errors import InputError
from isthmus.families import Family
from isthmus.nets.user_module import UserModule, is_full


class Conditional(nn.Module):
    """p(. given something): `forward` returns a distribution (the idea is zuko's `LazyDistribution`).

    Args:
        net: network of (given, c, mask), or of what its forward takes of these, whose output holds `family.raw_numel`
            numbers for each example, or is a pair that the family reads (`Family.pair`).
        family: what makes a distribution of them.
        given_dim: number of dimensions of one example of what is given.
    """

    def __init__(self, net: nn.Module, family: Family, given_dim: int = 1):
        super().__init__()
        full = isinstance(net, nn.Module) and is_full(net)
        self.net = net if full else UserModule(net, (0,) * given_dim, dry_run=False)
        self.family, self.given_dim = family, given_dim

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.family.event_shape

    @property
    def has_density(self) -> bool:
        return self.family.has_density

    @property
    def learns(self) -> bool:
        return self.family.learns

    @property
    def discrete(self) -> bool:
        return self.family.discrete

    @property
    def is_linear_normal(self) -> bool:
        """Whether it is normal around a linear function of what is given, with scales that do not depend on that."""
        inherited = type(self).forward is Conditional.forward  # a subclass may do more with what is given
        return inherited and getattr(self.net, "is_linear", False) and self.family.normal_scale() is not None

    def forward(self, given: Tensor, c: Tensor | None = None, mask: Tensor | None = None, train: bool = False):
        """`given` (*batch, *given_shape) to a distribution over (*batch, *event).

        `train` is passed on to a family that learns from batches. Raises InputError for a network whose output
        has another size.
        """
        out = self.net(given, c, mask)
        batch = given.shape[: given.ndim - self.given_dim]
        raw = self.joined(out, batch, given) if isinstance(out, tuple) else self.fit(out, batch, self.raw_shape, given)
        return self.family(raw, train=True) if train and self.family.learns else self.family(raw)

    @property
    def raw_shape(self) -> tuple[int, ...]:
        return self.family.raw_shape

    def joined(self, pair: tuple[Tensor, Tensor], batch: torch.Size, given: Tensor) -> Tensor:
        """(*batch, *raw_shape) of a pair of outputs."""
        if not self.family.pair:
            raise self.unfit(f"a pair of shapes {tuple(pair[0].shape)} and {tuple(pair[1].shape)}", batch, given)
        return self.family.from_pair(*(self.fit(part, batch, self.event_shape, given) for part in pair))

    def fit(self, raw: Tensor, batch: torch.Size, example: tuple[int, ...], given: Tensor) -> Tensor:
        """An output as (*batch, *example).

        Flat numbers are taken in order; any other shape must be that of an example, or pixels would be shuffled.
        """
        shape = (*batch, *example)
        raw = raw.to(given.dtype)  # in training networks may compute in bf16, losses do not
        if raw.shape == shape:
            return raw
        got, expected = ([side for side in sizes[len(batch) :] if side > 1] for sizes in (raw.shape, shape))
        if raw.numel() != math.prod(shape) or (raw.ndim - len(batch) > 1 and got != expected):
            raise self.unfit(f"shape {tuple(raw.shape)}", batch, given)
        return raw.reshape(shape)

    def unfit(self, got: str, batch: torch.Size, given: Tensor) -> InputError:
        """The error for outputs of other numbers than the family needs."""
        name = next((module.name for module in self.net.modules() if isinstance(module, UserModule)), "network")
        pair = ""
        if self.family.pair:
            each = " x ".join(map(str, self.event_shape))
            pair = f", or be a pair ({', '.join(self.family.pair)}) of {each} numbers each"
        return InputError(
            f"the {name}'s output must have {' x '.join(map(str, self.raw_shape))} numbers for each example{pair}, "
            f"got {got} for an input of shape {tuple(given.shape)}.{' Or set latent_dim.' if name == 'encoder' else ''}"
        )

    def input_column_norms(self) -> Tensor | float:
        """(D,) how far one unit of each input moves the network's first layer; 1 where it is not known."""
        norms = getattr(self.net, "input_column_norms", None)
        return 1.0 if norms is None else norms()
