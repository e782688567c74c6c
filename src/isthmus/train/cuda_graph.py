"""A whole update as one CUDA graph: the speed of small networks on a GPU is limited by kernel launches."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from isthmus.random_streams import Recorder, Replay, drawing_from, generator

WARMUP_CALLS = 3
"""Calls before the recording, in which libraries choose their kernels."""


class CudaGraphStep:
    """`update(index)`, recorded once and replayed; recording leaves the state as it was.

    Args:
        update: the function to record; all else that it reads lies in tensors that stay.
        index: (B,) an example of its argument.
        state: every tensor that the update writes to.

    Raises:
        RuntimeError: if the update cannot be recorded.
    """

    def __init__(self, update: Callable[[Tensor], None], index: Tensor, state: list[Tensor]):
        self.update = update  # what it refers to must live as long as the graph
        self.index = index.clone()
        self.graph = torch.cuda.CUDAGraph()
        backup = [tensor.clone() for tensor in state]
        recorder = Recorder()
        rng = torch.cuda.get_rng_state(index.device)
        try:
            with torch.cuda.device(index.device):  # streams belong to the current device
                with drawing_from(recorder):
                    update(self.index)
                self.draws, self.noise = recorder.draws, [draw.empty() for draw in recorder.draws]
                self._record()
        finally:
            with torch.no_grad():
                for tensor, value in zip(state, backup):
                    tensor.copy_(value)
            torch.cuda.set_rng_state(rng, index.device)

    def _record(self) -> None:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARMUP_CALLS):
                self._update()
        torch.cuda.current_stream().wait_stream(stream)
        with torch.cuda.graph(self.graph):
            self._update()

    def _update(self) -> None:
        with drawing_from(Replay(self.noise)):
            self.update(self.index)

    def __call__(self, index: Tensor) -> None:
        self.index.copy_(index)
        for draw, tensor in zip(self.draws, self.noise):
            draw.fill(tensor, generator(tensor.device))
        with torch.cuda.device(index.device):
            self.graph.replay()
