"""A finding about data or a model: a message, the evidence and a remedy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
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
    """

    code: str
    severity: str
    message: str
    remedy: str
    evidence: dict[str, Any] = field(default_factory=dict)
    cause: str = ""

    def __str__(self) -> str:
        notes = [self.cause, self.remedy] if self.cause else [self.remedy]
        return "\n".join(
            [f"{self.severity + ':':<12}{self.message} [{self.code}]", *(f"{'':<12}{line}" for line in notes)]
        )


def ranked(findings: Iterable[Finding]) -> list[Finding]:
    """Findings sorted by severity, most severe first; the order is otherwise kept."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))
