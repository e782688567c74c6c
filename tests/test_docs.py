"""Every snippet in the documentation runs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from isthmus.cli.main import main
from models import without_slow_measures

ROOT = Path(__file__).parents[1]


def blocks(name: str, language: str) -> list[str]:
    """The fenced blocks of a language in a page."""
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / name).read_text(), re.DOTALL)


@pytest.fixture
def short(tmp_path, monkeypatch):
    """A folder of its own, runs of the fewest epochs, and no measures that take long: these have tests of their own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("isthmus.estimators.training_setup.AUTO_UPDATES", 1)
    without_slow_measures(monkeypatch)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_python_snippets_run(page, short):
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


def test_commands_run(short, capsys):
    lines = [line for block in blocks("README.md", "bash") for line in block.splitlines()]
    commands = [shlex.split(line, comments=True) for line in lines]
    ours = [words for words in commands if words and words[0] == "isthmus"]
    assert len(ours) > 8
    for words in ours:
        fewer = ["--draws", "20"] if words[1] in ("evaluate", "diagnose", "report", "compare") else []
        assert main([*words[1:], *fewer]) == 0, (words, capsys.readouterr().err)


def test_links_lead_somewhere():
    for page in ("README.md", "CONTRIBUTING.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text()):
            assert (ROOT / target).exists(), target
