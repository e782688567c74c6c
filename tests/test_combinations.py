"""Laws of any prior with any posterior, bound, condition and likelihood: a covering array holds every pair of them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

import isthmus
from isthmus.random_streams import seeded
from models import bits, counts, images, rows_of, small, table

FACTORS = {
    "prior": ("normal", "mixture(3)", "full_mixture(2)", "vamp(4)", "flow(2)", "conditional", "refit(3)"),
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
CODES_OF_A_SPACE = ("hyperspherical", "categorical(2)")
"""Posteriors with a prior of their own, `uniform`."""


def covering_array(factors: dict[str, tuple[str, ...]], seed: int = 0) -> list[dict[str, str]]:
    """Combinations that hold every pair of values of two factors: greedily, the best of some random ones each time."""
    names, random = list(factors), np.random.default_rng(seed)
    left = {(a, x, b, y) for a, b in itertools.combinations(names, 2) for x in factors[a] for y in factors[b]}
    rows: list[dict[str, str]] = []
    while left:
        a, x, b, y = min(left)  # so that each combination covers something
        best: tuple[int, dict[str, str]] | None = None
        for _ in range(30):
            row = {name: str(random.choice(values)) for name, values in factors.items()} | {a: x, b: y}
            covered = sum((c, row[c], d, row[d]) in left for c, d in itertools.combinations(names, 2))
            best = (covered, row) if best is None or covered > best[0] else best
        assert best is not None
        rows.append(best[1])
        left -= {(c, best[1][c], d, best[1][d]) for c, d in itertools.combinations(names, 2)}
    return rows


def refused(prior: str, posterior: str, bound: str, condition: str) -> bool:
    """Whether a combination has no meaning, or none that is known how to compute."""
    if prior == "conditional" and condition == "none":
        return True
    if prior == "vamp(4)" and (
        posterior in ("iaf(2)", "flow(2)") or (posterior, condition) == ("full_normal", "labels")
    ):
        return True
    return posterior == "categorical(2)" and bound in ("stl", "dreg(3)", "piwae(2, 2)")


COMBINATIONS = covering_array(FACTORS)
EVERY = 20
"""One combination in so many is tried in every run, the others in the full one."""


def test_every_pair_is_there():
    for a, b in itertools.combinations(FACTORS, 2):
        pairs = {(row[a], row[b]) for row in COMBINATIONS}
        assert pairs == set(itertools.product(FACTORS[a], FACTORS[b]))
    assert len(COMBINATIONS) < 1.6 * len(FACTORS["prior"]) * len(FACTORS["bound"])


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
    prior = "uniform" if row["posterior"] in CODES_OF_A_SPACE else row["prior"]
    fields = {"posterior": row["posterior"], "bound": row["bound"], "likelihood": row["likelihood"]}
    x = DATA.get(row["likelihood"], table)(ROWS)
    given = {"condition": LABELS} if row["condition"] == "labels" else {}
    model = small("VAE", prior=prior, latent_dim=4, epochs=3, precision="float64", **fields)
    if refused(prior, row["posterior"], row["bound"], row["condition"]):
        with pytest.raises(isthmus.InputError) as caught:
            model.fit(x, **given)
        assert "\n" not in str(caught.value)
        assert " must be " in str(caught.value)
        return
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

    # elbo <= iwae(5) <= iwae(2000), in the mean over draws.
    with torch.no_grad(), seeded(0):
        batch = rows_of(model, x, LABELS if given else None).batch(torch.arange(12))
        out = model.model_(batch, draws=2000)
        weights = out.log_ratio.expand(2000, -1)  # (K, B)
    of_groups = weights.unflatten(0, (400, 5)).logsumexp(1) - math.log(5)
    for lower, upper, n in ((weights, of_groups, 2000), (of_groups, weights.logsumexp(0) - math.log(2000), 400)):
        error = lower.std(0) / n**0.5 + (upper.std(0) / len(upper) ** 0.5 if upper.ndim > 1 else 0.0)
        best = upper.mean(0) if upper.ndim > 1 else upper
        assert (lower.mean(0) <= best + 5 * error + 1e-9).all()

    # The divergence is the mean of log q - log p over draws, analytic or not.
    difference = (out.log_qz - out.log_pz).expand(2000, -1)
    error = difference.std(0) / 2000**0.5
    assert ((difference.mean(0) - out.kl.sum(-1)).abs() <= 6 * error + 1e-6).all()
