"""Networks, priors and whole models of the user's own: each usual form is trained, measured, saved and read back."""

from __future__ import annotations

import copy
import json
import math
import signal

import numpy as np
import pytest
import torch
from torch import distributions as D
from torch import nn

import isthmus
from isthmus.batch import Batch
from isthmus.cli.compare import FORMATS
from isthmus.cli.main import main
from isthmus.comparison.specs import build_entries
from isthmus.conditional import Conditional
from isthmus.distributions import as_module
from isthmus.distributions.continuous import Normal
from isthmus.evaluation.evaluate import MEASURES
from isthmus.examples import Examples
from isthmus.families import Bernoulli, DiagonalNormal, LocationScale, Poisson
from isthmus.fitted import as_fitted
from isthmus.latent_model import LatentModel
from isthmus.terms.bounds import kl, nll
from models import MeanAndLogVariance, bits, counts, small, table

X = table().astype(np.float32)


# ----------------------------------------------------------------------------------------- whole modules


class Halves(nn.Module):
    """The weights of a small variational autoencoder of rows of 5 numbers; subclasses wire them in the usual ways."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Linear(5, 8)
        self.mu, self.logvar = nn.Linear(8, 2), nn.Linear(8, 2)
        self.out = nn.Linear(2, 5)

    def hidden(self, x):
        return torch.tanh(self.body(x))

    def reparameterize(self, mu, logvar):
        return mu + torch.randn_like(mu) * torch.exp(0.5 * logvar)


class Pair(Halves):
    """encode returns (mu, logvar)."""

    def encode(self, x):
        h = self.hidden(x)
        return self.mu(h), self.logvar(h)

    def decode(self, z):
        return self.out(z)

    def forward(self, x):
        mu, logvar = self.encode(x.view(-1, 5))
        return self.decode(self.reparameterize(mu, logvar)), mu, logvar


class WithDraw(Pair):
    """encode returns a draw too, before the two."""

    def encode(self, x):
        mu, logvar = super().encode(x)
        return self.reparameterize(mu, logvar), mu, logvar

    def forward(self, x):
        z, mu, logvar = self.encode(x)
        return self.decode(z), mu, logvar


class DrawOnly(Pair):
    """encode returns a draw alone; forward returns (recon, input, mu, logvar)."""

    def encode(self, x):
        return self.reparameterize(*super().encode(x))

    def forward(self, x):
        mu, logvar = super().encode(x)
        return [self.decode(self.reparameterize(mu, logvar)), x, mu, logvar]


class HiddenOnly(Pair):
    """encode returns hidden units, from which forward makes (recon, mu, logvar)."""

    def encode(self, x):
        return self.hidden(x)

    def forward(self, x):
        h = self.encode(x)
        mu, logvar = self.mu(h), self.logvar(h)
        return self.decode(self.reparameterize(mu, logvar)), mu, logvar


class OneTensor(Pair):
    """encode returns means and log-variances side by side."""

    def encode(self, x):
        return torch.cat(super().encode(x), 1)


class AsNormal(Pair):
    """encode returns a normal distribution."""

    def encode(self, x):
        mu, logvar = super().encode(x)
        return D.Independent(D.Normal(mu, torch.exp(0.5 * logvar)), 1)


class Networks(Halves):
    """Networks named encoder and decoder."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(self.body, nn.Tanh(), Heads(self.mu, self.logvar))
        self.decoder = self.out


class Heads(nn.Module):
    def __init__(self, mu, logvar):
        super().__init__()
        self.mu, self.logvar = mu, logvar

    def forward(self, h):
        return self.mu(h), self.logvar(h)


@pytest.mark.parametrize("kind", [WithDraw, DrawOnly, HiddenOnly, OneTensor, AsNormal, Networks])
def test_the_usual_forms_of_a_whole_module_are_one_model(kind, tmp_path):
    reference = isthmus.wrap(Pair(), likelihood="mse").on(X)
    module = kind().train()
    before = torch.get_rng_state()
    fitted = isthmus.wrap(module, likelihood="mse").on(X)
    assert torch.equal(torch.get_rng_state(), before)
    assert module.training
    np.testing.assert_allclose(fitted.score(X, 20), reference.score(X, 20), rtol=1e-5)
    np.testing.assert_allclose(fitted.encode(X), reference.encode(X), rtol=1e-5, atol=1e-6)
    isthmus.save(fitted, tmp_path / "run")
    same = isthmus.load(tmp_path / "run", model=isthmus.wrap(kind(), likelihood="mse").on(X).model)
    np.testing.assert_array_equal(same.score(X, 20), fitted.score(X, 20))


def test_a_whole_module_is_diagnosed_as_its_halves_are():
    wrapped = isthmus.wrap(Pair(), likelihood="mse", reduction="mean", beta=20.0)
    module = Pair()
    halves = isthmus.wrap(Heads2(module), module.out, likelihood="mse", reduction="mean", beta=20.0)
    findings = wrapped.diagnose(X)
    assert findings == halves.diagnose(X)
    assert "effective-beta" in {finding.code for finding in findings}


class Heads2(nn.Module):
    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x):
        return self.module.encode(x)


def test_wrap_says_what_it_cannot_use():
    with pytest.raises(isthmus.InputError, match=r"encode and decode.* got Linear with the networks none.*wrap\(enc"):
        isthmus.wrap(nn.Linear(5, 2))
    with pytest.raises(isthmus.InputError, match=r"must accept rows of shape \(5,\), but raised: mat1"):
        isthmus.wrap(nn.ModuleDict({"encoder": nn.Linear(4, 2), "decoder": nn.Linear(2, 4)}).requires_grad_()).on(X)
    wide = isthmus.wrap(Positive(), nn.Linear(2, 5), likelihood="mse")
    with pytest.warns(UserWarning, match="scale_output='scale'"):
        wide.on(X)


@pytest.mark.parametrize("scale_output", ["log_variance", "log_scale", "scale"])
def test_a_normal_distribution_says_itself_what_its_scale_is(scale_output):
    fitted = isthmus.wrap(AsNormal(), likelihood="mse", scale_output=scale_output).on(X)
    np.testing.assert_allclose(fitted.score(X, 5), isthmus.wrap(Pair(), likelihood="mse").on(X).score(X, 5), rtol=1e-5)


class Positive(Heads):
    """A scale in place of a log-variance."""

    def __init__(self):
        super().__init__(nn.Linear(5, 2), nn.Sequential(nn.Linear(5, 2), nn.Softplus()))


# ----------------------------------------------------------------------------------- parts of estimators


class Split(nn.Module):
    """An encoder that returns what `make` makes of two layers; arguments of its own keep their defaults."""

    def __init__(self, make=lambda mean, log_variance: (mean, log_variance)):
        super().__init__()
        self.mean, self.log_variance, self.make = nn.Linear(5, 2), nn.Linear(5, 2), make

    def forward(self, x, temperature=1.0, *, mask=None):
        return self.make(self.mean(x) / temperature, self.log_variance(x))


class GivenSpeaker(nn.Module):
    """A network of rows and a condition by another name."""

    def __init__(self, size: int, out: int):
        super().__init__()
        self.net = nn.Linear(size + 3, out)

    def forward(self, rows, speaker):
        return self.net(torch.cat([rows, speaker], -1))


class Tied(nn.Module):
    """Weights that are used twice."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(5, 5), nn.Linear(5, 5)
        self.second.weight = self.first.weight
        self.out = nn.Linear(5, 4)

    def forward(self, x):
        return self.out(self.second(torch.tanh(self.first(x))))


class Density(nn.Module):
    """A learned normal with `log_prob` and `sample`; subclasses take draws in the other usual ways."""

    def __init__(self):
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(2))

    def log_prob(self, z):
        return D.Normal(self.loc, 1.0).log_prob(z).sum(-1)

    def sample(self, n):
        return self.loc + torch.randn(n, 2)


class DensityOfShape(Density):
    def sample(self, sample_shape=()):
        return self.loc + torch.randn(*sample_shape, 2)


class DensityOfFlow(Density):
    """Draws come with their log-densities."""

    def sample(self, num_samples=1):
        z = self.loc + torch.randn(num_samples, 2)
        return z, self.log_prob(z)


class Returning(Density):
    """A module whose forward takes nothing and returns p(z)."""

    log_prob = sample = None  # type: ignore[assignment]

    def forward(self):
        return D.Independent(D.Laplace(self.loc, 1.0), 1)


class Encoded(nn.Module):
    """q(z given x) itself, of x alone."""

    event_shape = (2,)

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(5, 2)

    def forward(self, x):
        return Normal(self.net(x), x.new_zeros(2))


MIXTURE = D.MixtureSameFamily(
    D.Categorical(torch.tensor([0.2, 0.8])), D.Independent(D.Normal(torch.tensor([[0.3, 1.0], [-1, 0]]), 1.0), 1)
)
PARTS = {
    "encoder of one tensor": lambda: {"encoder": nn.Linear(5, 4)},
    "encoder of a pair": lambda: {"encoder": Split()},
    "encoder of a list": lambda: {"encoder": Split(lambda *pair: list(pair))},
    "encoder of a normal": lambda: {"encoder": Split(lambda m, v: D.Independent(D.Normal(m, torch.exp(v / 2)), 1))},
    "both networks": lambda: {"encoder": Split(), "decoder": nn.Linear(2, 5)},
    "tied weights": lambda: {"encoder": Tied()},
    "posterior": lambda: {"posterior": Encoded()},
    "normal for all": lambda: {"prior": D.Normal(0.0, 1.5), "latent_dim": 2},
    "normal for each": lambda: {"prior": D.Normal(torch.zeros(2), torch.tensor([1.0, 2.0]))},
    "laplace": lambda: {"prior": D.Independent(D.Laplace(torch.full((2,), 0.1), torch.ones(2)), 1), "latent_dim": 2},
    "student": lambda: {"prior": D.StudentT(torch.tensor([3.0, 4.0])), "latent_dim": 2},
    "full normal": lambda: {
        "prior": D.MultivariateNormal(torch.zeros(2), torch.tensor([[1.0, 0.3], [0.3, 2.0]])),
        "latent_dim": 2,
    },
    "low rank": lambda: {
        "prior": D.LowRankMultivariateNormal(torch.zeros(2), torch.ones(2, 1) / 3, torch.ones(2)),
        "latent_dim": 2,
    },
    "mixture": lambda: {"prior": MIXTURE, "latent_dim": 2},
    "density": lambda: {"prior": Density(), "latent_dim": 2},
    "density of a shape": lambda: {"prior": DensityOfShape(), "latent_dim": 2},
    "density of a flow": lambda: {"prior": DensityOfFlow(), "latent_dim": 2},
    "module that returns p(z)": lambda: {"prior": Returning(), "latent_dim": 2},
    "mse": lambda: {"likelihood": "mse"},
}
BITS = {
    "logits": lambda: {"decoder": nn.Linear(2, 8)},
    "probabilities": lambda: {"decoder": nn.Sequential(nn.Linear(2, 8), nn.Sigmoid())},
    "bce": lambda: {"likelihood": "bce"},
}
MEASURED = ("log_likelihood", "rate", "reconstruction", "active_units", "aggregate_posterior")


@pytest.fixture(autouse=True)
def _few_measures(monkeypatch):
    for name in MEASURES.keys() - set(MEASURED):  # the one table: others hold it by name
        monkeypatch.delitem(MEASURES, name)


def is_used(model, x, tmp_path, modules, **given):
    """Scores are the same after saving and loading; evaluation and diagnosis have numbers."""
    before = torch.get_rng_state()
    evaluation = isthmus.evaluate(model, x, draws=5, **given)
    assert math.isfinite(evaluation["kl"].value)
    assert math.isfinite(evaluation["distortion"].value)
    isthmus.diagnose(model, x, evaluation=evaluation, **given)
    model.save(tmp_path / "run")
    same = isthmus.load(tmp_path / "run", **modules)
    use = {"condition": given["condition"]} if given else {}
    if model.capabilities.has_density:
        np.testing.assert_array_equal(same.score_samples(x, draws=5, **use), model.score_samples(x, draws=5, **use))
    np.testing.assert_array_equal(same.reconstruct(x, **use), model.reconstruct(x, **use))
    one = {"condition": 0} if given else {}
    np.testing.assert_array_equal(same.sample(5, random_state=0, **one), model.sample(5, random_state=0, **one))
    assert np.isfinite(model.sample(5, random_state=0, **one)).all()
    assert torch.equal(torch.get_rng_state(), before)  # the user's own generator
    return evaluation


def modules_of(fields):
    return {name: value for name, value in fields.items() if isinstance(value, nn.Module)}


@pytest.mark.parametrize("case", PARTS)
def test_a_part_of_ones_own_is_trained_measured_saved_and_loaded(case, tmp_path):
    fields = PARTS[case]()
    latent_dim = fields.pop("latent_dim", "auto")
    start = {} if "likelihood" in fields else {"initialization": "random"}
    model = small("VAE", epochs=2, latent_dim=latent_dim, **fields, **start).fit(X)
    if set(fields) - {"likelihood"}:
        assert model.fitted_.code_size == 2  # read off the part where latent_dim does not say it
    is_used(model, X, tmp_path, modules_of(fields))


@pytest.mark.parametrize("case", BITS)
def test_decoders_of_bits(case, tmp_path):
    fields, x = BITS[case](), bits()
    model = small("VAE", epochs=2, latent_dim=2, **fields).fit(x)
    assert is_used(model, x, tmp_path, modules_of(fields))["log_likelihood"].kind == "probability"


def test_logits_and_probabilities_are_one_model():
    encoder, net, x = nn.Linear(8, 4), nn.Linear(2, 8), bits()
    by_logits, by_chances = (
        small("VAE", epochs=2, latent_dim=2, encoder=encoder, decoder=decoder)
        for decoder in (net, nn.Sequential(net, nn.Sigmoid()))
    )
    torch.manual_seed(0)
    scores = [model.fit(x).score_samples(x, draws=20) for model in (by_logits, by_chances)]
    np.testing.assert_allclose(scores[1] - scores[0], 0, atol=0.05)
    bce, bernoulli = (by_logits.set_params(likelihood=name).fit(x).score(x) for name in ("bce", "bernoulli"))
    assert bce == bernoulli


def test_networks_of_a_condition_by_another_name(tmp_path):
    modules = {"encoder": GivenSpeaker(5, 4), "decoder": GivenSpeaker(2, 5)}
    given = {"condition": np.arange(len(X)) % 3}
    model = small("ConditionalVAE", epochs=2, latent_dim=2, **modules).fit(X, **given)
    is_used(model, X, tmp_path, modules, **given)
    with pytest.raises(isthmus.InputError, match="It takes 'speaker': pass condition="):
        small("VAE", **modules).fit(X)
    with pytest.raises(isthmus.InputError, match="the encoder must accept a condition"):
        small("ConditionalVAE", encoder=nn.Linear(5, 4)).fit(X, **given)


def test_a_normal_prior_of_pytorch_is_the_normal_prior():
    ours, theirs = (
        small("VAE", epochs=3, latent_dim=2, prior=prior, initialization="random").fit(X)
        for prior in ("normal", D.Normal(torch.zeros(2), torch.ones(2)))
    )
    np.testing.assert_array_equal(theirs.score_samples(X, draws=20), ours.score_samples(X, draws=20))
    assert theirs.get_params()["prior"].loc.shape == (2,)


def test_a_learned_density_is_trained_with_the_model():
    model = small("VAE", prior=Density(), latent_dim=2, epochs=3, initialization="random").fit(X)
    assert (model.model_.prior.module.loc != 0).all()


WRONG = {
    "size of a mean": ({"encoder": Split(lambda m, v: (m[:, :1], v))}, r"pair of shapes|got shape \(2, 1\)"),
    "three outputs": ({"encoder": Split(lambda m, v: (m, v, v))}, "pair of tensors .*, got 3 values"),
    "another distribution": ({"encoder": Split(lambda m, v: D.Laplace(m, v.exp()))}, "Normal, got Laplace"),
    "size of a code": ({"decoder": nn.Linear(3, 5)}, "Codes have 2 numbers: set latent_dim"),
    "size of x": ({"decoder": nn.Linear(2, 4)}, "the decoder's output must have 5 numbers"),
    "a bounded prior": ({"prior": D.Uniform(-1.0, 1.0)}, "must be one of torch's Normal, Laplace.*, got Uniform"),
    "a discrete prior": ({"prior": D.Categorical(torch.ones(2))}, "must be one of torch's Normal.*, got Categorical"),
    "another size": ({"prior": D.MultivariateNormal(torch.zeros(3), torch.eye(3))}, r"shape \(2,\), got Multivar"),
    "no prior": ({"prior": 3}, "a torch.distributions.Distribution or a torch.nn.Module, got 3"),
    "a network as q": ({"posterior": nn.Linear(5, 4)}, "posterior must be .* distribution, with its event_shape"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_part_that_does_not_fit_says_what_is_expected(case):
    fields, says = WRONG[case]
    with pytest.raises(isthmus.InputError, match=says) as error:
        small("VAE", latent_dim=2, **fields).fit(X)
    assert "\n" not in str(error.value)


class BadDensity(Density):
    def log_prob(self, z):
        return D.Normal(self.loc, 1.0).log_prob(z)


def test_a_density_for_each_number_is_refused():
    with pytest.raises(isthmus.InputError, match="log_prob must return one number for each code, got shape"):
        small("VAE", prior=BadDensity(), latent_dim=2).fit(X)


class NoSample(Density):
    def sample(self, n):
        raise RuntimeError("not implemented yet")


def test_a_density_that_cannot_be_drawn_from_fails_before_training():
    with pytest.raises(isthmus.InputError, match=r"prior must give codes by sample .*NoSample.* Correct its sample"):
        small("VAE", prior=NoSample(), latent_dim=2, epochs=10**6).fit(X)


class ByShape(Density):
    """sample takes a shape by a name that does not say so."""

    def sample(self, many):
        return self.loc + torch.randn(*many, 2)


class ByNumber(Density):
    """sample takes a number by a name that does not say so."""

    def sample(self, shape):
        return self.loc + torch.randn(shape, 2)


@pytest.mark.parametrize("kind", [ByShape, ByNumber])
def test_a_density_is_drawn_from_by_a_number_or_a_shape(kind):
    model = small("VAE", prior=kind(), latent_dim=2, epochs=1, initialization="random").fit(X)
    assert model.sample(7).shape == (7, 5)


def test_a_distribution_whose_tensors_want_a_gradient_is_warned_of():
    log_scale = torch.zeros(2, requires_grad=True)
    prior = D.Independent(D.Normal(torch.zeros(2), log_scale.exp()), 1)
    with pytest.warns(UserWarning, match="not trained. To train it, pass a torch.nn.Module"):
        small("VAE", prior=prior, latent_dim=2, epochs=1, initialization="random").fit(X)


def test_a_saved_distribution_is_not_replaced_by_another(tmp_path):
    prior = D.Normal(torch.zeros(2), torch.ones(2))
    model = small("VAE", prior=prior, latent_dim=2, epochs=1, initialization="random").fit(X)
    model.save(tmp_path / "run")
    same = isthmus.load(tmp_path / "run", prior=D.Normal(torch.zeros(2), torch.ones(2)))
    np.testing.assert_array_equal(same.score_samples(X, draws=5), model.score_samples(X, draws=5))
    with pytest.raises(
        isthmus.InputError, match=r"prior must be the Normal that .* got another Normal\. Leave out prior="
    ):
        isthmus.load(tmp_path / "run", prior=D.Normal(3 * torch.ones(2), torch.ones(2)))


def test_own_networks_need_no_hidden_layers_and_are_asked_for_together(tmp_path):
    nets = {"encoder": nn.Linear(5, 4), "decoder": nn.Linear(2, 5)}
    model = small("VAE", **nets, latent_dim=2, hidden="auto", epochs=1).fit(X)
    assert not {"hidden", "channels"} & set(model.settings_["chosen"])
    model.save(tmp_path / "run")
    with pytest.raises(
        isthmus.InputError, match=r"with an encoder and a decoder of your own. .*encoder=..., decoder=..."
    ):
        isthmus.load(tmp_path / "run")
    same = isthmus.load(tmp_path / "run", **nets)
    np.testing.assert_array_equal(same.score_samples(X, draws=5), model.score_samples(X, draws=5))
    assert isthmus.diagnose(model, X) is not None


def test_saved_priors_hold_plain_values_and_refuse_others():
    for distribution in (MIXTURE, PARTS["low rank"]()["prior"], PARTS["student"]()["prior"]):
        values = json.loads(json.dumps(as_module.to_values(distribution)))
        z = torch.randn(4, 2)
        torch.testing.assert_close(as_module.from_values(values).log_prob(z.double()).float(), distribution.log_prob(z))
    normal = {"distribution": "Normal", "loc": 0.0, "scale": 1.0}
    for wrong in ({}, {"distribution": "Uniform"}, normal | {"scale": -1.0}, normal | {"a": 1}, normal | {"loc": "x"}):
        with pytest.raises(isthmus.InputError, match="as isthmus saves it"):
            as_module.from_values(wrong)


# ------------------------------------------------------------------------------------ losses by name


def test_a_cross_entropy_of_shares_has_no_log_likelihood_and_says_so(tmp_path):
    x = np.random.default_rng(0).beta(1, 3, (90, 5)).astype(np.float32)
    model = small("VAE", latent_dim=2, likelihood="bce", epochs=2).fit(x)
    assert not hasattr(model, "score_samples")
    assert model.capabilities.samples
    evaluation = is_used(model, x, tmp_path, {})
    assert "log_likelihood" not in evaluation
    assert "no log p(x)" in evaluation.declined["log_likelihood"]
    assert evaluation["distortion"].kind == "cross-entropy"
    with pytest.raises(isthmus.InputError, match="no log p"):
        model.fitted_.score(x)
    with pytest.warns(UserWarning, match=r"^score is minus the squared error: likelihood='bce' has no log p\(x\)"):
        assert model.score(x) == -model.fitted_.squared_errors(x).mean()
    with pytest.warns(UserWarning, match="not"):
        bernoulli = small("VAE", latent_dim=2, likelihood="bernoulli", epochs=2).fit(x)
    same = isthmus.evaluate(bernoulli, x, draws=5)  # the same loss, which is called a log-likelihood there
    assert evaluation["distortion"].value == same["distortion"].value


def test_a_column_of_shares_by_its_cross_entropy_leaves_a_table_without_log_likelihood():
    x = np.column_stack([X[:, 0], np.random.default_rng(0).random(len(X))]).astype(np.float32)
    assert small("VAE", latent_dim=2, likelihood=("normal", "bce"), epochs=1).fit(x).capabilities.scores == "none"


def test_mse_is_the_squared_error():
    model = small("VAE", latent_dim=2, likelihood="mse", scaling="none", epochs=1).fit(X)
    wrapped = isthmus.wrap(MeanAndLogVariance(model), model.model_.likelihood.net, likelihood="mse").on(X)
    np.testing.assert_allclose(wrapped.score(X, 20), model.score_samples(X, draws=20), rtol=1e-5)


# ------------------------------------------------------------------------------------------- by hand


def by_hand(likelihood=None, prior=None, size=5):
    return LatentModel(
        Conditional(nn.Linear(size, 4), DiagonalNormal((2,))),
        Conditional(nn.Linear(2, size), likelihood or LocationScale(Normal, (size,))),
        prior or D.Normal(0.0, 1.0),
    )


HAND = {
    "normal": (by_hand, lambda: X, "density"),
    "bits": (lambda: by_hand(Bernoulli((8,)), size=8), lambda: bits().astype(np.float32), "probability"),
    "counts": (lambda: by_hand(Poisson((5,))), lambda: counts().astype(np.float32), "probability"),
    "density": (lambda: by_hand(prior=Density()), lambda: X, "density"),
}


@pytest.mark.parametrize("case", HAND)
def test_a_model_fitted_by_hand_is_measured_saved_and_loaded(case, tmp_path):
    make, rows, kind = HAND[case]
    model, x = make(), rows()
    history = isthmus.fit(model, x, nll + 4.0 * kl, epochs=2)
    evaluation = isthmus.evaluate(model, x, draws=5)
    assert evaluation["log_likelihood"].kind == kind
    isthmus.diagnose(model, x, evaluation=evaluation)
    isthmus.save(model, tmp_path / "run")
    parts = make()
    same = isthmus.load(tmp_path / "run", model=parts)
    assert same.model is parts
    np.testing.assert_array_equal(same.score(x, 5), as_fitted(model).score(x, 5))
    assert isthmus.evaluate(parts, x, draws=5)["elbo"].value == evaluation["elbo"].value
    assert (same.history, same.loss_weights, same.kl_terms) == (history, {"nll": 1.0, "kl": 4.0}, ("kl",))


def test_a_model_fitted_by_hand_may_have_a_condition(tmp_path):
    def make():
        return LatentModel(
            Conditional(GivenSpeaker(5, 4), DiagonalNormal((2,))),
            Conditional(GivenSpeaker(2, 5), LocationScale(Normal, (5,))),
            D.Normal(0.0, 1.0),
        )

    model, c = make(), np.eye(3, dtype=np.float32)[np.arange(len(X)) % 3]
    isthmus.fit(model, X, nll + kl, condition=c, epochs=2)
    scores = as_fitted(model).score(Examples(X, condition=c), 5)
    isthmus.save(model, tmp_path / "run")
    same = isthmus.load(tmp_path / "run", model=make())
    np.testing.assert_array_equal(same.score(Examples(X, condition=c), 5), scores)


def test_a_training_by_hand_that_is_interrupted_leaves_a_fitted_model():
    class Stops(nn.Linear):
        def forward(self, x):
            if self.training and torch.is_grad_enabled():
                self.steps = getattr(self, "steps", 0) + 1
                if self.steps == 4:
                    signal.raise_signal(signal.SIGINT)
            return super().forward(x)

    model = LatentModel(Conditional(Stops(5, 4), DiagonalNormal((2,))), by_hand().likelihood, D.Normal(0.0, 1.0))
    with pytest.raises(KeyboardInterrupt):
        isthmus.fit(model, X, nll + kl, epochs=50)
    assert np.isfinite(as_fitted(model).score(X, 5)).all()
    assert 0 < len(as_fitted(model).history) < 50


def test_what_by_hand_cannot_be_used(tmp_path):
    with pytest.raises(isthmus.InputError, match=r"LatentModel must be fitted first\. Call isthmus\.fit"):
        isthmus.save(by_hand(), tmp_path / "run")
    with pytest.raises(isthmus.InputError, match="posterior must be a module that returns a distribution"):
        LatentModel(nn.Linear(5, 4), nn.Linear(2, 5), D.Normal(0.0, 1.0))
    network = LatentModel(by_hand().posterior, nn.Linear(2, 5), D.Normal(0.0, 1.0))
    with pytest.raises(isthmus.InputError, match="likelihood must be a module that returns a distribution"):
        isthmus.fit(network, X, nll)
    model = by_hand()
    isthmus.fit(model, X, nll + kl, epochs=1)
    isthmus.save(model, tmp_path / "run")
    with pytest.raises(isthmus.InputError, match=r"holds a LatentModel.* a model of the same parts: .*model=\.\.\."):
        isthmus.load(tmp_path / "run")
    with pytest.raises(isthmus.InputError, match="does not fit the LatentModel"):
        isthmus.load(tmp_path / "run", model=by_hand(size=6))


def trained_by_a_loop(model, x, beta=1.0):
    """The model after a few updates of a plain torch loop, in training mode as such a loop leaves it."""
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(5):
        batch = Batch(torch.as_tensor(x))
        q = model.infer(batch, train=True)
        out = model.forward_from(batch, q, q.noise(1, len(x)))
        loss = -(out.log_px - beta * (out.log_qz - out.log_pz)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


@pytest.mark.parametrize("case", HAND)
def test_a_model_of_parts_trained_by_a_loop_is_measured_saved_and_loaded(case, tmp_path):
    make, rows, kind = HAND[case]
    x = rows()
    model = trained_by_a_loop(make(), x)
    evaluation = isthmus.evaluate(model, x, draws=5)
    assert evaluation["log_likelihood"].kind == kind
    assert isthmus.diagnose(model, x, evaluation=evaluation) == isthmus.wrap(model).diagnose(x, evaluation=evaluation)
    assert model.training  # the loop can go on
    assert model.training_record is None
    fitted = isthmus.wrap(model, beta=2.0).on(x)
    assert fitted.loss_weights == {"nll": 1.0, "kl": 2.0}
    isthmus.save(fitted, tmp_path / "run")
    same = isthmus.load(tmp_path / "run", model=make())
    np.testing.assert_array_equal(same.score(x, 5), isthmus.wrap(model).score_samples(x, draws=5))
    assert same.loss_weights == fitted.loss_weights


def test_a_model_trained_by_a_loop_is_measured_without_its_dropout():
    model = LatentModel(
        Conditional(nn.Sequential(nn.Linear(5, 4), nn.Dropout(0.9)), DiagonalNormal((2,))),
        by_hand().likelihood,
        D.Normal(0.0, 1.0),
    )
    values = [isthmus.wrap(part).score_samples(X, draws=5) for part in (model.train(), copy.deepcopy(model).eval())]
    np.testing.assert_array_equal(*values)
    assert model.training


def inside():
    """The network within an estimator, which reads rows in its scaled units."""
    return small("VAE", epochs=1).fit(X).model_


LOOPS = {
    "evaluate inside": (lambda: isthmus.evaluate(inside(), X), "must be the fitted VAE, got the LatentModel within it"),
    "diagnose inside": (lambda: isthmus.diagnose(inside(), X), "must be the fitted VAE, got the LatentModel within it"),
    "wrap inside": (lambda: isthmus.wrap(inside()).on(X), "must be the fitted VAE, got the LatentModel within it"),
    "save inside": (lambda: isthmus.save(inside(), "run"), "must be the fitted VAE, got the LatentModel within it"),
    "width": (lambda: isthmus.evaluate(by_hand(size=6), X), "posterior must read rows of shape"),
    "labels": (lambda: isthmus.evaluate(by_hand(), X, condition=["a"] * 90), r"condition must be \(n, C\) numbers"),
    "likelihood": (lambda: isthmus.wrap(by_hand(), likelihood="mse"), "likelihood must be left out for a LatentModel"),
    "prior": (lambda: isthmus.wrap(by_hand(), prior=D.Normal(0.0, 1.0)), "prior must be left out for a LatentModel"),
    "beta": (lambda: isthmus.wrap(by_hand(), beta=-1.0), "beta must be"),
    "save": (lambda: isthmus.save(by_hand(), "run"), r"pass isthmus\.wrap\(model\)\.on\(X\)"),
}


@pytest.mark.parametrize("case", LOOPS)
def test_what_of_a_model_trained_by_a_loop_cannot_be_used(case):
    call, message = LOOPS[case]
    with pytest.raises(isthmus.InputError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


# ------------------------------------------------------------------------------------ tables


def test_models_of_a_comparison_have_the_labels_of_a_dict():
    models = {"mine": isthmus.VAE(encoder=Split(), decoder=nn.Linear(2, 5)), "b_1": "vae(beta=2)"}
    table_of = isthmus.compare(X, models=models, seeds=1, epochs=1, latent_dim=2, hidden=(8,), threads=1, draws=5)
    assert [row.label for row in table_of.rows] == ["pca", "pca_best", "mine", "b_1"]
    frame = table_of.to_frame()
    assert list(frame["model"]) == ["pca", "pca_best", "mine", "b_1"]
    cells = {cell["model"]: cell["cells"] for cell in table_of.to_dict()["models"]}
    column = next(name for name in frame.columns if name.startswith("log p(x)") and "density" in name)
    assert frame[column][2] == pytest.approx(cells["mine"]["log_px: density"]["mean"])
    latex = table_of.to_latex()
    assert r"b\_1 & $" in latex
    assert latex.count(r"\\") == 6  # two lines of headings, four models
    assert table_of.to_markdown().count("\n") == 5
    assert FORMATS["csv"](table_of).startswith("model,latent_dim,")
    assert set(FORMATS) == {"text", "csv", "latex", "markdown"}
    for row in table_of.rows:
        assert row.label.replace("_", r"\_") in table_of.to_markdown()


def test_labels_are_short_and_differ():
    own = [isthmus.VAE(encoder=net) for net in (nn.Linear(5, 4), nn.Sequential(nn.Linear(5, 4)))]
    labels = [entry.label for entry in build_entries(own, {}, None, with_pca=False)]
    assert labels == ["vae(encoder=Linear)", "vae(encoder=Sequential)"]
    with pytest.raises(isthmus.InputError, match=r"got vae\(encoder=Linear\) twice\. Name them in a dict"):
        build_entries([own[0], isthmus.VAE(encoder=nn.Linear(5, 4)), "vae"], {}, None)
    with pytest.raises(isthmus.InputError, match="must have text as labels, got 3"):
        build_entries({3: "vae"}, {}, None)


def test_the_command_prints_a_table_for_a_paper(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    argv = "compare wine --models ae --seeds 1 --epochs 1 --latent-dim 2 --set hidden=8 --set threads=1 --draws 5"
    assert main([*argv.split(), "--format", "latex"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("\\begin{tabular}")
    assert out.endswith("\\end{tabular}\n")  # and nothing else: it is written to a file
