"""Systems that a user may write outside the package, each held to what every model is held to.

A system is the smallest form of something that the package must be able to take in: it trains, is saved and resumed,
its log p(x) is right, its samples are draws of it, and whatever measures, diagnoses, compares and shows it gives the
right number or says why there is none.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

import isthmus
from growth import code_free, columns, critic, exact, flow, labels, missing, recurrent, two_levels
from isthmus.estimators.training_setup import setup_training
from isthmus.evaluation.encoded import EncodedRows
from isthmus.examples import Examples
from isthmus.metrics.importance_diagnostics import importance_diagnostics
from isthmus.train.checkpoint import Checkpointer

N = 120
LINES = 60
"""Of a system, beside its imports."""


def table(d: int = 3, n: int = N) -> np.ndarray:
    random = np.random.default_rng(1)
    return random.normal(size=(n, 2)) @ random.normal(size=(2, d)) + 0.5 * random.normal(size=(n, d)) + 2.0


def blobs(n: int = N) -> np.ndarray:
    random = np.random.default_rng(2)
    return random.normal(size=(n, 2)) + 4 * np.array([[0, 1], [1, -1], [-1, -1]])[random.integers(3, size=n)]


def bits(n: int = N) -> np.ndarray:
    random = np.random.default_rng(3)
    first = random.random((n, 1)) < 0.4
    return (random.random((n, 4)) < np.where(first, 0.9, 0.2)).astype(np.uint8)


def walks(n: int = N) -> Examples:
    random = np.random.default_rng(4)
    x = np.cumsum(0.5 * random.normal(size=(n, 4, 1)), 1)
    return Examples(x, lengths=random.integers(2, 5, n))


def with_gaps(n: int = N) -> Examples:
    x = table(3, n)
    return Examples(x, observed=np.random.default_rng(5).random(x.shape) < 0.7)


def unlike(n: int = N) -> np.ndarray:
    random = np.random.default_rng(6)
    kind = random.integers(3, size=n)
    return np.column_stack([2.0 * kind + random.normal(size=n), kind])


@dataclass(frozen=True)
class System:
    """A system under test: its class, rows, exact log p(x), and the draws with which an estimate comes near that."""

    module: object
    estimator: type
    rows: Examples
    log_px: Callable
    draws: int = 4000
    initialization: str = "auto"

    def fit(self, **fields):
        fields = {"epochs": 60, "batch_size": 24, "threads": 1, "learning_rate": 0.01, "random_state": 0} | fields
        fields = {"initialization": self.initialization} | fields
        return self.estimator(**fields).fit(self.rows.x, **self.rows.model_kwargs())


SYSTEMS = {
    "two_levels": System(two_levels, two_levels.TwoLevels, Examples(table()), exact.two_levels),
    "code_free": System(code_free, code_free.CodeFree, Examples(bits()), exact.code_free, 1),
    "labels": System(labels, labels.Labels, Examples(blobs()), exact.labels),
    "recurrent": System(recurrent, recurrent.Recurrent, walks(), exact.kalman),
    "flow": System(flow, flow.Flow, Examples(table()), exact.linear_gaussian),
    "missing": System(missing, missing.Missing, with_gaps(), exact.linear_gaussian),
    "columns": System(columns, columns.TwoColumns, Examples(unlike()), exact.quadrature),
    "critic": System(critic, critic.Critic, Examples(table()), exact.linear_gaussian, initialization="random"),
}
every_system = pytest.mark.parametrize("name", SYSTEMS)
SLOW = ("inference_gap", "classifier", "samples", "copies", "paths", "sharpness", "disentanglement")


@pytest.fixture(scope="module")
def trained():
    """Each system trained once, when it is first asked for."""
    known: dict[str, object] = {}

    def get(name: str):
        if name not in known:
            known[name] = SYSTEMS[name].fit()
        return known[name]

    return get


def first(rows: Examples, n: int) -> Examples:
    return rows.take(np.arange(n))


@every_system
def test_a_system_is_small(name):
    lines = Path(SYSTEMS[name].module.__file__).read_text().splitlines()
    assert sum(bool(line.strip()) and not line.startswith(("from ", "import ")) for line in lines) <= LINES


@every_system
def test_it_trains(name, trained):
    losses = [record["loss"] for record in trained(name).history_]
    assert all(map(math.isfinite, losses))
    assert losses[-1] < losses[0]


@every_system
def test_saved_and_loaded_it_is_the_same(name, trained, tmp_path):
    system, model = SYSTEMS[name], trained(name)
    model.save(tmp_path)
    loaded = isthmus.load(tmp_path, model=system.estimator)
    rows = first(system.rows, 10)
    kwargs = rows.model_kwargs()
    assert np.array_equal(
        model.score_samples(rows.x, draws=5, **kwargs), loaded.score_samples(rows.x, draws=5, **kwargs)
    )
    assert np.array_equal(model.sample(5, random_state=1), loaded.sample(5, random_state=1))


@every_system
def test_resumed_it_ends_with_the_same_weights(name, tmp_path):
    system = SYSTEMS[name]
    fields = {"epochs": 4, "batch_size": 24, "threads": 1, "learning_rate": 0.01, "random_state": 0}

    def job():
        estimator = system.estimator(**fields)
        rows = system.rows
        return setup_training(estimator, rows.x, **rows.model_kwargs())

    whole = job()
    whole.train(Checkpointer(tmp_path / "whole", every=1e9))

    class Stops(Checkpointer):
        def save(self, trainer):
            super().save(trainer)
            if trainer.step >= 7:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        job().train(Stops(tmp_path / "broken", every=0.0))
    resumed = job()
    resumed.train(Checkpointer(tmp_path / "broken", every=1e9))
    for (key, value), (_, again) in zip(
        whole.recipe.model.state_dict().items(), resumed.recipe.model.state_dict().items()
    ):
        assert torch.equal(value, again), key


@every_system
def test_scores_agree_with_the_exact_value(name, trained):
    system, model = SYSTEMS[name], trained(name)
    rows = first(model.fitted_.check(system.rows), 20)
    truth = system.log_px(model.fitted_, rows)
    scores = model.fitted_.score(rows, draws=system.draws)
    assert scores.mean() == pytest.approx(truth.mean(), abs=0.05 if system.draws > 1 else 1e-4)
    assert np.abs(scores - truth).max() < 0.3


@every_system
def test_samples_are_draws_of_the_model(name, trained):
    """Two halves of the same draws score alike under the model's own density: E_p[log p(x)] is minus the entropy."""
    system, model = SYSTEMS[name], trained(name)
    fitted, n = model.fitted_, 400
    x = fitted.sample(n, seed=3)
    assert x.shape == (n, *system.rows.x.shape[1:])
    mean, spread = x.mean(0, dtype=float), x.std(0, dtype=float)
    expected = fitted.sample(n, seed=4, mean=True)
    if fitted.schema.measure != "mixed measure":  # E[x] = E[E[x given z]], whatever the noise
        assert np.all(np.abs(mean - expected.mean(0)) < 5 * (spread + 1e-9) / math.sqrt(n) * math.sqrt(2))
    rows = Examples(x) if system.rows.lengths is None else Examples(x, lengths=np.full(n, x.shape[1]))
    entropy = -system.log_px(fitted, fitted.check(rows))
    other = Examples(fitted.sample(n, seed=5), lengths=rows.lengths)
    again = -system.log_px(fitted, fitted.check(other))
    assert abs(entropy.mean() - again.mean()) < 5 * math.hypot(entropy.std(), again.std()) / math.sqrt(n)
    assert np.isfinite(entropy).all()


@every_system
def test_a_subset_is_scored_as_it_is_among_all(name, trained):
    system, fitted = SYSTEMS[name], trained(name).fitted_
    many = fitted.check(system.rows.take(np.arange(3 * N) % N))  # several chunks
    encoded = EncodedRows(fitted, many, "fixed")
    everything = encoded.score(np.arange(len(many)), draws=20)
    for index in ([5], [301, 3, 200], np.arange(100, 300, 7)):
        # A product of matrices of other sizes rounds otherwise, in single precision.
        np.testing.assert_allclose(encoded.score(np.array(index), draws=20), everything[index], rtol=1e-5, atol=1e-5)


def test_more_rows_than_a_measure_takes(trained):
    model, rows = trained("recurrent"), walks(800)
    train, test = rows.take(np.arange(550)), rows.take(np.arange(550, 800))
    kwargs = test.model_kwargs()
    evaluation = isthmus.evaluate(model, test.x, train=train, draws=5, without=SLOW, **kwargs)
    gap = evaluation["training.log_likelihood_gap"]
    assert abs(gap.value) < 4 * gap.standard_error  # few weights and many rows: nothing to overfit


@pytest.fixture(scope="module")
def evaluated(trained):
    known: dict[str, object] = {}

    def get(name: str):
        if name not in known:
            rows = SYSTEMS[name].rows
            kwargs = rows.model_kwargs()
            known[name] = isthmus.evaluate(trained(name), rows.x, train=rows, draws=200, without=SLOW, **kwargs)
        return known[name]

    return get


@every_system
def test_evaluate_is_right_or_declines(name, trained, evaluated):
    system, evaluation = SYSTEMS[name], evaluated(name)
    truth = system.log_px(trained(name).fitted_, trained(name).fitted_.check(system.rows)).mean()
    assert evaluation["log_likelihood"].value == pytest.approx(truth, abs=0.2)
    assert evaluation["elbo"].value <= truth + 0.05
    json.dumps(evaluation.to_dict(), allow_nan=True)
    assert str(evaluation)


@every_system
def test_every_finding_has_a_message_and_a_remedy(name, trained, evaluated):
    rows = SYSTEMS[name].rows
    findings = isthmus.diagnose(trained(name), rows.x, evaluation=evaluated(name), **rows.model_kwargs())
    for finding in findings:
        assert finding.message
        assert finding.remedy


@every_system
def test_the_report_is_written(name, trained, evaluated, tmp_path):
    rows = SYSTEMS[name].rows
    path = isthmus.report_page(
        trained(name), rows.x, tmp_path / "report.html", evaluation=evaluated(name), **rows.model_kwargs()
    )
    assert "</html>" in path.read_text("utf-8")


@every_system
def test_it_is_compared(name):
    system = SYSTEMS[name]
    estimator = system.estimator(epochs=2, threads=1, learning_rate=0.01)
    comparison = isthmus.compare(system.rows, models=[estimator], seeds=1, draws=20)
    rows = {row["model"]: row for row in comparison.to_dict()["models"]}
    scores = rows.pop(system.estimator.__name__.lower())["cells"]
    assert all(math.isfinite(cell["mean"]) for cell in scores.values())
    assert set(rows) <= {"pca", "pca_best"}  # not for sequences, and not for missing values
    (kind,) = [key for key in scores if key.startswith("log_px")]
    assert (kind == "log_px: mixed measure") == (name == "columns")
    if name == "columns":
        shared = {column for column in scores if all(column in row["cells"] for row in rows.values())}
        assert not any(column.startswith(("log_px", "squared_error")) for column in shared)
    assert str(comparison)


# ------------------------------------------------------------------------------------------- what is particular


def test_without_a_code_no_metric_is_about_one(trained, evaluated, tmp_path):
    model, evaluation = trained("code_free"), evaluated("code_free")
    assert evaluation["log_likelihood"].standard_error > 0  # over rows
    assert evaluation.value("log_likelihood.draws") == 1
    for name in ("active_units", "kl_per_dim", "probes", "geometry"):
        assert evaluation.get(name) is None
    codes = {finding.code for finding in isthmus.diagnose(model, bits(), evaluation=evaluation)}
    assert not codes & {"posterior-collapse", "too-many-dimensions", "too-few-dimensions", "latent-holes"}
    page = isthmus.report_page(model, bits(), tmp_path / "r.html", evaluation=evaluation).read_text("utf-8")
    assert 'id="latent-map"' not in page
    assert not hasattr(model, "transform")


def test_a_code_of_steps_is_counted_and_encoded_as_one(trained, evaluated):
    model, rows = trained("recurrent"), SYSTEMS["recurrent"].rows
    assert model.transform(rows.x, lengths=rows.lengths).shape == (N, 4, 1)
    assert evaluated("recurrent").value("active_units.of") == 4


@pytest.mark.parametrize("name", ["flow", "recurrent"])
def test_what_needs_a_density_elsewhere_declines(name, evaluated):
    evaluation = evaluated(name)
    assert evaluation.get("mutual_information") is None
    assert evaluation.declined["aggregate_posterior"]


def test_a_mixed_measure_is_never_beside_a_density(evaluated):
    evaluation = evaluated("columns")
    assert evaluation["log_likelihood"].kind == "mixed measure"
    for metric in evaluation.group("baselines").values():
        assert metric.unit != "nats"


def test_garbage_under_observed_changes_no_number(trained):
    model, rows = trained("missing"), SYSTEMS["missing"].rows
    garbage = np.where(rows.observed, rows.x, 1e6)
    same = [model.score_samples(x, draws=7, observed=rows.observed) for x in (rows.x, garbage)]
    assert np.array_equal(*same)
    evaluations = [
        isthmus.evaluate(model, x, observed=rows.observed, draws=7, without=SLOW).to_dict() for x in (rows.x, garbage)
    ]
    assert evaluations[0] == evaluations[1]


def test_the_value_that_chooses_weights_leaves_the_game_out(trained):
    record = trained("critic").history_[-1]
    assert record["valid_loss"] == pytest.approx(record["valid_nll"] + record["valid_kl"], rel=1e-5)


@every_system
def test_the_distortion_is_split_by_elements_or_not_at_all(name, trained):
    rows, model = first(SYSTEMS[name].rows, 20), trained(name)
    if not model.capabilities.encodes:
        with pytest.raises(isthmus.InputError, match="product over the elements of x"):
            model.score_samples(rows, per_feature=True)
        return
    stats = EncodedRows(model.fitted_, model.fitted_.check(rows), "mean")
    kl = importance_diagnostics(model.model_, stats.chunks, 500).kl.sum(1)
    total = model.score_samples(rows, draws=500, per_feature=True).reshape(20, -1).sum(1)
    exact = model.model_.decodes_linear_normal and name in ("missing", "critic")  # elsewhere q is not normal
    tolerance = {"rtol": 0.05, "atol": 0.2} if exact else {"rtol": 1e-4, "atol": 1e-4}
    np.testing.assert_allclose(total, -model.elbo(rows, draws=500) - kl, **tolerance)


@pytest.mark.parametrize("name", [name for name in SYSTEMS if name != "code_free"])
def test_draws_of_a_posterior_have_its_moments(name, trained):
    rows, model, k = first(SYSTEMS[name].rows, 10), trained(name), 2000
    q, z = model.posterior_of(rows), model.transform(rows, draws=k, random_state=0)
    assert z.shape == (k, *q.mean.shape)
    # Six standard errors of the draws and of moments that are estimated from half as many.
    error = 6 * np.sqrt(3 / k)
    assert (np.abs(z.mean(0) - q.mean) <= error * q.scale + 1e-6).all()
    assert (np.abs(z.std(0) - q.scale) <= 2 * error * q.scale + 1e-6).all()


def test_draws_of_enumerated_values_have_their_weights(trained):
    rows, model = first(SYSTEMS["labels"].rows, 30), trained("labels")
    z = model.transform(rows, draws=4000, random_state=0)
    assert (z[..., :3].sum(-1) == 1).all()  # one label each
    np.testing.assert_allclose(z.mean(0), model.transform(rows), atol=0.1)
