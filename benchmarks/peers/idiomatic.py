"""The loop that a careful PyTorch user writes by hand: TensorDataset, DataLoader, Adam."""

import time

import torch
import torch.nn.functional as F
from networks import conv_decoder, conv_encoder, mlp_decoder, mlp_encoder
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from workloads import Workload, begin, parser, report


class VAE(nn.Module):
    """A variational autoencoder that returns its loss: nats, averaged over the batch."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, x: Tensor) -> Tensor:
        mean, log_var = self.encoder(x).chunk(2, dim=1)  # (B, latent_dim) each
        z = mean + torch.randn_like(mean) * torch.exp(0.5 * log_var)
        nll = F.binary_cross_entropy_with_logits(self.decoder(z), x.flatten(1), reduction="sum")
        kl = -0.5 * torch.sum(1 + log_var - mean.square() - log_var.exp())
        return (nll + kl) / len(x)


class AE(nn.Module):
    """A plain autoencoder that returns its mean squared error."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, x: Tensor) -> Tensor:
        return F.mse_loss(self.decoder(self.encoder(x)), x)


def make_model(workload: Workload) -> nn.Module:
    if workload.data == "pictures":
        return VAE(conv_encoder(workload.latent_dim), conv_decoder(workload.latent_dim))
    kind = VAE if workload.variational else AE
    return kind(mlp_encoder(workload), mlp_decoder(workload))


def train(model: nn.Module, x: Tensor, batch_size: int, epochs: int) -> list[float]:
    """Train, and return the seconds of each epoch."""
    loader = DataLoader(TensorDataset(x), batch_size=batch_size, shuffle=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    epoch_seconds = []
    for _ in range(epochs):
        start = time.perf_counter()
        running_loss = 0.0
        for (batch,) in loader:
            optimizer.zero_grad()
            loss = model(batch)
            loss.backward()
            optimizer.step()
            running_loss += loss.item()
        epoch_seconds.append(time.perf_counter() - start)
    return epoch_seconds


if __name__ == "__main__":
    workload, x, epochs = begin(parser().parse_args())
    report(train(make_model(workload), torch.from_numpy(x), workload.batch_size, epochs), len(x))
