"""How long one row takes after the first call: python benchmarks/latency.py.

A web service encodes and scores rows one by one; what counts there is everything around the networks.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

import isthmus
from isthmus.data import read

CALLS = 200
MODELS = {
    "digits": lambda x: isthmus.VAE(random_state=0, epochs=5).fit(x),
    "wine": lambda x: isthmus.VAE(random_state=0, epochs=20).fit(x),
}


def milliseconds(call: Callable[[], object]) -> float:
    """The median over many calls, after a first one."""
    call()
    times = []
    for _ in range(CALLS):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return 1e3 * statistics.median(times)


def main() -> None:
    print(f"{'data':<10}{'transform':>12}{'reconstruct':>14}{'score_samples':>16}{'elbo':>8}   median ms")
    for name, fit in MODELS.items():
        x = read(name).train.x
        model = fit(x)
        row = x[:1]
        calls = [model.transform, model.reconstruct, model.score_samples, model.elbo]
        times = [milliseconds(partial(call, row)) for call in calls]
        print(f"{name:<10}{times[0]:>12.2f}{times[1]:>14.2f}{times[2]:>16.2f}{times[3]:>8.2f}")


if __name__ == "__main__":
    main()
