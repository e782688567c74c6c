"""Defaults that a model chooses for the data, why, and the values that they cannot represent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from isthmus.data_checks.table_view import TableView
from isthmus.finding import Finding

if TYPE_CHECKING:
    from isthmus.estimators.hyperparameters import Hyperparameters
    from isthmus.examples import Examples
    from isthmus.schema import Schema


@dataclass(frozen=True)
class Defaults:
    """What a model would choose for the data.

    Args:
        schema: shape and kind of the data.
        likelihood: name of the likelihood, or of those of all columns.
        network: "mlp" or "conv".
        scaling: "standard", "global" or "none".
        levels: number of grey levels that the user passed, or None.
        columns: those of each column by itself, of a table whose columns have their own likelihoods.
    """

    schema: Schema
    likelihood: str
    network: str
    scaling: str
    levels: int | None
    columns: tuple[Defaults, ...] = ()


def choose_defaults(model: Hyperparameters, view: TableView) -> tuple[Defaults, list[Finding]]:
    """Likelihood, network and scaling by the rules of `fit`, and findings about data that they do not fit."""
    from isthmus.likelihoods import NOT_A_DENSITY

    by_column = isinstance(model.likelihood, tuple | list)
    defaults = defaults_by_column(model, view) if by_column else defaults_for_all(model, view.examples)
    findings = list(outside_support(view, defaults))
    parts = defaults.columns or (defaults,)
    if any(part.likelihood == "bernoulli" and part.schema.kind == "unit" for part in parts) and not findings:
        findings.append(Finding("not-a-density", "warning", *NOT_A_DENSITY))
    return defaults, findings


def defaults_for_all(model: Hyperparameters, examples: Examples) -> Defaults:
    """What a model would choose for data that have one likelihood."""
    from isthmus.estimators.composition import network_kind
    from isthmus.estimators.input_validation import infer_schema_from_dtype, scaling_name

    name, schema = infer_schema_from_dtype(model, examples)
    scaling = scaling_name(model.scaling, schema, name)
    return Defaults(schema, name, network_kind(model, schema), scaling, model.levels)


def defaults_by_column(model: Hyperparameters, view: TableView) -> Defaults:
    """What a model would choose for a table whose columns have their own likelihoods."""
    from isthmus.estimators.composition import network_kind
    from isthmus.estimators.input_validation import as_category, columns_apart
    from isthmus.schema import Schema

    columns = tuple(defaults_for_all(column, values) for column, values in columns_apart(model, view.examples))
    schema = Schema.side_by_side([as_category(part.schema) for part in columns], names=view.names)
    scaling = next((part.scaling for part in columns if part.scaling != "none"), "none")
    return Defaults(schema, schema.likelihood, network_kind(model, schema), scaling, model.levels, columns)


def outside_support(view: TableView, defaults: Defaults) -> Iterator[Finding]:
    """Values outside the support of the likelihood."""
    from isthmus.likelihoods import support_error

    for j, part in enumerate(defaults.columns):
        yield from outside_support(view.column(j), part)
    if defaults.columns:
        return
    values = view.columns
    problem = support_error(defaults.likelihood, defaults.schema.levels, defaults.levels, values)
    if problem is not None:
        where, evidence = view.locate(problem.outside)
        limits = {"smallest": values.min().item(), "largest": values.max().item()}
        message = f"{problem.message}; values outside the support: {where}"
        yield Finding("outside-support", "error", message, problem.remedy, evidence | limits)


def explain_likelihood(model: Hyperparameters, view: TableView, defaults: Defaults) -> str:
    """Why this likelihood, in one line."""
    if model.likelihood != "auto":
        return "as requested"
    low, high = view.x.min(), view.x.max()
    return {
        "binary": "every value is 0 or 1",
        "levels": f"{f'{model.levels} grey levels' if model.levels else 'bytes'} from {low:g} to {high:g}",
        "counts": f"integers from {low} to {high} that are not bytes are treated as counts",
        "unit": "numbers from 0 to 1; likelihood='continuous_bernoulli' is the alternative",
        "real": f"numbers from {low:g} to {high:g}",
    }[defaults.schema.kind]


def explain_network(model: Hyperparameters, defaults: Defaults) -> str:
    """Why this network, in one line."""
    schema = defaults.schema
    if not schema.image:
        return "sequences" if schema.sequence else "a table has no neighbouring pixels"
    if model.network != "auto" or not model.hidden:
        return "as requested" if model.network != "auto" else "no hidden layers were requested"
    size = f"images of {schema.event_shape[0]} x {schema.event_shape[1]} pixels"
    conv = defaults.network == "conv"
    return f"{size}, {'at least 16 x 16' if conv else 'smaller than 16 x 16 or with more than 4 channels'}"


def explain_scaling(model: Hyperparameters, defaults: Defaults) -> str:
    """Why this scaling, in one line."""
    alone = defaults.scaling == "none" and model.scaling == "auto"
    if defaults.schema.discrete or defaults.likelihood == "continuous_bernoulli" or alone:
        return f"{defaults.likelihood} {'model' if defaults.columns else 'models'} the values as they are"
    if model.scaling != "auto":
        return "as requested"
    if defaults.columns:
        return "each column of numbers that have a density to mean 0 and variance 1"
    return {"standard": "each column to mean 0 and variance 1", "global": "columns centred, one scale for all of them"}[
        defaults.scaling
    ]
