"""How far a model's samples are from data: four comparisons with held-out rows, beside what data themselves reach."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from isthmus.errors import InputError
from isthmus.metrics.estimate import Estimate
from isthmus.metrics.features import REACH, Features, scaling_of

FEWEST_ROWS = 100
"""Below this many rows a side every error bar is as wide as what it is about."""
MOST_ROWS = 2_000
"""Rows a side: the distances between all of them are held at once."""
FEWEST_A_FEATURE = 5
"""Rows for each feature under which a covariance, and with it the Fréchet distance, is mostly noise."""
FOLDS = 5
MOST_COLUMNS = 50
"""Columns that the classifier reads: principal components of wider rows."""
NEIGHBOURS = 3
"""The published choice (Kynkäänniemi et al., 2019)."""
SPLITS = 20
"""Of the rows into two halves, from which errors are told: known to a sixth then."""
SHARED_FOLDS = 1.35
"""How much more an accuracy over folds varies than as many tosses of a coin: the classifiers of two folds share most of
their rows. Found on normals of 100 to 400 rows, where it is 1.25 to 1.4; Nadeau & Bengio (2003) allow 1.5."""
ROUNDING = 1e-6
"""Share of a usual distance under which rows count as equal: their features depend a little on the rows beside them."""


class SampleVsData(NamedTuple):
    """One measure of samples, and the same of as many training rows in their place."""

    samples: Estimate
    data: Estimate
    """What data themselves reach: no sample can be asked to do better."""


def sample_quality(
    train: np.ndarray, held: np.ndarray, drawn: np.ndarray, features: Features | None, seed: int = 0
) -> dict[str, SampleVsData]:
    """Compare samples `drawn` with rows `held` that no model saw, and rows of `train` with the same; (n, *X) each.

    By features:
    `mmd`: squared maximum mean discrepancy, 0 where they are alike (`mean_discrepancy`);
    `precision`: share of samples that lie where data do; `recall`: share of data that lie where samples do;
    `frechet`: squared deviations (`frechet`); absent with fewer than 5 rows a feature.
    Without, by the rows themselves:
    `accuracy`: share of rows that a classifier tells right, 0.5 where it cannot (`classifier_accuracy`).

    All three sides have the same number of rows, at most 2,000, drawn by `seed`: precision and recall depend on it.
    Raises InputError as `enough`.
    """
    enough(train, held, drawn)
    n = min(MOST_ROWS, len(train), len(held), len(drawn))
    random = np.random.default_rng(seed)
    real, held, drawn = (side[random.permutation(len(side))[:n]] for side in (train, held, drawn))
    if features is None:
        accuracies = [classifier_accuracy(side, held, seed) for side in (drawn, real)]
        return {"accuracy": SampleVsData(*accuracies)}
    by_samples, by_data = (compared(features(side), features(held)) for side in (drawn, real))
    return {name: SampleVsData(by_samples[name], by_data[name]) for name in by_samples}


def enough(train: np.ndarray, held: np.ndarray, drawn: np.ndarray) -> None:
    """Raise InputError, whose message is the reason, below 100 rows a side, or for rows that cannot be compared."""
    for name, side in {"training rows": train, "held-out rows": held, "samples": drawn}.items():
        if len(side) < FEWEST_ROWS:
            raise InputError(f"{len(side)} {name} came; samples are compared with data from {FEWEST_ROWS} a side on")
        if side.shape[1:] != held.shape[1:]:
            raise InputError(
                f"{name} have shape {side.shape[1:]} and held-out rows {held.shape[1:]}; the same is wanted"
            )
        if not np.isfinite(side).all():
            raise InputError(f"{name} hold numbers that are not finite; nothing can be compared with them")


def compared(f: np.ndarray, g: np.ndarray) -> dict[str, Estimate]:
    """Every measure of features of rows (n, F) against those of held-out rows (n, F)."""
    found = {"mmd": mean_discrepancy(f, g)}
    found["precision"], found["recall"] = precision_and_recall(f, g)
    if len(g) >= FEWEST_A_FEATURE * g.shape[1]:
        found["frechet"] = frechet(f, g)
    return found


def classifier_accuracy(rows: np.ndarray, held: np.ndarray, seed: int = 0) -> Estimate:
    """Cross-validated accuracy of telling rows (n, *X) from held-out ones (n, *X) (Lopez-Paz & Oquab, 2017).

    The mean vote of a linear model, which sees shifts, and boosted trees, which see everything else. Wide rows are
    reduced to principal components and one column for what these leave out, in which blurred rows differ.
    """
    label = np.repeat([1, 0], [len(rows), len(held)])
    reader = VotingClassifier(
        [
            ("linear", make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))),
            ("trees", HistGradientBoostingClassifier(max_iter=60, max_leaf_nodes=15, random_state=seed)),
        ],
        voting="soft",
    )
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    right = cross_val_predict(reader, columns(np.concatenate([rows, held]), seed), label, cv=folds) == label
    shares = np.array([right[label == 1].mean(), right[label == 0].mean()])
    counts = np.array([len(rows), len(held)])
    # Each class has an error rate of its own: pooled, a classifier that always says one class would seem to vary.
    error = float(np.sqrt((shares * (1 - shares) / counts).sum()) / 2)
    return Estimate(float(shares.mean()), SHARED_FOLDS * error)


def columns(x: np.ndarray, seed: int) -> np.ndarray:
    """Rows (n, *X) as at most 51 columns; labels are not looked at."""
    flat = scaling_of(x)(x).clip(-REACH, REACH).reshape(len(x), -1)
    if flat.shape[1] <= MOST_COLUMNS:
        return flat
    pca = PCA(MOST_COLUMNS, random_state=seed)
    parts = pca.fit_transform(flat)
    rest = np.square(flat - pca.mean_).sum(1) - np.square(parts).sum(1)
    return np.column_stack([parts, rest])


def mean_discrepancy(f: np.ndarray, g: np.ndarray) -> Estimate:
    """Squared MMD of features (n, F), unbiased and so below zero at times (Gretton et al., 2012).

    The Gaussian kernel exp(-|f - g|^2 / 2 s^2) is as wide as the median distance s between the rows of `g`, so that
    whatever is compared with the same `g` is measured by the same kernel.
    """
    n = len(g)
    of_f, of_g, across = (cdist(a, b, "sqeuclidean") for a, b in ((f, f), (g, g), (f, g)))  # (n, n)
    width = np.median(of_g[~np.eye(n, dtype=bool)]) or 1.0
    kernel = [np.exp(-squared / (2 * width)) for squared in (of_f, of_g, across)]
    return pair_mean(kernel[0] + kernel[1] - kernel[2] - kernel[2].T)


def pair_mean(h: np.ndarray) -> Estimate:
    """Mean of symmetric h (n, n) over pairs of different rows, with the error of a U-statistic (Hoeffding, 1948).

    Both parts of its variance count: what each row brings, of order 1/n, and what only pairs have, of order 1/n^2,
    which is all that is left where two distributions are the same.
    """
    n = len(h)
    off = h[~np.eye(n, dtype=bool)]  # (n * (n - 1),)
    rows = off.reshape(n, n - 1).mean(1)
    share = (n - 2) / (n - 1)
    of_row = (rows.var(ddof=1) - off.var() * share / (n - 1)) / (share * share - 2 * share / (n - 1))
    of_row = max(0.0, of_row)
    of_pair = max(0.0, off.var() - 2 * of_row)
    return Estimate(float(off.mean()), math.sqrt(4 * of_row / n + 2 * of_pair / (n * (n - 1))))


def precision_and_recall(f: np.ndarray, g: np.ndarray) -> tuple[Estimate, Estimate]:
    """How many of f (n, F) lie among g (n, F), and of g among f (Kynkäänniemi et al., 2019).

    A row lies among others where it is no farther from one of these than that one's third neighbour among its own. In
    many dimensions rows are far apart, and data do not reach 1 either.
    """
    of_f, of_g, across = cdist(f, f), cdist(g, g), cdist(f, g)  # (n, n)
    slack = ROUNDING * float(np.median(of_g))

    def both(kept: np.ndarray) -> np.ndarray:
        pick = np.ix_(kept, kept)
        radius_f, radius_g = (np.partition(own[pick], NEIGHBOURS, 1)[:, NEIGHBOURS] + slack for own in (of_f, of_g))
        near = across[pick]
        return np.array([(near <= radius_g).any(1).mean(), (near <= radius_f[:, None]).any(0).mean()])

    value, error, _ = halving(both, len(g))
    error = error.clip(1 / len(g))  # a share of 0 or 1 is not known to less than a row
    return Estimate(float(value[0]), float(error[0])), Estimate(float(value[1]), float(error[1]))


def frechet(f: np.ndarray, g: np.ndarray) -> Estimate:
    """Squared Fréchet distance between normals with the moments of features (n, F) (Heusel et al., 2017).

    From n rows it comes out too large by what falls as 1/n (Chong & Forsyth, 2020). Halves of the rows tell how much,
    and it is taken away: equal distributions give 0 within the error, at times less. Learned features have no unit but
    their deviation: a number compares only with those of the same features.
    """

    def distance(kept: np.ndarray) -> np.ndarray:
        return np.array([frechet_of(f[kept], g[kept])])

    value, error, bias = halving(distance, len(g))
    return Estimate(float(value[0] - bias[0]), float(error[0]))


def frechet_of(f: np.ndarray, g: np.ndarray) -> float:
    """|m - n|^2 + tr(S + T - 2 (S T)^1/2) of the means and covariances of features (n, F), as they are."""
    s, t = np.atleast_2d(np.cov(f.T)), np.atleast_2d(np.cov(g.T))
    value, axes = np.linalg.eigh(s)
    root = (axes * np.sqrt(value.clip(0))) @ axes.T
    overlap = np.sqrt(np.linalg.eigvalsh(root @ t @ root).clip(0)).sum()  # tr (S T)^1/2
    return float(np.square(f.mean(0) - g.mean(0)).sum() + np.trace(s) + np.trace(t) - 2 * overlap)


def halving(statistic: Callable[[np.ndarray], np.ndarray], n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A statistic (S,) of n rows (of both sides), its standard error and its bias, by what halves of the rows say.

    Two halves share no row, so that their difference tells the variance of one, twice that of the whole; a jackknife
    overstates that of neighbours by half. The bias is what falls as 1/n, and is twice as large in a half.
    """
    random = np.random.default_rng(n)
    values = []  # SPLITS of (2, S)
    for _ in range(SPLITS):
        order = random.permutation(n)
        values.append([statistic(half) for half in (order[: n // 2], order[n // 2 : 2 * (n // 2)])])
    halves, whole = np.array(values), statistic(np.arange(n))
    error = np.sqrt(np.square(halves[:, 0] - halves[:, 1]).mean(0)) / 2
    return whole, error, halves.mean((0, 1)) - whole
