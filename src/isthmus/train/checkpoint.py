"""The state of a run between two updates, in one file that is replaced at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from isthmus.atomic_io import atomic_write, os_reason
from isthmus.errors import InputError


def save_state(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Tensors by name and plain values to `path`, in full or not at all."""
    held = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    with atomic_write(path) as part:
        part.write_bytes(save(held, metadata={"facts": json.dumps(facts)}))


def load_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The inverse of `save_state`; InputError for a file that is truncated or foreign."""
    try:
        with safe_open(str(path), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, json.loads((file.metadata() or {}).get("facts", "{}"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {os_reason(error)}") from None
    except (SafetensorError, ValueError):
        raise InputError(f"{path} is truncated, or not a file of isthmus") from None


def generator_state(device: torch.device) -> dict[str, Tensor]:
    """Where torch's generators stand."""
    state = {"rng.cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["rng.cuda"] = torch.cuda.get_rng_state(device)
    return state


def restore_generators(tensors: dict[str, Tensor], device: torch.device) -> None:
    """Put torch's generators back to where they stood."""
    torch.set_rng_state(tensors["rng.cpu"])
    if device.type == "cuda" and "rng.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["rng.cuda"], device)
