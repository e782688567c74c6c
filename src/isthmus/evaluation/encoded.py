"""Rows with q(z given x) of each, encoded once for every measure that needs their codes or their log p(x)."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from isthmus.examples import Examples
from isthmus.fitted import FittedModel
from isthmus.metrics.importance_weighting import Chunk, encode_chunks, importance_weighted
from isthmus.random_streams import seeded
from isthmus.train.device_data import DeviceDataset


class EncodedRows:
    """Rows on the device and their posteriors, in chunks that are kept.

    Args:
        fitted: the model.
        examples: n checked rows.
        bits: which bits of binarised pixels: "mean" for codes, "fixed" for scores.
    """

    def __init__(self, fitted: FittedModel, examples: Examples, bits: str):
        self.fitted, self.examples, self.bits = fitted, examples, bits

    def __len__(self) -> int:
        return len(self.examples)

    @cached_property
    def dataset(self) -> DeviceDataset:
        """The rows in network units."""
        return self.fitted.dataset(self.examples, self.bits)

    @cached_property
    def chunks(self) -> list[Chunk]:
        """All rows, encoded."""
        with self.fitted.threads():
            return list(encode_chunks(self.fitted.model, self.dataset))

    @cached_property
    def codes(self) -> np.ndarray:
        """(n, *Z) the centre of q(z given x) of each row."""
        with torch.no_grad():
            return torch.cat([chunk.q.centre for chunk in self.chunks]).cpu().numpy()

    @cached_property
    def posterior_std(self) -> np.ndarray | None:
        """(n, L) standard deviations of q(z given x); None if they are not known."""
        widths = [std.reshape(len(std), -1) for chunk in self.chunks if (std := chunk.q.std) is not None]
        return torch.cat(widths).detach().cpu().double().numpy() if len(widths) == len(self.chunks) else None

    def take(self, index: np.ndarray) -> list[Chunk]:
        """Chunks of the rows `index`, which are in ascending order."""
        chunks, device = [], self.dataset.device
        for chunk in self.chunks:
            first, count = int(chunk.row_index[0]), len(chunk.row_index)
            low, high = np.searchsorted(index, [first, first + count])
            if high - low == count:
                chunks.append(chunk)
            elif high > low:
                chunks.append(chunk.take(torch.as_tensor(index[low:high] - first, device=device)))
        return chunks

    def score(self, index: np.ndarray, draws: int) -> np.ndarray:
        """(m,) importance-weighted log p(x) of the rows `index` (m,), nats, in the order of `index`."""
        ascending, place = np.unique(index, return_inverse=True)
        with self.fitted.threads():
            return importance_weighted(self.fitted.model, self.take(ascending), draws).values[place]

    def sample_posterior(self, seed: int) -> Tensor:
        """(n, *Z) one draw from q(z given x) of each row."""
        with torch.no_grad(), self.fitted.threads(), seeded(seed, self.fitted.model):
            return torch.cat([chunk.q.draw_one(len(chunk.row_index)) for chunk in self.chunks])
