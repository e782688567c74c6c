"""Scoring under a prior that is a mixture of 500 posteriors, against one of 500 normals: a ratio in one run.

    python benchmarks/prior_speed.py [--rounds 5]

A mixture of posteriors encodes its pseudo-inputs, which must happen once a batch and not once a block of draws. Prints
the median seconds of both and their ratio; the target is at most 1.3.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
import torch
from torch import nn

from isthmus.conditional import Conditional
from isthmus.distributions.continuous import Normal
from isthmus.distributions.latent import Mixture as MixtureDistribution
from isthmus.families import Bernoulli, DiagonalNormal
from isthmus.latent_model import LatentModel
from isthmus.metrics.importance_weighting import encode_chunks, importance_weighted
from isthmus.nets.mlp import MLP
from isthmus.priors import Mixture
from isthmus.schema import Schema
from isthmus.train.device_data import DeviceDataset

COMPONENTS, LATENT_DIM, PIXELS, ROWS, DRAWS = 500, 40, 784, 50, 100


class PosteriorMixture(nn.Module):
    """A mixture of posteriors at learned pseudo-inputs (Tomczak & Welling, 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.pseudo_inputs = nn.Parameter(torch.rand(COMPONENTS, PIXELS))

    def forward(self, c=None, mask=None, posterior=None):
        q = posterior(self.pseudo_inputs)
        log_weight = torch.zeros(COMPONENTS).log_softmax(0)
        return MixtureDistribution(log_weight, Normal(q.loc, q.log_scale))


def model(prior: nn.Module) -> LatentModel:
    """A VAE of 784 pixels with two hidden layers of 300."""
    encoder = MLP((PIXELS,), (300, 300), 2 * LATENT_DIM)
    decoder = MLP((LATENT_DIM,), (300, 300), PIXELS)
    return LatentModel(
        Conditional(encoder, DiagonalNormal((LATENT_DIM,))), Conditional(decoder, Bernoulli((PIXELS,))), prior
    ).eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    torch.manual_seed(0)
    x = (np.random.default_rng(0).random((ROWS, PIXELS)) < 0.3).astype(np.uint8)
    schema = Schema.homogeneous((PIXELS,), "binary", "uint8", "bernoulli")
    rows = DeviceDataset(x, schema, device=torch.device("cpu"), dtype=torch.float32)
    models = {"mixture of 500 posteriors": model(PosteriorMixture()), "mixture of 500 normals": model(Mixture(40, 500))}
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(rounds):
        for name, one in models.items():
            start = time.perf_counter()
            importance_weighted(one, encode_chunks(one, rows), DRAWS)
            seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name, median in medians.items():
        print(f"{name:<28} {median:.2f} s  (lowest {min(seconds[name]):.2f}, highest {max(seconds[name]):.2f})")
    first, second = medians.values()
    print(f"ratio {first / second:.2f} (at most 1.3)")


if __name__ == "__main__":
    main()
