"""Text for a terminal: lines that fit, commands that can be copied."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest

from isthmus.evaluation.evaluate import evaluate
from isthmus.finding import Finding
from isthmus.wording import TEXT_WIDTH, shell_line, two_columns
from models import images, small


def test_an_evaluation_fits_into_eighty_columns_and_no_number_is_broken():
    x, labels = images(60), np.arange(60) % 3
    model = small("VAE", epochs=1).fit(x[:40])
    evaluation = evaluate(model, x[40:], labels[40:], draws=20, train=x[:40])
    lines = str(evaluation).splitlines()
    assert max(map(len, lines)) <= TEXT_WIDTH == 80
    text = " ".join(" ".join(lines).split())
    for label, value in evaluation.lines():
        if len(label) < TEXT_WIDTH // 2 - 2:  # beside the start of its value
            number = value.split(" (")[0][:20]
            assert any(line.startswith(label) and number in line for line in lines), label
        assert label.split()[0] in text


@pytest.mark.parametrize("width", [20, 40, 80])
def test_columns_hold_all_words(width):
    given = [("a label of many words", "and a text that is longer still"), ("  deeper", "1"), ("empty", "")]
    text = two_columns(given, width)
    assert max(map(len, text.splitlines())) <= width
    assert sorted(text.split()) == sorted(" ".join(f"{label} {value}" for label, value in given).split())


@pytest.mark.parametrize("word", ["my run", "it's", "a\nb", "tab\t'\\", "--force; rm -r x", "$HOME", "naïve", ""])
def test_a_line_for_the_shell_gives_back_the_words(word):
    line = shell_line(["printf", "%s|", word, "end"])
    assert line.isprintable()
    assert subprocess.run(["bash", "-c", line], capture_output=True, text=True).stdout == f"{word}|end|"


def test_a_finding_is_wrapped_at_words_and_what_can_be_run_is_one_line():
    line = "isthmus fit vae digits -o runs/vae-2 --random-state=0 --learning-rate=0.001 --prior=normal --hidden=64,64"
    finding = Finding("a-code", "warning", "some words " * 20, f"first of all:\n{line}", cause="it is so " * 20)
    lines = str(finding).splitlines()
    assert f"  {line}" in lines
    assert all(len(other) <= TEXT_WIDTH for other in lines if line not in other)
    assert " ".join(" ".join(lines).split()).startswith("warning: some words")
    assert finding.steps == [("first of all:", False), (line, True)]
