"""From an estimator's fields and a user's data to a training run."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from isthmus.array_checks import as_labels, pad_to_training_length, to_cpu_array
from isthmus.batch import Batch
from isthmus.errors import InputError
from isthmus.estimators.auto_fields import choose
from isthmus.estimators.composition import capabilities_of, takes_labels, with_values
from isthmus.estimators.fit_warnings import warn_of_data
from isthmus.estimators.frames import column_dtypes
from isthmus.estimators.hyperparameters import Hyperparameters
from isthmus.estimators.input_validation import (
    feature_names,
    infer_schema,
    validate_features,
    validate_inputs,
    validation_rows,
)
from isthmus.estimators.linear_rows import some_rows
from isthmus.estimators.param_validation import check_fields
from isthmus.estimators.recipe import Recipe
from isthmus.estimators.training_job import TrainingJob
from isthmus.estimators.warm_start import check_unchanged, chosen_before, continued_rows, weights_to_start_at
from isthmus.examples import fingerprint
from isthmus.fitted import FittedModel
from isthmus.inputs import as_parts, brings_labels, library_of
from isthmus.latent_model import Model
from isthmus.model_checks import check_composition, check_taken
from isthmus.objective import as_objective
from isthmus.random_streams import seeded
from isthmus.schema import Labels, Schema
from isthmus.schema.labels import UNKNOWN
from isthmus.train.config import TrainConfig
from isthmus.train.runtime import (
    UPDATE_PASSES,
    count_flops,
    one_blas_thread,
    pick_compile,
    pick_device,
    pick_dtype,
    pick_precision,
    pick_threads,
)
from isthmus.wording import quoted

AUTO_UPDATES = 4_000
"""Updates that `epochs="auto"` aims at."""
MIN_AUTO_EPOCHS = 20
"""Epochs that it makes at least, however many updates these are."""

MAX_IN_BF16 = 100.0
"""Size of a number that networks read, from which it may be so far from 0 that bf16 rounds off what it says."""
AUTO_PATIENCE_UPDATES, AUTO_PATIENCE_EPOCHS = 500, 5
"""Updates, and epochs, that `patience="auto"` waits for a better validation loss at least."""


def setup_training(
    estimator: Hyperparameters,
    X: Any,
    condition: Any = None,
    lengths: Any = None,
    validation: Any = None,
    target: Any = None,
    observed: Any = None,
    y: Any = None,
    *,
    sample_weight: Any = None,
    settings: dict[str, Any] | None = None,
    seed: int | None = None,
    start: FittedModel | None = None,
) -> TrainingJob:
    """Validate fields and data, and decide everything that a training run depends on.

    Args:
        estimator: the unfitted estimator.
        X, condition, lengths, validation, target, observed, y, sample_weight: the arguments of `Estimator.fit`.
        settings: those of a run that is resumed.
        seed: that of a run that is resumed.
        start: a trained model to go on from; its schema stays.
    """
    began = time.monotonic()
    check_fields(estimator)
    settings = settings or {}
    device, dtype = pick_device(settings.get("device", estimator.device)), pick_dtype(estimator.precision)
    beside = {"condition": condition, "lengths": lengths, "target": target, "observed": observed}
    beside |= {"y": y, "weight": sample_weight}
    known: dict[str, Any] = {} if start is None else {"use": start.feature_names, "sequences": start.schema.sequence}
    data = as_parts(X, conditional=brings_labels(X) and takes_labels(estimator), **known, **beside)
    given, validation = data.train, data.valid if validation is None else validation
    if start is None:
        inputs = validate_inputs(estimator, given)
    else:
        inputs = continued_rows(given, start)
        # The names of the features stay, as in the schema; of a run that was loaded they are not known yet.
        x = pad_to_training_length(start.schema, given.x, given.lengths)
        validate_features(estimator, x, reset=not hasattr(estimator, "n_features_in_"))
    used = np.arange(len(inputs)) if inputs.weight is None else np.flatnonzero(inputs.weight)
    if len(used) < len(inputs):
        given = replace(given, y=labels_of(given.y, used, len(inputs)))
        inputs = inputs.without_zero_weight()
    if len(used) < 2:
        raise InputError("sample_weight must be above 0 for at least 2 rows, got 1.")
    if data.levels is not None and estimator.levels is None:
        estimator = copy.copy(estimator)
        estimator.levels = data.levels
    if seed is None:  # the rows that choose the weights are no training rows of an earlier fit to the same data
        kept = start is not None and estimator.random_state is None
        seed = start.seed if start is not None and kept else resolve_seed(estimator.random_state)
    train, valid = split_indices(len(inputs), 0.0 if validation is not None else estimator.validation_fraction, seed)
    schema = infer_schema(estimator, inputs, train) if start is None else start.schema
    if start is None and (library := library_of(X) or library_of(given)):
        schema = replace(schema, library=library, dtypes=column_dtypes(given.x))
    if not settings and start is None:
        warn_of_data(estimator, schema, inputs, given.x)
    # The initial weights and the course of training draw from separate streams.
    weights_seed = int(np.random.SeedSequence([seed, 1]).generate_state(1)[0])
    learns_labels = capabilities_of(estimator).wants_labels
    labelled = with_classes(schema, given.y, len(inputs), required=learns_labels) if start is None else schema
    chosen = settings.get("chosen") if start is None else chosen_before(estimator, start)
    if chosen is None:
        with one_blas_thread:
            chosen = choose(estimator, labelled, some_rows(labelled, inputs, train, seed), seed, len(train))
    estimator = with_values(estimator, chosen)
    check_fields(estimator)  # of a resumed run the values come from a file
    if start is not None:
        check_unchanged(estimator, start)
    elif "likelihood" in chosen:
        schema, labelled = (with_likelihood(each, chosen["likelihood"]) for each in (schema, labelled))
    try:
        with seeded(weights_seed):
            recipe = estimator.compose(labelled)
            recipe.model.to(dtype=dtype)
        recipe.model.to(device)
    except (MemoryError, OverflowError, RuntimeError) as error:  # torch has no exception type of its own for memory
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"The model cannot be built with these parameters: {reason}") from error
    check_composition(recipe.model, zeros(recipe.model, schema))
    check_taken(recipe.model, inputs.x, inputs.lengths, inputs.observed)
    if recipe.solve is not None and inputs.observed is not None:
        raise InputError(f"observed must be None for {type(estimator).__name__}, which is solved in closed form.")
    if recipe.model.capabilities.wants_labels:
        if given.y is None:
            raise InputError(
                f"y must be given to {type(estimator).__name__}, which learns from labels. Pass y=..., "
                "with -1 for rows without a label."
            )
        inputs = replace(inputs, y=as_labels(given.y, len(inputs)))
        schema = replace(schema, labels=Labels.read(inputs.y)) if start is None else schema
    inputs = inputs.mark_checked(schema)
    own_validation = None if validation is None else validation_rows(validation, schema, feature_names(estimator))
    if own_validation is not None:
        check_taken(recipe.model, own_validation.x, own_validation.lengths, own_validation.observed)
    return TrainingJob(
        estimator,
        recipe,
        schema,
        training_config(estimator, recipe, schema, len(train), seed, device, settings, start is not None),
        inputs,
        train,
        valid,
        own_validation,
        device,
        dtype,
        fingerprint(inputs, own_validation),
        chosen,
        None if start is None else weights_to_start_at(recipe.model, estimator, start),
        settings.get("earlier_epochs", 0 if start is None else epochs_made(start)),
        began,
    )


def epochs_made(fitted: FittedModel) -> int:
    """Epochs of all fits that led to a model."""
    return len(fitted.history) + fitted.settings.get("earlier_epochs", 0)


def labels_of(y: Any, used: np.ndarray, n: int) -> Any:
    """The labels y (n,) of the rows `used`; y as it is if it is no such array: models that learn from it refuse it."""
    values = None if y is None else to_cpu_array(y)
    return y if values is None or values.shape[:1] != (n,) else values[used]


def with_classes(schema: Schema, y: Any, n: int, required: bool) -> Schema:
    """The schema with the classes of n labels, for a model to be made from; with no classes if y has none.

    Only a model that is made is sure to say whether it learns from labels, and what others are given may be no labels.
    Raises InputError for what can be no labels where they are `required`.
    """
    try:
        labels = Labels() if y is None else Labels.read(as_labels(y, n))
    except InputError:  # raised again if the model turns out to learn from them
        if required:
            raise
        labels = Labels()
    return replace(schema, labels=labels)


def with_likelihood(schema: Schema, name: str) -> Schema:
    """The schema of a homogeneous array with another likelihood of the same kind."""
    return replace(schema, columns=(replace(schema.columns[0], likelihood=name),))


def training_config(
    estimator: Hyperparameters,
    recipe: Recipe,
    schema: Schema,
    n: int,
    seed: int,
    device: torch.device,
    settings: dict[str, Any],
    continued: bool = False,
) -> TrainConfig:
    """How to train on n rows: by fixed rules on sizes, or as a resumed run."""
    size = min(estimator.batch_size, n)
    per_epoch = max(1, n // size)
    auto = max(MIN_AUTO_EPOCHS, math.ceil(AUTO_UPDATES / per_epoch))
    epochs = settings.get("epochs") or (auto if estimator.epochs == "auto" else int(estimator.epochs))
    draws = as_objective(recipe.objective).draws
    parameters = sum(p.numel() for p in recipe.model.parameters())
    scheduled = any(term.is_scheduled for term in as_objective(recipe.objective).terms)
    work = size * draws * flops_per_row(recipe, schema)
    asked = settings.get("precision", estimator.precision)
    if asked == "auto" and not schema.discrete and max(abs(schema.low).max(), abs(schema.high).max()) > MAX_IN_BF16:
        asked = "float32"
    return TrainConfig(
        epochs=epochs,
        batch_size=int(estimator.batch_size),
        learning_rate=estimator.learning_rate,
        optimizer=estimator.optimizer,
        weight_decay=estimator.weight_decay,
        clip=estimator.clip,
        patience=auto_patience(per_epoch) if estimator.patience == "auto" else int(estimator.patience),
        warmup=estimator.warmup if scheduled and not continued else 0.0,
        max_seconds=math.inf if estimator.max_minutes is None else 60 * estimator.max_minutes,
        continued=continued,
        seed=seed,
        precision=pick_precision(asked, recipe.model, size * draws, device),
        threads=settings.get("threads") or pick_threads(estimator.threads, work),
        compile=settings.get("compile", pick_compile(estimator.compile, parameters, epochs * per_epoch, device)),
        must_compile=estimator.compile != "auto",
    )


def auto_patience(updates_per_epoch: int) -> int:
    """Updates without a better validation loss after which training stops."""
    return max(AUTO_PATIENCE_UPDATES, AUTO_PATIENCE_EPOCHS * updates_per_epoch)


def resolve_seed(random_state: Any) -> int:
    """A seed from an integer, a RandomState or a Generator; a random one for None."""
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1)[0])
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31))
    if not isinstance(random_state, int | np.integer) or not 0 <= random_state < 2**63:
        raise InputError(f"random_state must be an integer >= 0 or None, got {quoted(random_state)}.")
    return int(random_state)


def split_indices(n: int, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of training and validation rows, each in ascending order."""
    count = min(round(n * fraction), n - 2)
    if count < 1:
        return np.arange(n), np.arange(0)
    order = np.random.default_rng(seed).permutation(n)
    return np.sort(order[count:]), np.sort(order[:count])


def flops_per_row(recipe: Recipe, schema: Schema) -> float:
    """Floating-point operations of one update for each row and draw."""
    return UPDATE_PASSES * count_flops(recipe.model, zeros(recipe.model, schema))


def zeros(model: Model, schema: Schema) -> Batch:
    """Two rows of zeros as a model's networks read them."""
    weight = next(model.parameters())
    return Batch(
        weight.new_zeros(2, *schema.event_shape),
        weight.new_zeros(2, schema.condition_width) if schema.condition_width else None,
        weight.new_ones(2, schema.event_shape[0], dtype=torch.bool) if schema.sequence else None,
        None if schema.labels is None else weight.new_full((2,), UNKNOWN, dtype=torch.int64),
    )
