"""Reading data sets: values, shapes and dtypes are kept, and invalid sources raise one-line errors."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.error
import warnings
import zipfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from isthmus import data
from isthmus.data import guards, read, text_tables
from isthmus.errors import InputError

RANDOM = np.random.default_rng(0)
FLOATS = RANDOM.normal(size=(7, 3))
GREY = RANDOM.integers(0, 256, (4, 5, 6), dtype=np.uint8)
COLOUR = RANDOM.integers(0, 256, (4, 5, 6, 3), dtype=np.uint8)
TABLE = pd.DataFrame({"a": [1, 2, 3], "b": [0.1, 0.25, 1 / 3], "who": ["x", "y", "x"]})


def read_error(source, *words, **options):
    """The message of the error, which must be one line that contains all `words`."""
    with pytest.raises(InputError) as caught:
        read(str(source), **options)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    for word in words:
        assert word in message
    return message


def images(folder, arrays, names=None):
    """A folder of images of these arrays."""
    for i, array in enumerate(arrays):
        path = folder / (names[i] if names else f"{i}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(path)
    return folder


# -------------------------------------------------------------------- built-in


@pytest.mark.parametrize(
    ("name", "shape", "dtype", "classes", "levels"),
    [
        ("digits", (1797, 8, 8), "uint8", 10, 17),
        ("wine", (178, 13), "float64", 3, None),
        ("iris", (150, 4), "float64", 3, None),
        ("breast_cancer", (569, 30), "float64", 2, None),
    ],
)
def test_data_sets_that_ship_with_scikit_learn(name, shape, dtype, classes, levels):
    dataset = read(name)
    x, y, lengths = dataset.train.x, dataset.train.y, dataset.train.lengths
    assert x.shape == shape
    assert np.asarray(x).dtype == dtype
    assert y.shape == (shape[0],)
    assert len(np.unique(y)) == classes
    assert (lengths, dataset.levels, dataset.valid, dataset.test) == (None, levels, None, None)
    if x.ndim == 2:
        assert len(set(x.columns)) == shape[1]
    else:
        assert x.max() == levels - 1


def test_mnist_has_its_published_split(monkeypatch):
    x = np.repeat((np.arange(70_000) % 251).astype(np.uint8)[:, None], 784, 1)
    y = (np.arange(70_000) % 10).astype(str)
    monkeypatch.setattr("sklearn.datasets.fetch_openml", lambda *a, **k: (x, y))
    dataset = read("mnist")
    assert dataset.train.x.shape == (60_000, 28, 28)
    assert dataset.test.x.shape == (10_000, 28, 28)
    assert dataset.train.x.dtype == np.uint8
    assert dataset.test.y.tolist() == [i % 10 for i in range(60_000, 70_000)]
    assert (dataset.test.x[:, 0, 0] == np.arange(60_000, 70_000) % 251).all()


@pytest.mark.parametrize(
    ("name", "fetch"),
    [
        ("mnist", "fetch_openml"),
        ("fashion_mnist", "fetch_openml"),
        ("olivetti_faces", "fetch_olivetti_faces"),
    ],
)
def test_a_failed_download_says_what_to_do(name, fetch, monkeypatch):
    def offline(*arguments, **options):
        raise urllib.error.URLError(OSError("name resolution failed"))

    monkeypatch.setattr(f"sklearn.datasets.{fetch}", offline)
    read_error(name, f"cannot download {name}", "name resolution failed", f"{name}.npz", "x_train")


def test_listing_the_data_sets_imports_nothing_heavy():
    code = (
        "import sys, isthmus.data; assert len(isthmus.data.BUILT_IN) == 8;"
        "sys.exit(any(m in sys.modules for m in ('numpy', 'pandas', 'sklearn', 'PIL', 'torch')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ---------------------------------------------------------------------- arrays


@pytest.mark.parametrize(
    "x",
    [
        FLOATS,
        FLOATS.astype(">f4"),
        np.asfortranarray(FLOATS),
        GREY,
        COLOUR,
        FLOATS > 0,
        RANDOM.integers(-5, 5, (3, 2)),
    ],
)
def test_npy_keeps_values_shape_and_type(tmp_path, x):
    np.save(tmp_path / "x.npy", x)
    part = read(tmp_path / "x.npy").train
    np.testing.assert_array_equal(part.x, x)
    assert part.x.dtype == x.dtype.newbyteorder("=")
    assert part.x.dtype.isnative
    assert part.y is None


@pytest.mark.parametrize("key", ["x", "X", "x_train", "X_train"])
def test_npz_of_one_part(tmp_path, key):
    np.savez_compressed(tmp_path / "x.npz", **{key: GREY, "note": np.array("ignored")})
    dataset = read(tmp_path / "x.npz")
    np.testing.assert_array_equal(dataset.train.x, GREY)
    assert dataset.valid is None
    assert dataset.test is None


def test_npz_of_three_parts_with_labels(tmp_path):
    arrays = {f"x_{part}": FLOATS + i for i, part in enumerate(("train", "valid", "test"))}
    np.savez(tmp_path / "x.npz", **arrays, y_train=np.arange(7), y_test=np.array(list("abcdefg"), dtype="S1"))
    dataset = read(tmp_path / "x.npz")
    for i, part in enumerate((dataset.train, dataset.valid, dataset.test)):
        np.testing.assert_array_equal(part.x, FLOATS + i)
    assert dataset.train.y.tolist() == list(range(7))
    assert dataset.valid.y is None
    assert dataset.test.y.tolist() == list("abcdefg")


@pytest.mark.parametrize("steps", [np.arange(1.0, 13.0).reshape(6, 2), np.arange(1, 7)])
def test_sequences_given_end_to_end_are_padded_to_one_length_in_all_parts(tmp_path, steps):
    np.savez(
        tmp_path / "x.npz",
        x_train=steps,
        lengths_train=np.array([1, 3, 2]),
        x_test=steps[:4],
        lengths_test=np.array([4]),
    )
    dataset = read(tmp_path / "x.npz")
    wide = steps.reshape(6, -1)
    assert dataset.train.x.shape == (3, 4, wide.shape[1])
    assert dataset.train.x.dtype == steps.dtype
    for row, length, start in zip(dataset.train.x, dataset.train.lengths, (0, 1, 4)):
        np.testing.assert_array_equal(row[:length], wide[start : start + length])
        assert (row[length:] == 0).all()
    np.testing.assert_array_equal(dataset.test.x[0], wide[:4])
    assert dataset.test.lengths.tolist() == [4]


def test_padded_sequences_are_read_as_they_are(tmp_path):
    np.savez(tmp_path / "x.npz", x=FLOATS.reshape(1, 7, 3), lengths=np.array([5]))
    part = read(tmp_path / "x.npz").train
    np.testing.assert_array_equal(part.x[0], FLOATS)
    assert part.lengths.tolist() == [5]


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"images": FLOATS, "labels": np.arange(7)}, ("images, labels", "x_train")),
        ({"y": np.arange(7)}, ("must have the key x", "got the keys y.")),
        ({"x_test": FLOATS}, ("got the keys x_test.",)),
        ({"x": FLOATS, "x_val": FLOATS}, ("'x_val'", "Did you mean 'x_valid'?")),
        ({"x": FLOATS, "y_test": np.arange(7)}, ("x_valid and x_test",)),
        ({"x": FLOATS, "X": FLOATS}, ("both keys 'x' and 'X'",)),
        ({"x": FLOATS, "x_train": FLOATS}, ("both keys 'x' and 'x_train'",)),
        ({"x": FLOATS, "y": np.arange(6)}, ("(6,)", "7 rows")),
        ({"x": FLOATS, "x_test": FLOATS[:, :2]}, ("(2,)", "(3,)", "test")),
        ({"x": FLOATS, "lengths": np.array([3, 3])}, ("sum to 6", "(7, 3)")),
        ({"x": FLOATS, "lengths": np.array([7, 0])}, ("integers >= 1", "minimum 0")),
        ({"x": FLOATS, "lengths": np.array([3.0, 4.0])}, ("integers >= 1", "float64")),
        ({"x": FLOATS.astype(object)}, ("pickle", "never loaded")),
        ({"x": FLOATS, "y": np.array(list("abcdefg"), dtype=object)}, ("y of", "pickle", "astype(str)")),
        ({"x": np.array(["a", "b"])}, ("must be numeric", "<U1")),
        ({"x": FLOATS + 1j}, ("complex128",)),
        ({"x": FLOATS[0]}, ("(n, d)", "got (3,)")),
        ({"x": FLOATS[:0]}, ("no rows in x",)),
        ({"x": FLOATS, "x_test": FLOATS[:0]}, ("no rows in x_test",)),
        ({}, ("(none)",)),
    ],
)
def test_invalid_npz_files(tmp_path, arrays, words):
    np.savez(tmp_path / "x.npz", **arrays)
    read_error(tmp_path / "x.npz", *words)


@pytest.mark.parametrize("x", [FLOATS.astype(object), FLOATS[:0], FLOATS[0], np.array(["a"]), FLOATS + 1j])
def test_invalid_npy_files(tmp_path, x):
    np.save(tmp_path / "x.npy", x)
    read_error(tmp_path / "x.npy", "x.npy")


def test_pickles_are_never_loaded(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "opened"),)

    np.save(tmp_path / "x.npy", np.array([[Trap()]], dtype=object))
    np.savez(tmp_path / "x.npz", x=np.array([[Trap()]], dtype=object))
    read_error(tmp_path / "x.npy", "pickle")
    read_error(tmp_path / "x.npz", "pickle")
    assert not (tmp_path / "opened").exists()


# ---------------------------------------------------------------------- tables


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_tables_keep_names_types_and_values(tmp_path, suffix):
    path = tmp_path / f"t{suffix}"
    numbers = TABLE.drop(columns="who")
    numbers.to_csv(path, index=False) if suffix == ".csv" else numbers.to_parquet(path)
    pd.testing.assert_frame_equal(read(path).train.x, numbers)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize(("column", "left", "labels"), [("who", ["a", "b"], ["x", "y", "x"]), ("a", ["b"], [1, 2, 3])])
def test_the_condition_is_removed_from_the_table(tmp_path, suffix, column, left, labels):
    path = tmp_path / f"t{suffix}"
    table = TABLE if column == "who" else TABLE.drop(columns="who")
    table.to_csv(path, index=False) if suffix == ".csv" else table.to_parquet(path)
    part = read(path, condition=column).train
    assert list(part.x.columns) == left
    assert part.y.tolist() == labels
    assert part.y.dtype.kind in "Ui"


def test_the_condition_replaces_the_labels_of_a_built_in_table():
    part = read("wine", condition="alcohol").train
    assert part.x.shape == (178, 12)
    assert part.y.dtype == np.float64


@pytest.mark.parametrize(
    ("text", "names", "first"),
    [
        ("a,b\n1,2\n3,4\n", ["a", "b"], [1, 2]),
        ("a;b\n1;2\n", ["a", "b"], [1, 2]),
        ("a\tb\n1\t2\n", ["a", "b"], [1, 2]),
        ("\ufeffa,b\r\n1,2\r\n", ["a", "b"], [1, 2]),
        (" a , b\n1, 2\n", ["a", "b"], [1, 2]),
        ("1.5,2.5\n3,4\n", ["0", "1"], [1.5, 2.5]),  # no names
        ("7,7\n3,4\n", ["0", "1"], [7, 7]),
        ("7\n3\n", ["0"], [7]),
        ("0,1,2\n3,4,5\n", ["0", "1", "2"], [3, 4, 5]),  # names that pandas gave
        (",a,b\n0,1,2\n1,3,4\n", ["a", "b"], [1, 2]),  # the index that pandas wrote
        (",a\n5,1\n6,2\n", ["a"], [1]),  # of a shuffled table
        (",a\n1,7\n2,8\n", ["a"], [7]),  # as R writes it
        (",a\nx,1\ny,2\n", ["a"], [1]),
        ("Unnamed: 0.1,Unnamed: 0,a\n0,3,1\n1,4,2\n", ["a"], [1]),  # written twice
        (",,a\nx,0,1\nx,1,2\n", ["a"], [1]),  # an index of two levels
        (",a\n0.5,1\n0.25,2\n", ["Unnamed: 0", "a"], [0.5, 1]),
        (",a\n0.0,1\n1.0,2\n", ["a"], [1]),
        ("n|v|w\n1|2|3\n4|5|6\n", ["n", "v", "w"], [1, 2, 3]),
        ("x;y\n-1,5;2e3\n3;4,25\n", ["x", "y"], [-1.5, 2000]),
        ("x;y\n1,5;2,5\n3;4,25\n", ["x", "y"], [1.5, 2.5]),
        ("1,5;2,5\n3;4,25\n", ["0", "1"], [1.5, 2.5]),
        ("x;y\n1.5;2.5\n", ["x", "y"], [1.5, 2.5]),
        ("x|y\n1|2\n", ["x", "y"], [1, 2]),
        ("2019,2020,2021\n1,2,3\n", ["2019", "2020", "2021"], [1, 2, 3]),
        ("a,b\nTrue,1\nFalse,2\n", ["a", "b"], [1, 1]),
        ('"a,1",b\n1,2\n', ["a,1", "b"], [1, 2]),
        ('"a","b"\n"r1",1.5,2\n"r2",3,4\n', ["a", "b"], [1.5, 2]),  # write.table of R names rows, not their column
        ('"a" "b"\n"1" 1.5 2\n"2" 3 4\n', ["a", "b"], [1.5, 2]),  # as it writes by default
        ('"a" "b c"\n1.5 2\n3 4\n', ["a", "b c"], [1.5, 2]),  # without row names
        ("body mass,age\n1,2\n3,4\n", ["body mass", "age"], [1, 2]),
        ("body mass\n1\n3\n", ["body mass"], [1]),
        ("body mass;age\n1 ;2\n3 ;4\n", ["body mass", "age"], [1, 2]),
        ('"a"\t"b"\n"7"\t1\t2\n"3"\t3\t4\n', ["a", "b"], [1, 2]),
        ('"a";"b"\n"r1";1,5;2\n"r2";3;4,25\n', ["a", "b"], [1.5, 2]),
        ('"a"\n"r1",1.5\n"r2",3\n', ["a"], [1.5]),
        ('"a"\n"r1"\t1.5\n"r2"\t3\n', ["a"], [1.5]),
        ('"2019","2020"\n"r1",1.5,2\n"r2",3,4\n', ["2019", "2020"], [1.5, 2]),
        ("a,b\n1,2,\n2,4,\n", ["a", "b"], [1, 2]),  # rows that end with a separator
        ("a\n1,5\n2,5\n", ["a"], [1.5]),  # decimal commas, no row names
    ],
)
def test_dialects_of_csv(tmp_path, text, names, first):
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode())
    x = read(path).train.x
    assert list(x.columns) == names
    assert x.iloc[0].tolist() == first
    assert x.to_numpy().dtype.kind in "iuf"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n", ()),
        (",a,b\n0,1,2\n1,3,4\n", ()),
        (",a,b\n4,1,2\n1,3,4\n", ("which has no name", "index")),
        ("x;y\n1,5;2,5\n", ("separated by ';'", "decimals by ','")),
        ("x\ty\n1\t2\n", ("separated by a tab",)),
        ("5.1,3.5\n4.9,3.0\n", ("no header",)),
        ("17,4\n9,3\n", ("no header",)),
        ("country,2019,2020\n1,5.3,5.4\n", ()),
        ('"a","b"\n"r1",1.5,2\n"r2",3,4\n', ("the header has 2 cells and rows have 3", "taken for its name")),
    ],
)
def test_what_is_guessed_of_a_table_is_said_in_one_warning(tmp_path, text, words):
    (tmp_path / "t.csv").write_text(text)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        read(tmp_path / "t.csv")
    assert len(said) == bool(words)
    assert all(word in str(warning.message) for warning in said for word in ("t.csv", *words))


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("5.1,3.5,setosa\n4.9,3.0,setosa\n", 2),  # the first row of a table without a header
        ("gene,0.5,0.1,0.7\na,1,2,3\nb,3,4,5\n", 2),
        ("cat,5\ndog,7\ncat,9\n", 3),
        ("1,2,3,a\n2,3,5,b\n4,4,4,a\n", 3),
        ("5.1,,1.4\n4.9,3.0,1.4\n", 2),
        ("label,400.5,401.0,401.5\na,1,2,3\nb,3,4,5\n", 2),  # wavelengths
        ("name,0.1,0.5,0.9\na,1,2,3\n", 1),
        ("text; note,a\nfoo; bar,1\nbaz; q,2\n", 2),
        ('"n, x";v\n' + '"p\nq";1,5\n' * 15, 15),
        ("M,0.455,15\nF,0.35,7\nM,0.53,9\n", 3),
        ("sort,2019,2020\na,5.3,5.4\nb,1.5,2.5\n", 2),
        ("who,x,y\na,5.3,5.4\n", 1),
    ],
)
def test_a_first_row_with_words_is_no_header(tmp_path, text, rows):
    (tmp_path / "t.csv").write_text(text)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        assert len(text_tables.from_csv(tmp_path / "t.csv", "t.csv").train.x) == rows


@pytest.mark.parametrize(
    "text",
    [
        "a,b\n1.5,1,2\n2.5,3,4\n",  # a header that lost a name: the first cells are no names of the rows
        "a,b\n7,1,2\n7,3,4\n",
        "a,b\nx,1,2\nx,3,4\n",
        "a,b\n4,1,2\n9,3,4\n",
        "a,b\n1,2\nr2,3,4\n",
        "city,x\nn0,0.1,0.2\nn1,0.3,0.4\n",  # the header has lost a name
        "b,c\n1,2,3\n2,3,4\n",
        "a,b\nr1,1,2\nr2,3,4\nr3,5,6,7\n",
        "a,b\nr1,1,2,3\nr2,3,4,5\n",
        "1.5,2.5\nr1,1,2\nr2,3,4\n",
        "a,b\n" + "".join(f"r{i},1,2\n" for i in range(90)) + "r5,3,4\n",  # below the rows that are guessed by
        "a,b\n" + "".join(f"r{i},1,2\n" for i in range(90)) + "r99,3,4,5\n",
    ],
)
def test_rows_longer_than_the_header_are_refused_unless_they_are_named(tmp_path, text):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError, match=r"^(the header of .* longer rows|cannot read .*the file is truncated)"):
        read(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("house no,x y\nS0 1,0 5\nS1 2,0 6\n", "house no"),
        ("price usd\n1 000\n2 000\n", "price usd"),
        ("street address\nS0 St 0\nS1 St 1\n", "street address"),
    ],
)
def test_spaces_within_names_divide_no_column(tmp_path, text, column):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError, match=f"column '{column}' must be numeric"):
        read(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("text", "names", "first"),
    [
        ("a b\nr1 1.5 2\nr2 3 4\n", ["a", "b"], [1.5, 2]),  # R, without quotes
        ("1.5  2 3\n4.5 6  7\n", ["0", "1", "2"], [1.5, 2, 3]),
        (" 1.5 2 3 \n 4.5 6 7 \n", ["0", "1", "2"], [1.5, 2, 3]),
        ("a b\n1 NA\n2 3\n", ["a", "b"], [1, np.nan]),
        ("a,b\n1,2\n3,4\n", ["a", "b"], [1, 2]),
        ("a\tb c\n1\t2\n3\t4\n", ["a", "b c"], [1, 2]),
    ],
)
def test_spaces_stand_between_columns_of_txt(tmp_path, text, names, first):
    (tmp_path / "t.txt").write_text(text)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x = read(tmp_path / "t.txt").train.x
    assert list(x.columns) == names
    np.testing.assert_array_equal(x.iloc[0].to_numpy(dtype=float), first)


def test_row_names_without_a_cell_in_the_header_may_be_the_condition(tmp_path):
    (tmp_path / "t.csv").write_text('"a","b"\n"set",5,1\n"ver",6,2\n')
    part = read(tmp_path / "t.csv", condition="Unnamed: 0").train
    assert part.y.tolist() == ["set", "ver"]
    assert list(part.x.columns) == ["a", "b"]


def test_an_index_that_is_the_condition_is_kept(tmp_path):
    (tmp_path / "t.csv").write_text(",a,b\nset,5,1\nver,6,2\n")
    part = read(tmp_path / "t.csv", condition="Unnamed: 0").train
    assert part.y.tolist() == ["set", "ver"]
    assert list(part.x.columns) == ["a", "b"]


@pytest.mark.parametrize("name", ["x.tsv", "X.CSV.GZ", "x.tsv.gz", "x.v2.csv.gz"])
def test_tables_with_tabs_and_compressed_ones(tmp_path, name):
    rows = pd.DataFrame(RANDOM.normal(size=(30, 3)), columns=list("abc"))
    rows.to_csv(
        tmp_path / name,
        index=False,
        sep="\t" if "tsv" in name else ",",
        compression={"method": "gzip"} if name.lower().endswith("gz") else None,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the name says what separates columns
        pd.testing.assert_frame_equal(read(tmp_path / name).train.x, rows)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a;b\n" + "1,5;200\n" * 25 + "1,5;1.234\n", ("decimal commas or points", "'1.234'", "column 'b'")),
        ("lat;lon,v\n1;2,3\n", ("'lon,v'", "'2,3'")),
    ],
)
def test_numbers_that_could_be_two_are_refused(tmp_path, text, words):
    (tmp_path / "t.csv").write_text(text)
    read_error(tmp_path / "t.csv", *words)


@pytest.mark.parametrize("columns", [30_000, 200_000])
def test_wide_tables_keep_their_header(tmp_path, columns):
    names = [f"c{j}" for j in range(columns)]
    lines = [",".join(names), *[",".join(["0.5"] * columns)] * 2]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    form = text_tables.guess_form(text_tables.open_text(tmp_path / "t.csv"))
    assert (form.separator, form.names) == (",", names)


def test_columns_of_one_name_are_refused(tmp_path):
    (tmp_path / "t.csv").write_text("a,b,a\n1,2,3\n")
    read_error(tmp_path / "t.csv", "names of their own", "2 columns named 'a'")


def test_missing_values_become_nan(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,\n2,3\n")
    assert np.isnan(read(tmp_path / "t.csv").train.x["b"][0])
    pd.DataFrame({"a": pd.array([1, None], dtype="Int64"), "b": [True, False]}).to_parquet(tmp_path / "t.parquet")
    x = read(tmp_path / "t.parquet").train.x
    assert np.isnan(x["a"][1])
    assert x.to_numpy().dtype == np.float64


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (TABLE, ("column 'who'", "3 of 3 rows", "first value is 'x'", "drop", "get_dummies", "--condition who")),
        (pd.DataFrame({"a": ["1", "2", "?"]}), ("column 'a'", "1 of 3 rows", "first value is '?'", "Fill in")),
        (pd.DataFrame({"when": pd.to_datetime(["2020-01-01"])}), ("column 'when'", "2020", "dt.days")),
        (pd.DataFrame({"how long": pd.to_timedelta([3], "h")}), ("column 'how long'", "dt.total_seconds()")),
        (pd.DataFrame({"a": ["x"], "b": ["y"], "c": ["z"]}), ("column 'a'", "('b', 'c' are not numeric either)")),
        (pd.DataFrame({"a": [[1, 2]]}), ("column 'a'",)),
        (pd.DataFrame({"a": pd.Series(["u", "v"], dtype="category")}), ("column 'a'", "'u'")),
    ],
)
def test_errors_name_the_non_numeric_column_and_value(tmp_path, frame, words):
    frame.to_parquet(tmp_path / "t.parquet")
    read_error(tmp_path / "t.parquet", *words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n", ("no rows",)),
        ("a,b\n1,2\n1,2,3\n", ("line 3",)),
        ("a,b\n1,2,3\n1,2,3\n", ("t.csv",)),
        ('a,b\n1,"2\n', ("t.csv",)),
        ("a\n\xe9\n".encode("latin-1"), ("UTF-8",)),
        ("\n\n", ("t.csv",)),
    ],
)
def test_invalid_csv_files(tmp_path, text, words):
    (tmp_path / "t.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    read_error(tmp_path / "t.csv", *words)


def test_invalid_conditions(tmp_path):
    TABLE.to_parquet(tmp_path / "t.parquet")
    read_error(tmp_path / "t.parquet", "got 'whom'", "Did you mean 'who'?", condition="whom")
    np.save(tmp_path / "x.npy", FLOATS)
    read_error(tmp_path / "x.npy", "'who'", "no columns", condition="who")
    read_error("digits", "no columns", "labels (y)", condition="target")
    TABLE[["who"]].to_parquet(tmp_path / "w.parquet")
    read_error(tmp_path / "w.parquet", "no columns of numbers", condition="who")
    pd.DataFrame({"a": [1, 2], "who": ["x", None]}).to_parquet(tmp_path / "g.parquet")
    read_error(tmp_path / "g.parquet", "'who'", "must not be empty", "1 of 2 rows", condition="who")


# ---------------------------------------------------------------------- images


@pytest.mark.parametrize("arrays", [GREY, COLOUR, GREY > 127])
def test_a_folder_of_images_is_read_in_order_of_names(tmp_path, arrays):
    images(tmp_path, arrays[::-1], ["d.png", "c.png", "b.png", "a.png"])
    (tmp_path / "notes.txt").write_text("ignored")
    (tmp_path / ".hidden.png").write_text("ignored")
    part = read(tmp_path).train
    np.testing.assert_array_equal(part.x, arrays)
    assert part.x.dtype == np.uint8
    assert part.y is None


def test_transparent_pixels_are_white_whatever_lies_under_them(tmp_path):
    hidden = np.concatenate([COLOUR[0], np.zeros((5, 6, 1), np.uint8)], -1)
    hidden[0, 0] = (10, 20, 30, 255)
    grey = np.stack([GREY[0], np.where(np.arange(6) < 3, 255, 0) * np.ones((5, 1))], -1).astype(np.uint8)
    Image.fromarray(hidden).save(tmp_path / "0.png")
    Image.fromarray(COLOUR[0]).convert("P").save(tmp_path / "1.gif", transparency=0)
    x = read(tmp_path).train.x
    assert x[0, 0, 0].tolist() == [10, 20, 30]
    assert (x[0].reshape(-1, 3)[1:] == 255).all()
    (tmp_path / "grey").mkdir()
    Image.fromarray(grey, "LA").save(tmp_path / "grey/0.png")
    np.testing.assert_array_equal(read(tmp_path / "grey").train.x[0], np.where(grey[..., 1] > 0, grey[..., 0], 255))


@pytest.mark.parametrize(
    "names",
    [("train", "val"), ("Train", "Validation", "TEST"), ("training", "dev", "testing"), ("train", "test"), ("train",)],
)
def test_folders_with_usual_names_of_splits_are_parts(tmp_path, names):
    files = [f"{name}/{label}/{i}.png" for name in names for label in "ab" for i in range(2)]
    dataset = read(images(tmp_path, np.concatenate([GREY] * 4)[: len(files)], files))
    parts = [part for part in (dataset.train, dataset.valid, dataset.test) if part is not None]
    assert [len(part.x) for part in parts] == [4] * len(names)
    assert all(part.y.tolist() == ["a", "a", "b", "b"] for part in parts)


@pytest.mark.parametrize("names", [("control", "test"), ("car", "train"), ("test",)])
def test_a_class_may_have_the_name_of_a_split(tmp_path, names):
    assert read(images(tmp_path, GREY[:2], [f"{names[0]}/0.png", f"{names[-1]}/1.png"])).train.y.tolist() == sorted(
        [names[0], names[-1]]
    )


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (("train/0.png", "test/1.png", "old/2.png"), ("either parts of the data or labels", "old")),
        (("train/0.png", "val/1.png", "dev/2.png"), ("must be one folder", "dev, val")),
        (("val/0.png", "test/1.png"), ("must have a folder train",)),
        (("train/0.png", "test/1.png", "2.png"), ("lie beside them",)),
    ],
)
def test_folders_that_are_half_splits_are_refused(tmp_path, files, words):
    read_error(images(tmp_path, GREY[: len(files)], list(files)), *words)


def test_hidden_folders_are_left_out(tmp_path):
    files = ["a/0.png", "a/.ipynb_checkpoints/0.png", ".cache/0.png", "__MACOSX/0.png", "b/1.png"]
    assert read(images(tmp_path, GREY[:1].repeat(5, 0), files)).train.y.tolist() == ["a", "b"]


def test_linked_folders_are_folders_and_loops_end(tmp_path):
    images(tmp_path / "elsewhere", GREY[:2], ["0.png", "1.png"])
    images(tmp_path / "data", GREY[2:3], ["a/0.png"])
    (tmp_path / "data/b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data/c").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data/a/above").symlink_to(tmp_path / "data")
    assert read(tmp_path / "data").train.y.tolist() == ["a", "b", "b", "c", "c"]
    (tmp_path / "splits").mkdir()
    for part in ("train", "test"):
        (tmp_path / "splits" / part).symlink_to(tmp_path / "elsewhere")
    dataset = read(tmp_path / "splits")
    assert (len(dataset.train.x), len(dataset.test.x)) == (2, 2)


def test_a_stack_of_another_name_is_refused(tmp_path):
    frames = [Image.fromarray(array) for array in GREY]
    frames[0].save(tmp_path / "a.png", "TIFF", save_all=True, append_images=frames[1:])
    read_error(tmp_path, "a.png is a TIFF file of 4 images")


def test_a_folder_that_cannot_be_read_is_an_error(tmp_path, monkeypatch):
    images(tmp_path, GREY[:2], ["a/0.png", "b/1.png"])
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("b"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    read_error(tmp_path, "cannot read", "b", "ermission denied")


def test_every_frame_of_a_stack_is_an_image_and_animations_are_refused(tmp_path):
    frames = [Image.fromarray(array) for array in GREY]
    frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:])
    frames[1].save(tmp_path / "b.tif")
    np.testing.assert_array_equal(read(tmp_path).train.x, np.concatenate([GREY, GREY[1:2]]))
    stacks = images(tmp_path / "labelled", GREY[:1], ["two/0.tif"])
    (stacks / "one").mkdir()
    frames[0].save(stacks / "one/a.tif", save_all=True, append_images=frames[1:])
    assert read(stacks).train.y.tolist() == ["one"] * len(GREY) + ["two"]
    for suffix in ("gif", "webp", "png"):
        folder = tmp_path / suffix
        folder.mkdir()
        frames[0].save(folder / f"0.{suffix}", save_all=True, append_images=frames[1:])
        read_error(folder, "animation")


def test_a_file_is_decoded_as_the_formats_of_image_files_alone(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")
    monkeypatch.setattr("subprocess.Popen", None)  # Ghostscript would be started by it
    read_error(tmp_path, "a.png", "not an image of the format")


def test_palettes_are_colours(tmp_path):
    opaque = np.concatenate([COLOUR[0], np.full((5, 6, 1), 255, np.uint8)], -1)
    images(tmp_path, [opaque, COLOUR[1]])
    Image.fromarray(np.stack([GREY[0]] * 3, -1)).convert("P").save(tmp_path / "2.gif")
    x = read(tmp_path).train.x
    assert x.shape == (3, 5, 6, 3)
    np.testing.assert_array_equal(x[:2], COLOUR[:2])


def test_subfolders_are_labels(tmp_path):
    part = read(images(tmp_path, GREY, ["cat/1.png", "cat/2.png", "dog/deep/1.png", "dog/2.png"])).train
    assert part.y.tolist() == ["cat", "cat", "dog", "dog"]
    np.testing.assert_array_equal(part.x[:2], GREY[:2])


def test_subfolders_named_train_and_test_are_parts(tmp_path):
    dataset = read(images(tmp_path, GREY, ["train/a/1.png", "train/b/1.png", "test/a/1.png", "test/b/2.png"]))
    np.testing.assert_array_equal(dataset.train.x, GREY[:2])
    np.testing.assert_array_equal(dataset.test.x, GREY[2:])
    assert dataset.test.y.tolist() == ["a", "b"]
    assert dataset.valid is None


@pytest.mark.parametrize(
    ("odd", "words"),
    [
        (GREY[0, :4], ("6 x 4 grey", "6 x 5 grey")),
        (COLOUR[0], ("6 x 5 colour",)),
        (GREY[0] > 9, ("one-bit",)),
        (GREY[0].astype(np.int32), ("6 x 5 int32 grey", "number of bits")),
    ],
)
def test_errors_name_an_image_of_another_size_or_mode(tmp_path, odd, words):
    read_error(images(tmp_path, [GREY[0], odd], ["0.png", "odd.tif"]), "odd.tif", *words)


def test_invalid_folders(tmp_path):
    read_error(tmp_path, "must hold images")
    images(tmp_path, GREY[:2], ["1.png", "cat/2.png"])
    read_error(tmp_path, "labels")
    (tmp_path / "0.png").write_bytes(b"not an image")
    (tmp_path / "cat/2.png").unlink()
    read_error(tmp_path, "0.png", "not an image")


# ----------------------------------------------------------------------- files


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("digit", ("got 'digit'", "Did you mean 'digits'?")),
        ("Wine", ("Did you mean 'wine'?",)),
        ("zzzzz", ("must be one of", "olivetti_faces")),
        ("nowhere/x.npy", ("no file nowhere/x.npy", "folder 'nowhere' does not exist")),
        ("x.npy", ("no file x.npy",)),
    ],
)
def test_errors_suggest_the_nearest_data_set(tmp_path, monkeypatch, source, words):
    monkeypatch.chdir(tmp_path)
    read_error(source, *words)


def test_errors_suggest_the_nearest_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("train.npy", FLOATS)
    read_error("tran.npy", "Did you mean 'train.npy'?")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "x.pt",
            (
                ".npy, .npz, .csv, .tsv, .txt, .csv.gz, .tsv.gz, .txt.gz, .csv.zst, .tsv.zst, .txt.zst, .parquet",
                "folder of images",
            ),
        ),
        ("x.png", ("not an image",)),
        ("x", (".npy",)),
    ],
)
def test_unknown_formats(tmp_path, name, words):
    (tmp_path / name).write_bytes(b"something")
    read_error(tmp_path / name, *words)


DAMAGED = [(suffix, damage) for suffix in data.FILE_SUFFIXES for damage in ("empty", "foreign", "half", "cut")]


def write_table(rows, path, suffix):
    """Rows as a file of text."""
    rows.to_csv(path, index=False, sep="\t" if ".tsv" in suffix else ",")


# Half a .csv is a table too.
@pytest.mark.parametrize(
    ("suffix", "damage"), [d for d in DAMAGED if d[0] not in (".csv", ".tsv", ".txt") or d[1] not in ("half", "cut")]
)
def test_damaged_files_raise_one_line_errors(tmp_path, suffix, damage):
    path = tmp_path / f"x{suffix}"
    rows = pd.DataFrame(RANDOM.normal(size=(500, 3)), columns=list("abc"))
    if suffix == ".npy":
        np.save(path, rows)
    elif suffix == ".npz":
        np.savez(path, x=rows)
    elif suffix == ".parquet":
        rows.to_parquet(path)
    else:
        write_table(rows, path, suffix)
    whole = path.read_bytes()
    made = {"empty": b"", "foreign": b"\x80\x04\x95" * 99, "half": whole[: len(whole) // 2], "cut": whole[:-3]}
    path.write_bytes(made[damage])
    read_error(path, "cannot read", "x" + suffix)


def test_a_header_that_announces_more_bytes_than_the_file_has(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((1, 3)))
    forged = (tmp_path / "x.npy").read_bytes().replace(b"(1, 3), }" + b" " * 9, b"(9999999999, 3), }")
    assert b"9999999999" in forged
    (tmp_path / "x.npy").write_bytes(forged)
    read_error(tmp_path / "x.npy", "truncated")
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x.npy", forged)
    read_error(tmp_path / "x.npz", "truncated")


@pytest.mark.parametrize("suffix", data.FILE_SUFFIXES)
def test_a_file_larger_than_memory_is_not_read(tmp_path, monkeypatch, suffix):
    path = tmp_path / f"x{suffix}"
    rows = pd.DataFrame(np.zeros((400, 3)), columns=list("abc"))
    save = {".npy": lambda: np.save(path, rows), ".npz": lambda: np.savez(path, x=rows)}
    save |= {".parquet": lambda: rows.to_parquet(path)}
    save.get(suffix, lambda: write_table(rows, path, suffix))()
    monkeypatch.setattr(guards, "free_memory", lambda: 4_000)
    read_error(path, "GB", "fewer rows")
    monkeypatch.setattr(guards, "free_memory", lambda: None)
    assert len(read(path).train.x) == 400


def test_free_memory_is_plausible_or_unknown():
    free = guards.free_memory()
    assert free is None or 1e6 < free < 1e15


@pytest.mark.parametrize("suffix", data.FILE_SUFFIXES)
def test_a_file_without_read_permission(tmp_path, monkeypatch, suffix):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(b"something")

    def forbidden(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    # The tests may run as root, who can read any file: the error is raised by hand.
    monkeypatch.setattr("pathlib.Path.open", forbidden)
    monkeypatch.setattr("zipfile.ZipFile.__init__", forbidden)
    monkeypatch.setattr("gzip.open", forbidden)
    read_error(path, "cannot read", "permission denied")
