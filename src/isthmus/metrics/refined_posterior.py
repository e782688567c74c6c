"""A normal posterior with all covariances for each row, fitted to log p(x, z): fewer of its draws are needed.

The encoder's q(z | x) = N(m, diag s²) differs from p(z | x) by amortization, for a network predicts m and s, and by its
family, which has no covariances. Steps of variational inference for the row alone reduce both. With z = m + M e,
e ~ N(0, I), and f(z) = log p(x, z), the bound E[f(z)] - E[log q(z)] is largest where

    E[∇_e f] = 0    and    -E[∇²_e f] = I

so a step of Newton's method moves m by M A⁻¹ E[∇_e f] and makes the covariance M A⁻¹ Mᵀ, with A = -E[∇²_e f]. By
Stein's identity E[∇²_e f] = E[∇_e f eᵀ] = Cov(∇_e f, e): A is stats by a regression of gradients on draws, exact for a
quadratic f if there are as many pairs ±e of draws as dimensions. Where a step makes the bound worse, half of it
is tried from the same place, then a quarter.

A normal finds one mode. So that another is not missed, an eighth of the draws are still from the encoder's q(z | x),
whose weights are then at most 8 times what they were.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from isthmus.distributions.continuous import HALF_LOG_TWO_PI, NarrowNormal, Normal
from isthmus.distributions.independent import Drawn, LightDistribution, is_differentiable, is_evaluable
from isthmus.memory_blocks import in_blocks, is_memory_error
from isthmus.metrics.importance_weighting import Chunk
from isthmus.random_streams import is_ours, repeatable

MAX_CODE_SIZE = 64
"""Dimensions up to which all covariances are fitted: draws and matrices of a step grow with their number."""
MIN_CURVATURE, MAX_CURVATURE = 0.25, 4.0
"""Range of A's eigenvalues: a step widens or narrows q by at most a factor of 2 in any direction, beside `widening`."""
MAX_STEPS = 20
"""Steps of refinement, at most."""
MIN_GAIN = 0.05
"""Nats of the bound by which a step must improve it for another to follow."""
MIN_FRACTION = 0.2
"""Part of a step that is still tried where more of it made the bound worse."""
ENCODER_SHARE = 1 / 8
"""Share of the draws that are from the encoder's posterior."""
MIN_RELATIVE_WIDTH = 1e-5
"""Of q beside its mean: a hundred times the rounding of single precision."""
MAX_SHIFT = 4.0
"""How far a step moves the mean, at most, in standard deviations of q."""


class JointNormal(LightDistribution):
    """z = loc + matrix e, e ~ N(0, I), for each row.

    Args:
        loc: (B, L) means.
        matrix: (B, L, L) of any form; the covariance is matrix matrixᵀ.
        log_det: (B, 1) log |det matrix|.
    """

    def __init__(self, loc: Tensor, matrix: Tensor, log_det: Tensor):
        super().__init__(loc.shape[:1], loc.shape[1:])
        self.loc, self.matrix, self.log_det = loc, matrix, log_det

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def parameters(self) -> tuple[Tensor, Tensor, Tensor]:
        """What the constructor takes."""
        return self.loc, self.matrix, self.log_det

    def draw(self, noise: Tensor) -> Drawn:
        z = self.loc + torch.einsum("bij,kbj->kbi", self.matrix, noise.expand(-1, len(self.loc), -1))
        return Drawn(z, self.density(noise))

    def density(self, e: Tensor) -> Tensor:
        """(K, B) log-density of loc + matrix e, e (K, B or 1, L)."""
        return -0.5 * e.square().sum(-1) - e.shape[-1] * HALF_LOG_TWO_PI - self.log_det[:, 0]

    def log_prob(self, x: Tensor) -> Tensor:
        e = torch.linalg.solve(self.matrix, (x - self.loc).movedim(0, -1))  # (B, L, K)
        return self.density(e.movedim(-1, 0))

    def rows(self, index: Tensor) -> JointNormal:
        """The normals of some rows."""
        return JointNormal(*[each[index] for each in self.parameters])

    def replaced(self, index: Tensor, new: JointNormal) -> JointNormal:
        """The same with the rows `index`, on the CPU, as in `new`."""
        index = index.to(new.loc.device)
        return JointNormal(*[a.index_copy(0, index, b) for a, b in zip(self.parameters, new.parameters)])

    def where(self, chosen: Tensor, other: JointNormal) -> JointNormal:
        """Those of `other` in the rows where `chosen` (B,) is True, these elsewhere."""
        return JointNormal(*rows_where(chosen, other.parameters, self.parameters))


class WithEncoder(LightDistribution):
    """A mixture of a refined normal and the encoder's.

    `draw` takes the noise of the encoder's normal with one more number, uniform on [0, 1): which of the two it is.

    Args:
        encoder: a diagonal normal for each row.
        refined: its refinement.
    """

    def __init__(self, encoder: Any, refined: JointNormal):
        super().__init__(refined.batch_shape, refined.event_shape)
        self.encoder, self.refined = encoder, refined

    @property
    def mean(self) -> Tensor:
        return self.refined.loc

    def noise(self, draws: int, rows: int) -> Tensor:
        return self.encoder.noise(draws, rows)

    def draw(self, noise: Tensor) -> Drawn:
        e, uniform = noise[..., :-1], noise[..., -1]
        z = torch.where(uniform[..., None] < ENCODER_SHARE, self.encoder.draw(e).z, self.refined.draw(e).z)
        return Drawn(z, self.log_prob(z))

    def log_prob(self, x: Tensor) -> Tensor:
        encoder = self.encoder.log_prob(x) + math.log(ENCODER_SHARE)
        return torch.logaddexp(encoder, self.refined.log_prob(x) + math.log1p(-ENCODER_SHARE))

    def rows(self, index: Tensor) -> WithEncoder:
        """The mixtures of some rows."""
        return WithEncoder(self.encoder.rows(index), self.refined.rows(index))


class Direction(NamedTuple):
    """A step of Newton's method from a normal, in the units of its e."""

    shift: Tensor
    """(B, L) of the mean."""
    log_variance: Tensor
    """(B, L) logarithms of factors of the variances along the columns of `vector`."""
    vector: Tensor
    """(B, L, L) orthonormal columns."""

    def rows(self, index: Tensor) -> Direction:
        """The steps of some rows."""
        return Direction(*[part[index] for part in self])

    def where(self, chosen: Tensor, other: Direction) -> Direction:
        """Those of `other` in the rows where `chosen` (B,) is True, these elsewhere."""
        return Direction(*rows_where(chosen, other, self))


class Evaluated(NamedTuple):
    """What draws from a normal tell of it."""

    log_weight: Tensor
    """(P, B) log p(x, z) - log q(z), nats, in double precision on the CPU."""
    direction: Direction


def rows_where(chosen: Tensor, new: Iterable[Tensor], old: Iterable[Tensor]) -> list[Tensor]:
    """Tensors (B, ...) with the rows of `new` where `chosen` (B,) is True, of `old` elsewhere."""
    return [torch.where(chosen.reshape(-1, *[1] * (b.ndim - 1)), a, b) for a, b in zip(new, old, strict=True)]


def can_refine(chunk: Chunk) -> Tensor:
    """(B,) on the CPU: whether q(z | x) is a diagonal normal of few dimensions whose widths the precision resolves, and
    log p(z) has a gradient."""
    q, prior = chunk.q, chunk.prior
    # Subclasses of a user may hold more than a mean and widths.
    diagonal = type(q) in (Normal, NarrowNormal) and q.loc.ndim == 2 and q.loc.shape[1] <= MAX_CODE_SIZE
    if not diagonal or prior is None or not is_evaluable(prior) or not is_differentiable(prior):
        return torch.zeros(len(chunk.row_index), dtype=torch.bool)
    return (q.std > MIN_RELATIVE_WIDTH * (1 + q.loc.abs())).all(-1).cpu()


def draws_of_step(code_size: int) -> int:
    """How many draws a step needs: each of their pairs ±e gives one equation of the regression."""
    return max(32, 3 * code_size + code_size % 2)


def with_covariances(q: Any) -> JointNormal:
    """A diagonal normal with its scales as a matrix."""
    return JointNormal(q.loc, torch.diag_embed(q.std), q.std.log().sum(-1, keepdim=True))


def evaluate_step(chunk: Chunk, q: JointNormal, noise: Tensor, max_rows: int, seed: int) -> Evaluated | None:
    """Weights of draws from normals, and where to go from them.

    Args:
        chunk: B rows.
        q: a normal for each.
        noise: (P / 2, 1, L) standard normal numbers; each is used with both signs.
        max_rows: rows that pass through the decoder at once.
        seed: of decoders that draw.

    Returns:
        None if log p(x | z) has no gradient in z, as with a decoder of one's own that rounds.
    """
    e = torch.cat([noise, -noise])  # (P, 1, L)
    try:
        parts = in_blocks(lambda size: gradients(chunk, q, e.split(max(1, size // len(q.loc))), seed), max_rows)
    except (RuntimeError, NotImplementedError, TypeError) as error:
        if is_memory_error(error) or is_ours(chunk.model):
            raise
        return None
    if parts is None:
        return None
    return Evaluated(parts[0], direction(e[:, 0], parts[1]))


def gradients(chunk: Chunk, q: JointNormal, blocks: Any, seed: int) -> tuple[Tensor, Tensor] | None:
    """(P, B) log-weights and (P, B, L) gradients of log p(x, z) in e, of draws in blocks (P', 1, L) of e."""
    log_weight, gradient = [], []
    for number, block in enumerate(blocks):
        e = block.expand(-1, len(q.loc), -1).detach().requires_grad_()
        with torch.enable_grad(), repeatable(chunk.model, seed + number):
            z, log_q, _ = q.draw(e)
            out = chunk.model.at(chunk.batch, z, chunk.prior)
            (of_x,) = torch.autograd.grad(out.log_px.sum(), e, retain_graph=True, allow_unused=True)
            if of_x is None:
                return None
            (of_z,) = torch.autograd.grad(out.log_pz.sum(), e, allow_unused=True)
        assert log_q is not None
        gradient.append(of_x if of_z is None else of_x + of_z)
        log_weight.append((out.log_px + out.log_pz - log_q).detach().cpu().double())
    return torch.cat(log_weight), torch.cat(gradient)


def direction(e: Tensor, gradient: Tensor) -> Direction:
    """Newton's step, in whole; none in rows whose numbers are not finite.

    Args:
        e: (P, L) draws, of mean 0.
        gradient: (P, B, L) of log p(x, z) in e.
    """
    mean = gradient.mean(0)  # (B, L)
    covariance = torch.einsum("ki,kbj->bij", e, gradient - mean)
    finite = covariance.isfinite().all(-1).all(-1) & mean.isfinite().all(-1)  # (B,)
    mean, covariance = mean.where(finite[:, None], 0.0), covariance.where(finite[:, None, None], 0.0)
    curvature = -torch.linalg.solve(e.T @ e, covariance)
    value, vector = torch.linalg.eigh((curvature + curvature.mT) / 2)
    value = value.clamp(MIN_CURVATURE, MAX_CURVATURE)  # (B, L)
    shift = (vector @ ((vector.mT @ mean[..., None]) / value[..., None]))[..., 0]
    shift = shift * (MAX_SHIFT / shift.norm(dim=-1, keepdim=True)).clamp(max=1.0)
    log_variance = (widening(e.shape[1]) / value).log().where(finite[:, None], 0.0)
    return Direction(shift.where(finite[:, None], 0.0), log_variance, vector)


def apply_step(q: JointNormal, step: Direction, fraction: Tensor) -> JointNormal:
    """The normals after a part of a step, `fraction` (B, 1) of it."""
    log_variance = fraction * step.log_variance
    loc = q.loc + (q.matrix @ (fraction * step.shift)[..., None])[..., 0]
    # The symmetric root: rounding turns or flips eigenvectors, and with them the draws of the same noise.
    root = (step.vector * (0.5 * log_variance).exp()[:, None, :]) @ step.vector.mT
    return JointNormal(loc, q.matrix @ root, q.log_det + 0.5 * log_variance.sum(-1, keepdim=True))


def widening(code_size: int) -> float:
    """Factor of the variances: draws from too narrow a normal miss tails of the posterior, where weights are large.

    The weights of a normal posterior under a normal whose variances are 1 + d times its own have the squared
    coefficient of variation ((1 + d) / sqrt(1 + 2 d))^L - 1, about L d² / 2, which is 1/8 here.
    """
    return 1 + math.sqrt(0.25 / code_size)


class Start(NamedTuple):
    """From where rows are refined."""

    q: JointNormal
    direction: Direction
    fraction: Tensor
    """(B, 1) of the step, to be tried."""


def refined(
    chunk: Chunk,
    step: Callable[[int], tuple[Tensor, int]],
    improvable: Callable[[Tensor], Tensor],
    max_rows: int,
) -> Chunk | None:
    """Rows with the best of the normals that steps stats, by the bound, mixed with the encoder's.

    Args:
        chunk: B rows whose posterior can be refined.
        step: the noise and the seed of step t, as `evaluate_step` takes them.
        improvable: of log-weights (P, B), whether rows (B,) gain by a further step.
        max_rows: rows that pass through the decoder at once.

    Returns:
        None if log p(x | z) has no gradient.
    """
    trial, current = with_covariances(chunk.q), chunk
    best, active = trial, torch.arange(len(trial.loc))
    start, bound = None, torch.full((len(active),), -math.inf, dtype=torch.float64)
    for t in range(MAX_STEPS):
        noise, seed = step(t)
        stats = evaluate_step(current, trial, noise, max_rows, seed)
        if stats is None:
            return None
        new_bound = stats.log_weight.mean(0).nan_to_num(nan=-math.inf)
        gain = (new_bound - bound).nan_to_num(nan=0.0)
        if start is None:
            start = Start(trial, stats.direction, torch.ones_like(trial.log_det))
            going_on = torch.ones_like(active, dtype=torch.bool)
        else:
            better = (gain > 0).to(trial.loc.device)
            start = Start(
                start.q.where(better, trial),
                start.direction.where(better, stats.direction),
                torch.where(better[:, None], 1.0, start.fraction / 2),
            )
            best = best.replaced(active, start.q)
            retry = (gain <= 0) & (start.fraction[:, 0].cpu() > MIN_FRACTION)
            going_on = retry | (gain > MIN_GAIN) & improvable(stats.log_weight)
        index = torch.nonzero(going_on)[:, 0]
        if not len(index):
            break
        current, active, bound = take_rows(current, index), active[index], torch.maximum(bound, new_bound)[index]
        there = index.to(trial.loc.device)
        start = Start(start.q.rows(there), start.direction.rows(there), start.fraction[there])
        trial = apply_step(*start)
    return chunk._replace(q=WithEncoder(chunk.q, best))


def take_rows(chunk: Chunk, index: Tensor) -> Chunk:
    """The rows at positions `index`, on the CPU; the chunk itself if these are all."""
    return chunk if len(index) == len(chunk.row_index) else chunk.take(index.to(chunk.row_index.device))
