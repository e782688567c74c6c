"""Laws that every registered model is held to."""

from __future__ import annotations

import contextlib
import copy
import json
import pickle
import shutil
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.base import clone

import isthmus
from isthmus.estimators.training_setup import setup_training
from isthmus.examples import Examples
from isthmus.objective import as_objective
from isthmus.random_streams import Recorder, Stream, draw_now, drawing_from
from isthmus.train.checkpoint import Checkpointer
from isthmus.train.trainer import Trainer
from isthmus.train.update import FunctionalStep, Step
from models import DATA, DENSE, LAYERED, NAMES, NOT_BY_LIKELIHOOD, TRAINED, bits, images, small, table

pytestmark = pytest.mark.filterwarnings("ignore:.*given no condition:UserWarning")


@pytest.mark.parametrize("kind", DATA)
@pytest.mark.parametrize("name", TRAINED)
def test_gradients_reach_every_parameter_and_the_loss_falls(name, kind):
    x = DATA[kind]()
    job = setup_training(small(name, epochs=40, learning_rate=1e-2), x)
    model, rows = job.recipe.model, job.to_device(job.train_rows)
    step = Step(model, as_objective(job.recipe.objective))
    with torch.no_grad():  # layers that start at zero let no gradient through
        for parameter in step.parameters():
            parameter.add_(1e-2 * torch.randn_like(parameter))
    loss, _ = step(rows.batch(torch.arange(len(rows))), torch.tensor(0.5))
    loss.backward()
    unreached = [n for n, p in step.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # One draw of a small net: a gradient of exactly zero means a part that nothing reaches.
    assert not unreached
    before = loss_of(job, rows)
    history = job.train()
    assert all(np.isfinite(list(record.values())).all() for record in history)
    assert name in NOT_BY_LIKELIHOOD or loss_of(job, rows) < before


def loss_of(job, rows) -> float:
    """The objective on the training rows at its final weights, under one fixed noise."""
    loop = Trainer(job.recipe.model, as_objective(job.recipe.objective), rows, job.config, rows)
    value = loop.validate()["loss"]
    loop.optimizer.unflatten()
    return value


@contextlib.contextmanager
def another_thread_drawing():
    """Another thread of the process draws from torch's global generator, and seeds it, all the time."""
    stop = threading.Event()

    def draw():
        while not stop.is_set():
            torch.manual_seed(11)
            torch.rand(3)
            stop.wait(1e-4)

    thread = threading.Thread(target=draw)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_result_whatever_other_threads_do(name):
    x = table()

    def results(_):
        model = small(name, **({"corruption": "gaussian(0.1)"} if name == "VAE" else {})).fit(x)
        numbers = [*model.model_.state_dict().values(), torch.from_numpy(model.transform(x))]
        if model.capabilities.samples:
            numbers.append(torch.from_numpy(model.sample(20, random_state=3)))
        if model.capabilities.has_density:
            numbers += [
                torch.from_numpy(model.score_samples(x[:9], draws=5)),
                torch.from_numpy(model.elbo(x[:9], draws=5)),
            ]
        return numbers

    alone = results(0)
    with another_thread_drawing(), ThreadPoolExecutor(3) as pool:
        for together in pool.map(results, range(3)):
            assert all(torch.equal(a, b) for a, b in zip(alone, together))


@pytest.mark.parametrize("name", TRAINED)
def test_same_seed_same_result_and_the_callers_generator_is_untouched(name):
    x = table()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, two = small(name).fit(x), small(name).fit(x)
    assert torch.equal(before, torch.get_rng_state())
    for a, b in zip(one.model_.state_dict().values(), two.model_.state_dict().values()):
        assert torch.equal(a, b)
    other = small(name, random_state=1).fit(x)
    assert not np.array_equal(one.transform(x), other.transform(x))


@pytest.fixture(scope="module")
def in_a_fresh_process(request, tmp_path_factory):
    """Codes, reconstructions and scores of each model that is tested, as another process that loads it has them."""
    folder, asked = tmp_path_factory.mktemp("saved"), "test_saved_and_loaded_in_a_fresh_process"
    names = [item.callspec.params["name"] for item in request.session.items if item.name.startswith(asked)]
    np.save(folder / "x.npy", table())
    for name in names:
        small(name).fit(table()).save(folder / name)
    script = (
        "import sys, numpy as np, isthmus\n"
        "folder, *names = sys.argv[1:]; x = np.load(folder + '/x.npy')\n"
        "for name in names:\n"
        "    m = isthmus.load(folder + '/' + name)\n"
        "    np.savez(folder + '/' + name + '.npz', z=m.transform(x), r=m.reconstruct(x), s=m.score(x))\n"
        "for prior in ('normal', 'mixture(2)', 'refit(2)'):\n"
        "    isthmus.VAE(hidden=(8,), epochs=1, prior=prior, threads=1).fit(x)\n"
        "assert not {'torch._dynamo', 'sympy'} & set(sys.modules), 'the compiler is imported: seconds of every run'"
    )
    subprocess.run([sys.executable, "-c", script, str(folder), *names], check=True)
    return {name: np.load(folder / f"{name}.npz") for name in names}


@pytest.mark.xdist_group("fresh process")
@pytest.mark.parametrize("name", NAMES)
def test_saved_and_loaded_in_a_fresh_process_gives_the_same_numbers(name, in_a_fresh_process):
    x, there = table(), in_a_fresh_process[name]
    model = small(name).fit(x)  # trained again: the same weights
    assert np.array_equal(there["z"], model.transform(x))
    assert np.array_equal(there["r"], model.reconstruct(x))
    assert there["s"] == model.score(x)


class Killed(Exception):
    """Stands for the end of the process."""


CASES = [(name, 7, {}) for name in TRAINED]
CASES += [pytest.param(name, after, {}, marks=pytest.mark.grid) for name in TRAINED for after in (1, 13)]
if shutil.which("g++"):  # random numbers and buffers that move, by a compiled step
    compiled = {"compile": True, "sparsity": "top_k(2)", "corruption": "gaussian(0.1)"}
    CASES.append(pytest.param("SparseAutoencoder", 7, compiled, marks=pytest.mark.grid))


@pytest.mark.parametrize(("name", "after", "fields"), CASES)
def test_resumed_run_equals_uninterrupted_run(name, after, fields, tmp_path):
    x = table()
    whole = setup_training(small(name, **fields), x)
    history = whole.train(Checkpointer(tmp_path / "whole", every=0.0))
    steps = 0

    class Dying(Checkpointer):
        def save(self, loop):
            nonlocal steps
            super().save(loop)
            steps += 1
            if steps == after:
                raise Killed

    broken = setup_training(small(name, **fields), x)
    with pytest.raises(Killed):
        broken.train(Dying(tmp_path / "broken", every=0.0))
    again = setup_training(small(name, **fields), x)
    resumed = again.train(Checkpointer(tmp_path / "broken", every=1e9))
    for a, b in zip(whole.recipe.model.state_dict().values(), again.recipe.model.state_dict().values()):
        assert torch.equal(a, b)

    def timeless(records):
        return [{k: v for k, v in r.items() if k != "seconds"} for r in records]

    assert timeless(history) == timeless(resumed)
    lines = (tmp_path / "broken" / "history.jsonl").read_text().splitlines()
    assert timeless(map(json.loads, lines)) == timeless(history)


TRACED = ("VAE", "SparseAutoencoder", "ContractiveAutoencoder")  # bounds, moving buffers, a penalty by gradients


@pytest.mark.parametrize("kind", ["table", pytest.param("images", marks=pytest.mark.grid)])
@pytest.mark.parametrize(
    "name", [*TRACED, *(pytest.param(n, marks=pytest.mark.grid) for n in TRAINED if n not in TRACED)]
)
def test_gradient_traces_as_one_graph_and_equals_the_eager_one(name, kind):
    job = setup_training(small(name), DATA[kind]())
    step = Step(job.recipe.model, as_objective(job.recipe.objective))
    batch, progress = job.to_device(job.train_rows).batch(torch.arange(16)), torch.tensor(0.05)
    names, parameters = zip(*step.named_parameters())
    flat = torch.cat([p.detach().reshape(-1) for p in parameters])
    buffers = {key: buffer.clone() for key, buffer in step.named_buffers()}
    torch._dynamo.reset()
    recorder = Recorder()
    with drawing_from(recorder):
        step(batch, progress)
    step.load_state_dict({**step.state_dict(), **{k: b for k, b in buffers.items() if k in step.state_dict()}})
    with drawing_from(Stream(0)):
        noise = [draw_now(draw) for draw in recorder.draws]
    functional = FunctionalStep(step, names, [p.shape for p in parameters])
    graph, inputs = functional.graph([flat], buffers, batch, progress, noise)
    grad, *results = torch.compile(graph, fullgraph=True, backend="aot_eager")(*inputs)
    values, moved = results[: len(step.names)], dict(zip(buffers, results[len(step.names) :], strict=True))
    with drawing_from(Stream(0)):
        eager_loss, eager_values = step(batch, progress)
    eager_loss.backward()
    eager = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    # The same operations in the same order: equal to rounding.
    close = partial(torch.testing.assert_close, rtol=1e-5, atol=1e-5)
    close(torch.stack(values), torch.stack(eager_values))
    close(grad, torch.cat([g.reshape(-1) for g in eager]), rtol=1e-4)
    for key, buffer in step.named_buffers():
        close(moved[key], buffer)


@pytest.mark.parametrize("name", NAMES)
def test_booleans_are_bits_as_bytes_are(name):
    x = bits()
    models = [small(name).fit(data) for data in (x, x.astype(bool))]
    np.testing.assert_allclose(*(model.reconstruct(x) for model in models), rtol=1e-5, atol=1e-6)
    assert models[0].score(x) == pytest.approx(models[1].score(x.astype(bool)), rel=1e-5)


@pytest.mark.parametrize("corruption", [None, "gaussian(0.5)"])
@pytest.mark.parametrize("name", TRAINED)
def test_padding_changes_no_number(name, corruption):
    random = np.random.default_rng(0)
    lengths = random.integers(2, 7, 60)
    x = random.normal(size=(60, 6, 3))
    garbage = x.copy()
    garbage[np.arange(6) >= lengths[:, None]] = np.nan
    clean = x.copy()
    clean[np.arange(6) >= lengths[:, None]] = 0.0
    models = [small(name, corruption=corruption).fit(data, lengths=lengths) for data in (clean, garbage)]
    batch = models[0].fitted_.dataset(Examples(clean, lengths=lengths)).batch(torch.arange(60))
    assert (models[0].model_.corrupt(batch)[~batch.mask] == 0).all()
    for a, b in zip(*(m.model_.state_dict().values() for m in models)):
        assert torch.equal(a, b)
    assert np.array_equal(models[0].transform(clean, lengths=lengths), models[0].transform(garbage, lengths=lengths))
    assert models[0].score(clean, lengths=lengths) == models[0].score(garbage, lengths=lengths)
    again = models[0].reconstruct(garbage, lengths=lengths)
    assert (again[np.arange(6) >= lengths[:, None]] == 0).all()
    assert (again[np.arange(6) < lengths[:, None]] != 0).any()
    np.testing.assert_array_equal(
        models[0].inverse_transform(models[0].transform(clean, lengths=lengths), lengths=lengths), again
    )


@pytest.mark.filterwarnings("ignore:.*scales from the centre")
@pytest.mark.parametrize("value", [1e13, 1e39, -1e100, 1e300, -np.finfo(float).max])
@pytest.mark.parametrize("name", NAMES)
def test_a_row_with_a_huge_number_is_the_least_likely_and_its_code_is_finite(name, value):
    x = table()
    model = small(name).fit(x)
    rows = x[:8].copy()
    rows[5, 2] = value
    assert np.isfinite(model.transform(rows)).all()
    assert np.isfinite(model.reconstruct(rows)).all()
    if name in DENSE:
        scores = model.score_samples(rows, draws=20)
        assert np.isfinite(scores).all()
        assert scores.argmin() == 5
        assert model.elbo(rows, draws=20).argmin() == 5
        assert np.isfinite(model.score(rows))


@pytest.mark.parametrize("name", DENSE)
def test_bounds_are_ordered_and_do_not_depend_on_other_rows(name):
    x = table()
    model = small(name, epochs=30).fit(x)
    bound, few, many = model.elbo(x, draws=200), model.score_samples(x, draws=5), model.score_samples(x, draws=2000)
    # Each is an expectation that holds on average over rows; the slack is the Monte Carlo error of 90 rows.
    assert bound.mean() <= few.mean() + 0.05
    assert few.mean() <= many.mean() + 0.05
    shuffled = np.random.default_rng(0).permutation(len(x))[:40]
    np.testing.assert_allclose(
        model.score_samples(x[shuffled], draws=50), model.score_samples(x, draws=50)[shuffled], rtol=1e-4
    )


@pytest.mark.parametrize("name", NAMES)
def test_shapes_and_kinds_come_back(name):
    for x in (table(), images(), images(shape=(5, 4, 3))):
        model = small(name, epochs=1).fit(x)
        codes = model.transform(x)
        assert codes.shape == (len(x), model.model_.code.size)
        assert (codes.shape[1] == model.latent_dim) == (name not in LAYERED)
        assert model.inverse_transform(codes).shape == x.shape
        np.testing.assert_array_equal(model.reconstruct(x), model.inverse_transform(codes))
        if model.capabilities.has_density:
            drawn = model.sample(7, random_state=3)
            assert drawn.shape == (7, *x.shape[1:])
            if model.schema_.discrete:
                assert drawn.dtype == x.dtype
            np.testing.assert_array_equal(drawn, model.sample(7, random_state=3))
        else:
            assert not hasattr(model, "score_samples")
            assert not hasattr(model, "elbo")
            with pytest.raises(AttributeError) as caught:
                model.elbo  # noqa: B018
            assert "no density" in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_clone_pickle_and_deepcopy(name):
    x = table()
    model = small(name)
    assert clone(model).get_params() == model.get_params()
    model.fit(x)
    codes = model.transform(x)
    for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_array_equal(twin.transform(x), codes)
    parameters = list(model.model_.parameters())
    # Flat buffers live inside fit only: afterwards every parameter has its own memory.
    assert len({p.untyped_storage().data_ptr() for p in parameters}) == len(parameters)


@pytest.mark.parametrize("name", NAMES)
def test_every_field_has_a_line_of_help(name):
    for field in isthmus.model_registry.models()[name].fields.values():
        assert field.doc.endswith("."), field.name
        assert "\n" not in field.doc


@pytest.mark.parametrize("name", TRAINED)
def test_the_callers_threads_and_denormals_are_untouched(name):
    threads = torch.get_num_threads()
    tiny = torch.tensor([1.2e-38])
    before = (tiny * 0.5).item()
    small(name, threads=1, epochs=1).fit(table())
    assert torch.get_num_threads() == threads
    assert (tiny * 0.5).item() == before


def test_a_conditional_model_without_a_condition_says_so():
    with pytest.warns(UserWarning, match="given no condition"):
        small("ConditionalVAE", epochs=1).fit(table())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small("ConditionalVAE", epochs=1).fit(table(), condition=np.arange(90) % 3)
