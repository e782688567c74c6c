"""The model card: each distribution with what was learned of it, the data, the hyperparameters, versions."""

from __future__ import annotations

import platform
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import isthmus
from isthmus.fitted import FittedModel
from isthmus.model_registry import models
from isthmus.persistence.serialization import to_jsonable
from isthmus.plot.tables import Table
from isthmus.plot.text import number
from isthmus.plot.training_curves import best_epoch, course
from isthmus.report.context import ReportContext
from isthmus.report.metrics_section import plainly
from isthmus.schema import Schema
from isthmus.wording import pluralize

KINDS = {
    "binary": "bits",
    "levels": "grey levels",
    "counts": "counts",
    "unit": "numbers from 0 to 1",
    "real": "numbers",
    "category": "categories",
    "mixed": "columns of several kinds",
}
PARTS = {"prior": "p(z)", "posterior": "q(z given x{c})", "likelihood": "p(x given z{c})"}
"""What the parts of a latent-variable model are; others are shown by their names."""


def card(context: ReportContext) -> Table:
    """A row for each part of the model, by its own description; then networks, loss and data."""
    model, train, schema = context.plot.model, context.plot.train, context.plot.schema
    c = "" if schema.condition is None else ", c"
    parts = model.model.parts().items()
    rows = [[PARTS.get(name, name).format(c=c), *described(name, part, model)] for name, part in parts]
    if schema.condition is not None:
        rows.append(["condition c", *condition_words(schema)])
    rows.append(["networks", network_words(model), pluralize(size_of(model.model), "learned number")])
    if model.loss_weights:
        weights = model.loss_weights.items()
        terms = (term if weight == 1 else f"{number(weight, 3)} · {term}" for term, weight in weights)
        epochs = course(model.history, model.settings.get("epochs"), model.settings.get("earlier_epochs", 0))
        rows.append(["loss", " + ".join(terms), epochs])
    rows.append(["data", data_words(schema), scaling_words(schema)])
    rows.append(["trained on", pluralize(len(train), "row") if train is not None else "not known", ""])
    rows.append(["evaluated on", context.rows, ""])
    registered = models().get(model.name)
    caption = registered.doc if registered is not None else model.name
    return Table(caption, ["part", "choice", "learned"], rows, look="wordy")


def described(name: str, part: nn.Module, model: FittedModel) -> list[str]:
    """What a part is, with its formula, and what was learned of it beside its network."""
    family = getattr(part, "family", part)
    doc = (type(family).__doc__ or type(family).__name__).strip().split("\n")[0].rstrip(".")
    formula = getattr(family, "formula", "")
    text = f"{doc}: {formula}" if formula else doc
    if name == "likelihood" and model.schema.likelihood:
        text = f"{model.schema.likelihood} ({model.schema.measure}). {text}"
    elif isinstance(choice := model.fields.get(name), str):
        text = f"{choice}. {text}"
    learned: dict[str, Any] = getattr(family, "learned", dict)()
    scale = model.schema.scale if name == "likelihood" else np.ones(())
    values = [f"{key} {values_in_words(value, scale if key == 'scale' else None)}" for key, value in learned.items()]
    if not values and family is part and (size := size_of(part)):
        values = [pluralize(size, "learned number")]
    return [text, "; ".join(values)]


def values_in_words(value: Tensor, scale: np.ndarray | None) -> str:
    """A learned number, or the range of several; with `scale` also in the data's units.

    >>> values_in_words(torch.tensor([0.5, 2.0]), np.asarray(10.0))
    '0.5 to 2 (5 to 20 in data units)'
    """
    values = value.detach().cpu().double().numpy()
    text = ends(values)
    if scale is None:
        return text
    in_data = ends(values * scale)
    return text if in_data == text else f"{text} ({in_data} in data units)"


def ends(values: np.ndarray) -> str:
    """One number, or the smallest and the largest of several."""
    low, high = number(values.min(), 3), number(values.max(), 3)
    return low if low == high else f"{low} to {high}"


def condition_words(schema: Schema) -> list[str]:
    """What the model is conditioned on."""
    assert schema.condition is not None
    classes = schema.condition.classes
    if not classes:
        return [f"{pluralize(schema.condition.width, 'number')}, standardised", ""]
    return [f"one of {len(classes)} classes", plainly([str(value) for value in classes])]


def network_words(model: FittedModel) -> str:
    """How encoder and decoder are built, as far as the hyperparameters say."""
    fields = model.fields
    custom = [name for name in ("encoder", "decoder") if fields.get(name) is not None]
    if custom:
        return f"{' and '.join(custom)} of the user"
    if "hidden" not in fields:
        return type(model.model).__name__
    if model.network_kind == "conv":
        return f"convolutional, channels {', '.join(map(str, fields['channels']))}, {fields['activation']}"
    widths = ", ".join(map(str, fields["hidden"]))
    return f"fully connected, hidden layers {widths}, {fields['activation']}" if widths else "linear, no hidden layer"


def size_of(module: nn.Module) -> int:
    """Number of parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def data_words(schema: Schema) -> str:
    """What an example is."""
    shape = " × ".join(map(str, schema.event_shape))
    kind = f"{schema.levels} grey levels" if schema.levels else KINDS[schema.kind]
    what = f"padded sequences of up to {shape}" if schema.sequence else f"examples of {shape}"
    return f"{what}, {kind} ({schema.dtype})" + (", binarised at random" if schema.binarize else "")


def scaling_words(schema: Schema) -> str:
    """What is done to the data before the networks read them."""
    if not (schema.shift != 0).any() and not (schema.scale != 1).any():
        return "not scaled"
    if not schema.shift.ndim and not schema.shift.any():
        return f"divided by {number(float(schema.scale.max()))}"
    each = "one scale for all columns" if not schema.scale.ndim else "each column by its standard deviation"
    return f"centred and scaled, {each}"


def configuration(context: ReportContext) -> list[Table]:
    """Every hyperparameter, the settings of the run, and the versions."""
    model, info = context.plot.model, context.run
    registered = models().get(model.name)
    defaults = {} if registered is None else {name: field.default for name, field in registered.fields.items()}
    rows = []
    for name, value in model.fields.items():
        shown, default = as_text(value), as_text(defaults.get(name))
        rows.append([name, shown, "" if shown == default else f"default: {default}"])
    rows.sort(key=lambda row: not row[2])
    here = {
        "isthmus": isthmus.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
    versions = [[name, version, info.versions.get(name, "")] for name, version in here.items()]
    return [
        Table("Hyperparameters, changed ones first", ["name", "value", ""], rows, folded=True, look="wordy"),
        Table("The run", ["", "value"], run_rows(context), folded=True, look="wordy"),
        Table("Versions", ["", "this page", "training"], versions, folded=True),
    ]


def run_rows(context: ReportContext) -> list[list[str]]:
    """Where the model comes from, and what was settled when its training started."""
    model, info = context.plot.model, context.run
    settings, history = dict(model.settings), model.history
    bound, chosen = settings.pop("epochs", None), settings.pop("chosen", None)
    best = best_epoch(history)
    known = {
        "folder": info.folder,
        "data": info.data,
        "measured on": info.rows,
        "epochs trained": len(history) or None,
        "epochs at most": bound if history else None,
        "best epoch, whose weights are kept": "none: the start is kept" if best == 0 else best,
        "seed": model.seed,
        **{name.replace("_", " "): value for name, value in settings.items()},
        "chosen from the data": chosen,
    }
    return [[name, as_text(value)] for name, value in known.items() if value not in (None, "", {})]


def as_text(value: Any) -> str:
    """A hyperparameter as text; of a part of the user its class."""
    value = to_jsonable(value)
    if isinstance(value, dict) and set(value) == {"module"}:
        return f"{value['module']} (user-defined)"
    if isinstance(value, dict):
        return ", ".join(f"{name} {as_text(item)}" for name, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(as_text, value)) or "none"
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
