"""Cases whose answer is known: the linear Gaussian model, a one-dimensional code, a support that can be summed."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits, load_iris, load_wine
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

import isthmus
from isthmus.batch import Batch
from isthmus.terms.bounds import iwae
from models import bits, rows_of, small, table


@pytest.mark.parametrize("scaling", ["global", "none"])
@pytest.mark.parametrize("k", [1, 3, 5, 8])
def test_probabilistic_pca_is_scikit_learns(k, scaling):
    x = table(200, 6)
    model = isthmus.ProbabilisticPCA(latent_dim=k, scaling=scaling, random_state=0).fit(x)
    if k < 6:
        exact = PCA(k, svd_solver="full").fit(x)
        # The posterior is exact, so that one draw already gives log p(x), to rounding: the eigenvalues span 1e9.
        np.testing.assert_allclose(model.score_samples(x, draws=1), exact.score_samples(x), rtol=1e-6)
        np.testing.assert_allclose(model.elbo(x, draws=1).mean(), exact.score(x), atol=3.0)
    assert np.isfinite(model.score(x))


def test_the_elbo_of_an_exact_posterior_is_log_p():
    x = table(200, 6)
    model = isthmus.ProbabilisticPCA(latent_dim=2, random_state=0).fit(x)
    # E[log p(x given z)] is estimated: with 4,000 draws shared by all rows its error is under 0.05 nats here.
    assert model.elbo(x, draws=4000).mean() == pytest.approx(model.score_samples(x, draws=1).mean(), abs=0.2)


@pytest.mark.parametrize("k", [2, 10])
def test_linear_autoencoder_is_pca(k):
    x = load_digits().data
    model = isthmus.Autoencoder(
        latent_dim=k,
        hidden=(),
        scaling="global",
        validation_fraction=0,
        epochs=150,
        batch_size=256,
        learning_rate=5e-3,
        random_state=0,
    ).fit(x)
    pca = PCA(k, svd_solver="full").fit(x)
    best = np.square(pca.inverse_transform(pca.transform(x)) - x).sum(1).mean()
    assert best * (1 - 1e-6) <= -model.score(x) < best * 1.01
    # The same subspace: principal angles between the decoder's columns and the principal axes.
    columns = np.linalg.qr(model.model_.likelihood.net.layers[0].weight.detach().numpy())[0]
    assert np.linalg.svd(columns.T @ pca.components_.T)[1].min() > 0.99


@pytest.mark.parametrize(
    ("name", "x", "k"),
    [
        pytest.param("iris", load_iris().data, 2, marks=pytest.mark.grid),
        ("wine", StandardScaler().fit_transform(load_wine().data), 2),
    ],
)
def test_linear_vae_is_probabilistic_pca(name, x, k):
    exact = PCA(k, svd_solver="full").fit(x)
    model = isthmus.VAE(
        latent_dim=k,
        hidden=(),
        likelihood="normal",
        prior="normal",
        scaling="global",
        initialization="random",
        validation_fraction=0,
        learning_rate=1e-2,
        batch_size=len(x),
        epochs=4000,
        random_state=0,
    ).fit(x)
    # Tolerances are those that the literature asks of a converged run (Lucas et al., 2019).
    assert model.elbo(x, draws=500).mean() == pytest.approx(exact.score(x), abs=0.5)
    assert model.score(x) == pytest.approx(exact.score(x), abs=0.5)
    variance = (float(model.model_.likelihood.family.log_scale().detach().exp()) * float(model.schema_.scale)) ** 2
    assert variance == pytest.approx(exact.noise_variance_, rel=0.02)


def by_quadrature(model, x: np.ndarray) -> np.ndarray:
    """(n,) log p(x) of a model with a one-dimensional code, by the trapezoid rule over its prior."""
    rows = rows_of(model, x, bits="fixed")
    batch = rows.batch(torch.arange(len(rows)))
    z = torch.linspace(-9, 9, 4001, dtype=rows.dtype)[:, None, None].expand(-1, len(rows), 1)
    with torch.no_grad():
        log_joint = model.model_.decode(z).log_prob(batch.x) - model.model_.log_volume
        log_joint = log_joint + model.model_.prior().log_prob(z)
    return (log_joint.logsumexp(0) + np.log(18 / 4000)).numpy()


@pytest.mark.parametrize("likelihood", ["normal", "diagonal_normal", "laplace", "student_t"])
def test_log_p_of_a_one_dimensional_code_by_quadrature(likelihood):
    x = table(60, 3)
    model = small("VAE", latent_dim=1, likelihood=likelihood, precision="float64", epochs=30).fit(x)
    # 20,000 importance-weighted draws from a trained posterior: the error of the mean is a few thousandths.
    assert model.score_samples(x, draws=20_000).mean() == pytest.approx(by_quadrature(model, x).mean(), abs=0.02)


def test_densities_are_in_the_datas_units_whatever_the_scaling():
    x = StandardScaler().fit_transform(table(80, 3)) * [0.5, 1, 2]
    for scaling in ("standard", "global", "none"):
        model = small("VAE", latent_dim=1, scaling=scaling, precision="float64", epochs=60, learning_rate=1e-2).fit(x)
        scores = model.score_samples(x, draws=5000)
        np.testing.assert_allclose(scores.mean(), by_quadrature(model, x).mean(), atol=0.05)
        # A change of units by c takes log c a feature from a density.
        again = small("VAE", latent_dim=1, scaling=scaling, precision="float64", epochs=60, learning_rate=1e-2)
        if scaling != "none":
            scaled = again.fit(x * 1000).score_samples(x * 1000, draws=5000)
            np.testing.assert_allclose(scores - scaled, 3 * np.log(1000), atol=1e-6)


def test_probabilities_of_all_outcomes_sum_to_one():
    model = small("VAE", latent_dim=1, epochs=30, precision="float64").fit(bits(90, 4).astype(bool))
    outcomes = np.array(list(itertools.product([0, 1], repeat=4)), dtype=np.uint8)
    assert np.exp(by_quadrature(model, outcomes)).sum() == pytest.approx(1.0, abs=1e-6)
    # Importance weighting is unbiased for p(x); the draws' noise is shared, its error about 1e-3 here.
    assert np.exp(model.score_samples(outcomes, draws=20_000)).sum() == pytest.approx(1.0, abs=0.01)


def test_a_training_loss_is_the_negative_elbo():
    x = table(80, 3)
    model = small("VAE", latent_dim=1, warmup=0, validation_fraction=0, epochs=3, batch_size=80, precision="float64")
    model.set_params(learning_rate=1e-12).fit(x)  # weights as good as fixed: every epoch estimates the same bound
    losses = np.array([record["loss"] for record in model.history_])
    exact = -model.elbo(x, draws=5000).mean()
    assert np.abs(losses - exact).max() < 1.0
    record = model.history_[0]
    assert record["loss"] == pytest.approx(record["nll"] + record["kl"])


def test_beta_does_not_reach_the_evidence():
    x = table(80, 3)
    model = small("BetaVAE", latent_dim=1, beta=1.0).fit(x)
    bound = model.elbo(x)
    model.beta = 50.0
    np.testing.assert_array_equal(model.elbo(x), bound)


# ------------------------------------------------------------------ mistakes that others have shipped


def test_the_log_likelihood_of_bits_has_the_sign_of_one():
    """Minus log p(x) under the name of log p(x), or the reverse, would be above zero, and rise as rows get stranger."""
    usual, strange = (np.random.default_rng(0).random((90, 8)) < 0.1).astype(np.uint8), np.ones((90, 8), np.uint8)
    model = small("VAE", epochs=60).fit(usual)
    assert (model.score_samples(usual, draws=50) < 0).all()
    assert model.score(usual) > model.score_samples(strange, draws=200).mean()
    assert model.score(usual) == pytest.approx(model.score_samples(usual).mean())


@pytest.mark.parametrize("draws", [1, 5, 50])
def test_the_importance_weighted_loss_is_the_bound_itself(draws):
    """Not a surrogate whose gradient is right and whose value is not: minus the loss is log (1/K) sum of weights."""
    model = small("VAE", epochs=3, precision="float64").fit(table())
    rows, latent = rows_of(model, table()), model.model_
    batch = rows.batch(torch.arange(len(rows)))
    run = latent(batch, draws)
    weights = (run.log_px + run.log_pz - run.log_qz).detach().numpy()  # (K, B)
    bound = np.logaddexp.reduce(weights) - math.log(draws)
    np.testing.assert_allclose(-iwae(draws).fn(latent, batch, run).detach(), bound, rtol=1e-12)


@pytest.mark.parametrize("prior", ["mixture(3)", "refit(3)"])
def test_samples_come_from_the_prior_that_was_trained(prior):
    """Not from a standard normal whatever the model's prior is."""
    model = small("VAE", prior=prior, latent_dim=2, epochs=20, beta=0.05, initialization="random").fit(table())
    distribution = model.model_.prior_for(Batch(torch.empty(1, 0)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        codes = distribution.sample((400,))
    known = model.inverse_transform(codes.numpy())
    drawn = model.sample(400, mean=True, random_state=7)
    np.testing.assert_allclose(drawn, known, rtol=1e-4, atol=1e-4)
    normal = model.inverse_transform(np.random.default_rng(0).normal(size=(400, 2)))
    # The trained prior is not the standard normal: what is decoded from that varies otherwise.
    assert abs(np.log(known.std(0) / normal.std(0))).max() > 0.1


def test_a_refitted_prior_raises_the_evidence_where_codes_left_the_normal():
    plain, refit = (small("VAE", prior=prior, beta=0.02, epochs=60).fit(table(300)) for prior in ("normal", "refit(5)"))
    held = table(300)[::2]
    np.testing.assert_allclose(plain.transform(held), refit.transform(held), rtol=1e-5)  # training is the same
    assert refit.score(held) > plain.score(held)
