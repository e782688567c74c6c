"""Importance-weighted log p(x) and the ELBO: values, standard errors, independence of rows and blocks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm
from sklearn.datasets import load_digits
from torch import nn

import isthmus
from isthmus.code_free_model import CodeFreeModel
from isthmus.conditional import Conditional
from isthmus.distributions.continuous import Normal
from isthmus.distributions.independent import Drawn, LightDistribution
from isthmus.distributions.latent import Delta, Mixture
from isthmus.errors import Declined, InputError
from isthmus.estimators.base import Estimator, Recipe
from isthmus.evaluation.log_likelihood import KHAT_GOOD, MAX_GAP_NATS
from isthmus.families import DiagonalNormal, LocationScale, Point
from isthmus.latent_model import LatentModel
from isthmus.metrics import importance_weighting
from isthmus.metrics.ais import ais
from isthmus.metrics.elbo_surgery import elbo_surgery
from isthmus.metrics.estimate import mean_and_error
from isthmus.metrics.importance_diagnostics import importance_diagnostics
from isthmus.metrics.importance_weighting import encode_chunks, importance_weighted
from isthmus.metrics.inference_gap import inference_gap
from isthmus.nets.mlp import MLP
from isthmus.priors import StandardNormal
from isthmus.schema import Schema
from isthmus.terms.bounds import nll
from isthmus.train.device_data import DeviceDataset
from models import DENSE, rows_of, small, table

SEEDS = range(30)


@pytest.fixture(scope="module")
def trained():
    """A small model whose posterior is not exact, and rows it was not fitted to."""
    x = load_digits().images.astype("uint8")
    model = isthmus.VAE(latent_dim=4, hidden=(32,), levels=17, epochs=15, threads=1, random_state=0).fit(x[:1500])
    return model.model_, rows_of(model, x[1500:], bits="fixed")


def encoded(model, rows):
    """The model and its encoded rows."""
    return model, list(encode_chunks(model, rows))


@pytest.mark.parametrize(("estimate", "draws"), [("importance_weighted", 40), ("importance_weighted", 7), ("elbo", 40)])
def test_the_shared_error_is_the_spread_over_seeds(trained, estimate, draws):
    runs = [getattr(importance_weighting, estimate)(*encoded(*trained), draws, seed) for seed in SEEDS]
    spread = np.std([run.values.mean() for run in runs], ddof=1)
    reported = math.sqrt(np.mean([run.shared_error**2 for run in runs]))
    assert spread / 2 < reported < spread * 2
    over_rows = mean_and_error(runs[0].values)[1]
    assert mean_and_error(runs[0].values, runs[0].error)[1] == pytest.approx(math.hypot(over_rows, runs[0].error))
    assert runs[0].error > runs[0].shared_error


def with_wrong_posterior(scale: float, shift: float, latent_dim: int) -> tuple[LatentModel, DeviceDataset, float]:
    """A linear Gaussian model whose q is off, some rows, and the exact mean of their log p(x).

    q has `scale` times the deviations of the posterior, and its mean is off by normal errors of `shift` deviations.
    """
    random = np.random.default_rng(0)
    x = random.normal(size=(3000, latent_dim)) @ random.normal(size=(latent_dim, 12)) + random.normal(size=(3000, 12))
    model = isthmus.ProbabilisticPCA(latent_dim=latent_dim, random_state=0).fit(x)
    exact = model.score_samples(x[:60]).mean()
    encoder = model.model_.posterior.net.layers[0]
    with torch.no_grad():
        encoder.bias[latent_dim:] += math.log(scale)
        deviation = encoder.bias[latent_dim:].exp()
        # Standardised rows are nearly orthogonal in their noise, so that errors of rows are independent.
        error = torch.as_tensor(random.normal(size=(latent_dim, 12)) / math.sqrt(12))
        encoder.weight[:latent_dim] += shift / scale * deviation[:, None] * error / (x / model.schema_.scale).std()
    return model.model_, rows_of(model, x[:60]), exact


@pytest.mark.parametrize("draws", [10, 1000])
@pytest.mark.parametrize(("scale", "shift", "latent_dim"), [(1.3, 0, 2), (1.2, 0.5, 4), (1.2, 0.5, 8)])
def test_intervals_hold_the_exact_value_whatever_the_draws(scale, shift, latent_dim, draws):
    model, rows, exact = with_wrong_posterior(scale, shift, latent_dim)
    chunks = list(encode_chunks(model, rows))
    runs = [importance_weighted(model, chunks, draws, seed) for seed in range(100 if draws == 10 else 40)]
    covered = np.mean([abs(run.values.mean() - exact) <= 1.96 * run.error for run in runs])
    # 95 %, which 100 (40) seeds determine to 2.2 (3.4) hundredths; three of these below. The rows are always the same,
    # so that only the draws and the bound are at stake.
    assert covered >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / len(runs))
    gap = exact - np.mean([run.values.mean() for run in runs])
    assert gap > -3 * np.std([run.values.mean() for run in runs]) / math.sqrt(len(runs))  # a lower bound


@pytest.mark.parametrize("draws", [10, 1000])
def test_a_bound_that_is_far_from_the_exact_value_is_known_to_be(draws):
    model, rows, exact = with_wrong_posterior(1, 1, 10)  # weights of infinite variance
    chunks = list(encode_chunks(model, rows))
    runs = [importance_weighted(model, chunks, draws, seed) for seed in range(40)]
    errors = [exact - run.values.mean() for run in runs]
    assert np.mean([error <= 1.96 * run.shared_error for run, error in zip(runs, errors)]) < 0.5  # without the gap
    # Text calls it a bound from a gap of 0.1 nats on, and if the weights of most rows have infinite variance.
    assert np.mean([run.bound_gap > MAX_GAP_NATS for run in runs]) >= (1 if draws == 10 else 0.8)
    khat = importance_diagnostics(model, chunks, draws).khat
    assert draws == 10 or np.median(khat) > KHAT_GOOD
    assert np.mean([run.bound_gap for run in runs]) == pytest.approx(np.mean(errors), rel=0.7)


def test_the_shared_error_does_not_depend_on_the_number_of_rows(trained):
    model, rows = trained
    x = load_digits().images.astype("uint8")[1500:]
    once = importance_weighted(*encoded(model, rows), 20)
    rows.x = rows.x.repeat(4, 1, 1)
    repeated = importance_weighted(*encoded(model, rows), 20)
    rows.x = rows.x[: len(x)]
    assert repeated.shared_error == pytest.approx(once.shared_error, rel=1e-4)


def test_an_exact_posterior_has_no_shared_error():
    x = table()
    model = isthmus.ProbabilisticPCA(latent_dim=2).fit(x)
    result = importance_weighted(*encoded(model.model_, rows_of(model, x)), 30)
    assert result.shared_error < 1e-9
    assert result.values == pytest.approx(model.score_samples(x, draws=1), abs=1e-8)
    assert (
        importance_weighting.elbo(*encoded(model.model_, rows_of(model, x)), 30).shared_error > 1e-3
    )  # its draws still differ


def test_one_draw_has_an_infinite_shared_error(trained):
    for estimate in (importance_weighted, importance_weighting.elbo):
        assert estimate(*encoded(*trained), 1).shared_error == math.inf
        assert np.isfinite(estimate(*encoded(*trained), 1).values).all()
        with pytest.raises(InputError, match="draws must be an integer >= 1, got 0"):
            estimate(*encoded(*trained), 0)


@pytest.mark.filterwarnings("ignore:ConditionalVAE was given no condition")
@pytest.mark.parametrize("name", DENSE)
@pytest.mark.parametrize("draws", [1, 5, 33])
def test_a_rows_score_does_not_depend_on_the_other_rows(name, draws):
    x = table()
    model = small(name).fit(x)
    all_rows, one_row = rows_of(model, x), rows_of(model, x[17:18])
    for estimate in (importance_weighted, importance_weighting.elbo):
        together = estimate(*encoded(model.model_, all_rows), draws).values
        assert together.shape == (len(x),)
        assert together[17:18] == pytest.approx(
            estimate(*encoded(model.model_, one_row), draws).values, rel=1e-4, abs=1e-3
        )


def test_grouping_draws_does_not_change_the_estimate(trained, monkeypatch):
    estimates, rows = (importance_weighted, importance_weighting.elbo), encoded(*trained)
    grouped = [estimate(*rows, 23).values for estimate in estimates]
    monkeypatch.setattr(importance_weighting, "JACKKNIFE_GROUPS", 1)
    whole = [estimate(*rows, 23).values for estimate in estimates]
    assert np.allclose(grouped, whole, atol=1e-3)


# --------------------------------------------------- posteriors and models of other kinds


def dataset(x):
    return DeviceDataset(
        x, Schema.homogeneous(x.shape[1:], "real", "f8"), device=torch.device("cpu"), dtype=torch.float64
    )


def normal(n, d, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


class Warped(LightDistribution):
    """z = u + 0.3 sin(u) of a normal u, whose density is known along its own draws only."""

    evaluable = False
    differentiable = False

    def __init__(self, loc):
        super().__init__(loc.shape[:1], loc.shape[1:])
        self.loc = loc

    @property
    def centre(self):
        return self.loc

    def noise(self, draws, rows):
        return torch.randn(draws, rows, *self.event_shape, dtype=self.loc.dtype)

    def draw(self, noise):
        u = self.loc + noise
        log_q = -0.5 * noise.square() - 0.5 * math.log(2 * math.pi) - torch.log1p(0.3 * u.cos())
        return Drawn(u + 0.3 * u.sin(), log_q.sum(-1))

    def log_prob(self, z):
        raise NotImplementedError


class WarpedPosterior(nn.Module):
    event_shape = (1,)

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(3, 1)

    def forward(self, x, c=None, mask=None):
        return Warped(0.1 * self.net(x))


@pytest.fixture
def warped():
    """A model with such a posterior, and rows."""
    torch.manual_seed(0)
    likelihood = Conditional(MLP((1,), (8,), 3), LocationScale(Normal, (3,), 1.0))
    return LatentModel(WarpedPosterior(), likelihood, StandardNormal(1)).double(), dataset(normal(50, 3))


def test_a_posterior_known_only_along_its_draws_is_scored_right(warped):
    model, rows = warped
    grid = torch.linspace(-9, 9, 2001, dtype=torch.float64)
    with torch.no_grad():
        out = model.at(rows.batch(torch.arange(50)), grid[:, None, None].expand(-1, 50, 1))
        exact = ((out.log_px + out.log_pz).logsumexp(0) + math.log(grid[1] - grid[0])).numpy()
    chunks = list(encode_chunks(model, rows, 20))
    result = importance_weighted(model, chunks, 4000)
    # Weights of a proposal about as wide as the prior have a variance of about 1: each row's error is 1 / sqrt(4000).
    np.testing.assert_allclose(result.values, exact, atol=0.08)
    assert abs((result.values - exact).mean()) < 4 * result.shared_error + 1e-3
    stats = importance_diagnostics(model, chunks, 4000)
    np.testing.assert_allclose(stats.log_px.values, result.values)
    assert (stats.elbo < exact).all()
    np.testing.assert_allclose(importance_weighting.elbo(model, chunks, 4000).values, stats.elbo)
    annealed = ais(model, rows, steps=60, chains=16, leapfrog=3)
    assert (np.abs(annealed.values - exact) < 5 * annealed.error).all()


def test_measures_that_need_other_densities_decline(warped):
    model, rows = warped
    with pytest.raises(Declined, match="known only along its own draws"):
        elbo_surgery(encode_chunks(model, rows))
    with pytest.raises(Declined, match="Pass start='prior'"):
        ais(model, rows, steps=3, start="posterior")
    with pytest.raises(Declined, match="diagonal normals only"):
        inference_gap(model, encode_chunks(model, rows), steps=3)
    unscored = small("Autoencoder").fit(table())
    with pytest.raises(Declined, match="no density over x"):
        importance_weighted(*encoded(unscored.model_, rows_of(unscored, table())), 3)


class PseudoInputPrior(nn.Module):
    """An equal mixture of the posteriors of 500 rows (Tomczak & Welling, 2018); counts how often it is built."""

    def __init__(self, rows):
        super().__init__()
        self.rows, self.built = rows, 0

    def forward(self, c=None, mask=None, posterior=None):
        self.built += 1
        return Mixture(torch.full((500,), -math.log(500), dtype=torch.float64), posterior(self.rows))


def test_a_prior_is_built_and_rows_are_encoded_once_a_chunk():
    torch.manual_seed(0)
    encoder, decoder = MLP((3,), (8,), 4), MLP((2,), (8,), 3)
    prior = PseudoInputPrior(torch.as_tensor(normal(500, 3, 1)))
    posterior = Conditional(encoder, DiagonalNormal((2,)))
    model = LatentModel(posterior, Conditional(decoder, LocationScale(Normal, (3,), 1.0)), prior).double()
    calls = []
    encoder.register_forward_hook(lambda *_: calls.append(1))
    chunks = list(encode_chunks(model, dataset(normal(300, 3))))
    assert (prior.built, len(chunks), len(calls)) == (3, 3, 6)
    stats = importance_diagnostics(model, chunks, 100)
    np.testing.assert_allclose(importance_weighted(model, chunks, 100).values, stats.log_px.values)
    importance_weighting.elbo(model, chunks, 20)
    parts = elbo_surgery(chunks)
    assert (prior.built, len(calls)) == (3, 6)  # nothing is encoded twice
    assert parts.rows == 300
    # The two parts are one mean KL, from one draw a row and from 100.
    assert parts.mutual_information + parts.aggregate_kl == pytest.approx(stats.kl.sum(1).mean(), abs=0.15)


class Enumerated(LightDistribution):
    """Every one of three classes y for each draw of a normal e; the code is (y, e)."""

    def __init__(self, logits):
        super().__init__(logits.shape[:1], torch.Size((2,)))
        self.log_share = logits.log_softmax(-1)  # (B, 3)

    def noise(self, draws, rows):
        return torch.randn(draws, rows, dtype=self.log_share.dtype)

    def draw(self, noise):
        e = noise.expand(-1, len(self.log_share))  # (k, B)
        log_q = torch.as_tensor(norm.logpdf(e.numpy()))
        y = torch.arange(3.0, dtype=e.dtype)[None, :, None].expand(len(e), 3, e.shape[1])
        z = torch.stack([y, e[:, None].expand_as(y)], -1).flatten(0, 1)  # (3k, B, 2)
        log_share = self.log_share.T[None].expand(len(e), -1, -1)  # (k, 3, B)
        return Drawn(z, (log_share + log_q[:, None]).flatten(0, 1), (log_share - math.log(len(e))).flatten(0, 1))


class Classes(nn.Module):
    """Enumerates the classes by logits that are linear in x."""

    event_shape = (2,)

    def forward(self, x, c=None, mask=None):
        return Enumerated(x * torch.tensor([-0.5, 0.1, 0.7], dtype=x.dtype))


class UniformClass(LightDistribution):
    """Equally likely classes, and a standard normal."""

    def __init__(self):
        super().__init__(torch.Size(), torch.Size((2,)))

    def log_prob(self, z):
        return -math.log(3) + torch.as_tensor(norm.logpdf(z[..., 1].numpy()))


class UniformClassPrior(nn.Module):
    def forward(self, c=None, mask=None, posterior=None):
        return UniformClass()


MEANS, LOADING = np.array([-2.0, 0.0, 3.0]), 0.6


class ClassDecoder(nn.Module):
    """x has mean MEANS[y] + LOADING e and scale 1."""

    def forward(self, z, c=None, mask=None):
        loc = torch.as_tensor(MEANS)[z[..., 0].long()] + LOADING * z[..., 1]
        return Normal(loc[..., None], 0.0)


def test_enumerated_values_are_summed_for_each_draw(monkeypatch):
    monkeypatch.setattr(importance_weighting, "MAX_DECODED_ROWS", 300)  # several blocks
    model = LatentModel(Classes(), ClassDecoder(), UniformClassPrior())
    x = 2 * normal(40, 1)
    chunks = list(encode_chunks(model, dataset(x), 30))
    scale = math.sqrt(1 + LOADING**2)
    exact = logsumexp(norm.logpdf(x, MEANS, scale), axis=1) - math.log(3)
    stats = importance_diagnostics(model, chunks, 4000)
    np.testing.assert_allclose(stats.log_px.values, exact, atol=0.05)  # each row is known to some 0.6 / sqrt(4000)
    assert (stats.ess <= 4000).all()
    assert stats.draws == 4000
    result = importance_weighted(model, chunks, 4000)
    np.testing.assert_allclose(result.values, stats.log_px.values)
    assert abs((result.values - exact).mean()) < 4 * result.shared_error
    logits = x * np.array([-0.5, 0.1, 0.7])
    log_q = logits - logsumexp(logits, axis=1, keepdims=True)
    expected_log_px = norm.logpdf(x, MEANS) - 0.5 * LOADING**2  # E_e log N(x; mean + LOADING e, 1)
    bound = (np.exp(log_q) * (expected_log_px - log_q - math.log(3))).sum(1)
    np.testing.assert_allclose(stats.elbo, bound, atol=0.15)  # the mean of e over 4,000 draws is known to 0.016
    np.testing.assert_allclose(importance_weighting.elbo(model, chunks, 4000).values, stats.elbo)


class NormalModel(CodeFreeModel):
    """Independent standard normals, without a code; counts the rows that it has scored."""

    scored = 0

    def log_prob(self, batch):
        self.scored += len(batch.x)
        return Normal(torch.zeros_like(batch.x), 0.0).log_prob(batch.target)


def test_an_exact_model_is_scored_once():
    x = normal(200, 3)
    model, exact = NormalModel(), norm.logpdf(x).sum(1)
    chunks = list(encode_chunks(model, dataset(x)))
    for estimate in (importance_weighted, importance_weighting.elbo):
        model.scored = 0
        result = estimate(model, chunks, 1000)
        np.testing.assert_allclose(result.values, exact)
        assert result.shared_error == 0
        assert model.scored == 200
    stats = importance_diagnostics(model, chunks, 1000)
    np.testing.assert_allclose(stats.elbo, exact)
    assert np.isnan(stats.khat).all()
    assert (stats.draws, stats.last_doubling_gain, stats.log_px.shared_error, stats.kl.shape) == (1, 0, 0, (200, 0))
    with pytest.raises(Declined, match="this model has none"):
        elbo_surgery(chunks)


class Chain(CodeFreeModel):
    """x_1 normal, every further column normal around the one before it: an autoregressive model of floats."""

    def __init__(self, log_volume):
        super().__init__(log_volume=log_volume)
        self.slope, self.log_scale = nn.Parameter(torch.tensor(0.6)), nn.Parameter(torch.tensor(-0.2))

    def log_prob(self, batch):
        x = batch.target
        before = nn.functional.pad(self.slope * x[:, :-1], (1, 0))
        return Normal(before, self.log_scale).log_prob(x)


class Chained(Estimator):
    """A chain."""

    def compose(self, schema):
        return Recipe(Chain(schema.element_log_volume), nll)


def test_a_model_without_a_code_is_scored_in_the_datas_units():
    x = np.cumsum(np.random.default_rng(0).normal(size=(200, 4)), 1) * [1.0, 10.0, 0.01, 300.0] + 5
    model = Chained(epochs=3, threads=1, random_state=0, precision="float64").fit(x)
    chain = model.model_
    a, s = chain.slope.item(), chain.log_scale.exp().item()
    lower = np.array([[a ** (i - j) if i >= j else 0.0 for j in range(4)] for i in range(4)])
    to_data = model.fitted_.schema.to_data
    centre, one = to_data(torch.zeros(1, 4))[0], to_data(torch.ones(1, 4))[0]
    spread = np.diag(one - centre)
    np.testing.assert_allclose(one - centre, x.std(0), rtol=0.2)  # of the training rows only
    covariance = spread @ (s * s * lower @ lower.T) @ spread
    exact = multivariate_normal(centre, covariance).logpdf(x[:9])
    np.testing.assert_allclose(model.score_samples(x[:9]), exact, rtol=1e-6)


def test_padding_and_gaps_are_refused_by_a_model_that_would_read_them():
    x = np.random.default_rng(0).normal(size=(40, 4))
    seen = np.ones(x.shape, bool)
    model = Chained(epochs=1, threads=1).fit(x, observed=seen)  # nothing is missing
    seen[3, 2] = False
    for ask in (lambda: Chained(epochs=1).fit(x, observed=seen), lambda: model.score_samples(x, observed=seen)):
        with pytest.raises(InputError, match=r"observed must be True everywhere for Chain.*, got 1 False"):
            ask()
    complete = Chained(epochs=1, threads=1)
    with pytest.raises(InputError, match="observed must be True everywhere"):  # of the rows that choose the weights
        complete.fit(x, validation={"X": x, "observed": seen})
    with pytest.raises(InputError, match="observed must be True everywhere"):
        isthmus.fit(model.model_, x, nll, epochs=1, validation={"X": x, "observed": seen})
    with pytest.raises(InputError, match="lengths must all be 3 for"):
        Chained(epochs=1).fit(x.reshape(20, 4, 2)[:, :3], lengths=np.arange(20) % 3 + 1)


class TorchPrior(nn.Module):
    """A prior that is a distribution of PyTorch."""

    def __init__(self):
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(3))

    def forward(self, c=None, mask=None, posterior=None):
        return torch.distributions.Independent(torch.distributions.Normal(self.loc, 1.0), 1)


def test_a_prior_may_be_a_distribution_of_pytorch():
    x = table()
    model = small("VAE", prior=TorchPrior()).fit(x[:60])
    evaluation = isthmus.evaluate(model, x[60:], train=x[:60], draws=20, without=("samples", "classifier", "copies"))
    assert math.isfinite(evaluation["log_likelihood"].value)
    assert math.isfinite(evaluation["aggregate_kl"].value)


class Posterior(nn.Module):
    """q(z given x) made by a function of a network's output."""

    event_shape = (3,)

    def __init__(self, make):
        super().__init__()
        self.net, self.make = MLP((5,), (8,), 3), make

    def forward(self, x, c=None, mask=None):
        return self.make(self.net(x))


@pytest.mark.parametrize(
    ("posterior", "says"),
    [
        (lambda: Posterior(Delta), "must give a density over codes, got Delta, a point"),
        (lambda: Conditional(MLP((5,), (8,), 3), Point((3,))), "must give a density over codes, got a point"),
        (lambda: Posterior(lambda loc: torch.distributions.Normal(loc, 1.0)), "must give a LightDistribution"),
    ],
)
def test_a_posterior_that_cannot_be_trained_is_refused(posterior, says):
    with pytest.raises(InputError, match=f"posterior {says}"):
        small("VAE", posterior=posterior()).fit(table())


class Filtered(LatentModel):
    """A VAE that estimates p(x) itself: the mean over its draws, as `log_importance` has it."""

    def _joint(self, batch, z, prior, **kwargs):
        out = super()._joint(batch, z, prior, **kwargs)
        if out.q is not None:
            out.log_evidence = out.log_importance.logsumexp(0)
        return out


def test_a_models_own_evidence_is_scored_and_leaves_the_bound_alone():
    x = table()
    model = small("VAE", precision="float64").fit(x)
    plain, rows = model.fitted_.model, rows_of(model, x)
    own = Filtered(plain.posterior, plain.likelihood, plain.prior, log_volume=plain.element_log_volume).eval()
    results = [importance_diagnostics(one, list(encode_chunks(one, rows)), 40) for one in (plain, own)]
    for name in ("elbo", "distortion", "kl"):
        np.testing.assert_allclose(*(getattr(result, name) for result in results), rtol=1e-9)
    np.testing.assert_allclose(*(result.log_px.values for result in results), rtol=1e-9)
