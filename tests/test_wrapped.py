"""Networks that were trained elsewhere, given to every function as they are."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

import isthmus
from isthmus.diagnosis.context import SUM_OVER_FEATURES

X = (load_digits().data / 16).astype(np.float32)[:700]
TRAIN, TEST = X[:500], X[500:]
SLOW = ("classifier", "samples", "copies", "paths", "geometry", "inference_gap", "linear_dimensions", "refit_gain")


class Tutorial(nn.Module):
    """The VAE of most tutorials, whose encoder and decoder have no names of their own."""

    def __init__(self, hidden: int = 48, latent_dim: int = 4):
        super().__init__()
        self.fc1 = nn.Linear(64, hidden)
        self.fc21, self.fc22 = nn.Linear(hidden, latent_dim), nn.Linear(hidden, latent_dim)
        self.fc3, self.fc4 = nn.Linear(latent_dim, hidden), nn.Linear(hidden, 64)

    def forward(self, x):
        h = F.relu(self.fc1(x))
        mean, log_variance = self.fc21(h), self.fc22(h)
        z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        return torch.sigmoid(self.fc4(F.relu(self.fc3(z)))), mean, log_variance


class WithDecode(Tutorial):
    """The same with one method more."""

    def decode(self, z):
        return torch.sigmoid(self.fc4(F.relu(self.fc3(z))))


class Whole(WithDecode):
    """The same with both."""

    def encode(self, x):
        h = F.relu(self.fc1(x))
        return self.fc21(h), self.fc22(h)


class InputToo(WithDecode):
    """forward returns the rows between the reconstruction and the code, and the code's draw after it."""

    def forward(self, x):
        out, mean, log_variance = super().forward(x)
        return out, x, mean, log_variance, mean


def kl_of(mean, log_variance):
    return -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum(1).mean()


def wrong_kl_of(mean, log_variance):
    """The sign of the log-variance is wrong."""
    return -0.5 * (1 - log_variance - mean**2 - log_variance.exp()).sum(1).mean()


def trained(beta: float, epochs: int, kl=kl_of, average: bool = False, kind: type[nn.Module] = Whole) -> nn.Module:
    """A VAE that a loop of the user's own trained."""
    torch.manual_seed(0)
    net = kind()
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    x = torch.as_tensor(TRAIN)
    for _ in range(epochs):
        for index in torch.randperm(len(x)).split(64):
            out, mean, log_variance = net(x[index])
            bce = F.binary_cross_entropy(out, x[index], reduction="mean" if average else "sum")
            loss = (bce if average else bce / len(index)) + beta * kl(mean, log_variance)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return net.eval()


def diagnosed(net: nn.Module, train=None, **kwargs):
    wrapped = isthmus.wrap(net, likelihood="bce", **kwargs)
    evaluation = isthmus.evaluate(wrapped, TEST, train=train, draws=2, without=SLOW)
    return wrapped.diagnose(TEST, train=train, evaluation=evaluation)


def every(findings) -> set[str]:
    return {f.code for f in findings} | {code for f in findings for code in every(f.consequences)}


# ------------------------------------------------------------------------------------ the KL


@pytest.mark.parametrize(
    ("beta", "epochs", "kl", "kwargs"),
    [
        (-1.0, 5, kl_of, {"reduction": "sum"}),
        (-0.01, 25, kl_of, {"beta": 0.01, "reduction": "sum"}),
        (-1.0, 5, kl_of, {"reduction": "mean"}),
        (1.0, 8, wrong_kl_of, {"reduction": "sum"}),
        (0.0, 40, kl_of, {"reduction": "sum"}),  # left out
    ],
)
def test_a_kl_of_the_wrong_sign_comes_first(beta, epochs, kl, kwargs):
    net = trained(beta, epochs, kl, average=kwargs["reduction"] == "mean")
    for train in (None, TRAIN):
        first = diagnosed(net, train, **kwargs)[0]
        assert (first.code, first.severity) == ("kl-not-minimized", "error")
        if kwargs["reduction"] == "sum":
            assert not any(SUM_OVER_FEATURES in f.remedy for f in (first, *first.consequences))


@pytest.mark.parametrize(
    ("beta", "epochs", "average"),
    [(1.0, 0, False), (1.0, 2, False), (1.0, 30, False), (0.01, 4, False), (0.01, 14, False), (1.0, 5, True)],
)
def test_a_kl_that_was_minimised_is_not_accused(beta, epochs, average):
    net = trained(beta, epochs, average=average)
    findings = diagnosed(net, TRAIN, beta=beta, reduction="mean" if average else "sum")
    assert "kl-not-minimized" not in every(findings)


def test_networks_that_are_not_trained_are_not_accused_on_large_rows():
    for seed, scale in enumerate((10.0, 100.0)):
        torch.manual_seed(seed)
        findings = isthmus.wrap(Whole(), likelihood="mse").diagnose(scale * TEST[:100] + scale)
        assert "kl-not-minimized" not in every(findings)


def test_a_loss_without_a_kl_may_have_any():
    net = trained(0.0, 40)
    assert "kl-not-minimized" not in every(diagnosed(net, beta=0.0))


def test_a_sum_that_was_declared_is_not_asked_for():
    net = trained(1.0, 1)
    remedies = {reduction: {f.remedy for f in diagnosed(net, reduction=reduction)} for reduction in (None, "sum")}
    assert SUM_OVER_FEATURES in remedies[None]
    assert SUM_OVER_FEATURES not in remedies["sum"]


def test_log_variances_are_those_of_the_networks():
    net = trained(1.0, 3)
    with torch.no_grad():
        net.fc22.bias -= 500.0
        mean, log_variance = net.encode(torch.as_tensor(TEST))
    wrapped = isthmus.wrap(net, likelihood="bce", reduction="sum")
    expected = float(kl_of(mean, log_variance))
    assert expected > 900
    assert isthmus.evaluate(wrapped, TEST, draws=20).value("kl") == pytest.approx(expected, rel=1e-4)
    assert np.isfinite(isthmus.wrap(net, likelihood="mse").score_samples(TEST, draws=5)).all()
    first = diagnosed(net, reduction="sum")[0]
    assert first.code == "kl-not-minimized"
    assert f"{expected:,.0f} nats" in first.message
    assert f"log-variances lie between {float(log_variance.min()):,.0f}" in first.message


# ---------------------------------------------------------------------------------- the forms


@pytest.mark.parametrize("kind", [WithDecode, InputToo])
def test_a_forward_and_a_decode_are_enough(kind):
    torch.manual_seed(0)
    whole = Whole()
    net = kind()
    net.load_state_dict(whole.state_dict())
    expected = isthmus.wrap(whole, likelihood="bernoulli").on(TEST > 0.5)
    same = isthmus.wrap(net, likelihood="bernoulli").on(TEST > 0.5)
    np.testing.assert_allclose(same.encode(TEST > 0.5), expected.encode(TEST > 0.5), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(same.score(TEST > 0.5, 20), expected.score(TEST > 0.5, 20), rtol=1e-5)


def test_the_lines_that_are_missing_are_named():
    with pytest.raises(isthmus.InputError) as error:
        isthmus.wrap(Tutorial(), likelihood="bce")
    assert "\n" not in str(error.value)
    assert "def encode(self, x): ..." in str(error.value)
    assert "def decode(self, z): ..." in str(error.value)


# ------------------------------------------------------------------------- functions of models


@pytest.fixture(scope="module")
def wrapped():
    return isthmus.wrap(trained(1.0, 3), likelihood="mse", reduction="sum")


def test_functions_of_a_model_take_wrapped_networks(wrapped, tmp_path):
    on = wrapped.on(TEST)
    same, expected = (isthmus.evaluate(m, TEST, draws=20, without=SLOW) for m in (wrapped, on))
    assert same.value("log_likelihood") == expected.value("log_likelihood")
    np.testing.assert_array_equal(wrapped.score_samples(TEST, draws=20), on.score(TEST, 20))
    np.testing.assert_array_equal(
        wrapped.score_samples(TEST, draws=20, per_feature=True), on.element_distortion(TEST, 20)
    )
    assert isthmus.plot.latent(wrapped, TEST).axes
    page = isthmus.report_page(wrapped, TEST, tmp_path / "page.html", evaluation=same)
    assert "fixed-scale" in page.read_text()


def test_trained_models_are_compared_as_they_are(wrapped):
    fitted = isthmus.VAE(latent_dim=2, epochs=1, random_state=0).fit(TRAIN).fitted_
    models = {"mine": wrapped, "ours": fitted, "ae": "ae"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = isthmus.compare(X[:150], models=models, seeds=2, epochs=1, draws=2, latent_dim=2)
    runs = {row["model"]: row["runs"] for row in table.to_dict()["models"]}
    assert runs["mine"] == runs["ours"] == 1
    assert runs["ae"] == 2
    assert "mine, ours: trained before" in " ".join(str(table).split())
    cells = {row["model"]: row["cells"] for row in table.to_dict()["models"]}
    assert "seconds" not in cells["mine"]


def test_a_trained_model_of_a_comparison_needs_a_label(wrapped):
    with pytest.raises(isthmus.InputError, match="models must be a dict"):
        isthmus.compare(X, models=[wrapped, "vae"])
    with pytest.raises(isthmus.InputError, match="another label"):
        isthmus.compare(X[:100], models={"pca": wrapped, "ae": "ae"}, draws=2, latent_dim=2)


# ---------------------------------------------------------------------------------- conditions


class Given(nn.Module):
    """A network of rows and a class, with or without a default for it; it fails or not without one."""

    def __init__(self, size: int, out: int):
        super().__init__()
        self.net = nn.Linear(size + 10, out)

    def forward(self, x, c):
        return self.net(torch.cat([x, c], -1))


class GivenByDefault(Given):
    def forward(self, x, c=None):
        return super().forward(x, c)


class GivenOrNot(Given):
    def forward(self, x, c=None):
        return super().forward(x, x.new_zeros(len(x), 10) if c is None else c)


Y = load_digits().target[:700]


def halves_of(kind: type[nn.Module]):
    torch.manual_seed(0)
    return isthmus.wrap(kind(64, 8), kind(4, 64), likelihood="normal")


@pytest.mark.parametrize("kind", [Given, GivenByDefault])
def test_labels_are_the_condition_of_wrapped_networks_that_need_one(kind, tmp_path):
    net, x, y = halves_of(kind), TEST, Y[500:]
    quick = {"draws": 20, "without": SLOW}
    same, expected = isthmus.evaluate(net, x, y, **quick), isthmus.evaluate(net, x, condition=y, **quick)
    assert same.value("log_likelihood") == expected.value("log_likelihood")
    assert "given the condition" in str(same)
    assert isthmus.plot.latent(net, x, y).axes
    page = isthmus.report_page(net, x, tmp_path / "page.html", y, evaluation=same)
    assert page.exists()
    assert net.diagnose(x, y)
    # One row alone has the class 9, which the networks know wherever it lies.
    rare = np.flatnonzero((Y != 9) | (np.arange(700) == np.flatnonzero(Y == 9)[0]))
    table = isthmus.compare(X[rare], Y[rare], models={"mine": net}, seeds=1, draws=2)
    assert "log p(x given c)" in str(table)
    assert "condition read from codes" in str(table)


def test_labels_are_no_condition_of_networks_that_need_none():
    for net in (halves_of(GivenOrNot), isthmus.wrap(trained(1.0, 1), likelihood="mse")):
        same, expected = (isthmus.evaluate(net, TEST, *y, draws=20, without=SLOW) for y in ((Y[500:],), ()))
        assert same.value("log_likelihood") == expected.value("log_likelihood")
        assert "probes.linear" in [metric.name for metric in same.metrics]
