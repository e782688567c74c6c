"""Callbacks of `fit`: watch training epoch by epoch, stop it, or send its losses to TensorBoard or MLflow.

A callback is any object with one or more of three methods, each of which is given a `FitState`:

    class StopBelow:
        def on_epoch_end(self, state):
            return state.record["loss"] < 3.0  # True stops training; the best weights so far are kept

    VAE().fit(X, callbacks=[StopBelow(), TensorBoard("runs/tensorboard")])

`on_fit_begin` comes before the first update, `on_epoch_end` after each epoch, and `on_fit_end` at the end, however it
came, to all callbacks that were begun. An exception that a callback raises stops training: the estimator is fitted with
the best weights so far, and the exception is raised again. Callbacks are an argument of `fit` and no hyperparameter:
they belong to one fit and hold open files, which `sklearn.base.clone` would copy and `save` would have to write.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isthmus.errors import InputError

METHODS = ("on_fit_begin", "on_epoch_end", "on_fit_end")
"""What a callback may have, in the order of the calls."""
TAGS = ("epoch", "step", "progress", "seconds")
"""Numbers of a record that are no loss, term or weight."""


@dataclass(frozen=True)
class FitState:
    """What a callback reads of a fit.

    Args:
        model: a `FittedModel` with the averaged weights of this moment, and after training with those that were kept.
            It is for reading, and during the call only: its network goes on training.
        epochs: epochs that are planned.
        epoch: epochs that were made.
        updates: updates of the weights that were made.
        record: the epoch's entry of `history_`: means of the loss and of each term in nats, those of the validation
            rows as `valid_...`; empty before the first epoch.
        end: how training ended: "complete", "early" (patience or a callback), "out of time", "interrupted" or "failed";
            empty while it goes on.
    """

    model: Any
    epochs: int
    epoch: int
    updates: int
    record: Mapping[str, Any]
    end: str = ""


def check_callbacks(callbacks: Any) -> list[Any]:
    """The callbacks as a list; raises InputError for objects that have none of the methods."""
    if callbacks is None:
        return []
    if not isinstance(callbacks, list | tuple):
        callbacks = [callbacks]
    for callback in callbacks:
        if isinstance(callback, type) or not any(callable(getattr(callback, name, None)) for name in METHODS):
            got = f"the class {callback.__name__}" if isinstance(callback, type) else type(callback).__name__
            raise InputError(f"callbacks must be objects with any of the methods {', '.join(METHODS)}, got {got}.")
    return list(callbacks)


def numbers_of(record: Mapping[str, Any]) -> dict[str, float]:
    """The losses, terms and weights of a record by name."""
    return {name: float(value) for name, value in record.items() if name not in TAGS}


def settings_of(model: Any) -> dict[str, Any]:
    """The hyperparameters of a fitted model as text or numbers; modules by the name of their class."""
    plain = (str, int, float, bool, type(None))
    return {
        k: v if isinstance(v, plain) else str(v) if isinstance(v, tuple | list) else type(v).__name__
        for k, v in {"model": model.name, **model.fields}.items()
    }


class TensorBoard:
    """Writes the losses of each epoch for TensorBoard (`tensorboard --logdir FOLDER`); needs `pip install tensorboard`.

    Args:
        folder: where to; each fit should have its own.
    """

    def __init__(self, folder: str | Path):
        self.folder = folder

    def on_fit_begin(self, state: FitState) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise InputError("TensorBoard is not installed. Run: pip install tensorboard") from None
        self.writer = SummaryWriter(str(self.folder))
        settings = "\n".join(f"    {name}: {value}" for name, value in settings_of(state.model).items())
        self.writer.add_text("hyperparameters", settings)

    def on_epoch_end(self, state: FitState) -> None:
        for name, value in numbers_of(state.record).items():
            self.writer.add_scalar(name, value, state.updates)

    def on_fit_end(self, state: FitState) -> None:
        self.writer.close()


class MLflow:
    """Logs hyperparameters and the losses of each epoch to MLflow; needs `pip install mlflow`.

    Into the active run if there is one, which stays open; else into a new run, which is ended.

    Args:
        experiment: name of the experiment; None for the active one.
        run_name: name of a new run.
    """

    STATUS = {"interrupted": "KILLED", "failed": "FAILED"}
    """MLflow's names of ends other than FINISHED."""

    def __init__(self, experiment: str | None = None, run_name: str | None = None):
        self.experiment, self.run_name = experiment, run_name

    def on_fit_begin(self, state: FitState) -> None:
        try:
            import mlflow
        except ImportError:
            raise InputError("MLflow is not installed. Run: pip install mlflow") from None
        self.mlflow, self.owns_run = mlflow, mlflow.active_run() is None
        if self.experiment is not None:
            mlflow.set_experiment(self.experiment)
        if self.owns_run:
            mlflow.start_run(run_name=self.run_name)
        mlflow.log_params(settings_of(state.model))

    def on_epoch_end(self, state: FitState) -> None:
        self.mlflow.log_metrics(numbers_of(state.record), step=state.updates)

    def on_fit_end(self, state: FitState) -> None:
        if self.owns_run:
            self.mlflow.end_run(status=self.STATUS.get(state.end, "FINISHED"))
