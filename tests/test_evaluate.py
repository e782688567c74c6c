"""Every number of an evaluation against a case where it is known."""

from __future__ import annotations

import copy
import json
import math
import re

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import genpareto

import isthmus
from isthmus.cli.main import main
from isthmus.errors import Declined
from isthmus.evaluation import baseline_data, context
from isthmus.evaluation.context import EvalContext
from isthmus.evaluation.evaluate import MEASURES, evaluate
from isthmus.evaluation.generalization import count_elements, require_equal_counts
from isthmus.evaluation.prior_fit import SPREAD_SAMPLES, sample_spread
from isthmus.examples import Examples
from isthmus.metrics.elbo_surgery import elbo_surgery
from isthmus.metrics.importance_diagnostics import ImportanceDiagnostics, importance_diagnostics, pareto_k
from isthmus.metrics.importance_weighting import LogLikelihood, encode_chunks, importance_weighted
from isthmus.metrics.probes import probes
from isthmus.report.metrics_section import metrics_tables
from models import DATA, DENSE, NAMES, SLOW, images, rows_of, small, table, without_page, without_slow_measures

pytestmark = pytest.mark.filterwarnings("ignore:.*given no condition:UserWarning")


def from_linear(n: int, scales: tuple[float, ...], noise: float = 1.0, d: int = 6) -> np.ndarray:
    """Rows of a linear model whose codes reach so far, in rotated axes."""
    random = np.random.default_rng(0)
    axes, _ = np.linalg.qr(random.normal(size=(d, d)))
    codes = random.normal(size=(n, len(scales))) * scales
    return codes @ axes[: len(scales)] + noise * random.normal(size=(n, d))


def test_the_linear_model_in_closed_form():
    x = from_linear(2000, (3.0, 1.5))
    model = isthmus.ProbabilisticPCA(latent_dim=2).fit(x)
    facts = evaluate(model, x, draws=100).to_dict()
    exact = model.score_samples(x, draws=1).mean()
    assert facts["log_likelihood"]["mean"] == pytest.approx(exact, abs=1e-6)
    assert facts["elbo"]["mean"] == pytest.approx(exact, abs=1e-6)
    # The posterior is exact: all weights are the same.
    assert facts["log_likelihood"]["ess"] == pytest.approx(100, rel=1e-6)
    assert facts["log_likelihood"]["last_doubling_gain"] == pytest.approx(0, abs=1e-6)
    assert facts["distortion"]["mean"] + facts["kl"]["mean"] == pytest.approx(-facts["elbo"]["mean"])
    assert facts["active_units"]["count"] == 2


def test_surgery_of_the_linear_model():
    x = from_linear(2000, (2.0,))
    model = isthmus.ProbabilisticPCA(latent_dim=1).fit(x)
    parts = elbo_surgery(encode_chunks(model.model_, rows_of(model, x)))
    gain = np.linalg.eigvalsh(np.cov(x.T))
    noise = gain[:-1].mean()
    # I(x; z) of the model; 2,000 rows see it to a few hundredths, for their codes overlap.
    assert parts.mutual_information == pytest.approx(0.5 * math.log(gain[-1] / noise), abs=4 * parts.error)
    # The aggregate of rows from the model is the prior.
    assert parts.aggregate_kl == pytest.approx(0, abs=4 * parts.error)


def test_an_ignored_code_has_no_mutual_information():
    model = small("VAE", beta=1e3, epochs=120, initialization="random").fit(table())
    facts = evaluate(model, table(), draws=20).to_dict()
    assert facts["kl"]["mean"] < 0.05
    assert facts["mutual_information"]["mean"] == pytest.approx(0, abs=0.05)
    assert facts["active_units"]["count"] == 0


@pytest.mark.parametrize("kind", DATA)
@pytest.mark.parametrize("name", DENSE)
def test_one_sweep_gives_the_same_numbers_as_the_estimators(name, kind):
    x = DATA[kind]()
    model = small(name, initialization="random").fit(x)  # the linear start's bound is exact: nothing to compare
    chunks = list(encode_chunks(model.model_, rows_of(model, x, bits="fixed")))
    found, known = importance_diagnostics(model.model_, chunks, 40), importance_weighted(model.model_, chunks, 40)
    np.testing.assert_allclose(found.log_px.values, known.values, rtol=1e-6)
    assert found.log_px.shared_error == pytest.approx(known.shared_error, rel=1e-6)
    assert (found.elbo <= found.log_px.values + 1e-9).all()
    many = importance_diagnostics(model.model_, chunks, 2000).elbo.mean()
    assert many == pytest.approx(model.elbo(x, draws=2000).mean(), abs=0.2)  # each within some 0.05 of the truth
    assert (found.ess <= 40 * (1 + 1e-9)).all()
    assert (found.ess >= 1 - 1e-9).all()


@pytest.mark.parametrize("shape", [0.1, 0.5, 0.9])
def test_the_tail_index_of_known_tails(shape):
    weights = genpareto.rvs(shape, loc=1, size=(60, 4000), random_state=0)
    found = [pareto_k(row) for row in np.log(weights)]
    # A tail of 190 draws determines its index to some (1 + k) / sqrt(190) = 0.1 a row; 60 rows to a hundredth or two.
    assert np.mean(found) == pytest.approx(shape, abs=0.06)


def test_equal_weights_have_no_tail_and_few_have_none_known():
    assert pareto_k(np.zeros(100)) == -math.inf
    rounded = (-300 + np.random.default_rng(0).normal(size=1000) * 1e-7).astype(np.float32)
    assert pareto_k(rounded) == -math.inf  # an exact posterior: weights differ by rounding only
    assert math.isnan(pareto_k(np.zeros(10)))


@pytest.mark.parametrize("name", NAMES)
def test_every_model_is_evaluated_and_written_as_json(name):
    x = table()
    found = evaluate(small(name).fit(x), x, draws=30)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False)) == found.to_dict()
    assert ("log_likelihood" in found.to_dict()) == (name in DENSE)
    assert "latent dimensions in use" in str(found)


def test_samples_of_binarised_pixels_are_compared_as_bits():
    x = images(400)
    model = small("VAE", binarize=True, epochs=60).fit(x[:250])
    facts = evaluate(model, x[250:], draws=20, train=x[:250], without=("samples",)).to_dict()
    # Bars of random brightness and place: a small model draws them badly, yet the size of bits does not give them away.
    assert facts["classifier"]["mean"] < 0.95
    assert facts["copies"]["to_train"]["mean"] < 1


def test_a_measure_that_has_too_few_rows_says_so_and_the_others_are_there():
    x = table(90)
    factors = np.random.default_rng(0).integers(0, 2, (40, 2))
    facts = evaluate(small("VAE").fit(x[:50]), x[50:], draws=20, train=x[:50], factors=factors).to_dict()
    assert set(facts["declined"]) == {"classifier", "samples", "copies", "disentanglement"}
    assert "baselines" in facts
    assert "not measured: " in str(isthmus.evaluate(small("VAE").fit(x[:50]), x[50:], draws=20, train=x[:50]))


def test_the_worth_of_a_condition_does_not_depend_on_the_order_of_rows():
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 300)
    x = table(300, seed=1) + 200 * np.eye(5)[labels]
    model = small("ConditionalVAE", epochs=40).fit(x, condition=labels)
    order = np.argsort(labels, kind="stable")
    worth = [evaluate(model, x[rows], labels[rows], draws=50).to_dict()["condition"] for rows in (slice(None), order)]
    assert worth[0]["mean"] > 5
    assert worth[1]["mean"] == pytest.approx(worth[0]["mean"], abs=4 * worth[0]["standard_error"])
    alike = evaluate(model, x[labels == 0], labels[labels == 0], draws=20).to_dict()
    assert "condition" not in alike  # there is no other to compare it with


def test_what_cannot_be_measured_is_refused_in_one_line():
    model = small("VAE").fit(table())
    for words, more in {
        "ais must be an integer >= 0": {"ais": -3},
        "measure must be one of": {"without": ("smaples",)},
        "must be integers": {"factors": np.zeros((90, 2)) + 0.5},
    }.items():
        with pytest.raises(isthmus.InputError, match=words):
            evaluate(model, table(), **more)
    with pytest.raises(isthmus.InputError, match="which has no log p"):
        evaluate(small("Autoencoder").fit(table()), table(), ais=5)
    with pytest.raises(isthmus.InputError, match="must be fitted first"):
        evaluate(small("VAE"), table())
    with torch.no_grad():
        next(model.model_.parameters()).fill_(math.nan)
    with pytest.raises(isthmus.InputError, match="weights must be finite"):
        evaluate(model, table())


def test_labels_that_are_whole_floats_or_a_column_are_labels():
    labels = np.arange(90) % 3
    model = small("Autoencoder").fit(table())
    values = [evaluate(model, table(), y).to_dict()["probes"] for y in (labels, labels.astype(float), labels[:, None])]
    assert values[0] == values[1] == values[2]


def test_khat_is_not_averaged_over_a_single_row():
    found = ImportanceDiagnostics(
        LogLikelihood(np.zeros(100), 0.0), *np.zeros((1, 100)), np.zeros((100, 2)), np.ones(100), LIGHT, 0.0, 1000
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(context, "importance_diagnostics", lambda *a: found)
        facts = evaluate(small("VAE").fit(table(100)), table(100), draws=20).to_dict()["log_likelihood"]
    assert facts["khat_above"] == pytest.approx(0.01)
    assert facts["khat"] is None


LIGHT = np.append(np.full(99, -math.inf), 2.0)


def test_a_prior_for_each_row_has_no_aggregate():
    labels = np.arange(90) % 3
    model = small("ConditionalVAE", prior="conditional").fit(table(), condition=labels)
    facts = evaluate(model, table(), labels, draws=10).to_dict()
    assert "mutual_information" not in facts
    assert "each row has its own" in facts["declined"]["aggregate_posterior"]
    assert facts["log_likelihood"]["given_condition"]


def test_bits_of_fair_coins():
    x = np.random.default_rng(0).integers(0, 2, (400, 6)).astype(np.uint8)
    model = small("VAE", epochs=40).fit(x)
    with torch.no_grad():
        for parameter in model.model_.likelihood.parameters():
            parameter.zero_()
    assert evaluate(model, x).to_dict()["log_likelihood"]["bits_per_dim"] == pytest.approx(1.0, abs=0.02)


def test_the_command_says_which_rows_and_what_linear_models_make_of_them(tmp_path, capsys, monkeypatch):
    without_slow_measures(monkeypatch)
    without_page(monkeypatch)
    run = str(tmp_path / "run")
    assert main(["fit", "vae", "wine", "-o", run, "--epochs", "20", "--random-state", "0"]) == 0
    capsys.readouterr()
    assert main(["evaluate", run, "--draws", "50", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["evaluated_on"].startswith("18 validation rows")
    assert set(values["baselines"]) == {"mean", "pca", "ppca", "ppca_best", "factor_analysis", "gaussian_mixture"}
    assert all("unit" in about and "kind" in about for about in values["baselines"].values())
    assert main(["evaluate", run, "wine", "--draws", "50"]) == 0
    words = capsys.readouterr().out
    assert words.startswith("178 rows of wine")
    assert "probabilistic PCA" in words
    model = isthmus.load(run)
    model.save(tmp_path / "moved")  # a model saved by hand has no data source
    assert main(["evaluate", str(tmp_path / "moved"), "wine", "--draws", "50"]) == 0
    assert "no baselines" in capsys.readouterr().out
    assert main(["evaluate", str(tmp_path / "moved")]) == 2
    assert "data is not known" in capsys.readouterr().err
    assert main(["evaluate", str(tmp_path / "none")]) == 2
    assert main(["evaluate", run, "--draws", "0"]) == 2
    assert capsys.readouterr().err.count("\n") == 2


def test_sequences_and_frames():
    lengths = np.arange(90) % 4 + 2
    x = table(90, 18).reshape(90, 6, 3)
    facts = evaluate(small("VAE").fit(x, lengths=lengths), x, lengths=lengths, draws=20).to_dict()
    assert math.isfinite(facts["log_likelihood"]["mean"])
    frame = pd.DataFrame(table(), columns=list("abcde"))
    assert evaluate(small("VAE").fit(frame), frame, draws=20).to_dict()["rows"] == 90


def test_too_few_rows_for_the_mutual_information_are_noted():
    x = from_linear(40, (30.0, 30.0, 30.0))
    found = evaluate(isthmus.ProbabilisticPCA(latent_dim=3).fit(x), x, draws=20)
    about = found.to_dict()["mutual_information"]
    assert about["mean"] <= about["ceiling"] + 1e-6
    assert "near the ceiling" in str(found)


def test_probes_of_fully_not_and_partly_informative_codes():
    random = np.random.default_rng(0)
    labels = random.integers(0, 4, 1000)
    plain = probes(np.eye(4)[labels] + 0.01 * random.normal(size=(1000, 4)), labels)
    assert plain["linear"].mean == plain["nearest"].mean == 1.0
    blind = probes(random.normal(size=(1000, 4)), labels)
    for name in ("linear", "nearest", "commonest"):  # chance is a quarter; the commonest of four a little more
        assert blind[name].mean == pytest.approx(0.25, abs=4 * blind[name].error)
    # On a ring a line reads two of four alternating arcs at best, neighbours all.
    angle = random.uniform(0, 2 * np.pi, 1000)
    ring = probes(np.stack([np.cos(angle), np.sin(angle)], 1), (angle / (np.pi / 2)).astype(int) % 2)
    assert ring["nearest"].mean > 0.97
    assert ring["linear"].mean < 0.65
    assert probes(random.normal(size=(1000, 4)), random.normal(size=1000)) is None  # not classes
    assert probes(random.normal(size=(8, 4)), np.arange(8)) is None


def test_labels_are_read_from_codes_and_must_fit():
    labels = np.arange(90) % 3
    facts = evaluate(small("Autoencoder").fit(table()), table(), labels).to_dict()
    assert set(facts["probes"]) == {"linear", "nearest", "commonest"}
    assert facts["probes"]["commonest"]["mean"] == pytest.approx(1 / 3)
    with pytest.raises(isthmus.InputError, match="y must be"):
        evaluate(small("Autoencoder").fit(table()), table(), labels[:5])


@pytest.mark.parametrize("binarize", [False, True])
def test_rows_are_encoded_once_and_decomposed_once(monkeypatch, binarize):
    x, labels = images(300, (8, 8)) if binarize else table(300), np.arange(300) % 3
    model = small("VAE", binarize=binarize).fit(x[:180])
    network, encoded, factored = type(model.fitted_.model), [], []
    infer, factor = network.infer, baseline_data.triangular_factor

    def count_rows(self, batch, train=False):
        encoded.append(len(batch.x))
        return infer(self, batch, train)

    def count_factors(rows):
        factored.append(len(rows))
        return factor(rows)

    monkeypatch.setattr(network, "infer", count_rows)
    monkeypatch.setattr(baseline_data, "triangular_factor", count_factors)
    # Paths encode the rows that they decode, and features are learned by a separate network.
    evaluate(model, x[180:], labels[180:], draws=20, train=x[:180], without=("paths", "samples"))
    readings = 2 if binarize else 1  # the probabilities of pixels, for codes, and their bits, for scores
    assert sum(encoded) == readings * (120 + 180)
    # All training rows: as they are and, of discrete data, dequantised; and four fifths of them to choose forms by.
    assert sorted(factored) == [144, *[180] * readings]


def test_missing_values_enter_no_number():
    random = np.random.default_rng(0)
    x = table(300)
    observed = random.random(x.shape) < 0.8
    model = small("VAE").fit(x[:180], observed=observed[:180])
    results = []
    for garbage in (0.0, 1e6):
        rows = np.where(observed, x, garbage)
        train = {"X": rows[:180], "observed": observed[:180]}
        results.append(evaluate(model, rows[180:], observed=observed[180:], draws=20, train=train))
    first, second = (result.to_dict() for result in results)
    assert first == second
    evaluation = results[0]
    assert {"density_baselines", "classifier", "samples", "copies"} <= set(evaluation.declined)
    assert "missing values" in evaluation.declined["density_baselines"]
    mean = np.array([column[seen].mean() for column, seen in zip(x[:180].T, observed[:180].T)])
    errors = np.where(observed[180:], x[180:] - mean, 0.0)
    assert evaluation["baselines.mean"].value == pytest.approx(np.square(errors).sum(1).mean())
    assert evaluation["baselines.pca"].value < evaluation["baselines.mean"].value


def test_sums_over_unequal_numbers_of_values_are_not_compared():
    """Half of the training values seen, all test values: twice the nats, and no sign of overfitting."""
    random, only = np.random.default_rng(0), {*MEASURES} - {"training", "log_likelihood", "reconstruction"}
    x = from_linear(600, (3.0, 1.5))
    half, complete = random.random((300, 6)) < 0.5, np.ones((300, 6), bool)
    model = small("VAE", hidden=()).fit(x[:300], observed=half)

    def measured(seen):
        train = {"X": x[:300], "observed": half}
        return evaluate(model, x[300:], observed=seen, train=train, draws=20, without=only)

    uneven = measured(complete)
    assert "training.log_likelihood_gap" not in uneven
    assert "training.squared_error_gap" not in uneven
    mean = half.sum(1).mean()
    assert f"Training rows have {mean:.4g} counted values on average, the other rows 6" in uneven.declined["training"]
    alike = measured(random.random((300, 6)) < 0.5)  # as many in the mean, if not exactly
    assert abs(alike["training.log_likelihood_gap"].value) < 4 * alike.error("training.log_likelihood_gap")
    observed = Examples(x[300:], observed=half)
    with pytest.raises(Declined):
        require_equal_counts(observed, Examples(x[300:], observed=complete))
    require_equal_counts(observed, observed)


def test_variances_and_means_leave_out_padding_and_what_was_not_observed():
    random = np.random.default_rng(0)
    x, lengths = random.normal(3.0, 1.0, (80, 4, 2)), random.integers(1, 4, 80)  # the last step is never real
    observed = random.random(x.shape) < 0.7
    model = small("VAE").fit(x, lengths=lengths, observed=observed)
    rows = model.fitted_.check(x, lengths=lengths, observed=observed)
    found = EvalContext(model.fitted_, rows, rows)
    real = observed & (np.arange(4) < lengths[:, None])[..., None]
    columns = [(t, j) for t in range(3) for j in range(2)]
    for t, j in columns:
        assert found.train_mean[t, j] == pytest.approx(x[real[:, t, j], t, j].mean())
    assert (found.train_mean[3] == 0).all()
    variance = sum(x[real[:, t, j], t, j].var() for t, j in columns)
    samples = found.sample(SPREAD_SAMPLES, mean=True)[:, :3].var(0, dtype=float).sum()
    reconstructions = sum(found.reconstructions[real[:, t, j], t, j].var(dtype=float) for t, j in columns)
    metric = sample_spread(found)
    assert metric.value == pytest.approx(samples / variance)
    assert metric.details[0].value == pytest.approx(reconstructions / variance)


def test_steps_of_sequences_are_counted_without_padding():
    x = np.zeros((5, 4, 3))
    long, short = (Examples(x, lengths=np.full(5, steps)) for steps in (4, 2))
    assert count_elements(long).tolist() == [12] * 5
    assert count_elements(short).tolist() == [6] * 5
    seen = np.ones((5, 4, 3), bool)
    seen[0, 1, 0] = seen[0, 3, 0] = False  # one in the padding, which is counted once
    assert count_elements(Examples(x, lengths=np.full(5, 2), observed=seen)).tolist() == [5, 6, 6, 6, 6]
    require_equal_counts(long, Examples(x, lengths=np.full(5, 4)))
    with pytest.raises(Declined, match="Training rows have 12 counted values on average, the other rows 6"):
        require_equal_counts(long, short)


def test_the_numbers_of_unordered_categories_enter_no_number():
    """The same model of the same rows whose categories have other numbers: what is measured is the same."""
    random = np.random.default_rng(0)
    kind = random.integers(3, size=300)
    x, renamed = np.column_stack([2.0 * kind + random.normal(size=300), kind]), np.array([2, 0, 1])
    model = small("VAE", likelihood=("normal", "categorical(3)"), latent_dim=2, precision="float64", epochs=30).fit(
        x[:200]
    )
    other = copy.deepcopy(model)
    encoder, decoder = other.model_.posterior.net, other.model_.likelihood.net
    into = [m for m in encoder.modules() if isinstance(m, torch.nn.Linear) and m.in_features == 4]
    out = [m for m in decoder.modules() if isinstance(m, torch.nn.Linear) and m.out_features == 4]
    assert (len(into), len(out)) == (2, 2)  # of the hidden layers and of the linear path
    with torch.no_grad():  # a one-hot row and three logits, after the number
        for layer in into:
            layer.weight[:, 1 + renamed] = layer.weight[:, 1:].clone()
        for layer in out:
            layer.weight[1 + renamed], layer.bias[1 + renamed] = layer.weight[1:].clone(), layer.bias[1:].clone()
    y = np.column_stack([x[:, 0], renamed[kind]])
    drawn = ("inference_gap", "paths", "classifier", "samples", "copies")  # draws of x differ by their noise
    first, second = (
        evaluate(m, rows[200:], draws=20, train=rows[:200], without=drawn) for m, rows in ((model, x), (other, y))
    )
    assert first.by_name.keys() == second.by_name.keys()
    for name, metric in first.by_name.items():
        if isinstance(metric.value, float | tuple):
            np.testing.assert_allclose(second[name].value, metric.value, rtol=1e-6, atol=1e-9, err_msg=name)
    reason = "The rows have unordered categories."
    names = ("geometry.angle_with_pca", "sample_spread", "residual_eigenvalue_ratio", "column_spread")
    assert {name: first.declined[name] for name in names} == dict.fromkeys(names, reason)
    paths = evaluate(model, x[200:], train=x[:200], draws=20, without={*MEASURES} - {"paths", "paths.distance"})
    assert paths.declined == {"paths.distance": reason}
    assert "paths.log_likelihood" in paths
    assert evaluate(model, x[200:], train=x[:200], draws=20, without=MEASURES).declined == {}
    with pytest.raises(KeyError, match="unordered categories"):
        first["geometry.angle_with_pca"]


QUICK = {"log_likelihood", "reconstruction", "active_units"}
"""Measures that take a moment."""


def page_into(folder):
    """`report_page` with a file of its own."""
    return lambda *args, **kwargs: isthmus.report_page(*args, folder / "page.html", **kwargs)


def test_an_evaluation_is_used_with_its_own_rows_only(tmp_path):
    x, observed = table(), np.random.default_rng(0).random(table().shape) < 0.9
    model = small("VAE").fit(x)
    evaluation = evaluate(model, x[:40], draws=10, without={*MEASURES} - QUICK)
    for use in (isthmus.diagnose, page_into(tmp_path)):
        for other in (x[:30], x[40:80], x[40:85], Examples(x[:40], observed=observed[:40])):
            with pytest.raises(isthmus.InputError, match="rows of X, got one of 40 other rows") as error:
                use(model, other, evaluation=evaluation)
            assert str(error.value).startswith(f"evaluation must be what evaluate returned for the {len(other)} rows")
        use(model, pd.DataFrame(x[:40]), evaluation=evaluation)  # the same rows
    assert "digest" not in json.dumps(evaluation.to_dict())
    assert "digest" not in repr(evaluation)


@pytest.mark.parametrize("page", [False, pytest.param(True, marks=pytest.mark.grid)])
def test_the_condition_is_part_of_an_evaluations_rows(tmp_path, page):
    x, labels = table(), np.arange(90) % 3
    given = small("ConditionalVAE").fit(x, condition=labels)
    evaluation = evaluate(given, x[:40], condition=labels[:40], draws=10, without={*MEASURES} - QUICK)
    use = page_into(tmp_path) if page else isthmus.diagnose
    use(given, x[:40], condition=labels[:40].astype(np.int32), evaluation=evaluation)
    with pytest.raises(isthmus.InputError, match="rows of X, got one of 40 other rows"):
        use(given, x[:40], condition=labels[1:41], evaluation=evaluation)


def test_rows_of_which_nothing_was_observed_have_no_residuals():
    x = table()
    model = small("VAE", initialization="random").fit(x)
    evaluation = evaluate(model, x, observed=np.zeros(x.shape, bool), draws=2000, without=SLOW)
    assert evaluation.get("residuals.rms") is None
    # Nothing has probability one; the estimate of its logarithm has an error of some 0.01 nats from 2,000 draws.
    assert evaluation["log_likelihood"].value == pytest.approx(0, abs=0.05)


def test_one_draw_has_no_known_error():
    x = from_linear(50, (3.0,))
    evaluation = evaluate(isthmus.ProbabilisticPCA(latent_dim=1).fit(x), x, draws=1)
    metric, text = evaluation["log_likelihood"], " ".join(str(evaluation).split())
    assert metric.standard_error == math.inf
    assert f"{metric.value:.2f} ± unknown nats" in text
    assert "the standard error of one draw or one row is unknown" in text
    assert not re.search(r"\binf\b", text)
    facts = json.loads(json.dumps(evaluation.to_dict(), allow_nan=False))
    assert facts["log_likelihood"]["standard_error"] is None
    assert facts["log_likelihood"]["shared_error"] is None
    (row,) = [row for some in metrics_tables(evaluation) for row in some.rows if row[0] == "log p(x)"]
    assert row[1].endswith("± unknown nats")
    assert "one draw or one row" in row[3]


def test_a_number_is_found_by_its_name_and_a_wrong_name_names_the_nearest():
    evaluation = evaluate(small("VAE").fit(table()), table(), draws=20)
    assert evaluation["log_likelihood.draws"].value == 20
    assert "elbo" in evaluation
    assert evaluation.value("probes.linear") is None
    with pytest.raises(KeyError, match=r"Did you mean 'log_likelihood\.ess'"):
        evaluation["log_likelihood.es"]
    frame = evaluation.to_frame().set_index("name")
    assert frame.loc["elbo", "value"] == evaluation["elbo"].value
    assert "ELBO" in evaluation._repr_html_()
