"""The training loop: updates, validation, selection of the best weights, early stopping, lifecycle hooks."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from isthmus.errors import Interrupted
from isthmus.latent_model import Model
from isthmus.memory_blocks import in_blocks, memory_of_an_update
from isthmus.objective import Objective, Schedule, Term, as_objective, weight_at
from isthmus.random_streams import Stream, current_stream, drawing_from, generator, seeded
from isthmus.train.callback_calls import CallbackCalls, CallbackFailed
from isthmus.train.checkpoint import Checkpointer
from isthmus.train.config import TrainConfig, learning_rate_factor
from isthmus.train.device_data import DeviceDataset
from isthmus.train.failures import gradient_error, validation_error, warn_of_global_draws
from isthmus.train.history import History
from isthmus.train.hooks import hooks, load_named
from isthmus.train.mixed_precision import bf16_parameters
from isthmus.train.optimizer import EMA_INTERVAL_STEPS, EMA_START_STEPS, FLUSH_INTERVAL_STEPS, FlatOptimizer
from isthmus.train.progress import ProgressCallback
from isthmus.train.runtime import interruptible, torch_threads
from isthmus.train.update import Step, Update
from isthmus.train.user_threads import user_threads_run

MAX_VALIDATIONS = 200
"""Validation passes in a training run, approximately at most."""
VALIDATION_BATCH_SIZE = 256
"""Rows of a validation batch, at least."""
VALIDATION_SEED = 20_140_501
"""All validation passes have the same noise, so that their differences are the model's."""
VALIDATION_GROUPS, GROUP_READS, GROUP_ROWS = 32, 8, 2048
"""Groups of validation rows by which the start is compared, how often each row is read under other noise at most, and
the rows that are read at once."""
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
        rule = (config.clip, config.optimizer, config.weight_decay)
        critic, low = self.step_module.critic_parameters, bf16_parameters(model) if config.precision == "bf16" else ()
        self.optimizer = FlatOptimizer(self.step_module, *rule, critic=critic, player=objective.player, in_bf16=low)
        self.update = Update(self.step_module, self.optimizer, rows, self.batch_size)
        self.order = torch.zeros(len(rows), dtype=torch.int64, device=self.device)  # this epoch's order of the rows
        self.step = 0  # updates made
        self.seconds = 0.0
        self.began, self.out_of_time = time.monotonic(), False
        self.seconds_before = 0.0  # of training before an interruption
        self.history: list[dict[str, Any]] = History()
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
        progress = self.schedule_progress(progress)
        self.update(self.order[position * self.batch_size : (position + 1) * self.batch_size], progress, rate)
        self.step += 1
        spent = self.seconds_before + time.monotonic() - self.began
        self.out_of_time = spent >= self.config.max_seconds and self.step < self.total_steps
        if self.step % EMA_INTERVAL_STEPS == 0 or self.step <= EMA_START_STEPS or self.step == self.total_steps:
            self.optimizer.update_ema(self.step)
        if self.step % FLUSH_INTERVAL_STEPS == 0:
            self.optimizer.flush_denormals()

    def schedule_progress(self, progress: float) -> float:
        """The progress at which the terms' weights are read: their last values where training is continued."""
        return 1.0 if self.config.continued else progress

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
        raise gradient_error(step, self.total_steps, self.means(), self.config.learning_rate)

    def validate(self) -> dict[str, float]:
        """Means over the validation rows, at the terms' final weights and under one fixed noise, nats."""
        assert self.validation is not None
        # Few rows are read several times, each time under other noise.
        order = torch.arange(len(self.validation), device=self.device)
        order = order.repeat(max(1, VALIDATION_BATCH_SIZE // len(self.validation)))
        size = max(self.batch_size, VALIDATION_BATCH_SIZE)
        parts = in_blocks(lambda size: list(zip(order.split(size), self.means_of(order.split(size)))), size)
        sums = [len(part) * means for part, means in parts]
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
        rate = self.config.learning_rate
        if error := validation_error(self.step, self.total_steps, values, rate, selected=bool(self.best)):
            raise error

    def end_epoch(self) -> bool:
        """Record the epoch, validate the averaged weights and keep the best; True if training should stop early.

        An epoch that the time ends may lack updates.
        """
        epoch, progress = -(-self.step // self.steps_per_epoch), self.step / self.total_steps
        last = self.out_of_time or self.step == self.total_steps
        record: dict[str, Any] = {"epoch": epoch, "step": self.step, "progress": progress, "seconds": self.seconds}
        record |= self.means()
        for term in self.objective.terms:
            assert isinstance(term, Term)
            if isinstance(term.weight, Schedule) or term.weight != 1:
                record[f"weight_{term.name}"] = weight_at(term.weight, self.schedule_progress(progress))
        for total in self.update.sums:
            total.zero_()
        stop = False
        every = max(1, self.config.epochs // MAX_VALIDATIONS)
        if self.validation is not None and (epoch % every == 0 or last):
            with self.optimizer.averaged():
                values = self.validate()
                self.raise_if_validation_nonfinite(values)
                self.keep_if_best(values)
            record |= {f"valid_{name}": value for name, value in values.items()}
            waited = self.step - max(self.best_step, self.config.warmup * self.total_steps)
            stop = 0 < self.config.patience <= waited
        if self.out_of_time:
            record["out_of_time"], stop = True, True
        self.history.append(record)
        if stop or last:
            self.choose_weights()
        return stop

    def keep_if_best(self, values: dict[str, float]) -> None:
        """Keep the weights of the lowest validation loss; with a critic, whose terms it leaves out, the latest."""
        if values["loss"] < self.best_value or not self.best or self.objective.critics:
            self.best_value, self.best_step = values["loss"], self.step
            self.best = {name: value.clone() for name, value in self.weights().items()}

    def choose_weights(self) -> None:
        """At the end, keep the weights before training where these are to be kept unless validated weights are better.

        They are a closed form, or those of the fit that is continued.
        """
        if self.start and not (self.best and (self.objective.critics or self.worth_training())):
            self.best = self.start
            if self.history:
                self.history[-1]["kept_start"] = True

    def group_losses(self, weights: dict[str, Tensor]) -> Tensor:
        """(g,) losses of groups of validation rows under these weights, each row read several times."""
        assert self.validation is not None
        self.load(weights)
        rows, apart = torch.arange(len(self.validation), device=self.device), self.objective.row_by_row
        groups = rows.chunk(VALIDATION_GROUPS) if apart else rows.split(max(self.batch_size, VALIDATION_BATCH_SIZE))
        reads = min(GROUP_READS, max(1, GROUP_ROWS // len(groups[0]))) if apart else 1
        with self.optimizer.full_precision():
            return torch.stack(self.means_of([group.repeat(reads) for group in groups]))[:, 0]

    def worth_training(self) -> bool:
        """Whether the best weights, which are better by chance already, beat the start by more than its margin."""
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
        self.seconds_before = self.seconds
        self.best_value, self.best_step = values["best_value"], values["best_step"]
        current_stream().restore(tensors, self.device)


def fit(
    model: Model,
    rows: DeviceDataset,
    objective: Objective | Term,
    config: TrainConfig,
    *,
    validation: DeviceDataset | None = None,
    checkpointer: Checkpointer | None = None,
    callback: ProgressCallback | None = None,
    callbacks: CallbackCalls | None = None,
    start: dict[str, Tensor] | None = None,
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
        callback: called a few times a second, to show progress.
        callbacks: the user's callbacks, called at the begin, after each epoch and at the end.
        start: parameters and buffers by name to go on from, which replace what `begin` left.

    Returns:
        The history: a dict for each epoch with its number, step, progress, seconds, and the means of the loss and of
        each term in nats.

    Raises:
        TrainingError: if a number is not finite. The model then has its last good weights.
        Interrupted: on Ctrl-C, once the update that is being made is done. The model then has its best weights so far;
            a checkpointer has written the state from which training goes on.
        CallbackFailed: if a callback raises an exception. The model then has its best weights so far.
    """
    callbacks = callbacks or CallbackCalls((), lambda history: None)
    objective = as_objective(objective).to(device=rows.device, dtype=rows.dtype)
    with torch_threads(config.threads):
        stopped: Interrupted | CallbackFailed | None = None
        with interruptible(always=checkpointer is not None) as interrupted:
            for begin in hooks("begin", model, objective):
                with seeded(config.seed, begin.__self__):
                    begin(rows, config.seed)
            load_named(model, start or {})
            stream = Stream(config.seed)
            with contextlib.ExitStack() as stack:
                stack.enter_context(drawing_from(stream))
                stack.enter_context(memory_of_an_update(config.batch_size))
                trainer = Trainer(model, objective, rows, config, validation)
                beside = False
                if not trainer.step_module.is_ours:
                    stack.enter_context(stream.fence(rows.device))
                    beside = user_threads_run()
                if checkpointer:
                    checkpointer.resume(trainer)
                model.train()
                trainer.prepare()
                end = "failed"
                try:
                    callbacks.begin(trainer)
                    end = run(trainer, checkpointer, callback, interrupted, callbacks)
                except (Interrupted, CallbackFailed) as error:
                    trainer.choose_weights()
                    stopped = error
                    end = "interrupted" if isinstance(error, Interrupted) else end
                finally:  # also after an error: the model gets its best, or last good, weights
                    model.eval()
                    trainer.finish()
                    if stopped is None and end == "failed":
                        callbacks.end(trainer, end)
        if stream.drew_globally and (beside or user_threads_run()):
            warn_of_global_draws()
        for finish in hooks("finish", model, objective):
            with seeded(config.seed, model):
                finish(model, rows, config.seed)
        callbacks.end(trainer, end)
    if stopped is None and interrupted() and not checkpointer:
        stopped = Interrupted("stopped when training had ended; the model is complete", trainer.history)
    if stopped is not None:
        raise stopped
    return trainer.history


def run(
    trainer: Trainer,
    checkpointer: Checkpointer | None,
    callback: ProgressCallback | None,
    interrupted: Any,
    callbacks: CallbackCalls,
) -> str:
    """Make the remaining updates; returns how training ended, in the words of `FitState`."""
    called = time.perf_counter()
    check_interval = 1 if trainer.device.type == "cpu" else GPU_CHECK_INTERVAL_STEPS
    while trainer.step < trainer.total_steps:
        started = time.perf_counter()
        trainer.train_step()
        epoch_ended = trainer.step % trainer.steps_per_epoch == 0 or trainer.out_of_time
        if epoch_ended or trainer.step % check_interval == 0:
            trainer.raise_if_nonfinite()
        now = time.perf_counter()
        trainer.seconds += now - started
        stop = epoch_ended and trainer.end_epoch()
        if epoch_ended and checkpointer:
            checkpointer.append(trainer.history[-1])
        at_end = epoch_ended and trainer.step == trainer.total_steps
        if callback and (now - called > CALLBACK_INTERVAL_SECONDS or at_end):
            called = now
            values = trainer.history[-1] if epoch_ended else trainer.means()
            callback(trainer.step / trainer.total_steps, values, trainer.seconds)
        if epoch_ended and callbacks.epoch_ended(trainer) and not stop and not at_end:
            stop = True
            trainer.choose_weights()
        if stop:  # an interrupt then comes too late to save a state that would go on
            return "out of time" if trainer.out_of_time else "early"
        if checkpointer and (checkpointer.due() or interrupted()):
            trainer.raise_if_nonfinite()
            checkpointer.save(trainer)
        if interrupted():
            kept = f"the model has its {'best ' if trainer.best else ''}weights so far"
            message = f"stopped at step {trainer.step} of {trainer.total_steps}; {kept}"
            raise Interrupted(message, trainer.history)
    return "complete"
