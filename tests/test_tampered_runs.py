"""Damaged and hostile runs: each is loaded rightly, or refused in one short line, at once and without much memory."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import isthmus
from fuzz_counts import counted
from isthmus.atomic_io import parse_json
from isthmus.data import read
from isthmus.persistence import run_dir
from isthmus.persistence.run_files import CHECKPOINT, REPLACEMENT
from isthmus.train.checkpoint import Checkpointer, read_history
from isthmus.wording import one_line
from models import small, table
from tampered_runs import (
    COSTLY,
    FILES,
    MEASURE,
    SLOW_TO_MAKE,
    WAYS_TO_RESUME,
    base_runs,
    codes_of,
    paths,
    rewrite,
    tampered,
    with_entry,
    with_pipe,
    write_config,
)

MAX_SECONDS, MAX_BYTES = 1.0, 100e6
"""What a hostile folder may cost more than a sound one."""


@pytest.fixture(scope="module")
def bases(tmp_path_factory) -> dict[Path, np.ndarray]:
    """Sound runs, and the codes of fixed rows of each."""
    return {base: codes_of(isthmus.load(base)) for base in base_runs(tmp_path_factory.mktemp("sound"))}


def loaded(folder: Path) -> tuple[Any, str]:
    """The model in a folder, or None and the message of the one error that may come; warnings are short lines too."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model, said = isthmus.load(folder), ""
        except isthmus.InputError as error:
            model, said = None, str(error)
    for message in [said, *(str(warning.message) for warning in caught)]:
        assert message.isprintable()
        assert len(message) <= 300
    return model, said


OUTCOME_WORDS = {
    "refused": "refused",
    "rows refused": "loaded, rows refused",
    "same": "loaded, same codes",
    "other": "loaded with other settings",
}


def load_tampered(bases: dict[Path, np.ndarray], folder: Path, seeds: range) -> Counter:
    """Load runs that were tampered with; how many were refused, had the same codes, or others by other settings."""
    counts: Counter = Counter()
    for seed in seeds:
        base = list(bases)[seed % len(bases)]
        what = tampered(base, folder, seed)
        model, _ = loaded(folder)
        if model is None:
            counts["refused"] += 1
            continue
        try:
            codes = codes_of(model)
        except isthmus.InputError:
            counts["rows refused"] += 1  # another shape, other classes
            continue
        same = np.array_equal(codes, bases[base])
        assert same or what.startswith("entry"), (seed, what)
        counts["same" if same else "other"] += 1
    for outcome, words in OUTCOME_WORDS.items():
        if counts[outcome]:
            counted(words, counts[outcome])
    return counts


def test_tampered_runs(bases, tmp_path):
    counts = load_tampered(bases, tmp_path / "run", range(250))
    assert counts["refused"] > 100
    assert counts["same"] > 40


@pytest.mark.grid
@pytest.mark.parametrize("start", range(1000, 9000, 1000))
def test_many_tampered_runs(bases, tmp_path, start):
    counts = load_tampered(bases, tmp_path / "run", range(start, start + 1000))
    assert counts["refused"] > 500
    assert counts["same"] > 150


SEEDED: dict[str, Any] = {
    "deadline": None,
    "derandomize": True,
    "database": None,
    "suppress_health_check": list(HealthCheck),
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_subnormal=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=60, **SEEDED)
@given(data=st.data())
def test_any_value_in_the_place_of_any_entry(bases, tmp_path_factory, data):
    base = data.draw(st.sampled_from(list(bases)))
    config = json.loads((base / "config.json").read_text())
    container, key = data.draw(st.sampled_from(list(paths(config))))
    container[key] = data.draw(JSON)
    folder = tmp_path_factory.getbasetemp() / "entry"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(base, folder)
    write_config(folder, config, with_hash=True)
    model, said = loaded(folder)
    assert (model is None) == bool(said)


@settings(**SEEDED)
@given(text=st.text(), most=st.integers(4, 50))
def test_any_text_becomes_one_short_line(text, most):
    line = one_line(text, most)
    assert line.isprintable()
    assert len(line) <= most


@pytest.mark.parametrize("base", range(7))
def test_each_entry_of_a_configuration_that_is_missing(bases, tmp_path, base):
    """The model is the same, or the loss is noticed: no entry is made up."""
    base = list(bases)[base]
    config = json.loads((base / "config.json").read_text())
    shutil.copytree(base, tmp_path / "run")
    outcomes = Counter()
    for name in config:
        write_config(tmp_path / "run", {k: v for k, v in config.items() if k != name}, with_hash=True)
        model, _ = loaded(tmp_path / "run")
        outcomes[model is None] += 1
        assert model is None or np.array_equal(codes_of(model), bases[base])
    assert outcomes[True] >= 7


@pytest.mark.parametrize("file", FILES)
def test_a_changed_byte_is_noticed_or_changes_nothing(bases, tmp_path, file):
    base, codes = next(iter(bases.items()))
    shutil.copytree(base, tmp_path / "run")
    data = (base / file).read_bytes()
    outcomes = Counter()
    for place in np.random.default_rng(0).integers(len(data), size=40):
        changed = bytearray(data)
        changed[place] ^= 1 << (place % 7)
        (tmp_path / "run" / file).write_bytes(changed)
        model, _ = loaded(tmp_path / "run")
        outcomes[model is None] += 1
        assert model is None or np.array_equal(codes_of(model), codes)
    assert outcomes[True] == 40 if file == "model.safetensors" else outcomes[False]


QUICK = [name for name in COSTLY if name not in SLOW_TO_MAKE]


@pytest.mark.parametrize("name", QUICK)
def test_what_would_cost_time(bases, tmp_path, name):
    shutil.copytree(next(iter(bases)), tmp_path / "run")
    COSTLY[name](tmp_path / "run")
    began = time.process_time()
    model, said = loaded(tmp_path / "run")
    assert time.process_time() - began < MAX_SECONDS
    assert (model is None) == (str(tmp_path) in said)


@pytest.mark.grid
def test_what_would_cost_time_or_memory(bases, tmp_path):
    base = next(iter(bases))
    for name, change in COSTLY.items():
        shutil.copytree(base, tmp_path / name)
        change(tmp_path / name)
    folders = [str(folder) for folder in (base, *(tmp_path / name for name in COSTLY))]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", MEASURE, *folders], capture_output=True, check=True, env=one_thread)
    sound, *measured = (json.loads(line) for line in done.stdout.splitlines())
    assert sound[2] == "loaded"
    assert len(measured) == len(COSTLY)
    for name, (seconds, nbytes, said) in zip(COSTLY, measured):
        assert seconds - sound[0] < MAX_SECONDS, (name, seconds)
        assert nbytes - sound[1] < MAX_BYTES, (name, nbytes)
        assert said == "loaded" or (str(tmp_path / name) in said and len(said) <= 300), (name, said)
    assert sum(said != "loaded" for _, _, said in measured) >= 20


@pytest.mark.parametrize("name", ["shift", "scale", "mean", "low", "high"])
@pytest.mark.parametrize("value", [None, True, "1", float("nan"), float("inf"), [], [1.0], [[1.0] * 5] * 2, [1, [2]]])
def test_arrays_of_a_schema_are_finite_numbers_of_its_shape(bases, tmp_path, name, value):
    shutil.copytree(next(iter(bases)), tmp_path / "run")
    with_entry("schema", name, value=value)(tmp_path / "run")
    model, said = loaded(tmp_path / "run")
    assert (model is None) == (f"schema.{name} must be" in said)
    assert model is None or value == [1.0]  # which is repeated for each element


@pytest.mark.parametrize("value", [0.0, -1.0, [1, 1, 1, 1, 0]])
def test_scales_are_positive(bases, tmp_path, value):
    shutil.copytree(next(iter(bases)), tmp_path / "run")
    with_entry("schema", "scale", value=value)(tmp_path / "run")
    assert "schema.scale must be one finite number > 0" in loaded(tmp_path / "run")[1]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("threads", value) for value in (0, -1, 10**6, 1.5, "auto", None, True)),
        *(("epochs", value) for value in (-1, 10**12, "auto", 0.5)),
        *(("compile", "yes"), ("device", 5), ("chosen", [])),
    ],
)
def test_settings_that_no_run_has(bases, tmp_path, name, value):
    shutil.copytree(next(iter(bases)), tmp_path / "run")
    with_entry("settings", name, value=value)(tmp_path / "run")
    assert f"settings.{name} must be" in loaded(tmp_path / "run")[1]


def test_whatever_loading_raises_is_one_error(bases, monkeypatch):
    def broken(self, schema):
        raise KeyError("a\nline")

    monkeypatch.setattr(isthmus.VAE, "compose", broken)
    model, said = loaded(next(iter(bases)))
    assert model is None
    assert "cannot be loaded, it may be damaged: KeyError" in said


@pytest.mark.parametrize("item", [b"{},", b"[],", b'"ab",', b"1000,", '"\U0001f600",'.encode()])
def test_json_of_many_small_values_is_refused_before_it_is_parsed(item, tmp_path, monkeypatch):
    text = b"[" + item * (4_000_000 // len(item)) + b"0]"
    monkeypatch.setattr(json, "loads", lambda data: pytest.fail("it was parsed"))
    with pytest.raises(isthmus.InputError, match="too large to be read"):
        parse_json(text, tmp_path, most=8_000_000)


# ------------------------------------------------------------------ runs that go on


class Stopped(Exception):
    """Training was stopped after a checkpoint."""


@pytest.fixture(scope="module")
def stopped(tmp_path_factory) -> Path:
    """A run whose training was stopped in the middle."""
    folder = tmp_path_factory.mktemp("stopped")
    np.save(folder / "x.npy", table(60))
    run = run_dir.start(small("VAE", epochs=6), read(folder / "x.npy"), folder / "run")
    save = Checkpointer.save

    def save_and_stop(self, trainer):
        save(self, trainer)
        if trainer.step >= 8:
            raise Stopped

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("isthmus.train.checkpoint.CHECKPOINT_INTERVAL_SECONDS", 0.0)
        patch.setattr(Checkpointer, "save", save_and_stop)
        with pytest.raises(Stopped):
            run_dir.finish(run)
    return folder / "run"


def resumed(folder: Path) -> str:
    """Go on with a run to its end; "" or the message of the one error that may come."""
    said = ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            run = run_dir.resume(folder)
            if run is not None:
                run.job.config = replace(run.job.config, epochs=min(run.job.config.epochs, 20))
                run_dir.finish(run)
        except (isthmus.InputError, isthmus.TrainingError) as error:
            said = str(error)
    assert said.isprintable()
    assert len(said) <= 300
    assert said or isthmus.load(folder).transform(table(60)).shape == (60, 3)
    return said


def resume_tampered(stopped: Path, folder: Path, seeds: range) -> Counter:
    """Go on with runs that were tampered with; how many were refused, and how many trained to the end."""
    counts: Counter = Counter()
    for seed in seeds:
        tampered(stopped, folder, seed, WAYS_TO_RESUME)
        outcome = "refused" if resumed(folder) else "trained"
        counts[counted(outcome)] += 1
    return counts


def test_tampered_runs_that_go_on(stopped, tmp_path):
    counts = resume_tampered(stopped, tmp_path / "run", range(24))
    assert counts["refused"] > 8
    assert counts["trained"] > 4


def test_a_field_that_is_gone_and_was_chosen_by_nobody_is_asked_for(stopped, tmp_path):
    shutil.copytree(stopped, tmp_path / "run")
    file = tmp_path / "run" / "config.json"
    config = json.loads(file.read_text())
    del config["fields"]["learning_rate"]  # whose default is "auto"
    file.write_text(json.dumps(config))
    assert "settings.chosen must have the value of learning_rate" in resumed(tmp_path / "run")


@pytest.mark.grid
@pytest.mark.parametrize("start", range(1000, 3000, 500))
def test_many_tampered_runs_that_go_on(stopped, tmp_path, start):
    counts = resume_tampered(stopped, tmp_path / "run", range(start, start + 500))
    assert counts["refused"] > 200
    assert counts["trained"] > 100


def test_a_checkpoint_is_compared_before_it_is_copied_into_place(stopped, tmp_path):
    """A tensor of one number would fill any other, for copying repeats it."""
    shutil.copytree(stopped, tmp_path / "run")
    path = tmp_path / "run" / "checkpoint" / "state.safetensors"

    def shrink(tensors):
        name = next(name for name in tensors if name.startswith("weight/") and name.endswith("bias"))
        tensors[name] = tensors[name][:1].clone()

    rewrite(path, shrink)
    assert "bias must be F32 of shape" in resumed(tmp_path / "run")


def test_a_missing_history_does_not_stop_a_run(stopped, tmp_path):
    shutil.copytree(stopped, tmp_path / "run")
    (tmp_path / "run" / "history.jsonl").unlink()
    run = run_dir.resume(tmp_path / "run")
    with pytest.warns(UserWarning, match="holds 0 of 2 epochs"):
        run_dir.finish(run)
    assert [record["epoch"] for record in run.fitted.history] == [3, 4, 5, 6]


def test_the_history_is_never_written_through_a_link(tmp_path):
    (tmp_path / "mine").write_text("MINE")
    (tmp_path / "history.jsonl").symlink_to(tmp_path / "mine")
    with pytest.raises(isthmus.InputError, match="cannot write"):
        Checkpointer(tmp_path).append({"epoch": 1})
    with pytest.raises(isthmus.InputError, match="must be a file, got a link"):
        read_history(tmp_path / "history.jsonl")
    assert (tmp_path / "mine").read_text() == "MINE"


def test_pipes_are_not_waited_for_when_a_run_goes_on(stopped, tmp_path):
    for i, name in enumerate(("config.json", "history.jsonl", f"{CHECKPOINT}/state.safetensors")):
        folder = tmp_path / str(i)
        shutil.copytree(stopped, folder)
        with_pipe(name)(folder)
        assert resumed(folder)
    (tmp_path / "run" / REPLACEMENT).mkdir(parents=True)
    os.mkfifo(tmp_path / "run" / REPLACEMENT / "config.json")
    assert resumed(tmp_path / "run")
