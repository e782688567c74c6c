"""Density models to compare with, fitted to the same training rows: probabilistic PCA, factor analysis, a mixture."""

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
from isthmus.examples import Examples
from isthmus.metrics.estimate import mean_and_error
from isthmus.schema import safe_std

MAX_FIT_ROWS = 10_000
"""Training rows that a baseline is fitted to, at most."""
MIN_FIT_ROWS, MAX_FIT_NUMBERS = 1_000, 8_000_000
"""Wide data are fitted to fewer rows, so that there are at most so many numbers, but to no fewer rows than this:
decompositions would take minutes."""
DEQUANTIZATION_DRAWS = 8
"""Dequantisation noises averaged per row."""
ROUNDING_SHARE = 1e-12
"""Share of the rows' variance below which a remainder is rounding."""
MAX_EXACT_FA_COLUMNS = 128
"""Columns up to which factor analysis decomposes exactly: the work grows with their cube."""
FA_TOLERANCE_NATS = 1e-5
"""Nats per row; factor analysis stops if a step gains less."""
MAX_EM_STEPS = 100
"""Steps of expectation maximisation for a mixture, at most."""
COMPONENTS = (1, 3, 10, 30)
"""Numbers of components that are tried."""
MIN_ROWS_PER_COMPONENT = 10
MAX_MIXTURE_NUMBERS = 2_000_000
"""Numbers that a mixture is fitted to, at most: it is fitted several times, iteratively."""
MIN_VARIANCE_SHARE = 1e-4
"""Added to a component's variances, in units of all rows' variance, so that none shrinks onto a single row."""

LogDensity = Callable[[np.ndarray], np.ndarray]
"""Rows (n, d) to their log-densities (n,), nats."""


class FittedDensity(NamedTuple):
    """A density fitted to training rows."""

    log_density: LogDensity
    size: dict[str, int]
    """`latent_dim` or `components`."""


class DensityScores(NamedTuple):
    """Log-densities of test rows under a fitted density."""

    log_px: np.ndarray
    """(n,) nats, dequantised if the data are discrete: then a lower bound on the log-probability."""
    size: dict[str, int]
    """`latent_dim` or `components`."""


@dataclass(frozen=True)
class BaselineData:
    """Training rows as numbers, and what can be fitted to them; every property is computed when it is first read."""

    x: np.ndarray
    """(n, d), dequantised if the data are discrete."""
    scale: np.ndarray
    """(d,) the scale by which the model divides each column."""
    max_latent_dim: int
    """Latent dimensions of the model."""
    discrete: bool
    rounding: float
    """The relative rounding error of a number of x."""
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
    def full_rank(self) -> bool:
        """Whether a density with a noise of its own in each direction is bounded on the rows."""
        return self.rank == self.x.shape[1]

    @cached_property
    def bounded(self) -> bool:
        """Whether a density with one noise variance for all directions is bounded.

        Fewer rows than features span as many dimensions as they can: such a noise is still learned from the rest.
        """
        return self.discrete or self.full_rank or (self.rank == len(np.unique(self.x, axis=0)) - 1 > 0)

    @cached_property
    def latent_dim(self) -> int:
        """As many of the model's dimensions as leave a noise to learn; 0 if no density is bounded."""
        if not self.bounded:
            return 0
        if self.discrete:
            return max(0, min(self.max_latent_dim, self.x.shape[1] - 1, len(self.x) - 2))
        variance = np.linalg.svd(self.root, compute_uv=False) ** 2  # in the columns' units, as PCA sees it
        return max(0, min(self.max_latent_dim, self.rank - 1, int((variance > ROUNDING_SHARE * variance[0]).sum()) - 1))


def max_fit_rows(train: np.ndarray) -> int:
    """How many training rows (n, *X) a baseline is fitted to at most: fewer if they are wide."""
    return min(MAX_FIT_ROWS, max(MIN_FIT_ROWS, MAX_FIT_NUMBERS // max(1, train[0].size)))


def as_scored(model: Estimator, examples: Examples) -> np.ndarray:
    """(n, d) the numbers that the likelihood is a distribution over: bits if pixels are binarised."""
    x = examples.x
    if model.schema_.binarize:
        names = getattr(model, "feature_names_in_", None)
        named = x if names is None else pd.DataFrame(x, columns=names)
        rows = model.rows(named, examples.condition, examples.lengths, bits="fixed")
        x = rows.batch(torch.arange(len(rows), device=rows.device)).x.cpu().numpy()
    return x.reshape(len(x), -1).astype(np.float64)


def ppca_scores(model: Estimator, train: Examples, test: Examples) -> DensityScores | None:
    """Probabilistic PCA fitted to training rows and scored on test rows; None if its density is not bounded."""
    return fit_and_score(model, train, test, {"ppca": probabilistic_pca})[1].get("ppca")


def density_scores(model: Estimator, train: Examples, test: Examples) -> tuple[BaselineData, dict[str, DensityScores]]:
    """Every density by name, fitted to the same training rows; those that are not bounded are left out."""
    return fit_and_score(model, train, test, DENSITIES)


def fit_and_score(
    model: Estimator, train: Examples, test: Examples, fits: dict[str, Callable[[BaselineData], FittedDensity | None]]
) -> tuple[BaselineData, dict[str, DensityScores]]:
    """Fit each density to the same training rows and score the same test rows, under the same noises if discrete."""
    train = train.subsample(max_fit_rows(train.x), model.seed_)
    x, test_x = as_scored(model, train), as_scored(model, test)
    schema, random = model.schema_, np.random.default_rng(model.seed_)
    discrete, scale = schema.discrete, np.ones(x.shape[1])
    if discrete:
        x = x + random.random(x.shape)
    else:
        scale = np.broadcast_to(schema.scale, schema.event_shape).reshape(-1)
    data = BaselineData(x, scale, model.latent_dim, discrete, relative_rounding(train.x), model.seed_ % 2**31)
    fitted = {name: density for name, fit in fits.items() if (density := fit(data)) is not None}
    scores: dict[str, list[np.ndarray]] = {name: [] for name in fitted}
    for _ in range(DEQUANTIZATION_DRAWS if discrete else 1):
        noisy = test_x + random.random(test_x.shape) if discrete else test_x
        for name, density in fitted.items():
            scores[name].append(density.log_density(noisy))
    return data, {name: DensityScores(np.mean(scores[name], axis=0), fitted[name].size) for name in fitted}


def probabilistic_pca(data: BaselineData) -> FittedDensity | None:
    """A linear model with one noise variance for all columns (Tipping & Bishop, 1999)."""
    if not data.bounded:
        return None
    pca = PCA(data.latent_dim, svd_solver="full").fit(data.x)
    return FittedDensity(pca.score_samples, {"latent_dim": data.latent_dim})


def factor_analysis(data: BaselineData) -> FittedDensity | None:
    """A linear model with a noise variance per column (Rubin & Thayer, 1982); None if one of them could vanish."""
    if not data.full_rank:
        return None
    (n, d), mean, scale = data.x.shape, data.x.mean(0), safe_std(data.x)
    k = min(data.max_latent_dim, d - 1)
    # The fit reads only the covariance: d + 1 rows that have the same one make its steps cheap.
    root = data.root / scale
    few = helmert(len(root) + 1).T @ root * math.sqrt((len(root) + 1) / n)
    model = FactorAnalysis(
        k,
        tol=FA_TOLERANCE_NATS * len(few),
        svd_method="lapack" if d <= MAX_EXACT_FA_COLUMNS else "randomized",
        random_state=data.seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a fit that is not optimal is still a density
        model.fit(few)
    log_volume = float(np.log(scale).sum())
    return FittedDensity(lambda x: model.score_samples((x - mean) / scale) - log_volume, {"latent_dim": k})


def gaussian_mixture(data: BaselineData) -> FittedDensity | None:
    """A mixture of Gaussians; a fifth of the training rows chooses its size, a larger one only for a clear gain.

    Components lie along the rows' principal axes: along all of them, or along as many as probabilistic PCA has, with
    one noise variance in the rest. The latter with one component is probabilistic PCA of scaled columns.
    """
    if not data.bounded:
        return None
    order = np.random.default_rng(data.seed).permutation(len(data.x))
    x = data.x[order[: max(2, MAX_MIXTURE_NUMBERS // data.x.shape[1])]] / data.scale
    valid, train = np.split(x, [len(x) // 5])
    few = min(data.latent_dim, max(0, len(train) - 2))
    options = [
        (axes, components)
        for axes in ((few, x.shape[1]) if data.full_rank and len(train) > x.shape[1] else (few,))
        for components in (COMPONENTS if axes else (1,))
        if components == 1 or components * MIN_ROWS_PER_COMPONENT <= len(train)
    ]
    axes, components = options[0]
    if len(valid) and len(options) > 1:
        pca = PCA(svd_solver="full").fit(train)
        best = mixture(pca, train, axes, components, data.seed)(valid)
        for option in options[1:]:
            values = mixture(pca, train, option[0], option[1], data.seed)(valid)
            gain, error = mean_and_error(values - best)
            if gain > error:
                (axes, components), best = option, values
    log_density = mixture(PCA(svd_solver="full").fit(x), x, axes, components, data.seed)
    log_volume = float(np.log(data.scale).sum())
    return FittedDensity(lambda rows: log_density(rows / data.scale) - log_volume, {"components": components})


def mixture(pca: PCA, x: np.ndarray, axes: int, components: int, seed: int) -> LogDensity:
    """A mixture along the first principal axes of rows x (n, d), with one noise variance in all other directions."""
    rest = x.shape[1] - axes
    least = ROUNDING_SHARE * float(pca.explained_variance_[0])
    turn, variance = pca.components_[:axes], np.maximum(pca.explained_variance_[:axes], least)  # (axes, d), (axes,)
    noise = max(float(pca.explained_variance_[axes:].mean()), least) if rest else 1.0
    log_volume = 0.5 * float(np.log(variance).sum()) + 0.5 * rest * math.log(2 * math.pi * noise)
    model = GaussianMixture(
        components, covariance_type="diag", reg_covar=MIN_VARIANCE_SHARE, max_iter=MAX_EM_STEPS, random_state=seed
    )
    if axes:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit((x - pca.mean_) @ turn.T / np.sqrt(variance))

    def log_density(rows: np.ndarray) -> np.ndarray:
        centred = rows - pca.mean_
        along = centred @ turn.T  # (n, axes)
        outside = np.square(centred - along @ turn).sum(1) / (2 * noise) if rest else 0.0
        inside = model.score_samples(along / np.sqrt(variance)) if axes else 0.0
        return inside - outside - log_volume

    return log_density


DENSITIES: dict[str, Callable[[BaselineData], FittedDensity | None]] = {
    "ppca": probabilistic_pca,
    "factor_analysis": factor_analysis,
    "gaussian_mixture": gaussian_mixture,
}


def relative_rounding(x: np.ndarray) -> float:
    """The relative rounding error of a number of the data: of single precision, unless they are kept in double."""
    return float(np.finfo(x.dtype if x.dtype.kind == "f" else np.float64).eps)


def rank_of(rows: np.ndarray, rounding: float, root: np.ndarray | None = None) -> int:
    """How many dimensions rows (n, d) span around their mean, whatever the columns' units.

    Rows in a plane leave it by the rounding of their numbers, which may be large relative to the columns' spreads.
    `root` may replace the centred rows: a matrix R (m, d) with R'R = X'X.

    >>> rank_of(np.array([[1e9, 0, 1], [2e9, 0, 2], [4e9, 0, 4], [4e9, 0, 5]]), 1e-16)
    2
    """
    scale = safe_std(rows)  # (d,)
    centred = rows - rows.mean(0) if root is None else root
    singular = np.linalg.svd(centred / scale, compute_uv=False)
    noise = 4 * rounding * np.sqrt(rows.size) * (np.abs(rows).max(0) / scale)[rows.std(0) > 0].max(initial=1)
    return int((singular > noise).sum())


def pca_reconstruction(train: np.ndarray, test: np.ndarray, latent_dim: int, seed: int) -> tuple[int, np.ndarray]:
    """PCA's dimensions and its reconstruction of test rows (n, *X), these themselves if only rounding is left."""
    rows = Examples(train).subsample(max_fit_rows(train), seed).x
    flat, flat_test = (part.reshape(len(part), -1).astype(np.float64) for part in (rows, test))
    k = min(latent_dim, *flat.shape)
    pca = PCA(k, random_state=seed % 2**31).fit(flat)
    decoded = pca.inverse_transform(pca.transform(flat_test))
    error, total = np.square(decoded - flat_test).sum(), np.square(flat_test - pca.mean_).sum()
    return k, (decoded if error > ROUNDING_SHARE * total else flat_test).reshape(test.shape)
