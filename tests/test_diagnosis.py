"""Each finding: a model with the defect planted has it, and a healthy model does not."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import isthmus
from growth.code_free import CodeFree
from growth.recurrent import Recurrent
from isthmus.cli import fit as cli_fit
from isthmus.cli.flags import fields_given
from isthmus.cli.main import main
from isthmus.diagnosis.context import DiagnosisContext, RunRef, with_own_folders
from isthmus.diagnosis.diagnose import FINDINGS, diagnose
from isthmus.diagnosis.latent_findings import lower_kl_weight
from isthmus.diagnosis.loss_convention import LossConvention
from isthmus.diagnosis.training_findings import smaller_network
from isthmus.errors import TrainingError
from isthmus.estimators.param_validation import check_fields
from isthmus.estimators.recipe import Recipe
from isthmus.estimators.training_setup import setup_training
from isthmus.evaluation.evaluate import evaluate, has_finite_weights
from isthmus.evaluation.result import Evaluation
from isthmus.families import Bernoulli
from isthmus.finding import Finding
from isthmus.metrics.metric import Metric
from isthmus.model_registry import find_model
from isthmus.objective import Term
from isthmus.persistence import run_dir
from isthmus.terms.bounds import nll
from models import NAMES, MeanAndLogVariance, small, table, without_page, without_slow_measures

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def planted(n: int, factors: int = 2, d: int = 8, noise: float = 0.3, seed: int = 0) -> np.ndarray:
    """Rows of `factors` normal factors in rotated axes, with noise: the axes are those of seed 0, whatever the seed."""
    axes, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(d, d)))
    random = np.random.default_rng(seed + 1)
    return random.normal(size=(n, factors)) * 2 @ axes[:factors] + noise * random.normal(size=(n, d))


TRAIN, TEST = planted(600), planted(200, seed=1)


def vae(**fields) -> isthmus.VAE:
    defaults = {
        "latent_dim": 2,
        "hidden": (),
        "scaling": "global",
        "epochs": 150,
        "batch_size": 64,
        "learning_rate": 1e-2,
        "threads": 1,
        "initialization": "random",
        "prior": "normal",
    }
    return isthmus.VAE(**{**defaults, "random_state": 0, **fields})


def autoencoder(name: str = "Autoencoder", **fields):
    defaults = {
        "latent_dim": 2,
        "hidden": (),
        "scaling": "global",
        "epochs": 100,
        "batch_size": 64,
        "learning_rate": 1e-2,
        "threads": 1,
        "initialization": "random",
    }
    return getattr(isthmus, name)(**{**defaults, "random_state": 0, **fields})


SLOW = ("inference_gap", "classifier", "samples", "copies", "sharpness")
"""Metrics that few findings read, and that have their own tests."""


def findings_of(model, test=TEST, y=None, train=TRAIN, **kwargs) -> dict[str, Finding]:
    inputs = {name: kwargs.pop(name) for name in ("condition", "lengths") if name in kwargs}
    if "failure" not in kwargs and has_finite_weights(model):
        kwargs["evaluation"] = evaluate(model, test, y, **inputs, draws=100, train=train, without=SLOW)
    findings = diagnose(model, test, y, train=train, **kwargs)
    folded = [consequence for finding in findings for consequence in finding.consequences]
    return {finding.code: finding for finding in [*folded, *findings]}


@pytest.fixture(scope="module")
def healthy():
    return vae().fit(TRAIN)


@pytest.fixture(scope="module")
def codes_of_healthy(healthy):
    labels = (TEST @ np.ones(8) > 0).astype(int)
    return {finding.code for finding in diagnose(healthy, TEST, labels, train=TRAIN)}


@pytest.fixture(scope="module")
def codes_of_plain():
    return set(findings_of(autoencoder().fit(TRAIN)))


def test_a_healthy_model_has_no_findings(codes_of_healthy, codes_of_plain):
    assert not codes_of_healthy
    assert not codes_of_plain - {"latent-holes"}  # expected of a plain autoencoder


def with_spoiled_encoder():
    model = vae().fit(TRAIN)
    with torch.no_grad():  # q(z|x) far narrower than the posterior: rare draws carry everything
        model.model_.posterior.net.layers[-1].bias[2:] -= 3
    return model


def with_fallen_scale():
    model = vae(epochs=20).fit(TRAIN)
    with torch.no_grad():
        model.model_.likelihood.family.log_scale.raw.fill_(-3)
    return model


def with_dead_units():
    model = autoencoder(latent_dim=32, sparsity="l1(0.1)", epochs=20).fit(TRAIN)
    with torch.no_grad():
        model.model_.posterior.net.layers[-1].bias[:16] -= 100
    return model


class Doubled(Bernoulli):
    """No probability: e^3 too much of everything."""

    def forward(self, raw):
        made = super().forward(raw)
        inner = made.log_prob
        made.log_prob = lambda x: inner(x) + 30.0
        return made


def of_bits(**fields):
    x = (TRAIN > 0).astype(np.uint8)
    return vae(epochs=5, **fields).fit(x), {"test": (TEST > 0).astype(np.uint8), "train": x}


def of_shares():
    squeeze = 1 / (1 + np.exp(-TRAIN)), 1 / (1 + np.exp(-TEST))
    return vae(epochs=5, likelihood="bernoulli").fit(squeeze[0]), {"test": squeeze[1], "train": squeeze[0]}


def of_few_rows():
    return vae(hidden=(256, 256), epochs=600, learning_rate=5e-3, validation_fraction=0, latent_dim=8).fit(
        TRAIN[:24]
    ), {"train": TRAIN[:24]}


def of_small_units():
    return vae(epochs=60).fit(TRAIN / 1e3), {"test": TEST / 1e3, "train": TRAIN / 1e3}


def of_unequal_columns():
    units = np.logspace(0, 4, 8)
    return vae(epochs=20, scaling="global").fit(TRAIN * units), {"test": TEST * units, "train": TRAIN * units}


PLANTED = {
    "posterior-collapse": ("error", lambda: (vae(beta=1e3, epochs=60).fit(TRAIN), {})),
    "worse-than-mean": ("error", lambda: (vae(beta=1e3, epochs=60).fit(TRAIN), {})),
    "low-sample-diversity": ("warning", lambda: (vae(beta=1e3, epochs=60).fit(TRAIN), {})),
    "too-many-dimensions": ("info", lambda: (vae(latent_dim=3, epochs=60).fit(planted(3000)), {})),
    "too-few-dimensions": (
        "info",
        lambda: (vae().fit(planted(600, factors=3)), {"test": planted(200, 3, seed=1), "train": planted(600, 3)}),
    ),
    "prior-hole": ("warning", lambda: (vae(beta=1e-3).fit(TRAIN), {})),
    "worse-than-pca": ("warning", lambda: (autoencoder(epochs=30, learning_rate=3e-3).fit(TRAIN), {})),
    "bernoulli-not-binary": ("error", of_shares),
    "fixed-scale": ("warning", lambda: (vae(likelihood="normal(1)").fit(TRAIN), {})),
    "negative-loss": ("info", of_small_units),
    "probability-above-one": ("error", lambda: of_bits(likelihood=Doubled((8,)))),
    "scale-floor": ("warning", lambda: (with_fallen_scale(), {})),
    "identity-mapping": ("warning", lambda: (autoencoder(latent_dim=8, epochs=300).fit(TRAIN), {})),
    "dead-units": ("warning", lambda: (with_dead_units(), {})),
    "overfitting": ("warning", of_few_rows),
    "not-converged": ("error", lambda: (vae(epochs=12, learning_rate=5e-4).fit(TRAIN), {})),
    "warmup-too-long": ("warning", lambda: (vae(warmup=1.0, epochs=20).fit(TRAIN), {})),
    "unscaled-columns": ("warning", of_unequal_columns),
    "labels-not-encoded": ("warning", lambda: (vae(epochs=20).fit(TRAIN), {"y": np.arange(200) % 4})),
    "loose-bound": ("warning", lambda: (with_spoiled_encoder(), {})),
}


@pytest.mark.parametrize("code", PLANTED)
def test_a_planted_defect_is_found_and_a_healthy_model_has_none(code, codes_of_healthy):
    severity, plant = PLANTED[code]
    model, kwargs = plant()
    findings = findings_of(model, **kwargs)
    assert code in findings
    finding = findings[code]
    assert finding.severity == severity
    assert finding.remedy
    assert finding.evidence or code == "diverged"
    assert finding.cause
    json.dumps(finding.evidence, allow_nan=False)
    assert code not in codes_of_healthy


@pytest.mark.grid
def test_dimensions_that_the_rows_do_not_need_are_not_a_collapse():
    findings = findings_of(vae(latent_dim=8, epochs=60).fit(planted(3000)))
    assert "posterior-collapse" not in findings
    assert findings["too-many-dimensions"].evidence["active"] == findings["too-many-dimensions"].evidence["linear"] == 2
    assert "latent_dim=2" in findings["too-many-dimensions"].remedy


def test_an_overfitted_autoencoder():
    few = TRAIN[:16]
    model = autoencoder(hidden=(256, 256), latent_dim=6, epochs=600, validation_fraction=0).fit(few)
    assert "overfitting" in findings_of(model, train=few)


def islands(n: int, seed: int) -> np.ndarray:
    """Rows of four groups far from each other."""
    random = np.random.default_rng(seed)
    return 8 * np.eye(8)[random.integers(0, 4, n)] + 0.3 * random.normal(size=(n, 8))


def test_holes_between_islands():
    x, test = islands(600, 0), islands(200, 1)
    of_vae = findings_of(vae(latent_dim=4, hidden=(32,), learning_rate=5e-3).fit(x), test, train=x)["latent-holes"]
    assert of_vae.severity == "warning"
    of_plain = findings_of(autoencoder(latent_dim=3, hidden=(32,), learning_rate=5e-3).fit(x), test, train=x)[
        "latent-holes"
    ]
    assert of_plain.severity == "info"
    assert "this is expected" in of_plain.cause


@pytest.mark.grid
def test_a_better_density_baseline_is_named(codes_of_healthy):
    x, test = islands(600, 0), islands(200, 1)
    finding = findings_of(vae(latent_dim=3, hidden=(16,), epochs=300).fit(x), test, train=x)["worse-than-baseline"]
    assert "Gaussian mixture" in finding.message
    assert finding.evidence["margin"] < 0
    assert "worse-than-baseline" not in codes_of_healthy


def test_noise_is_uncorrelated(codes_of_healthy):
    x, test = (np.random.default_rng(seed).normal(size=(n, 8)) for seed, n in ((0, 600), (1, 200)))
    findings = findings_of(vae(latent_dim=1, epochs=30).fit(x), test, train=x)
    assert findings["uncorrelated-features"].severity == "info"
    assert not {"posterior-collapse", "worse-than-mean", "low-sample-diversity"} & set(findings)
    assert "uncorrelated-features" not in codes_of_healthy


def test_a_model_without_a_code_has_no_findings_about_codes(healthy):
    bits = (np.random.default_rng(0).random((600, 6)) < 0.3).astype(np.uint8)
    bits[:, 1] = bits[:, 0]
    train, test = bits[:400], bits[400:]
    model = CodeFree(epochs=30, learning_rate=0.1, random_state=0, threads=1).fit(train)
    findings = findings_of(model, test, y=test[:, 0], train=train)
    assert {code for code, finding in findings.items() if finding.severity != "info"} <= {"not-converged"}
    # Numbers that mean collapse of another model do not of one that has no code.
    numbers = {"kl": 0.0, "active_units": 0, "active_units.of": 4}
    evaluation = Evaluation("", 200, tuple(Metric(name, name, "", "", value) for name, value in numbers.items()))
    for fitted, expected in ((model.fitted_, set()), (healthy.fitted_, {"posterior-collapse"})):
        context = DiagnosisContext(fitted, evaluation)
        codes = {finding.code for look_for in FINDINGS for finding in look_for(context)}
        assert codes & {"posterior-collapse"} == expected


def test_copies_of_training_rows_are_found(healthy):
    fitted = healthy.fitted_
    parrot = copy.deepcopy(fitted.model)
    rows = fitted.schema.to_tensor(torch.from_numpy(TRAIN), fitted.dtype)

    def draw(n, c=None, mask=None, *, mean=False):
        """Training rows as samples."""
        return torch.zeros(n, 2), rows[torch.arange(n) % len(rows)]

    parrot.draw = draw
    codes = {}
    for name, model in (("parrot", dataclasses.replace(fitted, model=parrot)), ("healthy", fitted)):
        measured = evaluate(model, TEST, draws=100, train=TRAIN, without={*SLOW} - {"copies"})
        codes[name] = {finding.code: finding for finding in diagnose(model, TEST, evaluation=measured)}
    assert codes["parrot"]["memorization"].evidence["close"] > 0.9
    assert "memorization" not in codes["healthy"]


def test_distribution_shift_is_found(healthy):
    measured = evaluate(healthy, TEST + 0.7, draws=100, train=TRAIN, without={*SLOW} - {"classifier"})
    first = diagnose(healthy, TEST + 0.7, evaluation=measured)[0]
    assert first.code == "unlike-training"  # which names the columns
    shifted = {finding.code: finding for finding in first.consequences}
    assert shifted["distribution-shift"].evidence["accuracy"] > 0.6


def labelled(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows whose class shifts their mean."""
    labels = np.random.default_rng(seed + 9).integers(0, 3, n)
    return planted(n, seed=seed) + 4 * np.eye(8)[labels], labels


def conditional(**fields):
    made = autoencoder("ConditionalVAE", epochs=100, **fields)
    x, labels = labelled(600, 0)
    return made, x, labels


@pytest.mark.grid
def test_an_uninformative_condition_is_ignored_and_one_in_the_code_leaks():
    made, x, labels = conditional()
    test, given = labelled(200, 1)
    inputs = {"condition": given, "train": {"X": x, "condition": labels}}
    healthy = findings_of(made.fit(x, condition=labels), test, **inputs)
    assert not {"condition-ignored", "condition-leak"} & set(healthy)
    blind = np.random.default_rng(0).permutation(labels)
    made, x, _ = conditional()
    assert "condition-ignored" in findings_of(made.fit(x, condition=blind), test, **inputs)
    made, x, labels = conditional(beta=1e-4, latent_dim=8)
    assert "condition-leak" in findings_of(made.fit(x, condition=labels), test, **inputs)


def test_failed_training_is_explained():
    model = vae(learning_rate=1e30, epochs=5)
    with pytest.raises(TrainingError) as stopped:
        model.fit(TRAIN)
    finding = findings_of(model, failure=str(stopped.value))["diverged"]
    assert finding.severity == "error"
    assert "not finite" in finding.message
    with torch.no_grad():
        next(model.model_.parameters()).fill_(math.nan)
    assert findings_of(model)["diverged"].message == "log p(x) is not finite"


# --------------------------------------------------------------------------- wrapped networks


class Decoder(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.net = model.model_.likelihood.net

    def forward(self, z):
        return self.net(z)


def test_wrapped_networks_are_evaluated_like_the_model():
    model = vae(scaling="none", likelihood="normal(0.5)", epochs=30).fit(TRAIN.astype(np.float32))
    same = isthmus.wrap(MeanAndLogVariance(model), Decoder(model), likelihood="normal(0.5)").on(TEST.astype(np.float32))
    np.testing.assert_allclose(same.encode(TEST), model.transform(TEST), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(same.score(TEST), model.score_samples(TEST), rtol=1e-5, atol=1e-4)
    assert evaluate(same, TEST, draws=20)["elbo"].value == pytest.approx(model.elbo(TEST).mean(), abs=0.1)


def test_probabilities_logits_and_points_are_distinguished():
    bits = (TRAIN > 0).astype(np.float32)
    model = vae(epochs=10).fit(bits)
    squashed = nn.Sequential(Decoder(model), nn.Sigmoid())
    by_logits, by_chances = (
        isthmus.wrap(MeanAndLogVariance(model), net, likelihood="bernoulli").on(bits)
        for net in (Decoder(model), squashed)
    )
    np.testing.assert_allclose(by_logits.score(bits), by_chances.score(bits), rtol=1e-4)
    point = isthmus.wrap(nn.Linear(8, 3), nn.Linear(3, 8), likelihood="mse").on(TRAIN.astype(np.float32))
    assert point.capabilities.scores == "none"
    assert point.code_size == 3


@pytest.mark.parametrize(
    ("kwargs", "expected"),
    [
        ({}, 1.0),
        ({"reduction": "mean"}, 8.0),  # 1/8 of the reconstruction: the KL weighs 8 times as much
        ({"reduction": "mean", "beta": 0.5}, 4.0),
        ({"kl_reduction": "mean"}, 0.5),
        ({"reduction": "mean", "kl_reduction": "mean"}, 4.0),
    ],
)
def test_effective_beta_of_a_loss_convention(kwargs, expected):
    convention = LossConvention(**{"features": 8, "latent_dim": 2, **kwargs})
    assert convention.effective_beta == pytest.approx(expected)


def test_a_mean_over_features_is_reported_with_its_effective_beta():
    x, test = TRAIN.astype(np.float32), TEST.astype(np.float32)
    model = vae(scaling="none", likelihood="normal(0.3)").fit(x)
    nets = MeanAndLogVariance(model), Decoder(model)
    said = {f.code: f for f in isthmus.wrap(*nets, likelihood="mse", reduction="mean", beta=2.0).diagnose(test)}
    finding = said["effective-beta"]
    assert finding.evidence["effective_beta"] == pytest.approx(16.0)
    # Against the best scale: the squared error without its half is a normal of variance 1/2.
    rms = said["fixed-scale"].evidence["best_scale"]
    assert finding.evidence["effective_beta_best_scale"] == pytest.approx(16.0 * 0.5 / rms**2)
    assert "16" in finding.message
    silent = {f.code for f in isthmus.wrap(*nets, likelihood="mse").diagnose(test)}
    assert "effective-beta" not in silent


def test_the_most_common_mistake_comes_first():
    """A mean of squared errors beside a sum of KL: the code is empty, and longer training would leave it so."""
    x, test = (np.repeat(rows, 2, 1).astype(np.float32) for rows in (TRAIN, TEST))  # 16 features
    model = vae(scaling="none", likelihood="normal(0.7071)", beta=16.0 * 20, epochs=60).fit(x)
    wrapped = isthmus.wrap(MeanAndLogVariance(model), Decoder(model), likelihood="mse", reduction="mean", beta=20.0)
    first, *others = wrapped.diagnose(test, train=x)
    assert (first.code, first.severity) == ("effective-beta", "error")
    assert first.evidence["effective_beta"] == pytest.approx(320.0)
    assert any(finding.code == "posterior-collapse" for finding in first.consequences)
    others += first.consequences
    assert not any("epochs" in finding.remedy or "warmup" in finding.remedy for finding in (first, *others))


def test_a_negative_loss_outside_the_support_is_an_error():
    model = vae(epochs=2).fit((TRAIN > 0).astype(np.float32))
    (finding,) = isthmus.wrap(MeanAndLogVariance(model), Decoder(model), likelihood="bernoulli").diagnose(
        TEST.astype(np.float32)
    )
    assert finding.code == "outside-support"
    assert finding.severity == "error"
    assert "negative loss" in finding.cause


def test_what_was_not_observed_changes_no_finding_of_wrapped_networks():
    model = vae(scaling="none", likelihood="normal(0.5)", epochs=10).fit(TRAIN)
    wrapped = isthmus.wrap(MeanAndLogVariance(model), Decoder(model), likelihood="mse", reduction="mean")
    observed = np.random.default_rng(0).random(TEST.shape) < 0.8
    several = []
    for garbage in (np.nan, 0.0, 1e6):
        rows = np.where(observed, TEST, garbage).astype(np.float32)
        several.append(wrapped.diagnose(rows, observed=observed))
        same = wrapped.on(rows, observed=observed)
        np.testing.assert_allclose(
            same.encode(rows) if garbage == 0 else same.encode(np.where(observed, TEST, 0)),
            model.transform(TEST, observed=observed),
            rtol=1e-5,
            atol=1e-5,
        )
    assert several[0] == several[1] == several[2]
    assert any(finding.code == "effective-beta" for finding in several[0])


def test_invalid_arguments_of_wrap():
    with pytest.raises(isthmus.InputError, match="encoder must be a torch"):
        isthmus.wrap(lambda x: x, nn.Linear(2, 8))
    with pytest.raises(isthmus.InputError, match="Did you mean 'mean'"):
        isthmus.wrap(nn.Linear(8, 2), nn.Linear(2, 8), reduction="means")
    with pytest.raises(isthmus.InputError, match="must accept rows"):
        isthmus.wrap(nn.Linear(5, 2), nn.Linear(2, 5)).diagnose(TEST)


# ------------------------------------------------------------------------------- remedies, command


def test_remedies_can_be_run(healthy):
    by_hand = DiagnosisContext(healthy.fitted_)
    assert by_hand.retrain(warmup=0.5).startswith("isthmus.VAE(")
    assert "warmup=0.5" in by_hand.retrain(warmup=0.5)
    line = DiagnosisContext(healthy.fitted_, command=RunRef("runs/my run", "my data.csv")).retrain(
        hidden=(4, 4), warmup=0.5
    )
    assert line.startswith("isthmus fit vae 'my data.csv' -o 'runs/my run-2' ")
    assert "--hidden=4,4" in line
    assert "--warmup=0.5" in line


def test_a_remedy_never_writes_over_a_run(healthy, tmp_path):
    def folder_of(line: str) -> str:
        words = shlex.split(line)
        assert "--force" not in words
        return words[words.index("-o") + 1]

    context = DiagnosisContext(healthy.fitted_, command=RunRef(f"{tmp_path}/my run/", "b.npz"))
    seen = {f"{tmp_path}/my run"}
    for _ in range(3):
        for line in (context.retrain(epochs=7), context.other_model("Autoencoder", latent_dim=2)):
            assert folder_of(line) not in seen
            seen.add(folder_of(line))
        for folder in seen:  # the remedies are followed
            Path(folder).mkdir(exist_ok=True)
    last = DiagnosisContext(healthy.fitted_, command=RunRef(f"{tmp_path}/my run-4", "b.npz")).retrain(epochs=7)
    assert folder_of(last) == f"{tmp_path}/my run-5"  # not my run-4-2


def test_no_two_remedies_of_a_diagnosis_train_into_one_folder(healthy, tmp_path):
    for name in ("my run", "my run-3"):
        (tmp_path / name).mkdir()
    context = DiagnosisContext(healthy.fitted_, command=RunRef(f"{tmp_path}/my run", "my data.csv"))
    lines = [context.retrain(epochs=7), context.retrain(prior="normal"), context.other_model("Autoencoder")]
    follows = [
        Finding("c", "info", "", f"convert the rows, then:\n{context.other_model('Autoencoder', latent_dim=2)}"),
        Finding("d", "info", "", context.tighter_bound()),
    ]
    first = [Finding("a", "info", "", lines[0], consequences=follows), Finding("b", "info", "", "no action needed")]
    causes = with_own_folders([*first, *(Finding("e", "info", "", line) for line in lines[1:])])
    findings = [*causes, *(consequence for cause in causes for consequence in cause.consequences)]
    commands = [line for finding in findings for line in finding.remedy.splitlines() if "isthmus fit" in line]
    folders = [words[words.index("-o") + 1].removeprefix(f"{tmp_path}/") for words in map(shlex.split, commands)]
    assert folders == ["my run-2", "my run-4", "my run-autoencoder", "my run-autoencoder-2"]
    assert (commands[0], commands[2]) == (lines[0], lines[2])
    assert commands[1] == lines[1].replace("my run-2", "my run-4")
    assert [findings[1].remedy, findings[-1].remedy] == ["no action needed", context.tighter_bound()]


def accepted(line: str, x: np.ndarray) -> isthmus.VAE:
    """The model that a command or a line of Python makes, checked against rows like x."""
    if line.startswith("isthmus fit "):
        words = shlex.split(line)[2:]
        given = cli_fit.build_parser(words).parse_args(words)
        model = run_dir.make(find_model(given.model), fields_given(given))
    else:
        made = line.rpartition(".fit(")[0]
        model = eval(made, {"isthmus": isthmus})
    check_fields(model)
    condition = np.arange(len(x)) % 3 if model.conditional or model.prior == "conditional" else None
    setup_training(model, x, condition)
    return model


@pytest.mark.parametrize("command", [None, RunRef("runs/a", "b.npz")])
@pytest.mark.parametrize("name", NAMES)
def test_every_remedy_is_accepted_and_changes_something(name, command):
    x, labels = table(), np.arange(90) % 3
    inputs = {"condition": labels} if name == "ConditionalVAE" else {}
    fields = {"sparsity": "top_k(2)"} if name == "SparseAutoencoder" else {}
    model = small(name, **fields).fit(x, **inputs)
    context = DiagnosisContext(model.fitted_, command=command)
    lines = [
        context.retrain(latent_dim=model.latent_dim - 1),
        context.retrain(learning_rate=1e-5),
        context.first_effective({"hidden": ()}, {"epochs": 77}),
        context.other_model("ProbabilisticPCA", latent_dim=2),
        context.other_model("VAE", latent_dim=2),
        context.other_model("ConditionalVAE", latent_dim=2),
        smaller_network(context),
    ]
    if context.has_density:
        lines += [
            lower_kl_weight(context),
            context.first_effective({"prior": "mixture(50)"}, {"beta": 2 * context.beta}),
            context.first_effective({"prior": "refit"}, {"prior": "refit(50)"}),
            context.retrain(likelihood="normal(0.1)"),
            context.retrain(beta=0.25),
        ]
    for line in lines:
        again = accepted(line, x)
        assert type(again) is not type(model) or again.get_params() != model.get_params()


def test_a_remedy_changes_a_hyperparameter():
    model = vae(prior="mixture(50)", beta=0.5, epochs=1).fit(TRAIN)
    assert "beta=2.0" in DiagnosisContext(model.fitted_).first_effective({"prior": "mixture(50)"}, {"beta": 2.0})
    # A default that was switched off is repeated, or the new run would be corrupted after all.
    plain = isthmus.DenoisingAutoencoder(corruption=None, hidden=(), latent_dim=3, epochs=1).fit(TRAIN)
    assert "--corruption=none" in DiagnosisContext(plain.fitted_, command=RunRef("a", "b")).retrain(latent_dim=2)


def test_a_weight_of_the_kl_is_suggested_only_to_a_model_that_has_one():
    model = isthmus.IWAE(latent_dim=2, hidden=(4,), epochs=1).fit(TRAIN)
    context = DiagnosisContext(model.fitted_)
    assert context.retrain(beta=0.5) == "isthmus.VAE(latent_dim=2, hidden=(4,), epochs=1, beta=0.5).fit(X)"
    assert context.retrain(epochs=9) == "isthmus.IWAE(latent_dim=2, hidden=(4,), epochs=9).fit(X)"


def test_a_loose_bound_of_a_model_that_chains_cannot_anneal_needs_more_draws(healthy):
    assert DiagnosisContext(healthy.fitted_).tighter_bound() == "isthmus.evaluate(model, X, ais=100)"
    sequences = np.random.default_rng(0).normal(size=(40, 3, 1))
    model = Recurrent(epochs=1, random_state=0).fit(sequences, lengths=np.full(40, 3))
    assert DiagnosisContext(model.fitted_).tighter_bound() == "isthmus.evaluate(model, X, draws=10000)"


def test_a_remedy_for_a_class_of_the_user():
    class Mine(isthmus.VAE):
        """VAE."""

    model = Mine(latent_dim=2, hidden=(), epochs=1).fit(TRAIN)
    assert DiagnosisContext(model.fitted_).retrain(latent_dim=3) == "train Mine again with latent_dim=3"


class HeavyRate(isthmus.VAE):
    """A VAE whose KL term has another name and a weight that no field sets."""

    def compose(self, schema):
        model = super().compose(schema).model
        rate = Term(lambda model, batch, out: out.kl.sum(-1), "rate", is_kl=True)
        return Recipe(model, nll + 20.0 * rate)


def test_the_kl_term_is_known_by_its_flag_not_its_name():
    model = HeavyRate(latent_dim=2, hidden=(), epochs=1).fit(TRAIN)
    context = DiagnosisContext(model.fitted_)
    assert context.beta == 20.0
    assert lower_kl_weight(context) == "train HeavyRate again with weight 1 instead of 20 on its term 'rate'"
    assert DiagnosisContext(vae(beta=20.0, epochs=1).fit(TRAIN).fitted_).beta == 20.0


class TwoRates(isthmus.VAE):
    """A VAE whose KL is in two terms, as that of a hierarchy is."""

    def compose(self, schema):
        model = super().compose(schema).model
        low, high = (Term(lambda model, batch, out, i=i: out.kl[:, i], f"kl{i}", is_kl=True) for i in range(2))
        return Recipe(model, nll + low + 3.0 * high)


def test_the_heaviest_of_several_kl_terms_counts():
    context = DiagnosisContext(TwoRates(latent_dim=2, hidden=(), epochs=1).fit(TRAIN).fitted_)
    assert context.beta == 3.0
    assert lower_kl_weight(context) == "train TwoRates again with weight 1 instead of 3 on its term 'kl1'"


def test_a_convolutional_network_is_made_smaller_by_its_channels():
    x = (np.random.default_rng(0).random((40, 16, 16)) * 255).astype(np.uint8)
    model = isthmus.VAE(network="conv", channels=(8, 16), latent_dim=2, epochs=1, random_state=0).fit(x)
    assert "channels=(8, 8)" in smaller_network(DiagnosisContext(model.fitted_))


def test_the_command_ends_with_3_where_a_finding_is_an_error(tmp_path, capsys, monkeypatch):
    without_slow_measures(monkeypatch)
    without_page(monkeypatch)
    run = str(tmp_path / "run")
    fields = ["--epochs", "30", "--beta", "1000", "--initialization", "random", "--random-state", "0"]
    assert main(["fit", "vae", "iris", "-o", run, *fields]) == 0
    capsys.readouterr()
    assert main(["diagnose", run, "--draws", "50", "--json"]) == 3
    result = json.loads(capsys.readouterr().out)
    first = result["findings"][0]
    assert first["severity"] == "error"
    assert {"code", "severity", "message", "remedy", "evidence", "cause"} <= set(first)
    collapse = next(finding for finding in first["consequences"] if finding["code"] == "posterior-collapse")
    remedies = [finding["remedy"] for each in result["findings"] for finding in (each, *each["consequences"])]
    folders = [remedy.split()[5] for remedy in remedies if remedy.startswith("isthmus fit ")]
    assert f"{run}-2" in folders
    assert len(set(folders)) == len(folders) > 1
    assert collapse["remedy"].startswith(f"isthmus fit vae iris -o {run}-")
    words = collapse["remedy"].split()
    assert main([word for word in words[1:] if not word.startswith("--epochs")] + ["--epochs", "2"]) == 0  # it runs
    capsys.readouterr()
    assert main(["diagnose", str(tmp_path / "none")]) == 2


def test_a_model_diagnoses_itself(healthy):
    measured = evaluate(healthy, TEST, draws=100, train=TRAIN, without=SLOW)
    assert healthy.diagnose(TEST, evaluation=measured) == diagnose(healthy, TEST, evaluation=measured)
    assert healthy.diagnose(TEST[:20], train=TRAIN[:50]) == diagnose(healthy, TEST[:20], train=TRAIN[:50])
