"""Training of a model made by hand, without an estimator around it."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from isthmus.latent_model import LatentModel
from isthmus.objective import Objective, Term, as_objective
from isthmus.schema import Schema
from isthmus.train import fit as loop
from isthmus.train.loader import Rows
from isthmus.train.machine import pick_threads


def fit(
    model: LatentModel,
    data: Tensor | np.ndarray,
    objective: Objective | Term,
    *,
    condition: Tensor | np.ndarray | None = None,
    lengths: Tensor | np.ndarray | None = None,
    validation: Tensor | np.ndarray | None = None,
    epochs: int = 20,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    random_state: int = 0,
    threads: int | str = "auto",
) -> list[dict[str, Any]]:
    """Train a `LatentModel` in place on rows (n, *X), in the units that its networks read; return its history.

    `condition` is (n, C) numbers; `validation` are rows to keep the best weights by. The history holds a dict an
    epoch with every term of the objective, nats.
    """
    first = next(model.parameters())
    schema = Schema(event_shape=tuple(data.shape[1:]), kind="real", dtype="float32", sequence=lengths is not None)

    def lay(x: Tensor | np.ndarray) -> Rows:
        c = None if condition is None else np.asarray(condition)
        return Rows(x, schema, device=first.device, dtype=first.dtype, c=c, lengths=lengths)  # type: ignore[arg-type]

    size = min(batch_size, len(data)) * as_objective(objective).draws
    plan = loop.Plan(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=random_state,
        threads=pick_threads(threads, sum(p.numel() for p in model.parameters()), size),
    )
    return loop.fit(model, lay(data), objective, plan, validation=None if validation is None else lay(validation))
