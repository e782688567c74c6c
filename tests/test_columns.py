"""Columns of a table that are no features: ids travel with their rows, and a run remembers what it left out."""

from __future__ import annotations

import json
import re
import shlex
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import isthmus
from isthmus.cli.main import main
from isthmus.data import read
from isthmus.data.column_roles import ColumnRoles
from models import small, table, without_page, without_slow_measures

FAST = ["--latent-dim", "2", "--hidden", "8", "--epochs", "1", "--threads", "1", "--random-state", "0"]
FRAME = pd.DataFrame(table(), columns=list("abcde"))
FRAME.insert(0, "key", [f"p{i}" for i in range(90)])
FRAME["note"] = "hello"
FRAME["kind"] = np.where(FRAME.a > FRAME.a.median(), "high", "low")
ROLES = ["--id", "key", "--drop", "note", "--condition", "kind"]
NEW = FRAME.iloc[40:].drop(columns="note")


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    without_slow_measures(monkeypatch)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Tables, and a run of each kind."""
    folder = tmp_path_factory.mktemp("columns")
    with pytest.MonkeyPatch.context() as patch:
        without_page(patch)
        without_slow_measures(patch)
        FRAME.to_csv(folder / "t.csv", index=False)
        NEW.to_csv(folder / "new.csv", index=False)
        NEW.to_parquet(folder / "new.parquet")
        NEW.drop(columns="key").to_csv(folder / "nameless.csv", index=False)
        runs = {"left": ROLES, "used": ["--use", "b", "a", "--id", "key"]}
        for name, roles in runs.items():
            assert main(["fit", "vae", str(folder / "t.csv"), "-o", str(folder / name), *roles, *FAST]) == 0
    return folder


def run(capsys, *argv) -> tuple[int, str, str]:
    code = main([str(arg) for arg in argv])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize("source", ["new.csv", "new.parquet"])
@pytest.mark.parametrize("output", ["z.csv", "z.parquet", "z.npz"])
def test_ids_travel_with_codes_there_and_back(capsys, folder, tmp_path, source, output):
    assert run(capsys, "encode", folder / "left", folder / source, "-o", tmp_path / output)[0] == 0
    assert run(capsys, "decode", folder / "left", tmp_path / output, "-o", tmp_path / "x.csv")[0] == 0
    assert run(capsys, "reconstruct", folder / "left", folder / source, "-o", tmp_path / "r.csv")[0] == 0
    model = isthmus.load(folder / "left")
    codes = model.transform(NEW[list("abcde")], condition=NEW.kind)
    if output == "z.npz":
        archive = np.load(tmp_path / output)
        assert archive["ids"].tolist() == NEW.key.tolist()
        np.testing.assert_array_equal(archive["z"], codes)
    else:
        written = pd.read_csv(tmp_path / output) if output == "z.csv" else pd.read_parquet(tmp_path / output)
        assert list(written.columns) == ["key", "vae0", "vae1", "kind"]
        assert written.key.tolist() == NEW.key.tolist()
        np.testing.assert_allclose(written[["vae0", "vae1"]], codes, rtol=1e-6)
    decoded, clean = pd.read_csv(tmp_path / "x.csv"), pd.read_csv(tmp_path / "r.csv")
    assert list(decoded.columns) == ["key", *"abcde", "kind"]
    assert decoded.kind.tolist() == clean.kind.tolist() == NEW.kind.tolist()
    assert decoded.key.tolist() == clean.key.tolist() == NEW.key.tolist()
    np.testing.assert_allclose(decoded[list("abcde")], clean[list("abcde")], rtol=1e-5)


def test_a_run_remembers_its_columns(capsys, folder, tmp_path):
    source = json.loads((folder / "left" / "config.json").read_text())["source"]
    assert source == {
        "data": str(folder / "t.csv"),
        "condition": "kind",
        "id": "key",
        "weight": None,
        "drop": ["note"],
        "use": [],
    }
    assert isthmus.load(folder / "left").feature_names_in_.tolist() == list("abcde")
    assert isthmus.load(folder / "used").feature_names_in_.tolist() == ["b", "a"]
    for name in ("left", "used"):
        code, out, _ = run(capsys, "evaluate", folder / name, folder / "t.csv", "--draws", "2", "--json")
        assert (code, json.loads(out)["rows"]) == (0, 90)
    assert run(capsys, "encode", folder / "used", folder / "new.csv", "-o", tmp_path / "z.csv")[0] == 0
    assert pd.read_csv(tmp_path / "z.csv").key.tolist() == NEW.key.tolist()
    # Arrays have no columns, and bring what they need themselves.
    np.savez(tmp_path / "x.npz", x=NEW[list("abcde")], y=NEW.kind.to_numpy(dtype=str))
    assert run(capsys, "encode", folder / "left", tmp_path / "x.npz", "-o", tmp_path / "z.npz")[0] == 0
    code, _, err = run(capsys, "sample", folder / "left", "-o", tmp_path / "s.csv")
    assert (code, err) == (2, "isthmus: --condition must be a value of the column 'kind' (high, low), got none.\n")
    assert run(capsys, "sample", folder / "left", "-o", tmp_path / "s.csv", "--condition", "low")[0] == 0


def test_remembered_ids_may_be_missing_and_others_given(capsys, folder, tmp_path):
    z = tmp_path / "z.csv"
    code, _, err = run(capsys, "encode", folder / "left", folder / "nameless.csv", "-o", z)
    assert (code, err.count("\n")) == (0, 1)
    assert "has no column 'key': its rows have no ids" in err
    assert list(pd.read_csv(z).columns) == ["vae0", "vae1", "kind"]
    renamed = NEW.rename(columns={"key": "name"})
    renamed.to_csv(tmp_path / "t.csv", index=False)
    assert run(capsys, "encode", folder / "left", tmp_path / "t.csv", "-o", z, "--force", "--id", "name")[0] == 0
    assert pd.read_csv(z).columns[0] == "name"
    assert pd.read_csv(z).name.tolist() == NEW.key.tolist()


WRONG = {
    "an unknown column": (["--drop", "nope"], "got 'nope'"),
    "a misspelt one": (["--id", "kye"], "Did you mean 'key'?"),
    "another among several": (["--use", "a", "b", "cc"], "got 'cc'"),
    "one in two roles": (["--id", "key", "--drop", "key"], "got 'key' in --id and in --drop"),
    "one twice": (["--use", "a", "b", "a"], "got 'a' in --use and in --use"),
    "all of them": (["--drop", *FRAME.columns], "no columns of numbers"),
    "ids that are missing": (
        ["--id", "gaps"],
        "the id, column 'gaps', must not be empty in any row, but is in 1 of 90",
    ),
}


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("case", WRONG)
def test_wrong_columns_are_one_line(capsys, tmp_path, case, suffix):
    options, says = WRONG[case]
    path = tmp_path / f"t{suffix}"
    frame = FRAME.assign(gaps=[None, *["x"] * 89]) if "gaps" in options else FRAME
    frame.to_csv(path, index=False) if suffix == ".csv" else frame.to_parquet(path)
    for command in (
        ["check", path],
        ["fit", "ae", path, "-o", tmp_path / "r"],
        ["compare", path, "-o", tmp_path / "c"],
    ):
        if command[0] == "check" and case == "all of them":  # which reports it
            continue
        code, _, err = run(capsys, *command, *options)
        assert (code, err.count("\n")) == (2, 1), err
        assert says in err
    assert not (tmp_path / "r").exists()


def test_roles_need_columns(capsys, tmp_path):
    np.save(tmp_path / "x.npy", table())
    for option in ("--id", "--drop", "--use"):
        code, _, err = run(capsys, "check", tmp_path / "x.npy", option, "a")
        assert (code, err.count("\n")) == (2, 1)
        assert f"{option[2:]} must name a column of a table, got 'a'" in err


def test_python_reads_the_same_columns(folder):
    part = read(folder / "t.csv", condition="kind", id="key", drop=["note"]).train
    assert list(part.x.columns) == list("abcde")
    assert part.y.tolist() == FRAME.kind.tolist()
    assert part.ids.tolist() == FRAME.key.tolist()
    assert part.take(np.array([3, 1])).ids.tolist() == ["p3", "p1"]
    assert list(read(folder / "t.csv", use=["c", "a"]).train.x.columns) == ["c", "a"]


def test_remedies_keep_the_columns():
    roles = ColumnRoles("kind", "a key", ("note", "b"), ())
    assert shlex.join(roles.options()) == "--condition kind --id 'a key' --drop note b"
    assert roles.without_condition().options() == ["--id", "a key", "--drop", "note", "b", "kind"]
    assert ColumnRoles.of_run(roles.to_config()) == roles


# ---------------------------------------------------- what a table looks like


def test_an_index_in_a_parquet_file_is_no_feature(tmp_path):
    numbers = FRAME[list("abc")]
    numbers.sample(frac=1, random_state=0).reset_index(names="Unnamed: 0").to_parquet(tmp_path / "t.parquet")
    with pytest.warns(UserWarning, match=r"t\.parquet: the first column, which has no name"):
        assert list(read(tmp_path / "t.parquet").train.x.columns) == list("abc")
    numbers.reset_index(names="Unnamed: 0").to_parquet(tmp_path / "t.parquet")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(read(tmp_path / "t.parquet").train.x.columns) == list("abc")
        assert read(tmp_path / "t.parquet", id="Unnamed: 0").train.ids.tolist() == list(range(90))
    numbers.set_index("a").to_parquet(tmp_path / "t.parquet")
    assert read(tmp_path / "t.parquet", id="a").train.ids.tolist() == numbers.a.tolist()


@pytest.mark.parametrize(
    ("text", "noted"),
    [
        ("a;b\n1,234;5\n", "1,234 is read as 1.234; if the comma stands between thousands"),
        ("a;b\n1,234;5\n1,5;2\n", None),
        ("a;b\n0,234;5\n", None),
    ],
)
def test_a_comma_that_may_stand_between_thousands_is_noted(tmp_path, text, noted):
    (tmp_path / "t.csv").write_text(text)
    with pytest.warns(UserWarning, match="decimals by ','") as said:
        read(tmp_path / "t.csv")
    assert ("thousands" in str(said[0].message)) == (noted is not None)
    assert noted is None or noted in str(said[0].message)


@pytest.mark.parametrize(
    ("rows", "columns", "row", "column", "warned"),
    [
        (5, 60, "r", "c", 1),
        (60, 5, "r", "c", 0),
        (5, 60, "", "c", 0),
        (5, 60, "cell", "c", 0),
        (5, 60, "r", "gene", 0),
        (60, 5, "r", "cell_", 1),
        (60, 30, "gene", "c", 1),
        (60, 5, "gene", "c", 0),
    ],
)
def test_a_table_of_genes_by_samples_should_be_transposed(tmp_path, rows, columns, row, column, warned):
    x = pd.DataFrame(np.arange(rows * columns).reshape(rows, columns) % 7, columns=range(columns)).add_prefix(column)
    x.index = pd.Index([f"{row}{i}" for i in range(rows)] if row else range(rows))
    x.to_csv(tmp_path / "t.csv")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert read(tmp_path / "t.csv").train.x.shape == (rows, columns)
        fitted = small("VAE", epochs=1).fit(x.astype(float) + 0.5)
    assert fitted.n_features_in_ == columns
    assert sum("transpose it" in str(warning.message) for warning in said) == 2 * warned


WIDE = np.random.default_rng(0).normal(size=(12, 400))
UNIT = np.random.default_rng(0).random(size=(12, 784))


@pytest.mark.parametrize(
    ("x", "advised"),
    [
        (pd.DataFrame(WIDE), True),
        (pd.DataFrame(WIDE).add_prefix("c"), True),
        (WIDE, True),
        (WIDE[:, :200][:9], True),
        (WIDE[:, :199][:9], False),
        (np.r_[WIDE, WIDE + 1][:20], False),  # 20 columns for each row
        (np.r_[WIDE, WIDE + 1][:19], True),
        (pd.DataFrame(WIDE, index=[f"sample{i}" for i in range(12)]), False),
        (pd.DataFrame(WIDE).add_prefix("gene"), False),
        (np.where(np.arange(400) < 20, 0, WIDE), False),  # margins of flattened images
        ((UNIT * 255).astype(np.uint8), False),
        (UNIT, False),
        (np.c_[UNIT, UNIT[:, :1] / 2], True),
        (WIDE.reshape(12, 20, 20), False),
    ],
)
def test_a_table_of_few_rows_and_many_columns_may_have_to_be_transposed(x, advised):
    (few,) = [finding for finding in isthmus.check(x).findings if finding.code == "few-rows"]
    assert ("if columns are the examples, transpose the table (X.T)" in few.remedy) == advised
    assert "collect more rows" in few.remedy
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        small("VAE", epochs=1).fit(x)
    assert sum("ranspose the table" in str(warning.message) for warning in said) == advised


def test_that_a_table_may_have_to_be_transposed_is_said_once():
    x = pd.DataFrame(WIDE, index=[f"r{i}" for i in range(12)])
    (few,) = [finding for finding in isthmus.check(x).findings if finding.code == "few-rows"]
    assert "transpose the table (X.T)" in few.remedy
    with pytest.warns(UserWarning, match="Look at the data first") as said:
        small("VAE", epochs=1).fit(x)
    assert sum(str(warning.message).count("transpose") for warning in said) == 1


def test_a_file_without_the_condition_of_training_says_so(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = pd.DataFrame({name: np.arange(40.0) ** power for power, name in enumerate("abcd", 1)})
    table.insert(0, "batch", np.array(list("xy"))[np.arange(40) % 2])
    table.to_csv("t.csv", index=False)
    table.drop(columns="batch").to_csv("without.csv", index=False)
    table[[*"dcab", "batch"]].to_csv("other order.csv", index=False)
    table.drop(columns="b").assign(e=1, f=2).to_csv("others.csv", index=False)
    assert main(["fit", "cvae", "t.csv", "-q", "-o", "run", "--condition", "batch", "--epochs", "1"]) == 0
    capsys.readouterr()
    for command in (["encode", "-o", "z.csv"], ["score", "-o", "s.csv"], ["reconstruct", "-o", "r.csv"], ["evaluate"]):
        assert main([command[0], "run", "without.csv", *command[1:]]) == 2
        assert capsys.readouterr().err.startswith(
            "isthmus: without.csv must have the column 'batch', the condition in training, got a table without it."
        )
    assert main(["encode", "run", "t.csv", "-o", "z.csv"]) == main(["encode", "run", "other order.csv", "-o", "y.csv"])
    assert Path("z.csv").read_text() == Path("y.csv").read_text()
    assert main(["encode", "run", "others.csv", "-o", "w.csv"]) == 2
    assert "the 4 columns of training, got 1 missing (b) and 2 others (e, f)" in capsys.readouterr().err


@pytest.mark.parametrize("others", [{"e2": 1.5}, {"e2": "text"}])
def test_a_table_with_further_columns_is_refused_alike_everywhere(tmp_path, capsys, monkeypatch, others):
    monkeypatch.chdir(tmp_path)
    known = FRAME[list("abcde")]
    model = small("VAE", epochs=1).fit(known)
    model.save("run")
    more = known.assign(**others)[["e2", *"edcba"]]
    more.to_csv("more.csv", index=False)
    more.to_parquet("more.parquet")
    message = "X must have the 5 columns of training, got 1 others (e2). Leave the others out: "
    warm = small("VAE", epochs=1, warm_start=True).fit(known)
    for X in (more, "more.csv", "more.parquet", Path("more.csv")):
        for use in (model.transform, model.score, warm.fit, lambda x: isthmus.evaluate(model, x, draws=2)):
            with pytest.raises(isthmus.InputError, match=re.escape(message)):
                use(X)
        with pytest.raises(isthmus.InputError, match=re.escape(f"In the validation rows: {message}")):
            small("VAE", epochs=1).fit(known, validation=X)
    with pytest.raises(isthmus.InputError, match=re.escape("out: isthmus.read('more.csv', drop=[...]), in the")):
        model.transform("more.csv")
    assert run(capsys, "encode", "run", "more.csv", "-o", "z.csv")[0] == 2
    assert run(capsys, "encode", "run", "more.csv", "-o", "z.csv", "--drop", "e2")[0] == 0
    codes = model.transform(known)
    np.testing.assert_array_equal(model.transform(isthmus.read("more.csv", drop=["e2"])), codes)
    np.testing.assert_array_equal(model.transform(more[list(model.feature_names_in_)]), codes)


def test_a_model_that_knows_the_columns_of_few_rows_says_nothing_of_genes(tmp_path):
    few = pd.DataFrame(np.random.default_rng(0).normal(size=(90, 60))).add_prefix("c")
    few.index = pd.Index([f"r{i}" for i in range(90)])
    few.to_csv(tmp_path / "all.csv")
    few[:5].to_csv(tmp_path / "few.csv")
    few[:5].reset_index(names="row").to_csv(tmp_path / "named.csv", index=False)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        model = small("VAE", epochs=1).fit(tmp_path / "all.csv")
        model.transform(tmp_path / "few.csv")
        model.transform(pd.read_csv(tmp_path / "few.csv"))
        read(tmp_path / "named.csv", id="row", drop=[f"c{i}" for i in range(20)])
    assert not [warning for warning in said if "transpose" in str(warning.message)]


@pytest.mark.parametrize(
    ("values", "advice", "absent"),
    [
        (
            [f"cell_{i}" for i in range(60)],
            "Name the rows by it (--id who), or drop the column (--drop who)",
            "dummies",
        ),
        (list("AB") * 30, "Use it as the condition (--condition who), drop", "--id"),
        ([f"{i % 53}x" for i in range(61)], "Drop the column (--drop who), or encode it", "--condition"),
        (["1"] * 59 + ["??"], "Fill in or drop these rows, or drop the column", "--condition"),
    ],
)
def test_a_column_of_text_names_rows_or_is_a_condition(tmp_path, values, advice, absent):
    pd.DataFrame({"who": values, "a": 1.5}).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(isthmus.InputError, match="who") as caught:
        read(tmp_path / "t.csv")
    assert advice in str(caught.value)
    assert absent not in str(caught.value)
