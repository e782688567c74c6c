"""The state of a training run between two updates, in one file that is replaced atomically."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any, Protocol

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from isthmus.atomic_io import atomic_write, os_reason, write_errors
from isthmus.errors import InputError

CHECKPOINT_INTERVAL_SECONDS = 20.0
"""Wall-clock time between two checkpoints."""


def save_state(path: Path, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
    """Write tensors by name and JSON values to `path`, completely or not at all."""
    on_host: dict[str, Tensor] = {}
    stored: set[int] = set()
    for name, value in tensors.items():
        value = value.detach().cpu().contiguous()
        memory = value.untyped_storage().data_ptr()
        on_host[name] = value.clone() if memory in stored else value  # the format has no tensors that share memory
        stored.add(memory)
    with atomic_write(path) as part:
        part.write_bytes(save(on_host, metadata={"values": json.dumps(values)}))


def load_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_state` wrote.

    Raises:
        InputError: if the file cannot be read, is truncated or has another format.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, json.loads((file.metadata() or {}).get("values", "{}"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {os_reason(error)}") from None
    except (SafetensorError, ValueError):
        raise InputError(f"{path} is truncated, or not a file of isthmus") from None


class Resumable(Protocol):
    """What a checkpointer needs of a trainer."""

    history: list[dict[str, Any]]

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors by name, and values that JSON can hold."""

    def restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Load what `state` returned; KeyError or RuntimeError if it belongs to something else."""


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
            with write_errors(self.history), open(self.history, "rb+") as file:
                os.fsync(file.fileno())
        tensors, values = trainer.state()
        save_state(self.checkpoint, tensors, values | {"epochs": len(trainer.history)})
        self.last = time.monotonic()

    def append(self, record: dict[str, Any]) -> None:
        """Add an epoch's record to the history."""
        with write_errors(self.history), open(self.history, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def resume(self, trainer: Resumable) -> None:
        """Load the checkpoint, if there is one, and cut the history back to it.

        Raises:
            InputError: if the checkpoint belongs to another model or data set.
        """
        lines: list[str] = []
        if self.checkpoint.exists():
            tensors, values = load_state(self.checkpoint)
            try:
                trainer.restore(tensors, values)
            except (KeyError, RuntimeError):
                raise InputError(
                    f"{self.checkpoint} belongs to another model or data set. Start over with --force."
                ) from None
            if self.history.exists():
                lines = self.history.read_text(encoding="utf-8").splitlines()[: values["epochs"]]
            trainer.history = [json.loads(line) for line in lines]
        with atomic_write(self.history) as part:
            part.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
