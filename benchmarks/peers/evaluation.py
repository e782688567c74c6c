"""Processor time by part of evaluating a VAE of MNIST (z 50) on test images; the last line is JSON.

    ISTHMUS_DATA=folder PYTHONPATH=some/src python evaluation.py [--images 5000] [--epochs 2]

Runs on any state of the package whose `isthmus.evaluate` has a table `MEASURES` in its module.
"""

import argparse
import json
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
from workloads import SEED, mnist_file

import isthmus

UNTABLED = ("of_density", "baselines")
"""Measures that stand beside the table in earlier states."""


def timed(part: str, function: Callable, seconds: dict[str, float]) -> Callable:
    """The function, whose time is added to that of its part."""

    def call(*args: Any) -> Any:
        start = time.process_time()
        try:
            return function(*args)
        finally:
            seconds[part] += time.process_time() - start

    return call


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=5_000)
    parser.add_argument("--epochs", type=int, default=2)
    arguments = parser.parse_args()
    file = mnist_file()
    if file is None:
        raise SystemExit("no mnist.npz: set ISTHMUS_DATA to the folder that holds it")
    with np.load(file) as arrays:
        train, test, labels = (arrays[name] for name in ("x_train", "x_test", "y_test"))
    fields = {"latent_dim": 50, "hidden": (200, 200), "network": "mlp", "binarize": True, "batch_size": 256}
    warnings.simplefilter("ignore")
    model = isthmus.VAE(**fields, epochs=arguments.epochs, validation_fraction=0, random_state=SEED, device="cpu")
    model.fit(train)
    module, seconds = sys.modules[isthmus.evaluate.__module__], defaultdict(float)
    for name, measure in module.MEASURES.items():
        module.MEASURES[name] = timed(name, measure, seconds)
    for name in UNTABLED:
        if hasattr(module, name):
            setattr(module, name, timed(name, getattr(module, name), seconds))
    start = time.process_time()
    evaluation = isthmus.evaluate(model, test[: arguments.images], labels[: arguments.images], train=train)
    total = time.process_time() - start
    rest = total - sum(seconds.values())
    print(json.dumps({"total": total, "parts": {**seconds, "rest": rest}, "evaluation": evaluation.to_dict()}))


if __name__ == "__main__":
    main()
