"""Training in bf16: what computes in it, what stays in float32, and that models come out as good."""

from __future__ import annotations

import contextlib
import json
import warnings

import numpy as np
import pytest
import torch
from torch import nn

import isthmus
from isthmus.estimators.training_setup import setup_training
from isthmus.latent_model import LatentModel
from isthmus.persistence import run_dir
from isthmus.train import mixed_precision, runtime
from isthmus.train.mixed_precision import bf16_layers, bf16_parameters, bf16_pays
from isthmus.train.optimizer import FlatOptimizer
from models import MOSTLY_GRID, NOT_BY_LIKELIHOOD, bits, counts, images, small, table

BF16 = torch.bfloat16


@pytest.fixture
def with_units(monkeypatch):
    """A processor with units for bf16, which others emulate."""
    monkeypatch.setattr(runtime, "has_bf16_units", lambda device: True)


def compose(x, **fields):
    return setup_training(small("VAE", hidden=(16, 16), **fields), x).recipe.model


@pytest.mark.parametrize(
    ("likelihood", "x", "fields", "outputs"),
    [
        ("bernoulli", bits(80, 4), {}, True),
        ("continuous_bernoulli", np.random.default_rng(0).random((80, 4)), {}, True),
        ("categorical", images(80, (4,)), {"levels": 256}, True),
        ("normal(1)", table(), {}, True),
        ("normal(0.01)", table(), {}, False),  # beside this scale a location in bf16 is off
        ("normal", table(), {}, False),  # a learned scale may become as small
        ("student_t", table(), {}, False),
        ("poisson", counts(), {}, False),  # a log-rate that is off by 0.002 of its size
        ("discretized_logistic", images(80, (4,)), {}, False),
    ],
)
def test_hidden_layers_compute_in_bf16_and_outputs_that_are_logits(likelihood, x, fields, outputs):
    model = compose(x, likelihood=likelihood, **fields)
    layers = {id(layer) for part in bf16_layers(model) for layer in part.modules()}
    encoder, decoder = model.posterior.net, model.likelihood.net
    for net, with_output in ((encoder, False), (decoder, outputs)):
        net = getattr(net, "net", net)
        dense = [layer for layer in net.layers if isinstance(layer, nn.Linear)]
        assert [id(layer) in layers for layer in dense] == [True, True, with_output]
        assert (id(net.linear_path) in layers) == with_output


def test_convolutions_compute_in_bf16_but_for_outputs_of_a_learned_scale():
    for likelihood, all_of_decoder in (("bernoulli", True), ("normal", False)):
        fields = {"network": "conv", "channels": (4, 8), "likelihood": likelihood}
        model = setup_training(
            small("VAE", **fields), bits(60, 256).reshape(60, 16, 16).astype(np.float32)
        ).recipe.model
        low = {id(p) for p in bf16_parameters(model)}
        encoder, decoder = model.posterior.net, model.likelihood.net
        assert all(id(p) in low for p in [*encoder.stages.parameters(), *decoder.inp.parameters()])
        assert not any(id(p) in low for p in encoder.out.parameters())
        assert all(id(p) in low for p in decoder.stages[-1].parameters()) == all_of_decoder


class Doubled(nn.Module):
    def forward(self, x):
        return 2 * x


def own_networks(*middle):
    torch.manual_seed(1)  # outputs of both signs: those of a decoder that are all from 0 to 1 are probabilities
    encoder = nn.Sequential(
        nn.Unflatten(1, (1, 8)),
        nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()),
        *middle,
        nn.Flatten(),
        nn.Linear(4 * 64, 2 * 2),
    )
    decoder = nn.Sequential(nn.Linear(2, 64), nn.PReLU(), nn.Unflatten(1, (1, 8, 8)), nn.ConvTranspose2d(1, 1, 1))
    return {"encoder": encoder, "decoder": nn.Sequential(decoder, nn.Flatten())}


@pytest.mark.parametrize(("likelihood", "outputs"), [("bernoulli", True), ("normal", False)])
def test_sequences_of_layers_of_torch_compute_in_bf16_too(likelihood, outputs, with_units, monkeypatch):
    x = bits(120, 64).reshape(120, 8, 8).astype(np.float32)
    fields = {"likelihood": likelihood, "latent_dim": 2, "epochs": 2, "batch_size": 16, **own_networks()}
    model = setup_training(isthmus.VAE(**fields, random_state=0), x).recipe.model
    encoder, decoder = model.posterior.net.module, model.likelihood.net.module
    low = {id(p) for p in bf16_parameters(model)}
    assert [id(layer.weight) in low for layer in (encoder[1][0], encoder[1][1], encoder[3])] == [True, False, False]
    assert [id(layer.weight) in low for layer in (decoder[0][0], decoder[0][1], decoder[0][3])] == [
        True,
        False,
        outputs,
    ]

    seen = set()
    convolve = encoder[1][0]._conv_forward
    monkeypatch.setattr(encoder[1][0], "_conv_forward", lambda x, *rest: seen.add(x.dtype) or convolve(x, *rest))
    FlatOptimizer(model, in_bf16=bf16_parameters(model))
    q = model.posterior(torch.as_tensor(x[:16]))
    assert seen == {BF16}
    assert q.mean.dtype == torch.float32

    means = {}
    for precision in ("float32", "bf16"):
        means[precision] = isthmus.VAE(**fields, precision=precision, random_state=0).fit(x).transform(x)
    assert not np.array_equal(means["float32"], means["bf16"])
    np.testing.assert_allclose(means["float32"], means["bf16"], atol=0.1)  # bf16 has three digits


def shared_weight():
    first, second = nn.Linear(64, 64), nn.Linear(64, 64)
    second.weight = first.weight
    return nn.Sequential(nn.Flatten(), first, nn.ReLU(), second, nn.Linear(64, 4))


@pytest.mark.parametrize(
    "encoder",
    [
        shared_weight(),
        nn.Sequential(nn.Flatten(), nn.utils.spectral_norm(nn.Linear(64, 32)), nn.ReLU(), nn.Linear(32, 4)),
        nn.Sequential(
            nn.Flatten(), nn.utils.parametrizations.spectral_norm(nn.Linear(64, 32)), nn.ReLU(), nn.Linear(32, 4)
        ),
    ],
)
def test_shared_weights_and_layers_with_hooks_stay_in_float32(encoder, with_units):
    x = bits(120, 64).reshape(120, 8, 8).astype(np.float32)
    fields = {"likelihood": "bernoulli", "latent_dim": 2, "epochs": 1, "encoder": encoder, "precision": "bf16"}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`torch.nn.utils.spectral_norm`", category=FutureWarning)
        assert np.isfinite(isthmus.VAE(**fields, random_state=0).fit(x).score(x))


def test_other_modules_of_the_user_stay_in_float32(with_units):
    x = bits(120, 64).reshape(120, 8, 8).astype(np.float32)
    fields = {"likelihood": "bernoulli", "latent_dim": 2, "epochs": 1, **own_networks(Doubled())}
    model = setup_training(isthmus.VAE(**fields, random_state=0), x).recipe.model
    assert bf16_layers(model) == []
    isthmus.VAE(**fields, precision="bf16", random_state=0).fit(x)


def test_weights_stay_in_float32_where_small_steps_add_up():
    net = nn.Sequential(nn.Linear(4, 4, bias=False))
    weight = net[0].weight
    with torch.no_grad():
        weight.fill_(1.0)
    optimizer = FlatOptimizer(net, rule="sgd", in_bf16=[weight])
    assert (weight.dtype, optimizer.flat.dtype) == (BF16, torch.float32)
    for _ in range(100):
        optimizer.zero_grad()
        net(torch.ones(1, 4, dtype=BF16)).sum().backward()
        optimizer.read_grad()
        optimizer.step(torch.tensor(1e-5))
    # Momentum of 0.9 sums 100 gradients of 1 to some 900 steps of 1e-5; one step is lost beside 1 in eight bits.
    assert 0.988 < optimizer.flat.min() == optimizer.flat.max() < 0.993
    assert torch.equal(weight.detach().float().reshape(-1), optimizer.flat.to(BF16).float())
    with optimizer.full_precision():
        assert weight.dtype == torch.float32
        assert torch.equal(weight.detach().reshape(-1), optimizer.flat)
    assert weight.dtype == BF16
    optimizer.unflatten()
    assert (weight.dtype, weight.grad) == (torch.float32, None)


def test_updates_compute_in_bf16_and_losses_validation_and_results_in_float32(monkeypatch, with_units):
    seen, forward = set(), LatentModel.forward

    def watched(model, batch, *args, **kwargs):
        out = forward(model, batch, *args, **kwargs)
        seen.add((model.training, model.posterior.net.layers[0].weight.dtype, out.px.log_prob(batch.x).dtype))
        return out

    monkeypatch.setattr(LatentModel, "forward", watched)
    model = small("VAE", hidden=(16, 16), precision="bf16").fit(bits(90, 6))
    assert seen == {(True, BF16, torch.float32), (False, torch.float32, torch.float32)}
    assert model.settings_["precision"] == "bf16"
    assert {p.dtype for p in model.model_.parameters()} == {torch.float32}


def curved_rows(n, seed):
    """Rows around a curved surface, of which a linear model explains a part."""
    random = np.random.default_rng(seed)
    z = random.normal(size=(n, 2))
    x = np.c_[z, np.sin(2 * z), z[:, :1] * z[:, 1:], z**2 - 1]
    return x + 0.1 * random.normal(size=x.shape)


@pytest.mark.parametrize("name", MOSTLY_GRID)
def test_a_model_trained_in_bf16_is_as_good(name, with_units):
    x, new, y = curved_rows(600, 0), curved_rows(300, 1), np.arange(900) % 2
    fields = {"hidden": (32, 32), "batch_size": 64, "learning_rate": 3e-3, "initialization": "random"}

    def score(precision, epochs=60):
        model = small(name, precision=precision, epochs=epochs, **fields)
        given = (y[:600], y[600:]) if model.conditional else (None, None)
        return model.fit(x, given[0]).score(new, given[1])

    untrained, exact, rounded = score("float32", epochs=1), score("float32"), score("bf16")
    if name in NOT_BY_LIKELIHOOD:  # after sixty epochs of a game, its rounding has grown to another state of it
        assert abs(rounded - exact) < 1.0
        return
    assert exact > untrained
    assert abs(rounded - exact) < 0.1 * (exact - untrained)  # what training gained is kept but for a tenth


def test_the_same_seed_gives_the_same_weights_in_bf16(with_units):
    a, b = (small("VAE", hidden=(16, 16), precision="bf16").fit(table()).model_.state_dict() for _ in range(2))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_auto_takes_bf16_where_layers_and_batches_are_wide(with_units):
    wide, narrow = bits(400, 300), bits(400, 30)
    fields = {"epochs": 1, "latent_dim": 2, "threads": 1, "random_state": 0}
    for x, more, expected in (
        (wide, {"hidden": (512, 512), "batch_size": 64}, "bf16"),
        (wide, {"hidden": (512, 512), "batch_size": 32}, "float32"),
        (wide, {"hidden": (256, 256), "batch_size": 64}, "float32"),
        (narrow, {"hidden": (512,), "batch_size": 64}, "float32"),
        (wide.reshape(400, 20, 15), {"network": "conv", "channels": (32,), "batch_size": 64}, "bf16"),
        (wide.reshape(400, 20, 15), {"network": "conv", "channels": (16,), "batch_size": 64}, "float32"),
        (wide * 50.0 + 1000, {"hidden": (512, 512), "scaling": "none", "likelihood": "normal"}, "float32"),
        (wide, {"hidden": (512, 512), "batch_size": 64, "precision": "float64"}, "float64"),
        (wide, {"hidden": (512, 512), "batch_size": 64, "precision": "float32"}, "float32"),
    ):
        assert setup_training(isthmus.VAE(**fields, **more), x).config.precision == expected
    assert not bf16_pays(nn.Linear(512, 512), 512)  # no network of ours


@pytest.mark.parametrize(
    ("units", "fields", "message"),
    [
        (False, {}, "this processor or GPU has none"),
        (True, {"encoder": nn.Linear(5, 4), "decoder": nn.Linear(2, 5), "latent_dim": 2}, "this model has none"),
        (True, {"hidden": ()}, "this model has none"),
    ],
)
def test_where_bf16_cannot_be_had_training_goes_on_in_float32(monkeypatch, units, fields, message):
    monkeypatch.setattr(runtime, "has_bf16_units", lambda device: units)
    with pytest.warns(UserWarning, match=message):
        model = small("VAE", precision="bf16", **fields).fit(table())
    assert model.settings_["precision"] == "float32"


def test_a_run_goes_on_in_its_precision_or_says_that_it_cannot(monkeypatch, tmp_path):
    monkeypatch.setattr(runtime, "has_bf16_units", lambda device: True)
    np.save(tmp_path / "x.npy", bits(90, 6))
    dataset = isthmus.data.read(str(tmp_path / "x.npy"))
    run_dir.start(small("VAE", hidden=(16, 16), precision="bf16"), dataset, tmp_path / "r")
    assert json.loads((tmp_path / "r" / "config.json").read_text())["settings"]["precision"] == "bf16"
    for units, expected in ((True, "bf16"), (False, "float32")):
        monkeypatch.setattr(runtime, "has_bf16_units", lambda device, units=units: units)
        with contextlib.nullcontext() if units else pytest.warns(UserWarning, match="training in float32"):
            assert run_dir.resume(tmp_path / "r").job.config.precision == expected


def test_units_are_asked_of_the_machine():
    assert isinstance(mixed_precision.has_bf16_units(torch.device("cpu")), bool)
    assert not mixed_precision.has_bf16_units(torch.device("mps"))


def test_a_closed_form_is_not_solved_in_bf16():
    with pytest.raises(isthmus.InputError, match="precision must be 'float64' or 'float32' for ProbabilisticPCA"):
        isthmus.ProbabilisticPCA(latent_dim=2, precision="bf16").fit(table())


@pytest.mark.parametrize("name", ["float16", "half", "double"])
def test_other_precisions_are_refused(name):
    with pytest.raises(isthmus.InputError, match="precision must be one of auto, bf16, float32, float64"):
        small("VAE", precision=name).fit(table())
