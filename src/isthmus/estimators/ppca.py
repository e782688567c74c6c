"""Probabilistic PCA, exact: the baseline."""

from __future__ import annotations

import math
import typing
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from isthmus import families
from isthmus.errors import InputError
from isthmus.estimators.base import Estimator, Recipe
from isthmus.metrics.principal_axes import factor_of_blocks, principal_axes
from isthmus.nets.mlp import MLP
from isthmus.scales import BufferScale
from isthmus.schema import Schema
from isthmus.terms.bounds import kl, nll


class ProbabilisticPCA(Estimator):
    """Probabilistic PCA by its closed form (Tipping & Bishop, 1999): the linear VAE at its optimum."""

    purpose: typing.ClassVar[str] = "new examples, and log p(x)"

    hidden: tuple[int, ...] = ()
    """Must be none: the model is linear."""
    likelihood: str | tuple[str, ...] | nn.Module = "normal"
    """Must be normal: one scale for all elements."""
    scaling: str = "global"
    """standard (each column) changes the model; global and none do not."""
    precision: str = "float64"
    """float64, or float32."""
    validation_fraction: float = 0.0
    """Share of the rows, from 0 to below 1, to leave out; the exact solution needs none."""

    def compose(self, schema: Schema) -> Recipe:
        required = {"hidden": (), "likelihood": "normal", "prior": "normal", "corruption": None}
        required |= {"encoder": None, "decoder": None}
        for name, value in required.items():
            if getattr(self, name) not in (value, "none", []):
                raise InputError(
                    f"{name} must be {value!r} for ProbabilisticPCA, got {getattr(self, name)!r}. Use a VAE."
                )
        if self.precision == "bf16":
            raise InputError("precision must be 'float64' or 'float32' for ProbabilisticPCA, got 'bf16'.")
        if schema.condition or schema.sequence:
            raise InputError("condition and lengths must be None for ProbabilisticPCA. Use a VAE.")
        posterior = families.DiagonalNormal((self.latent_dim,))
        model = self.latent_model(schema, posterior)
        scale = BufferScale()
        model.likelihood.family.log_scale = scale

        def solve(blocks: Iterator[Tensor], counts: np.ndarray | None) -> None:
            centre, factor, n = factor_of_blocks((x.flatten(1).double().cpu().numpy() for x in blocks), counts)
            pca = principal_axes(centre, factor, n)
            d = len(centre)
            rank = min(self.latent_dim, len(pca.axes))
            # The noise is the mean variance of all other directions, also of those that fewer rows than columns do not
            # span. Without a discarded direction nothing is left as noise, and the density would have no bound.
            total_variance = float(pca.variance.sum())
            discarded = total_variance - float(pca.variance[:rank].sum())
            variance = max(discarded / max(1, d - rank), 1e-12 * total_variance)
            kept = torch.zeros(self.latent_dim, dtype=torch.float64)  # eigenvalues above the noise
            kept[:rank] = torch.from_numpy((pca.variance[:rank] - variance).clip(min=0))
            axes = torch.zeros(self.latent_dim, d, dtype=torch.float64)
            turned = pca.axes[:rank]
            largest = np.take_along_axis(turned, np.abs(turned).argmax(1)[:, None], 1)
            axes[:rank] = torch.from_numpy(turned * np.sign(largest))  # an axis has no sign: its largest element is > 0
            weight = axes * kept.sqrt()[:, None]  # (D, X): x = z @ weight + mean
            mean = torch.from_numpy(pca.mean)
            total = kept + variance  # of M = W'W + variance, diagonal in these axes
            encode = weight / total[:, None]
            encoder, decoder = model.posterior.net, model.likelihood.net
            assert isinstance(encoder, MLP)
            assert isinstance(decoder, MLP)
            first, last = encoder.layers[0], decoder.layers[0]
            assert isinstance(first, nn.Linear)
            assert isinstance(last, nn.Linear)
            first.weight.copy_(torch.cat([encode, torch.zeros_like(encode)]))
            first.bias.copy_(torch.cat([-encode @ mean, 0.5 * (math.log(variance) - total.log())]))
            last.weight.copy_(weight.T)
            last.bias.copy_(mean)
            scale.log_scale.fill_(0.5 * math.log(variance))

        return Recipe(model, nll + kl, solve)
