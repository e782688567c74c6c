"""Whether the package has become slower: speeds of training, scoring and use in ratio to stored ones.

    python benchmarks/regression.py [--rounds 5] [--store]

Each measure is the time of fixed matrix products and elementwise functions over the time of what is measured, so that
a machine's speed at the moment cancels; rounds are interleaved, medians count. The ratios of an earlier state are in
regression.json, by the kind of processor; what is below 0.8 of them is flagged, and the exit status is 1. --store
writes today's as the ones to compare with. It needs no data, no peers, and about three minutes.
"""

import argparse
import json
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch

import isthmus
from training import machine, processor, table

STORED = Path(__file__).with_suffix(".json")
SLOWER = 0.8
"""Share of the stored ratio below which a measure is flagged."""
COMMON = {"validation_fraction": 0.0, "random_state": 0, "device": "cpu", "threads": 2, "initialization": "random"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--store", action="store_true", help="write the ratios as those to compare with")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    print(machine(sys.executable) + "\n", flush=True)
    measures = all_measures()
    ratios: dict[str, list[float]] = {name: [] for name in measures}
    for number in range(arguments.rounds + 1):
        for name, measure in measures.items():
            before = yardstick()
            seconds = measure()
            if number:  # the first round warms up
                ratios[name].append((before + yardstick()) / 2 / seconds)
    today = {name: median(values) for name, values in ratios.items()}
    stored = json.loads(STORED.read_text()) if STORED.exists() else {}
    if arguments.store:
        stored[processor()] = {name: round(value, 4) for name, value in today.items()}
        STORED.write_text(json.dumps(stored, indent=2) + "\n")
    earlier = stored.get(processor(), {})
    rows = [row(name, today[name], earlier.get(name), ratios[name]) for name in measures]
    print(table(["measure", "ratio", "lowest to highest", "stored", "of the stored"], rows))
    if not earlier:
        print(f"\nNothing is stored for {processor()}: --store does.")
    slower = [name for name in measures if name in earlier and today[name] < SLOWER * earlier[name]]
    if slower:
        print(f"\nSlower than {SLOWER:.0%} of the stored: {', '.join(slower)}.")
        raise SystemExit(1)


def row(name: str, today: float, earlier: float | None, values: list[float]) -> list[str]:
    """One line of the table."""
    against = ["-", "-"] if earlier is None else [f"{earlier:.3g}", f"{today / earlier:.2f}"]
    return [name, f"{today:.3g}", f"{min(values):.3g} to {max(values):.3g}", *against]


def yardstick() -> float:
    """Seconds of fixed arithmetic: products of matrices that fit into the cache, and an activation."""
    torch.set_num_threads(2)
    x, weight = torch.ones(512, 512), torch.ones(512, 512) / 512
    started = time.perf_counter()
    for _ in range(60):
        x = torch.nn.functional.silu(x @ weight)
    return time.perf_counter() - started


def seconds_of(run: Callable[[], object]) -> Callable[[], float]:
    """A function that runs another one and returns its seconds."""

    def measure() -> float:
        started = time.perf_counter()
        run()
        return time.perf_counter() - started

    return measure


def rows_of(n: int, d: int, seed: int = 0) -> np.ndarray:
    """Correlated rows of d columns."""
    random = np.random.default_rng(seed)
    return (random.normal(size=(n, 6)) @ random.normal(size=(6, d)) + random.normal(size=(n, d))).astype(np.float32)


def all_measures() -> dict[str, Callable[[], float]]:
    """What is measured by name: functions that return seconds."""
    random = np.random.default_rng(0)
    bits = (random.random((6400, 784)) < random.random(784)).astype(np.float32)
    images = (255 * random.random((640, 28, 28))).astype(np.uint8)
    small = rows_of(20_000, 20)
    scored = isthmus.VAE(latent_dim=8, hidden=(128, 128), epochs=2, **COMMON).fit(small)

    def epoch(make: Callable[[], isthmus.VAE | isthmus.Autoencoder], x: np.ndarray) -> Callable[[], float]:
        """Seconds of the last of two epochs."""

        def measure() -> float:
            history = make().fit(x).history_
            return history[-1]["seconds"] - history[-2]["seconds"]

        return measure

    def vae() -> isthmus.VAE:
        sizes = {"latent_dim": 20, "hidden": (512, 512), "batch_size": 128, "network": "mlp"}
        return isthmus.VAE(likelihood="bernoulli", epochs=2, **sizes, **COMMON)

    def narrow() -> isthmus.Autoencoder:
        return isthmus.Autoencoder(latent_dim=8, hidden=(64, 32), batch_size=256, epochs=2, **COMMON)

    def conv() -> isthmus.VAE:
        return isthmus.VAE(latent_dim=8, network="conv", batch_size=128, epochs=2, **COMMON)

    def start() -> None:
        subprocess.run([sys.executable, "-c", "import isthmus; isthmus.VAE()"], check=True)

    return {
        "train 784-512-512-20, batch 128": epoch(vae, bits),
        "train 50-64-32-8, batch 256": epoch(narrow, rows_of(25_600, 50)),
        "train convolutions, batch 128": epoch(conv, images),
        "score 2,000 rows, 50 draws": seconds_of(lambda: scored.score_samples(small[:2000], draws=50)),
        "score 1,000 rows, auto": seconds_of(lambda: scored.score_samples(small[:1000])),
        "encode 20,000 rows": seconds_of(lambda: scored.transform(small)),
        "sample 20,000 rows": seconds_of(lambda: scored.sample(20_000, random_state=0)),
        "evaluate 500 rows": seconds_of(lambda: isthmus.evaluate(scored, small[:500], draws=100)),
        "import, and make a model": seconds_of(start),
    }


if __name__ == "__main__":
    main()
