"""The prior of pseudo-inputs."""

import numpy as np
import pytest
import torch

import isthmus
from isthmus.distributions.continuous import Normal
from isthmus.estimators.parts_by_name import PRIORS, build
from isthmus.schema import Schema
from models import DATA, images, small, table

X = table()


@pytest.mark.parametrize("posterior", ["normal", "full_normal"])
def test_it_is_the_mixture_of_the_posteriors_of_its_pseudo_inputs(posterior):
    model = small("VAE", prior="vamp(4)", posterior=posterior, latent_dim=2, precision="float64").fit(X).model_
    p = model.prior(None, None, model.posterior)
    q = model.posterior(model.prior.pseudo_inputs, None, None)
    z = torch.randn(7, 2, dtype=torch.float64)
    weight = model.prior.logits.softmax(-1)
    expected = (q.log_prob(z[:, None]) + weight.log()).logsumexp(-1)
    torch.testing.assert_close(p.log_prob(z), expected)
    draws = p.sample((4000,))
    # Standard errors of 4,000 draws of spreads near 1 are 0.02.
    torch.testing.assert_close(draws.mean(0), (weight[:, None] * q.mean).sum(0), atol=0.08, rtol=0)


def test_under_a_condition_each_row_has_the_posteriors_under_its_own():
    c = np.arange(len(X)) % 3
    model = small("ConditionalVAE", prior="vamp(4)", latent_dim=2, precision="float64").fit(X, condition=c)
    latent = model.model_
    given = torch.eye(3, dtype=torch.float64)
    p = latent.prior(given, None, latent.posterior)
    z = torch.randn(3, 2, dtype=torch.float64)
    for row in range(3):
        q = latent.posterior(latent.prior.pseudo_inputs, given[row].expand(4, 3), None)
        expected = (q.log_prob(z[row]) + latent.prior.logits.log_softmax(-1)).logsumexp(-1)
        torch.testing.assert_close(p.log_prob(z)[row], expected)
    assert model.sample(6, condition=c[:6], random_state=0).shape == (6, X.shape[1])
    assert np.isfinite(model.score_samples(X, condition=c)).all()


def test_pseudo_inputs_start_at_rows_and_are_learned():
    fields = {"prior": "vamp(5)", "scaling": "none", "validation_fraction": 0, "batch_size": 90}
    still = small("VAE", epochs=1, learning_rate=1e-12, **fields).fit(X)
    start = still.model_.prior.pseudo_inputs.detach().numpy()
    assert all(np.isclose(X, row, atol=1e-5).all(1).any() for row in start)
    moved = small("VAE", epochs=20, learning_rate=1e-2, **fields).fit(X).model_.prior.pseudo_inputs
    assert not np.allclose(moved.detach().numpy(), start, atol=1e-3)


def test_more_pseudo_inputs_than_rows_are_rows_again():
    model = small("VAE", prior="vamp(200)", epochs=2).fit(X)
    assert model.model_.prior.pseudo_inputs.shape[0] == 200
    assert np.isfinite(model.score_samples(X)).all()


@pytest.mark.parametrize("kind", DATA)
def test_it_trains_saves_and_is_evaluated_on_every_kind_of_rows(kind, tmp_path):
    x = DATA[kind]()
    model = small("VAE", prior="vamp(3)", epochs=3).fit(x)
    model.save(tmp_path / "run")
    loaded = isthmus.load(tmp_path / "run")
    np.testing.assert_allclose(loaded.score_samples(x, draws=20), model.score_samples(x, draws=20))
    assert model.sample(4, random_state=0).shape == (4, *x.shape[1:])
    assert "log_likelihood" in isthmus.evaluate(model, x, draws=20).to_dict()
    assert isinstance(isthmus.diagnose(model, x), list)


def test_pseudo_inputs_of_bits_stay_bits_or_between():
    x = (images() > images().mean()).astype(np.uint8)
    model = small("VAE", prior="vamp(3)", latent_dim=2, epochs=5, learning_rate=0.1).fit(x).model_
    prior, read = model.prior, []

    def posterior(x, c, mask):
        read.append(x)
        return model.posterior(x, c, mask)

    prior(None, None, posterior).log_prob(torch.zeros(2)).backward()
    assert prior.pseudo_inputs.min() < 0 or prior.pseudo_inputs.max() > 1
    assert 0 <= read[0].min() <= read[0].max() <= 1
    # What is beyond a limit has a gradient that may bring it back.
    beyond = (prior.pseudo_inputs < 0) | (prior.pseudo_inputs > 1)
    assert prior.pseudo_inputs.grad[beyond].abs().max() > 0


class Short(torch.nn.Module):
    """A posterior of the user's own that takes x alone."""

    event_shape = (2,)

    def __init__(self):
        super().__init__()
        self.net = torch.nn.Linear(5, 4)

    def forward(self, x):
        loc, log_scale = self.net(x).chunk(2, -1)
        return Normal(loc, log_scale)


def test_a_posterior_of_the_users_own_goes_with_it():
    model = small("VAE", prior="vamp(3)", posterior=Short(), latent_dim=2, epochs=2).fit(X)
    assert np.isfinite(model.score_samples(X)).all()


def test_learned_pseudo_inputs_survive_a_continued_training(tmp_path):
    fields = {"prior": "vamp(5)", "validation_fraction": 0}
    model = small("VAE", epochs=20, learning_rate=1e-2, **fields).fit(X)
    learned = model.model_.prior.pseudo_inputs.detach().clone()
    model.set_params(warm_start=True, epochs=1, learning_rate=1e-9).fit(X)
    torch.testing.assert_close(model.model_.prior.pseudo_inputs.detach(), learned, atol=1e-4, rtol=0)


def test_categories_and_posteriors_of_other_kinds_are_refused():
    schema = Schema.homogeneous(event_shape=(3,), kind="category", dtype="int64", levels=4, likelihood="categorical")
    with pytest.raises(isthmus.InputError, match=r"prior must be 'mixture\(k\)' for columns of categories"):
        build(PRIORS, "vamp(3)", "prior", small("VAE"), schema)
    c = np.arange(len(X)) % 3
    with pytest.raises(isthmus.InputError, match="posterior must be 'normal'"):
        small("ConditionalVAE", prior="vamp(3)", posterior="full_normal").fit(X, condition=c)


def test_components_are_normals():
    model = small("VAE", prior="vamp(3)", latent_dim=2).fit(X).model_
    assert type(model.prior(None, None, model.posterior).components) is Normal
