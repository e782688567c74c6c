"""Training of a model made by hand, without an estimator around it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from isthmus.errors import InputError
from isthmus.latent_model import LatentModel
from isthmus.objective import Objective, Term, as_objective
from isthmus.schema import Schema
from isthmus.train import trainer as loop
from isthmus.train.device_data import DeviceDataset
from isthmus.train.runtime import operations, pick_threads


def fit(
    model: LatentModel,
    data: Tensor | np.ndarray,
    objective: Objective | Term,
    *,
    condition: Tensor | np.ndarray | None = None,
    lengths: Tensor | np.ndarray | None = None,
    validation: Tensor | np.ndarray | dict[str, Any] | None = None,
    epochs: int = 20,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    random_state: int = 0,
    threads: int | str = "auto",
) -> list[dict[str, Any]]:
    """Train a `LatentModel` in place on rows (n, *X), in the units that its networks read; return its history.

    `condition` is (n, C) numbers; `validation` are rows to keep the best weights by, or a dict with X, condition and
    lengths. The history holds a dict an epoch with every term of the objective, nats.
    """
    first = next(model.parameters())
    schema = Schema.homogeneous(
        event_shape=tuple(data.shape[1:]), kind="real", dtype="float32", sequence=lengths is not None
    )

    def lay(X: Any, condition: Any = None, lengths: Any = None) -> DeviceDataset:
        for name, beside in (("condition", condition), ("lengths", lengths)):
            if beside is not None and len(beside) != len(X):
                raise InputError(f"{name} has {len(beside)} rows and the data {len(X)}; one a row is wanted")
        c = None if condition is None else np.asarray(condition)
        return DeviceDataset(X, schema, device=first.device, dtype=first.dtype, c=c, lengths=lengths)

    held = None if validation is None else validation if isinstance(validation, dict) else {"X": validation}
    if held is not None and ((condition is None) != (held.get("condition") is None)):
        raise InputError("training and validation must both have a condition, or neither; pass validation as a dict")

    size = min(batch_size, len(data)) * as_objective(objective).draws
    rows = lay(data, condition, lengths)
    plan = loop.TrainConfig(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=random_state,
        threads=pick_threads(threads, size * operations(model, rows.batch(torch.arange(1)))),
    )
    return loop.fit(model, rows, objective, plan, validation=None if held is None else lay(**held))
