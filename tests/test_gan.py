"""The critic of rows: whom each loss reaches, and that it trains whatever the rows are."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import isthmus
from isthmus.estimators.parts_by_name import PENALTIES, build
from isthmus.evaluation.evaluate import MEASURES
from isthmus.random_streams import seeded
from models import counts, images, rows_of, small, table

X = images(60, (16, 16))


@pytest.fixture(scope="module")
def model():
    return small("VAE", epochs=1, latent_dim=3, warmup=0.0).fit(X)


def gradients(model, call: str, of: str) -> dict[str, float]:
    """Norm of the gradient that a loss has in the encoder, in the decoder and in the critic."""
    batch = rows_of(model, X).batch(torch.arange(20))
    with seeded(0):
        term = build(PENALTIES, call, "penalty", model, model.schema_)
        out = model.model_(batch)
        loss = (term.fn if of == "fool" else term.aside)(model.model_, batch, out).sum()
    parts = model.model_.parts()
    players = {"encoder": parts["posterior"], "decoder": parts["likelihood"], "critic": term.critic}
    parameters = [list(part.parameters()) for part in players.values()]
    found = torch.autograd.grad(loss, [p for part in parameters for p in part], allow_unused=True)
    each = iter(found)
    norms = {}
    for name, part in zip(players, parameters, strict=True):
        norms[name] = sum(0.0 if (g := next(each)) is None else float(g.square().sum()) for _ in part)
    return norms


def test_the_verdict_reaches_the_decoder_alone_and_the_distance_the_encoder_too(model):
    with_verdict, without = gradients(model, "gan(1, 5)", "fool"), gradients(model, "gan(1, 0)", "fool")
    assert with_verdict["encoder"] == pytest.approx(without["encoder"], rel=1e-4)
    assert without["encoder"] > 0
    assert with_verdict["decoder"] > 1.01 * without["decoder"] > 0
    assert with_verdict["critic"] == without["critic"] == 0


def test_the_critics_loss_reaches_the_critic_alone(model):
    norms = gradients(model, "gan(1, 1)", "separate")
    assert norms["critic"] > 0
    assert norms["encoder"] == norms["decoder"] == 0


@pytest.mark.parametrize("rows", [table(60), counts(60), X])
def test_it_trains_and_the_critic_learns(rows):
    model = small("VAEGAN", epochs=3).fit(rows)
    last = model.history_[-1]
    assert np.isfinite([last["loss"], last["gan"], last["critic_loss"]]).all()
    assert np.isfinite(model.elbo(rows, draws=2)).all()


def test_rows_with_gaps_are_compared_where_they_are_known():
    rows = table(60)
    rows[::3, 1] = np.nan
    model = small("VAEGAN", epochs=2).fit(rows, observed=np.isfinite(rows))
    assert np.isfinite(model.history_[-1]["gan"])


@pytest.mark.grid
def test_decoded_images_are_sharper():
    random = np.random.default_rng(0)
    x = (random.random((150, 16, 16)) < 0.5).astype(np.uint8) * 255  # what no code holds, a mean leaves grey
    fields = {"epochs": 12, "latent_dim": 2, "network": "mlp", "hidden": (64,), "learning_rate": 3e-3}
    spread = [
        model.fit(x).sample(50, random_state=0, mean=True).std(0).mean()
        for model in (small("VAE", **fields, warmup=0.0), small("VAEGAN", **fields, warmup=0.0, penalty="gan(1, 30)"))
    ]
    assert spread[1] > 1.2 * spread[0]  # of black and white pixels it is 127


@pytest.mark.parametrize("call", ["gan(-1)", "gan(1, -1)"])
def test_weights_are_numbers_that_are_not_negative(call):
    with pytest.raises(isthmus.InputError, match="must be a number >= 0"):
        small("VAE", penalty=call).fit(table())


def test_a_plain_autoencoders_verdict_is_on_reconstructions_alone():
    model = small("Autoencoder", penalty="gan(1)", epochs=2, prior="refit(2)").fit(table(60))
    assert np.isfinite(model.history_[-1]["gan"])


def test_columns_of_categories_are_refused():
    rows = np.column_stack([table(60)[:, :2], np.arange(60) % 3])
    with pytest.raises(isthmus.InputError, match=r"penalty must be another than 'gan.w, a.' for columns of categories"):
        small("VAEGAN", likelihood=("normal", "normal", "categorical")).fit(rows)


def test_a_critic_that_wins_is_said_with_its_own_weights():
    x = table(60)
    model = small("VAEGAN", penalty="gan(2, 5)", epochs=2).fit(x)
    measured = isthmus.evaluate(model, x, draws=5, without=[name for name in MEASURES if name != "log_likelihood"])
    for loss, found in ((1.0, 0), (0.01, 1)):
        model.history_[-1]["critic_loss"] = loss
        said = [each for each in isthmus.diagnose(model, x, evaluation=measured) if each.code == "critic-wins"]
        assert len(said) == found
    assert "rows from decoded ones" in said[0].message
    assert "gan(2, 20)" in said[0].remedy


def test_the_critic_reads_counts_as_the_encoder_does():
    many = np.random.default_rng(0).poisson(3000, (60, 5)) * np.arange(1, 6)
    model = small("VAEGAN", epochs=3).fit(many)
    assert max(record["critic_loss"] for record in model.history_) < 3  # of raw counts it is a thousand
    mixed = np.column_stack([table(60)[:, :2], many[:, 0]])
    with pytest.raises(isthmus.InputError, match="for counts beside other columns"):
        small("VAEGAN", likelihood=("normal", "normal", "negative_binomial")).fit(mixed)
