"""The hyperparameters of every model, with the text of the command line's help."""

from __future__ import annotations

import dataclasses
import inspect
import re
import textwrap
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

from torch import nn
from torch.distributions import Distribution

from isthmus.errors import unknown
from isthmus.estimators.recipe import Recipe
from isthmus.model_registry import Field, models
from isthmus.schema import Schema

Auto: TypeAlias = Any
"""The word "auto", which is resolved before `compose` reads a field: there it has the field's other type."""

DOC_WIDTH = 80
"""Characters in a line of a model's documentation, with those that `help` puts before it."""


@typing.dataclass_transform(kw_only_default=True, eq_default=False)
@dataclass(kw_only=True, eq=False, repr=False)
@typing.dataclass_transform(kw_only_default=True, eq_default=False)
class Hyperparameters:
    """What a user sets before training. A model adds fields and says by `compose` what they mean."""

    latent_dim: int | Auto = 16
    """Numbers in a code, >= 1, or auto: by the held-out likelihood of the linear model; more reconstruct more."""
    hidden: tuple[int, ...] | Auto = (512, 512)
    """Widths of the encoder's hidden layers, mirrored in the decoder; none for a linear model, auto by the rows."""
    initialization: str = "auto"
    """Where training starts: pca (the linear model's closed form), random, or auto: pca where there is one."""
    network: str = "auto"
    """mlp, conv, unet (of a model that restores images), or auto: by the data, conv for images of 16 pixels or more."""
    channels: tuple[int, ...] | Auto = (32, 64)
    """Channels of a convolutional network, one number for each halving of the image; more for detailed images."""
    activation: str = "silu"
    """Nonlinearity between layers: silu, relu, gelu, elu, tanh or sigmoid."""
    likelihood: str | tuple[str, ...] | nn.Module = "auto"
    """p(x given z): a name, auto (by the data), a name for each column; mse and bce are losses; units are scaled."""
    prior: str | nn.Module | Distribution = "normal"
    """p(z): normal, mixture(k), full_mixture(k), vamp(k), flow(k), conditional, refit(k), fitted later, or your own."""
    corruption: str | nn.Module | None = None
    """Damage to the input in training: mask(p), gaussian(s standard deviations), salt_and_pepper(p), blur(s pixels)."""
    scaling: str = "auto"
    """standard (each column), global (one scale for all), none, or auto: standard for tables, global for images."""
    levels: int | None = None
    """Number of grey levels of integer data, >= 2; set it if they are not the 256 of bytes."""
    binarize: bool = False
    """Draw each pixel of a byte image anew as Bernoulli(x / 255) in every update."""
    epochs: int | str = "auto"
    """Passes over the rows, >= 1; auto makes about 4,000 updates, 20 epochs at least; more if the loss still falls."""
    batch_size: int = 128
    """Rows in an update, >= 1; all rows if there are fewer."""
    learning_rate: float | Auto = "auto"
    """Peak step size, > 0, after a short rise and before a cosine to zero; lower it if training diverges."""
    optimizer: str = "adamw"
    """adamw (Adam where weight_decay is 0), or sgd with Nesterov's momentum of 0.9, which needs a learning_rate."""
    dropout: float = 0.0
    """Share of the hidden units, from 0 to below 1, set to zero at random in each update; more where it overfits."""
    weight_decay: float | Auto = "auto"
    """Decay, as in AdamW, of dense and convolutional weights but linear paths, >= 0; auto: 0.1 for few rows, or 0."""
    clip: float | Auto = "auto"
    """Gradient norm, > 0, above which gradients are clipped, in units of its running mean; auto: 10, of a U-Net 1."""
    validation_fraction: float = 0.1
    """Share of the rows, from 0 to below 1, that choose the best weights; 0 trains on all and keeps the last."""
    patience: int | Auto = "auto"
    """Updates without a better validation loss after which training stops, >= 1; auto: 500, or five epochs."""
    max_minutes: float | None = None
    """Minutes, > 0, after which training stops with the best weights so far; none for as long as the epochs take."""
    warmup: float | Auto = "auto"
    """Share of all updates, from 0 to 1, over which the KL term's weight rises; auto: 0.1, or 0 from a pca start."""
    cycles: int = 1
    """Times that it rises from 0 within the warm-up, >= 1; with several it stays at its value for half of each."""
    threads: int | str = "auto"
    """CPU threads, >= 1, at most torch's own number; auto is one for small networks and all for larger ones."""
    device: str = "auto"
    """cpu, cuda, cuda:1, mps (which is not tested), or auto: cuda if there is a GPU for it."""
    precision: str = "auto"
    """float32, float64 for exact numbers, bf16 to train wide networks faster; auto: bf16 where it pays, or float32."""
    compile: bool | str = "auto"
    """Compile the training step; auto does for long runs of small networks on a CPU."""
    encoder: nn.Module | None = None
    """Your own network as the encoder: x to 2 latent_dim numbers (means, log-scales) or a pair (mean, log_variance)."""
    decoder: nn.Module | None = None
    """Your own network as the decoder: z to as many numbers as the likelihood needs."""
    random_state: int | None = None
    """Seed of everything random, >= 0; none draws one and stores it in seed_."""
    verbose: int | bool = 0
    """What is shown of training: 0 nothing, 1 a progress bar, 2 a line for each epoch."""
    warm_start: bool = False
    """Whether fit goes on from the weights of the last fit, at their schema and scaling, instead of beginning anew."""

    purpose: typing.ClassVar[str] = ""
    """What the model is for, under which `isthmus models` lists it."""
    conditional: typing.ClassVar[bool] = False
    """Whether labels that come with a data set are the condition, whatever the prior."""
    has_linear_start: typing.ClassVar[bool] = True
    """Whether its networks, if they have linear paths, can start as a linear model."""
    rate_factor: typing.ClassVar[float] = 1.0
    """Learning rate that is chosen, in units of that of other models with such networks."""

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        dataclasses.dataclass(kw_only=True, eq=False, repr=False)(cls)
        if cls.__doc__:
            cls.__doc__ = documented(cls)

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        # Python's own error for an unknown field does not say what was probably meant.
        if kwargs:
            names, others = cls._arguments()
            for name in kwargs:
                if name not in names and not others:
                    raise TypeError(str(unknown(f"field of {cls.__name__}", name, names)))
        return super().__new__(cls)

    @classmethod
    def _arguments(cls) -> tuple[list[str], bool]:
        """Names of the constructor's arguments, and whether it takes any others."""
        _self, *known = inspect.signature(cls.__init__).parameters.values()
        return [each.name for each in known], any(each.kind is each.VAR_KEYWORD for each in known)

    def set_params(self, **params: Any) -> Self:
        """Set fields by name.

        Raises:
            InputError: for a name that is no field.
        """
        names, others = self._arguments()
        for name in params:
            part, _, inner = name.partition("__")  # of a part that has parameters of its own
            own = name in names or (inner and hasattr(getattr(self, part, None), "set_params"))
            if not own and not others:
                raise unknown(f"field of {type(self).__name__}", name, names)
        return super().set_params(**params)  # type: ignore[misc]

    def compose(self, schema: Schema) -> Recipe:
        """The recipe of the model for data of this schema."""
        raise NotImplementedError

    def values(self) -> dict[str, Any]:
        """The fields by name; user-defined modules as they are."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


def documented(cls: type[Hyperparameters]) -> str:
    """The docstring of a model with its fields as numpydoc's section of parameters, which `help` shows.

    Python does not keep the strings below fields; the registry reads them from the source of the public models. Of a
    user's class the inherited fields have a text.
    """
    described: dict[str, Field] = {}
    for ancestor in reversed(cls.__mro__):
        model = models().get(ancestor.__name__)
        if model is not None and model.module == ancestor.__module__:
            described |= model.fields
    lines = [textwrap.dedent(cls.__doc__ or "").strip(), "", "Parameters", "----------"]
    for field in dataclasses.fields(cls):
        known = described.get(field.name)
        types = f"{type_words(known.annotation)}, " if known else ""
        lines.append(f"{field.name} : {types}default={field.default!r}")
        text = known.doc if known else ""
        lines += [f"    {line}" for line in textwrap.wrap(text, DOC_WIDTH - 8, break_on_hyphens=False)]
    return "\n".join(lines) + "\n"


def type_words(annotation: str) -> str:
    """The types of a field in words.

    >>> type_words("int | Auto"), type_words("str | tuple[str, ...] | nn.Module")
    ("int or 'auto'", 'str, tuple of str or torch.nn.Module')
    """
    names = {"Auto": repr("auto"), "nn.Module": "torch.nn.Module"}
    parts = [re.sub(r"tuple\[(\w+), \.\.\.\]", r"tuple of \1", part.strip()) for part in annotation.split("|")]
    *first, last = [names.get(part, part) for part in parts]
    return f"{', '.join(first)} or {last}" if first else last


def unused_fields(fields: Mapping[str, Any]) -> set[str]:
    """The fields that may be "auto" and have no meaning, because both networks are the user's own.

    Args:
        fields: values by name.
    """
    own = fields.get("encoder") is not None and fields.get("decoder") is not None
    return {"hidden", "channels"} if own and fields.get("prior") != "conditional" else set()


def is_auto(value: Any) -> bool:
    """Whether a field is to be chosen for the data."""
    return isinstance(value, str) and value == "auto"
