"""q(z given x): its moments and draws; and the distortion of a row, element by element."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

import isthmus
from isthmus.examples import Examples
from isthmus.metrics.importance_diagnostics import importance_diagnostics
from isthmus.metrics.importance_weighting import encode_chunks
from models import DATA, DENSE, LAYERED, images, small, table

DRAWS = 20
LABELS = np.arange(90) % 3


def sequences() -> Examples:
    random = np.random.default_rng(0)
    return Examples(random.normal(size=(40, 6, 3)) * [1, 10, 100], lengths=random.integers(2, 7, 40))


def with_gaps() -> Examples:
    return Examples(table(), observed=np.random.default_rng(0).random(table().shape) < 0.8)


ROWS = {
    **{kind: (lambda make=make: Examples(make())) for kind, make in DATA.items()},
    "sequences": sequences,
    "gaps": with_gaps,
    "condition": lambda: Examples(table(), condition=LABELS),
}


def distortion(model, rows: Examples) -> np.ndarray:
    """(n,) E_q[-log p(x given z)] as minus the bound, less the KL term: of the same draws."""
    fitted = model.fitted_
    with fitted.threads():
        stats = importance_diagnostics(
            fitted.model, encode_chunks(fitted.model, fitted.dataset(fitted.check(rows), "fixed")), DRAWS
        )
    return -model.elbo(rows, draws=DRAWS) - stats.kl.sum(1)


@pytest.mark.parametrize("kind", ROWS)
@pytest.mark.parametrize("name", DENSE)
def test_the_sum_over_elements_is_the_distortion_of_the_row(name, kind):
    rows = ROWS[kind]()
    if name == "ProbabilisticPCA" and kind in ("sequences", "gaps", "condition"):
        pytest.skip("it takes complete rows alone")
    fields = {"likelihood": ("normal", "student_t", "laplace", "normal", "normal")} if kind == "gaps" else {}
    model = small(name, epochs=1, **fields).fit(rows)
    elements = model.score_samples(rows, draws=DRAWS, per_feature=True)
    assert elements.shape == rows.x.shape
    total, expected = elements.reshape(len(rows), -1).sum(1), distortion(model, rows)
    if name == "ProbabilisticPCA":  # exact, beside the mean of a few draws
        assert total.mean() == pytest.approx(expected.mean(), rel=0.3)
    else:
        np.testing.assert_allclose(total, expected, rtol=1e-4, atol=1e-3)
    if rows.lengths is not None:
        padding = np.arange(6) >= rows.lengths[:, None]
        assert (elements[padding] == 0).all()
        assert (elements[~padding] != 0).all()
    if rows.observed is not None:
        assert (elements[~rows.observed] == 0).all()


def test_it_is_exact_for_probabilistic_pca():
    x = table()
    model = isthmus.ProbabilisticPCA(latent_dim=3).fit(x)
    z, q = model.transform(x), model.posterior_of(x)
    scaled = model.schema_.scale  # network units to data units
    decoder = model.model_.likelihood.net.layers[0].weight.detach().numpy()  # (d, D)
    variance = float(model.model_.likelihood.family.learned()["scale"]) ** 2
    error = np.square((x - model.inverse_transform(z)) / scaled) + np.square(q.scale) @ np.square(decoder).T
    expected = 0.5 * (np.log(2 * np.pi * variance) + error / variance) + np.log(scaled)
    np.testing.assert_allclose(model.score_samples(x, per_feature=True), expected, rtol=1e-9)
    np.testing.assert_array_equal(
        model.score_samples(x, draws=1, per_feature=True), model.score_samples(x, draws=50, per_feature=True)
    )


def test_it_is_exact_for_a_linear_decoder_with_normal_noise():
    x = table()
    model = small("VAE", hidden=(), likelihood="diagonal_normal", precision="float64").fit(x)
    exact = model.score_samples(x, per_feature=True)
    few, many = (mean_over_draws(model, x, draws) for draws in (100, 10_000))
    assert np.abs(many - exact).mean() < 0.3 * np.abs(few - exact).mean()  # a tenth, by the root of the draws
    assert np.abs(many - exact).mean() < 0.05 * exact.std(0).mean()


def mean_over_draws(model, x: np.ndarray, draws: int) -> np.ndarray:
    """(n, d) mean over draws of q(z given x) of -log p(x_j given z), by the parts of the model."""
    z = torch.from_numpy(model.transform(x, draws=draws, random_state=0))
    rows = model.fitted_.dataset(x)
    with torch.no_grad():
        log_px = model.model_.decode(z).element_log_prob(rows.batch(torch.arange(len(x))).x)
    return -log_px.mean(0).numpy() + np.log(model.schema_.scale)


def test_the_element_that_makes_a_row_strange_costs_most():
    x = np.random.default_rng(0).normal(size=(200, 6))
    model = isthmus.ProbabilisticPCA(latent_dim=2).fit(x)
    strange = x[:1].copy()
    strange[0, 3] += 8
    gain = model.score_samples(strange, per_feature=True) - model.score_samples(x[:1], per_feature=True)
    assert gain.argmax() == 3


def test_rows_do_not_depend_on_each_other():
    x = table()
    model = small("VAE").fit(x)
    every = model.score_samples(x, draws=7, per_feature=True)
    np.testing.assert_allclose(model.score_samples(x[30:33], draws=7, per_feature=True), every[30:33], rtol=1e-5)


@pytest.mark.parametrize("name", [*(name for name in DENSE if name not in LAYERED), "Autoencoder"])
def test_draws_have_the_mean_and_the_scale_of_the_posterior(name):
    x = table(40)
    model = small(name, epochs=1).fit(x)
    if name not in DENSE:
        with pytest.raises(isthmus.InputError, match="a point"):
            model.posterior_of(x)
        with pytest.raises(isthmus.InputError, match="a point"):
            model.transform(x, draws=2)
        return
    q = model.posterior_of(x)
    assert q.mean.shape == q.scale.shape == (40, 3)
    np.testing.assert_array_equal(q.mean, model.transform(x))
    k = 4000
    z = model.transform(x, draws=k, random_state=1)
    assert z.shape == (k, 40, 3)
    # Five standard errors of a mean and of a standard deviation, of 120 numbers each.
    if not q.scale.any():  # one code of each row
        assert (z == q.mean).all()
        return
    assert (np.abs(z.mean(0) - q.mean) < 5 * q.scale / np.sqrt(k)).all()
    assert (np.abs(z.std(0) / q.scale - 1) < 5 / np.sqrt(2 * k)).all()
    noise = (z - q.mean) / q.scale
    assert np.abs((noise[:, 0] * noise[:, 1]).mean(0)).max() < 5 / np.sqrt(k)  # rows have their own noise


def test_draws_are_seeded_and_leave_the_callers_generator_alone():
    x = table()
    model = small("VAE", epochs=1).fit(x)
    before = torch.get_rng_state()
    one, same, other = (model.transform(x, draws=3, random_state=seed) for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
    unseeded = [model.transform(x, draws=3) for _ in range(2)]
    assert not np.array_equal(*unseeded)
    frame = pd.DataFrame(x)
    np.testing.assert_array_equal(model.transform(frame, draws=3, random_state=0), one)


@pytest.mark.parametrize("draws", [0, -1, 1.5, True, "2"])
def test_a_number_of_draws_that_is_none(draws):
    model = small("VAE", epochs=1).fit(table())
    for call in (
        lambda: model.transform(table(), draws=draws),
        lambda: model.score_samples(table(), draws=draws, per_feature=True),
        lambda: model.score_samples(table(), draws=draws),
    ):
        with pytest.raises(isthmus.InputError, match="draws must be an integer >= 1"):
            call()


def test_verbose_shows_the_progress_of_scoring(capsys):
    x = images()
    model = small("VAE", epochs=1).fit(x)
    quiet = model.score_samples(x, draws=5)
    assert capsys.readouterr().err == ""
    model.set_params(verbose=True)
    np.testing.assert_array_equal(model.score_samples(x, draws=5), quiet)
    assert "scoring 100%" in capsys.readouterr().err
