"""An autoregressive model of bits, without a code: p(x) is a product of Bernoullis, each given the bits before it."""

import torch
from torch import nn

from isthmus.code_free_model import CodeFreeModel
from isthmus.distributions.discrete import Bernoulli
from isthmus.estimators.base import Estimator, Recipe
from isthmus.terms.bounds import nll


class VisibleBeliefNet(CodeFreeModel):
    """Frey et al., 1996."""

    def __init__(self, d):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.zeros(d, d)), nn.Parameter(torch.zeros(d))

    def given_earlier(self, x):
        return Bernoulli(x @ self.weight.tril(-1).T + self.bias)

    def log_prob(self, batch):
        return self.given_earlier(batch.target).log_prob(batch.target)

    def sample(self, n, c=None, mask=None, *, mean=False):
        x = torch.zeros(n, len(self.bias), dtype=self.bias.dtype)
        for j in range(len(self.bias)):
            x[:, j] = self.given_earlier(x).sample()[:, j]
        return x


class CodeFree(Estimator):
    """Fully visible belief network."""

    def compose(self, schema):
        return Recipe(VisibleBeliefNet(schema.size), nll)
