"""Peak memory of fitting many rows, in units of the data's size: python benchmarks/memory.py.

Each fit has a process of its own. The peak of fitting 1,000 rows is subtracted: what remains are the data themselves,
and what fitting adds to them.
"""

from __future__ import annotations

import resource
import subprocess
import sys

import numpy as np

import isthmus

ROWS, COLUMNS, FEW = 200_000, 200, 1_000
MODELS = {
    "ppca": lambda: isthmus.ProbabilisticPCA(latent_dim=2),
    "vae, 16 units": lambda: isthmus.VAE(epochs=1, hidden=(16,), latent_dim=2, batch_size=1024),
    "vae": lambda: isthmus.VAE(epochs=1, batch_size=1024),
}


def peak(name: str, n: int) -> float:
    """Peak memory of fitting n rows in this process, MiB."""
    x = np.random.default_rng(0).standard_normal((n, COLUMNS), dtype=np.float32)
    MODELS[name]().fit(x)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    data = ROWS * COLUMNS * 4 / 2**20
    print(f"{ROWS:,} x {COLUMNS} float32, {data:.0f} MiB")
    print(f"{'model':<16}{'few rows':>10}{'all rows':>10}{'with data':>11}{'beside data':>13}")
    for name in MODELS:
        few, all_rows = (
            float(subprocess.run([sys.executable, __file__, name, str(n)], capture_output=True, check=True).stdout)
            for n in (FEW, ROWS)
        )
        ratio = (all_rows - few) / data
        print(f"{name:<16}{few:>10.0f}{all_rows:>10.0f}{ratio:>11.2f}{ratio - 1:>13.2f}")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(peak(sys.argv[1], int(sys.argv[2])))
    else:
        main()
