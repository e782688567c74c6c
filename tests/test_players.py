"""A term with a critic: two players in one backward pass, one optimizer and one checkpoint."""

from __future__ import annotations

import copy
import shutil

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import isthmus
from isthmus.objective import Objective, Player, Term, as_objective, frozen
from isthmus.schema import Schema
from isthmus.terms.bounds import kl, nll
from isthmus.train import trainer as trainer_module
from isthmus.train.checkpoint import Checkpointer
from isthmus.train.config import TrainConfig
from isthmus.train.device_data import DeviceDataset
from isthmus.train.trainer import Trainer
from isthmus.train.update import Step
from models import table
from test_training import parts

X = table().astype(np.float32)
PLAYER = Player(clip=3.0, beta1=0.3, rate=4.0)


def critic_of(inputs: int = 2) -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(inputs, 8), nn.Tanh(), nn.Linear(8, 1))


def adversarial(critic: nn.Module, player: Player = PLAYER, name: str = "game") -> Term:
    """An adversarial autoencoder's game: the critic separates draws of the prior from codes (Makhzani et al., 2016)."""

    def fool(model, batch, out):
        return F.softplus(-frozen(critic)(out.z)).mean(0).squeeze(-1)

    def tell_apart(model, batch, out):
        real, fake = torch.randn_like(out.z), out.z.detach()
        return F.softplus(-critic(real)) + F.softplus(critic(fake))

    return Term(fool, name, critic=critic, aside=tell_apart, player=player)


def objective_of(player: Player = PLAYER) -> Objective:
    return nll + 0.5 * kl + 10.0 * adversarial(critic_of(), player)


def rows_of(x: np.ndarray = X, device: str = "cpu") -> DeviceDataset:
    schema = Schema.homogeneous(event_shape=x.shape[1:], kind="real", dtype="float32")
    return DeviceDataset((x - X.mean(0)) / X.std(0), schema, device=torch.device(device), dtype=torch.float32)


def config_of(**fields) -> TrainConfig:
    return TrainConfig(**({"epochs": 4, "batch_size": 16, "learning_rate": 1e-2} | fields))


def fit(objective: Objective, model=None, **kwargs):
    model = model or parts()
    config = config_of(**kwargs.pop("config", {}))
    history = trainer_module.fit(model, rows_of(), objective, config, validation=rows_of(X[:30]), **kwargs)
    return model, history


def gradient(loss: Tensor, parameters: list[Tensor]) -> list[Tensor]:
    grads = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, grads)]


def test_one_backward_pass_gives_each_player_the_gradient_of_its_own_loss():
    objective = objective_of()
    step, batch, progress = Step(parts(), objective), rows_of().batch(torch.arange(20)), torch.tensor(0.5)
    model, critic = list(step.model.parameters()), step.critic_parameters
    assert len(critic) == 4
    torch.manual_seed(0)
    out = step.model(batch, train=True)
    total, _ = objective(step.model, batch, out, progress)
    aside = objective.asides(step.model, batch, out)
    expected = gradient(total, model) + gradient(aside, critic)
    torch.manual_seed(0)
    loss, values = step(batch, progress)
    assert step.names == ["loss", "nll", "kl", "game", "critic_loss"]
    torch.testing.assert_close(loss, total + aside)
    torch.testing.assert_close(values[0], values[1] + 0.5 * values[2])  # without the game
    torch.testing.assert_close(values[4], aside)
    for ours, theirs in zip(gradient(loss, model + critic), expected):
        torch.testing.assert_close(ours, theirs)
        assert ours.abs().sum() > 0


def test_frozen_passes_a_gradient_to_its_input_only():
    critic, x = critic_of(), torch.randn(5, 2, requires_grad=True)
    y = frozen(critic)(x)
    torch.testing.assert_close(y, critic(x))
    y.sum().backward()
    assert x.grad.abs().sum() > 0
    assert all(p.grad is None for p in critic.parameters())


def test_the_loss_that_selects_weights_leaves_the_game_out():
    model, history = fit(objective_of())
    last = history[-1]
    for prefix in ("", "valid_"):
        expected = last[f"{prefix}nll"] + 0.5 * last[f"{prefix}kl"]
        assert last[f"{prefix}loss"] == pytest.approx(expected, rel=1e-5)
    assert "critic_loss" in last
    assert "valid_game" in last
    objective = objective_of()
    trainer = Trainer(model, objective, rows_of(), config_of(), rows_of(X[:30]))
    before = trainer.validate()
    with torch.no_grad():
        for parameter in objective.critics[0].parameters():
            parameter.add_(1.0)
    after = trainer.validate()
    assert after["loss"] == before["loss"]
    assert after["game"] != before["game"]


def test_the_critic_has_its_own_settings_and_no_average():
    objective = objective_of()
    trainer = Trainer(parts(), objective, rows_of(), config_of(), None)
    model, critic = trainer.optimizer.spans
    assert (model.player.clip, model.player.beta1, model.player.rate) == (10.0, 0.9, 1.0)
    assert critic.player == PLAYER
    assert critic.flat.numel() == sum(p.numel() for p in objective.critics[0].parameters())
    trainer.prepare()
    for _ in range(60):
        trainer.train_step()
    weights = [p.detach().clone() for p in objective.critics[0].parameters()]
    models = trainer.optimizer.spans[0].flat.clone()
    with trainer.optimizer.averaged():
        assert all(torch.equal(p, w) for p, w in zip(objective.critics[0].parameters(), weights))
        assert not torch.equal(trainer.optimizer.spans[0].flat, models)
    trainer.finish()
    assert all(torch.equal(p, w) for p, w in zip(objective.critics[0].parameters(), weights))
    assert critic.steps == model.steps == 60


def test_each_player_has_its_own_learning_rate():
    start, moved = critic_of(), {}
    for rate in (0.5, 2.0):
        objective = objective_of(Player(rate=rate, clip=float("inf")))
        trainer = Trainer(parts(), objective, rows_of(), config_of(), None)
        trainer.train_step()
        pairs = zip(objective.critics[0].parameters(), start.parameters())
        moved[rate] = torch.cat([(a - b).flatten() for a, b in pairs])
    # Adam's first step is the learning rate times the gradient's sign.
    torch.testing.assert_close(moved[2.0], 4 * moved[0.5], rtol=1e-3, atol=1e-6)


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class Killed(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize(
    "compiled", [False, *([pytest.param(True, marks=pytest.mark.grid)] if shutil.which("g++") else [])]
)
def test_a_game_resumes_to_the_last_bit(tmp_path, compiled):
    config = {"compile": compiled}
    whole = objective_of()
    model, history = fit(whole, config=config)
    saved = 0

    class Dying(Checkpointer):
        def save(self, trainer):
            nonlocal saved
            super().save(trainer)
            saved += 1
            if saved == 7:
                raise Killed

    (tmp_path / "run").mkdir()
    with pytest.raises(Killed):
        fit(objective_of(), checkpointer=Dying(tmp_path / "run", every=0.0), config=config)
    resumed = objective_of()
    again, records = fit(resumed, checkpointer=Checkpointer(tmp_path / "run", every=1e9), config=config)
    assert same(model.state_dict(), again.state_dict())
    assert same(whole.state_dict(), resumed.state_dict())
    assert not same(whole.state_dict(), objective_of().state_dict())
    for a, b in zip(history, records):
        assert {k: v for k, v in a.items() if k != "seconds"} == {k: v for k, v in b.items() if k != "seconds"}


@pytest.mark.skipif(shutil.which("g++") is None, reason="compilation needs a C++ compiler")
@pytest.mark.grid
def test_a_compiled_game_is_the_eager_one():
    runs = []
    for compiled in (False, True):
        objective = objective_of()
        model, history = fit(objective, config={"compile": compiled})
        runs.append({**model.state_dict(), **objective.state_dict()})
        assert history[-1]["critic_loss"] > 0
    # The same random numbers and operations; fused ones round differently in the last digits.
    for name, value in runs[0].items():
        torch.testing.assert_close(value, runs[1][name], rtol=1e-3, atol=1e-4)


def test_terms_without_a_critic_train_as_before_beside_one_of_weight_zero():
    alone, _ = fit(nll + 0.5 * kl)
    critic = critic_of()
    blind = Term(lambda model, batch, out: 0.0 * out.z.sum(-1).mean(0), "game", critic=critic)
    beside, _ = fit(nll + 0.5 * kl + 0.0 * blind)
    for a, b in zip(alone.state_dict().values(), beside.state_dict().values()):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_losses_that_train_the_other_player_are_refused():
    critic = critic_of()
    leaking = Term(lambda m, b, out: critic(out.z).mean(0).squeeze(-1), "game", critic=critic)
    with pytest.raises(isthmus.InputError, match=r"'game' must hold the critic fixed.*frozen\(critic\)"):
        fit(nll + kl + leaking)
    good = adversarial(critic)
    attached = Term(good.fn, "game", critic=critic, aside=lambda m, b, out: critic(out.z))
    with pytest.raises(isthmus.InputError, match="must hold the model fixed"):
        fit(nll + kl + attached)


def test_there_are_exactly_two_players():
    one, other = critic_of(), critic_of()
    both = nll + adversarial(one, name="a") + adversarial(other, name="b")
    assert len(Step(parts(), both).critic_parameters) == 8
    assert both.player == PLAYER
    differing = nll + adversarial(one, name="a") + adversarial(other, Player(), name="b")
    with pytest.raises(isthmus.InputError, match="must share one player"):
        fit(differing)
    with pytest.raises(isthmus.InputError, match="without a critic"):
        fit(as_objective(adversarial(one)))
    for fields in ({"clip": 0.0}, {"beta1": 1.0}, {"rate": 0.0}):
        with pytest.raises(isthmus.InputError, match=next(iter(fields))):
            Player(**fields)


def test_an_aside_without_a_critic_trains_the_model():
    target = torch.full((2,), 3.0)

    def pull(model, batch, out):
        return (out.q.mean.mean(0) - target).square().sum()

    alone, _ = fit(as_objective(nll))
    pulled, history = fit(as_objective(Term(nll.fn, "nll", aside=pull)))
    assert history[-1]["critic_loss"] < history[0]["critic_loss"]
    assert not same(alone.state_dict(), pulled.state_dict())
    assert copy.copy(2.0 * Term(nll.fn, "nll", aside=pull)).aside is pull  # weighting leaves the aside alone
