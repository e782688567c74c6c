"""What one forward pass leaves for a loss to read: draws, log-densities, and the KL divergence."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from isthmus.distributions.kl_divergence import kl_divergence


class Pass:
    """What any loss may read of one forward pass; a density is computed when it is first read.

    Args:
        z: (K, B, *Z) draws of the code.
        q: q(z given x); None where codes were given.
        px: p(x given z).
        prior: p(z); None for a model without one.
        target: (B, *X) what p(x given z) is evaluated at.
        log_volume: what the scaling of the data takes from log p(x), nats; a number or (B,).
        log_weight: (K, B) log of the draws' weights, which sum to one over K; None for equal weights.
        exact: whether one draw gives log p(x) without error.
        log_evidence: (B,) the log of an unbiased estimate of p(x) that the model formed itself of these draws, as a
            particle filter does, nats; every estimate of log p(x) and `iwae` read it in place of the draws' weights,
            the ELBO goes on reading the draws.
        log_px, log_pz, log_qz: (K, B) and kl (B, L), nats, where the model has them already.
        per_step: terms (K, B, T) of each step by name, nats, for losses that read them.
    """

    def __init__(
        self,
        z: Tensor,
        q: Any = None,
        px: Any = None,
        prior: Any = None,
        *,
        target: Tensor | None = None,
        log_volume: Tensor | float = 0.0,
        log_weight: Tensor | None = None,
        exact: bool = False,
        log_evidence: Tensor | None = None,
        log_px: Tensor | None = None,
        log_pz: Tensor | None = None,
        log_qz: Tensor | None = None,
        kl: Tensor | None = None,
        per_step: dict[str, Tensor] | None = None,
    ):
        self.z, self.q, self.px, self.prior = z, q, px, prior
        self.exact, self.log_evidence, self.per_step = exact, log_evidence, per_step or {}
        self.draws: int = z.shape[0]
        self._target, self._log_volume, self._log_weight = target, log_volume, log_weight
        given = {"log_px": log_px, "log_pz": log_pz, "log_qz": log_qz, "kl": kl}
        self.precomputed: dict[str, Tensor] = {name: value for name, value in given.items() if value is not None}

    @property
    def log_px(self) -> Tensor:
        """(K, B) log p(x given z), nats in the data's own units."""
        if "log_px" not in self.precomputed:
            value = self.px.log_prob(self._target)
            free = isinstance(self._log_volume, float) and self._log_volume == 0
            self.precomputed["log_px"] = value if free else value - self._log_volume
        return self.precomputed["log_px"]

    @property
    def log_pz(self) -> Tensor:
        """(K, B) log p(z), nats."""
        if "log_pz" not in self.precomputed:
            self.precomputed["log_pz"] = self.prior.log_prob(self.z)
        return self.precomputed["log_pz"]

    @property
    def log_qz(self) -> Tensor:
        """(K, B) log q(z given x), nats."""
        if "log_qz" not in self.precomputed:
            self.precomputed["log_qz"] = self.q.log_prob(self.z)
        return self.precomputed["log_qz"]

    @property
    def log_qz_stopped(self) -> Tensor:
        """(K, B) the same with q's parameters held fixed, for gradients without its score (Roeder et al., 2017)."""
        return self.q.stopped().log_prob(self.z)

    @property
    def kl(self) -> Tensor:
        """(B, L) KL(q(z given x) || p(z)), nats per latent dimension or group; one estimate where it has no parts."""
        if "kl" not in self.precomputed:
            exact = kl_divergence(self.q, self.prior)
            self.precomputed["kl"] = self.expectation(self.log_qz - self.log_pz)[:, None] if exact is None else exact
        return self.precomputed["kl"]

    @property
    def weighted(self) -> bool:
        """Whether draws have weights of their own, or the model estimated p(x) itself: they then stand for no more."""
        return self._log_weight is not None or self.log_evidence is not None

    @property
    def log_weight(self) -> Tensor | float:
        """(K, B) log of the draws' weights, or one number where they are equal."""
        return -math.log(self.draws) if self._log_weight is None else self._log_weight

    @property
    def log_ratio(self) -> Tensor:
        """(K, B) log p(x given z) + log p(z) - log q(z given x) of each draw, nats: its expectation is the ELBO."""
        return self._log_ratio(0.0)

    @property
    def log_importance(self) -> Tensor:
        """(K, B) log w + log p(x given z) + log p(z) - log q(z given x), nats: its logsumexp over K estimates log p(x).

        p(x) = E_q[p(x, z) / q(z given x)] = sum over k of w_k p(x, z_k) / q(z_k given x) in expectation. Where the
        model estimated p(x) itself, each draw has its share of that.
        """
        if self.log_evidence is not None:
            return self.log_weight + self.log_evidence.expand(self.draws, -1)
        return self._log_ratio(self.log_weight)

    def _log_ratio(self, log_weight: Tensor | float) -> Tensor:
        return log_weight + self.log_px + self.log_pz - self.log_qz

    @property
    def elbo(self) -> Tensor:
        """(B,) evidence lower bound E_q[log p(x given z)] - KL(q || p), nats; the KL exact where it is known."""
        return self.expectation(self.log_px) - self.kl.sum(-1)

    def expectation(self, values: Tensor) -> Tensor:
        """(K, B, ...) to (B, ...): the mean over draws by their weights."""
        if self._log_weight is not None:
            weight = self._log_weight.exp()
            return (weight.reshape(*weight.shape, *[1] * (values.ndim - 2)) * values).sum(0)
        return values.squeeze(0) if self.draws == 1 else values.mean(0)
