"""Whether a fit that started at a linear model is below a mixture of the same rows: curved rows can make it a trap."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np

from isthmus.distributions.mixture_fit import fit_mixture
from isthmus.errors import InputError
from isthmus.estimators.code_choice import MAX_FULL_DIM, MIN_ROWS_PER_COMPONENT
from isthmus.estimators.linear_rows import linear_rows
from isthmus.examples import Examples
from isthmus.fitted import FittedModel
from isthmus.metrics.estimate import mean_and_error

COMPONENTS, ADDED_VARIANCE = (5, 20), 1e-2
"""Numbers of components of the mixtures, and what is added to their variances, of rows as networks read them."""
MAX_ROWS, DRAWS = 2_000, 100
"""Rows of each kind that are used, at most, and draws of the code for log p(x)."""
MIN_VALIDATION_ROWS = 10
"""Validation rows below which nothing is said."""
MIN_SHORTFALL_NATS, SHORTFALL_SIGMA = 0.5, 3.0
"""Shortfall that is worth a warning, in nats and in standard errors."""


class Shortfall(NamedTuple):
    """How far log p(x) of validation rows is below that of a mixture."""

    nats: float
    error: float
    components: int

    @property
    def matters(self) -> bool:
        """Whether it is worth a warning."""
        return self.nats > max(MIN_SHORTFALL_NATS, SHORTFALL_SIGMA * self.error)


def shortfall(fitted: FittedModel, train: Examples, valid: Examples, seed: int) -> Shortfall | None:
    """How far a fit is below a mixture of normals with full covariances; None where that cannot be said cheaply.

    Args:
        fitted: a fit of the training rows.
        train: the training rows.
        valid: the validation rows.
        seed: chooses among many rows, and where the mixtures start.
    """
    schema = fitted.schema
    if schema.condition is not None or schema.sequence or len(schema.columns) > 1 or schema.discrete:
        return None
    if schema.kind != "real" or schema.size > MAX_FULL_DIM or len(valid) < MIN_VALIDATION_ROWS:
        return None
    if train.observed is not None or valid.observed is not None or not fitted.capabilities.has_density:
        return None
    known, rows = train.subsample(MAX_ROWS, seed), valid.subsample(MAX_ROWS, seed)
    x, held = linear_rows(schema, known, seed).x, linear_rows(schema, rows, seed).x
    k = max((k for k in COMPONENTS if k * max(MIN_ROWS_PER_COMPONENT, schema.size) <= len(x)), default=None)
    if k is None:
        return None
    log_volume = float(np.log(np.broadcast_to(schema.scale, schema.event_shape)).sum())
    mixture = fit_mixture(x, k, seed, full=True, added=ADDED_VARIANCE).log_density(held) - log_volume
    return Shortfall(*mean_and_error(mixture - fitted.score(rows, DRAWS)), k)


def warn_of_trap(fitted: FittedModel, train: Examples, valid: Examples, seed: int) -> None:
    """Warn of a fit that a mixture of the same rows leaves behind."""
    try:
        found = shortfall(fitted, train, valid, seed)
    except (InputError, ValueError, np.linalg.LinAlgError):  # rows of which no mixture can be made
        return
    if found is not None and found.matters:
        warnings.warn(
            f"The fit is {found.nats:.1f} ± {found.error:.1f} nats below a mixture of {found.components} normals on "
            "validation rows: from its linear start training did not find how the rows are curved or grouped. "
            "Leave latent_dim, prior and initialization at 'auto', or try initialization='random'.",
            UserWarning,
            stacklevel=5,
        )
