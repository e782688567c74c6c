"""Codes of categories: densities, draws and divergences against sums over all codes, and the model that has them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

import isthmus
from isthmus.distributions.categories import OneHotCategories, UniformCategories
from isthmus.distributions.kl_divergence import kl_divergence
from isthmus.random_streams import seeded
from models import bits, small, table

X = bits(n=200, d=12)
CODE = {"posterior": "categorical(3)", "prior": "uniform", "latent_dim": 6}


def every_code(variables: int, k: int) -> torch.Tensor:
    """(k^V, V k) all codes."""
    return torch.stack(
        [torch.eye(k)[list(each)].flatten() for each in itertools.product(range(k), repeat=variables)]
    ).double()


@pytest.fixture
def q() -> OneHotCategories:
    """Two variables of three categories, for two rows."""
    torch.manual_seed(0)
    return OneHotCategories(torch.randn(2, 2, 3, dtype=torch.float64).log_softmax(-1))


def test_probabilities_sum_to_one_and_the_divergence_is_a_sum_over_codes(q):
    codes, p = every_code(2, 3), UniformCategories(2, 3, torch.zeros((), dtype=torch.float64))
    log_q, log_p = q.log_prob(codes[:, None]), p.log_prob(codes)
    assert log_q.logsumexp(0).tolist() == pytest.approx([0, 0], abs=1e-12)
    assert float(log_p.logsumexp(0)) == pytest.approx(0, abs=1e-12)
    kl = kl_divergence(q, p)
    assert kl is not None
    assert kl.shape == (2, 2)
    torch.testing.assert_close(kl.sum(1), (log_q.exp() * (log_q - log_p[:, None])).sum(0))
    torch.testing.assert_close(q.mean, (log_q.exp()[..., None] * codes[:, None]).sum(0))


def test_draws_are_codes_and_have_their_probabilities(q):
    with seeded(0):
        z, log_q, _ = q.draw(q.noise(20_000, 2))
        p = UniformCategories(2, 3, torch.zeros((), dtype=torch.float64)).sample((20_000,))
    assert log_q is not None
    assert set(z.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(log_q, q.log_prob(z))
    codes = every_code(2, 3)
    # The standard error of a share is at most 0.5 / sqrt(20,000) = 0.0035; five are allowed.
    share = (z[:, :, None] == codes).all(-1).double().mean(0)
    assert (share - q.log_prob(codes[:, None]).exp().T).abs().max() < 0.018
    assert ((p[:, None] == codes).all(-1).double().mean(0) - 1 / 9).abs().max() < 0.018


def test_the_gradient_of_a_draw_is_that_of_the_softmax():
    logits = torch.randn(1, 1, 4, dtype=torch.float64, requires_grad=True)
    weights = torch.arange(4.0, dtype=torch.float64)
    for temperature in (0.5, 2.0):
        q = OneHotCategories(logits.log_softmax(-1), temperature)
        with seeded(0):
            noise = q.noise(1, 1)
        (ours,) = torch.autograd.grad((q.draw(noise).z * weights).sum(), logits)
        soft = ((logits.log_softmax(-1) + noise) / temperature).softmax(-1)
        (right,) = torch.autograd.grad((soft * weights).sum(), logits)
        torch.testing.assert_close(ours, right)


def test_the_mean_gradient_of_the_rate_by_draws_is_near_that_of_the_divergence():
    logits = torch.tensor([[[2.0, 0.0, -1.0]]], dtype=torch.float64, requires_grad=True)
    q = OneHotCategories(logits.log_softmax(-1))
    p = UniformCategories(1, 3, torch.zeros((), dtype=torch.float64))
    with seeded(0):
        z, log_q, _ = q.draw(q.noise(100_000, 1))
    assert log_q is not None
    (by_draws,) = torch.autograd.grad((log_q - p.log_prob(z)).mean(), logits, retain_graph=True)
    kl = kl_divergence(q, p)
    assert kl is not None
    (exact,) = torch.autograd.grad(kl.sum(), logits)
    # A straight-through gradient is biased: by a seventh of its length here, in nearly the same direction.
    assert (by_draws - exact).norm() < 0.25 * exact.norm()


@pytest.mark.parametrize("bound", ["elbo", "iwae(5)"])
def test_the_model_agrees_with_the_sum_over_all_codes(bound, tmp_path):
    model = small("VAE", **CODE, epochs=40, bound=bound, precision="float64", learning_rate=5e-3).fit(X)
    latent, codes = model.model_, every_code(2, 3)
    with torch.no_grad():
        joint = latent.decode(codes[:, None]).log_prob(torch.as_tensor(X[:20], dtype=torch.float64)) - math.log(9)
    exact = joint.logsumexp(0).numpy()
    scored, error = model.score_samples(X[:20], draws=4000, return_error=True)
    assert (np.abs(scored - exact) < 5 * error + 1e-6).all()
    assert (model.elbo(X[:20], draws=1000) < exact + 0.05).all()
    assert model.history_[-1]["kl" if bound == "elbo" else "loss"] > 0.1
    assert set(np.unique(model.transform(X))) == {0.0, 1.0}
    model.save(tmp_path / "run")
    loaded = isthmus.load(tmp_path / "run")
    np.testing.assert_array_equal(loaded.sample(5, random_state=1), model.sample(5, random_state=1))
    assert str(isthmus.evaluate(model, X, draws=50))
    assert isinstance(isthmus.diagnose(model, X), list)


def test_two_kinds_of_rows_are_two_categories():
    x = np.repeat([[0] * 8, [1] * 8], [150, 50], 0).astype(np.uint8)
    fields = {"epochs": 100, "learning_rate": 5e-3, "validation_fraction": 0}
    model = small("VAE", posterior="categorical(2)", prior="uniform", latent_dim=2, **fields).fit(x)
    assert len(np.unique(model.transform(x), axis=0)) == 2
    # -log p(x) of a uniform prior is log 2 for the kind, and little for the bits.
    assert -model.score(x) == pytest.approx(math.log(2), abs=0.1)


def test_auto_gives_each_dimension_of_the_linear_model_a_variable():
    model = isthmus.VAE(posterior="categorical(4)", hidden=(8,), epochs=1, random_state=0).fit(table())
    assert model.fitted_.code_size % 4 == 0
    assert model.fitted_.fields["prior"] == "uniform"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"posterior": "categorical(3)", "prior": "normal"}, "prior must be 'uniform' for codes that are categories"),
        ({"posterior": "categorical(4)"}, "latent_dim must be a multiple of k"),
        ({"posterior": "categorical(0)", "latent_dim": "auto"}, "k must be an integer >= 2"),
        ({"posterior": "categorical(1)"}, "k must be an integer >= 2"),
        ({"posterior": "categorical(3, 0)"}, "t must be a number > 0"),
        (
            {"posterior": "categorical(3)", "bound": "dreg(5)"},
            "another than .* for codes that are dr",
        ),
        (
            {"posterior": "categorical(3)", "bound": "piwae(2, 2)"},
            "another than .* for codes that",
        ),
        (
            {"posterior": "categorical(3)", "bound": "stl"},
            "another than .* for codes that are drawn",
        ),
        ({"posterior": "categorical(3)", "penalty": "factor(1)"}, "posterior must be one over numbers"),
        ({"posterior": "categorical(3)", "penalty": "dip(1)"}, "posterior must be one over numbers"),
    ],
)
def test_what_cannot_be_is_refused(fields, message):
    with pytest.raises(isthmus.InputError, match=message):
        small("VAE", **{"latent_dim": 6, "prior": "uniform", **fields}).fit(X)
