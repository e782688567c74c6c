"""A recorded update makes the same numbers as one that runs the modules, to the last bit."""

import numpy as np
import pytest
import torch
from torch import nn

import isthmus
from isthmus.batch import Batch
from isthmus.conditional import Conditional
from isthmus.distributions.continuous import Normal
from isthmus.families import DiagonalNormal, LocationScale
from isthmus.latent_model import LatentModel
from isthmus.objective import Schedule, Term, warmup
from isthmus.priors import StandardNormal
from isthmus.random_streams import Stream, drawing_from, normal
from isthmus.terms.bounds import kl, nll
from isthmus.train import recorded_step
from isthmus.train.recorded_step import CannotRecord, RecordedStep
from isthmus.train.update import Step, Update
from models import DATA, MOSTLY_GRID, small, table


def rows(seed: int, n: int = 6) -> Batch:
    return Batch(torch.randn(n, 4, generator=torch.Generator().manual_seed(seed)))


def recorded_and_eager(step, parameters, batch: Batch):
    """Gradients and values of a step recorded on other rows, and of the step itself."""
    recorded = RecordedStep(step, parameters, rows(seed=9))
    grads = recorded(batch)
    loss, values = step(batch)
    return (grads, recorded.values), (torch.autograd.grad(loss, parameters, allow_unused=True), values)


def assert_same(step, parameters) -> None:
    for seed in range(3):
        ours, expected = recorded_and_eager(step, parameters, rows(seed))
        for mine, right in zip([*ours[0], *ours[1]], [*expected[0], *expected[1]], strict=True):
            assert (mine is None) == (right is None)
            assert right is None or torch.equal(mine, right)


@pytest.mark.parametrize("name", MOSTLY_GRID)
@pytest.mark.parametrize(
    "kind", [kind if kind == "table" else pytest.param(kind, marks=pytest.mark.grid) for kind in DATA]
)
def test_every_model_is_recorded_and_trained_to_the_same_weights(name, kind, monkeypatch):
    X = DATA[kind]()
    with monkeypatch.context() as patch:
        patch.setattr(Update, "_can_be_recorded", lambda self: False)
        eager = small(name, epochs=3).fit(X)

    def unrecorded(self, index):
        raise AssertionError("the update was not recorded")

    monkeypatch.setattr(Update, "_eager", unrecorded)
    recorded = small(name, epochs=3).fit(X)
    ours, expected = recorded.model_.state_dict(), eager.model_.state_dict()
    assert all(torch.equal(ours[key], expected[key]) for key in expected)
    for mine, right in zip(recorded.history_, eager.history_, strict=True):
        assert {k: v for k, v in mine.items() if k != "seconds"} == {k: v for k, v in right.items() if k != "seconds"}


def test_views_lists_several_results_and_parameters_without_a_part():
    weight, unused = nn.Parameter(torch.randn(4, 3)), nn.Parameter(torch.ones(2))

    def step(batch):
        h = (batch.x @ weight).t().unsqueeze(0)
        first, second, third = h.squeeze(0).unbind(0)
        top, _ = torch.stack((first, second)).max(0)
        parts = torch._foreach_mul((top, third), 2.0)
        loss = nn.functional.layer_norm(torch.cat(parts)[None], (2 * len(top),)).pow(3).mean() + parts[1].var()
        return loss, [loss, parts[0].sum()]

    assert_same(step, [weight, unused])


def test_numbers_that_are_the_same_in_every_step_are_computed_once_unless_they_are_written_to():
    weight = nn.Parameter(torch.randn(4))

    def step(batch):
        ramp = torch.arange(4.0).cumsum(0)
        sums = torch.zeros(4).index_add(0, torch.tensor([0, 0, 1, 3]), batch.x[0])
        total = torch.zeros(4)
        total += batch.x[1]
        total.mul_(ramp)
        loss = (weight * (ramp + sums + total)).sum()
        return loss, [loss]

    assert_same(step, [weight])
    recorded = RecordedStep(step, [weight], rows(0))
    names = [getattr(call, "func", call).__name__ for call in recorded.calls]
    assert not any("arange" in name or "cumsum" in name for name in names)


def test_buffers_that_move_and_second_derivatives():
    norm, layer = nn.BatchNorm1d(4), nn.Linear(4, 2)
    before = {name: buffer.clone() for name, buffer in norm.named_buffers()}

    def step(batch):
        x = batch.x.requires_grad_()
        out = layer(norm(x)).tanh()
        (slope,) = torch.autograd.grad(out.sum(), x, create_graph=True)
        loss = out.square().mean() + slope.square().mean()
        return loss, [loss]

    parameters = [*norm.parameters(), *layer.parameters()]
    recorded = RecordedStep(step, parameters, rows(9))
    moved = []
    for run in (recorded, lambda batch: torch.autograd.grad(step(batch)[0], parameters)):
        norm.load_state_dict(before, strict=False)
        grads = [torch.stack([grad.sum() for grad in run(rows(seed))]) for seed in range(3)]
        moved.append([torch.stack(grads), *(buffer.clone() for buffer in norm.buffers())])
    assert int(moved[0][-1]) == 3
    assert all(map(torch.equal, *moved))


def test_every_update_draws_new_numbers_in_the_same_order():
    weight = nn.Parameter(torch.ones(4))

    def step(batch):
        loss = (weight * normal(batch.x.shape, batch.x) * normal(batch.x.shape, batch.x).exp()).sum()
        return loss, [loss]

    stream = Stream(3)
    with drawing_from(stream):
        recorded = RecordedStep(step, [weight], rows(0))
        states = stream.state(torch.device("cpu"))
        ours = [recorded(rows(0))[0].clone() for _ in range(3)]
        stream.restore(states, torch.device("cpu"))
        expected = [torch.autograd.grad(step(rows(0))[0], weight)[0] for _ in range(3)]
    assert torch.equal(torch.stack(ours), torch.stack(expected))
    assert not torch.equal(ours[0], ours[1])


def test_a_step_that_reads_its_numbers_is_not_recorded():
    weight = nn.Parameter(torch.ones(4))

    def step(batch):
        loss = (weight * batch.x).sum()
        return (loss if loss > 0 else -loss), [loss]

    def chosen(batch):
        loss = (weight * batch.x)[batch.x > 0].sum()
        return loss, [loss]

    for depends in (step, chosen):
        with pytest.raises(CannotRecord, match="depends on the numbers of a batch"):
            RecordedStep(depends, [weight], rows(0))


def test_a_step_with_large_results_is_not_recorded_and_trains_as_it_is(monkeypatch):
    X = table()
    recorded = small("VAE", epochs=2).fit(X)
    monkeypatch.setattr(recorded_step, "MAX_RECORDED_BYTES", 1000)
    calls = []
    monkeypatch.setattr(RecordedStep, "__call__", lambda self, batch: calls.append(batch))
    np.testing.assert_array_equal(small("VAE", epochs=2).fit(X).transform(X), recorded.transform(X))
    assert not calls


def plain() -> nn.Sequential:
    return nn.Sequential(nn.Linear(5, 4), nn.ReLU())


def forward_hook(net, seen):
    net[0].register_forward_hook(lambda *arguments: seen.append(1))


def backward_hook(net, seen):
    net[0].register_full_backward_hook(lambda *arguments: seen.append(1))


def replaced_forward(net, seen):
    layer = net[0]
    layer.forward = lambda x: seen.append(1) or nn.functional.linear(x, layer.weight, layer.bias)


def latent_model(encoder):
    likelihood = Conditional(nn.Linear(2, 5), LocationScale(Normal, (5,)))
    return LatentModel(Conditional(encoder, DiagonalNormal((2,))), likelihood, StandardNormal(2))


@pytest.mark.parametrize("change", [forward_hook, backward_hook, replaced_forward])
def test_code_of_others_in_a_network_is_run_at_every_update(change):
    net, seen = plain(), []
    change(net, seen)
    isthmus.fit(latent_model(net), table(), nll + kl, epochs=3, batch_size=30)
    assert len(seen) >= 9


def weight_of(seen):
    return nll + Schedule(lambda progress: seen.append(1) or progress) * kl


def factor_of(seen):
    return nll + warmup(0.5) * Schedule(lambda progress: seen.append(1) or progress) * kl


def aside_of(seen):
    return Term(nll.fn, "nll", aside=lambda model, batch, out: seen.append(1) or 0.0 * out.z.sum()) + kl


def own_term(seen):
    return Term(lambda model, batch, out: seen.append(1) or -out.elbo, "loss")


@pytest.mark.parametrize("objective", [weight_of, factor_of, aside_of, own_term])
def test_code_of_others_in_a_loss_is_run_at_every_update(objective):
    seen = []
    isthmus.fit(latent_model(plain()), table(), objective(seen), epochs=3, batch_size=30)
    assert len(seen) >= 9


def test_operations_that_write_and_return_new_results_too():
    weight, mean, var = nn.Parameter(torch.randn(4)), torch.zeros(4), torch.ones(4)

    def step(batch):
        out, *_ = torch.ops.aten._native_batch_norm_legit(batch.x, weight, None, mean, var, True, 0.1, 1e-5)
        loss = out.pow(3).sum()
        return loss, [loss]

    assert_same(step, [weight])


def test_results_that_cannot_be_written_into_place_are_copied_up_to_a_size(monkeypatch):
    weight = nn.Parameter(torch.randn(4, 1, 3))

    def step(batch):
        loss = nn.functional.conv1d(batch.x[:, None], weight).square().sum()
        return loss, [loss]

    assert_same(step, [weight])
    monkeypatch.setattr(recorded_step, "MAX_COPIED_BYTES", 16)
    with pytest.raises(CannotRecord, match="cannot write their results into place"):
        RecordedStep(step, [weight], rows(0))


def test_a_step_that_reads_numbers_past_torch_is_not_recorded(monkeypatch):
    """Such as by NumPy: its replay on other rows gives other numbers, and the run is the eager one."""
    forward = Step.forward

    def scaled(self, batch, progress, train=True):
        loss, values = forward(self, batch, progress, train)
        return loss * float(batch.x.numpy().std()), values

    monkeypatch.setattr(Step, "forward", scaled)
    X, calls, call = table(), [], RecordedStep.__call__
    monkeypatch.setattr(RecordedStep, "__call__", lambda self, batch: calls.append(1) or call(self, batch))
    ours = small("VAE", epochs=3).fit(X).transform(X)
    assert len(calls) == 1
    monkeypatch.setattr(Update, "_can_be_recorded", lambda self: False)
    np.testing.assert_array_equal(small("VAE", epochs=3).fit(X).transform(X), ours)


def test_a_recording_that_fails_leaves_buffers_and_random_numbers_as_they_were(monkeypatch):
    X, fields = table(), {"sparsity": "top_k(2)", "corruption": "gaussian(0.1)", "epochs": 3}
    recorded = small("SparseAutoencoder", **fields).fit(X)
    monkeypatch.setattr(recorded_step, "MAX_RECORDED_BYTES", 20_000)
    other = small("SparseAutoencoder", **fields).fit(X)
    ours, expected = other.model_.state_dict(), recorded.model_.state_dict()
    assert all(torch.equal(ours[key], expected[key]) for key in expected)


def test_a_recording_lives_no_longer_than_its_fit():
    import gc
    import weakref

    seen, prepare = [], Update.prepare

    def noted(self, *arguments):
        prepare(self, *arguments)
        seen.append(weakref.ref(self))

    gc.disable()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Update, "prepare", noted)
            small("VAE", epochs=1).fit(table())
        assert seen[0]() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("name", "fields", "fit"),
    [
        ("VAE", {"weight_decay": 0.1, "warmup": 0.5}, {"sample_weight": np.linspace(0.5, 2, 90)}),
        ("VAE", {"optimizer": "sgd", "weight_decay": 0.1, "learning_rate": 1e-3}, {}),
        ("VAE", {"precision": "bf16"}, {}),
        ("VAE", {"precision": "float64", "prior": "mixture(3)"}, {}),
        ("ConditionalVAE", {"prior": "conditional"}, {"condition": np.arange(90) % 3}),
        ("IWAE", {"likelihood": "student_t"}, {}),
    ],
)
def test_settings_of_training_leave_a_recorded_run_equal_to_the_eager_one(name, fields, fit, monkeypatch):
    X = table()
    with monkeypatch.context() as patch:
        patch.setattr(Update, "_can_be_recorded", lambda self: False)
        eager = small(name, epochs=3, **fields).fit(X, **fit)

    def unrecorded(self, index):
        raise AssertionError("the update was not recorded")

    monkeypatch.setattr(Update, "_eager", unrecorded)
    recorded = small(name, epochs=3, **fields).fit(X, **fit)
    ours, expected = recorded.model_.state_dict(), eager.model_.state_dict()
    assert all(torch.equal(ours[key], expected[key]) for key in expected)
