"""What a user hands to a model, checked once and turned into arrays."""

from __future__ import annotations

import dataclasses
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils.validation import validate_data

from isthmus import families
from isthmus.errors import InputError, unknown
from isthmus.estimators.parts import AUTO, COUNTED, FAMILIES, LEVELLED, LIKELIHOODS, parse
from isthmus.schema import Condition, Schema, finite, kind_of, scaling_of

if TYPE_CHECKING:
    from isthmus.estimators.base import Estimator


@dataclass(frozen=True)
class Inputs:
    """Rows and what comes with them, row by row."""

    x: np.ndarray
    condition: Any = None
    lengths: np.ndarray | None = None
    target: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.x)

    def take(self, index: np.ndarray) -> Inputs:
        """Some of the rows."""
        pick = [None if a is None else np.asarray(a)[index] for a in (self.condition, self.lengths, self.target)]
        return Inputs(self.x[index], *pick)


def as_array(estimator: Estimator, X: Any, *, reset: bool) -> np.ndarray:
    """NumPy, a tensor or a DataFrame to a numeric array (n, *X), checked; shape and dtype as they came."""
    if hasattr(X, "detach"):  # a torch tensor
        X = X.detach().cpu().numpy()
    if isinstance(X, np.ndarray) and X.dtype == bool and X.ndim > 1:
        X = X.view(np.uint8) if X.flags.c_contiguous else X.astype(np.uint8)
    if hasattr(X, "dtypes") and hasattr(X, "columns"):
        words = [
            str(c) for c, t in zip(X.columns, X.dtypes) if getattr(t, "kind", "O") not in "biuf" and _is_words(X[c])
        ]
        if words:
            raise InputError(
                f"column {words[0]!r} holds words ({X[words[0]].iloc[0]!r}); numbers are wanted: "
                "drop it, or encode it (pandas.get_dummies)"
            )
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
    if array.dtype.kind == "f" and array.dtype.itemsize not in (4, 8):
        array = array.astype(np.float32 if array.dtype.itemsize < 4 else np.float64)
    return array


def _is_words(column: Any) -> bool:
    try:
        column.astype(float)
    except (TypeError, ValueError):
        return True
    return False


def collect(
    estimator: Estimator, X: Any, condition: Any, lengths: Any, target: Any = None, *, reset: bool = False
) -> Inputs:
    """Everything that comes with the rows, checked against them."""
    x = as_array(estimator, X, reset=reset)
    if not reset and x.shape[1:] != estimator.schema_.event_shape:
        raise InputError(f"rows of shape {x.shape[1:]} came; {estimator.schema_.event_shape} is wanted, as in training")
    steps = as_lengths(lengths, x)
    if steps is not None:  # padding may hold anything: it is never looked at
        x = np.where(real_steps(x, steps)[..., None], x, np.zeros((), x.dtype))
    finite(x, "X", tuple(getattr(estimator, "feature_names_in_", ())))
    return Inputs(x, as_condition(condition, len(x)), steps, as_target(target, x))


def real_steps(x: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """(n, t) True where a step is not padding."""
    return np.arange(x.shape[1]) < lengths[:, None]


def as_condition(condition: Any, n: int) -> np.ndarray | None:
    """A condition as an array, one entry a row (one for all is repeated later)."""
    if condition is None:
        return None
    values = np.asarray(condition.detach().cpu() if hasattr(condition, "detach") else condition)
    if values.ndim and len(values) not in (1, n):
        raise InputError(f"the condition has {len(values)} rows and the data {n}; one condition a row is wanted")
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


def as_target(target: Any, x: np.ndarray) -> np.ndarray | None:
    """The clean rows of paired data, in the shape and kind of x."""
    if target is None:
        return None
    values = np.asarray(target.detach().cpu() if hasattr(target, "detach") else target)
    if values.shape != x.shape:
        raise InputError(f"target has shape {values.shape} and X {x.shape}; they must be alike")
    if values.dtype.kind not in "biuf":
        raise InputError(f"target has dtype {values.dtype}; numbers are wanted")
    finite(values, "target")
    return values.astype(x.dtype, copy=False) if values.dtype.kind == x.dtype.kind else values


def describe(estimator: Estimator, inputs: Inputs, train: np.ndarray) -> Schema:
    """What the data are, and how they are scaled; only the rows `train` teach anything that is learned."""
    x, target = inputs.x, inputs.target
    wanted = x if target is None else target
    if bool((wanted == wanted[:1]).all()):
        raise InputError(f"all {len(x)} rows are the same; there is nothing to learn from constant data")
    kind = kind_of(wanted, estimator.levels)
    name, arguments = likelihood_of(estimator, kind)
    chosen = LIKELIHOODS.get(name)
    condition = None
    if inputs.condition is not None:
        values = np.asarray(inputs.condition)
        condition = Condition.read(values[train] if values.ndim and values.dtype.kind == "f" else np.atleast_1d(values))
    schema = Schema(
        event_shape=x.shape[1:],
        kind=kind,
        dtype=str(wanted.dtype),
        likelihood=spelled(name, arguments) if isinstance(estimator.likelihood, str) else "",
        names=tuple(map(str, getattr(estimator, "feature_names_in_", ()))),
        sequence=inputs.lengths is not None,
        binarize=bool(estimator.binarize),
        condition=condition,
        discrete=chosen.discrete if chosen else False,
    )
    if estimator.binarize:
        if kind not in ("levels", "unit", "binary") or (kind == "levels" and wanted.dtype != np.uint8):
            raise InputError(f"binarize was asked for {kind} data; bytes, or floats from 0 to 1, are wanted")
        white = 255.0 if wanted.dtype == np.uint8 and kind == "levels" else 1.0
        return dataclasses.replace(schema, scale=np.asarray(white))
    check_support(name, kind, wanted)
    if name in LEVELLED:
        levels = int(arguments[0]) if arguments else estimator.levels or (256 if wanted.dtype == np.uint8 else 0)
        levels = levels or int(wanted.max()) + 1
        if wanted.max() >= levels or wanted.min() < 0:
            raise InputError(
                f"{name} of {levels} levels takes 0..{levels - 1}; values from {wanted.min()} to {wanted.max()} came"
            )
        return dataclasses.replace(schema, kind="levels", levels=levels, scale=np.asarray(float(levels - 1)))
    if name in COUNTED:
        return dataclasses.replace(schema, kind="counts", high=float(wanted.max()))
    how = scaling_name(estimator.scaling, schema, name)
    taught = wanted[train]  # (n, *X); of sequences (steps, d): each step of each row teaches the same columns
    if inputs.lengths is not None:
        taught = taught[real_steps(taught, inputs.lengths[train])]
    shift, scale = scaling_of(taught, how)
    schema = dataclasses.replace(schema, shift=shift, scale=scale)
    low, high = (float(f((f(taught, axis=0) - shift) / scale)) for f in (np.min, np.max))
    return dataclasses.replace(schema, low=low, high=high)


def likelihood_of(estimator: Estimator, kind: str) -> tuple[str, tuple[Any, ...]]:
    """The likelihood's name and arguments; for a part of the user's own, those of what it is made like."""
    if not isinstance(estimator.likelihood, str):
        part = estimator.likelihood
        name = next((n for n, family in FAMILIES.items() if isinstance(part, family)), "")
        return name, (part.levels,) if isinstance(part, families.LevelFamily) else ()
    if estimator.binarize:
        if estimator.likelihood not in ("auto", "bernoulli"):
            raise InputError(f"binarize makes bits, which {estimator.likelihood!r} does not fit; use 'bernoulli'")
        return "bernoulli", ()
    if estimator.likelihood == "auto":
        return AUTO[kind], ()
    name, arguments = parse(estimator.likelihood, "likelihood")
    if name not in LIKELIHOODS:
        raise unknown("likelihood", name, LIKELIHOODS)
    return name, arguments


def spelled(name: str, arguments: tuple[Any, ...]) -> str:
    """A call in text."""
    return f"{name}({', '.join(map(repr, arguments))})" if arguments else name


def check_support(name: str, kind: str, values: np.ndarray) -> None:
    """Raise InputError where the likelihood cannot give these values any density."""
    chosen = LIKELIHOODS.get(name)
    if chosen is None:
        return
    if kind not in chosen.kinds:
        low, high = values.min(), values.max()
        if name in COUNTED and low < 0:
            mend = f"{int((values < 0).sum())} values are negative; use likelihood='normal'"
        elif name == "bernoulli" and values.dtype == np.uint8:
            mend = "pass binarize=True, or X / 255.0"
        elif name.endswith("bernoulli"):
            mend = "pass X / 255.0" if values.dtype == np.uint8 else "rescale them, or use likelihood='normal'"
        else:
            mend = "pass integers (X.astype('uint8')), or use likelihood='normal'"
        raise InputError(f"{name} takes {chosen.wants}; {values.dtype} values from {low:g} to {high:g} came: {mend}")
    if name == "bernoulli" and kind == "unit":
        warnings.warn(
            "bernoulli on numbers between 0 and 1 is not a density, and its log-likelihood cannot be compared; "
            "use likelihood='continuous_bernoulli', or binarize=True",
            UserWarning,
            stacklevel=4,
        )


def scaling_name(asked: str, schema: Schema, likelihood: str) -> str:
    """`auto`: none where the likelihood is discrete or on [0, 1], else global for images and standard for tables."""
    if asked not in ("auto", "standard", "global", "none"):
        raise unknown("scaling", str(asked), ("auto", "standard", "global", "none"))
    if schema.discrete or likelihood == "continuous_bernoulli":
        return "none"
    if asked != "auto":
        return asked
    return "global" if schema.image or schema.kind == "levels" else "standard"
