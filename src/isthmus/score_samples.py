"""What the method `score_samples` of every model returns."""

from __future__ import annotations

import warnings
from typing import Any

from isthmus.errors import InputError
from isthmus.fitted import FittedModel
from isthmus.metrics.draws_by_error import check_draws, too_few_draws
from isthmus.metrics.importance_weighting import Progress


def scores_or_elements(
    fitted: FittedModel,
    rows: Any,
    draws: int | str,
    per_feature: bool,
    return_error: bool,
    *,
    tolerance: float,
    max_draws: int,
    progress: Progress | None = None,
) -> Any:
    """What `score_samples` returns, whose arguments these are, with a warning where draws were too few."""
    check_draws(draws, tolerance, max_draws)
    if per_feature:
        if return_error:
            raise InputError("return_error must be False with per_feature=True, got True.")
        return fitted.element_distortion(rows, draws, progress)
    scored = fitted.score_rows(rows, draws, tolerance=tolerance, max_draws=max_draws, progress=progress)
    short = too_few_draws(scored, draws, tolerance, max_draws)
    if short is not None:
        advice = "Pass a larger tolerance or max_draws; return_error=True gives the error of each row."
        warnings.warn(f"{short} {advice}", UserWarning, stacklevel=3)
    return scored[:2] if return_error else scored.values
