"""Priors over codes: `prior(c, mask, posterior)` returns p(z), or p(z given c)."""

from __future__ import annotations

import math
import warnings

import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn

from isthmus.conditional import Conditional
from isthmus.distributions.continuous import Normal
from isthmus.distributions.latent import Mixture as MixtureDistribution
from isthmus.errors import InputError

LEAST_VARIANCE = 1e-4
"""Of a component fitted to codes: a code that hardly varies must not become a spike."""


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


class PostHocPrior(nn.Module):
    """Standard normal in training; afterwards a mixture of k diagonal normals fitted to the codes (Ghosh et al., 2020).

    So draws come from where codes are, whatever the KL term left between these and the normal.
    """

    zero: Tensor
    log_weight: Tensor
    loc: Tensor
    log_scale: Tensor

    def __init__(self, dim: int, k: int):
        super().__init__()
        if k < 1:
            raise InputError(f"a mixture of {k} components came; at least 1 is wanted")
        self.register_buffer("log_weight", torch.full((k,), -math.log(k)))
        self.register_buffer("loc", torch.zeros(k, dim))
        self.register_buffer("log_scale", torch.zeros(k, dim))
        self.register_buffer("zero", torch.zeros(dim), persistent=False)

    def forward(self, c: Tensor | None = None, mask: Tensor | None = None, posterior: nn.Module | None = None):
        if self.training:
            return Normal(self.zero, self.zero)
        return MixtureDistribution(self.log_weight, Normal(self.loc, self.log_scale))

    def refit(self, codes: Tensor, seed: int) -> None:
        """Fit the mixture to draws from the posteriors of the training rows (n, dim)."""
        if len(codes) < 2 or not bool(codes.isfinite().all()):
            raise InputError(f"{len(codes)} codes came, and a mixture is fitted to two finite ones at least")
        k = min(len(self.log_weight), len(codes))
        found = GaussianMixture(k, covariance_type="diag", reg_covar=LEAST_VARIANCE, random_state=seed % 2**31)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # an unfinished mixture is one all the same
            found.fit(codes.double().cpu().numpy())
        with torch.no_grad():
            self.log_weight.fill_(-math.inf)
            self.log_weight[:k] = torch.as_tensor(found.weights_).log()
            self.loc[:k] = torch.as_tensor(found.means_)
            self.log_scale[:k] = 0.5 * torch.as_tensor(found.covariances_).log()


class ConditionalPrior(nn.Module):
    """p(z given c), a network of the condition (Sohn et al., 2015)."""

    def __init__(self, conditional: Conditional):
        super().__init__()
        self.conditional = conditional

    def forward(self, c: Tensor | None = None, mask: Tensor | None = None, posterior: nn.Module | None = None):
        if c is None:
            raise InputError("a conditional prior was given no condition; pass condition= to fit")
        return self.conditional(c)
