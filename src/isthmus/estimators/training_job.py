"""A training run, fully determined: it trains, and gives the fitted model."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from isthmus.estimators.code_mixture import can_be_placed, code_mixture
from isthmus.estimators.fit_warnings import warn_out_of_time
from isthmus.estimators.hyperparameters import Hyperparameters
from isthmus.estimators.linear_model import fit_linear_model, independent_columns
from isthmus.estimators.linear_rows import as_dataset, linear_rows, some_rows
from isthmus.estimators.linear_start import start_at_linear_model
from isthmus.estimators.recipe import Recipe
from isthmus.examples import Examples
from isthmus.fitted import FittedModel
from isthmus.latent_model import LatentModel
from isthmus.objective import as_objective, weight_at
from isthmus.priors import Mixture, StandardNormal
from isthmus.schema import NUMBERS_AT_ONCE, Schema
from isthmus.train.callback_calls import CallbackCalls
from isthmus.train.checkpoint import Checkpointer
from isthmus.train.config import TrainConfig
from isthmus.train.device_data import DeviceDataset
from isthmus.train.history import History
from isthmus.train.progress import EpochLines, ProgressBar, ProgressCallback
from isthmus.train.runtime import (
    one_blas_thread,
    torch_threads,
)
from isthmus.train.trainer import fit

EXACT_MARGIN = 1.0
"""Standard errors by which training must be better than the exact optimum of a linear model."""


@dataclass
class TrainingJob:
    """A training run, fully determined: data, model, loss and configuration; `train` runs it.

    With `start`, the parameters and buffers of a trained model, training goes on from these, after `earlier_epochs`.
    """

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
    start: dict[str, Tensor] | None = None
    earlier_epochs: int = 0
    began: float = field(default_factory=time.monotonic)

    @property
    def settings(self) -> dict[str, Any]:
        """What was chosen for the machine; a resumed run and the trained model keep it."""
        config = self.config
        settings = {
            "threads": config.threads,
            "precision": config.precision,
            "compile": config.compile,
            "device": str(self.device),
            "epochs": config.epochs,
            "chosen": self.chosen,
        }
        return settings if self.start is None else settings | {"earlier_epochs": self.earlier_epochs}

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
        x, c, weight = linear_rows(self.schema, self.some_train_rows(), seed)
        per_column = self.schema.likelihood == "diagonal_normal"
        by_column = self.estimator.initialization == "columns" and c is None and model.code.size == x.shape[1]
        linear = (
            independent_columns(x, weight) if by_column else fit_linear_model(x, c, model.code.size, per_column, weight)
        )
        if not start_at_linear_model(model, linear):
            return None
        assert isinstance(model, LatentModel)
        prior, whole = model.prior, self.inputs.observed is None
        named = isinstance(self.estimator.prior, str)  # a prior of the user's own is left alone
        # A mixture of more components than the rows can place starts at random.
        if isinstance(prior, Mixture) and c is None and named and whole and can_be_placed(len(prior.logits), len(x)):
            full = prior.slopes is not None
            prior.start_at(*code_mixture(x, linear, len(prior.logits), seed, full, weight))
        exact = isinstance(prior, StandardNormal) and not by_column and whole
        return EXACT_MARGIN if exact and model.likelihood.family.normal_scale() is not None else 0.0

    def train(
        self,
        checkpointer: Checkpointer | None = None,
        callback: ProgressCallback | None = None,
        callbacks: Sequence[Any] = (),
    ) -> list[dict[str, Any]]:
        """Train and return the history; with a `checkpointer` from its last checkpoint, if there is one."""
        if self.recipe.solve is not None:
            weight = None if self.inputs.weight is None else self.inputs.weight[self.train_index]
            with torch.no_grad(), torch_threads(self.config.threads):
                self.recipe.solve(self.blocks(), weight)
            self.recipe.model.eval()
            return History()
        rows = self.to_device(self.inputs, self.train_index if len(self.valid_index) else None)
        validation = None
        if len(self.valid_index):
            validation = self.to_device(self.inputs, self.valid_index)
        elif self.own_validation is not None:
            validation = self.to_device(self.own_validation)
        margin: float | None = 0.0  # trained weights stay unless others are better
        if self.start is None:
            with one_blas_thread:
                margin = None if self.estimator.initialization == "random" else self.start_linear()
        left = self.config.max_seconds - (time.monotonic() - self.began)
        history = fit(
            self.recipe.model,
            rows,
            self.recipe.objective,
            replace(self.config, start_margin=margin, max_seconds=left),
            validation=validation,
            checkpointer=checkpointer,
            callback=callback,
            callbacks=CallbackCalls(callbacks, self.fitted),
            start=self.start,
        )
        warn_out_of_time(history, self.config)
        return history

    def blocks(self) -> Iterator[Tensor]:
        """The training rows (m, *X) in the units that networks read, some at a time."""
        count = max(1, NUMBERS_AT_ONCE // max(1, self.schema.size))
        for start in range(0, len(self.train_index), count):
            rows = self.to_device(self.inputs, self.train_index[start : start + count])
            yield rows.batch(torch.arange(len(rows), device=self.device)).x

    def run(self, verbose: int = 0, callbacks: Sequence[Any] = ()) -> FittedModel:
        """Train and return the trained model, with a progress bar (`verbose` 1) or a line for each epoch (2)."""
        if verbose == 1:
            with ProgressBar() as bar:
                return self.fitted(self.train(callback=bar, callbacks=callbacks))
        lines = [EpochLines()] if verbose else []
        return self.fitted(self.train(callbacks=[*lines, *callbacks]))

    def fitted(self, history: list[dict[str, Any]]) -> FittedModel:
        """The trained model with its data schema."""
        settings = self.settings
        if history and history[-1].get("out_of_time"):
            settings["out_of_time"] = True
        return fitted_model(self.estimator, self.recipe, self.schema, settings, self.config.seed, history)


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
    recipe.model.estimator_name = type(estimator).__name__
    return FittedModel(
        schema,
        recipe.model,
        settings,
        seed,
        name=type(estimator).__name__,
        fields=estimator.values(),
        history=History(history),
        feature_names=schema.names,
        closed_form=recipe.solve is not None,
        loss_weights={term.name: weight_at(term.weight, 1.0) for term in terms},
        kl_terms=tuple(term.name for term in terms if term.is_kl),
    )
