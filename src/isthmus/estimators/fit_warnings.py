"""What `fit` warns of before training: data that may not be what they seem, a condition that is missing."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from isthmus.data.row_names import rows_are_examples, transposed_note
from isthmus.data_checks.findings import examine
from isthmus.data_checks.table_view import TableView, are_integers_as_floats
from isthmus.estimators.hyperparameters import Hyperparameters, is_auto
from isthmus.estimators.input_validation import feature_names
from isthmus.examples import Examples
from isthmus.likelihoods import integers_remedy
from isthmus.schema import Schema
from isthmus.train.config import TrainConfig

MAX_CHECKED_NUMBERS, MIN_CHECKED_ROWS = 1_000_000, 1_000
"""Numbers that are looked at before training, approximately at most, and rows at least."""


def warn_of_data(estimator: Hyperparameters, schema: Schema, inputs: Examples, given: Any) -> None:
    """Warn, in one block, of everything that `check` would warn of.

    Args:
        estimator: the hyperparameters.
        schema: of the data.
        inputs: all rows; of very many, some are looked at.
        given: the rows as they were passed, perhaps a DataFrame.
    """
    notes = [*transposed(given)]
    oriented = bool(notes) or is_oriented(given)
    notes += [*integer_valued(estimator, schema, inputs)]
    rows = inputs.subsample(max(MIN_CHECKED_ROWS, MAX_CHECKED_NUMBERS // schema.size), seed=0)
    checked = copy.copy(estimator)
    if not isinstance(estimator.likelihood, str):  # of unlike columns, or the user's own: no default to be checked
        checked.likelihood = "normal"
    with np.errstate(all="ignore"):
        _, _, findings = examine(
            TableView(rows, feature_names(estimator), total=len(inputs), oriented=oriented), checked
        )
    # That a likelihood is no density has been said where it was chosen.
    serious = (finding for finding in findings if finding.severity == "warning" and finding.code != "not-a-density")
    seen = "" if len(rows) == len(inputs) else f" (seen in {len(rows):,} of the {len(inputs):,} rows)"
    notes += [f"{finding.message}{seen}. {finding.remedy[:1].upper()}{finding.remedy[1:]}." for finding in serious]
    if notes:
        lines = notes if len(notes) == 1 else ["Look at the data first:", *(f"- {note}" for note in notes)]
        warnings.warn("\n".join(lines), UserWarning, stacklevel=4)


def transposed(x: Any) -> Iterator[str]:
    """A note on a DataFrame of far more columns than rows whose index holds words: its columns may be the examples."""
    if hasattr(x, "iloc") and hasattr(x, "columns") and (note := transposed_note(x.index.to_series(), x.columns)):
        yield f"X: {note} (X.T)."


def is_oriented(x: Any) -> bool:
    """Whether the names of a DataFrame say that its rows are the examples."""
    return hasattr(x, "iloc") and hasattr(x, "columns") and rows_are_examples(x.index[:1].to_series(), x.columns)


def integer_valued(estimator: Hyperparameters, schema: Schema, inputs: Examples) -> Iterator[str]:
    """A note on floats that are all whole numbers from 0: modelled as measurements, they may be counts or levels."""
    name, x = ("X", inputs.x) if inputs.target is None else ("target", inputs.target)
    seen = x if inputs.observed is None else x[inputs.observed]
    if not is_auto(estimator.likelihood) or schema.kind != "real":
        return
    if are_integers_as_floats(seen):
        yield (
            f"{name} holds only whole numbers, stored as {x.dtype} and modelled as measurements. "
            f"Pass {integers_remedy(seen)}, or likelihood='normal' (--likelihood normal) for measurements."
        )


def warn_out_of_time(history: list[dict[str, Any]], config: TrainConfig) -> None:
    """Say that `max_minutes` ended training."""
    if history and history[-1].get("out_of_time"):
        warnings.warn(
            f"max_minutes={config.max_seconds / 60:g} ended training in epoch {history[-1]['epoch']:,} of "
            f"{config.epochs:,}; the model has its best weights so far.",
            UserWarning,
            stacklevel=5,
        )


def warn_unconditional(estimator: Hyperparameters, schema: Schema) -> None:
    """Warn of a conditional model that is fitted without a condition: it works, but is hardly what was intended."""
    if schema.condition is None:
        warnings.warn(
            f"{type(estimator).__name__} was given no condition and is unconditional. "
            "Pass condition=... to fit (--condition).",
            UserWarning,
            stacklevel=6,
        )
