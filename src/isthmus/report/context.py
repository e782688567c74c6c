"""What a page is about: a model, the rows it is shown on, and what several parts of the page read of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.metrics import euclidean_distances

from isthmus.estimators.base import Estimator
from isthmus.evaluation.baselines import MAX_FIT_ROWS
from isthmus.evaluation.latent_space import ACTIVE_VARIANCE, ACTIVE_VARIANCE_SHARE
from isthmus.evaluation.result import Evaluation
from isthmus.examples import Examples
from isthmus.fitted import ROWS_AT_ONCE
from isthmus.report.display import (
    Held,
    drawn_as_lines,
    flattened,
    form_of,
    grey_range,
    groups_of,
    unpadded,
)
from isthmus.schema import Schema
from isthmus.train.runtime import torch_threads

BLOCK = 4096
"""Training rows compared at once."""


@dataclass(frozen=True)
class ReportContext:
    """A fitted model, rows that it was not fitted to, what was measured on them, and the rows that it was fitted to."""

    model: Estimator
    held: Held
    found: Evaluation
    train: Examples | None
    seed: int

    @property
    def schema(self) -> Schema:
        return self.model.schema_

    @property
    def form(self) -> str:
        """image, heat (sequences of many features), lines (of few) or table."""
        form = form_of(self.schema)
        return form if form != "sequence" else "lines" if drawn_as_lines(self.schema) else "heat"

    @cached_property
    def values(self) -> np.ndarray:
        """(n, *X) in the data's units, NaN in padding."""
        return unpadded(np.asarray(self.held.x, np.float64), self.held.lengths)

    @cached_property
    def span(self) -> tuple[float, float]:
        """What is black and what is white."""
        return grey_range(self.schema, self.values)

    @cached_property
    def codes(self) -> np.ndarray:
        """(n, L)."""
        known = self.found.per_row and self.found.per_row.codes
        codes = self.model.transform(self.held.x, **self.held.company) if known is None else known
        return np.asarray(codes, np.float64).reshape(len(self.held), -1)

    @cached_property
    def spreads(self) -> np.ndarray | None:
        """(n, L) standard deviations of q(z given x); None where a code is a point."""
        if not self.model.density:
            return None
        rows = self.model.rows(self.held.x, **self.held.company)
        pieces = []
        with torch.no_grad(), torch_threads(self.model.settings_["threads"]):
            for index in torch.arange(len(rows), device=rows.device).split(ROWS_AT_ONCE):
                batch = rows.batch(index)
                scale = getattr(self.model.model_.infer(batch), "scale", None)
                if scale is None or tuple(scale.shape) != (len(index), self.codes.shape[1]):
                    return None
                pieces.append(scale)
        return torch.cat(pieces).cpu().double().numpy()

    @cached_property
    def telling(self) -> np.ndarray | None:
        """(L,) the share of each dimension's variance under the aggregate posterior that lies between rows."""
        if self.spreads is None:
            return None
        between, within = self.codes.var(0), np.square(self.spreads).mean(0)
        return between / np.maximum(between + within, np.finfo(float).tiny)

    @cached_property
    def kl(self) -> np.ndarray | None:
        """(L,) mean KL of each dimension, nats; None where it has no parts."""
        known = self.found.per_row and self.found.per_row.kl
        fits = known is not None and known.ndim == 2 and known.shape[1] == self.codes.shape[1]
        return np.asarray(known, np.float64).mean(0) if known is not None and fits else None

    @cached_property
    def order(self) -> np.ndarray:
        """Dimensions of the code, the most active first: by KL, else by what they tell, else by how they vary."""
        known = (values for values in (self.kl, self.telling) if values is not None)
        weight = next(known, self.codes.var(0))
        return np.argsort(-np.nan_to_num(weight), kind="stable")

    @cached_property
    def active(self) -> np.ndarray:
        """(L,) whether each dimension of the code varies over the rows."""
        variance = self.codes.var(0)
        return variance > (
            ACTIVE_VARIANCE if self.model.density else ACTIVE_VARIANCE_SHARE * max(float(variance.max()), math.ulp(1))
        )

    @cached_property
    def labels(self) -> tuple[np.ndarray | None, str]:
        """(n,) what colours the rows, and whether these are labels or conditions."""
        y, by = (self.held.y, "label") if self.held.y is not None else (self.held.condition, "condition")
        return (None if y is None or y.size != len(self.held) else y.reshape(-1)), by

    @cached_property
    def groups(self) -> list[tuple[str, np.ndarray]]:
        return groups_of(self.labels[0])

    def scaled(self, x: np.ndarray, lengths: np.ndarray | None) -> np.ndarray:
        """Rows (n, *X) as the model reads them, flat (n, d), 0 in padding."""
        made = np.nan_to_num(unpadded((np.asarray(x, np.float64) - self.schema.shift) / self.schema.scale, lengths))
        return made.reshape(len(made), -1)

    @cached_property
    def pca(self) -> PCA:
        """As many dimensions as the model's, fitted to the rows that it was fitted to, scaled as it reads them."""
        inputs = None if self.train is None else self.train.subsample(MAX_FIT_ROWS, self.model.seed_)
        rows = self.scaled(self.held.x, self.held.lengths)
        if inputs is not None:
            rows = self.scaled(inputs.x, inputs.lengths)
        with np.errstate(invalid="ignore", divide="ignore"):  # rows that are all the same have no shares to name
            return PCA(min(max(2, self.model.latent_dim), *rows.shape), random_state=self.seed).fit(rows)

    @cached_property
    def pca_places(self) -> tuple[np.ndarray, list[str]]:
        """PCA's map (n, 2 at most) of the held rows, and its axes' names."""
        places = self.pca.transform(self.scaled(self.held.x, self.held.lengths))[:, : min(2, self.model.latent_dim)]
        shares = np.nan_to_num(self.pca.explained_variance_ratio_)
        which = ("first", "second")
        return places, [f"{which[j]} component ({shares[j]:.0%})" for j in range(places.shape[1])]

    @cached_property
    def places(self) -> tuple[np.ndarray, list[str]]:
        """The codes' map (n, 2 at most), and its axes' names."""
        places, names = flattened(self.codes)
        return places, [short(name) for name in names]

    def by_pca(self, index: np.ndarray) -> np.ndarray:
        """(m, *X) what PCA of as many dimensions makes of some held rows, in the data's units."""
        some = self.held.take(index)
        k = self.model.latent_dim
        centred = self.scaled(some.x, some.lengths) - self.pca.mean_
        made = centred @ self.pca.components_[:k].T @ self.pca.components_[:k] + self.pca.mean_
        shape = (len(index), *self.schema.event_shape)
        return unpadded(made.reshape(shape) * self.schema.scale + self.schema.shift, some.lengths)

    def decoded(self, codes: np.ndarray, row: int) -> np.ndarray:
        """E[x given z] (m, *X) of codes (m, L) under the condition and the length of one held row."""
        given = None if self.held.condition is None else self.held.condition[[row] * len(codes)]
        made = self.model.inverse_transform(codes, condition=given)
        lengths = None if self.held.lengths is None else self.held.lengths[[row] * len(codes)]
        return unpadded(np.asarray(made, np.float64), lengths)

    def nearest(self, drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray, str]:
        """The training rows (m, *X) nearest to drawn ones (m, *X), squared distances (m,), and what rows these are.

        In the data's units, summed over features; of sequences the mean over the steps that the training row has.
        """
        name = "training row" if self.train is not None else "row"
        x = np.asarray(self.held.x) if self.train is None else self.train.x
        lengths = self.held.lengths if self.train is None else self.train.lengths
        best, least = np.zeros(len(drawn), int), np.full(len(drawn), np.inf)
        flat = np.asarray(drawn, np.float64).reshape(len(drawn), -1)
        for start in range(0, len(x), BLOCK):
            block = np.asarray(x[start : start + BLOCK], np.float64)
            if lengths is None:
                far = euclidean_distances(flat, block.reshape(len(block), -1), squared=True)
            else:
                steps = lengths[start : start + BLOCK]
                far = np.stack([stepwise(row, block, steps) for row in drawn])
            found = far.argmin(1)
            lower = far[np.arange(len(drawn)), found]
            best, least = np.where(lower < least, start + found, best), np.minimum(lower, least)
        return unpadded(np.asarray(x[best], np.float64), None if lengths is None else lengths[best]), least, name


def stepwise(row: np.ndarray, block: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """(b,) mean squared distance a step of one drawn sequence (T, d) from padded ones (b, T, d), over their lengths."""
    real = np.arange(block.shape[1]) < lengths[:, None]  # (b, T)
    return (np.square(block - row).reshape(*real.shape, -1).sum(-1) * real).sum(1) / lengths


def short(name: str) -> str:
    """A name of an axis that fits a small drawing.

    >>> short("first principal axis of 16-dimensional codes (21% of the variance)"), short("code 1")
    ('first axis of the codes (21%)', 'code 1')
    """
    which, axis, rest = name.partition(" principal axis of ")
    name = f"{which} axis of the codes {rest[rest.index('(') :]}" if axis else name
    return name.replace(" of the variance", "")
