"""What the end of `isthmus fit` takes beside training: python benchmarks/end_of_fit.py.

Measuring, drawing and the page should take no more than a tenth of training and five seconds. MNIST is read from
ISTHMUS_DATA/mnist.npz, where that is set. Exits with 1 where an end takes longer.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

SHARE, SECONDS = 0.1, 5.0
STAGES = ("preparing", "training", "measuring", "drawing")


def blobs(n: int, side: int) -> np.ndarray:
    """(n, side, side) grey images of one blob each, anywhere and of any width."""
    random, grid = np.random.default_rng(0), np.mgrid[:side, :side]
    centre, width = random.uniform(0.25, 0.75, (n, 2)) * side, random.uniform(0.08, 0.22, n) * side
    apart = np.stack([np.square(grid - c[:, None, None]).sum(0) for c in centre])
    return (255 * np.exp(-apart / (2 * np.square(width))[:, None, None])).astype(np.uint8)


def table(n: int, d: int) -> np.ndarray:
    """(n, d) rows of five latent dimensions with noise."""
    random = np.random.default_rng(0)
    return (random.normal(size=(n, 5)) @ random.normal(size=(5, d)) + 0.3 * random.normal(size=(n, d))).astype("f4")


def stages_of(folder: str, data: str, model: str, epochs: int) -> list[float]:
    """Seconds of each stage, as the command gives them."""
    command = [sys.executable, "-m", "isthmus", "fit", model, data, "--output", "run", "--force", "--json"]
    options = ["--random-state", "0", "--epochs", str(epochs)]
    ran = subprocess.run([*command, *options], cwd=folder, capture_output=True, text=True, check=True)
    stages = json.loads(ran.stdout)["stages"]
    return [stages[stage] for stage in STAGES]


def main() -> int:
    over = 0
    print(f"{'data':<28}{'epochs':>8}" + "".join(f"{stage:>11}" for stage in STAGES) + f"{'end':>8}{'allowed':>9}")
    with tempfile.TemporaryDirectory() as folder:
        data = {"64x64": blobs(1500, 64), "96x96": blobs(600, 96), "100000x20": table(100_000, 20)}
        for name, rows in data.items():
            np.savez(Path(folder) / f"{name}.npz", x=rows)
        runs = [("vae", "digits", "digits", e) for e in (1, 100)] + [("vqvae", "digits", "digits", 60)]
        runs += [("vae", name, f"{name}.npz", e) for name in data for e in (1, 10)]
        if "ISTHMUS_DATA" in os.environ:
            runs += [("vae", "mnist", str(Path(os.environ["ISTHMUS_DATA"], "mnist.npz")), e) for e in (1, 3)]
        for model, name, path, epochs in runs:
            stages = stages_of(folder, path, model, epochs)
            end, allowed = sum(stages[2:]), SHARE * stages[1] + SECONDS
            print(f"{model + ' of ' + name:<28}{epochs:>8}" + "".join(f"{s:>11.1f}" for s in stages), end="")
            print(f"{end:>8.1f}{allowed:>9.1f}" + ("  over" if end > allowed else ""), flush=True)
            over += end > allowed
    return int(over > 0)


if __name__ == "__main__":
    sys.exit(main())
