"""The networks that the peers share, as plain torch modules without a last activation."""

from itertools import pairwise

from torch import nn
from workloads import Workload


def mlp(*sizes: int) -> nn.Sequential:
    """Linear layers of these sizes with a ReLU between each two."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def mlp_encoder(workload: Workload) -> nn.Sequential:
    """(B, features) -> (B, latent_dim), twice as many where a spread goes with each mean."""
    outputs = workload.latent_dim * (2 if workload.variational else 1)
    return mlp(workload.features, *workload.hidden, outputs)


def mlp_decoder(workload: Workload) -> nn.Sequential:
    """(B, latent_dim) -> (B, features)."""
    return mlp(workload.latent_dim, *reversed(workload.hidden), workload.features)


def conv_encoder(latent_dim: int) -> nn.Sequential:
    """(B, 28, 28) -> (B, 2 * latent_dim): all means, then all logarithms of the spreads."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 28)),  # (B, 1, 28, 28)
        nn.Conv2d(1, 32, kernel_size=4, stride=2, padding=1),  # (B, 32, 14, 14)
        nn.ReLU(),
        nn.Conv2d(32, 64, kernel_size=4, stride=2, padding=1),  # (B, 64, 7, 7)
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64 * 7 * 7, 2 * latent_dim),
    )


def conv_decoder(latent_dim: int) -> nn.Sequential:
    """(B, latent_dim) -> (B, 28 * 28) logits."""
    return nn.Sequential(
        nn.Linear(latent_dim, 64 * 7 * 7),
        nn.ReLU(),
        nn.Unflatten(1, (64, 7, 7)),
        nn.ConvTranspose2d(64, 32, kernel_size=4, stride=2, padding=1),  # (B, 32, 14, 14)
        nn.ReLU(),
        nn.ConvTranspose2d(32, 1, kernel_size=4, stride=2, padding=1),  # (B, 1, 28, 28)
        nn.Flatten(),
    )
