"""From a user's data and fields to a training run, and the run itself."""

from __future__ import annotations

import copy
import hashlib
import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from isthmus.batch import Batch
from isthmus.errors import InputError
from isthmus.estimators.param_validation import check_fields
from isthmus.estimators.validation import collect, describe
from isthmus.examples import Examples
from isthmus.latent_model import LatentModel
from isthmus.objective import as_objective
from isthmus.priors import PostHocPrior
from isthmus.schema import Schema
from isthmus.train.checkpoint import Checkpointer
from isthmus.train.config import TrainConfig
from isthmus.train.device_data import DeviceDataset
from isthmus.train.progress import ProgressCallback
from isthmus.train.runtime import (
    count_flops,
    pick_compile,
    pick_device,
    pick_dtype,
    pick_threads,
    seeded,
    torch_threads,
)
from isthmus.train.trainer import fit

if TYPE_CHECKING:
    from isthmus.estimators.base import Estimator, Recipe

UPDATES = 5_000
"""Updates that `epochs="auto"` makes, about."""
AT_ONCE = 2048
"""Rows encoded in one call, to fit a prior to their codes."""


@dataclass
class TrainingJob:
    """Everything that a run needs, decided; `train` does it."""

    recipe: Recipe
    schema: Schema
    plan: TrainConfig
    train_rows: Examples
    valid_rows: Examples | None
    valid_index: np.ndarray | None
    device: torch.device
    dtype: torch.dtype
    fingerprint: str

    @property
    def settings(self) -> dict[str, Any]:
        """What was chosen for the machine; resuming and use keep to it."""
        plan = self.plan
        return {"threads": plan.threads, "compile": plan.compile, "device": str(self.device), "epochs": plan.epochs}

    def lay(self, inputs: Examples) -> DeviceDataset:
        """Rows on the device."""
        condition = self.schema.condition
        return DeviceDataset(
            inputs.x,
            self.schema,
            device=self.device,
            dtype=self.dtype,
            c=None if condition is None else condition.encode(inputs.condition, len(inputs)),
            lengths=inputs.lengths,
            target=inputs.target,
        )

    def train(self, keep: Checkpointer | None = None, show: ProgressCallback | None = None) -> list[dict[str, Any]]:
        """Run it and return the history; with `keep` it lies on the disk and goes on from its checkpoint."""
        rows = self.lay(self.train_rows)
        if self.recipe.solve is not None:
            with torch.no_grad(), torch_threads(self.plan.threads):
                everything = rows.batch(torch.arange(len(rows), device=self.device))
                self.recipe.solve(everything.x)
            self.recipe.model.eval()
            return []
        validation = None if self.valid_rows is None else self.lay(self.valid_rows)
        model = self.recipe.model
        history = fit(
            model, rows, self.recipe.objective, self.plan, validation=validation, checkpointer=keep, callback=show
        )
        if isinstance(model.prior, PostHocPrior):
            with torch_threads(self.plan.threads):
                model.prior.fit_to(codes_drawn(model, rows, self.plan.seed), self.plan.seed)
        return history


def codes_drawn(model: LatentModel, rows: DeviceDataset, seed: int) -> Tensor:
    """(n, latent_dim) a draw from the posterior of each row."""
    with torch.no_grad(), seeded(seed, rows.device):
        batches = map(rows.batch, torch.arange(len(rows), device=rows.device).split(AT_ONCE))
        return torch.cat([model.infer(b).rsample() for b in batches])


def prepare(
    estimator: Estimator,
    X: Any,
    condition: Any = None,
    lengths: Any = None,
    validation: Any = None,
    target: Any = None,
    *,
    settings: dict[str, Any] | None = None,
    seed: int | None = None,
) -> TrainingJob:
    """Check everything and decide everything; `settings` and `seed` are those of a run to be resumed."""
    check_fields(estimator)
    settings = settings or {}
    device, dtype = pick_device(settings.get("device", estimator.device)), pick_dtype(estimator.precision)
    inputs = collect(estimator, X, condition, lengths, target, reset=True)
    seed = seed_of(estimator.random_state) if seed is None else seed
    train, valid = split(len(inputs), 0.0 if validation is not None else estimator.validation_fraction, seed)
    schema = describe(estimator, inputs, train)
    train_rows = inputs.take(train) if len(valid) else inputs
    valid_rows = inputs.take(valid) if len(valid) else None
    if validation is not None:
        valid_rows = validation_rows(estimator, validation, schema)
    # The first weights and the course of training draw from streams of their own.
    first = int(np.random.SeedSequence([seed, 1]).generate_state(1)[0])
    try:
        with seeded(first, torch.device("cpu")):
            recipe = estimator.compose(schema)
            recipe.model.to(dtype=dtype)
        recipe.model.to(device)
    except (MemoryError, OverflowError, RuntimeError) as error:  # torch has no error of its own for want of memory
        why = " ".join(str(error).split())[:160]
        raise InputError(f"no model can be made of these fields: {why}") from error
    plan = plan_of(estimator, recipe, schema, len(train_rows), seed, device, settings)
    return TrainingJob(
        recipe,
        schema,
        plan,
        train_rows,
        valid_rows,
        valid if len(valid) else None,
        device,
        dtype,
        fingerprint(inputs, valid_rows if validation is not None else None),
    )


def plan_of(
    estimator: Estimator,
    recipe: Recipe,
    schema: Schema,
    n: int,
    seed: int,
    device: torch.device,
    settings: dict[str, Any],
) -> TrainConfig:
    """How to train n rows: fixed rules on sizes, or what a resumed run had."""
    size = min(estimator.batch_size, n)
    per_epoch = max(1, n // size)
    auto = max(20, math.ceil(UPDATES / per_epoch))
    epochs = settings.get("epochs") or (auto if estimator.epochs == "auto" else int(estimator.epochs))
    draws = as_objective(recipe.objective).draws
    parameters = sum(p.numel() for p in recipe.model.parameters())
    rises = any(term.name == "kl" for term in as_objective(recipe.objective).terms)
    return TrainConfig(
        epochs=epochs,
        batch_size=int(estimator.batch_size),
        learning_rate=estimator.learning_rate,
        clip=estimator.clip,
        patience=estimator.patience,
        warmup=estimator.warmup if rises else 0.0,
        seed=seed,
        threads=settings.get("threads") or pick_threads(estimator.threads, size * draws * work_of(recipe, schema)),
        compile=settings.get("compile", pick_compile(estimator.compile, parameters, epochs * per_epoch, device)),
    )


def seed_of(random_state: Any) -> int:
    """A seed from a whole number, from a RandomState or Generator, or drawn afresh for None."""
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1)[0])
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31))
    if not isinstance(random_state, int | np.integer) or not 0 <= random_state < 2**63:
        raise InputError(f"random_state={random_state!r} came; a whole number of at least 0, or None, is wanted")
    return int(random_state)


def split(n: int, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on and rows to validate on, each in ascending order."""
    count = min(round(n * fraction), n - 2)
    if count < 1:
        return np.arange(n), np.arange(0)
    order = np.random.default_rng(seed).permutation(n)
    return np.sort(order[count:]), np.sort(order[:count])


def work_of(recipe: Recipe, schema: Schema) -> float:
    """Floating-point operations of an update for each row and draw."""
    weight = next(recipe.model.parameters())
    empty = Batch(
        weight.new_zeros(2, *schema.event_shape),
        weight.new_zeros(2, schema.condition_width) if schema.condition_width else None,
        weight.new_ones(2, schema.event_shape[0], dtype=torch.bool) if schema.sequence else None,
    )
    return count_flops(recipe.model, empty)


def validation_rows(estimator: Estimator, validation: Any, schema: Schema, name: str = "validation") -> Examples:
    """Rows to validate on, or others by name: an array, or a dict with X, condition, lengths and target."""
    parts = dict(validation) if isinstance(validation, dict) else {"X": validation}
    unknown = set(parts) - {"X", "condition", "lengths", "target"}
    if unknown or "X" not in parts:
        raise InputError(f"{name} has keys {sorted(parts)}; X, condition, lengths and target are known")
    if (schema.condition is None) != (parts.get("condition") is None):
        raise InputError(f"{name} rows want a condition as the model does, or none if it has none")
    if schema.paired and parts.get("target") is None:
        raise InputError("training has a target and validation has none; pass validation={'X': ..., 'target': ...}")
    bare = copy.copy(estimator)
    bare.schema_ = schema
    try:
        return collect(bare, parts["X"], parts.get("condition"), parts.get("lengths"), parts.get("target"))
    except InputError as error:
        raise InputError(f"in the {name} rows: {error}") from None


def fingerprint(*groups: Examples | None) -> str:
    """A hash of all that was handed over, by which a resumed run knows its data."""
    digest = hashlib.blake2b(digest_size=16)
    for group in groups:
        if group is None:
            continue
        for array in (group.x, group.condition, group.lengths, group.target):
            if array is not None:
                values = np.ascontiguousarray(array)
                values = values.astype("U") if values.dtype == object else values
                digest.update(f"{values.dtype}{values.shape}".encode())
                digest.update(values.tobytes() if values.dtype.kind == "U" else values.data)
    return digest.hexdigest()


def warn_unconditional(estimator: Estimator, schema: Schema) -> None:
    """A conditional model without a condition works, but is not what was asked for."""
    if schema.condition is None:
        warnings.warn(
            f"{type(estimator).__name__} was given no condition and is unconditional; "
            "pass condition= to fit (--condition)",
            UserWarning,
            stacklevel=5,
        )
