"""Training starts at the linear model of the data, and a default fit is never below it."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.datasets import make_swiss_roll
from sklearn.decomposition import PCA, FactorAnalysis
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_info

import isthmus
from isthmus.distributions.mixture_fit import fit_mixture
from isthmus.estimators.auto_fields import AUTO_FIELDS, auto_hidden
from isthmus.estimators.code_choice import auto_latent_dim, auto_prior, held_out_curve, scores_by_size
from isthmus.estimators.code_mixture import best_added, code_mixture
from isthmus.estimators.linear_model import fit_linear_model, independent_columns
from isthmus.estimators.start_check import lead_of_mixture
from isthmus.estimators.training_setup import setup_training
from isthmus.families import DiagonalNormal
from isthmus.metrics.held_out import held_out, held_out_scores, is_clear, linear_scores
from isthmus.priors import Mixture
from isthmus.train.config import TrainConfig
from isthmus.train.runtime import OneBlasThread, one_blas_thread
from isthmus.train.trainer import Trainer


def linear_rows(n: int, rank: int = 3, d: int = 8, noise: float = 0.5, seed: int = 0) -> np.ndarray:
    """Rows of a linear Gaussian model with equal noise."""
    weight = np.random.default_rng(99).normal(size=(rank, d))
    random = np.random.default_rng(seed)
    return random.normal(size=(n, rank)) @ weight + noise * random.normal(size=(n, d))


def test_the_held_out_curve_is_that_of_pca():
    train, test = linear_rows(200), linear_rows(50, seed=1)
    curve = linear_scores(train, test, 7)
    for k in (1, 3, 6):
        np.testing.assert_allclose(curve[:, k], PCA(k).fit(train).score_samples(test), rtol=1e-9)


def test_the_size_is_that_of_the_data():
    assert auto_latent_dim(held_out_curve(linear_rows(600), np.ones(8), 0), 8) == 3
    assert auto_latent_dim(held_out_curve(linear_rows(600, rank=5, d=12), np.ones(12), 0), 12) == 5
    x = linear_rows(600)
    assert auto_latent_dim(held_out_curve(x / x.std(0), x.std(0), 0), 8) == 3  # equal noise in the data's units
    assert len(held_out_scores(linear_rows(60), np.ones(8), 0)) == 60


def test_a_noise_for_each_column_is_chosen_where_columns_differ():
    random = np.random.default_rng(0)

    def gain(x: np.ndarray) -> np.ndarray:
        return scores_by_size(x, 3, True, 0) - scores_by_size(x, 3, False, 0)

    assert not is_clear(gain(linear_rows(400)))
    uneven = linear_rows(400) + random.normal(size=(400, 8)) * np.linspace(0.1, 2, 8)
    assert is_clear(gain(uneven))


def test_the_prior_is_a_mixture_only_where_there_are_groups():
    random = np.random.default_rng(0)
    groups = random.integers(0, 3, 400)
    islands = 6 * np.eye(3)[groups] @ random.normal(size=(3, 6)) + random.normal(size=(400, 6))
    assert "mixture" in auto_prior(islands, fit_linear_model(islands, None, 3, False), 0).name
    assert auto_prior(linear_rows(400), fit_linear_model(linear_rows(400), None, 3, False), 0).name == "normal"


def test_components_with_full_covariances_have_rows_enough():
    """Twelve groups in ten dimensions, each with its own correlations: 160 rows are enough for eight covariances."""
    random = np.random.default_rng(0)
    which, shapes = random.integers(0, 12, 160), random.normal(size=(12, 10, 10)) / 3
    x = 6 * random.normal(size=(12, 10))[which] + np.einsum("nij,nj->ni", shapes[which], random.normal(size=(160, 10)))
    prior = auto_prior(x, fit_linear_model(x, None, 10, False), 0, ("full_mixture",))
    assert prior.name in ("full_mixture(5)", "full_mixture(8)")


def test_factor_analysis_is_that_of_scikit_learn():
    random = np.random.default_rng(0)
    x = linear_rows(400) + random.normal(size=(400, 8)) * np.linspace(0.1, 2, 8)
    ours = fit_linear_model(x, None, 3, noise_per_column=True)
    theirs = FactorAnalysis(3, tol=1e-6, max_iter=5000, svd_method="lapack").fit(x)
    weight = np.sqrt(ours.kept)[:, None] * ours.axes * ours.scale
    covariance = weight.T @ weight + np.diag(ours.scale**2 * ours.noise)
    density = multivariate_normal(ours.mean, covariance).logpdf(x).mean()
    np.testing.assert_allclose(ours.log_density(x).mean(), density, rtol=1e-9)
    assert abs(density - theirs.score(x)) < 0.01  # nats: the likelihood is flat around its maximum


def test_a_linear_model_starts_at_its_optimum():
    """Before the first update the ELBO of a VAE is log p(x) of probabilistic PCA."""
    x, test = linear_rows(300), linear_rows(100, seed=1)
    model = isthmus.VAE(
        latent_dim=3, scaling="none", precision="float64", random_state=0, epochs=1, learning_rate=1e-12
    )
    model.fit(x, validation=test)
    exact = PCA(3).fit(x).score_samples(test)
    # The ELBO is exact up to its draws: |error| of a mean of 100 rows x 2,000 draws is below 0.02.
    np.testing.assert_allclose(model.elbo(test, draws=2000).mean(), exact.mean(), atol=0.02)
    np.testing.assert_allclose(model.score_samples(test, draws=2000).mean(), exact.mean(), atol=0.02)


def groups(n: int, seed: int) -> np.ndarray:
    """Rows of three groups, each with its own correlations."""
    random, shapes = np.random.default_rng(seed), np.random.default_rng(5).normal(size=(3, 4, 4))
    which = random.integers(0, 3, n)
    return 4 * np.eye(4)[which] + np.einsum("nij,nj->ni", shapes[which], random.normal(size=(n, 4)))


def test_components_have_the_density_of_scikit_learn_and_a_least_width():
    x = groups(400, 0)
    ours = fit_mixture(x, 3, 0, full=True)
    theirs = GaussianMixture(3, reg_covar=1e-4, random_state=0).fit(x)
    np.testing.assert_allclose(ours.log_density(x), theirs.score_samples(x), rtol=1e-9)
    floor = np.array([0.1, 0.5, 1.0, 2.0])
    wide = ours.at_least(floor)
    assert (np.linalg.eigvalsh(wide.covariances - np.diag(floor)) > -1e-9).all()
    np.testing.assert_allclose(ours.at_least(np.full(4, 1e-9)).covariances, ours.covariances, rtol=1e-9)


@pytest.mark.parametrize(("prior", "initialization"), [("full_mixture(3)", "pca"), ("mixture(6)", "columns")])
def test_a_wide_code_starts_at_a_mixture_of_the_rows(prior, initialization):
    """Before the first update log p(x) of a VAE is that of the mixture, as far as its little noise allows."""
    x, test = groups(500, 0), groups(200, 1)
    fields = {"latent_dim": 4, "scaling": "none", "likelihood": "normal", "precision": "float64", "random_state": 0}
    model = isthmus.VAE(prior=prior, initialization=initialization, epochs=1, learning_rate=1e-12, **fields)
    model.fit(x, validation=test)
    linear = fit_linear_model(x, None, 4, False) if initialization == "pca" else independent_columns(x)
    full = prior.startswith("full")
    k, points = (3, 6)[not full], linear.coordinates(x)
    added = best_added(points, k, 0, linear.narrowest, full)[0]
    mixture = fit_mixture(points, k, 0, full, added).at_least(linear.narrowest)
    exact = mixture.log_density(linear.coordinates(test)) - 0.5 * np.log(linear.variance).sum()
    # q(z given x) is that of the linear model, as narrow as the noise: its bound is a few hundredths of a nat low.
    np.testing.assert_allclose(model.score_samples(test, draws=2000).mean(), exact.mean(), atol=0.1)


def test_a_code_is_as_wide_as_rows_whose_groups_need_it():
    chosen = isthmus.VAE(epochs=1, random_state=0).fit(groups(600, 0)).settings_["chosen"]
    assert (chosen["latent_dim"], "mixture" in chosen["prior"]) == (4, True)
    assert isthmus.VAE(epochs=1, random_state=0).fit(linear_rows(600)).settings_["chosen"]["latent_dim"] == 3


def chosen_for(x: np.ndarray, observed: np.ndarray | None = None, **fields) -> dict:
    """What is chosen for rows."""
    model = isthmus.VAE(**{"epochs": 1, "random_state": 0, **fields})
    return model.fit(x, observed=observed).settings_["chosen"]


def test_what_says_nothing_of_the_rows_chooses_nothing():
    """A constant column, few rows, missing values, dimensions beyond the columns."""
    x = linear_rows(300, rank=2, d=6, noise=0.3)
    expected = (2, "normal", "pca")
    gaps = np.random.default_rng(0).random(x.shape) > 0.3
    for chosen in (chosen_for(np.c_[x, np.ones(300)]), chosen_for(x, observed=gaps), chosen_for(x)):
        assert (chosen["latent_dim"], chosen["prior"], chosen["initialization"]) == expected
    noise = np.random.default_rng(0).normal(size=(400, 6))
    assert chosen_for(noise[:, :3], latent_dim=5)["prior"] == "normal"
    for n in (12, 20, 30):
        assert chosen_for(noise[:n])["initialization"] == "pca"


def test_a_users_prior_is_left_alone():
    prior = Mixture(2, 2)
    prior.loc.data.fill_(9.0)
    model = isthmus.VAE(latent_dim=2, prior=prior, learning_rate=1e-9, epochs=1, random_state=0).fit(linear_rows(100))
    np.testing.assert_allclose(model.fitted_.model.prior.loc.detach(), 9.0, rtol=1e-5)


@pytest.mark.parametrize(("prior", "n"), [("mixture(50)", 40), ("full_mixture(5)", 6), ("full_mixture(5)", 12)])
def test_a_mixture_of_more_components_than_rows_place_starts_at_random(prior, n):
    assert np.isfinite(isthmus.VAE(prior=prior, epochs=1, random_state=0).fit(linear_rows(n)).score(linear_rows(20)))


def test_fields_that_are_given_hold_for_what_is_chosen():
    x = np.random.default_rng(0).exponential(size=(400, 3))
    assert chosen_for(x, posterior=DiagonalNormal((2,)))["latent_dim"] == 2
    assert chosen_for(x)["latent_dim"] == 3
    assert "initialization" not in chosen_for(x, initialization="pca")
    assert chosen_for(x, initialization="columns")["latent_dim"] == 3
    assert isthmus.Autoencoder(prior="auto", epochs=1).fit(x).settings_["chosen"]["prior"] == "normal"
    with pytest.raises(isthmus.InputError, match="latent_dim must be 3"):
        isthmus.VAE(initialization="columns", latent_dim=2).fit(x)
    with pytest.raises(isthmus.InputError, match="hidden must be a tuple"):
        isthmus.VAE(hidden=np.array([8, 8])).fit(x)


def test_an_autoencoder_starts_at_pca():
    x, test = linear_rows(300), linear_rows(100, seed=1)
    model = isthmus.Autoencoder(latent_dim=3, scaling="none", precision="float64", random_state=0, epochs=1)
    model.set_params(learning_rate=1e-12).fit(x, validation=test)
    pca = PCA(3).fit(x)
    expected = np.square(test - pca.inverse_transform(pca.transform(test))).sum(1).mean()
    np.testing.assert_allclose(model.fitted_.squared_errors(test, model.reconstruct(test)).mean(), expected, rtol=1e-6)


def test_an_autoencoder_of_a_wide_code_starts_as_the_identity_on_other_rows_too():
    """Axes along which rows do not vary are not read."""
    x = np.c_[linear_rows(100), linear_rows(100)[:, :2]]  # ten columns in eight dimensions
    test = linear_rows(100, seed=1)
    test = np.c_[test, test[:, :2] + 0.01]
    for size in (10, 20):
        model = isthmus.Autoencoder(latent_dim=size, learning_rate=1e-12, epochs=1, random_state=0).fit(x)
        assert np.square(model.reconstruct(test) - test).sum(1).mean() < 1e-3


def data_for(likelihood: str, n: int, seed: int) -> np.ndarray:
    """Rows of a linear model on the scale of the likelihood's link."""
    random = np.random.default_rng(seed)
    x = linear_rows(n, rank=2, d=6, noise=0.3, seed=seed) / 2
    if likelihood == "bernoulli":
        return (random.random(x.shape) < 1 / (1 + np.exp(-2 * x))).astype(np.uint8)
    if likelihood == "poisson":
        return random.poisson(np.exp(1 + 0.7 * x)).astype(np.int64)
    if likelihood == "negative_binomial":
        return random.poisson(np.exp(1 + 0.7 * x) * random.gamma(4, 0.25, x.shape)).astype(np.int64)
    return x if likelihood != "student_t" else x + 0.2 * random.standard_t(3, x.shape)


SLOW = ("diagonal_normal", "student_t", "bernoulli", "poisson", "negative_binomial")
LIKELIHOODS = ("normal", "diagonal_normal", "student_t", "bernoulli", "poisson", "negative_binomial")


@pytest.mark.parametrize(
    "likelihood", [pytest.param(name, marks=pytest.mark.grid) if name in SLOW else name for name in LIKELIHOODS]
)
def test_a_default_fit_is_not_below_the_linear_model(likelihood):
    """Of the same size, on held-out rows, by more than two paired standard errors."""
    x, test = data_for(likelihood, 400, 0), data_for(likelihood, 300, 1)
    fields = {"latent_dim": 2, "likelihood": likelihood, "random_state": 0, "threads": 1}
    model = isthmus.VAE(**fields).fit(x)
    if likelihood == "normal":
        linear = isthmus.ProbabilisticPCA(latent_dim=2, scaling="standard").fit(x)
    else:
        linear = isthmus.VAE(hidden=(), **fields).fit(x)
    difference = model.score_samples(test, draws=300) - linear.score_samples(test, draws=300)
    assert difference.mean() >= -2 * difference.std() / np.sqrt(len(test))


def test_one_outlier_does_not_choose_the_prior():
    random = np.random.default_rng(0)
    groups = 3 * random.normal(size=(4, 3))[random.integers(0, 4, 400)] + 0.2 * random.normal(size=(400, 3))
    outlier = np.concatenate([groups, np.full((1, 3), 400.0)])
    for x in (groups, outlier):
        x = (x - x.mean(0)) / groups.std(0)
        assert "mixture" in auto_prior(x, fit_linear_model(x, None, 2, False), seed=0).name


@pytest.mark.parametrize(("n", "d", "decays"), [(120, 6, True), (500, 6, False)])
def test_hidden_weights_decay_where_rows_are_few(n, d, decays):
    x = linear_rows(n)[:, :d]
    assert x.shape[1] == d
    assert (isthmus.VAE(epochs=1, random_state=0).fit(x).settings_["chosen"]["weight_decay"] > 0) == decays
    assert isthmus.Autoencoder(epochs=1, random_state=0).fit(x).settings_["chosen"]["weight_decay"] == 0
    given = isthmus.VAE(epochs=1, random_state=0, weight_decay=0.2).fit(x)
    assert "weight_decay" not in given.settings_["chosen"]


def test_what_was_chosen_is_recorded_and_kept(tmp_path):
    model = isthmus.VAE(epochs=2, random_state=0).fit(linear_rows(100))
    chosen = model.settings_["chosen"]
    assert set(chosen) <= set(AUTO_FIELDS)
    assert chosen["latent_dim"] == model.fitted_.code_size
    assert chosen["initialization"] == "pca"
    assert model.latent_dim == "auto"
    model.save(tmp_path / "run")
    loaded = isthmus.load(tmp_path / "run")
    assert loaded.latent_dim == "auto"
    assert loaded.fitted_.fields["latent_dim"] == chosen["latent_dim"]
    np.testing.assert_array_equal(loaded.transform(linear_rows(5)), model.transform(linear_rows(5)))


def test_a_start_that_cannot_be_is_refused():
    with pytest.raises(isthmus.InputError, match="initialization must be 'random' or 'auto'"):
        isthmus.VAE(initialization="pca", likelihood="continuous_bernoulli").fit(
            np.random.default_rng(0).random((50, 4))
        )
    with pytest.raises(isthmus.InputError, match="initialization"):
        isthmus.VAE(initialization="ppca").fit(linear_rows(50))


def test_each_row_is_scored_by_models_of_other_rows():
    x = np.arange(22.0)[:, None]
    scores = held_out(x, 0, lambda train, test: np.c_[test, np.isin(test, train)])
    np.testing.assert_array_equal(scores, np.c_[x, np.zeros(22)])


def test_a_noise_for_each_column_is_counted_once():
    """Noise that is equal in the data's units is one for each scaled column, and gains what either way of it gains."""
    random = np.random.default_rng(1)
    x = linear_rows(600, noise=0.0) * np.linspace(0.3, 3, 8) + 0.5 * random.normal(size=(600, 8))
    scaled = x / x.std(0)
    each, one = (scores_by_size(scaled, 3, noise, 0) for noise in (True, False))
    in_units = held_out_curve(scaled, x.std(0), 0)[:, 3]
    assert is_clear(each - one)
    assert abs((each - in_units).mean()) < 0.3
    chosen = chosen_for(x)
    assert (chosen["latent_dim"], chosen.get("likelihood"), chosen["prior"]) == (3, "diagonal_normal", "normal")


def test_axes_that_rounding_decides_are_not_used():
    """Equal variance in all directions: which of them exceed their mean is rounding."""
    random = np.random.default_rng(0)
    x, _ = np.linalg.qr(random.normal(size=(300, 5)) - 0.0)
    x = np.linalg.qr(x - x.mean(0))[0] * 17.3
    linear = fit_linear_model(x, None, 3, False)
    assert not linear.used.any()
    assert auto_prior(x, linear, 0).name == "normal"
    components = code_mixture(x, linear, 3, 0, full=True)
    np.testing.assert_allclose(components.covariances, np.tile(np.eye(3), (3, 1, 1)))
    assert np.isfinite(isthmus.VAE(latent_dim=3, prior="full_mixture(3)", epochs=1, random_state=0).fit(x).score(x))


@pytest.mark.parametrize("prior", ["normal", "full_mixture(3)"])
def test_a_start_that_training_does_not_better_is_kept(prior):
    """Of every linear start, a mixture's too: such a learning rate only harms."""
    x = groups(400, 0)
    fields = {"latent_dim": 4, "prior": prior, "likelihood": "normal", "random_state": 0, "hidden": (8,)}
    model = isthmus.VAE(learning_rate=1.0, epochs=5, **fields).fit(x)
    start = isthmus.VAE(learning_rate=1e-12, epochs=1, **fields).fit(x)
    assert model.history_[-1]["kept_start"]
    np.testing.assert_allclose(model.score_samples(x, draws=50), start.score_samples(x, draws=50), rtol=1e-4)


def test_the_best_weights_may_be_those_of_the_start():
    x = linear_rows(200)
    model = isthmus.VAE(latent_dim=3, learning_rate=0.3, epochs=3, random_state=0).fit(x)
    start = isthmus.VAE(latent_dim=3, learning_rate=1e-12, epochs=1, random_state=0).fit(x)
    assert model.score(x) > start.score(x) - 0.05


def swiss_roll(n: int) -> np.ndarray:
    """A rolled-up sheet: its linear model in two dimensions is a plane, which training does not leave."""
    return make_swiss_roll(n, noise=0.05, random_state=0)[0]


TRAPPED = {"latent_dim": 2, "epochs": 50, "random_state": 0}


def test_a_start_that_is_a_trap_is_told():
    x = swiss_roll(400)
    with pytest.warns(UserWarning, match="below a mixture of 20 normals .* Leave latent_dim at 'auto'"):
        trapped = isthmus.VAE(**TRAPPED).fit(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        free = isthmus.VAE(epochs=50, random_state=0).fit(x)  # the remedy
    assert free.score(x) > trapped.score(x) + 1
    assert trapped.settings_["chosen"]["initialization"] == "pca"


def test_other_faults_are_no_trap():
    """Linear rows, too high a beta, few values in a column, linear networks: a mixture says nothing of these."""
    x = linear_rows(400)
    bits = np.c_[x[:, :4], x[:, :2] > 0].astype(float)
    cases = [(x, {}), (x, {"beta": 4.0}), (bits, {}), (swiss_roll(400), {"hidden": ()})]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "column 5 of X seems to be the label")
        for rows, fields in cases:
            isthmus.VAE(**{**TRAPPED, "latent_dim": 3, "epochs": 20, **fields}).fit(rows)


def test_a_warning_that_is_an_error_leaves_the_fitted_model():
    model = isthmus.VAE(**TRAPPED)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="below a mixture"):
            model.fit(swiss_roll(400))
    assert np.isfinite(model.score(swiss_roll(400)))


def test_the_lead_of_a_mixture_has_no_units_and_no_outliers():
    """Columns in other units, and one row far away, change it by no more than the fits differ."""
    x, leads = swiss_roll(400), []
    outlier = np.concatenate([x, 1e4 * x[:1]])
    for train, valid, units, scaling in (
        (x[:320], x[320:], 1.0, "standard"),
        (x[:320], x[320:], np.array([1e3, 1e-3, 1.0]), "standard"),
        (x[:320], x[320:], 0.01, "none"),
        (x[:320], outlier[320:], 1.0, "standard"),
    ):
        model = isthmus.VAE(**TRAPPED, scaling=scaling, hidden=(32,), likelihood="normal", prior="normal")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(train * units, validation=valid * units)
        rows = (isthmus.Examples(part * units).mark_checked(model.schema_) for part in (train, valid))
        leads.append(lead_of_mixture(model.fitted_, *rows))
    assert all(lead is not None and lead.shows_trap for lead in leads)
    np.testing.assert_allclose([lead.over_linear for lead in leads], leads[0].over_linear, atol=0.15)


def test_contexts_of_one_thread_may_overlap():
    """The limit holds until the last of them has ended, and what was before it is restored."""

    def threads() -> list[int]:
        return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]

    before, limit = threads(), OneBlasThread()
    limit.__enter__()
    limit.__enter__()
    limit.__exit__()
    assert set(threads()) <= {1}
    limit.__exit__()
    assert threads() == before


def test_the_check_of_a_start_decomposes_on_one_thread(monkeypatch):
    held = []

    def noting(*arguments, **options):
        held.append(one_blas_thread._depth > 0)
        return fit_mixture(*arguments, **options)

    monkeypatch.setattr("isthmus.estimators.start_check.fit_mixture", noting)
    isthmus.VAE(latent_dim=2, hidden=(16,), epochs=2, random_state=0).fit(linear_rows(400))
    assert held
    assert all(held)


@pytest.mark.parametrize("size", [8, 9, 16])
def test_dimensions_beyond_the_columns_do_not_change_the_density(size):
    x, noise = linear_rows(300), np.random.default_rng(0).normal(size=(300, 8))
    for rows in (x, noise):
        scores = [scores_by_size(rows, size, each, 0).mean() for each in (False, True)]
        expected = multivariate_normal(rows.mean(0), np.cov(rows.T)).logpdf(rows).mean()
        np.testing.assert_allclose(scores, expected, atol=0.3)
    assert "likelihood" not in chosen_for(noise, latent_dim=size)


def test_a_start_without_a_finite_loss_is_not_kept():
    trainer = object.__new__(Trainer)
    trainer.config, trainer.start, trainer.best = TrainConfig(1, 1, start_margin=0.0), {"a": 1}, {"a": 2}
    losses = {1: torch.tensor([math.inf, 1.0]), 2: torch.tensor([0.5, 2.0])}
    trainer.group_losses = lambda weights: losses[weights["a"]]
    assert trainer.worth_training()
    losses[1] = torch.tensor([0.4, 1.0])
    assert not trainer.worth_training()
    losses[1] = torch.tensor([0.6, 2.4])  # worse than the best by 0.25 ± 0.15: clearly, but not by two errors
    for margin, worth in ((0.0, True), (1.0, True), (2.0, False)):
        trainer.config = TrainConfig(1, 1, start_margin=margin)
        assert trainer.worth_training() == worth


def test_an_exact_start_is_left_only_for_what_is_clearly_better():
    x = linear_rows(200)
    for prior, margin in (("normal", 1.0), ("mixture(3)", 0.0)):
        job = setup_training(isthmus.VAE(latent_dim=3, prior=prior, random_state=0), x)
        assert job.start_linear() == margin


def test_networks_are_as_wide_as_there_are_rows():
    assert auto_hidden(150, 4) == (32, 32)
    assert auto_hidden(60_000, 784) == (512, 512)
