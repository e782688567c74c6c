"""A normal posterior with all covariances for each row, fitted to log p(x, z): draws from it need fewer to average.

The encoder's q(z | x) = N(m, diag s²) is off in two ways: its mean and widths are read off a network, and its codes are
independent. Both are mended for one row by steps of variational inference in the normal family. With z = m + M e,
e ~ N(0, I), and f(z) = log p(x, z), the bound E[f(z)] - E[log q(z)] is largest where

    E[∇_e f] = 0    and    -E[∇²_e f] = I

so a step of Newton's method moves m by M A⁻¹ E[∇_e f] and makes the covariance M A⁻¹ Mᵀ, with A = -E[∇²_e f]. By
Stein's identity E[∇²_e f] = E[∇_e f eᵀ] = Cov(∇_e f, e): A is found by a regression of gradients on the draws, which is
exact for a quadratic f as soon as there are more draws than dimensions.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from isthmus.distributions.continuous import HALF_LOG_TWO_PI
from isthmus.distributions.independent import Drawn, LightDistribution, is_differentiable, is_evaluable
from isthmus.metrics.importance_weighting import Chunk
from isthmus.random_streams import normal, repeatable

MAX_CODE_SIZE = 64
"""Dimensions up to which all covariances are fitted: draws and matrices of a step grow with their number."""
MIN_CURVATURE, MAX_CURVATURE = 0.25, 4.0
"""Range of A's eigenvalues: a step widens or narrows q by at most a factor of 2 in any direction."""
MAX_SHIFT = 4.0
"""How far a step moves the mean, at most, in standard deviations of q."""


class JointNormal(LightDistribution):
    """z = loc + matrix e, e ~ N(0, I), for each row; its density is known at its own draws.

    Args:
        loc: (B, L) means.
        matrix: (B, L, L) of any form; the covariance is matrix matrixᵀ.
        log_det: (B, 1) log |det matrix|.
    """

    evaluable = False

    def __init__(self, loc: Tensor, matrix: Tensor, log_det: Tensor):
        super().__init__(loc.shape[:1], loc.shape[1:])
        self.loc, self.matrix, self.log_det = loc, matrix, log_det

    @property
    def mean(self) -> Tensor:
        return self.loc

    def noise(self, draws: int, rows: int) -> Tensor:
        return normal((draws, rows, self.loc.shape[1]), self.loc)

    def draw(self, noise: Tensor) -> Drawn:
        z = self.loc + torch.einsum("bij,kbj->kbi", self.matrix, noise.expand(-1, len(self.loc), -1))
        log_q = -0.5 * noise.square().sum(-1) - noise.shape[-1] * HALF_LOG_TWO_PI - self.log_det[:, 0]
        return Drawn(z, log_q)

    def rows(self, index: Tensor) -> JointNormal:
        """The normals of some rows."""
        return JointNormal(self.loc[index], self.matrix[index], self.log_det[index])

    def replaced(self, index: Tensor, new: JointNormal) -> JointNormal:
        """The same with the rows `index` as in `new`."""
        pairs = ((self.loc, new.loc), (self.matrix, new.matrix), (self.log_det, new.log_det))
        return JointNormal(*[old.index_copy(0, index, given) for old, given in pairs])


class Refinement(NamedTuple):
    """One step from a proposal."""

    log_weight: Tensor
    """(P, B) log p(x, z) - log q(z) of draws from the proposal before the step, nats, in double precision."""
    q: JointNormal
    """The proposal after it. Rows whose gradients are not finite keep what they had."""


def can_refine(chunk: Chunk) -> bool:
    """Whether q(z | x) is a diagonal normal over a short vector and log p(z) has a gradient."""
    q, prior = chunk.q, chunk.prior
    diagonal = getattr(q, "is_diagonal_normal", False) and q.loc.ndim == 2 and q.loc.shape[1] <= MAX_CODE_SIZE
    return diagonal and prior is not None and is_evaluable(prior) and is_differentiable(prior)


def draws_of_step(code_size: int) -> int:
    """How many draws a step needs: each of their pairs ±e gives one equation of the regression."""
    return max(32, 3 * code_size + code_size % 2)


def with_covariances(q: LightDistribution) -> JointNormal:
    """A diagonal normal with its scales as a matrix."""
    if isinstance(q, JointNormal):
        return q
    scale = q.std
    assert scale is not None
    return JointNormal(q.centre, torch.diag_embed(scale), scale.log().sum(-1, keepdim=True))


def refine(chunk: Chunk, noise: Tensor, max_rows: int) -> Refinement | None:
    """One step for every row of a chunk.

    Args:
        chunk: B rows whose q is a normal: `can_refine` of the encoder's, or a JointNormal.
        noise: (P / 2, 1, L) standard normal numbers; each is used with both signs.
        max_rows: rows that pass through the decoder at once.

    Returns:
        None if log p(x, z) has no gradient in z, as with a decoder of one's own that rounds.
    """
    q, rows = with_covariances(chunk.q), len(chunk.row_index)
    e = torch.cat([noise, -noise])  # (P, 1, L)
    log_weight, gradient = [], []
    for part in e.split(max(1, max_rows // rows)):
        part = part.expand(-1, rows, -1).detach().requires_grad_()
        with torch.enable_grad(), repeatable(chunk.model):
            z, log_q, _ = q.draw(part)
            assert log_q is not None
            out = chunk.model.at(chunk.batch, z, chunk.prior)
            log_joint = out.log_px + out.log_pz
            if not log_joint.requires_grad:
                return None
            gradient.append(torch.autograd.grad(log_joint.sum(), part)[0])
        log_weight.append((log_joint - log_q).detach().double())
    return Refinement(torch.cat(log_weight), step(q, e[:, 0], torch.cat(gradient)))


def step(q: JointNormal, e: Tensor, gradient: Tensor) -> JointNormal:
    """The normal after a step; rows whose numbers are not finite keep theirs.

    Args:
        q: of B rows.
        e: (P, L) draws, of mean 0.
        gradient: (P, B, L) of log p(x, z) in e.
    """
    with torch.no_grad():
        mean = gradient.mean(0)  # (B, L)
        covariance = torch.einsum("ki,kbj->bij", e, gradient - mean)
        finite = covariance.isfinite().all(-1).all(-1) & mean.isfinite().all(-1)  # (B,)
        mean, covariance = mean.where(finite[:, None], 0.0), covariance.where(finite[:, None, None], 0.0)
        curvature = -torch.linalg.solve(e.T @ e, covariance)
        curvature = (curvature + curvature.mT) / 2
        value, vector = torch.linalg.eigh(curvature)
        value = value.clamp(MIN_CURVATURE, MAX_CURVATURE).where(finite[:, None], 1.0)  # (B, L)
        shift = (vector @ ((vector.mT @ mean[..., None]) / value[..., None]))[..., 0]
        shift = shift * (MAX_SHIFT / shift.norm(dim=-1, keepdim=True)).clamp(max=1.0)
        shift = shift.where(finite[:, None], 0.0)
        loc = q.loc + (q.matrix @ shift[..., None])[..., 0]
        variance = widening(e.shape[1]) / value
        # The symmetric root: rounding turns or flips eigenvectors, and with them the draws of the same noise.
        matrix = q.matrix @ (vector * variance.sqrt()[:, None, :]) @ vector.mT
        return JointNormal(loc, matrix, q.log_det + 0.5 * variance.log().sum(-1, keepdim=True))


def widening(code_size: int) -> float:
    """Factor of the variances: draws from too narrow a normal miss tails of the posterior, where weights are large.

    The weights of a normal posterior under a normal whose variances are 1 + d times its own have the squared
    coefficient of variation ((1 + d) / sqrt(1 + 2 d))^L - 1, about L d² / 2, which is 1/4 here.
    """
    return 1 + math.sqrt(0.5 / code_size)


def bound_of(log_weight: Tensor) -> Tensor:
    """(B,) ELBO of the draws (P, B); minus infinity where a weight is NaN."""
    return log_weight.mean(0).nan_to_num(nan=-math.inf)
