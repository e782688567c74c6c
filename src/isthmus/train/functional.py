"""Training of a hand-made model, without an estimator."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from isthmus.array_checks import as_lengths, as_observed, to_cpu_array
from isthmus.errors import InputError, Interrupted, TrainingError, check_positive_int
from isthmus.latent_model import Model
from isthmus.likelihoods import COUNTED, LEVELLED, LIKELIHOODS, name_of
from isthmus.model_checks import check_composition, check_taken
from isthmus.objective import Objective, Term, as_objective, weight_at
from isthmus.schema import Condition, Labels, Schema, kind_of
from isthmus.train import trainer
from isthmus.train.config import TrainConfig, TrainingRecord
from isthmus.train.device_data import DeviceDataset
from isthmus.train.runtime import UPDATE_PASSES, count_flops, pick_threads
from isthmus.wording import quoted

Array = Tensor | np.ndarray


def fit(
    model: Model,
    data: Array,
    objective: Objective | Term,
    *,
    condition: Array | None = None,
    lengths: Array | None = None,
    y: Array | None = None,
    target: Array | None = None,
    observed: Array | None = None,
    validation: Array | dict[str, Any] | None = None,
    epochs: int = 20,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    random_state: int = 0,
    threads: int | str = "auto",
) -> list[dict[str, Any]]:
    """Train a model in place on rows in the units that its networks read.

    The model can then be passed to `isthmus.evaluate`, `diagnose`, `report_page` and `save`, as an estimator can;
    `isthmus.load(folder, model=model)` reads it back.

    Args:
        model: the model, on the device and in the precision to train in.
        data: (n, *X) rows.
        objective: the loss, a sum of terms.
        condition: (n, C) numbers.
        lengths: (n,) numbers of real steps of padded sequences.
        y: (n,) labels, -1 where unknown.
        target: (n, *X) clean rows that the likelihood is evaluated at instead of `data`.
        observed: (n, *X) True where an element was observed.
        validation: rows by whose loss the best weights are selected: an array, or a dict with X and the above.
        epochs: passes over the rows.
        batch_size: rows per update.
        learning_rate: Adam's peak learning rate.
        random_state: seed.
        threads: CPU threads; `auto` decides by the size of an update.

    Returns:
        The history: a dict for each epoch with the means of the loss and of each term in nats.

    Raises:
        InputError: if arrays differ in length, or validation rows lack what the training rows have.
        TrainingError: if a number is not finite. The model then has its last good weights.
    """
    if not isinstance(model, Model):
        kind = type(model).__name__
        raise InputError(f"model must be a Model such as a LatentModel, got {kind}. Call fit(X) of an estimator.")
    if not isinstance(objective, Objective | Term):
        kind = type(objective).__name__
        raise InputError(f"objective must be a sum of terms such as isthmus.terms.bounds.nll, got {kind}.")
    for name, value in {"epochs": epochs, "batch_size": batch_size}.items():
        check_positive_int(name, value)
    if not isinstance(data, Tensor | np.ndarray):
        raise InputError(f"data must be an array or a tensor, got {type(data).__name__}.")
    if isinstance(data, Tensor) and (data.layout != torch.strided or data.is_quantized or data.is_meta):
        raise InputError(f"data must be a dense tensor of numbers, got {quoted(data)}.")
    parameter = next(model.parameters())
    schema = Schema.homogeneous(
        event_shape=tuple(data.shape[1:]), kind="real", dtype="float32", sequence=lengths is not None
    )
    names = ("condition", "lengths", "y", "target", "observed")

    def to_device(X: Any, condition: Array | None = None, **arrays: Any) -> DeviceDataset:
        if not isinstance(X, Tensor | np.ndarray) or not len(X) or X.shape[1:] != data.shape[1:]:
            got = X.shape if hasattr(X, "shape") else type(X).__name__
            raise InputError(f"rows must be an array (n, {', '.join(map(str, data.shape[1:]))}) with n > 0, got {got}.")
        for name, array in {"condition": condition, **arrays}.items():
            if array is not None and len(array) != len(X):
                raise InputError(f"{name} must have one row for each of the {len(X)} rows of data, got {len(array)}.")
        as_lengths(arrays.get("lengths"), to_cpu_array(X))
        as_observed(arrays.get("observed"), to_cpu_array(X))
        c = None if condition is None else np.asarray(condition)
        return DeviceDataset(X, schema, device=parameter.device, dtype=parameter.dtype, c=c, **arrays)

    validation_rows = None
    if validation is not None:
        parts = validation if isinstance(validation, dict) else {"X": validation}
        unknown = sorted(set(parts) - {"X", *names})
        if unknown or "X" not in parts:
            raise InputError(f"validation must be an array, or a dict of X and any of {names}, got {sorted(parts)}.")
        for name, array in {"condition": condition, "lengths": lengths, "y": y, "target": target}.items():
            if (array is None) != (parts.get(name) is None):
                raise InputError(
                    f"validation must have {name} if the training rows have it, and only then, got {sorted(parts)}. "
                    f"Pass validation={{'X': ..., '{name}': ...}}."
                )
        validation_rows = to_device(**parts)

    rows = to_device(data, condition, lengths=lengths, y=y, target=target, observed=observed)
    example = rows.batch(torch.arange(1, device=parameter.device))
    check_composition(model, example)
    check_taken(model, data, lengths, observed)
    if validation is not None:
        check_taken(model, parts["X"], parts.get("lengths"), parts.get("observed"))
    work = min(batch_size, len(data)) * as_objective(objective).draws
    config = TrainConfig(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=random_state,
        threads=pick_threads(threads, UPDATE_PASSES * work * count_flops(model, example)),
    )
    terms = as_objective(objective).terms
    record = TrainingRecord(
        describe(model, data, condition, lengths, y, target),
        config,
        history=[],
        loss_weights={term.name: weight_at(term.weight, 1.0) for term in terms},
        kl_terms=tuple(term.name for term in terms if term.is_kl),
    )
    try:
        history = trainer.fit(model, rows, objective, config, validation=validation_rows)
    except (Interrupted, TrainingError) as error:  # the model has the best, or the last good, weights
        model.training_record = replace(record, history=getattr(error, "history", []))
        raise
    model.training_record = replace(record, history=history)
    return history


def describe(
    model: Model, data: Array, condition: Array | None, lengths: Array | None, y: Array | None, target: Array | None
) -> Schema:
    """What the rows of a training by hand are: nothing is scaled, and the likelihood is that of the model's family."""
    modelled = to_cpu_array(data if target is None else target)
    name = name_of(getattr(getattr(model, "likelihood", None), "family", None))
    labels = y is not None and model.capabilities.wants_labels
    width = 0 if condition is None else condition.shape[1]
    return Schema.homogeneous(
        event_shape=tuple(data.shape[1:]),
        kind="counts" if name in COUNTED else kind_of(modelled),
        dtype=str(modelled.dtype),
        likelihood="" if name in LEVELLED else name,  # whose networks read shares of the highest level
        discrete=name in LIKELIHOODS and LIKELIHOODS[name].discrete,
        sequence=lengths is not None,
        paired=target is not None,
        condition=Condition(shift=(0.0,) * width, scale=(1.0,) * width) if width else None,
        labels=Labels.read(to_cpu_array(y)) if labels else None,
    )
