"""Density models to compare with, fitted to the same training rows: probabilistic PCA, factor analysis, a mixture."""

from __future__ import annotations

import math
import warnings
from typing import NamedTuple

import numpy as np
from scipy.linalg import helmert
from sklearn.decomposition import FactorAnalysis
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from isthmus.evaluation.baseline_data import (
    MIN_SELECTION_ROWS,
    BaselineData,
    DensityScores,
    Fit,
    FittedDensity,
    as_scored,
    max_fit_rows,
)
from isthmus.examples import Examples
from isthmus.fitted import FittedModel
from isthmus.metrics.estimate import mean_and_error
from isthmus.metrics.principal_axes import (
    LogDensity,
    PrincipalAxes,
    along_axes,
    clipped_variance,
    in_data_units,
    linear_density,
)
from isthmus.schema import safe_std

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


def ppca_scores(
    fitted: FittedModel, train: Examples, test: Examples, discrete: bool | None = None, scaling: str | None = None
) -> DensityScores | None:
    """Probabilistic PCA fitted to training rows and scored on test rows; None if its density is not bounded.

    Args:
        fitted: the model, whose size it has.
        train: training rows.
        test: test rows.
        discrete: whether the data are dequantised; by default if the model's likelihood is discrete.
        scaling: "global" or "standard"; by default the model's own.
    """
    rows = train.subsample(max_fit_rows(train.x[0].size), fitted.seed)
    data = BaselineData.of(fitted, rows.x, discrete)

    def fit(data: BaselineData) -> FittedDensity | None:
        return linear_baseline(data, scaling or data.scaling, data.latent_dim) if data.bounded else None

    return data.scores({"ppca": fit}, as_scored(fitted, test.x)).get("ppca")


def probabilistic_pca(data: BaselineData) -> FittedDensity | None:
    """Probabilistic PCA at the model's own latent size and in the model's own scaling."""
    return linear_baseline(data, data.scaling, data.latent_dim) if data.bounded else None


def best_probabilistic_pca(data: BaselineData) -> FittedDensity | None:
    """Probabilistic PCA whose size and scaling a part of the training rows chooses."""
    return linear_baseline(data, *data.best_linear) if data.bounded else None


def linear_baseline(data: BaselineData, scaling: str, k: int) -> FittedDensity:
    """Probabilistic PCA with k dimensions of columns that are scaled so (Tipping & Bishop, 1999)."""
    log_density = in_data_units(linear_density(data.axes(scaling), k), data.scales[scaling])
    return FittedDensity(log_density, {"latent_dim": k, "scaling": scaling})


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
    log_density = in_data_units(lambda rows: model.score_samples(rows - mean / scale), scale)
    return FittedDensity(log_density, {"latent_dim": k})


class MixtureForm(NamedTuple):
    """What is chosen of a mixture: the scaling of columns, the principal axes that components lie along, and theirs."""

    scaling: str
    k: int
    components: int


def gaussian_mixture(data: BaselineData) -> FittedDensity | None:
    """A mixture of Gaussians; a part of the training rows chooses its form, a larger one only for a clear gain.

    Components lie along the rows' principal axes: along all of them, or along as many as either probabilistic PCA has,
    with one noise variance in the rest. With one component the latter is probabilistic PCA. The number of axes and of
    components are chosen in the scaling of `ppca_best`, the scaling afterwards.
    """
    if not data.bounded:
        return None
    max_rows = max(2, MAX_MIXTURE_NUMBERS // data.x.shape[1])
    valid, train, axes = data.parts if len(data.x) <= max_rows else data.split(max_rows)
    (n, d), (scaling, size) = train.shape, data.best_linear
    sizes = [min(k, max(0, n - 2)) for k in (size, data.latent_dim)] + ([d] if data.full_rank and n > d else [])
    forms = dict.fromkeys(
        MixtureForm(scaling, k, components)
        for k in sizes
        for components in (MIXTURE_COMPONENTS if k else (1,))
        if components == 1 or components * MIN_ROWS_PER_COMPONENT <= n
    )
    best = next(iter(forms))
    if len(valid) and n >= MIN_SELECTION_ROWS:
        values = {best: mixture(data, axes[best.scaling], train, best)(valid)}

        def better(form: MixtureForm) -> MixtureForm:
            """The form, if its gain over the best so far is clear, else the best so far."""
            values[form] = mixture(data, axes[form.scaling], train, form)(valid)
            gain, error = mean_and_error(values[form] - values[best])
            return form if gain > error else best

        for form in forms:
            best = better(form) if form != best else best
        for name in data.scales:
            best = better(best._replace(scaling=name)) if name != best.scaling else best
    log_density = mixture(data, data.axes(best.scaling), np.concatenate([valid, train]), best)
    return FittedDensity(log_density, {"components": best.components, "scaling": best.scaling})


def mixture(data: BaselineData, along: PrincipalAxes, x: np.ndarray, form: MixtureForm) -> LogDensity:
    """A mixture fitted to rows x (n, d), with one noise variance in all directions but the first k principal axes."""
    scale, k = data.scales[form.scaling], form.k
    if not k:
        return in_data_units(along_axes(along, 0, lambda u: np.zeros(len(u))), scale)
    model = GaussianMixture(
        form.components,
        covariance_type="diag",
        reg_covar=MIN_VARIANCE_SHARE,
        max_iter=MAX_EM_STEPS,
        random_state=data.sklearn_seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit((x / scale - along.mean) @ along.axes[:k].T / np.sqrt(clipped_variance(along, k)))
    return in_data_units(along_axes(along, k, model.score_samples), scale)


LINEAR_DENSITIES = ("ppca", "ppca_best")
"""Probabilistic PCA: as large as the model and in its scaling; with both chosen by validation."""
DENSITIES: dict[str, Fit] = {
    "ppca": probabilistic_pca,
    "ppca_best": best_probabilistic_pca,
    "factor_analysis": factor_analysis,
    "gaussian_mixture": gaussian_mixture,
}
