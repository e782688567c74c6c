"""The page of a report: it is whole, loads nothing, says every picture in words, and comes out the same twice."""

from __future__ import annotations

import itertools
import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import torch
from markupsafe import escape
from matplotlib.figure import Figure
from sklearn.datasets import load_iris

import isthmus
from isthmus.cli.main import main
from isthmus.evaluation.evaluate import evaluate
from isthmus.evaluation.result import Evaluation, PerRow
from isthmus.examples import Examples
from isthmus.finding import Finding
from isthmus.metrics.metric import HIDDEN, Metric, mean_over_rows, setting
from isthmus.plot.context import PlotContext
from isthmus.plot.figures import FIGURES
from isthmus.plot.style import BLUE
from isthmus.plot.tables import Table
from isthmus.plot.training_curves import best_epoch
from isthmus.report import metrics_section
from isthmus.report.context import ReportContext, RunInfo, plot_context
from isthmus.report.headline import verdict
from isthmus.report.html_blocks import svg
from isthmus.report.metrics_section import metrics_tables
from isthmus.report.model_card import card, run_rows
from isthmus.report.page import filled, is_page, page
from models import DATA, NAMES, images, small, table, without_slow_measures

pytestmark = pytest.mark.filterwarnings("ignore:.*given no condition:UserWarning")

VOID = {"meta", "link", "img", "br", "hr", "input"}
SECTIONS = {"verdict", "findings", "numbers", "model-card", "configuration"}


class Parsed(HTMLParser):
    """Tags with their attributes, headings, text; a tag left open or closed twice is an error."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def named(self, *names: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag in names]


def whole(text: str, without: set[str] = frozenset()) -> Parsed:
    """The parsed page, after everything that must hold of any; it has every section but those in `without`."""
    parsed = Parsed(text)
    assert len(text.encode()) < 5e6
    assert not {"script", "iframe", "object", "embed", "video", "audio", "base", "form"} & {t for t, _ in parsed.tags}
    for tag, attributes in parsed.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "href", "xlink:href", "srcset", "action", "data", "poster"):
                assert (value or "").startswith(("data:", "#")), (tag, name, value)
    assert not re.search("https?:", text)
    assert "@import" not in text
    assert all(inside.startswith("#") for inside in re.findall(r"url\(['\"]?([^)]*)\)", text))
    assert not parsed.named("img")
    for drawing in parsed.named("svg"):
        assert drawing["role"] == "img"
        assert len(drawing["aria-label"] or "") > 10
    levels = [int(tag[1]) for tag, _ in parsed.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert parsed.named("html")[0]["lang"] == "en"
    assert any(meta.get("name") == "viewport" for meta in parsed.named("meta"))
    ids = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
    assert set(ids) & SECTIONS == SECTIONS - set(without)
    assert set(ids) & set(FIGURES) == set(FIGURES) - set(without)
    used = {link["href"].removeprefix("#") for link in parsed.named("a", "use") if (link.get("href") or "")[:1] == "#"}
    assert used <= set(ids)
    return parsed


def measured(model, x, **more) -> Evaluation:
    """What a page reads of an evaluation, without the rest of it."""
    errors = model.fitted_.squared_errors(Examples(x, **more))
    log_px = model.elbo(x, draws=2, **more) if model.capabilities.has_density else None
    rows = PerRow(model.transform(x, **more), errors, log_px)
    error = mean_over_rows("reconstruction", "reconstruction error", "squared", "squared error", errors)
    return Evaluation(type(model).__name__, len(errors), (error,), {}, rows)


def made(model, x, y=None, *, condition=None, lengths=None, findings=(), **info) -> str:
    """A page on the rows that the model was fitted to."""
    train = Examples(np.asarray(x), condition=condition, lengths=lengths)
    evaluation = measured(model, x, condition=condition, lengths=lengths)
    rows = model.fitted_.check(x, condition, lengths, y=y)
    return written(model, rows, evaluation, train, findings, "training rows", **info)


def written(model, examples, evaluation, train=None, findings=(), name="rows", **info) -> str:
    plots = plot_context(model.fitted_, examples, evaluation, train, name)
    return page(ReportContext(plots, evaluation, list(findings), RunInfo(**info)))


KINDS = [("VAE", "images"), ("Autoencoder", "table"), ("ProbabilisticPCA", "table")]
OTHERS = [(name, "images") for name in NAMES if name not in dict(KINDS)] + [("VAE", "counts")]


@pytest.mark.parametrize(("name", "kind"), [*KINDS, *(pytest.param(*case, marks=pytest.mark.grid) for case in OTHERS)])
def test_every_model_has_a_page(name, kind):
    x = DATA[kind](40)
    model = small(name, epochs=1).fit(x)
    without = set() if model.history_ else {"curves"}
    without |= set() if model.capabilities.samples else {"samples"}
    parsed = whole(made(model, x), without)
    text = "".join(parsed.text)
    assert name in text
    assert ("Not shown" in text) == bool(without)


def test_everything_that_is_measured_is_on_the_page():
    x, labels = table(60), np.arange(60) % 3
    model, train = small("VAE", epochs=1).fit(x), Examples(x)
    found = evaluate(model, x, labels, draws=20, train=train)
    text = written(model, model.fitted_.check(x, y=labels), found, train)
    whole(text)
    for row in [row for some in metrics_tables(found) for row in some.rows]:
        assert str(escape(row[0])) in text
        assert str(escape(row[1])) in text
    open_tables = {some.caption for some in metrics_tables(found) if some.rows and not some.folded}
    assert open_tables >= {"Likelihood", "Reconstruction", "Baselines", "Code"}
    assert metrics_section.OTHERS not in open_tables  # every metric that text shows has a subject
    assert "KL(q(z given x) || p(z)) of each dimension" in text
    assert "probabilistic PCA" in text


@pytest.mark.parametrize(("kind", "latent_dim"), [pytest.param("bits", 1, marks=pytest.mark.grid), ("table", 2)])
def test_codes_of_one_and_two_dimensions(kind, latent_dim):
    x = DATA[kind](40)
    whole(made(small("VAE", epochs=1, latent_dim=latent_dim).fit(x), x, np.arange(40) % 3))


@pytest.mark.parametrize(("features", "corruption"), [(2, "mask(0.3)"), pytest.param(5, None, marks=pytest.mark.grid)])
def test_sequences(features, corruption):
    x, lengths = np.random.default_rng(0).normal(size=(40, 12, features)), np.arange(40) % 8 + 5
    model = small("VAE", epochs=1, corruption=corruption).fit(x, lengths=lengths)
    parsed = whole(made(model, x, lengths=lengths))
    assert len(parsed.named("image")) == (0 if features < 4 else 5)  # sheets of heat maps


def test_values_in_the_padding_are_nowhere_on_the_page():
    x, lengths = np.random.default_rng(0).normal(size=(30, 6, 5)), np.arange(30) % 4 + 3
    model = small("VAE", epochs=1, latent_dim=2).fit(x, lengths=lengths)
    garbage = np.where(np.arange(6)[:, None] >= lengths[:, None, None], 1e6, x)
    assert made(model, x, lengths=lengths) == made(model, garbage, lengths=lengths)


@pytest.mark.parametrize(
    "condition",
    [
        pytest.param(np.arange(40) % 3, marks=pytest.mark.grid),
        pytest.param(np.linspace(0, 1, 40), marks=pytest.mark.grid),
        np.array(["a&b", "<i>"])[np.arange(40) % 2],
    ],
)
def test_conditions(condition):
    x = images(40)
    model = small("ConditionalVAE", epochs=1).fit(x, condition=condition)
    text = made(model, x, condition if condition.dtype.kind != "f" else None, condition=condition)
    whole(text)
    assert "p(x given z, c)" in text
    assert "<i>" not in text


@pytest.mark.parametrize("channels", [pytest.param(1, marks=pytest.mark.grid), 3])
def test_images_of_several_channels(channels):
    x = images(40, (9, 8, channels))
    parsed = whole(made(small("VAE", epochs=1, network="mlp").fit(x), x))
    assert len(parsed.named("image")) == 5  # sheets: reconstructions, samples, traversal, interpolation, extremes


@pytest.mark.grid
def test_large_noisy_colours_stay_under_five_megabytes():
    x = np.random.default_rng(0).integers(0, 256, (40, 70, 60, 3)).astype(np.uint8)
    model = small("VAE", epochs=1, network="mlp", hidden=(8,), latent_dim=8).fit(x)
    rows = PerRow(np.zeros((40, 8)), np.zeros(40), np.arange(40.0))
    found = Evaluation("VAE", 40, per_row=rows)  # missing numbers are no error
    whole(written(model, model.fitted_.check(x), found, Examples(x)), {"numbers"})  # an empty section is left out


def test_user_text_is_escaped_and_nothing_is_hidden():
    columns = ["<script>alert(1)</script>", "a&b", '"><img src=x>', "$x_{"]
    frame = pd.DataFrame(table(60, 4), columns=columns)
    labels = np.array(["<b>bold", "a&b", "</svg>"])[np.arange(60) % 3]
    finding = Finding("code", "warning", "<i>message", "isthmus fit <model>", {"n&m": 3.0}, "because <u>")
    model = small("VAE", epochs=1).fit(frame)
    text = made(model, frame, labels, findings=[finding], folder="<run>", data="/a/<data>.csv", rows='60 "rows"')
    parsed = whole(text)
    shown = "".join(parsed.text)
    for word in (
        *columns,
        *set(labels),
        "<i>message",
        "isthmus fit <model>",
        "Because <u>",
        "n&m",
        "Run <run>",
        "<data>.csv",
    ):
        assert word in shown, word
    tags = {tag for tag, _ in parsed.tags}
    assert not tags & {"script", "b", "i", "u", "run", "data", "model"}


def test_the_same_arguments_give_the_same_page_and_leave_the_generators_alone():
    x = images(40)
    model = small("VAE", epochs=2, corruption="mask(0.5)").fit(x)
    labels = np.arange(40) % 4
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = made(model, x, labels)
    assert made(model, x, labels) == first
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()  # noqa: NPY002


@pytest.mark.parametrize("n", [1, pytest.param(5, marks=pytest.mark.grid)])
def test_few_rows_and_no_training_rows(n):
    x = table(60)
    model = small("VAE", epochs=1).fit(x)
    text = written(model, model.fitted_.check(x[:n]), measured(model, x[:n]))
    whole(text, {"interpolation", "extremes"} if n == 1 else set())


def test_the_page_reports_a_collapsed_code():
    x = table(60)
    model = small("VAE", epochs=1).fit(x)
    with torch.no_grad():
        for parameter in model.model_.posterior.parameters():
            parameter.zero_()
    text = made(model, x)
    whole(text)
    assert "No dimension of the code is in use" in text
    assert "None of the 3 dimensions of the code is in use" in " ".join(verdict(evaluate(model, x), [], rows="rows"))


# ------------------------------------------------------------------------ parts


def likelihood(mean: float, kind: str = "density") -> Metric:
    return Metric("log_likelihood", "log p(x)", "nats", kind, mean, 1.0)


def baseline(key: str, mean: float, margin: float, label: str = "") -> Metric:
    """A baseline, and by how much the model is better, with a standard error of 1."""
    name = f"baselines.{key}"
    details = (
        Metric(f"{name}.margin", "margin of the model", "nats", "difference", margin, 1.0),
        setting(f"{name}.latent_dim", "dimensions", 2),
    )
    return Metric(name, f"baseline: {label or key}", "nats", "density", mean, 1.0, details=details)


def evaluated(*metrics: Metric) -> Evaluation:
    return Evaluation("VAE", 9, metrics)


PPCA, MIXTURE = "probabilistic PCA", "Gaussian mixture"


def test_the_verdict_follows_the_numbers():
    heads = {
        "better than probabilistic PCA by": (likelihood(10), baseline("ppca", 0, 10, PPCA)),
        "worse than probabilistic PCA by": (likelihood(0), baseline("ppca", 10, -10, PPCA)),
        "not clearly different from probabilistic PCA": (likelihood(2), baseline("ppca", 0, 2, PPCA)),
        "better than every baseline": (
            likelihood(10),
            baseline("ppca", 0, 10, PPCA),
            baseline("gaussian_mixture", 5, 5, MIXTURE),
        ),
        "but worse than a Gaussian mixture": (
            likelihood(0),
            baseline("ppca", 0, 0, PPCA),
            baseline("gaussian_mixture", 5, -5, MIXTURE),
        ),
        "cannot be used": (likelihood(float("nan")), baseline("ppca", 0, 0, PPCA)),
    }
    for words, metrics in heads.items():
        assert words in verdict(evaluated(*metrics), [], rows="the rows")[0]
    said = " ".join(verdict(evaluated(likelihood(10, "pseudo-probability")), [], rows="the 9 rows"))
    assert "not a density" in said
    assert "probabilistic PCA" not in said
    squared = ("squared", "squared error")
    plain = verdict(
        Evaluation(
            "Autoencoder",
            9,
            (
                Metric("reconstruction", "reconstruction error", *squared, 2.0, 0.1),
                baseline("pca", 1.0, -5.0),
                Metric("baselines.mean", "baseline: the training mean", *squared, 8.0),
                Metric("active_units", "active", "", "count", 1, details=(setting("active_units.of", "of", 4),)),
            ),
        ),
        [],
        rows="the rows",
    )
    assert plain[0] == "Autoencoder reconstructs worse than PCA."
    assert "Reconstruction error: 2.00 ± 0.10" in " ".join(plain)
    assert "75% of the variance is explained" in " ".join(plain)
    assert "1 of 4 dimensions" in " ".join(plain)
    findings = [Finding("a", "info", "mild", ""), Finding("b", "error", "grave", "")]
    assert "Most severe finding: grave." in " ".join(verdict(evaluated(likelihood(1)), findings, rows="the rows"))


def test_no_metric_is_lost():
    details = (
        setting("new.rows", "rows", 7),
        Metric("new.part", "a part", "parsecs", "length", 1.25),
        Metric("new.secret", "hidden in text", "", "flag", True, shown=HIDDEN),
        Metric("new.nothing", "nothing", "", "flag", None),
    )
    new = Metric("new", "a new number", "furlongs", "length", 3.0, 0.5, note="odd", details=details)
    per_dim = Metric("list", "a list", "", "length", tuple(float(i) for i in range(20)))
    evaluation = Evaluation("VAE", 9, (new, likelihood(1.0), per_dim), {"some_measure": "too few rows."})
    tables = {some.caption: some for some in filled(metrics_tables(evaluation))}
    known, others, further, declined = tables.values()
    assert known.rows == [["log p(x)", "1.00 ± 1.00 nats", "density"]]
    assert others.rows[0] == ["a new number", "3.00 ± 0.50 furlongs", "length", "odd; rows: 7"]
    assert others.rows[1] == ["\u2003a part", "1.25 parsecs", "length", ""]  # below what it is a part of
    assert others.rows[2][1].endswith("(20 values)")
    assert len(others.rows) == 3
    assert further.rows == [["a new number: hidden in text", "yes", "flag"]]
    assert further.folded
    assert declined.rows == [["some measure", "too few rows."]]


def test_empty_tables_and_columns_are_left_out():
    full = Table("one", ["", "a", "b"], [["x", "", "1"], ["y", "", ""]])
    assert filled([full, Table("none", ["", "a"], [])]) == [full._replace(head=["", "b"], rows=[["x", "1"], ["y", ""]])]


def test_the_bound_the_run_and_the_best_epoch_are_told_apart():
    x = table(60)
    model = small("VAE", epochs=400, learning_rate=0.03, patience=30, initialization="random").fit(x)
    best, done = best_epoch(model.history_), len(model.history_)
    assert 0 < best < done < 400
    context = ReportContext(PlotContext(model.fitted_, model.fitted_.check(x)), Evaluation("VAE", 60), [], RunInfo())
    rows = dict(run_rows(context))
    assert (rows["epochs trained"], rows["epochs at most"]) == (str(done), "400")
    assert rows["best epoch, whose weights are kept"] == str(best)
    kept = f"the weights of epoch {best}, the best in validation, are kept"
    loss = next(row for row in card(context).rows if row[0] == "loss")
    assert loss[2] == f"stopped early after {done} of at most 400 epochs; {kept}"


def test_remedies_are_lines_to_copy_and_pictures_keep_their_size():
    line = "isthmus fit vae 'my data.csv' -o runs/vae-2 --learning-rate=0.001"
    finding = Finding("a", "warning", "message", f"convert <it>, then:\n{line}", {"n": 1.0, "why": {"a": "message"}})
    x = images(20)
    text = made(small("VAE", epochs=1).fit(x), x, findings=[finding])
    assert f"<code>{escape(line)}</code></pre>" in text
    assert "Convert &lt;it&gt;, then:" in text
    assert "&#39;message&#39;" not in text  # evidence of the message is not told twice
    style = text[text.index("<style>") : text.index("</style>")]
    assert re.search(r"pre code \{[^}]*white-space: pre;[^}]*user-select: all", style)
    cells = re.findall(r"\n[^\n{]*\bt[dh]\b[^\n{]*\{[^}]*\}", style)
    assert cells
    assert "max-width" not in "".join(cells)  # or a cell would be printed over the next
    sheets = [one for one in Parsed(text).named("svg") if (one["aria-label"] or "").startswith("Sheet of images")]
    assert len(sheets) == 5
    assert all(sheet["style"] == f"min-width: {sheet['width']}px" for sheet in sheets)


def test_a_figure_follows_the_page_and_clashes_with_no_other():
    def drawn(height: float) -> str:
        figure = Figure((3, 2))
        figure.subplots().plot([0, height], color=BLUE, clip_on=True)
        return svg(figure, 'alt "quoted" <tag>').markup

    first, second = drawn(1.0), drawn(2.0)
    assert "var(--blue)" in first
    assert BLUE not in first
    names = [set(re.findall(r' id="([^"]+)"', text)) for text in (first, second)]
    assert not names[0] & names[1]
    assert Parsed(first).named("svg")[0]["aria-label"] == 'alt "quoted" <tag>'


# ---------------------------------------------------------------------- command


def test_the_command_writes_the_page(tmp_path, capsys, monkeypatch):
    without_slow_measures(monkeypatch)
    run = tmp_path / "run"
    data = tmp_path / "flowers.csv"
    load_iris(as_frame=True).data.to_csv(data, index=False)
    fields = ["--hidden", "8", "--latent-dim", "2", "--epochs", "2", "--random-state", "0", "--threads", "1"]
    assert main(["fit", "vae", str(data), "-o", str(run), *fields]) == 0
    capsys.readouterr()
    assert main(["report", str(run), "--draws", "20", "--colour", "petal width (cm)", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    text = (run / "report.html").read_text("utf-8")
    assert result["file"] == str(run / "report.html")
    assert result["bytes"] == len(text.encode())
    parsed = whole(text)
    assert "VAE of flowers.csv" in "".join(parsed.text)
    maps = [drawing["aria-label"] for drawing in parsed.named("svg") if "scatter plots side" in drawing["aria-label"]]
    assert ["Correlation with petal width (cm)" in label for label in maps] == [False, True]
    assert "150 rows each" in maps[1]
    elsewhere = ["report", str(run), "--draws", "20", "-o", str(tmp_path / "page.html")]
    assert main(elsewhere) == 0
    assert (tmp_path / "page.html").exists()
    assert main(elsewhere) == 2
    assert "page.html exists already. Pass --force" in capsys.readouterr().err
    assert main([*elsewhere, "--force"]) == 0
    assert main(["report", str(tmp_path / "none")]) == 2
    assert main(["report", str(run), "--colour", "petal"]) == 2
    assert "--colour must be one of petal length (cm)" in capsys.readouterr().err
    assert isthmus.load(run).latent_dim == 2


def test_a_page_from_python(tmp_path, monkeypatch):
    without_slow_measures(monkeypatch)
    x, labels = table(), np.arange(90) % 3
    model = small("VAE").fit(x[:60])
    path = isthmus.report_page(model, x[60:], tmp_path / "page.html", labels[60:], train=x[:60])
    assert is_page(path)  # and may be replaced by the next one
    assert "Verdict" in path.read_text()
    given = small("ConditionalVAE").fit(x[:60], condition=labels[:60])
    result = {"X": x[:60], "condition": labels[:60]}
    assert isthmus.report_page(given, x[60:], tmp_path / "given.html", labels[60:], train=result).exists()
    with pytest.raises(isthmus.InputError):
        isthmus.report_page(model, x[:, :2], tmp_path / "none.html")
    assert not (tmp_path / "none.html").exists()


@pytest.mark.grid
def test_the_verdict_of_an_evaluation_says_which_model_is_better():
    x = (
        np.random.default_rng(0).normal(size=(300, 2))
        @ np.random.default_rng(1).normal(size=(2, 6))
        * np.logspace(0, 3, 6)
    )
    x = x + 0.1 * x.std(0) * np.random.default_rng(2).normal(size=x.shape)
    fields = {
        "latent_dim": 2,
        "hidden": (),
        "learning_rate": 1e-2,
        "validation_fraction": 0,
        "random_state": 0,
        "threads": 1,
    }
    good, bad = (isthmus.Autoencoder(**fields, batch_size=20, epochs=epochs).fit(x[:200]) for epochs in (600, 1))
    said = [" ".join(verdict(evaluate(m, x[200:], train=x[:200]), [], rows="the rows")) for m in (good, bad)]
    assert "reconstructs about as well as PCA" in said[0] or "reconstructs better than PCA" in said[0]
    assert "reconstructs worse than PCA" in said[1]
    assert "summed over scaled columns), more than PCA with 2 dimensions" in said[1]
