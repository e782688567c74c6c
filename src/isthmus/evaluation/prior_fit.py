"""What a better prior would gain."""

from __future__ import annotations

from typing import Any

import torch

from isthmus.estimators.training_setup import codes_drawn
from isthmus.evaluation.context import EvalContext, some_of
from isthmus.evaluation.estimates import told_rows
from isthmus.priors import PostHocPrior

MOST_ROWS = 2_000
COMPONENTS = 10
"""Of the mixture: as many as `prior="refit"` has by default."""


def refit_gain(subject: EvalContext) -> dict[str, Any] | None:
    """The nats an example that a mixture fitted to the training rows' codes gains over the prior, on other rows.

    Both are asked for codes of rows that the mixture has not seen, so that the gain is no accident of the fit: it is
    what KL(q(z) || p(z)) of the aggregate posterior can be lowered by at least. None where each row has a prior of its
    own, or the training rows are not known.
    """
    if not subject.model.density or subject.train is None:
        return None
    model, latent = subject.model, subject.model.model_
    with torch.no_grad(), subject.using():
        prior = latent.prior_for(subject.rows.batch(torch.arange(1)))
        if prior.batch_shape:
            return None
        seen = codes_drawn(latent, model.lay(some_of(subject.train, MOST_ROWS, subject.seed), "fixed"), subject.seed)
        mixture = PostHocPrior(seen.shape[1], COMPONENTS).to(seen).eval()
        mixture.fit_to(seen, subject.seed)
        codes = codes_drawn(latent, subject.rows, subject.seed + 1)
        gain = mixture().log_prob(codes) - prior.log_prob(codes)
    return told_rows(gain.double().cpu().numpy(), "nats", "difference", components=COMPONENTS)
