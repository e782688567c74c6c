"""What every peer trains on and how it reports: the same data, sizes, batches and seed for all.

torch is imported only where a peer begins, so that the process that starts the peers stays small.
"""

import argparse
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SEED = 0


@dataclass(frozen=True)
class Workload:
    """One training run: a network's sizes, the rows of an epoch, and which epochs count."""

    data: str  # "images" (flat rows in [0, 1]), "pictures" (28 x 28) or "table"
    rows: int
    features: int
    hidden: tuple[int, ...]  # widths of the encoder; the decoder mirrors them
    latent_dim: int
    batch_size: int
    epochs: int
    first_timed: int  # counted from 1; earlier epochs warm up

    @property
    def variational(self) -> bool:
        return self.data != "table"


WORKLOADS = {
    "a": Workload("images", 60_000, 784, (512, 512), 20, batch_size=128, epochs=10, first_timed=3),
    "a512": Workload("images", 60_000, 784, (512, 512), 20, batch_size=512, epochs=10, first_timed=3),
    "d": Workload("table", 100_000, 50, (64, 32), 8, batch_size=256, epochs=8, first_timed=2),
    "conv": Workload("pictures", 12_800, 784, (), 16, batch_size=128, epochs=3, first_timed=2),
}


def mnist_file() -> Path | None:
    """The file of digits in the folder ISTHMUS_DATA, or None where there is none."""
    folder = os.environ.get("ISTHMUS_DATA")
    file = Path(folder, "mnist.npz") if folder else None
    return file if file and file.is_file() else None


def load(workload: Workload, rows: int) -> np.ndarray:
    """The training rows, float32: (rows, features), or (rows, 28, 28) for pictures."""
    if workload.data == "table":
        return correlated_table(rows, workload.features, workload.latent_dim)
    file = mnist_file()
    if file is None:
        raise SystemExit("no mnist.npz: set ISTHMUS_DATA to the folder that holds it")
    with np.load(file) as arrays:
        x = arrays["x_train"][:rows].astype(np.float32) / 255  # (rows, 28, 28)
    return x if workload.data == "pictures" else x.reshape(len(x), -1)


def correlated_table(rows: int, features: int, factors: int) -> np.ndarray:
    """Normal columns that share a few factors, so that a bottleneck has something to find."""
    rng = np.random.default_rng(SEED)
    loadings = rng.standard_normal((factors, features)) / factors**0.5
    shared = rng.standard_normal((rows, factors)) @ loadings
    return (shared + 0.5 * rng.standard_normal((rows, features))).astype(np.float32)


def parser() -> argparse.ArgumentParser:
    """The command line that every peer understands."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("workload", choices=WORKLOADS)
    arguments.add_argument("--epochs", type=int, help="default: the workload's own")
    arguments.add_argument("--rows", type=int, help="train on fewer rows than the workload has")
    arguments.add_argument("--flush", action="store_true", help="flush denormal numbers to zero")
    return arguments


def begin(arguments: argparse.Namespace) -> tuple[Workload, np.ndarray, int]:
    """Prepare the process and return the workload, its rows and the number of epochs."""
    import torch

    # Threads inherit the mode when they are made: later than the first parallel operation is too late.
    if arguments.flush:
        torch.set_flush_denormal(True)
    torch.manual_seed(SEED)
    workload = WORKLOADS[arguments.workload]
    x = load(workload, min(arguments.rows or workload.rows, workload.rows))
    return workload, x, arguments.epochs or workload.epochs


def report(epoch_seconds: list[float], samples: int) -> None:
    """Print the one line that a peer answers with."""
    print(json.dumps({"epoch_seconds": epoch_seconds, "samples": samples}), flush=True)
