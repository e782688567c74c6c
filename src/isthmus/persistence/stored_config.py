"""Whether config.json holds what isthmus writes there: types, ranges and sizes, before anything is made of it."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from isthmus.errors import InputError
from isthmus.estimators.hyperparameters import unused_fields
from isthmus.schema import ARRAYS, KINDS, Schema
from isthmus.train.runtime import MAX_THREADS
from isthmus.wording import one_line

MAX_WORDS = 10_000
"""Characters of a text."""
MAX_EPOCHS = 10**9
MAX_LEVELS = 2**24
"""Grey levels, of which some distributions make a list."""
MAX_DIMENSIONS = 8
"""Dimensions of one example."""
MAX_SIZE = 2**21
"""Numbers in one example of a model that has fewer weights than that."""
MAX_COLUMNS, MAX_LAYERS = 1000, 1000
"""Kinds of columns, and layers, of a model that has fewer weights, and fewer tensors, than that."""


@dataclass(frozen=True)
class Kind:
    """The values that an entry may have, and how a message describes them."""

    description: str
    holds: Callable[[Any], bool]


def whole(low: int, high: int) -> Kind:
    """Integers from `low` to `high`."""
    description = f"an integer from {low} to {high}"
    return Kind(description, lambda v: isinstance(v, int) and not isinstance(v, bool) and low <= v <= high)


def optional(kind: Kind) -> Kind:
    """A kind, or None."""
    return Kind(f"{kind.description} or null", lambda v: v is None or kind.holds(v))


def is_scalar(value: Any) -> bool:
    """Whether a value is what a field may hold: text, a truth value, None, or a number of 64 bits."""
    if isinstance(value, str):
        return len(value) <= MAX_WORDS
    return value is None or isinstance(value, float) or (isinstance(value, int) and -(2**63) <= value < 2**64)


def is_field(value: Any) -> bool:
    """Whether a value is what a field may hold: scalars, lists of them, and objects that stand for the user's parts."""
    if isinstance(value, dict | list):
        return all(map(is_field, value.values() if isinstance(value, dict) else value))
    return is_scalar(value)


def is_dtype(value: Any) -> bool:
    """Whether a value is the name of a NumPy type of numbers."""
    try:
        return isinstance(value, str) and np.dtype(value).kind in "biuf"
    except (TypeError, ValueError, SyntaxError):
        return False


WORDS = Kind(f"text of at most {MAX_WORDS:,} characters", lambda v: isinstance(v, str) and len(v) <= MAX_WORDS)
SWITCH = Kind("true or false", lambda v: isinstance(v, bool))
FIELDS = Kind(
    "an object of numbers, text and lists of them", lambda v: isinstance(v, dict) and all(map(is_field, v.values()))
)
OBJECT = Kind("an object", lambda v: isinstance(v, dict))
LIST = Kind("a list", lambda v: isinstance(v, list))
TEXTS = Kind("a list of texts", lambda v: isinstance(v, list) and all(map(WORDS.holds, v)))
LABELS = Kind(
    "a list of different labels",
    lambda v: isinstance(v, list) and all(map(is_scalar, v)) and len({repr(label) for label in v}) == len(v),
)
NUMBERS = Kind(
    "a list of finite numbers",
    lambda v: isinstance(v, list) and all(is_scalar(x) and isinstance(x, int | float) and math.isfinite(x) for x in v),
)
SHAPE = Kind(
    f"a list of up to {MAX_DIMENSIONS} integers >= 1",
    lambda v: isinstance(v, list) and 1 <= len(v) <= MAX_DIMENSIONS and all(map(whole(1, 2**40).holds, v)),
)

CONFIG = {
    "class": WORDS,
    "fields": FIELDS,
    "schema": OBJECT,
    "settings": OBJECT,
    "seed": whole(0, 2**63 - 1),
    "finished": SWITCH,
}
"""What every configuration holds."""
MORE = {
    "versions": Kind("an object of texts", lambda v: isinstance(v, dict) and all(map(WORDS.holds, v.values()))),
    "source": optional(OBJECT),
    "fingerprint": WORDS,
    "broken": optional(WORDS),
    "loss": OBJECT,
}
"""What only some hold: models that `isthmus fit` trained, or of which training failed."""
SETTINGS = {
    "threads": whole(1, MAX_THREADS),
    "precision": Kind("'float32', 'float64' or 'bf16'", lambda v: v in ("float32", "float64", "bf16")),
    "compile": SWITCH,
    "device": WORDS,
    "epochs": whole(0, MAX_EPOCHS),
    "chosen": FIELDS,
    "interrupted": SWITCH,
}
CHOSEN = ("latent_dim", "hidden", "prior")
"""Fields by which parts are made; where they are "auto", the settings hold what was chosen."""
CHOSEN_TO_TRAIN = (*CHOSEN, "initialization", "learning_rate", "weight_decay", "warmup", "clip")
"""Those by which training goes on, too."""
SOURCE = {"data": WORDS}
ROLES = {"condition": optional(WORDS), "id": optional(WORDS), "weight": optional(WORDS), "drop": TEXTS, "use": TEXTS}
"""Of the columns of a table, whose data are the source."""
LOSS = {
    "weights": Kind(
        "an object of numbers", lambda v: isinstance(v, dict) and all(isinstance(x, int | float) for x in v.values())
    ),
    "kl_terms": TEXTS,
}
SCHEMA = {
    "event_shape": SHAPE,
    "columns": LIST,
    "dtype": Kind("the name of a type of numbers", is_dtype),
    "names": TEXTS,
    "sequence": SWITCH,
    "binarize": SWITCH,
    "paired": SWITCH,
    "condition": optional(OBJECT),
    **dict.fromkeys(ARRAYS, Kind("an array", lambda v: isinstance(v, int | float | list))),
}
FRAME = {"library": Kind("'', 'pandas' or 'polars'", lambda v: v in ("", "pandas", "polars")), "dtypes": TEXTS}
"""What the schema of a DataFrame holds besides."""
COLUMN = {
    "kind": Kind(f"one of {', '.join(KINDS)}", lambda v: v in KINDS),
    "likelihood": WORDS,
    "levels": whole(0, MAX_LEVELS),
    "discrete": SWITCH,
    "width": whole(0, 2**40),
}
CONDITION = {"classes": LABELS, "shift": NUMBERS, "scale": NUMBERS}


def check_entries(
    values: Mapping[str, Any], required: Mapping[str, Kind], where: str = "", more: Mapping[str, Kind] | None = None
) -> None:
    """Raise InputError for the first entry that is missing or has another kind of value.

    Args:
        values: an object of the configuration.
        required: the entries that it must have, and the values that they may have.
        where: its place in the configuration, in messages.
        more: entries that it may lack.
    """
    for name, kind in {**required, **(more or {})}.items():
        if name not in values:
            if name in required:
                raise InputError(f"{where}{name} must be {kind.description}, got nothing.")
        elif not kind.holds(values[name]):
            got = one_line(reprlib.repr(values[name]), 60)
            raise InputError(f"{where}{name} must be {kind.description}, got {got}.")


def check_config(config: Mapping[str, Any]) -> None:
    """Raise InputError for a configuration that isthmus cannot have written, but for what its schema holds."""
    check_entries(config, CONFIG, more=MORE)
    check_entries(config["settings"], {}, "settings.", SETTINGS)
    if config.get("source") is not None:
        check_entries(config["source"], SOURCE, "source.", ROLES)
        check_entries(config, {"fingerprint": WORDS})
    if "loss" in config:
        check_entries(config["loss"], LOSS, "loss.")


def check_layers(values: Mapping[str, Any], tensors: int) -> None:
    """Raise InputError for more layers than a model of so many tensors can have: each takes a moment to make."""
    most = max(MAX_LAYERS, tensors)
    for name, value in values.items():
        if isinstance(value, list | tuple) and len(value) > most and all(isinstance(width, int) for width in value):
            raise InputError(f"{name} must list at most {most} layers, got {len(value)}.")


def check_chosen(fields: Mapping[str, Any], names: Sequence[str] = CHOSEN) -> None:
    """Raise InputError for a field of these names whose value was left open."""
    for name in names:
        if fields.get(name) == "auto" and name not in unused_fields(fields):
            raise InputError(f"settings.chosen must have the value of {name}, got nothing.")


def read_schema(config: Mapping[str, Any], weights: int) -> Schema:
    """The schema of a configuration, checked.

    Args:
        config: what `Schema.to_config` returned.
        weights: numbers in the weights of its model, which limit the size of an example.

    Raises:
        InputError: for a schema that isthmus cannot have written.
    """
    where = "schema."
    check_entries(config, SCHEMA, where, {"labels": optional(OBJECT), **FRAME})
    shape = tuple(config["event_shape"])
    size = math.prod(shape)
    if size > max(MAX_SIZE, weights):
        raise InputError(f"schema.event_shape must fit a model of {weights:,} weights, got {list(shape)}.")
    if not 1 <= len(config["columns"]) <= max(MAX_COLUMNS, weights):
        raise InputError(f"schema.columns must be a list of 1 to {size:,} columns, got {len(config['columns']):,}.")
    for column in config["columns"]:
        if not isinstance(column, dict):
            raise InputError("schema.columns must be a list of objects.")
        check_entries(column, COLUMN, "schema.columns: ")
    widths = [column["width"] for column in config["columns"]]
    if (len(widths) > 1 or widths[0]) and sum(widths) != size:
        raise InputError(f"schema.columns must have {size:,} elements in all, got {sum(widths):,}.")
    if len(config["names"]) not in (0, shape[-1]):
        raise InputError(f"schema.names must be {shape[-1]:,} names, got {len(config['names']):,}.")
    dtypes = config.get("dtypes", [])
    if len(dtypes) not in (0, shape[-1]) or not all(is_dtype(name) or not name for name in dtypes):
        raise InputError(f"schema.dtypes must be {shape[-1]:,} names of types of numbers.")
    if config["condition"] is not None:
        check_condition(config["condition"])
    if config.get("labels") is not None:
        check_entries(config["labels"], {"classes": LABELS}, "schema.labels.")
    for name in ARRAYS:
        check_array(name, config[name], shape)
    if isinstance(config["scale"], list) and (
        config["binarize"] or [c["kind"] for c in config["columns"]] == ["levels"]
    ):
        raise InputError("schema.scale must be one number for grey levels.")
    return Schema.from_config(dict(config))


def check_condition(condition: Mapping[str, Any]) -> None:
    """Raise InputError for a condition that is neither of classes nor of numbers."""
    check_entries(condition, CONDITION, "schema.condition.")
    shift, scale = condition["shift"], condition["scale"]
    if len(shift) != len(scale) or bool(shift) == bool(condition["classes"]) or not all(x > 0 for x in scale):
        raise InputError("schema.condition must have either classes, or as many scales > 0 as shifts.")


def check_array(name: str, values: Any, shape: Sequence[int]) -> None:
    """Raise InputError for an array of a schema that is no finite number for each element of an example."""
    try:
        array = np.asarray(values)
        fits = array.dtype.kind in "iuf" and np.broadcast_shapes(array.shape, tuple(shape)) == tuple(shape)
    except ValueError:  # lists of different lengths, or a shape that does not broadcast
        fits = False
    if not fits or not np.isfinite(array).all() or (name == "scale" and not (array > 0).all()):
        positive = " > 0" if name == "scale" else ""
        raise InputError(f"schema.{name} must be one finite number{positive}, or one for each element.")
