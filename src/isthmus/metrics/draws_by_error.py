"""log p(x) of each row by as many draws as its error needs.

The mean of K importance weights with coefficient of variation c has a relative standard error of c / sqrt(K), and its
logarithm lies c² / 2K below log p(x) (a second-order expansion). Nine rows in ten are within

    error = 1.645 c / sqrt(K) + c² / 2K    nats

of log p(x). K follows from c, which other draws of the same row show: a pilot, that grows until it is a quarter of what
it asks for. Where much is needed, the posterior is refined first (`refined_posterior`). Neither the pilot's draws nor
those of the refinement are in the estimate: given them it is a mean of K fresh weights, so its expectation is p(x) and
that of its logarithm at most log p(x), whatever K they chose.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from isthmus.errors import InputError, check_positive_int
from isthmus.latent_model import Model
from isthmus.metrics.importance_weighting import (
    NOISE_SEED,
    Chunk,
    Progress,
    chunk_passes,
    decoded_at_once,
    draw_log_weight,
    encode_chunks,
    iter_weights,
    require_density,
)
from isthmus.metrics.refined_posterior import bound_of, can_refine, draws_of_step, refine, with_covariances
from isthmus.random_streams import seeded
from isthmus.train.device_data import DeviceDataset
from isthmus.wording import pluralize, quoted

AUTO = "auto"
"""As many draws as the tolerance needs."""
TOLERANCE, MAX_DRAWS = 0.1, 10_000
"""Nats, and draws of one estimate at most."""
MAX_SHORT = 0.1
"""Share of rows that may miss the tolerance: nine in ten are promised."""
NINE_IN_TEN = 1.645
"""Quantile of the normal distribution: 90 % of errors are within as many standard errors."""
MIN_DRAWS = 16
"""Draws that every estimate has; fewer say too little about their own error."""
PILOT_DRAWS = 32
"""Draws that first show how many are needed."""
MAX_EXTRAPOLATION = 4
"""How many times the pilot's draws the estimate may have: heavy tails do not show in few draws."""
AIM = 0.8
"""Share of the tolerance that K is chosen for: what the pilot does not see of heavy tails comes on top."""
WORTH_REFINING = 8
"""A row whose estimate needs as many times the draws of a refining step gains by one: with gradients, these cost three
times as much, and a second round of them shows what is gained."""
MAX_STEPS = 20
"""Steps of refinement, at most."""
MIN_GAIN = 0.05
"""Nats of the bound by which a step must improve it for another to follow."""
PILOT_SEED, STEP_SEED = 1, 2
"""Added to the seed of the noise, for the pilot's and the refinement's own."""


class RowScores(NamedTuple):
    """log p(x) of each row."""

    values: np.ndarray
    """(n,) nats, of a lower bound in expectation."""
    error: np.ndarray
    """(n,) nats: about nine rows in ten are within it of log p(x); 0 if the model gives log p(x) exactly, infinite for
    one draw."""
    draws: np.ndarray
    """(n,) draws of each estimate."""

    @classmethod
    def over(cls, parts: Iterable[tuple[WeightSums, bool]]) -> Self:
        """The scores of the rows of parts, each with its sums and whether they are log p(x) itself."""
        columns = []
        for sums, exact in parts:
            error = torch.zeros_like(sums.value) if exact else sums.error
            columns.append([each.cpu().numpy() for each in (sums.value, error, sums.count)])
        values, errors, draws = map(np.concatenate, zip(*columns)) if columns else (np.zeros(0),) * 3
        return cls(values, errors, draws.astype(int))


class WeightSums:
    """Sums over the draws of each row: of importance weights, of their squares, and their number.

    Args:
        log_sum, log_square_sum: (B,) logarithms of sums, in double precision.
        count: (B,) draws.
    """

    def __init__(self, log_sum: Tensor, log_square_sum: Tensor, count: Tensor):
        self.log_sum, self.log_square_sum, self.count = log_sum, log_square_sum, count

    @classmethod
    def of(cls, log_weight: Tensor) -> Self:
        """The sums of weights (K, B)."""
        count = torch.full_like(log_weight[0], len(log_weight))
        return cls(log_weight.logsumexp(0), (2 * log_weight).logsumexp(0), count)

    @classmethod
    def none(cls, rows: int, device: torch.device) -> Self:
        """Those of no draw."""
        empty = torch.full((rows,), -math.inf, dtype=torch.float64, device=device)
        return cls(empty, empty.clone(), torch.zeros_like(empty))

    def take(self, index: Tensor) -> WeightSums:
        """The sums of some rows."""
        return WeightSums(self.log_sum[index], self.log_square_sum[index], self.count[index])

    def put(self, index: Tensor, other: WeightSums) -> None:
        """Replace the sums of some rows."""
        for name in ("log_sum", "log_square_sum", "count"):
            getattr(self, name)[index] = getattr(other, name)

    def add(self, index: Tensor, log_weight: Tensor) -> None:
        """Add weights (K, B') to the rows `index` (B',)."""
        new, old = WeightSums.of(log_weight), self.take(index)
        sums = torch.logaddexp(old.log_sum, new.log_sum), torch.logaddexp(old.log_square_sum, new.log_square_sum)
        self.put(index, WeightSums(*sums, old.count + new.count))

    @property
    def value(self) -> Tensor:
        """(B,) log of the mean weight."""
        return self.log_sum - self.count.log()

    @property
    def variation(self) -> Tensor:
        """(B,) squared coefficient of variation of a weight; NaN for one draw."""
        mean_square = (self.log_square_sum - 2 * self.log_sum).exp() * self.count - 1
        return (mean_square * self.count / (self.count - 1)).clamp(min=0.0)

    @property
    def error(self) -> Tensor:
        """(B,) nats, as the module says."""
        share = self.variation / self.count
        return (NINE_IN_TEN * share.sqrt() + share / 2).nan_to_num(nan=math.inf)


def variation_of(log_weight: Tensor) -> Tensor:
    """(B,) squared coefficient of variation c² of weights (K, B), in double precision.

    A few draws of heavy weights miss the largest, so three more as large as the largest seen are added. Were
    log-weights normal, c² were exp(s²) - 1 with s their standard deviation, which few draws do show; of their
    distribution only the upper half matters, so s is that half's. The larger of the two counts.
    """
    above = (log_weight - log_weight.median(0).values).clamp(min=0.0)
    upper_variance = 2 * above.square().mean(0)
    largest = log_weight.max(0, keepdim=True).values
    heavier = torch.cat([log_weight, largest, largest, largest])
    return torch.maximum(WeightSums.of(heavier).variation, upper_variance.expm1())


def share_within(tolerance: float) -> float:
    """c² / K at which the error is `tolerance`.

    >>> share = share_within(0.1)
    >>> round(1.645 * share**0.5 + share / 2, 6)
    0.1
    """
    return (math.sqrt(NINE_IN_TEN**2 + 2 * tolerance) - NINE_IN_TEN) ** 2


def check_draws(draws: Any, tolerance: Any, max_draws: Any) -> None:
    """Raise InputError for settings that `score_rows` cannot use."""
    if isinstance(draws, str):
        if draws != AUTO:
            raise InputError(f"draws must be an integer >= 1 or 'auto', got {quoted(draws)}.")
    else:
        check_positive_int("draws", draws)
    check_positive_int("max_draws", max_draws)
    if (
        isinstance(tolerance, bool)
        or not isinstance(tolerance, int | float | np.number)
        or not 0 < tolerance < math.inf
    ):
        raise InputError(f"tolerance must be a number of nats > 0, got {quoted(tolerance)}.")


def score_rows(
    model: Model,
    rows: DeviceDataset,
    draws: int | str = AUTO,
    *,
    tolerance: float = TOLERANCE,
    max_draws: int = MAX_DRAWS,
    progress: Progress | None = None,
    seed: int = NOISE_SEED,
) -> RowScores:
    """Importance-weighted log p(x) of each row with its error; a row's score depends on no other row.

    Args:
        model: a model with a density.
        rows: n rows.
        draws: draws from the encoder's q(z | x) for each row; "auto": as many as `tolerance` needs, from the refined
            posterior where that needs fewer.
        tolerance: nats of log p(x) that about nine rows in ten are within.
        max_draws: draws of an estimate of "auto", at most.
        progress: called with the share of the rows that is done.
        seed: of all draws.

    Raises:
        Declined: if the model has no density.
        InputError: for draws, tolerance or max_draws out of range.
    """
    check_draws(draws, tolerance, max_draws)
    require_density(model)
    if draws != AUTO:
        weights = iter_weights(model, encode_chunks(model, rows, progress=progress), int(draws), seed)
        return RowScores.over((WeightSums.of(each.log_weight), each.exact) for each in weights)
    first = rows.batch(torch.arange(min(1, len(rows)), device=rows.device))
    plan = Scoring(model, share_within(AIM * tolerance), max_draws, seed, decoded_at_once(model, first))
    with torch.no_grad():
        chunks = encode_chunks(model, rows, max(1, plan.decoded // MIN_DRAWS), progress)
        scores = RowScores.over(map(plan.score, chunks))
    short = (scores.draws >= max_draws) & (scores.error > tolerance)
    if short.mean() > MAX_SHORT:
        warnings.warn(
            f"{short.sum():,} of {pluralize(len(short), 'row')} are not within tolerance={tolerance:g} nats of "
            f"log p(x): max_draws={max_draws:,} are too few for them. Pass a larger tolerance or max_draws; "
            "return_error=True gives the error of each row.",
            UserWarning,
            stacklevel=2,
        )
    return scores


class Scoring:
    """How the rows of one model are scored, with the noise that all of them share.

    Args:
        model: a model with a density.
        share: c² / K to reach.
        max_draws: draws of an estimate, at most.
        seed: of all draws.
        decoded: rows that pass through the decoder at once.
    """

    def __init__(self, model: Model, share: float, max_draws: int, seed: int, decoded: int):
        self.model, self.share, self.max_draws, self.seed, self.decoded = model, share, max_draws, seed, decoded
        self._noise: dict[int, Tensor] = {}

    def noise(self, chunk: Chunk, purpose: int, draws: int) -> Tensor:
        """(draws, 1, ...) the first numbers of one purpose: the same for all rows."""
        known = self._noise.get(purpose)
        if known is None or len(known) < draws:
            with seeded(self.seed + purpose, self.model):
                known = self._noise[purpose] = chunk.q.noise(max(draws, self.max_draws if purpose < 2 else 0), 1)
        return known[:draws]

    def weights(self, chunk: Chunk, noise: Tensor, first_block: int | None = None) -> tuple[Tensor, bool]:
        """(K, B) log-weights of a chunk's rows, nats, and whether one of them is log p(x) itself."""
        log_weight, exact = [], False
        block = first_block or max(1, self.decoded // len(chunk.row_index))
        for _, k, out in chunk_passes(self.model, chunk, noise, [len(noise)], block):
            log_weight.append(draw_log_weight(out, k))
            exact = out.exact
        return torch.cat(log_weight), exact

    def needed(self, log_weight: Tensor) -> Tensor:
        """(B,) draws that reach the error, between the least and the most, as the pilot's weights (K, B) tell."""
        draws = (variation_of(log_weight) / self.share).nan_to_num(nan=math.inf)
        return draws.ceil().clamp(min(MIN_DRAWS, self.max_draws), self.max_draws)

    def score(self, chunk: Chunk) -> tuple[WeightSums, bool]:
        """The sums of the weights of a chunk's rows, and whether they are exact."""
        pilot, exact = self.weights(chunk, self.noise(chunk, PILOT_SEED, PILOT_DRAWS), first_block=1)
        if exact:
            return WeightSums.of(pilot), True
        result = WeightSums.none(len(chunk.row_index), pilot.device)
        hard = torch.zeros(len(chunk.row_index), dtype=torch.bool, device=pilot.device)
        if can_refine(chunk):
            hard = self.needed(pilot) > WORTH_REFINING * draws_of_step(chunk.q.loc.shape[1])
        for index, refinable in ((torch.nonzero(~hard)[:, 0], False), (torch.nonzero(hard)[:, 0], True)):
            if len(index):
                rows, weights = chunk.take(index), pilot[:, index]
                if refinable:
                    rows, weights = self.refined(rows, weights)
                result.put(index, self.estimate(rows, self.grown(rows, weights)))
        return result, False

    def refined(self, chunk: Chunk, pilot: Tensor) -> tuple[Chunk, Tensor]:
        """The rows with the best of the normals that steps of refinement found, and log-weights of draws from these.

        Args:
            chunk: B rows whose posterior can be refined.
            pilot: (K, B) log-weights of draws from the encoder's, which stay where there are no gradients.
        """
        best = with_covariances(chunk.q)
        step_draws = draws_of_step(best.loc.shape[1])
        active = torch.arange(len(best.loc), device=best.loc.device)
        current, weights = chunk._replace(q=best), pilot
        for t in range(MAX_STEPS):
            after = refine(current, self.noise(chunk, STEP_SEED + t, step_draws // 2), self.decoded)
            if after is None:
                return chunk, pilot
            q = after.q
            if not t:  # draws from the encoder's posterior
                weights = after.log_weight
            else:
                gain = bound_of(after.log_weight) - bound_of(weights[:, active])
                needed = self.needed(after.log_weight)
                better = torch.nonzero(gain > 0)[:, 0]
                best = best.replaced(active[better], current.q.rows(better))
                weights[:, active[better]] = after.log_weight[:, better]
                index = torch.nonzero((gain > MIN_GAIN) & (needed > WORTH_REFINING * step_draws))[:, 0]
                if not len(index):
                    break
                current, q, active = current.take(index), q.rows(index), active[index]
            current = current._replace(q=q)
        return chunk._replace(q=best), weights

    def grown(self, chunk: Chunk, pilot: Tensor) -> Tensor:
        """(B,) draws that rows need, told by a pilot (K, B) that grows where it asks for many times as many draws."""
        needed = self.needed(pilot)
        index = torch.nonzero(needed > MAX_EXTRAPOLATION * len(pilot))[:, 0]
        if len(index):
            rows = chunk if len(index) == len(needed) else chunk.take(index)
            noise = self.noise(chunk, PILOT_SEED, 2 * len(pilot))[len(pilot) :]
            needed[index] = self.grown(rows, torch.cat([pilot[:, index], self.weights(rows, noise)[0]]))
        return needed

    def estimate(self, chunk: Chunk, draws: Tensor) -> WeightSums:
        """Sums of fresh weights, as many as each row needs, (B,) `draws`; rows that have theirs drop out."""
        draws = rounded_up(draws).clamp(max=self.max_draws)
        sums = WeightSums.none(len(draws), draws.device)
        start = 0
        for stop in draws.unique().tolist():
            index = torch.nonzero(draws >= stop)[:, 0]
            rows = chunk if len(index) == len(draws) else chunk.take(index)
            sums.add(index, self.weights(rows, self.noise(chunk, 0, int(stop))[start:])[0])
            start = int(stop)
        return sums


def rounded_up(draws: Tensor) -> Tensor:
    """Numbers of draws rounded up to 16, 24, 32, 48, 64, 96 ...: rows with the same number are drawn for together.

    >>> rounded_up(torch.tensor([16.0, 17.0, 33.0, 700.0])).tolist()
    [16.0, 24.0, 48.0, 768.0]
    """
    power = 2.0 ** (draws / MIN_DRAWS).log2().ceil() * MIN_DRAWS
    return torch.where(draws <= 0.75 * power, 0.75 * power, power)
