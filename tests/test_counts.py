"""Counts as users have them: stored as floats, in tables of genes."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import isthmus
from isthmus.cli.main import main
from isthmus.evaluation.splits import held_out
from isthmus.persistence import run_dir
from models import table, without_page, without_slow_measures

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


def log_px_columns(x: np.ndarray, **models: Any) -> dict[str, set[str]]:
    """The kinds of log p(x) of each model of a comparison."""
    table = isthmus.compare(x, models=models, seeds=1, draws=10, epochs=1, latent_dim=1, hidden=())
    cells = {row["model"]: row["cells"] for row in table.to_dict()["models"]}
    return {model: {key for key in cells[model] if key.startswith("log_px")} for model in ("pca", *models)}


@pytest.mark.parametrize("dtype", [np.float64, np.int64])
def test_a_linear_baseline_is_as_discrete_as_the_models_beside_it(dtype):
    x = COUNTS.astype(dtype)
    counted, measured = (isthmus.VAE(likelihood=name, random_state=0) for name in ("poisson", "normal"))
    found = log_px_columns(x, vae=counted)
    assert found["pca"] == found["vae"] == {"log_px: probability"}
    found = log_px_columns(x, vae=measured)
    assert found["pca"] == found["vae"] == {"log_px: density"}
    assert log_px_columns(x, counts=counted, numbers=measured)["pca"] == {"log_px: probability"}
    fitted = counted.set_params(epochs=1, latent_dim=1, hidden=()).fit(x).fitted_
    table = isthmus.compare(x, models={"mine": fitted}, draws=10)
    assert {column["key"] for column in table.to_dict()["columns"]} >= {"log_px: probability"}
    assert "density" not in str(table.to_dict()["columns"])


# ------------------------------------------------------------------ sparse files


@pytest.mark.parametrize("form", ["csr", "csc", "bsr", "coo"])
def test_a_sparse_file_is_the_array(tmp_path, form):
    sparse.save_npz(tmp_path / "x.npz", sparse.csr_matrix(COUNTS).asformat(form))
    x = isthmus.read(tmp_path / "x.npz").train.x
    assert x.dtype == COUNTS.dtype
    np.testing.assert_array_equal(x, COUNTS)
    model = isthmus.VAE(latent_dim=1, hidden=(), epochs=1, random_state=0)
    np.testing.assert_array_equal(model.fit(tmp_path / "x.npz").transform(COUNTS), model.fit(COUNTS).transform(COUNTS))


def broken(path: Path, **changes: Any) -> None:
    """A sparse file with other arrays than SciPy would write."""
    matrix = sparse.csr_matrix(COUNTS)
    arrays = {name: getattr(matrix, name) for name in ("data", "indices", "indptr", "shape")}
    np.savez(path, **(arrays | {"format": b"csr"} | changes))


BROKEN = {
    "an index outside": ({"indices": np.full(sparse.csr_matrix(COUNTS).nnz, 10**6)}, "cannot read x.npz"),
    "a negative index": ({"indices": np.full(sparse.csr_matrix(COUNTS).nnz, -1)}, "cannot read x.npz"),
    "a huge shape": ({"shape": (60, 10**13)}, "GB of memory are free"),
    "a negative shape": ({"shape": (-60, 4)}, "cannot read x.npz"),
    "another shape": ({"shape": (61, 4)}, "cannot read x.npz"),
    "pickle": ({"data": np.array([{}, None], dtype=object)}, "never loaded"),
    "words": ({"data": np.full(sparse.csr_matrix(COUNTS).nnz, "a")}, "x.npz"),
    "an unknown format": ({"format": b"abc"}, "cannot read x.npz"),
    "no format": ({"format": 3.5}, "cannot read x.npz"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_sparse_file_is_refused_in_one_line(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    changes, message = BROKEN[name]
    broken(Path("x.npz"), **changes)
    assert main(["check", "x.npz"]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_a_truncated_sparse_file_and_a_diagonal_one_are_refused(tmp_path):
    sparse.save_npz(tmp_path / "x.npz", sparse.eye(9, format="dia"))
    with pytest.raises(isthmus.InputError, match="format csr, csc, bsr, coo, got 'dia'"):
        isthmus.read(tmp_path / "x.npz")
    broken(tmp_path / "x.npz")
    with zipfile.ZipFile(tmp_path / "x.npz") as archive, zipfile.ZipFile(tmp_path / "y.npz", "w") as short:
        for entry in archive.namelist():
            short.writestr(entry, archive.read(entry)[: -8 if "data" in entry else None])
    with pytest.raises(isthmus.InputError, match=r"cannot read data of .*y.npz: the file is truncated"):
        isthmus.read(tmp_path / "y.npz")


# ------------------------------------------------------------------ gaps


def test_missing_values_are_told_of_observed_which_works():
    x = COUNTS.astype(float)
    x[3, 1] = np.nan
    model = isthmus.VAE(latent_dim=1, hidden=(), epochs=1, random_state=0, likelihood="poisson")
    with pytest.raises(isthmus.InputError, match="command line reads complete tables only") as caught:
        model.fit(x)
    observed = str(caught.value).partition("observed=")[2].partition(" ")[0]
    assert model.fit(x, observed=eval(observed, {"np": np, "X": x})).n_features_in_ == 4


# ------------------------------------------------------------------ the condition in files that are written


def test_the_condition_is_written_under_its_name_and_found_again(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    frame = pd.DataFrame(COUNTS, columns=list("abcd"))
    frame["batch"] = np.array(list("AB"))[np.arange(60) % 2]
    frame.to_csv("t.csv", index=False)
    with pytest.MonkeyPatch.context() as patch:
        without_slow_measures(patch)
        without_page(patch)
        options = ["--condition", "batch", "--epochs", "1", "--hidden", "none", "--latent-dim", "1"]
        assert main(["fit", "cvae", "t.csv", "-o", "run", "-q", *options]) == 0
    assert main(["encode", "run", "t.csv", "-o", "z.csv"]) == 0
    assert list(pd.read_csv("z.csv")) == ["conditionalvae0", "batch"]
    assert main(["decode", "run", "z.csv", "-o", "d.csv"]) == 0
    assert list(pd.read_csv("d.csv").batch) == list(frame.batch)
    assert main(["reconstruct", "run", "t.csv", "-o", "r.parquet"]) == 0
    assert list(pd.read_parquet("r.parquet").batch) == list(frame.batch)
    for file in ("s.csv", "s.npz"):
        assert main(["sample", "run", "-n", "3", "--condition", "B", "-o", file]) == 0
        assert main(["encode", "run", file, "-o", f"{file}.csv"]) == 0
    assert list(pd.read_csv("s.csv").batch) == list("BBB")


# ------------------------------------------------------------------ weights of rows


@pytest.fixture
def weighted(tmp_path, monkeypatch) -> pd.DataFrame:
    """A table t.csv in the current folder with the column `w`, whose weights are 0, 1 and 2."""
    monkeypatch.chdir(tmp_path)
    without_slow_measures(monkeypatch)
    without_page(monkeypatch)
    frame = pd.DataFrame(COUNTS, columns=list("abcd"))
    frame["w"] = RANDOM.integers(0, 3, 60)
    frame.to_csv("t.csv", index=False)
    return frame


def test_a_column_of_weights_is_no_feature_and_counts_in_training_and_evaluation(weighted, capsys):
    options = ["--epochs", "1", "--hidden", "none", "--latent-dim", "1", "--random-state", "0", "--threads", "1"]
    assert main(["fit", "vae", "t.csv", "-o", "run", "-q", "--weight", "w", *options]) == 0
    read = isthmus.read("t.csv", weight="w")
    model = isthmus.VAE(epochs=1, hidden=(), latent_dim=1, random_state=0, threads=1)
    model.fit(weighted[list("abcd")], sample_weight=weighted.w)
    np.testing.assert_array_equal(read.train.weight, weighted.w)
    np.testing.assert_array_equal(isthmus.load("run").transform(COUNTS), model.transform(COUNTS))
    weighted.drop(columns="w").to_csv("plain.csv", index=False)
    sizes = {"t.csv": int((weighted.w > 0).sum()), "plain.csv": 60}
    for file, size in sizes.items():
        capsys.readouterr()
        assert main(["evaluate", "run", file, "--json", "--draws", "10"]) == 0
        assert json.loads(capsys.readouterr().out)["evaluated_on"] == f"{size} rows of {file}"
        assert main(["encode", "run", file, "-o", f"{file}.npy"]) == 0
        assert len(np.load(f"{file}.npy")) == 60
    assert main(["diagnose", "run", "--draws", "10"]) in (0, 3)


def test_weights_are_read_only_where_they_count_and_said_to_be_missing_there(weighted, capsys):
    options = ["--epochs", "1", "--hidden", "none", "--latent-dim", "1", "--threads", "1", "--random-state", "0"]
    assert main(["fit", "vae", "t.csv", "-o", "run", "-q", "--weight", "w", *options]) == 0
    bad, plain = weighted.assign(w="heavy"), weighted.drop(columns="w")
    for suffix, write in (("csv", lambda x, to: x.to_csv(to, index=False)), ("parquet", pd.DataFrame.to_parquet)):
        write(bad, f"bad.{suffix}")
        write(plain, f"plain.{suffix}")
    np.save("plain.npy", COUNTS)
    capsys.readouterr()
    for command in (
        ["encode", "-o", "z.csv"],
        ["reconstruct", "-o", "r.csv"],
        ["score", "-o", "s.csv", "--draws", "5"],
    ):
        name, *rest = command
        for file in ("bad.csv", "bad.parquet", "plain.csv", "plain.parquet", "plain.npy"):
            assert main([name, "run", file, *rest, "--force"]) == 0
            assert "warning" not in capsys.readouterr().err
        assert main([name, "run", "bad.csv", *rest, "--force", "--weight", "w"]) == 0
    capsys.readouterr()
    for command in (
        ["evaluate", "run"],
        ["diagnose", "run"],
        ["fit", "--continue", "run", "-q", "-o", "on", "--force"],
    ):
        more = [] if command[0] == "fit" else ["--draws", "10"]
        for file in ("plain.csv", "plain.parquet", "plain.npy"):
            assert main([*command, file, *more]) in (0, 3)
            said = f"warning: {file} has no column 'w': its rows have no weights, and count once each.\n"
            assert capsys.readouterr().err.count(said) == 1
        assert main([*command, "bad.csv", *more]) == 2
        assert "the weight, column 'w', must be finite numbers >= 0" in capsys.readouterr().err


def test_held_out_rows_of_a_run_are_not_among_those_trained_on(weighted):
    assert main(["fit", "vae", "t.csv", "-o", "run", "-q", "--weight", "w", "--epochs", "1", "--latent-dim", "1"]) == 0
    opened = run_dir.reopen(Path("run"))
    held = held_out(opened).examples
    assert (np.asarray(held.weight) > 0).all()
    assert len(held) + len(opened.job.train_rows) == (weighted.w > 0).sum()
    valid = opened.fitted.check(held)
    np.testing.assert_array_equal(valid.x, opened.job.valid_rows.x)


@pytest.mark.parametrize(("value", "got"), [(-1, "-1"), ("a", "'a'"), (np.nan, "nan")])
def test_weights_that_are_none_are_refused(weighted, value, got):
    weighted["w"] = weighted.w.astype(object)
    weighted.loc[3, "w"] = value
    weighted.to_csv("t.csv", index=False)
    with pytest.raises(isthmus.InputError, match=f"the weight, column 'w', must be finite numbers >= 0, got {got}"):
        isthmus.read("t.csv", weight="w")
    weighted.assign(w=0).to_csv("t.csv", index=False)
    with pytest.raises(isthmus.InputError, match="got only zeros"):
        isthmus.read("t.csv", weight="w")


@pytest.mark.parametrize("name", ["z", "x", "row", "draw"])
def test_labels_never_take_the_place_of_what_is_written(capsys, monkeypatch, tmp_path, name):
    without_page(monkeypatch)
    without_slow_measures(monkeypatch)
    monkeypatch.chdir(tmp_path)
    frame = pd.DataFrame(table(60), columns=list("abcde"))
    frame[name] = np.tile(["u", "v", "w"], 20)
    frame.to_csv("t.csv", index=False)
    fast = ["--epochs", "1", "--latent-dim", "2", "--hidden", "8", "--prior", "normal", "--threads", "1"]
    assert main(["fit", "cvae", "t.csv", "-o", "run", "--condition", name, *fast]) == 0
    for draws in ([], ["--draws", "2"]):
        assert main(["encode", "run", "t.csv", "-o", "e.csv", "--force", *draws]) == 0
        codes = pd.read_csv("e.csv")
        assert codes.select_dtypes("number").shape[1] == (4 if draws else 2)
        assert list(codes["y"].unique()) == ["u", "v", "w"]
        assert main(["decode", "run", "e.csv", "-o", "d.csv", "--force"]) == 0
    for command in (["reconstruct", "run", "t.csv"], ["sample", "run", "-n", "5", "--condition", "u"]):
        assert main([*command, "-o", "o.csv", "--force"]) == 0
        assert list(pd.read_csv("o.csv").columns)[:5] == list("abcde")
