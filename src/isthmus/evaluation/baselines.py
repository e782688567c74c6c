"""The simple models that a run is put beside, on the same rows: linear ones, factor analysis, a Gaussian mixture."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.linalg import helmert
from sklearn.decomposition import PCA, FactorAnalysis
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from isthmus.estimators.base import Estimator
from isthmus.evaluation.context import some_of
from isthmus.examples import Examples
from isthmus.metrics.estimate import mean_and_error
from isthmus.schema import safe_std

FITTED = 10_000
"""Training rows that a baseline is fitted to, at most."""
FEWEST_FITTED, NUMBERS_FITTED = 1_000, 8_000_000
"""Rows that even wide data are fitted to, and numbers above which fewer rows are: decompositions would take minutes."""
NOISES = 8
"""Dequantisation noises averaged a row."""
NOTHING = 1e-12
"""Share of the rows' variance under which what is left is rounding."""
EXACT_UP_TO = 128
"""Columns up to which factor analysis decomposes exactly: the work grows with their cube."""
CONVERGED = 1e-5
"""Nats a row; factor analysis stops where a step gains less."""
STEPS = 100
"""Of expectation and maximisation for a mixture, at most."""
COMPONENTS = (1, 3, 10, 30)
"""Sizes that a mixture is tried with."""
ROWS_EACH = 10
"""Rows a component that a size wants, at least."""
MIXED = 2_000_000
"""Numbers that a mixture is fitted to, at most: it is fitted several times, each time step by step."""
WIDTH = 1e-4
"""Added to a component's variances, in units of all rows' variance: none shrinks onto a single row."""

Score = Callable[[np.ndarray], np.ndarray]
"""Rows (n, d) to their log-densities (n,), nats."""


class Linear(NamedTuple):
    """Probabilistic PCA of `latent_dim` dimensions: (n,) log-densities, nats, dequantised where the data are discrete.

    None instead of these where the training rows do not span their space: then no density on it is bounded.
    """

    latent_dim: int
    rank: int
    """Dimensions that the training rows span."""
    values: np.ndarray | None


class Density(NamedTuple):
    """What a fitted density makes of the test rows."""

    values: np.ndarray
    """(n,) log-densities, nats, dequantised where the data are discrete."""
    size: dict[str, int]
    """`latent_dim` or `components`."""


@dataclass(frozen=True)
class BaselineData:
    """Training rows as numbers, and what can be fitted to them; everything is worked out when it is first read."""

    x: np.ndarray
    """(n, d), dequantised where the data are discrete."""
    scale: np.ndarray
    """(d,) the data's units in those that the model's networks read."""
    wanted: int
    """Latent dimensions of the model."""
    discrete: bool
    rounding: float
    """The relative error of a number of x."""
    seed: int

    @cached_property
    def root(self) -> np.ndarray:
        """(min(n, d), d) with the singular values of the centred rows, also after any scaling of columns."""
        return np.asarray(np.linalg.qr(self.x - self.x.mean(0), mode="r"))

    @cached_property
    def rank(self) -> int:
        """Dimensions that the rows span."""
        n, d = self.x.shape
        return min(d, n - 1) if self.discrete else rank_of(self.x, self.rounding, self.root)

    @property
    def spanned(self) -> bool:
        """Whether a density with a noise of its own in each direction is bounded on the rows."""
        return self.rank == self.x.shape[1]

    @cached_property
    def bounded(self) -> bool:
        """Whether a density with one noise for all directions is.

        Fewer rows than features span what they can: such a noise is still learned from those left over.
        """
        return self.discrete or self.spanned or (self.rank == len(np.unique(self.x, axis=0)) - 1 > 0)

    @cached_property
    def latent_dim(self) -> int:
        """As many of the wanted dimensions as leave a noise to learn; 0 where no density is bounded."""
        if not self.bounded:
            return 0
        if self.discrete:
            return max(0, min(self.wanted, self.x.shape[1] - 1, len(self.x) - 2))
        variance = np.linalg.svd(self.root, compute_uv=False) ** 2  # in the columns' units, as PCA sees it
        return max(0, min(self.wanted, self.rank - 1, int((variance > NOTHING * variance[0]).sum()) - 1))


class FittedDensity(NamedTuple):
    """A density that was fitted."""

    score: Score
    size: dict[str, int]


def most_rows(train: np.ndarray) -> int:
    """How many training rows (n, *X) a baseline is fitted to at most: fewer where they are wide."""
    return min(FITTED, max(FEWEST_FITTED, NUMBERS_FITTED // max(1, train[0].size)))


def as_scored(model: Estimator, inputs: Examples) -> np.ndarray:
    """(n, d) the numbers that the likelihood is a distribution over: bits where pixels are binarised."""
    values = inputs.x
    if model.schema_.binarize:
        names = getattr(model, "feature_names_in_", None)
        named = inputs.x if names is None else pd.DataFrame(inputs.x, columns=names)
        rows = model.rows(named, inputs.condition, inputs.lengths, bits="fixed")
        values = rows.batch(torch.arange(len(rows), device=rows.device)).x.cpu().numpy()
    return values.reshape(len(values), -1).astype(np.float64)


def linear_evidence(model: Estimator, train: Examples, test: Examples) -> Linear:
    """Probabilistic PCA fitted to training rows, and what it makes of the test rows."""
    ground, found = fitted_and_scored(model, train, test, {"ppca": probabilistic_pca})
    return Linear(ground.latent_dim, ground.rank, found["ppca"].values if found else None)


def densities(model: Estimator, train: Examples, test: Examples) -> tuple[BaselineData, dict[str, Density]]:
    """Every density by name, fitted to the same training rows; those that would not be bounded are left out."""
    return fitted_and_scored(model, train, test, DENSITIES)


def fitted_and_scored(
    model: Estimator, train: Examples, test: Examples, fits: dict[str, Callable[[BaselineData], FittedDensity | None]]
) -> tuple[BaselineData, dict[str, Density]]:
    """Fit each to the same training rows and score the same test rows, under the same noises where there are any."""
    train = some_of(train, most_rows(train.x), model.seed_)
    x, scored = as_scored(model, train), as_scored(model, test)
    schema, random = model.schema_, np.random.default_rng(model.seed_)
    discrete, scale = schema.discrete, np.ones(x.shape[1])
    if discrete:
        x = x + random.random(x.shape)
    else:
        scale = np.broadcast_to(schema.scale, schema.event_shape).reshape(-1)
    ground = BaselineData(x, scale, model.latent_dim, discrete, rounding_of(train.x), model.seed_ % 2**31)
    fitted = {name: made for name, fit in fits.items() if (made := fit(ground)) is not None}
    found: dict[str, list[np.ndarray]] = {name: [] for name in fitted}
    for _ in range(NOISES if discrete else 1):
        noisy = scored + random.random(scored.shape) if discrete else scored
        for name, made in fitted.items():
            found[name].append(made.score(noisy))
    return ground, {name: Density(np.mean(found[name], axis=0), made.size) for name, made in fitted.items()}


def probabilistic_pca(ground: BaselineData) -> FittedDensity | None:
    """A linear model with one noise for all columns (Tipping & Bishop, 1999)."""
    if not ground.bounded:
        return None
    return FittedDensity(
        PCA(ground.latent_dim, svd_solver="full").fit(ground.x).score_samples, {"latent_dim": ground.latent_dim}
    )


def factor_analysis(ground: BaselineData) -> FittedDensity | None:
    """A linear model with a noise of its own for each column (Rubin & Thayer, 1982); None where one could vanish."""
    if not ground.spanned:
        return None
    (n, d), mean, scale = ground.x.shape, ground.x.mean(0), safe_std(ground.x)
    k = min(ground.wanted, d - 1)
    # The fit reads no more than the covariance: d + 1 rows that have the same one make its steps cheap.
    root = ground.root / scale
    few = helmert(len(root) + 1).T @ root * math.sqrt((len(root) + 1) / n)
    model = FactorAnalysis(
        k,
        tol=CONVERGED * len(few),
        svd_method="lapack" if d <= EXACT_UP_TO else "randomized",
        random_state=ground.seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a fit that is not the best one is a density all the same
        model.fit(few)
    volume = float(np.log(scale).sum())
    return FittedDensity(lambda x: model.score_samples((x - mean) / scale) - volume, {"latent_dim": k})


def gaussian_mixture(ground: BaselineData) -> FittedDensity | None:
    """A mixture of Gaussians whose size a fifth of the training rows, held back, chooses: a larger one by clear gain.

    Components lie along the rows' principal axes: along all of them, or along as many as probabilistic PCA has, with
    one noise in the rest. The latter with one component is probabilistic PCA of scaled columns.
    """
    if not ground.bounded:
        return None
    order = np.random.default_rng(ground.seed).permutation(len(ground.x))
    x = ground.x[order[: max(2, MIXED // ground.x.shape[1])]] / ground.scale
    held, kept = np.split(x, [len(x) // 5])
    few = min(ground.latent_dim, max(0, len(kept) - 2))
    options = [
        (axes, components)
        for axes in ((few, x.shape[1]) if ground.spanned and len(kept) > x.shape[1] else (few,))
        for components in (COMPONENTS if axes else (1,))
        if components == 1 or components * ROWS_EACH <= len(kept)
    ]
    axes, components = options[0]
    if len(held) and len(options) > 1:
        found = PCA(svd_solver="full").fit(kept)
        best = mixture(found, kept, axes, components, ground.seed)(held)
        for option in options[1:]:
            values = mixture(found, kept, option[0], option[1], ground.seed)(held)
            gain, error = mean_and_error(values - best)
            if gain > error:
                (axes, components), best = option, values
    score = mixture(PCA(svd_solver="full").fit(x), x, axes, components, ground.seed)
    volume = float(np.log(ground.scale).sum())
    return FittedDensity(lambda rows: score(rows / ground.scale) - volume, {"components": components})


def mixture(pca: PCA, x: np.ndarray, axes: int, components: int, seed: int) -> Score:
    """So many Gaussians along the first principal axes of rows x (n, d), and one noise in all other directions."""
    rest = x.shape[1] - axes
    least = NOTHING * float(pca.explained_variance_[0])
    turn, variance = pca.components_[:axes], np.maximum(pca.explained_variance_[:axes], least)  # (axes, d), (axes,)
    noise = max(float(pca.explained_variance_[axes:].mean()), least) if rest else 1.0
    volume = 0.5 * float(np.log(variance).sum()) + 0.5 * rest * math.log(2 * math.pi * noise)
    model = GaussianMixture(components, covariance_type="diag", reg_covar=WIDTH, max_iter=STEPS, random_state=seed)
    if axes:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit((x - pca.mean_) @ turn.T / np.sqrt(variance))

    def score(rows: np.ndarray) -> np.ndarray:
        centred = rows - pca.mean_
        along = centred @ turn.T  # (n, axes)
        outside = np.square(centred - along @ turn).sum(1) / (2 * noise) if rest else 0.0
        inside = model.score_samples(along / np.sqrt(variance)) if axes else 0.0
        return inside - outside - volume

    return score


DENSITIES: dict[str, Callable[[BaselineData], FittedDensity | None]] = {
    "ppca": probabilistic_pca,
    "factor_analysis": factor_analysis,
    "gaussian_mixture": gaussian_mixture,
}


def rounding_of(x: np.ndarray) -> float:
    """The relative error of a number of the data: of single precision, unless they are kept in double."""
    return float(np.finfo(x.dtype if x.dtype.kind == "f" else np.float64).eps)


def rank_of(rows: np.ndarray, rounding: float, root: np.ndarray | None = None) -> int:
    """How many dimensions rows (n, d) span around their mean, whatever the columns' units.

    Rows in a plane leave it by the rounding of their numbers, which may be large beside the columns' spreads. `root`
    may stand for the centred rows: a matrix R (m, d) with R'R = X'X.

    >>> rank_of(np.array([[1e9, 0, 1], [2e9, 0, 2], [4e9, 0, 4], [4e9, 0, 5]]), 1e-16)
    2
    """
    scale = safe_std(rows)  # (d,)
    centred = rows - rows.mean(0) if root is None else root
    singular = np.linalg.svd(centred / scale, compute_uv=False)
    noise = 4 * rounding * np.sqrt(rows.size) * (np.abs(rows).max(0) / scale)[rows.std(0) > 0].max(initial=1)
    return int((singular > noise).sum())


def linear_reconstruction(train: np.ndarray, test: np.ndarray, latent_dim: int, seed: int) -> tuple[int, np.ndarray]:
    """PCA's dimensions, and what it makes of test rows (n, *X): these themselves where only rounding is left."""
    some = some_of(Examples(train), most_rows(train), seed).x
    fitted, held = (part.reshape(len(part), -1).astype(np.float64) for part in (some, test))
    k = min(latent_dim, *fitted.shape)
    pca = PCA(k, random_state=seed % 2**31).fit(fitted)
    again = pca.inverse_transform(pca.transform(held))
    missed, whole = np.square(again - held).sum(), np.square(held - pca.mean_).sum()
    return k, (again if missed > NOTHING * whole else held).reshape(test.shape)
