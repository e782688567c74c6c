"""Tensors and values in one safetensors file: written atomically, and checked before any tensor is read."""

from __future__ import annotations

import json
import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from isthmus.atomic_io import atomic_write, check_regular, os_reason, parse_json
from isthmus.data.guards import require_memory
from isthmus.errors import InputError
from isthmus.wording import one_line

MAX_HEADER_BYTES = 4_000_000
"""Size of a header: 40,000 tensors have one of this size."""
MIN_HOLE_BYTES, MIN_STORED_SHARE = 100_000_000, 0.1
"""Size of a file, and the share of it that a disk must hold: a file of holes costs nothing until it is read."""
DTYPES = {
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.int16: "I16",
    torch.int32: "I32",
    torch.int64: "I64",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float32: "F32",
    torch.float64: "F64",
}
"""Names of dtypes in a header."""

Specs: TypeAlias = dict[str, tuple[str, tuple[int, ...]]]
"""The dtype, as a header names it, and the shape of each tensor by name."""


def specs_of(tensors: dict[str, Tensor]) -> Specs:
    """The dtypes and shapes of tensors, which may be on the meta device."""
    return {name: (DTYPES.get(value.dtype, str(value.dtype)), tuple(value.shape)) for name, value in tensors.items()}


def misfit(actual: Specs, expected: Specs) -> str | None:
    """How tensors differ from those that are expected, in words; None if they are the same by name, dtype and shape."""
    for name, spec in expected.items():
        if name not in actual:
            return f"{name} is missing"
        if actual[name] != spec:
            (dtype, shape), (other_dtype, other) = spec, actual[name]
            return f"{name} must be {dtype} of shape {shape}, got {other_dtype} of shape {other}"
    extra = next((name for name in actual if name not in expected), None)
    return None if extra is None else f"{extra} belongs to none of its parts"


@dataclass(frozen=True)
class Header:
    """What a file of tensors says of itself: the tensors' dtypes and shapes, and the values saved with them."""

    specs: Specs
    values: dict[str, Any]
    text: str
    """The values as they were written."""
    checksum: str | None
    """Of values and tensors; None in files of older versions."""

    @property
    def numel(self) -> int:
        """Numbers in all tensors."""
        return sum(math.prod(shape) for _, shape in self.specs.values())


def save_state(path: Path, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
    """Write tensors by name and JSON values to `path`, completely or not at all."""
    on_host: dict[str, Tensor] = {}
    stored: set[int] = set()
    for name, value in tensors.items():
        value = value.detach().cpu().contiguous()
        memory = value.untyped_storage().data_ptr()
        on_host[name] = value.clone() if memory in stored else value  # the format has no tensors that share memory
        stored.add(memory)
    text = json.dumps(values)
    with atomic_write(path) as part:
        part.write_bytes(save(on_host, metadata={"values": text, "checksum": checksum(on_host, text)}))


def checksum(tensors: dict[str, Tensor], values: str) -> str:
    """A CRC of tensors and values: one byte that was changed gives another."""
    crc = zlib.crc32(values.encode())
    for name, (dtype, shape) in sorted(specs_of(tensors).items()):
        crc = zlib.crc32(f"{name} {dtype} {shape}".encode(), crc)
        if tensors[name].numel():
            crc = zlib.crc32(tensors[name].reshape(-1).view(torch.uint8).numpy().data, crc)
    return f"{crc:08x}"


def read_header(path: Path) -> Header:
    """Read dtypes, shapes and values, and no tensor.

    Raises:
        InputError: if the file cannot be read, is truncated, has another format or does not fit into memory.
    """
    check_regular(path)
    try:
        info = path.stat()
        with path.open("rb") as opened:
            size = int.from_bytes(opened.read(8), "little")
        if not 0 < size <= min(MAX_HEADER_BYTES, info.st_size - 8):
            raise ValueError("no header")
        stored = getattr(info, "st_blocks", 0) * 512  # 0 where the system does not say
        if info.st_size > MIN_HOLE_BYTES and 0 < stored < MIN_STORED_SHARE * info.st_size:
            raise ValueError("holes")
        require_memory(info.st_size, str(path))
        with safe_open(str(path), framework="pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            specs = {name: (part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}
            metadata = file.metadata() or {}
        text = metadata.get("values", "{}")
        values = parse_json(text.encode(), path)
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"cannot read {path}: {os_reason(error)}") from None
    except Exception:  # safetensors raises errors of several types
        raise InputError(f"{path} is truncated, or not a file of isthmus") from None
    if not isinstance(values, dict):
        raise InputError(f"{path} is truncated, or not a file of isthmus")
    return Header(specs, values, text, metadata.get("checksum"))


def load_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_state` wrote.

    Raises:
        InputError: if the file cannot be read, is truncated or damaged, or has another format.
    """
    header = read_header(path)
    try:
        with safe_open(str(path), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in header.specs}
    except Exception as error:
        raise InputError(f"cannot read {path}: {one_line(str(error))}") from None
    if header.checksum is not None and header.checksum != checksum(tensors, header.text):
        raise InputError(f"{path} is damaged: its checksum is not that of its tensors.")
    return tensors, header.values
