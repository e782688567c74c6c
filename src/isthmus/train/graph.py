"""The whole update as one CUDA graph: small nets on a GPU are bound by launches."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class Captured:
    """`update(index)` recorded once and replayed; everything else that it reads lives in tensors that stay."""

    def __init__(self, update: Callable[[Tensor], None], index: Tensor, state: list[Tensor]):
        self.index = index.clone()
        before = [tensor.clone() for tensor in state]
        rng = torch.cuda.get_rng_state(index.device)
        stream = torch.cuda.Stream(index.device)
        stream.wait_stream(torch.cuda.current_stream(index.device))
        with torch.cuda.stream(stream):
            for _ in range(3):  # libraries choose their kernels before the recording
                update(self.index)
        torch.cuda.current_stream(index.device).wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            update(self.index)
        with torch.no_grad():  # as if none of that had happened
            for tensor, value in zip(state, before):
                tensor.copy_(value)
        torch.cuda.set_rng_state(rng, index.device)

    def __call__(self, index: Tensor) -> None:
        self.index.copy_(index)
        self.graph.replay()
