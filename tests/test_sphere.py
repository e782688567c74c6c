"""Codes on a sphere: densities, draws, gradients and divergences against sums and integrals."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import ive

import isthmus
from isthmus import random_streams
from isthmus.diagnosis.context import DiagnosisContext
from isthmus.distributions.kl_divergence import kl_divergence
from isthmus.distributions.sphere import UniformSphere, VonMisesFisher, log_area
from models import small, table

X = table(n=300)
SPHERE = {"posterior": "hyperspherical", "prior": "uniform"}
CASES = [(d, kappa) for d in (2, 3, 4, 10, 50) for kappa in (1.0, 7.0, 100.0, 4000.0)]


def vmf(d: int, kappa: float, rows: int = 1) -> VonMisesFisher:
    loc = torch.nn.functional.normalize(
        torch.randn(rows, d, generator=torch.Generator().manual_seed(d)).double(), dim=-1
    )
    return VonMisesFisher(loc, torch.full((rows, 1), kappa, dtype=torch.double))


@pytest.mark.parametrize(("d", "kappa"), CASES)
def test_the_density_is_that_of_bessel_functions(d, kappa):
    # log C = (d/2 - 1) log kappa - d/2 log 2 pi - log I_{d/2 - 1}(kappa); at the mode, plus kappa.
    exact = (d / 2 - 1) * math.log(kappa) - d / 2 * math.log(2 * math.pi) - math.log(ive(d / 2 - 1, kappa))
    q = vmf(d, kappa)
    assert q.log_prob(q.loc).item() == pytest.approx(exact, abs=1e-6)
    assert q.cosine.item() == pytest.approx(ive(d / 2, kappa) / ive(d / 2 - 1, kappa), abs=1e-6)


@pytest.mark.parametrize(("d", "kappa"), CASES)
def test_the_divergence_is_the_mean_of_the_log_ratio(d, kappa):
    q, p = vmf(d, kappa), UniformSphere(torch.zeros(d, dtype=torch.double))
    z = q.draw(q.noise(20_000, 1))
    ratio = (z.log_q - p.log_prob(z.z))[:, 0]
    error = ratio.std() / math.sqrt(len(ratio))
    assert abs(ratio.mean() - kl_divergence(q, p).item()) < 4 * error
    torch.testing.assert_close(z.log_q, q.log_prob(z.z))
    torch.testing.assert_close(z.z.norm(dim=-1), torch.ones_like(z.z[..., 0]))


@pytest.mark.parametrize(("d", "kappa"), CASES)
def test_draws_have_the_distribution(d, kappa):
    q = vmf(d, kappa)
    with random_streams.seeded(3):
        z = q.rsample((4000,))[:, 0]
    ours = (z @ q.loc[0]).clamp(-1, 1).numpy()
    theirs = stats.vonmises_fisher(q.loc[0].numpy(), kappa, seed=0).rvs(4000) @ q.loc[0].numpy()
    assert stats.ks_2samp(ours, theirs).pvalue > 1e-4
    away = torch.nn.functional.normalize(z - (z @ q.loc[0])[:, None] * q.loc[0], dim=-1)
    assert away.mean(0).norm() < 5 / math.sqrt(4000)


@pytest.mark.parametrize(("d", "kappa"), [(2, 3.0), (3, 1.0), (5, 40.0), (20, 500.0)])
def test_the_gradient_of_draws_is_that_of_the_mean(d, kappa):
    # d E[f(z)] / d kappa for f(z) = loc · z is the derivative of the mean cosine, which Bessel functions give.
    q = vmf(d, kappa)
    k = q.kappa.clone().requires_grad_()
    drawn = VonMisesFisher(q.loc, k).draw(q.noise(20_000, 1)).z
    each = (drawn * q.loc).sum(-1)[:, 0]
    (gradient,) = torch.autograd.grad(each.mean(), k)

    def cosine(kappa: float) -> float:
        return ive(d / 2, kappa) / ive(d / 2 - 1, kappa)

    exact = (cosine(kappa * 1.001) - cosine(kappa * 0.999)) / (0.002 * kappa)
    assert gradient.item() == pytest.approx(exact, rel=0.05)  # of 20,000 draws
    # And of one draw, by a difference at the same noise.
    noise = q.noise(50, 1)
    up, down = (VonMisesFisher(q.loc, q.kappa + e).draw(noise).z for e in (1e-4 * kappa, -1e-4 * kappa))
    k = q.kappa.clone().requires_grad_()
    z = VonMisesFisher(q.loc, k).draw(noise).z
    (gradient,) = torch.autograd.grad((z * q.loc).sum(), k)
    assert gradient.item() == pytest.approx((((up - down) * q.loc).sum() / (2e-4 * kappa)).item(), rel=1e-4)


@pytest.mark.parametrize("shape", [(), (5,), (2, 5), (0,)])
def test_draws_of_any_shape(shape):
    q = vmf(3, 5.0, rows=4)
    assert q.rsample(shape).shape == q.sample(shape).shape == (*shape, 4, 3)


def test_an_output_of_zero_has_a_mode_and_inference_mode_leaves_nothing_behind():
    family = isthmus.families.Hyperspherical((3,))
    with torch.inference_mode():
        np.testing.assert_allclose(family(torch.zeros(2, 4)).centre.norm(dim=-1), 1)
    raw = torch.zeros(2, 4, requires_grad=True)
    family(raw).rsample().sum().backward()
    assert raw.grad.isfinite().all()


@pytest.mark.parametrize(("d", "kappa"), CASES)
def test_the_inverse_is_exact(d, kappa):
    q, u = vmf(d, kappa), torch.tensor([1e-9, 1e-4, 0.3, 0.99, 1 - 1e-6], dtype=torch.double)[:, None]
    torch.testing.assert_close(q.below(q.angle(u), q.kappa[..., 0], q.log_z[..., 0]), u, atol=1e-9, rtol=1e-6)


def test_a_mode_on_the_first_axis_and_rows_of_their_own():
    loc = torch.eye(3).double()[[0, 0, 1]]
    q = VonMisesFisher(loc, torch.tensor([[5.0], [50.0], [500.0]], dtype=torch.double))
    z = q.draw(q.noise(2000, 3)).z
    np.testing.assert_allclose(z.mean(0), q.mean, atol=0.05)
    torch.testing.assert_close(q.rows(torch.tensor([2])).mean, q.mean[2:])
    assert log_area(3) == pytest.approx(math.log(4 * math.pi))


@pytest.mark.parametrize("bound", ["elbo", "stl", "iwae(5)", "dreg(5)", "miwae(2, 3)"])
def test_it_trains_scores_samples_and_saves_under_every_bound(bound, tmp_path):
    model = small("VAE", **SPHERE, bound=bound, latent_dim=3, epochs=20).fit(X)
    np.testing.assert_allclose(np.linalg.norm(model.transform(X), axis=1), 1, atol=1e-5)
    scores = [model.score_samples(X, draws=draws).mean() for draws in (1, 10, 300)]
    assert scores[0] < scores[1] + 0.05
    assert scores[1] < scores[2] + 0.05
    assert np.isfinite(model.sample(20, random_state=0)).all()
    model.save(tmp_path / "run")
    np.testing.assert_allclose(isthmus.load(tmp_path / "run").transform(X), model.transform(X), atol=1e-6)


def test_the_evidence_is_that_of_quadrature_on_a_circle():
    model = small("VAE", **SPHERE, latent_dim=2, epochs=40).fit(X)
    net, rows = model.fitted_.model, model.fitted_.dataset(X[:20]).batch(torch.arange(20))
    angles = torch.linspace(0, 2 * math.pi, 4001)[:-1]
    with torch.no_grad():
        z = torch.stack([angles.cos(), angles.sin()], -1)[:, None].expand(-1, 20, -1)
        log_px = (net.decode(z).log_prob(rows.x) - net.volume_of(rows)).double()
    exact = log_px.logsumexp(0) - math.log(len(angles))
    np.testing.assert_allclose(model.score_samples(X[:20], draws=2000), exact, atol=0.05)  # of 2,000 draws


def test_everything_is_measured_and_said_of_codes_on_a_sphere(tmp_path):
    model = small("VAE", **SPHERE, latent_dim=3, epochs=20).fit(X)
    measured = isthmus.evaluate(model, X[:100], train=X[100:], draws=20)
    assert "refit_gain" not in measured
    findings = isthmus.diagnose(model, X[:100], train=X[100:], evaluation=measured)
    isthmus.report_page(model, X[:100], tmp_path / "page.html", train=X[100:], evaluation=measured)
    for prior in ("mixture(3)", "refit"):
        line = DiagnosisContext(model.fitted_).retrain(prior=prior, epochs=1)
        assert eval(line, {"isthmus": isthmus, "X": X}).fitted_ is not None
    assert isinstance(findings, list)


@pytest.mark.parametrize("d", [3, 500, 2000])
def test_the_divergence_keeps_its_digits_in_single_precision(d):
    q, p = vmf(d, 1.0), UniformSphere(torch.zeros(d))
    single = VonMisesFisher(q.loc.float(), q.kappa.float())
    torch.testing.assert_close(kl_divergence(single, p).double(), kl_divergence(q, p), rtol=1e-5, atol=0)
    # log(sinh(kappa) / kappa) and coth(kappa) - 1 / kappa are known of three dimensions; kappa^2 / (2 D) of many.
    exact = 1 / math.tanh(1) - 1 - math.log(math.sinh(1)) if d == 3 else 1 / (2 * d)
    assert kl_divergence(q, p).item() == pytest.approx(exact, rel=1e-6 if d == 3 else 2 / d)


@pytest.mark.parametrize(
    "fields",
    [
        {"posterior": "hyperspherical", "prior": "normal"},
        {"posterior": "hyperspherical", "prior": "mixture(2)"},
        {"prior": "uniform"},
        {"posterior": "hyperspherical", "latent_dim": 1},
    ],
)
def test_what_does_not_lie_on_a_sphere_is_refused(fields):
    with pytest.raises(isthmus.InputError, match=r"prior must be|latent_dim must be"):
        small("VAE", **{"latent_dim": 3, **fields}).fit(X)


def test_the_prior_and_a_size_are_chosen_to_go_with_it():
    model = isthmus.VAE(posterior="hyperspherical", random_state=0, epochs=3, hidden=(8,)).fit(X)
    assert model.settings_["chosen"]["prior"] == "uniform"
    assert model.transform(X).shape[1] >= 2
