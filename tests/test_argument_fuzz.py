"""Random fields and random words of the command line: taken, or refused in one line, never anything else."""

from __future__ import annotations

import contextlib
import importlib
import io
import warnings

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import isthmus
from fuzz_counts import counted
from isthmus.cli.flags import flag_of
from isthmus.cli.main import COMMANDS, main
from isthmus.estimators.training_setup import setup_training
from isthmus.model_registry import models
from models import NAMES, bits, counts, images, small, table

FEW, MANY = 30, 1500
"""Examples of each law in every run of the suite, and in one over the full grid."""
SEEDED = {"deadline": None, "derandomize": True, "database": None, "suppress_health_check": list(HealthCheck)}

SIZES = st.sampled_from([-(10**30), -1, 0, 1, 2, 3, 16, 10**12, 10**30])
"""No sizes between: networks of these would be made, and fill the memory."""
OTHER_NUMBERS = (0.5, np.float32(0.1), np.int64(3), np.bool_(True), 1j, True, False, None)
NUMBERS = st.one_of(SIZES, st.floats(allow_subnormal=False), st.sampled_from(OTHER_NUMBERS))
NAMES_OF_PARTS = (
    *("normal", "laplace", "student_t", "bernoulli", "categorical", "discretized_logistic", "poisson", "beta_binomial"),
    *("mixture", "full_mixture", "refit", "conditional", "mask", "gaussian", "salt_and_pepper", "blur", "iwae", "elbo"),
    *("l1", "kl", "top_k", "batch_top_k", "jump_relu", "x"),
)
PARTS = st.builds(
    lambda name, arguments: f"{name}({', '.join(map(str, arguments))})",
    st.sampled_from(NAMES_OF_PARTS),
    st.lists(st.sampled_from([-1, 0, 1, 2, 3, 0.3, 1e9, "a", "-", "1j", "inf"]), max_size=3),
)
NAMES_OF_CHOICES = (
    *("auto", "none", "normal", "conv", "mlp", "relu", "silu", "pca", "random", "columns", "standard", "global"),
    *(
        "float32",
        "float64",
        "bf16",
        "cpu",
        "cuda",
        "cuda:1",
        "cuda:99",
        "cpu:0",
        "meta",
        "mixture(2)",
        "mask(0.3)",
        "true",
        "3",
    ),
    *("((((", "normal((", "''", "\x00", "\udcff"),
)
WORDS = st.one_of(st.text(max_size=8), PARTS, st.sampled_from(NAMES_OF_CHOICES))
VALUES = st.one_of(
    NUMBERS,
    WORDS,
    st.lists(SIZES, max_size=3).map(tuple),
    st.lists(WORDS, max_size=5).map(tuple),
    st.builds(object),
    st.sampled_from([[], {}, (), {"a": 1}, b"auto", np.zeros(2), torch.zeros(2), torch.nn.Linear(2, 2), torch.nn.ReLU]),
)
PLAUSIBLE = {
    "int": st.sampled_from([1, 2, 5, np.int64(4)]),
    "float": st.sampled_from([0.0, 0.01, 0.5, 1, np.float32(0.3)]),
    "bool": st.booleans(),
    "str": st.one_of(st.sampled_from(NAMES_OF_CHOICES[:18]), st.sampled_from(("mixture(2)", "mask(0.3)"))),
    "tuple": st.sampled_from([(), (8,), (4, 4), [8]]),
    "Auto": st.just("auto"),
    "None": st.none(),
    "nn.Module": st.sampled_from([torch.nn.Flatten(), torch.nn.Linear(5, 6), torch.nn.Identity()]),
}
"""Values of fields by the types in their annotations, most of which are taken."""


def values_of(annotation: str):
    """Values of a field: of its types mostly, and any others."""
    kinds = [name.strip().partition("[")[0] for name in annotation.split("|")]
    return st.one_of(*3 * [PLAUSIBLE.get(kind, VALUES) for kind in kinds], VALUES)


LINES = (
    "fit vae wine",
    "fit autoencoder digits -o runs/x --epochs 3 --hidden 8,8",
    "fit --resume runs/x",
    "check data.csv --levels 3",
    "evaluate run --draws 10 --ais",
    "diagnose run data.npz --part test",
    "report run",
    "compare wine --models pca,vae(beta=4) --seeds 2 --set epochs=3",
    "score run data.csv -o scores.csv --per-feature",
    "sample run -n 3 -o x.png --random-state 3",
    "encode run wine -o z.npz --draws 3",
    "decode run z.npz -o x.csv",
    "reconstruct run wine -o x.csv --json -q",
    "models",
    "data --json",
    "help fit",
)
"""Command lines into which words are put."""
ROWS = {"table": table, "images": images, "bits": bits, "counts": counts}


def fields_law(examples: int):
    """The law of fields for so many examples of each model."""

    @settings(max_examples=examples, **SEEDED)
    @given(data=st.data())
    def law(name: str, data) -> None:
        known = [field for field in models()[name].fields if field not in ("random_state", "epochs")]
        chosen = data.draw(st.lists(st.sampled_from(known), min_size=1, max_size=3, unique=True))
        annotations = {key: field.annotation for key, field in models()[name].fields.items()}
        fields = {field: data.draw(values_of(annotations[field]), label=field) for field in chosen}
        rows = ROWS[data.draw(st.sampled_from(sorted(ROWS)))](20)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                setup_training(small(name, **fields), rows)
            except isthmus.InputError:  # whose message is one line
                counted("refused")
            else:
                counted("taken")

    return law


def words_law(examples: int):
    """The law of words for so many command lines."""
    options = [
        *(flag_of(field) for model in models().values() for field in model.fields),
        *("--json", "-q", "-v", "--quiet", "--verbose", "--help", "-h", "--config", "--output", "-o", "--force"),
        *("--condition", "--resume", "--part", "--draws", "--per-feature", "--set", "--seeds", "--sweep", "--models"),
        *("-n", "--mean", "--ais", "--version", "--print-completion", "--", "-", "-x", "--seed", "--lr", "--gpu"),
    ]
    names = [*COMMANDS, "help", *(model.command for model in models().values()), "vae", "digits", "wine", "runs/x"]
    words = st.one_of(st.sampled_from(options), st.sampled_from(names), WORDS, NUMBERS.map(str))
    with_value = st.builds("{}={}".format, st.sampled_from(options), WORDS)
    option_and_value = st.tuples(st.sampled_from(options), st.one_of(WORDS, NUMBERS.map(str)))
    inserted = st.one_of(words.map(lambda word: (word,)), with_value.map(lambda word: (word,)), option_and_value)

    @settings(max_examples=examples, **SEEDED)
    @given(
        line=st.sampled_from(LINES),
        cut=st.integers(0, 40),
        inserts=st.lists(st.tuples(st.integers(0, 9), inserted), max_size=2),
    )
    def law(line: str, cut: int, inserts: list[tuple[int, tuple[str, ...]]]) -> None:
        argv = line.split()
        del argv[cut : cut + 1]  # mostly none
        for place, added in inserts:
            argv[place:place] = added
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = main(argv)
            except SystemExit as stopped:  # --help
                code = stopped.code
        assert code in (0, 2), err.getvalue()
        counted("refused" if code else "taken")
        lines = err.getvalue().splitlines()
        assert len(lines) == (1 if code else 0), lines
        assert all(line.isprintable() for line in lines)

    return law


@pytest.fixture
def only_parsed(monkeypatch, tmp_path):
    """Commands that parse their words and do nothing, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    for command in COMMANDS:
        monkeypatch.setattr(importlib.import_module(f"isthmus.cli.{command}"), "run", lambda args: None)


@pytest.mark.parametrize("name", NAMES)
def test_fields_are_taken_or_refused(name):
    fields_law(FEW)(name)


@pytest.mark.grid
@pytest.mark.parametrize("name", NAMES)
def test_many_fields_are_taken_or_refused(name):
    fields_law(MANY)(name)


def test_words_are_taken_or_refused(only_parsed):
    words_law(10 * FEW)()


@pytest.mark.grid
def test_many_words_are_taken_or_refused(only_parsed):
    words_law(10 * MANY)()
