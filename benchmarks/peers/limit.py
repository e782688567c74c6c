"""The matrix products of a training step and nothing else: what the machine allows.

The gradient with respect to the data is left out: no training computes it.
"""

import time
from itertools import pairwise

import torch
from torch import Tensor
from workloads import Workload, begin, parser, report


class Layer:
    """The three products of a linear layer, each into its own memory."""

    def __init__(self, batch: int, inputs: int, outputs: int, dtype: torch.dtype) -> None:
        self.x = torch.randn(batch, inputs, dtype=dtype)
        self.weight = torch.randn(outputs, inputs, dtype=dtype)
        self.y = torch.empty(batch, outputs, dtype=dtype)
        self.grad_y = torch.randn(batch, outputs, dtype=dtype)
        self.grad_x = torch.empty_like(self.x)
        self.grad_weight = torch.empty_like(self.weight)

    def forward(self) -> Tensor:
        return torch.mm(self.x, self.weight.t(), out=self.y)

    def backward_weight(self) -> Tensor:
        return torch.mm(self.grad_y.t(), self.x, out=self.grad_weight)

    def backward_input(self) -> Tensor:
        return torch.mm(self.grad_y, self.weight, out=self.grad_x)


def make_layers(workload: Workload, dtype: torch.dtype) -> list[Layer]:
    encoder = (workload.features, *workload.hidden, 2 * workload.latent_dim)
    decoder = (workload.latent_dim, *reversed(workload.hidden), workload.features)
    sizes = [*pairwise(encoder), *pairwise(decoder)]
    return [Layer(workload.batch_size, inputs, outputs, dtype) for inputs, outputs in sizes]


def step(layers: list[Layer]) -> None:
    for layer in layers:
        layer.forward()
    for layer in reversed(layers[1:]):
        layer.backward_weight()
        layer.backward_input()
    layers[0].backward_weight()


if __name__ == "__main__":
    arguments = parser()
    arguments.add_argument("--bf16", action="store_true", help="the same products in bf16")
    arguments = arguments.parse_args()
    workload, x, epochs = begin(arguments)
    layers = make_layers(workload, torch.bfloat16 if arguments.bf16 else torch.float32)
    steps = -(-len(x) // workload.batch_size)
    epoch_seconds = []
    for _ in range(epochs):
        start = time.perf_counter()
        for _ in range(steps):
            step(layers)
        epoch_seconds.append(time.perf_counter() - start)
    report(epoch_seconds, steps * workload.batch_size)
