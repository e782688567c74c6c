"""The fitted model: rows checked once, missing values, unlike columns, labels as the condition, capabilities."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch

import isthmus
from isthmus.data import Dataset
from isthmus.estimators.training_setup import setup_training
from isthmus.examples import Examples
from isthmus.families import DiagonalNormal
from isthmus.fitted import FittedModel, as_fitted
from isthmus.latent_model import Capabilities
from isthmus.train.runtime import torch_threads
from models import TRAINED, counts, images, small, table

LABELS = np.arange(90) % 3


@pytest.fixture(scope="module")
def vae():
    return small("VAE", epochs=2).fit(pd.DataFrame(table(), columns=list("abcde")))


def test_it_needs_no_scikit_learn():
    code = "import sys, isthmus.fitted; assert not any(name.startswith('sklearn') for name in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_model_behind_an_estimator(vae):
    assert as_fitted(vae) is as_fitted(vae.fitted_) is vae.fitted_
    assert isinstance(vae.fitted_, isthmus.FittedModel)
    assert vae.fitted_.name == "VAE"
    assert vae.fitted_.requested_fields == vae.get_params(deep=False)
    with pytest.raises(isthmus.InputError, match="must be fitted first"):
        as_fitted(small("VAE"))
    with pytest.raises(isthmus.InputError, match="must be a fitted model, got int"):
        as_fitted(3)


def test_it_is_what_the_estimator_gives(vae):
    x, fitted = table(), vae.fitted_
    frame = pd.DataFrame(x, columns=list("abcde"))
    np.testing.assert_array_equal(fitted.encode(x), vae.transform(frame))
    np.testing.assert_array_equal(fitted.decode(fitted.encode(x)), vae.reconstruct(frame))
    np.testing.assert_array_equal(fitted.sample(5, seed=2), vae.sample(5, random_state=2))
    np.testing.assert_array_equal(fitted.score(x, draws=5), vae.score_samples(frame, draws=5))
    np.testing.assert_array_equal(fitted.elbo(x, draws=5), vae.elbo(frame, draws=5))
    errors = np.square(fitted.reconstruct(x) - x).sum(1)
    np.testing.assert_allclose(fitted.squared_errors(x), errors)
    np.testing.assert_allclose(fitted.squared_errors(x, fitted.reconstruct(x)), errors)


def test_rows_are_checked_once(vae, monkeypatch):
    rows = vae.fitted_.check(table())
    assert rows.is_checked_for(vae.schema_)
    monkeypatch.setattr("isthmus.fitted.check_examples", lambda *args: pytest.fail("checked again"))
    assert vae.fitted_.check(rows) is rows
    assert vae.fitted_.encode(rows.take(np.arange(3))).shape == (3, 3)


def test_rows_checked_for_another_model_are_checked_again(vae):
    coins = small("VAE", likelihood="bernoulli").fit((table(200) > 7).astype(np.uint8))
    rows = vae.fitted_.check(table())  # of the same shape, but they reach far beyond 1
    with pytest.raises(isthmus.InputError, match="X must be"):
        coins.fitted_.score(rows, draws=2)
    bits = coins.fitted_.check((table() > 7).astype(np.uint8))
    assert vae.fitted_.check(bits) is not bits
    assert vae.fitted_.check(bits).is_checked_for(vae.schema_)


def test_only_what_was_checked_counts_as_checked(vae):
    with pytest.raises(TypeError, match="checked"):
        Examples(table().tolist(), checked=True)
    rows = vae.fitted_.check(table())
    assert rows.subsample(5, 0).is_checked_for(vae.schema_)
    changed = dataclasses.replace(rows, x=rows.x.tolist())
    assert not changed.is_checked_for(vae.schema_)
    np.testing.assert_array_equal(vae.fitted_.encode(changed), vae.fitted_.encode(rows))


BESIDE = {
    "evaluate": lambda vae, rows, **beside: isthmus.evaluate(vae, rows, draws=2, **beside),
    "diagnose": lambda vae, rows, **beside: isthmus.diagnose(vae, rows, **beside),
    "report_page": lambda vae, rows, **beside: isthmus.report_page(vae, rows, "never-written.html", **beside),
    "latent": lambda vae, rows, **beside: isthmus.plot.latent(vae, rows, **beside),
    "reconstructions": lambda vae, rows, **beside: isthmus.plot.reconstructions(vae, rows, **beside),
    "check": lambda vae, rows, **beside: vae.fitted_.check(rows, **beside),
    "fit": lambda vae, rows, **beside: small("VAE").fit(rows, **beside),
    "validation": lambda vae, rows, **beside: small("VAE").fit(table(), validation={"X": rows, **beside}),
    "train": lambda vae, rows, **beside: isthmus.evaluate(vae, table(), draws=2, train={"X": rows, **beside}),
}


@pytest.mark.parametrize("name", BESIDE)
@pytest.mark.parametrize("field", ["observed", "y"])
def test_what_belongs_to_examples_is_inside_them(name, field, vae):
    values = {"observed": np.ones(table().shape, bool), "y": LABELS}[field]
    with pytest.raises(isthmus.InputError, match=f"{field} must be inside the Examples that are passed as X, got both"):
        BESIDE[name](vae, Examples(table()), **{field: values})


def test_what_belongs_to_examples_is_inside_them_in_every_method(vae):
    rows, observed = Examples(table()), np.ones(table().shape, bool)
    calls = (
        lambda: vae.transform(rows, observed=observed),
        lambda: vae.reconstruct(rows, observed=observed),
        lambda: vae.score_samples(rows, observed=observed),
        lambda: vae.elbo(rows, observed=observed),
        lambda: vae.score(rows, observed=observed),
        lambda: vae.score(rows, LABELS),
        lambda: isthmus.compare(rows, LABELS, models="pca"),
        lambda: isthmus.compare(Dataset("X", rows), LABELS, models="pca"),
        lambda: isthmus.check(rows, observed=observed),
        lambda: isthmus.check(Dataset("X", rows), observed=observed),
        lambda: isthmus.evaluate(vae, rows, factors=LABELS[:, None]),
        lambda: isthmus.plot.samples(vae, rows, observed=observed),
        lambda: isthmus.wrap(vae.model_, vae.model_).on(rows, observed=observed),
    )
    for call in calls:
        with pytest.raises(isthmus.InputError, match="must be inside the Examples that are passed as X, got both"):
            call()


def test_examples_are_taken_wherever_rows_are():
    x, observed = table(), np.random.default_rng(0).random(table().shape) < 0.7
    rows = Examples(x, y=LABELS, observed=observed)
    one, two = small("VAE").fit(rows), small("VAE").fit(x, observed=observed)
    for name in ("transform", "reconstruct", "score_samples", "elbo"):
        np.testing.assert_array_equal(getattr(one, name)(rows), getattr(two, name)(x, observed=observed))
    assert one.score(rows) == two.score(x, observed=observed)
    quick = {"draws": 5, "without": ("inference_gap", "classifier", "samples", "copies", "paths", "sharpness")}
    alone, beside = isthmus.evaluate(one, rows, **quick), isthmus.evaluate(two, x, LABELS, observed=observed, **quick)
    assert alone.to_dict() == beside.to_dict()
    assert "probes.linear" in alone
    assert isthmus.check(rows).to_dict() == isthmus.check(x, observed=observed).to_dict()


def test_the_kinds_of_rows_are_alike(vae):
    x, fitted = table(), vae.fitted_
    expected = fitted.encode(x)
    kinds = (pd.DataFrame(x, columns=list("abcde")), torch.from_numpy(x), x.tolist(), x.astype(str), Examples(x))
    for kind in kinds:
        np.testing.assert_array_equal(fitted.encode(kind), expected)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            lambda: pd.DataFrame(table(), columns=list("abcef")),
            r"the 5 columns of training, got 1 missing \(d\) and 1 others \(f\). Add or rename what is missing",
        ),
        (lambda: table()[:, :3], "rows of 5 features as in training, got 3 features"),
        (lambda: table()[0], "Reshape"),
        (lambda: np.full((3, 5), np.nan), "NaN"),
        (lambda: np.full((3, 5), 1j), "real numbers"),
        (lambda: [[1, 2], [3]], "array of numbers"),
        (lambda: Examples(table(), lengths=np.ones(90, int)), "lengths must be None"),
        (lambda: Examples(table(), condition=LABELS), "condition must be None"),
        (lambda: Examples(table(), y=LABELS[:4]), r"y must be \(90,\) labels"),
        (lambda: Examples(table(), observed=np.ones((90, 5))), "observed must be booleans"),
    ],
)
def test_rows_that_cannot_be_read(vae, rows, message):
    with pytest.raises(isthmus.InputError, match=message) as caught:
        vae.fitted_.check(rows())
    assert "\n" not in str(caught.value)


def test_labels_are_the_condition_of_a_conditional_model():
    fitted = small("ConditionalVAE", epochs=1).fit(table(), condition=LABELS).fitted_
    given = fitted.check(table(), condition=LABELS)
    np.testing.assert_array_equal(fitted.check(table(), y=LABELS).condition, given.condition)
    np.testing.assert_array_equal(fitted.check(Examples(table(), y=LABELS)).condition, given.condition)
    with pytest.raises(isthmus.InputError, match="Pass condition="):
        fitted.check(table())


# ------------------------------------------------------------------------------------------------ missing values


@pytest.mark.parametrize("name", TRAINED)
def test_values_that_were_not_observed_change_no_number(name):
    x = table()
    observed = np.random.default_rng(0).random(x.shape) < 0.8
    models, scores = [], []
    for garbage in (np.nan, 1e30):
        rows = {"observed": observed}
        data = np.where(observed, x, garbage)
        models.append(small(name, corruption="gaussian(0.1)").fit(data, **rows))
        scores.append(
            (models[-1].transform(data, **rows), models[-1].score(data, **rows), models[-1].reconstruct(data, **rows))
        )
    for a, b in zip(*(model.model_.state_dict().values() for model in models)):
        assert torch.equal(a, b)
    for a, b in zip(*scores):
        np.testing.assert_array_equal(a, b)
    schema = models[0].schema_
    gaps = np.where(observed, x, np.nan)
    shift = np.broadcast_to(schema.shift, x.shape[1:])
    train = setup_training(small(name), np.where(observed, x, 0), observed=observed).train_rows
    np.testing.assert_allclose(shift, np.nanmean(np.where(train.observed, train.x, np.nan), 0))
    errors = np.nansum(np.square(gaps - models[0].reconstruct(x, observed=observed)), 1)
    np.testing.assert_allclose(models[0].fitted_.squared_errors(Examples(x, observed=observed)), errors)


@pytest.mark.parametrize("data", [counts, images])
def test_missing_counts_and_levels(data):
    x = data()
    observed = np.random.default_rng(0).random(x.shape) < 0.8
    models = [small("VAE").fit(np.where(observed, x, junk), observed=observed) for junk in (0, 250)]
    assert models[0].score(x, observed=observed) == models[1].score(x, observed=observed)


def test_a_column_that_was_never_observed_is_refused():
    observed = np.ones((90, 5), bool)
    observed[:, 2] = False
    with pytest.raises(isthmus.InputError, match="column 2"):
        small("VAE").fit(table(), observed=observed)


# ------------------------------------------------------------------------------------------------ unlike columns


def test_each_column_has_its_likelihood():
    random = np.random.default_rng(0)
    kind = random.integers(3, size=200)
    x = np.column_stack([2.0 * kind + random.normal(size=200), kind, random.poisson(3 + kind), kind > 0])
    likelihood = ("normal", "categorical(3)", "poisson", "bernoulli")
    model = small("VAE", likelihood=likelihood, epochs=30, learning_rate=1e-2).fit(x)
    assert [column.kind for column in model.schema_.columns] == ["real", "category", "counts", "binary"]
    assert model.schema_.measure == "mixed measure"
    sample = model.sample(50, random_state=0)
    assert set(sample[:, 1]) <= {0, 1, 2}
    assert np.array_equal(sample[:, 2:], np.rint(sample[:, 2:]))
    assert set(model.reconstruct(x)[:, 1]) <= {0, 1, 2}  # the most probable category, not a mean of categories
    with pytest.raises(isthmus.InputError, match="integer levels 0"):
        model.transform(x + np.array([0, 1, 0, 0]))
    with pytest.raises(isthmus.InputError, match="one name for each column"):
        small("VAE", likelihood=("normal", "poisson")).fit(x)


# ------------------------------------------------------------------------------------------------ capabilities


def test_capabilities_are_known_before_and_after_training():
    for name in ("VAE", "Autoencoder"):
        model = small(name, epochs=1)
        before = model.capabilities
        assert before == model.fit(table()).capabilities == model.model_.capabilities
        assert before.has_density == before.samples == (name == "VAE")


def test_capabilities_of_fields_that_cannot_be_composed_are_not_denied():
    assert small("VAE", prior="nonsense").capabilities == Capabilities("bound", samples=True, encodes=True)


class ReadsLabels(isthmus.VAE):
    """Notes the labels that its batches hold."""

    def compose(self, schema):
        recipe = super().compose(schema)
        model = recipe.model

        class WithLabels(type(model)):
            capabilities = Capabilities("bound", samples=True, encodes=True, wants_labels=True)

        model.__class__ = WithLabels
        return recipe


def test_labels_reach_a_model_that_uses_them():
    job = setup_training(ReadsLabels(hidden=(8,), threads=1, random_state=0), table(), y=LABELS)
    for rows in (job.train_rows, job.valid_rows):
        batch = job.to_device(rows).batch(torch.arange(5))
        np.testing.assert_array_equal(batch.y, rows.y[:5])
    assert setup_training(small("VAE"), table(), y=LABELS).train_rows.y is None


# ------------------------------------------------------------------------------------------------ parts by name


def test_iwae_is_a_vae_with_another_bound():
    one, two = small("IWAE").fit(table()), small("VAE", bound="iwae(5)").fit(table())
    for a, b in zip(one.model_.state_dict().values(), two.model_.state_dict().values()):
        assert torch.equal(a, b)
    assert one.fitted_.loss_weights == {"iwae": 1.0}
    assert small("BetaVAE").fit(table()).fitted_.loss_weights == {"nll": 1.0, "kl": 4.0}
    with pytest.raises(isthmus.InputError, match="beta must be 1"):
        small("BetaVAE", bound="iwae(5)").fit(table())


def test_a_user_defined_posterior():
    family = small("VAE", posterior=DiagonalNormal((3,))).fit(table())
    for a, b in zip(family.model_.state_dict().values(), small("VAE").fit(table()).model_.state_dict().values()):
        assert torch.equal(a, b)
    with pytest.raises(
        isthmus.InputError, match="posterior must be one of categorical, flow, full_normal, hyperspherical, iaf, normal"
    ):
        small("VAE", posterior="nromal").fit(table())


def test_a_fitted_model_is_saved_as_its_estimator_is(tmp_path, vae):
    isthmus.save(vae.fitted_, tmp_path / "run")
    again = isthmus.load(tmp_path / "run")
    np.testing.assert_array_equal(again.fitted_.encode(table()), vae.fitted_.encode(table()))
    assert again.fitted_.feature_names == tuple("abcde")
    other = dataclasses.replace(vae.fitted_, seed=7)
    assert isinstance(other, FittedModel)
    assert other.seed == 7


def test_threads_are_never_raised_above_torchs(vae, monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    with torch_threads(torch.get_num_threads() + 3):
        pass
    assert all(threads <= torch.get_num_threads() for threads in asked)


def test_a_method_that_a_model_lacks_says_what_to_call():
    model = small("Autoencoder").fit(table())
    assert not hasattr(model, "sample")
    with pytest.raises(AttributeError, match=r"^Autoencoder has no prior to sample from\. Train a VAE"):
        model.sample(3)
    with pytest.raises(AttributeError, match=r"^Autoencoder has no density, only a squared error\. Use score\(X\)"):
        model.score_samples(table())
