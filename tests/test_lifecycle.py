"""What modules may ask of training: hooks before and after it, averaged buffers, whether a pass trains."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import isthmus
from isthmus.latent_model import LatentModel
from isthmus.objective import Term
from isthmus.terms.bounds import kl, nll
from isthmus.train import trainer as trainer_module
from isthmus.train.checkpoint import Checkpointer
from isthmus.train.optimizer import EMA_START_STEPS, FlatOptimizer
from models import small, table
from test_players import Killed, config_of, rows_of, same
from test_training import parts

X = table().astype(np.float32)


class Recorder(nn.Module):
    """A linear layer that records when its hooks are called."""

    def __init__(self, inputs: int = 5, outputs: int = 4):
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.register_buffer("noise", torch.zeros(3))
        self.calls: list[str] = []

    def forward(self, x):
        return self.linear(x)

    def begin(self, rows, seed):
        self.calls.append(f"begin {len(rows)} {seed}")
        self.before = self.linear.weight.detach().clone()
        self.noise.copy_(torch.randn(3))

    def finish(self, model, rows, seed):
        assert isinstance(model, LatentModel)
        self.calls.append(f"finish {len(rows)} {seed}")
        self.after = self.linear.weight.detach().clone()
        torch.randn(7)


def recording(**kwargs) -> tuple[LatentModel, Recorder]:
    torch.manual_seed(3)
    model = parts()
    recorder = Recorder(**kwargs)
    with torch.no_grad():
        recorder.linear.weight.copy_(torch.randn_like(recorder.linear.weight) / 3)
    model.posterior.net = Wrapped(recorder)
    return model, recorder


class Wrapped(nn.Module):
    """A network that ignores the condition and the mask."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, x, *args):
        return self.net(x)


def test_hooks_are_called_before_the_first_step_and_after_the_best_weights_were_loaded():
    model, recorder = recording()
    first = recorder.linear.weight.detach().clone()
    isthmus.fit(model, X, nll + kl, epochs=2, random_state=5, threads=1)
    assert recorder.calls == ["begin 90 5", "finish 90 5"]
    assert torch.equal(recorder.before, first)
    assert torch.equal(recorder.after, recorder.linear.weight)
    assert not torch.equal(recorder.after, first)


def test_estimators_call_the_hooks_of_networks_too():
    model = small("VAE", encoder=Recorder(5, 6), epochs=1, validation_fraction=0).fit(X)
    recorder = next(m for m in model.model_.modules() if isinstance(m, Recorder))
    assert [call.split()[0] for call in recorder.calls] == ["begin", "finish"]


def test_terms_have_hooks_and_a_module_in_two_places_is_called_once():
    model, recorder = recording()
    term = Term(lambda m, b, out: 0.0 * out.z.sum(-1).mean(0), "silent")
    term.shared, term.own = recorder, Recorder()
    isthmus.fit(model, X, nll + kl + term, epochs=1, threads=1)
    assert len(recorder.calls) == len(term.own.calls) == 2


def test_hooks_do_not_move_the_random_numbers_of_training():
    weights = []
    for silent in (False, True):
        model, recorder = recording()
        if silent:
            recorder.begin = recorder.finish = None
        isthmus.fit(model, X, nll + kl, epochs=2, threads=1)
        weights.append({k: v for k, v in model.state_dict().items() if "noise" not in k})
    assert same(*weights)


def test_finish_is_not_called_when_training_breaks_off(tmp_path):
    model, recorder = recording()
    bad = Term(lambda m, b, out: out.z.sum(-1).mean(0) * float("nan"), "bad")
    with pytest.raises(isthmus.TrainingError, match="'bad' is not finite"):
        isthmus.fit(model, X, nll + bad, epochs=1, threads=1)
    assert [call.split()[0] for call in recorder.calls] == ["begin"]


class Moving(nn.Module):
    """A batch statistic that moves in training, and asks for a running average."""

    averaged_buffers = ("level",)

    def __init__(self):
        super().__init__()
        self.register_buffer("level", torch.zeros(()))
        self.register_buffer("plain", torch.zeros(()))

    def forward(self, model, batch, out):
        if out.z.requires_grad:
            self.level.add_(1.0)
            self.plain.add_(1.0)
        return 0.0 * out.z.sum(-1).mean(0)


def test_buffers_that_ask_join_the_running_average():
    module = nn.Sequential(nn.Linear(2, 2), Moving())
    adam, moving = FlatOptimizer(module), module[1]
    for step in range(1, 2 * EMA_START_STEPS + 1):
        moving.level.fill_(step)
        moving.plain.fill_(step)
        adam.update_ema(step)
    now = moving.level.item()
    assert {"average/1.level", "average/0.weight"} <= set(adam.state())
    assert "average/1.plain" not in adam.state()
    with adam.averaged():
        assert 0.5 * now < moving.level.item() < now
        assert moving.plain.item() == now
    assert moving.level.item() == now
    moving.averaged_buffers = ("count",)
    moving.register_buffer("count", torch.zeros(2, dtype=torch.int64))
    with pytest.raises(isthmus.InputError, match="must name float buffers"):
        FlatOptimizer(module)


def train(tmp_path, after: int | None = None) -> tuple[dict, Moving]:
    moving = Moving()
    model = parts()

    class Dying(Checkpointer):
        def save(self, trainer):
            super().save(trainer)
            if trainer.step == after:
                raise Killed

    keeper = Dying(tmp_path, every=0.0 if after else 1e9)
    objective = nll + kl + Term(moving, "moving")
    trainer_module.fit(model, rows_of(), objective, config_of(epochs=20), checkpointer=keeper)
    return model.state_dict(), moving


def test_averaged_buffers_resume_to_the_last_bit_and_end_with_their_average(tmp_path):
    for name in ("whole", "broken"):
        (tmp_path / name).mkdir()
    weights, moving = train(tmp_path / "whole")
    with pytest.raises(Killed):
        train(tmp_path / "broken", after=77)
    resumed, again = train(tmp_path / "broken")
    assert same(weights, resumed)
    assert same(moving.state_dict(), again.state_dict())
    assert moving.plain.item() == 100
    assert 50 < moving.level.item() < 100


class PassRecorder(LatentModel):
    """Records whether each pass was one of training."""

    def forward(self, batch, draws=1, train=False):
        self.passes.append(train)
        return super().forward(batch, draws, train=train)


def test_the_model_receives_whether_a_pass_trains():
    base = parts()
    model = PassRecorder(base.posterior, base.likelihood, base.prior)
    model.passes = []
    isthmus.fit(model, X[:60], nll + kl, validation=X[60:], epochs=2, batch_size=20, threads=1)
    # After a pass that counts operations: three updates and a validation pass an epoch.
    assert model.passes == [False] + [True, True, True, False] * 2
