"""Annealed importance sampling, and the bracket that it puts around log p(x) of simulated rows."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from isthmus.batch import Batch
from isthmus.distributions.latent import Delta
from isthmus.errors import InputError, unknown
from isthmus.latent_model import LatentModel, Pass
from isthmus.metrics.estimate import Estimate
from isthmus.metrics.importance_weighting import DECODED_AT_ONCE, NOISE_SEED, mean_and_error
from isthmus.train.device_data import DeviceDataset
from isthmus.train.runtime import seeded

STEPS = 1000
"""Temperatures between p(z) and p(z given x)."""
CHAINS = 16
LEAPFROG = 10
STARTS = ("prior", "posterior")
STEEPNESS = 4.0
"""Of the sigmoid of temperatures, which lie dense near both ends (Wu et al., 2017)."""
ACCEPTED = 0.65
"""Share of moves to be accepted, near the best for Hamiltonian Monte Carlo (Neal, 2011)."""
JITTER = 0.2
"""Share by which a move's step varies at random: no trajectory then comes back to where it began at every move."""
PILOT = 4
"""One chain in so many is run beforehand, to find step sizes."""
WARM = 50
"""Moves of the pilot at its first temperature, for a first step size from whatever scale."""
RATE = 0.5
"""Change of a log step size from moves that all are accepted to none: over 50 temperatures it can fall by e^-16."""


class AISResult(NamedTuple):
    """Estimates of log p(x) a row, (n,) each; no two rows share any noise."""

    values: np.ndarray
    """Nats in the data's own units: a lower bound in expectation."""
    error: np.ndarray
    """Standard error by a jackknife over chains, nats; infinite for one chain."""
    acceptance: np.ndarray
    """Mean chance that a move was accepted."""
    ess: np.ndarray
    """Effective number of chains."""


class BDMCBounds(NamedTuple):
    """Log p(x) of simulated rows between two estimates, nats in the data's own units."""

    lower: np.ndarray
    """(n,) below log p(x) in expectation."""
    upper: np.ndarray
    """(n,) above it in expectation."""
    gap: Estimate
    """Mean of upper less lower, with its standard error over rows: neither estimate is off by more on average."""


class AISConfig(NamedTuple):
    """How chains are run."""

    beta: list[float]
    """(T + 1,) from 0 to 1."""
    chains: int
    leapfrog: int
    start: str


class ChainState(NamedTuple):
    """Where chains are, and the log-density of the path there: start + beta * ratio."""

    z: Tensor
    """(K, B, *Z)"""
    start: Tensor
    """(K, B) log-density of the distribution that the path starts from, nats."""
    ratio: Tensor
    """(K, B) log p(x, z) less that."""
    start_slope: Tensor
    """(K, B, *Z) gradients of both by z."""
    ratio_slope: Tensor

    def density(self, beta: float) -> Tensor:
        """(K, B) nats, in double precision."""
        return self.start.double() + beta * self.ratio.double()

    def slope(self, beta: float) -> Tensor:
        """(K, B, *Z)"""
        return self.start_slope + beta * self.ratio_slope


LogDensityFn = Callable[[Tensor], ChainState]


def ais(
    model: LatentModel,
    rows: DeviceDataset,
    *,
    steps: int = STEPS,
    chains: int = CHAINS,
    leapfrog: int = LEAPFROG,
    seed: int = NOISE_SEED,
    start: str = "prior",
) -> AISResult:
    """Log p(x) by annealed importance sampling with Hamiltonian moves (Neal, 2001; Wu et al., 2017).

    Chains go from p(z) along p(z) p(x given z)^beta to p(z given x); `start="posterior"` lets them start from q(z given
    x) (Ding & Freedman, 2019), which needs fewer steps where q is good. Step sizes are found on a few chains
    beforehand and then held fixed: adapted on the way, they would take the bound its validity. Raises InputError for a
    model whose codes have no density.
    """
    plan = planned(steps, chains, leapfrog, start)
    seeds = np.random.default_rng(seed)
    found = []
    for index in torch.arange(len(rows), device=rows.device).split(at_once(plan)):
        with seeded(fresh(seeds), rows.device):
            batch = rows.batch(index)
            sizes = step_sizes(model, batch, plan)
        with seeded(fresh(seeds), rows.device):
            found.append(forward(model, batch, plan, sizes))
    weight, acceptance = (np.concatenate(part, -1) for part in zip(*found))  # (K, n), (n,)
    ess = np.exp(2 * np.logaddexp.reduce(weight) - np.logaddexp.reduce(2 * weight))
    return AISResult(log_mean(weight), jackknife(weight), acceptance, ess)


def bdmc(
    model: LatentModel,
    n: int,
    *,
    c: Tensor | None = None,
    mask: Tensor | None = None,
    steps: int = STEPS,
    chains: int = CHAINS,
    leapfrog: int = LEAPFROG,
    seed: int = NOISE_SEED,
    start: str = "prior",
) -> BDMCBounds:
    """Bracket log p(x) of n rows that the model simulates (Grosse et al., 2015; 2016).

    The code that a row was drawn from is an exact draw of p(z given x): annealed back from there, chains bound log
    p(x) from above. Conditions `c` (n, C), in the units that networks read, and masks (n, T) are the caller's. Raises
    InputError as `ais`, and for a number of conditions or masks other than n.
    """
    plan = planned(steps, chains, leapfrog, start)
    need_whole("n", n)
    for name, given in (("c", c), ("mask", mask)):
        if given is not None and len(given) != n:
            raise InputError(f"{name} has {len(given)} rows and n is {n}; one a simulated row is wanted")
    device = next(model.parameters()).device
    seeds = np.random.default_rng(seed)
    with seeded(fresh(seeds), device):
        codes, x = simulated(model, n, c, mask)
    lower, upper = [], []
    for index in torch.arange(n, device=device).split(at_once(plan)):
        own = [None if part is None else part[index] for part in (c, mask)]
        batch = Batch(x[index], *own)
        with seeded(fresh(seeds), device):
            sizes = step_sizes(model, batch, plan)  # of x alone: the exact draw must not have a say in them
        with seeded(fresh(seeds), device):
            lower.append(log_mean(forward(model, batch, plan, sizes)[0]))
            upper.append(-log_mean(backward(model, batch, plan, sizes, codes[index])))
    below, above = np.concatenate(lower), np.concatenate(upper)
    return BDMCBounds(below, above, Estimate(*mean_and_error(above - below)))


def planned(steps: int, chains: int, leapfrog: int, start: str) -> AISConfig:
    """The arguments, checked."""
    for name, value in (("steps", steps), ("chains", chains), ("leapfrog", leapfrog)):
        need_whole(name, value)
    if start not in STARTS:
        raise unknown("start", str(start), STARTS)
    return AISConfig(temperatures(steps), chains, leapfrog, start)


def need_whole(name: str, value: Any) -> None:
    """Raise InputError unless the value is a whole number of at least 1."""
    if not isinstance(value, numbers.Integral) or value < 1:
        raise InputError(f"{name}={value} came; a whole number of at least 1 is wanted")


def temperatures(steps: int) -> list[float]:
    """(steps + 1,) from 0 to 1 along a sigmoid.

    >>> [round(beta, 3) for beta in temperatures(4)]
    [0.0, 0.105, 0.5, 0.895, 1.0]
    """
    curve = np.tanh(STEEPNESS / 2 * np.linspace(-1, 1, steps + 1))  # a sigmoid but for shift and scale
    return ((curve - curve[0]) / (curve[-1] - curve[0])).tolist()


def at_once(plan: AISConfig) -> int:
    """Rows in a block."""
    return max(1, DECODED_AT_ONCE // plan.chains)


def fresh(seeds: np.random.Generator) -> int:
    """The next seed."""
    return int(seeds.integers(2**63))


def log_mean(weight: np.ndarray) -> np.ndarray:
    """(K, n) log-weights to (n,): the log of their mean."""
    return np.logaddexp.reduce(weight) - math.log(len(weight))


def jackknife(weight: np.ndarray) -> np.ndarray:
    """(n,) standard error of `log_mean` of (K, n)."""
    chains = len(weight)
    if chains == 1:
        return np.full(weight.shape[1], math.inf)
    without = np.stack([log_mean(np.delete(weight, k, 0)) for k in range(chains)])  # (K, n)
    return np.sqrt((chains - 1) * without.var(0))


# ------------------------------------------------------------------- the path


def joint(model: LatentModel, batch: Batch, z: Tensor) -> Pass:
    """The densities of a pass at given codes z (..., B, *Z), after a leading dimension of one draw."""
    return model.at(batch, z)


def simulated(model: LatentModel, n: int, c: Tensor | None, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Codes (n, *Z) from the prior, and rows (n, *X) drawn from them."""
    with torch.no_grad():
        z = drawn(prior_of(model, c, mask), (n,))
        px = joint(model, Batch(z, c, mask), z).px  # no row is read for it
        return z, px.sample()[0]


def prior_of(model: LatentModel, c: Tensor | None, mask: Tensor | None) -> Any:
    """p(z), or p(z given c); InputError where there is none."""
    prior = model.prior_for(Batch(c if c is not None else torch.empty(0), c, mask))
    if prior is None:
        raise InputError("this model has no prior over codes, and so no log p(x); use a VAE, or measure squared errors")
    return prior


def drawn(distribution: Any, shape: tuple[int, ...]) -> Tensor:
    """(*shape, *Z) draws, whether the distribution is one for all rows (the last of `shape`) or one for each."""
    return distribution.sample(shape[:-1] if distribution.batch_shape else shape)


def path(model: LatentModel, batch: Batch, start: str) -> tuple[Any, LogDensityFn]:
    """The distribution that chains start from, and what gives densities and gradients along the path.

    Gradients are taken by z alone: parameters neither receive one nor change.
    """
    with torch.no_grad():
        first = prior_of(model, batch.c, batch.mask)
        if start == "posterior":
            first = model.infer(batch)
            if isinstance(first, Delta):
                raise InputError("the encoder gives points, from which no chain can start; use start='prior'")

    def at(z: Tensor) -> ChainState:
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            run = joint(model, batch, z)
            log_px, log_pz = run.log_px[0], run.log_pz[0]
            begin = log_pz if start == "prior" else first.log_prob(z)
            ratio = log_px if start == "prior" else log_px + log_pz - begin
            (begin_slope,) = torch.autograd.grad(begin.sum(), z, retain_graph=True)
            (ratio_slope,) = torch.autograd.grad(ratio.sum(), z)
        return ChainState(z.detach(), begin.detach(), ratio.detach(), begin_slope, ratio_slope)

    return first, at


# ----------------------------------------------------------------- the chains


def forward(model: LatentModel, batch: Batch, plan: AISConfig, sizes: list[Tensor]) -> tuple[np.ndarray, np.ndarray]:
    """From the start to p(z given x): (K, B) log-weights of mean p(x), (B,) acceptance."""
    first, at = path(model, batch, plan.start)
    weight, acceptance = annealed(at, at(drawn(first, (plan.chains, len(batch.x)))), plan.beta, sizes, plan.leapfrog)
    return weight.cpu().numpy(), acceptance.cpu().numpy()


def backward(model: LatentModel, batch: Batch, plan: AISConfig, sizes: list[Tensor], exact: Tensor) -> np.ndarray:
    """From exact draws (B, *Z) of p(z given x) to the start: (K, B) log-weights of mean 1 / p(x).

    Chains of a row share its one draw, which leaves their mean unbiased.
    """
    at = path(model, batch, plan.start)[1]
    place = at(exact.expand(plan.chains, *exact.shape))
    return annealed(at, place, plan.beta[::-1], sizes[::-1], plan.leapfrog)[0].cpu().numpy()


def annealed(
    at: LogDensityFn, place: ChainState, beta: list[float], sizes: list[Tensor], leapfrog: int
) -> tuple[Tensor, Tensor]:
    """Carry chains along temperatures (T + 1,): (K, B) log-weights in double precision, (B,) acceptance.

    `sizes` has T - 1 steps (B,): nothing moves at either end.
    """
    weight = (beta[1] - beta[0]) * place.ratio.double()
    total = torch.zeros_like(weight[0])
    for now, then, size in zip(beta[1:], beta[2:], sizes):
        place, chance = moved(at, place, now, size, leapfrog)
        weight += (then - now) * place.ratio.double()
        total += chance.mean(0)
    return weight, total / max(1, len(sizes))


def moved(at: LogDensityFn, place: ChainState, beta: float, size: Tensor, leapfrog: int) -> tuple[ChainState, Tensor]:
    """One Hamiltonian move that leaves the density at beta as it is, and the chance (K, B) that it was accepted."""
    z = place.z
    width = [1] * (z.ndim - 2)
    vary = 1 + JITTER * (2 * torch.rand(z.shape[:2], dtype=z.dtype, device=z.device) - 1)
    step = (size * vary).reshape(*z.shape[:2], *width)  # (K, B, 1...)
    momentum = torch.randn_like(z)
    speed = momentum + 0.5 * step * place.slope(beta)
    new = place
    for left in reversed(range(leapfrog)):
        new = at(new.z + step * speed)
        speed = speed + (step if left else 0.5 * step) * new.slope(beta)
    gain = new.density(beta) - place.density(beta) + kinetic(momentum) - kinetic(speed)  # (K, B)
    chance = gain.nan_to_num(nan=-math.inf).clamp(max=0).exp()  # a trajectory that diverged is not taken
    take = torch.rand_like(chance) < chance
    wide = take.reshape(*take.shape, *width)
    picked = (torch.where(take if a.ndim == 2 else wide, a, b) for a, b in zip(new, place))
    return ChainState(*picked), chance


def kinetic(momentum: Tensor) -> Tensor:
    """(K, B, *Z) to (K, B)."""
    return 0.5 * momentum.double().square().flatten(2).sum(2)


def step_sizes(model: LatentModel, batch: Batch, plan: AISConfig) -> list[Tensor]:
    """A step size a row (B,) for each temperature between the ends, from a run of a few chains of its own."""
    first, at = path(model, batch, plan.start)
    chains = max(2, plan.chains // PILOT)
    place = at(drawn(first, (chains, len(batch.x))))
    log_size = torch.zeros(len(batch.x), dtype=place.z.dtype, device=place.z.device)
    found: list[Tensor] = []
    inner = plan.beta[1:-1]
    for beta in inner[:1] * WARM + inner:
        place, chance = moved(at, place, beta, log_size.exp(), plan.leapfrog)
        log_size = log_size + RATE * (chance.mean(0) - ACCEPTED).to(log_size.dtype)
        found.append(log_size.exp())
    return found[len(found) - len(inner) :]
