"""Rows as users have them: every kind of X gives the numbers of the plain array, and tables come back as tables."""

from __future__ import annotations

import re
import time
from pathlib import Path

import numpy as np
import pandas as pd
import polars
import pyarrow
import pytest
import scipy.sparse
import torch
from sklearn.compose import make_column_transformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from torch.utils.data import ConcatDataset, DataLoader, IterableDataset, Subset, SubsetRandomSampler, TensorDataset
from torch.utils.data import Dataset as TorchDataset

import isthmus
from isthmus.data import Dataset
from isthmus.errors import InputError
from isthmus.estimators import input_validation
from isthmus.estimators.input_validation import validate_features
from isthmus.examples import Examples
from isthmus.inputs import as_examples
from models import counts, small, table

X = table()
LABELS = np.arange(90) % 3
FRAME = pd.DataFrame(X, columns=list("abcde"))
RAGGED = [np.full((i % 4 + 1, 2), i + 0.25) for i in range(60)]


class Items(TorchDataset):
    """A data set of these items."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


class Stream(IterableDataset):
    """Rows one after the other."""

    def __iter__(self):
        return iter(torch.from_numpy(X))


class LongStream(Stream):
    """Rows one after the other, of a known number."""

    def __len__(self):
        return len(X)


@pytest.fixture(scope="module")
def plain():
    return small("VAE", epochs=1).fit(X)


@pytest.fixture(scope="module")
def framed():
    return small("VAE", epochs=1).fit(FRAME)


PAIRS = TensorDataset(torch.from_numpy(X), torch.from_numpy(LABELS))
SAME_ROWS = {
    **{form: lambda form=form: scipy.sparse.csr_matrix(X).asformat(form) for form in ("csr", "csc", "coo", "dok")},
    "sparse array": lambda: scipy.sparse.csr_array(X),
    "sparse tensor": lambda: torch.from_numpy(X).to_sparse(),
    "compressed sparse tensor": lambda: torch.from_numpy(X).to_sparse_csr(),
    "table of Arrow": lambda: pyarrow.Table.from_pandas(FRAME),
    "tensor data set": lambda: TensorDataset(torch.from_numpy(X)),
    "pairs": lambda: PAIRS,
    "arrays": lambda: Items(list(X)),
    "named labels": lambda: Items([(row, "ab"[i % 2]) for i, row in enumerate(X)]),
    "stream": LongStream,
    "concatenated": lambda: ConcatDataset([Subset(PAIRS, range(40)), Subset(PAIRS, range(40, 90))]),
    "loader": lambda: DataLoader(PAIRS, batch_size=7),
    "shuffling loader": lambda: DataLoader(PAIRS, batch_size=7, shuffle=True, drop_last=True),
    "loader of single rows": lambda: DataLoader(PAIRS, batch_size=None),
    "loader that collates": lambda: DataLoader(
        PAIRS, batch_size=7, collate_fn=lambda items: (torch.stack([x for x, _ in items]), [int(y) for _, y in items])
    ),
    "loader of a stream": lambda: DataLoader(LongStream(), batch_size=8),
}


@pytest.mark.parametrize("kind", SAME_ROWS)
def test_every_kind_of_rows_is_read_as_the_array_of_them(plain, kind):
    given = SAME_ROWS[kind]()
    np.testing.assert_array_equal(np.asarray(as_examples(given).x), X)
    np.testing.assert_array_equal(plain.transform(given), plain.transform(X))


@pytest.mark.parametrize("kind", ["csr", "sparse array", "shuffling loader", "stream"])
def test_fitting_them_gives_the_same_model(plain, kind):
    fitted = small("VAE", epochs=1).fit(SAME_ROWS[kind]())
    np.testing.assert_array_equal(fitted.transform(X), plain.transform(X))
    assert fitted.n_features_in_ == 5
    np.testing.assert_array_equal(fitted.score_samples(SAME_ROWS[kind](), draws=3), plain.score_samples(X, draws=3))


def test_functions_take_them_too(plain):
    given = scipy.sparse.csr_matrix(X)
    one, other = (isthmus.evaluate(plain, rows, draws=3, without=("inference_gap",)) for rows in (given, X))
    assert one.to_dict() == other.to_dict()
    assert [f.code for f in isthmus.diagnose(plain, given, evaluation=one)] == [
        f.code for f in isthmus.diagnose(plain, X, evaluation=one)
    ]
    assert isthmus.check(given) == isthmus.check(X)
    tables = [isthmus.compare(rows, models=["pca"], seeds=1).to_dict() for rows in (given, polars.from_pandas(FRAME))]
    assert tables[0]["fingerprint"] == tables[1]["fingerprint"]
    validated = small("VAE", epochs=1).fit(given, validation=scipy.sparse.csr_matrix(X[:9]))
    np.testing.assert_array_equal(
        validated.transform(X), small("VAE", epochs=1).fit(X, validation=X[:9]).transform(given)
    )


def test_a_sparse_matrix_larger_than_memory_is_read_from_a_file(monkeypatch):
    x = scipy.sparse.csr_matrix(counts())
    monkeypatch.setattr("isthmus.data.sparse_rows.NUMBERS_AT_ONCE", 64)
    in_memory = small("VAE", epochs=2).fit(x)
    monkeypatch.setattr("isthmus.data.sparse_rows.fits_in_memory", lambda n_bytes: False)
    with pytest.warns(UserWarning, match="^X, a sparse matrix, takes 0.0 GB as an array, which memory cannot hold"):
        from_file = small("VAE", epochs=2).fit(x)
    assert [one["loss"] for one in from_file.history_] == [one["loss"] for one in in_memory.history_]
    with pytest.warns(UserWarning, match="temporary file"):
        np.testing.assert_array_equal(from_file.transform(x), in_memory.transform(x))


def test_a_sparse_matrix_larger_than_the_disk_is_refused(monkeypatch):
    monkeypatch.setattr("isthmus.data.guards.free_memory", lambda: 10)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 10}))
    with pytest.raises(isthmus.InputError, match=r"^X, a sparse matrix, as an array takes .* GB of memory are free"):
        small("VAE", epochs=1).fit(scipy.sparse.csr_matrix(counts()))


def test_sparse_counts_stay_counts():
    assert small("VAE", epochs=1).fit(scipy.sparse.csr_matrix(counts())).schema_.likelihood == "negative_binomial"


def test_a_sparse_matrix_that_does_not_fit_as_an_array_is_refused(plain):
    with pytest.raises(InputError, match=r"sparse matrix, as an array takes 80,000\.0 GB") as caught:
        plain.transform(scipy.sparse.csr_matrix((10**7, 10**6)))
    assert "\n" not in str(caught.value)


def test_one_hot_rows_of_a_pipeline():
    words = pd.DataFrame({"k": [f"k{i % 60}" for i in range(120)]})
    pipe = make_pipeline(make_column_transformer((OneHotEncoder(), ["k"])), small("VAE", epochs=1))
    assert pipe.fit(words).transform(words).shape == (120, 3)


def test_labels_of_a_data_set_are_the_condition_of_a_conditional_model(plain):
    conditional = small("ConditionalVAE", epochs=1).fit(DataLoader(PAIRS, batch_size=9))
    assert conditional.schema_.condition.classes == (0, 1, 2)
    np.testing.assert_array_equal(conditional.transform(PAIRS), conditional.transform(X, condition=LABELS))
    assert small("VAE", epochs=1).fit(PAIRS).schema_.condition is None


REFUSED = {
    "a stream of unknown length": (Stream, "must be a data set with a length, got Stream"),
    "a loader of one": (lambda: DataLoader(Stream(), batch_size=2), "must be a data set with a length, got Stream"),
    "some of the rows": (
        lambda: DataLoader(PAIRS, sampler=SubsetRandomSampler([1, 2])),
        "each row of its data set once, got a SubsetRandomSampler",
    ),
    "dicts": (lambda: Items([{"image": 1, "label": 2}]), "got a dict with the keys image, label"),
    "triples": (lambda: Items([(X[0], 1, 2)]), r"items are x or \(x, y\), got 3 values"),
    "words": (lambda: Items(["a", "b"]), "got x of type str"),
    "no rows": (lambda: Items([]), "at least one row"),
    "rows of two shapes": (lambda: Items([np.ones((2, 2, 2)), np.ones((3, 2, 2))]), "rows of one shape"),
    "labels of some": (lambda: Items([(X[0], 1), X[1]]), "2 rows and 1 labels"),
    "a y of several numbers": (lambda: Items([(X[0], X[0])]), r"got a y of shape \(5,\)"),
    "a lazy frame": (lambda: polars.from_pandas(FRAME).lazy(), r"got a LazyFrame. Pass X.collect\(\)"),
    "sequences of two widths": (lambda: [np.ones((2, 3)), np.ones((1, 2))], "of one width d"),
    "a sequence of no steps": (lambda: [np.ones((2, 3)), np.ones((0, 3))], "at least one step"),
    "a path that is none": (lambda: "missing/x.csv", "there is no file missing/x.csv"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_is_refused_in_one_line(plain, case):
    given, says = REFUSED[case]
    for use in (plain.transform, small("VAE").fit, lambda X: isthmus.evaluate(plain, X)):
        with pytest.raises(InputError, match=says) as caught:
            use(given())
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "beside", "says"),
    [
        (PAIRS, {"y": LABELS}, "y must be None"),
        (RAGGED, {"lengths": [1] * 60}, "lengths must be None"),
        ("wine", {"lengths": [1]}, "lengths must be None"),
        (isthmus.Examples(X), {"y": LABELS}, "inside the Examples"),
    ],
)
def test_what_rows_bring_is_not_given_twice(given, beside, says):
    with pytest.raises(InputError, match=says):
        as_examples(given, **beside)


def test_rows_by_the_names_of_their_columns(framed):
    row = dict(FRAME.iloc[3])
    np.testing.assert_array_equal(framed.transform(row), framed.transform(FRAME.iloc[3:4]))
    np.testing.assert_allclose(framed.transform([row, row])[1:], framed.transform(row), rtol=1e-5)
    with pytest.raises(InputError, match="missing"):
        framed.transform({name: row[name] for name in list(row)[:2]})


def test_weights_beside_data_that_are_read_and_beside_examples():
    weight = np.random.default_rng(0).integers(0, 3, 178)
    one = small("VAE", epochs=1).fit("wine", sample_weight=weight)
    other = small("VAE", epochs=1).fit(isthmus.read("wine").train.x, sample_weight=weight)
    assert [each["loss"] for each in one.history_] == [each["loss"] for each in other.history_]
    with pytest.raises(InputError, match=r"^sample_weight must be inside the Examples .* Examples\(x, weight="):
        small("VAE", epochs=1).fit(Examples(X), sample_weight=np.ones(90))


def test_sequences_that_happen_to_have_one_length_are_taken_wherever_rows_are():
    model = small("VAE", epochs=1, warm_start=True).fit(RAGGED)
    same = [item[:2] for item in RAGGED if len(item) >= 2][:8]
    isthmus.diagnose(model, same, train=same)
    assert small("VAE", epochs=1).fit(RAGGED, validation=same).history_
    assert model.fit(same).history_


def test_arrays_of_unlike_length_are_sequences():
    rows = as_examples(RAGGED)
    assert rows.lengths.tolist() == [len(item) for item in RAGGED]
    for item, row in zip(RAGGED, rows.x):
        np.testing.assert_array_equal(row[: len(item)], item)
        assert not row[len(item) :].any()
    fitted = small("VAE", epochs=1).fit(RAGGED)
    np.testing.assert_array_equal(fitted.transform(RAGGED), fitted.transform(rows.x, lengths=rows.lengths))
    # A single sequence is one, too, for a model of sequences; of another, arrays of one length are images.
    np.testing.assert_allclose(fitted.transform(RAGGED[:1]), fitted.transform(RAGGED)[:1], rtol=1e-5)
    np.testing.assert_array_equal(
        fitted.transform(Items([torch.from_numpy(a) for a in RAGGED])), fitted.transform(RAGGED)
    )
    assert as_examples([np.ones((3, 2))] * 4).lengths is None
    assert as_examples([np.arange(3.0), np.arange(2.0)]).x.shape == (2, 3, 1)


def test_a_path_is_read_as_the_command_line_reads_it(tmp_path):
    FRAME.assign(kind=LABELS).to_csv(tmp_path / "t.csv", index=False)
    np.savez(tmp_path / "x.npz", x_train=X[:70], x_valid=X[70:], y_train=LABELS[:70], y_valid=LABELS[70:])
    conditional = small("ConditionalVAE", epochs=1).fit(tmp_path / "t.csv", condition="kind")
    np.testing.assert_array_equal(
        conditional.transform(str(tmp_path / "t.csv"), condition="kind"), conditional.transform(FRAME, condition=LABELS)
    )
    own = small("VAE", epochs=1).fit(str(tmp_path / "x.npz"))
    np.testing.assert_array_equal(own.transform(X), small("VAE", epochs=1).fit(X[:70], validation=X[70:]).transform(X))
    labelled = small("ConditionalVAE", epochs=1).fit(tmp_path / "x.npz")
    assert labelled.transform(tmp_path / "x.npz").shape == (90, 3)
    framed = small("VAE", epochs=1).fit(FRAME)
    with pytest.raises(InputError, match=r"X must have the 5 columns of training, got 1 others \(kind\)"):
        framed.transform(tmp_path / "t.csv")
    FRAME[list("edcba")].to_csv(tmp_path / "turned.csv", index=False)
    np.testing.assert_array_equal(framed.transform(tmp_path / "turned.csv"), framed.transform(FRAME))
    with pytest.raises(InputError, match=r"X must have the 5 columns of training, got 5 missing \(a, b, c, d, e\)"):
        framed.transform("wine")
    assert small("VAE", epochs=1).fit("digits").schema_.levels == 17


KINDS_OF_NUMBERS = {
    "float64": lambda x: x,
    "float32": lambda x: x.astype("float32"),
    "float16": lambda x: x.astype("float16"),
    "big endian": lambda x: x.astype(">f8"),
    "of bytes and floats": lambda x: x.abs().astype({"b": "uint8", "c": "float32"}),
    "of truth values": lambda x: x.assign(b=x.b > 0, c=x.c > 0),
    "nullable": lambda x: x.astype({"a": "Float64", "b": "Int64"}),
    "of words": lambda x: x.assign(b=x.b.astype(str)),
    "of categories": lambda x: x.assign(b=x.b.astype("category")),
    "sparse": lambda x: x.astype(pd.SparseDtype(float)),
}


@pytest.mark.parametrize("kind", KINDS_OF_NUMBERS)
def test_known_columns_are_the_numbers_that_scikit_learn_makes_of_them(monkeypatch, kind):
    whole = pd.DataFrame(counts()[:, :4] - 3, columns=list("abcd")).astype(float)
    model = small("VAE", epochs=1, likelihood="normal").fit(whole)
    frame = KINDS_OF_NUMBERS[kind](whole)
    quick = [validate_features(model, rows, reset=False) for rows in (frame, frame[:1])]
    monkeypatch.setattr(input_validation, "values_of_known_columns", lambda estimator, X: None)
    for one, rows in zip(quick, (frame, frame[:1])):
        other = validate_features(model, rows, reset=False)
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


def test_a_row_of_a_table_takes_no_longer_than_one_of_an_array():
    names = [f"c{i}" for i in range(30)]
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(90, 30)), columns=names)
    model = small("VAE", epochs=1, threads=1).fit(frame)
    rows, times = {"frame": frame[:1], "array": frame[:1].to_numpy()}, {"frame": [], "array": []}
    for _ in range(100):
        for name, row in rows.items():
            began = time.perf_counter()
            model.transform(row)
            times[name].append(time.perf_counter() - began)
    assert min(times["frame"]) < 1.7 * min(times["array"])  # it was 2.6 times


# ------------------------------------------------------------------- tables out


WHOLE = pd.DataFrame(
    {"a": counts()[:, 3].astype("int16"), "b": counts()[:, 1].astype("uint8")}, index=[f"r{i}" for i in range(90)]
)


def test_a_model_of_a_table_returns_tables(framed, tmp_path):
    shuffled = FRAME.sample(frac=1, random_state=0)
    clean = framed.reconstruct(shuffled)
    assert clean.index.equals(shuffled.index)
    assert list(clean.columns) == list("abcde")
    np.testing.assert_array_equal(clean, framed.fitted_.reconstruct(shuffled))
    framed.save(tmp_path / "m")
    for model in (framed, isthmus.load(tmp_path / "m")):
        codes = model.transform(FRAME)
        assert isinstance(codes, np.ndarray)
        assert list(model.inverse_transform(codes).columns) == list("abcde")
        pd.testing.assert_frame_equal(model.sample(3, random_state=0), framed.sample(3, random_state=0))
    named = pd.DataFrame(codes, index=shuffled.index)
    assert framed.inverse_transform(named).index.equals(shuffled.index)


def test_a_model_of_an_array_returns_arrays(plain):
    assert all(
        isinstance(x, np.ndarray)
        for x in (plain.sample(2), plain.reconstruct(X), plain.inverse_transform(np.zeros((2, 3))))
    )


def test_columns_keep_the_dtype_that_their_likelihood_gives():
    whole = small("VAE", epochs=1).fit(WHOLE)
    assert whole.sample(9, random_state=0).dtypes.astype(str).to_dict() == {"a": "int16", "b": "uint8"}
    assert whole.sample(9, mean=True).dtypes.astype(str).unique().tolist() == ["float32"]
    assert whole.reconstruct(WHOLE).index.equals(WHOLE.index)
    truth = small("VAE", epochs=1).fit(WHOLE > 3)
    assert truth.sample(9).dtypes.astype(str).unique().tolist() == ["bool"]
    mixed = small("VAE", epochs=1).fit(WHOLE.assign(c=0.5 + np.arange(90, dtype="f4")))
    assert [dtype.kind for dtype in mixed.sample(9).dtypes] == ["f"] * 3  # whole numbers are modelled as measurements
    numbered = FRAME.set_axis([3, 5, 7, 11, 13], axis=1)
    assert list(small("VAE", epochs=1).fit(numbered).reconstruct(numbered).columns) == [3, 5, 7, 11, 13]


def test_polars_in_polars_out():
    given = polars.from_pandas(WHOLE)
    model, same = small("VAE", epochs=1).fit(given), small("VAE", epochs=1).fit(WHOLE)
    np.testing.assert_array_equal(model.transform(given), same.transform(WHOLE))
    assert model.sample(3, random_state=0).schema == given.schema
    np.testing.assert_array_equal(model.sample(3, random_state=0), same.sample(3, random_state=0))
    assert isinstance(model.reconstruct(given), polars.DataFrame)
    assert isinstance(model.reconstruct(WHOLE), pd.DataFrame)
    codes = model.set_output(transform="polars").transform(given)
    assert model.inverse_transform(codes).columns == ["a", "b"]


def test_optional_packages_are_not_imported_unless_they_are_used():
    texts = [path.read_text() for path in Path(isthmus.__file__).parent.rglob("*.py")]
    assert not any(re.search(r"^(import|from) (polars|zstandard)", text, re.M) for text in texts)


def test_an_index_that_became_a_column_is_no_feature():
    written = FRAME.sample(frac=1, random_state=0).reset_index(names="Unnamed: 0")
    with pytest.warns(UserWarning, match="X: the first column, which has no name, is taken for the index"):
        model = small("VAE", epochs=1).fit(written)
    assert list(model.feature_names_in_) == list("abcde")
    with pytest.warns(UserWarning, match="index of the rows"):
        np.testing.assert_array_equal(model.transform(written), model.transform(written.iloc[:, 1:]))


def test_rows_by_name_may_come_in_any_order(framed):
    row = dict(FRAME.iloc[3])
    np.testing.assert_array_equal(framed.transform(dict(reversed(row.items()))), framed.transform(row))


SHUFFLED = FRAME[list("ecbad")]
SEEN = pd.DataFrame(np.random.default_rng(1).random(FRAME.shape) < 0.8, columns=FRAME.columns)


def test_columns_are_found_by_name_in_data_sets_and_in_a_warm_start(framed):
    dataset = Dataset("q", Examples(SHUFFLED))
    np.testing.assert_array_equal(framed.transform(dataset), framed.transform(FRAME))
    one, other = (isthmus.evaluate(framed, rows, draws=5, without=("inference_gap",)) for rows in (dataset, FRAME))
    assert one.value("log_likelihood") == other.value("log_likelihood")
    again = small("VAE", epochs=1, warm_start=True).fit(FRAME).fit(SHUFFLED)
    np.testing.assert_array_equal(again.transform(SHUFFLED), again.transform(FRAME))
    with pytest.raises(
        InputError, match=r"^X must have the 5 columns of training, got 1 missing \(a\) and 1 others \(1\)"
    ):
        isthmus.evaluate(framed, FRAME.rename(columns={"a": 1}))


@pytest.mark.parametrize(
    "seen", [SEEN, SEEN[SHUFFLED.columns], SEEN[SHUFFLED.columns].to_numpy()], ids=["same", "shuffled", "array"]
)
def test_what_was_observed_follows_its_own_names_or_else_the_columns(framed, seen):
    np.testing.assert_array_equal(framed.transform(SHUFFLED, observed=seen), framed.transform(FRAME, observed=SEEN))
    fitted = [small("VAE", epochs=1).fit(x, observed=mask) for x, mask in ((SHUFFLED, seen), (SHUFFLED, SEEN))]
    np.testing.assert_array_equal(fitted[0].transform(SHUFFLED), fitted[1].transform(SHUFFLED))
