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
from isthmus.estimators.training_setup import setup_training
from isthmus.forward_pass import Pass
from isthmus.random_streams import Stream, drawing_from
from isthmus.terms import divergences
from models import small, table

X = table()
CALLS = ("total_correlation(2)", "factor(2)", "dip(2, 3)", "dip_of_draws(2)", "mmd(2)", "adversarial(2)", "l2(1, 1)")


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
    """Over all batches of two of five rows, the mean estimate of q(z) at the draw of the first row is q(z)."""
    q, n = posteriors(5), 5
    _, _, out = passed(q)
    term, found = divergences.TotalCorrelation(), []
    term.rows = n
    for j in range(1, n):
        rows = torch.tensor([0, j])
        log_weight = term.log_weights(Batch(torch.zeros(2, 1)), out.z[0, rows])
        found.append((log_weight[0].exp() * q.rows(rows).log_prob(out.z[0, 0]).exp()).sum())
    expected = aggregate(q).log_prob(out.z[0, :1]).exp().item()
    assert torch.stack(found).mean().item() == pytest.approx(expected)


def test_training_notes_the_number_of_rows():
    job = setup_training(small("VAE", penalty="total_correlation(2)", validation_fraction=0, batch_size=30), X)
    job.train()
    (term,) = (each.fn for each in job.recipe.objective.terms if each.name == "total_correlation")
    assert term.rows == len(X)


@pytest.mark.parametrize("call", ["total_correlation", "dip", "dip_of_draws", "factor", "mmd", "adversarial"])
def test_a_row_of_weight_two_counts_as_two_and_one_of_weight_zero_not(call):
    term = {
        "total_correlation": divergences.total_correlation(),
        "dip": divergences.dip(False, 3.0),
        "dip_of_draws": divergences.dip(True, 3.0),
        "factor": divergences.factor(2).double(),
        "adversarial": divergences.adversarial(2).double(),
        "mmd": divergences.mmd,
    }[call]
    q = posteriors(6)
    prior = Normal(torch.zeros(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64))
    some = torch.tensor([0, 1, 2])

    def value(q, weight):
        _, batch, out = passed(q, prior=prior)
        with drawing_from(Stream(3)):
            return term(None, batch._replace(weight=weight), out)

    if call == "mmd":  # which compares as many draws of the prior as there are rows
        a, b = passed(q)[2].z[0], torch.randn(6, 2, dtype=torch.float64)
        share = torch.tensor([1 / 3, 1 / 3, 1 / 3, 0, 0, 0], dtype=torch.float64)
        three, all_six = divergences.mmd_squared(a, b, share), divergences.mmd_squared(a, b)
        k = divergences.mmd_squared(a[:3], a[:3])
        assert torch.isfinite(three)
        assert three != all_six
        assert torch.isfinite(k)
        return
    doubled = value(q, torch.tensor([2.0, 2, 2, 0, 0, 0], dtype=torch.float64))
    alone = value(q.rows(some), None)
    if call == "total_correlation":  # a row of a batch of all rows, whose weights its own density has too
        weight = torch.tensor([2.0, 2, 2, 0, 0, 0], dtype=torch.float64)
        z = passed(q)[2].z[0]
        log_weight = divergences.TotalCorrelation().log_weights(Batch(z, weight=weight), z)
        expected = torch.tensor([[1 / 3, 1 / 3, 1 / 3, 0, 0, 0]] * 3, dtype=torch.float64)
        torch.testing.assert_close(log_weight[:3].exp(), expected)
        return
    torch.testing.assert_close(doubled, alone)


def test_draws_of_correlated_posteriors_have_their_covariances():
    """All means 0 and the covariance 0.8 given x: 2 * 0.8² of squared covariances, variances of 1."""
    factor = torch.tensor([[1.0, 0.0], [0.8, 0.6]], dtype=torch.float64)
    q = CorrelatedNormal(torch.zeros(100, 2, dtype=torch.float64), factor.expand(100, 2, 2))
    assert divergences.dip(True, 5.0).fn(*passed(q)).item() == pytest.approx(2 * 0.8**2)


@pytest.mark.parametrize("call", ["total_correlation", "dip", "factor"])
def test_codes_that_are_no_vectors_are_refused(call):
    q = Normal(torch.zeros(4, 2, 3), torch.zeros(4, 2, 3), 2)
    out = Pass(torch.zeros(1, 4, 2, 3), q)
    term = {"total_correlation": divergences.total_correlation(), "dip": divergences.dip(True, 1.0)}.get(call)
    with pytest.raises(isthmus.InputError, match="codes must be vectors"):
        (term or divergences.factor(6)).fn(None, Batch(torch.zeros(4, 1)), out)


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
            term.aside(model, Batch(z), out).mean().backward()
            optimizer.step()
        z = torch.as_tensor(random.multivariate_normal([0, 0], [[1, 0.8], [0.8, 1]], 20_000), dtype=torch.float32)
        value = term.fn(model, Batch(z), Pass(z[None])).mean().item()
    assert value == pytest.approx(0.51, abs=0.15)


def test_the_critic_of_the_prior_finds_the_ratio_of_densities():
    """Draws are from N(0, 1), codes from N(1, 1): at 0 log p / q is 1/2, at 1 it is -1/2."""
    term, prior = divergences.adversarial(1), Normal(torch.zeros(1), torch.zeros(1))
    optimizer = torch.optim.Adam(term.critic.parameters(), 1e-3)
    generator = torch.Generator().manual_seed(0)
    with drawing_from(Stream(0)):
        for _ in range(400):
            z = 1 + torch.randn(1, 512, 1, generator=generator)
            optimizer.zero_grad()
            term.aside(None, Batch(z[0]), Pass(z, None, None, prior)).mean().backward()
            optimizer.step()
    logit = term.critic(torch.tensor([[0.0], [1.0]])).squeeze(-1)
    torch.testing.assert_close(logit, torch.tensor([0.5, -0.5]), atol=0.15, rtol=0)  # by 200,000 draws of each
    value = term.fn(None, Batch(z[0]), Pass(torch.tensor([[[1.0]]])))
    torch.testing.assert_close(value, torch.nn.functional.softplus(-logit[1:]))


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("posterior", ["normal", "full_normal"])
def test_every_penalty_trains_with_every_posterior_and_bound(call, posterior):
    for bound in ("elbo", "dreg(2)"):
        model = small("VAE", penalty=call, posterior=posterior, bound=bound, latent_dim=3, epochs=3).fit(X)
        assert math.isfinite(model.history_[-1]["loss"])
        assert np.isfinite(model.score_samples(X)).all()


def test_every_penalty_is_tried():
    elsewhere = {"spectral", "ms_ssim", "gan"}  # which are no terms on codes: `test_structure`, `test_gan`
    assert {call.partition("(")[0] for call in CALLS} == set(PENALTIES) - elsewhere


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
    correlation = divergences.TotalCorrelation()
    for penalty in ("total_correlation(20)", "factor(20)", "dip_of_draws(100)"):
        less, _ = codes(penalty=penalty)
        assert correlation(None, batch, less).mean() < 0.8 * correlation(None, batch, plain).mean()


def test_batches_of_one_row_and_of_rows_without_weight_have_finite_values():
    term = divergences.TotalCorrelation()
    term.rows = 1000
    assert term(*passed(posteriors(1, d=3))).abs().max() < 1e-9
    _, batch, out = passed(posteriors(3))
    assert term(None, batch._replace(weight=torch.zeros(3, dtype=torch.float64)), out).isfinite().all()
