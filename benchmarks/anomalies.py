"""Unlabelled, contaminated rows scored by minus log p(x) of default fits, beside other detectors: AUROC on ADBench.

    ISTHMUS_DATA=folder python benchmarks/anomalies.py [--seeds 5] [--jobs 2] [--rows 3000] [SET ...]

Reads `adbench/*.npz` (X, y) in the folder. Each set is shuffled and cut to the given number of rows, every detector is
fitted to all of them without labels and scores the same rows. Nothing was chosen on these sets. ECOD and PyOD's
autoencoder stand beside if `pyod` is installed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

OURS, LINEAR = "VAE", "probabilistic PCA"


def detectors(seed: int) -> dict:
    """Functions of rows (n, d) to their scores (n,), higher for unusual ones."""
    import isthmus

    def ours(x: np.ndarray) -> np.ndarray:
        return -isthmus.VAE(random_state=seed, threads=1).fit(x).score_samples(x, draws=100)

    def linear(x: np.ndarray) -> np.ndarray:
        from isthmus.evaluation.baseline_data import BaselineData
        from isthmus.evaluation.baselines import linear_baseline
        from isthmus.schema import safe_std

        scale = safe_std(x)
        data = BaselineData(x, x / scale, scale, x.shape[1], False, 1e-7, seed)
        return -linear_baseline(data, *data.best_linear).log_density(x)

    def forest(x: np.ndarray) -> np.ndarray:
        return -IsolationForest(random_state=seed).fit(x).score_samples(x)

    found = {OURS: ours, LINEAR: linear, "isolation forest": forest}
    try:
        from pyod.models.auto_encoder import AutoEncoder
        from pyod.models.ecod import ECOD
    except ImportError:
        return found
    found["ECOD"] = lambda x: ECOD().fit(x).decision_scores_
    found["PyOD autoencoder"] = lambda x: AutoEncoder(random_state=seed, verbose=0).fit(x).decision_scores_
    return found


def run(job: tuple[Path, int, int]) -> tuple[str, dict[str, float], float]:
    """AUROC of each detector on one set, and seconds of ours."""
    path, seed, rows = job
    warnings.simplefilter("ignore")
    import torch

    torch.set_num_threads(1)
    with np.load(path, allow_pickle=False) as arrays:
        x, y = arrays["X"].astype(np.float64), arrays["y"]
    order = np.random.default_rng(seed).permutation(len(x))[:rows]
    x, y = x[order], y[order]
    x = x[:, np.ptp(x, 0) > 0]
    scores, seconds = {}, 0.0
    for name, detect in detectors(seed).items():
        started = time.perf_counter()
        scores[name] = float(roc_auc_score(y, detect(x)))
        if name == OURS:
            seconds = time.perf_counter() - started
    return path.stem, scores, seconds


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--rows", type=int, default=3_000)
    args = parser.parse_args()
    if "ISTHMUS_DATA" not in os.environ:
        print("skipped: ISTHMUS_DATA must be the folder that holds adbench/*.npz")
        return
    paths = sorted(Path(os.environ["ISTHMUS_DATA"], "adbench").glob("*.npz"))
    paths = [path for path in paths if not args.sets or any(part in path.stem for part in args.sets)]
    found: dict[str, list[dict[str, float]]] = {path.stem: [] for path in paths}
    times: dict[str, list[float]] = {path.stem: [] for path in paths}
    jobs = [(path, seed, args.rows) for path in paths for seed in range(args.seeds)]
    with multiprocessing.get_context("spawn").Pool(args.jobs) as pool:
        for name, scores, seconds in pool.imap(run, jobs):
            found[name].append(scores)
            times[name].append(seconds)
            print(name, {k: round(v, 3) for k, v in scores.items()}, f"{seconds:.1f} s", file=sys.stderr, flush=True)
    kinds = list(next(iter(found.values()))[0])
    means = {name: {kind: float(np.mean([s[kind] for s in each])) for kind in kinds} for name, each in found.items()}
    print("| set | " + " | ".join(kinds) + " | fit and score, s |\n" + "|---" * (len(kinds) + 2) + "|")
    for name, row in means.items():
        values = " | ".join(f"{row[kind]:.3f}" for kind in kinds)
        print(f"| {name} | {values} | {np.median(times[name]):.1f} |")
    overall = " | ".join(f"{np.mean([row[kind] for row in means.values()]):.3f}" for kind in kinds)
    print(f"| mean | {overall} | |")
    ranks = {k: np.mean([1 + sum(v > row[k] for v in row.values()) for row in means.values()]) for k in kinds}
    print("\nMean ranks: " + ", ".join(f"{k} {v:.2f}" for k, v in sorted(ranks.items(), key=lambda kv: kv[1])))
    worst = min(means, key=lambda name: means[name][OURS] - means[name][LINEAR])
    print(f"Farthest below probabilistic PCA: {means[worst][OURS] - means[worst][LINEAR]:+.3f} ({worst}).")


if __name__ == "__main__":
    main()
