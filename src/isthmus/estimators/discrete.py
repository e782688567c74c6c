"""Autoencoders with discrete codes."""

from __future__ import annotations

import typing
from typing import Any, Never

import numpy as np

from isthmus import families, priors
from isthmus.errors import InputError
from isthmus.estimators import composition
from isthmus.estimators.available_methods import refuse_others
from isthmus.estimators.base import Estimator
from isthmus.estimators.hyperparameters import Auto
from isthmus.estimators.parts_by_name import QUANTIZATIONS, build
from isthmus.estimators.recipe import Recipe
from isthmus.objective import warmup
from isthmus.schema import Schema
from isthmus.terms.bounds import kl, nll
from isthmus.terms.penalties import commitment, perplexity
from isthmus.wording import quoted


class VQVAE(Estimator):
    """Autoencoder whose code is a sequence of symbols, with a learned prior over them (van den Oord et al., 2017).

    A row has one code, so that -log p(x given z) - log p(z) is a bound on -log p(x), which is trained.
    """

    purpose: typing.ClassVar[str] = "discrete codes"
    has_linear_start: typing.ClassVar[bool] = False

    latent_dim: int = 64
    """Numbers that the encoder gives, >= 1: as many for each symbol as `quantization` says."""
    hidden: tuple[int, ...] | Auto = "auto"
    """Widths of the encoder's hidden layers, mirrored in the decoder; none for a linear model, auto by the rows."""
    quantization: str = "vq(512, 4)"
    """How numbers become symbols: vq(k, d), words of d numbers; rvq(k, d, depth), words and rests; fsq(k), k levels."""
    commitment: float = 0.25
    """Weight of the squared distance of the encoder's numbers from their code, >= 0, which keeps them near it."""

    def compose(self, schema: Schema) -> Recipe:
        if not isinstance(self.prior, str) or self.prior != "normal":
            raise InputError(
                f"prior must be 'normal' for {type(self).__name__}, which learns its prior, got {quoted(self.prior)}."
            )
        quantizer = build(QUANTIZATIONS, self.quantization, "quantization", self.latent_dim)
        family, prior = families.Quantized(quantizer), priors.Autoregressive(quantizer.symbols, quantizer.values)
        model = composition.latent_model(self, schema, family, prior, beside=quantizer.size - quantizer.raw_size)
        loss = nll + warmup(self.warmup, self.cycles) * kl + self.commitment * commitment
        return Recipe(model, loss + 0.0 * perplexity if family.learns else loss)

    def symbols(
        self, X: Any, *, condition: Any = None, lengths: Any = None, observed: Any = None, **others: Never
    ) -> np.ndarray:
        """(n, S) the symbols of each row, integers from 0.

        Args:
            X, condition, lengths, observed: as in `transform`.
        """
        refuse_others(type(self), "symbols", others)
        rows, model = self._check(X, condition, lengths, observed), self.fitted_.model
        return self.fitted_.map_rows(rows, lambda batch: model.infer(batch).index)
