"""Whether parts of a model do their work: symbols of a codebook, components of a prior, maps of a flow, classes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from isthmus.distributions.flow import Flowed
from isthmus.distributions.labelled import LabelledNormal
from isthmus.distributions.latent import Mixture
from isthmus.distributions.quantized import QuantizedCode
from isthmus.evaluation.context import EvalContext
from isthmus.metrics.metric import HIDDEN, INLINE, Metric
from isthmus.random_streams import generator, seeded

MIXTURE_DRAWS = 2000
"""Draws from a mixture by which its components are told apart."""
CODEBOOK = "in the codebook"
"""Label of the number of words that move; levels do not."""
MIN_CLASS_SHARE = 0.1
"""Share of the rows, in units of the share that each class would have of equally many, from which a class is in use."""


def detail(name: str, label: str, value: Any) -> Metric:
    """A number that belongs to another one."""
    return Metric(name, label, "", "value", value, shown=INLINE, plain=True)


def symbols(context: EvalContext) -> Metric | None:
    """As how many equally frequent symbols those of the rows are: exp of the entropy of their shares; None without."""
    qs = [chunk.q for chunk in context.encoded.chunks] if context.has_code else []
    quantizer = getattr(getattr(context.fitted.model.parts().get("posterior"), "family", None), "quantizer", None)
    if quantizer is None or not all(isinstance(q, QuantizedCode) for q in qs):
        return None
    index = torch.cat([q.index.flatten() for q in qs]).cpu().numpy()
    share = np.bincount(index, minlength=quantizer.values) / len(index)
    perplexity = math.exp(-float((share[share > 0] * np.log(share[share > 0])).sum()))
    details = (
        detail("symbols.of", CODEBOOK if quantizer.learns else "levels", quantizer.values),
        Metric("symbols.read", "symbols read", "", "count", len(index), shown=HIDDEN, plain=True),
    )
    label = "symbols in use (perplexity)"
    return Metric("symbols", label, "", "perplexity", perplexity, digits=".1f", details=details)


def prior_components(context: EvalContext) -> Metric | None:
    """As how many components that lie apart those of a mixture prior are.

    exp of the mutual information of a component and its draws, E[log q(z given k) - log p(z)], from 1 to their number.
    None for other priors.
    """
    prior = context.scored.chunks[0].prior if context.is_variational else None
    if not isinstance(prior, Mixture) or prior.batch_shape:
        return None
    weight = prior.log_weight.exp()
    with torch.no_grad(), seeded(context.seed, context.fitted.model):
        pick = torch.multinomial(weight, MIXTURE_DRAWS, replacement=True, generator=generator(weight.device))
        each = prior.component_log_prob(prior.picked(pick).rsample())  # (M, K)
        nats = each.gather(1, pick[:, None])[:, 0] - (prior.log_weight + each).logsumexp(1)
    apart = min(float(len(weight)), math.exp(max(0.0, float(nats.double().mean()))))
    details = (detail("prior_components.of", "components", len(weight)),)
    label = "components of the prior that lie apart"
    return Metric("prior_components", label, "", "count of components", apart, digits=".1f", details=details)


def flow_volume(context: EvalContext) -> Metric | None:
    """The largest logarithm (nats) by which a flow changes a volume at a code, per dimension; None without a flow."""
    if not context.is_variational:
        return None
    largest: list[float] = []
    with torch.no_grad(), seeded(context.seed, context.fitted.model):
        for chunk in context.scored.chunks:
            z = chunk.q.draw_one(len(chunk.row_index))
            for part in (chunk.q, chunk.prior):
                if isinstance(part, Flowed):
                    log_det = part.flow(z, part.context, part.of_draws)[1]
                    largest.append(float(log_det.abs().nan_to_num(nan=math.inf).max()) / z.shape[-1])
    if not largest:
        return None
    label = "largest change of volume by a flow"
    return Metric(
        "flow_volume", label, "nats per dimension", "log-determinant", max(largest), digits=".1f", shown=HIDDEN
    )


def classes(context: EvalContext) -> Metric | None:
    """How many classes the rows are put into, of a model that learns classes; None for others."""
    qs = [chunk.q for chunk in context.encoded.chunks] if context.has_code else []
    if not qs or not all(isinstance(q, LabelledNormal) for q in qs):
        return None
    share = torch.cat([q.share for q in qs]).mean(0).double().cpu().numpy()
    used = int((share * len(share) >= MIN_CLASS_SHARE).sum())
    details = (
        detail("classes.of", "classes", len(share)),
        Metric("classes.share", "share of each", "", "share", tuple(share.tolist()), shown=HIDDEN, plain=True),
    )
    return Metric("classes", "classes in use", "", "count", used, details=details)
