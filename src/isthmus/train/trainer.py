"""The training loop: updates, validation, selection of the best weights, early stopping, lifecycle hooks."""

from __future__ import annotations

import contextlib
import math
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from isthmus.errors import Interrupted, TrainingError
from isthmus.latent_model import Model
from isthmus.objective import Objective, Schedule, Term, as_objective, weight_at
from isthmus.random_streams import Stream, current_stream, drawing_from, generator, seeded
from isthmus.train.checkpoint import Checkpointer
from isthmus.train.config import TrainConfig, learning_rate_factor
from isthmus.train.device_data import DeviceDataset
from isthmus.train.optimizer import EMA_INTERVAL_STEPS, EMA_START_STEPS, FLUSH_INTERVAL_STEPS, FlatAdam
from isthmus.train.progress import ProgressCallback
from isthmus.train.runtime import interruptible, torch_threads
from isthmus.train.update import Step, Update

MAX_VALIDATIONS = 200
"""Validation passes in a training run, approximately at most."""
VALIDATION_BATCH_SIZE = 256
"""Rows of a validation batch, at least."""
VALIDATION_SEED = 20_140_501
"""All validation passes have the same noise, so that their differences are the model's."""
VALIDATION_GROUPS, GROUP_READS = 32, 8
"""Groups of validation rows by which the start is compared, and how often each row is read under other noise."""
CALLBACK_INTERVAL_SECONDS = 0.2
"""Wall-clock time between two calls of the progress callback."""
GPU_CHECK_INTERVAL_STEPS = 50
"""Updates between two checks for non-finite gradients on a GPU, where reading a number waits for all kernels."""


class Trainer:
    """The state of a training run and what one update does to it.

    Args:
        model: trained in place.
        objective: the loss.
        rows: the training rows.
        config: how to train.
        validation: rows by whose loss the best weights are selected; None keeps the last ones.
    """

    def __init__(
        self,
        model: Model,
        objective: Objective,
        rows: DeviceDataset,
        config: TrainConfig,
        validation: DeviceDataset | None,
    ):
        self.model, self.objective, self.rows = model, objective, rows
        self.config, self.validation = config, validation
        self.device = rows.device
        self.batch_size = min(config.batch_size, len(rows))
        self.steps_per_epoch = max(1, len(rows) // self.batch_size)
        self.total_steps = config.epochs * self.steps_per_epoch
        self.step_module = Step(model, objective)
        critic = self.step_module.critic_parameters
        self.optimizer = FlatAdam(
            self.step_module, config.clip, weight_decay=config.weight_decay, critic=critic, player=objective.player
        )
        self.update = Update(self.step_module, self.optimizer, rows, self.batch_size)
        self.order = torch.zeros(len(rows), dtype=torch.int64, device=self.device)  # this epoch's order of the rows
        self.step = 0  # updates made
        self.seconds = 0.0
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Tensor] = {}
        self.best_value, self.best_step = math.inf, 0
        kept = config.start_margin is not None and validation is not None
        self.start = {name: value.clone() for name, value in self.weights().items()} if kept else {}

    def prepare(self) -> None:
        """Compile or record the update where the configuration says so; the state stays as it is."""
        self.update.prepare(self.config.compile, self.config.must_compile)

    def train_step(self) -> None:
        """Make one update."""
        position = self.step % self.steps_per_epoch
        if position == 0:
            torch.randperm(len(self.rows), generator=generator(self.device), out=self.order)
        progress = self.step / self.total_steps
        rate = self.config.learning_rate * learning_rate_factor(progress, self.total_steps)
        self.update(self.order[position * self.batch_size : (position + 1) * self.batch_size], progress, rate)
        self.step += 1
        if self.step % EMA_INTERVAL_STEPS == 0 or self.step <= EMA_START_STEPS or self.step == self.total_steps:
            self.optimizer.update_ema(self.step)
        if self.step % FLUSH_INTERVAL_STEPS == 0:
            self.optimizer.flush_denormals()

    def means(self) -> dict[str, float]:
        """This epoch's means of the loss and the terms, nats; the only place where the loop reads them back."""
        updates = (self.step - 1) % self.steps_per_epoch + 1
        values = (torch.stack(self.update.sums) / updates).tolist()
        return dict(zip(self.step_module.names, values))

    def raise_if_nonfinite(self) -> None:
        """Raise TrainingError if a gradient was not finite; no update has been applied since then."""
        if not self.optimizer.nonfinite.item():
            return
        step = int(self.optimizer.spans[0].steps.item()) + 1
        bad = [name for name, value in self.means().items() if not math.isfinite(value) and name != "loss"]
        what = f"the term {bad[0]!r} is not finite" if bad else "the gradient of the loss is not finite"
        cause = (
            f"the learning rate of {self.config.learning_rate:g} is too high"
            if step > 1
            else "the data or the network's outputs are too large for its precision"
        )
        slower = min(1e-3, self.config.learning_rate / 10)
        raise TrainingError(
            f"training stopped at step {step} of {self.total_steps}: {what}. Probably {cause}. "
            f"Try learning_rate={slower:g} or scaling='standard'. The last finite weights are kept."
        )

    def validate(self) -> dict[str, float]:
        """Means over the validation rows, at the terms' final weights and under one fixed noise, nats."""
        assert self.validation is not None
        # Few rows are read several times, each time under other noise.
        order = torch.arange(len(self.validation), device=self.device)
        order = order.repeat(max(1, VALIDATION_BATCH_SIZE // len(self.validation)))
        parts = order.split(max(self.batch_size, VALIDATION_BATCH_SIZE))
        sums = [len(part) * means for part, means in zip(parts, self.means_of(parts))]
        return dict(zip(["loss", *self.objective.names], (torch.stack(sums).sum(0) / len(order)).tolist()))

    @torch.no_grad()
    def means_of(self, parts: Sequence[Tensor]) -> list[Tensor]:
        """The loss and each term as means over parts of the validation rows, on the CPU, under the same noise."""
        assert self.validation is not None
        was_training = self.model.training
        self.model.eval()
        end, means = torch.ones_like(self.update.progress), []
        with seeded(VALIDATION_SEED, self.step_module):
            for part in parts:
                _, values = self.step_module(self.validation.batch(part), end, train=False)
                means.append(torch.stack(values).double().cpu())
        self.model.train(was_training)
        return means

    def raise_if_validation_nonfinite(self, values: dict[str, float]) -> None:
        """Raise TrainingError for validation values that are not finite: they cannot select weights."""
        bad = [name for name, value in values.items() if not math.isfinite(value)]
        if bad:
            kept = "The best weights so far are kept" if self.best else "No weights were selected before"
            raise TrainingError(
                f"training stopped at step {self.step} of {self.total_steps}: {bad[-1]!r} of the validation rows is "
                f"not finite. Probably the learning rate of {self.config.learning_rate:g} is too high, or a row lies "
                f"far outside the training data (see isthmus check). {kept}."
            )

    def end_epoch(self) -> bool:
        """Record the epoch, validate the averaged weights and keep the best; True if training should stop early."""
        epoch, progress = self.step // self.steps_per_epoch, self.step / self.total_steps
        record: dict[str, Any] = {"epoch": epoch, "step": self.step, "progress": progress, "seconds": self.seconds}
        record |= self.means()
        for term in self.objective.terms:
            assert isinstance(term, Term)
            if isinstance(term.weight, Schedule) or term.weight != 1:
                record[f"weight_{term.name}"] = weight_at(term.weight, progress)
        for total in self.update.sums:
            total.zero_()
        stop = False
        every = max(1, self.config.epochs // MAX_VALIDATIONS)
        if self.validation is not None and (epoch % every == 0 or epoch == self.config.epochs):
            with self.optimizer.averaged():
                values = self.validate()
                self.raise_if_validation_nonfinite(values)
                self.keep_if_best(values)
            record |= {f"valid_{name}": value for name, value in values.items()}
            waited = self.step - max(self.best_step, self.config.warmup * self.total_steps)
            stop = 0 < self.config.patience <= waited
        if (stop or self.step == self.total_steps) and self.keep_start_unless_bettered():
            record["kept_start"] = True
        self.history.append(record)
        return stop

    def keep_if_best(self, values: dict[str, float]) -> None:
        """Keep the weights if their validation loss is the lowest so far."""
        if values["loss"] < self.best_value or not self.best:
            self.best_value, self.best_step = values["loss"], self.step
            self.best = {name: value.clone() for name, value in self.weights().items()}

    def keep_start_unless_bettered(self) -> bool:
        """Keep the weights before training, where they are a closed form that no validated weights better."""
        kept = bool(self.start) and not (self.best and self.worth_training())
        self.best = self.start if kept else self.best
        return kept

    def group_losses(self, weights: dict[str, Tensor]) -> Tensor:
        """(g,) losses of groups of validation rows under these weights, each row read several times."""
        assert self.validation is not None
        self.load(weights)
        groups = torch.arange(len(self.validation), device=self.device).chunk(VALIDATION_GROUPS)
        return torch.stack(self.means_of([group.repeat(GROUP_READS) for group in groups]))[:, 0]

    def worth_training(self) -> bool:
        """Whether the best weights are better than the start by more than its margin, over groups of rows.

        The best of many weights is better by chance already.
        """
        assert self.config.start_margin is not None
        gain = self.group_losses(self.start) - self.group_losses(self.best)
        if not gain.isfinite().all():  # the loss of the best weights is finite: that of the start is not
            return True
        error = gain.std() / math.sqrt(len(gain)) if len(gain) > 1 else 0.0
        return bool(gain.mean() > self.config.start_margin * error)

    def load(self, weights: dict[str, Tensor]) -> None:
        """Load weights by the names that `weights` gives them."""
        for name, value in self.weights().items():
            if name in weights:
                value.copy_(weights[name])

    def weights(self) -> dict[str, Tensor]:
        """Parameters and buffers by name."""
        named = zip(self.optimizer.names, self.optimizer.views(self.optimizer.flat))
        return {**{f"weight/{name}": view for name, view in named}, **self.update.buffers()}

    @torch.no_grad()
    def finish(self) -> None:
        """Load the best averaged weights, or the last where none were selected, and release the flat buffers."""
        self.optimizer.load_ema()
        self.load(self.best)
        self.optimizer.unflatten()

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything that the rest of training depends on, as tensors and as values for JSON."""
        tensors = {**self.optimizer.state(), **self.update.buffers()}
        tensors |= {"order": self.order, "sums": torch.stack(self.update.sums)}
        tensors |= {f"best/{name}": value for name, value in self.best.items()} | current_stream().state(self.device)
        return tensors, {
            "step": self.step,
            "seconds": self.seconds,
            "best_value": self.best_value,
            "best_step": self.best_step,
        }

    @torch.no_grad()
    def restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Load what `state` returned; KeyError, RuntimeError or ValueError if it belongs to something else."""
        every = torch.arange(len(self.rows))
        if values["step"] > self.total_steps or not torch.equal(tensors["order"].sort().values, every):
            raise ValueError("its step or its order of the rows is not one of this run")
        self.optimizer.restore(tensors)
        for name, buffer in self.update.buffers().items():
            buffer.copy_(tensors[name])
        self.order.copy_(tensors["order"])
        for total, value in zip(self.update.sums, tensors["sums"]):
            total.copy_(value)
        self.best = {name[5:]: value.to(self.device) for name, value in tensors.items() if name.startswith("best/")}
        self.step, self.seconds = values["step"], values["seconds"]
        self.best_value, self.best_step = values["best_value"], values["best_step"]
        current_stream().restore(tensors, self.device)


def hooks(name: str, *modules: nn.Module) -> Iterator[Any]:
    """The methods of this name of all submodules, each submodule once."""
    submodules = dict.fromkeys(submodule for module in modules for submodule in module.modules())
    return (getattr(submodule, name) for submodule in submodules if callable(getattr(submodule, name, None)))


def fit(
    model: Model,
    rows: DeviceDataset,
    objective: Objective | Term,
    config: TrainConfig,
    *,
    validation: DeviceDataset | None = None,
    checkpointer: Checkpointer | None = None,
    callback: ProgressCallback | None = None,
) -> list[dict[str, Any]]:
    """Train a model in place.

    Every submodule of the model and the objective may have two hooks, each run under its own random generators:
    `begin(rows, seed)` before training, also before a checkpoint is loaded, and `finish(model, rows, seed)` after the
    best weights were loaded; `finish` is not called if training raised an error.

    Args:
        model: a model on the device of `rows`.
        rows: the training rows.
        objective: the loss; its critics are moved to the device and dtype of `rows`.
        config: how to train.
        validation: rows by whose loss the best weights are selected.
        checkpointer: keeps the history and checkpoints on the disk; training continues from the last one.
        callback: called a few times a second.

    Returns:
        The history: a dict for each epoch with its number, step, progress, seconds, and the means of the loss and of
        each term in nats.

    Raises:
        TrainingError: if a number is not finite. The model then has its last good weights.
        Interrupted: on Ctrl-C, once the update that is being made is done. A checkpoint is then written if there is a
            checkpointer; without one the model has its best weights so far.
    """
    objective = as_objective(objective).to(device=rows.device, dtype=rows.dtype)
    with torch_threads(config.threads):
        stopped: Interrupted | None = None
        with interruptible(always=checkpointer is not None) as interrupted:
            for begin in hooks("begin", model, objective):
                with seeded(config.seed, begin.__self__):
                    begin(rows, config.seed)
            stream = Stream(config.seed)
            with contextlib.ExitStack() as stack:
                stack.enter_context(drawing_from(stream))
                trainer = Trainer(model, objective, rows, config, validation)
                if not trainer.step_module.is_ours:
                    stack.enter_context(stream.fence(rows.device))
                if checkpointer:
                    checkpointer.resume(trainer)
                model.train()
                trainer.prepare()
                try:
                    run(trainer, checkpointer, callback, interrupted)
                except Interrupted as error:
                    if checkpointer:
                        raise
                    trainer.keep_start_unless_bettered()
                    stopped = error
                finally:  # also after an error: the model gets its best, or last good, weights
                    model.eval()
                    trainer.finish()
        if stream.drew_globally and threading.current_thread() is not threading.main_thread():
            warn_of_global_draws()
        for finish in hooks("finish", model, objective):
            with seeded(config.seed, model):
                finish(model, rows, config.seed)
    if stopped is None and interrupted() and not checkpointer:
        stopped = Interrupted("stopped when training had ended; the model is complete", trainer.history)
    if stopped is not None:
        raise stopped
    return trainer.history


def warn_of_global_draws() -> None:
    """Warn of draws that other threads may have changed."""
    warnings.warn(
        "A network or a term drew from torch's global random generator, as dropout does. Its state is restored, but "
        "where other threads drew at the same time, the same seed gives other weights.",
        UserWarning,
        stacklevel=3,
    )


def run(
    trainer: Trainer, checkpointer: Checkpointer | None, callback: ProgressCallback | None, interrupted: Any
) -> None:
    """Make the remaining updates."""
    called = time.perf_counter()
    check_interval = 1 if trainer.device.type == "cpu" else GPU_CHECK_INTERVAL_STEPS
    while trainer.step < trainer.total_steps:
        started = time.perf_counter()
        trainer.train_step()
        epoch_ended = trainer.step % trainer.steps_per_epoch == 0
        if epoch_ended or trainer.step % check_interval == 0:
            trainer.raise_if_nonfinite()
        now = time.perf_counter()
        trainer.seconds += now - started
        stop = False
        if epoch_ended:
            stop = trainer.end_epoch()
            if checkpointer:
                checkpointer.append(trainer.history[-1])
        at_end = epoch_ended and trainer.step == trainer.total_steps
        if callback and (now - called > CALLBACK_INTERVAL_SECONDS or at_end):
            called = now
            values = trainer.history[-1] if epoch_ended else trainer.means()
            callback(trainer.step / trainer.total_steps, values, trainer.seconds)
        if stop:  # an interrupt then comes too late to save a state that would go on
            break
        if checkpointer and (checkpointer.due() or interrupted()):
            trainer.raise_if_nonfinite()
            checkpointer.save(trainer)
        if interrupted():
            kept = "the state is saved" if checkpointer else "the model has its best weights so far"
            message = f"stopped at step {trainer.step} of {trainer.total_steps}; {kept}"
            raise Interrupted(message, trainer.history)
