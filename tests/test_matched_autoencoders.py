"""Autoencoders whose codes are distributed as the prior, from which they sample."""

import numpy as np
import pytest
from scipy import stats

import isthmus
from models import small, table

X = table(n=400)
RANDOM = np.random.default_rng(0)
SKEW = np.exp(RANDOM.normal(size=(400, 2))) @ RANDOM.normal(size=(2, 5)) + 0.1 * RANDOM.normal(size=(400, 5))
PENALTIES = ("mmd(100)", "adversarial(10)")


@pytest.mark.parametrize("penalty", PENALTIES)
def test_codes_are_distributed_as_the_prior(penalty, tmp_path):
    fields = {"latent_dim": 2, "hidden": (32,), "epochs": 150, "batch_size": 100, "learning_rate": 3e-3}
    model, plain = small("Autoencoder", penalty=penalty, **fields).fit(SKEW), small("Autoencoder", **fields).fit(SKEW)
    distance, of_plain = (
        max(stats.kstest(code, "norm").statistic for code in each.transform(SKEW).T) for each in (model, plain)
    )
    assert distance < 0.08  # of 400 draws from the prior 0.043 on average
    assert distance < of_plain
    assert model.capabilities.samples
    assert not plain.capabilities.samples
    # Decoded draws have the quartiles of decoded codes; errors of 400 rows are some 0.06 of their distance.
    drawn, decoded = model.sample(4000, mean=True, random_state=0), model.reconstruct(SKEW)
    low, high = np.quantile(decoded, [0.25, 0.75], axis=0)
    for share, quantile in ((0.25, low), (0.75, high)):
        np.testing.assert_allclose((np.quantile(drawn, share, axis=0) - quantile) / (high - low), 0, atol=0.25)
    model.save(tmp_path / "run")
    again = isthmus.load(tmp_path / "run")
    np.testing.assert_array_equal(again.sample(5, random_state=1), model.sample(5, random_state=1))


@pytest.mark.parametrize("penalty", PENALTIES)
def test_they_are_evaluated_and_diagnosed_without_a_density(penalty):
    model = small("Autoencoder", penalty=penalty, latent_dim=2, epochs=5).fit(X)
    measured = isthmus.evaluate(model, X).to_dict()
    assert "log_likelihood" not in measured
    assert isinstance(isthmus.diagnose(model, X), list)
    with pytest.raises(AttributeError, match="has no density"):
        model.score_samples(X)


def test_a_game_is_not_ended_by_a_loss_that_leaves_it_out():
    fields = {"latent_dim": 2, "epochs": 40, "patience": 20}
    model = small("AdversarialAutoencoder", **fields).fit(X)
    assert len(model.history_) == 40


def test_other_priors_are_refused_and_a_refitted_one_is_matched_first():
    with pytest.raises(isthmus.InputError, match=r"prior must be 'refit\(k\)', or 'normal', for Wasserstein"):
        small("WassersteinAutoencoder", prior="mixture(3)").fit(X)
    model = small("WassersteinAutoencoder", prior="refit(3)", latent_dim=2).fit(X)
    assert model.sample(4).shape == (4, X.shape[1])


def test_a_penalty_of_one_posterior_each_is_refused_of_points():
    with pytest.raises(isthmus.InputError, match="posterior must be 'normal' or 'full_normal' for penalty='total_corr"):
        small("Autoencoder", penalty="total_correlation(1)").fit(X)
