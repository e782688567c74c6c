"""Findings about training: overfitting, not converged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from isthmus.diagnosis.context import DiagnosisContext
from isthmus.diagnosis.symptoms import (
    MEASURED_MIN_ROWS,
    SMALL_MARGIN_NATS,
    far_worse_than_mean,
    hardly_trained,
    harmful_learning_rate,
    worse_than_pca,
    worst_linear,
)
from isthmus.estimators.hyperparameters import is_auto
from isthmus.finding import Finding
from isthmus.wording import pluralize

EARLY_STOPPING_FRACTION = 0.1
"""Share of the rows on which a remedy for overfitting validates, to stop where these no longer improve."""
CONTRACTION = 0.1
"""Weight of the penalty on the encoder's derivatives that a remedy for an overfitted autoencoder adds."""
NOISE = "gaussian(0.1)"
"""Corruption of the input that a remedy for overfitting adds."""
LINEAR_FIELDS: dict[str, Any] = {"hidden": (), "epochs": "auto"}
"""A linear model, trained for as long as it needs."""
MIN_GAP_STD = 0.5
"""Gap between training and held-out rows, in standard deviations of log p(x) over rows, that counts as overfitting."""
MIN_EXCESS_PAIRS = 0.2
"""Share of pairs above 1/2 in which the training row scores higher that counts as overfitting."""
MIN_ERROR_RATIO = 1.5
"""Ratio of held-out to training squared error that counts as overfitting."""
MIN_GAP_SIGMA = 3.0
"""Standard errors by which the gap must differ from 0."""
MIN_LATE_DECREASE = 0.05
"""Share of the total decrease of the loss in the second half of training above which training has not converged."""
LATE_DECREASE_WARN = 0.2
"""The same share from which the finding is a warning."""


def overfitting(context: DiagnosisContext) -> Iterator[Finding]:
    """Training rows score much better than held-out rows."""
    if context.rows < MEASURED_MIN_ROWS:
        return
    gap, error = context.value("training.log_likelihood_gap"), context.error("training.log_likelihood_gap")
    if gap is not None:
        higher, chance = (read("training.log_likelihood_gap.higher") for read in (context.value, context.error))
        large = gap > max(MIN_GAP_SIGMA * error, MIN_GAP_STD * context.value("log_likelihood.deviation"))
        ranked_higher = higher is not None and higher - 0.5 > max(MIN_EXCESS_PAIRS, MIN_GAP_SIGMA * chance)
        if gap <= 0 or not (large or ranked_higher):
            return
        message = f"the model overfits: training rows score {gap:.2f} nats higher than held-out rows"
        evidence = {"gap": gap, "standard_error": error}
    else:
        test, train = context.value("reconstruction"), context.value("training.squared_error")
        gap, error = context.value("training.squared_error_gap"), context.error("training.squared_error_gap")
        if test is None or train is None or gap is None:
            return
        if gap < MIN_GAP_SIGMA * error or test < MIN_ERROR_RATIO * train:
            return
        message = f"the model overfits: the squared error is {train:.4g} on training rows, {test:.4g} on held-out rows"
        evidence = {"training": train, "held_out": test}
    yield Finding(
        "overfitting",
        "warning",
        message,
        less_overfitting(context),
        evidence,
        "the network is too large for this many rows, or was trained for too long",
    )


def less_overfitting(context: DiagnosisContext) -> str:
    """What improves other rows: a penalty or PCA's own model for an autoencoder, early stopping or a linear model else.

    Autoencoders of few rows do not gain from early stopping, which takes rows away from them.
    """
    if context.convention is not None:
        return smaller_network(context)
    if not context.is_generative:
        penalty = {"contraction": CONTRACTION} if context.fitted.fields.get("contraction") == 0 else {}
        return context.first_effective(
            LINEAR_FIELDS if worse_than_pca(context) else penalty, penalty, {"corruption": NOISE}
        )
    if context.fitted.fields.get("validation_fraction") == 0:
        return context.retrain(validation_fraction=EARLY_STOPPING_FRACTION)
    if worst_linear(context) is not None and context.fitted.network_kind == "mlp":
        best = context.value("linear_dimensions")
        size = {"latent_dim": best} if best and context.latent_dim and best < context.latent_dim else {}
        return context.first_effective({**LINEAR_FIELDS, **size}, {"corruption": NOISE})
    return smaller_network(context)


def smaller_network(context: DiagnosisContext) -> str:
    """Retrain with a smaller network or with corrupted input."""
    conv = context.fitted.network_kind == "conv"
    field, given = ("channels", context.fitted.fields.get("channels", ())) if conv else ("hidden", context.hidden)
    widths = () if is_auto(given) else tuple(max(8, width // 4) for width in given)
    return context.first_effective(
        {field: widths} if widths and context.convention is None else {}, {"corruption": "gaussian(0.1)"}
    )


def learning_rate(context: DiagnosisContext) -> Iterator[Finding]:
    """The learning rate is too high, although the loss stayed finite."""
    if not harmful_learning_rate(context):
        return
    rate, smaller = float(context.fitted.fields["learning_rate"]), context.corrections["learning_rate"]
    yield Finding(
        "learning-rate",
        "warning",
        f"the learning rate of {rate:g} is too high: training stayed finite, but the model is worse than a linear one",
        context.retrain(learning_rate=smaller),
        {"learning_rate": rate},
        "each step overshoots, so that the weights jump around or leave the range in which they can be trained",
    )


def not_converged(context: DiagnosisContext) -> Iterator[Finding]:
    """Training was too short: hardly any updates, or the loss was still decreasing when it ended."""
    if hardly_trained(context):
        last = context.fitted.history[-1]
        yield Finding(
            "not-converged",
            "warning",
            f"the model was not trained long enough: {pluralize(last.get('step', 0), 'update')} in "
            f"{pluralize(len(context.fitted.history), 'epoch')}",
            context.retrain(epochs="auto"),
            {"updates": last.get("step", 0), "epochs": len(context.fitted.history)},
            "the networks are still close to where they started, so nothing else can be said of them",
        )
    elif not far_worse_than_mean(context):  # which more training, on this scale, would not mend
        yield from still_decreasing(context)


def still_decreasing(context: DiagnosisContext) -> Iterator[Finding]:
    """The loss was still decreasing when training ended."""
    key = "valid_loss" if any("valid_loss" in record for record in context.fitted.history) else "loss"
    records = [
        record for record in context.fitted.history if key in record and record["progress"] >= max(context.warmup, 0.1)
    ]
    if len(records) < 4:
        return
    first, last, best = records[0], records[-1], min(records, key=lambda record: record[key])
    # If the best epoch is long past, patience ended training, or more of it would not have helped.
    if best["progress"] < 0.9 * last["progress"]:
        return
    middle = min(records, key=lambda record: abs(record["progress"] - 0.5 * last["progress"]))
    total, late = first[key] - best[key], middle[key] - best[key]
    if total <= 0 or late < MIN_LATE_DECREASE * total or best is middle:
        return
    if context.is_generative and late < SMALL_MARGIN_NATS:  # a start that is nearly the optimum leaves little to learn
        return
    evidence: dict[str, Any] = {"total_decrease": total, "second_half_decrease": late, "epochs": last["epoch"]}
    # The density of a number that repeats has no upper bound: that the loss goes on falling then says nothing.
    unbounded = context.density_is_unbounded
    yield Finding(
        "not-converged",
        "warning" if late > LATE_DECREASE_WARN * total and not unbounded else "info",
        f"training has not converged: the loss fell by {late:.3g} nats in the second half of {last['epoch']:,} epochs, "
        f"{late / total:.0%} of its total decrease",
        next(finding.remedy for finding in context.data_findings if finding.code == "repeated-values")
        if unbounded
        else context.retrain(epochs=2 * last["epoch"]),
        evidence,
        "columns of few values have a density without an upper bound, which rises as long as a model is trained"
        if unbounded
        else "training ended while the loss was still decreasing; twice the epochs should lower it about as much again",
    )
