"""The model card: every distributional choice with what was learned of it, the data, the configuration, versions."""

from __future__ import annotations

import platform
from typing import Any

import numpy as np
import torch
from torch import nn

import isthmus
from isthmus import families, priors
from isthmus.estimators.base import Estimator
from isthmus.persistence.serialization import plain
from isthmus.plot.text import number
from isthmus.plot.training_curves import term_names
from isthmus.report.context import ReportContext
from isthmus.report.html_blocks import Table
from isthmus.report.metrics_section import plainly
from isthmus.schema import Schema
from isthmus.wording import pluralize

KINDS = {
    "binary": "bits",
    "levels": "grey levels",
    "counts": "counts",
    "unit": "numbers from 0 to 1",
    "real": "numbers",
}


def card(context: ReportContext) -> Table:
    """The choices, a row each: what it is, the formula, what was learned."""
    model, train = context.plot.model, context.plot.train
    parts, schema = model.model_, model.schema_
    given = " given c" if schema.condition is not None else ""
    rows = [["model", (type(model).__doc__ or "").strip().split("\n")[0].rstrip("."), ""]]
    rows.append([f"p(z{given if isinstance(parts.prior, priors.ConditionalPrior) else ''})", *prior_words(model)])
    rows.append([f"q(z given x{', c' if given else ''})", *posterior_words(model)])
    rows.append([f"p(x given z{', c' if given else ''})", *likelihood_words(model)])
    if schema.condition is not None:
        rows.append(["condition c", *condition_words(schema)])
    rows.append(["networks", network_words(model), f"{pluralize(weights_of(parts), 'learned number')}"])
    if loss := loss_words(model.history_):
        rows.append(["loss", loss, f"{pluralize(len(model.history_), 'epoch')}"])
    if parts.corruption is not None:
        how = model.corruption if isinstance(model.corruption, str) else type(parts.corruption).__name__
        rows.append(["corruption", f"{how}: rows are damaged in training, and the clean ones are to be found", ""])
    rows.append(["data", data_words(schema), scaling_words(schema)])
    rows.append(["trained on", pluralize(len(train), "row") if train is not None else "not known here", ""])
    rows.append(["shown and measured on", context.rows, ""])
    return Table(
        "Every choice of distribution, and what was learned of it.",
        ["", "choice", "learned or read"],
        rows,
        look="wordy",
    )


def prior_words(model: Estimator) -> list[str]:
    """p(z) in words and as a formula."""
    prior, dim = model.model_.prior, model.latent_dim
    if isinstance(prior, priors.Flat):
        return ["none: a plain autoencoder has no distribution over codes", ""]
    if isinstance(prior, priors.StandardNormal):
        return [f"standard normal, z ~ N(0, I), {pluralize(dim, 'dimension')}", "nothing"]
    if isinstance(prior, priors.Mixture):
        k = len(prior.logits)
        share = prior.logits.detach().softmax(-1).cpu().numpy()
        busy = int((share > 0.1 / k).sum())
        told = (
            f"weights from {number(share.min(), 2)} to {number(share.max(), 2)}; {busy} of {k} above a tenth of 1/{k}"
        )
        return [f"mixture of {k} diagonal normals, z ~ Σ wₖ N(μₖ, diag σₖ²), {pluralize(dim, 'dimension')}", told]
    if isinstance(prior, priors.ConditionalPrior):
        return ["normal by a network of the condition, z ~ N(μ(c), diag σ(c)²)", pluralize(weights_of(prior), "weight")]
    return [
        f"{in_words(model.prior, prior)}, {pluralize(dim, 'dimension')}",
        pluralize(weights_of(prior), "learned number"),
    ]


def posterior_words(model: Estimator) -> list[str]:
    """q(z given x) in words and as a formula."""
    family = getattr(model.model_.posterior, "family", None)
    if isinstance(family, families.Point):
        rule = type(family.rule).__name__ if family.rule is not None else ""
        made = f" made sparse by {rule}" if rule else ""
        return [f"a point, z = f(x){made}", ""]
    if isinstance(family, families.DiagonalNormal):
        return ["diagonal normal by the encoder, z ~ N(μ(x), diag σ(x)²)", ""]
    return [in_words("", family if family is not None else model.model_.posterior), ""]


FORMULAS = {
    "bernoulli": "bits with chances by the decoder, xⱼ ~ Bernoulli(πⱼ(z))",
    "continuous_bernoulli": "numbers on [0, 1], xⱼ ~ ContinuousBernoulli(λⱼ(z))",
    "normal": "normal around the decoder's answer, xⱼ ~ N(μⱼ(z), σ²), one σ for all",
    "diagonal_normal": "normal around the decoder's answer, xⱼ ~ N(μⱼ(z), σⱼ²), a σ a feature",
    "laplace": "Laplace around the decoder's answer, xⱼ ~ Laplace(μⱼ(z), b)",
    "student_t": "Student t around the decoder's answer, xⱼ ~ t(ν, μⱼ(z), s), heavy tails",
    "categorical": "a free chance for each level, xⱼ ~ Categorical(π(z)ⱼ)",
    "discretized_logistic": "a logistic rounded to levels, location and scale by the decoder",
    "beta_binomial": "an overdispersed binomial over the levels, both numbers by the decoder",
    "poisson": "counts, xⱼ ~ Poisson(λⱼ(z))",
    "negative_binomial": "overdispersed counts, mean by the decoder, a dispersion a feature",
}
"""Likelihoods by name; others are told by their class."""


def likelihood_words(model: Estimator) -> list[str]:
    """p(x given z) in words, as a formula, and its learned scale in the data's units."""
    schema, family = model.schema_, getattr(model.model_.likelihood, "family", None)
    name = schema.likelihood.partition("(")[0]
    words = FORMULAS.get(name, in_words(schema.likelihood, family))
    if name == "normal" and schema.likelihood != "normal":
        words = f"squared error: xⱼ ~ N(μⱼ(z), σ²) with a fixed σ, {schema.likelihood}"
    kind = "a probability" if schema.discrete else "a density"
    return [f"{schema.likelihood or 'one of your own'}: {words} ({kind})", "; ".join(learned_scale(schema, family))]


def learned_scale(schema: Schema, family: Any) -> list[str]:
    """What a family has learned beside its network's answer."""
    said = []
    module = getattr(family, "log_scale", None)
    if isinstance(module, nn.Module):
        with torch.no_grad():
            scale = np.exp(np.asarray(torch.as_tensor(module()).detach().cpu(), np.float64))
        fixed = isinstance(module, families.FixedScale)
        data = np.broadcast_to(scale * schema.scale, np.broadcast_shapes(scale.shape, schema.scale.shape))
        units = (
            f"{number(data.min(), 3)}" if np.ptp(data) == 0 else f"{number(data.min(), 3)} to {number(data.max(), 3)}"
        )
        inner = (
            number(scale.min(), 3) if np.ptp(scale) == 0 else f"{number(scale.min(), 3)} to {number(scale.max(), 3)}"
        )
        same = units == inner
        said.append(
            f"scale {'fixed at' if fixed else 'learned:'} {inner}" + ("" if same else f", {units} in the data's units")
        )
    if (raw := getattr(family, "raw_df", None)) is not None:
        said.append(f"degrees of freedom {number(1 + nn.functional.softplus(families.GAIN * raw).item(), 3)}")
    if (raw := getattr(family, "raw_size", None)) is not None:
        size = (families.GAIN * raw.detach()).clamp(-8, 12).exp().cpu().numpy()
        said.append(f"dispersions (size) {number(size.min(), 3)} to {number(size.max(), 3)}")
    return said


def in_words(field: Any, part: Any) -> str:
    """A part that has no words of its own: its name, and what its class says of itself."""
    doc = (type(part).__doc__ or "").strip().split("\n")[0].rstrip(".")
    name = field if isinstance(field, str) and field else type(part).__name__
    return f"{name}: {doc[:1].lower()}{doc[1:]}" if doc and not isinstance(part, type(None)) else name


def condition_words(schema: Schema) -> list[str]:
    """What the model is told beside x."""
    assert schema.condition is not None
    classes = schema.condition.classes
    if not classes:
        return [f"{pluralize(schema.condition.width, 'number')}, standardised", ""]
    return [
        f"one of {pluralize(len(classes), 'class').replace('classs', 'classes')}",
        plainly([str(v) for v in classes]),
    ]


def network_words(model: Estimator) -> str:
    """How encoder and decoder are built."""
    if model.encoder is not None or model.decoder is not None:
        own = [name for name in ("encoder", "decoder") if getattr(model, name) is not None]
        return f"{' and '.join(own)} of your own"
    if model.network_kind(model.schema_) == "conv":
        return f"convolutional, channels {', '.join(map(str, model.channels))}, {model.activation}"
    widths = ", ".join(map(str, model.hidden))
    return (
        f"fully connected, hidden layers of {widths}, {model.activation}" if model.hidden else "linear, no hidden layer"
    )


def loss_words(history: list[dict[str, Any]]) -> str:
    """The terms with the weights that they ended with."""
    terms = [term for term in term_names(history) if term != "loss" or len(term_names(history)) == 1] if history else []
    weights = [history[-1].get(f"weight_{term}", 1.0) for term in terms]
    return " + ".join(term if weight == 1 else f"{number(weight, 3)} · {term}" for term, weight in zip(terms, weights))


def weights_of(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def data_words(schema: Schema) -> str:
    """What an example is."""
    shape = " × ".join(map(str, schema.event_shape))
    kind = f"{schema.levels} grey levels" if schema.levels else KINDS[schema.kind]
    what = f"padded sequences of up to {shape}" if schema.sequence else f"examples of {shape}"
    return f"{what}, {kind} ({schema.dtype})" + (", drawn as bits" if schema.binarize else "")


def scaling_words(schema: Schema) -> str:
    """What is done to the data before the networks read them."""
    if not (schema.shift != 0).any() and not (schema.scale != 1).any():
        return "read as they are"
    if not schema.shift.ndim and not schema.shift.any():
        return f"divided by {number(float(schema.scale.max()))}"
    each = "one scale for all" if not schema.scale.ndim else "each column by its own spread"
    return f"centred and scaled, {each}"


def configuration(context: ReportContext) -> list[Table]:
    """Every field, every setting that was decided, and the versions."""
    model, info = context.plot.model, context.run
    fields = getattr(model, "_trained_as", None) or model.get_params(deep=False)
    defaults = {name: field.default for name, field in type(model).__dataclass_fields__.items()}
    rows = []
    for name, value in fields.items():
        shown, usual = as_typed(value), as_typed(defaults.get(name))
        rows.append([name, shown, "" if shown == usual else f"default: {usual}"])
    rows.sort(key=lambda row: not row[2])
    known = {name: value for name, value in vars(info).items() if value and name != "versions"}
    run = [
        [name.replace("_", " "), as_typed(value)]
        for name, value in {**known, "seed": model.seed_, **model.settings_}.items()
    ]
    here = {
        "isthmus": isthmus.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
    versions = [[name, str(info.versions.get(name, "–")), version] for name, version in here.items()]
    return [
        Table("Fields, those that were changed first", ["field", "value", ""], rows, folded=True, look="wordy"),
        Table("The run", ["", "value"], run, folded=True, look="wordy"),
        Table("Versions", ["", "trained with", "this page"], versions, folded=True),
    ]


def as_typed(value: Any) -> str:
    """A field as text; of a part of the user's own its class."""
    value = plain(value)
    if isinstance(value, dict) and set(value) == {"own"}:
        return f"{value['own']} (your own)"
    if isinstance(value, dict):
        return ", ".join(f"{name} {as_typed(item)}" for name, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(as_typed, value)) or "none"
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
