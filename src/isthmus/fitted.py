"""A trained model with its data schema: encode, decode, sample, score. What all code that uses a model works with."""

from __future__ import annotations

import contextlib
import numbers
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from isthmus.array_checks import as_codes, as_condition, check_examples, zero_padding
from isthmus.batch import Batch
from isthmus.data.dataset import check_factors
from isthmus.data.guards import require_memory
from isthmus.distributions.independent import point_of
from isthmus.errors import InputError, check_positive_int
from isthmus.examples import Examples
from isthmus.inputs import as_examples
from isthmus.latent_model import Capabilities, Model
from isthmus.memory_blocks import by_blocks
from isthmus.metrics import importance_weighting
from isthmus.metrics.draws_by_error import RowScores, score_rows
from isthmus.metrics.element_distortion import element_distortion
from isthmus.metrics.importance_weighting import Progress
from isthmus.metrics.posterior import Posterior, posterior, posterior_draws
from isthmus.metrics.squared_error import squared_errors
from isthmus.model_checks import check_taken, no_record
from isthmus.random_streams import repeatable, seeded
from isthmus.schema import Schema
from isthmus.train.config import TrainingRecord
from isthmus.train.device_data import DeviceDataset
from isthmus.train.history import History
from isthmus.train.runtime import torch_threads
from isthmus.wording import quoted

ROWS_AT_ONCE = 2048
"""Rows that pass through a network in one call."""


@dataclass(frozen=True, eq=False)
class FittedModel:
    """A trained model and everything that is needed to use it on raw data.

    Methods take `Examples`, or an array of rows; rows are validated once (`check`). Numbers are in the data's own
    units, log-densities in nats, of x alone: labels are read in training only, by models that learn from them, and
    `schema.labels.encode(y)` gives the numbers that they had there.

    Args:
        schema: shape, kind and scaling of the data.
        model: the network, in evaluation mode.
        settings: what was chosen for the machine (threads, device, compile, epochs), and for the data: `chosen`, the
            values of hyperparameters that were "auto", by name.
        seed: the seed of training.
        name: the class that made it, e.g. "VAE".
        fields: the hyperparameters of that class by name, as chosen; user-defined networks as they are.
        history: a record of every term for each epoch of the last fit.
        feature_names: names of the columns, if the training data had any.
        closed_form: whether the weights were solved for exactly instead of trained.
        loss_weights: the weight of each term of the training loss at the end of training, by name.
        kl_terms: names of the terms that are a KL divergence from the prior.
    """

    schema: Schema
    model: Model
    settings: dict[str, Any]
    seed: int
    name: str
    fields: dict[str, Any]
    history: History = field(default_factory=History)
    feature_names: tuple[str, ...] = ()
    closed_form: bool = False
    loss_weights: dict[str, float] = field(default_factory=dict)
    kl_terms: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"FittedModel({self.name}, rows of {self.schema.event_shape}, code of {self.model.code.shape})"

    @property
    def fitted_(self) -> FittedModel:
        """Itself, as the attribute of a fitted estimator."""
        return self

    @property
    def requested_fields(self) -> dict[str, Any]:
        """The hyperparameters by name as the user gave them: "auto" where they were chosen."""
        return self.fields | dict.fromkeys(self.settings.get("chosen", {}), "auto")

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.model.parameters()).dtype

    @property
    def capabilities(self) -> Capabilities:
        """What the model can do, read from its parts."""
        return self.model.capabilities

    @property
    def code_size(self) -> int:
        """Numbers in one code; 0 for a model without a code."""
        return self.model.code.size

    @property
    def network_kind(self) -> str:
        """conv for a model with convolutions, else mlp."""
        return "conv" if any(isinstance(module, nn.Conv2d) for module in self.model.modules()) else "mlp"

    @contextlib.contextmanager
    def threads(self) -> Iterator[None]:
        """Run on as many CPU threads as training did."""
        with torch_threads(self.settings["threads"]):
            yield

    # ------------------------------------------------------------------ rows

    def check(
        self,
        X: Any,
        condition: Any = None,
        lengths: Any = None,
        target: Any = None,
        observed: Any = None,
        y: Any = None,
        factors: Any = None,
        weight: Any = None,
    ) -> Examples:
        """Rows as validated arrays. Examples that were checked for this model's schema pass unchanged.

        Args:
            X: (n, *X) rows of any kind that `fit` takes; or `Examples`, which hold all other arguments.
            condition: (n,) labels or (n, C) numbers, one for each row or one for all; of a conditional model the
                labels `y` are the condition if it is None.
            lengths: (n,) number of steps of padded sequences.
            target: (n, *X) clean rows of damaged ones.
            observed: (n, *X) booleans, False where a value is missing.
            y: (n,) labels.
            factors: (n, F) integer generating factors.
            weight: (n,) numbers >= 0, how much rows count in a mean over them.

        Raises:
            InputError: for what the model cannot read, and for `Examples` with other arguments beside them.
        """
        beside = {"condition": condition, "lengths": lengths, "target": target, "factors": factors, "weight": weight}
        given = as_examples(X, use=self.feature_names, sequences=self.schema.sequence, y=y, observed=observed, **beside)
        if given.is_checked_for(self.schema):
            return given
        arrays = (given.x, given.condition, given.lengths, given.target, given.observed, given.y)
        examples = check_examples(self.schema, *arrays, self.feature_names, given.weight)
        check_taken(self.model, examples.x, examples.lengths, examples.observed)
        self._encode_condition(examples.condition, len(examples))
        if given.factors is None:
            return examples
        factors = check_factors(given.factors, len(examples))
        return replace(examples, factors=factors).mark_checked(self.schema)

    def check_without_condition(self, X: Any) -> Examples:
        """Rows of an array or `Examples` as validated arrays, for uses that need no condition: they may lack one."""
        given = as_examples(X, use=self.feature_names, sequences=self.schema.sequence)
        if given.is_checked_for(self.schema):
            return given
        arrays = {"lengths": given.lengths, "observed": given.observed}
        examples = check_examples(self.schema, given.x, **arrays, feature_names=self.feature_names)
        check_taken(self.model, examples.x, examples.lengths, examples.observed)
        # `replace` drops the mark of checked rows: without its condition a conditional model cannot score them.
        return replace(examples)

    def dataset(self, examples: Any, bits: str = "mean") -> DeviceDataset:
        """Rows on the model's device; `bits` says which bits of binarised pixels: mean, fixed or fresh."""
        rows = self.check(examples)
        c = self._encode_condition(rows.condition, len(rows))
        beside = {"c": c, "lengths": rows.lengths, "target": rows.target, "observed": rows.observed}
        return DeviceDataset(rows.x, self.schema, device=self.device, dtype=self.dtype, bits=bits, **beside)

    def _encode_condition(self, condition: Any, n: int) -> np.ndarray | None:
        known = self.schema.condition
        if known is None:
            if condition is not None:
                raise InputError("condition must be None for a model that was trained without a condition, got one.")
            return None
        if condition is None:
            raise InputError(
                "condition must be given to a conditional model, got None. Pass condition=... (--condition)."
            )
        return known.encode(condition, n)

    # ------------------------------------------------------------------ codes

    def encode(self, examples: Any) -> np.ndarray:
        """Codes (n, *Z): the centre of q(z given x) of each row, always the same.

        Args:
            examples: n rows, as `Examples` or an array (n, *X).
        """
        return self.map_rows(examples, self.model.encode)

    def map_rows(self, examples: Any, function: Callable[[Batch], Tensor]) -> np.ndarray:
        """(n, ...) what a function of the model makes of batches of the rows, (B, ...) each."""
        rows = self.dataset(examples)
        with torch.no_grad(), self.threads(), repeatable(self.model):
            parts = by_blocks(lambda index: function(rows.batch(index)), len(rows), ROWS_AT_ONCE, rows.device)
            return torch.cat(list(parts)).cpu().numpy()

    def posterior_of(self, examples: Any) -> Posterior:
        """Mean and scale (n, *Z) of q(z given x) of each row, in the units of the codes.

        Args:
            examples: n rows, as `Examples` or an array (n, *X).

        Raises:
            InputError: if the code of a row is a point.
        """
        with self.threads():
            return posterior(importance_weighting.encode_chunks(self.model, self.dataset(examples)))

    def sample_posterior(self, examples: Any, draws: int, seed: int) -> np.ndarray:
        """(K, n, *Z) draws from q(z given x) of each row.

        Args:
            examples: n rows, as `Examples` or an array (n, *X).
            draws: K, the number of draws for each row.
            seed: of the draws.

        Raises:
            InputError: if the code of a row is a point.
        """
        check_positive_int("draws", draws)
        rows = self.dataset(examples)
        require_memory(8 * draws * len(rows) * self.code_size, f"{draws:,} draws for each row")
        with self.threads():
            chunks = importance_weighting.encode_chunks(self.model, rows)
            return posterior_draws(chunks, draws, seed, self.model)

    def decode(
        self, codes: Any, condition: Any = None, lengths: Any = None, draw: bool = False, seed: int = 0
    ) -> np.ndarray:
        """E[x given z] of codes (n, *Z), in data units (n, *X); 0 beyond the end of a sequence.

        Args:
            codes: (n, *Z).
            condition: one for each code, or one for all.
            lengths: (n,) steps of each sequence.
            draw: draw from p(x given z) instead.
            seed: of everything drawn.
        """
        if lengths is not None and not self.schema.sequence:
            raise InputError("lengths must be None for a model that was trained without lengths.")
        z = as_codes(codes, self.model.code.shape).to(self.device, self.dtype)
        c = self._condition_tensor(condition, len(z))

        def decoded(index: Tensor) -> np.ndarray:
            px = self.model.decode(z[index], None if c is None else c[index])
            return self.schema.to_data(px.sample() if draw else point_of(px), drawn=draw)

        stream = seeded(seed, self.model) if draw else repeatable(self.model, seed)
        with torch.no_grad(), self.threads(), stream:
            pieces = list(by_blocks(decoded, len(z), ROWS_AT_ONCE, self.device))
        x = np.concatenate(pieces) if pieces else np.zeros((0, *self.schema.event_shape), np.float32)
        return zero_padding(x, lengths)

    def reconstruct(self, examples: Any) -> np.ndarray:
        """E[x given the code of x] (n, *X), in the data's units.

        Args:
            examples: n rows, as `Examples` or an array (n, *X).
        """
        rows = self.check(examples)
        return self.decode(self.encode(rows), rows.condition, rows.lengths)

    def sample(self, n: int, condition: Any = None, seed: int = 0, mean: bool = False) -> np.ndarray:
        """Draws of x (n, *X) from the model.

        Args:
            n: how many.
            condition: one for each, or one for all.
            seed: of everything drawn.
            mean: return E[x given z] of drawn codes instead of draws from p(x given z).
        """
        if not isinstance(n, numbers.Integral) or n < 0:
            raise InputError(f"n must be an integer >= 0, got {quoted(n)}.")
        if not self.capabilities.samples:
            raise InputError(f"{self.name} has no prior to sample from. Train a VAE to draw new examples.")
        require_memory(8 * n * (self.code_size + self.schema.size), f"{n:,} samples")
        c = self._condition_tensor(condition, n)
        with torch.no_grad(), seeded(seed, self.model):
            _, x = self.model.draw(n, c, mean=mean)
        return self.schema.to_data(x.reshape(n, *self.schema.event_shape), drawn=not mean)

    def _condition_tensor(self, condition: Any, n: int) -> Tensor | None:
        encoded = self._encode_condition(as_condition(condition, n), n)
        return None if encoded is None else torch.as_tensor(encoded, dtype=self.dtype, device=self.device)

    # ------------------------------------------------------------------ scores

    def score(self, examples: Any, draws: int | str = "auto", progress: Progress | None = None) -> np.ndarray:
        """(n,) importance-weighted log p(x), nats: `score_rows` without errors."""
        return self.score_rows(examples, draws, progress=progress).values

    def score_rows(self, examples: Any, draws: int | str = "auto", **settings: Any) -> RowScores:
        """log p(x) of rows with errors; arguments as in `isthmus.metrics.draws_by_error.score_rows`."""
        with torch.inference_mode(False), self.threads():  # hard rows need gradients
            return score_rows(self.model, self.dataset(examples, bits="fixed"), draws, **settings)

    def element_distortion(
        self, examples: Any, draws: int | str = "auto", progress: Progress | None = None
    ) -> np.ndarray:
        """(n, *X) E_q[-log p(x_j given z)] of each element, nats: the sum over a row is its distortion.

        Exact where q is a diagonal normal and p(x given z) normal around a linear function of z, else the mean over
        draws. Elements that are padding or were not observed are 0.

        Args:
            examples, draws, progress: as in `score`.

        Raises:
            InputError: if p(x given z) is no product over the elements of x.
        """
        rows = self.dataset(examples, bits="fixed")
        require_memory(8 * len(rows) * self.schema.size, f"the distortion of {len(rows):,} rows by element")
        with self.threads():
            chunks = importance_weighting.encode_chunks(self.model, rows, progress=progress)
            return element_distortion(self.model, chunks, draws)

    def elbo(self, examples: Any, draws: int = 100) -> np.ndarray:
        """(n,) evidence lower bound, nats, whatever the weight of the KL term was in training.

        Args:
            examples: n rows, as `Examples` or an array (n, *X).
            draws: draws from q(z given x) for each row.
        """
        rows = self.dataset(examples, bits="fixed")
        with self.threads():
            chunks = importance_weighting.encode_chunks(self.model, rows)
            return importance_weighting.elbo(self.model, chunks, draws).values

    def squared_errors(
        self, examples: Any, reconstruction: np.ndarray | None = None, *, scaled: bool = False
    ) -> np.ndarray:
        """(n,) squared distance of each row from its reconstruction, summed over the values that were observed.

        A category that is wrong counts 1.

        Args:
            examples: the rows; compared with their clean `target` if they have one.
            reconstruction: (n, *X) in data units, if it is known already.
            scaled: measure in the scaled units that networks read instead of data units.
        """
        rows = self.check(examples)
        if reconstruction is None:
            reconstruction = self.reconstruct(rows)
        x, nominal = rows.x if rows.target is None else rows.target, self.schema.per_element("kind") == "category"
        return squared_errors(x, reconstruction, nominal, rows.observed, self.schema.scale if scaled else None)


def fitted_by_hand(model: Model, record: TrainingRecord) -> FittedModel:
    """A model that `isthmus.fit` trained, as a fitted model."""
    config, device = record.config, str(next(model.parameters()).device)
    return FittedModel(
        record.schema,
        model,
        {"threads": config.threads, "device": device, "compile": False, "epochs": config.epochs},
        config.seed,
        name=type(model).__name__,
        fields={},
        history=History(record.history),
        loss_weights=record.loss_weights,
        kl_terms=record.kl_terms,
    )


def as_fitted(model: Any) -> FittedModel:
    """The fitted model behind an estimator or behind a model that `isthmus.fit` trained, or the fitted model itself.

    Raises:
        InputError: for anything that is not a fitted model; of an estimator that is not fitted yet it is
            scikit-learn's NotFittedError too.
    """
    fitted = getattr(model, "fitted_", None)
    if isinstance(fitted, FittedModel):
        return fitted
    if isinstance(model, type):
        name = model.__name__
        raise InputError(f"model must be a fitted model, got the class {name}. Pass {name}().fit(X).")
    if isinstance(model, Model):
        if model.training_record is None:
            raise no_record(model)
        return fitted_by_hand(model, model.training_record)
    if hasattr(model, "fit"):
        from isthmus.not_fitted import NotFittedError

        raise NotFittedError(f"{type(model).__name__} must be fitted first. Call fit(X).")
    raise InputError(
        f"model must be a fitted model, got {type(model).__name__}. Of wrapped networks, pass wrapped.on(X)."
    )
