"""Training in bf16 beside float32 on MNIST: log p(x) of new rows over seeds, and the seconds of training.

    ISTHMUS_DATA=folder python benchmarks/precision.py [--hidden 512,512] [--latent-dim 20] [--seeds 3] [--epochs 10]
                                                       [--batch-size 128] [--until -97.2]

A VAE on images binarised anew in each epoch, 1,000 draws of 2,000 test images; rows and seeds are the same, so that
differences are paired. With --until, the seconds of training after which the ELBO of the test images has that value, in
nats, are compared instead. Needs a processor or GPU with units for bf16.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np

TEST_ROWS, DRAWS = 2_000, 1_000
PRECISIONS = ("float32", "bf16")


def trained(precision: str, seed: int, arguments: argparse.Namespace, train: np.ndarray, **more: np.ndarray):
    import isthmus

    return isthmus.VAE(
        likelihood="bernoulli",
        binarize=True,
        hidden=tuple(map(int, arguments.hidden.split(","))),
        latent_dim=arguments.latent_dim,
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        random_state=seed,
        precision=precision,
    ).fit(train, **more)


def seconds_until(elbo: float, history: list[dict[str, float]]) -> float:
    """Seconds of training, without the passes over the test images, after which their ELBO is reached; else NaN."""
    return next((epoch["seconds"] for epoch in history if -epoch["valid_loss"] >= elbo), float("nan"))


def compare_times(arguments: argparse.Namespace, train: np.ndarray, test: np.ndarray) -> None:
    print(f"| seed | float32: s until {arguments.until} | bf16: s | ratio | last ELBO |\n|---|---|---|---|---|")
    for seed in range(arguments.seeds):
        runs = [trained(precision, seed, arguments, train, validation=test).history_ for precision in PRECISIONS]
        times = [seconds_until(arguments.until, history) for history in runs]
        last = ", ".join(f"{-history[-1]['valid_loss']:.2f}" for history in runs)
        print(f"| {seed} | {times[0]:.1f} | {times[1]:.1f} | {times[1] / times[0]:.2f} | {last} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--hidden", default="512,512")
    parser.add_argument("--latent-dim", type=int, default=20)
    parser.add_argument("--until", type=float)
    arguments = parser.parse_args()
    folder = os.environ.get("ISTHMUS_DATA")
    if not folder:
        raise SystemExit("skipped: ISTHMUS_DATA names no folder with mnist.npz")
    with np.load(Path(folder, "mnist.npz")) as arrays:
        train, test = arrays["x_train"].reshape(-1, 784), arrays["x_test"].reshape(-1, 784)
    if arguments.until is not None:
        return compare_times(arguments, train, test)
    test = test[:TEST_ROWS]
    found: dict[str, list[np.ndarray]] = {precision: [] for precision in PRECISIONS}
    print("| seed | computed in | log p(x), nats | training, s |\n|---|---|---|---|")
    for seed in range(arguments.seeds):
        for precision, scores in found.items():
            model = trained(precision, seed, arguments, train)
            values, seconds = model.score_samples(test, draws=DRAWS), model.history_[-1]["seconds"]
            scores.append(values)
            print(f"| {seed} | {model.settings_['precision']} | {values.mean():.3f} | {seconds:.1f} |", flush=True)
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
