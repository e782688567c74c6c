"""Speed of log p(x), 5,000 draws an image, against pythae and the matrix products; time of an evaluation by part.

    python benchmarks/evidence.py [--only speed|evaluation] [--rounds 5] [--images 40] [--peers-python PATH]
                                  [--state SRC]

Every peer runs in its own process; a round runs all in turn and ratios are taken within a round. ISTHMUS_PEERS,
or --peers-python, names the interpreter that has pythae; without it the row says so. The evaluation is that of a VAE of
MNIST (z 50) on 5,000 test images and its training rows; --state names the `src` folder of another state of the package,
whose times and numbers stand beside. It needs ISTHMUS_DATA, a folder with mnist.npz, and is skipped without.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from peers.workloads import mnist_file
from training import ENVIRONMENT, PEERS, machine, pythae_interpreter, run, say, spread, table, verdict

TARGETS = {"pythae": 3.6, "limit": 0.68}
SRC = Path(__file__).parent.parent / "src"
RENAMED = {
    "of_density": "log_likelihood",
    "leftover": "residual_eigenvalue_ratio",
    "copying": "identity_test",
    "lead": "margin",
    "rise": "last_doubling_gain",
    "refused": "declined",
    "amortisation": "amortization",
    "error": "standard_error",
}
"""Names of parts and numbers in earlier states, and their names now."""
TOGETHER = {"aggregate_posterior": "log_likelihood", "reconstruction": "rest", "density_baselines": "baselines"}
"""Parts that were part of others in earlier states."""
CLOSE = 1e-4
"""Relative difference, or difference in standard errors, from which on a number counts as another one."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", choices=("speed", "evaluation"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--peers-python", default=os.environ.get("ISTHMUS_PEERS"), help="the interpreter with pythae")
    parser.add_argument("--state", type=Path, metavar="SRC", help="src folder of another state of the package")
    arguments = parser.parse_args()
    print(machine(sys.executable) + "\n", flush=True)
    if arguments.only != "evaluation":
        speed(arguments)
    if arguments.only != "speed":
        evaluation(arguments.state)


def speed(arguments: argparse.Namespace) -> None:
    """Print the speed of log p(x) beside that of the peers."""
    pythons = dict.fromkeys(("ours", "limit"), sys.executable)
    if pythae := pythae_interpreter(arguments.peers_python):
        pythons["pythae"] = pythae
    speeds: dict[str, list[float]] = {peer: [] for peer in pythons}
    for number in range(arguments.rounds):
        order = list(pythons)
        for peer in order[number % len(order) :] + order[: number % len(order)]:
            words = [pythons[peer], str(PEERS / "log_likelihood.py"), peer, "--images", str(arguments.images)]
            speeds[peer].append(run(words, SRC)[0])
            say(f"round {number + 1}: {peer} {speeds[peer][-1]:.1f} images/s")
    ratios = {
        peer: [ours / other for ours, other in zip(speeds["ours"], speeds[peer])] for peer in speeds if peer != "ours"
    }
    cells = [
        "log p(x), 784-512-512-20, 5,000 draws",
        spread(speeds["ours"]),
        *(spread(ratios[peer]) if peer in ratios else "-" for peer in TARGETS),
        ", ".join(f"{peer} ≥ {least:.2f}" for peer, least in TARGETS.items()),
        verdict(TARGETS, ratios),
    ]
    print(f"Medians of {arguments.rounds} rounds; in brackets the lowest and highest.\n")
    print(table(("what", "images/s", "x pythae", "of the limit", "target", "met"), [cells]))


def evaluation(state: Path | None) -> None:
    """Print the time of an evaluation by part, beside that of another state of the package."""
    if mnist_file() is None:
        print("skipped: evaluation, for ISTHMUS_DATA names no folder with mnist.npz\n")
        return
    after, before = evaluated(SRC), None if state is None else evaluated(state)
    if before is None:
        rows = [[part, f"{seconds:.1f}"] for part, seconds in after["parts"].items()]
        print(table(("evaluate: part", "processor seconds"), [*rows, ["all", f"{after['total']:.1f}"]]))
        return
    new, old = by_part(after), by_part(before)
    rows = [[part, f"{old.get(part, 0.0):.1f}", f"{new.get(part, 0.0):.1f}"] for part in dict.fromkeys([*new, *old])]
    rows.append(["all", *map(total, (before, after))])
    print(table(("evaluate: part", "processor seconds before", "after"), rows))
    known, numbers = dict(flat(before["evaluation"])), dict(flat(after["evaluation"]))
    common = known.keys() & numbers.keys()
    others = sorted(name for name in common if differs(name, known, numbers))
    print(f"Of {len(common)} numbers in both {len(others)} differ by more than {CLOSE:g}" + (":" if others else ".\n"))
    if others:
        cells = [[name, f"{known[name]:.6g}", f"{numbers[name]:.6g}"] for name in others]
        print("\n" + table(("number", "before", "after"), cells))


def evaluated(src: Path) -> dict[str, Any]:
    """What `peers/evaluation.py` says on one state of the package."""
    say(f"evaluating with {src}")
    command = [sys.executable, str(PEERS / "evaluation.py")]
    done = subprocess.run(command, env=ENVIRONMENT | {"PYTHONPATH": str(src)}, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\nfailed with status {done.returncode}:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def total(result: dict[str, Any]) -> str:
    return f"{result['total']:.1f}"


def by_part(result: dict[str, Any]) -> dict[str, float]:
    """Seconds of the parts that both states report separately."""
    seconds: dict[str, float] = {}
    for name, spent in result["parts"].items():
        part = RENAMED.get(name, name)
        part = TOGETHER.get(part, part)
        seconds[part] = seconds.get(part, 0.0) + spent
    return seconds


def flat(tree: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """Every number of a nested result by its dotted path, under the names of now."""
    items = enumerate(tree) if isinstance(tree, list) else tree.items() if isinstance(tree, dict) else ()
    for key, value in items:
        yield from flat(value, f"{path}.{RENAMED.get(key, key)}" if path else RENAMED.get(key, key))
    if isinstance(tree, float | int) and not isinstance(tree, bool):
        yield path, float(tree)


def differs(name: str, known: dict[str, float], numbers: dict[str, float]) -> bool:
    """Whether a number is another one: relative to its size, or to its standard error."""
    error = known.get(name.rpartition(".")[0] + ".standard_error", 0.0)
    return abs(known[name] - numbers[name]) > CLOSE * max(abs(known[name]), error, 1e-6)


if __name__ == "__main__":
    main()
