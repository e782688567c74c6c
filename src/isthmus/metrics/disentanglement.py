"""How far single latent dimensions stand for single ground-truth factors.

Every score is 1 for a code of one dimension a factor, however each is bent, and 0 for one that tells of none. Where
the published score is off 0 by chance, that is taken out; where it picks the best of several dimensions, they are
picked on other rows than it is measured on, for the best of many chances is no chance.

What else they tell apart, for factors that vary alone:

===================================  ========  ==========  ==========  ===========  ==========  =========
a code with                          mig, sap  factor_vae  modularity  disentangl.  completen.  informat.
===================================  ========  ==========  ==========  ===========  ==========  =========
two factors turned into each other   low       low         a bit low   low          low         1
a factor spread over two dimensions  low       1           1           1            low         1
two factors in one dimension         1         low         low         low          1           1
===================================  ========  ==========  ==========  ===========  ==========  =========

In the last row mutual information must tell all pairs of levels apart (no more of them than bins), and trees have
rows enough of each to read them. A dimension that is hardly in use but varies a little counts as one: leave it out
first where that is not wanted.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.special import entr
from scipy.stats import chi2, rankdata
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.metrics.cluster import expected_mutual_information

from isthmus.data.dataset import check_factors
from isthmus.errors import InputError
from isthmus.metrics.estimate import Estimate

MOST_ROWS = 5_000
"""Rows that are looked at: the scores are known to a hundredth then."""
FEWEST_ROWS = 100
"""With fewer, the forty rows that a score is taken on are no sample."""
MOST_LEVELS = 100
"""Values of a factor: with more there are too few rows of each."""
BINS = 20
"""Equal shares of the rows that a dimension is cut into, as is usual (Locatello et al., 2019)."""
GROUPS = 5
"""Parts of the rows; each is left out once, and how much that matters gives the error, to a third of itself."""
VOTES = 4_000
"""Batches that the FactorVAE score draws, half to learn from and half to score."""
BATCH = 64
"""Rows of such a batch (Kim & Mnih, 2018)."""
AT_ONCE = 2**23
"""Numbers of (votes, rows, dimensions) held at once."""
TREES = 10
"""Trees of a forest; more change its importances by less than other rows would."""
CHANCE = 1e-4
"""How often something in a code that tells nothing may pass for more than chance; small, for few rows have outliers."""
ROUNDING = 1e-6
"""Share of a dimension's largest value that single precision may make it vary by."""


def disentanglement(codes: np.ndarray, factors: np.ndarray, seed: int = 0) -> dict[str, Estimate]:
    """Every score of codes (n, L) for factors (n, F) of whole numbers, with its standard error.

    At most `MOST_ROWS` rows, drawn by the seed, are looked at. Dimensions and factors that never change are left out.
    A code in which nothing varies scores 0.

    Raises InputError for codes that are no finite numbers (n, L), factors that are no whole numbers (n, F), fewer than
    two factors that vary, too many levels or too few rows.
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
    """Mutual information gap (Chen et al., 2018): how much more the best dimension tells of a factor than the next.

    As a share of the factor's entropy, both less what chance gives, the mean over factors.
    """

    def score(codes: np.ndarray, factors: np.ndarray) -> float:
        first, second = (shared(*half).share for half in halves(codes, factors))
        return (gap(first, second) + gap(second, first)) / 2

    return left_out(score, *usable(codes, factors, seed))


def sap(codes: np.ndarray, factors: np.ndarray, seed: int = 0) -> Estimate:
    """Separated attribute predictability (Kumar et al., 2018): the same gap in how well thresholds read a factor.

    The thresholds lie between the bins of a dimension. What is read right is the mean over levels, on rows that the
    thresholds were not set on, from 0 for a guess to 1.
    """

    def score(codes: np.ndarray, factors: np.ndarray) -> float:
        bins = binned(codes, factors)
        size = int(bins.max()) + 1, factors.max(0) + 1
        first, second = (tables(*half, *size) for half in halves(bins, factors))
        own, other = read_right(first, first), read_right(second, second)  # (L, F)
        return (gap(own, read_right(first, second)) + gap(other, read_right(second, first))) / 2

    return left_out(score, *usable(codes, factors, seed))


def factor_vae(codes: np.ndarray, factors: np.ndarray, seed: int = 0) -> Estimate:
    """FactorVAE score (Kim & Mnih, 2018): whether the dimension that moves least tells which factor was held.

    Batches come from the rows of one level of a factor. The commonest factor of each dimension is learned on half of
    the rows and scored on the other, from 0 for a guess (1 / F of the votes right) to 1.

    The batches' own chance is in the error several times over, so that it is rather too large.
    """

    def score(codes: np.ndarray, factors: np.ndarray) -> float:
        random = np.random.default_rng(seed)
        scale = codes.std(0)
        scaled = codes[:, scale > 0] / scale[scale > 0]
        if not scaled.shape[1]:
            return 0.0
        first, second = (votes(*half, random) for half in halves(scaled, factors))
        right = [voted_right(first, second), voted_right(second, first)]
        guess = 1 / factors.shape[1]
        return (float(np.mean(right)) - guess) / (1 - guess)

    return left_out(score, *usable(codes, factors, seed))


def modularity(codes: np.ndarray, factors: np.ndarray, seed: int = 0) -> Estimate:
    """Modularity (Ridgeway & Mozer, 2018): how far each dimension tells of one factor only.

    One less the squared mutual information with other factors than the dimension's own, beside the most that it could
    be, the mean over dimensions. Those that tell of no factor more than chance are left out; 0 where all are such.
    """

    def score(codes: np.ndarray, factors: np.ndarray) -> float:
        found = shared(codes, factors)
        told = found.chance.min(1, initial=1) < CHANCE / found.chance.size
        if not told.any():
            return 0.0
        square = np.square(found.nats[told].clip(0))  # (L, F)
        own = square.max(1)
        stray = (square.sum(1) - own) / (own * (factors.shape[1] - 1))
        return float(np.mean(1 - stray))

    return left_out(score, *usable(codes, factors, seed))


class DCI(NamedTuple):
    """Three scores of what a forest that reads factors from codes goes by (Eastwood & Williams, 2018)."""

    disentanglement: Estimate
    """How far each dimension is important for one factor only, dimensions weighted by their importance."""
    completeness: Estimate
    """How far each factor is read from one dimension only; 1 by definition where there is one dimension."""
    informativeness: Estimate
    """Factors read right from other rows, from 0 for chance to 1 (Cohen's kappa), the mean over factors."""


def dci(codes: np.ndarray, factors: np.ndarray, seed: int = 0) -> DCI:
    """Disentanglement, completeness and informativeness by extremely randomised trees (Geurts et al., 2006).

    They need no sorting and so are fast, and see the ranks of a code only, so that no monotone map matters to them.
    Every dimension is tried at every split, for one that is not at hand would lend its importance to another; and a
    split that tells no more than chance gives is not made, for trees that divide noise call every dimension important.
    Few rows of many levels are therefore read less well than they could be.
    """
    codes, factors = usable(codes, factors, seed)
    if not codes.shape[1]:
        return DCI(*[Estimate(0.0, 0.0)] * 3)
    ranks = rankdata(codes, axis=0)
    group = np.arange(len(codes)) % GROUPS
    found = [trees(ranks, factors, group == held, seed) for held in range(GROUPS)]
    tidy = [concentration(importance) for importance, _ in found]
    whole = [concentration(importance.T) for importance, _ in found]
    right = [kappa for _, kappa in found]
    # Each kappa is of rows of its own, each importance of rows that the others see too.
    error = float(np.std(right)) / math.sqrt(GROUPS - 1)
    return DCI(jackknife(tidy), jackknife(whole), Estimate(float(np.mean(right)), error))


def usable(codes: np.ndarray, factors: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes (m, L) and factors (m, F) that vary, levels counted from 0, in an order drawn by the seed."""
    codes = np.asarray(codes)
    if codes.ndim != 2 or codes.dtype.kind not in "biuf":
        raise InputError(f"codes have shape {codes.shape} and dtype {codes.dtype}; numbers (n, latent_dim) are wanted")
    factors = check_factors(factors, len(codes))
    if len(codes) < FEWEST_ROWS:
        raise InputError(f"{len(codes)} rows came; disentanglement wants at least {FEWEST_ROWS}")
    some = np.random.default_rng(seed).permutation(len(codes))[:MOST_ROWS]
    codes, factors = codes[some].astype(np.float64), factors[some]
    if not np.isfinite(codes).all():
        raise InputError("codes hold NaN or infinity; finite numbers are wanted")
    codes = codes[:, np.ptp(codes, axis=0) > ROUNDING * np.abs(codes).max(0, initial=0)]
    levels = [np.unique(column, return_inverse=True) for column in factors.T]
    varied = [place for values, place in levels if len(values) > 1]
    if len(varied) < 2:
        raise InputError(f"{len(varied)} of {factors.shape[1]} factors vary over the rows; at least 2 are wanted")
    most = max(len(values) for values, _ in levels)
    if most > MOST_LEVELS:
        raise InputError(f"a factor has {most:,} levels; at most {MOST_LEVELS} are wanted: cut its values into bins")
    return codes, np.stack(varied, 1)


def left_out(score: Callable[[np.ndarray, np.ndarray], float], codes: np.ndarray, factors: np.ndarray) -> Estimate:
    """The score of the rows without each of the groups in turn; 0 of a code without dimensions."""
    if not codes.shape[1]:
        return Estimate(0.0, 0.0)
    group = np.arange(len(codes)) % GROUPS
    return jackknife([score(codes[group != out], factors[group != out]) for out in range(GROUPS)])


def jackknife(values: list[float]) -> Estimate:
    """Mean and standard error of scores that each leave one group of rows out (Efron & Tibshirani, 1993)."""
    return Estimate(float(np.mean(values)), math.sqrt(len(values) - 1) * float(np.std(values)))


def halves(codes: np.ndarray, factors: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Two halves of rows that lie in no order."""
    middle = len(codes) // 2
    return [(codes[:middle], factors[:middle]), (codes[middle:], factors[middle:])]


def gap(chosen_on: np.ndarray, taken_on: np.ndarray) -> float:
    """By how much the first dimension is above the second in (L, F), the two chosen on other rows; mean over factors.

    A guess stands in for a dimension that there is not, or that is worse than one.
    """
    chosen_on, taken_on = (np.pad(scores, ((0, 2), (0, 0))) for scores in (chosen_on, taken_on))
    best = np.argsort(-chosen_on, axis=0, kind="stable")[:2]  # (2, F)
    first, second = np.take_along_axis(taken_on, best, 0)
    return float((first - second).mean())


def binned(codes: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """(n, L) the bin of each number: its value where few differ, else one of `BINS` equal shares of the rows.

    There are never fewer bins than a factor has levels, or a dimension could not tell them all apart.
    """
    most = max(BINS, int(factors.max()) + 1)
    shares = (rankdata(codes, "min", axis=0).astype(np.int64) - 1) * most // len(codes)  # equal numbers stay together
    for dim, column in enumerate(codes.T):
        values, place = np.unique(column, return_inverse=True)
        if len(values) <= most:
            shares[:, dim] = place
    return shares


def tables(bins: np.ndarray, factors: np.ndarray, most: int, levels: np.ndarray) -> list[list[np.ndarray]]:
    """Counts (most, K) of bin and level, for each dimension a list over factors of these numbers of levels (F,)."""
    return [
        [np.bincount(b * k + f, minlength=most * k).reshape(most, k) for f, k in zip(factors.T, levels)] for b in bins.T
    ]


class Shared(NamedTuple):
    """What dimensions tell of factors, (L, F) each."""

    nats: np.ndarray
    """Mutual information less what chance gives."""
    share: np.ndarray
    """The same, of the most that it could be."""
    chance: np.ndarray
    """How likely chance gives as much."""


def shared(codes: np.ndarray, factors: np.ndarray) -> Shared:
    """Mutual information of binned dimensions and factors, adjusted for chance as Vinh et al. (2010) do."""
    bins = binned(codes, factors)
    counts = tables(bins, factors, int(bins.max()) + 1, factors.max(0) + 1)
    found = [[information(table) for table in row] for row in counts]
    return Shared(*np.moveaxis(np.array(found), -1, 0))


def information(table: np.ndarray) -> tuple[float, float, float]:
    """What counts (R, K) tell of the column by the row: nats and share of the entropy beyond chance, and its chance.

    >>> nats, share, _ = information(np.diag([50, 50]))
    >>> round(nats, 2), share
    (0.69, 1.0)
    """
    n, rows, columns = int(table.sum()), table.sum(1), table.sum(0)
    rows, columns = rows[rows > 0], columns[columns > 0]
    entropy = float(entr(columns / n).sum())
    nats = entropy + float(entr(rows / n).sum()) - float(entr(table / n).sum())
    by_chance = expected(tuple(sorted(rows.tolist())), tuple(sorted(columns.tolist())))
    free = (len(rows) - 1) * (len(columns) - 1)
    if free == 0 or entropy <= by_chance:
        return 0.0, 0.0, 1.0
    beyond = nats - by_chance
    # The likelihood-ratio statistic, moved to the mean of its limit: in sparse tables it lies elsewhere.
    return beyond, beyond / (entropy - by_chance), float(chi2.sf(max(0.0, 2 * n * beyond + free), free))


@lru_cache(maxsize=4096)
def expected(rows: tuple[int, ...], columns: tuple[int, ...]) -> float:
    """Mean mutual information (nats) over all ways to pair rows and columns with these counts.

    Dimensions cut into equal shares have the same counts: it is worked out once for all of them.
    """
    n = sum(rows)
    margins = np.zeros((len(rows), len(columns)), np.int64)  # its sums are all that is looked at
    margins[:, 0] = rows
    margins[0] += np.array(columns)
    margins[0, 0] -= n
    return float(expected_mutual_information(margins, n))


def read_right(fitted: list[list[np.ndarray]], held: list[list[np.ndarray]]) -> np.ndarray:
    """(L, F) levels read right from bins: the likeliest level of each where all are alike, from 0 for a guess to 1."""

    def right(fit: np.ndarray, test: np.ndarray) -> float:
        rule = (fit / np.maximum(fit.sum(0), 1)).argmax(1)  # (R,)
        there = test.sum(0) > 0
        if there.sum() < 2:
            return 0.0
        hit = np.bincount(rule, test[np.arange(len(test)), rule], minlength=test.shape[1])[there] / test.sum(0)[there]
        guess = 1 / len(hit)
        return float((hit.mean() - guess) / (1 - guess))

    return np.array([[right(fit, test) for fit, test in zip(*pair)] for pair in zip(fitted, held)])


def votes(codes: np.ndarray, factors: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """(L, F) how often a dimension varied least in a batch of rows in which a factor was the same."""
    found = np.zeros((codes.shape[1], factors.shape[1]), np.int64)
    for k, column in enumerate(factors.T):
        order, count = np.argsort(column, kind="stable"), np.bincount(column)
        start = np.cumsum(count) - count
        alone = count[column] < 2  # a row without company shows no variance of anything
        levels = random.choice(column if alone.all() else column[~alone], VOTES // (2 * factors.shape[1]))
        inside = (random.random((len(levels), BATCH)) * count[levels, None]).astype(np.int64)  # (V, B)
        rows = order[start[levels, None] + inside]
        for some in np.array_split(rows, 1 + rows.size * codes.shape[1] // AT_ONCE):
            found[:, k] += np.bincount(codes[some].var(1).argmin(1), minlength=codes.shape[1])
    return found


def voted_right(learned: np.ndarray, scored: np.ndarray) -> float:
    """Share of votes (L, F) that go to the factor that each dimension had most of in others."""
    return float(scored[np.arange(len(scored)), learned.argmax(1)].sum() / scored.sum())


def trees(ranks: np.ndarray, factors: np.ndarray, held: np.ndarray, seed: int) -> tuple[np.ndarray, float]:
    """Importance (L, F) of dimensions to forests that read factors, and their mean kappa on the held rows."""
    importance, kappa = [], []
    for column in factors.T:
        # The likelihood-ratio statistic of a split, in scikit-learn's bits a row: less than this is what chance gives.
        tried = TREES * ranks.shape[1]
        least = chi2.isf(CHANCE / tried, int(column.max())) / (2 * math.log(2) * int((~held).sum()))
        forest = ExtraTreesClassifier(
            TREES, criterion="entropy", max_features=None, min_impurity_decrease=least, random_state=seed % 2**32
        )
        read = forest.fit(ranks[~held], column[~held]).predict(ranks[held])
        importance.append(forest.feature_importances_)
        kappa.append(beyond_chance(column[held], read))
    return np.stack(importance, 1), float(np.mean(kappa))


def beyond_chance(true: np.ndarray, read: np.ndarray) -> float:
    """Share read right (n,) beyond that of two who do not know of each other (Cohen, 1960); 0 where chance is all.

    >>> beyond_chance(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]))
    0.0
    """
    size = int(max(true.max(), read.max())) + 1
    guess = float(np.bincount(true, minlength=size) @ np.bincount(read, minlength=size)) / len(true) ** 2
    return (float((true == read).mean()) - guess) / (1 - guess) if guess < 1 else 0.0


def concentration(weights: np.ndarray) -> float:
    """How far each row of weights (R, K) lies on one column: one less its entropy to the base K, by the rows' weights.

    >>> concentration(np.array([[1.0, 0.0], [0.5, 0.5]]))
    0.5
    """
    total = weights.sum(1, keepdims=True)
    if not total.any():
        return 0.0
    entropy = entr(weights / np.where(total > 0, total, 1)).sum(1) / max(math.log(weights.shape[1]), ROUNDING)
    return float((total[:, 0] * (1 - entropy)).sum() / total.sum())
