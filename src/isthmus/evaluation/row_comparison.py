"""The measured rows beside the training rows, without the model: are they copies, do they come from elsewhere."""

from __future__ import annotations

from collections import Counter

import numpy as np
from scipy.stats import ks_2samp

from isthmus.data_checks.suspect_columns import MIN_COINCIDENCE, coincidences
from isthmus.evaluation.context import EvalContext, counted_elements
from isthmus.metrics.held_out_curve import linear_scores
from isthmus.metrics.metric import HIDDEN, Metric, setting
from isthmus.schema import safe_std

COMPARED_ROWS, COMPARED_ROWS_WIDE = 2_000, 500
"""Rows of each kind that are compared, at most; and of wide rows."""
WIDE = 1_000
"""Columns from which rows are wide."""
MIN_SHIFT = 0.3
"""Largest difference of two cumulative distributions from which rows come from elsewhere."""
SHIFT_SIGNIFICANCE = 1e-5
"""Probability of such a difference by chance, over all columns."""
TYPICAL_DIMS = 10
"""Latent dimensions of the linear model that says how usual a row is."""
MIN_TRAIN_ROWS = 20
"""Training rows below which nothing is known of where rows come from."""


def train_overlap(context: EvalContext) -> Metric | None:
    """How many of the measured rows are training rows, and how many of these are copies of one another.

    None if the training rows are unknown, and for rows with missing values.
    """
    train, rows = context.train, context.examples
    if train is None or train.observed is not None or rows.observed is not None:
        return None
    keys, others = (row_keys(some.x, context) for some in (rows, train))
    known = set(others)
    count = sum(key in known for key in keys)
    doubled = len(others) - len(known)
    by_chance = 0.0
    if count and coincidences(train.x.reshape(len(train), -1)) > MIN_COINCIDENCE:
        times = Counter(others)
        by_chance = sum(times[key] > 1 for key in others) / len(others)
    name = "train_overlap"
    details = (
        setting(f"{name}.share", "share of the rows", count / len(keys), HIDDEN),
        setting(f"{name}.doubled", "training rows that are copies of others", doubled, HIDDEN),
        setting(f"{name}.by_chance", "share expected of rows with few values", by_chance, HIDDEN),
    )
    return Metric(name, "rows that are training rows", "rows", "count", count, shown=HIDDEN, details=details)


def row_keys(x: np.ndarray, context: EvalContext) -> list[bytes]:
    """The bytes of each row, in the type of the training rows."""
    dtype = x.dtype if context.train is None else context.train.x.dtype
    flat = np.ascontiguousarray(x.astype(dtype)).reshape(len(x), -1)
    return [row.tobytes() for row in flat]


def column_shift(context: EvalContext) -> Metric | None:
    """How much the columns' distributions differ from those of the training rows (Kolmogorov-Smirnov).

    The largest difference of the cumulative distributions, of those that chance hardly explains; with it how far a
    linear model of half of the training rows tells the rows from the other half, which columns together may show where
    no column does. None if the training rows are unknown; not of sequences, missing values or unordered categories.
    """
    train, rows = context.train, context.examples
    if train is None or context.schema.sequence or len(train) < MIN_TRAIN_ROWS:
        return None
    if counted_elements(rows) is not None or counted_elements(train) is not None or context.nominal.any():
        return None
    most = COMPARED_ROWS if train.x[0].size < WIDE else COMPARED_ROWS_WIDE
    known, given = (
        some.subsample(most, context.seed).x.reshape(-1, train.x[0].size).astype(np.float64) for some in (train, rows)
    )
    differences = np.zeros(known.shape[1])
    for j in np.flatnonzero((np.ptp(known, 0) > 0) | (np.ptp(given, 0) > 0)):
        test = ks_2samp(known[:, j], given[:, j])
        if test.pvalue * known.shape[1] < SHIFT_SIGNIFICANCE:
            differences[j] = test.statistic
    jointly = joint_difference(known, given, context.seed)
    order = np.argsort(-differences, kind="stable")
    columns = tuple(int(j) for j in order if differences[j] >= MIN_SHIFT)
    name = "column_shift"
    details = (
        Metric(f"{name}.columns", "columns that differ", "", "column", columns, shown=HIDDEN, plain=True),
        Metric(f"{name}.jointly", "difference of usual rows", "", "distance", jointly, shown=HIDDEN, plain=True),
    )
    label = "largest difference of a column from training rows"
    return Metric(name, label, "share", "distance", float(differences.max()), shown=HIDDEN, details=details)


def joint_difference(train: np.ndarray, test: np.ndarray, seed: int) -> float:
    """How far the log-density under a linear model of half of the training rows differs between the rest and others.

    0 where chance may explain it, or where the others are more usual, as copies of training rows are.
    """
    order = np.random.default_rng(seed).permutation(len(train))
    first, second = np.array_split(train[order], 2)
    varies = np.ptp(first, 0) > 0
    if not varies.any():
        return 0.0
    scale = safe_std(first)[varies]
    k = max(0, min(TYPICAL_DIMS, int(varies.sum()) - 1, len(first) // 4))
    of_train, of_test = (linear_scores(first[:, varies] / scale, x[:, varies] / scale, k)[:, k] for x in (second, test))
    result = ks_2samp(of_train, of_test, alternative="less")  # the training rows have the higher densities
    return float(result.statistic) if result.pvalue < SHIFT_SIGNIFICANCE else 0.0
