"""What a user hands to a model, checked once and turned into arrays."""

from __future__ import annotations

import contextlib
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.utils.validation import validate_data

from isthmus.data import first_duplicate, split_numeric_columns
from isthmus.errors import InputError
from isthmus.estimators.likelihood_support import (
    NOT_A_DENSITY,
    levels_of,
    likelihood_of,
    refusal,
    scaling_name,
    spelled,
)
from isthmus.estimators.part_registry import COUNTED, LEVELLED, LIKELIHOODS
from isthmus.examples import Examples
from isthmus.schema import Condition, Schema, check_finite, kind_of, scaling_of

if TYPE_CHECKING:
    import pandas as pd

    from isthmus.estimators.base import Estimator


def as_array(estimator: Estimator, X: Any, *, reset: bool) -> np.ndarray:
    """NumPy, a tensor or a DataFrame to a numeric array (n, *X), checked; shape as it came, dtype as it can be used."""
    if hasattr(X, "detach"):
        X = from_torch(X)
    if np.ma.is_masked(X):
        raise InputError(f"X has {int(np.ma.getmaskarray(X).sum()):,} masked values; drop those rows or fill them in")
    if isinstance(X, np.ndarray) and X.ndim == 1:
        raise InputError(f"X has shape {X.shape}; (n, d) is wanted. Reshape your data: X.reshape(-1, 1), or (1, -1)")
    if isinstance(X, list | tuple):
        with contextlib.suppress(ValueError):  # ragged: told below
            words = np.asarray(X)
            X = words if words.dtype.kind in "US" else X
    if isinstance(X, np.ndarray) and X.dtype.kind in "US":
        X = spelled_out(X)
    elif hasattr(X, "iloc") and hasattr(X, "columns"):
        X = numbers_of(X)
    try:
        array = validate_data(
            estimator,
            X,
            reset=reset,
            allow_nd=True,
            ensure_all_finite=False,
            dtype="numeric",
            ensure_min_samples=2 if reset else 1,
        )
    except InputError:
        raise
    except ValueError as error:
        raise InputError(" ".join(str(error).split())) from error
    if array.ndim > 4:
        raise InputError(f"X has shape {array.shape}; (n, d), (n, h, w), (n, h, w, c) or (n, t, d) is wanted")
    if array.dtype.kind not in "biuf":
        raise InputError(f"X has dtype {array.dtype}; numbers are wanted")
    return native(array)


def from_torch(tensor: Any) -> np.ndarray:
    """A tensor of any layout and precision, on any device, as an array."""
    dense = tensor.detach().cpu().to_dense() if tensor.is_sparse else tensor.detach().cpu()
    return (dense.float() if dense.dtype == torch.bfloat16 else dense).numpy()


def fitted_to(schema: Schema, X: Any, lengths: Any) -> Any:
    """Sequences padded or cut to the steps of training; InputError for images of another size."""
    shape = tuple(getattr(X, "shape", ()))
    if len(shape) < 3 or shape[1:] == schema.event_shape:
        return X
    if not schema.sequence or lengths is None or shape[2:] != schema.event_shape[1:]:
        raise InputError(f"rows of shape {shape[1:]} came; {schema.event_shape} is wanted, as in training")
    x, steps = from_torch(X) if hasattr(X, "detach") else np.asarray(X), schema.event_shape[0]
    longest = int(as_lengths(lengths, x).max(initial=0))  # type: ignore[union-attr]
    if longest > steps:
        raise InputError(f"sequences of up to {longest} steps came; this model was trained on {steps} at most")
    return np.pad(x, ((0, 0), (0, max(0, steps - x.shape[1])), (0, 0)))[:, :steps]


def numbers_of(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with every column as numbers; InputError names the first value that is none."""
    if not frame.columns.is_unique:
        raise InputError(f"X has {first_duplicate(frame.columns)}; give every column a name of its own")
    numbers, words = split_numeric_columns(frame)
    if words:
        raise InputError(f"{words[0].message}. {words[0].fix}")
    return numbers.set_axis(frame.columns, axis=1)


def spelled_out(words: np.ndarray) -> np.ndarray:
    """Words (n, d) that spell numbers as these; InputError names the first that spells none."""
    import pandas as pd

    if words.ndim != 2:
        raise InputError(f"X has shape {words.shape} and dtype {words.dtype}; numbers are wanted")
    return numbers_of(pd.DataFrame(words)).to_numpy()


def native(array: np.ndarray) -> np.ndarray:
    """The array in the machine's byte order, floats in 4 or 8 bytes; what is too large for these becomes infinite."""
    if array.dtype.kind == "f" and array.dtype.itemsize not in (4, 8):
        with np.errstate(over="ignore"):
            return array.astype(np.float32 if array.dtype.itemsize < 4 else np.float64)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def collect(
    estimator: Estimator, X: Any, condition: Any, lengths: Any, target: Any = None, *, reset: bool = False
) -> Examples:
    """Everything that comes with the rows, checked against them."""
    if not reset:
        X = fitted_to(estimator.schema_, X, lengths)
    x = as_array(estimator, X, reset=reset)
    if not reset and x.shape[1:] != estimator.schema_.event_shape:
        raise InputError(f"rows of shape {x.shape[1:]} came; {estimator.schema_.event_shape} is wanted, as in training")
    steps = as_lengths(lengths, x)
    if steps is not None:  # padding may hold anything: it is never looked at
        x = np.where(real_steps(x, steps)[..., None], x, np.zeros((), x.dtype))
    check_finite(x, "X", tuple(getattr(estimator, "feature_names_in_", ())))
    clean = as_target(target, x, steps)
    if not reset:
        known = clean if estimator.schema_.paired else x
        if known is not None:
            check_values(estimator.schema_, known)
        if estimator.schema_.binarize and x.dtype.kind in "iu":
            x = x.astype(np.uint8)
    return Examples(x, condition=as_condition(condition, len(x)), lengths=steps, target=clean)


def check_values(schema: Schema, x: np.ndarray) -> None:
    """Raise InputError for values that a trained model does not know: bytes for bits, levels beyond its own."""
    if schema.binarize:
        white = 1 if x.dtype.kind in "bf" else int(schema.scale)
        if x.min() < 0 or x.max() > white:
            grey = f"integers from 0 to {int(schema.scale)}, " if schema.scale > 1 else ""
            raise InputError(
                f"{x.dtype} values from {x.min():g} to {x.max():g} came; {grey}floats from 0 to 1 or booleans are "
                "wanted"
            )
        if white > 1 == x.max():
            warnings.warn(
                f"bytes of 0 and 1 are nearly black to this model, whose white is {white}; pass X.astype(bool) if they "
                "are bits",
                UserWarning,
                stacklevel=4,
            )
        return
    name = schema.likelihood.partition("(")[0]
    refused = refusal(name, schema.levels, None, x) if name else None
    # Whole floats are as good as integers to a model that knows what they mean.
    if refused is not None and refused.bad.any():
        raise InputError(f"{refused.message}, unlike in training")


def real_steps(x: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """(n, t) True where a step is not padding."""
    return np.arange(x.shape[1]) < lengths[:, None]


def unpadded(x: np.ndarray, lengths: Any) -> np.ndarray:
    """Decoded rows (n, *X) with 0 beyond the end of each, where lengths are given."""
    steps = as_lengths(lengths, x)
    if steps is not None:
        x[~real_steps(x, steps)] = 0
    return x


def as_condition(condition: Any, n: int) -> np.ndarray | None:
    """A condition as an array, one entry a row (one for all is repeated later)."""
    if condition is None:
        return None
    values = np.asarray(condition.detach().cpu() if hasattr(condition, "detach") else condition)
    if values.ndim == 0:
        return np.repeat(values, n)
    if len(values) == 1 != n:
        return np.repeat(values, n, 0)
    if len(values) != n:
        raise InputError(f"the condition has {len(values)} rows and the data {n}; one condition a row is wanted")
    return values


def as_codes(codes: Any, width: int) -> torch.Tensor:
    """Codes (n, width), finite."""
    try:
        values = torch.as_tensor(from_torch(codes) if hasattr(codes, "detach") else np.array(codes))
    except (TypeError, ValueError):
        raise InputError("codes must be numbers") from None
    if values.ndim != 2 or values.shape[1] != width:
        raise InputError(f"codes of shape {tuple(values.shape)} came; (n, {width}) is wanted")
    if not bool(values.isfinite().all()):
        raise InputError("the codes contain NaN or infinity")
    return values


def as_lengths(lengths: Any, x: np.ndarray) -> np.ndarray | None:
    """(n,) whole numbers from 1 to the padded length."""
    if lengths is None:
        return None
    values = np.asarray(lengths)
    if x.ndim != 3:
        raise InputError(f"lengths were given with rows of shape {x.shape[1:]}; padded sequences (n, t, d) are wanted")
    if values.shape != (len(x),) or values.dtype.kind not in "iu":
        raise InputError(f"lengths have shape {values.shape} and dtype {values.dtype}; ({len(x)},) integers are wanted")
    if values.min() < 1 or values.max() > x.shape[1]:
        raise InputError(f"lengths go from {values.min()} to {values.max()}; 1 to {x.shape[1]} is wanted")
    return values.astype(np.int64)


def as_target(target: Any, x: np.ndarray, lengths: np.ndarray | None) -> np.ndarray | None:
    """The clean rows of paired data, in the shape and kind of x."""
    if target is None:
        return None
    values = np.asarray(target.detach().cpu() if hasattr(target, "detach") else target)
    if values.shape != x.shape:
        raise InputError(f"target has shape {values.shape} and X {x.shape}; they must be alike")
    if values.dtype.kind not in "biuf":
        raise InputError(f"target has dtype {values.dtype}; numbers are wanted")
    if lengths is not None:
        values = np.where(real_steps(x, lengths)[..., None], values, np.zeros((), values.dtype))
    check_finite(values, "target")
    return values.astype(x.dtype, copy=False) if values.dtype.kind == x.dtype.kind else native(values)


def describe(estimator: Estimator, inputs: Examples, train: np.ndarray) -> Schema:
    """What the data are, and how they are scaled; only the rows `train` teach anything that is learned."""
    x, target = inputs.x, inputs.target
    wanted = x if target is None else target
    if bool((wanted == wanted[:1]).all()):
        raise InputError(f"all {len(x)} rows are the same; there is nothing to learn from constant data")
    name, schema = outlined(estimator, inputs)
    if inputs.condition is not None:
        values = np.asarray(inputs.condition)
        known = Condition.read(values[train] if values.ndim and values.dtype.kind == "f" else np.atleast_1d(values))
        schema = replace(schema, condition=known)
    if estimator.binarize:
        return replace(schema, scale=np.asarray(white_of(schema, wanted, estimator.levels)))
    refused = refusal(name, schema.levels, estimator.levels, wanted)
    if refused is not None:
        raise InputError(f"{refused.message}: {refused.remedy}")
    if name == "bernoulli" and schema.kind == "unit":
        warnings.warn("; ".join(NOT_A_DENSITY), UserWarning, stacklevel=4)
    if name in LEVELLED:
        return replace(schema, scale=np.asarray(float(schema.levels - 1)))
    taught = wanted[train]  # (n, *X); of sequences (steps, d): each step of each row teaches the same columns
    if inputs.lengths is not None:
        taught = taught[real_steps(taught, inputs.lengths[train])]
    if name in COUNTED:
        return replace(schema, high=np.asarray(float(taught.max())), mean=taught.mean(0, dtype=np.float64))
    shift, scale = scaling_of(taught, scaling_name(estimator.scaling, schema, name))
    # Black and white are the same in all of an image; each column of a table has ends of its own.
    low, high = ((end(taught, axis=None if schema.image else 0) - shift) / scale for end in (np.min, np.max))
    return replace(schema, shift=shift, scale=scale, low=low, high=high)


def outlined(estimator: Estimator, inputs: Examples) -> tuple[str, Schema]:
    """The likelihood's name, and the schema as far as nothing has to be learned for it."""
    wanted = inputs.x if inputs.target is None else inputs.target
    kind = kind_of(wanted, estimator.levels)
    name, arguments = likelihood_of(estimator, kind)
    levels = levels_of(name, arguments[0] if arguments else estimator.levels, wanted)
    read_as = "levels" if name in LEVELLED else "counts" if name in COUNTED else kind
    schema = Schema.homogeneous(
        event_shape=inputs.x.shape[1:],
        kind=read_as,
        dtype=str(wanted.dtype),
        likelihood=spelled(name, arguments) if isinstance(estimator.likelihood, str) else "",
        levels=levels,
        names=tuple(map(str, getattr(estimator, "feature_names_in_", ()))),
        sequence=inputs.lengths is not None,
        binarize=bool(estimator.binarize),
        paired=inputs.target is not None,
        discrete=name in LIKELIHOODS and LIKELIHOODS[name].discrete,
    )
    return name, schema


def white_of(schema: Schema, values: np.ndarray, levels: int | None) -> float:
    """The value of data to be made bits that is surely 1; InputError for data of which no bits can be made."""
    if schema.kind not in ("levels", "unit", "binary") or (schema.kind == "levels" and values.dtype != np.uint8):
        raise InputError(f"binarize was asked for {schema.kind} data; bytes, or floats from 0 to 1, are wanted")
    if schema.kind != "levels" and (levels is None or values.dtype != np.uint8):
        return 1.0
    white = 255 if levels is None else levels - 1
    if values.max() > white:
        raise InputError(f"levels={levels} was given, and values up to {values.max()} came; {white} is the largest")
    return float(white)
