"""A finding about data or a model: a message, the evidence and a remedy."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from isthmus.wording import TEXT_WIDTH

SEVERITIES = ("error", "warning", "info")
"""Most severe first: error (data cannot be trained on, or numbers cannot be used), warning, info (worth knowing)."""
RUNNABLE = ("isthmus ", "isthmus.")
"""How a remedy starts that can be run: a command, or a line of Python."""
INDENT = 12
"""Characters before the text of a finding, as before other text of `check`."""


@dataclass(frozen=True)
class Finding:
    """One finding about data or a model.

    Args:
        code: short name, for example "posterior-collapse".
        severity: one of `SEVERITIES`.
        message: what was found, with the most important numbers.
        remedy: how to fix it: a command or a line of Python where possible; several steps in a line each.
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

    @property
    def steps(self) -> list[tuple[str, bool]]:
        """The lines of the remedy, and whether each can be run: a command or a line of Python, to be copied whole."""
        return [(line, line.startswith(RUNNABLE)) for line in self.remedy.splitlines()]

    def __str__(self) -> str:
        """Sentences in lines of `TEXT_WIDTH`; what can be run is one line, however long."""
        lines = wrapped(f"{self.severity + ':':<{INDENT}}{self.message} [{self.code}]")
        lines += wrapped(" " * INDENT + self.cause) if self.cause else []
        for step, runnable in self.steps:
            lines += [f"  {step}"] if runnable else wrapped(" " * INDENT + step)
        if self.consequences:
            codes = ", ".join(finding.code for finding in self.consequences)
            lines += wrapped(f"{'':<{INDENT}}consequences: {codes}")
        return "\n".join(lines)


def wrapped(line: str) -> list[str]:
    """A line, words kept whole, in lines of `TEXT_WIDTH` that begin below its text."""
    look: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}
    return textwrap.wrap(line, TEXT_WIDTH, subsequent_indent=" " * INDENT, **look)


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
