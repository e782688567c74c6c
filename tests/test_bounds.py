"""Bounds on log p(x): their values, and the gradients of those whose gradient is not that of the value."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import isthmus
from isthmus.batch import Batch
from isthmus.conditional import Conditional
from isthmus.distributions.continuous import Normal
from isthmus.families import DiagonalNormal, LocationScale
from isthmus.forward_pass import Pass
from isthmus.latent_model import LatentModel
from isthmus.priors import StandardNormal
from isthmus.random_streams import Stream, drawing_from
from isthmus.terms import bounds
from models import small, table

BOUNDS = ("elbo", "stl", "free_bits(0.5)", "iwae(3)", "dreg(3)", "ciwae(3, 0.5)", "miwae(2, 3)", "piwae(2, 3)")
ROW = torch.tensor([0.3, -1.2, 0.8], dtype=torch.float64)


def linear_gaussian() -> LatentModel:
    """p(x given z) and q(z given x) linear and normal, q being wrong."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        posterior = Conditional(nn.Linear(3, 4), DiagonalNormal((2,)))
        likelihood = Conditional(nn.Linear(2, 3), LocationScale(Normal, (3,)))
        return LatentModel(posterior, likelihood, StandardNormal(2)).double()


def gradients(term, seed: int, copies: int = 200, model: LatentModel | None = None):
    """The mean value over copies of one row, and gradients with respect to the encoder and the decoder, flat."""
    model = linear_gaussian() if model is None else model
    batch = Batch(ROW.expand(copies, 3))
    with drawing_from(Stream(seed)):
        value = term(model, batch, model(batch, term.draws))
    parts = (model.posterior, model.likelihood)
    flat = [
        torch.cat(
            [
                g.flatten()
                for g in torch.autograd.grad(value, part.parameters(), retain_graph=True, materialize_grads=True)
            ]
        )
        for part in parts
    ]
    return value.item(), *flat


def over_seeds(term, which: int, n: int = 150) -> torch.Tensor:
    """(n, P) gradients with respect to the encoder (1) or the decoder (2)."""
    return torch.stack([gradients(term, seed)[which] for seed in range(n)])


def assert_same_expectation(ours: torch.Tensor, other: torch.Tensor) -> None:
    """Means of two samples (n, P) within 4.5 standard errors: 1 in 10,000 of some 12 numbers would miss that."""
    error = (ours.var(0) / len(ours) + other.var(0) / len(other)).sqrt()
    assert ((ours.mean(0) - other.mean(0)).abs() < 4.5 * error).all()


@pytest.mark.parametrize(
    ("term", "same"),
    [
        (bounds.dreg(4), bounds.iwae(4)),
        (bounds.piwae(2, 3), bounds.iwae(6)),
        (bounds.miwae(1, 4), bounds.iwae(4)),
        (bounds.ciwae(4, 0.0), bounds.iwae(4)),
    ],
)
def test_values_that_are_those_of_the_importance_weighted_bound(term, same):
    assert gradients(term, 0)[0] == pytest.approx(gradients(same, 0)[0], rel=1e-12)


def test_groups_of_one_draw_and_a_weight_of_one_give_the_elbo_by_draws():
    model, batch = linear_gaussian(), Batch(ROW.expand(5, 3))
    with drawing_from(Stream(0)):
        out = model(batch, 4)
    elbo = -out.log_ratio.mean()
    for term in (bounds.miwae(4, 1), bounds.ciwae(4, 1.0)):
        assert term(model, batch, out).item() == pytest.approx(elbo.item(), rel=1e-12)
    stl = bounds.nll(model, batch, out) + bounds.kl_by_path(model, batch, out)
    assert stl.item() == pytest.approx(elbo.item(), rel=1e-12)


def test_bounds_are_ordered_and_below_log_p():
    """E[elbo] <= E[miwae(3, 4)] <= E[iwae(12)] <= log p(x), for 20,000 copies of a row."""
    terms = (bounds.miwae(12, 1), bounds.ciwae(12, 0.5), bounds.miwae(3, 4), bounds.iwae(12))
    values = [-gradients(term, 0, copies=20_000)[0] for term in terms]
    model = linear_gaussian()
    weight, noise = model.likelihood.net.module.weight, model.likelihood.family.normal_scale()
    assert values[0] < values[1] < values[3]
    assert values[0] < values[2] < values[3]
    with torch.no_grad():
        mean = model.likelihood.net.module.bias
        covariance = weight @ weight.T + torch.diag(torch.exp(2 * noise.log_scale) * torch.ones(3, dtype=torch.float64))
        log_p = torch.distributions.MultivariateNormal(mean, covariance).log_prob(ROW).item()
    assert values[3] < log_p < values[3] + 0.5


def test_dreg_has_the_gradient_of_iwae_in_expectation_with_less_variance():
    dreg, iwae = over_seeds(bounds.dreg(8), 1), over_seeds(bounds.iwae(8), 1)
    assert_same_expectation(dreg, iwae)
    assert (dreg.var(0) < 0.5 * iwae.var(0)).all()


@pytest.mark.parametrize(("term", "same"), [(bounds.dreg(4), bounds.iwae(4)), (bounds.piwae(2, 3), bounds.iwae(6))])
def test_the_decoder_has_the_gradient_of_iwae(term, same):
    torch.testing.assert_close(gradients(term, 1)[2], gradients(same, 1)[2], rtol=1e-10, atol=1e-12)


def test_the_encoder_of_piwae_has_the_gradient_of_miwae():
    ours, other = (gradients(term, 1)[1] for term in (bounds.piwae(2, 3), bounds.miwae(2, 3)))
    torch.testing.assert_close(ours, other, rtol=1e-10, atol=1e-12)


def test_sticking_the_landing_has_the_gradient_of_the_elbo_and_none_at_the_exact_posterior():
    stl, elbo = (
        torch.stack([gradients(bounds.nll, seed)[1] + gradients(term, seed)[1] for seed in range(150)])
        for term in (bounds.kl_by_path, bounds.kl)
    )
    assert_same_expectation(stl, elbo)
    model = linear_gaussian()
    # With a decoder that ignores the code the prior is the exact posterior.
    with torch.no_grad():
        for parameter in (*model.posterior.parameters(), model.likelihood.net.module.weight):
            parameter.zero_()
    exact = gradients(bounds.nll, 0, model=model)[1] + gradients(bounds.kl_by_path, 0, model=model)[1]
    assert exact.abs().max() < 1e-12


def test_free_bits_have_no_gradient_below_and_that_of_the_kl_above():
    model, batch = linear_gaussian(), Batch(torch.stack([ROW, -ROW, 2 * ROW]))
    with drawing_from(Stream(0)):
        out = model(batch)
    each = out.kl.mean(0)
    low, high = sorted(each.tolist())
    term = bounds.free_bits((low + high) / 2)
    value = term(model, batch, out)
    assert value.item() == pytest.approx((low + high) / 2 + high)
    parameters = list(model.posterior.parameters())
    ours = torch.autograd.grad(value, parameters, retain_graph=True)
    for mine, right in zip(ours, torch.autograd.grad(each.max(), parameters)):
        torch.testing.assert_close(mine, right)


@pytest.mark.parametrize("nats", [0.5, 3.0])
def test_capacity_keeps_the_rate_at_its_nats(nats):
    X = np.random.default_rng(0).normal(size=(400, 2)) @ np.array([[2.0, 1, 0, 1], [0, 1, 3, 1]])
    X += 0.3 * np.random.default_rng(1).normal(size=X.shape)
    fields = {"epochs": 60, "warmup": 0.5, "cycles": 2, "initialization": "random", "learning_rate": 5e-3}
    model = small("VAE", bound=f"capacity({nats}, 20)", latent_dim=2, **fields).fit(X)
    assert model.history_[-1]["kl"] == pytest.approx(nats, abs=0.2)  # an elbo's would be 5 nats


@pytest.mark.parametrize("bound", BOUNDS)
def test_every_bound_trains_and_logs_a_bound(bound):
    X = table()
    model = small("VAE", bound=bound, epochs=4, batch_size=30).fit(X)
    last = model.history_[-1]
    assert math.isfinite(last["loss"])
    assert np.isfinite(model.score_samples(X)).all()
    # The loss of the last epoch is minus a bound: no better than log p(x), which the trained model scores.
    assert -last["loss"] < model.score(X) + 1.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bounds.dreg(0), "k of dreg.k. must be an integer from 1"),
        (lambda: bounds.miwae(2, 2.5), "k of miwae.m, k. must be an integer from 1"),
        (lambda: bounds.piwae(10_000, 10_000), r"m \* k of piwae.m, k. must be at most 10,000,000"),
        (lambda: bounds.ciwae(3, 1.5), "b of ciwae.k, b. must be a number from 0 to 1"),
        (lambda: bounds.free_bits(-1), "nats of free_bits.nats. must be a number >= 0"),
        (lambda: small("VAE", bound="dreg(3)", beta=2.0).fit(table()), "beta must be 1 with bound='dreg.3.'"),
        (lambda: small("VAE", bound="capacity(2)", beta=2.0).fit(table()), "beta must be 1 with bound='capacity.2.'"),
        (lambda: small("VAE", bound="capacity(-1)").fit(table()), "nats of capacity.nats, w. must be a number >= 0"),
        (lambda: small("VAE", bound="capacity(1, 0)").fit(table()), "w of capacity.nats, w. must be a number > 0"),
        (lambda: small("VAE", cycles=3, warmup=0.0).fit(table()), "warmup must be > 0 with cycles=3, got 0"),
        (lambda: small("VAE", cycles=0).fit(table()), "cycles must be an integer >= 1, got 0"),
        (lambda: small("VAE", bound="miwae(1, 2, 3)").fit(table()), r"bound must be miwae\(m, k\)"),
    ],
)
def test_wrong_arguments_are_refused_in_words(call, message):
    with pytest.raises(isthmus.InputError, match=message):
        call()


def test_codes_without_a_gradient_are_refused():
    model, batch = linear_gaussian(), Batch(ROW.expand(5, 3))
    out = model(batch, 6)
    out.z = out.z.detach()
    for term in (bounds.dreg(6), bounds.piwae(2, 3)):
        with pytest.raises(isthmus.InputError, match="bound must be 'elbo', 'iwae"):
            term(model, batch, out)


def test_draws_with_weights_of_their_own_are_refused_where_the_gradient_is_split():
    model, batch = linear_gaussian(), Batch(ROW.expand(5, 3))
    out = model(batch, 6)
    weighted = Pass(out.z, out.q, out.px, out.prior, target=batch.x, log_weight=torch.zeros(6, 5).log_softmax(0))
    for term in (bounds.dreg(6), bounds.piwae(2, 3)):
        with pytest.raises(isthmus.InputError, match="bound must be 'elbo', 'iwae"):
            term(model, batch, weighted)


@pytest.mark.parametrize("term", [bounds.miwae(2, 3), bounds.piwae(2, 3)])
def test_another_number_of_draws_is_refused(term):
    model, batch = linear_gaussian(), Batch(ROW.expand(5, 3))
    with pytest.raises(isthmus.InputError, match=r"m \* k must be the number of draws"):
        term(model, batch, model(batch, 10))


@pytest.mark.parametrize("bound", ["dreg(3)", "piwae(2, 2)", "stl"])
@pytest.mark.parametrize("prior", ["mixture(3)", "vamp(3)"])
def test_bounds_train_learned_priors(bound, prior):
    X, fields = table(), {"bound": bound, "prior": prior, "batch_size": 30}
    observed = np.random.default_rng(0).random(X.shape) < 0.8
    start = small("VAE", epochs=1, learning_rate=1e-12, **fields).fit(X, observed=observed)
    model = small("VAE", epochs=5, learning_rate=1e-2, **fields).fit(X, observed=observed)
    assert not torch.allclose(model.model_.prior.logits, start.model_.prior.logits)
    assert np.isfinite(model.score_samples(X, observed=observed)).all()
