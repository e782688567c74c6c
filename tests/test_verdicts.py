"""Verdicts: the cause is named first, what follows from it is folded under it, and healthy models are left alone."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits, make_swiss_roll
from torch import distributions, nn

import isthmus
from isthmus.diagnosis import baseline_findings
from isthmus.diagnosis.baseline_findings import reason_for_harm
from isthmus.diagnosis.causes import FOLLOWS, follows
from isthmus.diagnosis.context import DiagnosisContext
from isthmus.diagnosis.diagnose import diagnose
from isthmus.diagnosis.latent_findings import interpolation_holes
from isthmus.evaluation.evaluate import MEASURES, evaluate
from isthmus.evaluation.likelihood_gain import best_of
from isthmus.evaluation.result import Evaluation
from isthmus.evaluation.row_comparison import JointComparison, joint_comparison
from isthmus.evaluation.row_keys import RowKeys
from isthmus.finding import Finding, fold
from isthmus.metrics.metric import Metric

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
SLOW = ("inference_gap", "classifier", "samples", "copies", "sharpness", "paths")


def linear(n: int, k: int = 4, d: int = 16, seed: int = 0, noise: float = 0.5) -> np.ndarray:
    """Rows of a linear model with k dimensions, the same one for every seed."""
    axes, random = np.random.default_rng(42).normal(size=(k, d)), np.random.default_rng(seed)
    return random.normal(size=(n, k)) @ axes + noise * random.normal(size=(n, d))


TRAIN, TEST = linear(600), linear(200, seed=1)


def vae(**fields) -> isthmus.VAE:
    defaults = {"latent_dim": 4, "hidden": (), "scaling": "global", "epochs": 150, "batch_size": 64}
    defaults |= {"initialization": "random", "prior": "normal"}
    return isthmus.VAE(**{**defaults, "learning_rate": 1e-2, "threads": 1, "random_state": 0, **fields})


def verdicts(model, test, train=None, **kwargs) -> list[Finding]:
    measured = evaluate(model, test, draws=100, train=train, without=SLOW)
    return diagnose(model, test, train=train, evaluation=measured, **kwargs)


def every(findings: list[Finding]) -> set[str]:
    """Codes of findings and of their consequences."""
    return {f.code for f in flat(findings)}


def flat(findings: list[Finding]) -> list[Finding]:
    """Findings and their consequences."""
    return [f for finding in findings for f in (finding, *finding.consequences)]


def refitted(line: str, x: np.ndarray, **given: np.ndarray):
    """The model that a remedy trains."""
    return eval(line, {"isthmus": isthmus, "X": x, **given})


@pytest.fixture(scope="module")
def healthy():
    return vae().fit(TRAIN)


@pytest.fixture(scope="module")
def of_healthy(healthy):
    return every(verdicts(healthy, TEST, TRAIN))


def test_a_healthy_model_is_left_alone(of_healthy):
    assert not of_healthy


# ------------------------------------------------------------------------------ KL weight


class TwoHeads(nn.Module):
    """An encoder that returns a mean and a log-variance."""

    def __init__(self, features: int, latent_dim: int):
        super().__init__()
        self.net = nn.Linear(features, 2 * latent_dim)

    def forward(self, x):
        return self.net(x).chunk(2, 1)


class ScaleOutput(nn.Module):
    """An encoder whose second output is made positive."""

    def __init__(self, heads: nn.Module):
        super().__init__()
        self.heads = heads

    def forward(self, x):
        mean, scale = self.heads(x)
        return mean, nn.functional.softplus(scale)


def wrapped(**kwargs):
    torch.manual_seed(0)
    return isthmus.wrap(TwoHeads(16, 4), nn.Linear(4, 16), likelihood="mse", **kwargs)


@pytest.mark.parametrize(
    ("kwargs", "severity"),
    [
        ({"reduction": "mean", "beta": 1 / 16}, None),  # right: 1/16 of both terms
        ({"kl_reduction": "mean", "beta": 4.0}, None),
        ({"reduction": "mean"}, "error"),
        ({"reduction": "mean", "beta": 1 / 4}, "warning"),
        ({"kl_reduction": "mean"}, "warning"),
    ],
)
def test_an_average_is_right_if_its_beta_makes_the_weight_one(kwargs, severity):
    found = [f for f in verdicts_of_wrapped(wrapped(**kwargs)) if f.code == "effective-beta"]
    assert [f.severity for f in found] == ([severity] if severity else [])


def verdicts_of_wrapped(model) -> list[Finding]:
    return model.diagnose(TEST.astype(np.float32))


@pytest.mark.parametrize("epochs", [10, 80])
def test_a_high_beta_comes_first_and_no_remedy_keeps_it(epochs, of_healthy):
    findings = verdicts(vae(beta=50.0, epochs=epochs).fit(TRAIN), TEST, TRAIN)
    first = findings[0]
    assert first.code == "effective-beta"
    assert "beta=1.0" in first.remedy
    assert not any("beta=50" in f.remedy for f in (*findings, *first.consequences))
    assert "posterior-collapse" in {f.code for f in first.consequences}
    assert "effective-beta" not in of_healthy


def test_the_remedy_of_a_high_beta_helps():
    model = vae(beta=50.0, epochs=80).fit(TRAIN)
    better = refitted(verdicts(model, TEST, TRAIN)[0].remedy, TRAIN)
    assert better.score(TEST) > model.score(TEST) + 2


# -------------------------------------------------------------------------------- training


@pytest.mark.parametrize("name", ["VAE", "Autoencoder"])
def test_one_epoch_is_too_short_and_collapse_its_consequence(name):
    model = getattr(isthmus, name)(
        latent_dim=4, hidden=(16,), epochs=1, initialization="random", learning_rate=1e-3, random_state=0
    )
    model.fit(TRAIN)
    first, *others = verdicts(model, TEST, TRAIN)
    assert (first.code, first.severity) == ("not-converged", "error")
    assert "epochs='auto'" in first.remedy
    assert "worse-than-mean" in {f.code for f in first.consequences}
    assert not {f.code for f in others} & {"posterior-collapse", "worse-than-mean", "worse-than-pca"}


@pytest.mark.parametrize(
    ("name", "rate"), [("VAE", 1.0), ("Autoencoder", 1.0), pytest.param("VAE", 0.5, marks=pytest.mark.grid)]
)
def test_a_learning_rate_that_is_too_high_is_named(name, rate, of_healthy):
    fields = {"latent_dim": 4, "hidden": (32,), "epochs": 40, "initialization": "random", "random_state": 0}
    model = getattr(isthmus, name)(**fields, learning_rate=rate).fit(TRAIN)
    findings = verdicts(model, TEST, TRAIN)
    assert findings[0].code == "learning-rate"
    assert "learning_rate=0.001" in findings[0].remedy
    assert "learning-rate" not in of_healthy


# ------------------------------------------------------------------------------ dimensions


@pytest.mark.grid
def test_far_too_many_dimensions_come_first_with_the_number_to_take(of_healthy):
    train, test = linear(600, k=3, noise=0.3), linear(200, k=3, seed=1, noise=0.3)
    model = vae(latent_dim=64, hidden=(32,), epochs=30, learning_rate=1e-3).fit(train)
    first = verdicts(model, test, train)[0]
    assert first.code == "too-many-dimensions"
    assert first.evidence["linear"] == 3
    assert "latent_dim=3" in first.remedy
    assert refitted(first.remedy, train).score(test) > model.score(test)
    assert "too-many-dimensions" not in of_healthy


@pytest.mark.parametrize("k", [6, pytest.param(8, marks=pytest.mark.grid)])
def test_one_dimension_for_several_is_too_few_with_the_number_to_take(k, of_healthy):
    train, test = linear(500, k=k, noise=0.2), linear(200, k=k, seed=1, noise=0.2)
    model = vae(latent_dim=1, epochs=60).fit(train)
    first = verdicts(model, test, train)[0]
    assert first.code == "too-few-dimensions"
    assert f"latent_dim={k}" in first.remedy
    assert refitted(first.remedy, train).score(test) > model.score(test) + 3
    assert "too-few-dimensions" not in of_healthy


def test_one_unit_of_an_autoencoder_for_several_dimensions_is_too_few():
    """Where no direction of the residuals stands out, it is seen by an error that is about PCA's."""
    train, test = linear(500, k=8, noise=1.0), linear(200, k=8, seed=1, noise=1.0)
    model = isthmus.Autoencoder(latent_dim=1, hidden=(16,), epochs=40, random_state=0).fit(train)
    first = verdicts(model, test, train)[0]
    assert (first.code, first.severity) == ("too-few-dimensions", "warning")
    assert "latent_dim=8" in first.remedy


def test_the_held_out_curve_finds_the_dimensions_of_linear_data(healthy):
    for k in (1, 3, 7):
        rows = linear(400, k=k)
        assert evaluate(healthy, rows[:50], train=rows, draws=1, without=SLOW).value("linear_dimensions") == k
    noise = np.random.default_rng(0).normal(size=(400, 16))
    assert evaluate(healthy, noise[:50], train=noise, draws=1, without=SLOW).value("linear_dimensions") == 0


@pytest.mark.grid
def test_a_code_that_was_given_and_does_not_suit_the_rows_is_left_to_choose():
    """A rolled-up sheet, which two dimensions from a linear start do not follow; longer training is no remedy."""
    x = make_swiss_roll(1000, noise=0.05, random_state=0)[0]
    train, test = x[:800], x[800:]
    model = isthmus.VAE(latent_dim=2, random_state=0, threads=1).fit(train)
    (finding,) = [f for f in flat(verdicts(model, test, train)) if f.code == "worse-than-baseline"]
    assert "latent_dim='auto'" in finding.remedy
    assert refitted(finding.remedy, train).score(test) > model.score(test) + 1


# ------------------------------------------------------------------- the mean row, data scale


@pytest.mark.parametrize("given", [None, TRAIN + 50])
def test_an_offset_is_named_where_reconstructions_are_far_worse_than_the_mean(given):
    model = isthmus.Autoencoder(latent_dim=4, epochs=1, scaling="none", initialization="random", random_state=0).fit(
        TRAIN + 50
    )
    first = verdicts(model, TEST + 50, given)[0]
    assert (first.code, first.severity) == ("worse-than-mean", "error")
    assert "scaling='standard'" in first.remedy
    better = refitted(first.remedy, TRAIN + 50)
    errors = [np.square(m.inverse_transform(m.transform(TEST + 50)) - TEST - 50).sum(1).mean() for m in (better, model)]
    assert errors[0] < 0.1 * errors[1]


@pytest.mark.parametrize("offset", [0.0, 50.0])
def test_untrained_networks_are_worse_than_the_mean_row(offset):
    torch.manual_seed(0)
    nets = nn.Linear(16, 4), nn.Sequential(nn.Linear(4, 16), nn.Unflatten(1, (16,)))
    rows = (TEST + offset).astype(np.float32)
    findings = isthmus.wrap(*nets, likelihood="mse").diagnose(10 * rows)
    assert ("worse-than-mean", "error") in {(f.code, f.severity) for f in findings}


def test_uncorrelated_rows_are_no_collapse_with_or_without_training_rows():
    x = np.random.default_rng(0).normal(size=(800, 6)).astype(np.float32)
    model = isthmus.VAE(latent_dim=4, epochs=3, hidden=(32,), random_state=0).fit(x[:600])
    for train in (None, x[:600]):
        assert every(verdicts(model, x[600:], train)) <= {"uncorrelated-features", "not-converged", "worse-than-pca"}


# ------------------------------------------------------------------------ ordering and rounding


def test_a_model_is_never_worse_than_itself():
    model = isthmus.ProbabilisticPCA(latent_dim=3).fit(linear(1000, k=3))
    assert not every(verdicts(model, linear(300, k=3, seed=1), linear(1000, k=3)))


def test_causes_come_before_consequences_and_take_their_severity():
    names = ("symptom", "cause", "root", "apart", "note")
    severities = ("error", "warning", "warning", "warning", "info")
    findings = [Finding(name, severity, "", "") for name, severity in zip(names, severities, strict=True)]
    follows = {"root": ("cause",), "cause": ("symptom",), "note": ("apart",)}
    folded = fold(findings, follows)
    assert [(f.code, f.severity) for f in folded] == [("root", "error"), ("apart", "warning"), ("note", "info")]
    assert [f.code for f in folded[0].consequences] == ["symptom", "cause"]
    assert "consequences: symptom, cause" in str(folded[0])


def test_no_code_explains_itself():
    assert not [code for code, explained in FOLLOWS.items() if code in explained and code != "worse-than-mean"]


@pytest.mark.grid
def test_the_remedy_of_a_conditional_model_runs():
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 800)
    x = linear(800, k=2, d=8) + 4 * np.eye(8)[labels]
    model = isthmus.ConditionalVAE(latent_dim=1, hidden=(8,), epochs=4, random_state=0)
    model.fit(x[:600], condition=labels[:600])
    given = {"X": x[:600], "condition": labels[:600]}
    measured = evaluate(model, x[600:], condition=labels[600:], draws=50, train=given, without=SLOW)
    findings = diagnose(model, x[600:], condition=labels[600:], train=given, evaluation=measured)
    lines = [f.remedy for finding in findings for f in (finding, *finding.consequences)]
    ran = [eval(line, {"isthmus": isthmus, "X": x[:200], "y": labels[:200]}) for line in lines if "isthmus." in line]
    assert ran


def test_a_weak_code_that_is_right_is_no_fault():
    """One dimension of 0.87 nats, an eighth of the variance of forty columns; hundredths of a nat are only noted."""
    random, axis = np.random.default_rng(0), np.full((1, 40), np.sqrt(4.7 / 40))
    x = random.normal(size=(1500, 1)) @ axis + random.normal(size=(1500, 40))
    train, test = x[:1000], x[1000:]
    for size in ("auto", 1):
        model = isthmus.VAE(latent_dim=size, random_state=0, threads=1).fit(train)
        findings = verdicts(model, test, train)
        assert not [f for f in findings if f.severity != "info"]
        assert "posterior-collapse" not in every(findings)
    far = verdicts(vae(latent_dim=12, hidden=(64,), epochs=60, learning_rate=1e-2).fit(train[:100]), test, train[:100])
    assert [f for f in far if f.severity != "info"]


def test_scales_that_are_read_as_log_variances_are_named():
    """An encoder whose second output is the scale of q(z given x), wrapped as if it were the log-variance."""
    torch.manual_seed(0)
    x = torch.as_tensor(TRAIN / TRAIN.std(0), dtype=torch.float32)
    encoder, decoder = TwoHeads(16, 4), nn.Linear(4, 16)
    scaled = ScaleOutput(encoder)
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], 1e-2)
    for _ in range(300):
        mean, scale = scaled(x)
        z = mean + scale * torch.randn_like(mean)
        kl = (0.5 * (mean**2 + scale**2 - 1) - scale.log()).sum(1)
        loss = (0.5 * (decoder(z) - x).square().sum(1) / 0.1 + kl).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    rows = TEST.astype(np.float32) / TRAIN.std(0).astype(np.float32)
    wrong, right = (
        isthmus.wrap(scaled, decoder, likelihood="normal(0.3)", scale_output=output).diagnose(rows)
        for output in ("log_variance", "scale")
    )
    assert wrong[0].code == "no-noise"
    assert "scale_output" in wrong[0].remedy
    assert "no-noise" not in every(right)


# --------------------------------------------------------------------------------- the rows


def test_training_rows_among_the_measured_rows_are_counted(healthy, of_healthy):
    for test, count in ((np.r_[TEST[:100], TRAIN[:100]], 100), (TRAIN[:200], 200)):
        first = verdicts(healthy, test, TRAIN)[0]
        assert (first.code, first.severity) == ("leak", "error")
        assert first.evidence["rows"] == count
    doubled = np.repeat(linear(400), 2, 0)[np.random.default_rng(0).permutation(800)]
    first = verdicts(vae(epochs=5).fit(doubled[:600]), doubled[600:], doubled[:600])[0]
    assert first.code == "leak"
    assert first.evidence["doubled"] == 600 - len(np.unique(doubled[:600], axis=0))
    assert "duplicate-rows" in {f.code for f in first.consequences}
    assert "leak" not in of_healthy


def test_how_many_rows_are_measured_says_nothing_of_the_training_rows(healthy):
    few, few_train = TEST[:40], TRAIN[:40]
    assert "few-rows" not in every(verdicts(healthy, few)) | every(verdicts(healthy, few, TRAIN))
    assert "few-rows" in every(verdicts(vae(epochs=5).fit(few_train), TEST, few_train))


def test_rows_of_few_values_coincide_without_a_leak():
    bits = (linear(800, k=3, d=8) > 0).astype(np.uint8)
    model = vae(epochs=5).fit(bits[:600])
    assert not {f.code for f in verdicts(model, bits[600:], bits[:600]) if f.severity != "info"} & {
        "leak",
        "duplicate-rows",
    }


@pytest.mark.parametrize(
    ("how", "n"), [*[(how, n) for how in ("scaled", "moved") for n in (1, 2, 5, 200)], ("permuted", 200)]
)
def test_rows_from_elsewhere_are_unlike_training_in_any_number(n, how, healthy, of_healthy):
    test = linear(n, seed=1)
    if how == "scaled":
        test = 20 * test
    elif how == "moved":
        test[:, 3] += 15
    else:
        test = np.stack([column[np.random.default_rng(j).permutation(n)] for j, column in enumerate(test.T)], 1)
    first, *others = verdicts(healthy, test, TRAIN)
    assert first.code == "unlike-training"
    if how == "moved" and n == 200:
        assert first.evidence["columns"][0] == "3"
    assert "overfitting" not in {f.code for f in others}
    assert "unlike-training" not in of_healthy


def unlike(model, test, train) -> bool:
    return "unlike-training" in every(verdicts(model, test, train))


def test_copies_and_missing_values_do_not_hide_where_rows_come_from():
    x = linear(900, k=2, d=5, seed=3)
    doubled, others = np.repeat(x[:300], 2, 0), x[300:500]
    model = vae(epochs=5).fit(doubled)
    assert not unlike(model, others, doubled)
    assert unlike(model, 10 * others, doubled)
    gaps = isthmus.VAE(latent_dim=2, hidden=(8,), epochs=5, random_state=0)
    hole = np.random.default_rng(0).random(x.shape) > 0.1
    train = {"X": x[:600], "observed": hole[:600]}
    gaps.fit(x[:600], observed=hole[:600])

    def found(rows: np.ndarray, observed: np.ndarray) -> set[str]:
        measured = evaluate(gaps, rows, observed=observed, train=train, draws=20, without=SLOW)
        return every(diagnose(gaps, rows, observed=observed, train=train, evaluation=measured))

    assert not found(x[600:], hole[600:]) & {"unlike-training", "leak"}
    assert "unlike-training" in found(x[600:] + 5, hole[600:])
    assert "leak" in found(x[:200], hole[:200])


TAILS = {
    "normal": lambda random, size: random.normal(size=size),
    "lognormal": lambda random, size: random.lognormal(size=size),
    "student_t": lambda random, size: random.standard_t(2, size=size),
}


@pytest.mark.parametrize("n", [100, 600])
@pytest.mark.parametrize("tails", TAILS)
def test_a_row_of_the_same_distribution_is_not_far_however_heavy_its_tails(tails, n):
    random = np.random.default_rng(0)
    for seed in range(5):
        train, rows = (TAILS[tails](random, (count, 4)) for count in (n, 300))
        far = [joint_comparison(train, row[None], seed).far for row in rows]
        assert np.mean(far) < 0.01
        assert joint_comparison(train, 1e3 * train[:5] + 1e4, seed).far == 1


def test_rows_far_outside_are_called_so(healthy):
    (moved := linear(1, seed=1))[:, 3] += 15
    finding = verdicts(healthy, moved, TRAIN)[0]
    assert finding.code == "unlike-training"
    assert "far outside" in finding.message
    assert "go together" not in finding.message
    assert finding.evidence["far"] == 1
    shuffled = np.stack([np.random.default_rng(j).permutation(column) for j, column in enumerate(TEST.T)], 1)
    assert "go together" in verdicts(healthy, shuffled, TRAIN)[0].message


def test_a_training_row_and_its_copy_are_compared_with_others_as_one_row():
    # Of 40 rows in 200 columns a linear model knows each, and so its copy in the other half.
    rows = np.random.default_rng(0).normal(size=(340, 200))
    doubled = np.r_[rows[:40], rows[:40].astype(np.float32)]
    for seed in range(4):
        assert joint_comparison(doubled, rows[40:], seed) == joint_comparison(rows[:40], rows[40:], seed)
        assert joint_comparison(doubled, rows[40:], seed) == JointComparison()


def test_levels_are_preferred_to_counts_only_where_they_are_clearly_better():
    random = np.random.default_rng(0)
    noise = random.normal(size=200)
    scores = {"current": np.full(200, -9.0), "negative_binomial": np.full(200, -5.0)}
    for lead, best in ((0.05, "negative_binomial"), (0.5, "beta_binomial")):
        assert best_of({**scores, "beta_binomial": -5.0 + lead + noise - noise.mean()}, columns=1) == best


def test_numbers_of_unlike_kinds_are_not_cut_to_be_equal():
    whole = np.random.default_rng(0).integers(0, 100, size=(300, 4))
    model = isthmus.VAE(latent_dim=2, likelihood="normal", epochs=1, random_state=0).fit(whole)
    keys = RowKeys(isthmus.Examples(whole[:100] + 0.4), isthmus.Examples(whole))
    assert keys.copies == 0
    assert RowKeys(isthmus.Examples(whole[:100].astype(float)), isthmus.Examples(whole)).copies == 100
    assert "leak" not in every(verdicts(model, whole[:100] + 0.4, whole))


def test_copies_with_many_gaps_and_signed_zeros_are_found():
    random = np.random.default_rng(0)
    x, seen = random.normal(size=(100, 100)), random.random((100, 100)) < 0.4  # some forty values a row
    rows = isthmus.Examples(np.where(seen, x, 0), observed=seen)
    assert RowKeys(rows, rows).copies == 100
    zeros = np.round(random.normal(size=(100, 3)))
    assert RowKeys(isthmus.Examples(np.abs(zeros) * -1.0), isthmus.Examples(-np.abs(zeros) + 0.0)).copies == 100


@pytest.mark.parametrize("offset", [0.0, 1e8])
def test_rows_that_are_wider_are_seen_at_any_offset(offset):
    x = np.random.default_rng(0).normal(size=(600, 4))
    compared = joint_comparison(x[:400] + offset, 5 * x[400:] + offset, 0)
    assert compared.difference > 0.5


def test_remedies_for_rows_with_gaps_take_the_mask_without_training_rows():
    seen = np.random.default_rng(0).random(TRAIN.shape) > 0.2
    model = vae(beta=50.0, epochs=20).fit(TRAIN, observed=seen)
    findings = flat(isthmus.diagnose(model, TEST, observed=seen[:200]))
    lines = [f.remedy for f in findings if ".fit(" in f.remedy]
    assert lines
    assert all("observed=observed" in line for line in lines)


def test_single_precision_does_not_hide_a_leak():
    model = vae(epochs=5).fit(TRAIN)
    first = verdicts(model, TRAIN[:100].astype(np.float32), TRAIN)[0]
    assert (first.code, first.evidence["rows"]) == ("leak", 100)


def test_one_of_several_indicators_is_no_label():
    labels = np.random.default_rng(1).integers(0, 3, 300)
    x = linear(300, d=8)
    for rows in (np.c_[x, np.eye(3)[labels]], np.c_[np.eye(3)[labels], x]):
        assert "leak" not in {f.code for f in isthmus.check(rows).findings}


def test_a_label_explains_no_copies_of_rows():
    leak = Finding("leak", "warning", "", "", {"column": "3"})
    copies, overlap = Finding("duplicate-rows", "warning", "", ""), Finding("leak", "error", "", "", {"share": 0.5})
    assert len(fold([leak, copies], follows([leak, copies]))) == 2
    assert len(fold([overlap, copies], follows([overlap, copies]))) == 1


def test_a_label_among_the_columns_is_a_leak():
    labels = np.arange(300) % 3
    x = linear(300, d=8) + 12 * np.eye(8)[labels]
    with_label = np.c_[x, labels]
    for examples in (with_label, isthmus.Examples(with_label, y=labels + 5)):
        (finding,) = [f for f in isthmus.check(examples).findings if f.code == "leak"]
        assert finding.evidence["column"] == "8"
    random = np.c_[x, np.random.default_rng(0).integers(0, 3, 300)]
    for rows in (x, isthmus.Examples(x, y=labels), random, isthmus.Examples(random, y=labels)):
        assert "leak" not in {f.code for f in isthmus.check(rows).findings}
    model = vae(epochs=5).fit(with_label)
    assert "leak" in every(verdicts(model, with_label[:200]))


def test_zeros_that_stand_for_missing_values():
    x = 50 + linear(300, d=4)
    assert "zeros" not in {f.code for f in isthmus.check(x).findings}
    x[:30, 2] = 0
    (finding,) = [f for f in isthmus.check(x).findings if f.code == "zeros"]
    assert finding.evidence == {"columns": 1, "zeros": 30}
    counts = np.random.default_rng(0).poisson(5, size=(300, 4))
    assert "zeros" not in {f.code for f in isthmus.check(counts).findings}


def test_columns_far_from_zero_should_be_centred():
    for scaling, expected in (("none", True), ("auto", False)):
        codes = {f.code for f in isthmus.check(TRAIN + 100, scaling=scaling).findings}
        assert ("large-offset" in codes) == expected
    model = vae(scaling="none", hidden=(16,), epochs=30, learning_rate=1e-3).fit(TRAIN + 10)
    finding = next(f for f in verdicts(model, TEST + 10, TRAIN + 10) if f.code in ("large-offset", "worse-than-mean"))
    assert "scaling='standard'" in finding.remedy
    assert refitted(finding.remedy, TRAIN + 10).score(TEST + 10) > model.score(TEST + 10) + 2
    # Columns far from 0 harm no model that has learned them.
    exact = isthmus.ProbabilisticPCA(latent_dim=4, scaling="none").fit(TRAIN + 10)
    assert "large-offset" not in every(verdicts(exact, TEST + 10, TRAIN + 10))


# ------------------------------------------------------------------------------- likelihoods


def counts(n: int, seed: int) -> np.ndarray:
    """Overdispersed counts of two factors."""
    random, axes = np.random.default_rng(seed), 0.5 * np.random.default_rng(42).normal(size=(2, 20))
    return random.poisson(np.exp(random.normal(size=(n, 2)) @ axes + 1.5) * random.gamma(2, 0.5, size=(n, 20)))


def heavy(n: int, seed: int) -> np.ndarray:
    """Linear rows with noise of heavy tails."""
    return linear(n, k=3, seed=seed, noise=0.0) + 0.5 * np.random.default_rng(seed).standard_t(1.5, size=(n, 16))


LIKELIHOODS = {
    "normal on counts": ({}, lambda n, s: counts(n, s).astype(float), "negative_binomial"),
    "poisson on overdispersed counts": ({"likelihood": "poisson"}, counts, "negative_binomial"),
    "normal on heavy tails": ({"latent_dim": 3}, heavy, "student_t"),
    "normal on normal": ({}, lambda n, s: linear(n, seed=s), None),
    "negative binomial on counts": ({}, counts, None),
}


@pytest.mark.parametrize("case", LIKELIHOODS)
def test_the_likelihood_to_take_is_named_by_what_it_gains(case):
    fields, rows, expected = LIKELIHOODS[case]
    train, test = rows(500, 0), rows(200, 1)
    model = vae(**{"latent_dim": 2, "hidden": (16,), "epochs": 40, "scaling": "auto", **fields}).fit(train)
    findings = [f for f in verdicts(model, test, train) if f.code == "wrong-likelihood"]
    assert [f.evidence["likelihood"] for f in findings] == ([expected] if expected else [])
    for finding in findings:
        assert f"likelihood={expected!r}" in finding.remedy
        refitted(finding.remedy, train[:100])


def test_levels_stored_as_floats_are_levels():
    levels = np.clip(np.round(8 + 5 * linear(500, k=2, d=9)), 0, 16)
    model = vae(latent_dim=2, epochs=30).fit(levels[:300])
    finding = next(f for f in verdicts(model, levels[300:], levels[:300]) if f.code == "wrong-likelihood")
    assert finding.evidence["likelihood"] == "beta_binomial"
    assert refitted(finding.remedy, levels[:300]).schema_.levels == 17


def offered(train: np.ndarray, test: np.ndarray) -> str:
    """The likelihood that gains the most over a normal."""
    model = vae(latent_dim=2, hidden=(16,), epochs=10, scaling="auto").fit(train)
    only = [name for name in MEASURES if name != "likelihood_gain"]
    return evaluate(model, test, train=train, draws=1, without=only).value("likelihood_gain.name")


@pytest.mark.parametrize("mean", [0.3, 1.0, 3.0])
def test_integers_without_a_clear_bound_are_counts(mean):
    random = np.random.default_rng(0)
    train, test = (random.poisson(mean, size=(n, 20)).astype(float) for n in (500, 200))
    assert offered(train, test) == "negative_binomial"


def test_integers_that_pile_up_at_a_bound_are_levels():
    pixels = load_digits().data[np.random.default_rng(0).permutation(1797)]  # from 0 to 16
    assert offered(pixels[:300], pixels[300:500]) == "beta_binomial"


def test_the_bound_of_levels_is_that_of_all_rows():
    levels = np.clip(np.round(8 + 5 * linear(500, k=2, d=9)), 0, 16)
    train, test = levels[:300], levels[300:]
    assert offered(train, test) == "beta_binomial"
    for value in (300.0, -1.0, 0.5):  # no byte holds these
        other = train.copy()
        other[0, 0] = value
        assert offered(other, test) != "beta_binomial"


# -------------------------------------------------------------------------------- wide codes


def test_a_plain_code_wider_than_the_data_leaks_and_a_sparse_one_is_healthy():
    plain = isthmus.Autoencoder(hidden=(32,), latent_dim=32, epochs=40, learning_rate=3e-3, random_state=0).fit(TRAIN)
    findings = verdicts(plain, TEST, TRAIN)
    assert findings[0].code == "identity-leak"
    assert "latent_dim=4" in findings[0].remedy
    assert not every(findings) & {"worse-than-pca", "too-few-dimensions"}
    fields = {"latent_dim": 64, "sparsity": "top_k(8)", "epochs": 60, "learning_rate": 3e-3, "random_state": 0}
    sparse = isthmus.SparseAutoencoder(**fields).fit(TRAIN)
    assert not {f.code for f in verdicts(sparse, TEST, TRAIN) if f.severity != "info"}


# ------------------------------------------------------------------------------- overfitting


@pytest.mark.grid
@pytest.mark.parametrize("name", ["VAE", "Autoencoder"])
def test_overfitting_comes_first_and_its_remedy_improves_other_rows(name):
    train, test = linear(60, noise=0.3), linear(200, seed=1, noise=0.3)
    fields = {"latent_dim": 6, "hidden": (256, 256), "epochs": 400, "validation_fraction": 0, "random_state": 0}
    model = getattr(isthmus, name)(**fields).fit(train)
    first = verdicts(model, test, train)[0]
    assert first.code == "overfitting"
    better = refitted(first.remedy, train)
    key = "log_likelihood" if name == "VAE" else "reconstruction"
    before, after = (evaluate(m, test, draws=100, without=SLOW).value(key) for m in (model, better))
    assert after > before if name == "VAE" else after < before


# -------------------------------------------------------------------------- wrapped networks


class Heads(nn.Module):
    """An encoder whose mean is exact and whose log-variance is a constant."""

    def __init__(self, axes: np.ndarray, log_variance: float, factor: float = 1.0):
        super().__init__()
        self.axes, self.log_variance = nn.Parameter(torch.tensor(axes, dtype=torch.float32)), log_variance
        self.factor = factor

    def forward(self, x):
        mean = self.factor * x @ self.axes.T
        return mean, torch.full_like(mean, self.log_variance)


class Turn(nn.Module):
    """The decoder of `Heads`."""

    def __init__(self, axes: np.ndarray, factor: float = 1.0, last: nn.Module | None = None):
        super().__init__()
        self.axes, self.factor = nn.Parameter(torch.tensor(axes, dtype=torch.float32)), factor
        self.last = last or nn.Identity()

    def forward(self, z):
        return self.last(z @ self.axes / self.factor)


@pytest.mark.parametrize(
    ("factor", "log_variance", "last", "code"),
    [
        (0.3, 0.0, None, "no-noise"),
        (100.0, 0.0, None, "kl-not-minimized"),
        (1.0, -4.0, nn.Sigmoid(), "decoder-range"),
        (1.0, -4.0, None, None),
    ],
)
def test_mistakes_of_a_loop_are_named(factor, log_variance, last, code):
    axes = np.linalg.svd(TRAIN - TRAIN.mean(0), full_matrices=False)[2][:4]
    nets = Heads(axes, log_variance, factor), Turn(axes, factor, last)
    findings = isthmus.wrap(*nets, likelihood="mse").diagnose(TEST.astype(np.float32))
    causes = {"no-noise", "kl-not-minimized", "decoder-range"}
    if code is None:
        assert not every(findings) & causes
    else:
        assert (findings[0].code, findings[0].severity) == (code, "error")


# ---------------------------------------------------------------------------------- cleaning


@pytest.mark.parametrize("code", [code for code in FOLLOWS if code != "worse-than-input"])
def test_harm_by_a_denoiser_is_no_consequence_of_any_cause(code):
    others = [Finding(name, "warning", "", "") for name in (code, "worse-than-mean", "worse-than-pca")]
    folded = fold([*others, Finding("worse-than-input", "error", "", "")], FOLLOWS)
    assert (folded[0].code, folded[0].severity) == ("worse-than-input", "error")
    assert {f.severity for f in folded[1:]} <= {"warning"}


def test_cleaning_that_does_harm_is_named():
    fields = {"latent_dim": 1, "hidden": (16,), "epochs": 40, "scaling": "global", "random_state": 0}
    for corruption, harms in (("gaussian(0.1)", True), ("gaussian(3)", False)):
        model = isthmus.DenoisingAutoencoder(corruption=corruption, **fields).fit(TRAIN)
        assert ("worse-than-input" in every(verdicts(model, TEST, TRAIN))) == harms
    damaged, clean = TRAIN + 0.05 * linear(600, seed=5, noise=1.0), TRAIN
    paired = isthmus.DenoisingAutoencoder(corruption=None, **fields).fit(damaged, target=clean)
    rows = isthmus.Examples(TEST + 0.05 * linear(200, seed=6, noise=1.0), target=TEST)
    ratio = evaluate(paired, rows, without=SLOW).value("cleaning")
    cleaned = np.square(paired.inverse_transform(paired.transform(rows.x)) - TEST).sum()
    assert ratio == pytest.approx(cleaned / np.square(rows.x - TEST).sum(), rel=1e-3)


def cleaning_ratio(model, rows) -> float:
    return evaluate(model, rows, without=[name for name in MEASURES if name != "cleaning"]).value("cleaning")


@pytest.mark.parametrize(
    ("fields", "remedy", "cause"),
    [
        ({"latent_dim": 1}, {"latent_dim": 4, "epochs": 80}, "fewer dimensions"),
        ({"latent_dim": 8}, {"latent_dim": 8, "epochs": 80}, "undertrained"),
        ({"latent_dim": 32}, {"latent_dim": 32, "epochs": 80}, "undertrained"),
        ({"latent_dim": 32, "hidden": (64, 64), "epochs": 400}, {}, "smaller than"),
    ],
)
def test_a_larger_code_is_no_remedy_of_cleaning_where_rows_do_not_need_it(fields, remedy, cause):
    fields = {"hidden": (16,), "epochs": 40, "scaling": "global", "patience": 2000, "random_state": 0, **fields}
    model = isthmus.DenoisingAutoencoder(corruption="gaussian(0.1)", **fields).fit(TRAIN)
    findings = verdicts(model, TEST, TRAIN)
    (finding,) = [f for f in findings if f.code == "worse-than-input"]  # itself, not a consequence of another one
    assert finding.severity == findings[0].severity == "error"
    assert cause in finding.cause
    assert ("isthmus." in finding.remedy) == bool(remedy)
    if remedy:
        better = refitted(finding.remedy, TRAIN)
        assert better.get_params() == {**model.get_params(), **remedy}
        assert cleaning_ratio(better, TEST) < 0.9 * cleaning_ratio(model, TEST)


def test_a_wide_code_that_keeps_the_damage_should_be_narrower():
    clean, test = linear(150, noise=0.1), linear(200, seed=1, noise=0.1)
    noise = 0.3 * np.random.default_rng(0).normal(size=(350, 16))
    damaged, rows = clean + noise[:150], isthmus.Examples(test + noise[150:], target=test)
    fields = {"latent_dim": 32, "hidden": (64, 64), "epochs": 200, "random_state": 0, "corruption": None}
    model = isthmus.DenoisingAutoencoder(**fields).fit(damaged, target=clean)
    measured = evaluate(model, rows, train=isthmus.Examples(damaged, target=clean), without=SLOW)
    remedy, cause = reason_for_harm(DiagnosisContext(model.fitted_, measured))
    assert "can keep the damage" in cause
    assert "latent_dim=4," in remedy


def test_remedies_of_a_model_of_damaged_and_clean_rows_take_both():
    damaged, clean = TRAIN + linear(600, seed=5, noise=1.0), TRAIN
    fields = {"latent_dim": 1, "hidden": (16,), "epochs": 1, "learning_rate": 1e-4, "initialization": "random"}
    model = isthmus.DenoisingAutoencoder(corruption=None, random_state=0, **fields).fit(damaged, target=clean)
    test = isthmus.Examples(TEST + linear(200, seed=6, noise=1.0), target=TEST)
    findings = flat(verdicts(model, test, isthmus.Examples(damaged, target=clean)))
    lines = [f.remedy for f in findings if ".fit(" in f.remedy]
    assert lines
    for line in lines:
        assert ".fit(X, target=target)" in line
        assert refitted(line.replace("'auto'", "2"), damaged[:100], target=clean[:100]).schema_.paired


def test_remedies_of_a_model_of_rows_with_gaps_take_the_mask():
    seen = np.random.default_rng(0).random(TRAIN.shape) < 0.8
    model = isthmus.VAE(latent_dim=4, epochs=1, initialization="random", random_state=0).fit(TRAIN, observed=seen)
    for observed, expected in ((seen, ".fit(X, observed=observed)"), (np.ones(seen.shape, bool), ".fit(X)")):
        train = {"X": TRAIN, "observed": observed}
        lines = [f.remedy for f in flat(verdicts(model, TEST, train)) if ".fit(" in f.remedy]
        assert lines
        assert all(expected in line for line in lines)
        refitted(lines[0].replace("'auto'", "2"), TRAIN, observed=observed)


# ------------------------------------------------------------------- networks that are healthy


def test_outputs_in_the_interval_of_the_rows_are_no_fault():
    x = 1 / (1 + np.exp(-linear(300, k=2))).astype(np.float32)
    torch.manual_seed(0)
    nets = TwoHeads(16, 2), nn.Sequential(nn.Linear(2, 16), nn.Sigmoid())
    optimizer = torch.optim.Adam([p for net in nets for p in net.parameters()], 1e-2)
    for _ in range(300):
        mean, log_variance = nets[0](torch.as_tensor(x))
        z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(1).mean()
        loss = torch.square(nets[1](z) - torch.as_tensor(x)).sum(1).mean() + kl
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert "decoder-range" not in every(isthmus.wrap(*nets, likelihood="mse").diagnose(x))
    assert "decoder-range" in every(isthmus.wrap(*nets, likelihood="mse").diagnose(10 * (x - 0.5)))


def test_a_sparse_code_of_networks_of_ones_own_is_no_identity():
    torch.manual_seed(0)

    class Sparse(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Linear(16, 64)

        def forward(self, x):
            return torch.relu(self.net(x) - 1)

    assert "identity-leak" not in every(isthmus.wrap(Sparse(), nn.Linear(64, 16), likelihood="mse").diagnose(TEST))


@pytest.mark.parametrize(("repeated", "severity"), [(False, "warning"), (True, "info")])
def test_a_loss_that_falls_for_values_that_repeat_is_no_lack_of_training(repeated, severity):
    train, test = (np.where(repeated & (np.arange(x.shape[1]) == 0), np.sign(x), x) for x in (TRAIN, TEST))
    model = isthmus.VAE(latent_dim=4, hidden=(16,), epochs=30, random_state=0).fit(train)
    for record in model.fitted_.history:
        record["valid_loss"] = 100 - 50 * record["progress"]
    findings = {finding.code: finding for finding in flat(verdicts(model, test, train))}
    assert findings["not-converged"].severity == severity
    assert ("few values" in findings["not-converged"].cause) == repeated
    assert ("repeated-values" in findings) == repeated


@pytest.mark.parametrize(("stopped", "interrupted"), [(False, False), (True, False), (True, True)])
def test_more_epochs_are_no_remedy_where_training_stopped_early(monkeypatch, stopped, interrupted):
    monkeypatch.setattr(baseline_findings, "significantly_worse", lambda context, name: True)
    model = isthmus.VAE(epochs=30, random_state=0).fit(TRAIN)
    model.fitted_.settings.update(epochs=len(model.history_) + stopped, interrupted=interrupted)
    (finding,) = [f for f in flat(verdicts(model, TEST, TRAIN)) if f.code == "worse-than-baseline"]
    assert ("more epochs change nothing" in finding.remedy) == (stopped and not interrupted)


def test_one_epoch_of_a_high_beta_is_too_short():
    model = isthmus.BetaVAE(latent_dim=4, hidden=(16,), epochs=1, initialization="random", random_state=0).fit(TRAIN)
    first = verdicts(model, TEST, TRAIN)[0]
    assert first.code == "not-converged"
    assert "beta=1.0" not in first.remedy


def test_rows_on_another_scale_are_named_where_nothing_can_be_compressed():
    x = np.random.default_rng(0).normal(size=(400, 8)).astype(np.float32)
    torch.manual_seed(0)
    nets = nn.Linear(8, 3), nn.Linear(3, 8)
    assert "worse-than-mean" in every(isthmus.wrap(*nets, likelihood="mse").diagnose(20 * x + 100))


def test_few_dimensions_of_binary_rows_are_no_collapse():
    random = np.random.default_rng(0)
    z, axes = random.normal(size=(900, 2)), 2 * random.normal(size=(2, 40))
    bits = (random.random((900, 40)) < 1 / (1 + np.exp(-z @ axes))).astype(np.uint8)
    model = isthmus.VAE(latent_dim=12, hidden=(32,), epochs=60, learning_rate=5e-3, random_state=0).fit(bits[:600])
    assert "posterior-collapse" not in every(verdicts(model, bits[600:], bits[:600]))


# ------------------------------------------------------------------------------ missing values


def test_a_mask_that_is_true_everywhere_is_no_mask():
    whole = np.ones(TRAIN.shape, bool)
    fields = {"epochs": 3, "hidden": (8,), "threads": 1, "random_state": 0}
    plain, masked = isthmus.VAE(**fields).fit(TRAIN), isthmus.VAE(**fields).fit(TRAIN, observed=whole)
    assert masked.settings_["chosen"] == plain.settings_["chosen"]
    assert masked.score(TEST) == plain.score(TEST)
    exact = isthmus.ProbabilisticPCA(latent_dim=4)
    assert exact.fit(TRAIN, observed=whole).score(TEST) == exact.fit(TRAIN).score(TEST)
    bare = evaluate(plain, TEST, draws=10, train=TRAIN, without=SLOW)
    given = {"observed": whole[: len(TEST)], "train": {"X": TRAIN, "observed": whole}}
    assert evaluate(plain, TEST, draws=10, without=SLOW, **given).metrics == bare.metrics


def overlap(x: np.ndarray, seen: np.ndarray, test: np.ndarray, test_seen: np.ndarray, model) -> set[str]:
    """Findings about measured rows with missing values beside training rows with missing values."""
    given = {"observed": test_seen, "train": {"X": x, "observed": seen}}
    measured = evaluate(model, test, draws=1, without=[name for name in MEASURES if name != "train_overlap"], **given)
    return every(diagnose(model, test, evaluation=measured, **given))


def test_a_gap_is_no_zero(healthy):
    random = np.random.default_rng(0)
    seen = random.random(TRAIN.shape) < 0.9
    seen[:, 0] = False
    seen[0, 0] = True
    zeros, whole = np.where(seen, TRAIN, 0)[1:201], seen[1:201].copy()
    whole[:, 0] = True  # a zero where the training rows have a gap
    assert "leak" not in overlap(TRAIN, seen, zeros, whole, healthy)
    assert "leak" in overlap(TRAIN, seen, zeros, seen[1:201], healthy)


def test_rows_of_which_little_was_observed_are_equal_by_chance(healthy):
    random = np.random.default_rng(0)
    bit = np.arange(16) == 3

    def with_few(x: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
        """Rows of which a share has one bit alone, the others most of their values."""
        x, few = x.copy(), random.random(len(x)) < share
        x[:, 3] = x[:, 3] > 0
        return x, np.where(few[:, None], bit, random.random(x.shape) < 0.8)

    train, test = with_few(TRAIN, 0.05), with_few(TEST, 0.5)
    assert "leak" not in overlap(*train, *test, healthy)
    assert "leak" in overlap(*train, *(part[:100] for part in train), healthy)
    assert "leak" not in overlap(*train, test[0], np.zeros(test[0].shape, bool), healthy)


# ----------------------------------------------------------------------- holes between the codes


class OwnPrior(nn.Module):
    """A learned normal, or a mixture of two."""

    def __init__(self, mixture: bool):
        super().__init__()
        self.loc, self.mixture = nn.Parameter(torch.randn(2, 2)), mixture

    def forward(self, c=None, mask=None, posterior=None):
        normals = distributions.Independent(distributions.Normal(self.loc, 1.0), 1)
        if self.mixture:
            return distributions.MixtureSameFamily(distributions.Categorical(logits=self.loc.new_zeros(2)), normals)
        return distributions.Independent(distributions.Normal(self.loc[0], 1.0), 1)


HOLES = {
    "normal": ("normal", "warning", "mixture prior", "prior='mixture(50)'"),
    "mixture": ("mixture(3)", "info", "prior has islands", "prior='normal'"),
    "full mixture": ("full_mixture(2)", "info", "prior has islands", "prior='normal'"),
    "refit": ("refit(3)", "info", "prior has islands", "beta=2.0"),
    "conditional": ("conditional", "warning", "not joined", "prior='normal'"),
    "learned": (OwnPrior(mixture=False), "warning", "not joined", "prior='normal'"),
    "mixture of one's own": (OwnPrior(mixture=True), "info", "prior has islands", "prior='normal'"),
}


@pytest.mark.parametrize("case", HOLES)
def test_only_a_mixture_prior_has_islands(case):
    prior, severity, cause, remedy = HOLES[case]
    name, given = ("ConditionalVAE", {"condition": np.arange(600) % 3}) if prior == "conditional" else ("VAE", {})
    model = getattr(isthmus, name)(latent_dim=2, hidden=(), epochs=1, prior=prior, random_state=0).fit(TRAIN, **given)
    holes = Metric("paths.distance.holes", "", "", "share", 0.8, 0.01)
    paths = Metric("paths.distance", "", "", "distance", 3.0, details=(holes,))
    (finding,) = interpolation_holes(DiagnosisContext(model.fitted_, Evaluation(name, 200, (paths,))))
    assert finding.severity == severity
    assert cause in finding.cause
    assert remedy in finding.remedy
    refitted(finding.remedy, TRAIN, y=np.arange(600) % 3)


# ---------------------------------------------------------------------- whole numbers as floats


WHOLE = np.random.default_rng(0).poisson(3.0, size=(60, 4)).astype(float)
GAPS = np.random.default_rng(1).random(WHOLE.shape) < 0.8
COUNTS = "likelihood='negative_binomial' (--likelihood negative_binomial) for counts"


def warning_of(x: np.ndarray, **given: np.ndarray) -> str:
    """What `fit` says of whole numbers; empty if nothing."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        isthmus.VAE(latent_dim=1, hidden=(), epochs=1, random_state=0).fit(x, **given)
    return next((str(w.message) for w in caught if "whole numbers" in str(w.message)), "")


def test_whole_numbers_as_floats_may_be_counts_or_levels():
    most = int(WHOLE.max())
    assert warning_of(WHOLE) == (
        "X holds only whole numbers, stored as float64 and modelled as measurements. Pass "
        f"{COUNTS}, or levels={most + 1} (--levels {most + 1}) for levels, or likelihood='normal' (--likelihood "
        "normal) for measurements."
    )
    large = warning_of(100 * WHOLE)
    assert f"{COUNTS}, or likelihood='normal'" in large
    assert "levels" not in large
    for x in (WHOLE - 5, WHOLE + 0.5, 1e16 * WHOLE, WHOLE.astype(int)):
        assert not warning_of(x)
    assert warning_of(WHOLE + 0.5, target=WHOLE).startswith("target holds only whole numbers")


@pytest.mark.parametrize("gap", [np.nan, -1.0, 0.5, 1e6])
def test_what_was_not_observed_says_nothing_of_whole_numbers(gap):
    x = np.where(GAPS, WHOLE, gap)
    message = warning_of(x, observed=GAPS)
    assert f"levels={int(WHOLE[GAPS].max()) + 1} " in message
    assert not warning_of(np.where(GAPS, WHOLE + 0.5, 1.0), observed=GAPS)
    target = np.where(GAPS, WHOLE, np.nan_to_num(gap))
    assert f"levels={int(WHOLE[GAPS].max()) + 1} " in warning_of(x, target=target, observed=GAPS)
    assert COUNTS in message
    model = isthmus.VAE(latent_dim=1, epochs=1, random_state=0, likelihood="negative_binomial")
    assert model.fit(x, observed=GAPS).schema_.kind == "counts"
