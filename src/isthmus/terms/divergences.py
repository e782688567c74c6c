"""Divergences of the aggregate posterior q(z) = E_x[q(z given x)], by the rows of a batch."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isthmus import random_streams
from isthmus.batch import Batch
from isthmus.distributions.categories import OneHotCategories
from isthmus.distributions.continuous import Normal
from isthmus.distributions.independent import is_evaluable
from isthmus.distributions.latent import CorrelatedNormal, FullNormal
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


def vectors(out: Pass, penalty: str) -> Tensor:
    """(M, D) the first draw of each row; raises InputError for codes of another shape, or that enumerate values."""
    if out.z.ndim != 3 or out.weighted:
        shape = "weighted draws" if out.weighted else f"codes of shape {tuple(out.z.shape[2:])}"
        raise InputError(f"codes must be vectors with draws of equal weight for penalty={penalty!r}, got {shape}.")
    return out.z[0]


def require_numbers(out: Pass, penalty: str) -> None:
    """Raise InputError for codes of categories, whose bits depend on each other whatever the rows."""
    if isinstance(out.q, OneHotCategories):
        raise InputError(f"posterior must be one over numbers for penalty={penalty!r}, got categories. Use 'mmd(w)'.")


def as_correlated(q: Any, penalty: str) -> Normal | CorrelatedNormal:
    """q(z given x), if it is a normal; raises InputError for another posterior."""
    if is_evaluable(q) and isinstance(q, Normal | CorrelatedNormal):
        return q
    raise InputError(
        f"posterior must be 'normal' or 'full_normal' for penalty={penalty!r}, got {type(q).__name__}. Use "
        "factor(w) or mmd(w), which read draws alone."
    )


def shares(batch: Batch, like: Tensor) -> Tensor:
    """(M,) the share of each row of the batch by its weight, which sum to one."""
    if batch.weight is None:
        return like.new_full((len(like),), 1 / len(like))
    return batch.weight / batch.weight.sum().clamp(min=1e-30)


class TotalCorrelation(nn.Module):
    """KL(q(z) || the product of the q(z_l)), of the first draw of each row (Chen et al., 2018).

    For the draw of row i of a batch of M out of N rows, q(z_i) = (1/N) sum over all rows j of q(z_i given x_j). Row i
    itself is one of them, the other M - 1 rows of the batch stand for N - 1: their weights are 1/N and
    (N - 1) / (N (M - 1)), which makes the estimate of q(z_i) unbiased, and exact for a batch of all rows. A row of
    weight w counts as w rows.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rows = 0
        """N, which is noted when training begins; before, the rows of a batch are taken for all."""

    def begin(self, rows: Any, seed: int) -> None:
        """Note the number of rows."""
        self.rows = len(rows)

    def log_weights(self, batch: Batch, z: Tensor) -> Tensor:
        """(M, M) log of the weight of row j in the density at the draw of row i."""
        m = len(z)
        weight = z.new_ones(m) if batch.weight is None else batch.weight.to(z.dtype)
        n = max(self.rows, m) if m > 1 else 1  # a row alone says nothing of others
        others = weight * (1 - torch.eye(m, dtype=z.dtype, device=z.device))  # (M, M), 0 for the row itself
        of_others = (n - weight)[:, None] * others / others.sum(1, keepdim=True).clamp(min=1e-30)
        return ((of_others + torch.diag(weight)) / n).clamp(min=1e-30).log()  # rows of weight 0 have no part

    def forward(self, model: Model, batch: Batch, out: Pass) -> Tensor:
        z, q = vectors(out, "total_correlation(w)"), as_correlated(out.q, "total_correlation(w)")
        log_weight = self.log_weights(batch, z)
        std = q.std
        assert std is not None
        each = Normal(q.mean, std.log()).element_log_prob(z[:, None])  # (M, M, D): a draw given another row
        joint = each.sum(-1)
        if isinstance(q, CorrelatedNormal):
            joint = FullNormal.from_factor(q.loc, q.factor).log_prob(z[:, None])
        log_qz = (log_weight + joint).logsumexp(1)
        return log_qz - (log_weight[..., None] + each).logsumexp(1).sum(-1)


def total_correlation() -> Term:
    """The total correlation of the code, nats."""
    return Term(TotalCorrelation(), "total_correlation", row_by_row=False)


def factor(code_size: int) -> Term:
    """The total correlation of the code by a critic, which separates codes from codes whose elements were shuffled.

    The critic's logit estimates log q(z) - log of the product of the q(z_l) (Kim & Mnih, 2018).
    """
    critic = MLP((code_size,), CRITIC_WIDTHS, 1, act="silu")

    def fool(model: Model, batch: Batch, out: Pass) -> Tensor:
        z = vectors(out, "factor(w)")
        require_numbers(out, "factor(w)")
        if z.shape[1] != code_size:
            raise InputError(f"latent_dim must be {z.shape[1]}, the size of the posterior's codes, got {code_size}.")
        return frozen(critic)(z).squeeze(-1)

    def separate(model: Model, batch: Batch, out: Pass) -> Tensor:
        z = out.z[0].detach()
        noise = random_streams.uniform(z.shape, z)
        if batch.weight is None:
            order = noise.argsort(0)  # a permutation of its own for each element
        else:
            ends = shares(batch, z).cumsum(0)
            order = torch.searchsorted(ends, noise * ends[-1]).clamp(max=len(z) - 1)
        losses = F.softplus(-critic(z)) + F.softplus(critic(z.gather(0, order))).mean()
        return losses.squeeze(-1)

    return Term(fool, "factor", critic=critic, aside=separate)


def adversarial(code_size: int) -> Term:
    """The divergence of codes from the prior by a critic, which separates codes from draws (Makhzani et al., 2016).

    The model's loss is -log of the critic's probability that a code is a draw (Goodfellow et al., 2014).
    """
    critic = MLP((code_size,), CRITIC_WIDTHS, 1, act="silu")

    def fool(model: Model, batch: Batch, out: Pass) -> Tensor:
        return F.softplus(-frozen(critic)(vectors(out, "adversarial(w)"))).squeeze(-1)

    def separate(model: Model, batch: Batch, out: Pass) -> Tensor:
        drawn = draws_from_prior(out, "adversarial(w)")
        return (F.softplus(-critic(drawn)).mean() + F.softplus(critic(out.z[0].detach()))).squeeze(-1)

    return Term(fool, "adversarial", critic=critic, aside=separate)


def draws_from_prior(out: Pass, penalty: str) -> Tensor:
    """(M, *Z) draws from the prior, as many as rows, without a gradient; raises InputError if there is none."""
    if out.prior is None:
        raise InputError(f"prior must be a distribution to draw from for penalty={penalty!r}, got none. Use a VAE.")
    drawn = out.prior.sample() if out.prior.batch_shape else out.prior.sample((out.z.shape[1],))
    return drawn.detach()


def dip(of_draws: bool, diagonal: float) -> Term:
    """Distance of the codes' covariance from the identity (Kumar et al., 2018).

    Args:
        of_draws: whether the covariance is that of draws, which adds the mean covariance given x (II), or that of the
            means of q(z given x) (I).
        diagonal: weight of the squared distances of variances from 1 beside that of squared covariances.
    """
    name = "dip_of_draws(w, d)" if of_draws else "dip(w, d)"

    def distance(model: Model, batch: Batch, out: Pass) -> Tensor:
        share = shares(batch, vectors(out, name))[:, None]  # (M, 1)
        require_numbers(out, name)
        mean = out.q.mean  # (M, D)
        away = mean - (share * mean).sum(0)
        covariance = (share * away).T @ away
        if of_draws:
            q = as_correlated(out.q, name)
            if isinstance(q, Normal):
                covariance = covariance + torch.diag((share * q.scale.square()).sum(0))
            else:
                covariance = covariance + (share[..., None] * (q.factor @ q.factor.mT)).sum(0)
        on = covariance.diagonal()
        return covariance.square().sum() - on.square().sum() + diagonal * (on - 1).square().sum()

    return Term(distance, "dip", row_by_row=False)


def _mmd(model: Model, batch: Batch, out: Pass) -> Tensor:
    z = out.z[0].flatten(1)
    return mmd_squared(z, draws_from_prior(out, "mmd(w)").flatten(1), shares(batch, z))


mmd = Term(_mmd, "mmd", row_by_row=False)
"""Squared maximum mean discrepancy of codes and draws from the prior (Tolstikhin et al., 2018; Zhao et al., 2019)."""


def mmd_squared(a: Tensor, b: Tensor, share: Tensor | None = None) -> Tensor:
    """Unbiased estimate of the squared maximum mean discrepancy of two samples (M, D), in [-1, 2].

    The kernel is the mean of inverse multiquadrics s / (s + |x - y|²) of several scales s.

    Args:
        a, b: the samples.
        share: (M,) shares of the points of `a`, which sum to one; equal ones by default.
    """
    m, d = a.shape
    equal = a.new_full((m,), 1 / m)
    if m < 2:
        return (a - b).sum() * 0.0  # one draw of each says nothing

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        squared = (x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.T).clamp(min=0.0)
        scales = [2 * d * scale for scale in MMD_SCALES]
        return torch.stack([scale / (scale + squared) for scale in scales]).mean(0)

    def within(x: Tensor, p: Tensor) -> Tensor:
        k, squares = kernel(x, x), p.square()
        return (p @ k @ p - squares @ k.diagonal()) / (1 - squares.sum()).clamp(min=1e-12)

    p = equal if share is None else share
    return within(a, p) + within(b, equal) - 2 * p @ kernel(a, b) @ equal
