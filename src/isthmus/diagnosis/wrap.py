"""`wrap`: an encoder and a decoder trained elsewhere, as a model that can be evaluated and diagnosed."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch import distributions as D

from isthmus.array_checks import to_array, validate_rows
from isthmus.diagnosis.loss_convention import SQUARED_ERROR_SCALE, LossConvention
from isthmus.errors import InputError, unknown
from isthmus.estimators.composition import latent_model
from isthmus.estimators.input_validation import infer_schema
from isthmus.estimators.parts_by_name import parse
from isthmus.families import DiagonalNormal, Point
from isthmus.fitted import FittedModel
from isthmus.inputs import as_examples
from isthmus.likelihoods import LIKELIHOODS

SCALE_OUTPUTS = ("log_variance", "log_scale", "scale")
MIN_PROBABILITY = 1e-6
"""A decoder's probabilities are clamped to [1e-6, 1 - 1e-6]; single precision resolves logits no further."""
PROBE_ROWS = 16
"""Rows on which the networks are run to see the form of their outputs."""


class EncoderAdapter(nn.Module):
    """An encoder that returns codes, (mean, scale) or a distribution, as parameters (B, L) or (B, 2 L).

    Args:
        module: the encoder.
        scale_output: what the second output is: "log_variance", "log_scale" or "scale".
    """

    def __init__(self, module: nn.Module, scale_output: str):
        super().__init__()
        self.module, self.scale_output = module, scale_output

    def forward(self, x: Tensor) -> Tensor:
        out = self.module(x)
        if isinstance(out, D.Distribution):
            return torch.cat([out.mean.flatten(1), out.stddev.log().flatten(1)], 1)
        if isinstance(out, tuple | list) and len(out) >= 2:
            loc, scale = (part.flatten(1) for part in out[:2])
            log_scale = {"log_variance": 0.5 * scale, "log_scale": scale}.get(self.scale_output)
            return torch.cat([loc, scale.log() if log_scale is None else log_scale], 1)
        return (out[0] if isinstance(out, tuple | list) else out).flatten(1)

    def returns_scale(self, x: Tensor) -> bool:
        """Whether the encoder also returns a scale."""
        out = self.module(x)
        return isinstance(out, D.Distribution) or (isinstance(out, tuple | list) and len(out) >= 2)


class ProbabilityToLogits(nn.Module):
    """A decoder that returns probabilities, as one that returns logits."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, z: Tensor) -> Tensor:
        return self.module(z).clamp(MIN_PROBABILITY, 1 - MIN_PROBABILITY).logit()


@dataclass(frozen=True)
class NetworkForm:
    """What an encoder and a decoder return.

    Args:
        latent_dim: numbers in a code.
        variational: whether the encoder also returns a scale.
        probabilities: whether the decoder returns numbers from 0 to 1.
        dtype: precision of the weights.
        device: where the weights are.
    """

    latent_dim: int
    variational: bool
    probabilities: bool
    dtype: torch.dtype
    device: torch.device


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
    activation: str = "silu"


@dataclass(frozen=True)
class Wrapped:
    """An encoder, a decoder and the loss that they were trained with; the fields are the arguments of `wrap`."""

    encoder: nn.Module
    decoder: nn.Module
    likelihood: str
    beta: float
    reduction: str
    kl_reduction: str
    scale_output: str
    prior: Any

    def on(self, X: Any, condition: Any = None, lengths: Any = None, observed: Any = None) -> FittedModel:
        """The networks as a fitted model of data like X.

        Args:
            X: (n, *X) rows as the encoder reads them, or `Examples`, which hold the other arguments.
            condition: (n,) labels or (n, C) numbers.
            lengths: (n,) number of steps of each padded sequence.
            observed: (n, *X) booleans, False where a value of X is missing; the encoder reads 0 there.

        Raises:
            InputError: if the networks cannot be applied to X.
        """
        given = as_examples(X, condition=condition, lengths=lengths, observed=observed)
        examples = validate_rows(to_array(given.x), given.condition, given.lengths, observed=given.observed)
        form = self.probe(examples.x)
        likelihood = self.likelihood
        if likelihood == "mse":
            likelihood = f"normal({SQUARED_ERROR_SCALE if form.variational else 1.0})"
        decoder = self.decoder
        if likelihood == "bernoulli" and form.probabilities:
            decoder = ProbabilityToLogits(decoder)
        # The parts are put together on the CPU, then moved to where the networks are.
        fields: Any = PartFields(
            form.latent_dim,
            EncoderAdapter(copy.deepcopy(self.encoder).cpu(), self.scale_output),
            copy.deepcopy(decoder).cpu(),
            likelihood,
            self.prior,
        )
        schema = infer_schema(fields, examples, np.arange(len(examples)))
        model = latent_model(fields, schema, (DiagonalNormal if form.variational else Point)((form.latent_dim,)))
        model.to(form.device, form.dtype).eval()
        return FittedModel(
            schema,
            model,
            settings={"threads": torch.get_num_threads(), "device": str(form.device), "compile": False, "epochs": 0},
            seed=0,
            name="VAE" if form.variational else "Autoencoder",
            fields={"latent_dim": form.latent_dim, "likelihood": likelihood, "prior": self.prior, "scaling": "none"},
            loss_weights={"nll": 1.0, "kl": self.beta} if form.variational else {"nll": 1.0},
            kl_terms=("kl",) if form.variational else (),
        )

    def probe(self, x: np.ndarray) -> NetworkForm:
        """The form of the networks' outputs for rows x (n, *X)."""
        encoder = EncoderAdapter(self.encoder, self.scale_output)
        weight = next(self.encoder.parameters(), torch.zeros(()))
        rows = torch.as_tensor(x[:PROBE_ROWS], dtype=dtype_of(self.encoder), device=weight.device)
        modes = [(module, module.training) for module in (self.encoder, self.decoder)]
        try:
            for module, _ in modes:
                module.eval()
            with torch.no_grad():
                variational, raw = encoder.returns_scale(rows), encoder(rows)
                latent_dim = raw.shape[1] // 2 if variational else raw.shape[1]
                decoded = self.decoder(raw[:, :latent_dim])
        except (RuntimeError, TypeError, ValueError, AttributeError, IndexError) as error:
            why = " ".join(str(error).split())[:160]
            raise InputError(f"the networks must accept rows of shape {x.shape[1:]}, but raised: {why}") from error
        finally:
            for module, training in modes:
                module.train(training)
        probabilities = bool(((decoded >= 0) & (decoded <= 1)).all())
        return NetworkForm(latent_dim, variational, probabilities, rows.dtype, weight.device)

    def convention(self, fitted: FittedModel) -> LossConvention:
        """The loss for the shapes of `fitted`, which `on` returned."""
        return LossConvention(
            self.beta,
            self.reduction,
            self.kl_reduction,
            squared_error=self.likelihood == "mse",
            features=fitted.schema.size,
            latent_dim=fitted.code_size,
        )

    def diagnose(self, X: Any, y: Any = None, **kwargs: Any) -> list[Any]:
        """Findings about the model, most severe first; arguments as in `isthmus.diagnose`."""
        import isthmus

        return isthmus.diagnose(self, X, y, **kwargs)


def dtype_of(module: nn.Module) -> torch.dtype:
    """The floating-point type of a network's weights; single precision if it has none."""
    return next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)


def wrap(
    encoder: nn.Module,
    decoder: nn.Module,
    *,
    likelihood: str = "auto",
    beta: float = 1.0,
    reduction: str = "sum",
    kl_reduction: str = "sum",
    scale_output: str = "log_variance",
    prior: Any = "normal",
) -> Wrapped:
    """Wrap networks trained elsewhere to diagnose them: `isthmus.wrap(encoder, decoder, beta=4).diagnose(X)`.

    Args:
        encoder: maps rows to codes (n, L), to a pair (mean, scale), or to a torch distribution.
        decoder: maps codes to the mean of x; for a Bernoulli likelihood to probabilities or logits.
        likelihood: "mse" for a squared error, or the name of a likelihood, e.g. "bernoulli"; "auto" reads it off X.
        beta: weight of the KL term as written in the loss.
        reduction: "sum" or "mean" of the reconstruction loss over the features of a row.
        kl_reduction: "sum" or "mean" of the KL over latent dimensions.
        scale_output: what the second output of the encoder is: "log_variance", "log_scale" or "scale".
        prior: p(z), as the field `prior` of a VAE.

    Raises:
        InputError: if an argument is not one of these.
    """
    for name, module in (("encoder", encoder), ("decoder", decoder)):
        if not isinstance(module, nn.Module):
            raise InputError(f"{name} must be a torch.nn.Module, got {type(module).__name__}.")
    name, _ = parse(likelihood, "likelihood")
    if name not in (known := ("auto", "mse", *LIKELIHOODS)):
        raise unknown("likelihood", name, known)
    if scale_output not in SCALE_OUTPUTS:
        raise unknown("scale_output", str(scale_output), SCALE_OUTPUTS)
    LossConvention(beta, reduction, kl_reduction)  # validates them
    return Wrapped(encoder, decoder, likelihood, beta, reduction, kl_reduction, scale_output, prior)
