"""Which dimensions of a code say something of a row: the one definition that every number, finding and figure uses."""

from __future__ import annotations

import math

import numpy as np

IN_USE_NATS = 0.1
"""What a dimension in use says of a row at least, nats; of few rows, chance alone makes differences of this size."""
VARYING_SHARE = 1e-6
"""Share of the largest variance below which a dimension of a code without a prior is constant."""


def dimensions_in_use(
    codes: np.ndarray, has_prior: bool, kl: np.ndarray | None = None, posterior_std: np.ndarray | None = None
) -> np.ndarray:
    """Which dimensions carry `IN_USE_NATS` or more; of codes without a prior, those that vary over rows.

    A dimension carries KL(q(z given x) || p(z)). Where that does not split over dimensions (of a mixture prior, say),
    it is taken from the normal distribution of the mean and variance of all rows' draws, the nearest of those to which
    it does split. Where widths are unknown too, these draws are taken to have variance 1, as the standard normal has.

    Args:
        codes: (n, L) centres of q(z given x).
        has_prior: whether codes have a prior.
        kl: (L,) mean KL(q(z given x) || p(z)) of each dimension in nats, or None where it does not split.
        posterior_std: (n, L) standard deviations of q(z given x), or None where they are unknown.

    Returns:
        (L,) True for a dimension in use.
    """
    between = codes.var(0)
    if not has_prior:
        return between > VARYING_SHARE * max(float(between.max(initial=0)), math.ulp(1))
    if kl is None:
        kl = nats_of_widths(between, posterior_std)
    return np.asarray(kl) >= IN_USE_NATS


def nats_of_widths(between: np.ndarray, posterior_std: np.ndarray | None) -> np.ndarray:
    """(L,) mean KL of normal q(z given x) from the normal distribution of all rows' draws.

    With V = between + E[s^2] it is (log V - E[log s^2]) / 2: the terms in (m - E[m])^2 + s^2 have mean V / V = 1.

    Args:
        between: (L,) variance over rows of the centres.
        posterior_std: (n, L) standard deviations s.
    """
    least = np.finfo(np.float64).tiny
    if posterior_std is None:
        return -0.5 * np.log(np.clip(1 - between, least, 1))
    within = np.maximum(np.square(posterior_std, dtype=np.float64), least)
    return 0.5 * (np.log(between + within.mean(0)) - np.log(within).mean(0))
