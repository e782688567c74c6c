"""A recurrent model whose prior at a step depends on earlier codes and earlier x: a linear Gaussian state space."""

import torch
from torch import nn
from torch.nn.functional import pad

from isthmus.distributions.continuous import Normal
from isthmus.distributions.independent import Drawn, LightDistribution, Masked, over_steps
from isthmus.estimators.base import Estimator, Recipe
from isthmus.forward_pass import Pass
from isthmus.latent_model import Capabilities, Code, Model
from isthmus.terms.bounds import iwae


class GivenRow(LightDistribution):
    """Codes z_t of a row's steps, normal around a linear function of z_{t-1} and x_t; known along their own draws."""

    evaluable = differentiable = False

    def __init__(self, model, batch):
        super().__init__(batch.x.shape[:1], batch.x.shape[1:])
        self.model, self.batch = model, batch

    def noise(self, draws, rows):
        return torch.randn(draws, rows, *self.event_shape)

    def draw(self, noise):
        z, log_q, net = [noise.new_zeros(len(noise), len(self.batch.x), 1)], [], self.model.encoder
        for x, e in zip(self.batch.x.unbind(1), noise.unbind(2)):
            step = Normal(net(torch.cat([z[-1], x.expand_as(z[-1])], -1)), self.model.log_q)
            z.append(step.draw(e).z)
            log_q.append(step.log_prob(z[-1]))
        return Drawn(torch.stack(z[1:], 2), torch.where(self.batch.mask, torch.stack(log_q, 2), 0.0).sum(-1))

    @property
    def mean(self):
        return self.draw(self.batch.x.new_zeros(1, *self.batch.x.shape)).z[0]


class StateSpace(Model):
    """z_t ~ N(a z_{t-1} + k x_{t-1}, s^2), x_t ~ N(z_t, r^2)."""

    def __init__(self, schema):
        super().__init__(log_volume=schema.log_volume)
        self.encoder, self.code_shape = nn.Linear(2, 1), schema.event_shape
        for name in ("a", "k", "log_s", "log_r", "log_q"):
            self.register_parameter(name, nn.Parameter(torch.tensor(0.1)))

    @property
    def code(self):
        return Code(self.code_shape, 1)

    @property
    def capabilities(self):
        return Capabilities("bound", samples=True, encodes=True, lengths=True)

    def infer(self, batch, train=False):
        return GivenRow(self, batch)

    def prior_for(self, batch):
        return GivenRow(self, batch)  # it depends on x: the density of z alone is not defined

    def forward_from(self, batch, q, noise, prior=None):
        z, log_q, _ = q.draw(noise)
        return self.at(batch, z, prior, q=q, log_qz=log_q)

    def at(self, batch, z, prior=None, **kwargs):
        z0, x0 = (pad(v, (0, 0, 1, 0))[..., :-1, :] for v in (z, batch.x))
        log_pz = torch.where(batch.mask, Normal(self.a * z0 + self.k * x0, self.log_s).log_prob(z), 0.0).sum(-1)
        px, volume = self.decode(z, mask=batch.mask), self.volume_of(batch)
        return Pass(z, px=px, prior=prior, target=batch.x, log_pz=log_pz, log_volume=volume, **kwargs)

    def decode(self, z, c=None, mask=None):
        px = Normal(z, self.log_r, 2)
        return px if mask is None else Masked(px, over_steps(mask, 2))

    def draw(self, n, c=None, mask=None, *, mean=False):
        z, x = [self.a.new_zeros(n, 1)], [self.a.new_zeros(n, 1)]
        for _ in range(self.code_shape[0]):
            z.append(Normal(self.a * z[-1] + self.k * x[-1], self.log_s).sample())
            x.append(Normal(z[-1], self.log_r).sample())
        z = torch.stack(z[1:], 1).detach()
        return z, z if mean else torch.stack(x[1:], 1).detach()


class Recurrent(Estimator):
    """Recurrent latent states."""

    def compose(self, schema):
        return Recipe(StateSpace(schema), iwae(4))
