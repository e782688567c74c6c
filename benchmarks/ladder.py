"""A code in layers beside one layer at the same budget: ISTHMUS_DATA=folder python benchmarks/ladder.py.

MNIST, each pixel drawn anew in every update, the same number of updates; log p(x) of test images, binarised once, by
1,000 draws. Published (Sønderby et al., 2016, five layers against one, 2,000 epochs): -81.7 against -85.0 by 5,000.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import numpy as np

import isthmus


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--images", type=int, default=1000, help="test images")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", default="", help="run models whose name holds this")
    options = parser.parse_args()
    if "ISTHMUS_DATA" not in os.environ:
        print("skipped: ISTHMUS_DATA must name the folder of mnist.npz")
        return 0
    data = np.load(Path(os.environ["ISTHMUS_DATA"], "mnist.npz"))
    train, test = data["x_train"], data["x_test"][: options.images]
    common = {
        "latent_dim": 100,
        "hidden": (512, 512),
        "network": "mlp",
        "binarize": True,
        "epochs": options.epochs,
        "patience": 10**9,
        "prior": "normal",
    }
    models = {
        "one layer, 100": isthmus.VAE(**common),
        "one layer, 100, rate 3e-3": isthmus.VAE(**common, learning_rate=3e-3),
        "layers 100, 50": isthmus.LadderVAE(**common, upper_dims=(50,)),
        "layers 100, 50, 25": isthmus.LadderVAE(**common, upper_dims=(50, 25)),
    }
    print(f"{'code':<32}{'seed':>5}{'log p(x)':>10}{'ELBO':>10}{'rate':>8}{'seconds':>9}")
    for name, model in models.items():
        if options.only not in name:
            continue
        for seed in range(options.seeds):
            began = time.perf_counter()
            model.set_params(random_state=seed).fit(train)
            seconds = time.perf_counter() - began
            log_px = model.score_samples(test, draws=1000).mean()
            last = model.history_[-1]
            numbers = f"{log_px:>10.2f}{-last['valid_loss']:>10.2f}{last['valid_kl']:>8.2f}{seconds:>9.0f}"
            print(f"{name:<32}{seed:>5}{numbers}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
