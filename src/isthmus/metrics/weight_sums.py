"""Sums of importance weights of rows, and the error of log p(x) that they imply.

The logarithm of a mean of K weights with the coefficient of variation c has a standard error of c / sqrt(K) and lies
c² / 2K below log p(x), to second order. Nine rows in ten are within 1.645 c / sqrt(K) + c² / 2K nats of log p(x).
"""

from __future__ import annotations

import math
from typing import Self

import torch
from torch import Tensor

from isthmus.metrics.importance_weighting import ChunkWeights

NORMAL_QUANTILE = 1.645
"""Quantile of the normal distribution: 90 % of errors are within as many standard errors."""
MIN_EFFECTIVE_DRAWS = 5
"""Fewer effective draws, about (sum w)² / sum w², say nothing of the error: it is infinite."""


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
        return torch.where(known, NORMAL_QUANTILE * share.sqrt() + share / 2, math.inf)


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
    return (math.sqrt(NORMAL_QUANTILE**2 + 2 * tolerance) - NORMAL_QUANTILE) ** 2
