"""Variational autoencoders with a normal posterior."""

from __future__ import annotations

import typing

from isthmus import families
from isthmus.estimators.base import Estimator, Recipe
from isthmus.estimators.training_setup import warn_unconditional
from isthmus.objective import warmup
from isthmus.schema import Schema
from isthmus.terms.bounds import iwae, kl, nll


class VAE(Estimator):
    """Variational autoencoder (Kingma & Welling, 2014)."""

    beta: float = 1.0
    """Weight of the KL term: 1 is the evidence lower bound, more presses for disentanglement."""

    def compose(self, schema: Schema) -> Recipe:
        model = self.latent_model(schema, families.DiagonalNormal((self.latent_dim,)))
        return Recipe(model, nll + self.beta * warmup(self.warmup) * kl)


class BetaVAE(VAE):
    """VAE with a heavier KL term, for disentangled codes (Higgins et al., 2017)."""

    beta: float = 4.0
    """Weight of the KL term: 1 is the evidence lower bound, more presses for disentanglement."""


class IWAE(Estimator):
    """VAE trained on the importance-weighted bound of several draws (Burda et al., 2016)."""

    draws: int = 5
    """Draws a row that the bound weighs; one leaves the VAE's bound, by draws."""

    def compose(self, schema: Schema) -> Recipe:
        return Recipe(self.latent_model(schema, families.DiagonalNormal((self.latent_dim,))), iwae(self.draws))


class ConditionalVAE(VAE):
    """VAE of x given a condition: labels or numbers (Sohn et al., 2015)."""

    conditional: typing.ClassVar[bool] = True

    def compose(self, schema: Schema) -> Recipe:
        warn_unconditional(self, schema)
        return super().compose(schema)
