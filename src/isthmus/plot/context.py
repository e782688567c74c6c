"""What a figure is drawn from: a fitted model, rows, and what is computed once for all figures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.metrics import euclidean_distances
from sklearn.utils.validation import check_is_fitted

from isthmus.errors import InputError
from isthmus.estimators.base import ENCODED_AT_ONCE, Estimator
from isthmus.estimators.validation import collect
from isthmus.evaluation.result import PerRow
from isthmus.examples import Examples
from isthmus.metrics.importance_diagnostics import importance_diagnostics
from isthmus.metrics.importance_weighting import importance_weighted
from isthmus.plot.display import display_kind, label_groups, nan_padding, project_2d
from isthmus.schema import Schema
from isthmus.train.runtime import seeded, torch_threads

MAX_PCA_ROWS = 10_000
"""Rows that PCA is fitted to; more change no picture."""
ROWS_AT_ONCE = 4096
"""Training rows compared with samples in one block."""
KL_DRAWS = 20
"""Posterior samples for each row in the KL, where it has no closed form."""
ACTIVE_VARIANCE = 0.01
"""Variance of the codes over rows from which a dimension is active (Burda et al., 2016)."""
ACTIVE_SHARE = 1e-4
"""The same for codes without a prior, whose scale is arbitrary: share of the largest variance."""


class Unavailable(InputError):
    """This model, with these rows, has no such figure; the message says why."""


@dataclass(frozen=True, eq=False)
class PlotContext:
    """A fitted model with the rows to show it on.

    Args:
        model: the fitted model.
        rows: checked rows (n, *X) with labels, conditions and lengths; None for figures that need none.
        train: rows that the model was fitted to: PCA is fitted to them, and samples are compared with them.
        measured: numbers for each row that are known already; the others are computed when a figure needs them.
        reference: name and mean score of the linear model on the same rows.
        condition: one condition for figures that are drawn without rows.
        rows_name: what the rows are, for titles: "test rows".
        seed: of every random choice.
        draws: posterior samples for each row in log p(x).
    """

    model: Estimator
    rows: Examples | None = None
    train: Examples | None = None
    measured: PerRow | None = None
    reference: tuple[str, float] | None = None
    condition: Any = None
    rows_name: str = "rows"
    seed: int = 0
    draws: int = 1000

    # ---------------------------------------------------------------- the model

    @property
    def name(self) -> str:
        return type(self.model).__name__

    @property
    def schema(self) -> Schema:
        return self.model.schema_

    @property
    def kind(self) -> str:
        """image, heat, lines or table."""
        return display_kind(self.schema)

    @property
    def has_density(self) -> bool:
        return self.model.density

    @property
    def code_size(self) -> int:
        return self.model.latent_dim

    @property
    def history(self) -> list[dict[str, Any]]:
        return getattr(self.model, "history_", [])

    def encode(self, rows: Examples) -> np.ndarray:
        """(n, L) codes, flattened."""
        return self.model.codes_of(self.model.lay(rows)).cpu().double().numpy().reshape(len(rows), -1)

    def decode(self, codes: np.ndarray, condition: Any = None, lengths: Any = None) -> np.ndarray:
        """E[x given z] (m, *X) in the data's units, NaN in padding."""
        z = torch.as_tensor(codes).to(self.model.device_, self.model.dtype_)
        x = self.model.decoded(z, condition, drawn=False)
        return nan_padding(np.asarray(x, np.float64), lengths)

    def sample(self, n: int, condition: Any = None, *, mean: bool) -> np.ndarray:
        """(n, *X) samples; with `mean` E[x given z] of sampled codes. The same seed gives the same codes."""
        return np.asarray(self.model.sample(n, condition=condition, random_state=self.seed, mean=mean), np.float64)

    def sample_codes(self, n: int, condition: Any = None) -> np.ndarray:
        """(n, L) codes from the prior."""
        model = self.model
        encoded = model._condition(condition, n)
        with torch.no_grad(), seeded(self.seed, model.device_):
            c = None if encoded is None else torch.as_tensor(encoded, dtype=model.dtype_, device=model.device_)
            codes, _ = model.model_.draw(n, c, mean=True)
        return codes.cpu().double().numpy().reshape(n, -1)

    def corrupt(self, rows: Examples) -> tuple[np.ndarray, np.ndarray] | None:
        """Rows (n, *X) corrupted as in training, in the data's units, and the codes (n, L) of these; or None."""
        model = self.model.model_
        if model.corruption is None:
            return None
        batch = self.model.lay(rows).batch(torch.arange(len(rows), device=self.model.device_))
        with torch.no_grad(), seeded(self.seed, batch.x.device):
            x = model.corrupt(batch)
            codes = model.encode(batch._replace(x=x))
        corrupted = np.asarray(self.schema.to_data(x), np.float64)
        return nan_padding(corrupted, rows.lengths), codes.cpu().double().numpy().reshape(len(rows), -1)

    # ----------------------------------------------------------------- the rows

    @property
    def shown(self) -> Examples:
        """The rows; InputError if there are none."""
        if self.rows is None:
            raise InputError("X must be given: this figure shows rows of data.")
        return self.rows

    @property
    def counted(self) -> str:
        return f"{len(self.shown):,} {self.rows_name}"

    @cached_property
    def values(self) -> np.ndarray:
        """(n, *X) the rows in the data's units, NaN in padding."""
        return nan_padding(np.asarray(self.shown.x, np.float64), self.shown.lengths)

    @cached_property
    def labels(self) -> tuple[np.ndarray | None, str]:
        """(n,) what colours the rows, and whether these are labels or conditions."""
        y, by = (self.shown.y, "label") if self.shown.y is not None else (self.shown.condition, "condition")
        labels = None if y is None else np.asarray(y)
        return (None if labels is None or labels.size != len(self.shown) else labels.reshape(-1)), by

    @cached_property
    def groups(self) -> list[tuple[str, np.ndarray]]:
        """Names and masks of the classes that the rows belong to."""
        return [] if self.rows is None else label_groups(self.labels[0])

    # ---------------------------------------------------------------- the codes

    @cached_property
    def codes(self) -> np.ndarray:
        """(n, L) codes of the rows."""
        if self.measured is not None:
            return np.asarray(self.measured.codes, np.float64).reshape(len(self.shown), -1)
        return self.encode(self.shown)

    @cached_property
    def code_map(self) -> tuple[np.ndarray, list[str]]:
        """(n, 2 at most) the codes on their principal axes, and the names of the axes."""
        return project_2d(self.codes)

    @cached_property
    def posterior_std(self) -> np.ndarray | None:
        """(n, L) standard deviations of q(z given x); None if q has none."""
        if not self.has_density:
            return None
        model, rows, pieces = self.model, self.model.lay(self.shown), []
        with torch.no_grad(), torch_threads(model.settings_["threads"]):
            for index in torch.arange(len(rows), device=rows.device).split(ENCODED_AT_ONCE):
                batch = rows.batch(index)
                scale = getattr(model.model_.infer(batch), "scale", None)
                if scale is None or tuple(scale.shape) != (len(index), self.codes.shape[1]):
                    return None
                pieces.append(scale)
        return torch.cat(pieces).cpu().double().numpy()

    @cached_property
    def between_variance_ratio(self) -> np.ndarray | None:
        """(L,) share of each dimension's variance under the aggregate posterior that lies between rows."""
        if self.posterior_std is None:
            return None
        between, within = self.codes.var(0), np.square(self.posterior_std).mean(0)
        return between / np.maximum(between + within, np.finfo(float).tiny)

    @cached_property
    def kl(self) -> np.ndarray | None:
        """(L,) mean KL(q(z given x) || p(z)) of each dimension, nats; None if it does not split over dimensions."""
        if not self.has_density:
            return None
        kl = None if self.measured is None else self.measured.kl
        if kl is None:
            rows = self.model.lay(self.shown, "fixed")
            with torch_threads(self.model.settings_["threads"]):
                kl = importance_diagnostics(self.model.model_, rows, KL_DRAWS).kl
        return np.asarray(kl, np.float64).mean(0) if kl.ndim == 2 and kl.shape[1] == self.codes.shape[1] else None

    @cached_property
    def order(self) -> np.ndarray:
        """Dimensions of the code, most informative first: by KL, else by the ratio of variances, else by variance."""
        known = (values for values in (self.kl, self.between_variance_ratio) if values is not None)
        return np.argsort(-np.nan_to_num(next(known, self.codes.var(0))), kind="stable")

    @cached_property
    def active(self) -> np.ndarray:
        """(L,) whether each dimension of the code varies over the rows."""
        variance = self.codes.var(0)
        least = ACTIVE_VARIANCE if self.has_density else ACTIVE_SHARE * max(float(variance.max()), math.ulp(1))
        return variance > least

    @cached_property
    def scores(self) -> tuple[np.ndarray, str]:
        """(n,) log p(x) of the rows in nats, or their squared errors if the model has no density; and which."""
        if self.measured is not None:
            known = self.measured.squared_error if self.measured.log_px is None else self.measured.log_px
            return np.asarray(known, np.float64), "squared error" if self.measured.log_px is None else "log p(x)"
        if self.has_density:
            rows = self.model.lay(self.shown, "fixed")
            with torch_threads(self.model.settings_["threads"]):
                return importance_weighted(self.model.model_, rows, self.draws).values, "log p(x)"
        made = self.decode(self.codes, self.shown.condition, self.shown.lengths)
        return squared_errors(made, self.values), "squared error"

    # ---------------------------------------------------------------- baselines

    def scaled(self, rows: Examples) -> np.ndarray:
        """Rows (n, d) as networks read them, flat, 0 in padding."""
        values = nan_padding((np.asarray(rows.x, np.float64) - self.schema.shift) / self.schema.scale, rows.lengths)
        return np.nan_to_num(values).reshape(len(values), -1)

    @cached_property
    def pca(self) -> PCA:
        """PCA of the code's size, fitted to the training rows if they are known, scaled as networks read them."""
        rows = self.scaled((self.train if self.train is not None else self.shown).subsample(MAX_PCA_ROWS, self.seed))
        with np.errstate(invalid="ignore", divide="ignore"):  # rows that are all the same have no variance to explain
            return PCA(min(max(2, self.code_size), *rows.shape), random_state=self.seed).fit(rows)

    @cached_property
    def pca_map(self) -> tuple[np.ndarray, list[str]]:
        """(n, 2 at most) the rows on their first principal components, and the names of the axes."""
        places = self.pca.transform(self.scaled(self.shown))[:, : min(2, self.code_size)]
        shares = np.nan_to_num(self.pca.explained_variance_ratio_)
        which = ("first", "second")
        return places, [f"{which[j]} component ({shares[j]:.0%} of the variance)" for j in range(places.shape[1])]

    def reconstruct_by_pca(self, rows: Examples) -> np.ndarray:
        """(m, *X) what PCA with as many dimensions as the code keeps of rows, in the data's units."""
        axes = self.pca.components_[: self.code_size]
        kept = (self.scaled(rows) - self.pca.mean_) @ axes.T @ axes + self.pca.mean_
        values = kept.reshape(len(rows), *self.schema.event_shape) * self.schema.scale + self.schema.shift
        return nan_padding(values, rows.lengths)

    def nearest(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray, str]:
        """The training rows (m, *X) nearest to samples (m, *X), squared distances (m,), and what rows these are.

        In the data's units, summed over features; of sequences the mean over the steps that the training row has.
        Without training rows the shown ones take their place.
        """
        rows, name = (self.train, "training row") if self.train is not None else (self.shown, "row")
        x, lengths = np.asarray(rows.x), rows.lengths
        best, least = np.zeros(len(samples), int), np.full(len(samples), np.inf)
        flat = np.asarray(samples, np.float64).reshape(len(samples), -1)
        for start in range(0, len(x), ROWS_AT_ONCE):
            block = np.asarray(x[start : start + ROWS_AT_ONCE], np.float64)
            if lengths is None:
                distances = euclidean_distances(flat, block.reshape(len(block), -1), squared=True)
            else:
                steps = lengths[start : start + ROWS_AT_ONCE]
                distances = np.stack([distance_per_step(row, block, steps) for row in samples])
            index = distances.argmin(1)
            lower = distances[np.arange(len(samples)), index]
            best, least = np.where(lower < least, start + index, best), np.minimum(lower, least)
        found = nan_padding(np.asarray(x[best], np.float64), None if lengths is None else lengths[best])
        return found, least, name


def distance_per_step(row: np.ndarray, block: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """(b,) mean squared distance per step of one sequence (T, d) from padded ones (b, T, d), over their lengths."""
    real = np.arange(block.shape[1]) < lengths[:, None]  # (b, T)
    return (np.square(block - row).reshape(*real.shape, -1).sum(-1) * real).sum(1) / lengths


def squared_errors(values: np.ndarray, original: np.ndarray) -> np.ndarray:
    """(m,) squared differences of rows (m, *X), summed over features; NaN (padding) is left out."""
    return np.nansum(np.square(values - original).reshape(len(values), -1), 1)


def check_rows(model: Estimator, X: Any, y: Any = None, condition: Any = None, lengths: Any = None) -> Examples:
    """Rows of the user as arrays, checked against the model; labels are the condition of a conditional model.

    Raises InputError for rows that the model cannot read, or labels that are not one per row.
    """
    check_is_fitted(model, "model_")
    if isinstance(X, Examples):
        return X
    if model.schema_.condition is not None and condition is None:
        condition = y
    rows = collect(model, X, condition, lengths)
    labels = None if y is None else np.asarray(y.detach().cpu() if hasattr(y, "detach") else y)
    if labels is not None and labels.shape[:1] != (len(rows),):
        raise InputError(f"y must have one label for each of the {len(rows)} rows, got shape {labels.shape}.")
    return Examples(rows.x, labels, rows.condition, rows.lengths)
