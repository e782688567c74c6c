"""Parsing which models are compared: names with fields, classes or estimators; and the values of a sweep."""

from __future__ import annotations

import ast
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sklearn.base import clone
from torch import nn
from torch.distributions import Distribution

from isthmus.errors import InputError, unknown
from isthmus.estimators.base import Estimator
from isthmus.evaluation.fitted_on import MadeOfRows
from isthmus.fitted import FittedModel
from isthmus.model_registry import ALIASES, Field, Model, find_model, models
from isthmus.persistence.serialization import class_of
from isthmus.wording import quoted, split_names

PCA = "pca"
"""PCA by its projection, probabilistic PCA by its density, in the models' scaling: a row that is always included."""
PCA_BEST = "pca_best"
"""Probabilistic PCA whose size and scaling are chosen by validation: another such row."""
PCA_MODEL = "probabilisticpca"
PCA_BEST_FIELDS = ("threads", "device", "random_state")
PCA_FIELDS = ("latent_dim", "scaling", *PCA_BEST_FIELDS)
"""Fields that PCA takes when they are set for all models: it has no layers and is not trained by gradients."""
SPLIT_FIELD = "validation_fraction"
"""All models are validated on the same rows, so this field cannot differ between them."""

Sweep = tuple[str, list[Any]]
"""The swept field and its values."""
ModelLike = str | Estimator | type[Estimator] | FittedModel | MadeOfRows
Models = str | Iterable[ModelLike] | Mapping[str, ModelLike]
"""Names separated by commas; several models; or several by the labels that they are to have."""


class Entry(NamedTuple):
    """A model to be trained.

    Args:
        label: its label in the table.
        estimator: the unfitted estimator.
        value: its value of the swept field; None without a sweep or without the field.
        baseline: `PCA` or `PCA_BEST` if it is one of the linear baselines, else "".
        closed_form: whether it is solved exactly, so that one run is enough.
        dequantized: whether log p(x) of a baseline is that of dequantised rows, a bound on a log-probability.
    """

    label: str
    estimator: Estimator
    value: Any = None
    baseline: str = ""
    closed_form: bool = False
    dequantized: bool = False


class ModelSpec(NamedTuple):
    """A model that was asked for.

    Args:
        name: its short name.
        estimator: the unfitted estimator.
        fields: the fields that were set for this model alone.
        show_fields: whether these were written behind its name, and belong to its label.
        label: the label that it was given; "" for one made of its name and fields.
    """

    name: str
    estimator: Estimator
    fields: dict[str, Any]
    show_fields: bool = True
    label: str = ""


def build_entries(
    models: Models, fields: Mapping[str, Any], sweep: Sweep | None, *, with_pca: bool = True
) -> list[Entry]:
    """Each model once, or once for each value of the sweep if it has the swept field.

    Args:
        models: names separated by commas; or names, estimator classes and estimators, or a dict of these by label.
        fields: fields set for all models; those that a model sets itself take precedence.
        sweep: the swept field and its values.
        with_pca: put PCA first if it is not among the models, and the best one by validation beside it.

    Raises:
        InputError: for unknown models and fields, and for a model that is given twice.
    """
    if not isinstance(models, Iterable):
        raise InputError(f"models must be names or a list of models, got {quoted(models)}.")
    if isinstance(models, Mapping):
        specs = [parse_model(model)._replace(label=as_label(label)) for label, model in models.items()]
    else:
        specs = [parse_model(model) for model in (split_names(models) if isinstance(models, str) else models)]
    if not specs:
        raise InputError("models must name at least one model, got none. For example: pca,ae,vae")
    others = [spec.estimator for spec in specs if spec.name not in (PCA, PCA_BEST)]
    own_scaling = statistics.mode([estimator.scaling for estimator in others]) if others else None
    pca_class = class_of(find_model(PCA_MODEL))
    if with_pca and not any(spec.name == PCA for spec in specs):
        latent_dim = statistics.mode([spec.estimator.latent_dim for spec in specs])
        specs.insert(0, ModelSpec(PCA, pca_class(latent_dim=latent_dim), {}))
    if with_pca and not any(spec.name == PCA_BEST for spec in specs):
        after_pca = 1 + max(i for i, spec in enumerate(specs) if spec.name == PCA)
        specs.insert(after_pca, ModelSpec(PCA_BEST, pca_class(), {}))
    for name in [*fields, *([sweep[0]] if sweep else [])]:
        if not any(has_field(spec, name) for spec in specs):
            known = {key for spec in specs for key in spec.estimator.get_params(deep=False)}
            if name in known:
                raise InputError(
                    f"{name} must be left out, got {name}=...: none of the models that are trained here uses it."
                )
            raise unknown("field", name, known)
    entries = []
    for label, spec in zip(unique_labels(specs), specs):
        common = {name: value for name, value in fields.items() if has_field(spec, name) and name not in spec.fields}
        if spec.name == PCA and spec.show_fields and "scaling" not in spec.fields and own_scaling is not None:
            common = {"scaling": own_scaling, **common}
        estimator = clone(spec.estimator).set_params(**common)
        baseline = spec.name if spec.name in (PCA, PCA_BEST) else ""
        if sweep and has_field(spec, sweep[0]):
            field, values = sweep
            entries += [
                Entry(label, clone(estimator).set_params(**{field: value}), value, baseline) for value in values
            ]
        else:
            entries.append(Entry(label, estimator, baseline=baseline))
    return entries


def split_fixed(models: Any) -> tuple[Any, dict[str, FittedModel | MadeOfRows]]:
    """The models that are to be trained, and those that are trained already, by label.

    Args:
        models: as in `build_entries`.

    Raises:
        InputError: for a trained model without a label, which its class would not tell from others.
    """
    if isinstance(models, Mapping):
        fixed = {as_label(key): model for key, model in models.items() if isinstance(model, FittedModel | MadeOfRows)}
        return {key: model for key, model in models.items() if key not in fixed}, fixed
    if not isinstance(models, str) and isinstance(models, Iterable):
        models = list(models)
        for model in models:
            if isinstance(model, FittedModel | MadeOfRows):
                raise InputError(
                    f"models must be a dict if one is trained already, got a {type(model).__name__} without a label. "
                    "Pass {'mine': model, 'vae': 'vae'}."
                )
    return models, {}


def as_label(label: Any) -> str:
    """A label of the user's, in one line."""
    if not isinstance(label, str) or not label.strip() or not label.isprintable():
        raise InputError(f"models must have text as labels, got {label!r}. For example {{'mine': VAE(...)}}.")
    return label


def has_field(spec: ModelSpec, name: str) -> bool:
    """Whether a field that is set for all models applies to this one."""
    applicable = {PCA: PCA_FIELDS, PCA_BEST: PCA_BEST_FIELDS}.get(spec.name)
    return name in (spec.estimator.get_params(deep=False) if applicable is None else applicable)


def parse_model(model: ModelLike) -> ModelSpec:
    """A model from its name, optionally with fields (`vae(beta=4)`), its class, or an estimator."""
    estimator: Any = model() if isinstance(model, type) and issubclass(model, Estimator) else model
    if isinstance(estimator, Estimator):
        return estimator_spec(estimator)
    if not isinstance(model, str):
        raise InputError(f"models must be names, estimator classes or estimators, got {type(model).__name__}.")
    match = re.fullmatch(r"\s*([\w-]+)\s*(?:\((.*)\))?\s*", model, re.DOTALL)
    if match is None:
        raise InputError(f"a model must be written NAME or NAME(FIELD=VALUE,...), got {model!r}.")
    name = match[1].lower()
    known = find_model(PCA_MODEL if name in (PCA, PCA_BEST) else match[1])
    fields = parse_fields(known, match[2] or "", model)
    if name == PCA_BEST and fields:
        raise InputError(f"{PCA_BEST} must have no fields, because validation chooses them, got {model!r}. Use pca.")
    return ModelSpec(short_name(name), class_of(known)(**fields), fields)


def estimator_spec(estimator: Estimator) -> ModelSpec:
    """An estimator with the fields that differ from the defaults of its class."""
    cls = type(estimator)
    defaults = cls().get_params(deep=False)
    fields = {
        name: value
        for name, value in estimator.get_params(deep=False).items()
        if value is not defaults[name] and not same_value(value, defaults[name])
    }
    name = short_name(cls.__name__.lower())
    if name in (PCA, PCA_BEST) and cls is not class_of(find_model(PCA_MODEL)):
        name = f"{cls.__module__}.{cls.__qualname__}"  # a user's class of this name is no baseline
    return ModelSpec(name, clone(estimator), fields, show_fields=False)


def same_value(a: Any, b: Any) -> bool:
    """Whether two values of a field are equal; arrays and modules never are."""
    return type(a) is type(b) and isinstance(a, str | int | float | tuple) and a == b


def short_name(name: str) -> str:
    """The short name of a model: ae for autoencoder, pca for probabilistic PCA."""
    alias = {command: alias for alias, command in ALIASES.items()}.get(name, name)
    return PCA if alias == "ppca" else alias


def parse_fields(model: Model, text: str, written: str) -> dict[str, Any]:
    """Fields written as the keyword arguments of a call; nothing is evaluated."""
    try:
        call = ast.parse(f"model({text})", mode="eval").body
    except SyntaxError:
        call = None
    if not isinstance(call, ast.Call) or call.args or any(keyword.arg is None for keyword in call.keywords):
        raise InputError(
            f"the fields of a model must be written with their names, as in {model.command}(beta=4), got {written!r}."
        )
    fields = {}
    for keyword in call.keywords:
        name = str(keyword.arg)
        if name not in model.fields:
            raise unknown(f"field of {model.command}", name, model.fields)
        if name == SPLIT_FIELD:
            raise InputError(
                f"{SPLIT_FIELD} must be the same for all models, because all share the rows, got one for "
                f"{model.command} alone. Set it for all."
            )
        fields[name] = parse_value(model.fields[name], keyword.value)
    return fields


def read_field(text: str) -> tuple[str, Any]:
    """Parse `name=value`, a field for all models."""
    field, nodes = parse_assignment(text, "learning_rate=0.0003")
    return field.name, parse_value(field, nodes[0] if len(nodes) == 1 else ast.Tuple(nodes, ast.Load()))


def read_sweep(text: str) -> Sweep:
    """Parse `name=value,value,...`."""
    field, nodes = parse_assignment(text, "latent_dim=2,4,8,16")
    return field.name, [parse_value(field, node) for node in nodes]


def check_sweep(sweep: Mapping[str, Sequence[Any]] | None) -> Sweep | None:
    """The one field of a sweep and its values, sorted if they are numbers."""
    if sweep is None:
        return None
    if not isinstance(sweep, Mapping):
        raise InputError(f"sweep must be a dict of one field and its values, got {quoted(sweep)}.")
    if len(sweep) != 1:
        raise InputError(f"sweep must have one field, got {', '.join(sweep)}.")
    ((name, given),) = sweep.items()
    values = list(given) if isinstance(given, list | tuple | range) else []
    if len(values) < 2 or len({repr(value) for value in values}) < len(values):
        raise InputError(f"sweep must have at least two different values of {name}, got {given!r}.")
    if name in (SPLIT_FIELD, "random_state"):
        raise InputError(f"sweep must not be over {name}: the split and the seeds are the same for all models.")
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    return name, sorted(values) if numeric else values


def parse_assignment(text: str, example: str) -> tuple[Field, list[ast.expr]]:
    """The field before the equals sign, and the expressions behind it, which are separated by commas."""
    name, equals, values = text.partition("=")
    name = name.strip().replace("-", "_")
    try:
        body = ast.parse(values.strip(), mode="eval").body if equals else None
    except SyntaxError:
        body = None
    if body is None:
        raise InputError(f"a field must be written FIELD=VALUE, as in {example}, got {text!r}.")
    known = {field.name: field for model in models().values() for field in model.fields.values()}
    if name not in known:
        raise unknown("field", name, known)
    # (64, 64) is one value, 64, 64 are two. Python parses both as a tuple; only with brackets does it start before its
    # first element.
    if isinstance(body, ast.Tuple) and body.elts and body.elts[0].col_offset == body.col_offset:
        return known[name], list(body.elts)
    return known[name], [body]


def parse_value(field: Field, node: ast.expr) -> Any:
    """A literal, or the text of names and calls such as auto and mixture(10); a number for a tuple becomes one.

    >>> parse_value(Field("prior", "str", "normal", ""), ast.parse("mixture(10)", mode="eval").body)
    'mixture(10)'
    """
    if field.annotation.startswith("nn.Module"):
        raise InputError(
            f"{field.name} must be a module, which cannot be written as text. Pass an estimator to compare."
        )
    try:
        value = ast.literal_eval(node)
    except ValueError:
        if isinstance(node, ast.Tuple):  # one name for each column
            return tuple(parse_value(field, each) for each in node.elts)
        value = ast.unparse(node)
        word = value.lower()
        if "bool" in field.annotation and word in ("true", "false"):
            return word == "true"
        if word == "none":
            return () if field.annotation.startswith("tuple") else None
    if field.annotation.startswith("tuple") and isinstance(value, int):
        return (value,)
    return value


def unique_labels(specs: list[ModelSpec]) -> list[str]:
    """A label for each model; models of the same name are distinguished by the fields in which they differ."""
    labels = []
    for spec in specs:
        if spec.label:
            labels.append(spec.label)
            continue
        namesakes = [other for other in specs if other.name == spec.name]
        differing = {
            name: value
            for name, value in spec.fields.items()
            if len({repr(other.fields.get(name)) for other in namesakes}) > 1
        }
        written = spec.fields if spec.show_fields and len(namesakes) == 1 else {}
        text = ",".join(f"{name}={short_value(value)}" for name, value in (differing or written).items())
        labels.append(f"{spec.name}({text})" if text else spec.name)
    duplicate = next((label for label in labels if labels.count(label) > 1), None)
    if duplicate is not None:
        spec = specs[labels.index(duplicate)]
        fields = f"'{spec.name}(latent_dim=2),{spec.name}(latent_dim=4)'"
        advice = (
            f"Leave one out, or write different fields behind them, as in {fields}."
            if spec.show_fields  # they were written as text, as on the command line
            else "Name them in a dict, such as {'first': ..., 'second': ...}."
        )
        raise InputError(f"models must differ, got {duplicate} twice. {advice}")
    return labels


def short_value(value: Any) -> str:
    """A value of a field in a label: a part of the user's own by its class."""
    if isinstance(value, nn.Module | Distribution):
        return type(value).__name__
    return str(value).replace(" ", "")
