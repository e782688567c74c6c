"""Importance-weighted log p(x) and the evidence lower bound, nats in the data's own units."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn

from isthmus.batch import Batch
from isthmus.distributions.independent import LightDistribution
from isthmus.errors import Declined, check_positive_int
from isthmus.forward_pass import Pass
from isthmus.latent_model import Model
from isthmus.memory_blocks import by_blocks, smaller_block
from isthmus.metrics.estimate import mean_and_error
from isthmus.random_streams import repeatable, seeded
from isthmus.train.device_data import DeviceDataset

CHUNK_ROWS = 128
"""Rows encoded at once."""
DECODED_NUMBERS = 2**19
"""Numbers in the widest layer for rows that pass through the decoder at once: they then stay in the cache."""
MIN_DECODED_ROWS, MAX_DECODED_ROWS = 32, 8192
"""Range of the number of these rows."""
GPU_ROWS = 1024
"""Their number on a GPU, where nothing is won by a cache."""
CONVOLVED_ROWS = 256
"""Their number where there are convolutions, whose activations are many times as wide as the data."""
NOISE_SEED = 1312_6114
"""Seed of all draws for log p(x): the same noise for every model."""
JACKKNIFE_GROUPS = 10
"""Groups of draws; how much the estimate changes without one of them gives the error that all rows share."""
UPPER_QUANTILE = 0.975
"""Upper end of 95 % intervals."""
MIN_GAIN_RATIO, MAX_GAIN_RATIO = 0.7, 0.9
"""Range of the ratio of the gains of two successive doublings of draws. With many draws it is 1/2 for weights of finite
variance and larger for heavy tails; what a few draws show of it is too uncertain to count on less than 0.7."""

Progress = Callable[[float], None]
"""Called with the share of the work that is done, from 0 to 1."""


NO_DENSITY = "This model has no density over x, and so no log p(x). Use a VAE, or compare squared errors."
NO_LOG_LIKELIHOOD = (
    "The loss of this model is no log p(x), as a cross-entropy of numbers between 0 and 1 is none. Use "
    "likelihood='continuous_bernoulli' for one, or compare squared errors."
)
"""Why a model has no scores: it has no prior, or no density of x."""


class Chunk(NamedTuple):
    """Some rows, encoded."""

    model: Model
    """By which they are encoded."""
    row_index: Tensor
    """(B,) which rows they are."""
    batch: Batch
    q: Any
    """q(z | x) of each row."""
    prior: Any
    """p(z), one for all rows or one for each; None for a model without a prior."""

    def take(self, index: Tensor) -> Chunk:
        """The rows at positions `index`; distributions that cannot be taken apart are inferred again."""
        batch = Batch._make([None if part is None else part[index] for part in self.batch])
        q, prior = self.q.rows(index), self.prior
        with torch.no_grad(), repeatable(self.model, int(self.row_index[0]) if len(self.row_index) else 0):
            if q is None:
                q = self.model.infer(batch)
            if prior is not None and prior.batch_shape:
                taken = prior.rows(index) if isinstance(prior, LightDistribution) else None
                prior = self.model.prior_for(batch) if taken is None else taken
        return Chunk(self.model, self.row_index[index], batch, q, prior)


def encode_chunks(
    model: Model, rows: DeviceDataset, size: int = CHUNK_ROWS, progress: Progress | None = None
) -> Iterator[Chunk]:
    """Encode rows chunk by chunk, in order; a list of the chunks serves several metrics with one pass of the encoder.

    Args:
        model: a trained model.
        rows: n rows.
        size: rows in a chunk.
        progress: called with the share of the rows whose chunks have been used.
    """

    def encoded(index: Tensor) -> Chunk:
        with torch.no_grad(), repeatable(model, int(index[0])):
            batch = rows.batch(index)
            return Chunk(model, index, batch, model.infer(batch), model.prior_for(batch))

    for chunk in by_blocks(encoded, len(rows), size, rows.device):
        yield chunk
        if progress is not None:
            progress((int(chunk.row_index[-1]) + 1) / len(rows))


def first_rows(chunks: Iterable[Chunk], count: int) -> list[Chunk]:
    """Chunks of the first `count` rows."""
    parts: list[Chunk] = []
    for chunk in chunks:
        if count < len(chunk.row_index):
            chunk = chunk.take(torch.arange(count, device=chunk.row_index.device))
        parts.append(chunk)
        count -= len(chunk.row_index)
        if not count:
            break
    return parts


class LogLikelihood(NamedTuple):
    """Estimates for each row, and the error that they have in common."""

    values: np.ndarray
    """(n,) nats."""
    shared_error: float
    """Standard error of their mean that remains however many rows there are: all rows see the same draws, so the draws'
    noise does not average out over rows. Infinite for a single draw, 0 if the model gives log p(x) exactly."""
    bound_gap: float = 0.0
    """How far the mean of a lower bound is below that of log p(x), by extrapolation; at least 0."""
    groups: int = JACKKNIFE_GROUPS
    """Groups of draws whose differences gave the shared error."""

    @property
    def error(self) -> float:
        """Standard error of the mean that all rows share, of the draws and of the bound: 1.96 of it are 95 %.

        The spread of few groups is itself uncertain, so it counts as many times as the quantile of Student's t is
        larger than that of the normal distribution.
        """
        if not math.isfinite(self.shared_error) or not self.shared_error:
            return self.shared_error
        widening = float(stats.t.ppf(UPPER_QUANTILE, self.groups - 1) / stats.norm.ppf(UPPER_QUANTILE))
        return math.hypot(widening * self.shared_error, self.bound_gap)


class ChunkWeights(NamedTuple):
    """Importance weights of the rows of one chunk, nats, in double precision."""

    log_weight: Tensor
    """(K, B) log of the weights p(x, z_k) / q(z_k | x), whose mean estimates p(x). A draw for which the posterior
    enumerates several values has one weight, their weighted sum. K is 1 if the model gives log p(x) exactly."""
    elbo: Tensor
    """(B,) E_q[log p(x, z) - log q(z | x)] from the same draws."""
    kl: Tensor
    """(B, L) KL(q(z | x) || p(z)) of each latent dimension or group."""
    exact: bool
    """Whether `log_weight` is log p(x) itself."""
    own_evidence: bool = False
    """Whether the model estimated p(x) itself of all draws of a pass: equal weights, which tell no error."""


def decoded_at_once(model: Model, batch: Batch) -> int:
    """How many rows pass through the decoder at once, by the width of the data and of the widest linear layer."""
    if batch.target.device.type != "cpu":
        return GPU_ROWS
    width = max(1, batch.target.shape[1:].numel())
    for module in model.modules():
        if isinstance(module, nn.modules.conv._ConvNd):
            return CONVOLVED_ROWS
        if isinstance(module, nn.Linear):
            width = max(width, module.out_features)
    return min(max(DECODED_NUMBERS // width, MIN_DECODED_ROWS), MAX_DECODED_ROWS)


def group_sizes(draws: int) -> list[int]:
    """Sizes of the groups of draws, as equal as possible, the largest first.

    >>> group_sizes(25), group_sizes(3)
    ([3, 3, 3, 3, 3, 2, 2, 2, 2, 2], [1, 1, 1])
    """
    check_positive_int("draws", draws)
    return [len(group) for group in np.array_split(range(draws), min(JACKKNIFE_GROUPS, draws))]


def importance_weighted(model: Model, chunks: Iterable[Chunk], draws: int, seed: int = NOISE_SEED) -> LogLikelihood:
    """Importance-weighted log p(x), a lower bound that rises to log p(x) with the draws (Burda et al., 2016).

        log 1/K sum_k p(x, z_k) / q(z_k | x),  z_k ~ q(z | x)

    Args:
        model: a model with a density.
        chunks: its n rows, encoded: `encode_chunks(model, rows)`.
        draws: K, the number of draws for each row; a model that gives log p(x) exactly takes one.
        seed: of the draws.

    Raises:
        Declined: if the model has no density.
    """
    require_density(model)
    sizes = group_sizes(draws)
    log_sums, exact = [], False
    for weights in iter_weights(model, chunks, draws, seed):
        log_sums.append(group_log_sums(weights.log_weight, sizes).numpy())
        exact = weights.exact
    return combine(np.concatenate(log_sums, 1), np.array(sizes), exact)


def elbo(model: Model, chunks: Iterable[Chunk], draws: int, seed: int = NOISE_SEED) -> LogLikelihood:
    """Evidence lower bound E_q[log p(x | z)] - KL(q(z | x) || p(z)), with the exact KL where there is a closed form.

    The shared error is that of a mean of groups of draws. Arguments as in `importance_weighted`.
    """
    require_density(model)
    sizes = group_sizes(draws)
    parts, exact = [], False
    for chunk, passes in iter_passes(model, chunks, sizes, seed):
        sums = torch.zeros((len(sizes), len(chunk.row_index)), dtype=torch.float64)  # (G, B) over the draws of a group
        with torch.no_grad():
            for g, k, out in passes:
                sums[g] += k * out.elbo.double().cpu()
                exact = out.exact
        parts.append(sums)
    sums = torch.cat(parts, 1)  # (G, n)
    if exact:
        return LogLikelihood(sums[0].numpy(), 0.0)
    group_means = (sums.mean(1) / torch.tensor(sizes)).numpy()  # (G,)
    return LogLikelihood((sums.sum(0) / draws).numpy(), mean_and_error(group_means).error, groups=len(sizes))


def require_density(model: Model) -> None:
    """Raise Declined for a model without log p(x)."""
    if not model.capabilities.has_density:
        raise Declined(NO_LOG_LIKELIHOOD if model.capabilities.has_rate else NO_DENSITY)


def iter_weights(model: Model, chunks: Iterable[Chunk], draws: int, seed: int) -> Iterator[ChunkWeights]:
    """Importance weights of one chunk after another. Arguments as in `importance_weighted`."""
    for _, passes in iter_passes(model, chunks, [draws], seed):
        log_weight, elbo, kl, count, exact, own = [], [], [], 0, False, False
        with torch.no_grad():
            for _, k, out in passes:
                log_weight.append(draw_log_weight(out, k).cpu())
                elbo.append(k * out.expectation(out.log_ratio.double()).cpu())
                kl.append(k * out.kl.double().cpu())
                count, exact, own = count + k, out.exact, out.log_evidence is not None
        mean_elbo, mean_kl = torch.stack(elbo).sum(0) / count, torch.stack(kl).sum(0) / count
        yield ChunkWeights(torch.cat(log_weight), mean_elbo, mean_kl, exact, own)


def draw_log_weight(out: Pass, draws: int) -> Tensor:
    """(k, B) log-weight of each of k draws of a pass, nats, in double precision; their mean weight estimates p(x).

    The logsumexp over all k draws and the E values of each estimates log p(x). A single draw is one of k equal shares:
    its own estimate is the logsumexp over its E values, plus log k. Draws from a point are one.
    """
    log_importance = out.log_importance.double()  # (k * E, B)
    if out.draws == 1:
        return log_importance.expand(draws, -1)
    return log_importance.unflatten(0, (draws, -1)).logsumexp(1) + math.log(draws)


def iter_passes(
    model: Model, chunks: Iterable[Chunk], sizes: list[int], seed: int
) -> Iterator[tuple[Chunk, Iterator[tuple[int, int, Pass]]]]:
    """Every chunk with an iterator over its passes, see `chunk_passes`.

    All rows share one block of noise, so that a row's score does not depend on the other rows.

    Args:
        model: a model with a prior.
        chunks: encoded rows.
        sizes: number of draws in each group.
        seed: of the noise.
    """
    if not model.capabilities.has_density and not model.capabilities.has_rate:
        raise Declined(NO_DENSITY)
    noise: Tensor | None = None
    for chunk in chunks:
        if noise is None:
            with torch.no_grad(), seeded(seed, model):
                noise = chunk.q.noise(sum(sizes), 1)
        yield chunk, chunk_passes(model, chunk, noise, sizes)


def chunk_passes(
    model: Model, chunk: Chunk, noise: Tensor, sizes: list[int], first_block: int = 1, seed: int = 0
) -> Iterator[tuple[int, int, Pass]]:
    """Passes of the rows of one chunk through the decoder, in blocks of draws that fit into the cache.

    Args:
        model: a model with a density.
        chunk: B encoded rows.
        noise: (K, 1, ...) for all draws.
        sizes: number of draws in each group; a block lies in one group.
        first_block: draws in the first block; one shows how many values a draw enumerates, and whether it is exact.
        seed: of networks of a user that draw, plus the number of a draw.

    Yields:
        Group, number of draws k in the block, and their pass of k * E draws if the posterior enumerates E values for
        each. If one draw gives log p(x) exactly, there is only one pass.
    """
    start, block, most = 0, first_block, decoded_at_once(model, chunk.batch)
    for g, size in enumerate(sizes):
        stop = start + size
        while start < stop:
            k = min(block, stop - start)
            try:
                with repeatable(model, seed + start):
                    out = model.forward_from(chunk.batch, chunk.q, noise[start : start + k], chunk.prior)
            except Exception as error:
                block = smaller_block(k, error)
                most = most * block // k
                continue
            yield g, k, out
            if out.exact:
                return
            start += k
            values = max(1, out.draws // k)  # of each draw
            block = max(1, most // (len(chunk.row_index) * values))


def group_log_sums(log_weight: Tensor, sizes: list[int]) -> Tensor:
    """(K, B) log-weights of all draws to (G, B) log of the sum of each group; (1, B) stays as it is."""
    if len(log_weight) == 1:
        return log_weight
    return torch.stack([group.logsumexp(0) for group in log_weight.split(sizes)])


def combine(log_sums: np.ndarray, sizes: np.ndarray, exact: bool = False) -> LogLikelihood:
    """Log-likelihoods from the weights of groups of draws; the shared error is a jackknife over groups.

    Values stay what the draws give: how far they are below log p(x) is estimated of their mean only.

    Args:
        log_sums: (G, n) log of the sum of the importance weights of each group; (1, n) log p(x) itself if exact.
        sizes: (G,) draws in each group.
        exact: whether the model gives log p(x) exactly.
    """
    if exact:
        return LogLikelihood(log_sums[0], 0.0)
    with np.errstate(invalid="ignore"):  # weights of a diverged model are NaN
        values = np.logaddexp.reduce(log_sums) - math.log(sizes.sum())
        if len(sizes) == 1:
            return LogLikelihood(values, math.inf)
        replicates = [
            float((np.logaddexp.reduce(np.delete(log_sums, g, 0)) - math.log(sizes.sum() - sizes[g])).mean())
            for g in range(len(sizes))
        ]
    with np.errstate(over="ignore"):  # log p(x) of a row far from all others may be -1e200
        shared_error = math.sqrt((len(sizes) - 1) * float(np.var(replicates)))
    return LogLikelihood(values, shared_error, bound_gap(log_sums, sizes), len(sizes))


def bound_gap(log_sums: np.ndarray, sizes: np.ndarray) -> float:
    """How far the mean importance-weighted bound of all draws is below log p(x).

    The bound of K draws gains g = L(K) - L(K / 2) by the last doubling. If each further doubling gains r times as much
    as the one before, all of them gain g (r + r² + ...) = g r / (1 - r). Both g and r = g / (L(K / 2) - L(K / 4)) are
    means over all halves and quarters of the same draws, whose noise they share.

    Args:
        log_sums: (G, n) log of the sum of the importance weights of each group, G > 1.
        sizes: (G,) draws in each group.
    """

    def mean_bound(parts: list[np.ndarray]) -> float:
        bounds = [np.logaddexp.reduce(log_sums[part]) - math.log(sizes[part].sum()) for part in parts]
        return float(np.mean(bounds))

    whole = np.arange(len(sizes))
    halves = [whole[::2], whole[1::2]]
    gain, ratio = mean_bound([whole]) - mean_bound(halves), MIN_GAIN_RATIO
    if len(sizes) >= 4:
        quarters = [part for half in halves for part in (half[::2], half[1::2])]
        gain_before = mean_bound(halves) - mean_bound(quarters)
        ratio = min(max(gain / gain_before, MIN_GAIN_RATIO), MAX_GAIN_RATIO) if gain_before > 0 else MIN_GAIN_RATIO
    return max(gain, 0.0) * ratio / (1 - ratio)
