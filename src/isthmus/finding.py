"""What was found, of data or of a model, and the line that mends it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

SEVERITIES = ("error", "warning", "info")
"""From what must be mended (data that cannot be trained on, numbers that cannot be used) to what is worth knowing."""


@dataclass(frozen=True)
class Finding:
    """Something that is worth knowing, with the numbers that show it."""

    code: str
    severity: str
    message: str
    remedy: str
    evidence: dict[str, Any] = field(default_factory=dict)
    cause: str = ""
    """Why it is so, in a sentence, where the message does not say it."""

    def __str__(self) -> str:
        more = [self.cause, self.remedy] if self.cause else [self.remedy]
        return "\n".join(
            [f"{self.severity + ':':<12}{self.message} [{self.code}]", *(f"{'':<12}{line}" for line in more)]
        )


def ranked(findings: Iterable[Finding]) -> list[Finding]:
    """The gravest first, otherwise in the order in which they came."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))
