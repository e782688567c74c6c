"""Divergences of the aggregate posterior q(z) = E_x[q(z given x)], by the rows of a batch."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isthmus import random_streams
from isthmus.batch import Batch
from isthmus.distributions.continuous import Normal
from isthmus.distributions.independent import is_evaluable
from isthmus.distributions.latent import CorrelatedNormal
from isthmus.errors import InputError
from isthmus.forward_pass import Pass
from isthmus.latent_model import Model
from isthmus.nets.mlp import MLP
from isthmus.objective import Term, frozen

MMD_SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Scales of the inverse multiquadrics, in units of twice the number of dimensions: the mean squared distance of two
draws from a standard normal (Tolstikhin et al., 2018)."""
CRITIC_WIDTHS = (256, 256)
"""Hidden layers of the critic of `factor`."""


def marginals(q: Any) -> Normal:
    """Each element of a code given x, as normals of their own; raises InputError where these are not known."""
    if is_evaluable(q) and isinstance(q, Normal | CorrelatedNormal):
        std = q.std
        assert std is not None
        return Normal(q.mean, std.log())
    raise InputError(
        f"posterior must be 'normal' or 'full_normal' for the total correlation, got {type(q).__name__}. Use a penalty "
        "that reads draws alone: factor(w) or mmd(w)."
    )


class TotalCorrelation(nn.Module):
    """KL(q(z) || the product of the q(z_l)), of the first draw of each row (Chen et al., 2018).

    For the draw of row i of a batch of M out of N rows, q(z_i) = (1/N) sum over all rows j of q(z_i given x_j). Row i
    itself is one of them, the other M - 1 rows of the batch stand for N - 1: their weights are 1/N and
    (N - 1) / (N (M - 1)), which makes the estimate of q(z_i) unbiased, and exact for a batch of all rows.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rows = 0  # N; 0 for the number of rows of the batch

    def begin(self, rows: Any, seed: int) -> None:
        """Note the number of rows."""
        self.rows = len(rows)

    def forward(self, model: Model, batch: Batch, out: Pass) -> Tensor:
        z, q = out.z[0], out.q  # (M, D)
        m = len(z)
        n = max(self.rows, m)
        of_others = math.log((n - 1) / (n * (m - 1))) if m > 1 else -math.inf
        eye = torch.eye(m, dtype=torch.bool, device=z.device)
        log_weight = torch.where(eye, -math.log(n), of_others).to(z.dtype)  # (M, M)
        each = marginals(q).element_log_prob(z[:, None])  # (M, M, D): of the draw of a row given another row
        joint = each.sum(-1) if isinstance(q, Normal) else q.log_prob(z[:, None])
        log_qz = (log_weight + joint).logsumexp(1)
        return log_qz - (log_weight[..., None] + each).logsumexp(1).sum(-1)


def total_correlation() -> Term:
    """The total correlation of the code, nats."""
    return Term(TotalCorrelation(), "total_correlation")


def factor(code_size: int) -> Term:
    """The total correlation of the code by a critic, which tells draws from draws whose elements were shuffled apart.

    The critic's logit estimates log q(z) - log of the product of the q(z_l) (Kim & Mnih, 2018).
    """
    critic = MLP((code_size,), CRITIC_WIDTHS, 1, act="silu")

    def fool(model: Model, batch: Batch, out: Pass) -> Tensor:
        return frozen(critic)(out.z[0]).squeeze(-1)

    def separate(model: Model, batch: Batch, out: Pass) -> Tensor:
        z = out.z[0].detach()
        order = random_streams.uniform(z.shape, z).argsort(0)  # of its own for each element
        return F.softplus(-critic(z)).mean() + F.softplus(critic(z.gather(0, order))).mean()

    return Term(fool, "factor", critic=critic, aside=separate)


def dip(of_draws: bool, diagonal: float) -> Term:
    """Distance of the codes' covariance from the identity (Kumar et al., 2018).

    Args:
        of_draws: whether the covariance is that of draws, which adds the mean covariance given x (II), or that of the
            means of q(z given x) (I).
        diagonal: weight of the squared distances of variances from 1 beside that of squared covariances.
    """

    def distance(model: Model, batch: Batch, out: Pass) -> Tensor:
        mean = out.q.mean  # (M, D)
        away = mean - mean.mean(0)
        covariance = away.T @ away / len(mean)
        if of_draws:
            std = marginals(out.q).scale
            covariance = covariance + torch.diag(std.square().mean(0))
        on = covariance.diagonal()
        return covariance.square().sum() - on.square().sum() + diagonal * (on - 1).square().sum()

    return Term(distance, "dip")


def _mmd(model: Model, batch: Batch, out: Pass) -> Tensor:
    z = out.z[0].flatten(1)
    if out.prior is None:
        raise InputError("prior must be a distribution to draw from for mmd(w), got none. Use a VAE.")
    other = out.prior.sample((len(z),)) if not out.prior.batch_shape else out.prior.sample()
    return mmd_squared(z, other.flatten(1).detach())


mmd = Term(_mmd, "mmd")
"""Squared maximum mean discrepancy of codes and draws from the prior (Tolstikhin et al., 2018; Zhao et al., 2019)."""


def mmd_squared(a: Tensor, b: Tensor) -> Tensor:
    """Unbiased estimate of the squared maximum mean discrepancy of two samples (M, D), in [-1, 2].

    The kernel is the mean of inverse multiquadrics s / (s + |x - y|²) of several scales s.
    """
    m, d = a.shape
    if m < 2:
        return (a - b).sum() * 0.0  # one draw of each says nothing

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        squared = (x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.T).clamp(min=0.0)
        scales = [2 * d * scale for scale in MMD_SCALES]
        return torch.stack([scale / (scale + squared) for scale in scales]).mean(0)

    def within(x: Tensor) -> Tensor:
        k = kernel(x, x)
        return (k.sum() - k.diagonal().sum()) / (m * (m - 1))

    return within(a) + within(b) - 2 * kernel(a, b).mean()
