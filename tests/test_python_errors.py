"""Whatever is passed to a public function: it is taken, or refused by a ValueError or TypeError of one clear line."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.exceptions
import torch

import isthmus
from isthmus.terms import bounds
from models import small, table

X = table(60).astype(np.float32)
VALUES = {
    "None": None,
    "class": isthmus.VAE,
    "unfitted": isthmus.VAE(),
    "number": 3,
    "text": "x" * 5000,
    "control": "a\x1b[31m\nb",
    "object": object(),
    "function": len,
    "module": torch.nn.Linear(2, 2),
    "meta": torch.zeros(4, 4, device="meta"),
    "quantized": torch.quantize_per_tensor(torch.zeros(4, 4), 0.1, 0, torch.quint8),
    "sparse": torch.eye(4).to_sparse(),
    "bytes": b"abc",
    "set": {1, 2},
    "dict": {"a": 1},
    "complex": np.ones((4, 4)) * 1j,
    "records": np.zeros(4, dtype=[("a", float)]),
    "ragged": [[1], [1, 2]],
    "dates": np.array(["2020-01-01"], dtype="M8[D]"),
    "empty": [],
    "scalar": np.array(3.0),
}


@pytest.fixture(scope="module")
def vae():
    return small("VAE", epochs=1).fit(X)


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


CALLS = {
    "fit": lambda vae, v: small("VAE", epochs=1).fit(v),
    "fit.validation": lambda vae, v: small("VAE", epochs=1).fit(X, validation=v),
    "fit.condition": lambda vae, v: small("VAE", epochs=1).fit(X, condition=v),
    "fit.lengths": lambda vae, v: small("VAE", epochs=1).fit(X, lengths=v),
    "fit.observed": lambda vae, v: small("VAE", epochs=1).fit(X, observed=v),
    "fit.target": lambda vae, v: small("VAE", epochs=1).fit(X, target=v),
    "transform": lambda vae, v: vae.transform(v),
    "transform.draws": lambda vae, v: vae.transform(X[:3], draws=v),
    "transform.random_state": lambda vae, v: vae.transform(X[:3], draws=2, random_state=v),
    "inverse_transform": lambda vae, v: vae.inverse_transform(v),
    "posterior_of": lambda vae, v: vae.posterior_of(v),
    "score_samples": lambda vae, v: vae.score_samples(v, draws=2),
    "elbo.draws": lambda vae, v: vae.elbo(X[:3], draws=v),
    "sample": lambda vae, v: vae.sample(v),
    "sample.condition": lambda vae, v: vae.sample(2, condition=v),
    "save": lambda vae, v: vae.save(v),
    "isthmus.save": lambda vae, v: isthmus.save(v, "folder"),
    "load": lambda vae, v: isthmus.load(v),
    "read": lambda vae, v: isthmus.read(v),
    "read.condition": lambda vae, v: isthmus.read("wine", condition=v),
    "check": lambda vae, v: isthmus.check(v),
    "check.levels": lambda vae, v: isthmus.check(X, levels=v),
    "evaluate": lambda vae, v: isthmus.evaluate(v, X),
    "evaluate.X": lambda vae, v: isthmus.evaluate(vae, v),
    "evaluate.draws": lambda vae, v: isthmus.evaluate(vae, X, draws=v) if v is not VALUES["number"] else None,
    "evaluate.train": lambda vae, v: isthmus.evaluate(vae, X, train=v) if v is not None else None,
    "evaluate.without": lambda vae, v: isthmus.evaluate(vae, X, without=v) if v != [] else None,
    "diagnose": lambda vae, v: isthmus.diagnose(v, X),
    "diagnose.X": lambda vae, v: isthmus.diagnose(vae, v),
    "diagnose.train": lambda vae, v: isthmus.diagnose(vae, X, train=v) if v is not None else None,
    "report_page": lambda vae, v: isthmus.report_page(v, X, "page.html"),
    "report_page.X": lambda vae, v: isthmus.report_page(vae, v, "page.html"),
    "compare": lambda vae, v: isthmus.compare(v, models="pca"),
    "compare.models": lambda vae, v: isthmus.compare(X, models=v),
    "compare.seeds": lambda vae, v: isthmus.compare(X, models="nothing", seeds=v),
    "compare.sweep": lambda vae, v: isthmus.compare(X, models="nothing", sweep=v),
    "isthmus.fit": lambda vae, v: isthmus.fit(v, X, bounds.nll),
    "isthmus.fit.data": lambda vae, v: isthmus.fit(vae.model_, v, bounds.nll),
    "isthmus.fit.objective": lambda vae, v: isthmus.fit(vae.model_, X, v),
    "wrap": lambda vae, v: isthmus.wrap(v, v),
    "plot.latent": lambda vae, v: isthmus.plot.latent(v, X),
    "plot.latent.X": lambda vae, v: isthmus.plot.latent(vae, v),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CALLS)
def test_what_is_not_taken_is_refused_in_one_line(name, vae):
    with open("file.txt", "w") as file:
        for kind, value in {**VALUES, "file": file}.items():
            try:
                CALLS[name](vae, value)
            except (ValueError, TypeError) as error:
                message = str(error)
                assert message, kind
                assert message.isprintable(), (kind, message)
                assert len(message) <= 1000, (kind, message)


@pytest.mark.parametrize("call", [isthmus.diagnose, isthmus.evaluate])
def test_a_model_that_is_not_fitted_is_scikit_learns_error_too(call):
    with pytest.raises(sklearn.exceptions.NotFittedError, match=r"VAE must be fitted first\. Call fit"):
        call(isthmus.VAE(), X)
    with pytest.raises(isthmus.InputError, match="must be fitted first"):
        call(isthmus.VAE(), X)
    with pytest.raises(isthmus.InputError, match=r"got the class VAE. Pass VAE\(\).fit\(X\)."):
        call(isthmus.VAE, X)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"likelihood": "-" * 100_000 + "1"}, r"^likelihood must be a name, .*, got '-+\.\.\.\.$"),
        ({"likelihood": "(" * 150}, "^likelihood must be a name"),
        ({"likelihood": "normal('a')"}, "^likelihood must be a name, or a name with numbers"),
        ({"likelihood": "normal(True)"}, "^likelihood must be a name, or a name with numbers"),
        ({"likelihood": "normal(1j)"}, "^likelihood must be a name, or a name with numbers"),
        ({"likelihood": "normal([1])"}, "^likelihood must be a name, or a name with numbers"),
        ({"corruption": torch.nn.Linear(2, 2)}, "^corruption must keep the shape of rows, got Linear, which"),
        ({"corruption": torch.nn.Linear(5, 4)}, r"^corruption must keep the shape of rows, \(2, 5\), got \(2, 4\)."),
        ({"corruption": torch.nn.LSTM(5, 5)}, "^corruption must keep the shape of rows, .* got tuple."),
        ({"prior": torch.nn.Linear(2, 2)}, "^prior must"),
    ],
)
def test_parts_that_cannot_be_used(fields, says):
    with pytest.raises(isthmus.InputError, match=says):
        small("VAE", **fields).fit(X)


def test_a_module_of_ones_own_that_fails_is_the_cause():
    with pytest.raises(isthmus.InputError) as caught:
        small("VAE", corruption=torch.nn.Linear(2, 2)).fit(X)
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_names_that_are_too_long_for_the_system(vae):
    with pytest.raises(isthmus.InputError, match="name too long"):
        isthmus.load("x" * 5000)
    with pytest.raises(isthmus.InputError, match="name too long"):
        vae.save("x" * 5000)


def test_a_check_of_a_new_model_does_not_move_the_callers_generator():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    small("VAE", epochs=1, corruption=torch.nn.Dropout()).fit(X)
    assert torch.equal(before, torch.get_rng_state())


def test_a_message_is_one_printable_line_whatever_it_quotes():
    message = str(isthmus.InputError("a\nb\x1b[0m\t" + "c" * 10_000))
    assert message.startswith("a b?[0m c")
    assert len(message) == 1000
