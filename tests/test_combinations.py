"""Laws of any prior with any posterior, bound, condition and likelihood: a covering array holds every pair of them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

import isthmus
from isthmus.estimators.parts_by_name import BOUNDS, build
from isthmus.objective import as_objective
from isthmus.random_streams import seeded
from models import bits, counts, images, rows_of, small, table

FACTORS = {
    "prior": ("uniform", "normal", "mixture(3)", "full_mixture(2)", "vamp(4)", "flow(2)", "conditional", "refit(3)"),
    "posterior": ("normal", "full_normal", "iaf(2)", "flow(2)", "hyperspherical", "categorical(2)"),
    "bound": (
        "elbo",
        "stl",
        "free_bits(0.1)",
        "capacity(2)",
        "iwae(3)",
        "dreg(3)",
        "ciwae(3, 0.5)",
        "miwae(2, 2)",
        "piwae(2, 2)",
    ),
    "condition": ("none", "labels"),
    "likelihood": ("normal", "student_t", "bernoulli", "discretized_logistic", "negative_binomial"),
}
DATA = {"bernoulli": bits, "discretized_logistic": images, "negative_binomial": counts}
ROWS = 60
LABELS = np.arange(ROWS) % 3
OF_A_SPACE = ("hyperspherical", "categorical(2)")
"""Posteriors whose prior is `uniform`."""


def refused(row: dict[str, str]) -> bool:
    """Whether a combination has no meaning, or none that is known how to compute."""
    prior, posterior, bound, condition = (row[name] for name in ("prior", "posterior", "bound", "condition"))
    if (prior == "uniform") != (posterior in OF_A_SPACE):
        return True
    if prior == "conditional" and condition == "none":
        return True
    if prior == "vamp(4)" and posterior == "full_normal":
        return condition == "labels"
    if prior == "vamp(4)" and posterior != "normal":
        return True
    return posterior == "categorical(2)" and bound in ("stl", "dreg(3)", "piwae(2, 2)")


EVERY_ROW = [dict(zip(FACTORS, values, strict=True)) for values in itertools.product(*FACTORS.values())]
VALID = [row for row in EVERY_ROW if not refused(row)]


def pairs_of(row: dict[str, str]) -> set[tuple[str, str, str, str]]:
    """The pairs of values of two factors."""
    return {(a, row[a], b, row[b]) for a, b in itertools.combinations(FACTORS, 2)}


def covering_array(seed: int = 0) -> list[dict[str, str]]:
    """Valid combinations that hold every pair of a valid one: greedily, the best of some random ones each time."""
    random, left = np.random.default_rng(seed), set().union(*map(pairs_of, VALID))
    rows: list[dict[str, str]] = []
    while left:
        pair = min(left)  # so that each combination covers something
        holding = [row for row in VALID if pair in pairs_of(row)]
        some = [holding[place] for place in random.integers(0, len(holding), 30)]
        rows.append(max(some, key=lambda row: len(pairs_of(row) & left)))
        left -= pairs_of(rows[-1])
    return rows


COMBINATIONS = covering_array()
EVERY = 20
"""One combination in so many is tried in every run, the others in the full one."""
REFUSED = [
    {"prior": "normal", "posterior": "hyperspherical"},
    {"prior": "mixture(3)", "posterior": "categorical(2)"},
    {"prior": "uniform", "posterior": "normal"},
    {"prior": "conditional"},
    {"prior": "vamp(4)", "posterior": "iaf(2)"},
    {"prior": "vamp(4)", "posterior": "full_normal", "condition": "labels"},
    *(
        {"prior": "uniform", "posterior": "categorical(2)", "bound": bound}
        for bound in ("stl", "dreg(3)", "piwae(2, 2)")
    ),
]


@pytest.mark.parametrize("some", REFUSED, ids=lambda some: "-".join(some.values()))
def test_a_combination_without_meaning_is_refused_by_one_line(some):
    row = {
        "prior": "normal",
        "posterior": "normal",
        "bound": "elbo",
        "condition": "none",
        "likelihood": "normal",
    } | some
    assert refused(row)
    model = small("VAE", prior=row["prior"], latent_dim=4, epochs=1, posterior=row["posterior"], bound=row["bound"])
    with pytest.raises(isthmus.InputError, match=" must be ") as caught:
        model.fit(table(ROWS), **({"condition": LABELS} if row["condition"] == "labels" else {}))
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "row",
    [
        pytest.param(row, id="-".join(row.values()), marks=[] if place % EVERY == 7 else pytest.mark.grid)
        for place, row in enumerate(COMBINATIONS)
    ],
)
def test_any_combination_obeys_the_laws(row, tmp_path, monkeypatch):
    monkeypatch.setattr("isthmus.nets.flow.STEPS", 50)
    fields = {"posterior": row["posterior"], "bound": row["bound"], "likelihood": row["likelihood"]}
    x = DATA.get(row["likelihood"], table)(ROWS)
    given = {"condition": LABELS} if row["condition"] == "labels" else {}
    model = small("VAE", prior=row["prior"], latent_dim=4, epochs=3, precision="float64", warmup=0.0, **fields)
    model.fit(x, **given)
    assert all(math.isfinite(value) for record in model.history_ for value in record.values())

    # It saves, loads and samples from the prior that it was trained with.
    model.save(tmp_path / "run")
    loaded, of_sample = isthmus.load(tmp_path / "run"), {"condition": LABELS[:5]} if given else {}
    rows = {"condition": LABELS[:12]} if given else {}
    np.testing.assert_array_equal(
        loaded.sample(5, random_state=1, **of_sample), model.sample(5, random_state=1, **of_sample)
    )
    few = model.score_samples(x[:12], draws=5, **rows)
    np.testing.assert_allclose(loaded.score_samples(x[:12], draws=5, **rows), few, rtol=1e-9)

    # The bound that was trained, by draws of its own, is below log p(x) by 2,000 other draws.
    rows, some = rows_of(model, x, LABELS if given else None), torch.arange(12)
    with torch.no_grad(), seeded(0):
        out = model.model_(rows.batch(some), draws=2000)
    weights = out.log_ratio.expand(2000, -1)  # (K, B)
    log_px = weights.logsumexp(0) - math.log(2000)
    # The error of a log mean is the variation of the weights over the root of their number.
    variation = (weights - log_px).exp().std(0) / 2000**0.5
    objective = as_objective(build(BOUNDS, row["bound"], "bound", model))
    with torch.no_grad(), seeded(1):
        batches = [rows.batch(some.repeat(50)) for _ in range(8)]
        values = [-objective(model.model_, b, model.model_(b, objective.draws), torch.tensor(1.0))[0] for b in batches]
    bound = torch.stack(values)
    if not row["bound"].startswith("capacity"):  # which is no bound
        assert bound.mean() <= log_px.mean() + 5 * (bound.std() / 8**0.5 + variation.mean()) + 1e-6

    # The divergence is the mean of log q - log p over draws, analytic or not.
    difference = (out.log_qz - out.log_pz).expand(2000, -1)
    error = difference.std(0) / 2000**0.5
    assert ((difference.mean(0) - out.kl.sum(-1)).abs() <= 6 * error + 1e-6).all()
