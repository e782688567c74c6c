"""A row of weight k counts as k rows, in training, scaling, closed forms and means."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import isthmus
from isthmus.estimators.code_mixture import code_mixture
from isthmus.estimators.linear_model import fit_linear_model, independent_columns
from isthmus.estimators.training_setup import setup_training
from isthmus.evaluation.evaluate import MEASURES
from isthmus.evaluation.likelihood_gain import COMPARED, Halves, best_of
from isthmus.examples import Examples
from isthmus.metrics.estimate import mean_and_error, paired_difference
from isthmus.metrics.importance_weighting import encode_chunks
from isthmus.metrics.inference_gap import inference_gap
from isthmus.objective import as_objective
from isthmus.schema import scaling_of
from isthmus.terms import penalties
from models import DATA, MOSTLY_GRID, NOT_BY_LIKELIHOOD, TRAINED, small, table

pytestmark = pytest.mark.filterwarnings("ignore:.*given no condition:UserWarning")
X = table()
WEIGHT = np.random.default_rng(1).integers(0, 4, len(X))  # 0 too
REPEATED = np.repeat(X, WEIGHT, 0)
EXACT = {"validation_fraction": 0, "precision": "float64"}


# Their discrepancy is from as many draws of the prior as there are rows, without pairs of a row with itself.
EXACTLY = [name for name in TRAINED if name not in ("InfoVAE", "WassersteinAutoencoder", *NOT_BY_LIKELIHOOD)]
GRID = [pytest.param(name, kind, {}, marks=pytest.mark.grid) for name in EXACTLY for kind in DATA if kind != "table"]
SPARSE = ("SparseAutoencoder", "table", {"sparsity": "kl(0.1, 1.0)"})  # whose penalty reads all rows of a batch


@pytest.mark.parametrize(("name", "kind", "fields"), [*((name, "table", {}) for name in EXACTLY), SPARSE, *GRID])
def test_loss_and_gradient_are_those_of_repeated_rows(name, kind, fields, monkeypatch):
    ones = SimpleNamespace(normal=lambda shape, like: torch.ones_like(like))
    monkeypatch.setattr(penalties, "random_streams", ones)  # a term's own noise, the same for all rows
    x, found = DATA[kind](), []
    for data, weight in ((x, WEIGHT), (np.repeat(x, WEIGHT, 0), None)):
        job = setup_training(small(name, initialization="random", **fields, **EXACT), data, sample_weight=weight)
        model, objective, rows = (
            job.recipe.model,
            as_objective(job.recipe.objective).double(),
            job.to_device(job.train_rows),
        )
        batch = rows.batch(torch.arange(len(rows)))
        q = model.infer(batch)
        torch.manual_seed(0)
        noise = q.noise(objective.draws, 1)  # the same for all rows
        loss, values = objective(model, batch, model.forward_from(batch, q, noise), torch.tensor(0.5))
        gradient = torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad], allow_unused=True)
        found.append([*values, *(g for g in gradient if g is not None)])
    for one, other in zip(*found):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_full_batch_training_is_that_of_repeated_rows():
    fields = {"initialization": "pca", "batch_size": 1000, "epochs": 20, "learning_rate": 1e-2, **EXACT}
    one = small("Autoencoder", **fields).fit(X, sample_weight=WEIGHT)
    other = small("Autoencoder", **fields).fit(REPEATED)
    # Rounding of the start grows with the updates.
    np.testing.assert_allclose(one.transform(X), other.transform(X), rtol=1e-5, atol=1e-6)
    assert one.history_[0]["loss"] == pytest.approx(other.history_[0]["loss"], rel=1e-10)
    plain = small("Autoencoder", **fields).fit(X[WEIGHT > 0])
    assert np.abs(plain.transform(X) - one.transform(X)).max() > 0.05


def test_batches_of_an_epoch_add_up_to_the_weighted_loss():
    fields = {"initialization": "random", "epochs": 1, "learning_rate": 1e-12, **EXACT}
    weight = WEIGHT[WEIGHT > 0]
    assert len(weight) % 9 == 0
    whole, parts = (
        small("Autoencoder", batch_size=size, **fields).fit(X[WEIGHT > 0], sample_weight=weight) for size in (72, 9)
    )
    assert parts.history_[0]["loss"] == pytest.approx(whole.history_[0]["loss"], rel=1e-9)


@pytest.mark.parametrize("scaling", ["global", "standard"])
def test_the_closed_form_is_that_of_repeated_rows(scaling):
    model, other = (isthmus.ProbabilisticPCA(latent_dim=2, scaling=scaling) for _ in range(2))
    model.fit(X, sample_weight=WEIGHT)
    np.testing.assert_allclose(model.transform(X), other.fit(REPEATED).transform(X), rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(model.score_samples(X), other.score_samples(X), rtol=1e-9)
    # Shares add up to 1 and stand for as many rows as there are.
    shares = isthmus.ProbabilisticPCA(latent_dim=2, scaling=scaling).fit(X, sample_weight=np.full(len(X), 1 / len(X)))
    np.testing.assert_allclose(shares.score_samples(X), other.fit(X).score_samples(X), rtol=1e-9)


@pytest.mark.parametrize("noise_per_column", [False, True])
@pytest.mark.parametrize("conditional", [False, True])
def test_the_linear_start_is_that_of_repeated_rows(noise_per_column, conditional):
    c = np.random.default_rng(2).normal(size=(len(X), 2)) if conditional else None
    again = None if c is None else np.repeat(c, WEIGHT, 0)
    one = fit_linear_model(X, c, 2, noise_per_column, WEIGHT.astype(float))
    other = fit_linear_model(REPEATED, again, 2, noise_per_column)
    np.testing.assert_allclose(one.coefficients, other.coefficients, rtol=1e-6, atol=1e-9)
    if not conditional:
        np.testing.assert_allclose(one.log_density(X), other.log_density(X), rtol=1e-8)
    np.testing.assert_allclose(one.variance, other.variance, rtol=1e-8)
    columns = independent_columns(X, WEIGHT.astype(float)), independent_columns(REPEATED)
    np.testing.assert_allclose(columns[0].log_density(X), columns[1].log_density(X), rtol=1e-9)


@pytest.mark.parametrize("how", ["global", "standard"])
@pytest.mark.parametrize("missing", [False, True])
def test_scaling_is_that_of_repeated_rows(how, missing):
    observed = np.random.default_rng(3).random(X.shape) < 0.7 if missing else None
    again = None if observed is None else np.repeat(observed, WEIGHT, 0)
    for a, b in zip(scaling_of(X, how, observed, WEIGHT), scaling_of(REPEATED, how, again)):
        np.testing.assert_allclose(a, b, rtol=1e-12)


@pytest.mark.parametrize("likelihood", ["poisson", ("normal", "poisson", "categorical", "laplace", "poisson")])
def test_what_a_schema_learns_is_that_of_repeated_rows(likelihood):
    x = DATA["counts"]() % 7
    condition = np.random.default_rng(2).normal(size=(len(x), 2))
    again = np.repeat(x, WEIGHT, 0), np.repeat(condition, WEIGHT, 0)
    model = small("ConditionalVAE", likelihood=likelihood, epochs=1, **EXACT)
    one = model.fit(x, condition=condition, sample_weight=WEIGHT).schema_
    other = model.fit(again[0], condition=again[1]).schema_
    for a, b in zip(one.columns, other.columns):
        assert a.kind == b.kind
    for name in ("shift", "scale", "mean"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-12)
        if name != "mean":
            np.testing.assert_allclose(getattr(one.condition, name), getattr(other.condition, name), rtol=1e-12)


def test_steps_of_sequences_have_the_weight_of_their_row():
    random = np.random.default_rng(0)
    x, lengths, weight = random.normal(size=(40, 4, 2)), random.integers(1, 5, 40), random.integers(0, 3, 40)
    one = small("VAE", epochs=1, **EXACT).fit(x, lengths=lengths, sample_weight=weight).schema_
    other = small("VAE", epochs=1, **EXACT).fit(np.repeat(x, weight, 0), lengths=np.repeat(lengths, weight)).schema_
    np.testing.assert_allclose(one.shift, other.shift, rtol=1e-10)
    np.testing.assert_allclose(one.scale, other.scale, rtol=1e-10)


@pytest.mark.parametrize("name", [*MOSTLY_GRID, "ProbabilisticPCA"])
def test_rows_of_weight_zero_are_left_out_and_ones_change_nothing(name):
    plain = small(name).fit(X[:60])
    labels = np.r_[np.arange(60) % 2, np.full(30, 5)]
    left_out = small(name).fit(X, labels, sample_weight=np.r_[np.ones(60), np.zeros(30)])
    np.testing.assert_array_equal(left_out.transform(X), plain.transform(X))
    ones = small(name).fit(X[:60], sample_weight=np.ones(60))
    np.testing.assert_array_equal(ones.transform(X), plain.transform(X))


def test_any_unit_of_weights_trains_alike():
    models = [small("VAE", initialization="random").fit(X, sample_weight=s * (1.0 + WEIGHT)) for s in (1, 256)]
    np.testing.assert_array_equal(*(model.transform(X) for model in models))


@pytest.mark.parametrize("name", [*MOSTLY_GRID, "ProbabilisticPCA"])
def test_the_score_is_a_weighted_mean(name):
    model = small(name).fit(X)
    assert model.score(X, sample_weight=WEIGHT) == pytest.approx(model.score(REPEATED), rel=1e-6)
    assert model.score(Examples(X, weight=WEIGHT)) == model.score(X, sample_weight=WEIGHT)
    if model.capabilities.has_density:
        expected = np.average(model.score_samples(X), weights=WEIGHT / 7)
        assert model.score(X, sample_weight=WEIGHT / 7) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", MOSTLY_GRID)
def test_the_validation_loss_is_a_weighted_mean(name):
    # One draw for each row differs between rows and their repetitions, and less so than rows of other lengths do.
    fields = {"epochs": 1, "learning_rate": 1e-9, "precision": "float64", "random_state": 0}
    valid, weight = X[60:] * np.linspace(3, 1, 30)[:, None], np.r_[np.full(15, 3), np.zeros(15, int)]
    found = [
        small(name, **fields).fit(X[:60], validation=rows).history_[0]["valid_loss"]
        for rows in ({"X": valid, "sample_weight": weight}, np.repeat(valid, weight, 0), valid)
    ]
    assert found[0] == pytest.approx(found[1], rel=0.02)
    assert abs(found[2] - found[1]) > 5 * abs(found[0] - found[1])


WEIGHTED = (
    "log_likelihood",
    "elbo",
    "distortion",
    "kl",
    "reconstruction",
    "reconstruction.scaled",
    "variance_explained",
    "baselines.mean",
    "baselines.mean.margin",
    "training.log_likelihood",
    "training.squared_error",
    "training.log_likelihood_gap",
    "training.squared_error_gap",
)
"""Metrics that are means over rows of numbers that do not depend on other rows."""


def test_evaluation_takes_weighted_means():
    model, other = small("VAE", epochs=10).fit(X), table(70, seed=4)
    weight = np.random.default_rng(5).integers(0, 4, 70)
    kwargs = {"draws": 20, "without": ["inference_gap", "classifier", "samples", "copies", "paths", "refit_gain"]}
    train = {"X": X, "sample_weight": WEIGHT}
    one = isthmus.evaluate(model, other, sample_weight=weight, train=train, **kwargs)
    again = isthmus.evaluate(model, np.repeat(other, weight, 0), train=REPEATED, **kwargs)
    plain = isthmus.evaluate(model, other, train=X, **kwargs)
    for name in WEIGHTED:
        assert one.value(name) == pytest.approx(again.value(name), rel=2e-5, abs=1e-6), name
        assert abs(one.value(name) - plain.value(name)) > 1e-4 * abs(plain.value(name)), name
    np.testing.assert_allclose(one.value("kl_per_dim"), again.value("kl_per_dim"), rtol=1e-5)
    # The two parts of the KL term add up to it, whatever the weights.
    parts = one.value("mutual_information") + one.value("aggregate_kl")
    assert parts == pytest.approx(one.value("kl"), abs=4 * one["mutual_information"].standard_error)
    assert one.rows == int((weight > 0).sum())


def test_the_aggregate_posterior_is_weighted():
    groups = np.repeat([[-5.0, 0, 0], [5.0, 0, 0]], 60, 0) + 0.1 * np.random.default_rng(0).normal(size=(120, 3))
    model = isthmus.ProbabilisticPCA(latent_dim=1).fit(groups)
    ends = Examples(np.array([[-5.0, 0, 0], [5.0, 0, 0]]), weight=np.array([9.0, 1.0]))
    found = isthmus.evaluate(model, ends, draws=5).value("mutual_information")
    # Two codes that are far apart tell which of the two rows was drawn: the entropy of that.
    assert found == pytest.approx(-0.9 * np.log(0.9) - 0.1 * np.log(0.1), abs=1e-6)


def test_a_weighted_mean_has_the_error_of_its_rows():
    random = np.random.default_rng(0)
    values, weight = random.normal(size=400), random.integers(1, 5, 400)
    assert mean_and_error(values, weight=np.full(400, 3.0)) == pytest.approx(mean_and_error(values), rel=1e-9)
    means = [mean_and_error(random.normal(size=400), weight=weight).mean for _ in range(2000)]
    assert mean_and_error(values, weight=weight).error == pytest.approx(np.std(means), rel=0.1)
    assert paired_difference(values, values, weight=weight).mean == 0.0


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (-np.ones(90), "sample_weight must be finite numbers >= 0, got -1"),
        (np.full(90, np.nan), "sample_weight must be finite numbers >= 0, got nan"),
        (np.full(90, np.inf), "sample_weight must be finite numbers >= 0, got inf"),
        (np.zeros(90), "sample_weight must have a number > 0, got only zeros"),
        (np.ones(80), "sample_weight must be .90,. numbers, one for each row, got shape .80,."),
        (np.ones((90, 2)), "sample_weight must be .90,. numbers"),
        (np.full(90, "a"), "sample_weight must be .90,. numbers, one for each row, got .* dtype <U1"),
        (np.eye(90)[0], "sample_weight must be above 0 for at least 2 rows, got 1"),
    ],
)
def test_weights_that_cannot_be_used(weight, message):
    with pytest.raises(isthmus.InputError, match=message):
        small("VAE").fit(X, sample_weight=weight)
    if "2 rows" not in message:
        model = small("VAE", epochs=1).fit(X)
        with pytest.raises(isthmus.InputError, match=message):
            model.score(X, sample_weight=weight)
        with pytest.raises(isthmus.InputError, match=message):
            small("VAE", epochs=1).fit(X, validation={"X": X, "sample_weight": weight})


def test_a_prior_that_is_fitted_after_training_has_the_weights_of_the_rows():
    groups = np.repeat([[-5.0, 0, 0], [5.0, 0, 0]], 60, 0) + np.random.default_rng(0).normal(size=(120, 3))
    weight = np.repeat([9.0, 1.0], 60)
    fields = {"prior": "refit(2)", "latent_dim": 1, "epochs": 20, "beta": 0.1, "learning_rate": 1e-2}
    model = small("VAE", **fields).fit(groups, sample_weight=weight)
    assert model.model_.prior.log_weight.exp().max().item() == pytest.approx(0.9, abs=0.05)
    rows = model.fitted_.dataset(groups)
    assert torch.equal(rows.occurrences(), torch.arange(120))


def test_the_inference_gap_is_weighted():
    """Of two halves with the same draws, the means under weights of one half each average to the mean over all."""
    model, half = small("VAE", initialization="random").fit(X), np.repeat([1.0, 0.0], 10)

    def gap(weight):
        rows = encode_chunks(model.model_, model.fitted_.dataset(X[:20]))
        return inference_gap(model.model_, rows, steps=5, draws=20, weight=weight).total.mean

    first, second, both = gap(half), gap(1 - half), gap(None)
    assert both == pytest.approx((first + second) / 2, rel=1e-6)
    assert first != pytest.approx(second, rel=0.01)


@pytest.mark.parametrize("full", [False, True])
def test_a_mixture_starts_where_repeated_rows_place_it(full):
    x = np.repeat([[-5.0, 0, 0], [5.0, 0, 0]], 60, 0) + np.random.default_rng(0).normal(size=(120, 3))
    weight = np.repeat([4.0, 1.0], 60)
    linear = fit_linear_model(x, None, 1, False, weight)
    one = code_mixture(x, linear, 2, 0, full, weight)
    assert one.weights.max() == pytest.approx(0.8, abs=0.02)
    if not full:  # what is added to full covariances is chosen by held-out rows, which count once
        other = code_mixture(np.repeat(x, weight.astype(int), 0), linear, 2, 0, full)
        np.testing.assert_allclose(one.weights, other.weights, rtol=1e-9)
        np.testing.assert_allclose(one.means, other.means, rtol=1e-9)
    scaled = code_mixture(x, linear, 2, 0, full, 1e9 * weight)
    np.testing.assert_allclose(scaled.means, one.means, rtol=1e-2, atol=1e-2)
    fields = {"latent_dim": 1, "epochs": 1, "learning_rate": 1e-12, "scaling": "global", **EXACT}
    model = small("VAE", prior=f"{'full_' * full}mixture(2)", **fields)
    placed = model.fit(x, sample_weight=weight).model_.prior.logits.softmax(-1)
    assert placed.max().item() == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize("likelihood", ["normal", "poisson"])
@pytest.mark.parametrize("levels", [None, 9])
def test_other_likelihoods_are_those_of_repeated_rows(likelihood, levels):
    random = np.random.default_rng(0)
    x, test = (random.poisson(3.0, (60, 2)).clip(0, 8).astype(float) for _ in range(2))
    x[:30] *= 0.5 if likelihood == "normal" and levels is None else 1
    mean, weight = np.full(x.shape, 2.9), random.integers(1, 6, 60)
    again = (np.repeat(rows, weight, 0) for rows in (x, mean))
    one = COMPARED[likelihood](Halves(x, test, mean, mean, weight.astype(float)), levels)
    repeated, repeated_mean = again
    other = COMPARED[likelihood](Halves(repeated, test, repeated_mean, mean), levels)
    for name in one:
        np.testing.assert_allclose(one[name], other[name], rtol=1e-9)
    sides = {"current": np.zeros(4), "a": np.array([1.0, 0, 0, 0]), "b": np.array([0, 0.5, 0, 0])}
    assert [best_of(sides, 2, side) for side in (None, np.array([1.0, 9, 1, 1]))] == ["a", "b"]


def test_the_gain_of_another_likelihood_is_a_weighted_mean():
    x = np.random.default_rng(0).normal(size=(400, 3))
    x[::4] *= 30
    model = isthmus.ProbabilisticPCA(latent_dim=1, random_state=0).fit(x)
    kwargs = {"draws": 5, "without": [name for name in MEASURES if name != "likelihood_gain"]}
    heavy = isthmus.evaluate(model, x, **kwargs).value("likelihood_gain")
    weight = np.where(np.arange(400) % 4, 1.0, 1e-9)
    light = isthmus.evaluate(model, x, sample_weight=weight, **kwargs).value("likelihood_gain")
    assert heavy > 1
    assert light < 0.1


@pytest.mark.parametrize("kind", ["condition", "category"])
def test_a_class_of_rows_of_weight_zero_alone_is_none(kind):
    """Such rows are left out of fitting, of the score and of an evaluation, whatever they hold."""
    x, weight = X.copy(), np.r_[np.zeros(3), np.ones(87)]
    fields: dict = {"epochs": 1}
    given = {}
    if kind == "condition":
        given = {"condition": np.r_[np.full(3, 7), np.arange(87) % 2]}
    else:
        x[:, 4] = np.r_[np.full(3, 9), np.arange(87) % 3]
        fields["likelihood"] = (*["normal"] * 4, "categorical")
    some = {name: values[3:] for name, values in given.items()}
    name = "ConditionalVAE" if given else "VAE"
    model, plain = small(name, **fields).fit(x, sample_weight=weight, **given), small(name, **fields).fit(x[3:], **some)
    np.testing.assert_array_equal(model.transform(x[3:], **some), plain.transform(x[3:], **some))
    assert model.score(x, sample_weight=weight, **given) == plain.score(x[3:], **some)
    quick = {"draws": 5, "without": [name for name in MEASURES if name not in ("log_likelihood", "density_baselines")]}
    train = {"X": x, "sample_weight": weight, **given}
    one = isthmus.evaluate(model, x, sample_weight=weight, train=train, **given, **quick)
    other = isthmus.evaluate(plain, x[3:], train={"X": x[3:], **some}, **some, **quick)
    assert [m.value for m in one.metrics] == [m.value for m in other.metrics]
    tensors = torch.as_tensor(x).requires_grad_()
    assert model.score(tensors, sample_weight=weight, **given) == plain.score(x[3:], **some)
    with pytest.raises(isthmus.InputError, match=r"^condition must be one of 0, 1|^X must be integer levels 0\.\.2"):
        model.score(x, **given)
