"""Divergences of the aggregate of codes: exact cases, and that training on them does what they are for."""

import math

import numpy as np
import pytest
import torch

import isthmus
from isthmus.batch import Batch
from isthmus.distributions.continuous import Normal
from isthmus.distributions.latent import CorrelatedNormal
from isthmus.estimators.parts_by_name import PENALTIES
from isthmus.forward_pass import Pass
from isthmus.random_streams import Stream, drawing_from
from isthmus.terms import divergences
from models import small, table

X = table()
CALLS = ("total_correlation(2)", "factor(2)", "dip(2, 3)", "dip_of_draws(2)", "mmd(2)")


def posteriors(rows: int, d: int = 2, seed: int = 0) -> Normal:
    generator = torch.Generator().manual_seed(seed)
    loc, log_scale = torch.randn(2, rows, d, generator=generator, dtype=torch.float64).unbind()
    return Normal(loc, 0.3 * log_scale - 1)


def passed(q, draws: int = 1, prior=None) -> tuple[None, Batch, Pass]:
    """The arguments of a term's function for codes drawn from q."""
    rows = q.batch_shape[0]
    with drawing_from(Stream(1)):
        z = q.draw(q.noise(draws, rows)).z
    return None, Batch(torch.zeros(rows, 1, dtype=torch.float64)), Pass(z, q, None, prior)


def aggregate(q: Normal) -> torch.distributions.Distribution:
    """The mixture of all rows' posteriors."""
    weights = torch.distributions.Categorical(logits=torch.zeros(q.batch_shape[0], dtype=torch.float64))
    each = torch.distributions.Independent(torch.distributions.Normal(q.loc, q.scale), 1)
    return torch.distributions.MixtureSameFamily(weights, each)


def test_total_correlation_of_a_batch_of_all_rows_is_exact():
    q = posteriors(6)
    arguments = passed(q)
    values = divergences.TotalCorrelation()(*arguments)
    z = arguments[2].z[0]
    expected = aggregate(q).log_prob(z)
    for each in (0, 1):
        expected = expected - aggregate(Normal(q.loc[:, [each]], q.log_scale[:, [each]])).log_prob(z[:, [each]])
    torch.testing.assert_close(values, expected)


def test_of_batches_of_some_rows_the_density_of_the_aggregate_is_unbiased():
    """Over all batches of two of five rows, the mean estimate of q(z_i) is q(z_i), z_i being held fixed."""
    q, n = posteriors(5), 5
    z = passed(q)[2].z[0]
    found = []
    for j in range(1, n):
        rows = torch.tensor([0, j])
        weight = torch.tensor([1 / n, (n - 1) / n], dtype=torch.float64)
        found.append((weight * q.rows(rows).log_prob(z[0]).exp()).sum())
    assert torch.stack(found).mean().item() == pytest.approx(aggregate(q).log_prob(z[:1]).exp().item())
    term, ours = divergences.TotalCorrelation(), q.rows(torch.tensor([0, 1]))
    term.rows = n
    arguments = passed(ours)
    weight = torch.tensor([[1 / n, (n - 1) / n], [(n - 1) / n, 1 / n]], dtype=torch.float64)
    each = ours.element_log_prob(arguments[2].z[0][:, None]).exp()  # (2, 2, D)
    density, apart = (weight * each.prod(-1)).sum(1), (weight[..., None] * each).sum(1).prod(-1)
    torch.testing.assert_close(term(*arguments), (density / apart).log())


def test_total_correlation_of_correlated_normals_is_known():
    """One posterior for all rows: its mean is -log(1 - r²) / 2 for elements of correlation r = 0.8, 0.511 nats."""
    factor = torch.tensor([[1.0, 0.0], [0.8, 0.6]], dtype=torch.float64)
    q = CorrelatedNormal(torch.zeros(1000, 2, dtype=torch.float64), factor.expand(1000, 2, 2))
    value = divergences.TotalCorrelation()(*passed(q)).mean().item()
    # The log-ratio of one draw has a spread of 0.8 nats: 0.025 in the mean over 1,000.
    assert value == pytest.approx(-0.5 * math.log(1 - 0.64), abs=0.1)


def test_dip_is_zero_where_codes_have_the_covariance_of_the_prior():
    z = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64)
    narrow = torch.full_like(z, -30.0)
    assert divergences.dip(False, 10.0).fn(*passed(Normal(z, narrow))).item() == pytest.approx(0.0)
    half = Normal(z * math.sqrt(0.5), torch.full_like(z, 0.5 * math.log(0.5)))
    assert divergences.dip(True, 10.0).fn(*passed(half)).item() == pytest.approx(0.0, abs=1e-12)
    # Of means alone the variances are 0.5: 10 (0.5 - 1)² each.
    assert divergences.dip(False, 10.0).fn(*passed(half)).item() == pytest.approx(5.0)


def test_mmd_is_unbiased_at_zero_and_sees_shifts():
    """Between samples of one distribution its mean is 0; the kernel is known at two points."""
    generator = torch.Generator().manual_seed(0)
    same = torch.stack([divergences.mmd_squared(*torch.randn(2, 50, 3, generator=generator)) for _ in range(300)])
    assert abs(same.mean()) < 4 * same.std() / math.sqrt(len(same))
    a, b = torch.randn(2, 200, 3, generator=generator)
    assert divergences.mmd_squared(a, b + 1) > 10 * same.std()
    points = torch.tensor([[0.0], [1.0]])
    kernel = np.mean([2 * s / (2 * s + 1) for s in divergences.MMD_SCALES])
    # within each pair k(0, 1), between them 1 twice and k(0, 1) twice
    assert divergences.mmd_squared(points, points).item() == pytest.approx(2 * kernel - (1 + kernel), rel=1e-5)


def test_the_critic_finds_dependence_that_shuffling_removes():
    """The logit of a trained critic estimates the total correlation: 0.51 nats for a correlation of 0.8."""
    random = np.random.default_rng(0)
    term, model = divergences.factor(2), None
    optimizer = torch.optim.Adam(term.critic.parameters(), 2e-3)
    with drawing_from(Stream(0)):
        for _ in range(400):
            z = torch.as_tensor(random.multivariate_normal([0, 0], [[1, 0.8], [0.8, 1]], 256), dtype=torch.float32)
            out = Pass(z[None])
            optimizer.zero_grad()
            term.aside(model, Batch(z), out).backward()
            optimizer.step()
        z = torch.as_tensor(random.multivariate_normal([0, 0], [[1, 0.8], [0.8, 1]], 20_000), dtype=torch.float32)
        value = term.fn(model, Batch(z), Pass(z[None])).mean().item()
    assert value == pytest.approx(0.51, abs=0.15)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("posterior", ["normal", "full_normal"])
def test_every_penalty_trains_with_every_posterior_and_bound(call, posterior):
    for bound in ("elbo", "dreg(2)"):
        model = small("VAE", penalty=call, posterior=posterior, bound=bound, latent_dim=3, epochs=3).fit(X)
        assert math.isfinite(model.history_[-1]["loss"])
        assert np.isfinite(model.score_samples(X)).all()


def test_every_penalty_is_tried():
    assert {call.partition("(")[0] for call in CALLS} == set(PENALTIES)


@pytest.mark.parametrize(
    ("penalty", "message"),
    [
        ("total_correlation(-1)", "w of a penalty must be a number >= 0"),
        ("dip(1, -1)", "d of a penalty must be a number >= 0"),
        ("tc(2)", "penalty"),
        ("mmd(1, 2)", r"penalty must be mmd\(w\)"),
    ],
)
def test_wrong_penalties_are_refused_in_words(penalty, message):
    with pytest.raises(isthmus.InputError, match=message):
        small("VAE", penalty=penalty).fit(X)


def test_penalties_do_what_they_are_for():
    """Codes of columns that share factors: less total correlation, less covariance, nearer to the prior."""
    x = table(n=400)
    fields = {
        "latent_dim": 3,
        "epochs": 60,
        "beta": 0.1,
        "prior": "normal",
        "initialization": "random",
        "batch_size": 100,
    }

    def codes(**more):
        model = small("VAE", **(fields | more)).fit(x)
        batch = model.fitted_.dataset(x).batch(torch.arange(len(x)))
        with torch.no_grad(), drawing_from(Stream(0)):
            return model.model_(batch), batch

    plain, _ = codes()
    mmd, _ = codes(penalty="mmd(1000)")
    generator = torch.Generator().manual_seed(0)
    prior = torch.randn(len(x), 3, generator=generator)
    assert divergences.mmd_squared(mmd.z[0], prior) < 0.5 * divergences.mmd_squared(plain.z[0], prior)
    dip, batch = codes(penalty="dip(100)")
    distance = divergences.dip(False, 10.0).fn
    assert distance(None, batch, dip) < 0.5 * distance(None, batch, plain)
    tc, _ = codes(penalty="total_correlation(20)")
    correlation = divergences.TotalCorrelation()
    assert correlation(None, batch, tc).mean() < 0.7 * correlation(None, batch, plain).mean()
