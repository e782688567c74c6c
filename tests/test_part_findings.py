"""Parts that fell out of use are measured and named; those that work are left alone."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

import isthmus
from isthmus.diagnosis.diagnose import diagnose
from isthmus.evaluation.evaluate import MEASURES, evaluate
from isthmus.nets.flow import Flow
from models import table

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
MEASURED = (
    "log_likelihood",
    "rate",
    "aggregate_posterior",
    "prior_components",
    "flow_volume",
    "symbols",
    "classes",
    "layers",
)
WITHOUT = [name for name in MEASURES if name not in MEASURED]
SMALL = {"hidden": (32,), "epochs": 20, "random_state": 0, "threads": 1}
KINDS = np.arange(600) % 4
X = np.random.default_rng(0).normal(size=(4, 6))[KINDS] * 3 + 0.3 * np.random.default_rng(1).normal(size=(600, 6))
LABELS = np.where(np.random.default_rng(2).random(600) < 0.1, KINDS, -1)


@pytest.fixture(autouse=True)
def _few_updates(monkeypatch):
    monkeypatch.setattr("isthmus.nets.flow.STEPS", 100)


def last_layer(module: torch.nn.Module) -> torch.nn.Linear:
    return [layer for layer in module.modules() if isinstance(layer, torch.nn.Linear)][-1]


@torch.no_grad()
def one_word(model) -> None:
    for parameter in model.fitted_.model.parts()["posterior"].parameters():
        parameter.zero_()


@torch.no_grad()
def one_pseudo_input(model) -> None:
    inputs = model.fitted_.model.parts()["prior"].pseudo_inputs
    inputs.copy_(inputs[:1].expand_as(inputs))


@torch.no_grad()
def steep_map(model) -> None:
    parts = model.fitted_.model.parts()
    for each in next(m for part in parts.values() for m in part.modules() if isinstance(m, Flow)).maps:
        bias = last_layer(each).bias
        bias.copy_(1e3 * torch.randn(bias.shape, generator=torch.Generator().manual_seed(0)).abs())


@torch.no_grad()
def forgotten_class(model) -> None:
    last_layer(model.fitted_.model.parts()["posterior"].label_net).bias[0] -= 1e3


@torch.no_grad()
def idle_layer(model) -> None:
    """Nothing that a row says of the upper layer: its evidence is as wide as a log-scale may be."""
    upper = model.fitted_.model.parts()["posterior"].net.out[1]
    upper.weight.zero_()
    upper.bias.fill_(10)


PLANTED = {
    "codebook-collapse": (lambda: isthmus.VQVAE(latent_dim=8, quantization="vq(32, 2)", **SMALL).fit(X), one_word),
    "codebook-collapse, small": (
        lambda: isthmus.VQVAE(latent_dim=8, quantization="vq(8, 2)", **SMALL).fit(X),
        one_word,
    ),
    "pseudo-inputs-alike": (
        lambda: isthmus.VampPriorVAE(latent_dim=2, prior="vamp(20)", **SMALL).fit(X),
        one_pseudo_input,
    ),
    "flow-explodes": (lambda: isthmus.VAE(latent_dim=2, prior="flow(3)", **SMALL).fit(X), steep_map),
    "flow-explodes, posterior": (
        lambda: isthmus.VAE(latent_dim=2, posterior="iaf(2)", prior="refit(3)", **SMALL).fit(X),
        steep_map,
    ),
    "flow-explodes, refit": (lambda: isthmus.VAE(latent_dim=2, prior="refit(flow(3))", **SMALL).fit(X), steep_map),
    "layers-unused": (
        lambda: isthmus.LadderVAE(
            latent_dim=4, upper_dims=(2,), learning_rate=5e-3, warmup=0.5, **SMALL | {"epochs": 60}
        ).fit(X),
        idle_layer,
    ),
    "classes-unused": (
        lambda: isthmus.SemiSupervisedVAE(latent_dim=2, **SMALL).fit(X, LABELS),
        forgotten_class,
    ),
}


def codes_of(model) -> dict:
    y = LABELS if isinstance(model, isthmus.SemiSupervisedVAE) else None
    evaluation = evaluate(model, X, y, draws=20, without=WITHOUT)
    json.dumps(evaluation.to_dict(), allow_nan=False)
    findings = diagnose(model, X, y, evaluation=evaluation)
    return {finding.code: finding for each in findings for finding in (each, *each.consequences)}


VARIANTS = [code for code in PLANTED if "," in code]


@pytest.mark.parametrize(
    "code", [pytest.param(code, marks=pytest.mark.grid) if code in VARIANTS else code for code in PLANTED]
)
def test_a_part_that_fell_out_of_use_is_found_and_one_that_works_is_not(code):
    train, plant = PLANTED[code]
    model = train()
    assert not set(PLANTED) & set(codes_of(model))
    plant(model)
    finding = codes_of(model)[code.partition(",")[0]]
    assert finding.severity == "warning"
    assert {"flow-explodes, posterior": "learning_rate", "flow-explodes, refit": "full_mixture"}.get(
        code, ""
    ) in finding.remedy
    json.dumps(finding.evidence, allow_nan=False)
    better = eval(finding.remedy.replace("epochs=20", "epochs=2"), {"isthmus": isthmus, "X": X, "y": LABELS})
    assert better.fitted_ is not None


def test_a_rare_class_that_is_found_is_in_use():
    few = np.random.default_rng(0).random(2000) < 0.02
    x = np.random.default_rng(1).normal(size=(2000, 4)) + 6 * few[:, None]
    model = isthmus.SemiSupervisedVAE(latent_dim=2, **SMALL).fit(x, few.astype(int))
    measured = evaluate(model, x, few.astype(int), draws=2, without=WITHOUT)
    assert measured.value("classes") == 2
    assert "classes-unused" not in {f.code for f in diagnose(model, x, few.astype(int), evaluation=measured)}


def test_units_of_codes_are_no_explosion():
    prior = isthmus.VAE(latent_dim=2, prior="refit(flow(2))", **SMALL | {"epochs": 2}).fit(X)
    with torch.no_grad():
        prior.fitted_.model.parts()["prior"].flow.log_scale.fill_(-9.0)
    assert evaluate(prior, X, draws=2, without=WITHOUT).value("flow_volume") < 5


@pytest.mark.parametrize(("weight", "wins"), [(1e-3, True), (10, False)])
def test_a_critic_that_tells_codes_from_draws_is_named(weight, wins):
    model = isthmus.AdversarialAutoencoder(latent_dim=2, penalty=f"adversarial({weight})", **SMALL | {"epochs": 60})
    found = {
        finding.code: finding
        for finding in diagnose(model.fit(20 * X), X, evaluation=evaluate(model, X, without=WITHOUT))
    }
    assert ("critic-wins" in found) == wins
    if wins:
        assert f"adversarial({4 * weight:g})" in found["critic-wins"].remedy


def test_symbols_and_components_are_counted_exactly():
    model = isthmus.VQVAE(latent_dim=8, quantization="fsq(3)", **SMALL).fit(X)
    share = np.bincount(model.symbols(X).ravel(), minlength=3) / X.shape[0] / 8
    share = share[share > 0]
    measured = evaluate(model, X, draws=1, without=WITHOUT)
    assert measured.value("symbols") == pytest.approx(math.exp(-(share * np.log(share)).sum()), rel=1e-6)
    mixture = isthmus.VAE(latent_dim=2, prior="mixture(4)", **SMALL | {"epochs": 1}).fit(X)
    prior = mixture.fitted_.model.parts()["prior"]
    with torch.no_grad():
        prior.log_scale.fill_(-3)
        prior.logits.zero_()
        prior.loc.copy_(torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0], [0.0, 9.0]]))
    # Two of four equally likely components are the same: the nats are log 4 - log(2) / 2.
    apart = evaluate(mixture, X, draws=1, without=WITHOUT).value("prior_components")
    assert apart == pytest.approx(4 / math.sqrt(2), rel=0.03)  # of 2,000 draws


def test_a_table_without_such_parts_is_measured_without_them():
    measured = evaluate(isthmus.VAE(latent_dim=2, **SMALL).fit(table()), table(), draws=2, without=WITHOUT)
    assert not {"symbols", "classes", "prior_components", "flow_volume"} & set(measured.to_dict())


def test_a_class_too_rare_for_the_rows_is_not_accused():
    few = np.random.default_rng(0).random(2000) < 0.02
    x = np.random.default_rng(1).normal(size=(2000, 4)) + 6 * few[:, None]
    model = isthmus.SemiSupervisedVAE(latent_dim=2, **SMALL).fit(x, few.astype(int))
    with torch.no_grad():
        last_layer(model.fitted_.model.parts()["posterior"].label_net).bias[1] -= 1e3
    train = {"X": x, "y": few.astype(int)}
    measured = evaluate(model, x[~few][:100], draws=2, train=train, without=WITHOUT)
    assert measured.value("classes") == 1
    assert "classes-unused" not in {f.code for f in diagnose(model, x[~few][:100], train=train, evaluation=measured)}


def test_a_penalty_that_leaves_the_code_nothing_is_found_and_a_small_one_is_not():
    random = np.random.default_rng(0)
    x = random.normal(size=(600, 3)) @ random.normal(size=(3, 8)) * 3 + 0.3 * random.normal(size=(600, 8))
    without = [name for name in MEASURES if name not in (*MEASURED, "reconstruction", "baselines")]
    found = {}
    for weight in (0.5, 300):
        model = isthmus.BetaTCVAE(latent_dim=3, penalty=f"total_correlation({weight})", **SMALL | {"epochs": 40}).fit(x)
        evaluation = evaluate(model, x, train=x, draws=20, without=without)
        each = [f for first in diagnose(model, x, train=x, evaluation=evaluation) for f in (first, *first.consequences)]
        found[weight] = [f for f in each if f.code == "penalty-hides-reconstruction"]
    assert not found[0.5]
    assert "total_correlation(75)" in found[300][0].remedy
