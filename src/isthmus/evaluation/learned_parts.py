"""Whether parts of a model do their work: symbols of a codebook, components of a prior, maps of a flow, classes, and
layers of a code."""

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
from isthmus.metrics.dimensions_in_use import IN_USE_NATS
from isthmus.metrics.metric import HIDDEN, INLINE, Metric
from isthmus.nets.flow import StandardizedFlow
from isthmus.random_streams import generator, seeded

MIXTURE_DRAWS = 2000
"""Draws from a mixture by which its components are told apart."""
MIN_MIXTURE_DRAWS, MAX_MIXTURE_NUMBERS = 100, 2e7
"""Fewer of a large mixture: so many numbers of draws, components and dimensions, at most."""
CODEBOOK = "in the codebook"
"""Label of the number of words that move; levels do not."""
MIN_CLASS_SHARE = 0.1
"""Share of the rows, in units of the share of the labels, from which a class is in use."""


def detail(name: str, label: str, value: Any) -> Metric:
    """A number that belongs to another one."""
    return Metric(name, label, "", "value", value, shown=INLINE, plain=True)


def symbols(context: EvalContext) -> Metric | None:
    """As how many equally frequent symbols those of the rows are: exp of the entropy of their shares; None without.

    Of several codebooks the mean entropy counts.
    """
    qs = [chunk.q for chunk in context.encoded.chunks] if context.has_code else []
    quantizer = getattr(getattr(context.fitted.model.parts().get("posterior"), "family", None), "quantizer", None)
    if quantizer is None or not all(isinstance(q, QuantizedCode) for q in qs):
        return None
    index = torch.cat([q.index for q in qs]).cpu().numpy()  # (n, S)
    books = np.split(index, getattr(quantizer, "depth", 1), 1)
    shares = np.stack([np.bincount(book.ravel(), minlength=quantizer.values) / book.size for book in books])
    perplexity = math.exp(-float((shares * np.log(np.where(shares > 0, shares, 1.0))).sum() / len(books)))
    details = (
        detail("symbols.of", CODEBOOK if quantizer.learns else "levels", quantizer.values),
        Metric("symbols.read", "symbols read", "", "count", books[0].size, shown=HIDDEN, plain=True),
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
    count, numbers = int((weight > 0).sum()), weight.numel() * math.prod(prior.event_shape)
    draws = int(max(MIN_MIXTURE_DRAWS, min(MIXTURE_DRAWS, MAX_MIXTURE_NUMBERS / numbers)))
    with torch.no_grad(), seeded(context.seed, context.fitted.model):
        pick = torch.multinomial(weight, draws, replacement=True, generator=generator(weight.device))
        each = prior.component_log_prob(prior.picked(pick).rsample())  # (M, K)
        nats = each.gather(1, pick[:, None])[:, 0] - (prior.log_weight + each).logsumexp(1)
    apart = min(float(count), math.exp(max(0.0, float(nats.double().mean()))))
    details = (detail("prior_components.of", "components", count),)
    label = "components of the prior that lie apart"
    return Metric("prior_components", label, "", "count of components", apart, digits=".1f", details=details)


def flow_volume(context: EvalContext) -> Metric | None:
    """The largest logarithm (nats) by which a flow changes a volume at a code, per dimension; None without a flow."""
    if not context.is_variational:
        return None
    largest = {"posterior": -1.0, "prior": -1.0}
    with torch.no_grad(), seeded(context.seed, context.fitted.model):
        for chunk in context.scored.chunks:
            z = chunk.q.draw_one(len(chunk.row_index))
            for name, part in (("posterior", chunk.q), ("prior", chunk.prior)):
                if isinstance(part, Flowed):
                    change = part.flow(z, part.context, part.of_draws)[1]
                    if isinstance(part.flow, StandardizedFlow):  # whose units are no deed of its maps
                        change = change + part.flow.log_scale.sum()
                    change = change.abs().nan_to_num(nan=math.inf)
                    largest[name] = max(largest[name], float(change.max()) / z.shape[-1])
    of = max(largest, key=lambda name: largest[name])
    if largest[of] < 0:
        return None
    details = (Metric("flow_volume.of", "flow of the", "", "part", of, shown=HIDDEN, plain=True),)
    label, unit = "largest change of volume by a flow", "nats per dimension"
    return Metric(
        "flow_volume", label, unit, "log-determinant", largest[of], digits=".1f", details=details, shown=HIDDEN
    )


def classes(context: EvalContext) -> Metric | None:
    """How many classes the rows are put into, of a model that learns classes; None for others.

    A class is in use if its share of the rows is at least a tenth of its share of the labels, those of the training
    rows where they are known. None without labels, too.
    """
    qs = [chunk.q for chunk in context.encoded.chunks] if context.has_code else []
    labels, rows = context.schema.labels, context.examples if context.train is None else context.train
    if labels is None or rows.y is None or not qs or not all(isinstance(q, LabelledNormal) for q in qs):
        return None
    given = labels.encode(rows.y)
    known = given[given >= 0]
    if not len(known):
        return None
    expected = np.bincount(known, minlength=len(labels.classes)) / len(known)
    share = torch.cat([q.share for q in qs]).mean(0).double().cpu().numpy()
    used = int((share >= MIN_CLASS_SHARE * expected).sum())
    details = (
        detail("classes.of", "classes", len(share)),
        Metric("classes.share", "share of each", "", "share", tuple(share.tolist()), shown=HIDDEN, plain=True),
        Metric("classes.expected", "share of labels", "", "share", tuple(expected.tolist()), shown=HIDDEN, plain=True),
    )
    return Metric("classes", "classes in use", "", "count", used, details=details)


def layers(context: EvalContext) -> Metric | None:
    """How many layers of a hierarchical code say something of the rows, with the rate of each; None for other codes."""
    sizes = context.fitted.model.code.layers
    if not sizes:
        return None
    per_dim = context.kl_per_dim
    assert per_dim is not None
    rates = [float(part.sum()) for part in np.split(per_dim, np.cumsum(sizes)[:-1])]
    details = [Metric("layers.rates", "rates", "nats", "divergence", tuple(rates), shown=HIDDEN, plain=True)]
    for index, rate in enumerate(rates, 1):
        name, label = f"layers.rate_{index}", f"rate of layer {index}" + (", the lowest" if index == 1 else "")
        details.append(Metric(name, label, "nats", "divergence", rate, plain=True, digits=".2f"))
    used = sum(rate >= IN_USE_NATS for rate in rates)
    of = detail("layers.of", "layers", len(sizes))
    return Metric("layers", "layers of the code in use", "", "count", used, details=(of, *details))
