"""Draws come from streams of our own; what must use torch's global generator is fenced and said."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

import isthmus
from isthmus import random_streams
from isthmus.diagnosis.code_value import code_value
from isthmus.priors import StandardNormal
from isthmus.random_streams import Recorder, Replay, Stream, drawing_from, is_ours, seeded
from isthmus.train.user_threads import user_threads_run
from models import small, table


class NoisyPrior(StandardNormal):
    """A prior of a user's own, which draws by torch's own functions."""

    def forward(self, c=None, mask=None, posterior=None):
        return torch.distributions.Independent(torch.distributions.Normal(self.zero, torch.ones_like(self.zero)), 1)


def dropping() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 16), nn.Dropout(0.5), nn.ReLU(), nn.Linear(16, 6))


def test_own_draws_equal_torchs_from_the_same_seed():
    torch.manual_seed(3)
    wanted = torch.randn(40), torch.rand(7), torch.poisson(torch.full((5,), 3.0))
    like = torch.zeros(())
    with seeded(3):
        drawn = random_streams.normal((40,), like), random_streams.uniform((7,), like)
        counts = torch.poisson(torch.full((5,), 3.0), generator=random_streams.generator(like.device))
    assert all(torch.equal(a, b) for a, b in zip(wanted, (*drawn, counts)))


FOREIGN = {
    "normal": lambda: torch.distributions.Normal(torch.zeros(5), 1.0).sample((3,)),
    "gamma": lambda: torch.distributions.Gamma(torch.full((5,), 2.0), 1.0).sample(),
    "dirichlet": lambda: torch.distributions.Dirichlet(torch.ones(4)).sample(),
    "categorical": lambda: torch.distributions.Categorical(torch.ones(9)).sample((30,)),
    "exponential": lambda: torch.distributions.Exponential(torch.ones(5)).sample(),
    "bernoulli": lambda: torch.distributions.Bernoulli(torch.full((30,), 0.5)).sample(),
    "like": lambda: torch.randn_like(torch.zeros(6)) + torch.rand_like(torch.zeros(6)),
    "permutation": lambda: torch.randperm(20),
    "integers": lambda: torch.randint(0, 100, (20,)),
    "layer": lambda: nn.Linear(4, 3).weight.detach(),
    "convolution": lambda: nn.Conv2d(2, 3, 3).weight.detach(),
    "recurrent": lambda: nn.GRU(3, 4).weight_hh_l0.detach(),
    "embedding": lambda: nn.Embedding(5, 3).weight.detach(),
    "orthogonal": lambda: nn.init.orthogonal_(torch.empty(4, 4)),
    "truncated": lambda: nn.init.trunc_normal_(torch.empty(9)),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_torchs_own_functions_draw_from_the_stream_and_leave_the_global_generator(kind):
    before = torch.get_rng_state()
    draws = []
    for seed in (0, 0, 1):
        with seeded(seed):
            draws.append(FOREIGN[kind]())
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_recorded_draws_are_replayed_in_order():
    like = torch.zeros((), dtype=torch.float64)

    def function():
        return (
            random_streams.normal((3,), like),
            random_streams.words(2, like.device),
            random_streams.uniform((4,), like),
        )

    recorder = Recorder()
    with drawing_from(recorder):
        function()
    with drawing_from(Stream(5)):
        tensors = [random_streams.draw_now(draw) for draw in recorder.draws]
    with drawing_from(Replay(tensors)):
        replayed = function()
    with drawing_from(Stream(5)):
        drawn = function()
    assert all(torch.equal(a, b) for a, b in zip(replayed, drawn))


@pytest.mark.parametrize("name", ["sample", "reconstruct", "score_samples"])
def test_models_with_a_prior_of_ones_own_repeat_and_leave_the_global_generator(name):
    x = table()
    model = small("VAE", prior=NoisyPrior(3)).fit(x)
    assert not is_ours(model.model_)
    arguments = {"sample": {"n": 20, "random_state": 1}, "score_samples": {"X": x, "draws": 5}}.get(name, {"X": x})
    before = torch.get_rng_state()
    one, two = (getattr(model, name)(**arguments) for _ in range(2))
    assert np.array_equal(one, two)
    assert torch.equal(torch.get_rng_state(), before)


class Noisy(nn.Module):
    """A network that draws whenever it is used."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.net = nn.Linear(inputs, outputs)

    def forward(self, x):
        y = self.net(x)
        return y + torch.rand_like(y)


USES = {
    "transform": lambda model, x: model.transform(x),
    "draws": lambda model, x: model.transform(x, draws=3, random_state=0),
    "posterior_of": lambda model, x: model.posterior_of(x).mean,
    "reconstruct": lambda model, x: model.reconstruct(x),
    "inverse_transform": lambda model, x: model.inverse_transform(x[:, :3]),
    "score_samples": lambda model, x: model.score_samples(x, draws=20),
    "per feature": lambda model, x: model.score_samples(x, draws=20, per_feature=True),
    "elbo": lambda model, x: model.elbo(x, draws=20),
    "sample": lambda model, x: model.sample(5, random_state=0),
}


@pytest.mark.parametrize("use", USES)
def test_networks_of_ones_own_that_draw_repeat_and_leave_the_global_generator(use):
    x = table(200)
    model = small("VAE", encoder=Noisy(5, 6), decoder=Noisy(3, 5), latent_dim=3, epochs=1).fit(x)
    state = torch.get_rng_state()
    one = USES[use](model, x)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(3)
    assert np.array_equal(one, USES[use](model, x))


def test_diagnosing_wrapped_networks_repeats_and_leaves_the_global_generator():
    x = table(100).astype(np.float32)
    wrapped = isthmus.wrap(nn.Linear(5, 6), nn.Linear(3, 5), likelihood="mse")
    state = torch.get_rng_state()
    wrapped.diagnose(x)
    assert torch.equal(torch.get_rng_state(), state)
    small_rows = x / np.abs(x).max(0)
    fitted = wrapped.on(small_rows)
    one = code_value(fitted, fitted.check(small_rows))
    torch.rand(3)
    assert one == code_value(fitted, fitted.check(small_rows))


def test_dropout_in_a_users_network_is_fenced_and_said_in_threads():
    x = np.random.default_rng(0).normal(size=(90, 8))
    model = small("VAE", encoder=dropping(), latent_dim=3)
    state = torch.get_rng_state()
    one = model.fit(x).model_.state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(5)
    two = model.fit(x).model_.state_dict()
    assert all(torch.equal(one[key], two[key]) for key in one)
    with ThreadPoolExecutor(1) as pool, pytest.warns(UserWarning, match="global random generator"):
        pool.submit(model.fit, x).result()


@contextlib.contextmanager
def another_thread(target, daemon=False):
    """A thread that runs `target(stop)` until the context ends."""
    stop = threading.Event()
    thread = threading.Thread(target=target, args=(stop,), daemon=daemon)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def draws(stop):
    while not stop.is_set():
        torch.rand(5)
        time.sleep(0.001)


@pytest.mark.parametrize("daemon", [False, True])
def test_dropout_beside_a_thread_that_draws_is_said(daemon):
    model = small("VAE", encoder=dropping(), latent_dim=3)
    x = np.random.default_rng(0).normal(size=(90, 8))
    with another_thread(draws, daemon), pytest.warns(UserWarning, match="global random generator"):
        model.fit(x)


def test_another_fit_is_a_thread_of_the_users():
    with ThreadPoolExecutor(1) as pool:
        fit = pool.submit(small("VAE", epochs=50).fit, table())
        assert any(user_threads_run() for _ in iter(fit.done, True))
        fit.result()
        assert not user_threads_run()


@pytest.mark.parametrize(
    ("encoder", "target"),
    [(dropping(), threading.Event.wait), (dropping(), lambda stop: stop.wait()), (nn.Linear(8, 6), draws)],
    ids=["a thread of a library", "a thread that waits", "no draws in the network"],
)
def test_threads_that_change_no_draw_are_not_warned_of(encoder, target):
    x = np.random.default_rng(0).normal(size=(90, 8))
    with another_thread(target), ThreadPoolExecutor(1) as pool, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        pool.submit(int).result()  # a worker that waits
        small("VAE", encoder=encoder, latent_dim=3).fit(x)
    assert not [each for each in said if "global random generator" in str(each.message)]


@pytest.mark.skipif(shutil.which("g++") is None, reason="compilation needs a C++ compiler")
@pytest.mark.grid
@pytest.mark.parametrize("encoder", [None, dropping()], ids=["ours", "dropout"])
def test_compiled_draws_are_the_eager_ones(encoder):
    x = np.random.default_rng(0).normal(size=(90, 8))
    fits = [
        small("VAE", encoder=encoder, corruption="mask(0.2)", compile=compiled, random_state=4).fit(x)
        for compiled in (False, True)
    ]
    losses = [[record["loss"] for record in fit.history_] for fit in fits]
    # The same noise and masks: the two differ by rounding alone, which four epochs do not enlarge.
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)
