"""The fitted model that a function of a model and rows works with, in whatever form the user has the model."""

from __future__ import annotations

import copy
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from isthmus.array_checks import to_array, validate_rows
from isthmus.errors import InputError
from isthmus.fitted import FittedModel, as_fitted, fitted_by_hand
from isthmus.inputs import as_examples
from isthmus.latent_model import Model
from isthmus.model_checks import check_composition, no_record
from isthmus.train.config import TrainConfig, TrainingRecord
from isthmus.train.functional import describe


@runtime_checkable
class MadeOfRows(Protocol):
    """Networks that become a model once rows are known, such as wrapped ones."""

    def on(
        self,
        X: Any,
        condition: Any = None,
        lengths: Any = None,
        observed: Any = None,
        y: Any = None,
        classes: Any = None,
    ) -> FittedModel:
        """The networks as a fitted model of data like X; labels y are the condition that they need and lack."""
        ...


def fitted_on(
    model: Any,
    X: Any,
    condition: Any = None,
    lengths: Any = None,
    observed: Any = None,
    y: Any = None,
    classes: Any = None,
) -> FittedModel:
    """The fitted model behind an estimator, a model of parts, or wrapped networks.

    Args:
        model: one of these, or a fitted model. A model of parts that `isthmus.fit` did not train is described by X.
        X: (n, *X) rows, or `Examples`, which say what wrapped networks are a model of.
        condition, lengths, observed, y: what accompanies the rows; labels y are the condition of wrapped networks that
            need one, if there is no other.
        classes: labels of other rows; wrapped networks know their classes too.

    Raises:
        InputError: for anything that is not a fitted model, and for wrapped networks that cannot be applied to X.
    """
    if isinstance(model, MadeOfRows):
        return model.on(X, condition, lengths, observed, y, classes)
    if is_trained_elsewhere(model):
        return described_by(model, X, condition, lengths, observed, y)
    return as_fitted(model)


def is_trained_elsewhere(model: Any) -> bool:
    """Whether this is a model of parts that a loop of the user's own trained: nothing says what its rows are."""
    return isinstance(model, Model) and model.training_record is None and not hasattr(model, "fitted_")


def described_by(
    model: Model,
    X: Any,
    condition: Any = None,
    lengths: Any = None,
    observed: Any = None,
    y: Any = None,
    beta: float = 1.0,
) -> FittedModel:
    """A model of parts as a fitted model of data like X, in the units that its networks read; it stays as it is.

    Args:
        model: trained by a loop of the user's own.
        X: (n, *X) rows, or `Examples`, which hold the other arguments.
        condition: (n, C) numbers, as the networks read them.
        lengths, observed, y: what accompanies the rows.
        beta: weight of the KL term in the loss that the model was trained with.

    Raises:
        InputError: if the model cannot be applied to the rows.
    """
    if model.estimator_name:  # it reads rows in units that only the estimator knows
        raise no_record(model)
    given = as_examples(X, condition=condition, lengths=lengths, observed=observed, y=y)
    rows = validate_rows(to_array(given.x), given.condition, given.lengths, observed=given.observed, y=given.y)
    if rows.condition is not None and (rows.condition.ndim != 2 or rows.condition.dtype.kind not in "fiub"):
        raise InputError(
            f"condition must be (n, C) numbers as the networks of a {type(model).__name__} read them, got "
            f"{rows.condition.dtype} of shape {rows.condition.shape}. Pass labels as 0 and 1, a column for each class."
        )
    if any(part.training for part in model.modules()):  # a loop may go on after this: its model stays in training mode
        model = copy.deepcopy(model).eval()
    schema = describe(model, rows.x, rows.condition, rows.lengths, rows.y, None)
    weights = {"nll": 1.0, "kl": beta} if model.capabilities.has_rate else {"nll": 1.0}
    config = TrainConfig(epochs=0, batch_size=1, threads=torch.get_num_threads())
    record = TrainingRecord(schema, config, [], weights, tuple(name for name in weights if name == "kl"))
    fitted = fitted_by_hand(model, record)
    first = fitted.dataset(rows.take(np.arange(1)))
    check_composition(model, first.batch(torch.zeros(1, dtype=torch.int64, device=fitted.device)))
    return fitted
