"""The verdict on a model, in three to five sentences."""

from __future__ import annotations

import math

from isthmus.evaluation.baseline_metrics import CLEAR_ERRORS
from isthmus.evaluation.baselines import LINEAR_DENSITIES
from isthmus.evaluation.result import Evaluation
from isthmus.finding import Finding, ranked
from isthmus.metrics.metric import Metric
from isthmus.plot.text import number, with_error
from isthmus.wording import pluralize

VISIBLE_SHARE = 0.02
"""Share of a squared error below which a difference is invisible, however certain it is."""
COMPARISONS = {1: "better than", 0: "not clearly different from", -1: "worse than"}
KINDS = {
    "probability": "This is the logarithm of a probability: at most 0, higher is better",
    "density": (
        "This is the logarithm of a density in the data's units: it may be positive, higher is better, and only "
        "densities of the same columns can be compared"
    ),
    "mixed measure": (
        "Some columns have a probability and others a density, so it can only be compared with models of the same "
        "columns and likelihoods; higher is better"
    ),
    "pseudo-probability": (
        "A Bernoulli likelihood of numbers between 0 and 1 is not a density, so it can only be compared with the same "
        "likelihood"
    ),
}
"""What log p(x) is, by the kind of the metric."""


def verdict(evaluation: Evaluation, findings: list[Finding], *, rows: str, closed_form: bool = False) -> list[str]:
    """Sentences: whether the model is better than the linear one; its numbers; the most severe finding.

    Args:
        evaluation: what was measured.
        findings: what was diagnosed.
        rows: which rows it was measured on, for example "the 100 test rows".
        closed_form: whether the model was solved exactly, as only the linear model can be.
    """
    sentences = [
        headline(evaluation, closed_form),
        likelihood(evaluation, rows),
        reconstruction(evaluation),
        dimensions_in_use(evaluation),
        most_severe(findings),
    ]
    return [sentence for sentence in sentences if sentence]


def headline(evaluation: Evaluation, closed_form: bool = False) -> str:
    """Better or worse than the best linear model, in a few words; and than the best baseline, if that is another."""
    name, log_px, others = evaluation.model, evaluation.get("log_likelihood"), density_baselines(evaluation)
    if log_px is not None and not is_finite(log_px):
        return f"{name} cannot be used: its log p(x) is not a number."
    if log_px is not None and "ppca" in others:
        better = {key: compared(other) for key, other in others.items()}
        best, linear = best_of(others), best_linear(others)
        text = f"{name} is {COMPARISONS[better[linear]]} {label_of(others[linear])} by log p(x)"
        if closed_form:
            text = f"{name} is the linear model itself"
        elif len(better) > 1 and all(sign > 0 for sign in better.values()):
            text = f"{name} is better than every baseline by log p(x)"
        if (closed_form or best != linear) and better[best] < 0:
            also = better[linear] < 0 and not closed_form
            text += f", {'and' if also else 'but'} worse than {with_article(others[best])}"
        given = " (the model is given the condition, the baselines are not)" if is_conditional(evaluation) else ""
        return f"{text}{given}."
    pca = evaluation.get("baselines.pca")
    if pca is None or evaluation.get("reconstruction") is None:
        return f"{name} was evaluated without a linear model to compare it with."
    sign = compared(pca)
    how = {1: "better than", 0: "about as well as", -1: "worse than"}[sign]
    return f"{name} reconstructs {how} PCA."


def likelihood(evaluation: Evaluation, rows: str) -> str:
    """log p(x) beside the baselines', and what its unit means."""
    log_px = evaluation.get("log_likelihood")
    if log_px is None:
        return "It has no log p(x), only a squared error: it cannot say how probable a row is."
    if not is_finite(log_px):
        return ""
    text = f"Mean {log_px.label} over {rows}: {shown(log_px)} nats"
    others = density_baselines(evaluation)
    if "ppca" in others:
        size = evaluation.value("baselines.ppca.latent_dim")
        text += f"; {label_of(others['ppca'])} with {pluralize(size, 'dimension')}: {shown(others['ppca'])}"
        best = best_of(others)
        if best != "ppca":
            text += f"; the best baseline, {with_article(others[best])}: {shown(others[best])}"
        if others["ppca"].note:
            text += f" (baselines are {others['ppca'].note})"
    bits = evaluation.value("log_likelihood.bits_per_dim")
    per_dim = "" if bits is None else f"; it amounts to {number(bits, 3)} bits per dimension"
    return f"{text}. {KINDS.get(log_px.kind, log_px.kind)}{per_dim}."


def reconstruction(evaluation: Evaluation) -> str:
    """The squared error beside PCA's and the mean's."""
    error, pca, mean = (evaluation.get(name) for name in ("reconstruction", "baselines.pca", "baselines.mean"))
    if error is None:
        return ""
    over = "features"
    if evaluation.value("reconstruction.scaled.uneven"):  # in the data's units one wide column would dominate
        scaled = (None if metric is None else evaluation.get(f"{metric.name}.scaled") for metric in (error, pca, mean))
        (error, pca, mean), over = scaled, "scaled columns"
        assert error is not None
    text = f"Reconstruction error: {shown(error)} (squared, summed over {over})"
    if pca is None:
        return f"{text}."
    name = f"PCA with {pluralize(evaluation.value('baselines.pca.latent_dim'), 'dimension')}"
    if not pca.value:
        text += f"; {name} has none, because the rows vary in no more directions"
    else:
        how = {0: "about as much as", 1: "less than", -1: "more than"}[compared(evaluation["baselines.pca"])]
        text += f", {how} {name} ({shown(pca)})"
    if mean is not None and value_of(mean):
        explained = 1 - value_of(error) / value_of(mean)
        share = f"{explained:.0%}" if explained <= 0.995 else f"{explained:.1%}"
        text += f"; {share} of the variance is explained" if explained > 0 else "; predicting the mean is no worse"
    return f"{text}."


def dimensions_in_use(evaluation: Evaluation) -> str:
    """How many dimensions of the code are in use."""
    count, size = evaluation.value("active_units"), evaluation.value("active_units.of")
    if count is None:
        return ""
    if not count:
        return f"None of the {pluralize(size, 'dimension')} of the code is in use: the code says nothing about a row."
    if size == 1:
        return "The only dimension of the code is in use."
    return f"{'All' if count == size else f'{count} of'} {size} dimensions of the code are in use."


def most_severe(findings: list[Finding]) -> str:
    """The most severe finding, and how many more there are."""
    if not findings:
        return "No problems were found."
    first, *others = ranked(findings)
    message = first.message if first.message.endswith((".", "!", "?")) else f"{first.message}."
    below = f" ({pluralize(len(others), 'more finding')} below.)" if others else ""
    return f"Most severe finding: {message}{below}"


# -------------------------------------------------------------------- comparing


def density_baselines(evaluation: Evaluation) -> dict[str, Metric]:
    """The baselines with which log p(x) can be compared."""
    baselines = evaluation.group("baselines").items()
    return {key: metric for key, metric in baselines if metric.unit == "nats" and is_finite(metric)}


def best_of(baselines: dict[str, Metric]) -> str:
    """The baseline of the highest log p(x); the first of equal ones."""
    return max(baselines, key=lambda key: value_of(baselines[key]))


def best_linear(baselines: dict[str, Metric]) -> str:
    """The linear baseline of the highest log p(x)."""
    return best_of({key: baselines[key] for key in LINEAR_DENSITIES if key in baselines})


def compared(baseline: Metric) -> int:
    """1 if the model is clearly better than a baseline, -1 if it is clearly worse, else 0; by the margin row by row."""
    details = {detail.key: detail for detail in baseline.details}
    margin = details.get("margin")
    if margin is None or not is_finite(margin):
        return 0
    invisible = VISIBLE_SHARE * value_of(details["scaled"]) if "scaled" in details else 0.0
    limit = max(CLEAR_ERRORS * (margin.standard_error or 0.0), invisible)
    return 0 if abs(value_of(margin)) <= limit else 1 if value_of(margin) > 0 else -1


def is_conditional(evaluation: Evaluation) -> bool:
    return bool(evaluation.value("log_likelihood.given_condition"))


def is_finite(metric: Metric) -> bool:
    return isinstance(metric.value, int | float) and math.isfinite(metric.value)


def value_of(metric: Metric) -> float:
    """The value of a metric that is a number."""
    assert isinstance(metric.value, int | float)
    return float(metric.value)


def label_of(baseline: Metric) -> str:
    """The name of a baseline."""
    return baseline.label.removeprefix("baseline: ")


def with_article(baseline: Metric) -> str:
    """The name of a baseline in a sentence: methods have no article, models have one."""
    label = label_of(baseline)
    return f"a {label}" if label.endswith("mixture") else label


def shown(metric: Metric) -> str:
    """Value and standard error for reading."""
    return with_error(value_of(metric), metric.standard_error)
