"""The measured rows beside the training rows, without the model: are they copies, do they come from elsewhere."""

from __future__ import annotations

import math
import warnings
from typing import Any, NamedTuple

import numpy as np
from scipy import stats
from scipy.special import kolmogorov

from isthmus.data_checks.suspect_columns import MAX_REPEATED_BITS, MIN_COINCIDENCE, coincidences
from isthmus.evaluation.context import EvalContext
from isthmus.examples import Examples
from isthmus.metrics.held_out import linear_scores
from isthmus.metrics.metric import HIDDEN, Metric, setting
from isthmus.schema import safe_std

COMPARED_ROWS, COMPARED_ROWS_WIDE = 2_000, 500
"""Rows of each kind that are compared, at most; and of wide rows."""
WIDE = 1_000
"""Columns from which rows are wide."""
BLOCK_NUMBERS = 2_000_000
"""Numbers that are sorted at once."""
MIN_SHIFT = 0.3
"""Largest difference of two cumulative distributions from which rows come from elsewhere."""
SHIFT_SIGNIFICANCE = 1e-5
"""Probability of such a difference by chance, over all columns."""
TYPICAL_DIMS = 10
"""Latent dimensions of the linear model that says how usual a row is."""
FAR_PROBABILITY = 1e-3
"""Probability with which a row like the training rows lies as far from them as rows that are far."""
MIN_FAR_ROWS = 40
"""Training rows in the half that others are compared with, below which none is called far."""
TAIL_SHARE, MIN_TAIL_ROWS = 0.1, 10
"""Share of that half, and its rows at least, whose distances say how far the tail reaches."""
MIN_ROUNDED_SHARE = 0.25
"""Share of the different rows that must still differ in single precision for these to be told apart in it."""
MIN_TRAIN_ROWS = 20
"""Training rows below which nothing is known of where rows come from."""


def train_overlap(context: EvalContext) -> Metric | None:
    """How many of the measured rows are training rows, and how many of these are copies of one another.

    None if the training rows are unknown, and if too many values are missing to compare any row.
    """
    train, keys = context.train, context.row_keys
    if train is None or not keys.measured.keys or not keys.train.keys:
        return None
    by_chance = 0.0
    if keys.copies and coincidences(marked_missing(train)[keys.train.positions]) > MIN_COINCIDENCE:
        by_chance = keys.repeated_share
    elif keys.copies and context.schema.kind == "binary":  # bits that depend on one another coincide more often
        by_chance = min(keys.repeated_share, MAX_REPEATED_BITS)
    name = "train_overlap"
    details = (
        setting(f"{name}.compared", "rows that are compared", len(keys.measured.keys), HIDDEN),
        setting(f"{name}.share", "share of these rows", keys.share, HIDDEN),
        setting(f"{name}.doubled", "training rows that are copies of others", keys.doubled, HIDDEN),
        setting(f"{name}.by_chance", "share expected of rows with few values", by_chance, HIDDEN),
    )
    return Metric(name, "rows that are training rows", "rows", "count", keys.copies, shown=HIDDEN, details=details)


def marked_missing(rows: Examples) -> np.ndarray:
    """(n, d) rows, NaN where nothing was observed."""
    x = rows.x if rows.observed is None else np.where(rows.observed, rows.x, np.nan)
    return x.reshape(len(rows), -1)


def column_shift(context: EvalContext) -> Metric | None:
    """How much the columns' distributions differ from those of the training rows (Kolmogorov-Smirnov).

    The largest difference of the cumulative distributions, of those that chance hardly explains; with it how far a
    linear model of half of the training rows tells the rows from the other half, which columns together may show where
    no column does, and the share of the rows that lie far outside. Missing values, and in the joint comparison rows
    with any, are left out. None if the training rows are unknown; not of sequences.
    """
    train, rows = context.train, context.examples
    if train is None or context.schema.sequence or len(train) < MIN_TRAIN_ROWS:
        return None
    size = train.x[0].size
    most = COMPARED_ROWS if size < WIDE else COMPARED_ROWS_WIDE
    sets = [some.subsample(most, context.seed) for some in (train, rows)]
    known, given = (some.x.reshape(-1, size).astype(np.float64) for some in sets)
    seen, seen_given = (
        np.ones((len(some), size), dtype=bool) if some.observed is None else some.observed.reshape(-1, size)
        for some in sets
    )
    differences = clear_differences(known, given, seen, seen_given)
    ordered = ~context.nominal.reshape(-1)
    complete, given_complete = known[seen.all(1)][:, ordered], given[seen_given.all(1)][:, ordered]
    joint = joint_comparison(complete, given_complete, context.seed)
    order = np.argsort(-differences, kind="stable")
    columns = tuple(int(j) for j in order if differences[j] >= MIN_SHIFT)
    name = "column_shift"
    details = (
        Metric(f"{name}.columns", "columns that differ", "", "column", columns, shown=HIDDEN, plain=True),
        Metric(
            f"{name}.jointly", "difference of usual rows", "", "distance", joint.difference, shown=HIDDEN, plain=True
        ),
        Metric(f"{name}.far", "rows far outside", "", "share", joint.far, shown=HIDDEN, plain=True),
    )
    label = "largest difference of a column from training rows"
    return Metric(name, label, "share", "distance", float(differences.max()), shown=HIDDEN, details=details)


def clear_differences(x: np.ndarray, y: np.ndarray, seen_x: np.ndarray, seen_y: np.ndarray) -> np.ndarray:
    """(d,) largest differences of the columns' cumulative distributions, 0 where chance may explain them.

    Args:
        x: (n, d) rows.
        y: (m, d) other rows.
        seen_x: (n, d) booleans, False where a value of x is missing.
        seen_y: (m, d) the same of y.
    """
    differences = np.zeros(x.shape[1])
    for columns in np.array_split(np.arange(x.shape[1]), max(1, math.ceil((x.size + y.size) / BLOCK_NUMBERS))):
        both, kept, kept_y = np.concatenate([x[:, columns], y[:, columns]]), seen_x[:, columns], seen_y[:, columns]
        n, m = kept.sum(0), kept_y.sum(0)
        steps = np.concatenate([kept / np.maximum(n, 1), kept_y / -np.maximum(m, 1)])
        order = both.argsort(0)
        both, apart = np.take_along_axis(both, order, 0), np.take_along_axis(steps, order, 0).cumsum(0)
        ends = both[1:] != both[:-1]  # the last of equal numbers, where both distributions have risen
        largest = np.where(ends, np.abs(apart[:-1]), 0.0).max(0, initial=0.0)
        by_chance = kolmogorov(np.sqrt(n * m / np.maximum(n + m, 1)) * largest)  # the limit: no less than exact
        for k in np.flatnonzero((n > 0) & (m > 0) & (by_chance * x.shape[1] < 1)):
            j = columns[k]
            test = kolmogorov_smirnov(x[seen_x[:, j], j], y[seen_y[:, j], j])
            if test.pvalue * x.shape[1] < SHIFT_SIGNIFICANCE:
                differences[j] = test.statistic
    return differences


def kolmogorov_smirnov(x: np.ndarray, y: np.ndarray, alternative: str = "two-sided") -> Any:
    """The test of scipy; of some sizes it falls back from the exact probability to its limit, which is as good here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "ks_2samp: Exact calculation unsuccessful", RuntimeWarning)
        return stats.ks_2samp(x, y, alternative=alternative)


class JointComparison(NamedTuple):
    """Rows beside training rows, by their log-density under a linear model of half of the training rows."""

    difference: float = 0.0
    """How far the log-densities differ from those of the other half (Kolmogorov-Smirnov); 0 where chance may explain
    it, or where the rows are more usual, as copies of training rows are."""
    far: float = 0.0
    """Share of the rows that lie farther outside than any of the other half, and than its tail reaches."""


def joint_comparison(train: np.ndarray, test: np.ndarray, seed: int) -> JointComparison:
    """Rows (m, d) compared with training rows (n, d), all columns at once.

    Of copies among the training rows, in single or in double precision, one is kept: none is in both halves.
    """
    if not len(test) or len(train) < MIN_TRAIN_ROWS:
        return JointComparison()
    with np.errstate(over="ignore"):
        kept = np.unique(train.astype(np.float32), axis=0, return_index=True)[1]
    if len(kept) < MIN_ROUNDED_SHARE * len(train):
        different = np.unique(train, axis=0, return_index=True)[1]
        if len(kept) < MIN_ROUNDED_SHARE * len(different):  # an offset leaves single precision too few digits
            kept = different
    if len(kept) < MIN_TRAIN_ROWS:
        return JointComparison()
    first, second = np.array_split(train[np.random.default_rng(seed).permutation(kept)], 2)
    if not (varies := np.ptp(first, 0) > 0).any():
        return JointComparison()
    scale = safe_std(first)[varies]
    k = max(0, min(TYPICAL_DIMS, int(varies.sum()) - 1, len(first) // 4))
    of_train, of_test = (linear_scores(first[:, varies] / scale, x[:, varies] / scale, k)[:, k] for x in (second, test))
    median = np.median(of_train)
    result = kolmogorov_smirnov(of_train, of_test, alternative="less")  # the training rows have the higher densities
    difference = float(result.statistic) if result.pvalue < SHIFT_SIGNIFICANCE else 0.0
    return JointComparison(difference, float((median - of_test > tail_end(median - of_train)).mean()))


def tail_end(distances: np.ndarray) -> float:
    """The largest of distances (n,), or the one that the next exceeds with `FAR_PROBABILITY` if that is larger.

    A tail that falls like a power is P(D > x) = k / n (t / x)^a beyond the distance t that k of the n rows exceed,
    where 1 / a is the mean of log(D / t) over these k (Hill, 1975). Lighter tails fall sooner, and are safe as well.
    Infinite for few distances, and where most rows are equally usual.
    """
    n = len(distances)
    k = max(MIN_TAIL_ROWS, round(TAIL_SHARE * n))
    if n < MIN_FAR_ROWS:
        return math.inf
    largest = np.sort(distances)[::-1]
    start = largest[k]
    if start <= 0:
        return math.inf
    spread = float(np.log(largest[:k] / start).mean())  # 1 / a
    return max(float(largest[0]), float(start * (k / n / FAR_PROBABILITY) ** spread))
