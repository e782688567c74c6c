"""`check`: each defect is reported where it is and nowhere else, and nothing is raised."""

from __future__ import annotations

import json
import re
import warnings

import numpy as np
import pandas as pd
import pytest
import torch

import isthmus
from isthmus.data import Dataset, read
from isthmus.data_checks import check
from isthmus.errors import InputError
from isthmus.examples import Examples
from models import small

RANDOM = np.random.default_rng(0)


def table(n=400, d=5):
    return np.random.default_rng(1).normal(size=(n, d))


def set_values(x, *cells, value=np.nan):
    """A copy with `value` in some cells."""
    x = np.array(x)
    for cell in cells:
        x[cell] = value
    return x


def bytes_(n=300, *shape):
    return np.random.default_rng(2).integers(0, 256, (n, *shape), dtype=np.uint8)


def codes(report, severity=None):
    return {finding.code for finding in report.findings if severity in (None, finding.severity)}


def finding_of(report, code):
    return next(finding for finding in report.findings if finding.code == code)


@pytest.mark.parametrize(
    ("x", "kind", "likelihood", "network", "scaling", "why"),
    [
        (table(), "real", "normal", "mlp", "standard", "numbers from"),
        (table().astype(np.float32), "real", "normal", "mlp", "standard", "numbers from"),
        (RANDOM.random((300, 4)), "unit", "normal", "mlp", "standard", "continuous_bernoulli"),
        (RANDOM.random((300, 40)) < 0.5, "binary", "bernoulli", "mlp", "none", "0 or 1"),
        (RANDOM.poisson(9.0, (300, 9)), "counts", "negative_binomial", "mlp", "none", "treated as counts"),
        (RANDOM.integers(-9, 9, (300, 9)), "real", "normal", "mlp", "standard", "from -9 to 8"),
        (bytes_(300, 8, 8), "levels", "discretized_logistic", "mlp", "none", "bytes"),
        (bytes_(300, 20, 17), "levels", "discretized_logistic", "conv", "none", "bytes"),
        (bytes_(300, 20, 17, 3), "levels", "discretized_logistic", "conv", "none", "bytes"),
        (table(300, 400).reshape(300, 20, 20), "real", "normal", "conv", "global", "numbers from"),
        (torch.from_numpy(table()), "real", "normal", "mlp", "standard", "numbers from"),
        (pd.DataFrame(table(), columns=list("abcde")), "real", "normal", "mlp", "standard", "numbers from"),
    ],
)
def test_good_data_and_their_defaults(x, kind, likelihood, network, scaling, why):
    report = check(x)
    assert report.findings == []
    assert (report.kind, report.likelihood, report.network, report.scaling) == (kind, likelihood, network, scaling)
    assert why in report.likelihood_reason
    assert report.usable
    assert (report.rows, report.shape) == (len(x), tuple(x.shape[1:]))
    assert "no problems found" in str(report)


def test_digits_are_seventeen_levels():
    report = check(read("digits"))
    assert (report.kind, report.likelihood, report.network) == ("levels", "discretized_logistic", "mlp")
    assert "17" in report.likelihood_reason
    assert codes(report) == {"constant-columns"}
    assert finding_of(report, "constant-columns").severity == "info"
    assert finding_of(report, "constant-columns").evidence == {"columns": 3, "of": 64}


SEQUENCES = set_values(table(300, 14).reshape(300, 7, 2), (slice(None), slice(5, None)))
"""Sequences of five steps, with NaN as padding."""

DEFECTS = [
    ("not-finite", "error", set_values(table(), (3, 1), (4, 1), (4, 2)), {}, {"values": 3, "columns": 2, "rows": 2}),
    ("not-finite", "error", set_values(table(), (3, 1), value=np.inf), {}, {"per_column": {"1": 1}}),
    ("not-finite", "error", set_values(table(300, 20).reshape(300, 5, 4), (0, 0, 0)), {}, {"values": 1, "columns": 1}),
    ("not-finite", "error", np.full((60, 2), np.nan), {}, {"values": 120}),
    ("constant-columns", "warning", set_values(table(), np.s_[:, 2], value=3.0), {}, {"columns": 1, "of": 5}),
    ("constant-columns", "info", set_values(bytes_(300, 8, 8), np.s_[:, 0], value=7), {}, {"columns": 8, "of": 64}),
    ("constant-data", "error", np.ones((60, 3)), {}, {"rows": 60}),
    ("few-rows", "warning", table(30, 4), {}, {"rows": 30, "expected": 50}),
    ("few-rows", "warning", table(60, 90), {}, {"rows": 60, "expected": 90}),
    ("few-rows", "warning", bytes_(100, 8, 8), {}, {"rows": 100, "expected": 200}),
    ("duplicate-rows", "warning", np.concatenate([table(), table()[:20]]), {}, {"rows": 20, "of": 420}),
    ("duplicate-rows", "info", np.concatenate([table(), table()[:2]]), {}, {"rows": 2}),
    ("different-scales", "info", table() * [1, 1, 1, 1, 1e4], {}, {}),
    ("different-scales", "warning", table() * [1, 1, 1, 1, 1e4], {"scaling": "none"}, {}),
    ("different-scales", "warning", table() * [1, 1, 1, 1, 1e4], {"scaling": "global"}, {}),
    ("channels-first", "warning", bytes_(300, 3, 20, 20), {}, {"channels": 3}),
    ("channels-first", "warning", bytes_(300, 1, 20, 20), {}, {"channels": 1}),
    ("repeated-values", "info", np.where(np.arange(5) == 1, np.sign(table()), table()), {}, {"values": [2]}),
    ("integer-valued-floats", "info", abs(table() * 99) // 1, {}, {"smallest": 0}),
    ("not-a-density", "warning", RANDOM.random((400, 6)), {"likelihood": "bernoulli"}, {}),
    ("outside-support", "error", table() * 9, {"likelihood": "bernoulli"}, {"columns": 5}),
    ("outside-support", "error", RANDOM.integers(-1, 99, (400, 6)), {"likelihood": "poisson"}, {"smallest": -1}),
    ("outside-support", "error", bytes_(300, 8, 8), {"levels": 17}, {"columns": 64}),
    ("outside-support", "error", bytes_(300, 8, 8), {"likelihood": "bernoulli"}, {}),
    ("outside-support", "error", RANDOM.random((400, 6)), {"levels": 17}, {"values": 2400}),
    ("outside-support", "error", RANDOM.integers(-1, 9, (400, 6)), {"levels": 17}, {"smallest": -1}),
    ("outside-support", "error", RANDOM.integers(0, 18, (400, 6)).astype(float), {"levels": 17}, {"largest": 17.0}),
    ("outside-support", "error", RANDOM.random((400, 6)), {"likelihood": "poisson"}, {"columns": 6}),
    ("too-large", "error", set_values(table(), (3, 1), value=-1e200), {}, {"per_column": {"1": 1}}),
    ("too-small", "error", table() * [1, 1e-200, 1, 1, 1], {}, {"columns": 1}),
    ("duplicate-names", "error", pd.DataFrame(table(400, 2), columns=["a", "a"]), {}, {}),
    ("outside-support", "error", 2**60 + RANDOM.integers(0, 9, (400, 6)), {}, {"columns": 6}),
    (
        "not-finite",
        "error",
        set_values(SEQUENCES, (9, 4, 1)),
        {"lengths": np.full(300, 5)},
        {"values": 1, "columns": 1},
    ),
    ("constant-columns", "warning", set_values(SEQUENCES, np.s_[..., 1], value=4.0), {"lengths": np.full(300, 5)}, {}),
]


WARNED = [case[2:4] for case in DEFECTS if case[1] == "warning" and case[0] != "not-a-density"]
"""Data and options of defects that are no ground to refuse the data."""


@pytest.mark.parametrize(("x", "options"), WARNED)
def test_fit_warns_once_of_all_that_check_warns_of(x, options):
    lengths = {"lengths": options["lengths"]} if "lengths" in options else {}
    fields = {name: value for name, value in options.items() if name != "lengths"}
    wanted = [finding.message for finding in check(x, **options).findings if finding.severity == "warning"]
    with pytest.warns(UserWarning, match=re.escape(wanted[0])) as caught:
        isthmus.VAE(latent_dim=1, hidden=(), prior="normal", epochs=1, random_state=0, **fields).fit(x, **lengths)
    (said,) = [str(warning.message) for warning in caught if wanted[0] in str(warning.message)]
    assert all(message in said for message in wanted)


@pytest.mark.parametrize(("code", "severity", "x", "options", "evidence"), DEFECTS)
def test_a_defect_is_reported_alone_with_its_evidence(code, severity, x, options, evidence):
    report = check(x, **options)
    finding = finding_of(report, code)
    assert finding.severity == severity
    assert finding.evidence.items() >= evidence.items()
    assert report.usable == (severity != "error")
    allowed = {"constant-data"} if np.isnan(np.asarray(x, float)).all() else set()
    assert codes(report) - allowed == {code}
    for text in (finding.message, finding.remedy):
        assert text
        assert len(text.splitlines()) == 1
    assert " ".join(finding.message.split()) in " ".join(str(report).split())
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False)) == report.to_dict()


@pytest.mark.parametrize(
    "x",
    [
        np.concatenate([np.sign(table()[:, :3]) * 0.5 + 0.5, np.ones((400, 1))], 1),  # bits, and a constant column
        read("digits").train.x.reshape(-1, 64).astype(float),
    ],
)
def test_discrete_columns_alone_are_no_repeated_values(x):
    assert "repeated-values" not in codes(check(x))


def test_missing_values_do_not_repeat():
    observed = np.ones((400, 5), bool)
    observed[30:, 2] = False
    assert "repeated-values" not in codes(check(table(), observed=observed))


def test_columns_are_named():
    frame = pd.DataFrame(table(), columns=["ash", "hue", "proline", "acid", "colour"])
    frame.loc[:4, "hue"] = np.nan
    frame["ash"] = 3.0
    frame["word"] = "red"
    frame["proline"] *= 1e4
    report = check(frame)
    assert "hue (5)" in finding_of(report, "not-finite").message
    assert finding_of(report, "not-finite").evidence["per_column"] == {"hue": 5}
    assert "ash" in finding_of(report, "constant-columns").message
    assert "proline" in finding_of(report, "different-scales").message
    assert "'word'" in finding_of(report, "non-numeric-column").message
    assert "'red'" in finding_of(report, "non-numeric-column").message
    assert [finding.severity for finding in report.findings] == ["error", "error", "warning", "info"]
    assert report.likelihood == "normal"


def test_the_remedy_of_channels_first_fixes_the_data():
    x = bytes_(300, 3, 20, 20)
    fixed = eval(finding_of(check(x), "channels-first").remedy.removeprefix("pass "), {"X": x})
    assert fixed.shape == (300, 20, 20, 3)
    assert check(fixed).network == "conv"
    assert codes(check(fixed)) == set()


@pytest.mark.parametrize(
    ("x", "code"),
    [
        (np.zeros((0, 3)), "empty"),
        (np.zeros((3, 0)), "empty"),
        (np.ones((1, 3)), "one-row"),
        (np.arange(9.0), "wrong-shape"),
        (np.float64(3), "not-numeric"),
        (np.zeros((2, 2, 2, 2, 2)), "wrong-shape"),
        ([[1, 2], [3]], "not-numeric"),
        (b"digits", "not-numeric"),
        (None, "not-numeric"),
        ({"x": "a word"}, "non-numeric-column"),
        (np.zeros((9, 2), complex), "not-numeric"),
        (np.ma.masked_equal(np.zeros((9, 2)), 0), "not-numeric"),
        (torch.ones(60, 3).bfloat16(), "constant-data"),
        (torch.ones(60, 3).to_sparse(), "constant-data"),
        (np.array(["2020-01-01"], dtype="datetime64[D]"), "not-numeric"),
        (pd.DataFrame(index=range(9)), "not-numeric"),
        (pd.DataFrame({"a": ["x", "y"]}), "non-numeric-column"),
        (np.array([["1", "a"], ["2", "b"]]), "non-numeric-column"),
        (np.array([[1, None], [2, "b"]], dtype=object), "non-numeric-column"),
        (pd.DataFrame(np.ones((60, 2)), columns=["a", "a"]), "constant-data"),
    ],
)
def test_unusable_data_are_reported_not_raised(x, code):
    report = check(x)
    assert code in codes(report, "error")
    assert not report.usable
    json.dumps(report.to_dict(), allow_nan=False)
    assert code in str(report)


def test_a_sparse_matrix_and_a_path_are_checked_like_their_rows(tmp_path):
    from scipy.sparse import csr_matrix

    np.save(tmp_path / "x.npy", table())
    assert check(csr_matrix(table())) == check(table()) == check(tmp_path / "x.npy") == check(str(tmp_path / "x.npy"))
    assert check("digits").likelihood == "discretized_logistic"


@pytest.mark.parametrize("lengths", [np.full(299, 5), np.full(300, 0), np.full(300, 8), np.full(300, 5.0)])
def test_invalid_lengths(lengths):
    assert codes(check(SEQUENCES, lengths=lengths)) == {"wrong-shape"}


def test_numbers_whose_squares_overflow():
    report = check(set_values(table(), (3, 1), value=1e200))
    assert report.likelihood == "normal"
    assert codes(report, "error") == {"too-large"}
    assert "column 1 (1)" in finding_of(report, "too-large").message
    assert codes(check(table() * 1e307 * 1.7), "error") == {"too-large"}


def test_held_out_rows_are_checked_too():
    train = RANDOM.poisson(9.0, (400, 9))
    parts = Dataset("d", Examples(train), Examples(set_values(train.astype(float), (1, 2))), Examples(-1 - train))
    report = check(parts)
    assert codes(report) == {"not-finite", "outside-support"}
    assert "x_valid" in finding_of(report, "not-finite").message
    assert "x_test" in finding_of(report, "outside-support").message
    narrow = check(Dataset("d", Examples(train), test=Examples(train[:, :2])))
    assert "(2,)" in finding_of(narrow, "wrong-shape").message


@pytest.mark.parametrize("options", [{"likelihood": "bernouli"}, {"likelihood": "normal("}, {"scaling": "some"}])
def test_an_unknown_option_raises(options):
    with pytest.raises(InputError):
        check(table(), **options)


UNLIKE = np.c_[table(400, 1), RANDOM.integers(0, 3, 400), RANDOM.poisson(9.0, 400)]


def test_a_likelihood_for_each_column_is_checked_for_each_column():
    report = check(UNLIKE, likelihood=("normal", "categorical(3)", "poisson"))
    assert (report.likelihood, report.scaling, codes(report)) == ("normal, categorical(3), poisson", "standard", set())
    finding = finding_of(check(UNLIKE, likelihood=["normal", "categorical(2)", "poisson"]), "outside-support")
    assert "'categorical'" in finding.message
    assert finding.evidence["per_column"] == {"1": int((UNLIKE[:, 1] == 2).sum())}
    for names, remaining in ((("normal", "normal", "poisson"), {"1"}), (("normal", "categorical", "poisson"), set())):
        found = [f for f in check(UNLIKE, likelihood=names).findings if f.code == "repeated-values"]
        assert {name for finding in found for name in finding.evidence["columns"]} == remaining
    parts = Dataset("d", Examples(UNLIKE), Examples(UNLIKE + np.array([0, 1, 0])))
    shifted = finding_of(check(parts, likelihood=("normal", "categorical(3)", "poisson")), "outside-support")
    assert "x_valid" in shifted.message
    report = check(UNLIKE[:, 1:], likelihood=("categorical", "poisson"))
    assert "categorical, poisson model the values as they are" in str(report)
    for likelihood in (("normal", "normal"), ("normal", "nope", "normal")):
        with pytest.raises(InputError, match=r"^likelihood must"):
            check(UNLIKE, likelihood=likelihood)


def test_the_command_line_checks_the_likelihoods_that_fit_takes(tmp_path, capsys):
    from isthmus.cli.main import main

    pd.DataFrame(UNLIKE, columns=list("abc")).to_csv(tmp_path / "t.csv", index=False)
    argv = ["check", str(tmp_path / "t.csv"), "--json", "--likelihood"]
    for text in ("normal,categorical(3),poisson", "normal, categorical(3), poisson", "normal"):
        assert main([*argv, text]) == 0
        assert json.loads(capsys.readouterr().out)["likelihood"] == ", ".join(text.replace(" ", "").split(","))
    assert main([*argv, "normal,normal"]) == 2
    assert capsys.readouterr().err.startswith("isthmus: likelihood must have one name for each column of a table")
    frame = pd.DataFrame(UNLIKE).assign(d="word").rename(columns=str)
    assert "non-numeric-column" in codes(check(frame, likelihood=("normal", "categorical", "poisson", "normal")))


REJECTED = [defect for defect in DEFECTS if defect[1] == "error"]


@pytest.mark.parametrize("defect", REJECTED, ids=lambda defect: defect[0])
def test_errors_of_check_are_raised_by_fit(defect):
    import isthmus

    _, _, x, options, _ = defect
    fields = {name: value for name, value in options.items() if name != "lengths"}
    model = isthmus.VAE(hidden=(4,), epochs=1, threads=1, **fields)
    with pytest.raises(InputError):
        model.fit(x, lengths=options.get("lengths"))


def test_values_that_were_not_observed_are_not_checked():
    x = np.concatenate([table(), table()[:1]])
    bad, observed = set_values(x, (3, 1), (4, 1), value=np.nan), np.ones(x.shape, bool)
    observed[3:5, 1] = False
    bad[4, 1] = 1e300
    assert codes(check(bad)) == {"not-finite", "too-large", "duplicate-rows"}
    assert codes(check(bad, observed=observed)) == {"duplicate-rows"}
    assert "observed=np.isfinite(X)" in finding_of(check(bad), "not-finite").remedy
    assert codes(check(bad, observed=observed[:, :2])) == {"wrong-shape"}


def test_a_named_likelihood_takes_whole_numbers_stored_as_floats():
    counts = RANDOM.poisson(9.0, (400, 6)).astype(float)
    assert codes(check(counts, likelihood="poisson")) == set()
    finding = finding_of(check(set_values(counts, (3, 1), value=0.5), likelihood="poisson"), "outside-support")
    assert "column 1 (1)" in finding.message
    assert "--likelihood normal" in finding.remedy


def test_counts_stored_as_floats_are_told_the_likelihood_of_counts():
    counts = np.c_[RANDOM.poisson(2.0, (200, 2)), RANDOM.poisson(900.0, (200, 2))].astype(float)
    remedies = [finding.remedy for finding in check(counts).findings]
    assert {finding.code for finding in check(counts).findings} == {"integer-valued-floats", "repeated-values"}
    assert all("likelihood='negative_binomial' (--likelihood negative_binomial)" in remedy for remedy in remedies)
    assert not any("bernoulli" in remedy for remedy in remedies)
    assert "bernoulli" in finding_of(check(np.add(counts, [0, 0, 0, 0.5])), "repeated-values").remedy


def test_levels_accept_integer_valued_floats():
    import isthmus

    model = isthmus.VAE(levels=17, hidden=(4,), epochs=1, threads=1)
    whole = RANDOM.integers(0, 17, (60, 4)).astype(float)
    assert check(whole, levels=17).usable
    assert model.fit(whole).schema_.levels == 17
    with pytest.raises(InputError, match="levels=17, got 1 of 240 values that are negative or fractional"):
        model.fit(set_values(whole, (3, 1), value=0.5))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (
            pd.DataFrame({"a": [1, 2, 3], "b": ["4", "x", "6"]}),
            "column 'b' must be numeric, but 1 of 3 rows are not (the first value is 'x')",
        ),
        (
            pd.DataFrame({"a": [1, 2, 3], "b": list("uvw")}),
            "column 'b' must be numeric, but 3 of 3 rows are not (the first value is 'u')",
        ),
        (
            np.array([["1", "2"], ["3", "y"]]),
            "column '1' must be numeric, but 1 of 2 rows are not (the first value is 'y')",
        ),
        (np.array(["a", "b"]), "with lengths, got shape (2,). Reshape your data"),
        (
            set_values(table(), (3, 1), value=1e200),
            "X must not exceed 1e+140, got larger numbers in column 1 (1). Rescale them.",
        ),
        (table(9).astype(np.longdouble) * np.longdouble("1e4000"), "X must be finite, got NaN or infinity"),
    ],
)
def test_error_messages_of_fit(x, message):
    import isthmus

    with pytest.raises(InputError) as caught:
        isthmus.VAE(hidden=(4,), epochs=1, threads=1).fit(x)
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("x", [table().astype(">f8"), table().astype(str), pd.DataFrame(table()).astype(object)])
def test_numeric_strings_are_parsed(x):
    import isthmus

    fields = {"hidden": (4,), "epochs": 1, "threads": 1, "random_state": 0}
    model, expected = isthmus.VAE(**fields).fit(x), isthmus.VAE(**fields).fit(table())
    np.testing.assert_array_equal(model.transform(x), expected.transform(table()))
    assert model.schema_.dtype == "float64"


def test_the_command_reports_non_numeric_columns_and_scaling(tmp_path, capsys):
    from isthmus.cli.main import main

    frame = pd.DataFrame(table() * [1, 1, 1, 1, 1e4], columns=list("abcde"))
    frame.to_csv(tmp_path / "t.csv", index=False)
    assert main(["check", str(tmp_path / "t.csv"), "--scaling", "none"]) == 0
    assert "warning:    the standard deviation" in capsys.readouterr().out
    frame.assign(kind=["u", "v"] * 200).to_csv(tmp_path / "w.csv", index=False)
    assert main(["check", str(tmp_path / "w.csv")]) == 3
    assert "column 'kind' must be numeric, but 400 of 400 rows are not" in capsys.readouterr().out
    assert main(["check", str(tmp_path / "w.csv"), "--condition", "kind"]) == 0


def test_of_many_rows_some_are_looked_at_and_all_are_counted(monkeypatch):
    monkeypatch.setattr("isthmus.estimators.fit_warnings.MAX_CHECKED_NUMBERS", 1)
    monkeypatch.setattr("isthmus.estimators.fit_warnings.MIN_CHECKED_ROWS", 30)
    x = np.random.default_rng(0).normal(size=(300, 60)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small("VAE", epochs=1).fit(x)  # 30 rows of 60 columns would be few
    x[:, 3] = 1
    with pytest.warns(UserWarning, match=r"^1 of 60 columns is constant: 3 \(seen in 30 of the 300 rows\)\. Drop"):
        small("VAE", epochs=1).fit(x)


def meanings_of(x):
    """What `check` says of the meaning of columns: the column names by finding."""
    known = ("identifier", "date", "count-columns")
    return {f.code: f.evidence["columns"] for f in isthmus.check(x).findings if f.code in known}


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("user_id", RANDOM.permutation(10**6)[:300], "identifier"),
        ("userId", RANDOM.permutation(10**6)[:300] + 7.0, "identifier"),
        ("index", np.arange(300), "identifier"),  # it counts the rows
        ("row", np.arange(1, 301.0), "identifier"),
        ("patient_id", np.r_[RANDOM.permutation(10**6)[:290] + 1.0, np.full(10, np.nan)], "identifier"),
        ("week", np.arange(300), "count-columns"),  # what was measured at
        ("world_record", RANDOM.permutation(300), "count-columns"),
        ("reynolds_number", RANDOM.permutation(10**6)[:300], "count-columns"),
        ("market_index", RANDOM.permutation(10**6)[:300] + 1, "count-columns"),
        ("time_s", np.arange(300), "count-columns"),  # when it was measured
        ("width", RANDOM.permutation(10**6)[:300], "count-columns"),  # neither its name nor its order says so
        ("user_id", RANDOM.integers(0, 100, 300), "count-columns"),  # rows share it
        ("rapid", RANDOM.permutation(10**6)[:300], "count-columns"),  # no word of its own
        ("day", pd.date_range("1999-12-01", periods=300).strftime("%Y%m%d").astype(int), "date"),
        ("x", pd.date_range("1999-12-01", periods=300).strftime("%Y%m%d").astype(float), "date"),
        ("x", np.r_[pd.date_range("1999-12-01", periods=297).strftime("%Y%m%d").astype(int), 3 * [-9999]], "date"),
        ("created_at", 1.6e9 + RANDOM.integers(0, 10**7, 300), "date"),
        ("created_at", 1.6e12 + RANDOM.integers(0, 10**10, 300), "date"),
        ("amount", 1.6e9 + RANDOM.integers(0, 10**7, 300), "count-columns"),
        ("day", RANDOM.integers(20_200_100, 20_200_199, 300), "count-columns"),  # not all are days of the calendar
        ("balance", RANDOM.integers(-500, 500, 300), None),
        ("kind", RANDOM.integers(0, 5, 300), None),  # `repeated-values` says what few values are
        ("measured", RANDOM.normal(size=300), None),
    ],
)
def test_what_a_column_holds_instead_of_measurements(name, values, expected):
    frame = pd.DataFrame(table(300, 3), columns=list("abc"))
    frame.insert(0, name, np.asarray(values))
    assert meanings_of(frame) == ({expected: [name]} if expected else {})


def test_of_many_rows_an_identifier_is_seen_in_some(monkeypatch):
    monkeypatch.setattr("isthmus.estimators.fit_warnings.MAX_CHECKED_NUMBERS", 1)
    monkeypatch.setattr("isthmus.estimators.fit_warnings.MIN_CHECKED_ROWS", 60)
    with pytest.warns(UserWarning, match="index of X seems to number the rows"):
        small("VAE", epochs=1).fit(
            pd.DataFrame(table(300, 3), columns=list("abc")).assign(index=range(300)).iloc[:, ::-1]
        )


def test_columns_that_are_all_counts_are_measurements_of_one_kind():
    assert meanings_of(RANDOM.poisson(50, (300, 4)).astype(float)) == {}


def test_an_identifier_is_named_in_words_that_can_be_copied(tmp_path, capsys):
    from isthmus.cli.main import main

    frame = pd.DataFrame(table(300, 3), columns=list("abc")).assign(**{"row id": np.arange(300)[::-1]})
    frame.to_csv(tmp_path / "t.csv", index=False)
    assert main(["check", str(tmp_path / "t.csv")]) == 0
    assert "--drop 'row id'" in " ".join(capsys.readouterr().out.split())
    with pytest.warns(UserWarning, match="row id of X seems to number the rows"):
        small("VAE", epochs=1).fit(frame)
    assert main(["check", str(tmp_path / "t.csv"), "--drop", "row id"]) == 0
    assert "number the rows" not in capsys.readouterr().out
