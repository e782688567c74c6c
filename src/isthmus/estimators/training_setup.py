"""From an estimator's fields and a user's data to a training run."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from isthmus.array_checks import as_labels
from isthmus.batch import Batch
from isthmus.errors import InputError
from isthmus.estimators.auto_fields import choose
from isthmus.estimators.code_mixture import can_be_placed, code_mixture
from isthmus.estimators.composition import takes_labels, with_values
from isthmus.estimators.fit_warnings import warn_of_data
from isthmus.estimators.frames import column_dtypes
from isthmus.estimators.hyperparameters import Hyperparameters
from isthmus.estimators.input_validation import feature_names, infer_schema, validate_inputs, validation_rows
from isthmus.estimators.linear_model import fit_linear_model, independent_columns
from isthmus.estimators.linear_rows import as_dataset, linear_rows, some_rows
from isthmus.estimators.linear_start import start_at_linear_model
from isthmus.estimators.param_validation import check_fields
from isthmus.estimators.recipe import Recipe
from isthmus.examples import Examples, fingerprint
from isthmus.fitted import FittedModel
from isthmus.inputs import as_parts, brings_labels, library_of
from isthmus.latent_model import LatentModel, Model
from isthmus.model_checks import check_composition, check_taken
from isthmus.objective import Schedule, as_objective, weight_at
from isthmus.priors import Mixture, StandardNormal
from isthmus.random_streams import seeded
from isthmus.schema import NUMBERS_AT_ONCE, Labels, Schema
from isthmus.schema.labels import UNKNOWN
from isthmus.train.checkpoint import Checkpointer
from isthmus.train.config import TrainConfig
from isthmus.train.device_data import DeviceDataset
from isthmus.train.progress import ProgressCallback
from isthmus.train.runtime import (
    UPDATE_PASSES,
    count_flops,
    one_blas_thread,
    pick_compile,
    pick_device,
    pick_dtype,
    pick_threads,
    torch_threads,
)
from isthmus.train.trainer import fit
from isthmus.wording import quoted

AUTO_UPDATES = 4_000
"""Updates that `epochs="auto"` aims at."""
MIN_AUTO_EPOCHS = 20
"""Epochs that it makes at least, however many updates these are."""

EXACT_MARGIN = 1.0
"""Standard errors by which training must be better than the exact optimum of a linear model."""
AUTO_PATIENCE_UPDATES, AUTO_PATIENCE_EPOCHS = 500, 5
"""Updates, and epochs, that `patience="auto"` waits for a better validation loss at least."""


@dataclass
class TrainingJob:
    """A training run, fully determined: data, model, loss and configuration; `train` runs it."""

    estimator: Hyperparameters
    recipe: Recipe
    schema: Schema
    config: TrainConfig
    inputs: Examples
    train_index: np.ndarray
    valid_index: np.ndarray
    own_validation: Examples | None
    device: torch.device
    dtype: torch.dtype
    fingerprint: str
    chosen: dict[str, Any]

    @property
    def settings(self) -> dict[str, Any]:
        """What was chosen for the machine; a resumed run and the trained model keep it."""
        config = self.config
        return {
            "threads": config.threads,
            "compile": config.compile,
            "device": str(self.device),
            "epochs": config.epochs,
            "chosen": self.chosen,
        }

    @property
    def train_rows(self) -> Examples:
        """The training rows; where some of the data are held out, a copy of the others."""
        return self.inputs.take(self.train_index) if len(self.valid_index) else self.inputs

    @property
    def valid_rows(self) -> Examples | None:
        """The validation rows, if there are any."""
        return self.inputs.take(self.valid_index) if len(self.valid_index) else self.own_validation

    def some_train_rows(self) -> Examples:
        """A random part of many training rows, to which linear models are fitted; without a copy of all of them."""
        return some_rows(self.schema, self.inputs, self.train_index, self.config.seed)

    def to_device(self, examples: Examples, index: np.ndarray | None = None) -> DeviceDataset:
        """Rows on the device: those at the positions `index`, or all."""
        return as_dataset(self.schema, examples, self.device, self.dtype, index=index)

    def start_linear(self) -> float | None:
        """Set the untrained model to the linear model of the training rows; None where that cannot be.

        Returns:
            The standard errors by which training must be better than the start for the start not to be kept: the exact
            optimum of a linear model is not left for what may be chance.
        """
        model, seed = self.recipe.model, self.config.seed
        if not model.code.size:
            return None
        x, c = linear_rows(self.schema, self.some_train_rows(), seed)
        per_column = self.schema.likelihood == "diagonal_normal"
        by_column = self.estimator.initialization == "columns" and c is None and model.code.size == x.shape[1]
        linear = independent_columns(x) if by_column else fit_linear_model(x, c, model.code.size, per_column)
        if not start_at_linear_model(model, linear):
            return None
        assert isinstance(model, LatentModel)
        prior, whole = model.prior, self.inputs.observed is None
        named = isinstance(self.estimator.prior, str)  # a prior of the user's own is left alone
        # A mixture of more components than the rows can place starts at random.
        if isinstance(prior, Mixture) and c is None and named and whole and can_be_placed(len(prior.logits), len(x)):
            prior.start_at(*code_mixture(x, linear, len(prior.logits), seed, full=prior.slopes is not None))
        exact = isinstance(prior, StandardNormal) and not by_column and whole
        return EXACT_MARGIN if exact and model.likelihood.family.normal_scale() is not None else 0.0

    def train(
        self, checkpointer: Checkpointer | None = None, callback: ProgressCallback | None = None
    ) -> list[dict[str, Any]]:
        """Train and return the history; with a `checkpointer` from its last checkpoint, if there is one."""
        if self.recipe.solve is not None:
            with torch.no_grad(), torch_threads(self.config.threads):
                self.recipe.solve(self.blocks())
            self.recipe.model.eval()
            return []
        rows = self.to_device(self.inputs, self.train_index if len(self.valid_index) else None)
        validation = None
        if len(self.valid_index):
            validation = self.to_device(self.inputs, self.valid_index)
        elif self.own_validation is not None:
            validation = self.to_device(self.own_validation)
        with one_blas_thread:
            margin = None if self.estimator.initialization == "random" else self.start_linear()
        return fit(
            self.recipe.model,
            rows,
            self.recipe.objective,
            replace(self.config, start_margin=margin),
            validation=validation,
            checkpointer=checkpointer,
            callback=callback,
        )

    def blocks(self) -> Iterator[Tensor]:
        """The training rows (m, *X) in the units that networks read, some at a time."""
        count = max(1, NUMBERS_AT_ONCE // max(1, self.schema.size))
        for start in range(0, len(self.train_index), count):
            rows = self.to_device(self.inputs, self.train_index[start : start + count])
            yield rows.batch(torch.arange(len(rows), device=self.device)).x

    def run(self, verbose: bool = False) -> FittedModel:
        """Train, with a progress bar if `verbose`, and return the trained model."""
        if not verbose:
            return self.fitted(self.train())
        from isthmus.train.progress import ProgressBar

        with ProgressBar() as bar:
            return self.fitted(self.train(callback=bar))

    def fitted(self, history: list[dict[str, Any]]) -> FittedModel:
        """The trained model with its data schema."""
        return fitted_model(self.estimator, self.recipe, self.schema, self.settings, self.config.seed, history)


def fitted_model(
    estimator: Hyperparameters,
    recipe: Recipe,
    schema: Schema,
    settings: dict[str, Any],
    seed: int,
    history: list[dict[str, Any]],
) -> FittedModel:
    """A recipe whose weights are trained, as a fitted model of the estimator's class and fields."""
    terms = as_objective(recipe.objective).terms
    return FittedModel(
        schema,
        recipe.model,
        settings,
        seed,
        name=type(estimator).__name__,
        fields=estimator.values(),
        history=history,
        feature_names=schema.names,
        closed_form=recipe.solve is not None,
        loss_weights={term.name: weight_at(term.weight, 1.0) for term in terms},
        kl_terms=tuple(term.name for term in terms if term.is_kl),
    )


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
    settings: dict[str, Any] | None = None,
    seed: int | None = None,
) -> TrainingJob:
    """Validate fields and data, and decide everything that a training run depends on.

    Args:
        estimator: the unfitted estimator.
        X, condition, lengths, validation, target, observed, y: the arguments of `Estimator.fit`.
        settings: those of a run that is resumed.
        seed: that of a run that is resumed.
    """
    check_fields(estimator)
    settings = settings or {}
    device, dtype = pick_device(settings.get("device", estimator.device)), pick_dtype(estimator.precision)
    beside = {"condition": condition, "lengths": lengths, "target": target, "observed": observed}
    data = as_parts(X, conditional=brings_labels(X) and takes_labels(estimator), y=y, **beside)
    given, validation = data.train, data.valid if validation is None else validation
    inputs = validate_inputs(estimator, given)
    if data.levels is not None and estimator.levels is None:
        estimator = copy.copy(estimator)
        estimator.levels = data.levels
    seed = resolve_seed(estimator.random_state) if seed is None else seed
    train, valid = split_indices(len(inputs), 0.0 if validation is not None else estimator.validation_fraction, seed)
    schema = infer_schema(estimator, inputs, train)
    if library := library_of(X) or library_of(given):
        schema = replace(schema, library=library, dtypes=column_dtypes(given.x))
    if not settings:
        warn_of_data(estimator, schema, inputs, given.x)
    # The initial weights and the course of training draw from separate streams.
    weights_seed = int(np.random.SeedSequence([seed, 1]).generate_state(1)[0])
    labelled = with_classes(schema, given.y, len(inputs))
    chosen = settings.get("chosen")
    if chosen is None:
        with one_blas_thread:
            chosen = choose(estimator, labelled, some_rows(labelled, inputs, train, seed), seed, len(train))
    estimator = with_values(estimator, chosen)
    check_fields(estimator)  # of a resumed run the values come from a file
    if "likelihood" in chosen:
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
        schema = replace(schema, labels=Labels.read(inputs.y))
    inputs = inputs.mark_checked(schema)
    own_validation = None if validation is None else validation_rows(validation, schema, feature_names(estimator))
    if own_validation is not None:
        check_taken(recipe.model, own_validation.x, own_validation.lengths, own_validation.observed)
    return TrainingJob(
        estimator,
        recipe,
        schema,
        training_config(estimator, recipe, schema, len(train), seed, device, settings),
        inputs,
        train,
        valid,
        own_validation,
        device,
        dtype,
        fingerprint(inputs, own_validation),
        chosen,
    )


def with_classes(schema: Schema, y: Any, n: int) -> Schema:
    """The schema with the classes of n labels, for a model to be made from; with no classes if y has none.

    Only a model that is made says whether it learns from labels, and what others are given may be no labels at all.
    """
    try:
        labels = Labels() if y is None else Labels.read(as_labels(y, n))
    except InputError:  # raised again if the model learns from them
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
) -> TrainConfig:
    """How to train on n rows: by fixed rules on sizes, or as a resumed run."""
    size = min(estimator.batch_size, n)
    per_epoch = max(1, n // size)
    auto = max(MIN_AUTO_EPOCHS, math.ceil(AUTO_UPDATES / per_epoch))
    epochs = settings.get("epochs") or (auto if estimator.epochs == "auto" else int(estimator.epochs))
    draws = as_objective(recipe.objective).draws
    parameters = sum(p.numel() for p in recipe.model.parameters())
    scheduled = any(isinstance(term.weight, Schedule) for term in as_objective(recipe.objective).terms)
    work = size * draws * flops_per_row(recipe, schema)
    return TrainConfig(
        epochs=epochs,
        batch_size=int(estimator.batch_size),
        learning_rate=estimator.learning_rate,
        weight_decay=estimator.weight_decay,
        clip=estimator.clip,
        patience=auto_patience(per_epoch) if estimator.patience == "auto" else int(estimator.patience),
        warmup=estimator.warmup if scheduled else 0.0,
        seed=seed,
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
