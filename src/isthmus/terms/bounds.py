"""Bounds on the log-likelihood and their parts, nats."""

from __future__ import annotations

import math
import numbers

import torch
from torch import Tensor

from isthmus.batch import Batch
from isthmus.distributions.independent import has_path_gradient
from isthmus.errors import InputError
from isthmus.forward_pass import Pass
from isthmus.latent_model import Model
from isthmus.objective import Schedule, Term, weight_at

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


def _kl_by_path(model: Model, batch: Batch, out: Pass) -> Tensor:
    if not has_path_gradient(out.q):
        raise no_gradient(out, "stl")
    return out.expectation(out.log_qz_stopped - out.log_pz)


kl_by_path = Term(_kl_by_path, "kl", is_kl=True)
"""The rate by the draws, with a gradient that is zero where q is the exact posterior: the score of q, whose mean is 0,
is left out ("sticking the landing", Roeder et al., 2017)."""


def free_bits(nats: float) -> Term:
    """The rate, of which the first `nats` of each of its parts, in the mean over a batch, are free.

    They are counted but have no gradient: units are not switched off for less (Kingma et al., 2016). Its parts are
    latent dimensions where `Pass.kl` has them; where the prior allows no closed form there is one.
    """
    if isinstance(nats, bool) or not isinstance(nats, numbers.Real) or not 0 <= nats < math.inf:
        raise InputError(f"nats of free_bits(nats) must be a number >= 0, got {nats!r}.")

    def rate(model: Model, batch: Batch, out: Pass) -> Tensor:
        each = out.kl if batch.weight is None else out.kl * batch.weight[:, None]
        return each.mean(0).clamp(min=float(nats)).sum()

    return Term(rate, "kl", is_kl=True, row_by_row=False)


def kl_near(nats: float | Schedule) -> Term:
    """The distance of the rate, in the mean over a batch, from a number of nats (Burgess et al., 2018)."""
    at_end = weight_at(nats, 1.0)
    if not 0 <= at_end < math.inf:
        raise InputError(f"nats of capacity(nats, w) must be a number >= 0, got {at_end!r}.")
    return Term(_kl, "kl", target=nats)


def _check_counts(call: str, **counts: int) -> None:
    """Raise InputError unless every argument of a bound is a number of draws, and so is their product."""
    for name, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, numbers.Integral) or not 1 <= value <= MAX_DRAWS:
            raise InputError(f"{name} of {call} must be an integer from 1 to {MAX_DRAWS:,}, got {value!r}.")
    if math.prod(counts.values()) > MAX_DRAWS:
        raise InputError(
            f"{' * '.join(counts)} of {call} must be at most {MAX_DRAWS:,}, got {math.prod(counts.values()):,}."
        )


def _iwae(model: Model, batch: Batch, out: Pass) -> Tensor:
    return -out.log_importance.logsumexp(0)


def iwae(k: int) -> Term:
    """The importance-weighted bound of k draws, negated (Burda et al., 2016)."""
    _check_counts("iwae(k)", k=k)
    return Term(_iwae, "iwae", draws=k)


def dreg(k: int) -> Term:
    """The bound of `iwae` with doubly reparameterised gradients (Tucker et al., 2019).

    The encoder's gradient has the same expectation as that of `iwae` and far less variance: with more draws its
    signal does not drown in noise. The decoder's is the same.
    """
    _check_counts("dreg(k)", k=k)

    def bound(model: Model, batch: Batch, out: Pass) -> Tensor:
        value = _iwae(model, batch, out)
        if not _in_training(out, f"dreg({k})"):
            return value
        share = out.log_importance.detach().softmax(0)  # (K, B)
        return _with_gradient(
            value, _by_draw(out.log_px + out.log_pz - out.log_qz_stopped, out.z, share, share.square())
        )

    return Term(bound, "iwae", draws=k)


def ciwae(k: int, b: float) -> Term:
    """b times the ELBO plus 1 - b times the importance-weighted bound of k draws, negated (Rainforth et al., 2018)."""
    _check_counts("ciwae(k, b)", k=k)
    if isinstance(b, bool) or not isinstance(b, numbers.Real) or not 0 <= b <= 1:
        raise InputError(f"b of ciwae(k, b) must be a number from 0 to 1, the weight of the ELBO, got {b!r}.")

    def bound(model: Model, batch: Batch, out: Pass) -> Tensor:
        return (1 - b) * _iwae(model, batch, out) - b * out.expectation(out.log_ratio)

    return Term(bound, "ciwae", draws=k)


def _groups(m: int, k: int, out: Pass) -> Tensor:
    """(m, k, B) the log-weights of m groups of k draws; raises InputError for another number of draws."""
    if out.draws != m * k:
        raise InputError(
            f"m * k must be the number of draws of a pass, got {m} * {k} for {out.draws}. Use a bound of {out.draws} "
            "draws, or no other term that draws more."
        )
    return out.log_importance.unflatten(0, (m, k))


def _miwae(m: int, k: int, out: Pass) -> Tensor:
    """(B,) the mean over m groups of the bound of k draws, nats."""
    return (_groups(m, k, out).logsumexp(1) + math.log(m)).mean(0)


def miwae(m: int, k: int) -> Term:
    """The mean of m importance-weighted bounds of k draws each, negated (Rainforth et al., 2018)."""
    _check_counts("miwae(m, k)", m=m, k=k)
    return Term(lambda model, batch, out: -_miwae(m, k, out), "miwae", draws=m * k)


def piwae(m: int, k: int) -> Term:
    """The bound of `iwae(m * k)` with its gradient for the decoder and that of `miwae(m, k)` for the encoder.

    The decoder is given the tighter bound, the encoder the gradient of less noise (Rainforth et al., 2018).
    """
    _check_counts("piwae(m, k)", m=m, k=k)

    def bound(model: Model, batch: Batch, out: Pass) -> Tensor:
        value = _iwae(model, batch, out)
        if not _in_training(out, f"piwae({m}, {k})"):
            return value
        of_all = out.log_importance.detach().softmax(0)  # (K, B)
        of_group = _groups(m, k, out).detach().softmax(1).flatten(0, 1) / m
        joint = _by_draw(out.log_px + out.log_pz, out.z, of_all, of_group)
        return _with_gradient(value, joint - (of_group * out.log_qz).sum(0))

    return Term(bound, "iwae", draws=m * k)


def _in_training(out: Pass, bound: str) -> bool:
    """Whether gradients are taken; raises InputError if codes have none, or if draws have weights of their own."""
    if not torch.is_grad_enabled():
        return False
    if not out.z.requires_grad or out.weighted or not has_path_gradient(out.q):
        raise no_gradient(out, bound)
    return True


def no_gradient(out: Pass, bound: str) -> InputError:
    """The error for a bound that takes the gradient of draws, where these have none or another."""
    which = "draws that have weights of their own" if out.weighted else "codes that are drawn without an exact gradient"
    return InputError(f"bound must be 'elbo', 'iwae(k)' or another than {bound} for {which}.")


def _by_draw(values: Tensor, z: Tensor, by_parameters: Tensor, by_codes: Tensor) -> Tensor:
    """(B,) a sum of values (K, B) over draws whose gradient has one weight (K, B) for each way that it takes.

    Args:
        values: of each draw, a function of parameters and of its code.
        z: (K, B, *Z) codes.
        by_parameters: weights of the gradients with respect to parameters that `values` read.
        by_codes: weights of those that reach the encoder through the codes.
    """
    # Values of one draw depend on its code alone, so the gradient of their sum is that of each.
    (slope,) = torch.autograd.grad(values.sum(), z, retain_graph=True)
    through_codes = (slope * z).flatten(2).sum(-1)
    return (by_parameters * values + (by_codes - by_parameters) * through_codes).sum(0)


def _with_gradient(value: Tensor, bound: Tensor) -> Tensor:
    """`value` with the gradient of minus `bound`."""
    return value.detach() + (bound.detach() - bound)
