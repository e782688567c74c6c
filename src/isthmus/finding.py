"""A finding about data or a model: a message, the evidence and a remedy."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

SEVERITIES = ("error", "warning", "info")
"""Most severe first: error (data cannot be trained on, or numbers cannot be used), warning, info (worth knowing)."""


@dataclass(frozen=True)
class Finding:
    """One finding about data or a model.

    Args:
        code: short name, for example "posterior-collapse".
        severity: one of `SEVERITIES`.
        message: what was found, with the most important numbers.
        remedy: how to fix it: a command or a line of Python where possible.
        evidence: the numbers that the finding rests on, by name.
        cause: why it happens, in one sentence; empty if the message says it.
        consequences: findings that this one explains, and that go away with it.
    """

    code: str
    severity: str
    message: str
    remedy: str
    evidence: dict[str, Any] = field(default_factory=dict)
    cause: str = ""
    consequences: list[Finding] = field(default_factory=list)

    def __str__(self) -> str:
        notes = [self.cause, self.remedy] if self.cause else [self.remedy]
        if self.consequences:
            notes.append(f"consequences: {', '.join(finding.code for finding in self.consequences)}")
        return "\n".join(
            [f"{self.severity + ':':<12}{self.message} [{self.code}]", *(f"{'':<12}{line}" for line in notes)]
        )


def ranked(findings: Iterable[Finding]) -> list[Finding]:
    """Findings sorted by severity, most severe first; the order is otherwise kept."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def fold(findings: Iterable[Finding], follows: Mapping[str, Collection[str]]) -> list[Finding]:
    """Findings with those that follow from another one under their cause; most severe first, then in order of causes.

    A cause is as severe as the most severe of its consequences. What follows from a consequence follows from its cause.
    A finding that is only worth knowing explains no problem.

    Args:
        findings: in the order in which equally severe ones are reported, after all causes.
        follows: the codes that each code explains; the first of two codes that explain each other is the cause.

    >>> several = [Finding("fever", "error", "", ""), Finding("flu", "warning", "", "")]
    >>> [(f.code, f.severity, [c.code for c in f.consequences]) for f in fold(several, {"flu": ("fever",)})]
    [('flu', 'error', ['fever'])]
    """
    order = {code: i for i, code in enumerate(follows)}
    remaining = sorted(findings, key=lambda finding: order.get(finding.code, len(order)))
    causes: list[Finding] = []
    while remaining:
        cause, *remaining = remaining
        explained = consequences_of(cause, remaining, follows)
        remaining = [finding for finding in remaining if finding not in explained]
        severity = min((cause.severity, *(f.severity for f in explained)), key=SEVERITIES.index)
        causes.append(replace(cause, severity=severity, consequences=ranked(explained)))
    return ranked(causes)


def consequences_of(cause: Finding, others: Iterable[Finding], follows: Mapping[str, Collection[str]]) -> list[Finding]:
    """Those of the other findings that follow from a cause, directly or through another of them."""
    if cause.severity == SEVERITIES[-1]:
        return []
    codes, others = set(follows.get(cause.code, ())), list(others)
    for finding in others:
        if finding.code in codes and finding.severity != SEVERITIES[-1]:
            codes |= set(follows.get(finding.code, ()))
    return [finding for finding in others if finding.code in codes]
