"""How well the prior fits the codes: what a better one would gain, and whether its samples vary as data do."""

from __future__ import annotations

import numpy as np
import torch

from isthmus.evaluation.context import EvalContext
from isthmus.metrics.metric import HIDDEN, LINE, Metric, mean_over_rows, setting
from isthmus.priors import PostHocPrior

MAX_FIT_ROWS = 2_000
"""Training rows whose codes the mixture is fitted to, at most."""
COMPONENTS = 10
"""Components of the mixture: as many as `prior="refit"` has by default."""
SPREAD_SAMPLES = 500
"""Codes from the prior whose decoded variance is measured."""


def refit_gain(context: EvalContext) -> Metric | None:
    """Nats per row that a mixture fitted to the training rows' codes gains over the prior, on rows not fitted to.

    Both priors score the codes of held-out rows, so the gain is not overfitting: KL(q(z) || p(z)) of the aggregate
    posterior can be lowered by at least this much. None if each row has a prior of its own or the training rows are
    unknown.
    """
    if not context.model.density or context.train is None:
        return None
    model, latent = context.model, context.model.model_
    with torch.no_grad(), context.threads():
        prior = latent.prior_for(context.dataset.batch(torch.arange(1)))
        if prior.batch_shape:
            return None
        train = model.lay(context.train.subsample(MAX_FIT_ROWS, context.seed), "fixed")
        train_codes = model.fitted_.sample_posterior(train, context.seed)
        mixture = PostHocPrior(train_codes.shape[1], COMPONENTS).to(train_codes).eval()
        mixture.fit_to(train_codes, context.seed)
        codes = model.fitted_.sample_posterior(context.dataset, context.seed + 1)
        gain = mixture().log_prob(codes) - prior.log_prob(codes)
    components = setting("refit_gain.components", "components", COMPONENTS)
    values, label = gain.double().cpu().numpy(), "gain of a mixture prior fitted to codes"
    shown = LINE if values.mean() > 0 else HIDDEN
    return mean_over_rows("refit_gain", label, "nats", "difference", values, details=(components,), shown=shown)


def sample_spread(context: EvalContext) -> Metric | None:
    """The variance of E[x given z] over codes from the prior, as a share of the data's variance.

    Near 0 all samples look alike; near that of reconstructions they vary as much as these. None without a prior.
    """
    if not context.model.density:
        return None
    data = total_variance(context.examples.x)
    if not data:
        return None
    unit, kind = "share of the data's variance", "ratio"
    of_reconstructions = Metric(
        "sample_spread.of_reconstructions",
        "variance of reconstructions",
        unit,
        kind,
        total_variance(context.reconstructions) / data,
        digits=".0%",
        plain=True,
    )
    return Metric(
        "sample_spread",
        "variance of samples' means",
        unit,
        kind,
        total_variance(context.sample(SPREAD_SAMPLES, mean=True)) / data,
        digits=".0%",
        details=(of_reconstructions,),
    )


def total_variance(x: np.ndarray) -> float:
    """Variance of rows (n, *X), summed over features."""
    return float(x.reshape(len(x), -1).var(0, dtype=np.float64).sum())
