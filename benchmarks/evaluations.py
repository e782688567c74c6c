"""Everything that is measured of a few trained models, a table each.

    ISTHMUS_DATA=folder python benchmarks/evaluations.py [SET ...] [--runs FOLDER] [--ais ROWS] [--seed 0]

Sets: digits, wine, mnist_bits (dynamically binarised), mnist_grey, frey. The folder holds mnist.npz and freyfaces.npz;
sets that need these are skipped without. `--runs` keeps trained models and their pages, and takes those that are there.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits, load_wine

import isthmus
from quality import mnist_vae


@dataclass
class Split:
    """Training, validation and test rows, and the labels of the test rows."""

    train: np.ndarray
    valid: np.ndarray | None
    test: np.ndarray
    labels: np.ndarray | None = None


class Missing(Exception):
    """The data of a set are not available."""


def file_of(name: str) -> dict[str, np.ndarray]:
    folder = os.environ.get("ISTHMUS_DATA")
    if not folder or not (Path(folder) / name).exists():
        raise Missing(f"set ISTHMUS_DATA to a folder with {name}")
    with np.load(Path(folder) / name) as file:
        return {key: file[key] for key in file.files}


def digits(seed: int):
    data = load_digits()
    x, order = data.images.astype("uint8"), np.random.default_rng(seed).permutation(1797)
    rows = Split(x[order[:1297]], x[order[1297:1497]], x[order[1497:]], data.target[order[1497:]])
    return rows, isthmus.VAE(levels=17, prior="mixture(50)", random_state=seed)


def wine(seed: int):
    data = load_wine()
    order = np.random.default_rng(seed).permutation(178)
    rows = Split(data.data[order[:118]], None, data.data[order[118:]], data.target[order[118:]])
    return rows, isthmus.VAE(latent_dim=4, hidden=(32,), random_state=seed)


def mnist_bits(seed: int):
    data = file_of("mnist.npz")
    return Split(data["x_train"], None, data["x_test"][:1000], data["y_test"][:1000]), mnist_vae(seed)


def mnist_grey(seed: int):
    data = file_of("mnist.npz")
    rows = Split(data["x_train"], None, data["x_test"][:1000], data["y_test"][:1000])
    return rows, isthmus.VAE(
        latent_dim=32,
        hidden=(300, 300),
        network="mlp",
        validation_fraction=0,
        batch_size=256,
        learning_rate=2e-3,
        epochs=60,
        random_state=seed,
    )


def frey(seed: int):
    x = file_of("freyfaces.npz")["x"]
    order = np.random.default_rng(seed).permutation(len(x))
    rows = Split(x[order[:1565]], x[order[1565:1765]], x[order[1765:]])
    return rows, isthmus.VAE(
        latent_dim=64,
        network="conv",
        likelihood="discretized_logistic",
        learning_rate=2e-3,
        batch_size=64,
        epochs=500,
        patience=10**9,
        random_state=seed,
    )


SETS: dict[str, Callable] = {f.__name__: f for f in (digits, wine, mnist_bits, mnist_grey, frey)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("sets", nargs="*", metavar="SET", help=", ".join(SETS))
    parser.add_argument("--runs", help="a folder for the trained models")
    parser.add_argument("--ais", type=int, default=0, help="rows that are annealed too")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for name in arguments.sets or SETS:
        if name not in SETS:
            parser.error(f"no set named {name!r}; there are {', '.join(SETS)}")
        try:
            rows, model = SETS[name](arguments.seed)
        except Missing as missing:
            print(f"skipped: {name}, for {missing}\n")
            continue
        kept = Path(arguments.runs) / name if arguments.runs else None
        if kept and kept.exists():
            model = isthmus.load(kept)
        else:
            model.fit(rows.train, validation=rows.valid)
            if kept:
                model.save(kept)
        start = time.perf_counter()
        evaluation = isthmus.evaluate(model, rows.test, rows.labels, train=rows.train, ais=arguments.ais)
        if kept:
            isthmus.report_page(model, rows.test, kept / "report.html", rows.labels, train=rows.train, found=evaluation)
        spent = model.history_[-1]["seconds"] / 60
        print(f"### {name}: {' '.join(repr(model).split())}\n")
        print(f"Trained in {spent:.1f} minutes, measured in {(time.perf_counter() - start) / 60:.1f}.\n")
        print("| what | measured |\n| --- | --- |")
        for what, value in evaluation.lines():
            print(f"| {what.strip()} | {value} |")
        print("", flush=True)


if __name__ == "__main__":
    main()
