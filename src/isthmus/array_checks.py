"""Arrays that a user passes, converted to NumPy and validated; every error is one line that says what to do."""

from __future__ import annotations

import contextlib
import math
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from isthmus.data import first_duplicate, split_numeric_columns
from isthmus.errors import InputError
from isthmus.examples import Examples
from isthmus.likelihoods import support_error
from isthmus.schema import Schema, check_finite
from isthmus.wording import quoted

if TYPE_CHECKING:
    import pandas as pd

MAX_CHANNELS = 4
"""Channels that come first are told from height and width by their number: red, green, blue and opacity at most."""
SHAPES = "(n, d), (n, h, w), (n, h, w, c), or (n, t, d) with lengths"


# ------------------------------------------------------------------ X


def to_array(X: Any) -> np.ndarray:
    """X as a numeric array (n, *X)."""
    numeric = to_numeric(X)
    numeric = numeric.to_numpy() if hasattr(numeric, "columns") else numeric
    try:
        array = np.asarray(numeric)
        array = array.astype(np.float64) if array.dtype.kind == "O" else array
    except (TypeError, ValueError) as error:
        raise InputError(f"X must be an array of numbers: {' '.join(str(error).split())}.") from error
    return numeric_array(array)


def to_numeric(X: Any) -> Any:
    """A tensor, list or array of strings as an array, a DataFrame with every column numeric; the rest as it is."""
    if isinstance(X, torch.Tensor):
        X = from_torch(X)
    if hasattr(X, "read") and not hasattr(X, "__array__"):
        raise InputError("X must be an array of numbers, got an open file. Pass what isthmus.read(path).train holds.")
    if np.ma.is_masked(X):
        masked = int(np.ma.getmaskarray(X).sum())
        raise InputError(f"X must not be masked, got {masked:,} masked values. Drop those rows or fill them in.")
    if (
        getattr(getattr(X, "dtype", None), "kind", "") == "c"
    ):  # the first words are those that scikit-learn's checks expect
        raise InputError("Complex data not supported: X must be real numbers. Pass X.real, or both parts as columns.")
    if isinstance(X, np.ndarray) and X.ndim == 1:
        raise InputError(f"X must be {SHAPES}, got shape {X.shape}. Reshape your data: X.reshape(-1, 1), or (1, -1).")
    if isinstance(X, list | tuple):
        with contextlib.suppress(ValueError):  # ragged lists are refused where the array is made
            strings = np.asarray(X)
            X = strings if strings.dtype.kind in "US" else X
    if isinstance(X, np.ndarray) and X.dtype.kind in "US":
        return parse_numeric_strings(X)
    if hasattr(X, "iloc") and hasattr(X, "columns"):
        return to_numeric_frame(X)
    return X


def numeric_array(array: np.ndarray) -> np.ndarray:
    """The array in the machine's byte order and float32 or float64; InputError for other shapes and dtypes."""
    if not 2 <= array.ndim <= 4:
        raise InputError(f"X must be {SHAPES}, got shape {array.shape}.")
    if array.dtype.kind not in "biuf":
        raise InputError(f"X must be real numbers, got dtype {array.dtype}.")
    if not len(array):
        raise InputError(f"X must have at least one row, got shape {array.shape}.")
    return to_native_dtype(array)


def from_torch(tensor: torch.Tensor) -> np.ndarray:
    """A tensor of any layout, precision and device as an array.

    Raises:
        InputError: for a tensor that holds no numbers.
    """
    if tensor.is_meta:
        raise InputError("a tensor must hold numbers, got one on the meta device. Make it on the CPU or a GPU.")
    dense = tensor.detach().cpu()
    if dense.is_quantized:
        dense = dense.dequantize()
    if dense.layout != torch.strided:
        dense = dense.to_dense()
    return (dense.float() if dense.dtype == torch.bfloat16 else dense).numpy()


def to_numeric_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with every column numeric; InputError names the first value that is not a number."""
    if not frame.columns.is_unique:
        raise InputError(f"X must have unique column names, got {first_duplicate(frame.columns)}.")
    numeric, words = split_numeric_columns(frame)
    if words:
        raise InputError(f"{words[0].message}. {words[0].fix}")
    return numeric.set_axis(frame.columns, axis=1)


def parse_numeric_strings(strings: np.ndarray) -> np.ndarray:
    """Strings (n, d) that spell numbers, as numbers; InputError names the first that does not."""
    import pandas as pd

    if strings.ndim != 2:
        raise InputError(f"X must be an array of numbers, got dtype {strings.dtype} and shape {strings.shape}.")
    return to_numeric_frame(pd.DataFrame(strings)).to_numpy()


def to_native_dtype(array: np.ndarray) -> np.ndarray:
    """The array in the machine's byte order, floats as float32 or float64 (larger numbers become infinite)."""
    if array.dtype.kind == "f" and array.dtype.itemsize not in (4, 8):
        with np.errstate(over="ignore"):
            return array.astype(np.float32 if array.dtype.itemsize < 4 else np.float64)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


# ------------------------------------------------------------------ what accompanies X


def validate_rows(
    x: np.ndarray,
    condition: Any = None,
    lengths: Any = None,
    target: Any = None,
    observed: Any = None,
    y: Any = None,
    feature_names: tuple[str, ...] = (),
    weight: Any = None,
) -> Examples:
    """x (n, *X) and what accompanies it, each as an array with one entry for each row.

    Padding and values that were not observed become 0: whatever stands there, no number may depend on it. A mask that
    is True everywhere is dropped: the same rows without it must not be treated otherwise.
    """
    steps = as_lengths(lengths, x)
    seen = as_observed(observed, x)
    if seen is not None and seen.all():
        seen = None
    if steps is not None:
        x = np.where(length_mask(x, steps)[..., None], x, np.zeros((), x.dtype))
    if seen is not None:
        x = np.where(seen, x, np.zeros((), x.dtype))
    check_finite(x, "X", feature_names)
    return Examples(
        x,
        y=None if y is None else as_labels(y, len(x)),
        condition=as_condition(condition, len(x)),
        lengths=steps,
        target=as_target(target, x, steps),
        observed=seen,
        weight=as_weight(weight, len(x)),
    )


def length_mask(x: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """(n, t) True where a step is not padding."""
    return np.arange(x.shape[1]) < lengths[:, None]


def zero_padding(x: np.ndarray, lengths: Any) -> np.ndarray:
    """x (n, t, d) with 0 in the padding, changed in place; x as it is if `lengths` is None."""
    steps = as_lengths(lengths, x)
    if steps is not None:
        x[~length_mask(x, steps)] = 0
    return x


def as_lengths(lengths: Any, x: np.ndarray) -> np.ndarray | None:
    """(n,) int64 from 1 to the padded length."""
    if lengths is None:
        return None
    values = to_cpu_array(lengths)
    if x.ndim != 3:
        raise InputError(f"X must be padded sequences (n, t, d) with lengths, got shape {x.shape}.")
    if values.shape != (len(x),) or values.dtype.kind not in "iu":
        raise InputError(f"lengths must be ({len(x)},) integers, got shape {values.shape} and dtype {values.dtype}.")
    if values.min() < 1 or values.max() > x.shape[1]:
        raise InputError(f"lengths must be from 1 to {x.shape[1]}, got {values.min()} to {values.max()}.")
    return values.astype(np.int64)


def as_observed(observed: Any, x: np.ndarray) -> np.ndarray | None:
    """(n, *X) booleans, False where a value of x is missing."""
    if observed is None:
        return None
    values = to_cpu_array(observed)
    if values.shape != x.shape or values.dtype != bool:
        raise InputError(
            f"observed must be booleans of X's shape {x.shape}, got dtype {values.dtype} and shape {values.shape}."
        )
    return values


def as_condition(condition: Any, n: int) -> np.ndarray | None:
    """A condition as an array with one entry per row; one entry for all rows is repeated."""
    if condition is None:
        return None
    values = to_cpu_array(condition)
    if values.ndim == 0:
        return np.repeat(values, n)
    if len(values) == 1 != n:
        return np.repeat(values, n, 0)
    if len(values) != n:
        raise InputError(f"condition must have one entry for each of the {n} rows, got {len(values)} rows.")
    return values


def as_labels(y: Any, n: int) -> np.ndarray:
    """Labels (n,)."""
    values = to_cpu_array(y)
    if values.dtype.kind == "U" and isinstance(y, list | tuple):  # NaN beside text would have become text
        values = np.array(y, dtype=object)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.shape != (n,):
        raise InputError(f"y must be ({n},) labels, got shape {values.shape}.")
    return values


def as_weight(weight: Any, n: int) -> np.ndarray | None:
    """Weights (n,) in double precision; None where all are 1, for the same rows without them must not differ."""
    if weight is None:
        return None
    values = to_cpu_array(weight)
    if values.shape != (n,) or values.dtype.kind not in "biuf":
        got = f"shape {values.shape} and dtype {values.dtype}"
        raise InputError(f"sample_weight must be ({n},) numbers, one for each row, got {got}.")
    values = values.astype(np.float64)
    if not np.isfinite(values).all() or values.min(initial=0.0) < 0:
        bad = values[~(np.isfinite(values) & (values >= 0))][0]
        raise InputError(f"sample_weight must be finite numbers >= 0, got {bad:g}.")
    if not values.any():
        raise InputError("sample_weight must have a number > 0, got only zeros.")
    return None if (values == 1).all() else values


def as_target(target: Any, x: np.ndarray, lengths: np.ndarray | None) -> np.ndarray | None:
    """The clean rows of paired data, in the shape and kind of x."""
    if target is None:
        return None
    values = to_cpu_array(target)
    if values.shape != x.shape:
        raise InputError(f"target must have the shape of X, {x.shape}, got {values.shape}.")
    if values.dtype.kind not in "biuf":
        raise InputError(f"target must be real numbers, got dtype {values.dtype}.")
    if lengths is not None:
        values = np.where(length_mask(x, lengths)[..., None], values, np.zeros((), values.dtype))
    check_finite(values, "target")
    return values.astype(x.dtype, copy=False) if values.dtype.kind == x.dtype.kind else to_native_dtype(values)


def as_codes(codes: Any, shape: tuple[int, ...]) -> torch.Tensor:
    """Codes (n, *shape), finite."""
    try:
        values = torch.as_tensor(from_torch(codes) if isinstance(codes, torch.Tensor) else np.array(codes))
    except InputError:
        raise
    except (TypeError, ValueError):
        raise InputError(f"codes must be an array of numbers, got {type(codes).__name__} {quoted(codes)}.") from None
    if tuple(values.shape[1:]) != shape or not values.ndim:
        expected = ", ".join(map(str, shape))
        raise InputError(f"codes must have shape (n, {expected}), got {tuple(values.shape)}.")
    if not bool(values.isfinite().all()):
        raise InputError("codes must be finite, got NaN or infinity.")
    return values


def to_cpu_array(values: Any) -> np.ndarray:
    """An array, list or tensor as an array."""
    try:
        return from_torch(values) if isinstance(values, torch.Tensor) else np.asarray(values)
    except ValueError as error:
        raise InputError(f"what is passed for each row must be an array or lists of one length: {error}.") from None


# ------------------------------------------------------------------ rows for a trained model


def check_examples(
    schema: Schema,
    X: Any,
    condition: Any = None,
    lengths: Any = None,
    target: Any = None,
    observed: Any = None,
    y: Any = None,
    feature_names: tuple[str, ...] = (),
    weight: Any = None,
    clip: bool = True,
) -> Examples:
    """Rows validated for a model trained on data of `schema`; InputError says which cannot be used and why.

    The labels `y` are the condition of a conditional model if there is no other. Unless `clip` is
    False, as in a fit, too large numbers are clipped.
    """
    if condition is None and schema.condition is not None:
        condition = y
    x = to_array(pad_to_training_length(schema, X, lengths))
    if x.shape[1:] != schema.event_shape:
        raise another_shape(x.shape[1:], schema.event_shape)
    if (lengths is None) == schema.sequence:
        raise InputError(
            "lengths must be given to a model of sequences. Pass lengths=... (in a file: an .npz with X and lengths)."
            if schema.sequence
            else "lengths must be None for a model that was trained without lengths."
        )
    if clip:
        x, target = schema.clip(x), None if target is None else schema.clip(to_cpu_array(target))
    examples = validate_rows(x, condition, lengths, target, observed, y, feature_names, weight)
    known = examples.target if schema.paired else examples.x
    if known is not None:
        check_support(schema, known)
    if schema.binarize and examples.x.dtype.kind in "iu":
        examples = replace(examples, x=examples.x.astype(np.uint8))
    return examples.mark_checked(schema)


def pad_to_training_length(schema: Schema, X: Any, lengths: Any) -> Any:
    """Sequences padded or cut to the number of steps in training; InputError for rows of another shape."""
    shape = tuple(getattr(X, "shape", ()))
    tables = len(shape) == 2 and len(schema.event_shape) == 1  # scikit-learn compares the number of features
    if len(shape) < 2 or tables or shape[1:] == schema.event_shape:
        return X
    if not schema.sequence or lengths is None or shape[2:] != schema.event_shape[1:]:
        raise another_shape(shape[1:], schema.event_shape, tensor=isinstance(X, torch.Tensor))
    x, steps = from_torch(X) if isinstance(X, torch.Tensor) else np.asarray(X), schema.event_shape[0]
    longest = int(as_lengths(lengths, x).max(initial=0))  # type: ignore[union-attr]
    if longest > steps:
        raise InputError(f"lengths must be at most {steps} as in training, got {longest}.")
    return np.pad(x, ((0, 0), (0, max(0, steps - x.shape[1])), (0, 0)))[:, :steps]


def check_support(schema: Schema, x: np.ndarray) -> None:
    """Raise InputError for values to which the trained likelihood gives no density."""
    if schema.binarize:
        white = 1 if x.dtype.kind in "bf" else int(schema.scale)
        if x.min() < 0 or x.max() > white:
            grey = f"integers from 0 to {int(schema.scale)}, " if schema.scale > 1 else ""
            raise InputError(
                f"X must be {grey}floats from 0 to 1 or booleans, got {x.dtype} values from {x.min():g} to {x.max():g}."
            )
        if white > 1 == x.max():
            warnings.warn(
                f"0 and 1 as bytes are nearly black to this model, whose white is {white}. If they are bits, pass "
                "X.astype(bool).",
                UserWarning,
                stacklevel=5,
            )
        return
    blocks = [x] if len(schema.columns) == 1 else np.split(x, np.cumsum(schema.widths)[:-1], axis=1)
    for column, block in zip(schema.columns, blocks):
        name = column.likelihood.partition("(")[0]
        error = support_error(name, column.levels, None, block) if name else None
        if error is not None:
            raise InputError(f"{error.message}. The training data had none of these.")


def another_shape(shape: tuple[int, ...], expected: tuple[int, ...], tensor: bool = False) -> InputError:
    """The error for rows of another shape than in training, with the way to rearrange them if there is one."""
    got, wanted = (f"{s[0]} features" if len(s) == 1 else f"shape {s}" for s in (shape, expected))
    way = rearrangement(shape, expected)
    advice = f" Pass {way.replace('transpose', 'permute') if tensor else way}." if way else ""
    return InputError(f"X must have rows of {wanted} as in training, got {got}.{advice}")


def rearrangement(shape: tuple[int, ...], expected: tuple[int, ...]) -> str:
    """X with rows of `shape` as rows of the shape `expected`, where channels or pixels are only arranged otherwise.

    >>> rearrangement((3, 32, 32), (32, 32, 3)), rearrangement((28, 28), (784,)), rearrangement((28, 28), (32, 32))
    ('X.transpose(0, 2, 3, 1)', 'X.reshape(len(X), -1)', '')
    """
    if shape[1:] == expected and shape[0] == 1:
        return "X[:, 0]"
    if shape[:-1] == expected and shape[-1] == 1:
        return "X[..., 0]"
    if (*shape, 1) == expected:
        return "X[..., None]"
    if (1, *shape) == expected:
        return "X[:, None]"
    if len(shape) == 3 and (*shape[1:], shape[0]) == expected:
        return "X.transpose(0, 2, 3, 1)"
    if len(shape) == 3 and (shape[2], *shape[:2]) == expected:
        return "X.transpose(0, 3, 1, 2)"
    if math.prod(shape) == math.prod(expected) and 1 in (len(shape), len(expected)):
        return f"X.reshape({', '.join(map(str, (-1, *expected)))})" if len(expected) > 1 else "X.reshape(len(X), -1)"
    return ""


def looks_channels_first(shape: tuple[int, ...]) -> bool:
    """Whether images of shape (n, ...) seem to have their channels before height and width."""
    return len(shape) == 4 and shape[1] <= MAX_CHANNELS < min(shape[2:])
