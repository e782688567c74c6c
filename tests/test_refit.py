"""A density fitted to the codes after training, by which a plain autoencoder samples (Ghosh et al., 2020)."""

import numpy as np
import pytest
import torch

import isthmus
from isthmus.distributions.independent import point_of
from isthmus.nets import flow
from isthmus.priors import PostHocPrior
from isthmus.terms import penalties
from models import small, table

X = table(n=300)


@pytest.fixture(autouse=True)
def _few_updates(monkeypatch):
    monkeypatch.setattr(flow, "STEPS", 300)


@pytest.mark.parametrize("prior", ["refit(3)", "refit(full_mixture(2))", "refit(flow(2))"])
@pytest.mark.parametrize("name", ["Autoencoder", "DenoisingAutoencoder", "ContractiveAutoencoder"])
def test_an_autoencoder_samples_where_its_codes_are(name, prior, tmp_path):
    model = small(name, prior=prior, latent_dim=2, epochs=20, corruption="gaussian(0.1)").fit(X)
    assert model.capabilities.samples
    assert model.capabilities.scores == "none"
    assert model.sample(7, random_state=0).shape == (7, X.shape[1])
    means = model.sample(4000, mean=True, random_state=0)
    reconstructed = model.inverse_transform(model.transform(X))
    # Decoded draws have the mean and the spread of decoded codes, in units of that spread; errors of 300 rows are 0.06.
    spread = reconstructed.std(0)
    np.testing.assert_allclose(means.mean(0) / spread, reconstructed.mean(0) / spread, atol=0.25)
    np.testing.assert_allclose(means.std(0) / spread, 1.0, atol=0.25)
    model.save(tmp_path / "run")
    again = isthmus.load(tmp_path / "run").sample(5, random_state=1)
    np.testing.assert_array_equal(again, model.sample(5, random_state=1))


def test_it_is_evaluated_and_diagnosed_without_a_density():
    model = small("Autoencoder", prior="refit(3)", latent_dim=2, epochs=5).fit(X)
    measured = isthmus.evaluate(model, X).to_dict()
    assert "log_likelihood" not in measured
    assert "kl" not in measured
    assert isinstance(isthmus.diagnose(model, X), list)
    with pytest.raises(AttributeError, match="has no density"):
        model.score_samples(X)


def test_without_it_an_autoencoder_does_not_sample_and_other_priors_are_refused():
    assert not small("Autoencoder").fit(X).capabilities.samples
    with pytest.raises(isthmus.InputError, match=r"prior must be 'refit\(k\)', or 'normal' for none"):
        small("Autoencoder", prior="mixture(3)").fit(X)


@pytest.mark.parametrize("prior", ["refit(flow(2))", "refit('flow(2)')"])
def test_a_flow_fitted_to_the_codes_of_a_variational_model_raises_the_evidence(prior):
    plain, later = (small("VAE", prior=p, beta=0.02, epochs=30, latent_dim=2).fit(X) for p in ("normal", prior))
    held = table(n=100, seed=1)
    assert later.score(held) > plain.score(held)


def test_a_fitted_flow_has_the_density_of_its_rows():
    # Two clusters a thousand times narrower than they are far from zero: the entropy of the rows is known.
    random = np.random.default_rng(0)
    side = random.choice([-1.0, 1.0], 4000)
    rows = torch.as_tensor(np.stack([1000 + side + 0.2 * random.normal(size=4000), random.normal(size=4000)], 1))
    prior = PostHocPrior(2, maps=2).double()
    prior.fit_to(rows[:3000], 0)
    p = prior()
    exact = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(torch.ones(2, dtype=torch.double)),
        torch.distributions.Normal(torch.tensor([999.0, 1001.0], dtype=torch.double), 0.2),
    )
    best = exact.log_prob(rows[3000:, 0]) + torch.distributions.Normal(0.0, 1.0).log_prob(rows[3000:, 1])
    normal = -0.5 * torch.log(rows.var(0)).sum() - np.log(2 * np.pi) - 1
    lost = (best - p.log_prob(rows[3000:])).mean()
    assert 0 <= lost < 0.2 * (best.mean() - normal)  # of 1,000 rows: 0.03 nats of error
    z = p.rsample((500,))
    assert 0.4 < (z[:, 0] > 1000).double().mean() < 0.6
    again = PostHocPrior(2, maps=2).double()
    again.load_state_dict(prior.state_dict())
    assert torch.equal(again().log_prob(rows), p.log_prob(rows))
    assert not any(parameter.requires_grad for parameter in prior.parameters())
    before = p.log_prob(rows)
    prior.fit_to(rows[:3000], 0)
    assert torch.equal(prior().log_prob(rows), before)  # whatever it was fitted to before


@pytest.mark.parametrize("spec", ["refit(flow(0))", "refit(vae)", "refit(flow(3), 2)", "refit('')", "mixture(flow(3))"])
def test_other_densities_are_refused(spec):
    with pytest.raises(isthmus.InputError, match="got"):
        small("VAE", prior=spec).fit(X)


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("full", [False, True])
def test_a_mixture_of_one_is_the_normal_of_the_codes_in_any_unit(full, unit):
    codes = unit * torch.as_tensor(
        np.random.default_rng(0).normal(size=(2000, 3)) @ np.array([[1, 2, 0], [0, 1, 1], [0, 0, 2]])
    )
    prior = PostHocPrior(3, 1, full=full).double()
    prior.fit_to(codes, 0)
    covariance = codes.T.cov(correction=0) if full else codes.var(0, correction=0).diag()
    exact = torch.distributions.MultivariateNormal(codes.mean(0), covariance).log_prob(codes)
    # 1e-4 of the mean variance is added to each.
    np.testing.assert_allclose(prior().log_prob(codes).mean(), exact.mean(), atol=1e-3)
    np.testing.assert_allclose(prior.learned()["scale"][0], covariance.diagonal().sqrt(), rtol=1e-3)


def test_short_codes_and_small_decoder_gradients_are_measured_exactly():
    model = small("Autoencoder", hidden=(), latent_dim=2, epochs=1).fit(X)
    net, rows = model.fitted_.model, model.fitted_.dataset(X).batch(torch.arange(len(X)))
    out = net(rows)
    torch.testing.assert_close(penalties.code_l2.fn(net, rows, out), 0.5 * out.q.centre.square().sum(-1))
    origin, units = torch.zeros(1, 2), torch.eye(2)
    decode = lambda z: point_of(net.decode(z))  # noqa: E731
    exact = (decode(units) - decode(origin)).square().sum()  # a linear decoder: its weights
    values = torch.stack([penalties.decoder_gradient.fn(net, rows, out).mean() for _ in range(200)])
    error = values.std() / len(values) ** 0.5
    assert abs(values.mean() - exact) < 4 * error
    assert error < 0.02 * exact


def test_a_regularized_autoencoder_has_shorter_codes_and_a_flatter_decoder():
    def sizes(penalty: str) -> tuple[float, float]:
        fields = {"prior": "refit(full_mixture(2))", "latent_dim": 2, "epochs": 40}
        model = small("Autoencoder", penalty=penalty, **fields).fit(X)
        assert np.isfinite(model.sample(10, random_state=0)).all()
        net, rows = model.fitted_.model, model.fitted_.dataset(X).batch(torch.arange(len(X)))
        out = net(rows)
        return tuple(float(term.fn(net, rows, out).mean()) for term in (penalties.code_l2, penalties.decoder_gradient))

    plain, short, both = sizes("none"), sizes("l2(1)"), sizes("l2(0.001, 1)")
    assert short[0] < 0.9 * plain[0]
    assert both[1] < 0.9 * plain[1]
