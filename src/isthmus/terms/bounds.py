"""Bounds on the log-likelihood and their parts, nats."""

from __future__ import annotations

import numbers

from torch import Tensor

from isthmus.batch import Batch
from isthmus.errors import InputError
from isthmus.latent_model import LatentModel, Pass
from isthmus.objective import Term


def _nll(model: LatentModel, batch: Batch, run: Pass) -> Tensor:
    return -run.average(run.log_px)


def _kl(model: LatentModel, batch: Batch, run: Pass) -> Tensor:
    return run.kl.sum(-1)


nll = Term(_nll, "nll")
"""-E[log p(x given z)], the distortion."""

kl = Term(_kl, "kl")
"""KL(q(z given x) || p(z)), the rate."""


def iwae(k: int) -> Term:
    """The importance-weighted bound of k draws, negated (Burda et al., 2016)."""
    if isinstance(k, bool) or not isinstance(k, numbers.Integral) or k < 1:
        raise InputError(f"iwae({k!r}) came; a whole number of draws, at least 1, is wanted")

    def bound(model: LatentModel, batch: Batch, run: Pass) -> Tensor:
        return -(run.log_weight + run.log_px + run.log_pz - run.log_qz).logsumexp(0)

    return Term(bound, "iwae", draws=k)
