"""Findings about the course of training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from isthmus.diagnosis.context import DiagnosisContext
from isthmus.finding import Finding

LARGE = 0.5
"""Standard deviations of single rows by which training rows are better, from which on they are known by heart."""
TIMES = 1.5
"""The same of squared errors, as a ratio."""
FEWEST = 10
"""Rows under which an error bar itself is not to be trusted."""
STILL = 0.05
"""Share of all that the loss fell by which it fell in the second half: more says that it was not done."""


def overfitting(case: DiagnosisContext) -> Iterator[Finding]:
    """Training rows that are far better known than others."""
    gap, error = case.mean("training", "log_likelihood_gap"), case.error("training", "log_likelihood_gap")
    if gap is not None:
        if gap < max(3 * error, LARGE * case.facts["log_likelihood"]["deviation"]) or case.facts["rows"] < FEWEST:
            return
        told, evidence = f"training rows have {gap:.2f} nats more than others", {"gap": gap, "standard_error": error}
    else:
        held, seen = case.mean("reconstruction"), case.mean("training", "squared_error")
        gap, error = case.mean("training", "squared_error_gap"), case.error("training", "squared_error_gap")
        if (
            held is None
            or seen is None
            or gap is None
            or gap < 3 * error
            or held < TIMES * seen
            or case.facts["rows"] < FEWEST
        ):
            return
        told = f"the squared error of training rows is {seen:.4g}, of others {held:.4g}"
        evidence = {"training": seen, "others": held}
    yield Finding(
        "overfitting",
        "warning",
        told,
        smaller(case),
        evidence,
        "the network has learned rows by heart: it is large for so few, or was trained too long on them",
    )


def smaller(case: DiagnosisContext) -> str:
    """A smaller network, or one that sees damaged rows."""
    model = case.model
    field = "channels" if model.fitted_.network_kind == "conv" else "hidden"
    fewer = tuple(max(8, width // 4) for width in getattr(model, field))
    return case.first({field: fewer} if fewer and case.convention is None else {}, {"corruption": "gaussian(0.1)"})


def unfinished(case: DiagnosisContext) -> Iterator[Finding]:
    """A loss that was still falling when the run ended."""
    key = "valid_loss" if any("valid_loss" in record for record in case.history) else "loss"
    warmup = case.model.warmup if case.density else 0.0
    known = [record for record in case.history if key in record and record["progress"] >= max(warmup, 0.1)]
    if len(known) < 4:
        return
    first, last, best = known[0], known[-1], min(known, key=lambda record: record[key])
    # The best came long before the end: patience ended the run, or more of it would only have hurt.
    if best["progress"] < 0.9 * last["progress"]:
        return
    half = min(known, key=lambda record: abs(record["progress"] - 0.5 * last["progress"]))
    fallen, late = first[key] - best[key], half[key] - best[key]
    if fallen <= 0 or late < STILL * fallen or best is half:
        return
    evidence: dict[str, Any] = {"fallen": fallen, "in_the_second_half": late, "epochs": last["epoch"]}
    yield Finding(
        "not-converged",
        "warning" if late > 4 * STILL * fallen else "info",
        f"the loss was still falling: by {late:.3g} nats in the second half of {last['epoch']:,} epochs, "
        f"{late / fallen:.0%} of all that it fell",
        case.again(epochs=2 * last["epoch"]),
        evidence,
        "twice the epochs would bring about as much again",
    )


FINDINGS = (overfitting, unfinished)
