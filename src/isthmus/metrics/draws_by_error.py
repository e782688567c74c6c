"""log p(x) of each row by as many draws as its error needs.

A pilot, draws of the row that serve nothing else, estimates the coefficient of variation c of its importance weights;
`weight_sums` says with how many draws K nine rows in ten are within the tolerance. The pilot grows to a quarter of K.
Where K is large, the posterior is refined first (`refined_posterior`). Neither the pilot's draws nor those of the
refinement enter the estimate: given them it is a mean of K fresh weights, so its expectation is p(x) and that of its
logarithm at most log p(x), whatever K they chose.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Real
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
from isthmus.metrics.refined_posterior import (
    WithEncoder,
    can_refine,
    draws_of_step,
    refined,
    take_rows,
)
from isthmus.metrics.weight_sums import WeightSums, share_within, sums_of, variation_of
from isthmus.random_streams import repeatable, seeded, uniform
from isthmus.train.device_data import DeviceDataset
from isthmus.wording import pluralize, quoted

AUTO = "auto"
"""As many draws as the tolerance needs."""
TOLERANCE, MAX_DRAWS = 0.1, 10_000
"""Nats, and draws of one estimate at most."""
MAX_TOLERANCE = 1e6
"""Nats; rows differ by less."""
MAX_SHARE_OUTSIDE = 0.1
"""Share of rows that may miss the tolerance: nine in ten are promised."""
MIN_DRAWS = 16
"""Draws that every estimate has; fewer say too little about their own error."""
CHUNKS_A_BLOCK = 16
"""Draws of a chunk of rows that fill a block of the decoder: progress is told after each chunk."""
PILOT_DRAWS = 32
"""Draws of the first pilot."""
ENCODER_DRAWS = 128
"""Draws from the encoder's posterior that check a refined one for missed modes."""
MAX_EXTRAPOLATION = 4
"""How many times the pilot's draws the estimate may have: heavy tails do not show in few draws."""
TOLERANCE_SHARE = 0.9
"""Share of the tolerance for which K is chosen: pilots underestimate heavy tails."""
WORTH_REFINING = 4
"""A row is refined if it asks for more than as many times the draws of a step, which cost three times."""
NOISE_BLOCK = 256
"""Draws whose noise is made at once."""
OWN_EVIDENCE_DRAWS = 1000
"""Draws for a model that estimates p(x) itself."""
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


def check_draws(draws: Any, tolerance: Any, max_draws: Any) -> None:
    """Raise InputError for settings that `score_rows` cannot use."""
    if isinstance(draws, str):
        if draws != AUTO:
            raise InputError(f"draws must be an integer >= 1 or 'auto', got {quoted(draws)}.")
    else:
        check_positive_int("draws", draws)
    check_positive_int("max_draws", max_draws)
    is_number = isinstance(tolerance, Real) and not isinstance(tolerance, bool)
    if not is_number or not 0 < tolerance <= MAX_TOLERANCE:
        raise InputError(f"tolerance must be a number of nats > 0 and at most 1e6, got {quoted(tolerance)}.")


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
    """Importance-weighted log p(x) of each row with its error; a row's score depends on no other row up to rounding,
    unless networks of a user draw.

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
    plan = Scoring(model, share_within(TOLERANCE_SHARE * tolerance), max_draws, seed, decoded_at_once(model, first))
    if progress is not None:
        progress(0.0)
    with torch.no_grad():
        chunks = encode_chunks(model, rows, max(1, plan.decoded // CHUNKS_A_BLOCK), progress)
        return RowScores.over(map(plan.score, chunks))


def too_few_draws(scores: RowScores, draws: int | str, tolerance: float, max_draws: int) -> str | None:
    """A warning if more than one row in ten of "auto" stopped at `max_draws` outside the tolerance."""
    short = (scores.draws >= max_draws) & (scores.error > tolerance) & np.isfinite(scores.values)
    if draws != AUTO or short.sum() <= MAX_SHARE_OUTSIDE * len(short):
        return None
    rows = pluralize(len(short), "row")
    return (
        f"{short.sum():,} of {rows} are not within {tolerance:g} nats of log p(x) after {pluralize(max_draws, 'draw')}."
    )


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
        """(stop - start, 1, ...) numbers of one purpose for all rows alike, made in blocks when first needed."""
        first, last = start // NOISE_BLOCK, -(-stop // NOISE_BLOCK)
        for block in range(first, last):
            if (purpose, block) not in self._noise:
                with seeded(self.seed_of(purpose, block * NOISE_BLOCK), self.model):
                    choice = purpose & CHOICE
                    new = uniform((NOISE_BLOCK, 1, 1), chunk.q.mean) if choice else chunk.q.noise(NOISE_BLOCK, 1)
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
        """(B,) draws that reach the error, between the least and the most, by the pilot's log-weights (K, B)."""
        return self.draws_for_error(log_weight).ceil().clamp(min(MIN_DRAWS, self.max_draws), self.max_draws)

    def draws_for_error(self, log_weight: Tensor) -> Tensor:
        """(B,) `needed` without its bounds; 0 for weights that are NaN, which no number of draws helps."""
        return (variation_of(log_weight) / self.share).nan_to_num(nan=0.0, posinf=math.inf)

    def score(self, chunk: Chunk) -> tuple[WeightSums, bool]:
        """The sums of the weights of a chunk's rows, and whether they are exact."""
        with repeatable(self.model, self.seed_of(PILOT | NETWORK, 0)):
            one = self.model.forward_from(chunk.batch, chunk.q, self.noise(chunk, PILOT, 0, 1), chunk.prior)
        if one.exact:
            return WeightSums.of(draw_log_weight(one, 1).cpu()), True
        if one.log_evidence is not None:  # one estimate of p(x) from all draws of a pass: its error is not known
            draws = min(OWN_EVIDENCE_DRAWS, self.max_draws)
            return sums_of(next(iter_weights(self.model, [chunk], draws, self.seed))), False
        self.values = one.draws
        pilot = self.weights(chunk, PILOT, 0, PILOT_DRAWS)
        result = WeightSums.none(len(chunk.row_index))
        hard = can_refine(chunk)
        if hard.any():
            hard &= self.draws_for_error(pilot) > WORTH_REFINING * draws_of_step(chunk.q.loc.shape[1])
        for index, estimate in ((torch.nonzero(~hard)[:, 0], self.easy), (torch.nonzero(hard)[:, 0], self.hard)):
            if len(index):
                result.put(index, estimate(take_rows(chunk, index), pilot[:, index]))
        return result, False

    def easy(self, chunk: Chunk, pilot: Tensor) -> WeightSums:
        """The sums of rows from draws of their own posterior, by their pilot (K, B)."""
        return self.estimate(chunk, self.draws_by_pilot(chunk, pilot))

    def hard(self, chunk: Chunk, pilot: Tensor) -> WeightSums:
        """The sums of rows from draws of a refined posterior where there is one."""
        mixed = self.refined(chunk)
        if mixed is None:
            return self.easy(chunk, pilot)
        encoder = torch.cat([pilot, self.weights(chunk, PILOT, PILOT_DRAWS, ENCODER_DRAWS)])
        mixture = self.weights(mixed, PILOT, 0, PILOT_DRAWS)
        by_encoder = self.needed_by_encoder(chunk, encoder, mixed, mixture)
        return self.estimate(mixed, torch.maximum(self.draws_by_pilot(mixed, mixture), by_encoder))

    def needed_by_encoder(self, chunk: Chunk, encoder: Tensor, mixed: Chunk, mixture: Tensor) -> Tensor:
        """(B,) draws that the mixture needs, estimated by draws from the encoder's posterior, which may reach modes
        that the mixture seldom does.

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

    def refined(self, chunk: Chunk) -> Chunk | None:
        """The rows with refined posteriors; None if log p(x | z) has no gradient."""
        draws = draws_of_step(chunk.q.loc.shape[1])

        def step(t: int) -> tuple[Tensor, int]:
            return self.noise(chunk, STEPS + t, 0, draws // 2), self.seed_of((STEPS + t) | NETWORK, 0)

        def improvable(log_weight: Tensor) -> Tensor:
            return self.draws_for_error(log_weight) > WORTH_REFINING * draws

        return refined(chunk, step, improvable, self.decoded // 2)

    def draws_by_pilot(self, chunk: Chunk, pilot: Tensor) -> Tensor:
        """(B,) `needed` of rows, with a pilot (K, B) that is doubled where it asks for many times as many draws."""
        needed = self.needed(pilot)
        index = torch.nonzero(needed > MAX_EXTRAPOLATION * len(pilot))[:, 0]
        if len(index):
            rows = take_rows(chunk, index)
            added = self.weights(rows, PILOT, len(pilot), 2 * len(pilot))
            needed[index] = self.draws_by_pilot(rows, torch.cat([pilot[:, index], added]))
        return needed

    def estimate(self, chunk: Chunk, draws: Tensor) -> WeightSums:
        """Sums of fresh weights, as many as each row needs, (B,) `draws`; rows that have theirs drop out."""
        draws = rounded_up(draws).clamp(max=self.max_draws)
        sums = WeightSums.none(len(draws))
        start = 0
        for stop in map(int, draws.unique().tolist()):
            index = torch.nonzero(draws >= stop)[:, 0]
            sums.add(index, self.weights(take_rows(chunk, index), ESTIMATE, start, stop))
            start = stop
        return sums


def rounded_up(draws: Tensor) -> Tensor:
    """Numbers of draws rounded up to 16, 24, 32, 48, 64, 96 ...: rows with the same number are drawn for together.

    >>> rounded_up(torch.tensor([16.0, 17.0, 33.0, 700.0])).tolist()
    [16.0, 24.0, 48.0, 768.0]
    """
    power = 2.0 ** (draws / MIN_DRAWS).log2().ceil() * MIN_DRAWS
    return torch.where(draws <= 0.75 * power, 0.75 * power, power)
