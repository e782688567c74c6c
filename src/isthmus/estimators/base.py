"""The scikit-learn interface of every model: `fit`, and methods that hand over to the fitted model."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, Never, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import nn

from isthmus.callbacks import check_callbacks
from isthmus.errors import InputError, Interrupted, TrainingError
from isthmus.estimators import composition
from isthmus.estimators.available_methods import encodes, refuse_others, samples, scores
from isthmus.estimators.frames import to_frame
from isthmus.estimators.hyperparameters import Hyperparameters
from isthmus.estimators.input_validation import validate_new_rows
from isthmus.estimators.recipe import Recipe
from isthmus.estimators.start_check import warn_of_trap
from isthmus.estimators.training_setup import resolve_seed, setup_training
from isthmus.examples import Examples
from isthmus.families import Family
from isthmus.fitted import FittedModel
from isthmus.inputs import as_examples, counted, library_of
from isthmus.latent_model import Capabilities, LatentModel, Model
from isthmus.metrics.posterior import Posterior
from isthmus.schema import Schema
from isthmus.score_samples import scores_or_elements
from isthmus.train.callback_calls import CallbackFailed
from isthmus.train.history import History
from isthmus.train.progress import progress_of
from isthmus.wording import quoted

__all__ = ["Estimator", "Recipe"]


class Estimator(Hyperparameters, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """A model as a scikit-learn estimator; a model adds fields and `compose`."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []  # codes have the network's precision
        tags.input_tags.sparse = True
        return tags

    # ------------------------------------------------------------------ model

    def latent_model(self, schema: Schema, posterior: Family | nn.Module) -> LatentModel:
        """Encoder, decoder, prior and corruption as the fields say, around q(z given x) or its family."""
        return composition.latent_model(self, schema, posterior)

    @property
    def capabilities(self) -> Capabilities:
        """What the model can do: log p(x) exactly, as a bound or not at all; sample; encode."""
        return self.fitted_.capabilities if hasattr(self, "fitted_") else composition.capabilities_of(self)

    @property
    def takes_labels(self) -> bool:
        """Whether labels that come with a data set are the condition."""
        return composition.takes_labels(self)

    @property
    def schema_(self) -> Schema:
        """Shape, kind and scaling of the training data."""
        return self.fitted_.schema

    @property
    def model_(self) -> Model:
        """The trained network."""
        return self.fitted_.model

    @property
    def history_(self) -> History:
        """A dict for each epoch of the last fit, with means of the loss and of each term, nats; `.to_frame()`."""
        return self.fitted_.history

    @property
    def seed_(self) -> int:
        """The seed of training."""
        return self.fitted_.seed

    @property
    def settings_(self) -> dict[str, Any]:
        """What was chosen for the machine: threads, device, compile, epochs; whether time ended training."""
        return self.fitted_.settings

    @property
    def _n_features_out(self) -> int:
        return self.fitted_.code_size

    def _rows(
        self, X: Any, condition: Any = None, lengths: Any = None, observed: Any = None, weight: Any = None
    ) -> Examples:
        check_is_fitted(self, "fitted_")
        names, sequences = self.fitted_.feature_names, self.schema_.sequence
        beside = {"condition": condition, "lengths": lengths, "observed": observed, "weight": weight}
        return as_examples(X, use=names, sequences=sequences, **beside)

    def _check(self, X: Any, condition: Any = None, lengths: Any = None, observed: Any = None) -> Examples:
        rows = self._rows(X, condition, lengths, observed)
        if not rows.is_checked_for(self.schema_):
            rows = replace(rows, x=validate_new_rows(self, rows.x, rows.lengths))
        return self.fitted_.check(rows)

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
        sample_weight: Any = None,
        callbacks: Any = None,
        **others: Never,
    ) -> Self:
        """Train on X; with `warm_start` go on from the weights of the last fit.

        With `warm_start` the schema and scaling of the first fit stay, and X may be other rows of that schema. The
        learning rate runs its whole course again over the new epochs; weights of terms that rise in a first fit have
        their last values from the begin. The weights that fit began with are kept unless validation rows say that later
        ones are better; of a game with a critic the last are kept. A model with a closed form is solved anew.

        Args:
            X: (n, *X) data: an array, a tensor, a sparse matrix, a DataFrame of pandas or polars; a list of sequences
                of unlike length; a torch `Dataset` or `DataLoader` of rows x or pairs (x, y); a path, whose validation
                rows are used and whose labels are the condition of a conditional model; or `Examples`, which hold
                everything that accompanies their rows.
            y: (n,) labels of any hashable kind, for models that learn from labels; not used by others. Of a row without
                a label -1, None or NaN.
            condition: (n,) labels or (n, C) numbers that the model is conditioned on; of a path, the name of a column.
            lengths: (n,) number of steps of padded sequences (n, t, d).
            validation: rows to choose the best weights by: an array, or a dict of X and any of the other arguments.
            target: (n, *X) clean rows to be reconstructed from damaged X.
            observed: (n, *X) booleans, False where a value of X is missing.
            sample_weight: (n,) numbers >= 0: a row of weight 2 counts as two in the loss, the scaling and the linear
                start, one of weight 0 as none, though it must be valid. What is "auto" is chosen by the rows, each of
                them once, and so are the running averages of top_k and batch_top_k.
            callbacks: an object, or several, with any of the methods `on_fit_begin`, `on_epoch_end` and `on_fit_end`:
                see `isthmus.callbacks`. A model with a closed form calls none.
            **others: none, whose error names the argument that was probably meant.

        Raises:
            InputError: for fields or data that cannot be used, or fields that may not change in a warm start.
            TrainingError: if a number stops being finite; the last good weights are kept.
            Interrupted: a KeyboardInterrupt, on Ctrl-C: the estimator is then fitted, with the best weights so far.
            Exception: what a callback raises; the estimator is then fitted, with the best weights so far.
        """
        refuse_others(type(self), "fit", others)
        calls = check_callbacks(callbacks)
        start = self.fitted_ if self.warm_start and hasattr(self, "fitted_") else None
        beside = {"sample_weight": sample_weight, "start": start}
        job = setup_training(self, X, condition, lengths, validation, target, observed, y, **beside)
        try:
            self.fitted_: FittedModel = job.run(self.verbose, calls)
        except TrainingError:
            self.fitted_ = job.fitted([])
            raise
        except Interrupted as error:
            self.fitted_ = job.fitted(error.history)
            self.fitted_.settings["interrupted"] = True
            raise
        except CallbackFailed as failure:
            self.fitted_ = job.fitted(failure.history)
            self.fitted_.settings["interrupted"] = True
            raise failure.error from None
        if start is None:
            warn_of_trap(self.fitted_, job.some_train_rows(), job.valid_rows)
        return self

    def fit_transform(self, X: Any, y: Any = None, **kwargs: Any) -> np.ndarray:
        """`fit`, then the codes (n, *Z) of the same rows.

        Args:
            X: (n, *X) data.
            y: (n,) labels, as in `fit`.
            **kwargs: the other arguments of `fit`.
        """
        use = {name: kwargs[name] for name in ("condition", "lengths", "observed") if name in kwargs}
        return self.fit(X, y, **kwargs).transform(X, **use)

    def transform(
        self,
        X: Any,
        *,
        draws: int | None = None,
        random_state: Any = None,
        condition: Any = None,
        lengths: Any = None,
        observed: Any = None,
        **others: Never,
    ) -> np.ndarray:
        """Codes (n, *Z): the centre of q(z given x), always the same; or draws (K, n, *Z) from q(z given x).

        Args:
            X: (n, *X) data, in their own units.
            draws: K, the number of draws for each row; None for the centre.
            random_state: seed of the draws, refused without them; None for a random one.
            condition: (n,) labels or (n, C) numbers of a conditional model, or one for all rows.
            lengths: (n,) number of steps of padded sequences.
            observed: (n, *X) booleans, False where a value of X is missing.
        """
        refuse_others(type(self), "transform", others)
        if draws is None and random_state is not None:
            raise InputError(
                f"random_state must be None without draws, where nothing is random, got {quoted(random_state)}. Leave "
                "it out, or pass draws=1."
            )
        rows = self._check(X, condition, lengths, observed)
        if draws is None:
            return self.fitted_.encode(rows)
        return self.fitted_.sample_posterior(rows, draws, resolve_seed(random_state))

    @encodes
    def posterior_of(
        self, X: Any, *, condition: Any = None, lengths: Any = None, observed: Any = None, **others: Never
    ) -> Posterior:
        """q(z given x) of each row: `.mean` and `.scale`, its standard deviation, both (n, *Z) in units of the codes.

        Args:
            X, condition, lengths, observed: as in `transform`.

        Raises:
            InputError: if the code of a row is a point, as in an Autoencoder.
        """
        refuse_others(type(self), "posterior_of", others)
        return self.fitted_.posterior_of(self._check(X, condition, lengths, observed))

    @encodes
    def inverse_transform(self, Z: Any, *, condition: Any = None, lengths: Any = None, **others: Never) -> Any:
        """E[x given z] (n, *X) of codes, in the data's units; 0 beyond the end of a sequence.

        A DataFrame if the model was fitted to one, with the index of Z if that is one of pandas.

        Args:
            Z: (n, *Z) codes.
            condition, lengths: as in `transform`, of the rows to decode.
        """
        refuse_others(type(self), "inverse_transform", others)
        check_is_fitted(self, "fitted_")
        x = self.fitted_.decode(Z, condition, lengths)
        library = self.schema_.library
        return to_frame(x, self.schema_, library, index=getattr(Z, "index", None)) if library else x

    @encodes
    def reconstruct(
        self, X: Any, *, condition: Any = None, lengths: Any = None, observed: Any = None, **others: Never
    ) -> Any:
        """E[x given the code of x] (n, *X), in the data's units; denoising models clean x.

        A DataFrame if X is one, of the same library and with the same index.

        Args:
            X, condition, lengths, observed: as in `transform`.
        """
        refuse_others(type(self), "reconstruct", others)
        x = self.fitted_.reconstruct(self._check(rows := self._rows(X, condition, lengths, observed)))
        library = self.schema_.library and (library_of(X) or library_of(rows))
        return to_frame(x, self.schema_, library, index=rows.x.index, names=rows.x.columns) if library else x

    @samples
    def sample(
        self, n: int = 1, *, condition: Any = None, random_state: Any = None, mean: bool = False, **others: Never
    ) -> Any:
        """Draws of x (n, *X) from the model, in the data's units; a DataFrame if the model was fitted to one.

        Args:
            n: how many.
            condition: (n,) labels or (n, C) numbers of a conditional model, or one for all draws.
            random_state: seed of all draws; None for a random one.
            mean: return E[x given z] of drawn codes instead of draws from p(x given z).
        """
        refuse_others(type(self), "sample", others)
        check_is_fitted(self, "fitted_")
        x = self.fitted_.sample(n, condition, resolve_seed(random_state), mean)
        library = self.schema_.library
        return to_frame(x, self.schema_, library, drawn=not mean) if library else x

    @scores
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
        **others: Never,
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """(n,) importance-weighted log p(x), nats in the data's units; in expectation a lower bound.

        Args:
            X: (n, *X) data.
            draws: draws from the encoder's q(z given x) for each row; "auto": as many as put about nine rows in ten
                within `tolerance` nats of log p(x), `max_draws` at most, from a posterior refined for hard rows.
            return_error: return (n,) errors too, nats: about nine rows in ten are within theirs of log p(x).
            per_feature: return (n, *X) E_q[-log p(x_j given z)] of each element instead: one far above its column's
                usual is strange. The sum is the distortion: log p(x) >= -distortion - KL(q(z given x) || p(z)).
            condition, lengths, observed: as in `transform`.

        Raises:
            InputError: with `per_feature`, if p(x given z) is no product over elements.
        """
        refuse_others(type(self), "score_samples", others)
        rows = self._check(X, condition, lengths, observed)
        with progress_of("scoring", bool(self.verbose)) as show:
            asked = (self.fitted_, rows, draws, per_feature, return_error)
            return scores_or_elements(*asked, tolerance=tolerance, max_draws=max_draws, progress=show)

    @scores
    def elbo(
        self,
        X: Any,
        *,
        draws: int = 100,
        condition: Any = None,
        lengths: Any = None,
        observed: Any = None,
        **others: Never,
    ) -> np.ndarray:
        """(n,) evidence lower bound, nats, with weight 1 on the KL term whatever it was in training.

        Args:
            draws: draws from q(z given x) for each row.
            X, condition, lengths, observed: as in `score_samples`.
        """
        refuse_others(type(self), "elbo", others)
        return self.fitted_.elbo(self._check(X, condition, lengths, observed), draws)

    def score(
        self,
        X: Any,
        y: Any = None,
        *,
        condition: Any = None,
        lengths: Any = None,
        observed: Any = None,
        sample_weight: Any = None,
        **others: Never,
    ) -> float:
        """Mean log p(x) of a row, nats; of a model without a density, minus the mean squared error of a row.

        Args:
            X, condition, lengths, observed: as in `transform`.
            y: not used; scikit-learn passes it.
            sample_weight: (n,) numbers >= 0, how much rows count in the mean.
        """
        refuse_others(type(self), "score", others)
        if isinstance(X, Examples):
            as_examples(X, y=y)  # raises for labels beside Examples
        rows = counted(self._rows(X, condition, lengths, observed, sample_weight))
        examples = self._check(rows).without_zero_weight()
        has_density = self.capabilities.has_density
        if not has_density and self.capabilities.has_rate:  # its name promises log p(x); an autoencoder's does not
            warnings.warn(
                f"score is minus the squared error: likelihood={self.likelihood!r} has no log p(x) of these data. "
                "Do not compare it with the scores of other likelihoods.",
                UserWarning,
                stacklevel=2,
            )
        values = self.fitted_.score(examples) if has_density else -self.fitted_.squared_errors(examples)
        return float(np.average(values, weights=examples.weight))

    def diagnose(self, X: Any, y: Any = None, **kwargs: Any) -> list[Any]:
        """Problems of the model, the most severe first, each with a remedy: `isthmus.diagnose`.

        Args:
            X: (n, *X) data that the model was not fitted to.
            y: (n,) labels.
            **kwargs: the other arguments of `isthmus.diagnose`.
        """
        import isthmus

        return isthmus.diagnose(self, X, y, **kwargs)

    def save(self, folder: str | Path, *, force: bool = False) -> None:
        """Write the model to a folder: weights in safetensors, everything else in JSON.

        Args:
            folder: where to; created if it does not exist. An earlier save of the same model is replaced.
            force: also replace a model of another class or other columns, or a run of the command `isthmus fit`.
        """
        check_is_fitted(self, "fitted_")
        import isthmus

        isthmus.save(self, folder, force=force)


# Here: scikit-learn wraps `transform` when the class is made, which would hide the condition.
Estimator.transform = encodes(Estimator.transform)  # type: ignore[method-assign]
