"""Rows that are read by index, from the device or from the user's own array; bytes stay bytes until they are read."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from isthmus import random_streams
from isthmus.batch import Batch
from isthmus.errors import InputError
from isthmus.schema import NUMBERS_AT_ONCE, InputScaler, Schema, row_count
from isthmus.train.runtime import free_memory
from isthmus.wording import pluralize

MIN_SHARED_NUMBERS = 2**23
"""Numbers from which rows on the CPU stay where they are, in the user's array or file, and are scaled batch by batch:
fewer are copied, which makes batches a little faster."""
MAX_MEMORY_FRACTION = 0.9
"""Fraction of the free memory that the rows may take."""


class DeviceDataset:
    """All rows of a data set as stored, and `batch(index)` of them in network units.

    Padding and elements that were not observed are 0 in a batch, whatever is stored there.

    Args:
        raw: (N, *X) rows in data units.
        index: (n,) positions of the rows of `raw` to take; None for all.
        schema: how they are scaled.
        device: where they lie.
        dtype: floating-point type of a batch.
        c: (N, C) encoded condition.
        lengths: (N,) numbers of real steps.
        target: (N, *X) clean rows that the likelihood is evaluated at instead of `raw`.
        y: (N,) labels as integers, or as floats for regression; -1 where unknown.
        observed: (N, *X) True where an element was observed.
        weight: (N,) numbers >= 0, how much rows count; a batch has them divided by their mean.
        bits: for binarized pixels, "fresh" draws for each batch (training), "fixed" draws that depend on the row
            alone (scoring), or their "mean" (encoding).

    Raises:
        InputError: if the rows do not fit the device's memory.
    """

    def __init__(
        self,
        raw: np.ndarray | Tensor,
        schema: Schema,
        *,
        device: torch.device,
        dtype: torch.dtype,
        c: np.ndarray | None = None,
        lengths: np.ndarray | Tensor | None = None,
        target: np.ndarray | Tensor | None = None,
        y: np.ndarray | Tensor | None = None,
        observed: np.ndarray | Tensor | None = None,
        weight: np.ndarray | Tensor | None = None,
        bits: str = "fresh",
        index: np.ndarray | None = None,
    ):
        self.schema, self.dtype, self.device = schema, dtype, device
        self.scaler = InputScaler(schema, device, dtype)
        self.fresh = schema.binarize and bits == "fresh"
        if schema.binarize and bits == "fixed":
            raw = fixed_bits(zero_ignored(np.asarray(raw), lengths, observed), schema)
        elif self.fresh and raw.dtype in (np.uint8, torch.uint8) and schema.scale not in (1, 255):
            raw = np.asarray(raw) / np.float32(schema.scale)
        self.x = self._stored(raw, index)
        self.target = None if target is None else self._stored(target)
        self.c = None if c is None else torch.as_tensor(c, dtype=dtype, device=device)
        self.y = None if y is None else self._labels(torch.as_tensor(y))
        self.observed = None if observed is None else torch.as_tensor(observed, dtype=torch.bool, device=device)
        self.weight: Tensor | None = None
        self.count = float(len(self.x))  # of rows that the weights stand for
        if weight is not None:
            counts = np.asarray(weight, dtype=np.float64)
            self.weight = torch.as_tensor(counts / counts.mean(), dtype=dtype, device=device)
            self.count = row_count(counts)
        self.mask: Tensor | None = None
        if lengths is not None:
            steps = torch.arange(raw.shape[1], device=device)
            self.mask = steps < torch.as_tensor(lengths, device=device)[:, None]  # (N, T)

    def __len__(self) -> int:
        return len(self.x)

    def _labels(self, y: Tensor) -> Tensor:
        return y.to(self.device, self.dtype if y.is_floating_point() else torch.int64)

    def _stored(self, raw: Any, index: np.ndarray | None = None) -> Tensor | SharedRows:
        """Rows as they are kept: bytes and large arrays in data units, others in those that networks read."""
        one_byte = (raw.itemsize if isinstance(raw, np.ndarray) else raw.element_size()) == 1
        n = len(raw) if index is None else len(index)
        shape = (n, *raw.shape[1:])
        bytes_each = 1 if one_byte else torch.finfo(self.dtype).bits // 8
        if isinstance(raw, np.ndarray) and self.device.type == "cpu" and math.prod(shape) >= MIN_SHARED_NUMBERS:
            shared = SharedRows(raw, index, None if one_byte else self.scaler)
            if not one_byte:
                parts = torch.arange(n).split(max(1, NUMBERS_AT_ONCE // max(1, math.prod(shape[1:]))))
                self._warn_of_far_rows(shared.index_select(0, part) for part in parts)
            return shared
        nbytes, free = math.prod(shape) * bytes_each, free_memory(self.device)
        if free is not None and nbytes > MAX_MEMORY_FRACTION * free:
            raise InputError(
                f"The data need {nbytes / 2**30:.1f} GiB on {self.device}, but only {free / 2**30:.1f} GiB are free. "
                "Train on fewer rows, or store grey levels as uint8."
            )
        if one_byte:
            return as_tensor(raw if index is None else raw[index]).to(self.device)
        rows = torch.empty(shape, dtype=self.dtype, device=self.device)
        step = max(1, NUMBERS_AT_ONCE // max(1, math.prod(shape[1:])))  # in blocks: memory may not hold two copies
        for start in range(0, n, step):
            part = slice(start, start + step) if index is None else index[start : start + step]
            rows[start : start + step] = self.scaler(as_tensor(raw[part]).to(self.device))
        self._warn_of_far_rows(rows.split(step))
        return rows

    def _warn_of_far_rows(self, blocks: Iterable[Tensor]) -> None:
        far = sum(int((block.abs() >= self.scaler.limit).flatten(1).any(1).sum()) for block in blocks)
        if far:
            warnings.warn(
                f"{pluralize(far, 'row')} {'lies' if far == 1 else 'lie'} {self.scaler.limit:g} or more scales from "
                "the centre, beyond what networks can compute: such numbers are clipped to it.",
                UserWarning,
                stacklevel=3,
            )

    def batches(self, size: int = 2048) -> Iterator[Batch]:
        """All rows in order, `size` at a time."""
        yield from map(self.batch, torch.arange(len(self), device=self.device).split(size))

    def occurrences(self) -> Tensor:
        """(m,) positions of rows in order, each as often as its weight says, rounded so that all together are right."""
        if self.weight is None:
            return torch.arange(len(self), device=self.device)
        ends, m = self.weight.double().cumsum(0), round(self.count)
        return torch.searchsorted(ends, (torch.arange(m, device=self.device) + 0.5) * (ends[-1] / m))

    def batch(self, index: Tensor) -> Batch:
        """The rows `index` (B,), in network units."""
        c, mask, y, observed, weight = (
            None if tensor is None else tensor.index_select(0, index)
            for tensor in (self.c, self.mask, self.y, self.observed, self.weight)
        )
        x = self._network_units(self.x.index_select(0, index), mask, observed)
        clean = None
        if self.target is not None:
            clean = self._network_units(self.target.index_select(0, index), mask, observed)
        return Batch(x, c, mask, y, clean, observed, weight)

    def _network_units(self, rows: Tensor, mask: Tensor | None, observed: Tensor | None) -> Tensor:
        if self.fresh and (rows.dtype != torch.uint8 or self.schema.scale == 255):
            rows = sample_bits(rows, self.dtype)
        elif rows.element_size() == 1:  # bytes of 0 and 1 are bits already
            rows = self.scaler(rows)
        if mask is not None:
            rows = torch.where(mask.reshape(*mask.shape, *[1] * (rows.ndim - 2)), rows, 0.0)
        if observed is not None:
            rows = torch.where(observed, rows, 0.0)  # and not a product: NaN times 0 is NaN
        return rows


class SharedRows:
    """Rows of an array of the user's, which may be a file mapped into memory: a row is copied when it is read.

    Args:
        raw: (N, *X) rows in data units.
        index: (n,) positions of the rows that these are; None for all.
        scaler: to the units that networks read; None to leave rows as they are.
    """

    def __init__(self, raw: np.ndarray, index: np.ndarray | None, scaler: InputScaler | None):
        self.raw, self.index, self.scaler = raw, index, scaler

    def __len__(self) -> int:
        return len(self.raw) if self.index is None else len(self.index)

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        """The rows `index` (B,), as `Tensor.index_select` along the first dimension gives them."""
        positions = index.numpy() if self.index is None else self.index[index.numpy()]
        rows = as_tensor(self.raw[positions])
        return rows if self.scaler is None else self.scaler(rows)


def as_tensor(rows: Any) -> Tensor:
    """Rows as a tensor on the CPU, with the array's memory where torch can use it."""
    return torch.from_numpy(writeable(rows)) if isinstance(rows, np.ndarray) else rows


def zero_ignored(raw: np.ndarray, lengths: Any | None, observed: Any | None) -> np.ndarray:
    """(N, *X) rows with 0 in padding and where nothing was observed."""
    zero = np.zeros((), raw.dtype)
    if lengths is not None:
        real = np.arange(raw.shape[1]) < np.asarray(lengths)[:, None]  # (N, T)
        raw = np.where(real.reshape(*real.shape, *[1] * (raw.ndim - 2)), raw, zero)
    return raw if observed is None else np.where(np.asarray(observed), raw, zero)


def writeable(array: np.ndarray) -> np.ndarray:
    """The array in native byte order, C order and without negative strides, copied only if torch needs it."""
    array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        return array.astype(np.float64 if array.dtype.itemsize > 2 else np.int32)
    return array if array.flags.writeable else array.copy()


def fixed_bits(rows: np.ndarray, schema: Schema) -> np.ndarray:
    """(n, *X) bits drawn with the pixels' probabilities, with random numbers that the row's own values seed.

    A row's bits therefore do not depend on the other rows, and the noise of different rows is independent.
    """
    if rows.dtype == bool:
        return rows
    probability = rows / schema.scale if rows.dtype == np.uint8 else rows
    bits = np.empty(rows.shape, dtype=bool)
    for i, p in enumerate(probability):
        digest = hashlib.blake2b(np.ascontiguousarray(p, dtype=np.float32).tobytes(), digest_size=8).digest()
        generator = np.random.Generator(np.random.Philox(int.from_bytes(digest, "little")))
        bits[i] = generator.random(p.shape) < p
    return bits


def sample_bits(rows: Tensor, dtype: torch.dtype) -> Tensor:
    """Bernoulli draws with probability x / 255 (bytes) or x (floats in [0, 1], booleans), element by element.

    Bytes are compared with 16 random bits each: five times faster than floats, and within 1e-5 of the probability.
    """
    if rows.dtype == torch.bool:
        return rows.to(dtype)
    if rows.dtype != torch.uint8:
        return (random_streams.uniform(rows.shape, rows) < rows).to(dtype)
    words = random_streams.words((rows.numel() + 3) // 4, rows.device)
    bits = words.view(torch.int16)[: rows.numel()].view(rows.shape)  # uniform on -32768..32767
    threshold = rows.to(torch.int32) * 257 + (rows > 127) - 32768  # x * 65536 / 255, rounded: 0 never, 255 always
    return (bits < threshold).to(dtype)
