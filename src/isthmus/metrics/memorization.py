"""The training rows nearest to other rows, and whether samples are copies of them."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata
from sklearn.neighbors import NearestNeighbors

from isthmus.errors import InputError
from isthmus.metrics.estimate import Estimate
from isthmus.metrics.features import scaling_of

FEWEST_ROWS = 100
"""Held-out rows or samples below which a share of one in a hundred cannot be read."""
MOST_ROWS = 2_000
WORK = 5e10
"""Products of distances that are computed at most, before fewer rows are looked up."""
WIDE = 15
"""Columns from which on a tree of rows is slower than looking at all of them."""
BLOCK = 2**22
"""Numbers of differences held at once."""
CLOSE = 0.01
"""Share of held-out rows that lie as near to a training row as what counts as close."""


class Memorization(NamedTuple):
    """Whether samples are nearer to training rows than they should be.

    Exact copies, even a few, make `close` rise above `close_held`; damaged copies, if many, `to_train` above
    `to_train_expected`; where most samples are copies, `z` falls below -3. Blurred samples are near to all rows, seen
    or not: they lower `z` and may raise `close`, but do not move `to_train`.
    """

    z: float
    """Mann-Whitney statistic of samples' distances to their nearest training row against those of held-out rows, in
    standard deviations (Meehan et al., 2020): negative where samples are nearer."""
    close: Estimate
    """Share of samples as near to a training row as the nearest hundredth of held-out rows."""
    close_held: Estimate
    """The same of held-out rows: what is to be expected, and its error."""
    to_train: Estimate
    """Share of samples whose nearest row among all training and held-out rows is a training row."""
    to_train_expected: float
    """The share of training rows among these."""


def nearest(train: np.ndarray, rows: np.ndarray, k: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Index and Euclidean distance (n, k) of the k training rows nearest to each of rows (n, *X), the nearest first.

    Distances are in the units of what comes in. Raises InputError for fewer than k training rows.
    """
    if not 1 <= k <= len(train):
        raise InputError(f"k={k} came and there are {len(train)} training rows; a number from 1 to that is wanted")
    own = np.asarray(train, dtype=np.float64).reshape(len(train), -1)
    asked = np.asarray(rows, dtype=np.float64).reshape(len(rows), -1)
    search = NearestNeighbors(n_neighbors=k, algorithm="brute" if own.shape[1] > WIDE else "auto").fit(own)
    index = search.kneighbors(asked, return_distance=False)  # (n, k)
    # Once more, from differences: by products a copy is not at distance 0.
    distance = np.empty(index.shape)
    step = max(1, BLOCK // (k * own.shape[1]))
    for start in range(0, len(asked), step):
        some = slice(start, start + step)
        distance[some] = np.linalg.norm(own[index[some]] - asked[some, None], axis=-1)
    order = np.argsort(distance, axis=1, kind="stable")
    return np.take_along_axis(index, order, 1), np.take_along_axis(distance, order, 1)


def memorisation(train: np.ndarray, held: np.ndarray, drawn: np.ndarray, seed: int = 0) -> Memorization:
    """Look for copies of training rows (n, *X) among samples, beside held-out rows (m, *X) as the reference.

    All training rows are looked through, for at most 2,000 held-out rows and samples drawn by `seed`, fewer where the
    training set is large. Distances are in standardised units. Raises InputError below 100 held-out rows or samples, or
    for numbers that are not finite.
    """
    for name, side in (("held-out rows", held), ("samples", drawn)):
        if len(side) < FEWEST_ROWS:
            raise InputError(f"{len(side)} {name} came; copies are looked for from {FEWEST_ROWS} on")
    if not (np.isfinite(train).all() and np.isfinite(held).all() and np.isfinite(drawn).all()):
        raise InputError("numbers that are not finite came; no distance to them can be told")
    most = max(FEWEST_ROWS, min(MOST_ROWS, int(WORK / max(1, train.size))))
    random, scaling = np.random.default_rng(seed), scaling_of(train)
    held, drawn = (scaling(side[random.permutation(len(side))[:most]]) for side in (held, drawn))
    train = scaling(train)
    of_held = nearest(train, held)[1][:, 0]
    by_train, to_train = (found[:, 0] for found in nearest(train, drawn))
    by_held, to_held = (found[:, 0] for found in nearest(held, drawn))
    border = np.quantile(of_held, CLOSE, method="higher")
    share, usual = float((to_train <= border).mean()), float((of_held <= border).mean())
    return Memorization(
        mann_whitney(to_train, of_held),
        Estimate(share, max(1 / len(drawn), math.sqrt(share * (1 - share) / len(drawn)))),
        Estimate(usual, math.sqrt(usual * (1 - usual) / len(held))),
        nearer(by_train, to_train, by_held, to_held, len(train), len(held)),
        len(train) / (len(train) + len(held)),
    )


def mann_whitney(a: np.ndarray, b: np.ndarray) -> float:
    """How far the ranks of (n,) lie above those of (m,), in standard deviations under equality, ties accounted for."""
    n, m = len(a), len(b)
    ranks = rankdata(np.concatenate([a, b]))
    error = math.sqrt(n * m / (n + m) * ranks.var(ddof=1))
    return float(n * (ranks[:n].mean() - (n + m + 1) / 2) / error) if error else 0.0


def nearer(
    by_train: np.ndarray, to_train: np.ndarray, by_held: np.ndarray, to_held: np.ndarray, n: int, m: int
) -> Estimate:
    """Share of samples nearer to one of n training rows than to one of m held-out rows, ties counted as chance has it.

    The error is that under exchangeable rows: who is nearest to many samples counts often, so that the samples are not
    independent; shuffling the names "training" and "held-out" over the rows has this variance.
    """
    chance = n / (n + m)
    share = float(np.where(to_train == to_held, chance, to_train < to_held).mean())
    winner = np.where(to_train <= to_held, by_train, n + by_held)
    counts = np.bincount(winner, minlength=n + m)
    variance = chance * (1 - chance) * (n + m) ** 2 / (n + m - 1) * counts.var() / len(winner) ** 2
    return Estimate(share, math.sqrt(variance))
