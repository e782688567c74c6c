"""Variational autoencoders."""

from __future__ import annotations

import typing

from torch import nn
from torch.distributions import Distribution

from isthmus.estimators import composition
from isthmus.estimators.base import Estimator
from isthmus.estimators.fit_warnings import warn_unconditional
from isthmus.estimators.hyperparameters import Auto
from isthmus.estimators.recipe import Recipe
from isthmus.schema import Schema


class VAE(Estimator):
    """Variational autoencoder (Kingma & Welling, 2014)."""

    latent_dim: int | Auto = "auto"
    """Numbers in a code, >= 1, or auto: by the held-out likelihood of the linear model; more reconstruct more."""
    hidden: tuple[int, ...] | Auto = "auto"
    """Widths of the encoder's hidden layers, mirrored in the decoder; none for a linear model, auto by the rows."""
    prior: str | nn.Module | Distribution = "auto"
    """p(z): normal, mixture(k), full_mixture(k), vamp(k), conditional, refit(k), your own, or auto by the rows."""
    beta: float = 1.0
    """Weight of the KL term, >= 0: 1 maximizes the evidence lower bound; raise it for disentangled codes."""
    posterior: str | nn.Module = "normal"
    """q(z given x): normal (diagonal), full_normal (with all covariances), or your own."""
    bound: str = "elbo"
    """What to maximize: elbo, stl, iwae(k), dreg(k), ciwae(k, b), miwae(m, k), piwae(m, k); more draws are tighter."""

    def compose(self, schema: Schema) -> Recipe:
        model = self.latent_model(schema, composition.posterior_part(self, schema))
        return Recipe(model, composition.bound(self))


class BetaVAE(VAE):
    """VAE with a heavier KL term, for disentangled codes (Higgins et al., 2017)."""

    beta: float = 4.0
    """Weight of the KL term, >= 0: 1 maximizes the evidence lower bound; raise it for disentangled codes."""


class IWAE(VAE):
    """VAE trained on the importance-weighted bound of several draws (Burda et al., 2016)."""

    bound: str = "iwae(5)"
    """What to maximize: elbo, stl, iwae(k), dreg(k), ciwae(k, b), miwae(m, k), piwae(m, k); more draws are tighter."""


class ConditionalVAE(VAE):
    """VAE of x given a condition: labels or numbers (Sohn et al., 2015)."""

    conditional: typing.ClassVar[bool] = True

    def compose(self, schema: Schema) -> Recipe:
        warn_unconditional(self, schema)
        return super().compose(schema)
