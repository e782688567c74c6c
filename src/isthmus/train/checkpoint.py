"""The state of a training run between two updates, in one file that is replaced atomically."""

from __future__ import annotations

import json
import math
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from isthmus.atomic_io import MAX_JSON_BYTES, atomic_write, check_regular, file_errors, json_nbytes
from isthmus.errors import InputError
from isthmus.train.tensor_file import Specs, load_state, misfit, read_header, save_state, specs_of
from isthmus.wording import one_line, pluralize

CHECKPOINT_INTERVAL_SECONDS = 20.0
"""Wall-clock time between two checkpoints."""
MAX_HISTORY_BYTES = MAX_JSON_BYTES // 2
"""Memory of the history of a model that is loaded: of 50,000 epochs."""
MAX_RESUMED_HISTORY_BYTES = 20 * MAX_JSON_BYTES
"""Memory of the history of a run that goes on, which is written anew: of a million epochs."""
MAX_LINE_BYTES = 2**20
"""Size of a record of an epoch."""
EPOCH_NUMBERS = ("epoch", "step", "progress", "seconds")
"""What the record of an epoch holds beside the means of its terms."""


class Resumable(Protocol):
    """What a checkpointer needs of a trainer."""

    history: list[dict[str, Any]]

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors by name, and values that JSON can hold."""

    def restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Load what `state` returned; KeyError, RuntimeError or ValueError if it belongs to something else."""


class Checkpointer:
    """The history and the checkpoint of a training run in its folder.

    Args:
        folder: the run's folder.
        every: seconds between two checkpoints.
    """

    def __init__(self, folder: Path, every: float | None = None):
        self.history = folder / "history.jsonl"
        self.checkpoint = folder / "checkpoint" / "state.safetensors"
        self.every = CHECKPOINT_INTERVAL_SECONDS if every is None else every
        self.last = time.monotonic()

    def due(self) -> bool:
        """Whether the next checkpoint is due; by the clock, for checkpoints do not change what training computes."""
        return time.monotonic() - self.last >= self.every

    def save(self, trainer: Resumable) -> None:
        """Write a checkpoint, after the history is on the disk: it must not be ahead of the history."""
        if self.history.exists():
            with file_errors(self.history), open(self.history, "rb+") as file:
                os.fsync(file.fileno())
        tensors, values = trainer.state()
        save_state(self.checkpoint, tensors, values | {"epochs": len(trainer.history)})
        self.last = time.monotonic()

    def append(self, record: dict[str, Any]) -> None:
        """Add an epoch's record to the history, never through a link."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)  # Windows has no such flag
        with file_errors(self.history), open(os.open(self.history, flags, 0o666), "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def resume(self, trainer: Resumable) -> None:
        """Load the checkpoint, if there is one, and cut the history back to it.

        Raises:
            InputError: if the checkpoint is damaged, or belongs to another model or data set.
        """
        records: list[dict[str, Any]] = []
        if self.checkpoint.parent.is_symlink():
            raise InputError(f"{self.checkpoint.parent} must be a folder, got a link. Remove it.")
        if os.path.lexists(self.checkpoint):
            self._restore(trainer)
            records = trainer.history
        with atomic_write(self.history) as part:
            part.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")

    def _restore(self, trainer: Resumable) -> None:
        """Load the checkpoint and its part of the history, which are checked first."""
        header = read_header(self.checkpoint)
        wrong = misfit(header.specs, checkpoint_specs(header.specs, specs_of(trainer.state()[0])))
        if wrong is None:
            tensors, values = load_state(self.checkpoint)
            try:
                check_progress(values)
                trainer.restore(tensors, values)
            except (KeyError, RuntimeError, TypeError, ValueError) as error:
                wrong = str(error)
        if wrong is not None:
            raise InputError(
                f"{self.checkpoint} belongs to another model or data set, or is damaged: {one_line(wrong, 90)}. "
                "Start over with --force."
            )
        trainer.history = read_history(self.history, MAX_RESUMED_HISTORY_BYTES)[: values["epochs"]]
        if len(trainer.history) < values["epochs"]:
            warnings.warn(
                f"{self.history} holds {len(trainer.history):,} of {pluralize(values['epochs'], 'epoch')}; training "
                "goes on from all of them.",
                stacklevel=2,
            )


def checkpoint_specs(actual: Specs, state: Specs) -> Specs:
    """The tensors that a checkpoint must hold: the trainer's, the best weights if it holds any, and generators."""
    expected = {name: spec for name, spec in state.items() if not name.startswith("rng.")}
    if any(name.startswith("best/") for name in actual):
        expected |= {f"best/{n}": spec for n, spec in state.items() if n.startswith(("weight/", "buffer/"))}
    return expected | {name: spec for name, spec in actual.items() if name.startswith("rng.")}


def check_progress(values: dict[str, Any]) -> None:
    """Raise ValueError for values of a checkpoint that no training run has."""
    for name in ("step", "best_step", "epochs"):
        if not isinstance(values[name], int) or not 0 <= values[name] <= values["step"]:
            raise ValueError(f"{name} must be an integer from 0 to the step, got {values[name]!r}")
    if not isinstance(values["seconds"], int | float) or not 0 <= values["seconds"] < math.inf:
        raise ValueError(f"seconds must be a number >= 0, got {values['seconds']!r}")
    if not isinstance(values["best_value"], int | float) or math.isnan(values["best_value"]):
        raise ValueError(f"best_value must be a number, got {values['best_value']!r}")


def read_history(path: Path, most: int = MAX_HISTORY_BYTES) -> list[dict[str, Any]]:
    """The records of a history, one for each epoch; warns if it is damaged, and returns those before the damage.

    The last record of a run that was killed may be incomplete, which is no damage.

    Args:
        path: the file; there need not be one.
        most: memory that the records may take, in bytes.

    Raises:
        InputError: for anything but a file, or one that cannot be read.
    """
    if not os.path.lexists(path):
        return []
    check_regular(path)
    records: list[dict[str, Any]] = []
    problem, memory = "", 0
    with file_errors(path, "read"), path.open("rb") as file:
        while not problem and (line := file.readline(MAX_LINE_BYTES)):
            memory += json_nbytes(line)
            record = parse_record(line)
            if memory > most:
                problem = "longer than can be read"
            elif record is not None:
                records.append(record)
            elif line.endswith(b"\n") or len(line) == MAX_LINE_BYTES:
                problem = "damaged"
    if problem:
        warnings.warn(f"{path} is {problem}: its first {pluralize(len(records), 'epoch')} are kept.", stacklevel=2)
    return records


def parse_record(line: bytes) -> dict[str, Any] | None:
    """The record of an epoch; None if the line holds anything else."""
    try:
        record = json.loads(line.decode())
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or not all(type(v) is float or is_number(v) for v in record.values()):
        return None
    # All records share their keys: each would have its own copies otherwise.
    return {sys.intern(key): record[key] for key in record} if all(n in record for n in EPOCH_NUMBERS) else None


def is_number(value: Any) -> bool:
    """Whether a value is a truth value, a float, or an integer that a float can hold."""
    return isinstance(value, float) or (isinstance(value, int) and -(2**63) < value < 2**63)
