"""Variational autoencoders that classify, from few labels."""

from __future__ import annotations

import typing
from typing import Any, Never

import numpy as np
from sklearn.base import ClassifierMixin

from isthmus.array_checks import as_labels
from isthmus.errors import InputError
from isthmus.estimators import composition
from isthmus.estimators.available_methods import refuse_others
from isthmus.estimators.base import Estimator
from isthmus.estimators.hyperparameters import Auto
from isthmus.estimators.recipe import Recipe
from isthmus.examples import Examples
from isthmus.inputs import as_examples
from isthmus.labelled_model import LabelledModel, LabelledPosterior, LabelledStandard
from isthmus.nets.mlp import MLP
from isthmus.objective import warmup
from isthmus.schema import Schema
from isthmus.terms.bounds import nll
from isthmus.terms.labels import classification, kl_given_class, kl_of_class

FEATURES = 128
"""Numbers by which the encoder describes a row before the class is read."""


class SemiSupervisedVAE(ClassifierMixin, Estimator):
    """VAE of rows and classes, which learns a classifier from rows of which few have a label (Kingma et al., 2014)."""

    purpose: typing.ClassVar[str] = "classes, from few labels"
    has_linear_start: typing.ClassVar[bool] = False

    latent_dim: int | Auto = "auto"
    """Numbers in a code beside the class, >= 1, or auto: by the held-out likelihood of the linear model."""
    hidden: tuple[int, ...] | Auto = "auto"
    """Widths of the encoder's hidden layers, mirrored in the decoder; none for a linear model, auto by the rows."""
    beta: float = 1.0
    """Weight of the KL term, >= 0: 1 maximizes the evidence lower bound."""
    label_weight: float = 100.0
    """Weight >= 0 of the mean -log q(y given x) of labelled rows, which is added to the mean loss of all rows."""

    def compose(self, schema: Schema) -> Recipe:
        assert schema.labels is not None
        classes, size = len(schema.labels.classes), self.latent_dim
        if classes < 2:
            raise InputError(
                f"y must have labels of at least 2 classes for {type(self).__name__}, got {classes}. Pass y=..., with "
                "-1 for rows without a label."
            )
        normal = isinstance(self.prior, str) and self.prior == "normal"
        if self.encoder is not None or self.decoder is not None or not normal:
            raise InputError(
                f"encoder and decoder must be None and prior 'normal' for {type(self).__name__}, whose networks read "
                "classes. Use hidden=..., network=... or channels=...."
            )
        posterior = LabelledPosterior(
            composition.encoder_net(self, schema, classes),
            composition.encoder_net(self, schema, FEATURES),
            MLP((FEATURES,), (FEATURES,), 2 * size, condition=classes, act=self.activation),
            classes,
            size,
        )
        model = composition.latent_model(
            self, schema, posterior, LabelledStandard(classes, size), beside=classes, kind=LabelledModel
        )
        # Without the entropy of the class, while decoder and code are still rough, each row would settle on one.
        rate = self.beta * kl_of_class + self.beta * warmup(self.warmup, self.cycles) * kl_given_class
        return Recipe(model, nll + rate + self.label_weight * classification(schema.labels.classes))

    @property
    def classes_(self) -> np.ndarray:
        """(E,) the classes, sorted."""
        labels = self.schema_.labels
        assert labels is not None
        one_kind = len({type(name) for name in labels.classes}) == 1
        return np.array(labels.classes, dtype=None if one_kind else object)

    def predict_proba(
        self, X: Any, *, condition: Any = None, lengths: Any = None, observed: Any = None, **others: Never
    ) -> np.ndarray:
        """(n, E) probability of each class of `classes_`.

        Args:
            X, condition, lengths, observed: as in `transform`.
        """
        refuse_others(type(self), "predict_proba", others)
        rows, posterior = self._check(X, condition, lengths, observed), typing.cast(Any, self.fitted_.model).posterior
        return self.fitted_.map_rows(rows, lambda b: posterior.logits(b.x, b.c, b.mask).softmax(-1))

    def predict(
        self, X: Any, *, condition: Any = None, lengths: Any = None, observed: Any = None, **others: Never
    ) -> np.ndarray:
        """(n,) the most likely class.

        Args:
            X, condition, lengths, observed: as in `transform`.
        """
        refuse_others(type(self), "predict", others)
        proba = self.predict_proba(X, condition=condition, lengths=lengths, observed=observed)
        return self.classes_[proba.argmax(1)]

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
        """The share of labelled rows whose class is predicted; without labels the mean log p(x) of a row, nats.

        Args:
            X, condition, lengths, observed: as in `transform`; `Examples` have their labels with them.
            y: (n,) classes, -1 where there is none.
            sample_weight: (n,) numbers >= 0, how much rows count in the mean.

        Raises:
            InputError: for a class that the training rows did not have, or no label at all.
        """
        refuse_others(type(self), "score", others)
        beside = {"condition": condition, "lengths": lengths, "observed": observed}
        if isinstance(X, Examples):
            as_examples(X, y=y)  # raises for labels beside Examples
            y = X.y
        if y is None:
            return super(ClassifierMixin, self).score(X, sample_weight=sample_weight, **beside)
        rows, labels = self._rows(X, **beside, weight=sample_weight), self.schema_.labels
        assert labels is not None
        code = labels.encode(as_labels(y, len(rows)))
        weight = np.ones(len(rows)) if rows.weight is None else np.asarray(rows.weight)
        weight = np.where(code >= 0, weight, 0.0)
        if not weight.sum() > 0:
            raise InputError("y must have a label of at least one row that counts, got none.")
        right = self.predict_proba(X, **({} if isinstance(X, Examples) else beside)).argmax(1) == code
        return float((right * weight).sum() / weight.sum())
