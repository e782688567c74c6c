"""log p(x) of the systems, exactly: closed forms, sums over labels, quadrature, a Kalman filter; nats in data units."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from scipy.stats import multivariate_normal as gaussian

from isthmus.fitted import FittedModel


def in_network_units(fitted: FittedModel, rows) -> tuple[np.ndarray, np.ndarray]:
    """(n, *X) rows as networks read them, and (n,) nats that scaling takes."""
    batch = fitted.dataset(rows).batch(torch.arange(len(rows)))
    volume = np.broadcast_to(fitted.schema.element_log_volume, batch.x.shape)
    real = np.ones(batch.x.shape, bool) if batch.observed is None else batch.observed.numpy()
    if batch.mask is not None:
        real = real & batch.mask.numpy()[..., None]
    return batch.x.double().numpy(), (volume * real).reshape(len(volume), -1).sum(1)


def affine(module) -> tuple[np.ndarray, np.ndarray]:
    """Weight (out, in) and bias (out,) of a linear network."""
    (layer,) = module.layers
    return layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()


def noise_variance(fitted: FittedModel) -> np.ndarray:
    """() or (d,): of all columns, or of each."""
    return torch.exp(2 * fitted.model.likelihood.family.log_scale().detach()).double().numpy()


def linear_gaussian(fitted: FittedModel, rows, code_covariance=None, label=None) -> np.ndarray:
    """x = W z + b + noise with normal z; where values are missing, the density of those that were observed."""
    x, volume = in_network_units(fitted, rows)
    weight, bias = affine(fitted.model.likelihood.net)
    if label is not None:
        bias, weight = bias + weight[:, label], weight[:, -1:]
    code = np.eye(weight.shape[1]) if code_covariance is None else code_covariance
    covariance = weight @ code @ weight.T + noise_variance(fitted) * np.eye(len(bias))
    seen = np.ones(x.shape, bool) if rows.observed is None else rows.observed
    parts = [gaussian(bias[s], covariance[np.ix_(s, s)]).logpdf(row[s]) if s.any() else 0.0 for row, s in zip(x, seen)]
    return np.array(parts) - volume


def two_levels(fitted: FittedModel, rows) -> np.ndarray:
    prior = fitted.model.prior
    return linear_gaussian(fitted, rows, (prior.slope**2 + torch.exp(2 * prior.log_scale)).detach().numpy()[:, None])


def labels(fitted: FittedModel, rows) -> np.ndarray:
    """A sum over the three labels."""
    return np.logaddexp.reduce([linear_gaussian(fitted, rows, label=k) for k in range(3)]) - np.log(3)


def code_free(fitted: FittedModel, rows) -> np.ndarray:
    """The chain rule, term by term, beside the sum over all outcomes, which must be one."""
    weight = fitted.model.weight.detach().double().numpy()
    bias = fitted.model.bias.detach().double().numpy()

    def log_p(x: np.ndarray) -> float:
        logits = [bias[j] + weight[j, :j] @ x[:j] for j in range(len(x))]
        return sum(-np.logaddexp(0, -logit if bit else logit) for bit, logit in zip(x, logits))

    total = np.logaddexp.reduce([log_p(np.array(x, float)) for x in itertools.product((0, 1), repeat=len(bias))])
    assert abs(total) < 1e-9
    return np.array([log_p(row.astype(float)) for row in rows.x])


def kalman(fitted: FittedModel, rows) -> np.ndarray:
    """The prediction-error decomposition of a linear Gaussian state space with a known input x_{t-1}."""
    x, volume = in_network_units(fitted, rows)
    model = fitted.model
    a, k = model.a.item(), model.k.item()
    s2, r2 = (float(torch.exp(2 * scale.detach())) for scale in (model.log_s, model.log_r))
    total = np.zeros(len(x))
    for i, row in enumerate(x):
        mean, variance, before = 0.0, 0.0, 0.0
        for value in row[: rows.lengths[i], 0]:
            mean, variance = a * mean + k * before, a * a * variance + s2
            spread = variance + r2
            total[i] += -0.5 * (np.log(2 * np.pi * spread) + (value - mean) ** 2 / spread)
            gain = variance / spread
            mean, variance, before = mean + gain * (value - mean), (1 - gain) * variance, value
    return total - volume


def quadrature(fitted: FittedModel, rows) -> np.ndarray:
    """An integral over a code of one number."""
    z = torch.linspace(-9, 9, 4001, dtype=fitted.dtype)[:, None, None]  # (G, 1, 1)
    batch = fitted.dataset(rows).batch(torch.arange(len(rows)))
    with torch.no_grad():
        out = fitted.model.at(batch, z.expand(-1, len(rows), 1))
        joint = (out.log_px + out.log_pz).double()
    return (joint.logsumexp(0) + np.log(18 / 4000)).numpy()
