"""Going on with a trained model: from its weights, at its schema, to the last bit after an interruption."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import isthmus
from isthmus.atomic_io import next_path
from isthmus.cli.main import main
from isthmus.estimators.training_setup import setup_training
from isthmus.objective import as_objective
from isthmus.persistence.run_files import START_FILE
from isthmus.train.trainer import Trainer
from models import NOT_BY_LIKELIHOOD, TRAINED, small, table, without_page, without_slow_measures

pytestmark = pytest.mark.filterwarnings("ignore:.*given no condition:UserWarning")
X = table()


def validation_loss(model, x) -> float:
    """The validation loss of a fitted estimator's weights, as its training saw it."""
    job = setup_training(model, x, start=model.fitted_)
    job.recipe.model.load_state_dict(model.model_.state_dict())
    rows, valid = job.to_device(job.train_rows), job.to_device(job.valid_rows)
    return Trainer(job.recipe.model, as_objective(job.recipe.objective), rows, job.config, valid).validate()["loss"]


@pytest.mark.parametrize("name", TRAINED)
def test_a_warm_start_begins_at_the_old_validation_loss(name):
    fields = {"epochs": 12, "learning_rate": 1e-2, "initialization": "random"}
    model = small(name, **fields).fit(X)
    before, weights = validation_loss(model, X), model.model_.state_dict()
    model.set_params(warm_start=True, epochs=1, learning_rate=1e-9).fit(X)
    # The words of a codebook go on moving with what they stand for, at whatever learning rate.
    assert model.history_[0]["valid_loss"] == pytest.approx(before, rel=1e-2 if name == "VQVAE" else 1e-4)
    anew = small(name, **fields).set_params(epochs=1, learning_rate=1e-9).fit(X)
    assert abs(anew.history_[0]["valid_loss"] - before) > (0.01 if name in NOT_BY_LIKELIHOOD else 0.05) * abs(before)
    for key, value in model.model_.state_dict().items():
        if "quantizer" not in key:
            torch.testing.assert_close(value, weights[key], rtol=1e-3, atol=1e-4)
    assert model.settings_["earlier_epochs"] == 12
    assert len(model.history_) == 1


def test_an_exact_model_is_solved_anew():
    other = table(seed=3)
    model = isthmus.ProbabilisticPCA(latent_dim=2, warm_start=True).fit(X).fit(other)
    assert model.score(other) == pytest.approx(isthmus.ProbabilisticPCA(latent_dim=2).fit(other).score(other), rel=1e-9)


def test_without_the_field_every_fit_begins_anew():
    model = small("VAE").fit(X)
    before = model.transform(X)
    np.testing.assert_array_equal(model.fit(X).transform(X), before)
    assert "earlier_epochs" not in model.settings_


def test_schema_and_scaling_of_the_first_fit_stay_with_other_rows():
    model = small("VAE", warm_start=True).fit(X)
    schema = model.schema_
    model.fit(2 * table(60, seed=1) + 3)
    assert model.schema_ is schema
    with pytest.raises(isthmus.InputError, match="X must have rows of 5 features as in training, got 4"):
        model.fit(X[:, :4])
    assert model.fit(X).n_features_in_ == 5


def test_training_that_is_no_better_keeps_the_weights():
    model = small("VAE", epochs=20, initialization="random").fit(X)
    before = model.transform(X)
    model.set_params(warm_start=True, learning_rate=1.0, epochs=3).fit(X)
    assert model.history_[-1]["kept_start"]
    np.testing.assert_array_equal(model.transform(X), before)


def test_weights_of_terms_do_not_rise_again():
    model = small("VAE", warmup=0.5, initialization="random", warm_start=True).fit(X)
    assert model.history_[0]["weight_kl"] < 1
    model.fit(X)
    assert {record["weight_kl"] for record in model.history_} == {1.0}


@pytest.mark.parametrize(
    "change",
    [
        {"latent_dim": 2},
        {"hidden": (16, 16)},
        {"activation": "relu"},
        {"likelihood": "laplace"},
        {"prior": "mixture(2)"},
        {"scaling": "none"},
        {"levels": 4},
        {"encoder": nn.Linear(5, 6)},
        {"corruption": "mask(0.1)"},  # which takes the linear path away
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_the_model_is_may_not_change(change):
    model = small("VAE", warm_start=True).fit(X)
    (name,) = change
    message = f"^{name} must be .*, as in the fit that is continued, got "
    with pytest.raises(isthmus.InputError, match=message) as caught:
        model.set_params(**change).fit(X)
    assert "\n" not in str(caught.value)
    model.set_params(**{name: small("VAE").get_params()[name]}).fit(X)


@pytest.mark.parametrize(
    "change",
    [{"beta": 2.0}, {"bound": "iwae(2)"}, {"dropout": 0.2}, {"likelihood": "normal"}, {"precision": "float64"}],
)
def test_how_it_is_trained_may_change(change):
    model = small("VAE", warm_start=True, validation_fraction=0).fit(X)
    before = model.transform(X)
    model.set_params(**change, learning_rate=1e-9).fit(X)
    np.testing.assert_allclose(model.transform(X), before, rtol=1e-3, atol=1e-4)


def test_without_a_seed_the_rows_that_choose_the_weights_stay():
    model = small("VAE", random_state=None, warm_start=True).fit(X)
    seed = model.seed_
    assert model.fit(X).seed_ == seed


def test_a_prior_that_is_fitted_after_training_is_fitted_again():
    model = small("VAE", prior="refit(2)", warm_start=True, learning_rate=1e-9, validation_fraction=0).fit(X)
    first, kl = model.model_.prior.loc.clone(), model.history_[-1]["kl"]
    model.fit(X)
    assert model.history_[-1]["kl"] == pytest.approx(kl, rel=0.2)  # from the standard normal, of other draws
    torch.testing.assert_close(model.model_.prior.loc, first, rtol=1e-3, atol=1e-3)


def test_conditions_labels_and_targets_are_those_of_the_first_fit():
    condition = np.arange(90) % 3
    model = small("ConditionalVAE", warm_start=True).fit(X, condition=condition).fit(X[:60], condition=condition[:60])
    with pytest.raises(isthmus.InputError, match="condition must be one of 0, 1, 2"):
        model.fit(X, condition=condition + 1)
    with pytest.raises(isthmus.InputError, match="condition must be given"):
        model.fit(X)
    paired = small("DenoisingAutoencoder", corruption=None, warm_start=True).fit(X, target=X)
    with pytest.raises(isthmus.InputError, match="target must be given, as in the fit that is continued"):
        paired.fit(X)


# ------------------------------------------------------------------ runs

FIELDS = ["--epochs", "4", "--hidden", "8", "--latent-dim", "2", "--random-state", "0", "--threads", "1"]


@pytest.fixture
def run(tmp_path, capsys, monkeypatch):
    """A finished run, and a function that runs a command and returns its exit code and its lines on stderr."""
    without_slow_measures(monkeypatch)
    without_page(monkeypatch)
    np.save(tmp_path / "x.npy", X)

    def command(*words) -> tuple[int, list[str]]:
        code = main([str(word) for word in words])
        return code, [line for line in capsys.readouterr().err.splitlines() if line.startswith("isthmus:")]

    assert command("fit", "vae", tmp_path / "x.npy", "-o", tmp_path / "r", *FIELDS) == (0, [])
    return tmp_path / "r", command


def weights_of(folder) -> dict[str, torch.Tensor]:
    return isthmus.load(folder).model_.state_dict()


def test_a_run_is_continued_in_a_new_folder(run):
    folder, command = run
    before = (folder / "config.json").read_bytes(), weights_of(folder)
    new = folder.with_name("r-2")
    code, lines = command("fit", "--continue", folder, "--epochs", "2", "--learning-rate", "1e-9")
    assert (code, lines) == (0, [f"isthmus: the run is in {new}; -o FOLDER chooses another"])
    assert ((folder / "config.json").read_bytes(), len(isthmus.load(new).history_)) == (before[0], 2)
    for key, value in weights_of(new).items():
        torch.testing.assert_close(value, before[1][key], rtol=1e-4, atol=1e-5)
    config = json.loads((new / "config.json").read_text())
    assert config["settings"]["earlier_epochs"] == 4
    assert (config["source"]["data"], config["source"]["continues"]) == (str(folder.with_name("x.npy")), str(folder))
    assert not (new / START_FILE).exists()
    np.save(folder.with_name("more.npy"), table(40, seed=5))
    assert command("fit", "--continue", new, folder.with_name("more.npy"), "--epochs", "1")[0] == 0
    assert isthmus.load(folder.with_name("r-3")).settings_["earlier_epochs"] == 6
    assert command("evaluate", folder.with_name("r-3"), "--draws", "5")[0] == 0


def test_a_continued_run_that_is_interrupted_resumes_to_the_same_weights(run, monkeypatch):
    folder, command = run
    words = ("fit", "--continue", folder, "--epochs", "5", "--random-state", "1")
    assert command(*words, "-o", folder.with_name("whole"))[0] == 0
    end_epoch, broken = Trainer.end_epoch, folder.with_name("broken")

    def pressing(trainer):
        stop = end_epoch(trainer)
        if len(trainer.history) == 2:
            signal.raise_signal(signal.SIGINT)
        return stop

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "end_epoch", pressing)
        code, lines = command(*words, "-o", broken)
    assert (code, len(lines)) == (130, 2)
    assert "of 9 validation rows equal earlier training rows" in lines[0]  # another seed makes another split
    assert (broken / START_FILE).exists()
    assert command("fit", "--resume", broken) == (0, [])
    for a, b in zip(weights_of(folder.with_name("whole")).values(), weights_of(broken).values()):
        assert torch.equal(a, b)


def test_what_cannot_be_continued_is_refused_in_one_line(run):
    folder, command = run
    np.save(folder.with_name("narrow.npy"), X[:, :3])
    isthmus.ProbabilisticPCA(latent_dim=2).fit(X).save(folder.with_name("exact"))
    isthmus.Autoencoder(hidden=(4,), epochs=1).fit(X).save(folder.with_name("python"))
    for words, message in (
        ((folder, folder.with_name("narrow.npy")), "X must have rows of 5 features"),
        ((folder, "--hidden", "3"), "hidden must be"),
        ((folder, "-o", folder), "exists already"),
        ((folder, "--warm-start"), "option must be one of"),
        ((folder.with_name("exact"), folder.with_name("x.npy")), "is solved exactly: there is nothing to continue"),
        ((folder.with_name("python"),), "DATA must be given"),
        ((folder.with_name("none"),), "There is no run at"),
        ((), "argument --continue: expected one argument"),
    ):
        code, lines = command("fit", "--continue", *words)
        assert (code, len(lines)) == (2, 1)
        assert message in lines[0]


def test_validation_rows_that_were_training_rows_are_named(run, tmp_path):
    folder, command = run
    np.save(tmp_path / "grown.npy", np.concatenate([X, table(30, seed=5)]))
    np.save(tmp_path / "new.npy", table(30, seed=5))
    np.save(tmp_path / "turned.npy", X[::-1])
    for new, words, warned in (
        ("a", (tmp_path / "x.npy",), False),
        ("b", (tmp_path / "grown.npy",), True),
        ("c", (tmp_path / "new.npy",), False),
        ("d", ("--random-state", "1"), True),
    ):
        code, lines = command("fit", "--continue", folder, *words, "--epochs", "1", "-o", tmp_path / new)
        assert code == 0
        assert any("equal earlier training rows, which favours the weights" in line for line in lines) == warned
    code, lines = command(
        "fit", "--continue", tmp_path / "c", tmp_path / "turned.npy", "--epochs", "1", "-o", tmp_path / "e"
    )
    assert any("equal earlier training rows" in line for line in lines)  # of the run before the last
    (tmp_path / "x.npy").unlink()
    assert command("fit", "--continue", folder, tmp_path / "new.npy", "--epochs", "1", "-o", tmp_path / "f")[0] == 0


def test_continuing_takes_no_model(run, tmp_path):
    folder, command = run
    code, lines = command("fit", "vae", "--continue", folder, tmp_path / "x.npy")
    assert (code, len(lines)) == (2, 1)
    assert f"Use: isthmus fit --continue {folder} {tmp_path / 'x.npy'}" in lines[0]


def test_the_next_free_name(tmp_path):
    for name in ("a", "a-2", "b-7"):
        (tmp_path / name).mkdir()
    names = ("a", "a-2", "b-7", "c")
    assert [Path(next_path(str(tmp_path / name))).name for name in names] == ["a-3", "a-3", "b-7-2", "c-2"]


def test_the_names_of_the_features_stay_in_a_warm_start():
    frame = pd.DataFrame(table(), columns=list("abcde"))
    model = small("VAE", epochs=1, warm_start=True).fit(frame)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        model.fit(table())
    assert list(model.feature_names_in_) == list("abcde")
    assert model.schema_.names == tuple("abcde")
