"""A code of a label and a number, the label enumerated with weights (Kingma et al., 2014, without labelled rows)."""

import torch
from torch import nn

from isthmus.conditional import Conditional
from isthmus.distributions.continuous import Normal
from isthmus.distributions.independent import Drawn, LightDistribution
from isthmus.estimators.base import Estimator, Recipe
from isthmus.families import LocationScale
from isthmus.latent_model import LatentModel
from isthmus.nets.mlp import MLP
from isthmus.terms.bounds import kl, nll

LABELS = 3


class LabelAndNumber(LightDistribution):
    """Categories by log-probabilities (..., 3) beside a normal number; a code is a one-hot row and the number."""

    differentiable = False

    def __init__(self, log_p, normal):
        super().__init__(log_p.shape[:-1], torch.Size((LABELS + 1,)))
        self.log_p, self.normal = log_p, normal

    def log_prob(self, z):
        return (z[..., :LABELS] * self.log_p).sum(-1) + self.normal.log_prob(z[..., LABELS:])

    def noise(self, draws, rows):
        return self.normal.noise(draws, rows)

    def draw(self, noise):
        number = self.normal.draw(noise).z.repeat_interleave(LABELS, 0)  # (3 K, B, 1), the labels of a draw adjacent
        label = torch.eye(LABELS).to(number).repeat(len(noise), 1)[:, None].expand(-1, number.shape[1], -1)
        z = torch.cat([label, number], -1)
        log_weight = (label * self.log_p).sum(-1) - torch.tensor(float(len(noise))).log()
        return Drawn(z, self.log_prob(z), log_weight)

    def sample(self, shape=()):
        label = torch.distributions.OneHotCategorical(logits=self.log_p).sample(shape)
        return torch.cat([label, self.normal.sample(shape)], -1)

    @property
    def mean(self):
        return torch.cat([self.log_p.exp(), self.normal.mean], -1)


class Guess(nn.Module):
    """q(label given x) q(number given x)."""

    event_shape, discrete = (LABELS + 1,), True

    def __init__(self, d):
        super().__init__()
        self.net = MLP((d,), (16,), LABELS + 2)

    def forward(self, x, c=None, mask=None):
        logits, loc, log_scale = self.net(x).split([LABELS, 1, 1], -1)
        return LabelAndNumber(logits.log_softmax(-1), Normal(loc, log_scale))


class Uniform(nn.Module):
    def forward(self, c=None, mask=None, posterior=None):
        return LabelAndNumber(torch.full((LABELS,), 1 / LABELS).log(), Normal(torch.zeros(1), torch.zeros(1)))


class Labels(Estimator):
    """A label and a number."""

    latent_dim: int = LABELS + 1
    """Numbers in a code."""

    def compose(self, schema):
        likelihood = Conditional(MLP((LABELS + 1,), (), schema.size), LocationScale(Normal, schema.event_shape))
        model = LatentModel(Guess(schema.size), likelihood, Uniform(), log_volume=schema.element_log_volume)
        return Recipe(model, nll + kl)
