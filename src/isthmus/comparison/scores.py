"""Scores of a comparison. A new score is a function and an entry in `SCORES`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from sklearn.decomposition import PCA

from isthmus.comparison import specs
from isthmus.comparison.results import Column, Score
from isthmus.evaluation.result import Evaluation
from isthmus.examples import Examples
from isthmus.fitted import FittedModel
from isthmus.metrics.metric import Metric
from isthmus.metrics.principal_axes import ROUNDING_SHARE


@dataclass(frozen=True)
class ScoredModel:
    """A trained model with everything that scores are read from.

    Args:
        fitted: the trained model.
        evaluation: what `evaluate` measured on the test rows.
        train: the training rows.
        test: the test rows.
        seconds: duration of training; None if it is not known.
        baseline: `PCA` or `PCA_BEST` if it is one of the linear baselines, else "".
        dequantized_log_px: (n,) nats; log-density of the dequantised test rows, for a model with a density of discrete
            data.
    """

    fitted: FittedModel
    evaluation: Evaluation
    train: Examples
    test: Examples
    seconds: float | None
    baseline: str = ""
    dequantized_log_px: np.ndarray | None = None

    @property
    def given_condition(self) -> str:
        """How headings denote that p(x) is conditional: such numbers do not share a column with others."""
        return " given c" if self.fitted.schema.condition is not None else ""


def log_px(model: ScoredModel, order: int) -> Score | None:
    """log p(x); each kind (density, probability, ...) has its own column."""
    metric, per_row = model.evaluation.get("log_likelihood"), model.evaluation.per_row
    if metric is None or per_row is None or per_row.log_px is None:
        return None
    given = model.given_condition
    bound = model.dequantized_log_px
    kind = "probability" if bound is not None else kind_of(model.fitted, metric)
    column = Column(f"log_px{given}: {kind}", f"log p(x{given})", f"nats, {kind}", True, order)
    if bound is not None:
        return Score(column, bound.tolist(), 0.0, lower_bound=True)
    shared_error = model.evaluation.value("log_likelihood.shared_error")
    return Score(column, per_row.log_px.tolist(), shared_error if math.isfinite(shared_error) else 0.0)


def kind_of(fitted: FittedModel, metric: Metric) -> str:
    """What kind of log p(x) a model gives; numbers of different kinds cannot be compared."""
    return f"{metric.kind} of binarised pixels" if fitted.schema.binarize else metric.kind


def squared_error(model: ScoredModel, order: int) -> Score | None:
    """Squared error of reconstructions, summed over the features; for PCA, that of the orthogonal projection.

    The posterior mean of probabilistic PCA is shrunk towards the mean, so that its reconstructions are not the best
    linear ones. None for `PCA_BEST`, whose code has another size than the models'.
    """
    per_row = model.evaluation.per_row
    if per_row is None or per_row.squared_error is None or model.baseline == specs.PCA_BEST:
        return None
    errors = per_row.squared_error
    if model.baseline == specs.PCA:
        errors = projection_error(model.fitted.code_size, model.train, model.test)
    given = model.given_condition
    key, unit = f"squared_error{given}", "summed"
    if any(column.kind == "category" for column in model.fitted.schema.columns):
        key, unit = f"{key}: wrong categories count 1", "wrong categories: 1"
    column = Column(key, f"squared error{given}", unit, False, order)
    return Score(column, np.asarray(errors, np.float64).tolist())


def projection_error(latent_dim: int, train: Examples, test: Examples) -> np.ndarray:
    """(n,) squared distance of test rows from their projection by PCA of the training rows."""
    train_x, test_x = (examples.x.reshape(len(examples), -1).astype(np.float64) for examples in (train, test))
    pca = PCA(min(latent_dim, *train_x.shape), random_state=0).fit(train_x)
    error = np.square(pca.inverse_transform(pca.transform(test_x)) - test_x).sum(1)
    return np.where(error > ROUNDING_SHARE * np.square(test_x - pca.mean_).sum(1), error, 0.0)


def linear_probe(model: ScoredModel, order: int) -> Score | None:
    """How well a linear model predicts the labels from the codes; None for `PCA_BEST`, whose code has another size."""
    if model.baseline == specs.PCA_BEST:
        return None
    return from_metric(model.evaluation.get("probes.linear"), Column("probe", "linear probe", "accuracy", True, order))


def of_condition(score: Score) -> Score:
    """A score where labels are the condition of a model, whose codes need not hold it: the fewer do, the better."""
    if score.column.key != "probe":
        return score
    column = score.column._replace(key="condition_probe", heading="condition read from codes", higher_is_better=False)
    return score._replace(column=column)


def two_sample_test(model: ScoredModel, order: int) -> Score | None:
    """Accuracy of a classifier that distinguishes samples from data."""
    column = Column("samples", "two-sample test", "accuracy, 0.5 best", False, order)
    return from_metric(model.evaluation.get("classifier"), column)


def from_metric(metric: Metric | None, column: Column) -> Score | None:
    """A metric that has one number for all rows."""
    if metric is None or not isinstance(metric.value, float):
        return None
    return Score(column, [metric.value], metric.standard_error)


def training_seconds(model: ScoredModel, order: int) -> Score | None:
    """Duration of training; None for a model that was trained before."""
    return (
        None
        if model.seconds is None
        else Score(Column("seconds", "training", "seconds", False, order), [model.seconds])
    )


def n_parameters(model: ScoredModel, order: int) -> Score:
    """Number of weights."""
    total = sum(parameter.numel() for parameter in model.fitted.model.parameters())
    return Score(Column("parameters", "size", "parameters", False, order), [float(total)], 0.0)


class ScoreSpec(NamedTuple):
    """One score of a comparison."""

    score: Callable[[ScoredModel, int], Score | None]
    """A function of the model and the position of the column; None where the model has no such score."""
    measure: str | None = None
    """The measure of `evaluate` that it is read from, which is then taken; None if it needs none."""


SCORES: tuple[ScoreSpec, ...] = (
    ScoreSpec(log_px, "log_likelihood"),
    ScoreSpec(squared_error, "reconstruction"),
    ScoreSpec(linear_probe, "probes"),
    ScoreSpec(two_sample_test, "classifier"),
    ScoreSpec(training_seconds),
    ScoreSpec(n_parameters),
)
"""The scores, in the order of their columns."""


def required_measures() -> set[str]:
    """The measures of `evaluate` that scores are read from."""
    return {spec.measure for spec in SCORES if spec.measure is not None}


def all_scores(model: ScoredModel) -> list[Score]:
    """All scores of a model."""
    scores = [spec.score(model, order) for order, spec in enumerate(SCORES)]
    return [score for score in scores if score is not None]
