"""Checks of data before training: what they are, which defaults apply, what is wrong with them."""

from __future__ import annotations

from isthmus.data_checks.run_checks import DataReport, check
from isthmus.finding import Finding

__all__ = ["DataReport", "Finding", "check"]
