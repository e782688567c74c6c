"""The simple models beside a run: densities of known data, in the data's own units."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from isthmus.evaluation import baselines
from isthmus.evaluation.baselines import DENSITIES, BaselineData, as_scored, ppca_scores
from isthmus.evaluation.evaluate import evaluate
from isthmus.examples import Examples
from models import DATA, bits, images, small, table


def ground(x: np.ndarray, latent_dim: int, scale: np.ndarray | None = None) -> BaselineData:
    """Continuous rows in double precision."""
    scale = np.ones(x.shape[1]) if scale is None else scale
    return BaselineData(x, x / scale, scale, latent_dim, False, 2e-16, 0)


def density_scores(model, train: np.ndarray, test: np.ndarray) -> dict:
    """Every density that is bounded on the training rows, scored on the test rows."""
    fitted = model.fitted_
    return BaselineData.of(fitted, train).scores(DENSITIES, as_scored(fitted, test))


def clusters(n: int, d: int, seed: int, apart: float = 20.0) -> np.ndarray:
    """Three round Gaussians of spread 1 whose centres make a triangle in the first two columns."""
    random = np.random.default_rng(seed)
    centres = np.zeros((3, d))
    centres[:, :2] = apart * np.array([[1, 0], [-0.5, math.sqrt(0.75)], [-0.5, -math.sqrt(0.75)]])
    return centres[np.arange(n) % 3] + random.normal(size=(n, d))


@pytest.mark.parametrize("name", DENSITIES)
def test_densities_integrate_to_one_in_the_datas_units(name):
    units, shift = np.array([0.01, 30.0]), np.array([5.0, -1000.0])
    x = clusters(600, 2, 0, apart=6.0) * units + shift
    fitted = DENSITIES[name](ground(x, 1, scale=units * 3))
    axes = [np.linspace(-40, 40, 500) * unit + at for unit, at in zip(units, shift)]
    cell = math.prod(axis[1] - axis[0] for axis in axes)
    grid = np.stack(np.meshgrid(*axes), -1).reshape(-1, 2)
    # Widths are six steps of the grid and more: its sum is exact, and 40 spreads leave no tails.
    assert np.exp(fitted.log_density(grid)).sum() * cell == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("name", DENSITIES)
def test_densities_of_one_column_integrate_to_one(name):
    x = clusters(600, 2, 0, apart=6.0)[:, :1] * 0.01
    fitted = DENSITIES[name](ground(x, 4))
    axis = np.linspace(-0.5, 0.5, 2000)
    assert np.exp(fitted.log_density(axis[:, None])).sum() * (axis[1] - axis[0]) == pytest.approx(1, abs=1e-6)


def test_factor_analysis_finds_columns_of_unequal_noise():
    random = np.random.default_rng(0)
    weight, noise = random.normal(size=(10, 2)), np.logspace(-1, 0.7, 10)
    true = multivariate_normal(np.full(10, 7.0), weight @ weight.T + np.diag(noise**2))
    x, held = true.rvs(4000, random_state=1), true.rvs(4000, random_state=2)
    found = DENSITIES["factor_analysis"](ground(x, 2))
    assert found.size == {"latent_dim": 2}
    # 39 free numbers learned from 4,000 rows cost 39 / 8,000 = 0.005 nats.
    exact = true.logpdf(held)
    assert found.log_density(held).mean() == pytest.approx(exact.mean(), abs=0.02)
    np.testing.assert_allclose(found.log_density(held[:50]), exact[:50], atol=0.5)
    assert DENSITIES["ppca"](ground(x, 2)).log_density(held).mean() < exact.mean() - 1
    # Other units move every density by the same.
    units = np.logspace(-3, 3, 10)
    moved = DENSITIES["factor_analysis"](ground(x * units, 2)).log_density(held * units) + np.log(units).sum()
    np.testing.assert_allclose(moved, found.log_density(held), atol=1e-6)


def test_factor_analysis_of_many_columns_is_that_of_all_rows(monkeypatch):
    random = np.random.default_rng(0)
    x = random.normal(size=(400, 3)) @ random.normal(size=(3, 20)) + random.normal(size=(400, 20)) * 0.5
    exact = DENSITIES["factor_analysis"](ground(x, 3)).log_density(x).mean()
    monkeypatch.setattr(baselines, "MAX_EXACT_FA_COLUMNS", 0)
    # The random decomposition stops where its own noise is larger than a step's gain.
    assert DENSITIES["factor_analysis"](ground(x, 3)).log_density(x).mean() == pytest.approx(exact, abs=0.05)


def test_a_mixture_beats_linear_models_on_clusters_by_the_exact_gain():
    x, held = clusters(3000, 5, 0), clusters(3000, 5, 1)
    mixture, linear = (DENSITIES[name](ground(x, 2)) for name in ("gaussian_mixture", "ppca"))
    assert mixture.size == {"components": 3}
    # A triangle of radius r has variance r^2 / 2 along either axis. Entropies: log 3 + that of the noise, against the
    # Gaussian of the same covariance. 3,000 rows determine them to some hundredths.
    gain = 0.5 * 2 * math.log(1 + 20.0**2 / 2) - math.log(3)
    assert mixture.log_density(held).mean() - linear.log_density(held).mean() == pytest.approx(gain, abs=0.03)
    entropy = math.log(3) + 2.5 * math.log(2 * math.pi * math.e)
    assert mixture.log_density(held).mean() == pytest.approx(-entropy, abs=0.05)


def test_a_mixture_of_one_gaussian_is_the_gaussian():
    true = multivariate_normal(np.zeros(4), np.diag([9.0, 4.0, 1.0, 0.25]))
    x, held = true.rvs(2000, random_state=0), true.rvs(2000, random_state=1)
    found = DENSITIES["gaussian_mixture"](ground(x, 2))
    assert found.size == {"components": 1}
    assert found.log_density(held).mean() == pytest.approx(true.logpdf(held).mean(), abs=0.02)  # 14 / 4,000 nats


def test_where_rows_are_few_a_mixture_is_as_linear_as_probabilistic_pca():
    x = table(12, 30)
    one = ground((x - x.mean(0)) / x.std(0), 3)
    assert DENSITIES["factor_analysis"](one) is None
    found, known = (DENSITIES[name](one).log_density(one.x) for name in ("gaussian_mixture", "ppca"))
    # The mixture divides by n, the other by n - 1: 12 rows along three axes differ by a few tenths of a nat.
    np.testing.assert_allclose(found, known, atol=0.5)


@pytest.mark.parametrize("n", [2, 3, 12])
def test_codes_wider_than_rows_are_many_leave_every_density_finite(n):
    for x in (table(n, 30), images(n), np.repeat(table(n, 30), 3, 0), table(n, 1)):
        model = small("VAE", latent_dim=40, validation_fraction=0).fit(x)
        found = density_scores(model, x, x)
        assert {"ppca", "gaussian_mixture"} <= set(found)
        assert all(np.isfinite(density.log_px).all() for density in found.values())


@pytest.mark.parametrize("kind", DATA)
def test_all_densities_see_the_same_rows_and_noises(kind):
    x = DATA[kind]()
    model = small("VAE").fit(x)
    train, test = x[:70], x[70:]
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    found = density_scores(model, train, test)
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002
    assert list(found) == list(DENSITIES)
    assert all(density.log_px.shape == (len(x) - 70,) for density in found.values())
    assert all(np.isfinite(density.log_px).all() for density in found.values())
    linear = ppca_scores(model.fitted_, Examples(train), Examples(test))
    assert (found["ppca"].log_px == linear.log_px).all()
    assert found["ppca"].size == linear.size
    again = density_scores(model, train, test)
    assert all((found[name].log_px == again[name].log_px).all() for name in found)


def test_dequantised_densities_are_below_probabilities():
    x = bits(400, 3)
    model = small("VAE", latent_dim=1).fit(x)
    every = np.array(list(itertools.product((0, 1), repeat=3)), np.uint8)
    for density in density_scores(model, x, every).values():
        assert 0.05 < np.exp(density.log_px).sum() < 1.05  # eight noises a row stand for all


def test_rows_that_do_not_span_their_space_have_no_density():
    x = table(90, 4)
    x = np.concatenate([x, x[:, :1] + x[:, 1:2]], 1)
    model = small("VAE").fit(x)
    assert density_scores(model, x, x) == {}
    assert ppca_scores(model.fitted_, Examples(x), Examples(x)) is None
    few = images(12, (6, 5))  # discrete: noise spans what rows leave, but no column's own is known
    assert set(density_scores(small("VAE").fit(few), few, few)) == {"ppca", "gaussian_mixture"}


def test_a_mixture_of_many_numbers_is_fitted_to_some_rows(monkeypatch):
    x = clusters(3000, 5, 0)
    whole = DENSITIES["gaussian_mixture"](ground(x, 2)).log_density(x).mean()
    monkeypatch.setattr(baselines, "MAX_MIXTURE_NUMBERS", 1500)
    some = DENSITIES["gaussian_mixture"](ground(x, 2)).log_density(x).mean()
    assert some != whole
    assert some == pytest.approx(whole, abs=0.2)  # 32 numbers learned from 300 rows cost 0.05 nats


def test_baselines_are_reported_with_their_size_and_unit():
    x = table()
    found = evaluate(small("VAE").fit(x), x, draws=10, train=Examples(x))
    facts = found.to_dict()["baselines"]
    assert list(facts) == ["mean", "pca", *DENSITIES]
    assert all(facts[name]["unit"] == "nats" and facts[name]["kind"] == "density" for name in DENSITIES)
    assert facts["factor_analysis"]["latent_dim"] == 3
    assert facts["gaussian_mixture"]["components"] >= 1
    assert "baseline: Gaussian mixture" in str(found)
    plain = evaluate(small("Autoencoder").fit(x), x, train=Examples(x)).to_dict()["baselines"]
    assert set(plain) == {"mean", "pca"}
