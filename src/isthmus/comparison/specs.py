"""Which models are compared: names with fields, as typed, or estimators; and the values of a sweep."""

from __future__ import annotations

import ast
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sklearn.base import clone

from isthmus.errors import InputError, unknown
from isthmus.estimators.base import Estimator
from isthmus.estimators.ppca import ProbabilisticPCA
from isthmus.persistence.serialization import class_of
from isthmus.registry import ALIASES, Field, Model, find_model, models

PCA = "pca"
"""PCA where rows are reconstructed, probabilistic PCA where they have a density: one row of the table."""
LINEAR_TAKES = ("latent_dim", "scaling", "threads", "device", "random_state")
"""Fields for all models that PCA takes too: it has no layers and is not trained."""
OF_THE_SPLIT = "validation_fraction"
"""All models are validated on the same rows, so that this is no field of one of them."""

Sweep = tuple[str, list[Any]]


class Entry(NamedTuple):
    """A model as it will be trained: its name in the table, its fields, and its value of the swept field if any."""

    label: str
    estimator: Estimator
    value: Any = None


class ModelSpec(NamedTuple):
    """A model that was asked for, and the fields that were set for it alone."""

    name: str
    estimator: Estimator
    own: dict[str, Any]
    typed: bool = True
    """Whether these fields were written behind the name, and are part of it."""


def entries(
    asked: str | Iterable[str | Estimator], fields: Mapping[str, Any], sweep: Sweep | None, *, linear: bool = True
) -> list[Entry]:
    """Every model once, or once a value of the sweep where it has the field; PCA comes first if it was not named and
    `linear` says that it reads such rows.

    Raises InputError for unknown models and fields, and for a model that is named twice.
    """
    named = [read_model(one) for one in (separated(asked) if isinstance(asked, str) else asked)]
    if not named:
        raise InputError("no models came; name them: pca,ae,vae")
    if linear and not any(isinstance(one.estimator, ProbabilisticPCA) for one in named):
        size = statistics.mode([one.estimator.latent_dim for one in named])
        named.insert(0, ModelSpec(PCA, ProbabilisticPCA(latent_dim=size), {}))
    for name in [*fields, *([sweep[0]] if sweep else [])]:
        if not any(takes(one.estimator, name) for one in named):
            raise unknown("field", name, {key for one in named for key in one.estimator.get_params(deep=False)})
    labels = labelled(named)
    found = []
    for label, one in zip(labels, named):
        given = {k: v for k, v in fields.items() if takes(one.estimator, k) and k not in one.own}
        ready = clone(one.estimator).set_params(**given)
        if sweep and takes(ready, sweep[0]):
            found += [Entry(label, clone(ready).set_params(**{sweep[0]: value}), value) for value in sweep[1]]
        else:
            found.append(Entry(label, ready))
    return found


def takes(estimator: Estimator, name: str) -> bool:
    """Whether a field that is set for all models concerns this one."""
    linear = isinstance(estimator, ProbabilisticPCA)
    return name in LINEAR_TAKES if linear else name in estimator.get_params(deep=False)


def read_model(asked: str | Estimator) -> ModelSpec:
    """A model by its name, with fields of its own in brackets: `vae(beta=4)`; or an estimator as it is."""
    if isinstance(asked, Estimator):
        fresh = type(asked)().get_params(deep=False)
        own = {k: v for k, v in asked.get_params(deep=False).items() if v is not fresh[k] and not same(v, fresh[k])}
        return ModelSpec(short(type(asked).__name__.lower()), clone(asked), own, typed=False)
    if not isinstance(asked, str):
        raise InputError(f"{type(asked).__name__} came among the models; a name or an estimator of isthmus is wanted")
    match = re.fullmatch(r"\s*([\w-]+)\s*(?:\((.*)\))?\s*", asked, re.DOTALL)
    if match is None:
        raise InputError(f"the model {asked!r} cannot be read; write a name, or with fields: vae(beta=4,latent_dim=8)")
    model = find_model("ppca" if match[1].lower() == PCA else match[1])
    own = own_fields(model, match[2] or "", asked)
    return ModelSpec(short(match[1].lower()), class_of(model)(**own), own)


def same(a: Any, b: Any) -> bool:
    """Whether two values of a field are equal, of whatever types they are."""
    return type(a) is type(b) and isinstance(a, str | int | float | tuple) and a == b


def short(name: str) -> str:
    """The short name of a model: ae for autoencoder, pca for probabilistic PCA."""
    found = {long: alias for alias, long in ALIASES.items()}.get(name, name)
    return PCA if found == "ppca" else found


def own_fields(model: Model, text: str, asked: str) -> dict[str, Any]:
    """Fields with values written as in a call; nothing is evaluated."""
    try:
        call = ast.parse(f"model({text})", mode="eval").body
    except SyntaxError:
        call = None
    if not isinstance(call, ast.Call) or call.args or any(keyword.arg is None for keyword in call.keywords):
        raise InputError(f"the model {asked!r} cannot be read; write its fields with names: {model.command}(beta=4)")
    found = {}
    for keyword in call.keywords:
        name = str(keyword.arg)
        if name not in model.fields:
            raise unknown(f"field of {model.command}", name, model.fields)
        if name == OF_THE_SPLIT:
            raise InputError(
                f"{OF_THE_SPLIT} came for {model.command} alone; all models share the rows: set it for all"
            )
        found[name] = value_of(model.fields[name], keyword.value)
    return found


def read_field(text: str) -> tuple[str, Any]:
    """`name=value` as typed, for all models."""
    field, nodes = assigned(text, "learning_rate=0.0003")
    return field.name, value_of(field, nodes[0] if len(nodes) == 1 else ast.Tuple(nodes, ast.Load()))


def read_sweep(text: str) -> Sweep:
    """`name=value,value,...` as typed."""
    field, nodes = assigned(text, "latent_dim=2,4,8,16")
    return field.name, [value_of(field, node) for node in nodes]


def checked_sweep(sweep: Mapping[str, Sequence[Any]] | None) -> Sweep | None:
    """The one field of a sweep and its values, in rising order where they are numbers; InputError for less than two."""
    if not sweep:
        return None
    if len(sweep) != 1:
        raise InputError(f"a sweep over {', '.join(sweep)} came; one field is wanted")
    ((name, given),) = sweep.items()
    values = list(given) if isinstance(given, list | tuple | range) else []
    if len(values) < 2 or len({repr(value) for value in values}) < len(values):
        raise InputError(f"the sweep over {name} got {given!r}; two different values at least are wanted")
    if name in (OF_THE_SPLIT, "random_state"):
        raise InputError(f"a sweep over {name} came, but the split and the seeds are the same for all; choose another")
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    return name, sorted(values) if numeric else values


def assigned(text: str, example: str) -> tuple[Field, list[ast.expr]]:
    """The field before the equals sign, and what stands behind it, apart by commas."""
    name, equals, values = text.partition("=")
    name = name.strip().replace("-", "_")
    try:
        body = ast.parse(values.strip(), mode="eval").body if equals else None
    except SyntaxError:
        body = None
    if body is None:
        raise InputError(f"{text!r} came; a field and its value are wanted, e.g. {example}")
    known = {field.name: field for model in models().values() for field in model.fields.values()}
    if name not in known:
        raise unknown("field", name, known)
    # (64, 64) in brackets is one value, 64, 64 are two: brackets belong to the place of a tuple.
    if isinstance(body, ast.Tuple) and body.elts and body.elts[0].col_offset == body.col_offset:
        return known[name], list(body.elts)
    return known[name], [body]


def value_of(field: Field, node: ast.expr) -> Any:
    """A literal, or words such as auto, none and mixture(10) as text; one number where a tuple is wanted is its first.

    >>> value_of(Field("prior", "str", "normal", ""), ast.parse("mixture(10)", mode="eval").body)
    'mixture(10)'
    """
    if field.annotation.startswith("nn.Module"):
        raise InputError(f"{field.name} takes a module of your own, which has no name; hand an estimator to compare")
    try:
        value = ast.literal_eval(node)
    except ValueError:
        value = ast.unparse(node)
        word = value.lower()
        if "bool" in field.annotation and word in ("true", "false"):
            return word == "true"
        if word == "none":
            return () if field.annotation.startswith("tuple") else None
    if field.annotation.startswith("tuple") and isinstance(value, int):
        return (value,)
    return value


def separated(text: str) -> list[str]:
    """Names apart by commas, but not by those in brackets.

    >>> separated("pca, vae(beta=4,hidden=(8,8))")
    ['pca', 'vae(beta=4,hidden=(8,8))']
    """
    depth, pieces = 0, [""]
    for letter in text:
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            pieces.append("")
        else:
            pieces[-1] += letter
    return [piece.strip() for piece in pieces if piece.strip()]


def labelled(named: list[ModelSpec]) -> list[str]:
    """A name for each model; those of one name are told apart by the fields in which they differ."""
    found = []
    for one in named:
        alike = [other for other in named if other.name == one.name]
        fields = {k: v for k, v in one.own.items() if len({repr(other.own.get(k)) for other in alike}) > 1}
        typed = one.own if one.typed and len(alike) == 1 else {}
        told = ",".join(f"{k}={v}".replace(" ", "") for k, v in (fields or typed).items())
        found.append(f"{one.name}({told})" if told else one.name)
    twice = next((label for label in found if found.count(label) > 1), None)
    if twice is not None:
        raise InputError(f"the model {twice} came twice; each is wanted once")
    return found
