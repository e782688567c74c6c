"""What training promises beside the laws."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import isthmus
from isthmus.batch import Batch
from isthmus.conditional import Conditional
from isthmus.distributions.continuous import Normal
from isthmus.estimators.training_setup import flops_per_row, setup_training
from isthmus.families import DiagonalNormal, LocationScale
from isthmus.latent_model import LatentModel
from isthmus.nets.mlp import MLP
from isthmus.objective import as_objective
from isthmus.priors import StandardNormal
from isthmus.schema.columns import MAX_SCALED
from isthmus.terms.bounds import kl, nll
from isthmus.train.checkpoint import Checkpointer
from isthmus.train.optimizer import EMA_START_STEPS, FlatOptimizer
from isthmus.train.runtime import count_flops
from isthmus.train.trainer import Trainer
from models import images, small, table
from test_bad_input import Breaks

X = table()


def test_after_a_failed_run_the_last_good_weights_can_be_used():
    model = small("VAE", encoder=Breaks(4), validation_fraction=0)
    with pytest.raises(isthmus.TrainingError):
        model.fit(X)
    assert np.isfinite(model.inverse_transform(np.zeros((2, 3)))).all()


def test_a_non_finite_batch_does_not_change_the_threshold():
    rule = isthmus.SparseAutoencoder(latent_dim=8, sparsity="batch_top_k(2)", epochs=1, random_state=0).fit(X)
    rule = rule.model_.posterior.family.rule.train()
    before = rule.threshold.clone()
    rule(torch.full((5, 8), float("nan")))
    assert torch.equal(rule.threshold, before)


def parts(width: int = 5, condition: int = 0) -> LatentModel:
    torch.manual_seed(0)
    return LatentModel(
        Conditional(MLP((width,), (8,), 4, condition=condition), DiagonalNormal((2,))),
        Conditional(MLP((2,), (8,), width, condition=condition), LocationScale(Normal, (width,))),
        StandardNormal(2),
    )


def test_a_model_made_by_hand_trains_with_rows_kept_aside():
    x, c = X.astype(np.float32), np.eye(3)[np.arange(90) % 3]
    history = isthmus.fit(parts(), x[:60], nll + kl, validation=x[60:], epochs=3)
    assert len(history) == 3
    assert all(np.isfinite(record["valid_loss"]) for record in history)
    held = {"X": x[60:], "condition": c[60:]}
    history = isthmus.fit(parts(condition=3), x[:60], nll + kl, condition=c[:60], validation=held, epochs=3)
    # The rows kept aside have their own condition: with another one the loss is another.
    turned = {"X": x[60:], "condition": np.roll(c[60:], 1, axis=1)}
    other = isthmus.fit(parts(condition=3), x[:60], nll + kl, condition=c[:60], validation=turned, epochs=3)
    assert history[0]["loss"] == other[0]["loss"]
    assert history[0]["valid_loss"] != other[0]["valid_loss"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"condition": np.eye(3)[np.arange(60) % 3], "validation": X[60:]}, "validation must have condition if the"),
        ({"target": X[:60], "validation": X[60:]}, "validation must have target if the"),
        ({"validation": {"X": X[60:], "y": np.zeros(30, int)}}, "validation must have y if the"),
        ({"validation": X[:0]}, "rows must be an array .n, 5. with n > 0, got .0, 5."),
        ({"validation": X[60:, :3]}, "got .30, 3."),
        ({"validation": X[60:].tolist()}, "got list"),
        ({"observed": np.ones((60, 4), bool)}, "observed must be booleans of X's shape"),
        ({"lengths": np.full(60, 2)}, "X must be padded sequences"),
    ],
)
def test_what_does_not_belong_to_the_rows_of_a_hand_made_model(given, message):
    width = 3 if "condition" in given else 0
    with pytest.raises(isthmus.InputError, match=message):
        isthmus.fit(parts(condition=width), X[:60].astype(np.float32), nll + kl, epochs=1, **given)


def test_a_hand_made_model_takes_arrays_only():
    with pytest.raises(isthmus.InputError, match="data must be an array or a tensor, got list"):
        isthmus.fit(parts(), X.tolist(), nll + kl, epochs=1)


def test_validation_repeats_to_the_last_bit_and_sees_the_corruption():
    values = []
    for corruption in ("gaussian(5.0)", None):
        job = setup_training(small("DenoisingAutoencoder", corruption=corruption), X)
        objective = as_objective(job.recipe.objective)
        loop = Trainer(
            job.recipe.model, objective, job.to_device(job.train_rows), job.config, job.to_device(job.valid_rows)
        )
        values.append([loop.validate()["loss"] for _ in range(3)])
    assert all(value == each[0] for each in values for value in each)
    assert abs(values[0][0] - values[1][0]) > 5e-3  # an untrained network passes little of it on


def test_early_stopping_keeps_the_best_weights_of_all_epochs():
    fields = {"initialization": "random", "warmup": 0.2, "learning_rate": 1e-2}
    model = small("VAE", hidden=(64, 64), epochs=300, patience=30, **fields).fit(table(40))
    assert 0.2 < model.history_[-1]["progress"] < 1  # forty rows are soon overfitted, but warm-up is waited for
    best = min(model.history_, key=lambda record: record.get("valid_loss", np.inf))
    assert model.history_[-1]["step"] - best["step"] >= 30
    # The kept weights give the best validation loss again.
    job = setup_training(model, table(40))
    job.recipe.model.load_state_dict(model.model_.state_dict())
    loop = Trainer(
        job.recipe.model,
        as_objective(job.recipe.objective),
        job.to_device(job.train_rows),
        job.config,
        job.to_device(job.valid_rows),
    )
    assert loop.validate()["loss"] == pytest.approx(best["valid_loss"], rel=1e-5)


def test_scaling_is_learned_on_the_training_part_only():
    far = np.vstack([X, X[:10] + 1e6])
    model = small("VAE", epochs=1).fit(X, validation=X[:10] + 1e6)
    np.testing.assert_allclose(model.schema_.shift, X.mean(0))
    assert not np.allclose(small("VAE", epochs=1, validation_fraction=0).fit(far).schema_.shift, X.mean(0))


def test_one_condition_for_all_rows():
    model = small("ConditionalVAE", epochs=1).fit(X, condition=3)
    assert model.schema_.condition.classes == (3,)
    real = small("ConditionalVAE", epochs=1).fit(X, condition=np.random.default_rng(0).normal(size=(90, 2)))
    assert real.sample(10, condition=[[0.1, 0.2]], random_state=0).shape == (10, 5)


def test_pairs_of_different_kinds():
    clean = (np.median(X, 0) < X).astype(np.uint8)
    model = small("VAE", likelihood="bernoulli", epochs=1).fit(X, target=clean)
    again = model.reconstruct(X)
    assert ((again >= 0) & (again <= 1)).all()
    with pytest.raises(isthmus.InputError, match="target"):
        small("VAE", likelihood="bernoulli", epochs=1).fit(X, target=clean, validation=X)


def test_training_on_noisy_clean_pairs_denoises():
    random = np.random.default_rng(0)
    clean = random.normal(size=(600, 2)) @ random.normal(size=(2, 6))
    noisy = clean + random.normal(size=clean.shape)
    model = small("DenoisingAutoencoder", corruption="none", latent_dim=2, epochs=60).fit(noisy, target=clean)
    # Two directions of six carry the signal: a projection alone takes two thirds of the noise away.
    assert np.square(model.reconstruct(noisy) - clean).mean() < 0.6 * np.square(noisy - clean).mean()


def test_numbers_of_numpy_are_numbers(tmp_path):
    fields = {"latent_dim": np.int64(2), "epochs": np.int64(1), "batch_size": np.int64(16), "threads": np.int64(1)}
    model = small("VAE", **fields, random_state=np.int64(3), learning_rate=np.float32(1e-3)).fit(X)
    model.save(tmp_path / "run")
    np.testing.assert_array_equal(isthmus.load(tmp_path / "run").transform(X), model.transform(X))


@pytest.mark.parametrize("image", [False, True])
@pytest.mark.parametrize("scaling", ["global", "standard", "none"])
def test_salt_and_pepper_are_the_ends_of_the_data(image, scaling):
    x = images().astype(np.float64) if image else X
    model = small("DenoisingAutoencoder", corruption="salt_and_pepper(1.0)", scaling=scaling, epochs=1)
    model.set_params(validation_fraction=0).fit(x)
    rows = model.fitted_.dataset(x).batch(torch.arange(len(x))).x
    damaged = model.schema_.to_data(model.model_.corruption(rows))
    low, high = (x.min(), x.max()) if image else (x.min(0), x.max(0))
    close = np.isclose(damaged, low, atol=1e-3) | np.isclose(damaged, high, atol=1e-3)
    assert close.all()


@pytest.mark.skipif(shutil.which("g++") is None, reason="compilation needs a C++ compiler")
def test_a_compiled_run_is_the_eager_run():
    fields = {"sparsity": "top_k(2)", "corruption": "gaussian(0.1)", "epochs": 2}  # random numbers, buffers that move
    runs = [small("SparseAutoencoder", compile=compiled, **fields).fit(X) for compiled in (False, True)]
    assert runs[1].settings_["compile"]
    # The same random numbers and operations; fused ones round differently in the last digits.
    np.testing.assert_allclose(*(model.transform(X) for model in runs), rtol=1e-3, atol=1e-4)
    duties = [model.model_.posterior.family.rule.duty for model in runs]
    torch.testing.assert_close(*duties, rtol=1e-4, atol=1e-5)
    assert not torch.equal(duties[0], torch.full_like(duties[0], duties[0].mean().item()))


def test_a_short_run_ends_with_its_last_weights_and_a_long_one_with_their_average():
    torch.manual_seed(0)
    layer = nn.Linear(4, 3)
    adam, seen = FlatOptimizer(layer), []
    for update in range(1, 201):
        adam.zero_grad()
        layer(torch.randn(8, 4)).square().mean().backward()
        adam.read_grad()
        adam.step(torch.tensor(1e-2))
        adam.update_ema(update)
        seen.append(adam.flat.clone())
        if update <= EMA_START_STEPS:
            assert torch.equal(adam.average, adam.flat)
    with adam.averaged():
        assert torch.equal(torch.cat([p.reshape(-1) for p in layer.parameters()]), adam.average)
    assert torch.equal(adam.flat, seen[-1])
    late = torch.stack(seen[100:]).mean(0)
    assert (adam.average - late).norm() < (adam.flat - late).norm()


def test_a_validation_loss_that_is_not_finite_stops_the_run(monkeypatch):
    far = X.copy()
    far[0] = 1e30
    with pytest.warns(UserWarning, match="1 row lies 1e"):
        small("Autoencoder").fit(X, validation=far)
    monkeypatch.setitem(MAX_SCALED, torch.float32, 1e38)  # whose squares are not finite
    with pytest.raises(isthmus.TrainingError, match="of the validation rows is not finite"):
        small("Autoencoder").fit(X, validation=far)


def test_without_a_compiler_compilation_is_refused_in_one_line(monkeypatch):
    def broken(*arguments, **more):
        def call(*values):
            raise RuntimeError("no\ncompiler")

        return call

    monkeypatch.setattr("torch._inductor.standalone_compile", broken)
    with pytest.raises(isthmus.InputError, match="compile=False") as caught:
        small("VAE", compile=True).fit(X)
    assert "\n" not in str(caught.value)


def test_a_compiler_that_was_chosen_and_fails_is_gone_without(monkeypatch):
    def broken(*arguments, **more):
        def call(*values):
            raise RuntimeError("an empty\nfile in the cache")

        return call

    plain = small("VAE", compile=False).fit(X)
    monkeypatch.setattr("torch._inductor.standalone_compile", broken)
    monkeypatch.setattr("isthmus.estimators.training_setup.pick_compile", lambda *arguments: True)
    with pytest.warns(UserWarning, match="could not be compiled .an empty file in the cache.*uncompiled"):
        model = small("VAE", compile="auto").fit(X)
    np.testing.assert_array_equal(model.transform(X), plain.transform(X))


class Two(nn.Module):
    """A user's own network that takes the condition too."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(5 + 3, 6)

    def forward(self, x, c):
        return self.inner(torch.cat([x, c], -1))


def test_user_defined_networks(tmp_path):
    encoder, decoder = nn.Linear(5, 6), nn.Linear(3, 5)
    model = small("VAE", encoder=encoder, decoder=decoder, epochs=2).fit(X)
    assert not torch.equal(model.model_.posterior.net.module.weight, encoder.weight)  # a copy was trained
    model.save(tmp_path / "run")
    with pytest.raises(isthmus.InputError, match="coder="):
        isthmus.load(tmp_path / "run")
    again = isthmus.load(tmp_path / "run", encoder=encoder, decoder=decoder)
    np.testing.assert_array_equal(again.transform(X), model.transform(X))
    conditional = small("ConditionalVAE", encoder=Two(), epochs=2).fit(X, condition=np.arange(90) % 3)
    assert conditional.transform(X, condition=0).shape == (90, 3)


def test_networks_that_do_not_fit_say_so_before_training():
    flat = nn.Sequential(nn.Flatten(), nn.LazyLinear(6))
    assert small("VAE", encoder=flat, epochs=1).fit(images()).transform(images()).shape == (90, 3)
    with pytest.raises(isthmus.InputError, match=r"must accept rows of shape \(6, 5\)"):
        small("VAE", encoder=nn.Conv2d(1, 4, 3), epochs=1).fit(images())
    first = nn.Sequential(nn.Linear(3, 90), nn.Unflatten(1, (3, 6, 5)))  # channels first; (h, w, c) is expected
    with pytest.raises(isthmus.InputError, match="output must have 6 x 5 x 3 numbers"):
        small("VAE", decoder=first, likelihood="normal", epochs=1).fit(images(shape=(6, 5, 3)))


def test_sequences_of_other_lengths_are_padded_in_use_and_longer_ones_refused():
    random = np.random.default_rng(0)
    lengths = random.integers(2, 7, 40)
    x = random.normal(size=(40, 6, 3))
    model = small("VAE").fit(x, lengths=lengths)
    short = np.minimum(lengths, 4)
    padded = np.pad(x[:, :4], ((0, 0), (0, 2), (0, 0)))
    np.testing.assert_array_equal(model.transform(x[:, :4], lengths=short), model.transform(padded, lengths=short))
    with pytest.raises(isthmus.InputError, match="at most 6"):
        model.transform(np.zeros((2, 8, 3)), lengths=np.array([8, 3]))


def test_fit_transform_takes_what_fit_and_transform_take():
    labels = np.arange(len(X)) % 3
    codes = small("ConditionalVAE").fit_transform(X, condition=labels)
    np.testing.assert_array_equal(
        codes, small("ConditionalVAE").fit(X, condition=labels).transform(X, condition=labels)
    )


def test_fields_set_after_training_do_not_spoil_what_is_saved(tmp_path):
    model = small("VAE").fit(X)
    codes = model.transform(X)
    model.set_params(hidden=(7,), prior="mixture(3)").save(tmp_path / "run")
    np.testing.assert_array_equal(isthmus.load(tmp_path / "run").transform(X), codes)


@pytest.mark.parametrize(
    ("likelihood", "mean"),
    [
        ("poisson", 1e6),
        ("negative_binomial", 0.5),
        pytest.param("poisson", 0.5, marks=pytest.mark.grid),
        pytest.param("poisson", 1e3, marks=pytest.mark.grid),
        pytest.param("negative_binomial", 1e3, marks=pytest.mark.grid),
        pytest.param("negative_binomial", 1e6, marks=pytest.mark.grid),
    ],
)
def test_counts_of_any_size_are_learned(likelihood, mean):
    random = np.random.default_rng(0)
    x = random.poisson(random.gamma(20.0, mean / 20, (256, 1)) * [0.5, 1.0, 2.0])
    model = isthmus.VAE(
        latent_dim=2, hidden=(32,), likelihood=likelihood, epochs=600, threads=1, random_state=0, validation_fraction=0
    ).fit(x)
    drawn = model.sample(2000, random_state=0)
    # Poisson noise of small counts and of the sample: a tenth of the mean is some three standard errors.
    np.testing.assert_allclose(drawn.mean(0), x.mean(0), rtol=0.15)
    if mean > 1:
        again = model.reconstruct(x)
        assert np.corrcoef(np.log(again[:, 1]), np.log(x[:, 1]))[0, 1] > 0.9


def test_the_flops_per_row_a_step_is_counted_by_operations():
    x = images(shape=(16, 16))
    dense, conv = (setup_training(small("VAE", network=kind, hidden=(16,)), x) for kind in ("mlp", "conv"))
    parameters = sum(p.numel() for p in dense.recipe.model.parameters())
    biases = sum(p.numel() for n, p in dense.recipe.model.named_parameters() if n.endswith("bias"))
    assert flops_per_row(dense.recipe, dense.schema) == 6 * (parameters - biases)
    # A filter is used at every pixel: by its parameters a convolution would be trained on one thread.
    assert flops_per_row(conv.recipe, conv.schema) > 20 * sum(p.numel() for p in conv.recipe.model.parameters())
    batch = conv.to_device(conv.train_rows).batch(torch.arange(3))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        conv.recipe.model(batch)
    assert count_flops(conv.recipe.model, batch) == counter.get_total_flops() / 3


@pytest.mark.parametrize(
    ("network", "flops"),
    [  # a product of matrices (m, k) and (k, n) has 2 m k n; T = 4 steps of 3 numbers, rows of a batch
        (lambda: nn.LSTM(3, 5, batch_first=True), 2 * 4 * (3 + 5) * 4 * 5),
        (lambda: nn.GRU(3, 5, batch_first=True), 2 * 4 * (3 + 5) * 3 * 5),
    ],
)
def test_the_operations_of_fused_kernels_are_counted(network, flops):
    class Reads(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = network()

        def forward(self, batch):
            return self.net(batch.x)

    assert count_flops(Reads(), Batch(torch.randn(6, 4, 3))) == flops


def test_the_operations_of_attention_are_counted():
    class Attends(nn.Module):
        def forward(self, batch):
            x = batch.x[:, None]  # one head
            return nn.functional.scaled_dot_product_attention(x, x, x)

    assert count_flops(Attends(), Batch(torch.randn(6, 4, 3))) == 2 * 2 * 4 * 4 * 3


@pytest.mark.parametrize("fields", [{}, {"prior": "refit(3)"}, {"verbose": True}])
def test_ctrl_c_leaves_a_fitted_model_with_the_best_weights_so_far(fields, monkeypatch):
    x, made = table(), []
    end_epoch = Trainer.end_epoch

    def pressing(trainer):
        made.append(end_epoch(trainer))
        if len(made) == 3:
            signal.raise_signal(signal.SIGINT)
        return made[-1]

    monkeypatch.setattr(Trainer, "end_epoch", pressing)
    model = small("VAE", epochs=1000, **fields)
    with pytest.raises(KeyboardInterrupt, match=r"stopped at step .* weights so far"):
        model.fit(x)
    assert len(model.history_) == 3
    assert model.settings_["interrupted"]
    assert np.isfinite(model.score_samples(x, draws=5)).all()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    monkeypatch.undo()
    again = small("VAE", epochs=1000, **fields).set_params(epochs=2).fit(x)  # a later fit is not disturbed
    assert len(again.history_) == 2


def test_ctrl_c_is_left_to_an_application_that_handles_it(monkeypatch):
    end_epoch, pressed = Trainer.end_epoch, []

    def pressing(trainer):
        signal.raise_signal(signal.SIGINT)
        return end_epoch(trainer)

    monkeypatch.setattr(Trainer, "end_epoch", pressing)
    for handler in (signal.SIG_IGN, lambda number, frame: pressed.append(number)):
        before = signal.signal(signal.SIGINT, handler)
        try:
            assert len(small("VAE", epochs=2).fit(table()).history_) == 2
            assert signal.getsignal(signal.SIGINT) is handler
        finally:
            signal.signal(signal.SIGINT, before)
    assert pressed == [signal.SIGINT] * 2


def test_a_signal_in_the_epoch_that_ends_training_changes_nothing_of_a_run(tmp_path, monkeypatch):
    end_epoch, ended = Trainer.end_epoch, []

    def stopping(trainer):
        end_epoch(trainer)
        ended.append(len(trainer.history))
        if signalling and len(trainer.history) == 3:
            signal.raise_signal(signal.SIGINT)
        return len(trainer.history) == 3

    monkeypatch.setattr(Trainer, "end_epoch", stopping)
    trained = []
    for signalling in (False, True):
        job, folder = setup_training(small("VAE", epochs=9), table()), tmp_path / str(signalling)
        folder.mkdir()
        assert len(job.train(Checkpointer(folder, every=1e9))) == 3
        assert not (folder / "checkpoint" / "state.safetensors").exists()  # nothing that would go on
        trained.append(job.recipe.model.state_dict())
    assert ended == [1, 2, 3, 1, 2, 3]
    assert all(torch.equal(a, b) for a, b in zip(trained[0].values(), trained[1].values()))


def test_ctrl_c_in_the_last_epoch_is_not_lost(monkeypatch):
    end_epoch = Trainer.end_epoch

    def pressing(trainer):
        end_epoch(trainer)
        signal.raise_signal(signal.SIGINT)
        return True  # stops early

    monkeypatch.setattr(Trainer, "end_epoch", pressing)
    model = small("VAE", epochs=5)
    with pytest.raises(KeyboardInterrupt):
        model.fit(table())
    assert len(model.history_) == 1


FORKS = """
import os, signal, numpy as np, torch, isthmus
torch.set_num_threads(2)
x = np.random.default_rng(0).normal(size=(4000, 200)).astype(np.float32)
model = isthmus.Autoencoder(hidden=(512,), latent_dim=2, epochs=1, threads=2).fit(x)
codes = model.transform(x)  # starts the threads that a forked process has no more
child = os.fork()
if not child:
    signal.alarm(60)
    os._exit(0 if np.allclose(model.transform(x), codes, atol=1e-4) else 1)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
def test_a_forked_worker_encodes():
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    assert subprocess.run([sys.executable, "-c", FORKS], env=environment, timeout=120, check=False).returncode == 0
