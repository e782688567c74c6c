"""Rows with numbers that no network computes with: a fitted model scores them last, and says so once."""

import warnings

import numpy as np
import pandas as pd
import pytest

import isthmus

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(80, 4))
COUNTS = RANDOM.poisson(3.0, (80, 4)).astype(float)
MIXED = np.c_[X[:, :2], COUNTS[:, :2]]
IMAGES = RANDOM.normal(size=(40, 6, 6))


def with_huge(x, value, row=5):
    rows = x[:30].copy()
    rows[row].flat[2] = value
    return rows


def vae(**fields):
    return isthmus.VAE(**{"latent_dim": 2, "hidden": (8,), "epochs": 1, "threads": 1, "random_state": 0, **fields})


@pytest.mark.parametrize("value", [1e300, np.finfo(float).max])
@pytest.mark.parametrize(
    ("x", "fields"),
    [
        (X, {}),
        (X, {"precision": "float64"}),
        (X, {"likelihood": "laplace"}),
        (X, {"likelihood": "student_t"}),
        (X, {"likelihood": "normal(0.1)"}),
        (X, {"scaling": "none"}),
        (X * 1e100, {}),
        (X * 1e-100, {"precision": "float64"}),
        (COUNTS, {"likelihood": "poisson"}),
        (COUNTS, {"likelihood": "negative_binomial"}),
        (MIXED, {"likelihood": ("normal", "normal", "poisson", "negative_binomial")}),
        (IMAGES, {}),
    ],
)
def test_a_huge_row_is_scored_last_and_said_once_a_call(x, fields, value):
    model, rows = vae(**fields).fit(x), with_huge(x, value)
    calls = (
        lambda: model.transform(rows),
        lambda: model.transform(rows, draws=2),
        lambda: model.posterior_of(rows).scale,
        lambda: model.reconstruct(rows),
        lambda: model.score(rows),
        lambda: model.score_samples(rows, per_feature=True, draws=10),
        lambda: model.score_samples(rows, draws=10),
        lambda: model.elbo(rows, draws=10),
    )
    for i, call in enumerate(calls):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            result = np.asarray(call())
        assert np.isfinite(result).all()
        assert ["1 row lies" in str(warning.message) for warning in said] == [True]
        if i >= 6:
            assert result.argmin() == 5


@pytest.mark.filterwarnings("ignore:.*scales from the centre")
def test_the_other_rows_are_encoded_as_without_it():
    model, rows = vae().fit(X), with_huge(X, 1e300)
    others = np.arange(30) != 5
    np.testing.assert_allclose(model.transform(rows)[others], model.transform(X[:30])[others], rtol=1e-5)
    frame = pd.DataFrame(X, columns=list("abcd"))
    named = vae().fit(frame)
    np.testing.assert_array_equal(named.transform(pd.DataFrame(rows, columns=list("abcd"))), named.transform(rows))


@pytest.mark.filterwarnings("ignore:.*scales from the centre")
def test_an_autoencoder_misses_it_most():
    model = isthmus.Autoencoder(latent_dim=2, hidden=(8,), epochs=1, threads=1).fit(X)
    errors = model.fitted_.squared_errors(with_huge(X, -1e300))
    assert np.isfinite(errors).all()
    assert errors.argmax() == 5


@pytest.mark.filterwarnings("ignore:.*scales from the centre")
def test_a_clean_target_may_be_huge():
    model = vae().fit(X + 0.1, target=X)
    rows = model.fitted_.check(X[:30], target=with_huge(X, 1e300))
    assert model.fitted_.squared_errors(rows).argmax() == 5


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused_beside_huge_rows(value):
    rows = with_huge(X, 1e300)
    rows[7, 1] = value
    with pytest.raises(isthmus.InputError, match=r"X must be finite, got NaN or infinity in column 1 \(1\)"):
        vae().fit(X).transform(rows)


@pytest.mark.parametrize("part", ["train", "validation"])
def test_fit_refuses_huge_rows(part):
    train, validation = (with_huge(X, 1e300), None) if part == "train" else (X, with_huge(X, 1e300))
    with pytest.raises(isthmus.InputError, match=r"X must not exceed 1e\+140, got larger numbers in column 2 \(1\)"):
        vae().fit(train, validation=validation)


def test_huge_rows_of_other_kinds_are_refused_by_their_support():
    with pytest.raises(isthmus.InputError, match="counts"):
        vae(likelihood="poisson").fit(COUNTS).transform(with_huge(COUNTS, -1e300))
    with pytest.raises(isthmus.InputError, match="from 0 to 1"):
        vae(likelihood="bernoulli").fit((X > 0).astype(float)).transform(with_huge((X > 0).astype(float), 1e300))
