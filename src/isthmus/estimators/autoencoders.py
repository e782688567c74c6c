"""Autoencoders whose code is a point: plain, denoising, sparse, contractive."""

from __future__ import annotations

from torch import nn

from isthmus import families
from isthmus.errors import InputError
from isthmus.estimators.base import Estimator, Recipe
from isthmus.estimators.part_registry import SPARSITIES, Sparsity, build
from isthmus.nets.sparse import BatchTopK, TopK
from isthmus.objective import Objective, Term
from isthmus.schema import Schema
from isthmus.terms.bounds import nll
from isthmus.terms.penalties import contraction


class Autoencoder(Estimator):
    """Autoencoder: a code that reconstructs (Hinton & Salakhutdinov, 2006)."""

    likelihood: str | nn.Module = "normal(1)"
    """p(x given z); normal(1) is the squared error."""
    sparsity: str | None = None
    """How the code is made sparse: l1(w), kl(rho, w), top_k(k), batch_top_k(k) or jump_relu(w)."""
    contraction: float = 0.0
    """Weight of the squared norm of the encoder's Jacobian."""

    def compose(self, schema: Schema) -> Recipe:
        sparse = Sparsity(None, None)
        if not isinstance(self.sparsity, str | None):
            raise InputError(f"sparsity={self.sparsity!r} came; a name, such as 'top_k(16)', is wanted")
        if self.sparsity is not None and self.sparsity != "none":
            sparse = build(SPARSITIES, self.sparsity, "sparsity", self.latent_dim)
        model = self.latent_model(schema, families.Point((self.latent_dim,), sparse.rule))
        if self.contraction and isinstance(sparse.rule, TopK | BatchTopK):
            raise InputError("top_k and batch_top_k learn from batches, which contraction would upset; use jump_relu")
        loss: Term | Objective = nll
        if self.contraction:
            loss = loss + self.contraction * contraction
        if sparse.penalty is not None:
            loss = loss + sparse.penalty
        return Recipe(model, loss)


class DenoisingAutoencoder(Autoencoder):
    """Autoencoder that undoes damage (Vincent et al., 2008)."""

    corruption: str | nn.Module | None = "mask(0.3)"
    """Damage to undo in training: mask(p), gaussian(s), salt_and_pepper(p) or blur(s); none for paired data."""


class SparseAutoencoder(Autoencoder):
    """Autoencoder of which few units are active at a time (Makhzani & Frey, 2013)."""

    latent_dim: int = 256
    """Numbers in a code."""
    hidden: tuple[int, ...] = ()
    """Widths of the encoder's hidden layers, mirrored in the decoder; none leave a linear model."""
    sparsity: str | None = "top_k(16)"
    """How the code is made sparse: l1(w), kl(rho, w), top_k(k), batch_top_k(k) or jump_relu(w)."""


class ContractiveAutoencoder(Autoencoder):
    """Autoencoder whose code resists small changes of x (Rifai et al., 2011)."""

    contraction: float = 0.1
    """Weight of the squared norm of the encoder's Jacobian."""
