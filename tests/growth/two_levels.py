"""A chain of two codes, z2 to z1 to x, each normal and linear in the one above: its log p(x) has a closed form."""

import torch
from torch import nn

from isthmus.conditional import Conditional
from isthmus.distributions.continuous import Normal
from isthmus.distributions.independent import LightDistribution
from isthmus.estimators.base import Estimator, Recipe
from isthmus.families import DiagonalNormal, LocationScale
from isthmus.latent_model import LatentModel
from isthmus.nets.mlp import MLP
from isthmus.terms.bounds import kl, nll


class Chain(LightDistribution):
    """p(z2) p(z1 given z2), a code being (z1, z2)."""

    def __init__(self, slope, log_scale):
        super().__init__(torch.Size(), torch.Size((2,)))
        self.slope, self.log_scale, self.top = (
            slope,
            log_scale,
            Normal(torch.zeros_like(slope), torch.zeros_like(slope)),
        )

    def log_prob(self, z):
        z1, z2 = z.split(1, -1)
        return self.top.log_prob(z2) + Normal(self.slope * z2, self.log_scale).log_prob(z1)

    def rsample(self, shape=()):
        z2 = self.top.rsample(shape)
        return torch.cat([Normal(self.slope * z2, self.log_scale).rsample(), z2], -1)


class TopDown(nn.Module):
    def __init__(self):
        super().__init__()
        self.slope, self.log_scale = nn.Parameter(torch.ones(1)), nn.Parameter(torch.zeros(1))

    def forward(self, c=None, mask=None, posterior=None):
        return Chain(self.slope, self.log_scale)


class LowestLevel(Conditional):
    def forward(self, z, c=None, mask=None):
        return super().forward(z[..., :1], c, mask)


class TwoLevels(Estimator):
    """Two latent variables in a chain."""

    latent_dim: int = 2
    """Numbers in a code."""

    def compose(self, schema):
        posterior = Conditional(MLP(schema.event_shape, (), 4), DiagonalNormal((2,)))
        likelihood = LowestLevel(MLP((1,), (), schema.size), LocationScale(Normal, schema.event_shape))
        return Recipe(LatentModel(posterior, likelihood, TopDown(), log_volume=schema.element_log_volume), nll + kl)
