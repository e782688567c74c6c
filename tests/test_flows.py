"""Normalizing flows as priors and as posteriors."""

import math

import numpy as np
import pytest
import torch
from torch import distributions as D

import isthmus
from isthmus.distributions.continuous import Normal
from isthmus.distributions.flow import Flowed
from isthmus.families import FlowNormal
from isthmus.nets.flow import Flow
from models import small, table
from test_full_normal import factors

X = table()
F64 = torch.float64


def flow(dim: int, context: int = 0, k: int = 2, **kind) -> Flow:
    """One whose maps are far from the identity."""
    made = Flow(dim, k, context, **kind).double()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=F64))
    return made


KINDS = [{"spline": False}, {"spline": True}, {"spline": True, "coupling": True}]


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("dim", [1, 2, 5])
@pytest.mark.parametrize("context", [0, 3])
def test_maps_back_are_inverse_and_the_change_of_volume_is_that_of_the_jacobian(kind, dim, context):
    made = flow(dim, context, **kind)
    x = 2 * torch.randn(6, dim, dtype=F64, generator=torch.Generator().manual_seed(0))
    c = torch.randn(6, context, dtype=F64, generator=torch.Generator().manual_seed(1)) if context else None
    y, log_det = made(x, c)
    back, of_inverse = made(y, c, inverse=True)
    assert not torch.allclose(x, y, atol=0.1)
    torch.testing.assert_close(back, x, atol=1e-8, rtol=0)
    torch.testing.assert_close(of_inverse, -log_det, atol=1e-7, rtol=0)
    for row in range(len(x)):
        given = None if c is None else c[row]
        for inverse, at, expected in ((False, x, log_det), (True, y, -log_det)):
            jacobian = torch.func.jacrev(lambda v, given=given, inverse=inverse: made(v, given, inverse)[0])(at[row])
            torch.testing.assert_close(torch.linalg.slogdet(jacobian).logabsdet, expected[row], atol=1e-7, rtol=0)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_inverse_has_its_gradient_in_the_parameters(kind):
    made = flow(3, **kind)
    y = torch.randn(4, 3, dtype=F64, generator=torch.Generator().manual_seed(0))
    parameter = next(p for p in reversed(list(made.parameters())) if p.numel() > 1)

    def value() -> torch.Tensor:
        back, log_det = made(y, None, True)
        return (back.square().sum(-1) + log_det).sum()

    (gradient,) = torch.autograd.grad(value(), parameter)
    step = 1e-6 * torch.randn(parameter.shape, dtype=F64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        parameter.add_(step)
        above = value()
        parameter.sub_(2 * step)
        below = value()
    assert (gradient * step).sum().item() == pytest.approx(((above - below) / 2).item(), rel=1e-4)


def test_a_flow_starts_as_the_identity_and_refuses_other_numbers_of_maps():
    x = torch.randn(4, 3)
    for kind in KINDS:
        y, log_det = Flow(3, 2, **kind)(x)
        torch.testing.assert_close(y, x)
        torch.testing.assert_close(log_det, torch.zeros(4), atol=1e-5, rtol=0)
    for k in (0, 2.5, 33, True):
        with pytest.raises(isthmus.InputError, match="k must be an integer from 1 to 32"):
            Flow(3, k)
    with pytest.raises(isthmus.InputError, match="k must be an integer from 1 to 32"):
        small("VAE", prior="flow(0)").fit(X)


@pytest.mark.parametrize("of_draws", [True, False])
def test_densities_integrate_to_one_and_draws_have_theirs(of_draws):
    zero = torch.zeros(1, dtype=F64)
    p = Flowed(Normal(zero, zero), flow(1), None, of_draws)
    grid = torch.linspace(-12, 12, 20_001, dtype=F64)[:, None]
    density = p.log_prob(grid).exp()
    assert torch.trapezoid(density, grid[:, 0]).item() == pytest.approx(1, abs=1e-6)
    # Standard errors of the mean of 20,000 draws are 0.01.
    mean = torch.trapezoid(density * grid[:, 0], grid[:, 0])
    torch.testing.assert_close(p.sample((20_000,)).mean(), mean, atol=0.05, rtol=0)
    z, log_q, _ = p.draw(torch.randn(50, 1, 1, dtype=F64))
    torch.testing.assert_close(log_q, p.log_prob(z), atol=1e-7, rtol=0)


@pytest.mark.parametrize("spline", [True, False])
def test_posteriors_read_their_rows_and_can_be_held_fixed(spline):
    family = FlowNormal((3,), 2, spline).double()
    family.flow.load_state_dict(flow(3, 32, spline=spline, coupling=spline).state_dict())
    raw = torch.randn(4, family.raw_numel, dtype=F64, requires_grad=True)
    q, index = family(raw), torch.tensor([2, 0])
    z, log_q, _ = q.draw(torch.randn(5, 4, 3, dtype=F64))
    torch.testing.assert_close(log_q, q.log_prob(z), atol=1e-7, rtol=0)
    torch.testing.assert_close(q.rows(index).log_prob(z[:, index]), log_q[:, index], atol=1e-7, rtol=0)
    fixed = q.stopped().log_prob(z.detach().requires_grad_())
    torch.testing.assert_close(fixed, log_q, atol=1e-7, rtol=0)
    gradients = torch.autograd.grad(fixed.sum(), [raw, *family.parameters()], allow_unused=True)
    assert all(gradient is None for gradient in gradients)


def ring(n: int = 600) -> np.ndarray:
    """Points of a circle, of which each axis alone has two modes."""
    random = np.random.default_rng(0)
    angle = random.uniform(0, 2 * np.pi, n)
    noise = 0.1 * random.normal(size=(n, 4))
    return 2 * np.stack([np.cos(angle), np.sin(angle), np.cos(2 * angle), np.sin(2 * angle)], 1) + noise


def test_a_flow_as_prior_describes_a_ring_better_than_a_normal():
    x = ring()
    fields = {"latent_dim": 2, "hidden": (32, 32), "epochs": 120, "initialization": "random", "random_state": 0}
    normal, flowed = (
        isthmus.VAE(prior=prior, **fields).fit(x[:500]).elbo(x[500:], draws=100).mean()
        for prior in ("normal", "flow(2)")
    )
    assert flowed > normal + 0.5


CORRELATED = D.MultivariateNormal(torch.zeros(2), torch.tensor([[1.0, 0.9], [0.9, 1.0]]))
TWO = D.Independent(D.Normal(torch.tensor([[-1.5], [1.5]]), torch.full((2, 1), 0.5)), 1)
TWO_MODES = D.MixtureSameFamily(D.Categorical(torch.tensor([0.5, 0.5])), TWO)


@pytest.mark.parametrize(
    ("posterior", "prior", "size", "gap", "of_normal"),
    [
        ("iaf(2)", CORRELATED, 2, 0.015, 0.05),
        pytest.param("flow(2)", CORRELATED, 2, 0.015, 0.05, marks=pytest.mark.grid),
        pytest.param("flow(2)", TWO_MODES, 1, 0.2, 0.5, marks=pytest.mark.grid),
    ],
)
def test_flows_as_posteriors_close_the_gap_of_the_bound(posterior, prior, size, gap, of_normal):
    """A linear decoder and a prior that leave codes correlated, or with two modes, given x."""
    x, gaps = factors(), []
    for each in ("normal", posterior):
        model = isthmus.VAE(
            latent_dim=size, hidden=(), posterior=each, prior=prior, likelihood="normal(1.0)", scaling="none",
            epochs=100, batch_size=50, learning_rate=1e-2, random_state=1,
        ).fit(x)  # fmt: skip
        gaps.append(float(np.mean(model.score_samples(x, draws=500) - model.elbo(x, draws=500))))
    assert gaps[1] < gap
    assert gaps[0] > of_normal


@pytest.mark.parametrize(
    ("prior", "posterior", "bound"),
    [
        ("flow(2)", "normal", "elbo"),
        ("normal", "iaf(2)", "dreg(3)"),
        ("mixture(3)", "flow(2)", "stl"),
        ("flow(1)", "iaf(1)", "iwae(3)"),
        ("refit(2)", "flow(1)", "elbo"),
        pytest.param("flow(2)", "full_normal", "piwae(2, 2)", marks=pytest.mark.grid),
        pytest.param("normal", "flow(2)", "ciwae(3, 0.5)", marks=pytest.mark.grid),
    ],
)
def test_models_with_flows_train_save_score_and_are_evaluated(prior, posterior, bound, tmp_path):
    model = small("VAE", prior=prior, posterior=posterior, bound=bound, latent_dim=3).fit(X)
    model.save(tmp_path / "run")
    loaded = isthmus.load(tmp_path / "run")
    np.testing.assert_array_equal(loaded.transform(X), model.transform(X))
    np.testing.assert_allclose(loaded.score_samples(X, draws=20), model.score_samples(X, draws=20))
    few, many = model.elbo(X, draws=300).mean(), model.score_samples(X, draws=300).mean()
    assert few <= many + 1e-3
    assert np.isfinite(model.score_samples(X)).all()
    assert model.sample(5, random_state=0).shape == (5, X.shape[1])
    assert model.sample(0).shape == (0, X.shape[1])
    assert "log_likelihood" in isthmus.evaluate(model, X, draws=20).to_dict()
    assert isinstance(isthmus.diagnose(model, X), list)


@pytest.mark.parametrize(("prior", "posterior"), [("flow(2)", "normal"), ("normal", "flow(2)"), ("flow(1)", "iaf(2)")])
def test_log_p_is_that_of_quadrature_over_a_code_of_one_number(prior, posterior):
    fields = {"latent_dim": 1, "prior": prior, "posterior": posterior, "precision": "float64", "scaling": "none"}
    model = small("VAE", likelihood="normal", epochs=15, **fields).fit(X / X.std(0))
    x = (X / X.std(0))[:10]
    scores = model.score_samples(x, draws=20_000)
    latent, rows = model.model_, torch.as_tensor(x)
    grid = torch.linspace(-15, 15, 30_001, dtype=F64)
    with torch.no_grad():
        log_prior = latent.prior(None, None, latent.posterior).log_prob(grid[:, None])
        joint = latent.decode(grid[:, None, None]).log_prob(rows) + log_prior[:, None]
        exact = torch.logsumexp(joint, 0) + math.log(30 / 30_000)
    np.testing.assert_allclose(scores, exact.numpy(), atol=0.05)  # of 20,000 draws


def test_pseudo_inputs_with_a_flow_as_posterior_are_refused():
    with pytest.raises(isthmus.InputError, match="posterior must be 'normal'"):
        small("VAE", prior="vamp(3)", posterior="iaf(2)").fit(X)
