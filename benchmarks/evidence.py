"""Speed of importance-weighted log p(x), 5,000 draws an image, against pythae's and the bare matrix products.

    python benchmarks/evidence.py [--rounds 5] [--images 40] [--peers-python PATH]

Every peer runs in a process of its own; a round runs all in turn and ratios are taken within a round. ISTHMUS_PEERS,
or --peers-python, names the interpreter that has pythae; without it the row says so.
"""

import argparse
import os
import sys

from training import PEERS, machine, pythae_interpreter, run, say, spread, table, verdict

TARGETS = {"pythae": 3.6, "limit": 0.68}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--peers-python", default=os.environ.get("ISTHMUS_PEERS"), help="the interpreter with pythae")
    arguments = parser.parse_args()
    print(machine(sys.executable) + "\n", flush=True)
    pythons = dict.fromkeys(("ours", "limit"), sys.executable)
    if pythae := pythae_interpreter(arguments.peers_python):
        pythons["pythae"] = pythae
    speeds: dict[str, list[float]] = {peer: [] for peer in pythons}
    for number in range(arguments.rounds):
        order = list(pythons)
        for peer in order[number % len(order) :] + order[: number % len(order)]:
            words = [pythons[peer], str(PEERS / "log_likelihood.py"), peer, "--images", str(arguments.images)]
            speeds[peer].append(run(words)[0])
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


if __name__ == "__main__":
    main()
