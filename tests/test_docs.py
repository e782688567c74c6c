"""Every snippet in the documentation runs."""

from __future__ import annotations

import math
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

import isthmus
from isthmus import likelihoods
from isthmus.cli.main import main
from isthmus.diagnosis import diagnose as diagnose_module
from isthmus.estimators import parts_by_name
from isthmus.evaluation import evaluate as evaluate_module
from isthmus.plot import figures
from models import table, without_page, without_slow_measures

ROOT = Path(__file__).parents[1]
PARTS = (likelihoods.LIKELIHOODS, parts_by_name.PRIORS, parts_by_name.PENALTIES)
TABLES: tuple[dict, ...] = (*PARTS, evaluate_module.MEASURES, figures.FIGURES)


def blocks(name: str, language: str) -> list[str]:
    """The fenced blocks of a language in a page."""
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / name).read_text(), re.DOTALL)


@pytest.fixture
def short(tmp_path, monkeypatch):
    """A temporary folder, short runs, and no slow measures, which are tested elsewhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("isthmus.estimators.training_setup.AUTO_UPDATES", 1)
    without_slow_measures(monkeypatch)
    score = isthmus.FittedModel.score
    few = lambda self, examples, draws=1000, progress=None: score(self, examples, 20, progress)  # noqa: E731
    monkeypatch.setattr(isthmus.FittedModel, "score", few)
    monkeypatch.setattr(diagnose_module, "FINDINGS", diagnose_module.FINDINGS)  # restored afterwards
    before = [dict(names) for names in TABLES]
    yield
    for names, entries in zip(TABLES, before):  # a page may add to a table: the other tests must not see it
        names.clear()
        names.update(entries)


ISTHMUS_LINE = re.compile(r"`(isthmus\.[A-Z][^`]*)`")
PYTHAE = (ROOT / "docs/from-pythae.md").read_text()
CELLS = sorted({line for row in PYTHAE.splitlines() if row.startswith("| `") for line in ISTHMUS_LINE.findall(row)})
FAST = [cell for cell in CELLS if any(word in cell for word in ("capacity", "ms_ssim", "rvq", "Ladder"))]
"""Lines whose parts few other tests use."""


@pytest.mark.parametrize(
    "cell", [cell if cell in FAST else pytest.param(cell, marks=pytest.mark.grid) for cell in CELLS]
)
def test_lines_in_place_of_those_of_pythae_run(cell, monkeypatch):
    monkeypatch.setattr("isthmus.nets.flow.STEPS", 20)
    model = eval(cell, {"isthmus": isthmus}).set_params(epochs=2, hidden=(16,), levels=17, random_state=0)
    X = load_digits().images.astype("uint8")[:300]
    model.fit(X)
    assert model.reconstruct(X).shape == X.shape
    if model.capabilities.samples:
        assert model.sample(5, random_state=0).shape == (5, 8, 8)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs/from-pythae.md"])
def test_python_snippets_run(page, short, monkeypatch):
    monkeypatch.setattr("isthmus.estimators.training_setup.MIN_AUTO_EPOCHS", 1)
    names: dict = {}
    snippets = blocks(page, "python")
    assert snippets
    for snippet in snippets:  # a page is read from top to bottom
        exec(compile(snippet, page, "exec"), names)
    if page == "README.md":
        assert names["Z"].shape == (1797, 8)
        assert names["new"].dtype == "uint8"
        assert names["clean"].shape == names["X"].shape
        assert len(names["history"]) == 3
        assert names["fitted"].sample(3).shape == (3, 20)
    if page == "CONTRIBUTING.md":
        parts_are_used(names["HalfVAE"])
        mean_is_that_of_draws(names["Logistic"])


NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def test_answers_print_what_the_page_says(capsys):
    """Words as they are, numbers within a tenth: other machines add in another order."""
    parts = re.findall(r"```(python|text)\n(.*?)```", (ROOT / "docs/questions.md").read_text(), re.DOTALL)
    assert len(parts) == 11
    names: dict = {}
    for language, text in parts:
        if language == "python":
            exec(compile(text, "questions.md", "exec"), names)
            continue
        printed = capsys.readouterr().out
        assert NUMBER.sub("n", printed).split() == NUMBER.sub("n", text).split()
        for found, expected in zip(NUMBER.findall(printed), NUMBER.findall(text)):
            assert float(found) == pytest.approx(float(expected), rel=0.1, abs=0.1), (printed, text)


def parts_are_used(model_class) -> None:
    """What the page adds to the tables is trained, measured, found and drawn."""
    x = table()
    fields = {"latent_dim": 2, "hidden": (8,), "threads": 1, "epochs": 2}
    assert isthmus.VAE(penalty="code_norm(0.01)", **fields).fit(x).history_[-1]["code_norm"] > 0
    model = model_class(likelihood="logistic", prior="laplace", **fields).fit(x)
    assert np.isfinite(model.score_samples(x, draws=5)).all()
    evaluation = isthmus.evaluate(model, x, draws=5)
    assert evaluation["code_length"].value > 0
    assert "length of a code" in str(evaluation)
    model.fitted_.model.posterior.net.layers[-1].bias.data[0] = 200.0  # a code far out
    codes = {finding.code for finding in isthmus.diagnose(model, x)}
    assert "long-codes" in codes
    page = isthmus.report_page(model, x, "report.html", evaluation=evaluation).read_text("utf-8")
    assert "Length of the codes" in page


def mean_is_that_of_draws(distribution) -> None:
    """The mean of many draws is `mean`, and their log-density integrates to one."""
    torch.manual_seed(0)
    given = distribution(torch.tensor([-3.0, 0.5], dtype=torch.float64), torch.tensor(0.7, dtype=torch.float64))
    draws = given.sample((100_000,))
    assert ((draws.mean(0) - given.mean).abs() < 4 * draws.std(0) / math.sqrt(len(draws))).all()  # standard errors
    x = torch.linspace(-100, 100, 20_001, dtype=torch.float64)[:, None].expand(-1, 2)
    torch.testing.assert_close(torch.trapezoid(given.element_log_prob(x).exp(), x, dim=0), torch.ones(2).double())


def test_each_addition_takes_ten_lines_at_most():
    for snippet in blocks("CONTRIBUTING.md", "python"):
        lines = [line for line in snippet.splitlines() if line.strip() and not line.startswith(("from ", "import "))]
        assert len(lines) <= 10, snippet


@pytest.mark.grid
def test_commands_run(short, capsys, monkeypatch):
    without_page(monkeypatch)
    monkeypatch.setattr("isthmus.estimators.training_setup.MIN_AUTO_EPOCHS", 2)
    lines = [line for block in blocks("README.md", "bash") for line in block.splitlines()]
    commands = [shlex.split(line, comments=True) for line in lines]
    ours = [words for words in commands if words and words[0] == "isthmus"]
    assert len(ours) > 8
    for words in ours:
        fewer = ["--draws", "20"] if words[1] in ("evaluate", "diagnose", "report", "compare") else []
        allowed = (0, 3) if words[1] == "diagnose" else (0,)  # 3: two epochs leave something to find
        assert main([*words[1:], *fewer]) in allowed, (words, capsys.readouterr().err)


def test_links_lead_somewhere():
    for page in ("README.md", "CONTRIBUTING.md", "docs/questions.md", "docs/from-pythae.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text()):
            assert (ROOT / target).exists(), target
