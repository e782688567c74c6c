"""The training loop."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from isthmus.atomic_io import atomic_write, write_errors
from isthmus.errors import InputError, Interrupted, TrainingError
from isthmus.latent_model import LatentModel
from isthmus.objective import Objective, Schedule, Term, as_objective, at
from isthmus.train.checkpoint import generator_state, load_state, restore_generators, save_state
from isthmus.train.cuda_graph import CudaGraphStep
from isthmus.train.device_data import DeviceDataset
from isthmus.train.optimizer import AVERAGE_EVERY, FORGET_EVERY, MEMORYLESS, FlatAdam
from isthmus.train.runtime import running, seeded
from isthmus.train.update import FunctionalStep, Step

RISE = 0.02
"""Share of the run over which the learning rate rises."""
VALIDATIONS = 200
"""Validation passes in a run, at most about so many."""
CHECKPOINT_SECONDS = 20.0
"""Between two checkpoints, by the clock."""
VALIDATION_SEED = 20_140_501
"""All validation passes of all runs see the same noise, so that their differences are the model's."""


@dataclass(frozen=True)
class TrainConfig:
    """How to train: everything that the course of a run depends on beside the model and the rows."""

    epochs: int
    batch_size: int
    learning_rate: float = 1e-3
    clip: float = 10.0
    patience: float = 1.0
    warmup: float = 0.0
    seed: int = 0
    threads: int = 1
    compile: bool = False


class ProgressCallback(Protocol):
    """Whoever watches a run."""

    def __call__(self, share: float, values: dict[str, float], seconds: float) -> None: ...


class Trainer:
    """The state of a run, and what one update does to it."""

    def __init__(
        self,
        model: LatentModel,
        objective: Objective,
        rows: DeviceDataset,
        plan: TrainConfig,
        validation: DeviceDataset | None,
    ):
        self.model, self.objective, self.rows, self.plan, self.validation = model, objective, rows, plan, validation
        self.size = min(plan.batch_size, len(rows))
        self.per_epoch = max(1, len(rows) // self.size)
        self.total = plan.epochs * self.per_epoch
        self.step_module = Step(model, objective)
        self.adam = FlatAdam(self.step_module, plan.clip)
        self.device = rows.device
        # 0-dimensional tensors: a Python number would be frozen into a graph
        self.progress = torch.zeros((), dtype=rows.dtype, device=self.device)
        self.rate = torch.zeros((), dtype=torch.float32, device=self.device)
        self.order = torch.zeros(len(rows), dtype=torch.int64, device=self.device)
        self.sums = [torch.zeros((), dtype=rows.dtype, device=self.device) for _ in range(1 + len(objective.terms))]
        self.count = 0  # updates so far
        self.seconds = 0.0
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Tensor] = {}
        self.best_value, self.best_progress = math.inf, 0.0
        self.update: Callable[[Tensor], None] = self._update

    def _update(self, index: Tensor) -> None:
        loss, values = self.step_module(self.rows.batch(index), self.progress)
        self.adam.zero_grad()
        loss.backward()
        self.adam.step(self.rate)
        torch._foreach_add_(self.sums, [loss.detach(), *[v.detach() for v in values]])

    def _compiled(self) -> Callable[[Tensor], None]:
        gradient = FunctionalStep(self.step_module, self.adam.names, [p.shape for p in self.adam.parameters])
        buffers = dict(self.step_module.named_buffers())
        example = self.rows.batch(torch.arange(self.size, device=self.device))
        graph = gradient.graph(self.adam.flat, buffers, example, self.progress)
        # Random numbers as in the eager step, so that both give the same run.
        call = torch.compile(graph, fullgraph=True, dynamic=False, options={"fallback_random": True})

        @torch.no_grad()
        def update(index: Tensor) -> None:
            self.adam.grad, loss, values, moved = call(self.adam.flat, buffers, self.rows.batch(index), self.progress)
            for name, buffer in buffers.items():
                buffer.copy_(moved[name])
            self.adam.step(self.rate)
            torch._foreach_add_(self.sums, [loss, *values])

        return update

    def buffers(self) -> dict[str, Tensor]:
        return {f"buffer/{name}": buffer for name, buffer in self.step_module.named_buffers()}

    def prepare(self) -> None:
        """Compile or record the update where the plan says so, leaving the state as it was."""
        index = torch.arange(self.size, device=self.device)
        state = [*self.adam.state().values(), *self.buffers().values(), *self.sums, self.adam.broken]
        if self.plan.compile:
            held = [tensor.clone() for tensor in state]
            rng = generator_state(self.device)
            try:
                self.update = self._compiled()
                self.update(index)
            except Exception as error:  # whatever the compiler stack says, in as many lines as it likes
                why = " ".join(str(error).split())[:160]
                raise InputError(f"the step could not be compiled ({why}); pass compile=False") from error
            with torch.no_grad():
                for tensor, value in zip(state, held):
                    tensor.copy_(value)
            restore_generators(rng, self.device)
        if self.device.type == "cuda":
            try:
                self.update = CudaGraphStep(self.update, index, state)
            except RuntimeError as error:  # a network of the user's own may wait for the GPU, which no graph can hold
                why = " ".join(str(error).split())[:160]
                warnings.warn(f"training without a CUDA graph, which is slower: {why}", stacklevel=2)

    def advance(self) -> None:
        """One update."""
        position = self.count % self.per_epoch
        if position == 0:
            torch.randperm(len(self.rows), out=self.order)
        done = self.count / self.total
        self.progress.fill_(done)
        self.rate.fill_(self.plan.learning_rate * rate_at(done, self.total))
        self.update(self.order[position * self.size : (position + 1) * self.size])
        self.count += 1
        if self.count % AVERAGE_EVERY == 0 or self.count <= MEMORYLESS or self.count == self.total:
            self.adam.blend(self.count)
        if self.count % FORGET_EVERY == 0:
            self.adam.forget_tiny()

    def means(self) -> dict[str, float]:
        """The running means of this epoch: the one place where the loop reads numbers back."""
        updates = (self.count - 1) % self.per_epoch + 1
        values = (torch.stack(self.sums) / updates).tolist()
        return dict(zip(["loss", *self.objective.names], values))

    def stop_if_broken(self) -> None:
        """Raise TrainingError if a gradient was not finite; no update has been applied since."""
        if not self.adam.broken.item():
            return
        step = int(self.adam.steps.item()) + 1
        bad = [name for name, value in self.means().items() if not math.isfinite(value) and name != "loss"]
        where = f"the term {bad[0]!r} is not finite" if bad else "the gradient of the loss is not finite"
        likely = (
            f"the learning rate of {self.plan.learning_rate:g} is too high"
            if step > 1
            else "the data or the network hold numbers too large for its precision"
        )
        slower = min(1e-3, self.plan.learning_rate / 10)
        raise TrainingError(
            f"training stopped at step {step} of {self.total}: {where}; likely {likely}: try learning_rate={slower:g}, "
            "or scaling='standard'. The weights of before are kept"
        )

    def validate(self) -> dict[str, float]:
        """The training estimate on the validation rows, with the terms' final weights and under one fixed noise."""
        assert self.validation is not None
        rows, was_training = self.validation, self.model.training
        self.model.eval()
        sums, end = [0.0] * len(self.sums), torch.ones_like(self.progress)
        with torch.no_grad(), seeded(VALIDATION_SEED, self.device):
            for start in range(0, len(rows), max(self.size, 256)):
                index = torch.arange(start, min(start + max(self.size, 256), len(rows)), device=self.device)
                loss, values = self.step_module(rows.batch(index), end, train=False)
                for i, value in enumerate((loss, *values)):
                    sums[i] += value.item() * len(index)
        self.model.train(was_training)
        return dict(zip(["loss", *self.objective.names], [s / len(rows) for s in sums]))

    def refuse_broken(self, values: dict[str, float]) -> None:
        """Raise TrainingError for validation values that are not finite: no weights could be chosen by them."""
        bad = [name for name, value in values.items() if not math.isfinite(value)]
        if bad:
            kept = "The best weights of before are kept" if self.best else "There are no good weights"
            raise TrainingError(
                f"training stopped at step {self.count} of {self.total}: {bad[-1]!r} of the validation rows is not "
                f"finite; likely the learning rate of {self.plan.learning_rate:g} is too high, or a row lies far "
                f"outside the training data (isthmus check tells). {kept}"
            )

    def end_epoch(self) -> bool:
        """Note the epoch's terms, validate the averaged weights, keep the best; True where it is time to stop."""
        epoch = self.count // self.per_epoch
        done = self.count / self.total
        record: dict[str, Any] = {"epoch": epoch, "step": self.count, "progress": done, "seconds": self.seconds}
        record |= self.means()
        for term in self.objective.terms:
            assert isinstance(term, Term)
            if isinstance(term.weight, Schedule) or term.weight != 1:
                record[f"weight_{term.name}"] = at(term.weight, done)
        for total in self.sums:
            total.zero_()
        stop = False
        every = max(1, self.plan.epochs // VALIDATIONS)
        if self.validation is not None and (epoch % every == 0 or epoch == self.plan.epochs):
            with self.adam.averaged():
                values = self.validate()
                self.refuse_broken(values)
                if done >= self.plan.warmup and (values["loss"] < self.best_value or not self.best):
                    self.best_value, self.best_progress = values["loss"], done
                    self.best = {name: value.clone() for name, value in self.weights().items()}
            record |= {f"valid_{name}": value for name, value in values.items()}
            stop = done >= self.plan.warmup and done - self.best_progress > self.plan.patience
        self.history.append(record)
        return stop

    def weights(self) -> dict[str, Tensor]:
        """What a trained model consists of."""
        named = zip(self.adam.names, self.adam.views(self.adam.flat))
        return {**{f"weight/{name}": view for name, view in named}, **self.buffers()}

    @torch.no_grad()
    def finish(self) -> None:
        """Take the best averaged weights, or the last where none were kept, and give parameters memory of their own."""
        self.adam.take_average()
        for name, value in self.weights().items():
            if name in self.best:
                value.copy_(self.best[name])
        self.adam.release()

    def save(self, path: Path) -> None:
        tensors = {**self.adam.state(), **self.buffers(), "order": self.order, "sums": torch.stack(self.sums)}
        tensors |= {f"best/{name}": value for name, value in self.best.items()} | generator_state(self.device)
        facts = {
            "count": self.count,
            "epochs": len(self.history),
            "seconds": self.seconds,
            "best_value": self.best_value,
            "best_progress": self.best_progress,
        }
        save_state(path, tensors, facts)

    @torch.no_grad()
    def restore(self, path: Path) -> None:
        tensors, facts = load_state(path)
        try:
            self.adam.restore(tensors)
            for name, buffer in self.buffers().items():
                buffer.copy_(tensors[name])
            self.order.copy_(tensors["order"])
            for total, value in zip(self.sums, tensors["sums"]):
                total.copy_(value)
        except (KeyError, RuntimeError):
            raise InputError(f"{path} belongs to another model or data set; start over with --force") from None
        self.best = {name[5:]: value.to(self.device) for name, value in tensors.items() if name.startswith("best/")}
        self.count, self.seconds = facts["count"], facts["seconds"]
        self.best_value, self.best_progress = facts["best_value"], facts["best_progress"]
        restore_generators(tensors, self.device)


def rate_at(done: float, total: int) -> float:
    """The learning rate's share: a linear rise over the first updates, then a cosine to zero."""
    rise = max(RISE, 1 / total)
    return min(1.0, (done + 1 / total) / rise) * 0.5 * (1 + math.cos(math.pi * done))


class Checkpointer:
    """Where a run lies on the disk: its history and its checkpoint."""

    def __init__(self, folder: Path, every: float | None = None):
        self.history = folder / "history.jsonl"
        self.checkpoint = folder / "checkpoint" / "state.safetensors"
        self.every, self.last = CHECKPOINT_SECONDS if every is None else every, time.monotonic()

    def due(self) -> bool:
        """Checkpoints follow the clock: they do not touch the course of a run."""
        return time.monotonic() - self.last >= self.every

    def save(self, loop: Trainer) -> None:
        if self.history.exists():  # a checkpoint must not be ahead of the history
            with write_errors(self.history), open(self.history, "rb+") as file:
                os.fsync(file.fileno())
        loop.save(self.checkpoint)
        self.last = time.monotonic()

    def note(self, record: dict[str, Any]) -> None:
        with write_errors(self.history), open(self.history, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def resume(self, loop: Trainer) -> None:
        """Go back to the checkpoint, if there is one, and cut the history back to it."""
        lines: list[str] = []
        if self.checkpoint.exists():
            loop.restore(self.checkpoint)
            ended = loop.count // loop.per_epoch
            lines = self.history.read_text(encoding="utf-8").splitlines()[:ended] if self.history.exists() else []
            loop.history = [json.loads(line) for line in lines]
        with atomic_write(self.history) as part:
            part.write_text("".join(line + "\n" for line in lines), encoding="utf-8")


@contextlib.contextmanager
def interruptible(active: bool) -> Iterator[Callable[[], bool]]:
    """Ctrl-C becomes a flag that is read between two updates; a second one stops at once."""
    pressed = False

    def handle(number, frame):
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True

    if not active or threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.signal(signal.SIGINT, handle)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)


def fit(
    model: LatentModel,
    rows: DeviceDataset,
    objective: Objective | Term,
    plan: TrainConfig,
    *,
    validation: DeviceDataset | None = None,
    keep: Checkpointer | None = None,
    show: ProgressCallback | None = None,
) -> list[dict[str, Any]]:
    """Train `model` in place and return its history: a dict of every term, in nats, for each epoch.

    With `keep` the run lies on the disk and goes on from its checkpoint. Raises TrainingError where a number is not
    finite, Interrupted on Ctrl-C; the model then holds its last good weights.
    """
    with running(plan.threads), seeded(plan.seed, rows.device), interruptible(keep is not None) as pressed:
        loop = Trainer(model, as_objective(objective), rows, plan, validation)
        if keep:
            keep.resume(loop)
        model.train()
        loop.prepare()
        shown = time.perf_counter()
        check_every = 1 if rows.device.type == "cpu" else 50  # reading a GPU's memory waits for it
        try:
            while loop.count < loop.total:
                started = time.perf_counter()
                loop.advance()
                ended = loop.count % loop.per_epoch == 0
                if ended or loop.count % check_every == 0:
                    loop.stop_if_broken()
                now = time.perf_counter()
                loop.seconds += now - started
                stop = False
                if ended:
                    stop = loop.end_epoch()
                    if keep:
                        keep.note(loop.history[-1])
                if show and (now - shown > 0.2 or (ended and loop.count == loop.total)):
                    shown = now
                    values = loop.history[-1] if ended else loop.means()
                    show(loop.count / loop.total, values, loop.seconds)
                if stop:
                    break
                if keep and (keep.due() or pressed()):
                    loop.stop_if_broken()
                    keep.save(loop)
                    if pressed():
                        raise Interrupted(f"stopped at step {loop.count} of {loop.total}; the state is saved")
        finally:  # also where training broke off: the best, or last good, weights stay
            model.eval()
            loop.finish()
    return loop.history
