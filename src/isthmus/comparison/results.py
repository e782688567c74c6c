"""The conditions of a comparison, and what one of its runs yields: scores by column."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple


@dataclass(frozen=True)
class Conditions:
    """What all models of a comparison share.

    Args:
        data: built-in name or path of the data.
        rows: number of rows for training, validation and test.
        features: number of values in a row.
        unequal_scales: whether the scales of the columns differ so much that few columns dominate squared errors.
        split: how the rows were split, in words.
        fingerprint: a hash of the rows.
        budget: epochs and batch size, in words.
        seeds: runs of each model.
    """

    data: str
    rows: dict[str, int]
    features: int
    unequal_scales: bool
    split: str
    fingerprint: str
    budget: str
    seeds: int


class Column(NamedTuple):
    """What is compared. Only numbers of one kind share a column.

    Args:
        key: its key in JSON, unique among the columns.
        heading: its heading in the table.
        unit: the unit of its numbers, and their kind where numbers of several kinds occur.
        higher_is_better: which numbers win.
        order: its position among the columns.
    """

    key: str
    heading: str
    unit: str
    higher_is_better: bool
    order: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        better = "higher" if self.higher_is_better else "lower"
        return {"key": self.key, "heading": self.heading, "unit": self.unit, "better": better}


class Score(NamedTuple):
    """What a run scored in one column.

    Args:
        column: the column.
        values: one number per row, or a single one.
        extra_error: standard error that the spread over rows does not show; None if there is none.
        lower_bound: whether the values are lower bounds.
    """

    column: Column
    values: list[float]
    extra_error: float | None = None
    lower_bound: bool = False


@dataclass(frozen=True)
class RunResult:
    """One model, trained with one seed and scored; `failure` says why there are no scores.

    Args:
        model: the model's label in the table.
        value: its value of the swept field; None without a sweep or without the field.
        seed: the index of the seed, from 0.
        failure: why the run failed; empty if it did not.
        closed_form: whether the model is solved in closed form, so that every seed gives the same.
        latent_dim: size of its code.
        epochs: epochs that it may train, at most.
        batch_size: rows per update.
        train_rows: fingerprint of the rows that it was trained on.
        test_rows: fingerprint of the rows that it was scored on.
        scores: its scores.
        evaluation: what `evaluate` measured, as JSON.
        fixed: whether the model was trained before, elsewhere.
    """

    model: str
    value: Any
    seed: int
    failure: str = ""
    closed_form: bool = False
    latent_dim: int | None = None
    epochs: int = 0
    batch_size: int = 0
    train_rows: str = ""
    test_rows: str = ""
    scores: list[Score] = field(default_factory=list)
    evaluation: dict[str, Any] = field(default_factory=dict)
    fixed: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        scores = [{**score._asdict(), "column": score.column._asdict()} for score in self.scores]
        return {**asdict(self), "scores": scores}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> RunResult:
        """The inverse of `to_dict`."""
        scores = [Score(**{**score, "column": Column(**score["column"])}) for score in values["scores"]]
        return cls(**{**values, "scores": scores})
