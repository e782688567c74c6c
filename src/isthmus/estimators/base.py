"""The scikit-learn interface that every public model has: fields, `fit`, and methods that use the fitted model."""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted
from torch import nn

from isthmus.errors import TrainingError
from isthmus.estimators import composition
from isthmus.estimators.recipe import Recipe
from isthmus.estimators.training_setup import resolve_seed, setup_training
from isthmus.estimators.transition import Transition
from isthmus.estimators.validation import validate_new_rows
from isthmus.examples import Examples
from isthmus.families import Family
from isthmus.fitted import FittedModel
from isthmus.latent_model import Capabilities, LatentModel, Model
from isthmus.schema import Schema


def requires(capability: str, otherwise: str) -> Any:
    """Make a method available only on models with this capability; `otherwise` ends the error's sentence."""

    def check(estimator: Estimator) -> bool:
        if not getattr(estimator.capabilities, capability):
            raise AttributeError(f"{type(estimator).__name__} {otherwise}")
        return True

    return available_if(check)


encodes = requires("encodes", "has no code. Use score_samples or sample.")
samples = requires("samples", "has no prior to sample from. Train a VAE to draw examples.")
scores = requires("has_density", "has no density, only a squared error. Use score(X), or a VAE for log p(x).")


@typing.dataclass_transform(kw_only_default=True, eq_default=False)
@dataclass(kw_only=True, eq=False, repr=False)
class Estimator(Transition, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """The fields and methods that every model has; a model adds fields and `compose`."""

    latent_dim: int = 16
    """Numbers in a code, >= 1; more reconstruct more, and a VAE leaves unused when there are too many."""
    hidden: tuple[int, ...] = (512, 512)
    """Widths of the encoder's hidden layers, mirrored in the decoder; smaller for few rows, none for a linear model."""
    network: str = "auto"
    """mlp, conv (images only) or auto: conv for images of 16 pixels a side or more with at most 4 channels."""
    channels: tuple[int, ...] = (32, 64)
    """Channels of a convolutional network, one number for each halving of the image; more for detailed images."""
    activation: str = "silu"
    """Nonlinearity between layers: silu, relu, gelu, elu, tanh or sigmoid."""
    likelihood: str | tuple[str, ...] | nn.Module = "auto"
    """p(x given z) by name, auto to choose by the data, or one name for each column; s of normal(s) in scaled units."""
    prior: str | nn.Module = "normal"
    """p(z): normal, mixture(k), conditional, or refit(k), a mixture fitted to the codes after training."""
    corruption: str | nn.Module | None = None
    """Noise on the encoder's input in training: mask(p), gaussian(s), salt_and_pepper(p) or blur(s); none for none."""
    scaling: str = "auto"
    """standard (each column), global (one scale for all), none, or auto: standard for tables, global for images."""
    levels: int | None = None
    """Number of grey levels of integer data, >= 2; set it if they are not the 256 of bytes."""
    binarize: bool = False
    """Draw each pixel of a byte image anew as Bernoulli(x / 255) in every update."""
    epochs: int | str = "auto"
    """Passes over the rows, >= 1; auto makes about 5,000 updates, 20 epochs at least; more if the loss still falls."""
    batch_size: int = 128
    """Rows in an update, >= 1; all rows if there are fewer."""
    learning_rate: float = 1e-3
    """Peak step size of Adam, > 0, after a short rise and before a cosine to zero; lower it if training diverges."""
    clip: float = 10.0
    """Gradient norm above which gradients are clipped, in units of its running mean; lower it if the loss jumps."""
    validation_fraction: float = 0.1
    """Share of the rows, from 0 to below 1, that choose the best weights; 0 trains on all and keeps the last."""
    patience: float = 0.25
    """Share of all updates, from 0 to 1, without a better validation loss after which training stops; 1 never stops."""
    warmup: float = 0.1
    """Share of all updates, from 0 to 1, over which the KL term's weight rises; more if the posterior collapses."""
    threads: int | str = "auto"
    """CPU threads, >= 1; auto is one for small networks and all for larger ones."""
    device: str = "auto"
    """cpu, cuda, cuda:1, or auto: a GPU if there is one."""
    precision: str = "auto"
    """single, double, or auto, which is single; double for numbers that are to be exact."""
    compile: bool | str = "auto"
    """Compile the training step; auto does for long runs of small networks on a CPU."""
    encoder: nn.Module | None = None
    """A network of your own instead of the encoder: x to as many numbers as the posterior needs."""
    decoder: nn.Module | None = None
    """A network of your own instead of the decoder: z to as many numbers as the likelihood needs."""
    random_state: int | None = None
    """Seed of everything random, >= 0; none draws one and stores it in seed_."""
    verbose: bool = False
    """Show a progress bar."""

    conditional: typing.ClassVar[bool] = False
    """Whether labels that come with a data set are the condition, whatever the prior."""

    def __init_subclass__(cls, **arguments: Any):
        super().__init_subclass__(**arguments)
        dataclasses.dataclass(kw_only=True, eq=False, repr=False)(cls)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []  # codes have the network's precision
        return tags

    # ------------------------------------------------------------------ model

    def compose(self, schema: Schema) -> Recipe:
        """The recipe of the model for data of this schema."""
        raise NotImplementedError

    def latent_model(self, schema: Schema, posterior_family: Family) -> LatentModel:
        """Encoder, decoder, prior and corruption as the fields say, with a posterior of the given family."""
        return composition.latent_model(self, schema, posterior_family)

    @property
    def capabilities(self) -> Capabilities:
        """What the model can do: log p(x) exactly, as a bound or not at all; sample; encode."""
        return self.fitted_.capabilities if hasattr(self, "fitted_") else composition.capabilities_of(self)

    @property
    def takes_labels(self) -> bool:
        """Whether labels that come with a data set are the condition."""
        return self.conditional or (isinstance(self.prior, str) and self.prior == "conditional")

    @property
    def schema_(self) -> Schema:
        """Shape, kind and scaling of the training data."""
        return self.fitted_.schema

    @property
    def model_(self) -> Model:
        """The trained network."""
        return self.fitted_.model

    @property
    def history_(self) -> list[dict[str, Any]]:
        """A record of every term for each epoch."""
        return self.fitted_.history

    @property
    def seed_(self) -> int:
        """The seed of training."""
        return self.fitted_.seed

    @property
    def settings_(self) -> dict[str, Any]:
        """What was chosen for the machine: threads, device, compile, epochs."""
        return self.fitted_.settings

    @property
    def _n_features_out(self) -> int:
        return self.fitted_.code_size

    def _check(self, X: Any, condition: Any = None, lengths: Any = None, observed: Any = None) -> Examples:
        check_is_fitted(self, "fitted_")
        return self.fitted_.check(validate_new_rows(self, X, lengths), condition, lengths, observed=observed)

    # ------------------------------------------------------------------ fitting

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        condition: Any = None,
        lengths: Any = None,
        validation: Any = None,
        target: Any = None,
        observed: Any = None,
    ) -> Self:
        """Train on X.

        Args:
            X: (n, *X) data.
            y: not used.
            condition: (n,) labels or (n, C) numbers that the model is conditioned on.
            lengths: (n,) number of steps of padded sequences (n, t, d).
            validation: rows to choose the best weights by: an array, or a dict of X, condition, lengths, target.
            target: (n, *X) clean rows to be reconstructed from damaged X.
            observed: (n, *X) booleans, False where a value of X is missing.

        Raises:
            InputError: for fields or data that cannot be used.
            TrainingError: if a number stops being finite; the last good weights are kept.
        """
        job = setup_training(self, X, condition, lengths, validation, target, observed)
        try:
            self.fitted_: FittedModel = job.run(self.verbose)
        except TrainingError:
            self.fitted_ = job.fitted([])
            raise
        return self

    def fit_transform(self, X: Any, y: Any = None, **kwargs: Any) -> np.ndarray:
        """`fit`, then the codes (n, *Z) of the same rows."""
        use = {name: kwargs[name] for name in ("condition", "lengths", "observed") if name in kwargs}
        return self.fit(X, y, **kwargs).transform(X, **use)

    # ------------------------------------------------------------------ use

    def transform(self, X: Any, *, condition: Any = None, lengths: Any = None, observed: Any = None) -> np.ndarray:
        """Codes (n, *Z): the centre of q(z given x), always the same."""
        return self.fitted_.encode(self._check(X, condition, lengths, observed))

    @encodes
    def inverse_transform(self, Z: Any, *, condition: Any = None, lengths: Any = None) -> np.ndarray:
        """E[x given z] (n, *X) of codes (n, *Z), in data units; 0 beyond the end of a sequence."""
        check_is_fitted(self, "fitted_")
        return self.fitted_.decode(Z, condition, lengths)

    @encodes
    def reconstruct(self, X: Any, *, condition: Any = None, lengths: Any = None, observed: Any = None) -> np.ndarray:
        """E[x given the code of x] (n, *X): the model's version of each row; denoising models clean it."""
        return self.fitted_.reconstruct(self._check(X, condition, lengths, observed))

    @samples
    def sample(self, n: int = 1, *, condition: Any = None, random_state: Any = None, mean: bool = False) -> np.ndarray:
        """n draws of x (n, *X) from the model; `mean=True` gives E[x given z] of drawn codes."""
        check_is_fitted(self, "fitted_")
        return self.fitted_.sample(n, condition, resolve_seed(random_state), mean)

    @scores
    def score_samples(
        self, X: Any, *, draws: int = 1000, condition: Any = None, lengths: Any = None, observed: Any = None
    ) -> np.ndarray:
        """(n,) importance-weighted log p(x), nats, in data units; a lower bound that tightens with the draws."""
        return self.fitted_.score(self._check(X, condition, lengths, observed), draws)

    @scores
    def elbo(
        self, X: Any, *, draws: int = 100, condition: Any = None, lengths: Any = None, observed: Any = None
    ) -> np.ndarray:
        """(n,) evidence lower bound, nats, at beta 1 whatever its weight in training."""
        return self.fitted_.elbo(self._check(X, condition, lengths, observed), draws)

    def score(
        self, X: Any, y: Any = None, *, condition: Any = None, lengths: Any = None, observed: Any = None
    ) -> float:
        """Mean log p(x), nats; of a model without a density, minus the mean squared error of an example."""
        examples = self._check(X, condition, lengths, observed)
        if not self.capabilities.has_density:
            return -float(self.fitted_.squared_errors(examples).mean())
        return float(self.fitted_.score(examples).mean())

    def squared_error(self, X: Any, *, condition: Any = None, lengths: Any = None, observed: Any = None) -> np.ndarray:
        """(n,) squared distance of each row from its reconstruction, summed over features, in data units."""
        return self.fitted_.squared_errors(self._check(X, condition, lengths, observed))

    def diagnose(self, X: Any, y: Any = None, **kwargs: Any) -> list[Any]:
        """Problems of the model, the most severe first, each with a remedy: `isthmus.diagnose`."""
        import isthmus

        return isthmus.diagnose(self, X, y, **kwargs)

    def save(self, folder: str | Path) -> None:
        """Write the model to a folder: weights in safetensors, everything else in JSON."""
        check_is_fitted(self, "fitted_")
        from isthmus.persistence.serialization import save

        save(self, folder)


# Here, for scikit-learn wraps `transform` when the class is made, which would hide the condition.
Estimator.transform = encodes(Estimator.transform)  # type: ignore[method-assign]
