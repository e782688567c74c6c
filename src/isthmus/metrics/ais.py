"""Annealed importance sampling (Neal, 2001) and bidirectional Monte Carlo (Grosse et al., 2015).

AIS estimates log p(x) with chains that move from a distribution that can be sampled to p(z | x), along

    f_beta(z) = start(z)^(1 - beta) p(x, z)^beta,  0 = beta_0 < ... < beta_T = 1.

A chain collects the log-weight

    log w = sum_t (beta_t - beta_(t-1)) [log p(x, z_(t-1)) - log start(z_(t-1))],  z_t ~ T_t(. | z_(t-1)),

where T_t leaves f_(beta_t) invariant. E[w] = p(x), so log of the mean weight is a lower bound of log p(x) in
expectation (Jensen). Run backwards from an exact draw of p(z | x), known for data simulated from the model, the weights
have mean 1 / p(x), and minus the log of their mean is an upper bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from isthmus.batch import Batch
from isthmus.distributions.independent import is_differentiable, is_evaluable
from isthmus.errors import Declined, InputError, check_positive_int, unknown
from isthmus.latent_model import Model
from isthmus.metrics.estimate import Estimate, mean_and_error
from isthmus.metrics.hmc import ChainState, LogDensityFn, hmc_step
from isthmus.metrics.importance_weighting import NOISE_SEED
from isthmus.random_streams import seeded
from isthmus.train.device_data import DeviceDataset

DEFAULT_STEPS = 1000
"""Temperatures between the start and the posterior."""
DEFAULT_CHAINS = 16
"""Chains per row."""
DEFAULT_LEAPFROG_STEPS = 10
"""Leapfrog steps of a Hamiltonian move."""
STARTS = ("prior", "posterior")
"""Distributions that chains may start from."""
SIGMOID_RANGE = 4.0
"""The schedule is a sigmoid over [-4, 4]: dense near both ends, where the path bends most (Wu et al., 2017)."""
CHAINS_AT_ONCE = 1024
"""Chains that run together; their noise is drawn together, so that results depend on it."""
TARGET_ACCEPTANCE = 0.65
"""Acceptance rate near which Hamiltonian Monte Carlo is most efficient (Neal, 2011)."""
CHAINS_PER_PILOT_CHAIN = 4
"""A quarter as many pilot chains tune the step sizes beforehand."""
PILOT_WARMUP_MOVES = 50
"""Moves of the pilot chains at their first temperature: enough to change a step size by e^16 (see the rate below)."""
LOG_STEP_SIZE_RATE = 0.5
"""Change of log step size for each unit by which the acceptance misses its target, in one move."""


class AISResult(NamedTuple):
    """Estimates of log p(x) for each row, (n,) each; no two rows share noise."""

    values: np.ndarray
    """Nats in the data's own units: a lower bound in expectation."""
    error: np.ndarray
    """Standard error by a jackknife over chains, nats; infinite for one chain."""
    acceptance: np.ndarray
    """Mean acceptance probability of the moves."""
    ess: np.ndarray
    """Effective number of chains, (sum w)^2 / sum w^2."""


class BDMCBounds(NamedTuple):
    """Lower and upper bounds on log p(x) of simulated rows, nats in the data's own units."""

    lower: np.ndarray
    """(n,) at most log p(x) in expectation."""
    upper: np.ndarray
    """(n,) at least log p(x) in expectation."""
    gap: Estimate
    """Mean of upper - lower over rows: neither estimate is biased by more."""


class AISConfig(NamedTuple):
    """How chains are run."""

    beta: list[float]
    """(T + 1,) inverse temperatures from 0 to 1."""
    chains: int
    leapfrog: int
    start: str


def ais(
    model: Model,
    rows: DeviceDataset,
    *,
    steps: int = DEFAULT_STEPS,
    chains: int = DEFAULT_CHAINS,
    leapfrog: int = DEFAULT_LEAPFROG_STEPS,
    seed: int = NOISE_SEED,
    start: str = "prior",
) -> AISResult:
    """Log p(x) by annealed importance sampling with Hamiltonian moves (Neal, 2001; Wu et al., 2017).

    Step sizes are tuned by pilot chains beforehand and then held fixed: if they adapted to the chains themselves, the
    weights would no longer be unbiased.

    Args:
        model: a model with a prior density.
        rows: n rows.
        steps: T, the number of temperatures between start and p(z | x).
        chains: independent chains for each row.
        leapfrog: leapfrog steps of one Hamiltonian move.
        seed: of all noise.
        start: "prior" starts at p(z), "posterior" at q(z | x) (Ding & Freedman, 2019), which needs fewer steps if q is
            good.

    Raises:
        Declined: if the model has no continuous code with a prior density that chains can follow, or with
            `start="posterior"` no such posterior.
    """
    config = make_config(steps, chains, leapfrog, start)
    seeds = np.random.default_rng(seed)
    blocks = []
    for index in torch.arange(len(rows), device=rows.device).split(rows_per_block(config)):
        with seeded(next_seed(seeds), model):
            batch = rows.batch(index)
            step_sizes = tune_step_sizes(model, batch, config)
        with seeded(next_seed(seeds), model):
            blocks.append(forward_chain(model, batch, config, step_sizes))
    log_weight, acceptance = (np.concatenate(part, -1) for part in zip(*blocks))  # (K, n), (n,)
    ess = np.exp(2 * np.logaddexp.reduce(log_weight) - np.logaddexp.reduce(2 * log_weight))
    return AISResult(log_mean_exp(log_weight), jackknife_error(log_weight), acceptance, ess)


def bdmc(
    model: Model,
    n: int,
    *,
    c: Tensor | None = None,
    mask: Tensor | None = None,
    steps: int = DEFAULT_STEPS,
    chains: int = DEFAULT_CHAINS,
    leapfrog: int = DEFAULT_LEAPFROG_STEPS,
    seed: int = NOISE_SEED,
    start: str = "prior",
) -> BDMCBounds:
    """Bidirectional Monte Carlo: lower and upper bounds on log p(x) of simulated rows (Grosse et al., 2015; 2016).

    The code from which a row was simulated is an exact draw from p(z | x); chains that anneal back from there bound
    log p(x) from above.

    Args:
        model: a model with a prior density.
        n: rows to simulate.
        c: (n, C) their conditions, in network units.
        mask: (n, T) True where a step of a sequence is real.
        steps, chains, leapfrog, seed, start: as in `ais`.

    Raises:
        Declined: as `ais`.
        InputError: if `c` or `mask` has another length than n.
    """
    config = make_config(steps, chains, leapfrog, start)
    check_positive_int("n", n)
    for name, value in (("c", c), ("mask", mask)):
        if value is not None and len(value) != n:
            raise InputError(f"{name} must have one row for each of the n={n} simulated rows, got {len(value)} rows.")
    device = next(model.parameters()).device
    seeds = np.random.default_rng(seed)
    with seeded(next_seed(seeds), model):
        annealed_prior(model, Batch(torch.empty(n, 0, device=device), c, mask))
        codes, x = model.draw(n, c, mask)
    lower, upper = [], []
    for index in torch.arange(n, device=device).split(rows_per_block(config)):
        batch = Batch(x[index], *(None if part is None else part[index] for part in (c, mask)))
        with seeded(next_seed(seeds), model):
            step_sizes = tune_step_sizes(model, batch, config)  # from x alone: independent of the exact draw
        with seeded(next_seed(seeds), model):
            lower.append(log_mean_exp(forward_chain(model, batch, config, step_sizes)[0]))
            upper.append(-log_mean_exp(reverse_chain(model, batch, config, step_sizes, codes[index])))
    below, above = np.concatenate(lower), np.concatenate(upper)
    return BDMCBounds(below, above, mean_and_error(above - below))


def make_config(steps: int, chains: int, leapfrog: int, start: str) -> AISConfig:
    """The arguments of `ais`, validated."""
    for name, value in (("steps", steps), ("chains", chains), ("leapfrog", leapfrog)):
        check_positive_int(name, value)
    if start not in STARTS:
        raise unknown("start", str(start), STARTS)
    return AISConfig(sigmoid_schedule(steps), chains, leapfrog, start)


def sigmoid_schedule(steps: int) -> list[float]:
    """(steps + 1,) inverse temperatures from 0 to 1 along a sigmoid (Wu et al., 2017).

    >>> [round(beta, 3) for beta in sigmoid_schedule(4)]
    [0.0, 0.105, 0.5, 0.895, 1.0]
    """
    # sigmoid(s) = (1 + tanh(s / 2)) / 2; shift and scale are lost in the normalization
    curve = np.tanh(SIGMOID_RANGE / 2 * np.linspace(-1, 1, steps + 1))
    return ((curve - curve[0]) / (curve[-1] - curve[0])).tolist()


def rows_per_block(config: AISConfig) -> int:
    """Rows whose chains are decoded at once."""
    return max(1, CHAINS_AT_ONCE // config.chains)


def next_seed(seeds: np.random.Generator) -> int:
    return int(seeds.integers(2**63))


def log_mean_exp(log_weight: np.ndarray) -> np.ndarray:
    """(K, n) log-weights to (n,): the log of their mean."""
    return np.logaddexp.reduce(log_weight) - math.log(len(log_weight))


def jackknife_error(log_weight: np.ndarray) -> np.ndarray:
    """(n,) standard error of `log_mean_exp` of (K, n), by leaving out one chain at a time."""
    chains = len(log_weight)
    if chains == 1:
        return np.full(log_weight.shape[1], math.inf)
    replicates = np.stack([log_mean_exp(np.delete(log_weight, k, 0)) for k in range(chains)])  # (K, n)
    return np.sqrt((chains - 1) * replicates.var(0))


# ------------------------------------------------------------------- the path


def annealed_prior(model: Model, batch: Batch) -> Any:
    """p(z), or p(z | c) of each row; Declined if no chain can anneal from it."""
    if not model.code.size:
        raise Declined("AIS anneals over a code, and this model has none.")
    if model.code.discrete:
        raise Declined("AIS moves codes along gradients, and the codes of this model are discrete.")
    prior = model.prior_for(batch)
    if prior is None:
        raise Declined("This model has no prior over codes, and so no log p(x). Use a VAE, or compare squared errors.")
    if not is_evaluable(prior) or not is_differentiable(prior):
        raise Declined("AIS needs the density of the prior at any code and its gradient, which this prior lacks.")
    return prior


def sample_prior(prior: Any, chains: int, rows: int) -> Tensor:
    """(K, B, *Z) draws, whether the prior is one for all rows or one for each."""
    return prior.sample((chains,) if prior.batch_shape else (chains, rows))


def sample_posterior(q: Any, chains: int, rows: int) -> Tensor:
    """(K, B, *Z) draws from q(z | x); Declined if no chain can anneal from it."""
    if not is_evaluable(q) or not is_differentiable(q):
        raise Declined(
            "AIS from the posterior needs its density at any code and its gradient, which this posterior lacks. "
            "Pass start='prior'."
        )
    z, _, log_weight = q.draw(q.noise(chains, rows))
    if log_weight is not None:
        raise Declined(
            "AIS from the posterior needs unweighted draws, and this posterior weighs them. Pass start='prior'."
        )
    return z


def annealing_path(model: Model, batch: Batch, start: str) -> tuple[Callable[[int], Tensor], LogDensityFn]:
    """What draws codes (K, B, *Z) for K chains to start from, and the function that evaluates the path.

    Gradients are taken by z only: those of parameters are neither computed nor changed.
    """
    with torch.no_grad():
        prior = annealed_prior(model, batch)
        q = model.infer(batch) if start == "posterior" else None

    def sample(chains: int) -> Tensor:
        with torch.no_grad():
            rows = len(batch.x)
            return sample_prior(prior, chains, rows) if q is None else sample_posterior(q, chains, rows)

    def evaluate(z: Tensor) -> ChainState:
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            out = model.at(batch, z, prior)
            log_px, log_pz = out.log_px, out.log_pz
            log_start = log_pz if q is None else q.log_prob(z)
            log_ratio = log_px if q is None else log_px + log_pz - log_start
            (grad_start,) = torch.autograd.grad(log_start.sum(), z, retain_graph=True)
            (grad_ratio,) = torch.autograd.grad(log_ratio.sum(), z)
        return ChainState(z.detach(), log_start.detach(), log_ratio.detach(), grad_start, grad_ratio)

    return sample, evaluate


# ----------------------------------------------------------------- the chains


def forward_chain(
    model: Model, batch: Batch, config: AISConfig, step_sizes: list[Tensor]
) -> tuple[np.ndarray, np.ndarray]:
    """From the start to p(z | x): (K, B) log-weights, E[w] = p(x), and (B,) acceptance."""
    sample, path = annealing_path(model, batch, config.start)
    state = path(sample(config.chains))
    log_weight, acceptance = anneal(path, state, config.beta, step_sizes, config.leapfrog)
    return log_weight.cpu().numpy(), acceptance.cpu().numpy()


def reverse_chain(model: Model, batch: Batch, config: AISConfig, step_sizes: list[Tensor], exact: Tensor) -> np.ndarray:
    """From exact draws (B, *Z) of p(z | x) to the start: (K, B) log-weights, E[w] = 1 / p(x).

    All chains of a row start at its one exact draw, which leaves the mean weight unbiased.
    """
    path = annealing_path(model, batch, config.start)[1]
    state = path(exact.expand(config.chains, *exact.shape))
    return anneal(path, state, config.beta[::-1], step_sizes[::-1], config.leapfrog)[0].cpu().numpy()


def anneal(
    path: LogDensityFn, state: ChainState, beta: list[float], step_sizes: list[Tensor], leapfrog: int
) -> tuple[Tensor, Tensor]:
    """Move chains along the temperatures.

    Args:
        path: evaluates the log-density.
        state: chains at beta[0].
        beta: (T + 1,) ascending, or descending for a reverse chain.
        step_sizes: T - 1 of (B,): nothing moves at either end.
        leapfrog: leapfrog steps of one move.

    Returns:
        (K, B) log-weights in double precision, (B,) mean acceptance.
    """
    log_weight = (beta[1] - beta[0]) * state.log_ratio.double()
    accepted = torch.zeros_like(log_weight[0])
    for current, following, step_size in zip(beta[1:], beta[2:], step_sizes):
        state, acceptance = hmc_step(path, state, current, step_size, leapfrog)
        log_weight += (following - current) * state.log_ratio.double()
        accepted += acceptance.mean(0)
    return log_weight, accepted / max(1, len(step_sizes))


def tune_step_sizes(model: Model, batch: Batch, config: AISConfig) -> list[Tensor]:
    """A step size for each row (B,) and inner temperature, from pilot chains that adapt to the target acceptance."""
    sample, path = annealing_path(model, batch, config.start)
    state = path(sample(max(2, config.chains // CHAINS_PER_PILOT_CHAIN)))
    log_size = torch.zeros(len(batch.x), dtype=state.z.dtype, device=state.z.device)
    sizes: list[Tensor] = []
    inner = config.beta[1:-1]
    for beta in inner[:1] * PILOT_WARMUP_MOVES + inner:
        state, acceptance = hmc_step(path, state, beta, log_size.exp(), config.leapfrog)
        log_size = log_size + LOG_STEP_SIZE_RATE * (acceptance.mean(0) - TARGET_ACCEPTANCE).to(log_size.dtype)
        sizes.append(log_size.exp())
    return sizes[len(sizes) - len(inner) :]
