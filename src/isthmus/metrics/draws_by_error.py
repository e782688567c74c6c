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
    ChunkWeights,
    Progress,
    chunk_passes,
    decoded_at_once,
    draw_log_weight,
    encode_chunks,
    iter_weights,
    require_density,
)
from isthmus.metrics.refined_posterior import (
    WithEncoder,
    can_refine,
    draws_of_step,
    refined,
    taken,
)
from isthmus.random_streams import repeatable, seeded, uniform
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
CHUNKS_A_BLOCK = 16
"""Draws of a chunk of rows that fill a block of the decoder: progress is told after each chunk."""
PILOT_DRAWS = 32
"""Draws that first show how many are needed."""
ENCODER_DRAWS = 128
"""Draws from the encoder's posterior by which what a refined one misses is looked for."""
MAX_EXTRAPOLATION = 4
"""How many times the pilot's draws the estimate may have: heavy tails do not show in few draws."""
AIM = 0.9
"""Share of the tolerance that K is chosen for: heavy tails are worse than a pilot shows."""
WORTH_REFINING = 8
"""A row is refined if it asks for more than as many times the draws of a step, which cost three times."""
NOISE_BLOCK = 256
"""Draws whose noise is made at once."""
OWN_EVIDENCE_DRAWS = 1000
"""Draws for a model that estimates p(x) itself."""
MIN_EFFECTIVE_DRAWS = 5
"""Fewer effective draws, about (sum w)² / sum w², say nothing of the error: it is infinite."""
ESTIMATE, PILOT, STEPS = 0, 1, 2
"""What noise is for: the estimate, the pilot, and the steps of refinement, 2 for the first."""
CHOICE, NETWORK = 64, 128
"""Added to it for which proposal a draw is from, and for what networks of a user draw."""


class RowScores(NamedTuple):
    """log p(x) of each row."""

    values: np.ndarray
    """(n,) nats, of a lower bound in expectation."""
    error: np.ndarray
    """(n,) nats: about nine rows in ten are within it of log p(x), as far as their draws show. 0 if the model gives
    log p(x) exactly, infinite where a few draws dominate."""
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
    def none(cls, rows: int) -> Self:
        """Those of no draw."""
        empty = torch.full((rows,), -math.inf, dtype=torch.float64)
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
        """(B,) nats, as the module says; infinite where a few draws dominate."""
        share = self.variation / self.count
        known = self.count / (1 + self.variation) >= MIN_EFFECTIVE_DRAWS
        return torch.where(known, NINE_IN_TEN * share.sqrt() + share / 2, math.inf)


def variation_of(log_weight: Tensor) -> Tensor:
    """(B,) squared coefficient of variation c² of weights (K, B), in double precision.

    A few draws of heavy weights miss the largest, so three more as large as the largest seen are added. Were
    log-weights normal, c² were exp(s²) - 1 with s their standard deviation, which few draws do show; of their
    distribution only the upper half matters, so s is that half's. The larger of the two counts.
    """
    median = log_weight.median(0).values  # minus infinity where most draws are impossible
    above = torch.where(log_weight > median, log_weight - median, 0.0)
    upper_variance = 2 * above.square().mean(0)
    largest = log_weight.max(0, keepdim=True).values
    heavier = torch.cat([log_weight, largest, largest, largest])
    return torch.maximum(WeightSums.of(heavier).variation, upper_variance.expm1())


def sums_of(weights: ChunkWeights) -> WeightSums:
    """The sums of the weights of one chunk; the error of a model's own estimate is not known."""
    sums = WeightSums.of(weights.log_weight)
    if weights.own_evidence:
        sums.log_square_sum = torch.full_like(sums.log_sum, math.inf)
    return sums


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
        raise InputError(f"tolerance must be a finite number of nats > 0, got {quoted(tolerance)}.")


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
    """Importance-weighted log p(x) of each row with its error; a row's score depends on no other row, unless networks
    of a user draw.

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
        return RowScores.over((sums_of(each), each.exact) for each in weights)
    first = rows.batch(torch.arange(min(1, len(rows)), device=rows.device))
    plan = Scoring(model, share_within(AIM * tolerance), max_draws, seed, decoded_at_once(model, first))
    if progress is not None:
        progress(0.0)
    with torch.no_grad():
        chunks = encode_chunks(model, rows, max(1, plan.decoded // CHUNKS_A_BLOCK), progress)
        return RowScores.over(map(plan.score, chunks))


def too_few_draws(scores: RowScores, draws: int | str, tolerance: float, max_draws: int) -> str | None:
    """That more than one row in ten of "auto" ended at `max_draws` outside the tolerance, in a sentence; else None."""
    if draws != AUTO:
        return None
    short = (scores.draws >= max_draws) & (scores.error > tolerance) & np.isfinite(scores.values)
    if short.sum() <= MAX_SHORT * len(short):
        return None
    rows = pluralize(len(short), "row")
    return f"{short.sum():,} of {rows} are not within {tolerance:g} nats of log p(x) after {max_draws:,} draws."


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
        self.values = 1  # that a draw enumerates
        self._noise: dict[tuple[int, int], Tensor] = {}

    def noise(self, chunk: Chunk, purpose: int, start: int, stop: int) -> Tensor:
        """(stop - start, 1, ...) numbers of one purpose for all rows alike, drawn in blocks when first asked for."""
        first, last = start // NOISE_BLOCK, -(-stop // NOISE_BLOCK)
        for block in range(first, last):
            if (purpose, block) not in self._noise:
                with seeded(self.seed_of(purpose, block * NOISE_BLOCK), self.model):
                    q, which = chunk.q, (NOISE_BLOCK, 1, 1)
                    new = uniform(which, q.mean) if purpose & CHOICE else q.noise(NOISE_BLOCK, 1)
                self._noise[purpose, block] = new
        blocks = [self._noise[purpose, block] for block in range(first, last)]
        return torch.cat(blocks)[start - first * NOISE_BLOCK : stop - first * NOISE_BLOCK]

    def seed_of(self, purpose: int, start: int) -> int:
        """A seed of its own for the draws of one purpose from the number `start` on.

        Hashed to 32 bits: torch's generator on the CPU reads no more of a seed.
        """
        return int(np.random.SeedSequence([self.seed, purpose, start]).generate_state(1)[0])

    def weights(self, chunk: Chunk, purpose: int, start: int, stop: int) -> Tensor:
        """(K, B) log-weights of the draws from number `start` to `stop` of a purpose, nats."""
        noise = self.noise(chunk, purpose, start, stop)
        if isinstance(chunk.q, WithEncoder):
            noise = torch.cat([noise, self.noise(chunk, purpose | CHOICE, start, stop)], -1)
        block = max(1, self.decoded // (len(chunk.row_index) * self.values))
        passes = chunk_passes(self.model, chunk, noise, [len(noise)], block, self.seed_of(purpose | NETWORK, start))
        return torch.cat([draw_log_weight(out, k).cpu() for _, k, out in passes])

    def needed(self, log_weight: Tensor) -> Tensor:
        """(B,) draws that reach the error, between the least and the most, as the pilot's weights (K, B) tell."""
        return self.asked(log_weight).ceil().clamp(min(MIN_DRAWS, self.max_draws), self.max_draws)

    def asked(self, log_weight: Tensor) -> Tensor:
        """(B,) the same without bounds; 0 where no number of draws would do: weights that are not numbers."""
        return (variation_of(log_weight) / self.share).nan_to_num(nan=0.0, posinf=math.inf)

    def score(self, chunk: Chunk) -> tuple[WeightSums, bool]:
        """The sums of the weights of a chunk's rows, and whether they are exact."""
        with repeatable(self.model, self.seed_of(PILOT | NETWORK, 0)):
            one = self.model.forward_from(chunk.batch, chunk.q, self.noise(chunk, PILOT, 0, 1), chunk.prior)
        if one.exact:
            return WeightSums.of(draw_log_weight(one, 1).cpu()), True
        if one.log_evidence is not None:
            return self.own_evidence(chunk), False
        self.values = one.draws
        pilot = self.weights(chunk, PILOT, 0, PILOT_DRAWS)
        result = WeightSums.none(len(chunk.row_index))
        hard = can_refine(chunk)
        if hard.any():
            hard &= self.asked(pilot) > WORTH_REFINING * draws_of_step(chunk.q.loc.shape[1])
        for index, refinable in ((torch.nonzero(~hard)[:, 0], False), (torch.nonzero(hard)[:, 0], True)):
            if len(index):
                rows, weights = taken(chunk, index), pilot[:, index]
                mixed, least = self.refined(rows) if refinable else None, torch.zeros(len(index), dtype=torch.float64)
                if mixed is not None:
                    encoder, weights = weights, self.weights(mixed, PILOT, 0, PILOT_DRAWS)
                    more = self.weights(rows, PILOT, PILOT_DRAWS, ENCODER_DRAWS)
                    least = self.needed_by_encoder(rows, torch.cat([encoder, more]), mixed, weights)
                    rows = mixed
                result.put(index, self.estimate(rows, torch.maximum(self.grown(rows, weights), least)))
        return result, False

    def needed_by_encoder(self, chunk: Chunk, encoder: Tensor, mixed: Chunk, mixture: Tensor) -> Tensor:
        """(B,) draws that the mixture needs, as draws from the encoder's posterior tell: these reach modes that few of
        the mixture's do.

        Under the mixture m the mean square of a weight p / m is E_q[p² / (m q)], q being the encoder's.

        Args:
            chunk, encoder: rows with the encoder's posterior, and log-weights (K, B) of pilot draws from it.
            mixed, mixture: the same with the mixture.
        """
        z = chunk.q.draw(self.noise(chunk, PILOT, 0, len(encoder))).z
        log_ratio = (chunk.q.log_prob(z) - mixed.q.log_prob(z)).cpu().double()
        log_mean_square = (2 * encoder + log_ratio).logsumexp(0) - math.log(len(encoder))
        log_mean = torch.maximum(WeightSums.of(encoder).value, WeightSums.of(mixture).value)
        draws = ((log_mean_square - 2 * log_mean).expm1() / self.share).nan_to_num(nan=0.0, posinf=math.inf)
        return draws.ceil().clamp(0, self.max_draws).to(torch.float64)

    def own_evidence(self, chunk: Chunk) -> WeightSums:
        """Sums for a model that estimates p(x) itself of all draws of a pass, whose error is not known."""
        return sums_of(next(iter_weights(self.model, [chunk], min(OWN_EVIDENCE_DRAWS, self.max_draws), self.seed)))

    def refined(self, chunk: Chunk) -> Chunk | None:
        """The rows with refined posteriors; None if log p(x | z) has no gradient."""
        draws = draws_of_step(chunk.q.loc.shape[1])

        def step(t: int) -> tuple[Tensor, int]:
            return self.noise(chunk, STEPS + t, 0, draws // 2), self.seed_of((STEPS + t) | NETWORK, 0)

        return refined(chunk, step, lambda found: self.asked(found) > WORTH_REFINING * draws, self.decoded // 2)

    def grown(self, chunk: Chunk, pilot: Tensor) -> Tensor:
        """(B,) draws that rows need, told by a pilot (K, B) that grows where it asks for many times as many draws."""
        needed = self.needed(pilot)
        index = torch.nonzero(needed > MAX_EXTRAPOLATION * len(pilot))[:, 0]
        if len(index):
            rows = taken(chunk, index)
            more = self.weights(rows, PILOT, len(pilot), 2 * len(pilot))
            needed[index] = self.grown(rows, torch.cat([pilot[:, index], more]))
        return needed

    def estimate(self, chunk: Chunk, draws: Tensor) -> WeightSums:
        """Sums of fresh weights, as many as each row needs, (B,) `draws`; rows that have theirs drop out."""
        draws = rounded_up(draws).clamp(max=self.max_draws)
        sums = WeightSums.none(len(draws))
        start = 0
        for stop in map(int, draws.unique().tolist()):
            index = torch.nonzero(draws >= stop)[:, 0]
            sums.add(index, self.weights(taken(chunk, index), ESTIMATE, start, stop))
            start = stop
        return sums


def rounded_up(draws: Tensor) -> Tensor:
    """Numbers of draws rounded up to 16, 24, 32, 48, 64, 96 ...: rows with the same number are drawn for together.

    >>> rounded_up(torch.tensor([16.0, 17.0, 33.0, 700.0])).tolist()
    [16.0, 24.0, 48.0, 768.0]
    """
    power = 2.0 ** (draws / MIN_DRAWS).log2().ceil() * MIN_DRAWS
    return torch.where(draws <= 0.75 * power, 0.75 * power, power)
