"""How a loss of the user's own was put together, and what its weights amount to."""

from __future__ import annotations

import math
from dataclasses import dataclass

from isthmus.errors import InputError, unknown

REDUCTIONS = ("sum", "mean")


@dataclass(frozen=True)
class Convention:
    """A loss reconstruction + beta * KL, averaged over the rows of a batch as everybody does.

    `reduction` says how the reconstruction was taken over the features of an example, `kl_reduction` how the KL was
    over latent dimensions. `squared` is True for a squared error, which has no half and no scale before it.
    """

    beta: float = 1.0
    reduction: str = "sum"
    kl_reduction: str = "sum"
    squared: bool = False
    features: int = 1
    latent_dim: int = 1

    def __post_init__(self) -> None:
        for name in (self.reduction, self.kl_reduction):
            if name not in REDUCTIONS:
                raise unknown("reduction", str(name), REDUCTIONS)
        if not self.beta >= 0:
            raise InputError(f"beta={self.beta} came; a number of at least 0 is wanted")

    @property
    def effective_beta(self) -> float:
        """The weight of the KL where the reconstruction is log p(x given z), both summed, in nats.

        A mean over d features divides the reconstruction by d, which multiplies beta by it.
        """
        share = 1 / self.features if self.reduction == "mean" else 1.0
        kl_share = 1 / self.latent_dim if self.kl_reduction == "mean" else 1.0
        return self.beta * kl_share / share


SQUARED_SCALE = math.sqrt(0.5)
"""A sum of squared errors is -log p(x given z) of a normal of this scale, but for a constant."""
