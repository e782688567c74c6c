"""One step of training as one callable, which compilation and graphs can wrap."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from isthmus.batch import Batch
from isthmus.latent_model import LatentModel
from isthmus.objective import Objective


class Step(nn.Module):
    """Batch and progress to the loss and its terms, all still on the device."""

    def __init__(self, model: LatentModel, objective: Objective):
        super().__init__()
        self.model, self.objective = model, objective

    def forward(self, batch: Batch, progress: Tensor, train: bool = True) -> tuple[Tensor, list[Tensor]]:
        """The loss, and each term's mean in the order of `objective.names`."""
        run = self.model(batch, self.objective.draws, train=train)
        return self.objective(self.model, batch, run, progress)


class FunctionalStep:
    """The step and its gradient as one function of one flat buffer: compiled, it costs no walk of autograd's graph.

    `names` and `shapes` tell the parameters that lie end to end in the buffer.
    """

    def __init__(self, step: Step, names: Sequence[str], shapes: Sequence[torch.Size]):
        self.step, self.names, self.shapes = step, names, shapes
        self.sizes = [shape.numel() for shape in shapes]

    def __call__(
        self, flat: Tensor, buffers: dict[str, Tensor], batch: Batch, progress: Tensor
    ) -> tuple[Tensor, Tensor, list[Tensor], dict[str, Tensor]]:
        """The gradient by `flat`, the loss, the terms and the buffers as the step leaves them."""

        def loss_of(
            flat: Tensor, buffers: dict[str, Tensor]
        ) -> tuple[Tensor, tuple[Tensor, list[Tensor], dict[str, Tensor]]]:
            pieces = flat.split(self.sizes)
            named = {name: piece.view(s) for name, piece, s in zip(self.names, pieces, self.shapes)}
            loss, values = torch.func.functional_call(self.step, (named, buffers), (batch, progress))
            return loss, (loss.detach(), [v.detach() for v in values], {k: b.detach() for k, b in buffers.items()})

        # Moved in place, the buffers would be lost to a trace.
        held = {name: buffer.clone() for name, buffer in buffers.items()}
        grad, (loss, values, moved) = torch.func.grad(loss_of, has_aux=True)(flat, held)
        return grad, loss, values, moved

    @torch.no_grad()
    def graph(self, flat: Tensor, buffers: dict[str, Tensor], batch: Batch, progress: Tensor) -> nn.Module:
        """The same as a graph for tensors of these shapes: without modules, whose guards cost a small step a tenth."""
        return make_fx(self)(flat, buffers, batch, progress)
