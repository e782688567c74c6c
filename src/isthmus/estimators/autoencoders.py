"""Autoencoders with deterministic codes: plain, denoising, sparse, contractive."""

from __future__ import annotations

import typing

from torch import nn

from isthmus import families
from isthmus.errors import InputError
from isthmus.estimators.base import Estimator, Recipe
from isthmus.estimators.composition import penalized
from isthmus.estimators.hyperparameters import Auto
from isthmus.estimators.parts_by_name import SPARSITIES, Sparsity, build
from isthmus.objective import Objective, Term
from isthmus.schema import Schema
from isthmus.terms.bounds import nll
from isthmus.terms.penalties import contraction


class Autoencoder(Estimator):
    """Autoencoder: a code that reconstructs (Hinton & Salakhutdinov, 2006)."""

    purpose: typing.ClassVar[str] = "a code that reconstructs"

    likelihood: str | tuple[str, ...] | nn.Module = "normal(1)"
    """p(x given z); normal(1) is half the squared error, mse all of it, bce the cross-entropy."""
    sparsity: str | None = None
    """What makes the code sparse: l1(w), kl(rho, w), top_k(k), batch_top_k(k), jump_relu(w), or none."""
    contraction: float = 0.0
    """Weight of the squared norm of the encoder's Jacobian, >= 0; more makes codes smoother."""
    penalty: str = "none"
    """none, mmd(w) or adversarial(w), by which codes match the prior, l2(w, g), spectral(w), ms_ssim(w), factor(w)."""

    def compose(self, schema: Schema) -> Recipe:
        sparse = Sparsity(None, None)
        if not isinstance(self.sparsity, str | None):
            raise InputError(f"sparsity must be a name such as 'top_k(16)' or None, got {self.sparsity!r}.")
        if self.sparsity is not None and self.sparsity != "none":
            sparse = build(SPARSITIES, self.sparsity, "sparsity", self.latent_dim)
        model = self.latent_model(schema, families.Point((self.latent_dim,), sparse.rule))
        if self.contraction and getattr(sparse.rule, "learns", False):
            raise InputError("contraction must be 0 with top_k and batch_top_k, which learn from batches.")
        loss: Term | Objective = nll
        if self.contraction:
            loss = loss + self.contraction * contraction
        if sparse.penalty is not None:
            loss = loss + sparse.penalty
        return Recipe(model, penalized(self, schema, loss))


class DenoisingAutoencoder(Autoencoder):
    """Autoencoder that reconstructs clean data from corrupted data (Vincent et al., 2008).

    Images are restored by a U-Net (Ronneberger et al., 2015) whose code is the image itself with features at every
    scale: `reconstruct` is the image plus a correction. A code of a given size, `latent_dim=16`, summarises instead.
    """

    purpose: typing.ClassVar[str] = "clean versions of damaged examples"

    latent_dim: int | Auto = "auto"
    """Numbers in a code, >= 1, or auto: for images as many as their U-Net needs, 16 for other damaged rows."""
    channels: tuple[int, ...] | Auto = "auto"
    """Channels of a convolutional network, one number for each halving of the image; auto: 16,32,64,64 for a U-Net."""
    corruption: str | nn.Module | None = "mask(0.3)"
    """Damage to the input in training: mask(p), gaussian(s standard deviations), salt_and_pepper(p), blur(s pixels)."""


class SparseAutoencoder(Autoencoder):
    """Autoencoder whose codes have few active units for each example (Makhzani & Frey, 2013)."""

    purpose: typing.ClassVar[str] = "many features, few active at a time"

    latent_dim: int = 256
    """Numbers in a code, >= 1; of these few are active for an example."""
    hidden: tuple[int, ...] = ()
    """Widths of the encoder's hidden layers, mirrored in the decoder; none for a linear model."""
    sparsity: str | None = "top_k(16)"
    """What makes the code sparse: l1(w), kl(rho, w), top_k(k), batch_top_k(k) or jump_relu(w)."""


class ContractiveAutoencoder(Autoencoder):
    """Autoencoder whose code is insensitive to small changes of x (Rifai et al., 2011)."""

    purpose: typing.ClassVar[str] = "a code that reconstructs"

    contraction: float = 0.1
    """Weight of the squared norm of the encoder's Jacobian, >= 0; more makes codes smoother."""


class WassersteinAutoencoder(Autoencoder):
    """Autoencoder whose codes are distributed as the prior, by a distance of samples (Tolstikhin et al., 2018)."""

    purpose: typing.ClassVar[str] = "codes distributed as the prior"

    penalty: str = "mmd(100)"
    """What is added to the loss: mmd(w), the distance of codes from draws from the prior, or adversarial(w)."""


class AdversarialAutoencoder(Autoencoder):
    """Autoencoder whose codes are distributed as the prior, by a critic (Makhzani et al., 2016)."""

    purpose: typing.ClassVar[str] = "codes distributed as the prior"

    penalty: str = "adversarial(10)"
    """What is added to the loss: adversarial(w), by a critic of codes and draws from the prior, or mmd(w)."""
