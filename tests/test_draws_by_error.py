"""log p(x) by as many draws as its error needs: exact cases, its bound, its rows' independence, its errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

import isthmus
from isthmus.errors import InputError
from isthmus.likelihoods import BITS, LIKELIHOODS, UNIT_INTERVAL
from isthmus.metrics import draws_by_error
from isthmus.metrics.draws_by_error import WeightSums, score_rows, share_within, variation_of
from isthmus.metrics.importance_weighting import encode_chunks
from isthmus.metrics.refined_posterior import can_refine, draws_of_step, refine, widening, with_covariances
from models import DENSE, bits, counts, small, table
from test_importance_weighting import with_wrong_posterior

PRIORS = ("normal", "mixture(3)", "full_mixture(3)", "refit(3)")


def exact_scores(latent_dim: int) -> np.ndarray:
    """log p(x) of the rows of `with_wrong_posterior`, by the same numbers."""
    random = np.random.default_rng(0)
    x = random.normal(size=(3000, latent_dim)) @ random.normal(size=(latent_dim, 12)) + random.normal(size=(3000, 12))
    return isthmus.ProbabilisticPCA(latent_dim=latent_dim, random_state=0).fit(x).score_samples(x[:60])


@pytest.mark.parametrize(("scale", "shift", "latent_dim"), [(1.3, 0, 2), (1, 1, 4), (0.7, 0, 3), (1, 3, 6)])
@pytest.mark.parametrize("tolerance", [0.1, 0.5])
def test_nine_rows_in_ten_are_within_the_tolerance(scale, shift, latent_dim, tolerance):
    model, rows, _ = with_wrong_posterior(scale, shift, latent_dim)
    exact = exact_scores(latent_dim)
    runs = [score_rows(model, rows, tolerance=tolerance, seed=seed) for seed in range(20)]
    # Rows have their draws in common; with a shift of 0 all of a seed are within or none. So the share has a standard
    # error of sqrt(0.9 * 0.1 / 20) = 0.07 at most, of which 1.5 are allowed.
    assert np.mean([abs(run.values - exact) <= tolerance for run in runs]) >= 0.8
    assert np.median([run.draws for run in runs]) <= 256


def test_plain_draws_of_a_poor_encoder_need_hundreds_of_times_as_many():
    model, rows, _ = with_wrong_posterior(1, 3, 6)
    exact = exact_scores(6)
    plain, auto = score_rows(model, rows, 10_000), score_rows(model, rows)
    assert abs(auto.values - exact).mean() < 0.1 < abs(plain.values - exact).mean()
    assert auto.draws.mean() < 500


def test_the_estimate_is_a_lower_bound_in_expectation_whatever_the_pilot_chose():
    """The mean weight has expectation p(x): also where few draws are allowed and the pilot errs."""
    model, rows, _ = with_wrong_posterior(1, 1, 3)
    exact = exact_scores(3)
    runs = np.array([score_rows(model, rows, tolerance=2.0, max_draws=16, seed=seed).values for seed in range(200)])
    means = np.exp(runs - exact).mean(1)  # (200,) mean over rows, whose expectation is 1
    assert abs(means.mean() - 1) < 4 * means.std() / math.sqrt(200)
    assert runs.mean() < exact.mean()


def test_a_step_finds_the_posterior_of_a_linear_model():
    """A regression of gradients is exact for a quadratic log p(x, z): one step, then widened as it says."""
    model, rows, _ = with_wrong_posterior(1.3, 0.5, 4)
    truth = isthmus.ProbabilisticPCA(latent_dim=4, random_state=0)
    random = np.random.default_rng(0)
    x = random.normal(size=(3000, 4)) @ random.normal(size=(4, 12)) + random.normal(size=(3000, 12))
    posterior = truth.fit(x).fitted_.posterior_of(x[:60])
    chunk = next(encode_chunks(model, rows, 60))
    assert can_refine(chunk)
    noise = torch.randn(
        draws_of_step(4) // 2, 1, 4, generator=torch.Generator().manual_seed(0), dtype=chunk.q.loc.dtype
    )
    after = refine(chunk, noise, 1000)
    np.testing.assert_allclose(after.q.loc, posterior.mean, atol=1e-4)
    covariance = after.q.matrix @ after.q.matrix.mT / widening(4)
    np.testing.assert_allclose(covariance.diagonal(dim1=1, dim2=2).sqrt(), posterior.scale, rtol=1e-3)
    np.testing.assert_allclose(after.q.log_det[:, 0], torch.linalg.slogdet(after.q.matrix).logabsdet, rtol=1e-4)
    drawn = after.q.draw(noise)
    density = torch.distributions.MultivariateNormal(after.q.loc, after.q.matrix @ after.q.matrix.mT).log_prob(drawn.z)
    np.testing.assert_allclose(drawn.log_q, density, rtol=1e-3, atol=1e-3)


@pytest.mark.filterwarnings("ignore:ConditionalVAE was given no condition")
@pytest.mark.parametrize("name", DENSE)
def test_auto_agrees_with_ten_thousand_draws(name):
    x = table()
    model = small(name).fit(x)
    agree(model, x[:30])


def agree(model, x) -> None:
    """Rows differ from 10,000 plain draws by no more than both errors, nine in ten; those are lower where off."""
    plain, plain_error = model.score_samples(x, draws=10_000, return_error=True)
    auto, error = model.score_samples(x, return_error=True)
    # An error is what nine rows in ten are within; the 30 rows have their draws in common, so twice as much is allowed.
    assert (abs(auto - plain) <= 2 * np.hypot(error, plain_error) + 1e-3).mean() >= 0.9
    assert (error <= 0.2).mean() >= 0.9


@pytest.mark.filterwarnings("ignore::UserWarning")  # of values that a likelihood reads otherwise
@pytest.mark.parametrize("likelihood", [name for name in LIKELIHOODS if name not in ("mse", "bce")])
def test_auto_agrees_for_every_likelihood(likelihood):
    support = LIKELIHOODS[likelihood].support
    x = counts() if support.integers else bits() if support == BITS else table()
    if support == UNIT_INTERVAL:
        x = (x - x.min(0)) / np.ptp(x, axis=0)
    agree(small("VAE", likelihood=likelihood).fit(x), x[:30])


@pytest.mark.parametrize("prior", PRIORS)
def test_auto_agrees_for_every_prior(prior):
    x = table()
    agree(small("VAE", prior=prior).fit(x), x[:30])


def test_a_rows_score_does_not_depend_on_the_other_rows():
    random = np.random.default_rng(0)
    x = random.normal(size=(90, 4)) @ random.normal(size=(4, 12)) + random.normal(size=(90, 12))
    model = isthmus.ProbabilisticPCA(latent_dim=4).fit(x)
    with torch.no_grad():  # a poor encoder, so that rows differ in what they need
        model.model_.posterior.net.layers[0].weight *= 1.5
    together = model.fitted_.score_rows(x)
    assert len(set(together.draws)) > 2
    for row in (0, 17, 89):
        alone = model.fitted_.score_rows(x[row : row + 1])
        assert alone.draws[0] == together.draws[row]
        assert alone.values[0] == pytest.approx(together.values[row], rel=1e-4, abs=1e-3)


class Rounded(nn.Module):
    """A decoder without gradients in z."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(3, 5)

    def forward(self, z):
        return self.net(z.round().detach())


def test_a_decoder_without_gradients_keeps_the_encoders_posterior():
    x = table()
    model = small("VAE", decoder=Rounded(), warmup=0).fit(x)
    with torch.no_grad():
        model.model_.posterior.net.layers[0].bias += 1.0
    scored = model.fitted_.score_rows(x[:20], max_draws=2000)
    plain = model.fitted_.score_rows(x[:20], 2000)
    assert np.isfinite(scored.values).all()
    assert np.median(abs(scored.values - plain.values) - scored.error - plain.error) < 0


def test_rows_that_need_more_are_named():
    model, rows, _ = with_wrong_posterior(1, 3, 6)
    with pytest.warns(UserWarning, match=r"rows are not within tolerance=0.001 nats of .* Pass a larger"):
        scored = score_rows(model, rows, tolerance=0.001, max_draws=50)
    assert (scored.draws == 50).all()
    assert (scored.error > 0.001).all()


def test_errors_and_numbers_of_draws_are_told():
    x = table()
    model = small("VAE").fit(x)
    values, error = model.score_samples(x, return_error=True)
    assert values.shape == error.shape == (90,)
    np.testing.assert_array_equal(values, model.score_samples(x))
    assert np.isinf(model.score_samples(x, draws=1, return_error=True)[1]).all()
    fixed = model.fitted_.score_rows(x, 100)
    assert (fixed.draws == 100).all()
    exact = isthmus.ProbabilisticPCA(latent_dim=2).fit(x).score_samples(x, return_error=True)[1]
    np.testing.assert_allclose(exact, 0, atol=1e-4)
    with pytest.raises(InputError, match="tolerance must be a number of nats > 0, got 0"):
        model.score_samples(x, tolerance=0)
    with pytest.raises(InputError, match="max_draws must be an integer >= 1, got 0"):
        model.score_samples(x, max_draws=0)
    with pytest.raises(InputError, match="draws must be an integer >= 1 or 'auto', got 'many'"):
        model.score_samples(x, draws="many")


def test_progress_goes_from_0_to_1(monkeypatch):
    x = table()
    model = small("VAE").fit(x)
    monkeypatch.setattr(draws_by_error, "MIN_DRAWS", 512)  # chunks of few rows
    shares: list[float] = []
    model.fitted_.score_rows(x, progress=shares.append)
    assert len(shares) > 3
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_the_variation_of_weights():
    weights = torch.tensor([[1.0, 2.0], [1.0, 4.0], [1.0, 6.0]], dtype=torch.float64)
    np.testing.assert_allclose(WeightSums.of(weights.log()).variation, [0, 4 / 16], atol=1e-12)  # variance 4, mean 4
    log_normal = torch.randn(100_000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert variation_of(log_normal).item() == pytest.approx(math.e - 1, rel=0.1)
    shifted = variation_of(log_normal - 1e4)
    np.testing.assert_allclose(shifted, variation_of(log_normal), rtol=1e-6)
    assert share_within(0.1) == pytest.approx((0.1 / 1.645) ** 2, rel=0.1)


def test_a_joint_normal_of_some_rows():
    chunk = next(encode_chunks(*with_wrong_posterior(1, 0, 3)[:2], 60))
    q = with_covariances(chunk.q)
    some = q.rows(torch.tensor([3, 5]))
    back = q.replaced(torch.tensor([3, 5]), some)
    assert torch.equal(back.matrix, q.matrix)
    noise = torch.randn(7, 1, 3, dtype=q.loc.dtype)
    np.testing.assert_allclose(q.draw(noise).log_q, chunk.q.log_prob(chunk.q.draw(noise).z), rtol=1e-4, atol=1e-4)
