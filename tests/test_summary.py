"""The summary of a run: what it compares, what it does not, and what it says of it."""

from __future__ import annotations

import itertools
import json
import math
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

import isthmus
from isthmus.data import Dataset
from isthmus.data.column_roles import ColumnRoles
from isthmus.evaluation import context
from isthmus.evaluation.baseline_data import BaselineData, as_scored
from isthmus.evaluation.baselines import DENSITIES
from isthmus.evaluation.splits import held_out
from isthmus.examples import Examples
from isthmus.metrics.importance_diagnostics import ImportanceDiagnostics, importance_diagnostics
from isthmus.metrics.principal_axes import rank_of
from isthmus.persistence import run_dir
from isthmus.report import affordable
from isthmus.report.from_run import MeasuredRun, measure
from isthmus.report.summary import Summary, summarise
from models import bits, counts, images, table

FAST = {"latent_dim": 2, "hidden": (8,), "epochs": 3, "random_state": 0, "threads": 1}


@pytest.fixture(autouse=True)
def _quick(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(affordable, "MAX_DRAWS", 30)
    monkeypatch.setattr(MeasuredRun, "write_page", lambda self: Path("run/report.html"))
    monkeypatch.setattr(MeasuredRun, "write_figures", lambda self: [Path("run/latent.png")])


def ran(model, x, y=None, test=None, **more) -> tuple[Summary, run_dir.Run]:
    """Train a model on rows as `isthmus fit` does, and sum it up."""
    run = run_dir.start(
        model, Dataset("some/where/rows.csv", Examples(x, y), test=test, **more), Path("run"), force=True
    )
    run_dir.finish(run)
    result = summarise(run)
    json.dumps(result.values, allow_nan=False)
    lines = result.text.splitlines()
    assert all(len(line) <= 160 and line.endswith(".") for line in lines), lines
    assert lines[0].startswith(f"{type(model).__name__} of rows.csv")
    return result, run


def collinear(n: int = 90, dtype: str = "float64") -> np.ndarray:
    """Five columns: one constant, one the sum of two others, on different scales and far from zero."""
    a, b, c = np.random.default_rng(0).normal(size=(3, n)) * np.array([[1], [30], [0.01]]) + 40
    return np.stack([a, b, a + b, np.full(n, 7.0), c], 1).astype(dtype)


def test_the_error_counts_what_rows_share():
    result, _ = ran(isthmus.VAE(**FAST), table())
    values = result.values["log_likelihood"]
    assert values["standard_error"] > values["shared_error"] > 0
    assert f"± {values['standard_error']:.2f} nats (a log-density" in result.text


def test_the_gap_counts_it_too(monkeypatch):
    monkeypatch.setattr(context, "importance_diagnostics", lambda *a: shared(importance_diagnostics(*a), 1e6))
    result, _ = ran(isthmus.VAE(**FAST), table())
    assert result.values["log_likelihood"]["standard_error"] > 1e6 - 1
    assert "not clearly different" in result.text


def shared(found: ImportanceDiagnostics, error: float) -> ImportanceDiagnostics:
    return found._replace(log_px=found.log_px._replace(shared_error=error))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_rows_in_a_subspace_are_compared_with_nothing(dtype):
    result, _ = ran(isthmus.VAE(**FAST), collinear(dtype=dtype))
    assert result.values["degenerate"] == {"rank": 3, "features": 5}
    assert "ppca" not in result.values["baselines"]
    assert "span 3 of 5 dimensions" in result.text
    assert "Probabilistic PCA" not in result.text


def test_discrete_rows_in_a_subspace_are_compared():
    x = counts()
    x[:, 1] = x[:, 0]
    result, _ = ran(isthmus.VAE(**FAST | {"latent_dim": 9}), x)
    assert -100 < result.values["baselines"]["ppca"]["mean"] < 0
    assert result.values["baselines"]["ppca"]["latent_dim"] == 4


@pytest.mark.parametrize(
    "x",
    [
        table(12, 30),  # fewer rows than features
        np.repeat(table(12, 30), 3, 0),  # more, but not more different ones
        table(90, 1),
        table(90, 5) * np.logspace(-6, 6, 5),
        table().astype("float32") + 1000,
    ],
)
def test_the_baseline_keeps_fewer_dimensions_than_the_rows_span(x):
    model = isthmus.VAE(**FAST | {"latent_dim": 40, "validation_fraction": 0}).fit(x)
    data = BaselineData.of(model.fitted_, x)
    scores = data.scores(DENSITIES, x)
    assert data.latent_dim < data.rank == min(x.shape[1], len(np.unique(x, axis=0)) - 1)
    assert abs(scores["ppca"].log_px.mean()) < 1000


def test_rank_does_not_depend_on_units():
    x = table(60, 6)
    assert rank_of(x, 2e-16) == 6
    assert rank_of(x * np.logspace(-8, 8, 6), 2e-16) == 6
    assert rank_of(x @ np.diag([1, 1, 1, 1, 1, 0]), 2e-16) == 5


def test_the_baseline_is_scikit_learns():
    x = table()
    result, run = ran(isthmus.VAE(**FAST), x[:80], test=Examples(x[80:]))
    scale = run.fitted.schema.scale  # of each column
    exact = PCA(2, svd_solver="full").fit(run.job.train_rows.x / scale).score(x[80:] / scale) - np.log(scale).sum()
    assert result.values["baselines"]["ppca"]["mean"] == pytest.approx(exact)
    assert result.values["which"] == "10 test rows"


def test_a_condition_is_marked():
    x, labels = table(), np.arange(90) % 3
    result, _ = ran(isthmus.ConditionalVAE(**FAST), x, labels)
    assert "log p(x) given the condition, " in result.text
    assert "; the model is given the condition, the baseline is not." in result.text
    assert result.values["log_likelihood"]["given_condition"] is True
    assert result.values["baselines"]["ppca"]["given_condition"] is False
    plain, _ = ran(isthmus.VAE(**FAST), x, labels)
    assert "condition" not in plain.text
    assert plain.values["log_likelihood"]["given_condition"] is False


def test_a_conditional_autoencoder_is_marked_too():
    result, _ = ran(isthmus.Autoencoder(**FAST), table(), np.arange(90) % 3, roles=ColumnRoles("label"))
    assert "PCA with 2 dimensions, which is not given the condition, on" in result.text


@pytest.mark.parametrize("corruption", ["mask(0.5)", "gaussian(1.0)"])
def test_denoising_is_measured(corruption):
    x = load_digits().images[:600].astype("uint8")
    fields = FAST | {"latent_dim": 16, "hidden": (64,), "epochs": 60, "batch_size": 32}
    model = isthmus.DenoisingAutoencoder(**fields, corruption=corruption)
    result, _ = ran(model, x)
    values = result.values["denoising"]
    assert values["corruption"] == corruption
    assert values["corrupted"]["mean"] > values["cleaned"]["mean"] > result.values["reconstruction"]["mean"]
    assert f"corrupted by {corruption}" in result.text
    if corruption == "mask(0.5)":
        half = 0.5 * np.square(x.astype(float)).sum((1, 2)).mean()
        assert values["corrupted"]["mean"] == pytest.approx(half, rel=0.15)
    assert "denoising" not in ran(isthmus.Autoencoder(**FAST), x)[0].values


def test_denoising_of_padded_sequences_reads_no_padding():
    x, lengths = np.random.default_rng(0).normal(size=(40, 6, 2)), np.arange(40) % 5 + 2
    model = isthmus.VAE(**FAST, corruption="gaussian(0.5)")
    run = run_dir.start(model, Dataset("a/rows.csv", Examples(x, lengths=lengths)), Path("run"))
    run_dir.finish(run)
    values = summarise(run).values["denoising"]
    assert 0 < values["corrupted"]["mean"] < 0.25 * 12 * 2
    assert math.isfinite(values["cleaned"]["mean"])


@pytest.mark.parametrize("x", [table(), collinear()])
def test_pca_that_keeps_everything_has_no_error(x):
    result, _ = ran(isthmus.Autoencoder(**FAST | {"latent_dim": 8}), x)
    assert result.values["baselines"]["pca"]["mean"] == 0
    assert "PCA with 5 dimensions on the same rows: 0, because the rows vary in no more directions." in result.text


def test_baselines_are_fitted_to_a_random_part_of_the_rows(monkeypatch):
    rows = Examples(np.arange(400.0)[:, None], condition=np.arange(400), lengths=np.arange(400))
    some = rows.subsample(40, 3)
    assert len(set(some.x.ravel())) == 40
    assert 100 < some.x.mean() < 300  # not the first ones
    assert (some.x.ravel() == some.condition).all()
    assert (some.x == rows.subsample(40, 3).x).all()
    assert some.x.tolist() != rows.subsample(40, 4).x.tolist()
    asked = []
    monkeypatch.setattr(context, "max_fit_rows", lambda columns: asked.append(columns) or 1000)
    ran(isthmus.VAE(**FAST), table())
    ran(isthmus.Autoencoder(**FAST), table())
    assert asked == [table().shape[1]] * 2


@pytest.mark.parametrize("named", [False, True])
def test_binarised_rows_are_compared_as_the_bits_that_were_scored(named):
    x = images(60, (30,))
    x = pd.DataFrame(x, columns=[f"pixel_{i}" for i in range(30)]) if named else x
    model = isthmus.ConditionalVAE(**FAST, binarize=True, likelihood="bernoulli")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*feature names")
        result, run = ran(model, x, np.arange(60) % 2)
        train = run.job.train_rows
        seen = as_scored(model.fitted_, train.x)
        rows = model.fitted_.dataset(train, bits="fixed")
    assert set(np.unique(seen)) == {0.0, 1.0}
    assert (seen == rows.batch(torch.arange(len(rows))).x.numpy()).all()
    assert -60 < result.values["baselines"]["ppca"]["mean"] < 0


def test_the_summary_reports_early_stopping():
    fields = FAST | {"epochs": 400, "learning_rate": 0.03, "patience": 30, "batch_size": 16, "initialization": "random"}
    result, run = ran(isthmus.VAE(**fields), table())
    facts, history = result.values, run.estimator.history_
    assert len(history) == facts["epochs"] < facts["epochs_planned"] == 400
    kept = f"the weights of epoch {facts['best_epoch']}, the best in validation, are kept"
    said = f"stopped early after {facts['epochs']} of at most 400 epochs; {kept}."
    assert result.text.splitlines()[0].endswith(said)
    known = {r["epoch"]: r["valid_loss"] for r in history if "valid_loss" in r}
    assert known[facts["best_epoch"]] == min(known.values())
    assert 0 < facts["best_epoch"] < facts["epochs"]


def test_a_full_run_and_a_solved_one():
    result, _ = ran(isthmus.VAE(**FAST), table())
    kept = "no better than the linear model that it started at, which is kept"
    assert result.text.splitlines()[0] == f"VAE of rows.csv: 81 training rows; 3 epochs; {kept}."
    assert result.values["best_epoch"] == 0
    other, _ = ran(isthmus.VAE(**FAST, initialization="random"), table())
    best = other.values["best_epoch"]
    assert best in (1, 2, 3)
    kept = f"the weights of epoch {best}, the best in validation, are kept"
    assert other.text.splitlines()[0] == f"VAE of rows.csv: 81 training rows; 3 epochs; {kept}."
    blind, _ = ran(isthmus.VAE(**FAST, validation_fraction=0), table())
    assert blind.values["best_epoch"] is None
    exact, _ = ran(isthmus.ProbabilisticPCA(latent_dim=2), table())
    assert exact.text.splitlines()[0] == "ProbabilisticPCA of rows.csv: 90 training rows; solved exactly."
    gap = exact.values["log_likelihood"]["mean"] - exact.values["baselines"]["ppca"]["mean"]
    assert abs(gap) < 1e-6
    assert exact.values["baselines"]["ppca"]["margin"]["mean"] == 0  # rounding is no difference
    assert "worse than the better of the two" in exact.text  # which has another size


@pytest.mark.parametrize("x", [table(), images(), bits(), counts(), table()[:, 0:1]])
@pytest.mark.parametrize("name", ["VAE", "DenoisingAutoencoder", "SparseAutoencoder"])
def test_lines_are_short_for_data_of_every_kind(name, x):
    ran(getattr(isthmus, name)(**FAST, **({"sparsity": "l1(0.1)"} if name == "SparseAutoencoder" else {})), x)


def test_a_run_is_diagnosed_with_its_training_rows():
    _, run = ran(isthmus.VAE(**FAST), table(400))  # 40 rows are held out: few, but training had many
    found = measure(run, held_out(run), 10).findings
    assert "few-rows" not in {consequence.code for f in found for consequence in (f, *f.consequences)}


IMAGES = affordable.Sizes(rows=1000, train_rows=50_000, columns=784, pass_flops=2e7)


def work(sizes: affordable.Sizes, reach: affordable.Affordable) -> float:
    """Operations of what was chosen."""
    kept = set(affordable.SLOW) - set(reach.left_out)
    passes = reach.rows * affordable.MIN_DRAWS + (reach.draws - affordable.MIN_DRAWS) * reach.rows
    measured = sizes._replace(rows=reach.rows)
    return passes * sizes.pass_flops + sum(affordable.SLOW[name].flops(measured) for name in kept)


@pytest.mark.parametrize("training", [0, 1e11, 3e12, 1e13, 1e14])
@pytest.mark.parametrize("sizes", [IMAGES, IMAGES._replace(pass_flops=1e10), IMAGES._replace(columns=20)])
def test_what_is_measured_at_the_end_is_short_beside_training(training, sizes):
    reach = affordable.chosen(sizes, training)
    budget = affordable.FIXED_FLOPS + affordable.SHARE_OF_TRAINING * training
    fewest = affordable.MIN_ROWS * affordable.MIN_DRAWS * sizes.pass_flops  # log p(x) is never left out
    assert work(sizes, reach) <= max(budget, fewest)


def test_a_longer_training_is_measured_in_more_ways():
    reaches = [affordable.chosen(IMAGES, training) for training in (1e11, 3e12, 1e13, 1e15)]
    assert reaches[0].left_out
    assert not reaches[-1].left_out
    assert all(set(more.left_out) <= set(less.left_out) for less, more in itertools.pairwise(reaches))
    assert affordable.chosen(IMAGES._replace(pass_flops=1e9), 0).rows == affordable.MIN_ROWS
    without_density = affordable.chosen(IMAGES, 3e12, affordable.OF_DENSITIES + affordable.OF_SAMPLES)
    assert "baselines" not in without_density.left_out  # what does not apply takes nothing from the rest


def test_what_is_left_out_is_said(monkeypatch):
    monkeypatch.setattr(affordable, "FIXED_FLOPS", 1e9)
    result, run = ran(isthmus.VAE(**FAST), table(300))
    left_out = result.values["not_measured"]
    assert "classifier" in left_out
    assert "classifier" not in result.values
    assert "Not measured, as training was short: " in result.text
    assert "isthmus evaluate" in result.text
    assert "not_measured" not in summarise_with(monkeypatch, run, 1e13).values


def summarise_with(monkeypatch, run, flops: float) -> Summary:
    """The summary of a run where measuring may take so many operations."""
    monkeypatch.setattr(affordable, "FIXED_FLOPS", flops)
    return summarise(run)
