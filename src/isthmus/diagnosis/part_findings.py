"""Findings about parts that learn beside the networks: codebooks, components of a prior, flows, classes,
layers, critics."""

from __future__ import annotations

import math
from collections.abc import Iterator

from isthmus.diagnosis.context import DiagnosisContext
from isthmus.estimators.parts_by_name import parse
from isthmus.evaluation.learned_parts import CODEBOOK
from isthmus.finding import Finding
from isthmus.metrics.dimensions_in_use import IN_USE_NATS
from isthmus.priors import PostHocPrior, Vamp
from isthmus.train.progress import CRITIC_WINS
from isthmus.wording import join_names

MIN_NATS_SHARE = 0.25
"""Nats by which symbols, or components, are told apart, as a share of what they could be, below which they are alike.
All of K symbols could be, or a tenth of those that were read; of components as many as rows are."""
MIN_ROW_NATS = 1.0
"""Nats by which rows must be told apart by their codes for that."""
MAX_LOG_VOLUME = 5.0
"""Nats per dimension by which a flow may change a volume: e^5 is 150."""
SMALL_LEARNING_RATE = 1e-4
"""What a remedy for a flow suggests."""
LAST_SHARE = 0.25
"""Share of the epochs, the last ones, over which a critic's loss is averaged."""
OF_DEPENDENCE = {"total_correlation": 3.0, "factor": 10.0, "dip": 10.0, "dip_of_draws": 10.0}
"""Penalties on the dependence of dimensions, and their weight where none is given."""
MIN_ERROR_RATIO, MIN_LOST_SHARE = 2.0, 0.1
"""Squared error of reconstructions beside that of PCA, and share of the variance that PCA alone explains, from which on
these are worse for the penalty."""
LAYERS_WARMUP = 0.5
"""Share of the updates over which the KL weight rises, for layers to come into use."""
MIN_CLASS_ROWS = 20
"""Rows that should be of a class, by its share of the labels: of fewer, none may be by chance."""
MORE_PENALTY, DEFAULT_PENALTY = 4.0, 10.0
"""Factor of a penalty's weight in a remedy, and the weight where none was given or none at all."""


def codebook_collapse(context: DiagnosisContext) -> Iterator[Finding]:
    """Few words of a codebook are in use."""
    used, words, read = (context.value(f"symbols{key}") for key in ("", ".of", ".read"))
    of = context.metric("symbols.of")
    if used is None or of is None or of.label != CODEBOOK:
        return
    if math.log(used) >= MIN_NATS_SHARE * math.log(max(1.0, min(words, read / 10))):
        return
    yield Finding(
        "codebook-collapse",
        "warning",
        f"few words of the codebook are in use: as if {used:.1f} of {words:,} were, all equally often",
        context.retrain(quantization="fsq(5)"),
        {"perplexity": used, "words": words},
        "the encoder's numbers lie near few words, and what the others might say of a row is lost; levels on a grid "
        "cannot fall out of use",
    )


def pseudo_inputs_alike(context: DiagnosisContext) -> Iterator[Finding]:
    """The pseudo-inputs of a prior have nearly the same posterior, while rows do not."""
    apart, known = context.value("prior_components"), context.value("mutual_information")
    if apart is None or not isinstance(context.fitted.model.parts().get("prior"), Vamp):
        return
    count = context.value("prior_components.of")
    of_rows = min(known or 0.0, math.log(count))
    if of_rows < MIN_ROW_NATS or math.log(apart) >= MIN_NATS_SHARE * of_rows:
        return
    yield Finding(
        "pseudo-inputs-alike",
        "warning",
        f"the pseudo-inputs of the prior are all alike: as if there were {apart:.1f} of {count:,}",
        context.retrain(prior="mixture(50)"),
        {"apart": apart, "components": count, "mutual_information": known},
        "the prior is then one normal, and draws from it are decoded to rows in between",
    )


def flow_explodes(context: DiagnosisContext) -> Iterator[Finding]:
    """A flow enlarges or shrinks volumes beyond reason."""
    volume = context.value("flow_volume")
    if volume is None or volume <= MAX_LOG_VOLUME:
        return
    of = context.value("flow_volume.of")
    slower = {"learning_rate": SMALL_LEARNING_RATE}
    cause = "updates were so large that maps became nearly flat or nearly vertical somewhere"
    if of == "posterior":
        remedy = context.first_effective(slower, {"posterior": "full_normal"})
    elif isinstance(context.fitted.model.parts().get("prior"), PostHocPrior):
        remedy = context.retrain(prior="refit(full_mixture(10))")
        cause = "the flow was fitted to codes that lie too close together, or too far apart, for its maps"
    else:
        remedy = context.first_effective(slower, {"prior": "mixture(50)"})
    yield Finding(
        "flow-explodes",
        "warning",
        f"the {of}'s flow changes volumes by up to e^{volume:.1f} in each dimension, where densities are rounding",
        remedy,
        {"log_volume": volume},
        cause,
    )


def classes_unused(context: DiagnosisContext) -> Iterator[Finding]:
    """A model that learns classes puts no row into some of them."""
    used, count = context.value("classes"), context.value("classes.of")
    if used is None or used >= count:
        return
    shares, expected = context.value("classes.share"), context.value("classes.expected")
    least = min(range(count), key=lambda k: shares[k] / max(expected[k], 1e-9))
    if context.rows * expected[least] < MIN_CLASS_ROWS:
        return
    weight = float(context.fitted.fields.get("label_weight", 1.0))
    yield Finding(
        "classes-unused",
        "warning",
        f"{count - used} of {count} classes are hardly ever assigned: class number {least} has "
        f"{expected[least]:.2%} of the labels and gets {shares[least]:.2%} of the rows",
        context.retrain(label_weight=10 * max(1.0, weight)),
        {"used": used, "classes": count, "shares": shares},
        "rows without a label were explained by other classes before the few labels had taught these",
    )


def layers_unused(context: DiagnosisContext) -> Iterator[Finding]:
    """Layers of a code say nothing of the rows, while the lowest one does."""
    rates = context.value("layers.rates")
    if rates is None or rates[0] < IN_USE_NATS or min(rates) >= IN_USE_NATS:
        return
    unused = [index for index, rate in enumerate(rates) if rate < IN_USE_NATS]
    sizes = context.fitted.model.code.layers
    kept = tuple(size for index, size in enumerate(sizes) if index and index not in unused)
    several = len(unused) > 1
    slower = [{"warmup": LAYERS_WARMUP}] if "warmup" in context.effective_fields else []
    names = f"layer{'s' if several else ''} {join_names([str(index + 1) for index in unused])} of {len(rates)}"
    yield Finding(
        "layers-unused",
        "warning",
        f"{names} of the code (1 is the lowest) {'are' if several else 'is'} not in use: "
        f"{'their rates are' if several else 'its rate is'} below {IN_USE_NATS:g} nats",
        context.first_effective(*slower, *([{"upper_dims": kept}] if kept else []), {"bound": "elbo"}),
        {"rates": list(rates)},
        "layers whose prior is rough at first are not worth their rate, and are then switched off for good",
    )


def penalty_hides_reconstruction(context: DiagnosisContext) -> Iterator[Finding]:
    """The weight of a penalty on dependence between dimensions leaves the code little of the rows."""
    penalty = context.fitted.fields.get("penalty")
    name, arguments = parse(penalty, "penalty") if isinstance(penalty, str) else ("none", ())
    mean, pca = (context.value(f"baselines.{each}.scaled") for each in ("mean", "pca"))
    error = context.value("reconstruction.scaled")
    if name not in OF_DEPENDENCE or error is None or not mean or pca is None:
        return
    explained, linear = 1 - error / mean, 1 - pca / mean
    if error < MIN_ERROR_RATIO * pca or explained > linear - MIN_LOST_SHARE:
        return
    weight = float(arguments[0]) if arguments else OF_DEPENDENCE[name]
    if not weight:
        return
    others = "".join(f", {each:g}" for each in arguments[1:])
    yield Finding(
        "penalty-hides-reconstruction",
        "warning",
        f"with penalty='{penalty}' reconstructions explain {max(0.0, explained):.0%} of the variance, where PCA with "
        f"as many dimensions explains {linear:.0%}",
        context.retrain(penalty=f"{name}({weight / MORE_PENALTY:g}{others})"),
        {"explained": explained, "pca": linear, "weight": weight},
        "codes that say little of the rows are independent at no cost; a smaller weight lets them say more",
    )


def critic_wins(context: DiagnosisContext) -> Iterator[Finding]:
    """The critic of a penalty tells codes from what they should be like, at the end of training."""
    losses = [entry["critic_loss"] for entry in context.fitted.history if "critic_loss" in entry]
    penalty = context.fitted.fields.get("penalty")
    if not losses or not isinstance(penalty, str):
        return
    last = losses[-max(1, int(LAST_SHARE * len(losses))) :]
    loss = sum(last) / len(last)
    name, arguments = parse(penalty, "penalty")
    if loss >= CRITIC_WINS.get(name, 0.0):
        return
    if name == "gan":
        yield row_critic_wins(context, loss, *(float(each) for each in arguments))
        return
    weight = MORE_PENALTY * arguments[0] if arguments and arguments[0] else MORE_PENALTY * DEFAULT_PENALTY
    of = "codes from draws of the prior" if name == "adversarial" else "codes from codes of independent dimensions"
    yield Finding(
        "critic-wins",
        "warning",
        f"the critic tells {of}, with a loss of {loss:.2f} nats where guessing costs {2 * math.log(2):.2f}",
        context.retrain(penalty=f"{name}({weight:g})"),
        {"critic_loss": loss},
        "the penalty weighs too little against the reconstruction for the encoder to answer",
    )


def row_critic_wins(context: DiagnosisContext, loss: float, w: float = 1.0, a: float = 1.0) -> Finding:
    """A critic of rows tells decoded ones so surely that its verdict has hardly a gradient."""
    return Finding(
        "critic-wins",
        "warning",
        f"the critic tells rows from decoded ones, with a loss of {loss:.2f} nats where guessing costs "
        f"{2 * math.log(2):.2f}",
        context.retrain(penalty=f"gan({w:g}, {MORE_PENALTY * a or 1.0:g})"),
        {"critic_loss": loss},
        "its verdict weighs too little against the likelihood for the decoder to answer",
    )
