"""Variational autoencoders that classify, from few labels."""

from __future__ import annotations

import typing
from typing import Any

import numpy as np
import torch
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score

from isthmus.errors import InputError
from isthmus.estimators import composition
from isthmus.estimators.base import Estimator
from isthmus.estimators.hyperparameters import Auto
from isthmus.estimators.recipe import Recipe
from isthmus.labelled_model import LabelledModel, LabelledPosterior, LabelledStandard
from isthmus.nets.mlp import MLP
from isthmus.objective import warmup
from isthmus.schema import Schema
from isthmus.terms.bounds import kl, nll
from isthmus.terms.labels import classification

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
    """Weight of the classifier's loss, >= 0, in nats for each nat that a labelled row costs."""

    def compose(self, schema: Schema) -> Recipe:
        assert schema.labels is not None
        classes, size = len(schema.labels.classes), self.latent_dim
        if classes < 2:
            raise InputError(
                f"y must have labels of at least 2 classes for {type(self).__name__}, got {classes}. Pass y=..., with "
                "-1 for rows without a label."
            )
        if self.encoder is not None or self.decoder is not None or self.prior != "normal":
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
        loss = nll + self.beta * warmup(self.warmup) * kl + self.label_weight * classification()
        return Recipe(model, loss)

    @property
    def classes_(self) -> np.ndarray:
        """(E,) the classes, sorted."""
        labels = self.schema_.labels
        assert labels is not None
        return np.array(labels.classes)

    def score(self, X: Any, y: Any = None, **kwargs: Any) -> float:
        """The share of rows whose class is predicted right; without y the mean log p(x) of a row, nats.

        Args:
            X: (n, *X) data.
            y: (n,) classes.
            **kwargs: `condition`, `observed` and `sample_weight`, as in `fit`.
        """
        if y is None:
            return super(ClassifierMixin, self).score(X, **kwargs)
        weight = kwargs.pop("sample_weight", None)
        return float(accuracy_score(y, self.predict(X, **kwargs), sample_weight=weight))

    def predict_proba(self, X: Any, *, condition: Any = None, observed: Any = None) -> np.ndarray:
        """(n, E) probability of each class of `classes_`.

        Args:
            X: (n, *X) data, in their own units.
            condition: (n,) labels or (n, C) numbers of a conditional model.
            observed: (n, *X) booleans, False where a value of X is missing.
        """
        rows = self.fitted_.dataset(self._check(X, condition, None, observed))
        posterior: Any = self.fitted_.model.posterior
        with torch.no_grad():
            parts = [posterior.logits(b.x, b.c, b.mask).softmax(-1).cpu() for b in rows.batches()]
        return torch.cat(parts).numpy()

    def predict(self, X: Any, *, condition: Any = None, observed: Any = None) -> np.ndarray:
        """(n,) the most likely class.

        Args:
            X: (n, *X) data, in their own units.
            condition: (n,) labels or (n, C) numbers of a conditional model.
            observed: (n, *X) booleans, False where a value of X is missing.
        """
        return self.classes_[self.predict_proba(X, condition=condition, observed=observed).argmax(1)]
