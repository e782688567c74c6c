"""A conditional distribution: a network followed by a family."""

from __future__ import annotations

import math

from torch import Tensor, nn

from isthmus.errors import InputError
from isthmus.families import Family


class Conditional(nn.Module):
    """p(. given something): `forward` returns a distribution (the idea is zuko's `LazyDistribution`).

    Args:
        net: network of (given, c, mask) whose output holds `family.raw_numel` numbers for each example.
        family: what makes a distribution of them.
        given_dim: number of dimensions of one example of what is given.
    """

    def __init__(self, net: nn.Module, family: Family, given_dim: int = 1):
        super().__init__()
        self.net, self.family, self.given_dim = net, family, given_dim

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
        raw = self.net(given, c, mask)
        batch = given.shape[: given.ndim - self.given_dim]
        shape = (*batch, *self.family.raw_shape)
        if raw.shape != shape:
            raw = self.reshaped(raw, given, shape, len(batch))
        return self.family(raw, train=True) if train and self.family.learns else self.family(raw)

    def reshaped(self, raw: Tensor, given: Tensor, shape: tuple[int, ...], batch_dim: int) -> Tensor:
        """Flat numbers are taken in order; any other shape must be the family's, or pixels would be shuffled."""
        got, expected = ([side for side in sizes[batch_dim:] if side > 1] for sizes in (raw.shape, shape))
        if raw.numel() != math.prod(shape) or (raw.ndim - batch_dim > 1 and got != expected):
            raise InputError(
                f"the network's output must have {' x '.join(map(str, shape[batch_dim:]))} numbers for each example, "
                f"got shape {tuple(raw.shape)} for an input of shape {tuple(given.shape)}."
            )
        return raw.reshape(shape)

    def input_column_norms(self) -> Tensor | float:
        """(D,) how far one unit of each input moves the network's first layer; 1 where it is not known."""
        norms = getattr(self.net, "input_column_norms", None)
        return 1.0 if norms is None else norms()
