"""A posterior by an autoregressive flow, whose density is known only along its own draws (Kingma et al., 2016)."""

import torch
from torch import nn

from isthmus import priors
from isthmus.conditional import Conditional
from isthmus.distributions.continuous import Normal
from isthmus.distributions.independent import Drawn, LightDistribution
from isthmus.estimators.base import Estimator, Recipe
from isthmus.families import LocationScale
from isthmus.latent_model import LatentModel
from isthmus.nets.mlp import MLP
from isthmus.terms.bounds import kl, nll


class Flowed(LightDistribution):
    """z = base draw, then each number shifted by a function of those before it, of volume 1."""

    evaluable = differentiable = False

    def __init__(self, base, shift):
        super().__init__(base.batch_shape, base.event_shape)
        self.base, self.shift = base, shift

    def noise(self, draws, rows):
        return self.base.noise(draws, rows)

    def draw(self, noise):
        u = self.base.draw(noise).z
        return Drawn(u + u.tanh() @ self.shift.tril(-1).T, self.base.log_prob(u))

    @property
    def mean(self):
        return self.base.mean + self.base.mean.tanh() @ self.shift.tril(-1).T


class FlowPosterior(nn.Module):
    event_shape = (2,)

    def __init__(self, d):
        super().__init__()
        self.net, self.shift = MLP((d,), (), 4), nn.Parameter(0.1 * torch.ones(2, 2))

    def forward(self, x, c=None, mask=None):
        loc, log_scale = self.net(x).split(2, -1)
        return Flowed(Normal(loc, log_scale.clamp(-5, 2)), self.shift)


class Flow(Estimator):
    """A flow as posterior, a linear decoder."""

    latent_dim: int = 2
    """Numbers in a code."""

    def compose(self, schema):
        likelihood = Conditional(MLP((2,), (), schema.size), LocationScale(Normal, schema.event_shape))
        posterior, prior = FlowPosterior(schema.size), priors.StandardNormal(2)
        return Recipe(LatentModel(posterior, likelihood, prior, log_volume=schema.element_log_volume), nll + kl)
