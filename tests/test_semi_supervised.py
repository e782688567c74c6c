"""Models that learn classes from few labels: exact sums over classes, and what the estimator promises."""

import math

import numpy as np
import pytest
import torch
from sklearn.base import clone, is_classifier
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

import isthmus
from isthmus.distributions.kl_divergence import kl_divergence
from isthmus.distributions.labelled import LabelledNormal, LabelledPrior
from isthmus.estimators.training_setup import setup_training
from isthmus.examples import Examples
from isthmus.random_streams import Stream, drawing_from
from models import LABELLED, small, table

F64 = torch.float64
X = table(n=200)
CLASSES = np.array(["cow", "goat", "sheep"])
TRUE = (X[:, 0] > np.median(X[:, 0])).astype(int) + (X[:, 1] > np.quantile(X[:, 1], 0.7))
Y = np.where(np.arange(len(X)) % 4 == 0, CLASSES[TRUE], "-1")


def posterior(rows: int = 4, e: int = 3, d: int = 2) -> LabelledNormal:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(rows, e, generator=generator, dtype=F64)
    loc, log_scale = torch.randn(2, rows, e, d, generator=generator, dtype=F64).unbind()
    return LabelledNormal(logits.log_softmax(-1), loc, 0.3 * log_scale)


def fitted(**fields):
    return small("SemiSupervisedVAE", **({"latent_dim": 2} | fields)).fit(X, Y)


def test_it_is_registered():
    assert LABELLED == ["SemiSupervisedVAE"]


def test_draws_enumerate_the_classes_with_their_weights():
    q = posterior()
    z, log_q, log_weight = q.draw(torch.randn(5, 4, 2, dtype=F64))
    assert z.shape == (15, 4, 5)
    torch.testing.assert_close(log_q, q.log_prob(z))
    torch.testing.assert_close(log_weight.exp().sum(0), torch.ones(4, dtype=F64))
    torch.testing.assert_close(z[:3, 0, :3], torch.eye(3, dtype=F64))
    index = torch.tensor([2, 0])
    torch.testing.assert_close(q.rows(index).log_prob(z[:, index]), log_q[:, index])
    # Errors of means of 20,000 draws are 0.01; they are drawn by their weights.
    draws = q.draw_equal(20_000, 4)
    torch.testing.assert_close(draws.mean(0), q.mean, atol=0.05, rtol=0)
    torch.testing.assert_close(draws.std(0), q.std, atol=0.05, rtol=0)


def test_the_density_sums_and_integrates_to_one():
    q, grid = posterior(rows=1, d=1), torch.linspace(-12, 12, 4001, dtype=F64)
    total = 0.0
    for bits in torch.eye(3, dtype=F64):
        codes = torch.cat([bits.expand(len(grid), 3), grid[:, None]], 1)[:, None]
        total += torch.trapezoid(q.log_prob(codes)[:, 0].exp(), grid).item()
    assert total == pytest.approx(1)


@pytest.mark.parametrize("labels", [None, [1, -1, 0, -1]])
def test_kl_is_that_of_draws_and_a_known_label_costs_its_log_probability(labels):
    q = posterior() if labels is None else posterior().given(torch.tensor(labels))
    p = LabelledPrior(torch.tensor([0.2, 0.5, 0.3], dtype=F64).log(), 2)
    z, log_q, log_weight = q.draw(torch.randn(20_000, 4, 2, dtype=F64, generator=torch.Generator().manual_seed(1)))
    estimate = (log_weight.exp() * (log_q - p.log_prob(z))).sum(0)
    parts = kl_divergence(q, p)
    torch.testing.assert_close(parts.sum(-1), estimate, atol=0.05, rtol=0)  # errors of 20,000 draws are 0.01
    if labels is not None:
        torch.testing.assert_close(parts[[0, 2], 0], -p.log_p[[1, 0]])


def test_the_prior_draws_classes_by_their_probabilities():
    p = LabelledPrior(torch.tensor([0.2, 0.5, 0.3], dtype=F64).log(), 2)
    z = p.sample((20_000,))
    torch.testing.assert_close(z.mean(0), p.mean, atol=0.03, rtol=0)  # errors are 0.004 and 0.007
    expected = torch.distributions.Normal(torch.zeros(2, dtype=F64), 1.0).log_prob(z[:, 3:]).sum(1)
    torch.testing.assert_close(p.log_prob(z), expected + (z[:, :3] * p.log_p).sum(1))


def made(**fields):
    """A model whose networks are far from the start, its rows, and its loss."""
    job = setup_training(small("SemiSupervisedVAE", latent_dim=2, precision="float64", **fields), X, y=Y)
    model, rows = job.recipe.model, job.to_device(job.train_rows)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, dtype=F64, generator=generator))
    return model, rows, job.recipe.objective


def test_the_bound_is_the_sum_over_classes_or_that_of_the_label():
    model, rows, objective = made()
    batch = rows.batch(torch.arange(len(rows)))
    normal, unit = torch.distributions.Normal, normal_of_unit()
    with torch.no_grad(), drawing_from(Stream(0)):
        q = model.infer(batch)
        noise = q.noise(200, 1)
        out = model.forward_from(batch, q.given(batch.y), noise, model.prior_for(batch))
        each = []  # of z given each class: the mean over draws of log p(x given y, z) + log p(y) + log p(z) - log q(z)
        for y, bits in enumerate(torch.eye(3, dtype=F64)):
            loc, scale = q.loc[:, y], q.log_scale[:, y].exp()
            z = loc + scale * noise
            log_px = (
                model.decode(torch.cat([bits.expand(*z.shape[:-1], 3), z], -1)).log_prob(batch.x) - model.log_volume
            )
            of_z = unit.log_prob(z).sum(-1) - normal(loc, scale).log_prob(z).sum(-1)
            each.append((log_px + of_z).mean(0) - math.log(3))
        each = torch.stack(each, 1)  # (B, E)
        known = batch.y >= 0
        expected = torch.where(
            known, each.gather(1, batch.y.clamp(min=0)[:, None])[:, 0], (q.share * (each - q.log_share)).sum(1)
        )
        torch.testing.assert_close(out.expectation(out.log_ratio), expected)
        # The trained terms have the KL in closed form, of which 200 draws are some 0.1 nats off.
        trained = sum(term(model, batch, out) for term in objective.terms if term.name != "classification")
    assert known.any()
    assert trained.item() == pytest.approx(-expected.mean().item(), abs=0.2)


def normal_of_unit() -> torch.distributions.Normal:
    return torch.distributions.Normal(torch.zeros((), dtype=F64), torch.ones((), dtype=F64))


def test_log_p_is_that_of_quadrature():
    x = X / X.std(0)
    fields = {"latent_dim": 1, "precision": "float64", "scaling": "none", "likelihood": "normal", "epochs": 10}
    model = small("SemiSupervisedVAE", **fields).fit(x, Y)
    scores = model.score_samples(x[:8], draws=5000)
    grid = torch.linspace(-12, 12, 8001, dtype=F64)
    joint = []
    with torch.no_grad():
        for bits in torch.eye(3, dtype=F64):
            codes = torch.cat([bits.expand(len(grid), 3), grid[:, None]], 1)[:, None]
            log_p = model.model_.decode(codes).log_prob(torch.as_tensor(x[:8]))
            joint.append(log_p - 0.5 * grid[:, None] ** 2 - 0.5 * math.log(2 * math.pi) - math.log(3))
    exact = torch.stack(joint).flatten(0, 1).logsumexp(0) + math.log(24 / 8000)
    np.testing.assert_allclose(scores, exact.numpy(), atol=0.05)  # of 5,000 draws for each class
    assert (model.elbo(x[:8], draws=500) <= scores + 0.02).all()


def test_it_classifies_saves_samples_and_is_evaluated(tmp_path):
    model = fitted(epochs=30)
    assert model.classes_.tolist() == CLASSES.tolist()
    proba = model.predict_proba(X)
    np.testing.assert_allclose(proba.sum(1), 1, rtol=1e-5)
    assert model.score(X, CLASSES[TRUE]) > 0.7
    assert model.score(X) == pytest.approx(float(model.score_samples(X).mean()), abs=0.3)
    assert model.transform(X).shape == (len(X), 5)
    assert model.sample(4, random_state=0).shape == (4, X.shape[1])
    assert model.sample(0).shape == (0, X.shape[1])
    model.save(tmp_path / "run")
    loaded = isthmus.load(tmp_path / "run")
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    np.testing.assert_allclose(loaded.score_samples(X, draws=10), model.score_samples(X, draws=10))
    measured = isthmus.evaluate(model, X, CLASSES[TRUE]).to_dict()
    assert "log_likelihood" in measured
    assert isinstance(isthmus.diagnose(model, X), list)
    again = fitted(epochs=30)
    np.testing.assert_array_equal(again.predict_proba(X), proba)
    assert is_classifier(clone(model))


def test_labels_of_few_digits_and_many_without_are_better_than_the_labels_alone():
    digits = load_digits()
    x, y = digits.images.astype(np.float32) / 16, digits.target
    few = np.full(1200, -1)
    for label in range(10):
        few[np.flatnonzero(y[:1200] == label)[:3]] = label
    fields = {"latent_dim": 8, "hidden": (128,), "epochs": 40, "batch_size": 100, "validation_fraction": 0}
    model = isthmus.SemiSupervisedVAE(**fields, random_state=0).fit(x[:1200], few)
    known = few >= 0
    alone = LogisticRegression(max_iter=1000).fit(x[:1200][known].reshape(-1, 64), few[known])
    assert model.score(x[1200:], y[1200:]) > alone.score(x[1200:].reshape(-1, 64), y[1200:])


def classification_of(objective):
    return next(term for term in objective.terms if term.name == "classification")


def test_the_classifiers_loss_is_that_of_labelled_rows_in_training_and_validation():
    model, rows, objective = made()
    term, batch = classification_of(objective), rows.batch(torch.arange(len(rows)))
    with torch.no_grad():
        log_p = model.posterior.logits(batch.x).log_softmax(-1)
        known = batch.y >= 0
        expected = -log_p[known].gather(1, batch.y[known][:, None]).mean()
        term.fn.begin(rows, 0)
        model.train()
        torch.testing.assert_close(term(model, rows.batch(torch.arange(3)), None), expected)
        model.eval()
        parts = [term(model, rows.batch(index), None) * len(index) for index in torch.arange(len(rows)).split(7)]
        torch.testing.assert_close(sum(parts) / len(rows), expected)
        # Of more labels than are read at once some are drawn.
        few = term.fn.few
        term.fn.few = type(few)(*[None if part is None else part.repeat_interleave(5, 0) for part in few])
        model.train()
        with drawing_from(Stream(0)):
            some = torch.stack([term(model, batch, None) for _ in range(200)])
        assert some.std() > 0
        assert some.mean().item() == pytest.approx(expected.item(), abs=4 * some.std().item() / math.sqrt(200))


def test_a_row_of_weight_two_counts_as_two_for_the_classifier():
    model, rows, objective = made()
    term, labelled = classification_of(objective), torch.nonzero(rows.y >= 0)[:4, 0]
    weight = torch.tensor([2.0, 0, 1, 1], dtype=F64)
    model.train()
    with torch.no_grad():
        term.fn.few = rows.batch(labelled)._replace(weight=weight)
        counted = term(model, rows.batch(labelled), None)
        term.fn.few = rows.batch(labelled[[0, 0, 2, 3]])
        torch.testing.assert_close(counted, term(model, rows.batch(labelled), None))


@pytest.mark.grid
def test_compiled_updates_give_the_same_model():
    found = [fitted(epochs=2, compile=compile, precision="float64").predict_proba(X) for compile in (False, True)]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-6)


def test_scores_are_of_rows_with_labels():
    model = fitted(epochs=5)
    right = model.predict(X) == CLASSES[TRUE]
    known = Y != "-1"
    assert model.score(X, Y) == pytest.approx(right[known].mean())
    assert model.score(Examples(X, y=CLASSES[TRUE])) == pytest.approx(right.mean())
    weight = np.arange(len(X)) % 3
    assert model.score(X, Y, sample_weight=weight) == pytest.approx(np.average(right[known], weights=weight[known]))
    with pytest.raises(isthmus.InputError, match="y must have a label of at least one row"):
        model.score(X, np.full(len(X), -1))
    with pytest.raises(isthmus.InputError, match="y must be one of the classes"):
        model.score(X, np.full(len(X), "horse"))


def test_a_class_without_training_labels_is_named():
    _, rows, objective = made()
    rows.y[rows.y == 2] = -1
    with pytest.warns(UserWarning, match="no training row has the label 'sheep'"):
        classification_of(objective).fn.begin(rows, 0)


@pytest.mark.parametrize("y", [[0, 1], [True, False], ["a", 1], [(1, 2), (3, 4)]], ids=str)
def test_classes_of_any_kind_are_predicted(y):
    labels = np.empty(len(X), dtype=object)
    labels[:] = [y[i] for i in TRUE.clip(max=1)]
    model = small("SemiSupervisedVAE", latent_dim=2, epochs=1).fit(X, labels)
    assert len(model.classes_) == 2
    predicted = model.predict(X)
    assert set(predicted.tolist()) <= set(model.classes_.tolist())
    assert {type(name) for name in model.classes_.tolist()} == {str if isinstance(y[0], tuple) else type(n) for n in y}


def test_reconstructions_are_of_one_class():
    model = fitted(epochs=5)
    codes = model.transform(X)
    assert set(np.unique(codes[:, :3])) == {0.0, 1.0}
    np.testing.assert_array_equal(CLASSES[codes[:, :3].argmax(1)], model.predict(X))


def test_missing_elements_and_sequences_are_classified():
    observed = np.random.default_rng(0).random(X.shape) > 0.2
    model = small("SemiSupervisedVAE", latent_dim=2, epochs=2).fit(X, Y, observed=observed)
    hidden = np.where(observed, X, 1e6)
    np.testing.assert_array_equal(
        model.predict_proba(X, observed=observed), model.predict_proba(hidden, observed=observed)
    )
    steps, lengths = X.reshape(100, 2, 5), np.where(np.arange(100) % 2, 1, 2)
    model = small("SemiSupervisedVAE", latent_dim=2, epochs=2).fit(steps, Y[:100], lengths=lengths)
    assert model.predict(steps, lengths=lengths).shape == (100,)
    assert 0 <= model.score(steps, Y[:100], lengths=lengths) <= 1


@pytest.mark.parametrize(
    ("fields", "y", "message"),
    [
        ({}, None, "y must have labels of at least 2 classes"),
        ({}, np.where(Y == "cow", "cow", "-1"), "y must have labels of at least 2 classes"),
        ({}, np.full(len(X), -1), "y must have labels of at least 2 classes"),
        ({"label_weight": -1.0}, Y, "label_weight must be a number >= 0"),
        ({"encoder": torch.nn.Linear(5, 4)}, Y, "encoder and decoder must be None"),
        ({"prior": "mixture(2)"}, Y, "prior 'normal'"),
    ],
)
def test_what_it_cannot_learn_from_is_refused(fields, y, message):
    with pytest.raises(isthmus.InputError, match=message):
        small("SemiSupervisedVAE", **({"latent_dim": 2} | fields)).fit(X, y)
