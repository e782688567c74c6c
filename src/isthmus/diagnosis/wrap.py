"""`wrap`: an encoder and a decoder trained elsewhere, as a model that can be evaluated and diagnosed."""

from __future__ import annotations

import copy
import math
import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from isthmus.array_checks import as_labels, length_mask, to_array, to_cpu_array, validate_rows
from isthmus.diagnosis.loss_convention import LossConvention
from isthmus.diagnosis.network_form import Method, NetworkForm, methods_of, network_form
from isthmus.errors import InputError, unknown
from isthmus.estimators.composition import latent_model
from isthmus.estimators.input_validation import infer_condition, infer_schema
from isthmus.estimators.parts_by_name import parse
from isthmus.evaluation.fitted_on import MadeOfRows, described_by
from isthmus.examples import Examples
from isthmus.families import DiagonalNormal, Point
from isthmus.fitted import FittedModel
from isthmus.inputs import as_examples
from isthmus.latent_model import Model
from isthmus.likelihoods import LIKELIHOODS
from isthmus.nets.user_module import PROBE_ROWS
from isthmus.random_streams import seeded
from isthmus.schema import Condition
from isthmus.score_samples import scores_or_elements
from isthmus.wording import quoted

SCALE_OUTPUTS = ("log_variance", "log_scale", "scale")
WRAP_DEFAULTS = {"likelihood": "auto", "kl_reduction": "sum", "scale_output": "log_variance", "prior": "normal"}
"""The arguments of `wrap` that say nothing about a model of parts, and their defaults."""
NO_LIMITS = (-math.inf, math.inf)
"""Of log-scales: numbers are those of the networks, however far training let them run."""


@dataclass(frozen=True)
class PartFields:
    """The hyperparameters that the parts of a model are made from, for user-defined networks."""

    latent_dim: int
    encoder: nn.Module
    decoder: nn.Module
    likelihood: str
    prior: Any
    corruption: None = None
    scaling: str = "none"
    levels: None = None
    binarize: bool = False
    hidden: tuple[int, ...] = ()
    network: str = "mlp"
    channels: tuple[int, ...] = ()
    dropout: float = 0.0
    activation: str = "silu"


class OnRows(MadeOfRows):
    """Uses of networks that become a model once rows are known."""

    def score_samples(
        self,
        X: Any,
        *,
        draws: int | str = "auto",
        tolerance: float = 0.1,
        max_draws: int = 10_000,
        return_error: bool = False,
        per_feature: bool = False,
        condition: Any = None,
        lengths: Any = None,
        observed: Any = None,
    ) -> np.ndarray:
        """(n,) importance-weighted log p(x), nats, as the method of a fitted estimator; arguments as there.

        Args:
            X: (n, *X) rows.
            draws, tolerance, max_draws, return_error, per_feature: as there.
            condition, lengths, observed: as in `on`.
        """
        fitted = self.on(X, condition, lengths, observed)
        rows = fitted.check(X, condition, lengths, observed=observed)
        asked = (fitted, rows, draws, per_feature, return_error)
        return scores_or_elements(*asked, tolerance=tolerance, max_draws=max_draws)

    def diagnose(self, X: Any, y: Any = None, **kwargs: Any) -> list[Any]:
        """Findings about the model, most severe first; arguments as in `isthmus.diagnose`."""
        import isthmus

        return isthmus.diagnose(self, X, y, **kwargs)


@dataclass(frozen=True)
class WrappedModel(OnRows):
    """A model of parts that a loop of the user's own trained, and the weight of the KL term in its loss."""

    model: Model
    beta: float

    def on(
        self,
        X: Any,
        condition: Any = None,
        lengths: Any = None,
        observed: Any = None,
        y: Any = None,
        classes: Any = None,
    ) -> FittedModel:
        """The model as a fitted model of data like X, which can be saved; arguments as in `Wrapped.on`.

        Raises:
            InputError: if the model cannot be applied to X.
        """
        return described_by(self.model, X, condition, lengths, observed, y, self.beta)


@dataclass(frozen=True)
class Wrapped(OnRows):
    """An encoder, a decoder and the loss that they were trained with; the fields are the arguments of `wrap`."""

    encoder: Method
    decoder: Method
    likelihood: str
    beta: float
    reduction: str | None
    kl_reduction: str
    scale_output: str
    prior: Any

    def on(
        self,
        X: Any,
        condition: Any = None,
        lengths: Any = None,
        observed: Any = None,
        y: Any = None,
        classes: Any = None,
    ) -> FittedModel:
        """The networks as a fitted model of data like X.

        Args:
            X: (n, *X) rows as the encoder reads them, or `Examples`, which hold the other arguments.
            condition: (n,) labels or (n, C) numbers.
            lengths: (n,) number of steps of each padded sequence.
            observed: (n, *X) booleans, False where a value of X is missing; the encoder reads 0 there.
            y: (n,) labels: the condition, if there is no other, of networks whose parameter for it has no default or
                that cannot be run without one.
            classes: labels of other rows; the networks know their classes too.

        Raises:
            InputError: if the networks cannot be applied to X.
        """
        given = as_examples(X, condition=condition, lengths=lengths, observed=observed, y=y)
        examples = validate_rows(to_array(given.x), given.condition, given.lengths, observed=given.observed)
        if given.condition is None and given.y is not None and self.needs_condition(examples):
            examples = replace(examples, condition=as_labels(given.y, len(examples)))
        train = np.arange(len(examples))
        weight = next(self.encoder.parameters(), torch.zeros(()))
        c = infer_condition(examples, train)
        if c is not None and c.classes and classes is not None:
            c = Condition.read(np.concatenate([examples.condition, to_cpu_array(classes)]))
        form = self.form(examples, c)
        if form.wide_everywhere and self.scale_output == "log_variance":
            warnings.warn(
                "The encoder's second output is positive for every row and dimension, and is read as a log-variance. "
                "If it is a standard deviation, pass scale_output='scale'.",
                UserWarning,
                stacklevel=3,
            )
        # The parts are put together on the CPU, then moved to where the networks are.
        encoder, decoder = (copy.deepcopy(half).cpu() for half in (form.encoder, form.decoder))
        fields: Any = PartFields(form.latent_dim, encoder, decoder, self.likelihood, self.prior)
        schema = replace(infer_schema(fields, examples, train), condition=c)
        with seeded(0):
            code = (form.latent_dim,)
            family = DiagonalNormal(code, log_scale_limits=NO_LIMITS) if form.variational else Point(code)
            model = latent_model(fields, schema, family)
        if form.encoder.module is form.decoder.module:  # two methods of one module, whose weights are there once
            parts = (model.posterior, model.likelihood)
            first, second = (next(m for m in part.modules() if isinstance(m, Method)) for part in parts)
            second.module = first.module
        model.to(weight.device, dtype_of(self.encoder)).eval()
        own = ("latent_dim", "encoder", "decoder", "likelihood", "prior", "scaling")
        return FittedModel(
            schema,
            model,
            settings={"threads": torch.get_num_threads(), "device": str(weight.device), "compile": False, "epochs": 0},
            seed=0,
            name="VAE" if form.variational else "Autoencoder",
            fields={name: getattr(fields, name) for name in own},
            loss_weights={"nll": 1.0, "kl": self.beta} if form.variational else {"nll": 1.0},
            kl_terms=("kl",) if form.variational else (),
        )

    def form(self, examples: Examples, condition: Condition | None) -> NetworkForm:
        """The form of the networks' inputs and outputs, seen on the first rows."""
        first = examples.take(np.arange(min(PROBE_ROWS, len(examples))))
        kwargs: dict[str, Any] = {
            "dtype": dtype_of(self.encoder),
            "device": next(self.encoder.parameters(), torch.zeros(())).device,
        }
        c = None if condition is None else torch.as_tensor(condition.encode(first.condition, len(first)), **kwargs)
        mask = None if first.lengths is None else torch.as_tensor(length_mask(first.x, first.lengths))
        encoder, decoder = self.encoder.configured(scale_output=self.scale_output), self.decoder
        return network_form(encoder, decoder, torch.as_tensor(first.x, **kwargs), c, mask)

    def needs_condition(self, examples: Examples) -> bool:
        """Whether the networks need a condition: their parameter has no default, or they cannot be run without."""
        halves = (self.encoder, self.decoder)
        if any(half.needs_condition for half in halves) or not any(half.takes_condition for half in halves):
            return any(half.needs_condition for half in halves)
        try:
            self.form(examples, None)
        except InputError:
            return True
        return False

    def convention(self, fitted: FittedModel) -> LossConvention:
        """The loss for the shapes of `fitted`, which `on` returned."""
        return LossConvention(
            self.beta,
            self.reduction or "sum",
            self.kl_reduction,
            squared_error=self.likelihood == "mse",
            features=fitted.schema.size,
            latent_dim=fitted.code_size,
            declared=self.reduction is not None,
        )


def dtype_of(module: nn.Module) -> torch.dtype:
    """The floating-point type of a network's weights; single precision if it has none."""
    return next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)


def wrap(
    encoder: nn.Module,
    decoder: nn.Module | None = None,
    *,
    likelihood: str = "auto",
    beta: float = 1.0,
    reduction: str | None = None,
    kl_reduction: str = "sum",
    scale_output: str = "log_variance",
    prior: Any = "normal",
) -> Wrapped | WrappedModel:
    """Wrap networks trained elsewhere to diagnose them: `isthmus.wrap(vae, likelihood="mse").diagnose(X)`.

    A model of parts, such as a `LatentModel`, that a loop of your own trained is wrapped whole: it has its likelihood
    and prior. `isthmus.save(isthmus.wrap(model).on(X), folder)` saves it.

    An encoder returns codes (n, L), a pair (mean, scale) of these, one tensor (n, 2 L) of both, or a Normal of
    `torch.distributions`. Draws of the code that it returns beside them are left out.

    Args:
        encoder: the encoder; or, without a decoder, a whole autoencoder with `encode` and `decode`, or with networks
            `encoder` and `decoder`. Where `encode` is missing or does not give the code, its forward must return
            (reconstruction, mean, scale); `decode` it must have.
        decoder: maps codes to the mean of x; for a Bernoulli likelihood to probabilities or logits.
        likelihood: the reconstruction loss: "mse", "bce", or the name of another likelihood, e.g. "laplace"; "auto"
            reads it off X.
        beta: weight of the KL term as written in the loss.
        reduction: "sum" or "mean" of the reconstruction loss over the features of a row. By default it is taken for a
            sum, and findings that a mean would explain say so.
        kl_reduction: "sum" or "mean" of the KL over latent dimensions.
        scale_output: what the second output of the encoder is: "log_variance", "log_scale" or "scale".
        prior: p(z), as the field `prior` of a VAE.

    Raises:
        InputError: if an argument is not one of these.
    """
    for name, module in (("encoder", encoder), ("decoder", decoder)):
        if not isinstance(module, nn.Module) and (name, module) != ("decoder", None):
            raise InputError(f"{name} must be a torch.nn.Module, got {type(module).__name__}.")
    if isinstance(encoder, Model) and decoder is None:
        given = {"likelihood": likelihood, "reduction": reduction, "kl_reduction": kl_reduction}
        for name, value in {**given, "scale_output": scale_output, "prior": prior}.items():
            if not (value is None or (isinstance(value, str) and value == WRAP_DEFAULTS.get(name))):
                kind = type(encoder).__name__
                raise InputError(f"{name} must be left out for a {kind}, which has its own parts, got {quoted(value)}.")
        LossConvention(beta, "sum", "sum")  # validates it
        return WrappedModel(encoder, beta)
    name, _ = parse(likelihood, "likelihood")
    if name not in (known := ("auto", *LIKELIHOODS)):
        raise unknown("likelihood", name, known)
    if scale_output not in SCALE_OUTPUTS:
        raise unknown("scale_output", str(scale_output), SCALE_OUTPUTS)
    LossConvention(beta, reduction or "sum", kl_reduction)  # validates them
    halves = methods_of(encoder) if decoder is None else (Method(encoder), Method(decoder))
    return Wrapped(*halves, likelihood, beta, reduction, kl_reduction, scale_output, prior)
