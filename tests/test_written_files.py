"""Files that commands write are read by the others, and what cannot be written or read is said before the work."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import isthmus
from isthmus.cli import common
from isthmus.cli.main import main
from models import small, table, without_page, without_slow_measures


def run(capsys, *argv) -> tuple[int, str]:
    """Exit code and stderr of one command in this process."""
    code = main([str(word) for word in argv])
    return code, capsys.readouterr().err


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """Models of a table with names of its rows, and of sequences, with their data."""
    folder = tmp_path_factory.mktemp("saved")
    frame = pd.DataFrame(table(30), columns=list("abcde"))
    small("VAE", epochs=1, latent_dim=2).fit(frame).save(folder / "table")
    frame.insert(0, "id", [f"k{i}" for i in range(30)])
    frame.to_csv(folder / "t.csv", index=False)
    rng = np.random.default_rng(0)
    x, lengths = rng.normal(size=(30, 4, 2)), rng.integers(1, 5, 30)
    small("VAE", epochs=1, latent_dim=2).fit(x, lengths=lengths).save(folder / "sequences")
    np.savez(folder / "s.npz", X=x, lengths=lengths)
    return folder


@pytest.mark.parametrize("suffix", ["csv", "parquet", "npz", "npy"])
def test_draws_are_decoded(capsys, saved, tmp_path, suffix):
    codes = tmp_path / f"z.{suffix}"
    words = ("--draws", 3, "--random-state", 0, "--id", "id")
    assert run(capsys, "encode", saved / "table", saved / "t.csv", "-o", codes, *words) == (0, "")
    named = ("--id", "id") if suffix in ("csv", "parquet") else ()
    assert run(capsys, "decode", saved / "table", codes, "-o", tmp_path / "x.csv", *named) == (0, "")
    decoded, model = pd.read_csv(tmp_path / "x.csv"), isthmus.load(saved / "table")
    z = model.transform(pd.read_csv(saved / "t.csv")[list("abcde")], draws=3, random_state=0).reshape(90, 2)
    np.testing.assert_allclose(decoded[list("abcde")], model.inverse_transform(z), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(decoded.draw, np.repeat([0, 1, 2], 30))
    np.testing.assert_array_equal(decoded.row, np.tile(np.arange(30), 3))
    if suffix != "npy":
        assert list(decoded.id) == 3 * [f"k{i}" for i in range(30)]


@pytest.mark.parametrize("shape", [(6, 2), (2, 6, 2)])
def test_what_comes_with_codes_is_one_value_each(capsys, saved, tmp_path, shape):
    for name in ("y", "ids", "lengths", "draw", "row"):
        np.savez(tmp_path / "z.npz", z=np.zeros(shape), **{name: np.zeros(2, int)})
        code, err = run(capsys, "decode", saved / "table", tmp_path / "z.npz", "-o", tmp_path / "x.csv")
        assert (code, err.count("\n")) == (2, 1)
        assert f"{name} of {tmp_path / 'z.npz'} must have one value for each of 6 codes, got shape (2,)" in err


def test_sequences_keep_their_lengths(capsys, saved, tmp_path):
    model = saved / "sequences"
    lengths = np.load(saved / "s.npz")["lengths"]
    assert run(capsys, "reconstruct", model, saved / "s.npz", "-o", tmp_path / "x.npz") == (0, "")
    assert run(capsys, "encode", model, tmp_path / "x.npz", "-o", tmp_path / "z.npz", "--draws", 2) == (0, "")
    assert run(capsys, "decode", model, tmp_path / "z.npz", "-o", tmp_path / "y.npz") == (0, "")
    np.testing.assert_array_equal(np.load(tmp_path / "x.npz")["lengths"], lengths)
    np.testing.assert_array_equal(np.load(tmp_path / "y.npz")["lengths"], np.tile(lengths, 2))
    assert run(capsys, "sample", model, "-n", 3, "-o", tmp_path / "new.npz") == (0, "")
    assert run(capsys, "encode", model, tmp_path / "new.npz", "-o", tmp_path / "znew.npz") == (0, "")
    assert list(np.load(tmp_path / "znew.npz")["lengths"]) == [4, 4, 4]
    np.savez(tmp_path / "without.npz", x=np.zeros((3, 4, 2)))
    code, err = run(capsys, "encode", model, tmp_path / "without.npz", "-o", tmp_path / "no.npz")
    assert code == 2
    assert "an .npz with X and lengths" in err


@pytest.mark.parametrize(
    ("words", "output"),
    [
        (("encode", "t.csv"), "z.txt"),
        (("encode", "t.csv"), "z.png"),
        (("encode", "t.csv"), "z/"),
        (("reconstruct", "t.csv"), "x.txt"),
        (("reconstruct", "t.csv"), "x.png"),
        (("sample",), "x.json"),
        (("sample",), "x/"),
        (("decode", "t.csv"), "x"),
    ],
)
def test_a_format_that_cannot_be_written_is_refused_before_the_work(
    capsys, monkeypatch, saved, tmp_path, words, output
):
    def too_late(*args, **kwargs):
        raise AssertionError("the work has begun")

    for name in ("encode", "decode", "sample", "reconstruct"):
        monkeypatch.setattr(isthmus.fitted.FittedModel, name, too_late)
    monkeypatch.setattr(common, "read_like", too_late)
    command, *data = words
    paths = [saved / name for name in data]
    code, err = run(capsys, command, saved / "table", *paths, "-o", f"{tmp_path}/{output}")
    assert (code, err.count("\n")) == (2, 1)
    assert "must end in one of" in err or "only images can be written" in err


def test_a_seed_without_draws_is_refused(capsys, saved, tmp_path):
    for seed in (-3, 0):
        words = ("-o", tmp_path / "z.csv", "--random-state", seed)
        code, err = run(capsys, "encode", saved / "table", saved / "t.csv", "--id", "id", *words)
        assert code == 2
        assert f"--random-state must come with --draws, got {seed} alone" in err
    model = isthmus.load(saved / "table")
    x = pd.read_csv(saved / "t.csv")[list("abcde")]
    for seed in (0, "x"):
        with pytest.raises(isthmus.InputError, match="random_state must be None without draws"):
            model.transform(x, random_state=seed)


def test_runs_without_weights_say_what_is_missing(capsys, monkeypatch, tmp_path):
    without_slow_measures(monkeypatch)
    without_page(monkeypatch)
    pd.DataFrame(table(30), columns=list("abcde")).to_csv(tmp_path / "t.csv", index=False)
    folder, copy = tmp_path / "r", tmp_path / "copy"
    fields = ("--epochs", 1, "--hidden", 4, "--latent-dim", 2, "--threads", 1)
    assert run(capsys, "fit", "ae", tmp_path / "t.csv", "-o", folder, "-q", *fields)[0] == 0
    shutil.copytree(folder, copy)
    (copy / "model.safetensors").unlink()
    code, err = run(capsys, "evaluate", copy)
    assert (code, err.count("\n")) == (2, 1)
    assert "model.safetensors is missing" in err
    assert "Resume" not in err
    config = json.loads((copy / "config.json").read_text()) | {"finished": False}
    (copy / "config.json").write_text(json.dumps(config))
    for command in ("evaluate", "diagnose"):
        code, err = run(capsys, command, copy)
        assert err.endswith(f"holds no trained weights yet. Resume training: isthmus fit --resume {copy}\n")
    (tmp_path / "t.csv").unlink()
    code, err = run(capsys, "evaluate", folder)
    assert err.endswith(f". Pass other DATA after {folder}.\n")


def test_advice_on_models_given_twice_is_that_of_the_command_line(capsys, saved):
    code, err = run(capsys, "compare", saved / "t.csv", "--id", "id", "--models", "ppca,pca")
    assert (code, err.count("\n")) == (2, 1)
    assert "'pca(latent_dim=2),pca(latent_dim=4)'" in err
    assert "{" not in err


def test_folders_of_others_are_refused_before_data_are_read(capsys, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("mine")
    for command in (("fit", "ae"), ("compare",)):
        code, err = run(capsys, *command, tmp_path / "missing.csv", "-o", tmp_path / "mine")
        assert (code, err.count("\n")) == (2, 1)
        assert "holds" in err
        assert "notes" not in err
