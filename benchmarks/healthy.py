"""Default fits on healthy data, which no finding may warn of.

    python benchmarks/healthy.py [CASE ...] [--seeds 1]

Prints a Markdown table: case, seed, what was chosen, and the findings that are warnings or errors.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable

import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine, make_blobs

import isthmus
from isthmus.estimators.base import Estimator


def linear(n: int, k: int, d: int) -> np.ndarray:
    """Rows of a linear Gaussian model."""
    random = np.random.default_rng(0)
    return random.normal(size=(n, k)) @ random.normal(size=(k, d)) + 0.5 * random.normal(size=(n, d))


def bits() -> np.ndarray:
    """Bits whose logits are linear in four numbers."""
    random = np.random.default_rng(0)
    logits = random.normal(size=(1000, 4)) @ random.normal(size=(4, 30))
    return (random.random(logits.shape) < 1 / (1 + np.exp(-2 * logits))).astype(np.uint8)


def counts() -> np.ndarray:
    """Overdispersed counts whose logarithms are linear in three numbers."""
    random = np.random.default_rng(0)
    means = np.exp(1 + 0.5 * random.normal(size=(1000, 3)) @ random.normal(size=(3, 20)))
    return random.poisson(means * random.gamma(3, 1 / 3, means.shape))


CASES: dict[str, tuple[Callable[[], np.ndarray], dict]] = {
    "digits": (lambda: load_digits().images.astype(np.uint8), {"levels": 17}),
    "linear, 4 of 16": (lambda: linear(1000, 4, 16), {}),
    "linear, 8 of 30": (lambda: linear(1000, 8, 30), {}),
    "blobs": (lambda: make_blobs(1000, 8, centers=5, random_state=0)[0], {}),
    "bits": (bits, {}),
    "counts": (counts, {}),
    "wine": (lambda: load_wine().data, {}),
    "breast_cancer": (lambda: load_breast_cancer().data, {}),
    "diabetes": (lambda: load_diabetes(scaled=False).data, {}),
    "sparse, wider than its data": (lambda: linear(1000, 4, 16), {"latent_dim": 64}),
}


def main() -> None:
    """Fit and diagnose each case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*")
    parser.add_argument("--seeds", type=int, default=1)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    print("| case | seed | latent dimensions | prior | warnings and errors |\n|---|---|---|---|---|")
    for name in args.cases or CASES:
        make, fields = CASES[name]
        for seed in range(args.seeds):
            x = np.random.default_rng(seed).permutation(make())
            train, test = np.split(x, [int(0.8 * len(x))])
            kind: type[Estimator] = isthmus.SparseAutoencoder if name.startswith("sparse") else isthmus.VAE
            model = kind(random_state=seed, threads=1, **fields).fit(train)
            found = [f.code for f in isthmus.diagnose(model, test, train=train) if f.severity != "info"]
            chosen = model.fitted_.fields
            print(
                f"| {name} | {seed} | {chosen['latent_dim']} | {chosen['prior']} | {', '.join(found) or 'none'} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
