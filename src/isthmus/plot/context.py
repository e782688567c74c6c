"""What a figure is drawn from: a fitted model, rows, and what is computed once for all figures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.metrics import euclidean_distances

from isthmus.array_checks import as_condition
from isthmus.errors import InputError
from isthmus.evaluation.result import PerRow
from isthmus.examples import Examples
from isthmus.fitted import ROWS_AT_ONCE, FittedModel
from isthmus.metrics.dimensions_in_use import dimensions_in_use
from isthmus.plot.display import display_kind, label_groups, nan_padding, project_2d
from isthmus.random_streams import seeded
from isthmus.schema import Schema

MAX_PCA_ROWS = 10_000
"""Rows that PCA is fitted to; more change no picture."""
COMPARED_AT_ONCE = 4096
"""Training rows compared with samples in one block."""
KL_DRAWS = 20
"""Posterior samples for each row in the KL, where it has no closed form."""


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
        coloured_by: (n,) classes or numbers that colour the map of the codes, and their name; by default the labels.
        seed: of every random choice.
        draws: draws from q(z given x) for each row in log p(x), or "auto".
    """

    model: FittedModel
    rows: Examples | None = None
    train: Examples | None = None
    measured: PerRow | None = None
    reference: tuple[str, float] | None = None
    condition: Any = None
    rows_name: str = "rows"
    coloured_by: tuple[np.ndarray, str] | None = None
    seed: int = 0
    draws: int | str = "auto"

    # ---------------------------------------------------------------- the model

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def schema(self) -> Schema:
        return self.model.schema

    @property
    def kind(self) -> str:
        """image, heat, lines or table."""
        return display_kind(self.schema)

    @property
    def code_size(self) -> int:
        return self.model.code_size

    def require_code(self) -> None:
        """Raise Unavailable for a model without a code."""
        if not self.model.capabilities.encodes:
            raise Unavailable(f"{self.name} has no code.")

    def encode(self, rows: Examples) -> np.ndarray:
        """(n, L) codes, flattened."""
        self.require_code()
        return np.asarray(self.model.encode(rows), np.float64).reshape(len(rows), -1)

    def decode(self, codes: np.ndarray, condition: Any = None, lengths: Any = None) -> np.ndarray:
        """E[x given z] (m, *X) of codes (m, L) in the data's units, NaN in padding."""
        z = codes.reshape(len(codes), *self.model.model.code.shape)
        return nan_padding(np.asarray(self.model.decode(z, condition), np.float64), lengths)

    def with_layers_below(self, codes: np.ndarray, j: int) -> np.ndarray:
        """Codes (m, L) whose number j was changed, with the layers below it as it lets expect; others as they are."""
        with torch.no_grad():
            z = torch.as_tensor(codes, dtype=self.model.dtype, device=self.model.device)
            followed = self.model.model.with_layers_below(z.reshape(len(z), *self.model.model.code.shape), j)
        return followed.cpu().double().numpy().reshape(len(codes), -1)

    def sample(self, n: int, condition: Any = None, *, mean: bool) -> np.ndarray:
        """(n, *X) samples; with `mean` E[x given z] of sampled codes. The same seed gives the same codes."""
        if not self.model.capabilities.samples:
            raise Unavailable(f"{self.name} has no prior over codes, so it cannot be sampled from.")
        return np.asarray(self.model.sample(n, condition, self.seed, mean), np.float64)

    def sample_codes(self, n: int, condition: Any = None) -> np.ndarray:
        """(n, L) codes from the prior."""
        self.require_code()
        known = self.schema.condition
        with torch.no_grad(), seeded(self.seed, self.model.model):
            like: dict[str, Any] = {"dtype": self.model.dtype, "device": self.model.device}
            c = None if known is None else torch.as_tensor(known.encode(as_condition(condition, n), n), **like)
            codes, _ = self.model.model.draw(n, c, mean=True)
        return codes.cpu().double().numpy().reshape(n, -1)

    def corrupt(self, rows: Examples) -> tuple[np.ndarray, np.ndarray] | None:
        """Rows (n, *X) corrupted as in training, in the data's units, and the codes (n, L) of these; or None."""
        model = self.model.model
        if model.corruption is None:
            return None
        batch = self.model.dataset(rows).batch(torch.arange(len(rows), device=self.model.device))
        with torch.no_grad(), self.model.threads(), seeded(self.seed, self.model.model):
            x = model.corrupt(batch)
            codes = model.encode(batch._replace(x=x))
        corrupted = nan_padding(np.asarray(self.schema.to_data(x), np.float64), rows.lengths)
        return corrupted, codes.cpu().double().numpy().reshape(len(rows), -1)

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
        """(n, *X) the rows in the data's units, NaN where there is padding or nothing was observed."""
        return values_of(self.shown)

    @cached_property
    def labels(self) -> tuple[np.ndarray | None, str]:
        """(n,) what colours the rows, and whether these are labels or conditions."""
        y, by = (self.shown.y, "label") if self.shown.y is not None else (self.shown.condition, "condition")
        labels = None if y is None else np.asarray(y)
        return (None if labels is None or labels.size != len(self.shown) else labels.reshape(-1)), by

    @property
    def colour(self) -> tuple[np.ndarray | None, str]:
        """(n,) what colours the map of the codes, and its name."""
        return self.coloured_by or self.labels

    @cached_property
    def groups(self) -> list[tuple[str, np.ndarray]]:
        """Names and masks of the classes that the rows belong to."""
        return [] if self.rows is None else label_groups(self.labels[0])

    # ---------------------------------------------------------------- the codes

    @cached_property
    def codes(self) -> np.ndarray:
        """(n, L) codes of the rows."""
        self.require_code()
        if self.measured is not None and self.measured.codes is not None:
            return np.asarray(self.measured.codes, np.float64).reshape(len(self.shown), -1)
        return self.encode(self.shown)

    @cached_property
    def code_map(self) -> tuple[np.ndarray, list[str]]:
        """(n, 2 at most) the codes on their principal axes, and the names of the axes."""
        return project_2d(self.codes)

    @cached_property
    def posterior_std(self) -> np.ndarray | None:
        """(n, L) standard deviations of q(z given x); None if they are not known."""
        pieces = []
        with torch.no_grad(), self.model.threads():
            for batch in self.model.dataset(self.shown).batches(ROWS_AT_ONCE):
                std = self.model.model.infer(batch).std
                if std is None:
                    return None
                pieces.append(std.reshape(len(std), -1))
        return torch.cat(pieces).cpu().double().numpy()

    @cached_property
    def between_variance_ratio(self) -> np.ndarray | None:
        """(L,) share of each dimension's variance under the aggregate posterior that lies between rows."""
        if self.posterior_std is None:
            return None
        between, within = self.codes.var(0), np.square(self.posterior_std).mean(0)
        return between / np.maximum(between + within, np.finfo(float).tiny)

    @property
    def is_variational(self) -> bool:
        """Whether codes have a prior, from which KL(q(z given x) || p(z)) is known."""
        return self.model.capabilities.has_rate

    @cached_property
    def kl(self) -> np.ndarray | None:
        """(L,) mean KL(q(z given x) || p(z)) of each dimension, nats; None if it does not split over dimensions."""
        if not self.is_variational:
            return None
        kl = None if self.measured is None else self.measured.kl
        if kl is None:
            pieces = []
            with torch.no_grad(), self.model.threads(), seeded(self.seed, self.model.model):
                for batch in self.model.dataset(self.shown, "fixed").batches(ROWS_AT_ONCE):
                    q = self.model.model.infer(batch)
                    pass_ = self.model.model.forward_from(batch, q, q.noise(KL_DRAWS, len(batch.x)))
                    pieces.append(pass_.kl.cpu())
            kl = torch.cat(pieces).numpy()
        return np.asarray(kl, np.float64).mean(0) if kl.ndim == 2 and kl.shape[1] == self.codes.shape[1] else None

    @cached_property
    def order(self) -> np.ndarray:
        """Dimensions of the code, most informative first: by KL, else by the ratio of variances, else by variance."""
        known = (values for values in (self.kl, self.between_variance_ratio) if values is not None)
        return np.argsort(-np.nan_to_num(next(known, self.codes.var(0))), kind="stable")

    @cached_property
    def in_use(self) -> np.ndarray:
        """(L,) whether each dimension of the code says something of the rows (see `dimensions_in_use`)."""
        std = self.posterior_std if self.is_variational and self.kl is None else None
        return dimensions_in_use(self.codes, self.is_variational, self.kl, std)

    @cached_property
    def scores(self) -> tuple[np.ndarray, str]:
        """(n,) log p(x) of the rows in nats, or their squared errors if the model has no density; and which."""
        known = self.measured or PerRow()
        if known.log_px is not None:
            return np.asarray(known.log_px, np.float64), "log p(x)"
        if known.squared_error is not None:
            return np.asarray(known.squared_error, np.float64), "squared error"
        if self.model.capabilities.has_density:
            return self.model.score(self.shown, self.draws), "log p(x)"
        return self.model.squared_errors(self.shown), "squared error"

    # ---------------------------------------------------------------- baselines

    def scaled(self, rows: Examples) -> np.ndarray:
        """Rows (n, d) as networks read them, flat; 0 where there is padding or nothing was observed."""
        values = (values_of(rows) - self.schema.shift) / self.schema.scale
        return np.nan_to_num(values).reshape(len(values), -1)

    @cached_property
    def pca(self) -> PCA:
        """PCA of the code's size, fitted to the training rows if they are known, scaled as networks read them."""
        rows = self.scaled((self.train if self.train is not None else self.shown).subsample(MAX_PCA_ROWS, self.seed))
        rows = rows.astype(np.float32)  # what a picture shows: twice as fast
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
        best, least = np.zeros(len(samples), int), np.full(len(samples), np.inf)
        flat = np.asarray(samples, np.float64).reshape(len(samples), -1)
        for start in range(0, len(rows), COMPARED_AT_ONCE):
            block = values_of(rows.take(np.arange(start, min(start + COMPARED_AT_ONCE, len(rows)))))
            if rows.lengths is None and rows.observed is None:
                distances = euclidean_distances(flat, block.reshape(len(block), -1), squared=True)
            else:
                distances = np.stack([distance_to_known(row, block) for row in samples])
            if rows.lengths is not None:
                distances = distances / block.shape[1]
            index = distances.argmin(1)
            lower = distances[np.arange(len(samples)), index]
            best, least = np.where(lower < least, start + index, best), np.minimum(lower, least)
        return values_of(rows.take(best)), least, name


def values_of(rows: Examples) -> np.ndarray:
    """(n, *X) rows in the data's units, NaN where there is padding or nothing was observed."""
    values = nan_padding(np.asarray(rows.x, np.float64), rows.lengths)
    return values if rows.observed is None else np.where(rows.observed, values, np.nan)


def distance_to_known(row: np.ndarray, block: np.ndarray) -> np.ndarray:
    """(b,) squared distance of one row (*X) from rows (b, *X), extrapolated from the values that are not NaN.

    The mean over known values times the number of all values: rows with many unknown values are not nearer for it.
    """
    squares = np.square(block - row).reshape(len(block), -1)
    known = np.isfinite(squares).sum(1)
    mean = np.divide(np.nansum(squares, 1), known, out=np.full(len(block), np.inf), where=known > 0)
    return mean * row.size


def squared_errors(values: np.ndarray, original: np.ndarray) -> np.ndarray:
    """(m,) squared differences of rows (m, *X), summed over features; NaN is left out."""
    return np.nansum(np.square(values - original).reshape(len(values), -1), 1)
