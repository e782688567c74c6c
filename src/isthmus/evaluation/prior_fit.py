"""How well the prior fits the codes: what a better one would gain, and whether its samples vary as data do."""

from __future__ import annotations

import warnings

import numpy as np
import torch

from isthmus.distributions.independent import is_evaluable
from isthmus.distributions.sphere import UniformSphere
from isthmus.errors import Declined
from isthmus.evaluation.context import EvalContext, counted_elements
from isthmus.metrics.estimate import mean_and_error
from isthmus.metrics.metric import HIDDEN, LINE, Metric, from_estimate, setting
from isthmus.priors import PostHocPrior

REFIT_COMPONENTS = 10
"""Components of the mixture: as many as `prior="refit"` has by default."""
SPREAD_SAMPLES = 500
"""Codes from the prior whose decoded variance is measured."""


def refit_gain(context: EvalContext) -> Metric | None:
    """Nats per row that a mixture fitted to the training rows' codes gains over the prior, on rows not fitted to.

    Both priors score the codes of held-out rows, so the gain is not overfitting: KL(q(z) || p(z)) of the aggregate
    posterior can be lowered by at least this much. None without a code or training rows.
    """
    rows, train = context.scored, context.scored_train
    if not context.is_variational or train is None:
        return None
    prior = rows.chunks[0].prior
    if prior is None:
        raise Declined("The prior has no density of its own.")
    if prior.batch_shape:
        raise Declined("Each row has its own prior.")
    if not is_evaluable(prior) or context.fitted.model.code.discrete or isinstance(prior, UniformSphere):
        raise Declined("A prior is fitted to codes in continuous space only, and compared with one of known density.")
    with torch.no_grad(), context.fitted.threads():
        train_codes = train.sample_posterior(context.seed).flatten(1)
        mixture = PostHocPrior(train_codes.shape[1], REFIT_COMPONENTS).to(train_codes).eval()
        mixture.fit_to(train_codes, context.seed)
        codes = rows.sample_posterior(context.seed + 1)
        gain = mixture().log_prob(codes.flatten(1)) - prior.log_prob(codes)
    components = setting("refit_gain.components", "components", REFIT_COMPONENTS)
    values, label = gain.double().cpu().numpy(), "gain of a mixture prior fitted to codes"
    shown = LINE if np.average(values, weights=context.weight) > 0 else HIDDEN
    estimate = mean_and_error(values, weight=context.weight)
    return from_estimate("refit_gain", label, "nats", "difference", estimate, details=(components,), shown=shown)


def sample_spread(context: EvalContext) -> Metric | None:
    """The variance of E[x given z] over codes from the prior, as a share of the data's variance.

    Near 0 all samples look alike; near that of reconstructions they vary as much as these. None if the model cannot be
    sampled from; declined for unordered categories.
    """
    if not context.fitted.capabilities.samples:
        return None
    context.require_numeric()
    counted = counted_elements(context.examples)
    # An element that was never observed has no variance that samples could share.
    seen = np.ones(context.schema.event_shape, bool) if counted is None else counted.any(0)
    data = total_variance(context.examples.x, counted)
    if not data:
        return None
    unit, kind = "share of the data's variance", "ratio"
    details: tuple[Metric, ...] = ()
    if context.has_code:
        name, label = "sample_spread.of_reconstructions", "variance of reconstructions"
        share = total_variance(context.reconstructions, counted) / data
        details = (Metric(name, label, unit, kind, share, digits=".0%", plain=True),)
    return Metric(
        "sample_spread",
        "variance of samples' means",
        unit,
        kind,
        total_variance(context.sample(SPREAD_SAMPLES, mean=True)[:, seen]) / data,
        digits=".0%",
        details=details,
    )


def total_variance(x: np.ndarray, counted: np.ndarray | None = None) -> float:
    """Variance of rows (n, *X), summed over features; only of the elements that are counted (n, *X)."""
    where = np.ones(x.shape, dtype=bool) if counted is None else counted
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a column of which nothing was observed
        return float(np.nansum(x.var(0, dtype=np.float64, where=where)))
