"""Rows that already lie on the device, handed out by index; bytes stay bytes until a batch is made."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from isthmus.batch import Batch
from isthmus.errors import InputError
from isthmus.schema import BLOCK, InputScaler, Schema
from isthmus.train.runtime import free_memory


class DeviceDataset:
    """All rows of a data set as stored, and `batch(index)` of them in the units that networks read.

    For a model of binarised pixels `bits` says which: "fresh" ones each time (training), "fixed" ones that are always
    the same for a row (scoring), or their "mean" (encoding).
    """

    def __init__(
        self,
        raw: np.ndarray | Tensor,
        schema: Schema,
        *,
        device: torch.device,
        dtype: torch.dtype,
        c: np.ndarray | None = None,
        lengths: np.ndarray | None = None,
        target: np.ndarray | None = None,
        bits: str = "fresh",
    ):
        self.schema, self.dtype, self.device = schema, dtype, device
        self.units = InputScaler(schema, device, dtype)
        self.fresh = schema.binarize and bits == "fresh"
        if schema.binarize and bits == "fixed":
            raw = np.asarray(raw)
            if lengths is not None:  # padding must not choose the noise
                real = np.arange(raw.shape[1]) < np.asarray(lengths)[:, None]
                raw = np.where(real.reshape(*real.shape, *[1] * (raw.ndim - 2)), raw, np.zeros((), raw.dtype))
            raw = fixed_bits(raw, schema)
        elif self.fresh and raw.dtype in (np.uint8, torch.uint8) and schema.scale not in (1, 255):
            raw = np.asarray(raw) / np.float32(schema.scale)
        self.x = self._resident(raw)
        self.target = None if target is None else self._resident(target)
        self.c = None if c is None else torch.as_tensor(c, dtype=dtype, device=device)
        self.mask: Tensor | None = None
        if lengths is not None:
            steps = torch.arange(self.x.shape[1], device=device)
            self.mask = steps < torch.as_tensor(lengths, device=device)[:, None]  # (N, T)

    def __len__(self) -> int:
        return len(self.x)

    def _resident(self, raw: Any) -> Tensor:
        stored = torch.from_numpy(writeable(raw)) if isinstance(raw, np.ndarray) else raw
        bytes_each = stored.element_size() if stored.element_size() == 1 else torch.finfo(self.dtype).bits // 8
        need, free = stored.numel() * bytes_each, free_memory(self.device)
        if free is not None and need > 0.9 * free:
            raise InputError(
                f"the data need {need / 2**30:.1f} GiB on {self.device} and {free / 2**30:.1f} GiB are free; "
                "train on fewer rows, or store grey values as uint8"
            )
        if stored.element_size() == 1:
            return stored.to(self.device)
        rows = torch.empty(stored.shape, dtype=self.dtype, device=self.device)
        step = max(1, BLOCK // max(1, stored[:1].numel()))  # by blocks: there may be no room for a second copy
        for start in range(0, len(stored), step):
            rows[start : start + step] = self.units(stored[start : start + step].to(self.device))
        return rows

    def batches(self, size: int = 2048) -> Iterator[Batch]:
        """All rows in order, `size` at a time."""
        yield from map(self.batch, torch.arange(len(self), device=self.device).split(size))

    def batch(self, index: Tensor) -> Batch:
        """The rows of `index` (B,)."""
        mask = None if self.mask is None else self.mask.index_select(0, index)
        return Batch(
            self._units(self.x.index_select(0, index), mask),
            None if self.c is None else self.c.index_select(0, index),
            mask,
            None,
            None if self.target is None else self._units(self.target.index_select(0, index), mask),
        )

    def _units(self, rows: Tensor, mask: Tensor | None) -> Tensor:
        if self.fresh and (rows.dtype != torch.uint8 or self.schema.scale == 255):
            rows = binarised(rows, self.dtype)
        elif rows.element_size() == 1:  # bytes of 0 and 1 are bits already
            rows = self.units(rows)
        if mask is not None:  # whatever lies in the padding is not read
            rows = torch.where(mask.reshape(*mask.shape, *[1] * (rows.ndim - 2)), rows, 0.0)
        return rows


def writeable(array: np.ndarray) -> np.ndarray:
    """The array in native byte order, C order and without negative strides, copied only where torch needs it."""
    array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        return array.astype(np.float64 if array.dtype.itemsize > 2 else np.int32)
    return array if array.flags.writeable else array.copy()


def fixed_bits(rows: np.ndarray, schema: Schema) -> np.ndarray:
    """(n, *X) bits drawn by the chances of pixels, under noise that each row's own values seed.

    So a row's bits depend on no other row, and the noise of different rows is independent.
    """
    if rows.dtype == bool:
        return rows
    chances = rows / schema.scale if rows.dtype == np.uint8 else rows
    bits = np.empty(rows.shape, dtype=bool)
    for i, chance in enumerate(chances):
        digest = hashlib.blake2b(np.ascontiguousarray(chance, dtype=np.float32).tobytes(), digest_size=8).digest()
        noise = np.random.Generator(np.random.Philox(int.from_bytes(digest, "little")))
        bits[i] = noise.random(chance.shape) < chance
    return bits


def binarised(rows: Tensor, dtype: torch.dtype) -> Tensor:
    """Each element drawn Bernoulli(x / 255) (bytes) or Bernoulli(x) (floats on [0, 1], booleans).

    Bytes are compared with 16 random bits each: five times faster than floats, and within 1e-5 of the exact chance.
    """
    if rows.dtype == torch.bool:
        return rows.to(dtype)
    if rows.dtype != torch.uint8:
        return (torch.rand(rows.shape, dtype=rows.dtype, device=rows.device) < rows).to(dtype)
    words = torch.empty((rows.numel() + 3) // 4, dtype=torch.int64, device=rows.device)
    words.random_(-(2**63), None)
    bits = words.view(torch.int16)[: rows.numel()].view(rows.shape)  # uniform on -32768..32767
    threshold = rows.to(torch.int32) * 257 + (rows > 127) - 32768  # x * 65536 / 255, rounded: 0 never, 255 always
    return (bits < threshold).to(dtype)
