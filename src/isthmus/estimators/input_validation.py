"""What is passed to `fit`: validated, described by a schema."""

from __future__ import annotations

import copy
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.utils.validation import validate_data

from isthmus.array_checks import (
    check_examples,
    length_mask,
    numeric_array,
    pad_to_training_length,
    to_numeric,
    validate_rows,
)
from isthmus.errors import InputError, unknown
from isthmus.estimators.hyperparameters import Hyperparameters
from isthmus.estimators.parts_by_name import parse
from isthmus.examples import Examples
from isthmus.families import Family, LevelFamily
from isthmus.inputs import as_examples
from isthmus.likelihoods import (
    AUTO,
    COUNTED,
    LEVELLED,
    LIKELIHOODS,
    NOT_A_DENSITY,
    levels_of,
    name_of,
    support_error,
)
from isthmus.schema import Condition, Rows, Schema, blocks_of, is_integer_valued, kind_of, moments, scaling_of


def validate_features(estimator: Hyperparameters, X: Any, *, reset: bool) -> np.ndarray:
    """X as a numeric array (n, *X), whose number and names of features scikit-learn learns (`reset`) or compares."""
    if not reset and (values := values_of_known_columns(estimator, X)) is not None:
        return numeric_array(values)
    try:
        array = validate_data(
            estimator,
            to_numeric(X),
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
    return numeric_array(array)


def values_of_known_columns(estimator: Hyperparameters, X: Any) -> np.ndarray | None:
    """The numbers of a DataFrame with the columns of training, of which nothing is left to be checked; else None.

    scikit-learn comes to the same numbers column by column, in longer than a row takes to be encoded.
    """
    names = getattr(estimator, "feature_names_in_", None)
    if names is None or not (hasattr(X, "iloc") and hasattr(X, "columns")):
        return None
    if not len(X) or X.columns.tolist() != names.tolist():
        return None
    values = X.to_numpy()
    return values if values.dtype.kind in "iuf" else None


def validate_inputs(estimator: Hyperparameters, rows: Examples) -> Examples:
    """The rows to train on, validated, without labels; scikit-learn's attributes of the features are set."""
    x = validate_features(estimator, rows.x, reset=True)
    names = feature_names(estimator)
    return validate_rows(x, feature_names=names, weight=rows.weight, **rows.model_kwargs())


def validate_new_rows(estimator: Any, X: Any, lengths: Any) -> np.ndarray:
    """Rows for a fitted estimator as an array; scikit-learn compares the number and names of the features."""
    return validate_features(estimator, pad_to_training_length(estimator.schema_, X, lengths), reset=False)


def feature_names(estimator: Hyperparameters) -> tuple[str, ...]:
    """Names of the columns that the estimator was fitted to, if they had any."""
    return tuple(map(str, getattr(estimator, "feature_names_in_", ())))


def validation_rows(validation: Any, schema: Schema, names: tuple[str, ...] = (), name: str = "validation") -> Examples:
    """Rows besides the training rows: an array, `Examples`, or a dict of X and the other arguments of `fit`.

    Args:
        validation: the rows.
        schema: that of the training rows.
        names: names of the columns, if any.
        name: what errors call the rows.
    """
    keys = ("X", "condition", "lengths", "target", "observed", "y", "sample_weight")
    kwargs = dict(validation) if isinstance(validation, dict) else {"X": validation}
    if set(kwargs) - set(keys) or "X" not in kwargs:
        raise InputError(f"{name} must be an array, or a dict of {', '.join(keys)}, got the keys {sorted(kwargs)}.")
    kwargs |= {"weight": kwargs.pop("sample_weight", None), "sequences": schema.sequence}
    try:
        rows = as_examples(use=names, **kwargs)
    except InputError as error:
        raise InputError(f"In the {name} rows: {error}") from None
    if schema.condition is None and rows.condition is not None:
        raise InputError(f"{name} must have no condition, as the training rows have none.")
    if schema.condition is not None and rows.condition is None and rows.y is None:
        raise InputError(f"{name} must have a condition, as the training rows. Pass it in a dict: 'condition': ...")
    if schema.paired and rows.target is None:
        raise InputError(f"{name} must have a target, as the training rows. Pass it in a dict: 'target': ...")
    if schema.labels is not None and rows.y is None:
        raise InputError(f"{name} must have labels, as the training rows. Pass them in a dict: 'y': ...")
    try:
        kwargs = rows.model_kwargs() | {"y": rows.y, "weight": rows.weight}
        examples = check_examples(schema, rows.x, feature_names=names, clip=False, **kwargs).without_zero_weight()
        if schema.labels is not None and examples.y is not None:
            schema.labels.encode(examples.y)  # raises for classes that the training rows do not have
        return examples
    except InputError as error:
        raise InputError(f"In the {name} rows: {error}") from None


# ------------------------------------------------------------------ the schema of the data


def infer_schema(estimator: Hyperparameters, inputs: Examples, train: np.ndarray) -> Schema:
    """Shape, kind and scaling of the data; whatever is estimated is estimated from the rows `train` alone."""
    x, target = inputs.x, inputs.target
    modelled = x if target is None else target
    if bool((modelled == modelled[:1]).all()):
        raise InputError(f"X must vary, got {len(x)} rows that are all the same.")
    if isinstance(estimator.likelihood, tuple | list):
        return infer_columns(estimator, inputs, train)
    name, schema = infer_schema_from_dtype(estimator, inputs)
    schema = replace(schema, condition=infer_condition(inputs, train))
    if estimator.binarize:
        return replace(schema, scale=np.asarray(max_grey_level(schema, modelled, estimator.levels)))
    error = support_error(name, schema.levels, estimator.levels, modelled)
    if error is not None:
        raise InputError(f"{error.message}: {error.remedy}")
    if name == "bernoulli" and schema.kind == "unit":
        warnings.warn("; ".join(NOT_A_DENSITY), UserWarning, stacklevel=4)
    if name in LEVELLED:
        return replace(schema, scale=np.asarray(float(schema.levels - 1)))
    weight = None if inputs.weight is None else inputs.weight[train]
    # (n, *X); of sequences (steps, d): each step of each row informs the same columns.
    values: Any = Rows(modelled, train)
    observed = None if inputs.observed is None else inputs.observed[train]
    if inputs.lengths is not None:
        values = values[:]
        real = length_mask(values, inputs.lengths[train])
        values, observed = values[real], None if observed is None else observed[real]
        weight = None if weight is None else np.repeat(weight, inputs.lengths[train])
    if name in COUNTED:
        most = max(float(block.max()) for block in blocks_of(values))
        return replace(schema, high=np.asarray(most), mean=moments(values, observed, weight)[0])
    shift, scale = scaling_of(values, scaling_name(estimator.scaling, schema, name), observed, weight)
    if observed is not None:
        values = np.where(observed, values[:], moments(values, observed, weight)[0])
    # Black and white are the same in all of an image; each column of a table has its own range.
    axis = None if schema.image else 0
    low, high = (
        (end([end(block, axis=axis) for block in blocks_of(values)], axis=axis) - shift) / scale
        for end in (np.min, np.max)
    )
    return replace(schema, shift=shift, scale=scale, low=low, high=high)


def infer_columns(estimator: Hyperparameters, inputs: Examples, train: np.ndarray) -> Schema:
    """The schema of a table whose columns have their own likelihoods, one name for each column.

    A categorical column holds categories 0..k-1 without an order. Raises InputError for other data than tables, and for
    another number of names than columns.
    """
    parts = [as_category(infer_schema(column, rows, train)) for column, rows in columns_apart(estimator, inputs)]
    kwargs: dict[str, Any] = {"names": feature_names(estimator), "condition": infer_condition(inputs, train)}
    return replace(Schema.side_by_side(parts, **kwargs), dtype=str(inputs.x.dtype))


def columns_apart(estimator: Hyperparameters, inputs: Examples) -> list[tuple[Hyperparameters, Examples]]:
    """Each column of a table by itself, with the estimator that has its likelihood.

    Args:
        estimator: its likelihood is a tuple of names.
        inputs: the table; columns of whole numbers become integers where their likelihood is one of levels or counts.

    Raises:
        InputError: for other data than tables, and for another number of names than columns.
    """
    names, x = tuple(estimator.likelihood), inputs.x  # type: ignore[arg-type]
    if x.ndim != 2 or x.shape[1] != len(names) or inputs.target is not None or estimator.binarize:
        raise InputError(
            f"likelihood must have one name for each column of a table (n, d), got {len(names)} for {x.shape}."
        )
    apart = []
    for j, likelihood in enumerate(names):
        column = copy.copy(estimator)
        column.likelihood = likelihood
        name, _ = parse(likelihood, "likelihood")
        values = x[:, [j]]
        if name in (*LEVELLED, *COUNTED) and is_integer_valued(values):
            values = values.astype(np.int64)
        observed = None if inputs.observed is None else inputs.observed[:, [j]]
        apart.append((column, Examples(values, observed=observed, weight=inputs.weight)))
    return apart


def as_category(part: Schema) -> Schema:
    """The schema of one column of unlike ones: a categorical one holds categories without an order."""
    (column,) = part.columns
    is_category = column.likelihood.partition("(")[0] == "categorical"
    return replace(part, columns=(replace(column, kind="category"),)) if is_category else part


def infer_condition(inputs: Examples, train: np.ndarray) -> Condition | None:
    """What the condition is, if there is one."""
    if inputs.condition is None:
        return None
    values = np.asarray(inputs.condition)
    if not values.ndim or values.dtype.kind != "f":
        return Condition.read(np.atleast_1d(values))
    return Condition.read(values[train], None if inputs.weight is None else inputs.weight[train])


def infer_schema_from_dtype(estimator: Hyperparameters, inputs: Examples) -> tuple[str, Schema]:
    """The likelihood's name, and the schema as far as it needs no statistics of the data."""
    modelled = inputs.x if inputs.target is None else inputs.target
    kind = kind_of(modelled, estimator.levels)
    name, arguments = likelihood_of(estimator, kind)
    levels = levels_of(name, arguments[0] if arguments else estimator.levels, modelled)
    read_as = "levels" if name in LEVELLED else "counts" if name in COUNTED else kind
    schema = Schema.homogeneous(
        event_shape=inputs.x.shape[1:],
        kind=read_as,
        dtype=str(modelled.dtype),
        likelihood=format_call(name, arguments) if isinstance(estimator.likelihood, str) else "",
        levels=levels,
        names=feature_names(estimator),
        sequence=inputs.lengths is not None,
        binarize=bool(estimator.binarize),
        paired=inputs.target is not None,
        discrete=name in LIKELIHOODS and LIKELIHOODS[name].discrete,
    )
    return name, schema


def likelihood_of(estimator: Hyperparameters, kind: str) -> tuple[str, tuple[Any, ...]]:
    """Name and arguments of the likelihood for data of this kind; of a user-defined part, those of its class."""
    part = estimator.likelihood
    if not isinstance(part, str):
        if not isinstance(part, Family):
            got = type(part).__name__
            raise InputError(f"likelihood must be a name, names or a module of isthmus.families, got {got}.")
        return name_of(part), (part.levels,) if isinstance(part, LevelFamily) else ()
    if estimator.binarize:
        if part not in ("auto", "bernoulli", "bce"):
            raise InputError(f"likelihood must be 'bernoulli' with binarize=True, got {part!r}.")
        return "bernoulli", ()
    if part == "auto":
        return AUTO[kind], ()
    name, arguments = parse(part, "likelihood")
    if name not in LIKELIHOODS:
        raise unknown("likelihood", name, ("auto", *LIKELIHOODS))
    return name, arguments


def format_call(name: str, arguments: tuple[Any, ...]) -> str:
    """The inverse of `parse`.

    >>> format_call("normal", (0.1,)), format_call("laplace", ())
    ('normal(0.1)', 'laplace')
    """
    return f"{name}({', '.join(map(repr, arguments))})" if arguments else name


def scaling_name(requested: str, schema: Schema, likelihood: str) -> str:
    """`auto`: none if the likelihood is discrete or on [0, 1], else global for images and standard for tables."""
    if requested not in ("auto", "standard", "global", "none"):
        raise unknown("scaling", str(requested), ("auto", "standard", "global", "none"))
    if schema.discrete or likelihood == "continuous_bernoulli":
        return "none"
    if requested != "auto":
        return requested
    return "global" if schema.image or schema.kind == "levels" else "standard"


def max_grey_level(schema: Schema, values: np.ndarray, levels: int | None) -> float:
    """The value that always becomes the bit 1 under binarize=True; InputError for data that cannot become bits."""
    if schema.kind not in ("levels", "unit", "binary") or (schema.kind == "levels" and values.dtype != np.uint8):
        raise InputError(f"X must be bytes or floats from 0 to 1 with binarize=True, got {schema.kind} data.")
    if schema.kind != "levels" and (levels is None or values.dtype != np.uint8):
        return 1.0
    white = 255 if levels is None else levels - 1
    if values.max() > white:
        raise InputError(f"X must be at most {white} with levels={levels}, got values up to {values.max()}.")
    return float(white)
