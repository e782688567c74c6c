"""Laws of the flat update: torch's own Adam step for step, clipping, a stop at what is not finite, tiny moments."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from isthmus.errors import InputError
from isthmus.nets.mlp import MLP
from isthmus.objective import Player
from isthmus.train.optimizer import EMA_START_STEPS, FLUSH_INTERVAL_STEPS, OPTIMIZERS, FlatOptimizer, decayed

F32, F64 = torch.float32, torch.float64
RATE = torch.tensor(1e-2)
INF = math.inf


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


class Parts(nn.Module):
    """Parameters of many shapes, one of them 0-dimensional, one empty of gradient at times, one frozen."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))
        self.scale = nn.Parameter(torch.tensor(0.3))
        self.unused = nn.Parameter(torch.ones(2, 2))
        self.frozen = nn.Parameter(torch.ones(4), requires_grad=False)
        self.register_buffer("seen", torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        return (self.layers(x) * self.scale).square().sum()


def push(adam: FlatOptimizer, grad: Tensor, rate: Tensor = RATE) -> None:
    """One update with a gradient that is given."""
    adam.grad.copy_(grad)
    adam.step(rate)


@pytest.fixture(autouse=True, params=["_step_on_host", "_step_on_device"])
def _either_way(request, monkeypatch):
    """The update is written twice, with and without reading a number back: the laws hold for both."""
    monkeypatch.setattr(FlatOptimizer, "step", getattr(FlatOptimizer, request.param))


def flat(size: int = 6, clip: float = INF, dtype: torch.dtype = F64) -> tuple[nn.Module, FlatOptimizer]:
    module = nn.ParameterList([torch.randn(size - 2), torch.randn(2)]).to(dtype)
    return module, FlatOptimizer(module, clip)


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_equals_torchs_adam_step_for_step(weight_decay):
    ours, theirs = Parts().double(), None
    theirs = copy.deepcopy(ours)
    adam = FlatOptimizer(ours, INF, weight_decay=weight_decay)
    matrices = [theirs.layers[0].weight, theirs.layers[2].weight]
    others = [p for p in theirs.parameters() if p.requires_grad and not any(p is m for m in matrices)]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    reference = torch.optim.AdamW(groups, lr=1.0)
    for step in range(60):
        x = torch.randn(8, 5, dtype=F64)
        rate = torch.tensor(1e-2 * (1 + step % 7))
        for group in reference.param_groups:
            group["lr"] = rate.item()
        adam.zero_grad()
        ours(x).backward()
        adam.read_grad()
        adam.step(rate)
        theirs.zero_grad(set_to_none=False)
        theirs(x).backward()
        theirs.unused.grad = torch.zeros(2, 2, dtype=F64)  # one buffer holds a zero where nothing flowed
        reference.step()
        for (name, a), b in zip(ours.named_parameters(), theirs.parameters()):
            # The same formula in another order of operations.
            torch.testing.assert_close(
                a, b, rtol=1e-11, atol=1e-13, msg=lambda m, n=name, s=step: f"{n}, step {s}: {m}"
            )
    assert adam.spans[0].steps == 60
    for parameter, first, second in zip(adam.parameters, adam.views(adam.first), adam.views(adam.second)):
        index = next(i for i, p in enumerate(ours.parameters()) if p is parameter)
        state = reference.state[list(theirs.parameters())[index]]
        torch.testing.assert_close(first, state["exp_avg"], rtol=1e-11, atol=1e-13)
        torch.testing.assert_close(second, state["exp_avg_sq"], rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_equals_torchs_sgd_step_for_step(weight_decay):
    ours = Parts().double()
    theirs = copy.deepcopy(ours)
    sgd = FlatOptimizer(ours, INF, "sgd", weight_decay)
    reference = torch.optim.SGD(
        [p for p in theirs.parameters() if p.requires_grad], lr=1.0, momentum=0.9, nesterov=True
    )
    for step in range(60):
        x = torch.randn(8, 5, dtype=F64)
        rate = torch.tensor(1e-3 * (1 + step % 7))
        sgd.zero_grad()
        ours(x).backward()
        sgd.read_grad()
        sgd.step(rate)
        reference.param_groups[0]["lr"] = rate.item()
        theirs.zero_grad()
        theirs(x).backward()
        with torch.no_grad():  # torch's own decay joins the gradient
            for layer in (theirs.layers[0], theirs.layers[2]):
                layer.weight.mul_(1 - rate.item() * weight_decay)
        reference.step()
        for (name, a), b in zip(ours.named_parameters(), theirs.parameters()):
            torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-13, msg=lambda m, n=name: f"{n}: {m}")


def test_only_weights_of_hidden_layers_decay():
    network = nn.Sequential(MLP((5,), (4,), 3, linear_path=True), MLP((3,), (), 2), nn.Conv1d(2, 2, 1))
    first, last, convolution = network[0].layers[0].weight, network[0].layers[2].weight, network[2].weight
    assert [id(weight) for weight in decayed(network)] == [id(first), id(last), id(convolution)]
    with torch.no_grad():
        last.fill_(1.0)
    before = {name: value.clone() for name, value in network.named_parameters()}
    critic = nn.Linear(3, 1)
    both = nn.ModuleList([critic, network])  # a critic's weights do not decay
    before |= {f"0.{name}": value.clone() for name, value in critic.named_parameters()}
    adam = FlatOptimizer(both, weight_decay=0.5, critic=list(critic.parameters()))
    push(adam, torch.zeros_like(adam.flat))
    for name, value in network.named_parameters():
        share = 1 - 0.5 * RATE if any(value is weight for weight in decayed(network)) else 1.0
        torch.testing.assert_close(value, share * before[name])
    assert all(torch.equal(value, before[f"0.{name}"]) for name, value in critic.named_parameters())


def test_a_layer_that_computes_its_weight_does_not_decay_and_is_not_touched():
    layer = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4))
    own = nn.Module()
    own.linear_map = nn.Linear(4, 4)  # a child of this name is a layer like others
    before = {name: value.clone() for name, value in layer.named_buffers()}
    assert decayed(nn.ModuleList([layer, own])) == [own.linear_map.weight]
    assert all(torch.equal(value, before[name]) for name, value in layer.named_buffers())


@pytest.mark.parametrize("clip", [10.0, INF])
def test_gradients_of_usual_size_are_not_clipped(clip):
    (a, plain), (b, clipped) = flat(), flat(clip=clip)
    with torch.no_grad():
        clipped.flat.copy_(plain.flat)
    for _ in range(50):
        grad = torch.randn(6, dtype=F64)
        push(plain, grad)
        push(clipped, grad)
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters()))


# ------------------------------------------------------------------------------------------------------- memory


def test_parameters_are_views_of_one_buffer_while_trained_and_own_their_memory_after():
    module = Parts()
    before = [p.detach().clone() for p in module.parameters()]
    adam = FlatOptimizer(module)
    trained = [p for p in module.parameters() if p.requires_grad]
    assert adam.flat.numel() == sum(p.numel() for p in trained)
    for parameter in trained:
        assert parameter.untyped_storage().data_ptr() == adam.flat.untyped_storage().data_ptr()
    assert all(torch.equal(p, b) for p, b in zip(module.parameters(), before))  # laid out, not changed

    adam.zero_grad()
    module(torch.randn(8, 5)).backward()
    adam.read_grad()
    reached = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
    assert torch.equal(adam.grad, torch.cat([grad.flatten() for grad in reached]))
    adam.step(RATE)
    assert torch.equal(adam.flat, torch.cat([p.detach().flatten() for p in trained]))
    assert torch.equal(module.frozen, torch.ones(4))

    values = [p.detach().clone() for p in module.parameters()]
    adam.unflatten()
    assert len({p.untyped_storage().data_ptr() for p in module.parameters()}) == len(values)
    for parameter, value in zip(module.parameters(), values):
        assert torch.equal(parameter, value)
        assert parameter.grad is None
        assert parameter.untyped_storage().nbytes() == parameter.numel() * parameter.element_size()
    twin = copy.deepcopy(module)
    with torch.no_grad():
        adam.flat.fill_(7.0)
        for parameter in twin.parameters():
            parameter.zero_()
    assert all(torch.equal(p, v) for p, v in zip(module.parameters(), values))


def test_a_shared_parameter_is_laid_once():
    module = nn.ModuleList([nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)])
    module[1].weight = module[0].weight
    adam = FlatOptimizer(module)
    assert adam.flat.numel() == 9
    (module[0].weight.sum() + 2 * module[1].weight.sum()).backward()
    adam.read_grad()
    assert torch.equal(adam.grad, torch.full((9,), 3.0))
    adam.step(RATE)
    adam.unflatten()
    assert module[0].weight is module[1].weight


def test_parameters_of_several_types_and_a_clip_that_is_none_are_refused():
    mixed = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2).double()])
    with pytest.raises(InputError, match="one dtype"):
        FlatOptimizer(mixed)
    for clip in (0.0, -1.0, math.nan):
        with pytest.raises(InputError, match="clip"):
            FlatOptimizer(nn.Linear(2, 2), clip)


# -------------------------------------------------------------------------------------------------------- state


@pytest.mark.parametrize("rule", OPTIMIZERS)
@pytest.mark.parametrize("dtype", [F32, F64])
def test_state_comes_back_by_name_to_the_last_bit(dtype, rule):
    def run(module: Parts, optimizer: FlatOptimizer, steps: range) -> None:
        for step in steps:
            optimizer.zero_grad()
            x = torch.randn(8, 5, dtype=dtype, generator=torch.Generator().manual_seed(step))
            module(x * (30 if step % 11 == 7 else 1)).backward()  # now and then one that is clipped
            optimizer.read_grad()
            optimizer.step(RATE)

    whole = Parts().to(dtype)
    again = copy.deepcopy(whole)
    optimizer = FlatOptimizer(whole, rule=rule)
    run(whole, optimizer, range(20))
    state = {name: value.clone() for name, value in optimizer.state().items()}
    assert {"weight/scale", "first/scale", "second/scale", "weight/layers.0.weight"} <= set(state)
    assert state["first/layers.0.weight"].shape == (7, 5)
    assert not any("frozen" in name for name in state)
    run(whole, optimizer, range(20, 40))

    with torch.no_grad():
        for parameter in again.parameters():
            if parameter.requires_grad:
                parameter.normal_()
    resumed = FlatOptimizer(again, rule=rule)
    resumed.restore(dict(reversed(state.items())))  # by name, whatever the order
    run(again, resumed, range(20, 40))
    for name, value in optimizer.state().items():
        assert torch.equal(resumed.state()[name], value), name
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters()))


# ----------------------------------------------------------------------------------------------------- clipping


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_a_gradient_far_above_its_running_mean_is_scaled_down(size):
    clip = 5.0
    _, adam = flat(clip=clip)
    direction = torch.randn(6, dtype=F64)
    direction /= direction.norm()
    for _ in range(20):
        push(adam, size * direction)
    assert adam.spans[0].running_norm.item() == pytest.approx(size)
    first, second = adam.first.clone(), adam.second.clone()
    other = torch.randn(6, dtype=F64)
    push(adam, 1e4 * size * other)
    # 1e-6 of what is added: the factor is held in single precision.
    allowed = clip * size * other / other.norm()
    torch.testing.assert_close(adam.first, 0.9 * first + 0.1 * allowed, rtol=0, atol=1e-6 * size)
    torch.testing.assert_close(adam.second, 0.999 * second + 0.001 * allowed.square(), rtol=0, atol=1e-6 * size**2)
    # What it becomes used to is what it let through, one part in a hundred.
    assert adam.spans[0].running_norm.item() == pytest.approx(size * (1 + 0.01 * (clip - 1)), rel=1e-6)
    before = adam.first.clone()
    within = 0.99 * clip * adam.spans[0].running_norm * direction
    push(adam, within)
    torch.testing.assert_close(adam.first, 0.9 * before + 0.1 * within, rtol=0, atol=1e-12 * size)  # rounding


def test_a_lasting_change_of_size_is_learned():
    _, adam = flat(clip=2.0)
    direction = torch.ones(6, dtype=F64) / math.sqrt(6)
    push(adam, direction)
    for _ in range(1000):
        push(adam, 100 * direction)
    assert adam.spans[0].running_norm.item() == pytest.approx(100, rel=0.05)


@pytest.mark.parametrize("clip", [10.0, INF])
@pytest.mark.parametrize("dtype", [F32, F64])
def test_a_gradient_of_zero_moves_nothing_and_breaks_nothing(dtype, clip):
    _, adam = flat(clip=clip, dtype=dtype)
    before = adam.flat.clone()
    for _ in range(3):  # also as the first of all
        push(adam, torch.zeros(6, dtype=dtype))
        assert torch.equal(adam.flat, before)
    assert adam.nonfinite == 0
    push(adam, torch.ones(6, dtype=dtype))
    assert adam.nonfinite == 0
    assert adam.flat.isfinite().all()
    assert (adam.flat < before).all()
    push(adam, torch.zeros(6, dtype=dtype))
    assert adam.flat.isfinite().all()
    assert adam.first.isfinite().all()
    assert adam.spans[0].running_norm.isfinite()


# --------------------------------------------------------------------------------------------------- not finite


@pytest.mark.parametrize("clip", [10.0, INF])
@pytest.mark.parametrize("bad", [math.nan, INF, -INF])
@pytest.mark.parametrize("after", [0, 5])
def test_weights_do_not_change_after_a_non_finite_gradient(bad, after, clip):
    _, adam = flat(clip=clip, dtype=F32)
    adam.spans[0].decay = torch.full_like(adam.flat, 0.3)
    for _ in range(after):
        push(adam, torch.randn(6))
    assert adam.nonfinite == 0
    held = {name: value.clone() for name, value in adam.state().items()}  # a checkpoint may be taken any time
    grad = torch.randn(6)
    grad[4] = bad
    push(adam, grad)
    assert adam.nonfinite == 1
    for good in (torch.randn(6), torch.zeros(6), torch.ones(6)):  # finite again: too late
        push(adam, good)
        assert adam.nonfinite == 1
        assert all(torch.equal(value, held[name]) for name, value in adam.state().items())
    assert adam.spans[0].steps == after


def test_a_rate_of_zero_moves_nothing():
    _, adam = flat()
    before = adam.flat.clone()
    push(adam, torch.randn(6, dtype=F64), torch.tensor(0.0))
    assert torch.equal(adam.flat, before)


# ------------------------------------------------------------------------------------------------------ players


def game(dtype: torch.dtype = F64, clip: float = INF, player: Player | None = None) -> tuple[nn.Module, FlatOptimizer]:
    """A critic between two parts of a model."""
    module = nn.ModuleList([nn.Linear(2, 2), nn.Linear(3, 1), nn.Linear(1, 1)]).to(dtype)
    return module, FlatOptimizer(module, clip, critic=list(module[1].parameters()), player=player)


def test_each_player_has_its_own_adam_state():
    module, adam = game(player=Player(clip=INF, beta1=0.2, rate=3.0))
    twin = copy.deepcopy(module)
    assert adam.names == ("0.weight", "0.bias", "2.weight", "2.bias", "1.weight", "1.bias")
    models = torch.optim.Adam([*twin[0].parameters(), *twin[2].parameters()], lr=1e-2)
    critics = torch.optim.Adam(twin[1].parameters(), lr=3e-2, betas=(0.2, 0.999))
    for _ in range(30):
        grads = [torch.randn_like(p) for p in module.parameters()]
        for p, q, grad in zip(module.parameters(), twin.parameters(), grads):
            p.grad, q.grad = grad.clone(), grad.clone()
        adam.read_grad()
        adam.step(RATE)
        models.step()
        critics.step()
        for a, b in zip(module.parameters(), twin.parameters()):
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)  # the rate is held in single precision


def test_players_are_clipped_separately():
    _, adam = game(clip=5.0, player=Player(clip=2.0))
    model, critic = adam.spans
    ones = torch.ones(adam.flat.numel(), dtype=F64)
    for _ in range(3):
        push(adam, ones)
    first = adam.first.clone()
    n = model.flat.numel()
    grad = ones.clone()
    grad[n:] = 1e6
    norm = critic.running_norm.clone()
    push(adam, grad)
    torch.testing.assert_close(adam.first[:n], 0.9 * first[:n] + 0.1 * ones[:n])
    allowed = 2.0 * norm / math.sqrt(critic.flat.numel())
    torch.testing.assert_close(critic.first, 0.5 * first[n:] + 0.5 * allowed * ones[n:], rtol=1e-6, atol=0)
    assert model.running_norm.item() == pytest.approx(math.sqrt(n))


@pytest.mark.parametrize("player", [0, 1])
def test_a_gradient_that_is_not_finite_stops_both_players(player):
    _, adam = game(F32)
    push(adam, torch.ones_like(adam.flat))
    before = {name: value.clone() for name, value in adam.state().items()}
    grad = torch.ones_like(adam.flat)
    grad[-1 if player else 0] = math.nan
    push(adam, grad)
    assert adam.nonfinite == 1
    assert all(torch.equal(value, before[name]) for name, value in adam.state().items())


def test_the_average_leaves_the_critic_out():
    module, adam = game(F32)
    for step in range(1, 3 * EMA_START_STEPS):
        push(adam, torch.randn_like(adam.flat))
        adam.update_ema(step)
    state = {name: value.clone() for name, value in adam.state().items()}
    assert "average/1.weight" not in state
    assert "average/0.weight" in state
    with adam.averaged():
        assert torch.equal(module[1].weight, state["weight/1.weight"])
        assert torch.equal(module[0].weight, state["average/0.weight"])
        assert not torch.equal(module[0].weight, state["weight/0.weight"])
    assert all(torch.equal(value, state[name]) for name, value in adam.state().items())


# ------------------------------------------------------------------------------------------------- tiny moments


def denormal(moments: Tensor) -> Tensor:
    return (moments != 0) & (moments.abs() < torch.finfo(moments.dtype).tiny)


@pytest.fixture
def _denormals_kept():
    torch.set_flush_denormal(False)


@pytest.mark.usefixtures("_denormals_kept")
def test_flushing_leaves_no_denormals_and_moves_no_weight():
    size = 64
    (_, forgetful), (_, faithful) = flat(size, dtype=F32), flat(size, dtype=F32)
    with torch.no_grad():
        faithful.flat.copy_(forgetful.flat)
    first = torch.randn(size) * torch.logspace(0, -22, size)
    seen = False
    for step in range(1, 30 * FLUSH_INTERVAL_STEPS + 1):
        # A gradient that dies out, as that of a dead unit, beside two that live.
        grad = first if step <= 3 else torch.zeros(size)
        grad = torch.cat([torch.randn(2), grad[2:]])
        push(forgetful, grad)
        push(faithful, grad)
        if step % FLUSH_INTERVAL_STEPS == 0:
            seen |= bool(denormal(faithful.first).any())
            forgetful.flush_denormals()
            assert not denormal(forgetful.first).any()
            assert not denormal(forgetful.second).any()
            assert torch.equal(forgetful.flat, faithful.flat)
    assert seen  # there was something to forget
    assert (forgetful.first[:2] != 0).all()


@pytest.mark.usefixtures("_denormals_kept")
def test_no_moment_becomes_denormal_between_two_flushes():
    size = 400
    _, adam = flat(size, dtype=F32)
    with torch.no_grad():
        adam.first.copy_(torch.logspace(-32, -20, size))
        adam.second.copy_(torch.logspace(-37.5, -20, size))
    adam.flush_denormals()
    assert (adam.first != 0).any()
    assert (adam.first == 0).any()
    for _ in range(FLUSH_INTERVAL_STEPS):
        push(adam, torch.zeros(size))
        assert not denormal(adam.first).any()
        assert not denormal(adam.second).any()
