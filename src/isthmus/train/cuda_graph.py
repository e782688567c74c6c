"""The whole update as one CUDA graph: small nets on a GPU are bound by launches."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class CudaGraphStep:
    """`update(index)` recorded once and replayed; everything else that it reads lives in tensors that stay.

    Raises RuntimeError, with `state` as it was, for an update that cannot be recorded.
    """

    def __init__(self, update: Callable[[Tensor], None], index: Tensor, state: list[Tensor]):
        self.recorded = update  # what it holds must live as long as the graph
        self.index = index.clone()
        self.graph = torch.cuda.CUDAGraph()
        before = [tensor.clone() for tensor in state]
        rng = torch.cuda.get_rng_state(index.device)
        try:
            with torch.cuda.device(index.device):  # streams are of the current device
                self._record()
        finally:  # as if none of that had happened
            with torch.no_grad():
                for tensor, value in zip(state, before):
                    tensor.copy_(value)
            torch.cuda.set_rng_state(rng, index.device)

    def _record(self) -> None:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):  # libraries choose their kernels before the recording
                self.recorded(self.index)
        torch.cuda.current_stream().wait_stream(stream)
        with torch.cuda.graph(self.graph):
            self.recorded(self.index)

    def __call__(self, index: Tensor) -> None:
        self.index.copy_(index)
        with torch.cuda.device(index.device):
            self.graph.replay()
