"""Runs in folders: what is replaced, what is kept, how one goes on."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

import isthmus
from isthmus.cli.main import main
from isthmus.persistence.run_files import PICTURES
from models import images, table, without_page, without_slow_measures

FAST = ["--epochs", "2", "--hidden", "8", "--latent-dim", "2", "--random-state", "0", "--threads", "1"]


def run(capsys, *words) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of one command in this process."""
    code = main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def files(folder) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    without_slow_measures(monkeypatch)


@pytest.fixture
def rows(tmp_path):
    np.save(tmp_path / "x.npy", table())
    return tmp_path / "x.npy"


def test_a_run_in_the_folder_of_its_data_is_refused(capsys, tmp_path):
    pics = tmp_path / "pics"
    pics.mkdir()
    for i, image in enumerate(images(6)):
        Image.fromarray(image).save(pics / f"{i}.png")
    np.save(pics / "x.npy", table())
    before = files(pics)
    for data in (pics, pics / "x.npy"):
        for folder in (pics, tmp_path):
            code, _, err = run(capsys, "fit", "vae", data, "-o", folder, "--force", *FAST)
            assert (code, err.count("\n")) == (2, 1)
            assert "holds the data" in err
    assert files(tmp_path) == {f"pics/{name}" for name in before}


@pytest.mark.grid
def test_force_replaces_runs_only_and_only_what_they_wrote(capsys, rows, tmp_path):
    folder = tmp_path / "r"
    folder.mkdir()
    (folder / "holiday.png").write_text("mine")
    code, _, err = run(capsys, "fit", "vae", rows, "-o", folder, "--force", *FAST)
    assert (code, err.count("\n")) == (2, 1)
    assert "no run of isthmus" in err
    (folder / "holiday.png").unlink()
    (folder / ".part-killed.json").write_text("{")  # killed before the first file was complete
    assert run(capsys, "fit", "vae", rows, "-o", folder, *FAST)[0] == 0
    (folder / "checkpoint").mkdir(exist_ok=True)
    ours = ["report.html", "checkpoint/state.safetensors", "checkpoint/.part-x.safetensors", ".part-y.png"]
    for name in [*ours, "holiday.png", ".part-mine"]:
        (folder / name).write_text("old")
    assert run(capsys, "fit", "ae", rows, "-o", folder, "--force", *FAST)[0] == 0
    kept = {"holiday.png", ".part-mine", "config.json", "model.safetensors", "history.jsonl", "report.html"}
    assert files(folder) == kept | set(PICTURES) - {"samples.png"}  # an autoencoder draws none: the old are gone
    assert "Autoencoder" in (folder / "report.html").read_text()
    assert not (folder / "checkpoint").exists()


@pytest.mark.grid
@pytest.mark.parametrize("model", ["vae", *(pytest.param(name, marks=pytest.mark.grid) for name in ("ae", "ppca"))])
def test_pictures_that_are_missing_are_drawn_by_resume(capsys, rows, tmp_path, model, monkeypatch):
    folder = tmp_path / "r"
    words = FAST if model != "ppca" else ["--latent-dim", "2", "--random-state", "0"]

    def stopped(*arguments, **more):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("isthmus.report.from_run.MeasuredRun.write_figures", stopped)
        code, _, err = run(capsys, "fit", model, rows, "-o", folder, *words)
    assert code == 130
    assert f"isthmus fit --resume {folder}" in err
    before = {name: (folder / name).read_bytes() for name in files(folder)}
    code, out, _ = run(capsys, "fit", "--resume", folder)
    assert code == 0
    assert f"Written to {folder}: report.html" in out
    assert "latent dimensions are in use" in out
    assert {name: (folder / name).read_bytes() for name in before} == before
    assert "nothing to resume" in run(capsys, "fit", "--resume", folder)[1]


def test_a_model_saved_from_python_has_nothing_to_resume(capsys, tmp_path):
    isthmus.VAE(hidden=(8,), epochs=1, threads=1).fit(table()).save(tmp_path / "r")
    assert "nothing to resume" in run(capsys, "fit", "--resume", tmp_path / "r")[1]


def test_a_run_that_broke_off_keeps_the_last_good_weights(capsys, rows, tmp_path, monkeypatch):
    without_page(monkeypatch)
    from isthmus.estimators.training_job import TrainingJob

    def broken(self, keep=None, show=None):
        raise isthmus.TrainingError("training stopped at step 7")

    folder = tmp_path / "r"
    with monkeypatch.context() as patched:
        patched.setattr(TrainingJob, "train", broken)
        code, _, err = run(capsys, "fit", "vae", rows, "-o", folder, *FAST)
    assert (code, err) == (2, "isthmus: training stopped at step 7\n")
    assert not json.loads((folder / "config.json").read_text())["finished"]
    with pytest.warns(UserWarning, match="failed: training stopped at step 7"):
        model = isthmus.load(folder)
    assert model.transform(table()).shape == (90, 2)
    code, _, err = run(capsys, "fit", "--resume", folder)
    assert (code, err.count("\n")) == (2, 1)
    assert "other fields" in err
    assert run(capsys, "fit", "vae", rows, "-o", folder, "--force", *FAST)[0] == 0
    assert run(capsys, "encode", folder, rows, "-o", tmp_path / "z.npy")[2] == ""


@pytest.mark.parametrize(("part", "named"), [("x_valid", "validation"), ("x_test", "test")])
def test_bad_rows_of_any_part_are_found_before_training(tmp_path, capsys, part, named):
    x = np.random.default_rng(0).normal(size=(60, 5))
    np.savez(tmp_path / "x.npz", x_train=x, **{part: np.full((9, 5), np.nan)})
    assert main(["fit", "ae", str(tmp_path / "x.npz"), "-o", str(tmp_path / "run"), "--epochs", "1"]) == 2
    said = capsys.readouterr().err
    assert f"In the {named} rows: X must be finite" in said
    assert "training 100%" not in said
    assert not (tmp_path / "run").exists()
