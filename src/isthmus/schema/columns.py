"""What the data are: shape, columns, scaling; raw data to tensors and back."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from isthmus.schema.array_statistics import MAX_ABSOLUTE_VALUE, MAX_COUNT
from isthmus.schema.condition import Condition
from isthmus.schema.labels import Labels

ARRAYS = ("low", "high", "mean", "shift", "scale")
"""Fields of a schema that are arrays."""
KINDS = ("binary", "levels", "counts", "unit", "real", "category")
"""0 and 1; grey levels 0..k-1; counts; floats on [0, 1]; other floats; categories 0..k-1 without an order."""
WHOLE_KINDS = ("binary", "levels", "counts", "category")
"""Kinds whose values are whole numbers."""


@dataclass(frozen=True)
class Column:
    """Elements of x side by side that share a kind and a likelihood; a homogeneous array is one such column."""

    kind: str
    """One of KINDS."""
    likelihood: str = ""
    """Name of the likelihood, with its arguments; "" for a user-defined part."""
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
    library: str = ""
    """Of the DataFrame that the training data were: pandas or polars; "" for arrays."""
    dtypes: tuple[str, ...] = ()
    """NumPy types of its columns; "" for those that were not numeric."""
    sequence: bool = False
    binarize: bool = False
    paired: bool = False
    """Whether training had clean rows beside damaged ones, which then need not be of the same kind."""
    condition: Condition | None = None
    labels: Labels | None = None
    """The classes of a model that learns from labels, which `compose` may read; None once another model is fitted."""
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
        discrete: bool | None = None,
        **kwargs: Any,
    ) -> Schema:
        """The schema of an array whose elements are all of one kind.

        Args:
            event_shape: (*X) shape of one example.
            kind: one of KINDS.
            dtype: NumPy type of the data.
            likelihood: its name, with its arguments; "" for a user-defined part.
            levels: grey levels, or categories; 0 for other kinds.
            discrete: whether the likelihood gives probabilities; by default, if the kind has whole numbers only.
            **kwargs: further fields.
        """
        discrete = kind in WHOLE_KINDS if discrete is None else discrete
        return cls(tuple(event_shape), (Column(kind, likelihood, levels, discrete),), dtype, **kwargs)

    @classmethod
    def side_by_side(cls, parts: list[Schema], **kwargs: Any) -> Schema:
        """The schema of a table whose blocks of columns have their own schemas; `kwargs` are further fields."""
        columns = tuple(replace(part.columns[0], width=part.size) for part in parts)
        arrays = {
            name: np.concatenate([np.broadcast_to(getattr(part, name), part.event_shape) for part in parts])
            for name in ARRAYS
        }
        return cls((sum(part.size for part in parts),), columns, parts[0].dtype, **(arrays | kwargs))

    def blocks(self) -> list[Schema]:
        """The schema of each column by itself, as a homogeneous table; the inverse of `side_by_side`."""
        arrays: dict[str, Any] = {name: np.broadcast_to(getattr(self, name), self.event_shape) for name in ARRAYS}
        blocks = []
        for column, width, end in zip(self.columns, self.widths, np.cumsum(self.widths)):
            kwargs = {name: values[end - width : end] for name, values in arrays.items()}
            blocks.append(Schema((width,), (column,), self.dtype, **kwargs))
        return blocks

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
        if self.likelihood == "bce" and self.is_share:
            return "cross-entropy"
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
        return self.likelihood == "bernoulli" and self.is_share

    @property
    def is_share(self) -> bool:
        """Whether x are numbers between 0 and 1 that are taken as they are."""
        return self.kind == "unit" and not self.binarize

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

    def clip(self, x: np.ndarray) -> np.ndarray:
        """Rows (n, *X) with numbers too large to be computed with as the largest that are not; NaN and infinity stay.

        To a trained model such a row is the least likely one, not a reason to score none.
        """
        if x.dtype.kind not in "iuf" or x.itemsize < 4 or x.shape[1:] != self.event_shape:
            return x
        with np.errstate(invalid="ignore"):
            if x.min(initial=0) >= -MAX_COUNT and x.max(initial=0) <= MAX_COUNT:  # not so with NaN
                return x
            counts = (self.per_element("kind") == "counts") & self.per_element("discrete").astype(bool)
            limit = np.where(counts, MAX_COUNT, MAX_ABSOLUTE_VALUE)
            large = (np.abs(x) > limit) & np.isfinite(x)
        return np.where(large, np.copysign(limit, x), x) if large.any() else x

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
        if self.labels is None:
            del config["labels"]  # most models: their files are those of versions without it
        if not self.library:
            del config["library"], config["dtypes"]
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Schema:
        """The inverse of `to_config`."""
        config = dict(config)
        if config.get("condition"):
            config["condition"] = Condition(**{k: tuple(v) for k, v in config["condition"].items()})
        if config.get("labels"):
            config["labels"] = Labels(tuple(config["labels"]["classes"]))
        for name in ("event_shape", "names", "dtypes"):
            config[name] = tuple(config.get(name, ()))
        config["columns"] = tuple(Column(**column) for column in config["columns"])
        for name in ARRAYS:
            config[name] = np.asarray(config[name], dtype=np.float64)
        return cls(**config)


MAX_SCALED = {torch.float32: 1e12, torch.float64: 1e100}
"""Largest number that networks read, in scaled units: squares of what they make of it must be finite, for a row that is
not has no score, and would count as neither usual nor unusual."""


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
            return raw.to(self.dtype) if raw.element_size() == 1 else self.within_limit(raw)
        if raw.element_size() == 1:  # at most 255: any precision holds the difference
            x = raw.to(self.dtype)
            return (x.sub_(self.small_shift) if self.centred else x).mul_(self.per_scale)
        # In double precision: a large mean must not eat the digits of a small spread.
        return self.within_limit((raw.double() - self.shift) / self.scale)

    @property
    def limit(self) -> float:
        """The largest number that networks read."""
        return MAX_SCALED[self.dtype]

    def within_limit(self, x: Tensor) -> Tensor:
        """Scaled numbers in the dtype of networks, none above the limit in size; NaN stays NaN."""
        wide = x if x.dtype == torch.float64 else x.to(self.dtype)  # others cannot hold the limit, or do not exceed it
        return wide.clamp(-self.limit, self.limit).to(self.dtype)
