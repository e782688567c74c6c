"""Importance-weighted log p(x) and the ELBO: values, standard errors, independence of rows and blocks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.datasets import load_digits

import isthmus
from isthmus.errors import InputError
from isthmus.metrics import importance_weighting
from isthmus.metrics.estimate import mean_and_error
from models import DENSE, small, table

SEEDS = range(30)


@pytest.fixture(scope="module")
def trained():
    """A small model whose posterior is not exact, and rows it was not fitted to."""
    x = load_digits().images.astype("uint8")
    model = isthmus.VAE(latent_dim=4, hidden=(32,), levels=17, epochs=15, threads=1, random_state=0).fit(x[:1500])
    return model.model_, model.rows(x[1500:], bits="fixed")


@pytest.mark.parametrize(("estimate", "draws"), [("importance_weighted", 40), ("importance_weighted", 7), ("elbo", 40)])
def test_the_shared_error_is_the_spread_over_seeds(trained, estimate, draws):
    runs = [getattr(importance_weighting, estimate)(*trained, draws, seed) for seed in SEEDS]
    spread = np.std([run.values.mean() for run in runs], ddof=1)
    reported = math.sqrt(np.mean([run.shared_error**2 for run in runs]))
    assert spread / 2 < reported < spread * 2
    over_rows = mean_and_error(runs[0].values)[1]
    assert mean_and_error(*runs[0])[1] == pytest.approx(math.hypot(over_rows, runs[0].shared_error))


def test_the_shared_error_does_not_depend_on_the_number_of_rows(trained):
    model, rows = trained
    x = load_digits().images.astype("uint8")[1500:]
    once = importance_weighting.importance_weighted(model, rows, 20)
    rows.x = rows.x.repeat(4, 1, 1)
    repeated = importance_weighting.importance_weighted(model, rows, 20)
    rows.x = rows.x[: len(x)]
    assert repeated.shared_error == pytest.approx(once.shared_error, rel=1e-4)


def test_an_exact_posterior_has_no_shared_error():
    x = table()
    model = isthmus.ProbabilisticPCA(latent_dim=2).fit(x)
    result = importance_weighting.importance_weighted(model.model_, model.rows(x), 30)
    assert result.shared_error < 1e-9
    assert result.values == pytest.approx(model.score_samples(x, draws=1), abs=1e-8)
    assert importance_weighting.elbo(model.model_, model.rows(x), 30).shared_error > 1e-3  # its draws still differ


def test_one_draw_has_an_infinite_shared_error(trained):
    for estimate in (importance_weighting.importance_weighted, importance_weighting.elbo):
        assert estimate(*trained, 1).shared_error == math.inf
        assert np.isfinite(estimate(*trained, 1).values).all()
        with pytest.raises(InputError, match="draws must be an integer >= 1, got 0"):
            estimate(*trained, 0)


@pytest.mark.filterwarnings("ignore:ConditionalVAE was given no condition")
@pytest.mark.parametrize("name", DENSE)
@pytest.mark.parametrize("draws", [1, 5, 33])
def test_a_rows_score_does_not_depend_on_the_other_rows(name, draws):
    x = table()
    model = small(name).fit(x)
    all_rows, one_row = model.rows(x), model.rows(x[17:18])
    for estimate in (importance_weighting.importance_weighted, importance_weighting.elbo):
        together = estimate(model.model_, all_rows, draws).values
        assert together.shape == (len(x),)
        assert together[17:18] == pytest.approx(estimate(model.model_, one_row, draws).values, rel=1e-4, abs=1e-3)


def test_grouping_draws_does_not_change_the_estimate(trained, monkeypatch):
    grouped = [
        importance_weighting.importance_weighted(*trained, 23).values,
        importance_weighting.elbo(*trained, 23).values,
    ]
    monkeypatch.setattr(importance_weighting, "JACKKNIFE_GROUPS", 1)
    whole = [
        importance_weighting.importance_weighted(*trained, 23).values,
        importance_weighting.elbo(*trained, 23).values,
    ]
    assert np.allclose(grouped, whole, atol=1e-3)
