"""log p(x) by as many draws as its error needs: exact cases, its bound, its rows' independence, its errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import norm
from torch import nn

import isthmus
from isthmus.distributions.continuous import Normal
from isthmus.errors import InputError
from isthmus.latent_model import LatentModel
from isthmus.likelihoods import BITS, LIKELIHOODS, UNIT_INTERVAL
from isthmus.metrics import draws_by_error
from isthmus.metrics.draws_by_error import score_rows
from isthmus.metrics.importance_weighting import encode_chunks
from isthmus.metrics.refined_posterior import (
    WithEncoder,
    apply_step,
    can_refine,
    draws_of_step,
    evaluate_step,
    widening,
    with_covariances,
)
from isthmus.metrics.weight_sums import WeightSums, share_within, variation_of
from isthmus.priors import StandardNormal
from models import DENSE, LAYERED, OWN_PRIOR, bits, counts, small, table
from test_importance_weighting import (
    LOADING,
    MEANS,
    ClassDecoder,
    Classes,
    Filtered,
    UniformClassPrior,
    dataset,
    normal,
    with_wrong_posterior,
)

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
    runs = [score_rows(model, rows, tolerance=tolerance, seed=1000 * seed) for seed in range(20)]
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


def test_the_estimate_is_a_lower_bound_in_expectation_whatever_the_pilot_chose(monkeypatch):
    """The mean weight has expectation p(x), also where the pilot chooses K and the posterior is refined."""
    model, rows, _ = with_wrong_posterior(1.2, 1.5, 3)
    exact = exact_scores(3)
    refined: list[int] = []
    original = draws_by_error.refined
    monkeypatch.setattr(draws_by_error, "refined", lambda chunk, *args: refined.append(1) or original(chunk, *args))
    runs = [score_rows(model, rows, tolerance=0.7, max_draws=300, seed=1000 * seed) for seed in range(100)]
    assert refined
    assert len(np.unique([run.draws for run in runs])) > 2
    values = np.array([run.values for run in runs])
    means = np.exp(values - exact).mean(1)  # (100,) mean over rows, whose expectation is 1
    assert abs(means.mean() - 1) < 4 * means.std() / math.sqrt(100)
    assert values.mean() < exact.mean()


def test_a_step_finds_the_posterior_of_a_linear_model():
    """A regression of gradients is exact for a quadratic log p(x, z): one step, then widened as it says."""
    model, rows, _ = with_wrong_posterior(1.3, 0.5, 4)
    truth = isthmus.ProbabilisticPCA(latent_dim=4, random_state=0)
    random = np.random.default_rng(0)
    x = random.normal(size=(3000, 4)) @ random.normal(size=(4, 12)) + random.normal(size=(3000, 12))
    posterior = truth.fit(x).fitted_.posterior_of(x[:60])
    chunk = next(encode_chunks(model, rows, 60))
    assert can_refine(chunk).all()
    generator = torch.Generator().manual_seed(0)
    like = {"generator": generator, "dtype": chunk.q.loc.dtype}
    noise = torch.randn(draws_of_step(4) // 2, 1, 4, **like)
    q = with_covariances(chunk.q)
    found = evaluate_step(chunk, q, noise, 1000, seed=0)
    q = apply_step(q, found.direction, torch.ones_like(q.log_det))
    np.testing.assert_allclose(q.loc, posterior.mean, atol=1e-4)
    covariance = q.matrix @ q.matrix.mT
    deviation = (covariance / widening(4)).diagonal(dim1=1, dim2=2).sqrt()
    np.testing.assert_allclose(deviation, posterior.scale, rtol=1e-3)
    np.testing.assert_allclose(q.log_det[:, 0], torch.linalg.slogdet(q.matrix).logabsdet, rtol=1e-4)
    z, log_q, _ = q.draw(noise)
    density = torch.distributions.MultivariateNormal(q.loc, covariance).log_prob(z)
    np.testing.assert_allclose(log_q, density, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(q.log_prob(z), density, rtol=1e-3, atol=1e-3)
    mixture = WithEncoder(chunk.q, q)
    share = torch.rand(20_000, 1, 1, **like)
    z, log_q, _ = mixture.draw(torch.cat([torch.randn(20_000, 1, 4, **like), share], -1))
    # E[p / q] is 1 for any density p: here the encoder's own.
    np.testing.assert_allclose((chunk.q.log_prob(z) - log_q).exp().mean(0), 1, atol=0.1)


@pytest.mark.filterwarnings("ignore:ConditionalVAE was given no condition")
@pytest.mark.parametrize("name", [name for name in DENSE if name not in OWN_PRIOR])  # one code: its error is not known
def test_auto_agrees_with_ten_thousand_draws(name):
    x = table()
    # Layers that no row is explained by yet need more draws than there may be.
    model = small(name, epochs=150 if name in LAYERED else 4).fit(x)
    agree(model, x[:30])


def agree(model, x) -> None:
    """Nine rows in ten differ from 10,000 plain draws by no more than twice both errors, which are known."""
    plain, plain_error = model.score_samples(x, draws=10_000, return_error=True)
    assert np.isfinite(plain_error).mean() >= 0.9
    runs = [model.fitted_.score_rows(x, seed=1000 * seed) for seed in range(5)]
    # An error is what nine rows in ten are within. Rows of a run have their draws in common: twice is allowed.
    within = [abs(run.values - plain) <= 2 * np.hypot(run.error, plain_error) + 1e-3 for run in runs]
    assert np.mean(within) >= 0.9
    assert np.mean([run.error <= 0.2 for run in runs]) >= 0.9


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


class Folded(nn.Module):
    """A decoder of |z|: every row has two modes of z."""

    def forward(self, z, c=None, mask=None):
        loc = torch.cat([1.5 * z.abs(), z.abs() - 0.5], -1)
        return Normal(loc, math.log(0.3))


class Encoder(nn.Module):
    """The same normal for every row."""

    event_shape = (1,)

    def __init__(self, loc: float, scale: float):
        super().__init__()
        self.loc, self.log_scale = nn.Parameter(torch.tensor([loc])), math.log(scale)

    def forward(self, x, c=None, mask=None, train=False):
        return Normal(self.loc.expand(len(x), 1), torch.full((len(x), 1), self.log_scale))


def exact_by_quadrature(x: torch.Tensor) -> np.ndarray:
    """log p(x) of rows of the model of `Folded`."""
    z = torch.linspace(-8, 8, 20_001, dtype=torch.float64)[:, None]
    log_joint = Folded()(z[:, None]).log_prob(x.double()) - 0.5 * z.square() - 0.5 * math.log(2 * math.pi)
    return (log_joint.logsumexp(0) + math.log(16 / 20_000)).numpy()


@pytest.mark.parametrize("encoder", [(0.3, 0.7), (0.7, 0.7), (1.0, 1.0)])
def test_two_modes_are_both_found_where_the_encoder_reaches_them(encoder):
    random = np.random.default_rng(0)
    z = abs(random.normal(size=(60, 1)))
    x = np.concatenate([1.5 * z, z - 0.5], 1) + 0.3 * random.normal(size=(60, 2))
    model = LatentModel(Encoder(*encoder), Folded(), StandardNormal((1,))).double().eval()
    exact = exact_by_quadrature(torch.as_tensor(x))
    within = [abs(score_rows(model, dataset(x), seed=1000 * seed).values - exact) <= 0.1 for seed in range(5)]
    assert np.mean(within) >= 0.75  # what 1,250 plain draws of the worst of these encoders reach


class Foreign(nn.Module):
    """A decoder of one's own."""

    def __init__(self, kind: str):
        super().__init__()
        self.kind, self.net = kind, nn.Linear(3, 5)

    def forward(self, z):
        if self.kind == "rounds":
            z = z.round().detach()
        if self.kind == "leaves torch" and not self.training:
            z = torch.as_tensor(z.numpy())
        if self.kind == "draws" and not self.training:
            z = z + 0.01 * torch.randn_like(z)
        return self.net(z)


@pytest.mark.parametrize("kind", ["rounds", "leaves torch", "draws"])
def test_decoders_of_ones_own_that_have_no_gradient_or_draw(kind):
    x = table()
    torch.manual_seed(0)  # of the decoder's initial weights
    decoder = Foreign(kind)
    model = small("VAE", decoder=decoder, warmup=0).fit(x)
    with torch.no_grad():  # a poor encoder, which calls for refinement
        model.model_.posterior.net.layers[0].bias += 1.0
    state = torch.get_rng_state()
    scored = model.fitted_.score_rows(x[:20], max_draws=2000)
    plain = model.fitted_.score_rows(x[:20], 20_000)
    assert torch.equal(state, torch.get_rng_state())
    assert np.isfinite(scored.values).all()
    known = np.isfinite(scored.error + plain.error)
    assert (abs(scored.values - plain.values) <= 2 * (scored.error + plain.error) + 0.1)[known].mean() >= 0.8


def test_rows_that_need_more_are_named():
    x = table()
    model = small("VAE").fit(x)
    with pytest.warns(UserWarning, match=r"rows are not within 1e-09 nats of .* after 50 draws. Pass a larger"):
        scores, error = model.score_samples(x, tolerance=1e-9, max_draws=50, return_error=True)
    assert scores.shape == error.shape
    assert (error > 1e-9).mean() > 0.1


def test_few_draws_that_dominate_tell_no_error():
    model, rows, _ = with_wrong_posterior(1, 3, 6)
    exact = exact_scores(6)
    scored = score_rows(model, rows, 100)
    assert np.isinf(scored.error).mean() > 0.5
    known = np.isfinite(scored.error)
    assert abs(scored.values - exact)[known].mean() < abs(scored.values - exact)[~known].mean()


def test_a_diverged_model_is_scored_by_few_draws():
    x = table()
    model = small("VAE").fit(x)
    with torch.no_grad():
        next(model.model_.likelihood.parameters()).fill_(math.nan)
    scored = model.fitted_.score_rows(x)
    assert np.isnan(scored.values).all()
    assert (scored.draws == 16).all()
    assert np.isinf(scored.error).all()


def test_hard_rows_are_scored_in_inference_mode_too():
    random = np.random.default_rng(0)
    x = random.normal(size=(90, 4)) @ random.normal(size=(4, 12)) + random.normal(size=(90, 12))
    model = isthmus.ProbabilisticPCA(latent_dim=4).fit(x)
    with torch.no_grad():
        model.model_.posterior.net.layers[0].weight *= 1.5
    with torch.inference_mode():
        inside = model.score_samples(x)
    np.testing.assert_allclose(inside, model.score_samples(x), rtol=1e-6)


def test_rows_that_most_draws_make_impossible_ask_for_many():
    weights = torch.full((32, 1), -math.inf, dtype=torch.float64)
    weights[0] = 0.0
    assert variation_of(weights) > 5


def test_a_models_own_evidence_has_no_known_error():
    x = table()
    fitted = small("VAE").fit(x).fitted_
    plain, rows = fitted.model, fitted.dataset(x, bits="fixed")
    model = Filtered(plain.posterior, plain.likelihood, plain.prior, log_volume=plain.element_log_volume).eval()
    assert np.isinf(score_rows(model, rows).error).all()
    assert np.isinf(score_rows(model, rows, 50).error).all()


def test_draws_that_enumerate_values_count_once():
    model = LatentModel(Classes(), ClassDecoder(), UniformClassPrior())
    x = 2 * normal(40, 1)
    exact = logsumexp(norm.logpdf(x, MEANS, math.sqrt(1 + LOADING**2)), axis=1) - math.log(3)
    scored = score_rows(model, dataset(x), seed=5)
    assert (abs(scored.values - exact) <= 0.1).mean() >= 0.9


def test_memory_that_is_short_makes_smaller_blocks(monkeypatch):
    model, rows, _ = with_wrong_posterior(1, 1, 3)
    whole = score_rows(model, rows)
    at = type(model).at

    def short(self, batch, z, prior=None):
        if len(z) * z.shape[1] > 100:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return at(self, batch, z, prior)

    monkeypatch.setattr(type(model), "at", short)
    with pytest.warns(UserWarning, match="Memory is too short"):
        few = score_rows(model, rows)
    np.testing.assert_allclose(few.values, whole.values, rtol=1e-3)


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
    with pytest.raises(InputError, match="return_error must be False with per_feature=True, got True"):
        model.score_samples(x, per_feature=True, return_error=True)
    with pytest.raises(InputError, match="tolerance must be a number of nats > 0 and at most 1e6, got 0"):
        model.score_samples(x, tolerance=0)
    with pytest.raises(InputError, match="tolerance must be a number"):
        model.score_samples(x, tolerance=10**400)
    with pytest.raises(InputError, match="draws must be an integer >= 1 or 'auto', got 'Auto'"):
        model.score_samples(x, draws="Auto", per_feature=True)
    assert model.score_samples(x, draws=np.int64(5), per_feature=True).shape == x.shape
    with pytest.raises(InputError, match="max_draws must be an integer >= 1, got 0"):
        model.score_samples(x, max_draws=0)
    with pytest.raises(InputError, match="draws must be an integer >= 1 or 'auto', got 'many'"):
        model.score_samples(x, draws="many")


def test_progress_goes_from_0_to_1(monkeypatch):
    x = table()
    model = small("VAE").fit(x)
    monkeypatch.setattr(draws_by_error, "CHUNKS_A_BLOCK", 512)  # chunks of few rows
    shares: list[float] = []
    model.fitted_.score_rows(x, progress=shares.append)
    assert len(shares) > 3
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0, 1)


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
    new = q.replaced(torch.tensor([0, 1]), some)
    assert torch.equal(new.loc, torch.cat([q.loc[[3, 5]], q.loc[2:]]))
    odd = torch.arange(60) % 2 == 1
    mixed = q.where(odd, q.rows(torch.arange(59, -1, -1)))
    assert torch.equal(mixed.loc, torch.where(odd[:, None], q.loc.flip(0), q.loc))
    noise = torch.randn(7, 1, 3, dtype=q.loc.dtype)
    np.testing.assert_allclose(q.draw(noise).log_q, chunk.q.log_prob(chunk.q.draw(noise).z), rtol=1e-4, atol=1e-4)
