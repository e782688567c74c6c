"""Variational autoencoders."""

from __future__ import annotations

import typing
import warnings

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

    purpose: typing.ClassVar[str] = "new examples, and log p(x)"

    latent_dim: int | Auto = "auto"
    """Numbers in a code, >= 1, or auto: by the held-out likelihood of the linear model; more reconstruct more."""
    hidden: tuple[int, ...] | Auto = "auto"
    """Widths of the encoder's hidden layers, mirrored in the decoder; none for a linear model, auto by the rows."""
    prior: str | nn.Module | Distribution = "auto"
    """p(z): normal, mixture(k), full_mixture(k), vamp(k), flow(k), uniform, conditional, refit(k), own, or auto."""
    beta: float = 1.0
    """Weight of the KL term, >= 0: 1 maximizes the evidence lower bound; raise it for disentangled codes."""
    posterior: str | nn.Module = "normal"
    """q(z given x): normal (diagonal), full_normal, iaf(k), flow(k), hyperspherical, categorical(k), or your own."""
    bound: str = "elbo"
    """Bound: elbo, stl, free_bits(nats), capacity(nats), iwae(k), dreg(k), ciwae(k, b), miwae(m, k) or piwae(m, k)."""
    penalty: str = "none"
    """none, total_correlation(w), factor(w), dip(w, d), dip_of_draws(w, d), mmd(w), adversarial(w), ms_ssim(w), gan."""

    def compose(self, schema: Schema) -> Recipe:
        model = self.latent_model(schema, composition.posterior_part(self, schema))
        if self.beta == 0 and any(parameter.requires_grad for parameter in model.prior.parameters()):
            warnings.warn(
                f"prior={self.prior!r} is not trained with beta=0, which takes it out of the loss. Use prior='normal', "
                "or a larger beta.",
                UserWarning,
                stacklevel=2,
            )
        return Recipe(model, composition.bound(self, schema))


class BetaVAE(VAE):
    """VAE with a heavier KL term, for disentangled codes (Higgins et al., 2017)."""

    purpose: typing.ClassVar[str] = "disentangled codes"

    beta: float = 4.0
    """Weight of the KL term, >= 0: 1 maximizes the evidence lower bound; raise it for disentangled codes."""


class BetaTCVAE(VAE):
    """VAE whose codes are to be independent of each other over all rows, for disentangled codes (Chen et al., 2018)."""

    purpose: typing.ClassVar[str] = "disentangled codes"

    penalty: str = "total_correlation(3)"
    """What is added to the loss; with total_correlation(w) its weight in all is 1 + w."""


class FactorVAE(VAE):
    """VAE whose codes are to be independent of each other, which a critic measures (Kim & Mnih, 2018)."""

    purpose: typing.ClassVar[str] = "disentangled codes"

    penalty: str = "factor(10)"
    """What is added to the loss: factor(w), the total correlation by a critic, times w."""


class DIPVAE(VAE):
    """VAE whose codes are to be uncorrelated with variance 1 over all rows (Kumar et al., 2018)."""

    purpose: typing.ClassVar[str] = "disentangled codes"

    penalty: str = "dip_of_draws(10)"
    """What is added to the loss: dip(w, d) of the posteriors' means, or dip_of_draws(w, d); d weighs variances."""


class VAEGAN(VAE):
    """VAE whose reconstructions are compared in a critic's features as well, for sharp images (Larsen et al., 2016)."""

    purpose: typing.ClassVar[str] = "sharp new examples"

    penalty: str = "gan(1, 1)"
    """Added: gan(w, a), w times the distance in a critic's features and a times its verdict, to the decoder alone."""


class InfoVAE(VAE):
    """VAE whose codes are to be distributed as the prior, all rows together instead of each (Zhao et al., 2019)."""

    purpose: typing.ClassVar[str] = "codes distributed as the prior"

    prior: str | nn.Module | Distribution = "normal"
    """p(z), which codes are to be distributed as: normal, or one that is not trained, for no term trains it."""
    beta: float = 0.0
    """Weight of the KL term, >= 0: 0 leaves the prior to the penalty."""
    penalty: str = "mmd(100)"
    """What is added to the loss: mmd(w), the discrepancy between codes and draws from the prior, times w."""


class VampPriorVAE(VAE):
    """VAE whose prior is the mixture of the posteriors of learned pseudo-inputs (Tomczak & Welling, 2018)."""

    purpose: typing.ClassVar[str] = "new examples, and log p(x)"

    prior: str | nn.Module | Distribution = "vamp(500)"
    """p(z): vamp(k) with k pseudo-inputs, or as for `VAE`."""


class IWAE(VAE):
    """VAE trained on the importance-weighted bound of several draws (Burda et al., 2016)."""

    purpose: typing.ClassVar[str] = "new examples, and log p(x)"

    bound: str = "iwae(5)"
    """Bound: elbo, stl, free_bits(nats), capacity(nats), iwae(k), dreg(k), ciwae(k, b), miwae(m, k) or piwae(m, k)."""


class ConditionalVAE(VAE):
    """VAE of x given a condition: labels or numbers (Sohn et al., 2015)."""

    purpose: typing.ClassVar[str] = "examples of a class of your choice"

    conditional: typing.ClassVar[bool] = True

    def compose(self, schema: Schema) -> Recipe:
        warn_unconditional(self, schema)
        return super().compose(schema)
