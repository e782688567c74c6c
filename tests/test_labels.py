"""Models that learn from labels: classes of any kind are the same integers in training, validation and when loaded."""

from __future__ import annotations

import datetime
import json

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import isthmus
from isthmus.comparison import compare as compare_module
from isthmus.comparison.run_one import prepare_run
from isthmus.comparison.specs import Entry
from isthmus.comparison.split import split
from isthmus.data import Dataset
from isthmus.estimators.training_setup import setup_training
from isthmus.examples import Examples
from isthmus.latent_model import Capabilities, LatentModel
from isthmus.objective import Term, as_objective
from isthmus.persistence import run_dir
from isthmus.priors import ConditionalPrior
from isthmus.schema import Labels, Schema
from models import NAMES, small, table

SLOW = ("inference_gap", "classifier", "samples", "copies", "paths", "sharpness")
NAMED = np.array(["sheep", "cow", "goat"])


class WithHead(LatentModel):
    """A latent-variable model with a classifier of codes."""

    @property
    def capabilities(self):
        return Capabilities("bound", samples=True, encodes=True, wants_labels=True)


def cross_entropy(model, batch, out):
    """(B,) nats; 0 of rows without a label."""
    assert batch.y is not None
    return F.cross_entropy(model.head(out.q.centre), batch.y, ignore_index=-1, reduction="none")


class Labelled(isthmus.VAE):
    """VAE whose codes tell classes apart."""

    def compose(self, schema):
        recipe = super().compose(schema)
        recipe.model.__class__ = WithHead
        recipe.model.head = nn.Linear(self.latent_dim, len(schema.labels.classes))
        return isthmus.estimators.base.Recipe(
            recipe.model, as_objective(recipe.objective) + 10.0 * Term(cross_entropy, "labels")
        )


FIELDS = {"latent_dim": 2, "hidden": (16,), "epochs": 40, "batch_size": 20, "threads": 1, "random_state": 0}


def groups(n: int = 200, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows in three groups, and the names of these."""
    random = np.random.default_rng(seed)
    kind = random.integers(3, size=n)
    return random.normal(size=(n, 3)) + 4 * np.eye(3)[kind], NAMED[kind]


def predicted(model, x):
    """The class of each row by the classifier."""
    with torch.no_grad():
        codes = torch.from_numpy(model.transform(x))
        return np.array(model.schema_.labels.classes)[model.model_.head(codes).argmax(1).numpy()]


@pytest.fixture(scope="module")
def model():
    return Labelled(learning_rate=0.01, **FIELDS).fit(*groups())


def test_classes_are_learned_by_their_names(model):
    x, y = groups(seed=1)
    assert model.schema_.labels.classes == ("cow", "goat", "sheep")
    assert (predicted(model, x) == y).mean() > 0.9
    assert model.history_[-1]["valid_labels"] < 0.3 < np.log(3)
    assert isthmus.evaluate(model, x, y, draws=5, without=SLOW)["probes.linear"].value > 0.9


def test_unknown_labels_are_no_class_of_probes(model):
    x, y = groups(seed=1)
    seen = np.arange(200) % 2 == 0
    some = isthmus.evaluate(model, x, np.where(seen, y, "-1"), draws=5, without=SLOW)
    half = isthmus.evaluate(model, x[seen], y[seen], draws=5, without=SLOW)
    assert some["probes.linear"].value == half["probes.linear"].value
    assert some["probes.commonest"].value == half["probes.commonest"].value


def test_a_saved_model_keeps_its_classes(model, tmp_path):
    model.save(tmp_path)
    loaded = isthmus.load(tmp_path, model=Labelled)
    assert loaded.schema_.labels == model.schema_.labels
    np.testing.assert_array_equal(predicted(loaded, groups(seed=1)[0]), predicted(model, groups(seed=1)[0]))
    small("VAE").fit(*groups()).save(tmp_path / "plain")
    assert "labels" not in json.loads((tmp_path / "plain" / "config.json").read_text())["schema"]


@pytest.mark.parametrize(
    ("labels", "classes", "codes"),
    [
        ([3, 1, -1, 3], (1, 3), [1, 0, -1, 1]),
        ([3.0, 1.0, np.nan, 3.0], (1, 3), [1, 0, -1, 1]),
        (["b", "a", "-1", "b"], ("a", "b"), [1, 0, -1, 1]),
        (np.array(["b", "a", None, -1], object), ("a", "b"), [1, 0, -1, -1]),
        ([True, False, True, True], (False, True), [1, 0, 1, 1]),
        (["b", "a", float("nan"), None], ("a", "b"), [1, 0, -1, -1]),
        (pd.Series(["b", "a", None, "b"]), ("a", "b"), [1, 0, -1, 1]),
        (pd.Categorical(["b", "a", None, "b"]), ("a", "b"), [1, 0, -1, 1]),
        (
            np.array([datetime.date(2020, 1, d) for d in (2, 1, 1, 2)], object),
            ("2020-01-01", "2020-01-02"),
            [1, 0, 0, 1],
        ),
        (torch.tensor([3, 1, -1, 3]), (1, 3), [1, 0, -1, 1]),
    ],
    ids=[
        "integers",
        "floats",
        "text",
        "objects",
        "truth",
        "text and NaN",
        "series",
        "categories",
        "dates",
        "tensor",
    ],
)
def test_labels_of_every_kind_have_codes(labels, classes, codes):
    x = table(4)
    job = setup_training(Labelled(**FIELDS, validation_fraction=0.0), x, y=labels)
    assert job.schema.labels.classes == classes
    assert job.to_device(job.train_rows).y.tolist() == codes
    again = Schema.from_config(json.loads(json.dumps(job.schema.to_config())))
    assert again.labels == job.schema.labels
    assert again.labels.encode(job.train_rows.y).tolist() == codes


def test_numbers_that_became_text_are_the_same_classes():
    assert Labels(("0", "1")).encode(np.array([1, 0])).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0.5, 1.0, 2.0, 1.0], "y must be labels, got the number 0.5, which is not whole"),
        (np.array([[1], {}, 2, 3], object), r"y must hold labels that are hashable, got \[1\]"),
        (np.array([datetime.date(2020, 1, 1), "2020-01-01", 1, 2], object), "y must have labels of different text"),
        ([0, 1, 2], r"y must be \(4,\) labels"),
        (None, "y must be given to Labelled, which learns from labels. Pass y="),
    ],
)
def test_what_is_no_label(labels, message):
    with pytest.raises(isthmus.InputError, match=message):
        Labelled(**FIELDS).fit(table(4), labels)
    if labels is not None and len(labels) == 4:  # a model that reads no labels takes whatever scikit-learn passes
        small("VAE", epochs=1).fit(table(4), labels)


def test_validation_rows_have_the_classes_of_the_training_rows():
    x, y = groups()
    model = Labelled(**FIELDS)
    job = setup_training(model, Examples(x[:150], y[:150]), validation=Examples(x[150:], y[150:]))
    expected = job.schema.labels.encode(y[150:])
    np.testing.assert_array_equal(job.to_device(job.valid_rows).y, expected)
    assert set(expected) == {0, 1, 2}
    message = "In the validation rows: y must be one of the classes of the training rows, 'cow', 'goat', 'sheep', or -1"
    with pytest.raises(isthmus.InputError, match=message):
        model.fit(x[:150], y[:150], validation={"X": x[150:], "y": np.where(y[150:] == "cow", "bull", y[150:])})
    with pytest.raises(isthmus.InputError, match="validation must have labels, as the training rows"):
        model.fit(x[:150], y[:150], validation=x[150:])
    unknown = setup_training(model, x[:150], y=y[:150], validation={"X": x[150:], "y": np.full(50, -1)})
    assert (unknown.to_device(unknown.valid_rows).y == -1).all()


def test_a_comparison_trains_with_labels():
    x, y = groups()
    job, test = prepare_run(Entry("labelled", Labelled(**FIELDS)), split(Dataset("X", Examples(x, y)), 0.1), 0)
    for rows in (job.train_rows, job.valid_rows):
        np.testing.assert_array_equal(job.to_device(rows).y, job.schema.labels.encode(rows.y))
    assert len(test) == 40
    one = Labelled(**{**FIELDS, "epochs": 2})
    comparison = isthmus.compare(x, y, models=[one], seeds=1, draws=5)
    cells = {row["model"]: row["cells"] for row in comparison.to_dict()["models"]}
    assert set(cells) == {"pca", "pca_best", "labelled"}
    assert np.isfinite(cells["labelled"]["log_px: density"]["mean"])
    with pytest.raises(isthmus.InputError, match="labelled: y must be given to Labelled"):
        compare_module.compare(x, models=[one], seeds=1, draws=5)


def test_a_run_trains_with_labels(tmp_path):
    x, y = groups()
    data = Dataset("groups.npz", Examples(x[:150], y[:150]), valid=Examples(x[150:], y[150:]))
    run = run_dir.start(Labelled(**{**FIELDS, "epochs": 2}), data, tmp_path / "run")
    run_dir.finish(run)
    assert run.fitted.schema.labels.classes == ("cow", "goat", "sheep")
    assert {"labels", "valid_labels"} <= set(run.fitted.history[-1])
    assert json.loads((tmp_path / "run" / "config.json").read_text())["schema"]["labels"] == {
        "classes": ["cow", "goat", "sheep"]
    }


@pytest.mark.parametrize("name", NAMES)
def test_the_condition_is_asked_for_by_the_model_or_its_prior(name):
    assert small(name).takes_labels == (name == "ConditionalVAE")


def test_a_prior_says_itself_that_it_is_given_the_condition():
    for prior in ("conditional", " conditional ", "conditional()"):
        assert small("VAE", prior=prior).takes_labels
    assert not small("VAE", prior="mixture(3)").takes_labels
    assert not small("VAE", prior="no such prior").takes_labels  # `fit` refuses it
    own = small("VAE", prior="conditional").fit(table(), condition=np.arange(90) % 3).model_.prior
    assert isinstance(own, ConditionalPrior)
    assert small("VAE", prior=own).takes_labels
    x, y = groups()
    job, _ = prepare_run(Entry("vae", small("VAE", prior="conditional()")), split(Dataset("X", Examples(x, y)), 0.1), 0)
    assert job.schema.condition.classes == ("cow", "goat", "sheep")
