"""The fitted model that a function of a model and rows works with, in whatever form the user has the model."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from isthmus.fitted import FittedModel, as_fitted


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
    """The fitted model behind an estimator, a model that `isthmus.fit` trained, or wrapped networks.

    Args:
        model: one of these, or a fitted model.
        X: (n, *X) rows, or `Examples`, which say what wrapped networks are a model of.
        condition, lengths, observed, y: what accompanies the rows; labels y are the condition of wrapped networks that
            need one, if there is no other.
        classes: labels of other rows; wrapped networks know their classes too.

    Raises:
        InputError: for anything that is not a fitted model, and for wrapped networks that cannot be applied to X.
    """
    if isinstance(model, MadeOfRows):
        return model.on(X, condition, lengths, observed, y, classes)
    return as_fitted(model)
