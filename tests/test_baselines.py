"""The simple models beside a run: densities of known data, in the data's own units."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.datasets import load_wine

import isthmus
from isthmus.evaluation import baselines
from isthmus.evaluation.baseline_data import BaselineData, as_scored
from isthmus.evaluation.baselines import DENSITIES, LINEAR_DENSITIES, ppca_scores
from isthmus.evaluation.evaluate import evaluate
from isthmus.examples import Examples
from isthmus.metrics.principal_axes import (
    factor_of_blocks,
    linear_density,
    linear_scores_by_size,
    principal_axes,
    triangular_factor,
)
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


@pytest.mark.parametrize(("n", "d"), [(50, 6), (8, 20)])
def test_one_decomposition_scores_linear_models_of_all_sizes(n, d):
    x, test = table(n, d), table(30, d, seed=1)
    axes = principal_axes(x.mean(0), triangular_factor(x), n)
    sizes = range(min(n - 1, d))
    known = [linear_density(axes, k)(test).mean() for k in sizes]
    np.testing.assert_allclose(linear_scores_by_size(axes, test, sizes[-1]), known, rtol=1e-9)


def wine_parts() -> tuple[np.ndarray, np.ndarray]:
    order = np.random.default_rng(0).permutation(178)
    x = load_wine().data[order]
    return x[:133], x[133:]


@pytest.mark.parametrize("scaling", ["standard", "global", "none"])
def test_probabilistic_pca_has_the_models_own_size_and_scaling(scaling):
    train, test = wine_parts()  # columns whose deviations differ by a factor of 2,500
    model = small("VAE", scaling=scaling, validation_fraction=0).fit(train)
    linear = isthmus.ProbabilisticPCA(latent_dim=3, scaling=scaling).fit(train)
    found = density_scores(model, train, test)["ppca"]
    assert found.size == {"latent_dim": 3, "scaling": "standard" if scaling == "standard" else "global"}
    np.testing.assert_allclose(found.log_px, linear.score_samples(test), atol=1e-6)


def test_the_best_linear_model_has_the_size_and_scaling_of_the_data():
    random = np.random.default_rng(0)
    weight, units = random.normal(size=(4, 12)), np.logspace(0, 4, 12)
    x = random.normal(size=(3000, 4)) @ weight + random.normal(size=(3000, 12))
    x /= x.std(0)  # columns of equal spread, in which noise has nearly one variance
    found = DENSITIES["ppca_best"](ground(x, 1))
    assert 4 <= found.size["latent_dim"] < 12
    uneven = DENSITIES["ppca_best"](ground(x * units, 1))
    assert uneven.size["scaling"] == "standard"
    moved = uneven.log_density(x * units) + np.log(units).sum()
    assert moved.mean() == pytest.approx(found.log_density(x).mean(), abs=0.02)
    loud = random.normal(size=(3000, 4)) @ (weight * np.logspace(0, 1.5, 12)) + random.normal(size=(3000, 12))
    assert DENSITIES["ppca_best"](ground(loud, 1)).size == {"latent_dim": 4, "scaling": "global"}  # the true model


def test_a_weak_baseline_makes_no_winner():
    train, test = wine_parts()
    model = isthmus.VAE(latent_dim=3, hidden=(64, 64), epochs=200, random_state=0).fit(train)
    facts = evaluate(model, test, draws=100, train=train).to_dict()["baselines"]
    exact = isthmus.ProbabilisticPCA(latent_dim=3, scaling="standard").fit(train)
    assert facts["ppca"]["mean"] == pytest.approx(exact.score(test), abs=0.1)  # 13 rows chose the weights of the model
    assert all(facts[name]["margin"]["mean"] < 2 * facts[name]["margin"]["standard_error"] for name in LINEAR_DENSITIES)


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_a_model_is_neither_better_nor_worse_than_itself(precision):
    random = np.random.default_rng(0)
    x = random.normal(size=(600, 3)) @ random.normal(size=(3, 10)) + 0.5 * random.normal(size=(600, 10)) + 10
    train, test = x[:400], x[400:]
    found = isthmus.ProbabilisticPCA(latent_dim=3, precision=precision).fit(train)
    evaluation = evaluate(found, test, train=train)
    margin = evaluation["baselines.ppca.margin"]
    assert (margin.value, margin.note) == (0, "no clear difference")
    better = isthmus.diagnose(found, test, train=train, evaluation=evaluation)
    assert not [finding for finding in better if finding.code.startswith("worse")]


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
    assert mixture.size["components"] == 3
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
    assert found.size["components"] == 1
    assert found.log_density(held).mean() == pytest.approx(true.logpdf(held).mean(), abs=0.02)  # 14 / 4,000 nats


def test_where_rows_are_few_a_mixture_is_as_linear_as_probabilistic_pca():
    x = table(12, 30)
    one = ground((x - x.mean(0)) / x.std(0), 3)
    assert DENSITIES["factor_analysis"](one) is None
    found, known = (DENSITIES[name](one) for name in ("gaussian_mixture", "ppca_best"))
    assert found.size == {"components": 1, "scaling": known.size["scaling"]}
    # The mixture divides by n, the other by n - 1: 12 rows differ by a twentieth of a nat for each axis.
    atol = 0.1 * (1 + known.size["latent_dim"])
    np.testing.assert_allclose(found.log_density(one.x), known.log_density(one.x), atol=atol)


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
    assert set(density_scores(small("VAE").fit(few), few, few)) == {"ppca", "ppca_best", "gaussian_mixture"}


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


def test_the_noise_of_fewer_rows_than_columns_is_that_of_all_other_directions():
    random = np.random.default_rng(0)
    axes = random.normal(size=(5, 300))
    train, test = (random.normal(size=(n, 5)) @ axes + 0.5 * random.normal(size=(n, 300)) for n in (60, 40))
    model = isthmus.ProbabilisticPCA(latent_dim=5, scaling="none").fit(train)
    deviations = np.linalg.svd(train - train.mean(0), compute_uv=False)
    _, _, turn = np.linalg.svd(train - train.mean(0), full_matrices=False)
    variance = np.square(deviations) / 59
    noise = variance[5:].sum() / 295
    covariance = turn[:5].T @ np.diag(variance[:5] - noise) @ turn[:5] + noise * np.eye(300)
    exact = multivariate_normal(train.mean(0), covariance).logpdf(test)
    np.testing.assert_allclose(model.score_samples(test), exact, rtol=1e-6)
    found = principal_axes(train.mean(0), triangular_factor(train), 60)
    np.testing.assert_allclose(linear_density(found, 5)(test), exact, rtol=1e-8)
    assert linear_scores_by_size(found, test, 5)[5] == pytest.approx(exact.mean(), rel=1e-8)
    findings = isthmus.diagnose(model, test, train=train)
    assert "worse-than-baseline" not in {finding.code for finding in findings}


@pytest.mark.parametrize("size", [1, 7, 40, 100])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_the_axes_of_rows_in_blocks_are_those_of_all_rows(size, offset):
    x = np.random.default_rng(0).normal(size=(100, 6)) @ np.random.default_rng(1).normal(size=(6, 6)) + offset
    x[:50] += 3.0  # blocks of unlike means
    mean, factor, n = factor_of_blocks(x[start : start + size] for start in range(0, 100, size))
    whole = principal_axes(x.mean(0), triangular_factor(x), 100)
    parts = principal_axes(mean, factor, n)
    assert n == 100
    # To the rounding of numbers as large as the offset.
    np.testing.assert_allclose(parts.mean, whole.mean, rtol=1e-14)
    np.testing.assert_allclose(parts.variance, whole.variance, rtol=1e-12 * max(1.0, offset))
    np.testing.assert_allclose(np.abs(parts.axes @ whole.axes.T), np.eye(6), atol=1e-12 * max(1.0, offset))
