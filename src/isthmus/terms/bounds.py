"""Bounds on the log-likelihood and their parts, nats."""

from __future__ import annotations

import numbers

from torch import Tensor

from isthmus.batch import Batch
from isthmus.errors import InputError
from isthmus.forward_pass import Pass
from isthmus.latent_model import Model
from isthmus.objective import Term

MAX_DRAWS = 10_000_000
"""Draws for each row in an update, beyond which no machine has the memory: all of them are there at once."""


def _nll(model: Model, batch: Batch, out: Pass) -> Tensor:
    return -out.expectation(out.log_px)


def _kl(model: Model, batch: Batch, out: Pass) -> Tensor:
    return out.kl.sum(-1)


nll = Term(_nll, "nll")
"""-E[log p(x given z)], the distortion."""

kl = Term(_kl, "kl", is_kl=True)
"""KL(q(z given x) || p(z)), the rate."""


def iwae(k: int) -> Term:
    """The importance-weighted bound of k draws, negated (Burda et al., 2016)."""
    if isinstance(k, bool) or not isinstance(k, numbers.Integral) or not 1 <= k <= MAX_DRAWS:
        raise InputError(f"k of iwae(k) must be an integer from 1 to {MAX_DRAWS:,}, got {k!r}.")

    def bound(model: Model, batch: Batch, out: Pass) -> Tensor:
        return -out.log_importance.logsumexp(0)

    return Term(bound, "iwae", draws=k)
