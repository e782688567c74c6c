"""What is wrong with a trained model: measured first, then said."""

from __future__ import annotations

import math
from typing import Any

from isthmus.data_checks import check
from isthmus.diagnosis import generative_findings, latent_findings, loss_findings, training_findings
from isthmus.diagnosis.context import DiagnosisContext, RunRef
from isthmus.diagnosis.wrap import Wrapped
from isthmus.estimators.base import Estimator
from isthmus.evaluation.evaluate import Evaluation, evaluate, finite
from isthmus.finding import Finding, ranked

FINDINGS = (
    *loss_findings.FINDINGS,
    *training_findings.FINDINGS,
    *generative_findings.FINDINGS,
    *latent_findings.FINDINGS,
)
"""Each looks for one thing, in this order among equally grave ones."""
EARLY = ("posterior-collapse", "too-many-dimensions", "too-few-dimensions", "latent-holes")


def diagnose(
    model: Estimator | Wrapped,
    X: Any,
    y: Any = None,
    *,
    condition: Any = None,
    lengths: Any = None,
    train: Any = None,
    found: Evaluation | None = None,
    command: RunRef | None = None,
    broken: str = "",
) -> list[Finding]:
    """What is wrong with a model on rows X (n, *X) that it was not fitted to, the gravest first.

    `y` (n,) are labels, and the condition of a conditional model; `train` the rows that it was fitted to, or a dict of
    X, condition and lengths: without these nothing is said of overfitting, simple models and copies. `found` is an
    evaluation of the same rows that is there already. Raises InputError for rows that the model cannot read.
    """
    convention = None
    if isinstance(model, Wrapped):
        outside = [about for about in check(X, lengths=lengths, likelihood=told(model)).findings if wrong(about)]
        if outside:
            return [unsupported(about) for about in outside]
        wrapped, model = model, model.on(X, condition, lengths)
        convention = wrapped.convention(model)
    if broken or not finite(model):
        return [diverged(DiagnosisContext(model, {}, [], command, convention, broken))]
    if found is None:
        found = evaluate(model, X, y, condition=condition, lengths=lengths, train=train)
    case = DiagnosisContext(model, found.facts, getattr(model, "history_", []), command, convention)
    if not math.isfinite(case.mean("log_likelihood") or 0.0):
        return [diverged(case)]
    return ranked(settled([finding for look in FINDINGS for finding in look(case)]))


def settled(findings: list[Finding]) -> list[Finding]:
    """Without what a run that was broken off too early says of its code: that may yet change."""
    if not any(finding.code == "not-converged" and finding.severity == "warning" for finding in findings):
        return findings
    return [finding for finding in findings if finding.code not in EARLY or finding.severity == "error"]


def diverged(case: DiagnosisContext) -> Finding:
    """A run that broke off, or numbers that are none: nothing else can be said then."""
    rate = case.model.learning_rate
    return Finding(
        "diverged",
        "error",
        case.broken.partition(";")[0] or "log p(x) is not a number",
        case.again(learning_rate=min(1e-3, rate / 10)),
        {"learning_rate": rate},
        "a step was too long for the loss's slope, or a number too large for its precision",
    )


def told(model: Wrapped) -> str:
    """The likelihood by a name that checks know."""
    return "normal" if model.likelihood == "mse" else model.likelihood


def wrong(finding: Finding) -> bool:
    return finding.code == "outside-support" and finding.severity == "error"


def unsupported(finding: Finding) -> Finding:
    """Data that the likelihood gives no density."""
    cause = "outside its support the loss is no -log p(x|z) and may fall without end: a negative loss here is wrong"
    return Finding(finding.code, finding.severity, finding.message, finding.remedy, finding.evidence, cause)
