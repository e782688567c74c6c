"""Whether a linear start was a trap: training found far less of how rows are curved or grouped than a mixture does."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np

from isthmus.distributions.mixture_fit import fit_mixture
from isthmus.estimators.linear_model import fit_linear_model
from isthmus.estimators.linear_rows import linear_rows
from isthmus.examples import Examples
from isthmus.fitted import FittedModel
from isthmus.metrics.estimate import mean_and_error
from isthmus.metrics.held_out import bounded
from isthmus.train.runtime import one_blas_thread

COMPONENT_COUNTS, ADDED_VARIANCE = (5, 20), 1e-2
"""Components of the mixture, and what is added to the variances of standardised rows."""
MIN_ROWS_PER_DIM, MIN_COMPONENT_ROWS = 2, 12
"""Rows for each component: so many for each column, and so many in all, at least."""
MAX_COLUMNS, MAX_TRAIN_ROWS, MAX_VALIDATION_ROWS, CODE_DRAWS = 32, 1_000, 500, 100
"""Columns and rows that are looked at, at most, and draws of the code for log p(x)."""
MIN_VALIDATION_ROWS, MIN_DISTINCT_VALUES = 10, 20
"""Validation rows, and different values of each column, below which nothing is said: a mixture gains by spikes."""
MIN_LEAD_NATS, LEAD_SIGMA, FOUND_SHARE = 0.5, 3.0, 0.5
"""Lead of the mixture that is worth a warning, in nats and in standard errors; and the share of what the mixture finds
beyond the linear model from which training did leave its start."""


class Lead(NamedTuple):
    """How far a mixture of normals is above a fit and above the linear model of the fit's size, on validation rows."""

    over_fit: float
    error: float
    over_linear: float
    components: int

    @property
    def shows_trap(self) -> bool:
        """Whether the mixture is clearly better, and training found little of what it finds."""
        clear = self.over_fit > max(MIN_LEAD_NATS, LEAD_SIGMA * self.error)
        return clear and self.over_linear - self.over_fit < FOUND_SHARE * self.over_linear


def lead_of_mixture(fitted: FittedModel, train: Examples, valid: Examples) -> Lead | None:
    """A mixture of normals with full covariances compared with a fit; None where that says nothing of its start.

    Args:
        fitted: a fit of the training rows.
        train: the training rows.
        valid: the validation rows.
    """
    schema, seed = fitted.schema, fitted.seed
    if schema.condition is not None or schema.sequence or len(schema.columns) > 1 or schema.kind != "real":
        return None
    if schema.size > MAX_COLUMNS or train.observed is not None or valid.observed is not None:
        return None
    subsample, held_out = train.subsample(MAX_TRAIN_ROWS, seed), valid.subsample(MAX_VALIDATION_ROWS, seed)
    x, test = linear_rows(schema, subsample, seed).x, linear_rows(schema, held_out, seed).x
    least = max(MIN_COMPONENT_ROWS, MIN_ROWS_PER_DIM * schema.size)
    k = max((k for k in COMPONENT_COUNTS if k * least <= len(x)), default=0)
    if not k or len(test) < MIN_VALIDATION_ROWS or min(len(np.unique(column)) for column in x.T) < MIN_DISTINCT_VALUES:
        return None
    mean, deviation = x.mean(0), x.std(0)
    standardised = (x - mean) / deviation
    try:
        mixture = fit_mixture(standardised, k, seed, full=True, added=ADDED_VARIANCE)
    except ValueError:  # a component lost its rows
        return None
    log_volume = float(np.log(deviation).sum() + np.log(np.broadcast_to(schema.scale, schema.event_shape)).sum())
    of_mixture = mixture.log_density((test - mean) / deviation) - log_volume
    linear = fit_linear_model(standardised, None, min(fitted.code_size, schema.size - 1), noise_per_column=False)
    of_linear = linear.log_density((test - mean) / deviation) - log_volume
    lead, error = mean_and_error(bounded(of_mixture - fitted.score(held_out, CODE_DRAWS), schema.size))
    return Lead(lead, error, float(bounded(of_mixture - of_linear, schema.size).mean()), k)


def warn_of_trap(fitted: FittedModel, train: Examples, valid: Examples | None) -> None:
    """Warn of a fit that hardly left its linear start, where a mixture shows that rows are curved or grouped.

    Args:
        fitted: a fit of the training rows.
        train: the training rows.
        valid: the validation rows, if there are any.
    """
    fields: dict[str, Any] = fitted.fields
    started_linear = fields.get("initialization", "random") != "random" and fields.get("hidden")
    by_likelihood = fields.get("beta", 1) == 1 and fields.get("penalty", "none") == "none"
    if valid is None or not started_linear or not by_likelihood or not fitted.capabilities.has_density:
        return
    with one_blas_thread:
        lead = lead_of_mixture(fitted, train, valid)
    if lead is None or not lead.shows_trap:
        return
    given = [name for name in ("latent_dim", "prior", "likelihood") if fitted.requested_fields.get(name) != "auto"]
    remedy = f"Leave {' and '.join(given)} at 'auto'" if given else "Give epochs=... more than were made"
    warnings.warn(
        f"The fit is {lead.over_fit:.1f} ± {lead.error:.1f} nats below a mixture of {lead.components} normals on "
        "validation rows, and hardly above the linear model that it started at: the rows are curved or grouped. "
        f"{remedy}, or use the fit as it is if its code is what you are after.",
        UserWarning,
        stacklevel=3,
    )
