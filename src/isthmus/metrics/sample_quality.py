"""How far samples are from data: two-sample measures against held-out rows, with training rows as the reference."""

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
from isthmus.metrics.features import MAX_ABS_ZSCORE, Features, fit_standardizer

COMPARISON_MIN_ROWS = 100
"""Rows of each set: with fewer, the error bars are as wide as the differences of interest."""
CLASSIFIER_MAX_ROWS = 2_000
"""Rows of each set: all pairwise distances are held in memory."""
MIN_ROWS_PER_FEATURE = 5
"""With fewer rows the covariance, and so the Fréchet distance, is mostly noise."""
N_FOLDS = 5
"""Folds of the classifier's cross-validation."""
MAX_CLASSIFIER_COLUMNS = 50
"""Wider rows are reduced to their first principal components."""
N_NEIGHBORS = 3
"""As published (Kynkäänniemi et al., 2019)."""
N_HALF_SPLITS = 20
"""Random halvings from which standard errors are estimated, to about a sixth."""
FOLD_ERROR_FACTOR = 1.35
"""A cross-validated accuracy varies more than a binomial of independent trials, because the classifiers of two folds
share most of their training rows. The factor is 1.25 to 1.4 on normals of 100 to 400 rows; Nadeau & Bengio (2003) allow
1.5."""
DISTANCE_TOLERANCE = 1e-6
"""Share of the median distance below which rows count as equal: features of one row vary by rounding with its batch."""


class SampleVsData(NamedTuple):
    """A measure of samples against held-out rows, and the same measure of equally many training rows."""

    samples: Estimate
    data: Estimate
    """What real rows reach: the best that samples can be expected to do."""


def sample_quality(
    train: np.ndarray, test: np.ndarray, samples: np.ndarray, features: Features | None, seed: int = 0
) -> dict[str, SampleVsData]:
    """Compare samples and training rows with held-out rows, (n, *X) each.

    Args:
        train: training rows.
        test: held-out rows.
        samples: samples from the model.
        features: maps rows to the features that are compared; None compares the rows themselves by a classifier.
        seed: chooses the rows, equally many of each set (precision and recall depend on the number).

    Returns:
        With features: "mmd" (squared maximum mean discrepancy, 0 if the distributions are equal), "precision" (share of
        samples that lie among data), "recall" (share of data that lie among samples), and "frechet" (squared Fréchet
        distance; left out with fewer than `MIN_ROWS_PER_FEATURE` rows per feature). Without: "accuracy" of a classifier
        that separates the two sets, 0.5 if it cannot.

    Raises:
        InputError: see `check_comparable`.
    """
    check_comparable(train, test, samples)
    n = min(CLASSIFIER_MAX_ROWS, len(train), len(test), len(samples))
    random = np.random.default_rng(seed)
    real, test, samples = (x[random.permutation(len(x))[:n]] for x in (train, test, samples))
    if features is None:
        accuracies = [classifier_accuracy(x, test, seed) for x in (samples, real)]
        return {"accuracy": SampleVsData(*accuracies)}
    of_samples, of_data = (compare_features(features(x), features(test)) for x in (samples, real))
    return {name: SampleVsData(of_samples[name], of_data[name]) for name in of_samples}


def check_comparable(train: np.ndarray, test: np.ndarray, samples: np.ndarray) -> None:
    """Raise InputError for fewer than `COMPARISON_MIN_ROWS` of a set, rows of different shapes, NaN or infinity."""
    for name, x in {"training rows": train, "held-out rows": test, "samples": samples}.items():
        if len(x) < COMPARISON_MIN_ROWS:
            raise InputError(f"Comparing samples with data needs at least {COMPARISON_MIN_ROWS} {name}, got {len(x)}.")
        if x.shape[1:] != test.shape[1:]:
            raise InputError(f"{name} must have the shape of held-out rows, {test.shape[1:]}, got {x.shape[1:]}.")
        if not np.isfinite(x).all():
            raise InputError(f"{name} must be finite to be compared, got NaN or infinity.")


def compare_features(f: np.ndarray, g: np.ndarray) -> dict[str, Estimate]:
    """Every measure of features f (n, F) against those of held-out rows g (n, F)."""
    measures = {"mmd": mmd(f, g)}
    measures["precision"], measures["recall"] = precision_and_recall(f, g)
    if len(g) >= MIN_ROWS_PER_FEATURE * g.shape[1]:
        measures["frechet"] = frechet(f, g)
    return measures


def classifier_accuracy(rows: np.ndarray, test: np.ndarray, seed: int = 0) -> Estimate:
    """Classifier two-sample test (Lopez-Paz & Oquab, 2017): cross-validated accuracy in separating two sets.

    The classifier averages the probabilities of a logistic regression, which is good at shifts of the mean, and of
    gradient-boosted trees, which find everything else.

    Args:
        rows: (n, *X).
        test: (m, *X) held-out rows.
        seed: of folds and trees.
    """
    label = np.repeat([1, 0], [len(rows), len(test)])
    classifier = VotingClassifier(
        [
            ("linear", make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))),
            ("trees", HistGradientBoostingClassifier(max_iter=60, max_leaf_nodes=15, random_state=seed)),
        ],
        voting="soft",
    )
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=seed)
    columns = classifier_columns(np.concatenate([rows, test]), seed)
    correct = cross_val_predict(classifier, columns, label, cv=folds) == label
    accuracy = np.array([correct[label == 1].mean(), correct[label == 0].mean()])
    counts = np.array([len(rows), len(test)])
    # Balanced accuracy: the error adds the binomial variances of both classes. Pooled, a classifier that always
    # predicts one class would have accuracy 1/2 with a positive error although it is exactly 1/2.
    error = float(np.sqrt((accuracy * (1 - accuracy) / counts).sum()) / 2)
    return Estimate(float(accuracy.mean()), FOLD_ERROR_FACTOR * error)


def classifier_columns(x: np.ndarray, seed: int) -> np.ndarray:
    """Rows (n, *X) as at most 51 columns: principal components, and the squared norm of the rest.

    The last column shows samples that lack what principal components leave out, as blurred ones do.
    """
    flat = fit_standardizer(x)(x).clip(-MAX_ABS_ZSCORE, MAX_ABS_ZSCORE).reshape(len(x), -1)
    if flat.shape[1] <= MAX_CLASSIFIER_COLUMNS:
        return flat
    pca = PCA(MAX_CLASSIFIER_COLUMNS, random_state=seed)
    components = pca.fit_transform(flat)
    residual = np.square(flat - pca.mean_).sum(1) - np.square(components).sum(1)
    return np.column_stack([components, residual])


def mmd(f: np.ndarray, g: np.ndarray) -> Estimate:
    """Squared maximum mean discrepancy, the unbiased U-statistic, which may be negative (Gretton et al., 2012).

        E k(f, f') + E k(g, g') - 2 E k(f, g),  k(f, g) = exp(-|f - g|^2 / (2 s^2))

    s^2 is the median squared distance between rows of g, so all sets compared with the same g share a kernel.

    Args:
        f: (n, F) features.
        g: (n, F) features of held-out rows.
    """
    n = len(g)
    ff, gg, fg = (cdist(a, b, "sqeuclidean") for a, b in ((f, f), (g, g), (f, g)))  # (n, n)
    width = np.median(gg[~np.eye(n, dtype=bool)]) or 1.0
    k_ff, k_gg, k_fg = (np.exp(-squared / (2 * width)) for squared in (ff, gg, fg))
    return u_statistic(k_ff + k_gg - k_fg - k_fg.T)


def u_statistic(h: np.ndarray) -> Estimate:
    """Mean of a symmetric kernel h (n, n) over pairs of different rows, with its standard error (Hoeffding, 1948).

    Split h(i, j) = mean + a_i + a_j + b_ij into uncorrelated parts. The variance of the mean over pairs is

        4 var(a) / n + 2 var(b) / (n (n - 1)),

    of which only the second term is left if both distributions are equal. Both variances follow from those of the
    elements and of the row means, with s = (n - 2) / (n - 1):

        var(h_ij) = 2 var(a) + var(b),  var(row mean) = s^2 var(a) + s var(b) / (n - 1)
    """
    n = len(h)
    off_diagonal = h[~np.eye(n, dtype=bool)]  # (n * (n - 1),)
    row_means = off_diagonal.reshape(n, n - 1).mean(1)
    s = (n - 2) / (n - 1)
    var_a = (row_means.var(ddof=1) - off_diagonal.var() * s / (n - 1)) / (s * s - 2 * s / (n - 1))
    var_a = max(0.0, var_a)
    var_b = max(0.0, off_diagonal.var() - 2 * var_a)
    return Estimate(float(off_diagonal.mean()), math.sqrt(4 * var_a / n + 2 * var_b / (n * (n - 1))))


def precision_and_recall(f: np.ndarray, g: np.ndarray) -> tuple[Estimate, Estimate]:
    """Improved precision and recall (Kynkäänniemi et al., 2019): share of f among g, and of g among f.

    A row lies among a set if it is within the third-nearest-neighbor distance of one of its members. In many dimensions
    rows are far apart, and even real data do not reach 1.

    Args:
        f: (n, F) features.
        g: (n, F) features of held-out rows.
    """
    ff, gg, fg = cdist(f, f), cdist(g, g), cdist(f, g)  # (n, n)
    tolerance = DISTANCE_TOLERANCE * float(np.median(gg))

    def statistic(index: np.ndarray) -> np.ndarray:
        pick = np.ix_(index, index)
        radius_f, radius_g = (np.partition(d[pick], N_NEIGHBORS, 1)[:, N_NEIGHBORS] + tolerance for d in (ff, gg))
        distance = fg[pick]
        return np.array([(distance <= radius_g).any(1).mean(), (distance <= radius_f[:, None]).any(0).mean()])

    value, error, _ = half_split_stats(statistic, len(g))
    error = error.clip(1 / len(g))  # a share of 0 or 1 is uncertain by at least one row
    return Estimate(float(value[0]), float(error[0])), Estimate(float(value[1]), float(error[1]))


def frechet(f: np.ndarray, g: np.ndarray) -> Estimate:
    """Squared Fréchet distance between normals fitted to features (Heusel et al., 2017), corrected for its bias.

    The bias of n rows falls as 1/n (Chong & Forsyth, 2020). It is estimated from half the rows and subtracted, so equal
    distributions give 0 within the error, which may be negative.

    Args:
        f: (n, F) features.
        g: (n, F) features of held-out rows.
    """

    def statistic(index: np.ndarray) -> np.ndarray:
        return np.array([frechet_plug_in(f[index], g[index])])

    value, error, bias = half_split_stats(statistic, len(g))
    return Estimate(float(value[0] - bias[0]), float(error[0]))


def frechet_plug_in(f: np.ndarray, g: np.ndarray) -> float:
    """|m - n|^2 + tr(S + T - 2 (S T)^(1/2)) with the sample means m, n and covariances S, T of features (n, F)."""
    s, t = np.atleast_2d(np.cov(f.T)), np.atleast_2d(np.cov(g.T))
    eigenvalues, eigenvectors = np.linalg.eigh(s)
    root = (eigenvectors * np.sqrt(eigenvalues.clip(0))) @ eigenvectors.T  # S^(1/2)
    # S T and S^(1/2) T S^(1/2) have the same eigenvalues, and the latter is symmetric
    trace_root = np.sqrt(np.linalg.eigvalsh(root @ t @ root).clip(0)).sum()
    return float(np.square(f.mean(0) - g.mean(0)).sum() + np.trace(s) + np.trace(t) - 2 * trace_root)


def half_split_stats(
    statistic: Callable[[np.ndarray], np.ndarray], n: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A statistic of n rows with standard error and bias, both from random halves of the rows.

    Two halves A, B share no row, so E(T_A - T_B)^2 = 2 var(T_half), and var(T) = var(T_half) / 2 for a variance that
    falls as 1/n: the error is rms(T_A - T_B) / 2. (A jackknife overstates the error of nearest-neighbor statistics by
    half.) A bias b/n is 2b/n in a half, so mean(T_half) - T estimates it.

    Args:
        statistic: maps an index of rows to (S,) values.
        n: number of rows; it also seeds the halves.

    Returns:
        Value, standard error and bias, (S,) each.
    """
    random = np.random.default_rng(n)
    values = []  # N_HALF_SPLITS of (2, S)
    for _ in range(N_HALF_SPLITS):
        order = random.permutation(n)
        values.append([statistic(half) for half in (order[: n // 2], order[n // 2 : 2 * (n // 2)])])
    halves, whole = np.array(values), statistic(np.arange(n))
    error = np.sqrt(np.square(halves[:, 0] - halves[:, 1]).mean(0)) / 2
    return whole, error, halves.mean((0, 1)) - whole
