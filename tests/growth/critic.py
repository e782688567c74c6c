"""A critic that separates codes from draws of the prior; the encoder is trained against it (Makhzani et al., 2016)."""

import torch
from torch.nn.functional import softplus

from isthmus.estimators.base import Estimator, Recipe
from isthmus.families import DiagonalNormal
from isthmus.nets.mlp import MLP
from isthmus.objective import Term, frozen
from isthmus.terms.bounds import kl, nll


def game(dim: int) -> Term:
    """The encoder's side of the game, with the critic and the critic's own loss."""
    critic = MLP((dim,), (16,), 1)

    def fool(model, batch, out):  # codes should look like draws of the prior
        return softplus(-frozen(critic)(out.z))

    def tell_apart(model, batch, out):
        real, codes = torch.randn_like(out.z), out.z.detach()
        return softplus(-critic(real)) + softplus(critic(codes))

    return Term(fool, "game", critic=critic, aside=tell_apart)


class Critic(Estimator):
    """VAE with a linear decoder and a critic of its codes."""

    latent_dim: int = 2
    """Numbers in a code."""
    hidden: tuple[int, ...] = ()
    """Widths of hidden layers."""

    def compose(self, schema):
        model = self.latent_model(schema, DiagonalNormal((self.latent_dim,)))
        return Recipe(model, nll + kl + 0.1 * game(self.latent_dim))
