"""log p(x) of rows at work: a million rows of a table, wide counts, and images at equal error; what it costs.

    python benchmarks/scoring.py [--only rows|counts|images] [--rows 1000000] [--images 100]

Rows: a table of 20 columns, networks (128, 128), z 8, by 16 draws a row and by draws="auto". Counts: 100 rows of
20,000. Images: MNIST, 784-512-512-20, 5,000 draws an image from the encoder's posterior against "auto" at several
tolerances; the error is from a reference, "auto" within 0.03 nats by other draws. Images need ISTHMUS_DATA, a folder
with mnist.npz, and are skipped without it. ISTHMUS_PEERS names an interpreter that has pythae, whose 5,000 draws, of a
network of this size, are timed in the same run; without it that is left out.
"""

import argparse
import os
import resource
import sys
import time
from typing import Any

import numpy as np

import isthmus
from peers.workloads import mnist_file
from training import PEERS, SRC, machine, pythae_interpreter, run

TOLERANCES = (0.1, 0.3, 1.0)
PEER_IMAGES = 20
"""Images whose log p(x) the peer computes."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", choices=("rows", "counts", "images"))
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--images", type=int, default=100)
    arguments = parser.parse_args()
    print(machine(sys.executable) + "\n", flush=True)
    parts = {
        "rows": lambda: rows(arguments.rows),
        "counts": counts,
        "images": lambda: images(arguments.images),
    }
    for name, part in parts.items():
        if arguments.only in (None, name):
            part()


def timed(model: Any, x: np.ndarray, **settings: Any) -> tuple[float, Any]:
    """Seconds of scoring, and the scores of rows."""
    started = time.perf_counter()
    scores = model.fitted_.score_rows(x, **settings)
    return time.perf_counter() - started, scores


def memory() -> float:
    """The largest memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def table(n: int, seed: int) -> np.ndarray:
    """Curved rows of 20 columns."""
    loadings, phases = np.random.default_rng(5).normal(size=(2, 6, 20))
    random = np.random.default_rng(seed)
    z = random.normal(size=(n, 6))
    return (np.tanh(z @ loadings) + 0.5 * np.sin(z @ phases) + 0.2 * random.normal(size=(n, 20))).astype(np.float32)


def rows(n: int) -> None:
    """Print the time of scoring many rows of a small table."""
    model = isthmus.VAE(latent_dim=8, hidden=(128, 128), epochs=20, random_state=0).fit(table(30_000, 1))
    x = table(n, 2)
    timed(model, x[:2000], draws=16)  # all that is loaded once
    before = memory()
    for draws in (16, "auto"):
        seconds, scores = timed(model, x, draws=draws)
        print(
            f"{n:,} x 20, draws {draws}: {seconds:.0f} s, {scores.draws.mean():.0f} draws a row, error within "
            f"0.1 nats by its own estimate on {(scores.error <= 0.1).mean():.0%} of rows, "
            f"{memory() - before:+.0f} MiB beside {x.nbytes / 2**20:.0f} of data",
            flush=True,
        )
    some = x[:2000]
    reference = timed(model, some, tolerance=0.03, max_draws=100_000, seed=7)[1].values
    error = abs(timed(model, some)[1].values - reference)
    print(f"auto, against within 0.03 nats by other draws: {(error <= 0.1).mean():.1%} of 2,000 rows within 0.1 nats\n")


def counts() -> None:
    """Print the time of scoring rows of 20,000 counts."""
    random = np.random.default_rng(0)
    x = random.poisson(np.exp(0.5 * random.normal(size=(600, 20_000))) * 0.7)
    model = isthmus.VAE(latent_dim=10, hidden=(128,), epochs=2, random_state=0).fit(x[100:])
    for draws in ("auto", 16):
        seconds, scores = timed(model, x[:100], draws=draws)
        print(
            f"100 x 20,000 counts, draws {draws}: {seconds:.1f} s, {scores.draws.mean():.0f} draws a row, "
            f"error within 0.1 nats on {(scores.error <= 0.1).mean():.0%}, mean {scores.values.mean():.1f} nats",
            flush=True,
        )
    print()


def images(n: int) -> None:
    """Print the time and the error of log p(x) of MNIST, by "auto" and by 5,000 draws."""
    file = mnist_file()
    if file is None:
        print("skipped: images need ISTHMUS_DATA, a folder with mnist.npz")
        return
    with np.load(file) as data:
        train, test = data["x_train"][:50_000], data["x_test"][:n]
    fields = {"network": "mlp", "hidden": (512, 512), "latent_dim": 20, "prior": "normal", "binarize": True}
    model = isthmus.VAE(**fields, epochs=8, batch_size=128, random_state=0).fit(train)
    timed(model, test[:20], draws=100)
    reference = timed(model, test, tolerance=0.03, max_draws=100_000, seed=7)[1].values
    plain_seconds, plain = timed(model, test, draws=5000)
    plain_error = abs(plain.values - reference)
    print(f"5,000 draws from the encoder's: {1000 * plain_seconds / n:.1f} ms an image, "
          f"mean error {plain_error.mean():.2f} nats", flush=True)  # fmt: skip
    peer_seconds = pythae_seconds()
    for tolerance in TOLERANCES:
        seconds, scores = timed(model, test, tolerance=tolerance)
        error = abs(scores.values - reference)
        peer = "" if peer_seconds is None else f", {peer_seconds * n / seconds:.1f} times pythae's 5,000"
        print(
            f"auto, tolerance {tolerance}: {1000 * seconds / n:.1f} ms an image ({plain_seconds / seconds:.1f} times "
            f"as fast{peer}), {scores.draws.mean():.0f} draws, mean error {error.mean():.2f} nats, within the "
            f"tolerance {(error <= tolerance).mean():.0%}",
            flush=True,
        )


def pythae_seconds() -> float | None:
    """Seconds an image of pythae's log p(x) by 5,000 draws, which is the same estimate as the plain one."""
    python = pythae_interpreter(os.environ.get("ISTHMUS_PEERS"))
    if python is None:
        return None
    speed = run([python, str(PEERS / "log_likelihood.py"), "pythae", "--images", str(PEER_IMAGES)], SRC)[0]
    return 1 / speed


if __name__ == "__main__":
    main()
