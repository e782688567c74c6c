"""Samples of a plain autoencoder by densities fitted to its codes: ISTHMUS_DATA=FOLDER python benchmarks/refit.py.

The Fréchet distance of learned features of 5,000 samples from those of MNIST's test images, beside training images's.
The network is trained once; each density is fitted to the codes of the same training images.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

import isthmus
from isthmus.metrics.features import learned_features
from isthmus.metrics.sample_quality import sample_quality
from isthmus.priors import PostHocPrior
from peers.workloads import mnist_file

SAMPLES = 5000
KEYS = ("frechet", "precision", "recall")


def draws_of(codes: np.ndarray, density: str) -> np.ndarray:
    """Codes drawn from a density that is fitted to others (n, D)."""
    random = np.random.default_rng(0)
    if density == "full Gaussian":
        return random.multivariate_normal(codes.mean(0), np.cov(codes.T), SAMPLES).astype(np.float32)
    kind, k = density.split()
    options = {"mixture": {"k": int(k)}, "full_mixture": {"k": int(k), "full": True}, "flow": {"maps": int(k)}}
    prior = PostHocPrior(codes.shape[1], **options[kind])
    torch.manual_seed(0)
    prior.fit_to(torch.as_tensor(codes), 0)
    with torch.no_grad():
        return prior().sample((SAMPLES,)).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--latent-dim", type=int, default=16)
    parser.add_argument("--model", default="Autoencoder")
    args = parser.parse_args()
    file = mnist_file()
    if file is None:
        print("skipped: set ISTHMUS_DATA to a folder with mnist.npz")
        return
    with np.load(file) as data:
        train, test = data["x_train"], data["x_test"][:SAMPLES]
    model = getattr(isthmus, args.model)(
        latent_dim=args.latent_dim, hidden=(512, 512), network="mlp", epochs=args.epochs, random_state=0
    ).fit(train)
    codes = model.transform(train)
    rebuilt = model.inverse_transform(codes[:SAMPLES])
    features = learned_features(train, train.shape[1:], 0)
    print(f"{'samples':<24}{'Fréchet':>10}{'precision':>12}{'recall':>9}")
    of_data = None
    for density in ("full Gaussian", "mixture 10", "mixture 50", "full_mixture 10", "full_mixture 50", "flow 3"):
        samples = model.inverse_transform(draws_of(codes, density))
        quality = sample_quality(train, test, samples, features, 0)
        values = [quality[key].samples.mean for key in KEYS]
        of_data = [quality[key].data.mean for key in KEYS]
        print(f"{density:<24}{values[0]:>10.3f}{values[1]:>12.3f}{values[2]:>9.3f}", flush=True)
    quality = sample_quality(train, test, rebuilt, features, 0)
    print(f"{'(reconstructions)':<24}" + "{:>10.3f}{:>12.3f}{:>9.3f}".format(*[quality[k].samples.mean for k in KEYS]))
    if of_data:
        print(f"{'(training images)':<24}{of_data[0]:>10.3f}{of_data[1]:>12.3f}{of_data[2]:>9.3f}")


if __name__ == "__main__":
    main()
