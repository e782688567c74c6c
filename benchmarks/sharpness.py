"""Sharpness of a VAE's images with and without a critic's features: ISTHMUS_DATA=folder python benchmarks/sharpness.py.

Reconstructions of test images and means of samples, relative to the test images (1 is as sharp), beside log p(x).
To reach: nearer to the data than the VAE (Larsen et al., 2016, compare by eye).
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np

import isthmus
from isthmus.evaluation.evaluate import MEASURES
from peers.workloads import mnist_file

MEASURED = ("log_likelihood", "sharpness", "reconstruction")


def images() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Training and test images (n, h, w) by the name of the data."""
    file = mnist_file()
    if file is None:
        return {}
    with np.load(file) as data:
        found = {"MNIST": (data["x_train"][:10_000], data["x_test"][:500])}
    faces = file.with_name("freyfaces.npz")
    if faces.exists():
        with np.load(faces) as data:
            rows = next(iter(data.values())).reshape(-1, 28, 20)
        order = np.random.default_rng(0).permutation(len(rows))
        found["Frey faces"] = (rows[order[:1600]], rows[order[1600:]])
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=1600)
    options = parser.parse_args()
    print(f"{'data':<12}{'model':<26}{'reconstructions':>16}{'samples':>9}{'log p(x)':>11}{'seconds':>9}")
    for data, (train, test) in images().items():
        common = {
            "latent_dim": 32,
            "network": "mlp",
            "hidden": (512, 512),
            "prior": "normal",
            "epochs": max(1, options.updates * 128 // len(train)),
            "random_state": 0,
        }
        models = {"VAE": isthmus.VAE(**common)}
        models |= {f"VAEGAN, gan({w}, 1)": isthmus.VAEGAN(**common, penalty=f"gan({w}, 1)") for w in (1, 10)}
        for name, model in models.items():
            began = time.perf_counter()
            model.fit(train)
            seconds = time.perf_counter() - began
            others = [measure for measure in MEASURES if measure not in MEASURED]
            measured = isthmus.evaluate(model, test, draws=200, without=others)
            sharp = [measured.value(f"sharpness.{of}") for of in ("reconstructions", "samples")]
            numbers = f"{sharp[0]:>16.3f}{sharp[1]:>9.3f}{measured.value('log_likelihood'):>11.1f}{seconds:>9.0f}"
            print(f"{data:<12}{name:<26}{numbers}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
