"""Priors at one budget: ISTHMUS_DATA=folder python benchmarks/priors.py.

MNIST, each pixel drawn anew in every update, and OMNIGLOT, binarised once; networks of two layers of 300, a code of 40;
log p(x) of test images by 500 draws. Published (Tomczak & Welling, 2018, until converged, gated layers, one layer of
codes): MNIST -88.56 standard, -85.57 vamp(500); OMNIGLOT -108.39 and -104.75.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

import isthmus
from peers.workloads import mnist_file

PRIORS = ("normal", "mixture(500)", "vamp(500)", "flow(3)")


def data_sets(file: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Training and test images by the name of the data."""
    found = {}
    for name in ("mnist", "omniglot"):
        if file.with_name(f"{name}.npz").exists():
            with np.load(file.with_name(f"{name}.npz")) as data:
                found[name] = (data["x_train"], data["x_test"])
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=6000)
    parser.add_argument("--images", type=int, default=1000, help="test images")
    parser.add_argument("--only", default="", help="data whose name holds this")
    options = parser.parse_args()
    file = mnist_file()
    if file is None:
        print("skipped: set ISTHMUS_DATA to a folder with mnist.npz and omniglot.npz")
        return 0
    print(f"{'data':<10}{'prior':<16}{'log p(x)':>10}{'ELBO':>10}{'rate':>8}{'seconds':>9}")
    for name, (train, test) in data_sets(file).items():
        if options.only not in name:
            continue
        some = np.random.default_rng(0).permutation(len(test))[: options.images]
        for prior in PRIORS:
            model = isthmus.VAE(
                prior=prior,
                latent_dim=40,
                hidden=(300, 300),
                network="mlp",
                binarize=bool(train.max() > 1),
                initialization="random",
                epochs=max(1, options.updates * 128 // len(train)),
                patience=10**9,
                random_state=0,
            )
            began = time.perf_counter()
            model.fit(train)
            seconds, last = time.perf_counter() - began, model.history_[-1]
            log_px = model.score_samples(test[some], draws=500).mean()
            numbers = f"{log_px:>10.2f}{-last['valid_loss']:>10.2f}{last['valid_kl']:>8.2f}{seconds:>9.0f}"
            print(f"{name:<10}{prior:<16}{numbers}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
