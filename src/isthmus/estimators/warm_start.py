"""Going on with a trained model: what of it stays, and what may not change."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from isthmus.errors import InputError
from isthmus.estimators.auto_fields import AUTO_FIELDS
from isthmus.estimators.hyperparameters import Hyperparameters, is_auto
from isthmus.examples import Examples
from isthmus.fitted import FittedModel
from isthmus.latent_model import Model
from isthmus.train.hooks import named_tensors

FIXED_FIELDS = (
    "latent_dim",
    "hidden",
    "network",
    "channels",
    "activation",
    "likelihood",
    "prior",
    "posterior",
    "sparsity",
    "scaling",
    "levels",
    "binarize",
    "encoder",
    "decoder",
)
"""Fields that say what the model and its data are: with another value the trained weights would mean something else."""


def chosen_before(estimator: Hyperparameters, start: FittedModel) -> dict[str, Any]:
    """The values, as they were in the fit that is continued, of fields that are "auto" now."""
    values = {name: start.fields.get(name) for name in AUTO_FIELDS if is_auto(getattr(estimator, name, None))}
    return {name: value for name, value in values.items() if value is not None and not is_auto(value)}


def check_unchanged(estimator: Hyperparameters, start: FittedModel) -> None:
    """Raise InputError for another class than the trained model's, or a field that may not change.

    Args:
        estimator: the fields, "auto" resolved by `chosen_before`.
        start: the trained model.
    """
    if type(estimator).__name__ != start.name:
        raise InputError(f"The model must be a {start.name} to be continued, got {type(estimator).__name__}.")
    for name in FIXED_FIELDS:
        before, now = start.fields.get(name), getattr(estimator, name, None)
        if not same_value(before, now) and not (name == "likelihood" and now in ("auto", start.schema.likelihood)):
            raise changed(name, before, now)


def same_value(before: Any, now: Any) -> bool:
    """Whether a field is unchanged; modules are compared by their class, and by their weights' shapes later."""
    if isinstance(before, nn.Module) or isinstance(now, nn.Module):
        return type(before) is type(now)
    if isinstance(before, tuple | list) and isinstance(now, tuple | list):
        return tuple(before) == tuple(now)
    return bool(before == now)


def changed(name: str, before: Any, now: Any) -> InputError:
    """The error of a field that may not change."""
    shown = [type(value).__name__ if isinstance(value, nn.Module) else repr(value) for value in (before, now)]
    return InputError(
        f"{name} must be {shown[0]}, as in the fit that is continued, got {shown[1]}. Train a new model for that."
    )


def continued_rows(given: Examples, start: FittedModel) -> Examples:
    """Rows to go on with, validated for the schema of the trained model."""
    schema = start.schema
    for name, needed, values in (
        ("target", schema.paired, given.target),
        ("y", schema.labels is not None, given.y),
    ):
        if needed and values is None:
            raise InputError(f"{name} must be given, as in the fit that is continued, got None. Pass {name}=...")
    if given.target is not None and not schema.paired:
        raise InputError(
            "target must be None, as in the fit that is continued, got one. Train a new model to restore damaged rows."
        )
    rows = start.check(given)
    if schema.labels is not None:
        schema.labels.encode(rows.y)  # raises for classes that the first fit did not have
    if len(rows) < 2:
        raise InputError("X must have at least 2 rows to train on, got 1.")
    return rows


def weights_to_start_at(model: Model, estimator: Hyperparameters, start: FittedModel) -> dict[str, Tensor]:
    """Parameters and buffers of the trained model by name.

    Raises:
        InputError: if the new model, which the fields compose, has others: names the fields that differ.
    """
    trained, new = named_tensors(start.model), named_tensors(model)
    if {name: value.shape for name, value in trained.items()} == {name: value.shape for name, value in new.items()}:
        return {name: value.detach().clone() for name, value in trained.items()}
    for name, now in estimator.values().items():
        if name in start.fields and not same_value(start.fields[name], now):
            raise changed(name, start.fields[name], now)
    raise InputError("The fields must compose a model with the weights of the trained one, got other weights.")
