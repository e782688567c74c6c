"""Errors on MNIST of classifiers that learn from few labels: python benchmarks/few_labels.py.

    ISTHMUS_DATA=FOLDER python benchmarks/few_labels.py [--labels 100] [--draws 5] [--epochs 30] [--hidden 256,256]

As many labels of each class, drawn anew each time; all 50,000 training images without the others' labels. Beside it a
logistic regression and nearest neighbours on the same labels. Published for 100 labels: M2 11.97 % (Kingma et al.,
2014), an auxiliary loss in place of its weight 6.81 %.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

import isthmus
from peers.workloads import mnist_file

UNKNOWN = -1


def some_labels(y: np.ndarray, n: int, seed: int) -> np.ndarray:
    """y with n labels, as many of each class, and the others unknown."""
    random = np.random.default_rng(seed)
    classes = np.unique(y)
    kept = np.concatenate([random.choice(np.flatnonzero(y == c), n // len(classes), replace=False) for c in classes])
    few = np.full(len(y), UNKNOWN)
    few[kept] = y[kept]
    return few


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=int, default=100)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--hidden", default="256,256")
    parser.add_argument("--latent-dim", type=int, default=32)
    parser.add_argument("--label-weight", type=float, default=100.0)
    parser.add_argument("--threads", default="auto")
    args = parser.parse_args()
    file = mnist_file()
    if file is None:
        print("skipped: set ISTHMUS_DATA to a folder with mnist.npz")
        return
    with np.load(file) as data:
        x, y = data["x_train"][: args.rows], data["y_train"][: args.rows].astype(int)
        x_test, y_test = data["x_test"], data["y_test"].astype(int)
    found = []
    for seed in range(args.draws):
        few = some_labels(y, args.labels, seed)
        known = few != UNKNOWN
        flat, labels = x[known].reshape(known.sum(), -1) / 255, few[known]
        flat_test = x_test.reshape(len(x_test), -1) / 255
        logistic = LogisticRegression(max_iter=1000).fit(flat, labels).score(flat_test, y_test)
        neighbours = KNeighborsClassifier(1).fit(flat, labels).score(flat_test, y_test)
        began = time.perf_counter()
        model = isthmus.SemiSupervisedVAE(
            latent_dim=args.latent_dim,
            hidden=tuple(map(int, args.hidden.split(","))),
            network="mlp",
            binarize=True,
            epochs=args.epochs,
            label_weight=args.label_weight,
            validation_fraction=0,
            random_state=seed,
            threads=args.threads if args.threads == "auto" else int(args.threads),
        ).fit(x, few)
        seconds = time.perf_counter() - began
        found.append([1 - model.score(x_test, y_test), 1 - logistic, 1 - neighbours])
        elbo = model.elbo(x_test, draws=1).mean()
        print(
            f"labels {seed}: error {found[-1][0]:.2%}, logistic regression {found[-1][1]:.2%}, nearest neighbour "
            f"{found[-1][2]:.2%}; ELBO {elbo:.1f} nats; {seconds:.0f} s",
            flush=True,
        )
    means, spread = np.mean(found, 0), np.std(found, 0)
    print("mean error " + ", ".join(f"{m:.2%} ± {s:.2%}" for m, s in zip(means, spread)))


if __name__ == "__main__":
    main()
