"""What the data are: shape, kind, scaling; raw data to tensors and back."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from isthmus.errors import InputError, unknown

ARRAYS = ("low", "high", "mean", "shift", "scale")
"""Fields of a schema that are arrays."""
KINDS = ("binary", "levels", "counts", "unit", "real", "category")
"""0 and 1; grey levels 0..k-1; counts; floats on [0, 1]; other floats; categories 0..k-1 without an order."""
WHOLE_KINDS = ("binary", "levels", "counts", "category")
"""Kinds whose values are whole numbers."""


@dataclass(frozen=True)
class Condition:
    """The condition c of a conditional model: one of several classes, or numbers.

    Classes become one-hot rows; numbers are standardised by the mean and standard deviation of the training rows.
    """

    classes: tuple[Any, ...] = ()
    shift: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()

    @property
    def width(self) -> int:
        return len(self.classes) or len(self.shift)

    @classmethod
    def read(cls, condition: np.ndarray) -> Condition:
        """Learn classes (integers, booleans, words) or location and scale (floats) from (n,) or (n, k)."""
        values = np.asarray(condition)
        if values.ndim == 2 and values.shape[1] == 1:
            values = values[:, 0]
        if values.dtype == object and any(json_label(v) is None for v in values.flat):
            raise InputError(
                "condition must not have missing labels. Drop those rows, or give them a label of their own."
            )
        if values.dtype.kind not in "biufOUS":
            raise InputError(f"condition must be labels or real numbers, got dtype {values.dtype}.")
        if values.dtype.kind == "S":
            values = np.char.decode(values)
        if values.ndim == 1 and values.dtype.kind in "iubOU":
            other = next((v for v in map(json_label, values) if not isinstance(v, str | int | float)), None)
            if other is not None:
                raise InputError(
                    f"condition must be strings or numbers, got a {type(other).__name__}. Pass str(label)."
                )
            return cls(classes=tuple(sorted({json_label(v) for v in values}, key=lambda v: (str(type(v)), v))))
        try:
            numbers = values.astype(np.float64).reshape(len(values), -1)
        except (TypeError, ValueError):
            raise InputError(
                f"condition must be labels (n,) or numbers (n, k), got {values.ndim} dimensions of {values.dtype}."
            ) from None
        check_finite(numbers, "condition")
        scale = safe_std(numbers)
        one_hot = bool(np.isin(numbers, (0.0, 1.0)).all() and (numbers.sum(1) == 1).all())
        shift = np.zeros_like(scale) if one_hot else numbers.mean(0)
        scale = np.ones_like(scale) if one_hot else scale
        return cls(shift=tuple(shift.tolist()), scale=tuple(scale.tolist()))

    def encode(self, condition: Any, n: int) -> np.ndarray:
        """Raw conditions of n rows (or one for all) to numbers, (n, C).

        Raises InputError for a class that was not there in training, or a wrong count or width.
        """
        values = np.asarray(condition)
        if values.dtype.kind == "S":
            values = np.char.decode(values)
        if self.classes:
            if values.ndim == 2 and values.shape[1] == 1:
                values = values[:, 0]
            if values.ndim > 1:
                raise InputError(f"condition must have one label a row, got shape {values.shape}.")
            values = np.broadcast_to(values, (n,)) if values.ndim == 0 or values.shape == (1,) else values
            rows = {label: i for i, label in enumerate(self.classes)}
            labels = [json_label(v) for v in values]
            # Words that spell numbers become numbers on their way through a file.
            labels = [str(v) if v is not None and v not in rows and str(v) in rows else v for v in labels]
            missing = next((v for v in labels if v not in rows), None)
            if missing is not None or None in labels:
                raise InputError(
                    f"condition must be one of {', '.join(map(repr, self.classes))}, as in training, got {missing!r}."
                )
            encoded = np.zeros((len(labels), len(rows)))
            encoded[np.arange(len(labels)), [rows[v] for v in labels]] = 1.0
        else:
            try:
                values = values.astype(np.float64)
            except (TypeError, ValueError):
                raise InputError(f"condition must be numbers, as in training, got dtype {values.dtype}.") from None
            if values.ndim <= 1:
                one_row = values.ndim == 0 or (self.width > 1 and values.shape == (self.width,))
                values = values.reshape((1, -1) if one_row else (-1, 1))
            if values.ndim != 2 or values.shape[1] != self.width:
                raise InputError(f"condition must have shape (rows, {self.width}), got {values.shape}.")
            check_finite(values, "condition")
            encoded = (values - np.array(self.shift)) / np.array(self.scale)
        if len(encoded) == 1:
            encoded = np.repeat(encoded, n, 0)
        if len(encoded) != n:
            raise InputError(f"condition must have one entry for each of the {n} rows, got {len(encoded)}.")
        return encoded


@dataclass(frozen=True)
class Column:
    """Elements of x side by side that share a kind and a likelihood; a homogeneous array is one such column."""

    kind: str
    """One of KINDS."""
    likelihood: str = ""
    """Name of the likelihood, with its arguments; "" for a part of the user's own."""
    levels: int = 0
    """Grey levels, or categories; 0 for other kinds."""
    discrete: bool = True
    """Whether the likelihood gives probabilities (which scaling leaves alone) or densities."""
    width: int = 0
    """Number of elements; 0 for all of them."""

    @property
    def read_as(self) -> str:
        """How networks read it: one-hot, log1p, or scaled."""
        if self.kind == "category":
            return "one-hot"
        return "log1p" if self.kind == "counts" and self.discrete else "scaled"

    @property
    def point(self) -> str:
        """The point prediction of an element: mean, or mode where categories have no order."""
        return "mode" if self.kind == "category" else "mean"


@dataclass(frozen=True)
class Schema:
    """What the data are, learned by `fit` and saved with the model.

    Networks read x as `(raw - shift) / scale`: levels 0..k-1 lie on [0, 1], counts stay counts, floats are scaled.
    """

    event_shape: tuple[int, ...]
    columns: tuple[Column, ...]
    """One for a homogeneous array, else one for each block of unlike columns of a table."""
    dtype: str
    names: tuple[str, ...] = ()
    sequence: bool = False
    binarize: bool = False
    paired: bool = False
    """Whether training had clean rows beside damaged ones, which then need not be of the same kind."""
    condition: Condition | None = None
    low: np.ndarray = field(default_factory=lambda: np.zeros(()))
    """The smallest value in training, one for all elements or one each, in the units that networks read."""
    high: np.ndarray = field(default_factory=lambda: np.ones(()))
    """The largest one."""
    mean: np.ndarray = field(default_factory=lambda: np.ones(()))
    """Of counts, the mean of each element in training."""
    shift: np.ndarray = field(default_factory=lambda: np.zeros(()))
    scale: np.ndarray = field(default_factory=lambda: np.ones(()))

    @classmethod
    def homogeneous(
        cls,
        event_shape: tuple[int, ...],
        kind: str,
        dtype: str,
        likelihood: str = "",
        levels: int = 0,
        discrete: bool = True,
        **kwargs: Any,
    ) -> Schema:
        """The schema of an array whose elements are all of one kind; `kwargs` are further fields."""
        return cls(tuple(event_shape), (Column(kind, likelihood, levels, discrete),), dtype, **kwargs)

    @property
    def kind(self) -> str:
        """The kind of all elements; "mixed" for a table of unlike columns."""
        return self.columns[0].kind if len(self.columns) == 1 else "mixed"

    @property
    def likelihood(self) -> str:
        """The likelihood as it is written: a name, or one for each column."""
        return ", ".join(column.likelihood for column in self.columns)

    @property
    def levels(self) -> int:
        """Grey levels of a homogeneous array; 0 for other data."""
        return self.columns[0].levels if len(self.columns) == 1 else 0

    @property
    def discrete(self) -> bool:
        """Whether every column's likelihood gives probabilities."""
        return all(column.discrete for column in self.columns)

    @property
    def measure(self) -> str:
        """What log p(x) is the logarithm of; only numbers of one measure can be compared."""
        if self.improper:
            return "pseudo-probability"
        if self.discrete:
            return "probability"
        return "mixed measure" if any(column.discrete for column in self.columns) else "density"

    @property
    def widths(self) -> tuple[int, ...]:
        """Elements of each column."""
        return tuple(column.width or self.size for column in self.columns)

    @property
    def size(self) -> int:
        """Numbers in one example."""
        return math.prod(self.event_shape)

    @property
    def image(self) -> bool:
        """Whether an example has height and width."""
        return len(self.event_shape) in (2, 3) and not self.sequence

    @property
    def condition_width(self) -> int:
        return self.condition.width if self.condition else 0

    @property
    def improper(self) -> bool:
        """Whether the likelihood is no density on such data: Bernoulli on numbers between 0 and 1."""
        return self.likelihood == "bernoulli" and self.kind == "unit" and not self.binarize

    @property
    def element_log_volume(self) -> np.ndarray:
        """(*X) nats that scaling takes from a log-density: log p(raw) = log p(x) - their sum; 0 for probabilities."""
        volume = np.log(np.broadcast_to(self.scale, self.event_shape))
        return np.where(self.per_element("discrete"), 0.0, volume)

    @property
    def log_volume(self) -> float:
        """The sum of `element_log_volume`, nats."""
        return 0.0 if self.discrete else float(self.element_log_volume.sum())

    def per_element(self, name: str) -> np.ndarray:
        """(*X) an attribute of the column that each element belongs to."""
        values = [np.full(width, getattr(column, name)) for column, width in zip(self.columns, self.widths)]
        return np.concatenate(values).reshape(self.event_shape)

    def to_tensor(self, raw: Tensor, dtype: torch.dtype) -> Tensor:
        """Raw rows (n, *X), as stored, to the units that networks read; bits and probabilities are in these already."""
        return InputScaler(self, raw.device, dtype)(raw)

    def to_data(self, x: Tensor, *, drawn: bool = False) -> np.ndarray:
        """Network units (n, *X) to the data's own; drawn discrete values become whole, of the data's integer type."""
        values = x.detach().cpu().double().numpy() * self.scale + self.shift
        is_integer_valued = np.isin(self.per_element("kind"), WHOLE_KINDS) & self.per_element("discrete")
        if len(self.columns) > 1:
            is_integer_valued &= drawn | (self.per_element("kind") == "category")
            values[:, is_integer_valued] = np.rint(values[:, is_integer_valued])
        elif drawn and is_integer_valued.any():
            values = np.rint(values)
            if np.dtype(self.dtype).kind in "iu":  # a count may be larger than its type holds
                values = values.clip(np.iinfo(self.dtype).min, np.iinfo(self.dtype).max)
            return values.astype(self.dtype)
        return values.astype(self.dtype if np.dtype(self.dtype).kind == "f" else np.float32)

    def to_config(self) -> dict[str, Any]:
        """Plain values for JSON."""
        config = asdict(self)
        config |= {name: getattr(self, name).tolist() for name in ARRAYS}
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Schema:
        """The inverse of `to_config`."""
        config = dict(config)
        if config.get("condition"):
            config["condition"] = Condition(**{k: tuple(v) for k, v in config["condition"].items()})
        for name in ("event_shape", "names"):
            config[name] = tuple(config[name])
        config["columns"] = tuple(Column(**column) for column in config["columns"])
        for name in ARRAYS:
            config[name] = np.asarray(config[name], dtype=np.float64)
        return cls(**config)


class InputScaler:
    """`Schema.to_tensor` with shift and scale on the device: a batch costs no copy from the host."""

    def __init__(self, schema: Schema, device: torch.device, dtype: torch.dtype):
        self.binarize, self.dtype = schema.binarize, dtype
        self.shift, self.scale = (torch.from_numpy(np.array(a)).to(device) for a in (schema.shift, schema.scale))
        self.centred = bool((schema.shift != 0).any())
        self.scaled = bool((schema.scale != 1).any())
        self.small_shift, self.per_scale = self.shift.to(dtype), self.scale.reciprocal().to(dtype)

    def __call__(self, raw: Tensor) -> Tensor:
        """Raw rows (n, *X) to the units that networks read."""
        if self.binarize and (raw.dtype == torch.bool or raw.dtype.is_floating_point):  # bits, or their probabilities
            return raw.to(self.dtype)
        if not (self.centred or self.scaled):
            return raw.to(self.dtype)
        if raw.element_size() == 1:  # at most 255: any precision holds the difference
            x = raw.to(self.dtype)
            return (x.sub_(self.small_shift) if self.centred else x).mul_(self.per_scale)
        # In double precision: a large mean must not eat the digits of a small spread.
        return ((raw.double() - self.shift) / self.scale).to(self.dtype)


def json_label(value: Any) -> Any:
    """A label as JSON can hold it: NumPy scalars become Python's; None and NaN become None."""
    value = value.item() if isinstance(value, np.generic) else value
    lost = (isinstance(value, float) and math.isnan(value)) or type(value).__name__ in ("NAType", "NaTType")
    return None if lost else value


MAX_ABSOLUTE_VALUE = 1e140
"""The squares of larger numbers, added up, overflow."""
MIN_DIFFERENCE = 1e-140
"""The squares of smaller differences underflow."""
NUMBERS_AT_ONCE = 2**22
"""Numbers in one block, where all of them might not fit into memory a second time."""


IMPUTE = "Drop those rows, or impute the values."
DROP_COLUMNS = "Drop the columns that hold nothing else, then drop or impute the rows with missing values."
"""Remedies for NaN and infinity in some rows of a column, and in all of them."""


def check_finite(values: np.ndarray, what: str, names: tuple[str, ...] = ()) -> None:
    """Raise InputError naming the first columns that hold NaN, infinity or too large numbers, and how many."""
    if values.dtype.kind != "f":
        return
    with np.errstate(invalid="ignore"):
        low, high = float(values.min(initial=0)), float(values.max(initial=0))
    if low >= -MAX_ABSOLUTE_VALUE and high <= MAX_ABSOLUTE_VALUE:  # not so with NaN
        return
    flat = values.reshape(len(values), -1)
    bad = ~np.isfinite(flat)
    large = not bad.any()
    counts = (np.abs(flat) > MAX_ABSOLUTE_VALUE if large else bad).sum(0)
    columns = np.flatnonzero(counts)
    shown = ", ".join(f"{names[j] if names else j} ({counts[j]})" for j in columns[:5])
    more = f" and {len(columns) - 5} more columns" if len(columns) > 5 else ""
    if large:
        raise InputError(
            f"{what} must not exceed {MAX_ABSOLUTE_VALUE:g}, got larger numbers in column {shown}{more}. Rescale them."
        )
    empty = any(counts[j] == len(flat) for j in columns[:5]) and len(flat) > 1
    remedy = DROP_COLUMNS if empty else IMPUTE
    raise InputError(f"{what} must be finite, got NaN or infinity in column {shown}{more}. {remedy}")


def is_integer_valued(values: np.ndarray) -> bool:
    """Whether every value is a whole number."""
    return values.dtype.kind != "f" or bool((values.flat[:100] % 1 == 0).all() and (values % 1 == 0).all())


def kind_of(values: np.ndarray, levels: int | None = None) -> str:
    """One of KINDS, read from the dtype and the values."""
    if values.dtype == bool:
        return "binary"
    if values.size and not values.flat[0] > 1 and bool(((values == 0) | (values == 1)).all()):
        return "binary"
    if values.dtype == np.uint8:
        return "levels"
    if levels is not None and values.min(initial=0) >= 0 and is_integer_valued(values):
        return "levels"
    if values.dtype.kind in "iu":
        return "counts" if values.min(initial=0) >= 0 else "real"
    return "unit" if values.min(initial=0) >= 0 and values.max(initial=1) <= 1 else "real"


def moments(columns: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and standard deviation (*X) of (n, *X) in double precision, and True where a column is constant.

    By blocks of rows: data that just fit into memory have no room for a second copy.
    """
    rows = max(1, NUMBERS_AT_ONCE // max(1, math.prod(columns.shape[1:])))
    blocks = [columns[start : start + rows] for start in range(0, len(columns), rows)]
    mean = sum(block.sum(0, dtype=np.float64) for block in blocks) / len(columns)
    squares = sum(np.square(block - mean).sum(0) for block in blocks)
    constant = np.logical_and.reduce([(block == columns[:1]).all(0) for block in blocks])
    return mean, np.sqrt(squares / len(columns)), constant


def has_underflow(columns: np.ndarray) -> np.ndarray:
    """(*X) True where (n, *X) are not constant and yet too close together for their squared differences."""
    _, deviation, constant = moments(columns)
    return (deviation < MIN_DIFFERENCE) & ~constant


def safe_std(columns: np.ndarray) -> np.ndarray:
    """Standard deviations of (n, *X); 1 where a column is constant (its computed deviation is rounding, not 0)."""
    _, deviation, constant = moments(columns)
    return np.where(constant | (deviation == 0), 1.0, deviation)


def scaling_of(values: np.ndarray, how: str) -> tuple[np.ndarray, np.ndarray]:
    """Shift and scale of (n, *X) by name; a constant column has scale 1."""
    if how == "none":
        return np.zeros(()), np.ones(())
    mean, deviation, constant = moments(values)
    if (columns := np.flatnonzero((deviation < MIN_DIFFERENCE) & ~constant)).size:
        raise InputError(f"column {columns[0]} must vary by more than {MIN_DIFFERENCE:g}. Rescale or drop it.")
    if how == "global":
        return mean, np.asarray(
            1.0 if constant.all() else np.sqrt(np.square(deviation[~constant]).sum() / deviation.size)
        )
    if how == "standard":
        return mean, np.where(constant, 1.0, deviation)
    raise unknown("scaling", how, ("auto", "standard", "global", "none"))
