"""Fifteen small runs and every number that they give, recorded before a change and compared after it.

    python benchmarks/golden.py record FOLDER [--only NAME ...]    # train, measure, write FOLDER/NAME/
    python benchmarks/golden.py compare OLD NEW                    # print every difference; exit 1 where one counts

Only the command line, `isthmus.load` and the methods of a model are used, so that one script serves two states of the
code: PYTHONPATH names the src of the other. One thread, about three minutes.

Recorded of each run: the weights, as a multiset of tensors whose names do not matter; what `fit`, `evaluate` and
`diagnose` say with --json; log p(x), codes, draws and reconstructions of the first rows. Words, paths and seconds are
not compared. Where the weights are the same bytes, numbers must agree to 1e-6 (arrays: of their largest). Where they
are not, the run was trained anew, and a mean must agree to twice the standard error beside it; what has none is shown
and does not count. Numbers, findings and runs that are lost or new always count.
"""

import argparse
import contextlib
import hashlib
import importlib.util
import json
import math
import multiprocessing
import os
import runpy
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

ROWS, DRAWS = 50, 200
"""Rows whose numbers are kept one by one, and draws a row for log p(x)."""
RELATIVE, ABSOLUTE = 1e-6, 1e-9
IMPORTED = ["torch._dynamo", "torch.utils.flop_counter", "sklearn.mixture", "sklearn.linear_model", "matplotlib.figure"]
"""What takes long to import, of others: done once, then a process is forked for each command."""

RUNS = {
    "autoencoder": "autoencoder digits --latent-dim 6 --hidden 48 --epochs 6",
    "denoising": "denoisingautoencoder images --latent-dim 6 --hidden 48 --network mlp --epochs 10",
    "sparse": "sparseautoencoder digits --latent-dim 48 --sparsity top_k(6) --epochs 6",
    "contractive": "contractiveautoencoder wine --latent-dim 3 --hidden 24 --epochs 20",
    "vae-digits": "vae digits --latent-dim 5 --hidden 64,32 --epochs 10",
    "vae-conv": "vae images --latent-dim 3 --channels 6,12 --epochs 6",
    "vae-counts": "vae counts --latent-dim 3 --hidden 24 --epochs 20",
    "vae-mixture": "vae wine --latent-dim 3 --hidden 24 --prior mixture(5) --likelihood student_t --epochs 20",
    "vae-refit": "vae iris --latent-dim 2 --hidden 24 --prior refit(5) --epochs 20",
    "vae-sequences": "vae sequences --latent-dim 3 --hidden 32 --epochs 20",
    "betavae": "betavae factors --latent-dim 4 --hidden 32 --epochs 20",
    "iwae": "iwae bits --latent-dim 3 --hidden 24 --epochs 20",
    "cvae-labels": "conditionalvae images --latent-dim 2 --hidden 32 --network mlp --prior conditional --epochs 10",
    "cvae-numbers": "conditionalvae table --condition dose --latent-dim 2 --hidden 24 --epochs 20",
    "ppca": "probabilisticpca wine --latent-dim 2",
}
"""Name of a run to the words after `isthmus fit`; data that are not built in are made by `made`."""
ALL = ["--threads", "1", "--random-state", "0", "--force", "--json"]
TRAINED = ["--batch-size", "32", "--learning-rate", "0.01"]


def made(name: str) -> dict[str, np.ndarray]:
    """Arrays of a data set: what is built in, or drawn from a few causes each."""
    rng = np.random.default_rng(len(name))
    if name == "images":  # a bright spot on 16 x 16 bytes; its quarter is the label
        at, (row, column) = rng.uniform(3, 13, (300, 2)), np.mgrid[:16, :16]
        far = np.square(row - at[:, :1, None]) + np.square(column - at[:, 1:, None])
        x = 230 * np.exp(-far / 8) + rng.uniform(0, 20, far.shape)
        return {"x": x.astype("uint8"), "y": ((at > 8) @ [1, 2]).astype("int64")}
    if name == "counts":  # in three parts
        x = rng.poisson(np.exp(0.6 * rng.normal(size=(420, 3)) @ rng.normal(size=(3, 12)) + 1))
        return {"x_train": x[:300], "x_valid": x[300:360], "x_test": x[360:]}
    if name == "bits":
        chances = 1 / (1 + np.exp(-2 * rng.normal(size=(300, 2)) @ rng.normal(size=(2, 20))))
        return {"x": (rng.random(chances.shape) < chances).astype("uint8")}
    if name == "sequences":  # padded with zeros
        x, lengths = rng.normal(size=(240, 8, 3)).cumsum(1).astype("float32"), rng.integers(3, 9, 240)
        x[np.arange(8) >= lengths[:, None]] = 0
        return {"x": x, "lengths": lengths}
    if name == "factors":  # what the rows were made from is known
        known = rng.integers(0, [4, 3, 5], (300, 3))
        x = np.tanh(known @ rng.normal(size=(3, 16)) / 2) + 0.1 * rng.normal(size=(300, 16))
        return {"x": x, "factors": known}
    if name == "table":  # with a column that is the condition
        dose = rng.uniform(0, 2, 240).round(6)
        x = np.sin(dose[:, None] * [1, 2, 3, 4]) + 0.3 * rng.normal(size=(240, 1)) + 0.1 * rng.normal(size=(240, 4))
        return {"x": x.round(6), "y": dose}
    from sklearn import datasets

    bunch = getattr(datasets, f"load_{name}")(**({} if name == "digits" else {"as_frame": True}))
    return {"x": bunch.images.astype("uint8") if name == "digits" else bunch.data}


def source(name: str, folder: Path) -> str:
    """What the command line reads: a built-in name, or the path of a file that is written here."""
    if name in ("digits", "wine", "iris"):
        return name
    folder.mkdir(parents=True, exist_ok=True)
    arrays = made(name)
    if name != "table":
        np.savez(folder / f"{name}.npz", **arrays)
        return str(folder / f"{name}.npz")
    rows = np.column_stack([arrays["x"], arrays["y"]])
    np.savetxt(folder / "table.csv", rows, "%.6f", ",", header="a,b,c,d,dose", comments="")
    return str(folder / "table.csv")


def command(words: list[str], out: Path) -> None:
    """`python -m isthmus WORDS`; what it prints goes to files."""
    with out.open("w") as output, contextlib.redirect_stdout(output), out.with_suffix(".err").open("w") as errors:
        sys.argv, sys.stderr = ["isthmus", *words], errors
        runpy.run_module("isthmus", run_name="__main__", alter_sys=True)


def use(run: Path, data: str, conditional: bool, out: Path) -> None:
    """Write what the methods of a model give for the first rows, and which weights it has."""
    from safetensors.numpy import load_file

    import isthmus

    warnings.simplefilter("ignore")
    model = isthmus.load(run)
    arrays = {key.removesuffix("_train"): array[:ROWS] for key, array in made(data).items()}
    more = {"lengths": arrays["lengths"]} if "lengths" in arrays else {}
    more |= {"condition": arrays["y"]} if conditional else {}
    x, five = arrays["x"], {key: value[:5] for key, value in more.items() if key == "condition"}
    found = {"transform": model.transform(x, **more), "reconstruct": model.reconstruct(x, **more)}
    if hasattr(model, "sample"):
        found["sample"] = model.sample(5, random_state=0, **five)
        found["score_samples"] = model.score_samples(x, draws=DRAWS, **more)
    np.savez(out / "arrays.npz", **found)
    weights = load_file(run / "model.safetensors").values()
    tensors = sorted(f"{w.dtype} {w.shape} {hashlib.sha256(w.tobytes()).hexdigest()}" for w in weights)
    digest = hashlib.sha256("\n".join(tensors).encode()).hexdigest()
    (out / "weights.json").write_text(json.dumps({"sha256": digest, "tensors": tensors}, indent=1))


def record(folder: Path, only: list[str]) -> int:
    """Train and measure every run; 1 where one of them failed."""
    os.environ |= {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(IMPORTED)

    def apart(work: Any, *arguments: Any, known: tuple[int, ...] = (0,)) -> int:
        process = processes.Process(target=work, args=arguments)
        process.start()
        process.join()
        if process.exitcode not in known:
            raise RuntimeError(f"exit {process.exitcode} of {work.__name__}{arguments}")
        return process.exitcode

    print(f"recording {importlib.util.find_spec('isthmus').origin}", flush=True)
    failed, begun = [], time.perf_counter()
    for name in only or RUNS:
        start, place, (model, data, *fields) = time.perf_counter(), folder / name, RUNS[name].split()
        place.mkdir(parents=True, exist_ok=True)
        (place / "weights.json").unlink(missing_ok=True)
        run, fields = str(place / "run"), fields + ALL + (TRAINED if name != "ppca" else [])
        try:
            apart(command, ["fit", model, source(data, folder / "data"), "-o", run, *fields], place / "fit.json")
            for verb, known in (("evaluate", (0,)), ("diagnose", (0, 3))):
                out = place / f"{verb}.json"
                code = apart(command, [verb, run, "--draws", str(DRAWS), "--json"], out, known=known)
                out.write_text(json.dumps({**json.loads(out.read_text()), "exit_code": code}, indent=1))
            apart(use, place / "run", data, model == "conditionalvae", place)
        except (RuntimeError, OSError, ValueError) as error:
            last_lines = [line for path in sorted(place.glob("*.err")) for line in path.read_text().splitlines()[-1:]]
            print(f"{name}: {error}", *last_lines, sep="\n  ", flush=True)
            failed.append(name)
        print(f"{name:<18}{time.perf_counter() - start:6.1f} s", flush=True)
    print(f"{'all':<18}{time.perf_counter() - begun:6.1f} s" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return int(bool(failed))


def flat(value: Any, path: str) -> dict[str, float]:
    """Path to number, of plain values; null is NaN, words and seconds are left out, findings go by their codes."""
    if isinstance(value, str) or path.endswith(".seconds"):
        return {}
    if not isinstance(value, dict | list):
        return {path: math.nan if value is None else float(value)}
    found: dict[str, float] = {}
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(item, dict) and "code" in item:
            here = f"{path}.{item['code']}"
            while f"{here}.found" in found:
                here += "+"
            found |= {f"{here}.found": 1.0, f"{here}.{item['severity']}": 1.0, **flat(item.get("evidence", {}), here)}
        else:
            found |= flat(item, f"{path}.{key}")
    return found


RENAMED = {
    "leftover": "residual_eigenvalue_ratio",
    "copying": "identity_test",
    "lead": "margin",
    "rise": "last_doubling_gain",
    "amortisation": "amortization",
    "loose-evidence": "loose-bound",
    "damaged": "corrupted",
    "fallen": "total_decrease",
    "in_the_second_half": "second_half_decrease",
    "in_use": "active",
    "error": "standard_error",
}
"""Parts of paths that were renamed since the first record, so that their numbers are compared under the new name."""


def renamed(path: str) -> str:
    """A path of an older record under today's names."""
    return ".".join(RENAMED.get(part, part) for part in path.split("."))


def close(a: Any, b: Any, size: Any) -> Any:
    """Whether numbers agree as far as those of this size must."""
    return (np.abs(a - b) <= np.maximum(ABSOLUTE, RELATIVE * size)) | (np.isnan(a) & np.isnan(b)) | (a == b)


def error_of(numbers: dict[str, float], path: str) -> float:
    """The standard error beside a mean; NaN where there is none."""
    stem, _, key = path.rpartition(".")
    errors = [numbers.get(f"{stem}.{name}", math.nan) for name in ("standard_error", "error")]
    return next((error for error in errors if key == "mean" and error == error), math.nan)


def array_differs(a: np.ndarray, b: np.ndarray) -> str:
    """In words; empty where two arrays agree."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return f"{a.dtype} {a.shape} -> {b.dtype} {b.shape}"
    x, y = a.astype(float), b.astype(float)
    size, gap = np.nanmax(np.abs([x, y])), np.abs(x - y)
    off = ~close(x, y, size)
    return f"{off.sum()} of {x.size} elements, at most {gap[off].max():.3g} of {size:.3g}" if off.any() else ""


def compare(old: Path, new: Path) -> int:
    """Print every difference, one line per path; 1 where one counts."""
    wrong: dict[str, list[str]] = {}  # path to what is said of each run
    noted: dict[str, list[str]] = {}
    names, total = sorted({path.parent.name for place in (old, new) for path in place.glob("*/weights.json")}), 0
    for name in names:
        a, b = old / name, new / name
        if not all((place / "weights.json").exists() for place in (a, b)):
            wrong.setdefault("run in one folder only", []).append(name)
            continue
        tensors, numbers, arrays = [], [], []
        for place in (a, b):
            tensors.append(json.loads((place / "weights.json").read_text())["tensors"])
            said = {verb: json.loads((place / f"{verb}.json").read_text()) for verb in ("fit", "evaluate", "diagnose")}
            numbers.append({renamed(path): number for verb in said for path, number in flat(said[verb], verb).items()})
            arrays.append(dict(np.load(place / "arrays.npz")))
        same, total = tensors[0] == tensors[1], total + len(numbers[0])
        if not same:
            alike = sum(tensor in tensors[1] for tensor in tensors[0])
            print(f"{name} was trained anew: {alike} of {len(tensors[0])} tensors alike, now {len(tensors[1])}")
        for before, after in (numbers, arrays):
            for path in sorted(before.keys() ^ after.keys()):
                wrong.setdefault(f"{'lost' if path in before else 'new '} {path}", []).append(name)
        for path in sorted(numbers[0].keys() & numbers[1].keys()):
            x, y, error = numbers[0][path], numbers[1][path], error_of(numbers[0], path)
            if not close(x, y, max(abs(x), abs(y))) and (same or not abs(x - y) <= 2 * error):
                text = f"{name} {x:.8g} -> {y:.8g}" + ("" if math.isnan(error) else f" (error {error:.2g})")
                (noted if not same and math.isnan(error) else wrong).setdefault(path, []).append(text)
        for path in sorted(arrays[0].keys() & arrays[1].keys()):
            if text := array_differs(arrays[0][path], arrays[1][path]):
                (wrong if same or "->" in text else noted).setdefault(path, []).append(f"{name} {text}")
    for title, found in (("differ, without a standard error to compare with", noted), ("differ", wrong)):
        print("\n  ".join([f"{len(found)} paths {title}", *(f"{path}: {', '.join(found[path])}" for path in found)]))
    print(f"{len(names)} runs, {total:,} numbers")
    return int(bool(wrong) or not names)


def main() -> int:
    parser = argparse.ArgumentParser(usage="golden.py record FOLDER [--only NAME ...] | compare OLD NEW")
    parser.add_argument("verb", choices=("record", "compare"))
    parser.add_argument("folders", type=Path, nargs="+", help="where to record to, or the old and the new record")
    parser.add_argument("--only", nargs="+", default=[], choices=RUNS, metavar="NAME", help="record some runs only")
    arguments = parser.parse_args()
    if len(arguments.folders) != (1 if arguments.verb == "record" else 2):
        parser.error("record takes one folder, compare two")
    if arguments.verb == "record":
        return record(arguments.folders[0].resolve(), arguments.only)
    return compare(*arguments.folders)


if __name__ == "__main__":
    raise SystemExit(main())
