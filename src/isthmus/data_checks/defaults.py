"""What a model would choose for the data and why, and the values that speak against it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from isthmus.data_checks.table_view import View
from isthmus.finding import Finding

if TYPE_CHECKING:
    import numpy as np

    from isthmus.estimators.base import Estimator
    from isthmus.schema import Schema


@dataclass(frozen=True)
class Choice:
    """What a model would choose for the data; `levels` are those that were asked for."""

    schema: Schema
    likelihood: str
    network: str
    scaling: str
    levels: int | None


def choose(model: Estimator, view: View) -> tuple[Choice, list[Finding]]:
    """Likelihood, network and scaling by the rules that `fit` goes by, and what these have against the data."""
    from isthmus.estimators.composition import network_kind
    from isthmus.estimators.validation import infer_schema_from_dtype, scaling_name
    from isthmus.examples import Examples
    from isthmus.likelihoods import NOT_A_DENSITY

    name, schema = infer_schema_from_dtype(model, Examples(view.x, lengths=view.lengths))
    how = scaling_name(model.scaling, schema, name)
    choice = Choice(schema, name, network_kind(model, schema), how, model.levels)
    findings = list(outside(view, choice))
    if name == "bernoulli" and schema.kind == "unit" and not findings:
        findings.append(Finding("not-a-density", "warning", *NOT_A_DENSITY))
    return choice, findings


def outside(view: View, choice: Choice, *, typed: bool = True) -> Iterator[Finding]:
    """Values that the likelihood gives no density; if `typed`, also a type that it does not read."""
    from isthmus.likelihoods import support_error

    values = view.columns
    refused = support_error(choice.likelihood, choice.schema.levels, choice.levels, values)
    if refused is None:
        return
    if refused.outside.any():
        where, evidence = view.where(refused.outside)
        span = {"smallest": values.min().item(), "largest": values.max().item()}
        message = f"{refused.message}; outside lie {where}"
        yield Finding("outside-support", "error", message, refused.remedy, evidence | span)
    elif typed:
        yield Finding("outside-support", "error", refused.message, refused.remedy)


def why_likelihood(model: Estimator, view: View, choice: Choice) -> str:
    """One sentence on where the likelihood comes from."""
    if model.likelihood != "auto":
        return "asked for"
    low, high = view.x.min(), view.x.max()
    return {
        "binary": "every value is 0 or 1",
        "levels": f"{f'{model.levels} grey levels' if model.levels else 'bytes'}, from {low:g} to {high:g}",
        "counts": f"whole numbers from {low} to {high} that are not bytes are read as counts",
        "unit": "numbers from 0 to 1; likelihood='continuous_bernoulli' is the other choice for these",
        "real": f"numbers from {low:g} to {high:g}",
    }[choice.schema.kind]


def why_network(model: Estimator, choice: Choice) -> str:
    """One sentence on where the network comes from."""
    schema = choice.schema
    if not schema.image:
        return "sequences" if schema.sequence else "a table has no neighbouring pixels"
    if model.network != "auto" or not model.hidden:
        return "asked for" if model.network != "auto" else "no hidden layers were asked for"
    size = f"images of {schema.event_shape[0]} x {schema.event_shape[1]} pixels"
    return f"{size}, {'at least 16 a side' if choice.network == 'conv' else 'under 16 a side or of over 4 channels'}"


def why_scaling(model: Estimator, choice: Choice) -> str:
    """One sentence on where the scaling comes from."""
    if choice.schema.discrete or choice.likelihood == "continuous_bernoulli":
        return f"{choice.likelihood} reads the values as they are"
    if model.scaling != "auto":
        return "asked for"
    return {"standard": "each column to mean 0 and variance 1", "global": "centred columns and one scale for all"}[
        choice.scaling
    ]


def constant(x: np.ndarray) -> bool:
    """Whether all rows are the same."""
    return bool((x[:100] == x[:1]).all() and (x == x[:1]).all())
