"""Hamiltonian Monte Carlo moves of many chains at once, along a path between two densities."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from isthmus import random_streams

STEP_SIZE_JITTER = 0.2
"""Relative variation of the step size between moves, which breaks periodic trajectories."""


class ChainState(NamedTuple):
    """Positions of the chains and the log-density along the path, log f_beta = log_start + beta * log_ratio."""

    z: Tensor
    """(K, B, *Z)"""
    log_start: Tensor
    """(K, B) log-density of the distribution that the path starts from, nats."""
    log_ratio: Tensor
    """(K, B) log p(x, z) - log_start."""
    grad_start: Tensor
    """(K, B, *Z) gradient of log_start by z."""
    grad_ratio: Tensor
    """(K, B, *Z) gradient of log_ratio by z."""

    def log_density(self, beta: float) -> Tensor:
        """(K, B) log f_beta, nats, in double precision."""
        return self.log_start.double() + beta * self.log_ratio.double()

    def grad(self, beta: float) -> Tensor:
        """(K, B, *Z) gradient of log f_beta by z."""
        return self.grad_start + beta * self.grad_ratio


LogDensityFn = Callable[[Tensor], ChainState]
"""Evaluates the path's log-density and gradient at codes (K, B, *Z)."""


def hmc_step(
    path: LogDensityFn, state: ChainState, beta: float, step_size: Tensor, leapfrog: int
) -> tuple[ChainState, Tensor]:
    """One Hamiltonian Monte Carlo move (Neal, 2011) that leaves f_beta invariant, with its acceptance (K, B)."""
    z = state.z
    trailing = [1] * (z.ndim - 2)
    jitter = 1 + STEP_SIZE_JITTER * (2 * random_streams.uniform(z.shape[:2], z) - 1)
    step = (step_size * jitter).reshape(*z.shape[:2], *trailing)  # (K, B, 1...)
    momentum = random_streams.normal(z.shape, z)
    p = momentum + 0.5 * step * state.grad(beta)
    proposal = state
    for remaining in reversed(range(leapfrog)):
        proposal = path(proposal.z + step * p)
        p = p + (step if remaining else 0.5 * step) * proposal.grad(beta)
    # minus the change of the Hamiltonian, H = -log f_beta(z) + |p|^2 / 2
    log_ratio = (
        proposal.log_density(beta) - state.log_density(beta) + kinetic_energy(momentum) - kinetic_energy(p)
    )  # (K, B)
    acceptance = log_ratio.nan_to_num(nan=-math.inf).clamp(max=0).exp()  # diverged trajectories are rejected
    accept = random_streams.uniform(acceptance.shape, acceptance) < acceptance
    accept_z = accept.reshape(*accept.shape, *trailing)
    chosen = (torch.where(accept if new.ndim == 2 else accept_z, new, old) for new, old in zip(proposal, state))
    return ChainState(*chosen), acceptance


def kinetic_energy(momentum: Tensor) -> Tensor:
    """(K, B, *Z) to (K, B)."""
    return 0.5 * momentum.double().square().flatten(2).sum(2)
