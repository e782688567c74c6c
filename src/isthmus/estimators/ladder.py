"""Variational autoencoders whose codes have layers."""

from __future__ import annotations

import typing

from torch import nn

from isthmus.conditional import Conditional
from isthmus.errors import InputError
from isthmus.estimators import composition
from isthmus.estimators.base import Estimator
from isthmus.estimators.hyperparameters import Auto
from isthmus.estimators.param_validation import check_widths
from isthmus.estimators.parts_by_name import BOUNDS, build
from isthmus.estimators.recipe import Recipe
from isthmus.families import Family
from isthmus.ladder_model import Evidence, LadderModel, LadderPrior, Upwards
from isthmus.schema import Schema
from isthmus.wording import quoted

WIDTH = 128
"""Hidden units between layers of codes, where there are no hidden layers to say it."""


class LadderVAE(Estimator):
    """VAE whose code has layers, each explained by the one above it (Sønderby et al., 2016)."""

    purpose: typing.ClassVar[str] = "codes in layers, coarse to fine"
    has_linear_start: typing.ClassVar[bool] = False
    rate_factor: typing.ClassVar[float] = 3.0  # layers come into use later, and on MNIST not all of them at 1

    latent_dim: int | Auto = "auto"
    """Numbers in the lowest layer of a code, from which rows are decoded, >= 1, or auto: by the linear model."""
    upper_dims: tuple[int, ...] | None = None
    """Numbers in each layer above that one, from the lowest to the top; none for one layer of half as many."""
    hidden: tuple[int, ...] | Auto = "auto"
    """Widths of the encoder's hidden layers, mirrored in the decoder; none for a linear model, auto by the rows."""
    beta: float = 1.0
    """Weight of the KL term, >= 0: 1 maximizes the evidence lower bound."""
    bound: str = "elbo"
    """Bound: elbo, stl, free_bits(nats), capacity(nats), iwae(k), dreg(k), ciwae(k, b), miwae(m, k) or piwae(m, k)."""

    def compose(self, schema: Schema) -> Recipe:
        if not (isinstance(self.prior, str) and self.prior == "normal"):
            raise InputError(
                f"prior must be 'normal' for {type(self).__name__}, whose layers are each other's prior, got "
                f"{quoted(self.prior)}. Use upper_dims=..., or a VAE."
            )
        upper = (max(1, self.latent_dim // 2),) if self.upper_dims is None else tuple(self.upper_dims)
        check_widths("upper_dims", upper, min_layers=1, such_as="(16, 4) or None")
        sizes = (self.latent_dim, *upper)
        width = tuple(self.hidden)[-1] if self.hidden else WIDTH
        evidence = Evidence((sum(sizes),))
        posterior: Family | nn.Module = evidence
        if self.encoder is None:
            below = composition.encoder_net(self, schema, width)
            posterior = Conditional(Upwards(below, width, sizes, self.activation), evidence, len(schema.event_shape))
        prior = LadderPrior(sizes, width, self.activation)
        model = composition.latent_model(self, schema, posterior, prior, kind=LadderModel)
        return Recipe(model, build(BOUNDS, self.bound, "bound", self))
