"""`wrap`: an encoder and a decoder trained elsewhere, as a model that can be evaluated and diagnosed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch import distributions as D

from isthmus.array_checks import from_torch
from isthmus.diagnosis.loss_convention import SQUARED_ERROR_SCALE, LossConvention
from isthmus.errors import InputError, unknown
from isthmus.estimators.autoencoders import Autoencoder
from isthmus.estimators.base import Estimator
from isthmus.estimators.part_registry import parse
from isthmus.estimators.training_setup import setup_training
from isthmus.estimators.variational import VAE
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

    def on(self, X: Any, condition: Any = None, lengths: Any = None) -> Estimator:
        """The networks as a fitted model of data like X.

        Args:
            X: (n, *X) rows as the encoder reads them.
            condition: (n,) labels or (n, C) numbers.
            lengths: (n,) number of steps of each padded sequence.

        Raises:
            InputError: if the networks cannot be applied to X.
        """
        x = from_torch(X) if hasattr(X, "detach") else np.asarray(X)
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
            raise InputError(
                f"the networks must accept rows of shape {tuple(x.shape[1:])}, but raised: {why}"
            ) from error
        finally:
            for module, training in modes:
                module.train(training)
        likelihood = self.likelihood
        if likelihood == "mse":
            likelihood = f"normal({SQUARED_ERROR_SCALE if variational else 1.0})"
        probabilities = likelihood == "bernoulli" and bool(((decoded >= 0) & (decoded <= 1)).all())
        fields: dict[str, Any] = {
            "latent_dim": latent_dim,
            "encoder": encoder,
            "decoder": ProbabilityToLogits(self.decoder) if probabilities else self.decoder,
            "likelihood": likelihood,
            "prior": self.prior,
            "scaling": "none",
            "validation_fraction": 0.0,
            "precision": "double" if rows.dtype == torch.float64 else "single",
            "random_state": 0,
        }
        model: Estimator = VAE(beta=self.beta, **fields) if variational else Autoencoder(**fields)
        model.fitted_ = setup_training(model, X, condition, lengths).fitted([])
        model.model_.eval()
        return model

    def convention(self, model: Estimator) -> LossConvention:
        """The loss for the shapes of `model`, which `on` returned."""
        return LossConvention(
            self.beta,
            self.reduction,
            self.kl_reduction,
            squared_error=self.likelihood == "mse",
            features=model.schema_.size,
            latent_dim=model.latent_dim,
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
