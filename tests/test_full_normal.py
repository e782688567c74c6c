"""The posterior with all covariances."""

import numpy as np
import pytest
import torch

import isthmus
from isthmus.distributions.continuous import Normal
from isthmus.distributions.kl_divergence import kl_divergence
from isthmus.distributions.latent import CorrelatedNormal
from isthmus.families import FullNormal
from models import small, table


def correlated(rows: int = 4, d: int = 3) -> CorrelatedNormal:
    generator = torch.Generator().manual_seed(0)
    raw = torch.randn(rows, 2 * d + d * (d - 1) // 2, generator=generator, dtype=torch.float64)
    return FullNormal((d,)).double()(raw)


def reference(q: CorrelatedNormal) -> torch.distributions.MultivariateNormal:
    return torch.distributions.MultivariateNormal(q.loc, scale_tril=q.factor)


def test_density_draws_and_spread_are_those_of_torchs_normal():
    q = correlated()
    z = torch.randn(5, 4, 3, dtype=torch.float64)
    torch.testing.assert_close(q.log_prob(z), reference(q).log_prob(z))
    noise = torch.randn(6, 4, 3, dtype=torch.float64)
    drawn = q.draw(noise)
    torch.testing.assert_close(drawn.log_q, q.log_prob(drawn.z))
    torch.testing.assert_close(q.std, reference(q).stddev)
    # One row of noise serves all rows alike.
    torch.testing.assert_close(q.draw(noise[:, :1]).z, q.draw(noise[:, :1].expand(6, 4, 3)).z)


def test_kl_divergence_is_that_of_torch_and_its_parts_are_not_negative():
    q = correlated()
    p = Normal(torch.tensor([0.3, -1.0, 0.2], dtype=torch.float64), torch.tensor([0.1, -0.4, 0.9], dtype=torch.float64))
    parts = kl_divergence(q, p)
    expected = torch.distributions.kl_divergence(
        reference(q), torch.distributions.MultivariateNormal(p.loc, torch.diag(p.scale.square()))
    )
    torch.testing.assert_close(parts.sum(-1), expected)
    assert (parts >= 0).all()


def test_without_slopes_it_is_the_diagonal_normal():
    raw = torch.randn(4, 9, dtype=torch.float64)
    raw[:, 6:] = 0
    q, diagonal = FullNormal((3,)).double()(raw), Normal(raw[:, :3], raw[:, 3:6])
    z = torch.randn(5, 4, 3, dtype=torch.float64)
    torch.testing.assert_close(q.log_prob(z), diagonal.log_prob(z))
    p = Normal(z[0, 0], z[1, 0])
    torch.testing.assert_close(kl_divergence(q, p), kl_divergence(diagonal, p))


def test_rows_of_it_can_be_taken_and_its_parameters_held_fixed():
    q, index = correlated(), torch.tensor([2, 0])
    z = torch.randn(5, 4, 3, dtype=torch.float64)
    torch.testing.assert_close(q.rows(index).log_prob(z[:, index]), q.log_prob(z)[:, index])
    raw = torch.randn(4, 9, dtype=torch.float64, requires_grad=True)
    q = FullNormal((3,)).double()(raw)
    assert q.log_prob(z).requires_grad
    assert not q.stopped().log_prob(z).requires_grad


def factors(n: int = 600) -> np.ndarray:
    random = np.random.default_rng(0)
    loadings = np.array([[1.0, 1.0, 1.0, 0.0], [1.0, 1.0, 0.8, 0.3]])
    return (random.normal(size=(n, 2)) @ loadings + 0.4 * random.normal(size=(n, 4))).astype(np.float32)


def test_correlated_codes_have_a_tight_bound_that_a_diagonal_posterior_misses():
    """A prior whose axes are not the decoder's leaves codes correlated given x."""
    x, gaps = factors(), {}
    prior = torch.distributions.MultivariateNormal(torch.zeros(2), torch.tensor([[1.0, 0.9], [0.9, 1.0]]))
    for posterior in ("normal", "full_normal"):
        model = isthmus.VAE(
            latent_dim=2, hidden=(), posterior=posterior, prior=prior, likelihood="normal(1.0)", scaling="none",
            epochs=100, batch_size=50, learning_rate=1e-2, random_state=1,
        ).fit(x)  # fmt: skip
        gaps[posterior] = float(np.mean(model.score_samples(x, draws=500) - model.elbo(x, draws=500)))
    assert gaps["full_normal"] < 0.01 < 0.05 < gaps["normal"]


@pytest.mark.parametrize("prior", ["normal", "mixture(2)", "refit(2)"])
def test_a_model_with_it_trains_saves_scores_and_is_evaluated(prior, tmp_path):
    x = table()
    model = small("VAE", posterior="full_normal", prior=prior, latent_dim=3).fit(x)
    model.save(tmp_path / "run")
    loaded = isthmus.load(tmp_path / "run")
    np.testing.assert_array_equal(loaded.transform(x), model.transform(x))
    np.testing.assert_allclose(loaded.score_samples(x, draws=20), model.score_samples(x, draws=20))
    assert np.isfinite(model.score_samples(x)).all()
    assert model.sample(5, random_state=0).shape == (5, x.shape[1])
    assert "log_likelihood" in isthmus.evaluate(model, x, draws=20).to_dict()
    assert isinstance(isthmus.diagnose(model, x), list)


def test_training_with_a_linear_path_starts_at_the_linear_model():
    x = table(n=300)
    fields = {"latent_dim": 2, "hidden": (16,), "epochs": 1, "learning_rate": 1e-9}
    fields |= {"prior": "normal", "random_state": 0}
    diagonal, full = (isthmus.VAE(posterior=posterior, **fields).fit(x) for posterior in ("normal", "full_normal"))
    np.testing.assert_allclose(full.transform(x), diagonal.transform(x), atol=1e-5)
    assert full.score(x) == pytest.approx(diagonal.score(x), abs=0.05)
