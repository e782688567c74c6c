"""Networks of the user's own, trained elsewhere, as a model that can be measured and diagnosed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch import distributions as D

from isthmus.array_checks import from_torch
from isthmus.diagnosis.loss_convention import SQUARED_SCALE, Convention
from isthmus.errors import InputError, unknown
from isthmus.estimators.autoencoders import Autoencoder
from isthmus.estimators.base import Estimator
from isthmus.estimators.part_registry import parse
from isthmus.estimators.training_setup import setup_training
from isthmus.estimators.variational import VAE
from isthmus.likelihoods import LIKELIHOODS

SPREADS = ("log_variance", "log_scale", "scale")
SURE = 1e-6
"""Probabilities of a decoder come no nearer to 0 and 1: a logit of single precision holds no more."""
LOOKED_AT = 16
"""Rows whose codes and reconstructions tell what the networks answer with."""


class EncoderAdapter(nn.Module):
    """An encoder that answers with codes, with (mean, spread), or with a distribution, as raw numbers (B, L or 2 L)."""

    def __init__(self, module: nn.Module, spread: str):
        super().__init__()
        self.module, self.spread = module, spread

    def forward(self, x: Tensor) -> Tensor:
        answer = self.module(x)
        if isinstance(answer, D.Distribution):
            return torch.cat([answer.mean.flatten(1), answer.stddev.log().flatten(1)], 1)
        if isinstance(answer, tuple | list) and len(answer) >= 2:
            loc, spread = (part.flatten(1) for part in answer[:2])
            log_scale = {"log_variance": 0.5 * spread, "log_scale": spread}.get(self.spread)
            return torch.cat([loc, spread.log() if log_scale is None else log_scale], 1)
        return (answer[0] if isinstance(answer, tuple | list) else answer).flatten(1)

    def variational(self, x: Tensor) -> bool:
        """Whether the answer says how sure it is."""
        answer = self.module(x)
        return isinstance(answer, D.Distribution) or (isinstance(answer, tuple | list) and len(answer) >= 2)


class ProbabilityToLogits(nn.Module):
    """A decoder that answers with probabilities, as logits."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, z: Tensor) -> Tensor:
        return self.module(z).clamp(SURE, 1 - SURE).logit()


@dataclass(frozen=True)
class Wrapped:
    """An encoder and a decoder, and how the loss that they were trained on was put together."""

    encoder: nn.Module
    decoder: nn.Module
    likelihood: str
    beta: float
    reduction: str
    kl_reduction: str
    spread: str
    prior: Any

    def on(self, X: Any, condition: Any = None, lengths: Any = None) -> Estimator:
        """The networks as a fitted model of data like X (n, *X); InputError where they do not read X."""
        x = from_torch(X) if hasattr(X, "detach") else np.asarray(X)
        encoder = EncoderAdapter(self.encoder, self.spread)
        first = next(self.encoder.parameters(), torch.zeros(()))
        rows = torch.as_tensor(x[:LOOKED_AT], dtype=dtype_of(self.encoder), device=first.device)
        was = [(module, module.training) for module in (self.encoder, self.decoder)]
        try:
            for module, _ in was:
                module.eval()
            with torch.no_grad():
                variational, raw = encoder.variational(rows), encoder(rows)
                latent_dim = raw.shape[1] // 2 if variational else raw.shape[1]
                answers = self.decoder(raw[:, :latent_dim])
        except (RuntimeError, TypeError, ValueError, AttributeError, IndexError) as error:
            why = " ".join(str(error).split())[:160]
            raise InputError(f"the networks cannot read rows of shape {tuple(x.shape[1:])}: {why}") from error
        finally:
            for module, training in was:
                module.train(training)
        squared = self.likelihood == "mse"
        scale = SQUARED_SCALE if variational else 1.0
        likelihood = f"normal({scale})" if squared else self.likelihood
        chances = likelihood == "bernoulli" and bool(((answers >= 0) & (answers <= 1)).all())
        fields: dict[str, Any] = {
            "latent_dim": latent_dim,
            "encoder": encoder,
            "decoder": ProbabilityToLogits(self.decoder) if chances else self.decoder,
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

    def convention(self, model: Estimator) -> Convention:
        """What the weights of the loss amount to for this model's shapes."""
        return Convention(
            self.beta,
            self.reduction,
            self.kl_reduction,
            squared=self.likelihood == "mse",
            features=model.schema_.size,
            latent_dim=model.latent_dim,
        )

    def diagnose(self, X: Any, y: Any = None, **more: Any) -> list[Any]:
        """What is wrong with the model, the gravest first: `isthmus.diagnose`."""
        import isthmus

        return isthmus.diagnose(self, X, y, **more)


def dtype_of(module: nn.Module) -> torch.dtype:
    """The precision of a network's weights; single where it has none."""
    return next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)


def wrap(
    encoder: nn.Module,
    decoder: nn.Module,
    *,
    likelihood: str = "auto",
    beta: float = 1.0,
    reduction: str = "sum",
    kl_reduction: str = "sum",
    spread: str = "log_variance",
    prior: Any = "normal",
) -> Wrapped:
    """Networks trained elsewhere, to be diagnosed: `isthmus.wrap(encoder, decoder, beta=4).diagnose(X)`.

    `encoder(x)` answers with codes (n, L), with (mean, spread) whose second part is a `spread` (log_variance, log_scale
    or scale), or with a distribution; `decoder(z)` with the mean of x, or with probabilities or logits for bernoulli. X
    comes as the encoder reads it. `likelihood` is "mse" for a squared error, or a name that models take. `beta`,
    `reduction` of the reconstruction over an example's features and `kl_reduction` over latent dimensions ("sum" or
    "mean") say how the loss was put together. Raises InputError for words that are not known.
    """
    for module in (encoder, decoder):
        if not isinstance(module, nn.Module):
            raise InputError(f"a {type(module).__name__} came as a network; a torch.nn.Module is wanted")
    name, _ = parse(likelihood, "likelihood")
    if name not in (known := ("auto", "mse", *LIKELIHOODS)):
        raise unknown("likelihood", name, known)
    if spread not in SPREADS:
        raise unknown("spread", str(spread), SPREADS)
    Convention(beta, reduction, kl_reduction)
    return Wrapped(encoder, decoder, likelihood, beta, reduction, kl_reduction, spread, prior)
