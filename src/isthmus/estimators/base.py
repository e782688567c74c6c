"""What every public model shares: fields, fitting, use."""

from __future__ import annotations

import copy
import dataclasses
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from isthmus import families, priors
from isthmus.conditional import Conditional
from isthmus.data.guards import require_memory
from isthmus.errors import InputError, TrainingError, unknown
from isthmus.estimators.part_registry import CORRUPTIONS, LIKELIHOODS, PRIORS, build, own_part
from isthmus.estimators.recipe import Recipe
from isthmus.estimators.training_setup import TrainingJob, prepare, seed_of
from isthmus.estimators.validation import as_codes, as_condition, collect, unpadded
from isthmus.examples import Examples
from isthmus.latent_model import LatentModel
from isthmus.metrics import importance_weighting
from isthmus.nets import conv
from isthmus.nets.layers import Log1p, Preprocess, UserModule
from isthmus.nets.mlp import MLP
from isthmus.schema import Schema
from isthmus.train.device_data import DeviceDataset
from isthmus.train.runtime import seeded, torch_threads

ENCODED_AT_ONCE = 2048
"""Rows through a network in one call, in use."""


def _has_density(estimator: Estimator) -> bool:
    if not estimator.density:
        raise AttributeError(
            f"{type(estimator).__name__} has no density, only a squared error: use score(X), or a VAE for log p(x)"
        )
    return True


@typing.dataclass_transform(kw_only_default=True, eq_default=False)
@dataclass(kw_only=True, eq=False, repr=False)
class Estimator(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
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
    """Whether labels that come with data are the condition."""
    density: typing.ClassVar[bool] = True
    """Whether codes have a density, so that log p(x) can be estimated."""

    def __init_subclass__(cls, **arguments: Any):
        super().__init_subclass__(**arguments)
        dataclasses.dataclass(kw_only=True, eq=False, repr=False)(cls)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []  # codes have the network's precision
        return tags

    # ------------------------------------------------------------------ parts

    def compose(self, schema: Schema) -> Recipe:
        """The recipe of the model for data of this schema."""
        raise NotImplementedError

    def latent_model(self, schema: Schema, posterior_family: families.Family) -> LatentModel:
        """Encoder, decoder, prior and corruption as the fields say, around a posterior family."""
        family = self.family(schema)
        given_dim = len(schema.event_shape)
        encoder = self.encoder_net(schema, posterior_family.raw_numel)
        return LatentModel(
            Conditional(encoder, posterior_family, given_dim),
            Conditional(self.decoder_net(schema, family.raw_numel // schema.size), family),
            self.prior_module(schema) if posterior_family.has_density else priors.Flat(),
            self.corruption_module(schema),
            schema.log_volume,
        )

    def network_kind(self, schema: Schema) -> str:
        """mlp or conv."""
        if self.network == "auto":
            return "conv" if schema.image and conv.conv_applicable(schema.event_shape) and self.hidden else "mlp"
        if self.network not in ("mlp", "conv"):
            raise unknown("network", str(self.network), ("auto", "mlp", "conv"))
        if self.network == "conv" and not schema.image:
            raise InputError(
                f"network='conv' needs images (n, h, w) or (n, h, w, c); rows of shape {schema.event_shape} came"
            )
        return self.network

    def encoder_net(self, schema: Schema, out: int) -> nn.Module:
        """x to `out` numbers."""
        extra: dict[str, Any] = {"condition": schema.condition_width, "act": self.activation}
        net: nn.Module
        if self.encoder is not None:
            net = UserModule(copy.deepcopy(self.encoder), schema.event_shape, schema.condition_width)
        elif self.network_kind(schema) == "conv":
            net = conv.ConvEncoder(schema.event_shape, tuple(self.channels), out, **extra)
        else:
            net = MLP(schema.event_shape, tuple(self.hidden), out, **extra)
        return Preprocess(Log1p(schema.mean), net) if schema.kind == "counts" and schema.discrete else net

    def decoder_net(self, schema: Schema, n: int) -> nn.Module:
        """z to n numbers an element of x."""
        extra: dict[str, Any] = {"condition": schema.condition_width, "act": self.activation}
        if self.decoder is not None:
            return UserModule(copy.deepcopy(self.decoder), (self.latent_dim,), schema.condition_width)
        if self.network_kind(schema) == "conv":
            return conv.ConvDecoder(self.latent_dim, tuple(self.channels), n, schema.event_shape, **extra)
        return MLP((self.latent_dim,), tuple(self.hidden)[::-1], n * schema.size, **extra)

    def family(self, schema: Schema) -> families.Family:
        """The likelihood's family."""
        if not isinstance(self.likelihood, str):
            return copy.deepcopy(self.likelihood)  # type: ignore[return-value]
        table = {name: entry.make for name, entry in LIKELIHOODS.items()}
        return build(table, schema.likelihood, "likelihood", schema)

    def prior_module(self, schema: Schema) -> nn.Module:
        """The prior over codes."""
        if not isinstance(self.prior, str):
            return own_part(self.prior, "prior")
        return build(PRIORS, self.prior, "prior", self, schema)

    def corruption_module(self, schema: Schema) -> nn.Module | None:
        """What damages x in training."""
        if self.corruption is None:
            return None
        if not isinstance(self.corruption, str):
            return own_part(self.corruption, "corruption")
        return None if self.corruption == "none" else build(CORRUPTIONS, self.corruption, "corruption", schema)

    # ---------------------------------------------------------------- fitting

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        condition: Any = None,
        lengths: Any = None,
        validation: Any = None,
        target: Any = None,
    ) -> Self:
        """Train on X of shape (n, *X).

        `y` is not read. `condition` is (n,) labels or (n, k) numbers; with `lengths` (n,) X is padded sequences;
        `validation` are rows to choose the best weights by, or a dict with X, condition, lengths, target; `target` are
        clean rows to be found behind damaged ones. Raises InputError for what cannot be used, TrainingError where a
        number stops being finite (the last good weights are kept).
        """
        job = prepare(self, X, condition, lengths, validation, target)
        try:
            if self.verbose:
                from isthmus.train.progress import ProgressBar

                with ProgressBar() as show:
                    history = job.train(show=show)
            else:
                history = job.train()
        except TrainingError:
            self.adopt(job, [])
            raise
        self.adopt(job, history)
        return self

    def fit_transform(
        self, X: Any, y: Any = None, *, condition: Any = None, lengths: Any = None, **more: Any
    ) -> np.ndarray:
        """`fit`, then the codes (n, latent_dim) of the same rows."""
        return self.fit(X, y, condition=condition, lengths=lengths, **more).transform(
            X, condition=condition, lengths=lengths
        )

    def adopt(self, job: TrainingJob, history: list[dict[str, Any]]) -> None:
        """Take over what a job has trained."""
        self.schema_: Schema = job.schema
        self.model_: LatentModel = job.recipe.model
        self.history_: list[dict[str, Any]] = history
        self.seed_: int = job.plan.seed
        self.settings_: dict[str, Any] = job.settings
        self._n_features_out = self.latent_dim
        self._trained_as = self.get_params(deep=False)  # what is saved, whatever is set afterwards

    # -------------------------------------------------------------------- use

    def rows(self, X: Any, condition: Any = None, lengths: Any = None, *, bits: str = "mean") -> DeviceDataset:
        """Rows checked against the schema and laid on the device."""
        check_is_fitted(self, "model_")
        inputs = collect(self, X, condition, lengths)
        return self.lay(inputs, bits)

    def lay(self, inputs: Examples, bits: str = "mean") -> DeviceDataset:
        """Rows that are checked already, on the device."""
        schema = self.schema_
        if (inputs.lengths is None) == schema.sequence:
            raise InputError(
                "this model was trained on padded sequences; pass lengths="
                if schema.sequence
                else "lengths were given, but this model was trained without"
            )
        return DeviceDataset(
            inputs.x,
            schema,
            device=self.device_,
            dtype=self.dtype_,
            c=self._condition(inputs.condition, len(inputs)),
            lengths=inputs.lengths,
            bits=bits,
        )

    def _condition(self, condition: Any, n: int) -> np.ndarray | None:
        known = self.schema_.condition
        if known is None:
            if condition is not None:
                raise InputError("a condition was given, but this model was trained without; leave it out")
            return None
        if condition is None:
            raise InputError("this model was trained with a condition; pass condition= (--condition)")
        return known.encode(condition, n)

    @property
    def device_(self) -> torch.device:
        return next(self.model_.parameters()).device

    @property
    def dtype_(self) -> torch.dtype:
        return next(self.model_.parameters()).dtype

    def _used(self) -> typing.ContextManager[None]:
        return torch_threads(self.settings_["threads"])

    def _batches(self, n: int) -> Iterator[Tensor]:
        yield from torch.arange(n, device=self.device_).split(ENCODED_AT_ONCE)

    def transform(self, X: Any, *, condition: Any = None, lengths: Any = None) -> np.ndarray:
        """Codes (n, latent_dim): posterior means, always the same."""
        return self._codes(X, condition, lengths).cpu().numpy()

    def _codes(self, X: Any, condition: Any, lengths: Any) -> Tensor:
        return self.codes_of(self.rows(X, condition, lengths))

    def codes_of(self, rows: DeviceDataset) -> Tensor:
        """Posterior means (n, latent_dim)."""
        with torch.no_grad(), self._used():
            batches = (rows.batch(index) for index in self._batches(len(rows)))
            return torch.cat([self.model_.encode(b) for b in batches])

    def inverse_transform(self, Z: Any, *, condition: Any = None, lengths: Any = None) -> np.ndarray:
        """E[x given z] of codes (n, latent_dim), in the data's own units and shape; 0 beyond a sequence's length."""
        check_is_fitted(self, "model_")
        if lengths is not None and not self.schema_.sequence:
            raise InputError("lengths were given, but this model was trained without")
        codes = as_codes(Z, self.latent_dim).to(self.device_, self.dtype_)
        return unpadded(self.decoded(codes, condition, drawn=False), lengths)

    def decoded(self, codes: Tensor, condition: Any, *, drawn: bool) -> np.ndarray:
        """E[x given z] (n, *X), or draws from p(x given z), in the data's units."""
        n = len(codes)
        encoded = self._condition(as_condition(condition, n), n)
        c = None if encoded is None else torch.as_tensor(encoded, dtype=codes.dtype, device=codes.device)
        pieces = []
        with torch.no_grad(), self._used():
            for index in self._batches(n):
                px = self.model_.decode(codes[index], None if c is None else c[index])
                pieces.append(self.schema_.to_data(px.sample() if drawn else px.mean, drawn=drawn))
        return np.concatenate(pieces) if pieces else np.zeros((0, *self.schema_.event_shape), np.float32)

    def reconstruct(self, X: Any, *, condition: Any = None, lengths: Any = None) -> np.ndarray:
        """E[x given the code of x] (n, *X): what the model makes of each row; a denoising one cleans it."""
        return unpadded(self.decoded(self._codes(X, condition, lengths), condition, drawn=False), lengths)

    @available_if(_has_density)
    def sample(self, n: int = 1, *, condition: Any = None, random_state: Any = None, mean: bool = False) -> np.ndarray:
        """n draws of x (n, *X) from the prior and the decoder; `mean=True` gives E[x given z] of drawn codes."""
        check_is_fitted(self, "model_")
        if not isinstance(n, int | np.integer) or n < 0:
            raise InputError(f"n={n!r} samples were asked for; a whole number of at least 0 is wanted")
        require_memory(8 * n * (self.latent_dim + self.schema_.size), f"{n:,} samples")
        encoded = self._condition(as_condition(condition, n), n)
        seed = seed_of(random_state)
        with torch.no_grad(), seeded(seed, self.device_):
            c = None
            if encoded is not None:
                c = torch.as_tensor(encoded, dtype=self.dtype_, device=self.device_)
            _, x = self.model_.draw(n, c, mean=mean)
        if not n:
            return np.zeros((0, *self.schema_.event_shape), np.float32)
        return self.schema_.to_data(x, drawn=not mean)

    # --------------------------------------------------------------- evidence

    @available_if(_has_density)
    def score_samples(self, X: Any, *, draws: int = 1000, condition: Any = None, lengths: Any = None) -> np.ndarray:
        """(n,) importance-weighted log p(x), nats, in the data's own units; a lower bound that tightens with draws."""
        rows = self.rows(X, condition, lengths, bits="fixed")
        with self._used():
            return importance_weighting.importance_weighted(self.model_, rows, draws).values

    @available_if(_has_density)
    def elbo(self, X: Any, *, draws: int = 100, condition: Any = None, lengths: Any = None) -> np.ndarray:
        """(n,) evidence lower bound, nats, at beta 1 whatever the weight in training."""
        rows = self.rows(X, condition, lengths, bits="fixed")
        with self._used():
            return importance_weighting.elbo(self.model_, rows, draws).values

    def score(self, X: Any, y: Any = None, *, condition: Any = None, lengths: Any = None) -> float:
        """Mean log p(x), nats; of a model without a density, minus the squared error an example."""
        if self.density:
            return float(self.score_samples(X, condition=condition, lengths=lengths).mean())
        return -float(self.squared_error(X, condition=condition, lengths=lengths).mean())

    def squared_error(self, X: Any, *, condition: Any = None, lengths: Any = None) -> np.ndarray:
        """(n,) squared distance of each row from its reconstruction, summed over features, in the data's units."""
        check_is_fitted(self, "model_")
        inputs = collect(self, X, condition, lengths)
        return self.misses(inputs, self.codes_of(self.lay(inputs)))

    def misses(self, inputs: Examples, codes: Tensor) -> np.ndarray:
        """(n,) squared distance of rows from what their codes are decoded to."""
        gap = inputs.x.astype(np.float64)
        gap -= unpadded(self.decoded(codes, inputs.condition, drawn=False), inputs.lengths)
        return np.square(gap).reshape(len(gap), -1).sum(-1)

    def diagnose(self, X: Any, y: Any = None, **more: Any) -> list[Any]:
        """What is wrong with the model, the gravest first, and the line that mends each: `isthmus.diagnose`."""
        import isthmus

        return isthmus.diagnose(self, X, y, **more)

    def save(self, folder: str | Path) -> None:
        """Write the model to a folder: weights in safetensors, everything else in JSON."""
        check_is_fitted(self, "model_")
        from isthmus.persistence.serialization import save

        save(self, folder)
