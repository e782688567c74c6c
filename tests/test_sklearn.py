"""scikit-learn's conventions, by its own checks and by its own tools."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import isthmus
from models import NAMES, small, table

FAST = ("VAE", "Autoencoder", "ProbabilisticPCA")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name", [name if name in FAST else pytest.param(name, marks=pytest.mark.grid) for name in NAMES]
)
def test_check_estimator_passes_without_exceptions(name):
    # Each row's score must be that of any subset to 1e-7: a fitted noise magnifies single precision beyond that.
    more = {} if name == "ProbabilisticPCA" else {"precision": "float64"}
    model = small(name, epochs=2, random_state=None, **more)
    assert not model.__sklearn_tags__().non_deterministic
    # These checks repeat rows and compare to 1e-7 what batches and noise let hold in expectation only; exactly, for the
    # rows of a batch and without noise, `test_sample_weight.py` has it.
    weights = [f"check_sample_weight_equivalence_on_{kind}_data" for kind in ("dense", "sparse")]
    expected = {} if name == "ProbabilisticPCA" else dict.fromkeys(weights, "in expectation")
    results = check_estimator(model, on_fail="raise", on_skip=None, expected_failed_checks=expected)
    assert not [r for r in results if r["status"] == "failed"]
    assert {r["check_name"] for r in results if r["status"] == "xfail"} <= set(expected)
    assert sum(r["status"] == "passed" for r in results) > 35


def test_grid_search_over_latent_dim_and_beta():
    search = GridSearchCV(small("VAE", epochs=2), {"latent_dim": [1, 2], "beta": [0.5, 1.0]}, cv=2)
    search.fit(table())
    assert set(search.best_params_) == {"latent_dim", "beta"}
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_cross_validation_scores_log_likelihoods():
    x = table()
    scores = cross_val_score(isthmus.ProbabilisticPCA(latent_dim=2), x, cv=3)
    assert scores.shape == (3,)
    assert np.isfinite(scores).all()


def test_in_a_pipeline_before_a_classifier():
    x, y = table(), np.arange(90) % 2
    pipe = make_pipeline(StandardScaler(), small("VAE", epochs=2), LogisticRegression())
    assert pipe.fit(x, y).predict(x).shape == (90,)


def test_columns_keep_their_names():
    frame = pd.DataFrame(table(), columns=list("abcde"))
    model = small("VAE", epochs=1).fit(frame)
    assert list(model.feature_names_in_) == list("abcde")
    assert list(model.get_feature_names_out()) == ["vae0", "vae1", "vae2"]
    codes = model.set_output(transform="pandas").transform(frame)
    assert list(codes.columns) == ["vae0", "vae1", "vae2"]
    np.testing.assert_array_equal(model.reconstruct(frame), model.inverse_transform(codes))
    np.testing.assert_array_equal(model.transform(frame[list("edcba")]), model.transform(frame))
    with pytest.raises(ValueError, match=r"got 1 others \(f\). Leave the others out"):
        model.transform(frame.assign(f=0.0))


def test_tensors_and_arrays_and_frames_are_alike():
    import torch

    x = table()
    models = [small("VAE", epochs=2).fit(data) for data in (x, torch.from_numpy(x), x.tolist())]
    for other in models[1:]:
        np.testing.assert_array_equal(models[0].transform(x), other.transform(x))


def test_a_model_without_random_state_stores_its_seed():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one = small("VAE", random_state=None).fit(table())
    two = small("VAE", random_state=one.seed_).fit(table())
    np.testing.assert_array_equal(one.transform(table()), two.transform(table()))
