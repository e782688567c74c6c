"""The training rows that baselines are fitted to, and the size and scaling that suit them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from isthmus.fitted import FittedModel
from isthmus.metrics.principal_axes import (
    ROUNDING_SHARE,
    LogDensity,
    PrincipalAxes,
    axes_by_scaling,
    choose_linear,
    principal_axes,
    rank_of,
    triangular_factor,
)
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
VALIDATION_SHARE = 0.2
"""Share of the training rows by which sizes and scalings of baselines are chosen."""
MIN_SELECTION_ROWS = 2
"""Rows that a candidate is fitted to, at least; with fewer nothing is chosen."""


class FittedDensity(NamedTuple):
    """A density fitted to training rows."""

    log_density: LogDensity
    size: dict[str, int | str]
    """`latent_dim` or `components`, and `scaling` if the density depends on it."""


class DensityScores(NamedTuple):
    """Log-densities of test rows under a fitted density."""

    log_px: np.ndarray
    """(n,) nats, dequantised if the data are discrete: then a lower bound on the log-probability."""
    size: dict[str, int | str]
    """That of the fitted density."""


class SelectionParts(NamedTuple):
    """Rows by which the size and scaling of baselines are chosen."""

    valid: np.ndarray
    """(m, d) rows that score the candidates."""
    train: np.ndarray
    """(n, d) rows that candidates are fitted to."""
    axes: dict[str, PrincipalAxes]
    """Principal axes of train / scale for each scaling."""


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
    def scaling(self) -> str:
        """The model's own scaling."""
        return "global" if np.ptp(self.scale) == 0 else "standard"

    @cached_property
    def scales(self) -> dict[str, np.ndarray]:
        """(d,) by which columns are divided, by the name of the scaling: all by the same, or each by its deviation."""
        own = self.scaling == "standard"
        return {"global": np.ones(self.x.shape[1]), "standard": self.scale if own else safe_std(self.x)}

    @cached_property
    def known_axes(self) -> dict[str, PrincipalAxes]:
        """What `axes` computed before."""
        return {}

    def axes(self, scaling: str) -> PrincipalAxes:
        """Principal axes of x in this scaling; only those that are read are computed, as wide rows take seconds."""
        if scaling not in self.known_axes:
            scale = self.scales[scaling]
            self.known_axes[scaling] = principal_axes(self.x.mean(0) / scale, self.factor / scale, len(self.x))
        return self.known_axes[scaling]

    @cached_property
    def scaled_axes(self) -> PrincipalAxes:
        """Principal axes of the scaled rows, of which PCA reconstructs."""
        factor = triangular_factor(self.scaled) if self.discrete else self.factor / self.scale
        return principal_axes(self.scaled.mean(0), factor, len(self.x))

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

    def max_size(self, axes: PrincipalAxes, n: int) -> int:
        """Dimensions that leave a noise to learn from n rows with these axes; 0 if no density is bounded."""
        if not self.bounded:
            return 0
        if self.discrete:
            return max(0, min(self.x.shape[1] - 1, n - 2))
        above_rounding = int((axes.variance > ROUNDING_SHARE * axes.variance[0]).sum())
        return max(0, min(self.rank, n - 1, above_rounding) - 1)

    @cached_property
    def latent_dim(self) -> int:
        """As many of the model's dimensions as leave a noise to learn."""
        return min(self.max_latent_dim, self.max_size(self.axes(self.scaling), len(self.x)))

    @cached_property
    def best_linear(self) -> tuple[str, int]:
        """Scaling and size of probabilistic PCA that score best on a part of the rows, fitted to the others.

        One decomposition for each scaling gives the scores of all sizes. The model's own if there are too few rows.
        """
        valid, train, axes = self.parts
        if not len(valid) or len(train) < MIN_SELECTION_ROWS:
            return self.scaling, self.latent_dim
        own_first = {self.scaling: axes[self.scaling], **axes}
        return choose_linear(own_first, self.scales, valid, lambda axes: self.max_size(axes, len(train)))

    @cached_property
    def parts(self) -> SelectionParts:
        """A validation and a training part of all rows."""
        return self.split(len(self.x))

    def split(self, count: int) -> SelectionParts:
        """A validation and a training part of `count` of the rows, in random order."""
        order = np.random.default_rng(self.sklearn_seed).permutation(len(self.x))[:count]
        valid, train = np.split(self.x[order], [int(VALIDATION_SHARE * len(order))])
        axes = axes_by_scaling(train.mean(0), triangular_factor(train), len(train), self.scales)
        return SelectionParts(valid, train, axes)

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


def max_fit_rows(columns: int) -> int:
    """How many training rows of so many numbers a baseline is fitted to at most: fewer if they are wide."""
    return min(MAX_FIT_ROWS, max(MIN_FIT_ROWS, MAX_FIT_NUMBERS // max(1, columns)))


def as_scored(fitted: FittedModel, x: np.ndarray) -> np.ndarray:
    """(n, d) the numbers that the likelihood is a distribution over: bits if pixels are binarised."""
    values = fixed_bits(x, fitted.schema) if fitted.schema.binarize else x
    return values.reshape(len(x), -1).astype(np.float64)


def relative_rounding(x: np.ndarray) -> float:
    """The relative rounding error of a number of the data: of single precision, unless they are kept in double."""
    return float(np.finfo(x.dtype if x.dtype.kind == "f" else np.float64).eps)
