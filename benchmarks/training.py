"""Training speed of isthmus against its peers, as one table.

    python benchmarks/training.py [--workloads a,a512,...,start] [--rounds 7] [--peers-python PATH]
                                  [--state SRC]

Every peer runs in its own process. A round runs all of them, one after the other, and ratios are
taken within a round: a machine whose speed drifts moves both sides of a ratio. The environment variable
ISTHMUS_DATA names the folder of mnist.npz; ISTHMUS_PEERS, or --peers-python, the interpreter that has
pythae (see peers/requirements.txt). What is missing is skipped, and the output says so. With --state, the `src` folder
of another state of the package, that state is compared and nobody else.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from peers.workloads import SEED, WORKLOADS, mnist_file

PEERS = Path(__file__).parent / "peers"
SCRIPTS = {
    "ours": "ours.py",
    "state": "ours.py",
    "pythae": "pythae_loop.py",
    "idiomatic": "idiomatic.py",
    "limit": "limit.py",
    "bf16 limit": "limit.py",
}
START_RUNS = 15
# Processor speeds are compared, so a machine's GPU is hidden from every process.
ENVIRONMENT = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
SRC = Path(__file__).parents[1] / "src"

Speeds = list[float]  # samples a second, epoch by epoch


@dataclass(frozen=True)
class Case:
    """One row of the table: the model, the data and the target ratios."""

    label: str
    workload: str
    peers: tuple[str, ...]
    flush: bool = False
    compile: bool = False  # isthmus only: the peers run as they are
    targets: dict[str, float] = field(default_factory=dict, hash=False)
    drift: float | None = None  # least speed of the last epoch, in units of the second's


LOOPS = ("pythae", "idiomatic")
LIMITS = ("limit", "bf16 limit")
CASES = {
    "a": Case(
        "A: MLP VAE, batch 128, as shipped",
        "a",
        LOOPS,
        targets={"pythae": 1.6, "idiomatic": 1.8},
        drift=0.92,
    ),
    "a-flushed": Case("A: MLP VAE, batch 128, flushed", "a", (*LOOPS, *LIMITS), flush=True),
    "a512": Case(
        "A: MLP VAE, batch 512, as shipped",
        "a512",
        (*LOOPS, *LIMITS),
        targets={"idiomatic": 2.0, "limit": 1.3, "bf16 limit": 0.65},
    ),
    "a512-flushed": Case("A: MLP VAE, batch 512, flushed", "a512", (*LOOPS, *LIMITS), flush=True),
    "d": Case("D: tabular AE, batch 256", "d", LOOPS, targets={"pythae": 5.5}),
    "d-compiled": Case("D: tabular AE, batch 256, compiled", "d", LOOPS, compile=True, targets={"pythae": 8.0}),
    "conv": Case("conv VAE, batch 128", "conv", ("idiomatic",), targets={"idiomatic": 1.5}),
}
CHOICES = (*CASES, "start")
Round = dict[Case, dict[str, Speeds]]  # by case and peer


def say(line: str) -> None:
    """Progress goes to stderr, the tables to stdout."""
    print(line, file=sys.stderr, flush=True)


# Running


def command(peer: str, case: Case, python: str, rows: int | None) -> list[str]:
    flush = ["--flush"] if case.flush else []
    compiled = ["--compile"] if case.compile and peer in ("ours", "state") else []
    bf16 = ["--bf16"] if peer == "bf16 limit" else []
    fewer = ["--rows", str(rows)] if rows else []
    return [python, str(PEERS / SCRIPTS[peer]), case.workload, *flush, *compiled, *bf16, *fewer]


def run(command: Sequence[str], src: Path) -> Speeds:
    """Run one peer to its end, with this state of the package, and return its speed in each epoch."""
    done = subprocess.run(command, env=ENVIRONMENT | {"PYTHONPATH": str(src)}, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\nfailed with status {done.returncode}:\n{done.stderr[-3000:]}")
    answer = json.loads(done.stdout.splitlines()[-1])
    return [answer["samples"] / seconds for seconds in answer["epoch_seconds"]]


def steady(speeds: Speeds, case: Case) -> float:
    """The median speed once the process has warmed up."""
    return median(speeds[WORKLOADS[case.workload].first_timed - 1 :])


def one_round(
    number: int, cases: Sequence[Case], pythons: dict[str, str], rows: int | None, state: Path | None
) -> Round:
    """Run every case once, its peers one after the other; a peer without an interpreter is left out."""
    measured: Round = {}
    for case in cases:
        others = ("state",) if state else case.peers
        peers = [peer for peer in ("ours", *others) if peer in pythons]
        # The order turns with the rounds, so that nobody always runs first.
        turn = number % len(peers)
        measured[case] = {}
        for peer in peers[turn:] + peers[:turn]:
            speeds = run(command(peer, case, pythons[peer], rows), state if state and peer == "state" else SRC)
            measured[case][peer] = speeds
            say(f"round {number + 1}: {case.label}: {peer} {steady(speeds, case):,.0f} samples/s")
    return measured


def seconds_to_run(command: Sequence[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, env=ENVIRONMENT, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def start_up(python: str) -> list[list[str]]:
    """Rows of the second table: what a fresh process costs over a bare Python."""
    bare = [python, "-c", "pass"]
    asked = {"import isthmus": [python, "-c", "import isthmus"]}
    most = {"import isthmus": 0.20, "isthmus --help": 0.15}  # seconds
    installed = Path(python).with_name("isthmus")
    if installed.exists():
        asked["isthmus --help"] = [str(installed), "--help"]
    else:
        print("skipped: isthmus --help, for the interpreter has no isthmus command next to it\n")
    for words in asked.values():
        seconds_to_run(words)  # writes the byte code and reads the files into the cache

    over: dict[str, list[float]] = {name: [] for name in asked}
    for _ in range(START_RUNS):
        base = seconds_to_run(bare)
        for name, words in asked.items():
            over[name].append(seconds_to_run(words) - base)
    rows = []
    for name, seconds in over.items():
        verdict = "yes" if median(seconds) < most[name] else "no"
        rows.append([f"`{name}`, seconds over bare Python", f"{median(seconds):.3f}", f"< {most[name]:.2f}", verdict])
    return rows


# Reporting


def spread(ratios: Sequence[float]) -> str:
    """The median over the rounds, and between what bounds the rounds lay."""
    if len(ratios) == 1:
        return f"{ratios[0]:.2f}"
    return f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def speed_row(case: Case, rounds: Sequence[Round]) -> list[str]:
    speeds = [{peer: steady(epochs, case) for peer, epochs in measured[case].items()} for measured in rounds]
    ratios = {peer: [s["ours"] / s[peer] for s in speeds] for peer in speeds[0] if peer != "ours"}
    return [
        case.label,
        f"{median(s['ours'] for s in speeds):,.0f}",
        *(spread(ratios[peer]) if peer in ratios else "-" for peer in (*LOOPS, *LIMITS)),
        ", ".join(f"{peer} ≥ {least:.2f}" for peer, least in case.targets.items()),
        verdict(case.targets, ratios),
    ]


def state_row(case: Case, rounds: Sequence[Round]) -> list[str]:
    speeds = [{peer: steady(epochs, case) for peer, epochs in measured[case].items()} for measured in rounds]
    return [case.label, f"{median(s['ours'] for s in speeds):,.0f}", spread([s["ours"] / s["state"] for s in speeds])]


def verdict(targets: dict[str, float], ratios: dict[str, list[float]]) -> str:
    """Whether every target is met; one that was not measured is not met."""
    if any(median(ratios[peer]) < least for peer, least in targets.items() if peer in ratios):
        return "no"
    missing = [peer for peer in targets if peer not in ratios]
    return f"{', '.join(missing)} not measured" if missing else "yes"


def drift_row(case: Case, least: float, rounds: Sequence[Round]) -> list[str]:
    """A slower last epoch would betray denormal numbers gathering in the optimizer's moments."""
    ratios = [measured[case]["ours"][-1] / measured[case]["ours"][1] for measured in rounds]
    name = f"{case.label}: speed of epoch {WORKLOADS[case.workload].epochs} / epoch 2"
    return [name, spread(ratios), f"≥ {least:.2f}", "yes" if median(ratios) >= least else "no"]


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown: the first column to the left, the others to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def machine(python: str) -> str:
    """A line on what is measured where; torch is asked in another process, to keep this one small."""
    ask = "import torch; print(torch.__version__, torch.get_num_threads())"
    torch, threads = subprocess.check_output((python, "-c", ask), env=ENVIRONMENT, text=True).split()
    return (
        f"{os.cpu_count()} cores ({processor()}), load {os.getloadavg()[0]:.1f} at the start, "
        f"Python {platform.python_version()}, torch {torch}, {threads} threads, seed {SEED}"
    )


# What can run


def pythae_interpreter(path: str | None) -> str | None:
    """The interpreter, if it can import pythae; else None, after a line that says why."""
    if not path:
        print("skipped: pythae, for neither --peers-python nor ISTHMUS_PEERS names an interpreter\n")
        return None
    ask = "import importlib.metadata as m, torch, pythae.trainers; print(m.version('pythae'), torch.__version__)"
    try:
        answer = subprocess.check_output((path, "-c", ask), env=ENVIRONMENT, text=True, stderr=subprocess.PIPE)
    except (OSError, subprocess.CalledProcessError) as error:
        reason = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1]
        print(f"skipped: pythae, for its interpreter cannot run it ({reason})\n")
        return None
    version, torch = answer.split()
    print(f"pythae {version} on torch {torch}\n")
    return path


def runnable(names: Sequence[str]) -> list[Case]:
    """The cases of these workloads, less those whose data are not there."""
    cases = []
    for name in names:
        if name == "start":
            continue
        if WORKLOADS[CASES[name].workload].data != "table" and mnist_file() is None:
            print(f"skipped: {name}, for ISTHMUS_DATA names no folder with mnist.npz\n")
            continue
        cases.append(CASES[name])
    return cases


def workload_names(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in CHOICES:
            raise argparse.ArgumentTypeError(f"no workload named {name!r}; there are {', '.join(CHOICES)}")
    return names


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workloads", type=workload_names, default=list(CHOICES), help=",".join(CHOICES))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--rows", type=int, help="fewer rows an epoch; say so beside the numbers")
    parser.add_argument("--peers-python", default=os.environ.get("ISTHMUS_PEERS"), help="the interpreter with pythae")
    parser.add_argument("--state", type=Path, metavar="SRC", help="src folder of another state of the package")
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error(f"--rounds is {arguments.rounds}; it takes one or more")

    sys.stdout.reconfigure(line_buffering=True)  # a long run into a file shows what it skips
    print(machine(sys.executable) + "\n")
    if arguments.rows:
        print(f"At most {arguments.rows:,} rows an epoch: a trial, not a measurement.\n")
    others = []
    if cases := runnable(arguments.workloads):
        needs_pythae = not arguments.state and any("pythae" in case.peers for case in cases)
        pythae = pythae_interpreter(arguments.peers_python) if needs_pythae else None
        pythons = dict.fromkeys(("ours", "state", "idiomatic", *LIMITS), sys.executable) | (
            {"pythae": pythae} if pythae else {}
        )
        rounds = [
            one_round(number, cases, pythons, arguments.rows, arguments.state) for number in range(arguments.rounds)
        ]
        print(f"Medians of {arguments.rounds} rounds; in brackets the lowest and highest ratio of a round.\n")
        if arguments.state:
            header = ("workload", "samples/s", "x the other state")
            print(table(header, [state_row(case, rounds) for case in cases]))
            return
        header = (
            "workload",
            "samples/s",
            "x pythae",
            "x idiomatic",
            "of the limit",
            "of the bf16 limit",
            "target",
            "met",
        )
        print(table(header, [speed_row(case, rounds) for case in cases]))
        others += [drift_row(case, case.drift, rounds) for case in cases if case.drift]
    if "start" in arguments.workloads:
        others += start_up(sys.executable)
    if others:
        print(table(("also", "measured", "target", "met"), others))


if __name__ == "__main__":
    main()
