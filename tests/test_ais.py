"""AIS, bidirectional Monte Carlo and the inference gap against exact values."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

import isthmus
from isthmus.batch import Batch
from isthmus.conditional import Conditional
from isthmus.distributions.continuous import Normal
from isthmus.errors import Declined, InputError
from isthmus.families import DiagonalNormal, LocationScale
from isthmus.latent_model import LatentModel
from isthmus.metrics import ais as ais_module
from isthmus.metrics.ais import ais, bdmc
from isthmus.metrics.importance_weighting import encode_chunks
from isthmus.metrics.inference_gap import inference_gap
from isthmus.nets.mlp import MLP
from isthmus.priors import StandardNormal
from isthmus.schema import Schema
from isthmus.train.device_data import DeviceDataset
from models import bits, rows_of, small, table

Z_GRID = torch.linspace(-9, 9, 2001, dtype=torch.float64)[:, None, None]  # (G, 1, 1): a code of one dimension
Z_STEP = float(Z_GRID[1] - Z_GRID[0])
FEW_STEPS = {"steps": 30, "chains": 8, "leapfrog": 3}


@pytest.fixture(scope="module")
def linear():
    """A model whose posterior is exact, its rows, and log p(x) of each."""
    random = np.random.default_rng(0)
    x = random.normal(size=(40, 2)) @ random.normal(size=(2, 5)) * 1.5 + random.normal(size=(40, 5))
    model = isthmus.ProbabilisticPCA(latent_dim=2).fit(x)
    return model.model_, rows_of(model, x), model.score_samples(x, draws=1)


@pytest.fixture(scope="module")
def nonlinear():
    """A decoder that is not linear, of a one-dimensional code, and rows."""
    random = np.random.default_rng(0)
    t = random.normal(size=(300, 1))
    x = np.hstack([np.sin(2 * t), t**2, np.tanh(3 * t)]) + 0.5 * random.normal(size=(300, 3))
    model = small("VAE", latent_dim=1, hidden=(16,), epochs=100, learning_rate=0.01, precision="float64").fit(x[:280])
    return model.model_, rows_of(model, x[260:])


def full_batch(rows):
    return rows.batch(torch.arange(len(rows)))


def log_joint_on_grid(model, batch):
    """(G, n) log p(x, z) over the grid."""
    with torch.no_grad():
        run = model.at(batch, Z_GRID.expand(-1, len(batch.x), 1))
        return (run.log_px + run.log_pz).double()


def log_integral(log_joint):
    """(n,) log p(x)."""
    return (log_joint.logsumexp(0) + math.log(Z_STEP)).numpy()


def elbo_of(log_joint, loc, log_scale):
    """(n,) the evidence lower bound of normal posteriors (n, 1)."""
    log_q = Normal(loc, log_scale).log_prob(Z_GRID)  # (G, n)
    return (log_q.exp() * (log_joint - log_q)).sum(0) * Z_STEP


def best_elbo(log_joint, loc, log_scale):
    """(n,) the bound of the best normal posterior, result by a general optimiser."""

    def objective(numbers):
        at = torch.tensor(numbers.reshape(2, -1, 1), requires_grad=True)
        value = -elbo_of(log_joint, *at).sum()
        return value.item(), torch.autograd.grad(value, at)[0].numpy().ravel()

    result = minimize(objective, torch.stack([loc, log_scale]).numpy().ravel(), jac=True, method="L-BFGS-B")
    return elbo_of(log_joint, *torch.as_tensor(result.x).reshape(2, -1, 1)).numpy()


def within(estimates, truth, errors, times=5.0):
    """Five errors: a jackknife of 16 chains has wide tails itself, and there are 40 rows."""
    assert (np.abs(estimates - truth) <= times * errors + 1e-9).all()


def unbiased(values, truth, times=3.5):
    """Whether the mean over rows is right within its paired error."""
    difference = values - truth
    return abs(difference.mean()) <= times * difference.std(ddof=1) / math.sqrt(len(difference)) + 1e-9


# ------------------------------------------------------------------------ ais


def test_log_evidence_of_a_linear_model(linear):
    model, rows, truth = linear
    result = ais(model, rows, steps=150, chains=16, leapfrog=5)
    within(result.values, truth, result.error)
    assert unbiased(result.values, truth)
    assert result.error.max() < 0.3
    assert result.ess.min() > 4
    assert ((result.acceptance > 0.4) & (result.acceptance < 0.95)).all()  # 0.65 aimed at


def test_weights_are_constant_from_an_exact_posterior(linear):
    model, rows, truth = linear
    result = ais(model, rows, steps=3, chains=4, leapfrog=2, start="posterior")
    assert result.values == pytest.approx(truth, abs=1e-8)
    assert result.ess == pytest.approx(4)


@pytest.mark.parametrize("start", ["prior", "posterior"])
def test_log_evidence_by_quadrature(nonlinear, start):
    model, rows = nonlinear
    truth = log_integral(log_joint_on_grid(model, full_batch(rows)))
    result = ais(model, rows, steps=60, chains=16, leapfrog=3, start=start)
    within(result.values, truth, result.error)
    assert unbiased(result.values, truth)
    assert result.error.max() < 0.5


def test_probabilities_of_all_outcomes_sum_to_one():
    x = bits(200, 3)
    fitted = small(
        "VAE", latent_dim=2, prior="mixture(3)", precision="float64", epochs=20, initialization="random"
    ).fit(x)
    outcomes = np.indices((2, 2, 2)).reshape(3, -1).T.astype(np.uint8)
    result = ais(fitted.model_, rows_of(fitted, outcomes, bits="fixed"), **FEW_STEPS)
    chance = np.exp(result.values)
    assert abs(chance.sum() - 1) < 4 * np.sqrt(np.square(chance * result.error).sum())
    assert result.error.max() < 0.2


def test_the_estimate_is_unbiased_before_the_logarithm(nonlinear):
    """One step of one chain is the plainest estimate there is: its mean, not its log, is p(x)."""
    model, rows = nonlinear
    one = full_batch(rows)._replace(x=full_batch(rows).x[:1])
    same = DeviceDataset(
        one.x.repeat(3000, 1), Schema.homogeneous((3,), "real", "f8"), device=rows.device, dtype=rows.dtype
    )
    truth = log_integral(log_joint_on_grid(model, one))
    ratio = np.exp(ais(model, same, steps=6, chains=1, leapfrog=2).values - truth)
    assert abs(ratio.mean() - 1) < 4 * ratio.std() / math.sqrt(len(ratio))
    assert ratio.std() / math.sqrt(len(ratio)) < 0.1
    assert np.log(ratio).mean() < -0.05  # and its logarithm lies below


def test_schedule_is_increasing_and_symmetric():
    beta = np.array(ais_module.sigmoid_schedule(100))
    assert (beta[0], beta[-1]) == (0, 1)
    assert (np.diff(beta) > 0).all()
    assert beta + beta[::-1] == pytest.approx(np.ones(101))


# ----------------------------------------------------------------------- bdmc


def test_bounds_converge_on_a_linear_model(linear):
    model = linear[0]
    exact = bdmc(model, 40, steps=1, chains=2, leapfrog=1, start="posterior")  # the rows are the seed's
    assert exact.upper == pytest.approx(exact.lower, abs=1e-8)
    wide, narrow = (bdmc(model, 40, steps=steps, chains=8, leapfrog=5) for steps in (10, 150))
    for result in (wide, narrow):
        assert result.gap.mean == pytest.approx((result.upper - result.lower).mean())
        for off in (exact.lower - result.lower, result.upper - exact.lower):
            assert off.mean() > -2 * off.std() / math.sqrt(40)
    assert wide.gap.mean > 3 * wide.gap.error
    assert narrow.gap.mean < min(0.25, 0.2 * wide.gap.mean)  # it is known to 0.05


@pytest.mark.parametrize("steps", [4, 60])
def test_bounds_enclose_the_exact_value(nonlinear, steps):
    model, _ = nonlinear
    n, seed = 100, 3
    result = bdmc(model, n, steps=steps, chains=4, leapfrog=3, seed=seed)
    with ais_module.seeded(ais_module.next_seed(np.random.default_rng(seed))):
        truth = log_integral(log_joint_on_grid(model, Batch(model.draw(n)[1])))
    below, above = truth - result.lower, result.upper - truth
    if steps == 4:  # far from converged: both sides are wide, on the right side each
        assert below.mean() > 2 * below.std() / math.sqrt(n)
        assert above.mean() > 2 * above.std() / math.sqrt(n)
    else:
        assert unbiased(result.lower, truth, 4)
        assert unbiased(result.upper, truth, 4)
        assert result.gap.mean < 0.1


def test_simulated_rows_follow_conditions_and_masks():
    x = table(60)
    labels = np.arange(60) % 3
    fitted = small("ConditionalVAE", prior="conditional").fit(x, condition=labels)
    c = torch.eye(3)[[0, 1, 2, 0]]
    result = bdmc(fitted.model_, 4, c=c, **FEW_STEPS)
    assert np.isfinite([result.lower, result.upper]).all()
    rows = rows_of(fitted, x[:6], labels[:6])
    assert ais(fitted.model_, rows, **FEW_STEPS).values.shape == (6,)
    with pytest.raises(InputError, match="c must have one row for each of the n=5"):
        bdmc(fitted.model_, 5, c=c, **FEW_STEPS)


def test_padding_is_ignored():
    random = np.random.default_rng(0)
    x, lengths = random.normal(size=(40, 6, 2)), random.integers(2, 7, 40)
    fitted = small("VAE").fit(x, lengths=lengths)
    perturbed = x.copy()
    perturbed[np.arange(6) >= lengths[:, None]] = 1e6
    result = [ais(fitted.model_, rows_of(fitted, some, lengths=lengths), **FEW_STEPS).values for some in (x, perturbed)]
    assert (result[0] == result[1]).all()
    truth = fitted.score_samples(x, draws=3000, lengths=lengths)
    assert abs((result[0] - truth).mean()) < 0.1  # both are noisy by about 0.02 in the mean
    mask = rows_of(fitted, x, lengths=lengths).mask
    assert bdmc(fitted.model_, 40, mask=mask, **FEW_STEPS).gap.mean < 0.5


# ------------------------------------------------------------------------ gap


def correlated():
    """A linear model whose true posterior is correlated, an encoder of the right mean and the wrong scale, and truth.

    Returns the model, rows, log p(x) of each, the approximation gap and the amortization gap, nats.
    """
    random = np.random.default_rng(1)
    weight, noise = np.array([[1.0, 0.8], [0.5, 0.9], [-0.7, -0.6], [0.2, 0.4]]), 0.7
    precision = np.eye(2) + weight.T @ weight / noise**2
    log_scale = np.array([-1.5, -0.3])  # of the encoder
    decoder, encoder = MLP((2,), (), 4), MLP((4,), (), 4)
    with torch.no_grad():
        decoder.layers[0].weight.copy_(torch.from_numpy(weight))
        decoder.layers[0].bias.zero_()
        mean = np.linalg.solve(precision, weight.T / noise**2)
        encoder.layers[0].weight.copy_(torch.from_numpy(np.vstack([mean, np.zeros((2, 4))])))
        encoder.layers[0].bias.copy_(torch.from_numpy(np.concatenate([np.zeros(2), log_scale])))
    likelihood = Conditional(decoder, LocationScale(Normal, (4,), noise))
    model = LatentModel(Conditional(encoder, DiagonalNormal((2,))), likelihood, StandardNormal(2)).double()
    x = random.normal(size=(30, 2)) @ weight.T + noise * random.normal(size=(30, 4))
    rows = DeviceDataset(x, Schema.homogeneous((4,), "real", "f8"), device=torch.device("cpu"), dtype=torch.float64)
    diagonal = np.diag(precision)
    approximation = 0.5 * (np.log(diagonal).sum() - np.linalg.slogdet(precision)[1])
    share = diagonal * np.exp(2 * log_scale)  # of the best variance
    truth = multivariate_normal(cov=weight @ weight.T + noise**2 * np.eye(4)).logpdf(x)
    return model, rows, truth, approximation, 0.5 * (share - 1 - np.log(share)).sum()


def test_an_exact_posterior_has_no_gap(linear):
    model, rows, truth = linear
    for log_px in (None, truth):
        result = inference_gap(model, encode_chunks(model, rows), steps=200, draws=100, log_px=log_px)
        for part in (result.total, result.approximation, result.amortization):
            assert part.mean == pytest.approx(0, abs=1e-5)  # Adam stirs even what is right; its step falls to zero
    assert result.rows == 40


def test_the_gap_of_a_correlated_posterior_in_closed_form():
    model, rows, truth, approximation, amortization = correlated()
    assert approximation > 0.3
    assert amortization > 0.5
    result = inference_gap(model, encode_chunks(model, rows), steps=300, draws=2000, log_px=truth)
    # a bound's mean over 2,000 draws of 30 rows is known to 1 / sqrt(60,000) = 0.004 for each nat of spread
    assert result.approximation.mean == pytest.approx(approximation, abs=0.02)
    assert result.amortization.mean == pytest.approx(amortization, abs=0.02)
    assert result.total.mean == pytest.approx(result.approximation.mean + result.amortization.mean)
    assert result.approximation.error < 0.01  # every row has the same gap
    weighted = inference_gap(model, encode_chunks(model, rows), steps=300, draws=2000)
    assert weighted.amortization == result.amortization
    assert abs(weighted.approximation.mean - approximation) < 4 * weighted.approximation.error


def test_perturbing_the_encoder_raises_only_the_amortization_gap(nonlinear):
    model, rows = nonlinear
    perturbed = copy.deepcopy(model)
    with torch.no_grad(), ais_module.seeded(5):
        for weight in perturbed.posterior.parameters():
            weight += 0.3 * torch.randn_like(weight)
    log_joint = log_joint_on_grid(model, full_batch(rows))
    log_px = log_integral(log_joint)
    with torch.no_grad():
        own, worse = (each.infer(full_batch(rows)) for each in (model, perturbed))
    best = best_elbo(log_joint, own.loc, own.log_scale)
    gaps = [
        inference_gap(each, encode_chunks(each, rows), log_px=log_px, steps=400, draws=500)
        for each in (model, perturbed)
    ]
    for gap, q in zip(gaps, (own, worse)):
        # log-weights of the best posterior spread by under a tenth of a nat, of a perturbed one by some of its gap
        assert gap.approximation.mean == pytest.approx((log_px - best).mean(), abs=0.003)
        lost = (best - elbo_of(log_joint, q.loc, q.log_scale).numpy()).mean()
        assert gap.amortization.mean == pytest.approx(lost, abs=0.003 + 0.05 * lost)
    assert gaps[1].amortization.mean > gaps[0].amortization.mean + 1
    assert gaps[1].approximation.mean == pytest.approx(gaps[0].approximation.mean, abs=0.003)


def test_no_gap_for_a_posterior_that_is_not_normal():
    x = table()
    fitted = small("Autoencoder").fit(x)
    with pytest.raises(Declined, match="diagonal normals only"):
        inference_gap(fitted.model_, encode_chunks(fitted.model_, rows_of(fitted, x)))


# ----------------------------------------------------------------------- laws


def test_results_depend_on_the_seed_only_and_state_is_preserved(nonlinear):
    model, rows = nonlinear
    frozen = next(model.posterior.parameters())
    frozen.requires_grad_(False)
    kept = torch.ones_like(frozen)
    frozen.grad = kept
    before = copy.deepcopy(model.state_dict())
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - the global generator is what is watched
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002

    def measure(seed):
        with torch.no_grad():  # a caller's own context
            once = ais(model, rows, seed=seed, **FEW_STEPS)
            both = bdmc(model, 6, seed=seed, **FEW_STEPS)
        parts = inference_gap(model, encode_chunks(model, rows), steps=5, draws=20, seed=seed)
        return np.concatenate([*once, both.lower, both.upper, *parts[:3]])

    first, repeated, other_seed = measure(1), measure(1), measure(2)
    assert (first == repeated).all()
    assert (first != other_seed).any()
    assert (torch.get_rng_state() == states[0]).all()
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002
    assert frozen.grad is kept
    assert not frozen.requires_grad
    assert (kept == 1).all()
    frozen.requires_grad_(True)
    frozen.grad = None
    assert all(weight.grad is None and weight.requires_grad for weight in model.parameters())
    assert all((before[name] == value).all() for name, value in model.state_dict().items())


def test_blocks_of_rows_are_independent(linear, monkeypatch):
    model, rows, truth = linear
    monkeypatch.setattr(ais_module, "CHAINS_AT_ONCE", 20 * 16)
    result = ais(model, rows, steps=20, chains=16, leapfrog=5)
    assert all(part.shape == (40,) for part in result)
    within(result.values, truth, result.error)
    twice = np.corrcoef(result.values[:20] - truth[:20], result.values[20:] - truth[20:])[0, 1]
    assert abs(twice) < 0.7  # no block sees the noise of another; of 20 pairs by chance in 1 seed of 1,000


def test_one_chain_has_an_infinite_error(linear):
    model, rows, _ = linear
    result = ais(model, rows, steps=1, chains=1, leapfrog=1)
    assert (result.error == math.inf).all()
    assert np.isfinite(result.values).all()


def test_invalid_arguments(linear):
    model, rows, _ = linear
    for name in ("steps", "chains", "leapfrog"):
        with pytest.raises(InputError, match=f"{name} must be an integer >= 1, got 0"):
            ais(model, rows, **{name: 0})
    with pytest.raises(InputError, match=r"start must be one of .*, got 'pror'. Did you mean 'prior'"):
        ais(model, rows, start="pror")
    x = table()
    point = small("Autoencoder").fit(x)
    for measure in (
        lambda: ais(point.model_, rows_of(point, x), **FEW_STEPS),
        lambda: bdmc(point.model_, 3, **FEW_STEPS),
    ):
        with pytest.raises(Declined, match="no prior over codes"):
            measure()
    for name in ("steps", "draws"):
        with pytest.raises(InputError, match=f"{name} must be an integer >= 1, got 0"):
            inference_gap(model, encode_chunks(model, rows), **{name: 0})
    with pytest.raises(InputError, match="log_px must have one number for each of the 40 rows, got 3"):
        inference_gap(model, encode_chunks(model, rows), log_px=np.zeros(3))
