"""The scikit-learn interface that every public model has: fields, `fit`, and methods that use the fitted model."""

from __future__ import annotations

import contextlib
import dataclasses
import typing
from collections.abc import Iterator
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
from isthmus.train.progress import ProgressCallback


def _scores(estimator: Estimator) -> bool:
    if not estimator.capabilities.has_density:
        name = type(estimator).__name__
        raise AttributeError(f"{name} has no density, only a squared error. Use score(X), or a VAE for log p(x).")
    return True


def _samples(estimator: Estimator) -> bool:
    if not estimator.capabilities.samples:
        raise AttributeError(f"{type(estimator).__name__} has no prior to sample from. Train a VAE to draw examples.")
    return True


@contextlib.contextmanager
def progress_bar(visible: bool) -> Iterator[ProgressCallback | None]:
    """A progress bar on stderr; None if it is not wanted."""
    if not visible:
        yield None
        return
    from isthmus.train.progress import ProgressBar

    with ProgressBar() as bar:
        yield bar


@typing.dataclass_transform(kw_only_default=True, eq_default=False)
@dataclass(kw_only=True, eq=False, repr=False)
class Estimator(Transition, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """The fields and methods that every model has; a model adds fields and `compose`."""

    latent_dim: int = 16
    """Numbers in a code."""
    hidden: tuple[int, ...] = (512, 512)
    """Widths of a fully connected encoder's hidden layers, mirrored in the decoder; none leave a linear model."""
    network: str = "auto"
    """mlp, conv, or auto: conv for images of 16 pixels a side or more, 4 channels at most, unless hidden is empty."""
    channels: tuple[int, ...] = (32, 64)
    """Channels of a convolutional network, one for each halving of the image."""
    activation: str = "silu"
    """Between layers: silu, relu, gelu, elu, tanh or sigmoid."""
    likelihood: str | nn.Module = "auto"
    """p(x given z), a name or a part; auto reads it off the data. The s of normal(s) is in the scaled units."""
    prior: str | nn.Module = "normal"
    """p(z): normal, mixture(k), conditional, or refit(k): a mixture fitted to the codes after training."""
    corruption: str | nn.Module | None = None
    """Damage to undo in training: mask(p), gaussian(s), salt_and_pepper(p) or blur(s)."""
    scaling: str = "auto"
    """standard (each column), global (columns centred, one scale), none, or auto."""
    levels: int | None = None
    """Grey levels of integer data, where they are not the 256 of bytes."""
    binarize: bool = False
    """Draw every pixel of a byte image afresh as Bernoulli(x / 255) whenever it is used in training."""
    epochs: int | str = "auto"
    """Passes over the rows; auto makes about 5,000 updates, in 20 epochs at least."""
    batch_size: int = 128
    """Rows an update (all rows if there are fewer)."""
    learning_rate: float = 1e-3
    """Highest step of Adam; it rises shortly and falls to zero along a cosine."""
    clip: float = 10.0
    """How many times its running mean the gradient's norm may be."""
    validation_fraction: float = 0.1
    """Share of the rows kept aside to choose the best weights; 0 keeps none."""
    patience: float = 0.25
    """Share of the run without a better validation loss after which training stops."""
    warmup: float = 0.1
    """Share of the run over which the weight of the KL term rises to its full height."""
    threads: int | str = "auto"
    """Processor threads; auto takes one for tiny networks."""
    device: str = "auto"
    """cpu, cuda, or auto: a GPU where there is one."""
    precision: str = "auto"
    """single, double, or auto: single."""
    compile: bool | str = "auto"
    """Compile the training step; auto does where the run is long and the network small."""
    encoder: nn.Module | None = None
    """A network of your own in place of the encoder."""
    decoder: nn.Module | None = None
    """A network of your own in place of the decoder."""
    random_state: int | None = None
    """Seed of everything drawn; none draws a seed and notes it in seed_."""
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
            with progress_bar(self.verbose) as show:
                self.fitted_: FittedModel = job.fitted(job.train(callback=show))
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

    def inverse_transform(self, Z: Any, *, condition: Any = None, lengths: Any = None) -> np.ndarray:
        """E[x given z] (n, *X) of codes (n, *Z), in data units; 0 beyond the end of a sequence."""
        check_is_fitted(self, "fitted_")
        return self.fitted_.decode(Z, condition, lengths)

    def reconstruct(self, X: Any, *, condition: Any = None, lengths: Any = None, observed: Any = None) -> np.ndarray:
        """E[x given the code of x] (n, *X): the model's version of each row; denoising models clean it."""
        return self.fitted_.reconstruct(self._check(X, condition, lengths, observed))

    @available_if(_samples)
    def sample(self, n: int = 1, *, condition: Any = None, random_state: Any = None, mean: bool = False) -> np.ndarray:
        """n draws of x (n, *X) from the model; `mean=True` gives E[x given z] of drawn codes."""
        check_is_fitted(self, "fitted_")
        return self.fitted_.sample(n, condition, resolve_seed(random_state), mean)

    @available_if(_scores)
    def score_samples(
        self, X: Any, *, draws: int = 1000, condition: Any = None, lengths: Any = None, observed: Any = None
    ) -> np.ndarray:
        """(n,) importance-weighted log p(x), nats, in data units; a lower bound that tightens with the draws."""
        return self.fitted_.score(self._check(X, condition, lengths, observed), draws)

    @available_if(_scores)
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
