"""What following the first finding's remedy gains: each defect is planted, and the line of Python is run.

    python benchmarks/remedies.py [CASE ...]

Prints a Markdown table: case, first finding, the number that it names before and after, and its paired standard error.
Defects of the data have advice instead of a line, and are not here.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from sklearn.datasets import load_breast_cancer, load_wine

import isthmus
from isthmus.metrics.estimate import mean_and_error

WITHOUT = ("inference_gap", "classifier", "samples", "copies", "sharpness", "paths")
"""Metrics that no first finding of these cases reads."""
DRAWS = 200
"""Draws per row for log p(x)."""


class Planted(NamedTuple):
    """A model with a defect, its training rows, and other rows."""

    model: Any
    train: np.ndarray
    test: np.ndarray


def linear(n: int, k: int = 4, d: int = 16, noise: float = 0.3, seed: int = 0) -> np.ndarray:
    """Rows of a linear model with k dimensions."""
    axes, random = np.random.default_rng(42).normal(size=(k, d)), np.random.default_rng(seed)
    return random.normal(size=(n, k)) @ axes + noise * random.normal(size=(n, d))


def cancer() -> tuple[np.ndarray, np.ndarray]:
    """Training and other rows of breast_cancer."""
    return np.split(load_breast_cancer().data, [420])


def wine(n: int) -> tuple[np.ndarray, np.ndarray]:
    """n training rows of wine, and the others."""
    return np.split(load_wine().data[np.random.default_rng(0).permutation(178)], [n])


def lines(k: int, n: int = 600) -> tuple[np.ndarray, np.ndarray]:
    """n training rows of k dimensions, and 200 others."""
    return linear(n, k), linear(200, k, seed=1)


def counts(dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Overdispersed counts."""
    random, axes = np.random.default_rng(0), 0.5 * np.random.default_rng(42).normal(size=(2, 20))
    means = np.exp(random.normal(size=(800, 2)) @ axes + 1.5) * random.gamma(2, 0.5, size=(800, 20))
    return np.split(random.poisson(means).astype(dtype), [600])


def heavy() -> tuple[np.ndarray, np.ndarray]:
    """Linear rows with noise of heavy tails."""
    return np.split(linear(800, 3, noise=0.0) + 0.5 * np.random.default_rng(0).standard_t(1.5, size=(800, 16)), [600])


def plant(name: str, rows: tuple[np.ndarray, np.ndarray], **fields: Any) -> Planted:
    """A model fitted to the first of two sets of rows."""
    train, test = rows
    return Planted(getattr(isthmus, name)(random_state=0, **fields).fit(train), train, test)


SMALL = {"hidden": (64, 64), "latent_dim": 4}
AT_RANDOM = {"initialization": "random"}
"""A start from which too little or too wild training leaves nothing; the default one is kept instead."""
WIDE = {"hidden": (256, 256), "validation_fraction": 0}
CASES: dict[str, Callable[[], Planted]] = {
    "beta 50": lambda: plant("VAE", cancer(), **SMALL, beta=50.0, epochs=100),
    "beta 8": lambda: plant("VAE", lines(4), **SMALL, beta=8.0, epochs=60),
    "one epoch": lambda: plant("VAE", cancer(), **SMALL, epochs=1),
    "one epoch, autoencoder": lambda: plant("Autoencoder", lines(4), **SMALL, **AT_RANDOM, epochs=1),
    "learning rate 0.3": lambda: plant("VAE", cancer(), **SMALL, epochs=100, learning_rate=0.3),
    "learning rate 1": lambda: plant("Autoencoder", lines(4), **SMALL, **AT_RANDOM, epochs=100, learning_rate=1.0),
    "few rows, large net": lambda: plant("VAE", wine(60), **WIDE, latent_dim=4, epochs=600),
    "few rows, large autoencoder": lambda: plant("Autoencoder", lines(4, 60), **WIDE, latent_dim=6, epochs=400),
    "64 dimensions on rank 3": lambda: plant("VAE", lines(3), hidden=(64,), latent_dim=64, epochs=60),
    "64 dimensions on 13 columns": lambda: plant("VAE", wine(133), hidden=(32,), latent_dim=64, epochs=200),
    "1 dimension on rank 6": lambda: plant("VAE", lines(6), hidden=(64,), latent_dim=1, epochs=100),
    "1 dimension on rank 8": lambda: plant("Autoencoder", lines(8), hidden=(64,), latent_dim=1, epochs=100),
    "offset, not centred": lambda: plant(
        "SparseAutoencoder",
        tuple(x + 50 for x in lines(4)),
        latent_dim=64,
        sparsity="top_k(8)",
        scaling="none",
        epochs=40,
    ),
    "normal on counts": lambda: plant("VAE", counts("float64"), hidden=(32,), latent_dim=2, epochs=60),
    "poisson on counts": lambda: plant(
        "VAE", counts("int64"), hidden=(32,), latent_dim=2, epochs=60, likelihood="poisson"
    ),
    "normal on heavy tails": lambda: plant("VAE", heavy(), hidden=(32,), latent_dim=3, epochs=60),
    "1/8 of the noise": lambda: plant("VAE", lines(4), hidden=(), latent_dim=4, epochs=100, likelihood="normal(0.02)"),
}
"""Defects by name. A new one is one entry."""


def scores(model: Any, test: np.ndarray, density: bool) -> np.ndarray:
    """(n,) log p(x) of rows, nats, or minus the squared error of an autoencoder: more is better."""
    if density:
        values = np.asarray(model.score_samples(test))
        integers = bool((test % 1 == 0).all())
        return values if not integers or model.schema_.discrete else np.minimum(values, 0.0)
    return -np.square(model.inverse_transform(model.transform(test)) - test).sum(1)


def measured(name: str) -> str:
    """A row of the table."""
    model, train, test = CASES[name]()
    evaluation = isthmus.evaluate(model, test, train=train, draws=DRAWS, without=WITHOUT)
    findings = isthmus.diagnose(model, test, train=train, evaluation=evaluation)
    if not findings:
        return f"| {name} | none | | | |"
    first = findings[0]
    if not first.remedy.startswith("isthmus."):
        return f"| {name} | {first.code} | {first.remedy} | | |"
    better = eval(first.remedy, {"isthmus": isthmus, "X": train})  # the line that a user would run
    density = model.fitted_.capabilities.has_density
    rows = test.astype(better.schema_.dtype) if better.schema_.discrete else test
    before, after = scores(model, test, density), scores(better, rows, density)
    gain, error = mean_and_error(after - before)
    unit = "log p(x)" if density else "minus squared error"
    return f"| {name} | {first.code} | {unit} {before.mean():.2f} | {after.mean():.2f} | {gain:+.2f} ± {error:.2f} |"


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print("| planted | first finding | before | after | gain |\n|---|---|---|---|---|")
    for case in sys.argv[1:] or CASES:
        print(measured(case), flush=True)
