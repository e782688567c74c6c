"""pythae's own trainer as shipped, timed epoch by epoch from a callback."""

import contextlib
import logging
import os
import tempfile
import time

import numpy as np
import torch
from networks import mlp_decoder, mlp_encoder
from pythae.data.datasets import BaseDataset
from pythae.models import AE, VAE, AEConfig, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from pythae.trainers.training_callbacks import TrainingCallback
from torch import Tensor, nn
from workloads import SEED, Workload, begin, parser, report


class Encoder(BaseEncoder):
    def __init__(self, net: nn.Module, variational: bool) -> None:
        super().__init__()
        self.net, self.variational = net, variational

    def forward(self, x: Tensor) -> ModelOutput:
        if not self.variational:
            return ModelOutput(embedding=self.net(x))
        mean, log_var = self.net(x).chunk(2, dim=1)
        return ModelOutput(embedding=mean, log_covariance=log_var)


class Decoder(BaseDecoder):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, z: Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=self.net(z))


class Stopwatch(TrainingCallback):
    """Seconds of each epoch, the trainer's copy of its best model included."""

    def __init__(self) -> None:
        self.epoch_seconds: list[float] = []

    def on_epoch_begin(self, training_config: BaseTrainerConfig, **kwargs) -> None:
        self.start = time.perf_counter()

    def on_epoch_end(self, training_config: BaseTrainerConfig, **kwargs) -> None:
        self.epoch_seconds.append(time.perf_counter() - self.start)


def make_model(workload: Workload) -> AE:
    encoder = Encoder(mlp_encoder(workload), workload.variational)
    sizes = {"input_dim": (workload.features,), "latent_dim": workload.latent_dim}
    if not workload.variational:
        return AE(AEConfig(**sizes), encoder, Decoder(mlp_decoder(workload)))
    # pythae takes probabilities, not logits.
    decoder = Decoder(nn.Sequential(mlp_decoder(workload), nn.Sigmoid()))
    return VAE(VAEConfig(**sizes, reconstruction_loss="bce"), encoder, decoder)


def train(model: AE, x: np.ndarray, batch_size: int, epochs: int) -> list[float]:
    """Train without validation, and return the seconds of each epoch."""
    rows = BaseDataset(torch.from_numpy(x), torch.zeros(len(x)))
    stopwatch = Stopwatch()
    # The trainer always saves a final model (after the last epoch, so untimed) and draws a progress bar.
    with (
        tempfile.TemporaryDirectory() as folder,
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stderr(nowhere),
    ):
        config = BaseTrainerConfig(
            output_dir=folder,
            num_epochs=epochs,
            per_device_train_batch_size=batch_size,
            learning_rate=1e-3,
            seed=SEED,
        )
        BaseTrainer(model, rows, training_config=config, callbacks=[stopwatch]).train()
    return stopwatch.epoch_seconds


if __name__ == "__main__":
    logging.disable(logging.INFO)
    workload, x, epochs = begin(parser().parse_args())
    report(train(make_model(workload), x, workload.batch_size, epochs), len(x))
