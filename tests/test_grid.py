"""Laws over the full grid of models, data and parts: `make test-all` runs them."""

from __future__ import annotations

import json

import numpy as np
import pytest

import isthmus
from models import DATA, DENSE, LAYERED, NAMES, OWN_PRIOR, images, small

pytestmark = pytest.mark.grid
PRIORS = ("normal", "mixture(3)", "refit(3)")
LIKELIHOODS = ("normal", "diagonal_normal", "laplace", "student_t", "normal(0.5)")
TRAINED_DENSE = [name for name in DENSE if name != "ProbabilisticPCA" and name not in (*OWN_PRIOR, *LAYERED)]


def used_everywhere(model, X, tmp_path, **kwargs) -> None:
    """Scored, sampled, saved and loaded, evaluated and diagnosed, a model gives finite numbers, the same again."""
    model.fit(X, **kwargs)
    model.save(tmp_path)
    loaded = isthmus.load(tmp_path)
    if hasattr(model, "score_samples"):
        scores = model.score_samples(X[:9], draws=20, **{key: value[:9] for key, value in kwargs.items()})
        assert np.isfinite(scores).all()
        one = {key: value[0] for key, value in kwargs.items()}
        assert np.array_equal(model.sample(4, random_state=0, **one), loaded.sample(4, random_state=0, **one))
    evaluation = isthmus.evaluate(model, X, train=X[: len(X) // 2], draws=20, **kwargs) if not kwargs else None
    if evaluation is not None:
        json.dumps(evaluation.to_dict(), allow_nan=True)
        isthmus.diagnose(model, X, evaluation=evaluation)


@pytest.mark.parametrize("kind", DATA)
@pytest.mark.parametrize("name", NAMES)
def test_every_model_on_every_kind_of_data(name, kind, tmp_path):
    used_everywhere(small(name), DATA[kind](), tmp_path)


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("kind", DATA)
@pytest.mark.parametrize("name", TRAINED_DENSE)
def test_every_prior(name, kind, prior, tmp_path):
    used_everywhere(small(name, prior=prior, epochs=2), DATA[kind](), tmp_path)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("name", TRAINED_DENSE)
def test_every_likelihood_of_numbers(name, likelihood, tmp_path):
    used_everywhere(small(name, likelihood=likelihood, epochs=2), DATA["table"](), tmp_path)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "ProbabilisticPCA"])
def test_every_model_with_convolutions(name, tmp_path):
    used_everywhere(small(name, network="conv", channels=(4, 8), epochs=1), images(60, (16, 17)), tmp_path)


@pytest.mark.parametrize("prior", ["normal", "conditional"])
@pytest.mark.parametrize("kind", DATA)
def test_a_condition_with_every_kind_of_data(kind, prior, tmp_path):
    X = DATA[kind]()
    used_everywhere(small("ConditionalVAE", prior=prior), X, tmp_path, condition=np.arange(len(X)) % 3)
