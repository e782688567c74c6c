"""Codes in layers: densities by quadrature, the divergence of a pass, gradients, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from isthmus import LadderVAE
from isthmus.distributions.ladder import Chain, LadderNormal
from isthmus.estimators.parts_by_name import BOUNDS, build
from isthmus.random_streams import seeded
from models import images, rows_of, small, table

GRID = torch.linspace(-9, 9, 361, dtype=torch.float64)


@pytest.fixture
def chain() -> Chain:
    """Two layers of one number each, the lower one a curved function of the upper one."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 2)).double()
    return Chain((1, 1), [net], torch.zeros((), dtype=torch.float64))


def plane() -> tuple[torch.Tensor, float]:
    """All codes (N, 2) of a grid, and the area of one of its cells."""
    return torch.cartesian_prod(GRID, GRID), float(GRID[1] - GRID[0]) ** 2


def posterior(chain: Chain) -> LadderNormal:
    like = {"dtype": torch.float64}
    return LadderNormal(torch.tensor([[0.7, -0.4]], **like), torch.tensor([[-0.6, 0.3]], **like), chain)


def test_densities_integrate_to_one(chain):
    codes, cell = plane()
    with torch.no_grad():
        assert chain.log_prob(codes).exp().sum() * cell == pytest.approx(1, abs=1e-6)
        assert posterior(chain).log_prob(codes[:, None]).exp().sum() * cell == pytest.approx(1, abs=1e-6)


def test_a_layer_is_the_product_of_prior_and_evidence(chain):
    """The top layer given nothing else: N(0, 1) times N(-0.4, e^0.3), by the precisions of both."""
    top = posterior(chain).layers_of(torch.zeros(1, 1, 2, dtype=torch.float64))[1].q
    precision = 1 + np.exp(-0.6)
    assert float(top.loc) == pytest.approx(-0.4 * np.exp(-0.6) / precision)
    assert float(top.scale) == pytest.approx(precision**-0.5)


def test_samples_have_the_moments_of_the_density(chain):
    codes, cell = plane()
    with torch.no_grad(), seeded(0):
        p = chain.log_prob(codes).exp() * cell
        z = chain.sample((40_000,))
        drawn = posterior(chain).draw_equal(40_000, 1)[:, 0]
        q = posterior(chain).log_prob(codes[:, None]).exp()[:, 0] * cell
    for draws, weight in ((z, p), (drawn, q)):
        mean = (weight[:, None] * codes).sum(0)
        spread = (weight[:, None] * (codes - mean).square()).sum(0).sqrt()
        assert torch.allclose(draws.mean(0), mean, atol=0.025)  # five standard errors of a unit spread
        assert torch.allclose(draws.std(0), spread, rtol=0.03)


@pytest.mark.parametrize("upper", [(1,), (2, 1)])
def test_the_divergence_of_a_pass_is_the_mean_of_its_draws(upper):
    model = small("LadderVAE", latent_dim=3, upper_dims=upper, precision="float64").fit(table())
    batch = rows_of(model, table()[:20]).batch(torch.arange(20))
    with torch.no_grad(), seeded(0):
        out = model.model_(batch, draws=4000)
    difference = out.log_qz - out.log_pz  # (K, B)
    error = difference.std(0) / 4000**0.5
    assert out.kl.shape == (20, 3 + sum(upper))
    assert ((difference.mean(0) - out.kl.sum(-1)).abs() < 5 * error + 1e-9).all()
    assert torch.allclose(out.log_pz, out.prior.log_prob(out.z))
    assert torch.allclose(out.log_qz, out.q.log_prob(out.z))


def test_log_likelihood_by_quadrature():
    X = table(60, 3)
    model = small("LadderVAE", latent_dim=1, upper_dims=(1,), epochs=40, precision="float64").fit(X)
    batch = rows_of(model, X[:10]).batch(torch.arange(10))
    codes, cell = plane()
    with torch.no_grad():
        joint = model.model_.at(batch, codes[:, None].expand(-1, 10, -1))
        exact = (joint.log_px + joint.log_pz).logsumexp(0) + np.log(cell)
    assert np.allclose(model.score_samples(X[:10], draws=20_000), exact, atol=0.05)


def test_held_parameters_have_no_gradient_but_codes_do(chain):
    q = posterior(chain)
    q.loc.requires_grad_()
    z = torch.zeros(1, 1, 2, dtype=torch.float64, requires_grad=True)
    q.stopped().log_prob(z).sum().backward()
    assert z.grad is not None
    assert z.grad.abs().sum() > 0
    assert [parameter.grad for parameter in (q.loc, *chain.maps[0].parameters())] == [None] * 5


@pytest.mark.parametrize("bound", ["stl", "iwae(3)", "dreg(3)"])
def test_every_bound_trains(bound):
    model = small("LadderVAE", bound=bound, warmup=0.0).fit(table())
    assert model.history_[-1]["loss"] < model.history_[0]["loss"]


def test_own_networks():
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(30, 10))  # locations and log-scales of 3 + 2 numbers
    model = small("LadderVAE", upper_dims=(2,), encoder=encoder, decoder=nn.Linear(3, 30), likelihood="bernoulli")
    assert model.fit(images() / 255 > 0.5).transform(images() / 255 > 0.5).shape == (90, 5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"prior": "mixture(3)"}, "prior must be 'normal' for LadderVAE, .* got 'mixture"),
        ({"upper_dims": ()}, "upper_dims must be a tuple of integers >= 1 such as .16, 4. or None, got"),
        ({"upper_dims": (3, 0)}, "upper_dims must be a tuple of integers >= 1"),
    ],
)
def test_what_it_cannot_be(fields, message):
    with pytest.raises(ValueError, match=message):
        small("LadderVAE", **fields).fit(table())


def test_moments_of_the_posterior_are_those_of_its_draws():
    x = table(40)
    model = small("LadderVAE", epochs=1).fit(x)
    q, z = model.posterior_of(x), model.transform(x, draws=4000, random_state=1)
    assert q.mean.shape == q.scale.shape == (40, 4)
    # Both are estimates of as many draws; five standard errors of their difference, of 160 numbers each.
    assert (np.abs(z.mean(0) - q.mean) < 5 * q.scale * np.sqrt(2 / 1000)).all()
    assert (np.abs(z.std(0) / q.scale - 1) < 5 / np.sqrt(1000)).all()


def encoder_gradient(model, batch, bound: str, seed: int) -> torch.Tensor:
    """The gradient of a bound in what the posterior reads of x."""
    term = build(BOUNDS, bound, "bound", model)
    with seeded(seed):
        loss = term(model.model_, batch, model.model_(batch, draws=term.draws))
    weights = list(model.model_.parts()["posterior"].net.out.parameters())
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, weights)])


def test_doubly_reparameterised_gradients_have_the_mean_of_the_plain_ones_and_less_variance():
    x = table(30)
    model = small("LadderVAE", hidden=(8,), epochs=5, precision="float64", warmup=0.0).fit(x)
    batch = rows_of(model, x).batch(torch.arange(30))
    plain, doubly = (
        torch.stack([encoder_gradient(model, batch, bound, seed) for seed in range(200)])
        for bound in ("iwae(5)", "dreg(5)")
    )
    # The error of the difference of two means; its squares in units of that have mean 1 and spread 0.15 by chance.
    error = (plain - doubly).std(0) / 200**0.5
    assert ((plain - doubly).mean(0) / error).square().mean() < 1.6
    assert doubly.var(0).mean() < plain.var(0).mean()


def test_auto_reads_the_lowest_layer_off_an_own_encoder():
    model = LadderVAE(encoder=nn.Linear(5, 12), upper_dims=(2,), hidden=(8,), epochs=1, random_state=0)
    assert model.fit(table()).transform(table()).shape == (90, 6)
    model = LadderVAE(encoder=nn.Linear(5, 12), hidden=(8,), epochs=1, random_state=0)
    assert model.fit(table()).model_.code.layers == (4, 2)


def test_layers_below_follow_a_number_that_was_changed():
    model = small("LadderVAE", latent_dim=3, upper_dims=(2, 1), epochs=1).fit(table())
    z, prior = torch.randn(4, 6, generator=torch.Generator().manual_seed(0)), model.model_.prior()
    with torch.no_grad():
        assert torch.equal(model.model_.with_layers_below(z, 2), z)
        middle, top = model.model_.with_layers_below(z, 3), model.model_.with_layers_below(z, 5)
        second = prior.layer(1, z[:, 5:]).loc
        torch.testing.assert_close(middle, torch.cat([prior.layer(0, z[:, 3:5]).loc, z[:, 3:]], -1))
        torch.testing.assert_close(top, torch.cat([prior.layer(0, second).loc, second, z[:, 5:]], -1))
