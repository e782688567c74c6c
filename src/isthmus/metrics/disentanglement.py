"""Disentanglement scores: whether each latent dimension encodes one ground-truth factor, and each factor one dimension.

Every score is 1 for a code with one dimension per factor, under any monotone map of each dimension, and 0 in
expectation for a code that is independent of the factors. To that end the published scores are changed twice: the
contribution of chance is subtracted, and where a score picks the best of several dimensions, they are picked on one
half of the rows and scored on the other, because the best of many chance values is above 0.

How the scores differ for other codes of independent factors:

==============================  ========  ==========  ==========  ===========  ==========  =========
code                            mig, sap  factor_vae  modularity  disentangl.  completen.  informat.
==============================  ========  ==========  ==========  ===========  ==========  =========
two factors rotated             low       low         below 1     low          low         1
one factor over two dimensions  low       1           1           1            low         1
two factors in one dimension    1         low         low         low          1           1
==============================  ========  ==========  ==========  ===========  ==========  =========

The last row assumes no more pairs of levels than bins, and enough rows of each pair for the trees. A dimension that is
hardly used but varies a little counts like any other: leave it out beforehand if it should not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import entr
from scipy.stats import chi2, rankdata
from sklearn.ensemble import ExtraTreesClassifier

from isthmus.data.dataset import check_factors
from isthmus.errors import InputError
from isthmus.metrics.estimate import Estimate, jackknife
from isthmus.metrics.mutual_information import adjusted_information, bin_codes, contingency_tables

DISENTANGLEMENT_MAX_ROWS = 5_000
"""Rows that are used; the standard errors of the scores are then about 0.01."""
DISENTANGLEMENT_MIN_ROWS = 100
"""With fewer, a score would be estimated on fewer than forty rows."""
MAX_LEVELS = 100
"""Levels of a factor: with more, there are too few rows of each."""
JACKKNIFE_GROUPS = 5
"""Groups of rows, each left out once; the standard error is then known to about a third."""
N_VOTES = 4_000
"""Batches drawn for the FactorVAE score, half for training and half for testing."""
VOTE_BATCH_SIZE = 64
"""Rows of one such batch (Kim & Mnih, 2018)."""
VOTE_BLOCK_ELEMENTS = 2**23
"""Elements (votes x rows x dimensions) of one block."""
N_TREES = 10
"""Trees of a forest; with more, importances change by less than between samples of rows."""
SIGNIFICANCE_LEVEL = 1e-4
"""Probability that any dimension of an uninformative code, or any split of a forest, counts as informative."""
MIN_RELATIVE_RANGE = 1e-6
"""Dimensions whose range is below this share of their largest absolute value vary by rounding errors only."""


def disentanglement(codes: np.ndarray, factors: np.ndarray, seed: int = 0) -> dict[str, Estimate]:
    """Every score, with its standard error.

    Dimensions and factors that are constant are left out. If no dimension varies, every score is 0.

    Args:
        codes: (n, L).
        factors: (n, F) integers, one for each level of a factor.
        seed: chooses at most `DISENTANGLEMENT_MAX_ROWS` rows and their order, and seeds the forests.

    Raises:
        InputError: for codes that are not finite, factors that are not integers, fewer than two factors that vary, more
            than `MAX_LEVELS` levels or fewer than `DISENTANGLEMENT_MIN_ROWS` rows.
    """
    parts = dci(codes, factors, seed)
    return {
        "mig": mig(codes, factors, seed),
        "sap": sap(codes, factors, seed),
        "factor_vae": factor_vae(codes, factors, seed),
        "modularity": modularity(codes, factors, seed),
        **parts._asdict(),
    }


def mig(codes: np.ndarray, factors: np.ndarray, seed: int = 0) -> Estimate:
    """Mutual information gap (Chen et al., 2018): mean over factors of [I(z_1; v) - I(z_2; v)] / H(v).

    z_1 and z_2 are the two dimensions with the most information about factor v; information and entropy are adjusted
    for chance. Arguments as in `disentanglement`.
    """

    def score(codes: np.ndarray, factors: np.ndarray) -> float:
        first, second = (adjusted_information(*half).normalized for half in halves(codes, factors))
        return (gap(first, second) + gap(second, first)) / 2

    return jackknife_score(score, *validate(codes, factors, seed))


def sap(codes: np.ndarray, factors: np.ndarray, seed: int = 0) -> Estimate:
    """Separated attribute predictability (Kumar et al., 2018): gap in accuracy between the two best dimensions.

    A factor is predicted from one dimension by thresholds between its bins. The accuracy is the mean over levels on
    rows that the thresholds were not fitted to, rescaled from 0 for guessing to 1. Arguments as in `disentanglement`.
    """

    def score(codes: np.ndarray, factors: np.ndarray) -> float:
        bins = bin_codes(codes, factors)
        size = int(bins.max()) + 1, factors.max(0) + 1
        first, second = (contingency_tables(*half, *size) for half in halves(bins, factors))
        chosen_first, chosen_second = threshold_accuracy(first, first), threshold_accuracy(second, second)  # (L, F)
        scored_first, scored_second = threshold_accuracy(second, first), threshold_accuracy(first, second)
        return (gap(chosen_first, scored_second) + gap(chosen_second, scored_first)) / 2

    return jackknife_score(score, *validate(codes, factors, seed))


def factor_vae(codes: np.ndarray, factors: np.ndarray, seed: int = 0) -> Estimate:
    """FactorVAE score (Kim & Mnih, 2018): does the dimension with the least variance reveal which factor was fixed?

    Each batch has rows of one level of one factor. A majority vote from dimension to factor is learned on one half of
    the rows and tested on the other; its accuracy is rescaled from 0 for guessing (1 / F) to 1. The standard error also
    holds the noise of the batches several times over, and is rather too large. Arguments as in `disentanglement`.
    """

    def score(codes: np.ndarray, factors: np.ndarray) -> float:
        random = np.random.default_rng(seed)
        std = codes.std(0)
        scaled = codes[:, std > 0] / std[std > 0]
        if not scaled.shape[1]:
            return 0.0
        first, second = (min_variance_votes(*half, random) for half in halves(scaled, factors))
        accuracy = [majority_vote_accuracy(first, second), majority_vote_accuracy(second, first)]
        chance = 1 / factors.shape[1]
        return (float(np.mean(accuracy)) - chance) / (1 - chance)

    return jackknife_score(score, *validate(codes, factors, seed))


def modularity(codes: np.ndarray, factors: np.ndarray, seed: int = 0) -> Estimate:
    """Modularity (Ridgeway & Mozer, 2018): does each dimension carry information about one factor only?

    Mean over dimensions of 1 - sum_{f != f*} I_f^2 / (I_f*^2 (F - 1)), where f* is the factor with the most
    information. Dimensions that are not significantly informative about any factor are left out; 0 if none is.
    Arguments as in `disentanglement`.
    """

    def score(codes: np.ndarray, factors: np.ndarray) -> float:
        information = adjusted_information(codes, factors)
        informative = information.p_value.min(1, initial=1) < SIGNIFICANCE_LEVEL / information.p_value.size
        if not informative.any():
            return 0.0
        square = np.square(information.nats[informative].clip(0))  # (L, F)
        largest = square.max(1)
        others = (square.sum(1) - largest) / (largest * (factors.shape[1] - 1))
        return float(np.mean(1 - others))

    return jackknife_score(score, *validate(codes, factors, seed))


class DCI(NamedTuple):
    """Scores of the feature importances of forests that predict factors from codes (Eastwood & Williams, 2018)."""

    disentanglement: Estimate
    """Whether each dimension is important for one factor only; dimensions are weighted by their importance."""
    completeness: Estimate
    """Whether each factor is predicted from one dimension only; 1 by definition if there is one dimension."""
    informativeness: Estimate
    """Cohen's kappa of the predictions on held-out rows, mean over factors: 0 by chance, 1 if all are correct."""


def dci(codes: np.ndarray, factors: np.ndarray, seed: int = 0) -> DCI:
    """Disentanglement, completeness and informativeness from extremely randomized trees (Geurts et al., 2006).

    The trees read the ranks of codes, so that no monotone map of a dimension changes a score. All dimensions are tried
    at
    every split: with a random subset, a dimension's importance would leak to others when it is not in the subset.
    Splits that are not significant are not made, because trees that fit noise make every dimension important. The price
    is that a few rows of many levels are predicted less well than they could be. Arguments as in `disentanglement`.
    """
    codes, factors = validate(codes, factors, seed)
    if not codes.shape[1]:
        return DCI(*[Estimate(0.0, 0.0)] * 3)
    ranks = rankdata(codes, axis=0)
    group = np.arange(len(codes)) % JACKKNIFE_GROUPS
    folds = [fit_forests(ranks, factors, group == g, seed) for g in range(JACKKNIFE_GROUPS)]
    disentangled = [concentration(importance) for importance, _ in folds]
    complete = [concentration(importance.T) for importance, _ in folds]
    kappas = [kappa for _, kappa in folds]
    # Importances of two folds share most rows: a jackknife. Kappas are measured on disjoint rows: std / sqrt(groups).
    error = float(np.std(kappas)) / math.sqrt(JACKKNIFE_GROUPS - 1)
    return DCI(jackknife(disentangled), jackknife(complete), Estimate(float(np.mean(kappas)), error))


def validate(codes: np.ndarray, factors: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes (m, L) and factors (m, F) without constant columns, levels counted from 0, rows in random order."""
    codes = np.asarray(codes)
    if codes.ndim != 2 or codes.dtype.kind not in "biuf":
        raise InputError(
            f"codes must be numbers of shape (n, latent_dim), got shape {codes.shape} and dtype {codes.dtype}."
        )
    factors = check_factors(factors, len(codes))
    if len(codes) < DISENTANGLEMENT_MIN_ROWS:
        raise InputError(f"Disentanglement scores need at least {DISENTANGLEMENT_MIN_ROWS} rows, got {len(codes)}.")
    order = np.random.default_rng(seed).permutation(len(codes))[:DISENTANGLEMENT_MAX_ROWS]
    codes, factors = codes[order].astype(np.float64), factors[order]
    if not np.isfinite(codes).all():
        raise InputError("codes must be finite, got NaN or infinity.")
    codes = codes[:, np.ptp(codes, axis=0) > MIN_RELATIVE_RANGE * np.abs(codes).max(0, initial=0)]
    levels = [np.unique(column, return_inverse=True) for column in factors.T]
    varying = [index for values, index in levels if len(values) > 1]
    if len(varying) < 2:
        raise InputError(f"At least 2 factors must vary over the rows, got {len(varying)} of {factors.shape[1]}.")
    n_levels = max(len(values) for values, _ in levels)
    if n_levels > MAX_LEVELS:
        raise InputError(f"A factor must have at most {MAX_LEVELS} levels, got {n_levels:,}. Bin its values.")
    return codes, np.stack(varying, 1)


def jackknife_score(
    score: Callable[[np.ndarray, np.ndarray], float], codes: np.ndarray, factors: np.ndarray
) -> Estimate:
    """The score with a jackknife standard error over groups of rows; 0 for a code without dimensions."""
    if not codes.shape[1]:
        return Estimate(0.0, 0.0)
    group = np.arange(len(codes)) % JACKKNIFE_GROUPS
    return jackknife([score(codes[group != g], factors[group != g]) for g in range(JACKKNIFE_GROUPS)])


def halves(codes: np.ndarray, factors: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Two halves of rows that are in random order."""
    middle = len(codes) // 2
    return [(codes[:middle], factors[:middle]), (codes[middle:], factors[middle:])]


def gap(chosen_on: np.ndarray, scored_on: np.ndarray) -> float:
    """Difference between the best and the second-best dimension, mean over factors.

    A dimension worse than guessing, or one that does not exist, is replaced by guessing, which scores 0.

    Args:
        chosen_on: (L, F) scores on the rows by which the two dimensions are chosen.
        scored_on: (L, F) scores on the rows on which they are compared.
    """
    chosen_on, scored_on = (np.pad(scores, ((0, 2), (0, 0))) for scores in (chosen_on, scored_on))
    best = np.argsort(-chosen_on, axis=0, kind="stable")[:2]  # (2, F)
    first, second = np.take_along_axis(scored_on, best, 0)
    return float((first - second).mean())


def threshold_accuracy(train: list[list[np.ndarray]], test: list[list[np.ndarray]]) -> np.ndarray:
    """(L, F) balanced accuracy of predicting each factor from the bins of each dimension, 0 for guessing, 1 at best.

    Args:
        train: contingency tables from which the likeliest level of each bin is learned.
        test: contingency tables on which the prediction is scored.
    """

    def accuracy(train: np.ndarray, test: np.ndarray) -> float:
        predicted = (train / np.maximum(train.sum(0), 1)).argmax(1)  # (R,) likeliest if all levels are equally frequent
        present = test.sum(0) > 0
        if present.sum() < 2:
            return 0.0
        correct = np.bincount(predicted, test[np.arange(len(test)), predicted], minlength=test.shape[1])
        recall = correct[present] / test.sum(0)[present]
        chance = 1 / len(recall)
        return float((recall.mean() - chance) / (1 - chance))

    return np.array([[accuracy(*tables) for tables in zip(*pair)] for pair in zip(train, test)])


def min_variance_votes(codes: np.ndarray, factors: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """(L, F) how often each dimension had the least variance in a batch in which a factor was fixed."""
    votes = np.zeros((codes.shape[1], factors.shape[1]), np.int64)
    for k, column in enumerate(factors.T):
        order, count = np.argsort(column, kind="stable"), np.bincount(column)
        start = np.cumsum(count) - count
        single = count[column] < 2  # a level of one row has no variance in any dimension
        levels = random.choice(column if single.all() else column[~single], N_VOTES // (2 * factors.shape[1]))
        offset = (random.random((len(levels), VOTE_BATCH_SIZE)) * count[levels, None]).astype(np.int64)  # (V, B)
        rows = order[start[levels, None] + offset]
        for block in np.array_split(rows, 1 + rows.size * codes.shape[1] // VOTE_BLOCK_ELEMENTS):
            votes[:, k] += np.bincount(codes[block].var(1).argmin(1), minlength=codes.shape[1])
    return votes


def majority_vote_accuracy(train_votes: np.ndarray, test_votes: np.ndarray) -> float:
    """Share of test votes (L, F) for the factor that got most of the dimension's training votes (L, F)."""
    return float(test_votes[np.arange(len(test_votes)), train_votes.argmax(1)].sum() / test_votes.sum())


def fit_forests(ranks: np.ndarray, factors: np.ndarray, held_out: np.ndarray, seed: int) -> tuple[np.ndarray, float]:
    """Importances (L, F) of dimensions to forests that predict each factor, and their mean kappa on held-out rows."""
    importance, kappas = [], []
    for column in factors.T:
        # G test of a split: 2 n (gain in nats) is chi-squared with K - 1 degrees of freedom, Bonferroni-corrected for
        # trees and dimensions. scikit-learn measures the gain in bits per training row.
        threshold = chi2.isf(SIGNIFICANCE_LEVEL / (N_TREES * ranks.shape[1]), int(column.max()))
        min_gain = threshold / (2 * math.log(2) * int((~held_out).sum()))
        forest = ExtraTreesClassifier(
            N_TREES, criterion="entropy", max_features=None, min_impurity_decrease=min_gain, random_state=seed % 2**32
        )
        predicted = forest.fit(ranks[~held_out], column[~held_out]).predict(ranks[held_out])
        importance.append(forest.feature_importances_)
        kappas.append(cohen_kappa(column[held_out], predicted))
    return np.stack(importance, 1), float(np.mean(kappas))


def cohen_kappa(true: np.ndarray, predicted: np.ndarray) -> float:
    """Accuracy beyond that of independent guesses with the same frequencies (Cohen, 1960); 0 if that is all of it.

    >>> cohen_kappa(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]))
    0.0
    """
    n_levels = int(max(true.max(), predicted.max())) + 1
    count, predicted_count = (np.bincount(x, minlength=n_levels) for x in (true, predicted))
    chance = float(count @ predicted_count) / len(true) ** 2
    return (float((true == predicted).mean()) - chance) / (1 - chance) if chance < 1 else 0.0


def concentration(weights: np.ndarray) -> float:
    """Mean of 1 - H(row) / log K over rows of weights (R, K), by their sums: 1 if each row has a single entry.

    >>> concentration(np.array([[1.0, 0.0], [0.5, 0.5]]))
    0.5
    """
    total = weights.sum(1, keepdims=True)
    if not total.any():
        return 0.0
    log_base = math.log(weights.shape[1]) or 1.0  # one column: the entropy is 0, and the score 1
    entropy = entr(weights / np.where(total > 0, total, 1)).sum(1) / log_base
    return float((total[:, 0] * (1 - entropy)).sum() / total.sum())
