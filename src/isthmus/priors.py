"""Priors over codes: `prior(c, mask, posterior)` returns p(z), or p(z given c)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from isthmus.conditional import Conditional
from isthmus.distributions.continuous import Normal
from isthmus.distributions.latent import Mixture as MixtureDistribution
from isthmus.errors import InputError


class StandardNormal(nn.Module):
    """Independent normals of mean 0 and scale 1."""

    zero: Tensor

    def __init__(self, dim: int):
        super().__init__()
        self.register_buffer("zero", torch.zeros(dim), persistent=False)

    def forward(self, c: Tensor | None = None, mask: Tensor | None = None, posterior: nn.Module | None = None):
        return Normal(self.zero, self.zero)


class Flat(nn.Module):
    """No prior, which leaves a plain autoencoder."""

    def forward(self, c: Tensor | None = None, mask: Tensor | None = None, posterior: nn.Module | None = None):
        return None


class Mixture(nn.Module):
    """A learned mixture of k diagonal normals."""

    def __init__(self, dim: int, k: int):
        super().__init__()
        if k < 1:
            raise InputError(f"a mixture of {k} components came; at least 1 is wanted")
        self.logits = nn.Parameter(torch.zeros(k))
        self.loc = nn.Parameter(torch.randn(k, dim))
        self.log_scale = nn.Parameter(torch.zeros(k, dim))

    def forward(self, c: Tensor | None = None, mask: Tensor | None = None, posterior: nn.Module | None = None):
        return MixtureDistribution(self.logits.log_softmax(-1), Normal(self.loc, self.log_scale))


class ConditionalPrior(nn.Module):
    """p(z given c), a network of the condition (Sohn et al., 2015)."""

    def __init__(self, conditional: Conditional):
        super().__init__()
        self.conditional = conditional

    def forward(self, c: Tensor | None = None, mask: Tensor | None = None, posterior: nn.Module | None = None):
        if c is None:
            raise InputError("a conditional prior was given no condition; pass condition= to fit")
        return self.conditional(c)
