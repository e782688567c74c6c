"""Density models to compare with, fitted to the same training rows: probabilistic PCA, factor analysis, a mixture."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.linalg import helmert
from sklearn.decomposition import FactorAnalysis
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from isthmus.examples import Examples
from isthmus.fitted import FittedModel
from isthmus.metrics.estimate import mean_and_error
from isthmus.metrics.principal_axes import ROUNDING_SHARE, PrincipalAxes, principal_axes, rank_of, triangular_factor
from isthmus.schema import safe_std
from isthmus.train.device_data import fixed_bits

MAX_FIT_ROWS = 10_000
"""Training rows that a baseline is fitted to, at most."""
MIN_FIT_ROWS, MAX_FIT_NUMBERS = 1_000, 8_000_000
"""Wide data are fitted to fewer rows, so that there are at most so many numbers, but to no fewer rows than this:
decompositions would take minutes."""
CODE_FREE_LATENT_DIM = 16
"""Latent dimensions of baselines of a model without a code."""
DEQUANTIZATION_DRAWS = 8
"""Dequantisation noises averaged per row."""
MAX_EXACT_FA_COLUMNS = 128
"""Columns up to which factor analysis decomposes exactly: the work grows with their cube."""
FA_TOLERANCE_NATS = 1e-5
"""Nats per row; factor analysis stops if a step gains less."""
MAX_EM_STEPS = 100
"""Steps of expectation maximisation for a mixture, at most."""
MIXTURE_COMPONENTS = (1, 3, 10, 30)
"""Numbers of components that are tried."""
MIN_ROWS_PER_COMPONENT = 10
"""Training rows per component of a mixture, at least."""
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
    """Training rows as numbers, and what is fitted to them; every property is computed when it is first read.

    Args:
        x: (n, d) what densities are fitted to, in the data's units; dequantised if the data are discrete.
        scaled: (n, d) the rows in the units that networks read, not dequantised.
        scale: (d,) by which the model divides each column of continuous data; ones for discrete data.
        max_latent_dim: latent dimensions of the model.
        discrete: whether the data are discrete.
        rounding: relative rounding error of a number of x.
        seed: the model's; seeds all that is random.
    """

    x: np.ndarray
    scaled: np.ndarray
    scale: np.ndarray
    max_latent_dim: int
    discrete: bool
    rounding: float
    seed: int

    @classmethod
    def of(cls, fitted: FittedModel, rows: np.ndarray, discrete: bool | None = None) -> BaselineData:
        """Training rows (n, *X) in the data's units, for a model's baselines.

        Args:
            fitted: the model.
            rows: complete rows.
            discrete: whether the data are discrete; by default if the model's likelihood is.
        """
        schema, random = fitted.schema, np.random.default_rng(fitted.seed)
        discrete = schema.discrete if discrete is None else discrete
        x = as_scored(fitted, rows)
        if discrete:
            x = x + random.random(x.shape)
        scale = np.broadcast_to(1.0 if discrete else schema.scale, schema.event_shape).reshape(-1)
        scaled = ((rows - schema.shift) / schema.scale).reshape(len(rows), -1).astype(np.float64)
        latent_dim = fitted.code_size or CODE_FREE_LATENT_DIM
        return cls(x, scaled, scale, latent_dim, discrete, relative_rounding(rows), fitted.seed)

    @cached_property
    def factor(self) -> np.ndarray:
        """Triangular factor of x."""
        return triangular_factor(self.x)

    @cached_property
    def axes(self) -> PrincipalAxes:
        """Principal axes of x."""
        return principal_axes(self.x.mean(0), self.factor, len(self.x))

    @cached_property
    def scaled_axes(self) -> PrincipalAxes:
        """Principal axes of the scaled rows, of which PCA reconstructs."""
        factor = triangular_factor(self.scaled) if self.discrete else self.factor / self.scale
        return principal_axes(self.scaled.mean(0), factor, len(self.x))

    @property
    def mixture_axes(self) -> PrincipalAxes:
        """Principal axes of x / scale."""
        return self.axes if self.discrete else self.scaled_axes._replace(mean=self.x.mean(0) / self.scale)

    @property
    def sklearn_seed(self) -> int:
        """The seed as scikit-learn takes it."""
        return self.seed % 2**31

    @cached_property
    def rank(self) -> int:
        """Dimensions that the rows span."""
        n, d = self.x.shape
        return min(d, n - 1) if self.discrete else rank_of(self.x, self.rounding, self.factor)

    @property
    def full_rank(self) -> bool:
        """Whether a density with separate noise in each direction is bounded on the rows."""
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
        variance = self.axes.variance  # in the columns' units, as PCA sees it
        above_rounding = int((variance > ROUNDING_SHARE * variance[0]).sum())
        return max(0, min(self.max_latent_dim, self.rank - 1, above_rounding - 1))

    def scores(self, fits: dict[str, Fit], test: np.ndarray) -> dict[str, DensityScores]:
        """Log-densities of rows `test` (n, d), under the same noises if discrete; unbounded densities are left out."""
        random = np.random.default_rng(self.seed)
        random.random(self.x.shape)  # the noise of the training rows
        fitted = {name: density for name, fit in fits.items() if (density := fit(self)) is not None}
        values: dict[str, list[np.ndarray]] = {name: [] for name in fitted}
        for _ in range(DEQUANTIZATION_DRAWS if self.discrete else 1):
            noisy = test + random.random(test.shape) if self.discrete else test
            for name, density in fitted.items():
                values[name].append(density.log_density(noisy))
        return {name: DensityScores(np.mean(values[name], axis=0), fitted[name].size) for name in fitted}


Fit = Callable[[BaselineData], FittedDensity | None]
"""Fits a density; None if it is not bounded on the rows."""


def max_fit_rows(train: np.ndarray) -> int:
    """How many training rows (n, *X) a baseline is fitted to at most: fewer if they are wide."""
    return min(MAX_FIT_ROWS, max(MIN_FIT_ROWS, MAX_FIT_NUMBERS // max(1, train[0].size)))


def as_scored(fitted: FittedModel, x: np.ndarray) -> np.ndarray:
    """(n, d) the numbers that the likelihood is a distribution over: bits if pixels are binarised."""
    values = fixed_bits(x, fitted.schema) if fitted.schema.binarize else x
    return values.reshape(len(x), -1).astype(np.float64)


def ppca_scores(
    fitted: FittedModel, train: Examples, test: Examples, discrete: bool | None = None
) -> DensityScores | None:
    """Probabilistic PCA fitted to training rows and scored on test rows; None if its density is not bounded.

    `discrete` says whether the data are dequantised; by default if the model's likelihood is discrete.
    """
    rows = train.subsample(max_fit_rows(train.x), fitted.seed)
    data = BaselineData.of(fitted, rows.x, discrete)
    return data.scores({"ppca": probabilistic_pca}, as_scored(fitted, test.x)).get("ppca")


def probabilistic_pca(data: BaselineData) -> FittedDensity | None:
    """A linear model with one noise variance for all columns (Tipping & Bishop, 1999)."""
    if not data.bounded:
        return None
    k = data.latent_dim

    def standard_normal(u: np.ndarray) -> np.ndarray:
        return -0.5 * (np.square(u).sum(1) + k * math.log(2 * math.pi))

    return FittedDensity(along_axes(data.axes, k, standard_normal), {"latent_dim": k})


def factor_analysis(data: BaselineData) -> FittedDensity | None:
    """A linear model with a noise variance per column (Rubin & Thayer, 1982); None if one of them could vanish."""
    if not data.full_rank:
        return None
    (n, d), mean, scale = data.x.shape, data.x.mean(0), safe_std(data.x)
    k = min(data.max_latent_dim, d - 1)
    # The fit reads only the covariance: d + 1 rows that have the same one make its steps cheap.
    factor = data.factor / scale
    few = helmert(len(factor) + 1).T @ factor * math.sqrt((len(factor) + 1) / n)
    model = FactorAnalysis(
        k,
        tol=FA_TOLERANCE_NATS * len(few),
        svd_method="lapack" if d <= MAX_EXACT_FA_COLUMNS else "randomized",
        random_state=data.sklearn_seed,
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
    order = np.random.default_rng(data.sklearn_seed).permutation(len(data.x))
    x = data.x[order[: max(2, MAX_MIXTURE_NUMBERS // data.x.shape[1])]] / data.scale
    valid, train = np.split(x, [len(x) // 5])
    few = min(data.latent_dim, max(0, len(train) - 2))
    options = [
        (k, components)
        for k in ((few, x.shape[1]) if data.full_rank and len(train) > x.shape[1] else (few,))
        for components in (MIXTURE_COMPONENTS if k else (1,))
        if components == 1 or components * MIN_ROWS_PER_COMPONENT <= len(train)
    ]
    k, components = options[0]
    if len(valid) and len(options) > 1:
        train_axes = principal_axes(train.mean(0), triangular_factor(train), len(train))
        best = mixture(train_axes, train, k, components, data.sklearn_seed)(valid)
        for option in options[1:]:
            values = mixture(train_axes, train, *option, data.sklearn_seed)(valid)
            gain, error = mean_and_error(values - best)
            if gain > error:
                (k, components), best = option, values
    log_density = mixture(data.mixture_axes, x, k, components, data.sklearn_seed)
    log_volume = float(np.log(data.scale).sum())
    return FittedDensity(lambda rows: log_density(rows / data.scale) - log_volume, {"components": components})


def mixture(axes: PrincipalAxes, x: np.ndarray, k: int, components: int, seed: int) -> LogDensity:
    """A mixture along the first k principal axes of rows x (n, d), with one noise variance in all other directions."""
    if not k:
        return along_axes(axes, 0, lambda u: np.zeros(len(u)))
    model = GaussianMixture(
        components, covariance_type="diag", reg_covar=MIN_VARIANCE_SHARE, max_iter=MAX_EM_STEPS, random_state=seed
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit((x - axes.mean) @ axes.axes[:k].T / np.sqrt(clipped_variance(axes, k)))
    return along_axes(axes, k, model.score_samples)


def along_axes(axes: PrincipalAxes, k: int, log_density: LogDensity) -> LogDensity:
    """A density of rows whose standardised coordinates along the first k axes have `log_density`.

    In all other directions they are normal, with the mean variance of these.
    """
    turn, variance, rest = axes.axes[:k], clipped_variance(axes, k), axes.axes.shape[1] - k
    noise = 1.0
    if rest:
        noise = max(float(axes.variance[k:].mean()), ROUNDING_SHARE * float(axes.variance[0]))
    log_volume = 0.5 * float(np.log(variance).sum()) + 0.5 * rest * math.log(2 * math.pi * noise)

    def density(rows: np.ndarray) -> np.ndarray:
        centred = rows - axes.mean
        along = centred @ turn.T  # (n, k)
        outside = np.square(centred - along @ turn).sum(1) / (2 * noise) if rest else 0.0
        return log_density(along / np.sqrt(variance)) - outside - log_volume

    return density


def clipped_variance(axes: PrincipalAxes, k: int) -> np.ndarray:
    """(k,) variances along the first axes, none of them zero."""
    return np.maximum(axes.variance[:k], ROUNDING_SHARE * float(axes.variance[0]))


DENSITIES: dict[str, Fit] = {
    "ppca": probabilistic_pca,
    "factor_analysis": factor_analysis,
    "gaussian_mixture": gaussian_mixture,
}


def relative_rounding(x: np.ndarray) -> float:
    """The relative rounding error of a number of the data: of single precision, unless they are kept in double."""
    return float(np.finfo(x.dtype if x.dtype.kind == "f" else np.float64).eps)
