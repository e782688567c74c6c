"""Training in bf16 beside float32 on MNIST: log p(x) of new rows over seeds, and the seconds of training.

    ISTHMUS_DATA=folder python benchmarks/precision.py [--seeds 3] [--epochs 10] [--batch-size 128]

A VAE of 784-512-512-20 on images binarised anew in each epoch, 1,000 draws of 2,000 test images; the same rows and
seeds for both, so that differences are paired. Needs a processor or GPU with units for bf16.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np

TEST_ROWS, DRAWS = 2_000, 1_000


def run(precision: str, seed: int, epochs: int, batch_size: int, train: np.ndarray, test: np.ndarray):
    """(n,) log p(x) of the test rows, the seconds of training, and what gradients were computed in."""
    import isthmus

    model = isthmus.VAE(
        likelihood="bernoulli",
        binarize=True,
        hidden=(512, 512),
        latent_dim=20,
        epochs=epochs,
        batch_size=batch_size,
        random_state=seed,
        precision=precision,
    ).fit(train)
    return model.score_samples(test, draws=DRAWS), model.history_[-1]["seconds"], model.settings_["precision"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=128)
    arguments = parser.parse_args()
    folder = os.environ.get("ISTHMUS_DATA")
    if not folder:
        raise SystemExit("skipped: ISTHMUS_DATA names no folder with mnist.npz")
    with np.load(Path(folder, "mnist.npz")) as arrays:
        train, test = arrays["x_train"].reshape(-1, 784), arrays["x_test"].reshape(-1, 784)[:TEST_ROWS]
    found: dict[str, list[np.ndarray]] = {"float32": [], "bf16": []}
    print("| seed | computed in | log p(x), nats | training, s |\n|---|---|---|---|")
    for seed in range(arguments.seeds):
        for precision, scores in found.items():
            values, seconds, used = run(precision, seed, arguments.epochs, arguments.batch_size, train, test)
            scores.append(values)
            print(f"| {seed} | {used} | {values.mean():.3f} | {seconds:.1f} |", flush=True)
    means = {name: np.array([values.mean() for values in scores]) for name, scores in found.items()}
    spread = means["float32"].max() - means["float32"].min()
    differences = means["bf16"] - means["float32"]
    # Student's t of three seeds would be wide: the rows' differences, averaged over seeds, are given beside.
    rows = np.mean([b - a for a, b in zip(found["float32"], found["bf16"])], 0)
    error = rows.std(ddof=1) / np.sqrt(len(rows))
    print(
        f"\nbf16 - float32: {differences.mean():+.3f} nats, seeds from {differences.min():+.3f} to "
        f"{differences.max():+.3f}; over rows ± {1.96 * error:.3f}. Seeds of float32 spread over {spread:.3f} nats."
    )


if __name__ == "__main__":
    main()
