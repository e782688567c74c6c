"""Calls of a user's callbacks during a fit, which change nothing of what is trained."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import nn

from isthmus.callbacks import FitState
from isthmus.train.config import TrainConfig
from isthmus.train.optimizer import FlatOptimizer
from isthmus.train.runtime import seeded


class Training(Protocol):
    """What callbacks are told of: a trainer."""

    model: Any
    config: TrainConfig
    optimizer: FlatOptimizer
    device: torch.device
    step: int
    steps_per_epoch: int
    history: list[dict[str, Any]]


class CallbackFailed(Exception):
    """A callback raised `error`; the model has its best weights so far.

    Args:
        error: what was raised.
        history: of the epochs that were made.
    """

    def __init__(self, error: Exception, history: list[dict[str, Any]]):
        super().__init__(str(error))
        self.error, self.history = error, history


class CallbackCalls:
    """Tells callbacks how a fit goes.

    Args:
        callbacks: objects with any of the methods that `isthmus.callbacks` describes.
        fitted: makes the `FittedModel` that they read of the history so far.
    """

    def __init__(self, callbacks: Sequence[Any], fitted: Callable[[list[dict[str, Any]]], Any]):
        self.callbacks, self.fitted = callbacks, fitted
        self.begun: list[Any] = []

    def begin(self, training: Training) -> None:
        """Call `on_fit_begin` of each."""
        for callback in self.callbacks:
            self._call([callback], "on_fit_begin", training)
            self.begun.append(callback)

    def epoch_ended(self, training: Training) -> bool:
        """Call `on_epoch_end` of all; True if one of them wants to stop."""
        return self._call(self.callbacks, "on_epoch_end", training)

    def end(self, training: Training, end: str) -> None:
        """Call `on_fit_end` once of all that were begun, each of them also if another one raises."""
        begun, self.begun = self.begun, []
        with contextlib.ExitStack() as stack:
            for callback in reversed(begun):
                stack.callback(self._call, [callback], "on_fit_end", training, end)

    def _call(self, callbacks: Sequence[Any], name: str, training: Training, end: str = "") -> bool:
        methods = [method for callback in callbacks if (method := getattr(callback, name, None)) is not None]
        if not methods:
            return False
        history, device = training.history, training.device
        devices = [device] if device.type == "cuda" else []
        with contextlib.nullcontext() if end else for_reading(training.model, training.optimizer):
            state = FitState(
                self.fitted(history),
                training.config.epochs,
                -(-training.step // training.steps_per_epoch),
                training.step,
                dict(history[-1]) if history else {},
                end,
            )
            try:
                with torch.random.fork_rng(devices), seeded(training.config.seed):
                    answers = [bool(method(state)) for method in methods]  # all are called
            except Exception as error:
                raise CallbackFailed(error, history) from error
        return any(answers)


@contextlib.contextmanager
def for_reading(model: nn.Module, optimizer: FlatOptimizer) -> Iterator[None]:
    """Inside the context the model is in evaluation mode and has its averaged weights."""
    model.eval()
    try:
        with optimizer.averaged():
            yield
    finally:
        model.train()
