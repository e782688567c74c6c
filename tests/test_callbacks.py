"""Watching and stopping a fit: callbacks, a limit of time, lines and tables of the history; dropout."""

from __future__ import annotations

import pickle
import sys
import types

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import nn

import isthmus
from isthmus.callbacks import FitState, MLflow, TensorBoard
from isthmus.estimators.training_setup import setup_training
from isthmus.train.checkpoint import Checkpointer
from isthmus.train.trainer import Trainer
from models import MOSTLY_GRID, images, small, table
from test_bad_input import Breaks

pytestmark = pytest.mark.filterwarnings("ignore:.*given no condition:UserWarning")
X = table()


class Recorder:
    """Records what it is given; stops after an epoch, or raises in a method."""

    def __init__(self, stop: int = 0, raises: str = ""):
        self.stop, self.raises = stop, raises
        self.states: list[tuple[str, FitState]] = []
        self.codes: list[np.ndarray] = []

    def note(self, method: str, state: FitState):
        self.states.append((method, state))
        self.codes.append(state.model.encode(X[:5]))
        torch.randn(3)
        if method == self.raises:
            raise RuntimeError("the disk is full")

    def on_fit_begin(self, state):
        self.note("begin", state)

    def on_epoch_end(self, state):
        self.note("epoch", state)
        return state.epoch == self.stop

    def on_fit_end(self, state):
        self.note("end", state)

    @property
    def calls(self) -> list[str]:
        return [f"{method} {state.epoch} {state.end}".strip() for method, state in self.states]


@pytest.mark.parametrize("name", MOSTLY_GRID)
def test_callbacks_see_every_epoch_and_change_nothing(name):
    seen = Recorder()
    model = small(name, dropout=0.1, prior="refit(2)" if name == "VAE" else "normal").fit(X, callbacks=seen)
    plain = clone(model).fit(X)
    for a, b in zip(model.model_.state_dict().values(), plain.model_.state_dict().values()):
        assert torch.equal(a, b)
    assert seen.calls == ["begin 0", "epoch 1", "epoch 2", "epoch 3", "epoch 4", "end 4 complete"]
    records = [state.record for method, state in seen.states if method == "epoch"]
    assert [r["loss"] for r in records] == [r["loss"] for r in model.history_]
    assert [state.updates for _, state in seen.states] == [0, *(r["step"] for r in model.history_), records[-1]["step"]]
    assert {state.epochs for _, state in seen.states} == {4}
    assert (seen.states[0][1].record, seen.states[0][1].model.name) == ({}, name)
    np.testing.assert_array_equal(seen.codes[-1], model.transform(X[:5]))


def test_a_callback_reads_the_weights_that_are_validated():
    seen = Recorder()
    model = small("VAE", epochs=20, learning_rate=1e-2, initialization="random").fit(X, callbacks=[seen])
    best = int(np.argmin([record["valid_loss"] for record in model.history_]))
    np.testing.assert_allclose(seen.codes[1 + best], model.transform(X[:5]), rtol=1e-5, atol=1e-6)
    assert not np.allclose(seen.codes[0], seen.codes[1])


def test_a_callback_stops_training():
    first, second = Recorder(stop=2), Recorder()
    model = small("VAE").fit(X, callbacks=[first, second])
    assert first.calls == second.calls == ["begin 0", "epoch 1", "epoch 2", "end 2 early"]
    assert len(model.history_) == 2
    assert model.history_[-1].get("kept_start") or model.history_[-1]["valid_loss"] > 0


@pytest.mark.parametrize(("method", "epochs"), [("begin", 0), ("epoch", 1), ("end", 4)])
def test_an_exception_of_a_callback_leaves_a_fitted_model(method, epochs):
    first, second = Recorder(raises=method), Recorder()
    model = small("VAE")
    with pytest.raises(RuntimeError, match="the disk is full"):
        model.fit(X, callbacks=[first, second])
    assert len(model.history_) == epochs
    assert np.isfinite(model.score(X))
    last = "complete" if method == "end" else "failed"
    if method != "begin":  # the other one was begun, and is told of the end
        assert second.calls[-1] == f"end {epochs} {last}"
    assert not model.model_.training


def test_callbacks_are_told_of_training_that_fails():
    seen, model = Recorder(), small("VAE", encoder=Breaks(4), validation_fraction=0)
    with pytest.raises(isthmus.TrainingError):
        model.fit(X, callbacks=seen)
    assert seen.states[-1][1].end == "failed"


def test_an_object_with_one_of_the_methods_is_a_callback_and_others_are_refused():
    small("VAE", epochs=1).fit(X, callbacks=types.SimpleNamespace(on_epoch_end=lambda state: None))
    for wrong, got in ((len, "builtin_function_or_method"), (Recorder, "the class Recorder"), ("wandb", "str")):
        with pytest.raises(isthmus.InputError, match=f"callbacks must be objects with any of .*, got {got}"):
            small("VAE").fit(X, callbacks=[wrong])
    assert "callbacks" not in small("VAE").get_params()


# ------------------------------------------------------------------ TensorBoard, MLflow


def test_tensorboard_has_the_losses_of_each_epoch(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    model = small("VAE").fit(X, callbacks=TensorBoard(tmp_path / "log"))
    events = EventAccumulator(str(tmp_path / "log"))
    events.Reload()
    for name in ("loss", "nll", "kl", "valid_loss"):
        scalars = events.Scalars(name)
        assert [event.step for event in scalars] == [record["step"] for record in model.history_]
        np.testing.assert_allclose([event.value for event in scalars], [record[name] for record in model.history_])
    assert "hyperparameters/text_summary" in events.Tags()["tensors"]


@pytest.fixture
def fake_mlflow(monkeypatch):
    """A module that records the calls of its functions."""
    module, calls = types.ModuleType("mlflow"), []

    def function(name, result=None):
        def call(*args, **kwargs):
            calls.append((name, args, kwargs))
            return result

        return call

    for name in ("set_experiment", "start_run", "log_params", "log_metrics", "end_run", "active_run"):
        setattr(module, name, function(name))
    monkeypatch.setitem(sys.modules, "mlflow", module)
    return module, calls, function


def test_mlflow_has_the_fields_and_the_losses(fake_mlflow):
    _, calls, _ = fake_mlflow
    model = small("VAE").fit(X, callbacks=MLflow(experiment="digits", run_name="first"))
    names = [name for name, _, _ in calls]
    assert names == ["active_run", "set_experiment", "start_run", "log_params", *["log_metrics"] * 4, "end_run"]
    assert calls[1][1] == ("digits",)
    assert calls[2][2] == {"run_name": "first"}
    fields = calls[3][1][0]
    assert (fields["model"], fields["hidden"], fields["epochs"]) == ("VAE", "(16,)", 4)
    (metrics,), step = calls[4][1], calls[4][2]
    assert metrics["loss"] == model.history_[0]["loss"]
    assert step == {"step": model.history_[0]["step"]}
    assert calls[-1][2] == {"status": "FINISHED"}


def test_mlflow_leaves_a_run_of_the_users_open_and_marks_a_failed_one(fake_mlflow):
    module, calls, function = fake_mlflow
    with pytest.raises(isthmus.TrainingError):
        small("VAE", encoder=Breaks(4), validation_fraction=0).fit(X, callbacks=MLflow())
    assert calls[-1] == ("end_run", (), {"status": "FAILED"})
    calls.clear()
    module.active_run = function("active_run", object())
    small("VAE", epochs=1).fit(X, callbacks=MLflow())
    assert [name for name, _, _ in calls] == ["active_run", "log_params", "log_metrics"]


@pytest.mark.parametrize(("callback", "name"), [(TensorBoard("log"), "tensorboard"), (MLflow(), "mlflow")])
def test_a_missing_package_is_named(callback, name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    with pytest.raises(isthmus.InputError, match=f"pip install {name}"):
        small("VAE", epochs=1).fit(X, callbacks=callback)


# ------------------------------------------------------------------ history, verbose


def test_the_history_is_a_list_that_becomes_a_table():
    model = small("VAE", epochs=3).fit(X)
    assert isinstance(model.history_, list)
    frame = model.history_.to_frame()
    assert list(frame.index) == [1, 2, 3]
    assert list(frame["loss"]) == [record["loss"] for record in model.history_]
    assert pickle.loads(pickle.dumps(model)).history_.to_frame().equals(frame)
    assert isthmus.ProbabilisticPCA(latent_dim=2).fit(X).history_.to_frame().empty


@pytest.mark.parametrize(("verbose", "lines"), [(0, 0), (False, 0), (1, 1), (True, 1), (2, 3)])
def test_verbose_shows_nothing_a_bar_or_lines(verbose, lines, capsys):
    model = small("VAE", epochs=3, verbose=verbose).fit(X)
    shown = [line for line in capsys.readouterr().err.splitlines() if "loss" in line]
    assert len(shown) >= lines if lines == 1 else len(shown) == lines
    if verbose == 2:
        last = model.history_[-1]
        assert shown[-1].startswith(f"epoch 3/3  loss {last['loss']:.2f}  nll {last['nll']:.2f}")
        assert f"valid {last['valid_loss']:.2f}" in shown[-1]


# ------------------------------------------------------------------ a limit of time


def test_training_stops_in_time_with_the_best_weights(monkeypatch):
    clock, step = [0.0], Trainer.train_step

    def ticking(trainer):
        clock[0] += 1.0
        step(trainer)

    monkeypatch.setattr(Trainer, "train_step", ticking)
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    seen, model = Recorder(), small("VAE", epochs=1000, max_minutes=13 / 60, initialization="random")
    with pytest.warns(
        UserWarning, match="max_minutes=0.21.* ended training in epoch 3 of 1,000; .* best weights so far"
    ):
        model.fit(X, callbacks=seen)
    last = model.history_[-1]
    assert (last["step"], last["epoch"], last["out_of_time"]) == (13, 3, True)  # five updates an epoch
    assert "valid_loss" in last
    assert model.settings_["out_of_time"]
    assert seen.calls[-2:] == ["epoch 3", "end 3 out of time"]
    assert np.isfinite(model.score(X))


def test_the_time_of_an_interrupted_run_counts(tmp_path, monkeypatch):
    clock, step, made = [0.0], Trainer.train_step, []

    def ticking(trainer):
        clock[0] += 1.0
        step(trainer)
        trainer.seconds += 1.0
        made.append(trainer.step)
        if len(made) == 8:
            raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "train_step", ticking)
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    fields = {"epochs": 1000, "max_minutes": 12 / 60, "initialization": "random"}
    with pytest.raises(KeyboardInterrupt):
        setup_training(small("VAE", **fields), X).train(Checkpointer(tmp_path, every=0.0))
    clock[0] = 1e6  # the pause does not count
    with pytest.warns(UserWarning, match="ended training"):
        history = setup_training(small("VAE", **fields), X).train(Checkpointer(tmp_path, every=0.0))
    assert history[-1]["step"] in (11, 12, 13)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"max_minutes": 0}, "max_minutes must be a number > 0 or None, got 0"),
        ({"max_minutes": "1h"}, "max_minutes must be a number > 0 or None, got '1h'"),
        ({"dropout": 1}, "dropout must be below 1, got 1"),
        ({"dropout": -0.1}, "dropout must be a number >= 0, got -0.1"),
        ({"verbose": 3}, "verbose must be 0, 1 or 2, got 3"),
        ({"warm_start": 1}, "warm_start must be True or False, got 1"),
    ],
)
def test_fields_that_cannot_be(fields, message):
    with pytest.raises(isthmus.InputError, match=message):
        small("VAE", **fields).fit(X)


# ------------------------------------------------------------------ dropout


@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_dropout_is_of_the_hidden_layers_in_training_only(kind):
    x = images(shape=(16, 16)) if kind == "conv" else X
    fields = {"network": kind, "initialization": "random", "channels": (4, 4), "epochs": 1}
    model, plain = (small("VAE", dropout=p, **fields).fit(x) for p in (0.4, 0.0))
    for part in (model.model_.posterior, model.model_.likelihood):
        layers = [module for module in part.modules() if isinstance(module, nn.Dropout)]
        assert layers
        assert all(layer.p == 0.4 for layer in layers)
    assert not any(isinstance(module, nn.Dropout) for module in plain.model_.modules())
    assert list(model.model_.state_dict()) == list(plain.model_.state_dict())
    np.testing.assert_array_equal(model.transform(x), model.transform(x))
    assert not np.array_equal(model.transform(x), plain.transform(x))
    batch = model.fitted_.dataset(x).batch(torch.arange(9))
    model.model_.train()
    assert not torch.equal(model.model_.encode(batch), model.model_.encode(batch))
