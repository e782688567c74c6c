"""How a loss outside isthmus was reduced, and the weight of the KL term that this amounts to."""

from __future__ import annotations

from dataclasses import dataclass

from isthmus.errors import InputError, unknown

REDUCTIONS = ("sum", "mean")


@dataclass(frozen=True)
class LossConvention:
    """A loss of the form reconstruction + beta * KL, averaged over the rows of a batch.

    Args:
        beta: weight of the KL term as written in the loss.
        reduction: "sum" or "mean" of the reconstruction loss over the features of a row.
        kl_reduction: "sum" or "mean" of the KL over latent dimensions.
        squared_error: whether the reconstruction loss is a squared error without factor 1/2 and without a scale.
        features: number of features of a row.
        latent_dim: number of latent dimensions.
        declared: whether the user said how the reconstruction loss is reduced; if not, a sum is a guess.
    """

    beta: float = 1.0
    reduction: str = "sum"
    kl_reduction: str = "sum"
    squared_error: bool = False
    features: int = 1
    latent_dim: int = 1
    declared: bool = True

    def __post_init__(self) -> None:
        for name in ("reduction", "kl_reduction"):
            if getattr(self, name) not in REDUCTIONS:
                raise unknown(name, str(getattr(self, name)), REDUCTIONS)
        if not self.beta >= 0:
            raise InputError(f"beta must be a number >= 0, got {self.beta}.")

    @property
    def averages(self) -> bool:
        """Whether a term is averaged instead of summed."""
        return "mean" in (self.reduction, self.kl_reduction)

    @property
    def may_average(self) -> bool:
        """Whether a reconstruction loss that is averaged may be what is wrong: nothing else was declared."""
        return self.reduction == "mean" or not self.declared

    @property
    def effective_beta(self) -> float:
        """The weight of the KL term relative to log p(x|z), both summed, in nats.

        A mean over d features is 1/d of the sum, which multiplies beta by d; a mean of the KL over L latent dimensions
        divides it by L: beta * d / L.
        """
        reconstruction_factor = 1 / self.features if self.reduction == "mean" else 1.0
        kl_factor = 1 / self.latent_dim if self.kl_reduction == "mean" else 1.0
        return self.beta * kl_factor / reconstruction_factor
