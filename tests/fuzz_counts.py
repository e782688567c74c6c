"""What became of broken inputs, counted over all tests: `conftest` shows it at the end of a run."""

from __future__ import annotations

from collections import Counter

OUTCOMES: Counter[str] = Counter()
"""Of the running test: how many inputs were refused, read, trained on, ..."""


def counted(outcome: str, number: int = 1) -> str:
    """The outcome, after it was counted."""
    OUTCOMES[outcome] += number
    return outcome
