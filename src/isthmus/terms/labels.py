"""The terms of a model that learns from labels."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isthmus import random_streams
from isthmus.batch import Batch
from isthmus.errors import InputError
from isthmus.forward_pass import Pass
from isthmus.objective import Term
from isthmus.wording import join_names

LABELLED_AT_ONCE = 128
"""Labelled rows that are read beside a batch, at most."""
MAX_FEW = 10_000
"""Labelled rows from which on those of the batch are read alone."""
MAX_LISTED_CLASSES = 5
"""Classes that a warning names."""


class Classification(nn.Module):
    """-log q(y given x) of labelled rows, nats.

    Few rows of a batch have a label where few have one at all. In training an update then reads labelled rows beside
    the batch, all of them or some at random. Else the value of a row is divided by the share of labelled training
    rows, so that the mean over rows is that over labelled rows.

    Args:
        classes: their names.
    """

    def __init__(self, classes: Sequence[Any]) -> None:
        super().__init__()
        self.classes = tuple(classes)
        self.few: Batch | None = None
        self.share = 1.0

    def begin(self, rows: Any, seed: int) -> None:
        """Note the labelled training rows; warns of classes without any, raises InputError if there are none at all."""
        labelled = torch.nonzero(rows.y >= 0)[:, 0]
        if not len(labelled):
            raise InputError("y must have labels among the training rows, got none. Pass more labels.")
        found = set(rows.y[labelled].unique().tolist())
        missing = [repr(name) for code, name in enumerate(self.classes) if code not in found]
        if missing:
            warnings.warn(
                f"no training row has the label {join_names(missing, MAX_LISTED_CLASSES)}: validation rows have all "
                "of these. Pass validation_fraction=0, or more labels.",
                UserWarning,
                stacklevel=2,
            )
        self.share = (
            len(labelled) / len(rows) if rows.weight is None else rows.weight[labelled].sum().item() / len(rows)
        )
        self.few = rows.batch(labelled) if len(labelled) <= MAX_FEW else None

    def some(self, few: Batch) -> Batch:
        """Labelled rows, as many as are read at once."""
        n = len(few.x)
        if n <= LABELLED_AT_ONCE:
            return few
        place = (random_streams.uniform((LABELLED_AT_ONCE,), few.x) * n).long().clamp(max=n - 1)
        return Batch._make(None if part is None else part.index_select(0, place) for part in few)

    def forward(self, model: Any, batch: Batch, out: Pass) -> Tensor:
        if model.training and self.few is not None:
            few = self.some(self.few)
            losses = self.of_rows(model, few)
            return (
                losses.mean() if few.weight is None else (losses * few.weight).sum() / few.weight.sum().clamp(min=1e-30)
            )
        assert batch.y is not None
        return torch.where(batch.y >= 0, self.of_rows(model, batch), 0.0) / self.share

    def of_rows(self, model: Any, batch: Batch) -> Tensor:
        """(B,) -log q(y given x), nats; of rows without a label that of the first class."""
        logits = model.posterior.logits(model.corrupt(batch), batch.c, batch.mask)
        assert batch.y is not None
        return F.cross_entropy(logits, batch.y.clamp(min=0), reduction="none")


def classification(classes: Sequence[Any]) -> Term:
    """-log q(y given x) of labelled rows, nats."""
    return Term(Classification(classes), "classification")


kl_of_class = Term(lambda model, batch, out: out.kl[:, 0], "kl_class", is_kl=True)
"""KL(q(y given x) || p(y)), nats; -log p(y) of a known label."""
kl_given_class = Term(lambda model, batch, out: out.kl[:, 1:].sum(-1), "kl", is_kl=True)
"""The mean over classes of KL(q(z given x, y) || p(z)), nats."""
