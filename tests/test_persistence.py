"""Saved models: weights and configuration that belong together, classes of one's own, plain values."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

import isthmus
from isthmus.export import read_codes
from isthmus.persistence.run_files import PICTURES
from models import small, table


class Mine(isthmus.VAE):
    """A user-defined model with a new field."""

    gain: float = 2.0
    """Anything."""


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_numbers_of_numpy_in_fields_are_saved_as_plain_ones(tmp_path):
    fields = {"latent_dim": np.int64(2), "hidden": (np.int32(8), 4), "learning_rate": np.float32(0.5)}
    model = small("VAE", epochs=1, **fields, random_state=np.int64(3)).fit(table())
    model.save(tmp_path / "run")
    again = isthmus.load(tmp_path / "run")
    assert (again.latent_dim, again.hidden, again.learning_rate, again.random_state) == (2, (8, 4), 0.5, 3)
    np.testing.assert_array_equal(again.transform(table()), model.transform(table()))


def test_weights_beside_the_configuration_of_another_model_are_refused(tmp_path):
    small("VAE", epochs=1).fit(table()).save(tmp_path / "a")
    small("VAE", epochs=1).fit(table(seed=1)).save(tmp_path / "b")  # the same shapes, another scaling
    (tmp_path / "b" / "model.safetensors").replace(tmp_path / "a" / "model.safetensors")
    with pytest.raises(isthmus.InputError, match="belongs to another"):
        isthmus.load(tmp_path / "a")


def test_an_interrupted_save_leaves_no_model_that_loads(tmp_path, monkeypatch):
    small("VAE", epochs=1).fit(table()).save(tmp_path / "run")

    def killed(*arguments):
        raise KeyboardInterrupt

    other = small("VAE", epochs=1).fit(table(seed=1))
    monkeypatch.setattr("isthmus.persistence.serialization.write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        other.save(tmp_path / "run", force=True)
    with pytest.raises(isthmus.InputError, match="saving was interrupted"):
        isthmus.load(tmp_path / "run")
    monkeypatch.undo()
    other.save(tmp_path / "run")  # no model is there that could be lost
    np.testing.assert_array_equal(isthmus.load(tmp_path / "run").transform(table()), other.transform(table()))


@pytest.mark.parametrize("name", ["report.html", "model.safetensors", "history.jsonl", "samples.png"])
def test_files_of_others_are_not_lost(tmp_path, name):
    (tmp_path / name).write_text("MINE")
    (tmp_path / "notes.txt").write_text("MINE")
    model = small("VAE", epochs=1).fit(table())
    with pytest.raises(isthmus.InputError, match=f"would be lost: {name}. Save to another folder"):
        model.save(tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {name: "MINE", "notes.txt": "MINE"}
    (tmp_path / name).unlink()
    model.save(tmp_path)  # nothing of the user's is in the way
    model.save(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "MINE"


def test_the_history_is_saved_and_nothing_is_left_of_the_model_before(tmp_path):
    first, second = (small("VAE", epochs=epochs).fit(table()) for epochs in (2, 3))
    first.save(tmp_path / "run")
    for name in (*PICTURES, "report.html", "notes.png"):
        (tmp_path / "run" / name).write_text("old")
    second.save(tmp_path / "run", force=True)
    assert files(tmp_path / "run") == {"config.json", "model.safetensors", "history.jsonl", "notes.png"}
    assert isthmus.load(tmp_path / "run").history_ == second.history_
    with open(tmp_path / "run" / "history.jsonl", "a") as file:
        file.write('{"epoch": 4, "lo')
    assert isthmus.load(tmp_path / "run").history_ == second.history_
    (tmp_path / "run" / "history.jsonl").unlink()
    assert isthmus.load(tmp_path / "run").history_ == []


def test_a_configuration_of_another_program_is_not_replaced(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(isthmus.InputError, match="would be lost"):
        small("VAE", epochs=1).fit(table()).save(tmp_path)
    assert files(tmp_path) == {"config.json"}


def refused(model, folder, what):
    """The model is not saved without force, by an error of one line, and nothing in the folder changes."""
    before = {name: (folder / name).read_bytes() for name in files(folder)}
    with pytest.raises(isthmus.InputError) as error:
        model.save(folder)
    assert str(error.value).startswith(f"{folder} holds {what}")
    assert "Save to another folder, or pass force=True" in str(error.value)
    assert "\n" not in str(error.value)
    assert {name: (folder / name).read_bytes() for name in files(folder)} == before


OTHER_MODELS = {
    "class": (lambda: small("Autoencoder", epochs=1).fit(table()), "another model ('VAE')"),
    "columns": (lambda: small("VAE", epochs=1).fit(table()[:, :4]), "a VAE of other columns"),
    "names": (
        lambda: small("VAE", epochs=1).fit(pd.DataFrame(table(), columns=list("abcde"))),
        "a VAE of other columns",
    ),
}


@pytest.mark.parametrize("other", OTHER_MODELS)
def test_another_model_is_replaced_only_with_force(tmp_path, other):
    small("VAE", epochs=1).fit(table()).save(tmp_path / "run")
    make, what = OTHER_MODELS[other]
    model = make()
    refused(model, tmp_path / "run", what)
    isthmus.save(model, tmp_path / "run", force=True)
    loaded = isthmus.load(tmp_path / "run")
    assert (type(loaded), loaded.schema_.names) == (type(model), model.schema_.names)
    assert loaded.schema_.event_shape == model.schema_.event_shape


@pytest.mark.parametrize("fields", [{}, {"epochs": 2}, {"latent_dim": 2}, {"verbose": 2}, {"random_state": None}])
def test_a_script_that_fits_and_saves_can_be_run_again(tmp_path, fields):
    small("VAE", random_state=None).fit(table()).save(tmp_path / "run")
    for rows in (table(), table(seed=1), table(n=80)):  # other rows have another scaling
        model = small("VAE", **{"epochs": 1} | fields).fit(rows)
        model.save(tmp_path / "run")
        np.testing.assert_array_equal(isthmus.load(tmp_path / "run").transform(rows), model.transform(rows))


def test_the_same_model_is_saved_again_without_force(tmp_path):
    model = small("VAE", epochs=1).fit(table())
    model.save(tmp_path / "run")
    model.save(tmp_path / "run")
    model.fit(table()).save(tmp_path / "run")
    isthmus.load(tmp_path / "run").save(tmp_path / "run")
    np.testing.assert_array_equal(isthmus.load(tmp_path / "run").transform(table()), model.transform(table()))


@pytest.mark.parametrize("name", ["report.html", "samples.png", "checkpoint/state.safetensors"])
def test_a_page_beside_a_saved_model_is_removed_only_with_force(tmp_path, name):
    model = small("VAE", epochs=1).fit(table())
    model.save(tmp_path / "run")
    (tmp_path / "run" / name).parent.mkdir(exist_ok=True)
    (tmp_path / "run" / name).write_text("MINE")
    refused(model, tmp_path / "run", f"files that would be lost: {name}")
    model.save(tmp_path / "run", force=True)
    assert files(tmp_path / "run") == {"config.json", "model.safetensors", "history.jsonl"}


def test_loading_a_user_defined_class_needs_the_class(tmp_path):
    model = Mine(gain=3.0, hidden=(8,), epochs=1, threads=1, random_state=0).fit(table())
    model.save(tmp_path / "run")
    with pytest.raises(isthmus.InputError, match="model=Mine"):
        isthmus.load(tmp_path / "run")
    with pytest.raises(isthmus.InputError, match="Mine, got VAE"):
        isthmus.load(tmp_path / "run", model=isthmus.VAE)
    again = isthmus.load(tmp_path / "run", model=Mine)
    assert isinstance(again, Mine)
    assert again.gain == 3.0
    np.testing.assert_array_equal(again.transform(table()), model.transform(table()))


def test_a_class_named_like_one_of_ours_is_refused(tmp_path):
    namesake = type("VAE", (isthmus.VAE,), {"__doc__": "Not ours.", "__module__": __name__})
    model = namesake(hidden=(8,), epochs=1, threads=1).fit(table())
    with pytest.raises(isthmus.InputError, match="Rename it"):
        model.save(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_weights_of_a_run_that_broke_off_are_loaded_with_a_warning(tmp_path):
    small("VAE", epochs=1).fit(table()).save(tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"broken": "training stopped at step 3"}))
    with pytest.warns(UserWarning, match="failed: training stopped at step 3"):
        isthmus.load(tmp_path / "run")


CODES = np.ones((9, 2))
OBJECTS = np.array([[object()]], dtype=object)


def cut(path):
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize(
    ("name", "make", "says"),
    [
        ("z.json", lambda path: path.write_text("1"), "codes"),
        ("z.npy", lambda path: None, "no file"),
        ("z.npy", lambda path: (np.save(path, CODES), cut(path)), "truncated"),
        ("z.npz", lambda path: (np.savez(path, z=CODES), cut(path)), "truncated"),
        ("z.npy", lambda path: np.save(path, OBJECTS), "never loaded"),
        ("z.npz", lambda path: np.savez(path, z=OBJECTS), "never loaded"),
        ("z.npz", lambda path: np.savez(path, x=CODES), "'z'"),
        ("z.csv", lambda path: path.write_text("z0,z1\n1,a\n2,b\n"), "must be numeric"),
    ],
)
def test_codes_that_cannot_be_read_are_refused_in_one_line(name, make, says, tmp_path):
    make(tmp_path / name)
    with pytest.raises(isthmus.InputError, match=says) as caught:
        read_codes(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_codes_come_with_their_labels(tmp_path):
    z, y = np.arange(6.0).reshape(3, 2), np.array(["a", "b", "a"])
    np.savez(tmp_path / "z.npz", z=z, y=y)
    (tmp_path / "z.csv").write_text("z0,z1,y\n0,1,a\n2,3,b\n4,5,a\n")
    for name in ("z.npz", "z.csv"):
        codes, labels, *_ = read_codes(str(tmp_path / name))
        np.testing.assert_array_equal(codes, z)
        assert labels is not None
        assert labels.tolist() == y.tolist()


QUIET = {
    "one for each column": ("VAE", {"likelihood": ("normal", "poisson", "categorical(3)", "negative_binomial")}),
    "counts": ("VAE", {"likelihood": "negative_binomial"}),
    "mask": ("DenoisingAutoencoder", {"corruption": "mask(0.3)"}),
    "salt and pepper": ("DenoisingAutoencoder", {"corruption": "salt_and_pepper(0.3)"}),
}


@pytest.mark.parametrize("name", QUIET)
@pytest.mark.filterwarnings("error")
def test_fitting_and_loading_warn_of_nothing_that_is_ours(name, tmp_path):
    model, fields = QUIET[name]
    x = np.random.default_rng(0).poisson(1, (300, 4)).clip(0, 2)
    fitted = small(model, epochs=1, latent_dim=2, **fields).fit(x)
    fitted.save(tmp_path / "run")
    np.testing.assert_array_equal(isthmus.load(tmp_path / "run").transform(x), fitted.transform(x))
