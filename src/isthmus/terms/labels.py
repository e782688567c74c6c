"""The loss of a classifier inside a model."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isthmus import random_streams
from isthmus.batch import Batch
from isthmus.errors import InputError
from isthmus.forward_pass import Pass
from isthmus.objective import Term

LABELLED_AT_ONCE = 128
"""Labelled rows that are classified in an update, at most."""


class Classification(nn.Module):
    """-log q(y given x) of labelled rows, nats.

    Few rows of a batch have a label where few have one at all. An update reads labelled training rows beside it: all
    of them, or as many at random. What is validated are the labelled rows of the batch.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rows: Any = None
        self.labelled: Tensor | None = None

    def begin(self, rows: Any, seed: int) -> None:
        """Note the labelled rows; raises InputError if there are none."""
        self.rows, self.labelled = rows, torch.nonzero(rows.y >= 0)[:, 0]
        if not len(self.labelled):
            raise InputError("y must have labels among the training rows, got none. Pass more labels.")

    def picked(self) -> Batch:
        """Labelled training rows."""
        assert self.labelled is not None
        n = len(self.labelled)
        if n <= LABELLED_AT_ONCE:
            return self.rows.batch(self.labelled)
        place = random_streams.uniform((LABELLED_AT_ONCE,), self.rows.batch(self.labelled[:1]).x)
        return self.rows.batch(self.labelled[(place * n).long().clamp(max=n - 1)])

    def forward(self, model: Any, batch: Batch, out: Pass) -> Tensor:
        if torch.is_grad_enabled() and self.labelled is not None:
            batch = self.picked()
        assert batch.y is not None
        logits = model.posterior.logits(model.corrupt(batch), batch.c, batch.mask)
        weight = (batch.y >= 0).to(logits.dtype)
        if batch.weight is not None:
            weight = weight * batch.weight
        losses = F.cross_entropy(logits, batch.y.clamp(min=0), reduction="none")
        return (losses * weight).sum() / weight.sum().clamp(min=1e-30)


def classification() -> Term:
    """-log q(y given x) of labelled rows, nats."""
    return Term(Classification(), "classification", row_by_row=False)
