"""One definition of a dimension in use, wherever a number of them is said."""

import numpy as np
import pytest

import isthmus
from isthmus.metrics.dimensions_in_use import IN_USE_NATS, dimensions_in_use, nats_of_widths
from isthmus.plot.context import PlotContext
from isthmus.report.headline import verdict
from models import small


def rows(n: int = 400) -> np.ndarray:
    random = np.random.default_rng(0)
    z = random.normal(size=(n, 2)) * (3.0, 0.4)
    return (z @ np.linalg.qr(random.normal(size=(6, 2)))[0].T + 0.5 * random.normal(size=(n, 6))).astype("float32")


def test_of_the_linear_model_the_number_of_dimensions_is_that_of_its_closed_form():
    """A direction of probabilistic PCA carries half the log of its variance over the noise."""
    model = isthmus.ProbabilisticPCA(latent_dim=5).fit(rows(2000))
    *variances, noise = np.linalg.eigvalsh(np.cov(rows(2000).T))[::-1]
    exact = 0.5 * np.log(np.array(variances) / noise)
    found = isthmus.evaluate(model, rows(2000), draws=20)
    np.testing.assert_allclose(sorted(found.value("kl_per_dim"))[::-1], exact, atol=1e-3)
    assert found.value("active_units") == (exact >= IN_USE_NATS).sum() == 2


def test_where_the_kl_does_not_split_the_widths_say_the_same():
    """Of the standard normal prior, with its aggregate as wide as the prior, both definitions are the same number."""
    model = isthmus.ProbabilisticPCA(latent_dim=5).fit(rows(2000))
    q = model.posterior_of(rows(2000))
    split = np.array(isthmus.evaluate(model, rows(2000), draws=20).value("kl_per_dim"))
    np.testing.assert_allclose(nats_of_widths(q.mean.var(0), q.scale), split, atol=1e-3)
    # n - 1 of n rows, times a variance over its noise of at most 40, halved
    np.testing.assert_allclose(nats_of_widths(q.mean.var(0), None), split, atol=40 / 2 / 2000)


def test_without_a_prior_a_dimension_in_use_varies():
    codes = np.stack([np.linspace(-1, 1, 9), np.ones(9), 0.01 * np.arange(9)], 1)
    np.testing.assert_array_equal(dimensions_in_use(codes, has_prior=False), [True, False, True])


@pytest.mark.parametrize("prior", ["normal", "mixture(3)"])
def test_evaluation_diagnosis_and_figures_count_the_same_dimensions(prior):
    x = rows()
    model = small("VAE", latent_dim=4, prior=prior, initialization="pca", scaling="none", epochs=5).fit(x)
    found = isthmus.evaluate(model, x, draws=20)
    count = found.value("active_units")
    assert 0 < count < 4
    assert PlotContext(model.fitted_, model.fitted_.check(x)).in_use.sum() == count
    assert f"{count} of 4 dimensions of the code are in use." in " ".join(verdict(found, [], rows="rows"))
    collapsed = [
        one.message for one in isthmus.diagnose(model, x, evaluation=found) if one.code == "posterior-collapse"
    ]
    assert all(f"{count} of 4" in message for message in collapsed)
