"""Counts as users have them: stored as floats, in tables of genes."""

from __future__ import annotations

import numpy as np
import pytest

import isthmus

RANDOM = np.random.default_rng(0)
COUNTS = RANDOM.poisson(3.0, (60, 4))


def scores(x: np.ndarray, likelihood: str, **kwargs: int) -> np.ndarray:
    """Scores of rows under a small model of them."""
    model = isthmus.VAE(latent_dim=1, hidden=(), epochs=2, random_state=0, likelihood=likelihood, **kwargs)
    return model.fit(x).score_samples(x)


@pytest.mark.parametrize("likelihood", ["poisson", "negative_binomial", "categorical", "beta_binomial"])
def test_whole_numbers_as_floats_are_modelled_as_integers_are(likelihood):
    np.testing.assert_array_equal(scores(COUNTS, likelihood), scores(COUNTS.astype(np.float64), likelihood))


def test_samples_of_counts_stored_as_floats_are_counts():
    model = isthmus.VAE(latent_dim=1, hidden=(), epochs=2, random_state=0, likelihood="poisson")
    drawn = model.fit(COUNTS.astype(np.float32)).sample(20, random_state=0)
    assert drawn.dtype == np.float32
    assert (drawn % 1 == 0).all()
    with pytest.raises(isthmus.InputError, match="counts 0, 1, 2"):
        model.fit(COUNTS + 0.5)
