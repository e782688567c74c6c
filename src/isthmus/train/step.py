"""One step of training as one callable, which compilation and graphs can wrap."""

from __future__ import annotations

from torch import Tensor, nn

from isthmus.batch import Batch
from isthmus.latent_model import LatentModel
from isthmus.objective import Objective


class Step(nn.Module):
    """Batch and progress to the loss and its terms, all still on the device."""

    def __init__(self, model: LatentModel, objective: Objective):
        super().__init__()
        self.model, self.objective = model, objective

    def forward(self, batch: Batch, progress: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The loss, and each term's mean in the order of `objective.names`."""
        run = self.model(batch, self.objective.draws)
        return self.objective(self.model, batch, run, progress)
